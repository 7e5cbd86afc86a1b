//! A file's hash tree: those of its nodes that are in memory, as they are committed, and what has changed since.
//!
//! **Invariant:** a node whose bit `verified` is set has the hash that its parent's covers, if its ancestors' are set too. A
//! version that is committed is not written over before the next one is.
//! **Knows nothing of:** keys, requests, what is in the blocks.

use crate::figures::Figures;
use crate::host::StorageError;
use crate::keys::node_hash;
use crate::layout::{NODES, Node, SECOND_BLOCK, node_at, place, second_child};
use alloc::vec::Vec;
use tally_crypto::symmetric::same;
use tally_mem::fallible::{self, HeapExhausted};
use zerocopy::{FromBytes, IntoBytes};

/// Nodes that share a block of the file. Sets of them have a bit each.
#[derive(Debug, Default)]
struct Shelf {
    block: usize,
    committed: Vec<Node>,
    /// All of them, once one has changed.
    changed: Option<Vec<Node>>,
    /// Whose committed version is the second one.
    second: u32,
    /// Whose next version is the second one, of those that are dirty.
    next_second: u32,
    /// Which have changed.
    dirty: u32,
    /// Whose blocks have been written.
    written: u32,
    /// Which are what their parent says, with the children that are in memory or were.
    verified: u32,
    /// When it was last used.
    used: u64,
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

    fn heap_bytes(&self) -> usize {
        let changed = self.changed.as_ref().map_or(0, Vec::capacity);
        (self.committed.capacity() + changed) * size_of::<Node>()
    }
}

/// The nodes of a file.
#[derive(Debug)]
pub(crate) struct Tree {
    /// In order of their blocks; the first one is always there.
    shelves: Vec<Shelf>,
    /// Nodes that are committed.
    committed: u32,
    /// Nodes that there are now.
    count: u32,
    /// Counts uses.
    now: u64,
    pub(crate) figures: Figures,
}

/// A node and its ancestors, the root first.
fn path(id: u32) -> impl Iterator<Item = u32> {
    (0..=id.checked_ilog2().unwrap_or(0))
        .rev()
        .map(move |up| id >> up)
}

/// First node of a block.
const fn first_of(block: usize) -> u32 {
    (block * NODES) as u32 + 1
}

impl Tree {
    /// That of a new file, of a root.
    pub(crate) fn new() -> Result<Self, HeapExhausted> {
        let mut tree = Self {
            shelves: Vec::new(),
            committed: 0,
            count: 0,
            now: 0,
            figures: Figures::default(),
        };
        tree.grow(1)?;
        Ok(tree)
    }

    /// One of so many nodes, none of which is in memory.
    pub(crate) fn of(count: u32) -> Self {
        Self {
            shelves: Vec::new(),
            committed: count,
            count,
            now: 0,
            figures: Figures::default(),
        }
    }

    /// Nodes that there are.
    pub(crate) const fn count(&self) -> u32 {
        self.count
    }

    /// Nodes that are committed.
    pub(crate) const fn committed(&self) -> u32 {
        self.committed
    }

    /// Blocks of nodes.
    pub(crate) fn blocks(&self) -> usize {
        (self.count as usize).div_ceil(NODES)
    }

