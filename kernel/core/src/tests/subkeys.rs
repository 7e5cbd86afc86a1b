//! Images that subkeys signed, and versions: with one thing wrong at a time.

use super::signatures::openssl::RSA_4096;
use super::{MULTI, leaves_nothing, world};
use crate::ta::load::image::{self, MAX_SUBKEYS, Refusal, Versioned};
use crate::testing::held::HeldImage;
use crate::testing::signing::{TRUST, bytes_of};
use crate::testing::subkey::{NAME_LEN, Subkey};
use crate::testing::world::{KeyPair, OTHER_KEY, TEST_KEY, World};
use tally_abi::image::ImageFault;
use tally_abi::shdr::{algo, img_type};
use tally_abi::{TeeResult, TeeUuid};

/// The subkeys and the TA of OP-TEE's test suite that are signed so: UUIDs derive from one another by these names.
const ROOT: TeeUuid = TeeUuid::from_u128(0xf04fa996_148a_453c_b037_1dcfbad120a6);
const MIDDLE_NAME: &[u8] = b"mid_level_subkey";
const MIDDLE: TeeUuid = TeeUuid::from_u128(0x1a5948c5_1aa0_518c_86f4_be6f6a057b16);
const TA_NAME: &[u8] = b"subkey1_ta";
const TA: TeeUuid = TeeUuid::from_u128(0x5c206987_16a3_59cc_ab0f_64b9cfc9e758);

/// A subkey of another length than the key that it is signed by, for subkeys one deeper.
fn root() -> Subkey {
    Subkey::new(ROOT, 1, &OTHER_KEY, MIDDLE_NAME)
}

/// A subkey for TAs alone.
fn middle() -> Subkey {
    Subkey::new(MIDDLE, 0, &TEST_KEY, TA_NAME)
}

fn ta_by(key: &KeyPair) -> Vec<u8> {
    key.signed_image(TA, 0, &[0; 64])
}

/// An image of two subkeys and the TA.
fn chain(root: &Subkey, middle: &Subkey) -> Vec<u8> {
    let parts = [
        root.signed_by(&TEST_KEY),
        middle.signed_by(&OTHER_KEY),
        ta_by(&TEST_KEY),
    ];
    parts.concat()
}

/// An image of one subkey, whose UUID is the TA's, and the TA.
fn identity(subkey: &Subkey) -> Vec<u8> {
    [subkey.signed_by(&TEST_KEY), ta_by(&OTHER_KEY)].concat()
}

fn identity_subkey() -> Subkey {
    Subkey::new(TA, 0, &OTHER_KEY, &[])
}

fn verify(image: &[u8]) -> Result<(), ImageFault> {
    let verified = image::verify(&HeldImage::new(image), TA, TRUST, |_, _, _| Ok(()));
    let verified = verified.map_err(|refusal| match refusal {
        Refusal::Image(fault) => fault,
        Refusal::NoMemory => panic!("the host has memory"),
    })?;
    assert_eq!(image[verified.elf_offset..], [0; 64]);
    Ok(())
}

/// Opens the TA with this image.
fn opened(world: &World, image: Vec<u8>) -> TeeResult {
    world.install_image(TA, image);
    let reply = world.open(TA, &[]);
    if reply.result == TeeResult::SUCCESS {
        assert_eq!(world.close(reply.session), TeeResult::SUCCESS);
    }
    reply.result
}

#[test]
fn a_ta_that_one_or_two_subkeys_signed_opens() {
    leaves_nothing(|world| {
        assert_eq!(opened(world, chain(&root(), &middle())), TeeResult::SUCCESS);
        let one = identity(&identity_subkey());
        assert_eq!(opened(world, one), TeeResult::SUCCESS);
        // With names, which end with their first zero or with their field.
        let parts = [
            Subkey::new(MIDDLE, 7, &OTHER_KEY, &[])
                .with(|subkey| {
                    subkey.name = TA_NAME.to_vec();
                    subkey.header.name_size = TA_NAME.len() as u32;
                })
                .signed_by(&TEST_KEY),
            ta_by(&OTHER_KEY),
        ];
        assert_eq!(opened(world, parts.concat()), TeeResult::SUCCESS);
        // What has no version above 0 stays without subkeys.
        assert_eq!(opened(world, ta_by(&TEST_KEY)), TeeResult::SUCCESS);
        assert_eq!(opened(world, ta_by(&OTHER_KEY)), TeeResult::SECURITY);
    });
}

