//! Tests of reading and of editing, on trees made here.
//!
//! **Invariant:** every edit is followed by a full check of the tree.

extern crate std;

use std::vec::Vec;

use crate::*;

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
        let strings_at = 56 + self.structure.len() as u32;
        let structure_bytes = self.structure.len() as u32;
        let strings_bytes = self.strings.len() as u32;
        let total = strings_at + strings_bytes;
        let reservations = 40;
        let mut bytes: Vec<u8> = [
            MAGIC,
            total,
            56,
            strings_at,
            reservations,
            17,
            16,
            0,
            strings_bytes,
            structure_bytes,
        ]
        .map(u32::to_be_bytes)
        .concat();
        bytes.extend([0; 16]);
        bytes.extend(self.structure);
        bytes.extend(self.strings);
        bytes
    }
}

#[test]
fn enabled_memory_is_found_and_secure_memory_is_not() {
    let mut tree = Tree::new();
    tree.memory(Some("disabled\0"), 0x1000_0000, 0x0100_0000);
    tree.memory(None, 0x8000_0000, 0x1000_0000);
    assert_eq!(
        memory::<2>(&tree.finish()),
        Some([0x8000_0000..0x9000_0000, 0..0])
    );
}

#[test]
fn ram_that_is_said_to_work_is_found() {
    for (status, is_found) in [("okay\0", true), ("ok\0", true), ("fail\0", false)] {
        let mut tree = Tree::new();
        tree.memory(Some(status), 0x1000, 0x1000);
        let ranges = if is_found { 0x1000..0x2000 } else { 0..0 };
        assert_eq!(memory(&tree.finish()), Some([ranges]), "{status}");
    }
}

#[test]
fn every_truncation_is_refused_or_answered_without_a_panic() {
    let mut tree = Tree::new();
    tree.memory(None, 0x8000_0000, 0x1000_0000);
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

fn edited(bytes: &mut [u8]) -> Editor<'_> {
    Editor::open(bytes).unwrap()
}

/// A tree with RAM and `room` bytes behind it.
fn with_room(room: usize) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.memory(None, 0x8000_0000, 0x1000_0000);
    let mut bytes = tree.finish();
    bytes.resize(bytes.len() + room, 0xaa);
    bytes
}

#[test]
fn nodes_and_properties_are_added_where_they_belong() {
    let mut bytes = with_room(512);
    let mut tree = edited(&mut bytes);
    let root = tree.root();
    let firmware = tree.ensure_node(root, "firmware").unwrap();
    let optee = tree.ensure_node(firmware, "optee").unwrap();
    tree.set_property(optee, "compatible", b"linaro,optee-tz\0")
        .unwrap();
    tree.set_property(optee, "method", b"smc\0").unwrap();
    assert_eq!(tree.ensure_node(root, "firmware"), Ok(firmware));
    let len = tree.tree_bytes();

    let tree = Editor::open(&mut bytes[..len]).unwrap();
    let optee = tree.find("/firmware/optee").unwrap();
    assert_eq!(tree.property(optee, "method"), Some(&b"smc\0"[..]));
    assert_eq!(
        tree.property(optee, "compatible"),
        Some(&b"linaro,optee-tz\0"[..])
    );
    assert_eq!(
        tree.name(tree.child_at(tree.root(), 0).unwrap()),
        Some(&b"firmware"[..])
    );
    assert_eq!(tree.child_at(tree.root(), 2), None);
    assert_eq!(memory::<2>(&bytes), Some([0x8000_0000..0x9000_0000, 0..0]));
}

#[test]
fn a_property_changes_its_length_both_ways() {
    let mut bytes = with_room(256);
    let mut tree = edited(&mut bytes);
    let before = tree.tree_bytes();
    let node = tree.find("/memory").unwrap();
    for value in [
        &b"a much longer value than before\0"[..],
        b"",
        b"abc\0",
        b"another value longer than before\0",
        b"short",
        b"equal",
        b"memory\0",
    ] {
        tree.set_property(node, "device_type", value).unwrap();
        assert_eq!(tree.property(node, "device_type"), Some(value));
        assert_eq!(tree.check_for_test(), Some(()));
    }
    assert_eq!(tree.tree_bytes(), before);
    assert_eq!(memory::<2>(&bytes), Some([0x8000_0000..0x9000_0000, 0..0]));
}

