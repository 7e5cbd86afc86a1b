//! A file's hash tree in memory: its nodes as they are committed, and what has changed since.
//!
//! **Invariant:** a version that is committed is not written over before the next one is.
//! **Knows nothing of:** keys, requests, what is in the blocks.

use crate::host::StorageError;
use crate::keys::node_hash;
use crate::layout::{HASH, NODES, Node, SECOND_BLOCK, node_at, place, second_child};
use alloc::vec::Vec;
use tally_crypto::symmetric::same;
use tally_mem::fallible::{self, HeapExhausted};
use zerocopy::{FromBytes, IntoBytes};

/// Nodes that share a block.
#[derive(Debug, Default)]
struct Shelf {
    committed: Vec<Node>,
    /// All of them, once one has changed.
    changed: Option<Vec<Node>>,
    /// Which ones have changed, a bit each.
    dirty: u32,
    /// Whose blocks have been written.
    written: u32,
}

impl Shelf {
    fn nodes(&self) -> &[Node] {
        self.changed.as_ref().unwrap_or(&self.committed)
    }

    fn change(&mut self) -> Result<&mut Vec<Node>, HeapExhausted> {
        if self.changed.is_none() {
            let mut copy = fallible::vec_with_capacity(self.committed.len())?;
            copy.extend_from_slice(&self.committed);
            self.changed = Some(copy);
        }
        self.changed.as_mut().ok_or(HeapExhausted)
    }
}

/// The nodes of a file.
#[derive(Debug)]
pub(crate) struct Tree {
    shelves: Vec<Shelf>,
    /// Version of the root that is committed.
    second: bool,
    /// Nodes that are committed.
    committed: u32,
    /// Nodes that there are now.
    count: u32,
}

impl Tree {
    /// That of a new file, of a root.
    pub(crate) fn new() -> Result<Self, HeapExhausted> {
        let mut tree = Self {
            shelves: Vec::new(),
            second: false,
            committed: 0,
            count: 0,
        };
        tree.grow(1)?;
        Ok(tree)
    }

    /// One that is read: of so many nodes, whose root has that version.
    pub(crate) const fn of(count: u32, second: bool) -> Self {
        Self {
            shelves: Vec::new(),
            second,
            committed: count,
            count,
        }
    }

    /// Nodes that there are.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Blocks of nodes.
    pub(crate) fn blocks(&self) -> usize {
        (self.count as usize).div_ceil(NODES)
    }