#[test]
fn an_image_of_subkeys_is_signed_to_the_last_byte() {
    let good = chain(&root(), &middle());
    assert_eq!(verify(&good), Ok(()));
    for len in 0..good.len() {
        assert!(verify(&good[..len]).is_err(), "{len} bytes");
    }
    assert!(verify(&[&good[..], &[0]].concat()).is_err());
    // What follows the end of a name says nothing, as it does for OP-TEE.
    let first = root().signed_by(&TEST_KEY).len();
    let second = first + middle().signed_by(&OTHER_KEY).len();
    let unread = [(first, MIDDLE_NAME), (second, TA_NAME)]
        .map(|(end, name)| end - (NAME_LEN - name.len() - 1)..end);
    let mut image = good.clone();
    for at in 0..good.len() {
        image[at] ^= 0x10;
        let is_unread = unread.iter().any(|range| range.contains(&at));
        assert_eq!(verify(&image).is_ok(), is_unread, "byte {at}");
        image[at] = good[at];
    }
}

#[test]
fn each_header_is_signed_by_the_key_above() {
    let [root, middle] = [root(), middle()];
    for (keys, fault) in [
        ([&OTHER_KEY, &OTHER_KEY, &TEST_KEY], ImageFault::Signature),
        ([&TEST_KEY, &TEST_KEY, &TEST_KEY], ImageFault::Signature),
        ([&TEST_KEY, &OTHER_KEY, &OTHER_KEY], ImageFault::Signature),
    ] {
        let parts = [
            root.signed_by(keys[0]),
            middle.signed_by(keys[1]),
            ta_by(keys[2]),
        ];
        assert_eq!(verify(&parts.concat()), Err(fault));
    }
    // A subkey alone is no TA, and no TA goes before a subkey.
    let alone = root.signed_by(&TEST_KEY);
    assert_eq!(verify(&alone), Err(ImageFault::ShortImage));
    let turned = [ta_by(&TEST_KEY), alone].concat();
    assert_eq!(verify(&turned), Err(ImageFault::TrailingData));
}

#[test]
fn subkeys_sign_for_their_name_space_and_depth() {
    let of = |root: Subkey, middle: Subkey| verify(&chain(&root, &middle));
    let other = TeeUuid::from_u128(0x77).to_bytes();
    let elsewhere = middle().with(|subkey| subkey.header.uuid = other);
    assert_eq!(of(root(), elsewhere), Err(ImageFault::NotOfSubkey));
    let renamed = middle().with(|subkey| subkey.name[0] = b'S');
    assert_eq!(of(root(), renamed), Err(ImageFault::NotOfSubkey));
    let renamed = root().with(|subkey| subkey.name[0] = b'M');
    assert_eq!(of(renamed, middle()), Err(ImageFault::NotOfSubkey));
    let foreign = identity_subkey().with(|subkey| subkey.header.uuid = other);
    assert_eq!(verify(&identity(&foreign)), Err(ImageFault::NotOfSubkey));
    for (above, below, result) in [
        (2, 0, Ok(())),
        (u32::MAX - 1, u32::MAX - 2, Ok(())),
        (1, 1, Err(ImageFault::SubkeyDepth)),
        (0, 0, Err(ImageFault::SubkeyDepth)),
        (0, 1, Err(ImageFault::SubkeyDepth)),
        (u32::MAX, 0, Err(ImageFault::SubkeyDepth)),
    ] {
        let root = root().with(|subkey| subkey.header.max_depth = above);
        let middle = middle().with(|subkey| subkey.header.max_depth = below);
        assert_eq!(of(root, middle), result, "{above}, {below}");
    }
}

#[test]
fn no_chain_is_longer_than_the_kernel_takes() {
    let image = |subkeys: usize| {
        let depths = (0..subkeys as u32).rev();
        let parts = depths.map(|depth| Subkey::new(TA, depth, &TEST_KEY, &[]).signed_by(&TEST_KEY));
        let mut image: Vec<u8> = parts.flatten().collect();
        image.extend(ta_by(&TEST_KEY));
        image
    };
    assert_eq!(verify(&image(MAX_SUBKEYS)), Ok(()));
    let longer = verify(&image(MAX_SUBKEYS + 1));
    assert_eq!(longer, Err(ImageFault::SubkeyDepth));
    // The same subkey again and again.
    let again = Subkey::new(TA, 3, &TEST_KEY, &[]).signed_by(&TEST_KEY);
    assert_eq!(verify(&again.repeat(3)), Err(ImageFault::SubkeyDepth));
}