#[test]
fn an_edit_without_room_changes_nothing() {
    for room in 0..64 {
        let mut bytes = with_room(room);
        let plenty = with_room(64);
        let mut tree = edited(&mut bytes);
        let root = tree.root();
        let node = tree.find("/memory").unwrap();
        let node_made = tree.ensure_node(root, "reserved-memory").is_ok();
        let node = if node_made {
            tree.find("/memory").unwrap()
        } else {
            node
        };
        let set = tree.set_property(node, "status", b"disabled\0").is_ok();
        assert_eq!(tree.check_for_test(), Some(()));
        assert_eq!(tree.find("/reserved-memory").is_some(), node_made, "{room}");
        assert_eq!(tree.property(node, "status").is_some(), set, "{room}");
        assert!(tree.tree_bytes() <= plenty.len());
    }
}

#[test]
fn names_that_would_break_the_tree_are_refused() {
    let mut bytes = with_room(64);
    let mut tree = edited(&mut bytes);
    let root = tree.root();
    for name in ["", "a/b", "a\0b"] {
        assert_eq!(tree.ensure_node(root, name), Err(EditError::BadName));
    }
    assert_eq!(
        tree.set_property(root, "a\0b", b""),
        Err(EditError::BadName)
    );
}

#[test]
fn damaged_trees_are_refused_or_edited_without_a_panic() {
    let good = with_room(128);
    for at in 0..good.len() - 128 {
        for damage in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= damage;
            let Ok(mut tree) = Editor::open(&mut bytes) else {
                continue;
            };
            let root = tree.root();
            let made = tree.ensure_node(root, "psci");
            if let Ok(node) = made {
                assert_ne!(
                    tree.set_property(node, "method", b"smc\0"),
                    Err(EditError::Malformed)
                );
            }
            assert_eq!(tree.check_for_test(), Some(()), "{at}");
        }
    }
    for len in 0..good.len() - 128 {
        let mut bytes = good[..len].to_vec();
        assert_eq!(Editor::open(&mut bytes).err(), Some(EditError::Malformed));
    }
}

#[test]
fn a_cell_is_four_bytes_of_a_property() {
    let mut bytes = with_room(64);
    let mut tree = edited(&mut bytes);
    let root = tree.root();
    tree.set_cell(root, "#size-cells", 0x0102_0304).unwrap();
    assert_eq!(tree.property(root, "#size-cells"), Some(&[1, 2, 3, 4][..]));
}

#[test]
fn ram_is_that_of_the_roots_children_in_the_roots_cells() {
    // Without any, addresses have two and sizes one.
    for (given, address, size) in [
        (false, 2, 1),
        (true, 1, 1),
        (true, 2, 1),
        (true, 1, 2),
        (true, 2, 2),
        (true, 0, 1),
        (true, 1, 0),
    ] {
        let mut tree = Tree {
            structure: Vec::new(),
            strings: Vec::new(),
        };
        let wide = |value: u64, cells: usize| value.to_be_bytes()[8 - 4 * cells..].to_vec();
        tree.begin("");
        if given {
            tree.prop("#address-cells", &(address as u32).to_be_bytes());
            tree.prop("#size-cells", &(size as u32).to_be_bytes());
        }
        tree.word(NOP);
        // Of two cells, the first counts.
        let high = |cells: usize| u64::from(cells == 2) << 32;
        let pair = |start: u64, bytes: u64| {
            let (start, bytes) = (start | high(address), bytes | high(size));
            [wide(start, address), wide(bytes, size)].concat()
        };
        for (start, bytes) in [(0x1000, 0x100), (0x5000, 0x300)] {
            tree.begin("memory");
            tree.prop("device_type", b"memory\0");
            tree.prop(
                "reg",
                &[pair(start, bytes), pair(start + 0x1000, 1)].concat(),
            );
            // One with a node in it, and one without.
            if start == 0x1000 {
                tree.begin("inside");
                tree.prop("device_type", b"no memory\0");
                tree.prop("reg", &pair(1, 1));
                tree.word(END_NODE);
            }
            tree.word(END_NODE);
        }
        tree.begin("cpus");
        tree.word(END_NODE);
        let range = |start: u64, bytes: u64| {
            let start = if address == 0 {
                0
            } else {
                start | high(address)
            };
            start..start + if size == 0 { 0 } else { bytes | high(size) }
        };
        let ranges = [
            range(0x1000, 0x100),
            range(0x2000, 1),
            range(0x5000, 0x300),
            range(0x6000, 1),
            0..0,
        ];
        let bytes = tree.finish();
        assert_eq!(memory::<1>(&bytes), Some([ranges[0].clone()]));
        assert_eq!(memory(&bytes), Some(ranges), "{address} {size}");
    }
}

