//! Encrypted images, by AES-GCM's own crate, and with one thing wrong at a time.

use super::leaves_nothing;
use crate::ta::load::encrypted::ta_key;
use crate::ta::load::image::{self, Refusal};
use crate::testing::held::HeldImage;
use crate::testing::logged::lines;
use crate::testing::signing::{HARDWARE_KEY, TRUST, bytes_of};
use crate::testing::subkey::Subkey;
use crate::testing::world::{KEY, KeyPair, OTHER_KEY, TEST_KEY};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit};
use log::LevelFilter;
use tally_abi::image::ImageFault;
use tally_abi::shdr::{AES_GCM, BootstrapHeader, DEVICE_KEY, EncryptedHeader, img_type};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::PAGE_SIZE;
use zerocopy::IntoBytes;

const TA: TeeUuid = TeeUuid::from_u128(0x5c206987_16a3_59cc_ab0f_64b9cfc9e758);
const NONCE: [u8; 12] = [0x5a; 12];
/// Bytes of the headers with a key of 2048 bits: signed, bootstrap, encrypted with nonce and tag.
const ELF_AT: usize = 20 + 32 + 256 + 20 + 12 + 12 + 16;

/// An image as OP-TEE's script encrypts it.
fn sealed(key: &KeyPair, header: EncryptedHeader, payload: &[u8]) -> Vec<u8> {
    let cipher = Aes256Gcm::new(&(*ta_key(&HARDWARE_KEY, KEY)).into());
    let mut text = payload.to_vec();
    let tag = cipher.encrypt_inout_detached(&NONCE.into(), &[], text.as_mut_slice().into());
    let tag: [u8; 16] = tag.unwrap().into();
    let bootstrap = BootstrapHeader {
        uuid: TA.to_bytes(),
        ta_version: 0,
    };
    let fields = [bootstrap.as_bytes(), header.as_bytes(), &NONCE, &tag].concat();
    let mut image = key.signed(img_type::ENCRYPTED_TA, &fields, payload);
    let at = image.len() - text.len();
    image[at..].copy_from_slice(&text);
    image
}

const HEADER: EncryptedHeader = EncryptedHeader {
    enc_algo: AES_GCM,
    flags: DEVICE_KEY,
    iv_size: 12,
    tag_size: 16,
};

fn payload(len: usize) -> Vec<u8> {
    // Flags of a TA first, which are none.
    (0..len)
        .map(|n| if n < 4 { 0 } else { (n * 7) as u8 })
        .collect()
}

/// What is left of an image when it is verified, and the bytes of its ELF file.
fn verify(image: &[u8]) -> Result<Vec<u8>, ImageFault> {
    let held = HeldImage::new(image);
    match image::verify(&held, TA, TRUST, |_, _, _| Ok(())) {
        Ok(verified) => {
            assert!(verified.is_encrypted);
            Ok(held.into_bytes()[verified.elf_offset..].to_vec())
        }
        Err(Refusal::Image(fault)) => Err(fault),
        Err(Refusal::NoMemory) => panic!("the host has memory"),
    }
}

#[test]
fn the_key_of_an_image_is_that_of_optee() {
    // HMAC-SHA256, by Python's hmac: the hardware key; 4 in four bytes, and the modulus.
    let expected =
        bytes_of::<32>("9d954938630e406f8cc42231a3beeaa8b8766e0063814a815c17f47599792d06");
    assert_eq!(*ta_key(&HARDWARE_KEY, KEY), expected);
}

#[test]
fn what_was_encrypted_is_decrypted_where_it_lies() {
    for len in [0, 1, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 10_000] {
        let text = payload(len);
        assert_eq!(verify(&sealed(&TEST_KEY, HEADER, &text)), Ok(text));
    }
    // The key is that of who signed first.
    for name in [&b""[..], b"encrypted"] {
        let subkey = Subkey::new(TA, 0, &OTHER_KEY, name).with(|subkey| {
            if !name.is_empty() {
                subkey.header.uuid = [7; 16];
            }
        });
        let image = [
            subkey.signed_by(&TEST_KEY),
            sealed(&OTHER_KEY, HEADER, &payload(5000)),
        ];
        let expected = if name.is_empty() {
            Ok(payload(5000))
        } else {
            Err(ImageFault::NotOfSubkey)
        };
        assert_eq!(verify(&image.concat()), expected);
    }
}

