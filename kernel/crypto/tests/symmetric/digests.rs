//! Digests of "abc" (FIPS 180-4, FIPS 202, RFC 1321, GB/T 32905) and of a longer text (OpenSSL 3).

use super::{PIECES, hex};
use tally_crypto::symmetric::hash::{Algorithm, Hash};

fn check(algorithm: Algorithm, abc: &str, long: &str) {
    let text: Vec<u8> = (0..1000).map(|n| (n % 251) as u8).collect();
    for (text, expected) in [(&b"abc"[..], hex(abc)), (&text, hex(long))] {
        for piece in PIECES {
            let mut hash = Hash::new(algorithm);
            text.chunks(piece).for_each(|piece| hash.update(piece));
            let mut digest = vec![0; expected.len()];
            hash.finish(&mut digest);
            assert_eq!(digest, expected, "{algorithm:?} in pieces of {piece}");
            assert_eq!(algorithm.digest_bytes(), Some(digest.len()));
            if !hash.is_squeezed() {
                // It is as new.
                hash.update(text);
                hash.finish(&mut digest);
                assert_eq!(digest, expected, "{algorithm:?} a second time");
            }
        }
    }
}

#[test]
fn md5() {
    check(
        Algorithm::Md5,
        "900150983cd24fb0d6963f7d28e17f72",
        "a24f1e3ef66950e1327f210e3997ba2c",
    );
}

#[test]
fn sha1() {
    check(
        Algorithm::Sha1,
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "c9c960a0b925474fab83942cc27d504fc24ac37b",
    );
}

#[test]
fn sha2() {
    check(
        Algorithm::Sha224,
        "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7",
        "c182669a7f6629dc7fd8a9198f15af15adbbaeffa1842e854f681357",
    );
    check(
        Algorithm::Sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "4e4c294b331f7a2099a379bec34b9f9fc03dc46ab465d998f4d683da53487e6d",
    );
    check(
        Algorithm::Sha384,
        "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7",
        "7a2f8c7f12344964a13cb9260492b845e56615d6152b9eb9e54b580fc88405e64f31813bfda10de2a642fdf1676c61b4",
    );
    check(
        Algorithm::Sha512,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
         2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "5096498d96f50f9a137c4db5b8b0cd38383ad55350fb5a98805fedc31fa1262f\
         1f0cf4d6f12d7ecd8dedd933a4c9126344fe22e937a8ad35fdeae1e876ae698b",
    );
}

#[test]
fn sha3() {
    check(
        Algorithm::Sha3_224,
        "e642824c3f8cf24ad09234ee7d3c766fc9a3a5168d0c94ad73b46fdf",
        "51481b8dbd6b73dd110a967f438aa22facfcdce1eb5d2b36a5ec023f",
    );
    check(
        Algorithm::Sha3_256,
        "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532",
        "48e66a01861d0eadaacdb7a6ae7db6b9ac79242ecced4154a9fbb33c4e3cc571",
    );
    check(
        Algorithm::Sha3_384,
        "ec01498288516fc926459f58e2c6ad8df9b473cb0fc08c2596da7cf0e49be4b298d88cea927ac7f539f1edf228376d25",
        "43e60a7ef818a0e367fcd4ede8f5fabbdb7090cb45972bb7a84038cc3abf4fc26c4f44b59d3a0306c973b66e84c8890b",
    );
    check(
        Algorithm::Sha3_512,
        "b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e\
         10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0",
        "b8030d306ae990bc794bfb3a6100f67851889d6c272257afac7d1077a18660d6\
         ea8d0da5d2299c3ebaa0d34baf62cc58ac1fd4476506cf512a4897bb083a6fc4",
    );
}

#[test]
fn sm3() {
    check(
        Algorithm::Sm3,
        "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
        "b38fc481302b502c3f2f6608d060c47c5b6bd8fd65e148b7cd3af4988245f48a",
    );
}

#[test]
fn shake_gives_as_much_as_is_wanted() {
    let expected = [
        (
            Algorithm::Shake128,
            "5881092dd818bf5cf8a3ddb793fbcba74097d5c526a6d35f97b83351940f2cc8",
            "827dcb896d707fd7baf0caa87c4a56e1",
        ),
        (
            Algorithm::Shake256,
            "483366601360a8771c6863080cc4114d8db44530f8f1e1ee4f94ea37e78b5739",
            "ab2d07aa5abbc8e2a90c8249d5584e31",
        ),
    ];
    let text: Vec<u8> = (0..1000).map(|n| (n % 251) as u8).collect();
    for (algorithm, abc, end_of_200) in expected {
        for piece in PIECES {
            let mut hash = Hash::new(algorithm);
            hash.update(b"abc");
            assert!(!hash.is_squeezed());
            let mut digest = [0; 32];
            digest.chunks_mut(piece).for_each(|out| hash.finish(out));
            assert_eq!(digest[..], hex(abc), "{algorithm:?}");
            assert!(hash.is_squeezed());

            let mut hash = Hash::new(algorithm);
            text.chunks(piece).for_each(|piece| hash.update(piece));
            let mut digest = [0; 400];
            digest.chunks_mut(piece).for_each(|out| hash.finish(out));
            assert_eq!(digest[384..], hex(end_of_200), "{algorithm:?}");
        }
    }
}
