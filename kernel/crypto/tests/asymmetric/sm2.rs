//! SM2, by the examples of GB/T 32918.5.

use crate::{hex, random};
use tally_crypto::asymmetric::curve::{SCRATCH_WORDS, SM2};
use tally_crypto::asymmetric::ec::{self, PublicKey};
use tally_crypto::asymmetric::sm2::{self, Exchange, Party};
use tally_crypto::asymmetric::{Error, Word};

const PRIVATE: &str = "3945208f7b2144b13f36e38ac6d39f95889393692860b51a42fb81ef4df7c5b8";
const X: &str = "09f9df311e5421a150dd7d161e4bc5c672179fad1833fc076bb08ff356f35020";
const Y: &str = "ccea490ce26775a52dc6ea718cc1aa600aed05fbf35e084a6632f6072da9ad13";
const NONCE: &str = "59276e27d506861a16680f3ad9c02dccef3cc1fa3cdbe4ce6d54b80deac1bc21";

fn scratch() -> Vec<Word> {
    vec![Word::ZERO; SCRATCH_WORDS]
}

#[test]
fn a_signature_is_that_of_the_standard() {
    let digest = hex("f0b43e94ba45accaace692ed534382eb17e6ab5a19ce7b31f4486fdfc0d28640");
    let mut nonce = |bytes: &mut [u8]| bytes.copy_from_slice(&hex(NONCE));
    let mut signature = [0; sm2::SIGNATURE_LEN];
    sm2::sign(
        &hex(PRIVATE),
        &digest,
        &mut scratch(),
        &mut nonce,
        &mut signature,
    )
    .unwrap();
    let expected = "f5a03b0648d2c4630eeac513e1bb81a15944da3827d5b74143ac7eaceee720b3\
                    b1b6aa29df212fd8763182bc0d421ca1bb9038fd1f7f42d4840b69c485bbc1aa";
    assert_eq!(signature.to_vec(), hex(expected));
    let (x, y) = (hex(X), hex(Y));
    let public = PublicKey { x: &x, y: &y };
    assert_eq!(
        sm2::verify(public, &digest, &mut scratch(), &signature),
        Ok(())
    );
    let verified = sm2::verify(public, &digest[1..], &mut scratch(), &signature);
    assert_eq!(verified, Err(Error::Signature));
}

#[test]
fn a_text_is_encrypted_as_in_the_standard_and_decrypted() {
    let (x, y) = (hex(X), hex(Y));
    let public = PublicKey { x: &x, y: &y };
    let message = b"encryption standard";
    let mut nonce = |bytes: &mut [u8]| bytes.copy_from_slice(&hex(NONCE));
    let mut text = vec![0; message.len() + sm2::OVERHEAD];
    sm2::encrypt(public, message, &mut scratch(), &mut nonce, &mut text).unwrap();
    let expected = "04\
                    04ebfc718e8d1798620432268e77feb6415e2ede0e073c0f4f640ecd2e149a73\
                    e858f9d81e5430a57b36daab8f950a3c64e6ee6a63094d99283aff767e124df0\
                    21886ca989ca9c7d58087307ca93092d651efa\
                    59983c18f809e262923c53aec295d30383b54e39d609d160afcb1908d0bd8766";
    assert_eq!(text, hex(expected));
    let mut decrypted = vec![0; message.len()];
    let private = hex(PRIVATE);
    sm2::decrypt(&private, &text, &mut scratch(), &mut decrypted).unwrap();
    assert_eq!(decrypted, message);
    text[70] ^= 1;
    let done = sm2::decrypt(&private, &text, &mut scratch(), &mut decrypted);
    assert_eq!(
        (done, decrypted),
        (Err(Error::Padding), vec![0; message.len()])
    );
}

#[test]
fn both_sides_of_an_exchange_compute_one_key_and_confirm_it() {
    let mut random = random();
    let keys: [_; 4] = core::array::from_fn(|_| {
        let [mut private, mut x, mut y] = [[0; 32]; 3];
        ec::generate(
            SM2,
            &mut scratch(),
            &mut random,
            &mut private,
            [&mut x, &mut y],
        )
        .unwrap();
        (private, x, y)
    });
    let public = |n: usize| PublicKey {
        x: &keys[n].1,
        y: &keys[n].2,
    };
    let parties = [
        Party {
            key: public(0),
            ephemeral: public(1),
            identity: b"Alice",
        },
        Party {
            key: public(2),
            ephemeral: public(3),
            identity: b"Bill",
        },
    ];
    let exchange = |is_initiator, confirmation| Exchange {
        parties,
        is_initiator,
        private: if is_initiator {
            [&keys[0].0, &keys[1].0]
        } else {
            [&keys[2].0, &keys[3].0]
        },
        confirmation,
    };
    let (mut mine, mut theirs) = ([0; 48], [0; 48]);
    let (mut first, mut second) = ([0; 32], [0; 32]);
    sm2::exchange(&exchange(true, None), &mut scratch(), &mut mine, &mut first).unwrap();
    sm2::exchange(
        &exchange(false, Some(&first)),
        &mut scratch(),
        &mut theirs,
        &mut second,
    )
    .unwrap();
    assert_eq!(mine, theirs);
    let mut again = [0; 32];
    let done = sm2::exchange(
        &exchange(true, Some(&second)),
        &mut scratch(),
        &mut mine,
        &mut again,
    );
    assert_eq!((done, again), (Ok(()), first));
    let wrong = [0; 32];
    let done = sm2::exchange(
        &exchange(true, Some(&wrong)),
        &mut scratch(),
        &mut mine,
        &mut again,
    );
    assert_eq!((done, mine), (Err(Error::Signature), [0; 48]));
}

/// One of 256 masks of a byte is 0, and is drawn again.
#[test]
fn short_messages_are_always_encrypted() {
    let mut random = random();
    let [mut private, mut x, mut y] = [[0; 32]; 3];
    let pair = [&mut x[..], &mut y];
    ec::generate(SM2, &mut scratch(), &mut random, &mut private, pair).unwrap();
    for n in 0..600 {
        let mut text = [0; 1 + sm2::OVERHEAD];
        let public = PublicKey { x: &x, y: &y };
        let done = sm2::encrypt(public, b"a", &mut scratch(), &mut random, &mut text);
        assert_eq!(done, Ok(()), "{n}");
    }
}

#[test]
fn a_private_key_of_the_order_less_one_signs_nothing() {
    let private = hex("fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54122");
    let mut signature = [0; sm2::SIGNATURE_LEN];
    let signed = sm2::sign(
        &private,
        &[1; 32],
        &mut scratch(),
        &mut random(),
        &mut signature,
    );
    assert_eq!(signed, Err(Error::Key));
}
