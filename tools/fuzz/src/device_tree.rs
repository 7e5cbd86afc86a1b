//! Reading and editing device trees.
//!
//! **Invariant:** a tree that could be opened can be opened after every edit, and holds what was set.

use tally_fdt::{Editor, MAGIC};

/// Room behind the tree: enough for some of the edits.
const ROOM: usize = 160;

/// Reads and edits one tree.
pub(crate) fn run(input: &[u8]) {
    let _ = tally_fdt::memory::<2>(input);
    let mut bytes = input.to_vec();
    bytes.resize(input.len() + ROOM, 0x55);
    let Ok(mut tree) = Editor::open(&mut bytes) else {
        return;
    };
    let root = tree.root();
    let value = &input[..input.len().min(37)];
    for (name, property) in [
        ("psci", "method"),
        ("chosen", "reg"),
        ("psci", "compatible"),
    ] {
        let Ok(node) = tree.ensure_node(root, name) else {
            continue;
        };
        if tree.set_property(node, property, value).is_ok() {
            assert_eq!(tree.property(node, property), Some(value));
        }
        if tree.set_property(node, property, b"short").is_ok() {
            assert_eq!(tree.property(node, property), Some(&b"short"[..]));
        }
        assert_eq!(tree.find(name), Some(node));
    }
    let len = tree.tree_bytes();
    assert!(len <= bytes.len());
    assert!(Editor::open(&mut bytes[..len]).is_ok(), "an edit broke it");
    let _ = tally_fdt::memory::<2>(&bytes);
}

/// A small tree with nodes and properties.
pub(crate) fn samples() -> Vec<Vec<u8>> {
    let words = |words: &[u32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_be_bytes()).collect() };
    let mut bytes = words(&[MAGIC, 72, 56, 72, 40, 17, 16, 0, 0, 16]);
    bytes.extend([0; 16]);
    bytes.extend(words(&[1, 0, 2, 9]));
    bytes.resize(512, 0);
    let mut len = 72;
    if let Ok(mut tree) = Editor::open(&mut bytes) {
        let root = tree.root();
        for name in ["memory@40000000", "psci", "cpus"] {
            let Ok(node) = tree.ensure_node(root, name) else {
                continue;
            };
            // The sample has room for all of it.
            let _ = tree.set_property(node, "device_type", b"memory\0");
            let _ = tree.set_property(node, "reg", &[0, 0, 0, 0, 0x40, 0, 0, 0]);
        }
        len = tree.tree_bytes();
    }
    bytes.truncate(len);
    vec![bytes]
}
