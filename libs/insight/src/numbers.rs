//! Numbers as people read them.
//!
//! **Invariant:** what is cut is rounded.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

/// Digits in groups of three.
#[must_use]
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// With a sign unless it is zero.
#[must_use]
pub fn signed(n: i64) -> String {
    let digits = thousands(n.unsigned_abs());
    match n {
        0 => digits,
        1.. => format!("+{digits}"),
        _ => format!("\u{2212}{digits}"),
    }
}

/// `1 block`, `1,200 blocks`.
#[must_use]
pub fn counted(n: u64, unit: &str) -> String {
    format!("{} {unit}{}", thousands(n), plural(n))
}

/// `+1 block`, `\u{2212}3 blocks`.
#[must_use]
pub fn counted_change(n: i64, unit: &str) -> String {
    format!("{} {unit}{}", signed(n), plural(n.unsigned_abs()))
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Roughly, with a binary unit: for places without room for the digits.
#[must_use]
pub fn rough(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        // What rounds to 1,024 KiB is 1 MiB.
        1024..1_048_064 => tenths(bytes, 10, "KiB"),
        _ => tenths(bytes, 20, "MiB"),
    }
}

fn tenths(bytes: u64, shift: u32, unit: &str) -> String {
    let one = 1_u128 << shift;
    let tenths = (u128::from(bytes) * 10 + one / 2) / one;
    if tenths >= 1000 {
        format!("{} {unit}", (u128::from(bytes) + one / 2) / one)
    } else if tenths.is_multiple_of(10) {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// `part` of `whole` in percent, 0 to 100, rounded to one digit.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0".to_owned();
    }
    let whole = u128::from(whole);
    let thousandths = (u128::from(part) * 1000 + whole / 2) / whole;
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(thousands(16_777_216), "16,777,216");
        assert_eq!(signed(-1200), "\u{2212}1,200");
        assert_eq!((&*signed(0), &*signed(7)), ("0", "+7"));
        assert_eq!(counted(1, "block"), "1 block");
        assert_eq!(counted(0, "block"), "0 blocks");
        assert_eq!(counted_change(-1, "block"), "\u{2212}1 block");
        assert_eq!(counted_change(20, "block"), "+20 blocks");
        assert_eq!(rough(1023), "1023 B");
        assert_eq!(rough(1536), "1.5 KiB");
        assert_eq!(rough(16 << 20), "16 MiB");
        assert_eq!(percent(1, 3), "33.3");
        assert_eq!(percent(u64::MAX, u64::MAX), "100.0");
    }

    /// They were cut: 2.19 MiB was 2.1, and 12 KiB of 16 MiB were nothing.
    #[test]
    fn sizes_and_shares_are_rounded() {
        assert_eq!(rough(2_297_856), "2.2 MiB");
        assert_eq!(rough(1024 + 51), "1 KiB");
        assert_eq!(rough(1024 + 52), "1.1 KiB");
        assert_eq!(rough((100 << 10) - 1), "100 KiB");
        assert_eq!(rough((200 << 10) + 512), "201 KiB");
        assert_eq!(rough((1 << 20) - 512), "1 MiB");
        assert_eq!(rough((1 << 20) - 513), "1023 KiB");
        assert_eq!(percent(12_288, 16 << 20), "0.1");
        assert_eq!(percent(2, 3), "66.7");
    }
}
