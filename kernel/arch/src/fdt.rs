//! Reads the ranges of RAM out of a flattened device tree.
//!
//! **Invariant:** never reads outside of the slice, whatever it holds; never panics.
//! **Knows nothing of:** any other node.
//!
//! Source: Devicetree Specification v0.4, chapter 5.

use core::ops::Range;

const MAGIC: u32 = 0xd00d_feed;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
/// Bytes of the header that are needed.
const HEADER_BYTES: usize = 40;

/// Total size that a device tree's header claims, or `None` where `header` does not start one.
#[must_use]
pub fn total_bytes(header: &[u8]) -> Option<usize> {
    (word(header, 0)? == MAGIC).then_some(())?;
    usize::try_from(word(header, 4)?)
        .ok()
        .filter(|&size| size >= HEADER_BYTES)
}

/// RAM of the normal world: `reg` of the root's children with `device_type = "memory"` that are
/// not disabled, in the tree's order; at most `N`. `None` where the tree is malformed.
#[must_use]
pub fn memory<const N: usize>(tree: &[u8]) -> Option<[Range<u64>; N]> {
    let tree = tree.get(..total_bytes(tree)?)?;
    let structure = tree.get(offset(tree, 8)?..)?;
    let strings = tree.get(offset(tree, 12)?..)?;

    let mut ranges = [const { 0..0 }; N];
    let mut used = 0;
    let mut depth = 0_u32;
    let (mut address_cells, mut size_cells) = (2_u32, 1_u32);
    let mut node = Node::default();
    let mut at = 0;
    loop {
        let token = word(structure, at)?;
        at += 4;
        match token {
            BEGIN_NODE => {
                let name = string(structure, at)?;
                at = align(at + name.len() + 1);
                depth = depth.checked_add(1)?;
                if depth == 2 {
                    node = Node::default();
                }
            }
            END_NODE => {
                if depth == 2 && node.is_memory && !node.disabled {
                    let pairs = node.reg.unwrap_or(&[]);
                    let step = (address_cells + size_cells) as usize * 4;
                    let mut pair = 0;
                    while used < N && step != 0 && pair + step <= pairs.len() {
                        let start = cells(pairs, pair, address_cells)?;
                        let bytes = cells(pairs, pair + address_cells as usize * 4, size_cells)?;
                        ranges[used] = start..start.checked_add(bytes)?;
                        used += 1;
                        pair += step;
                    }
                }
                depth = depth.checked_sub(1)?;
            }
            PROP => {
                let bytes = usize::try_from(word(structure, at)?).ok()?;
                let name = usize::try_from(word(structure, at + 4)?).ok()?;
                let value = structure.get(at + 8..)?.get(..bytes)?;
                at = align(at + 8 + bytes);
                if depth > 2 {
                    continue;
                }
                match (depth, string(strings, name)?) {
                    (1, b"#address-cells") => address_cells = word(value, 0)?.min(2),
                    (1, b"#size-cells") => size_cells = word(value, 0)?.min(2),
                    (2, b"device_type") => node.is_memory = value == b"memory\0",
                    (2, b"status") => node.disabled = value != b"okay\0" && value != b"ok\0",
                    (2, b"reg") => node.reg = Some(value),
                    _ => {}
                }
            }
            NOP => {}
            END => return Some(ranges),
            _ => return None,
        }
    }
}

#[derive(Default)]
struct Node<'a> {
    is_memory: bool,
    disabled: bool,
    reg: Option<&'a [u8]>,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

fn offset(tree: &[u8], at: usize) -> Option<usize> {
    usize::try_from(word(tree, at)?).ok()
}

fn cells(bytes: &[u8], at: usize, count: u32) -> Option<u64> {
    let mut value = 0;
    for cell in 0..count as usize {
        value = value << 32 | u64::from(word(bytes, at + cell * 4)?);
    }
    Some(value)
}

fn string(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    rest.get(..rest.iter().position(|&byte| byte == 0)?)
}

const fn align(at: usize) -> usize {
    at.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;

    struct Tree {
        structure: Vec<u8>,
        strings: Vec<u8>,
    }

    impl Tree {
        fn new() -> Self {
            let mut tree = Self {
                structure: Vec::new(),
                strings: Vec::new(),
            };
            tree.begin("");
            tree.prop("#address-cells", &[0, 0, 0, 2]);
            tree.prop("#size-cells", &[0, 0, 0, 2]);
            tree
        }

        fn word(&mut self, word: u32) {
            self.structure.extend(word.to_be_bytes());
        }

        fn pad(&mut self) {
            while !self.structure.len().is_multiple_of(4) {
                self.structure.push(0);
            }
        }

        fn begin(&mut self, name: &str) {
            self.word(BEGIN_NODE);
            self.structure.extend(name.bytes());
            self.structure.push(0);
            self.pad();
        }

        fn prop(&mut self, name: &str, value: &[u8]) {
            self.word(PROP);
            self.word(value.len() as u32);
            self.word(self.strings.len() as u32);
            self.strings.extend(name.bytes());
            self.strings.push(0);
            self.structure.extend(value);
            self.pad();
        }

        fn memory(&mut self, status: Option<&str>, start: u64, bytes: u64) {
            self.begin("memory");
            self.prop("reg", &[start.to_be_bytes(), bytes.to_be_bytes()].concat());
            if let Some(status) = status {
                self.prop("status", status.as_bytes());
            }
            self.prop("device_type", b"memory\0");
            self.word(END_NODE);
        }

        fn finish(mut self) -> Vec<u8> {
            self.word(END_NODE);
            self.word(END);
            let strings_at = 40 + self.structure.len() as u32;
            let total = strings_at + self.strings.len() as u32;
            let mut bytes: Vec<u8> = [MAGIC, total, 40, strings_at, 0, 17, 16, 0, 0, 0]
                .map(u32::to_be_bytes)
                .concat();
            bytes.extend(self.structure);
            bytes.extend(self.strings);
            bytes
        }
    }

    #[test]
    fn enabled_memory_is_found_and_secure_memory_is_not() {
        let mut tree = Tree::new();
        tree.memory(Some("disabled\0"), 0x0e00_0000, 0x0100_0000);
        tree.memory(None, 0x4000_0000, 0x1000_0000);
        assert_eq!(
            memory::<2>(&tree.finish()),
            Some([0x4000_0000..0x5000_0000, 0..0])
        );
    }

    #[test]
    fn every_truncation_is_refused_or_answered_without_a_panic() {
        let mut tree = Tree::new();
        tree.memory(None, 0x4000_0000, 0x1000_0000);
        let bytes = tree.finish();
        for length in 0..bytes.len() {
            assert_eq!(memory::<2>(&bytes[..length]), None);
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0xff;
            let _ = memory::<2>(&bytes);
        }
    }
}
