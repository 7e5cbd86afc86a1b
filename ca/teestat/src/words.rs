//! Sizes and TAs as people write them.
//!
//! **Invariant:** what means nothing, or several things, is answered with what was nearest.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;

use crate::commands::nearest;

/// Fewer digits of a UUID may begin a name just as well.
const LEAST_DIGITS: usize = 4;

/// A number of bytes or of anything: decimal, hexadecimal with `0x`, or with `k`, `M` or `G` behind it for 1024, its
/// square and its cube.
#[must_use]
pub fn size(word: &str) -> Option<u64> {
    if let Some(digits) = word.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16).ok();
    }
    let (digits, shift) = match word.char_indices().next_back()? {
        (at, 'k' | 'K') => (word.get(..at)?, 10),
        (at, 'M') => (word.get(..at)?, 20),
        (at, 'G') => (word.get(..at)?, 30),
        _ => (word, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The TA that `word` means: one of `known` by its name, any by its UUID, one of `known` by the beginning of it.
///
/// # Errors
/// What it might have meant, for people.
pub fn ta(word: &str, known: &[(String, TeeUuid)]) -> Result<TeeUuid, String> {
    if let Some((_, uuid)) = known.iter().find(|(name, _)| name == word) {
        return Ok(*uuid);
    }
    if let Ok(uuid) = word.parse() {
        return Ok(uuid);
    }
    let mut meant: Vec<(&str, TeeUuid)> = Vec::new();
    for (name, uuid) in known {
        let begins =
            word.len() >= LEAST_DIGITS && format!("{uuid}").starts_with(&word.to_ascii_lowercase());
        if begins && !meant.iter().any(|(_, other)| other == uuid) {
            meant.push((name, *uuid));
        }
    }
    match meant[..] {
        [(_, uuid)] => Ok(uuid),
        [] => Err(format!(
            "`{word}` is neither a UUID nor the name of a known TA{}",
            nearest(word, known.iter().map(|(name, _)| name.as_str()))
        )),
        _ => {
            let names: Vec<&str> = meant.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            Err(format!("`{word}` begins the UUIDs of {names}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        assert_eq!(size("64k"), Some(65_536));
        assert_eq!(size("64K"), size("0x10000"));
        assert_eq!(size("4M"), Some(4 << 20));
        assert_eq!(size("1G"), Some(1 << 30));
        assert_eq!(size("17"), Some(17));
        for wrong in [
            "",
            "k",
            "4m",
            "-1k",
            "0x",
            "0x4k",
            "64 k",
            "18446744073709551615k",
            "4é",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_ta_is_known_by_name_uuid_and_the_beginning_of_it() {
        let first = TeeUuid::from_u128(0x7a11_e110_0001 << 80);
        let second = TeeUuid::from_u128(0x7a11_e110_0002 << 80);
        let other = TeeUuid::from_u128(7);
        let known = [
            (String::from("hello"), first),
            (String::from("heap"), second),
            // Once more: loaded.
            (String::from("hello"), first),
        ];
        let found = |word| ta(word, &known);
        assert_eq!(found("hello"), Ok(first));
        let whole = format!("{other}");
        assert_eq!(found(&whole), Ok(other));
        assert_eq!(found("7a11e110-0002"), Ok(second));
        assert_eq!(found("7A11E110-0001-"), Ok(first));
        let why = |word| found(word).err().unwrap_or_default();
        assert!(why("7a11e110").ends_with("of hello, heap"));
        assert!(why("helo").contains("nearest are: hello"));
        assert!(why("7a1").ends_with("known TA"), "too short");
    }
}