#[test]
fn sizes_and_offsets_of_subkeys_lie_within_them() {
    let with = |change: &dyn Fn(&mut Subkey)| verify(&identity(&identity_subkey().with(change)));
    assert_eq!(with(&|_| ()), Ok(()));
    for count in [0, 1, 3, 9, 0x1555_5555, u32::MAX] {
        let result = with(&|subkey| subkey.header.attr_count = count);
        // A third one would be the modulus' first bytes.
        assert_eq!(result, Err(ImageFault::BadSubkey), "{count} attributes");
    }
    for offset in [u32::MAX, u32::MAX - 2, u32::MAX - 256, 448] {
        let result = with(&|subkey| subkey.modulus.0.offset = offset);
        assert_eq!(result, Err(ImageFault::BadSubkey), "modulus at {offset}");
        let result = with(&|subkey| subkey.exponent.0.offset = offset);
        assert_eq!(result, Err(ImageFault::BadSubkey), "exponent at {offset}");
    }
    for size in [u32::MAX, u32::MAX - 60, 389] {
        let result = with(&|subkey| subkey.modulus.0.size = size);
        assert_eq!(result, Err(ImageFault::BadSubkey), "{size} bytes");
    }
    for size in [u32::MAX, u32::MAX - 448, 1 << 31, 2_000] {
        let result = with(&|subkey| subkey.header.name_size = size);
        assert_eq!(result, Err(ImageFault::ShortImage), "{size} bytes of name");
    }
    // A header that says that more is behind it than there is, or less than a subkey has.
    for size in [u32::MAX, u32::MAX - 435, 1 << 31] {
        let mut image = identity(&identity_subkey());
        image[8..12].copy_from_slice(&size.to_le_bytes());
        assert_eq!(verify(&image), Err(ImageFault::ShortImage), "{size}");
    }
    for len in [0, 35] {
        let short = TEST_KEY.signed(img_type::SUBKEY, &[], &vec![0; len]);
        assert_eq!(verify(&short), Err(ImageFault::BadSubkey), "{len}");
    }
}

#[test]
fn keys_of_subkeys_are_rsa_of_the_lengths_that_the_kernel_takes() {
    let with = |change: &dyn Fn(Subkey) -> Subkey| verify(&identity(&change(identity_subkey())));
    let modulus = OTHER_KEY.modulus();
    let cut = |len: usize| {
        modulus[..len - 1]
            .iter()
            .copied()
            .chain([1])
            .collect::<Vec<_>>()
    };
    // OP-TEE's script writes a zero in front; more of them do not make a key longer.
    assert_eq!(with(&|subkey| subkey.with_modulus(&modulus)), Ok(()));
    let padded = [&[0; 40][..], &modulus].concat();
    assert_eq!(with(&|subkey| subkey.with_modulus(&padded)), Ok(()));
    // The longest, as the script writes it: nobody here has the key to go on with.
    let longest = [&[0; 2][..], &bytes_of::<512>(RSA_4096[0])].concat();
    let signed_by_none = with(&|subkey| subkey.with_modulus(&longest[1..]));
    assert_eq!(signed_by_none, Err(ImageFault::Signature));
    let even = [&modulus[..383], &[modulus[383] & 0xfe]].concat();
    let low = [&[0x7f][..], &modulus[1..]].concat();
    let long = [&modulus[..], &modulus].concat();
    for modulus in [
        &cut(128)[..],
        &cut(248),
        &cut(255),
        &cut(383),
        &even,
        &low,
        &longest,
        &long[..520],
        &long[..514],
        &[0; 384],
        &[],
    ] {
        let result = with(&|subkey| subkey.with_modulus(modulus));
        assert_eq!(result, Err(ImageFault::SubkeyKey), "{}", modulus.len());
    }
    for exponent in [&[1, 0, 2][..], &[3], &[], &[0; 3], &[1, 0, 1, 0], &[1; 600]] {
        let result = with(&|subkey| {
            subkey.with(|subkey| {
                subkey.exponent.1 = exponent.to_vec();
                subkey.exponent.0.size = exponent.len() as u32;
            })
        });
        assert_eq!(result, Err(ImageFault::SubkeyKey), "{exponent:?}");
    }
    for (main, result) in [
        (algo::RSASSA_PKCS1_V1_5_SHA256, Ok(())),
        (0x7000_3041, Err(ImageFault::SubkeyKey)),
        (0, Err(ImageFault::SubkeyKey)),
    ] {
        let other = with(&|subkey| subkey.with(|subkey| subkey.header.algo = main));
        assert_eq!(other, result, "{main:#x}");
    }
    let other = with(&|subkey| subkey.with(|subkey| subkey.modulus.0.id = 0));
    assert_eq!(other, Err(ImageFault::BadSubkey));
    let other = with(&|subkey| subkey.with(|subkey| subkey.exponent.0.id = 0));
    assert_eq!(other, Err(ImageFault::BadSubkey));
}

