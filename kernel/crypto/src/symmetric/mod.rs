//! Digests, message authentication codes, ciphers, authenticated encryption.