    /// Bytes of the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let nodes = |shelf: &Shelf| {
            shelf.committed.capacity() + shelf.changed.as_ref().map_or(0, Vec::capacity)
        };
        self.shelves.capacity() * size_of::<Shelf>()
            + self.shelves.iter().map(nodes).sum::<usize>() * size_of::<Node>()
    }

    /// A node as it is now.
    pub(crate) fn node(&self, id: u32) -> Result<&Node, StorageError> {
        let (block, place) = place(id);
        let shelf = self.shelves.get(block);
        shelf
            .and_then(|shelf| shelf.nodes().get(place))
            .ok_or(StorageError::Corrupt)
    }

    /// Whether a node's committed version is its second one.
    fn is_second(&self, id: u32) -> Result<bool, StorageError> {
        if id == 1 {
            return Ok(self.second);
        }
        let (block, place) = place(id / 2);
        let shelf = self.shelves.get(block).ok_or(StorageError::Corrupt)?;
        let parent = shelf.committed.get(place).ok_or(StorageError::Corrupt)?;
        Ok(parent.flags.get() & second_child(id) != 0)
    }

    /// Takes in the next block of nodes.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<(), StorageError> {
        let first = self.shelves.len() * NODES;
        let len = NODES.min((self.committed as usize).saturating_sub(first));
        fallible::try_push(
            &mut self.shelves,
            Shelf {
                committed: fallible::vec_with_capacity(len)?,
                ..Shelf::default()
            },
        )?;
        for place in 0..len {
            let at = node_at(place, self.is_second((first + place) as u32 + 1)?);
            let node = bytes
                .get(at..)
                .and_then(|bytes| Node::read_from_prefix(bytes).ok());
            let (node, _) = node.ok_or(StorageError::Corrupt)?;
            if let Some(shelf) = self.shelves.last_mut() {
                shelf.committed.push(node);
            }
        }
        Ok(())
    }

    fn hash_of(&self, id: u32, length: u64) -> Result<[u8; HASH], StorageError> {
        let child = |id: u32| match id <= self.count {
            true => self.node(id).map(|node| Some(&node.hash)),
            false => Ok(None),
        };
        let length = (id == 1).then_some(length);
        Ok(node_hash(
            self.node(id)?,
            length,
            [child(2 * id)?, child(2 * id + 1)?],
        ))
    }

    /// Checks the nodes of a block, all having been read. `length` is the file's.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn verify(&self, block: usize, length: u64) -> Result<(), StorageError> {
        for id in self.ids(block) {
            if !same(&self.hash_of(id, length)?, &self.node(id)?.hash) {
                return Err(StorageError::Corrupt);
            }
        }
        Ok(())
    }

    /// The nodes of a block, the last one first.
    fn ids(&self, block: usize) -> impl Iterator<Item = u32> + use<> {
        let first = (block * NODES) as u32 + 1;
        (first..=self.count.min(first + NODES as u32 - 1)).rev()
    }

    /// A node, to change it.
    fn change(&mut self, id: u32) -> Result<&mut Node, StorageError> {
        let (block, place) = place(id);
        let shelf = self.shelves.get_mut(block).ok_or(StorageError::Corrupt)?;
        shelf.dirty |= 1 << place;
        shelf.change()?.get_mut(place).ok_or(StorageError::Corrupt)
    }

    /// Adds nodes until there are so many.
    fn grow(&mut self, count: u32) -> Result<(), HeapExhausted> {
        while self.count < count {
            let (block, place) = place(self.count + 1);
            if block == self.shelves.len() {
                fallible::try_push(&mut self.shelves, Shelf::default())?;
            }
            let shelf = self.shelves.get_mut(block).ok_or(HeapExhausted)?;
            let nodes = shelf.change()?;
            // One that was committed keeps its flags: they say what is not to be written over.
            if nodes.len() == place {
                // The first version is written of even blocks, the second one of odd ones: such are neighbours.
                let second = match self.count.is_multiple_of(2) {
                    true => SECOND_BLOCK,
                    false => 0,
                };
                fallible::try_push(
                    nodes,
                    Node {
                        flags: second.into(),
                        ..Node::NEW
                    },
                )?;
            }
            shelf.dirty |= 1 << place;
            self.count += 1;
        }
        Ok(())
    }

    /// Drops nodes until there are so many, at least the root.
    pub(crate) fn shrink(&mut self, count: u32) {
        self.count = self.count.min(count.max(1));
    }

    /// The node of a block that is about to be written, and whether it goes to its second version.
    pub(crate) fn write(&mut self, block: u32) -> Result<(&mut Node, bool), StorageError> {
        let id = block + 1;
        self.grow(id)?;
        let (shelf, place) = place(id);
        let shelf = self.shelves.get_mut(shelf).ok_or(StorageError::Corrupt)?;
        let again = shelf.written & 1 << place != 0;
        shelf.written |= 1 << place;
        let node = self.change(id)?;
        if !again {
            node.flags.set(node.flags.get() ^ SECOND_BLOCK);
        }
        let second = node.flags.get() & SECOND_BLOCK != 0;
        Ok((node, second))
    }

    /// Marks the root as changed, and who has lost a child.
    pub(crate) fn begin_hashing(&mut self) -> Result<(), StorageError> {
        self.change(1)?;
        if self.count < self.committed {
            for id in self.count.div_ceil(2).max(1)..=self.count.min(self.committed / 2) {
                self.change(id)?;
            }
        }
        Ok(())
    }

    /// Computes hashes in a block of nodes, those behind it having been computed.
    pub(crate) fn hash(&mut self, block: usize, length: u64) -> Result<(), StorageError> {
        for id in self.ids(block) {
            if !self.is_dirty(id) {
                continue;
            }
            if id > 1 {
                let parent = self.change(id / 2)?;
                parent.flags.set(parent.flags.get() ^ second_child(id));
            }
            let hash = self.hash_of(id, length)?;
            self.change(id)?.hash = hash;
        }
        Ok(())
    }

    fn is_dirty(&self, id: u32) -> bool {
        let (block, place) = place(id);
        let shelf = self.shelves.get(block);
        shelf.is_some_and(|shelf| shelf.dirty & 1 << place != 0)
    }

    /// Whether a block of nodes is to be written.
    pub(crate) fn is_block_dirty(&self, block: usize) -> bool {
        self.ids(block).any(|id| self.is_dirty(id))
    }

    /// Puts both versions of a block's nodes in place.
    pub(crate) fn put(&self, block: usize, bytes: &mut [u8]) -> Result<(), StorageError> {
        let Some(shelf) = self.shelves.get(block) else {
            return Err(StorageError::Corrupt);
        };
        let first = (block * NODES) as u32 + 1;
        let mut copy = |place: usize, second: bool, node: &Node| {
            let at = node_at(place, second);
            let to = bytes.get_mut(at..at + size_of::<Node>());
            to.ok_or(StorageError::Corrupt)?
                .copy_from_slice(node.as_bytes());
            Ok::<_, StorageError>(())
        };
        for (place, node) in shelf.committed.iter().enumerate() {
            copy(place, self.is_second(first + place as u32)?, node)?;
        }
        for (place, node) in shelf.changed.iter().flatten().enumerate() {
            let id = first + place as u32;
            if id > self.count || shelf.dirty & 1 << place == 0 {
                continue;
            }
            let second = match id {
                1 => !self.second,
                _ => self.node(id / 2)?.flags.get() & second_child(id) != 0,
            };
            copy(place, second, node)?;
        }
        Ok(())
    }

    /// What has changed is committed.
    pub(crate) fn settle(&mut self) {
        self.second = !self.second;
        self.committed = self.count;
        self.shelves.truncate(self.blocks());
        for shelf in &mut self.shelves {
            if let Some(changed) = shelf.changed.take() {
                shelf.committed = changed;
            }
            (shelf.dirty, shelf.written) = (0, 0);
        }
        let used = match self.committed as usize % NODES {
            0 => NODES,
            used => used,
        };
        if let Some(last) = self.shelves.last_mut() {
            last.committed.truncate(used);
        }
    }
}
