//! Reading and verifying nodes when they are used.

use super::{Store, missing, zeros};
use crate::host::{Host, StorageError};
use crate::layout::{BLOCK, nodes_at};

impl Store {
    /// Has a node in memory, verified up to the root; with `children`, those as well.
    pub(super) fn ensure<H: Host>(
        &mut self,
        host: &mut H,
        id: u32,
        children: bool,
    ) -> Result<(), StorageError> {
        if id > self.tree.committed() {
            return Ok(());
        }
        match self.read_nodes(host, id, children) {
            Err(_) if !self.reopened => {
                self.tree.trim(0);
                self.reopen(host)?;
                self.read_nodes(host, id, children)
            }
            done => done,
        }
    }

    fn read_nodes<H: Host>(
        &mut self,
        host: &mut H,
        id: u32,
        children: bool,
    ) -> Result<(), StorageError> {
        let Some(mut block) = self.tree.lacks(id, children) else {
            self.tree.figures.nodes.hits += 1;
            return self.verify(host, id);
        };
        let fd = self.fd.ok_or(StorageError::Corrupt)?;
        let mut bytes = zeros(BLOCK)?;
        loop {
            let len = host
                .read(fd, nodes_at(block), &mut bytes)
                .map_err(missing)?;
            bytes.get_mut(len..).unwrap_or_default().fill(0);
            self.tree.read(block, &bytes)?;
            match self.tree.lacks(id, children) {
                Some(next) => block = next,
                None => break,
            }
        }
        self.verify(host, id)?;
        self.proven = true;
        Ok(())
    }

    fn verify<H: Host>(&mut self, host: &mut H, id: u32) -> Result<(), StorageError> {
        let (tree, length) = (&mut self.tree, self.committed_length);
        host.at_length(|| tree.verify(id, length))
    }

    /// Has in memory what the block's node is to be changed with, or made of.
    pub(super) fn prepare<H: Host>(
        &mut self,
        host: &mut H,
        block: u32,
    ) -> Result<(), StorageError> {
        let (id, committed) = (block + 1, self.tree.committed());
        for id in self.tree.count().min(block) + 1..=id {
            self.ensure(host, id.min(committed).max(1), false)?;
            if id > committed {
                self.ensure(host, (id / 2).max(1), false)?;
            }
        }
        Ok(())
    }
}