#[test]
fn older_versions_than_were_seen_are_refused() {
    leaves_nothing(|world| {
        let ta = |version| TEST_KEY.signed_image(TA, version, &[0; 64]);
        assert_eq!(opened(world, ta(7)), TeeResult::SUCCESS);
        assert_eq!(opened(world, ta(6)), TeeResult::ACCESS_CONFLICT);
        assert_eq!(opened(world, ta(0)), TeeResult::ACCESS_CONFLICT);
        assert_eq!(opened(world, ta(7)), TeeResult::SUCCESS);
        // Who is not trusted, or does not hold, tells of no version.
        let mut altered = ta(9);
        let last = altered.len() - 1;
        altered[last] ^= 1;
        assert_eq!(opened(world, altered), TeeResult::SECURITY);
        let forged = OTHER_KEY.signed_image(TA, 9, &[0; 64]);
        assert_eq!(opened(world, forged), TeeResult::SECURITY);
        assert_eq!(opened(world, ta(8)), TeeResult::SUCCESS);
        assert_eq!(opened(world, ta(7)), TeeResult::ACCESS_CONFLICT);
        // Another TA has its own.
        assert_eq!(world.close(world.opened(MULTI)), TeeResult::SUCCESS);
    });
    leaves_nothing(|world| {
        let of = |version| identity_subkey().with(|subkey| subkey.header.subkey_version = version);
        assert_eq!(opened(world, identity(&of(3))), TeeResult::SUCCESS);
        assert_eq!(opened(world, identity(&of(2))), TeeResult::SECURITY);
        // As for OP-TEE, a subkey counts whatever becomes of what it signed.
        let mut altered = identity(&of(4));
        let last = altered.len() - 1;
        altered[last] ^= 1;
        assert_eq!(opened(world, altered), TeeResult::SECURITY);
        assert_eq!(opened(world, identity(&of(3))), TeeResult::SECURITY);
        assert_eq!(opened(world, identity(&of(4))), TeeResult::SUCCESS);
    });
}

#[test]
fn versions_are_told_of_what_is_signed_from_above_downwards() {
    let mut told = Vec::new();
    let image = chain(&root(), &middle());
    let verified = image::verify(&HeldImage::new(&image), TA, TRUST, |of, uuid, version| {
        told.push((of, uuid, version));
        Ok(())
    });
    assert!(verified.is_ok());
    let expected = [
        (Versioned::Subkey, ROOT, 1),
        (Versioned::Subkey, MIDDLE, 1),
        (Versioned::Ta, TA, 0),
    ];
    assert_eq!(told, expected);
    let refused = image::verify(&HeldImage::new(&image), TA, TRUST, |_, uuid, _| {
        if uuid == MIDDLE {
            Err(Refusal::NoMemory)
        } else {
            Ok(())
        }
    });
    assert_eq!(refused, Err(Refusal::NoMemory));
}

#[test]
fn what_is_refused_of_subkeys_leaves_nothing_and_says_why() {
    let world = world();
    let before = world.accounts();
    let faults = [
        (chain(&middle(), &middle()), ImageFault::NotOfSubkey),
        (root().signed_by(&OTHER_KEY), ImageFault::Signature),
    ];
    for (image, fault) in faults {
        assert_eq!(opened(&world, image), TeeResult::from(fault));
        super::same(&world, &before);
    }
}