#[test]
fn an_encrypted_image_is_one_to_the_last_byte() {
    let good = sealed(&TEST_KEY, HEADER, &payload(100));
    assert_eq!(good.len(), ELF_AT + 100);
    for len in 0..good.len() {
        assert!(verify(&good[..len]).is_err(), "{len} bytes");
    }
    assert_eq!(
        verify(&[&good[..], &[0]].concat()),
        Err(ImageFault::TrailingData)
    );
    let mut image = good.clone();
    for at in 0..good.len() {
        image[at] ^= 0x10;
        assert!(verify(&image).is_err(), "byte {at}");
        image[at] = good[at];
    }
    let last = image.len() - 1;
    image[last] ^= 1;
    assert_eq!(verify(&image), Err(ImageFault::Undecipherable));
    // Two bytes of a tag that are wrong by the same.
    let mut image = good.clone();
    image[ELF_AT - 2] ^= 1;
    image[ELF_AT - 1] ^= 1;
    assert_eq!(verify(&image), Err(ImageFault::Undecipherable));
    // The digest is of what was encrypted: whoever has the key of the machine alone cannot sign.
    let mut text = payload(100);
    text[50] ^= 1;
    let mut forged = sealed(&TEST_KEY, HEADER, &text);
    forged[20..308].copy_from_slice(&good[20..308]);
    assert_eq!(verify(&forged), Err(ImageFault::Altered));
    assert_eq!(
        verify(&sealed(&OTHER_KEY, HEADER, &text)),
        Err(ImageFault::Signature)
    );
}

#[test]
fn other_encryptions_are_refused() {
    let with = |change: fn(&mut EncryptedHeader)| {
        let mut header = HEADER;
        change(&mut header);
        verify(&sealed(&TEST_KEY, header, &payload(100)))
    };
    let refused = Err(ImageFault::Encryption);
    assert_eq!(with(|header| header.enc_algo ^= 0xf00), refused);
    assert_eq!(with(|header| header.flags = 1), refused);
    for size in [0, 11, 13, 16, u16::MAX] {
        let mut header = HEADER;
        header.iv_size = size;
        let image = sealed(&TEST_KEY, header, &payload(100));
        assert_eq!(verify(&image), refused, "nonce of {size}");
    }
    for size in [0, 4, 15, 17, u16::MAX] {
        let mut header = HEADER;
        header.tag_size = size;
        let image = sealed(&TEST_KEY, header, &payload(100));
        assert_eq!(verify(&image), refused, "tag of {size}");
    }
}

#[test]
fn an_encrypted_ta_opens_and_leaves_no_page_with_its_text() {
    leaves_nothing(|world| {
        let text = payload(3 * PAGE_SIZE);
        world.install_image(TA, sealed(&TEST_KEY, HEADER, &text));
        let said = lines(LevelFilter::Warn, || {
            assert_eq!(world.close(world.opened(TA)), TeeResult::SUCCESS);
        });
        // The key is not one that everybody has.
        assert_eq!(said, [""; 0]);
        let piece = &text[PAGE_SIZE..PAGE_SIZE + 64];
        assert!(!world.kernel.machine.secure_holds(piece));
        let mut other = sealed(&TEST_KEY, HEADER, &text);
        other[ELF_AT + 2 * PAGE_SIZE] ^= 1;
        world.install_image(TA, other);
        assert_eq!(world.open(TA, &[]).result, TeeResult::SECURITY);
        assert!(!world.kernel.machine.secure_holds(piece));
    });
}
