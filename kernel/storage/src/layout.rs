//! Format of a file: places and forms of its parts (optee_os `core/tee/tee_ree_fs.c`, `core/include/tee/fs_htree.h`).
//!
//! Blocks of 4 KiB. The first has two versions of the head. Then come groups of 62: a block with two versions of each of 31
//! nodes, and 61 blocks of data, of which each has two versions as well, one behind the other. All numbers are little-endian.
//!
//! **Knows nothing of:** keys, requests, what is in memory.

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;
/// Nodes of which a block has both versions.
pub(crate) const NODES: usize = BLOCK / (2 * size_of::<Node>());
/// Bytes that both versions of the head take.
pub(crate) const HEADS: usize = 2 * size_of::<Head>();
/// Bytes of initial vectors, tags, and keys of files.
pub(crate) const SHORT: usize = 16;
/// Bytes of hashes.
pub(crate) const HASH: usize = 32;

/// Blocks of a group.
const GROUP: u64 = 2 * NODES as u64;
/// Flag of a node: its block's committed version is the second one.
pub(crate) const SECOND_BLOCK: u16 = 1;

/// Flag of a node: the committed version of its child of this number is the second one.
pub(crate) const fn second_child(id: u32) -> u16 {
    2 << (id & 1)
}

/// Head of a file.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Head {
    pub(crate) iv: [u8; SHORT],
    pub(crate) tag: [u8; SHORT],
    /// The file's key, encrypted.
    pub(crate) key: [u8; SHORT],
    /// A [`Meta`], encrypted.
    pub(crate) meta: [u8; SHORT],
    /// How often the file was committed. Its lowest bit says which version the head and the root are.
    pub(crate) counter: U32,
}

/// What is encrypted in the head.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Meta {
    pub(crate) length: U64,
    /// The last node's number; 0 while there was never a second one.
    pub(crate) last_node: U32,
    pub(crate) padding: U32,
}

/// Node of a tree: node `n + 1` is of block `n`, nodes `2 n` and `2 n + 1` are children of node `n`.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub(crate) struct Node {
    /// Of what follows, in the root the file's length, and the children's hashes.
    pub(crate) hash: [u8; HASH],
    /// Of its block, as well as the tag.
    pub(crate) iv: [u8; SHORT],
    pub(crate) tag: [u8; SHORT],
    pub(crate) flags: U16,
}

impl Node {
    /// One that no block was written for yet.
    pub(crate) const NEW: Self = Self {
        hash: [0; HASH],
        iv: [0; SHORT],
        tag: [0; SHORT],
        flags: U16::ZERO,
    };
}

/// Which block of nodes has a node, and its place there.
pub(crate) const fn place(id: u32) -> (usize, usize) {
    let index = id as usize - 1;
    (index / NODES, index % NODES)
}

/// Bytes before a node's version in its block.
pub(crate) const fn node_at(place: usize, second: bool) -> usize {
    (2 * place + second as usize) * size_of::<Node>()
}

/// Bytes before a block of nodes.
pub(crate) const fn nodes_at(block: usize) -> u64 {
    (1 + block as u64 * GROUP) * BLOCK as u64
}

/// Bytes before a version of a block of data.
pub(crate) const fn data_at(block: u32, second: bool) -> u64 {
    let index = 2 * block as u64 + second as u64;
    (2 + index + index / (GROUP - 1)) * BLOCK as u64
}

/// Blocks of so much data.
pub(crate) const fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK as u64)
}