#[test]
fn an_edit_may_take_all_the_room_there_is() {
    // A token, a length, a name that is there, and a value.
    for (room, set) in [(16, Ok(())), (15, Err(EditError::NoRoom))] {
        let mut bytes = with_room(room);
        let mut tree = edited(&mut bytes);
        let root = tree.root();
        assert_eq!(tree.set_property(root, "reg", b"1234"), set, "{room}");
        assert_eq!(tree.check_for_test(), Some(()));
    }
}

/// Whether a tree of these items in a row is one.
fn opens(items: &[&dyn Fn(&mut Tree)]) -> bool {
    let mut tree = Tree {
        structure: Vec::new(),
        strings: Vec::new(),
    };
    for item in items {
        item(&mut tree);
    }
    let mut bytes = tree.finish();
    Editor::open(&mut bytes).is_ok()
}

#[test]
fn items_come_in_an_order_that_makes_a_tree() {
    let begin: &dyn Fn(&mut Tree) = &|tree| tree.begin("");
    let end: &dyn Fn(&mut Tree) = &|tree| tree.word(END_NODE);
    let prop: &dyn Fn(&mut Tree) = &|tree| tree.prop("a", b"b");
    let nop: &dyn Fn(&mut Tree) = &|tree| tree.word(NOP);
    let finish: &dyn Fn(&mut Tree) = &|tree| tree.word(END);
    // The last end of a node, and of the tree, are put behind each.
    for good in [
        &[begin][..],
        &[begin, prop],
        &[nop, begin, nop, prop, nop],
        &[begin, prop, begin, prop, end],
    ] {
        assert!(opens(good), "{}", good.len());
    }
    for (n, bad) in [
        &[][..],
        &[prop, begin],
        &[begin, begin, end, prop],
        &[begin, end, begin],
        &[begin, end],
        &[begin, begin],
        &[begin, finish],
        &[begin, end, finish, begin],
        &[begin, end, prop, begin],
    ]
    .into_iter()
    .enumerate()
    {
        assert!(!opens(bad), "{n}");
    }
}

#[test]
fn a_node_of_another_tree_is_none_before_the_structure() {
    let mut other = with_room(0);
    let node = edited(&mut other).root();
    // Reservations that read like the beginning of a node, where the other tree's root is.
    let shift = 16;
    let mut bytes = with_room(0);
    let begin = [BEGIN_NODE, 0, 0, 0].map(u32::to_be_bytes).concat();
    bytes.splice(56..56, begin);
    for field in [4, 8, 12] {
        let value = u32::from_be_bytes(*bytes[field..].first_chunk().unwrap()) + shift;
        bytes[field..field + 4].copy_from_slice(&value.to_be_bytes());
    }
    let tree = edited(&mut bytes);
    assert_eq!(tree.name(tree.root()), Some(&b""[..]));
    assert_eq!(tree.name(node), None);
}
