//! Reads the ranges of RAM out of a tree.
//!
//! **Invariant:** a malformed tree has no RAM.

use core::ops::Range;

use crate::{BEGIN_NODE, END, END_NODE, HEADER_BYTES, MAGIC, NOP, PROP, align, string, word};

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
