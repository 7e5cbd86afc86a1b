//! Committing: blocks, nodes and head are written beside those that are committed.

use super::{MAX_REQUEST, Store, zeros};
use crate::host::{Host, Name, StorageError};
use crate::layout::{BLOCK, Head, Meta, SHORT, nodes_at};
use alloc::vec::Vec;
use tally_mem::fallible;
use zerocopy::IntoBytes;

impl Store {
    /// Writes all that changed. The directory's file is good as soon as its head is, which comes last; others are when the
    /// directory says so.
    #[inline(never)]
    pub(crate) fn commit<H: Host>(&mut self, host: &mut H) -> Result<(), StorageError> {
        if !self.changed {
            return Ok(());
        }
        let mut data = Vec::new();
        let data_goes = self.seal(host, &mut data)?;
        self.hash_all(host)?;
        let head = self.next_head(host)?;
        let head_last = self.name == Name::Directory;
        let mut out = Out::default();
        if !head_last {
            let mut heads = zeros(BLOCK)?;
            for head in self.head.iter().chain([&head]) {
                put_head(&mut heads, head)?;
            }
            out.put(self, host, 0, &heads)?;
        }
        let mut nodes = zeros(BLOCK)?;
        let mut from = 0;
        while let Some(block) = self.tree.next_dirty_block(from) {
            nodes.fill(0);
            self.tree.put(block, &mut nodes)?;
            out.put(self, host, nodes_at(block), &nodes)?;
            if let (0, Some(at)) = (block, data_goes) {
                out.put(self, host, at, &data)?;
            }
            from = block + 1;
        }
        if head_last {
            let at = (head.counter.get() & 1) as usize * size_of::<Head>();
            out.put(self, host, at as u64, head.as_bytes())?;
        }
        out.flush(self, host)?;
        self.head = Some(head);
        self.tree.settle();
        (self.changed, self.witness) = (false, None);
        self.committed_length = self.length;
        Ok(())
    }

    fn hash_all<H: Host>(&mut self, host: &mut H) -> Result<(), StorageError> {
        self.ensure(host, 1, false)?;
        self.tree.touch(1)?;
        for id in self.tree.bereaved() {
            self.ensure(host, id, false)?;
            self.tree.touch(id)?;
        }
        let mut before = usize::MAX;
        while let Some(block) = self.tree.last_dirty_block(before) {
            self.tree.trim(self.limits.nodes);
            let mut last = u32::MAX;
            while let Some(id) = self.tree.last_dirty(block, last) {
                self.ensure(host, id, true)?;
                let (tree, length) = (&mut self.tree, self.length);
                host.at_length(|| tree.hash(id, length))?;
                last = id - 1;
            }
            before = block;
        }
        Ok(())
    }

    fn next_head<H: Host>(&mut self, host: &mut H) -> Result<Head, StorageError> {
        let before = self.head.map_or(0, |head| head.counter.get());
        let counter = match self.name {
            // The greatest one says which head is good.
            Name::Directory => before.checked_add(1).ok_or(StorageError::NoSpace)?,
            Name::Number(_) => before.wrapping_add(1),
        };
        let mut iv = [0; SHORT];
        host.random(&mut iv);
        let last_node = match self.tree.count() {
            1 => 0,
            count => count,
        };
        let meta = Meta {
            length: self.length.into(),
            last_node: last_node.into(),
            padding: 0.into(),
        };
        self.key.head(iv, &meta, &self.tree.node(1)?.hash, counter)
    }
}

/// What is about to be written, together with what lies beside it.
#[derive(Default)]
struct Out {
    at: u64,
    bytes: Vec<u8>,
}

impl Out {
    fn put<H: Host>(
        &mut self,
        store: &mut Store,
        host: &mut H,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let is_next = self.at + self.bytes.len() as u64 == at;
        if !is_next || self.bytes.len() + bytes.len() > MAX_REQUEST {
            self.flush(store, host)?;
            self.at = at;
        }
        if self.bytes.capacity() == 0 {
            // Once, as growing takes both for a while.
            self.bytes = fallible::vec_with_capacity(MAX_REQUEST)?;
        }
        fallible::try_reserve(&mut self.bytes, bytes.len())?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush<H: Host>(&mut self, store: &mut Store, host: &mut H) -> Result<(), StorageError> {
        if !self.bytes.is_empty() {
            store.write(host, self.at, &self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

fn put_head(heads: &mut [u8], head: &Head) -> Result<(), StorageError> {
    let at = (head.counter.get() & 1) as usize * size_of::<Head>();
    let to = heads.get_mut(at..at + size_of::<Head>());
    to.ok_or(StorageError::Corrupt)?
        .copy_from_slice(head.as_bytes());
    Ok(())
}
