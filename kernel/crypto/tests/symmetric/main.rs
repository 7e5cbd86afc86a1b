//! Symmetric algorithms by vectors of others, in pieces of every size.

mod ciphers;
mod codes;
mod digests;
mod texts;

/// Bytes of hexadecimal digits; other characters are left out.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    assert!(digits.len().is_multiple_of(2));
    let bytes = digits.chunks(2);
    bytes.map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// Sizes of pieces that a text is tried in.
const PIECES: [usize; 9] = [1, 7, 15, 16, 17, 64, 100, 136, 1000];