    /// Bytes of the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let nodes: usize = self.shelves.iter().map(Shelf::heap_bytes).sum();
        nodes + self.shelves.capacity() * size_of::<Shelf>()
    }

    fn find(&self, block: usize) -> Result<usize, usize> {
        self.shelves
            .binary_search_by_key(&block, |shelf| shelf.block)
    }

    fn shelf(&self, block: usize) -> Option<&Shelf> {
        self.shelves.get(self.find(block).ok()?)
    }

    fn shelf_mut(&mut self, block: usize) -> Option<&mut Shelf> {
        let at = self.find(block).ok()?;
        self.shelves.get_mut(at)
    }

    /// A node as it is now.
    pub(crate) fn node(&self, id: u32) -> Result<&Node, StorageError> {
        let (block, place) = place(id);
        let shelf = self.shelf(block);
        shelf
            .and_then(|shelf| shelf.nodes().get(place))
            .ok_or(StorageError::Corrupt)
    }

    fn committed_node(&self, id: u32) -> Result<&Node, StorageError> {
        let (block, place) = place(id);
        let shelf = self.shelf(block);
        shelf
            .and_then(|shelf| shelf.committed.get(place))
            .ok_or(StorageError::Corrupt)
    }

    fn has(&self, id: u32, of: impl Fn(&Shelf) -> u32) -> bool {
        let (block, place) = place(id);
        self.shelf(block)
            .is_some_and(|shelf| of(shelf) & 1 << place != 0)
    }

    /// The block of nodes that is to be read next so that a node can be used; with `children` so that its hash can be computed.
    pub(crate) fn lacks(&self, id: u32, children: bool) -> Option<usize> {
        for node in path(id).take_while(|node| *node <= self.committed) {
            let is_enough = self.has(node, |shelf| shelf.verified) && !(children && node == id);
            let needed = [node, 2 * node, 2 * node + 1];
            let needed = &needed[..if is_enough { 1 } else { 3 }];
            for node in needed.iter().filter(|node| **node <= self.committed) {
                let (block, _) = place(*node);
                if self.find(block).is_err() {
                    return Some(self.lacks_first(block));
                }
            }
        }
        None
    }

    /// That block, or one of those of its nodes' parents, which say which versions are good.
    fn lacks_first(&self, mut block: usize) -> usize {
        loop {
            let last = first_of(block + 1) - 1;
            let parents = [first_of(block) / 2, last.min(self.committed) / 2];
            let missing = parents.map(|parent| place(parent.max(1)).0);
            match missing.into_iter().find(|block| self.find(*block).is_err()) {
                Some(parent) if parent != block => block = parent,
                _ => return block,
            }
        }
    }

    /// Takes in a block of nodes.
    pub(crate) fn read(&mut self, block: usize, bytes: &[u8]) -> Result<(), StorageError> {
        self.figures.nodes.misses += 1;
        self.load(block, bytes, false)
    }

    pub(crate) fn load(
        &mut self,
        block: usize,
        bytes: &[u8],
        root_is_second: bool,
    ) -> Result<(), StorageError> {
        let first = first_of(block);
        let len = NODES.min(self.committed.saturating_sub(first - 1) as usize);
        let mut shelf = Shelf {
            block,
            committed: fallible::vec_with_capacity(len)?,
            used: self.now,
            ..Shelf::default()
        };
        for place in 0..len {
            let id = first + place as u32;
            let parent = match (id, block) {
                (1, _) => None,
                (_, 0) => shelf.committed.get(id as usize / 2 - 1),
                _ => Some(self.committed_node(id / 2)?),
            };
            let second = parent.map_or(root_is_second, |parent| {
                parent.flags.get() & second_child(id) != 0
            });
            let node = bytes.get(node_at(place, second)..);
            let node = node.and_then(|bytes| Node::read_from_prefix(bytes).ok());
            shelf.committed.push(node.ok_or(StorageError::Corrupt)?.0);
            shelf.second |= u32::from(second) << place;
        }
        if let Err(at) = self.find(block) {
            fallible::try_reserve(&mut self.shelves, 1)?;
            self.shelves.insert(at, shelf);
        }
        // Their parents were checked with others, if they were.
        for id in (first..first + len as u32).filter(|id| *id > 1) {
            let (parent, place) = place(id / 2);
            if let Some(shelf) = self.shelf_mut(parent) {
                shelf.verified &= !(1 << place);
            }
        }
        self.count_bytes();
        Ok(())
    }

    fn count_bytes(&mut self) {
        let (entries, bytes) = (self.shelves.len(), self.heap_bytes());
        self.figures.nodes.now(entries, bytes);
    }

    /// Checks a node and its ancestors, which are in memory.
    ///
    /// # Errors
    /// `Corrupt`.
    pub(crate) fn verify(&mut self, id: u32, length: u64) -> Result<(), StorageError> {
        self.now += 1;
        for id in path(id) {
            let (block, place) = place(id);
            let (now, bit) = (self.now, 1 << place);
            if id > self.committed {
                break;
            }
            let shelf = self.shelf_mut(block).ok_or(StorageError::Corrupt)?;
            shelf.used = now;
            if shelf.verified & bit != 0 {
                continue;
            }
            let node = self.committed_node(id)?;
            let child = |id: u32| match id <= self.committed {
                true => self.committed_node(id).map(|node| Some(&node.hash)),
                false => Ok(None),
            };
            let children = [child(2 * id)?, child(2 * id + 1)?];
            let hash = node_hash(node, (id == 1).then_some(length), children);
            if !same(&hash, &node.hash) {
                return Err(StorageError::Corrupt);
            }
            let shelf = self.shelf_mut(block).ok_or(StorageError::Corrupt)?;
            shelf.verified |= bit;
        }
        Ok(())
    }

    /// Gives up blocks of nodes that have not changed, the one that was used longest ago first, until the others take at most
    /// so many bytes. The first one stays.
    pub(crate) fn trim(&mut self, most: usize) {
        while self.heap_bytes() > most {
            let clean = self.shelves.iter().enumerate().skip(1);
            let clean = clean.filter(|(_, shelf)| shelf.changed.is_none());
            let Some((at, _)) = clean.min_by_key(|(_, shelf)| shelf.used) else {
                break;
            };
            self.shelves.remove(at);
            self.figures.nodes.evictions += 1;
        }
        if most == 0 {
            self.shelves.shrink_to_fit();
        }
        self.count_bytes();
    }

    /// The nodes of a block, the last one first.
    fn ids(&self, block: usize) -> impl Iterator<Item = u32> + use<> {
        let first = first_of(block);
        (first..=self.count.min(first + NODES as u32 - 1)).rev()
    }

    /// A node, to change it.
    fn change(&mut self, id: u32) -> Result<&mut Node, StorageError> {
        let (block, place) = place(id);
        let shelf = self.shelf_mut(block).ok_or(StorageError::Corrupt)?;
        shelf.dirty |= 1 << place;
        shelf.change()?.get_mut(place).ok_or(StorageError::Corrupt)
    }

    /// Marks a node and its ancestors as changed: they stay in memory then.
    pub(crate) fn touch(&mut self, id: u32) -> Result<(), StorageError> {
        for id in path(id) {
            if !self.has(id, |shelf| shelf.dirty) {
                self.change(id)?;
            }
        }
        Ok(())
    }

    /// Adds nodes until there are so many.
    fn grow(&mut self, count: u32) -> Result<(), HeapExhausted> {
        while self.count < count {
            let (block, place) = place(self.count + 1);
            if let Err(at) = self.find(block) {
                fallible::try_reserve(&mut self.shelves, 1)?;
                let shelf = Shelf {
                    block,
                    ..Shelf::default()
                };
                self.shelves.insert(at, shelf);
            }
            // The first version is written of even blocks, the second one of odd ones: such are neighbours.
            let second = match self.count.is_multiple_of(2) {
                true => SECOND_BLOCK,
                false => 0,
            };
            let shelf = self.shelf_mut(block).ok_or(HeapExhausted)?;
            let nodes = shelf.change()?;
            // One that was committed keeps its flags: they say what is not to be written over.
            if nodes.len() == place {
                let flags = second.into();
                fallible::try_push(nodes, Node { flags, ..Node::NEW })?;
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
        self.touch(id)?;
        let (shelf, place) = place(id);
        let shelf = self.shelf_mut(shelf).ok_or(StorageError::Corrupt)?;
        let again = shelf.written & 1 << place != 0;
        shelf.written |= 1 << place;
        let node = self.change(id)?;
        if !again {
            node.flags.set(node.flags.get() ^ SECOND_BLOCK);
        }
        let second = node.flags.get() & SECOND_BLOCK != 0;
        Ok((node, second))
    }

    /// Nodes that lose a child, having been committed with it.
    pub(crate) fn bereaved(&self) -> impl Iterator<Item = u32> + use<> {
        let end = match self.count < self.committed {
            true => self.count.min(self.committed / 2) + 1,
            false => 0,
        };
        self.count.div_ceil(2).max(1)..end
    }

    /// The last node of a block that has changed, before or at one.
    pub(crate) fn last_dirty(&self, block: usize, before: u32) -> Option<u32> {
        let is_dirty = |id: &u32| *id <= before && self.has(*id, |shelf| shelf.dirty);
        self.ids(block).find(is_dirty)
    }

    /// Computes the hash of a node that has changed, those of its children having been computed.
    pub(crate) fn hash(&mut self, id: u32, length: u64) -> Result<(), StorageError> {
        let (block, place) = place(id);
        let second = if id > 1 {
            let parent = self.change(id / 2)?;
            parent.flags.set(parent.flags.get() ^ second_child(id));
            parent.flags.get() & second_child(id) != 0
        } else {
            !self.has(1, |shelf| shelf.second)
        };
        let child = |id: u32| match id <= self.count {
            true => self.node(id).map(|node| Some(&node.hash)),
            false => Ok(None),
        };
        let children = [child(2 * id)?, child(2 * id + 1)?];
        let hash = node_hash(self.node(id)?, (id == 1).then_some(length), children);
        self.change(id)?.hash = hash;
        if let Some(shelf) = self.shelf_mut(block) {
            shelf.next_second &= !(1 << place);
            shelf.next_second |= u32::from(second) << place;
        }
        Ok(())
    }

    /// The first block of nodes that is to be written, at one or behind it.
    pub(crate) fn next_dirty_block(&self, from: usize) -> Option<usize> {
        let range = from..self.blocks();
        let is_dirty = |shelf: &&Shelf| range.contains(&shelf.block) && shelf.dirty != 0;
        let found = self.shelves.iter().find(is_dirty);
        found.map(|shelf| shelf.block)
    }

    /// The last one before one.
    pub(crate) fn last_dirty_block(&self, before: usize) -> Option<usize> {
        let is_dirty = |shelf: &&Shelf| shelf.block < before && shelf.dirty != 0;
        let found = self.shelves.iter().rev().find(is_dirty);
        found.map(|shelf| shelf.block)
    }

    /// Puts both versions of a block's nodes in place.
    pub(crate) fn put(&self, block: usize, bytes: &mut [u8]) -> Result<(), StorageError> {
        let Some(shelf) = self.shelf(block) else {
            return Err(StorageError::Corrupt);
        };
        let mut copy = |place: usize, second: u32, node: &Node| {
            let at = node_at(place, second & 1 << place != 0);
            let to = bytes.get_mut(at..at + size_of::<Node>());
            to.ok_or(StorageError::Corrupt)?
                .copy_from_slice(node.as_bytes());
            Ok::<_, StorageError>(())
        };
        for (place, node) in shelf.committed.iter().enumerate() {
            copy(place, shelf.second, node)?;
        }
        for (place, node) in shelf.changed.iter().flatten().enumerate() {
            if first_of(block) + place as u32 <= self.count && shelf.dirty & 1 << place != 0 {
                copy(place, shelf.next_second, node)?;
            }
        }
        Ok(())
    }

    /// What has changed is committed.
    pub(crate) fn settle(&mut self) {
        self.committed = self.count;
        let (blocks, count) = (self.blocks(), self.count);
        self.shelves.retain(|shelf| shelf.block < blocks);
        for shelf in &mut self.shelves {
            if let Some(changed) = shelf.changed.take() {
                shelf.committed = changed;
            }
            shelf.second = shelf.second & !shelf.dirty | shelf.next_second & shelf.dirty;
            // Those that are there: the others may come back as new ones.
            let used = NODES.min((count + 1).saturating_sub(first_of(shelf.block)) as usize);
            shelf.committed.truncate(used);
            shelf.verified = (shelf.verified | shelf.dirty) & (((1u64 << used) - 1) as u32);
            (shelf.dirty, shelf.written, shelf.next_second) = (0, 0, 0);
        }
        self.count_bytes();
    }
}
