//! Keys in pairs: RSA, DSA, DH, elliptic curves, Edwards curves; what derives secrets from them.
