//! A file that is open: its tree, one of its blocks, and what the normal world calls it.
//!
//! **Invariant:** nothing is written by a name of the normal world's before something that only the right file has was read
//! by it, in the same operation: the supplicant may have died and come back, and the name be another file's.
//! **Knows nothing of:** objects, entries.

mod commit;
mod nodes;
mod proof;

use crate::figures::{Figures, Limits};
use crate::host::{Fd, Host, Name, StorageError};
use crate::keys::{FileKey, Keys};
use crate::layout::{self, BLOCK, HASH, Head, Node, SHORT, data_at, node_at};
use crate::tree::Tree;
use alloc::vec::Vec;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::fallible::{self, HeapExhausted};
use zerocopy::{FromBytes, FromZeros};
use zeroize::{Zeroize, Zeroizing};

/// Most bytes of a request: all of a small object. The heap has few blocks that are larger when others are at work.
const MAX_REQUEST: usize = 3 * BLOCK;
/// Most blocks of a file: numbers of nodes and of their children fit 32 bits.
const MAX_BLOCKS: u64 = 1 << 30;

/// Which state of a file is to be opened.
#[derive(Clone, Copy)]
pub(crate) enum State {
    /// The one whose root has this hash.
    Hash([u8; HASH]),
    /// The newest, by the counter in its head.
    Newest,
}

/// A block of data in memory.
#[derive(Debug)]
struct Page {
    block: u32,
    dirty: bool,
    bytes: Vec<u8>,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

/// A file of which something is in memory.
#[derive(Debug)]
pub(crate) struct Store {
    name: Name,
    fd: Option<Fd>,
    key: FileKey,
    /// The head that is committed; `None` before there is one.
    head: Option<Head>,
    tree: Tree,
    length: u64,
    committed_length: u64,
    /// The one that was used last is the last one; at most that one is dirty.
    pages: Vec<Page>,
    limits: Limits,
    /// Whether there is anything to commit.
    changed: bool,
    /// The file was proven to be the right one in this operation.
    proven: bool,
    /// The file was opened again in this operation.
    reopened: bool,
    /// A block that was written before there is a head.
    witness: Option<u32>,
}

fn zeros(bytes: usize) -> Result<Vec<u8>, HeapExhausted> {
    let mut vec = fallible::vec_with_capacity(bytes)?;
    vec.resize(bytes, 0);
    Ok(vec)
}

/// Head and root of the state that is asked for, in the first two blocks. `None` if there never was a head.
fn choose(bytes: &[u8], state: State) -> Result<Option<(Head, Node)>, StorageError> {
    let corrupt = StorageError::Corrupt;
    let part = |second: bool| {
        let head = bytes.get(usize::from(second) * size_of::<Head>()..);
        let root = bytes.get(BLOCK + node_at(0, second)..);
        let (head, _) = Head::read_from_prefix(head?).ok()?;
        let (root, _) = Node::read_from_prefix(root?).ok()?;
        Some((head, root))
    };
    let versions = [part(false).ok_or(corrupt)?, part(true).ok_or(corrupt)?];
    let counters = versions.map(|(head, _)| head.counter.get());
    let second = match state {
        State::Hash(hash) => match versions.iter().position(|(_, root)| root.hash == hash) {
            Some(version) => version == 1,
            None => return Err(corrupt),
        },
        State::Newest if versions.iter().all(|(head, _)| *head == Head::new_zeroed()) => {
            return Ok(None);
        }
        State::Newest => match counters.map(|counter| counter & 1) {
            [0, 0] => false,
            [1, 1] => true,
            [0, _] => counters[0] < counters[1],
            _ => return Err(corrupt),
        },
    };
    let chosen = versions[usize::from(second)];
    match chosen.0.counter.get() & 1 == u32::from(second) {
        true => Ok(Some(chosen)),
        false => Err(corrupt),
    }
}

impl Store {
    /// A new file, which is made when something is written.
    pub(crate) fn new<H: Host>(
        host: &mut H,
        keys: &Keys,
        ta: Option<TeeUuid>,
        name: Name,
        limits: Limits,
    ) -> Result<Self, StorageError> {
        let mut key = Zeroizing::new([0; SHORT]);
        host.random(&mut *key);
        Ok(Self {
            name,
            fd: None,
            key: keys.seal(ta, key)?,
            head: None,
            tree: Tree::new()?,
            length: 0,
            committed_length: 0,
            pages: Vec::new(),
            limits,
            changed: true,
            proven: false,
            reopened: false,
            witness: None,
        })
    }

    /// Reads a state of a file into its place. False if there never was one.
    ///
    /// What is large is no longer on the stack when memory is asked for: a refusal takes much of it.
    ///
    /// # Errors
    /// `NotFound`: there is no such file. `Corrupt`.
    pub(crate) fn open<H: Host>(
        host: &mut H,
        keys: &Keys,
        (ta, name): (Option<TeeUuid>, Name),
        state: State,
        limits: Limits,
        into: &mut Option<Self>,
    ) -> Result<bool, StorageError> {
        let mut bytes = zeros(2 * BLOCK)?;
        let fd = host.open(name)?;
        let begun = Self::begin_at(host, keys, (ta, name), state, fd, &mut bytes, into);
        let (Ok(true), Some(store)) = (begun, into.as_mut()) else {
            host.close(fd);
            return begun;
        };
        store.limits = limits;
        match store.load(host, &bytes) {
            Ok(()) => Ok(true),
            Err(err) => {
                if let Some(store) = into.take() {
                    store.close(host);
                }
                Err(err)
            }
        }
    }

    /// Puts what a head says into its place. False if there is none.
    #[inline(never)]
    fn begin_at<H: Host>(
        host: &mut H,
        keys: &Keys,
        (ta, name): (Option<TeeUuid>, Name),
        state: State,
        fd: Fd,
        bytes: &mut [u8],
        into: &mut Option<Self>,
    ) -> Result<bool, StorageError> {
        let Some((key, head, length, last)) = Self::read_head(host, keys, ta, state, fd, bytes)?
        else {
            return Ok(false);
        };
        *into = Some(Self {
            name,
            fd: Some(fd),
            key,
            head: Some(head),
            tree: Tree::of(last),
            length,
            committed_length: length,
            pages: Vec::new(),
            limits: Limits::FILE,
            changed: false,
            proven: true,
            reopened: true,
            witness: None,
        });
        Ok(true)
    }

    /// Takes the first nodes of the tree, and checks it.
    #[inline(never)]
    fn load<H: Host>(&mut self, host: &mut H, bytes: &[u8]) -> Result<(), StorageError> {
        let counter = self.head.as_ref().map_or(0, |head| head.counter.get());
        let nodes = bytes.get(BLOCK..).unwrap_or_default();
        self.tree.load(0, nodes, counter & 1 != 0)?;
        self.check(host)
    }

    /// Checks the root, and all nodes if they are few: of a larger file they are when they are used.
    fn check<H: Host>(&mut self, host: &mut H) -> Result<(), StorageError> {
        let last = match self.tree.blocks() {
            1 => self.tree.count(),
            _ => 1,
        };
        for id in 1..=last {
            self.ensure(host, id, false)?;
        }
        Ok(())
    }

    #[inline(never)]
    fn read_head<H: Host>(
        host: &mut H,
        keys: &Keys,
        ta: Option<TeeUuid>,
        state: State,
        fd: Fd,
        bytes: &mut [u8],
    ) -> Result<Option<(FileKey, Head, u64, u32)>, StorageError> {
        let len = host.read(fd, 0, bytes).map_err(missing)?;
        bytes.get_mut(len..).unwrap_or_default().fill(0);
        let Some((head, root)) = choose(bytes, state)? else {
            return Ok(None);
        };
        let key = keys.unseal(ta, head.key)?;
        let meta = key.meta(&head, &root.hash)?;
        let (length, last) = (meta.length.get(), meta.last_node.get().max(1));
        // OP-TEE leaves one more when it cuts a file off where a block ends.
        let most = (length / BLOCK as u64 + 1).min(MAX_BLOCKS);
        if u64::from(last) > most || u64::from(last) < layout::blocks(length) {
            return Err(StorageError::Corrupt);
        }
        Ok(Some((key, head, length, last)))
    }

    /// What the caches take and how they do.
    pub(crate) const fn figures(&self) -> &Figures {
        &self.tree.figures
    }

    /// Sets what the caches may take from the end of the next operation on.
    pub(crate) const fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// An operation has ended: gives back what the caches have above their limits.
    pub(crate) fn end(&mut self) {
        if self.changed {
            return;
        }
        self.tree.trim(self.limits.nodes);
        self.trim_pages(self.limits.blocks / BLOCK);
        if self.limits.blocks < BLOCK {
            self.pages = Vec::new();
        }
    }

    /// Drops blocks until there are so many: the first one last.
    fn trim_pages(&mut self, most: usize) {
        while self.pages.len() > most {
            let at = self
                .pages
                .iter()
                .position(|page| page.block != 0)
                .unwrap_or(0);
            self.pages.remove(at);
            self.tree.figures.blocks.evictions += 1;
        }
        let pages = self.pages.len();
        self.tree.figures.blocks.now(pages, pages * BLOCK);
    }

    pub(crate) const fn length(&self) -> u64 {
        self.length
    }

    pub(crate) const fn is_changed(&self) -> bool {
        self.changed
    }

    /// Whether there is a state that was committed.
    pub(crate) const fn is_committed(&self) -> bool {
        self.head.is_some()
    }

    /// Hash of the state that is committed.
    pub(crate) fn hash(&self) -> Result<[u8; HASH], StorageError> {
        Ok(self.tree.node(1)?.hash)
    }

    /// Bytes of the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let pages = self.pages.iter().map(|page| page.bytes.capacity());
        let table = self.pages.capacity() * size_of::<Page>();
        self.tree.heap_bytes() + table + pages.sum::<usize>()
    }

    pub(crate) fn close<H: Host>(self, host: &mut H) {
        if let Some(fd) = self.fd {
            host.close(fd);
        }
    }

    /// An operation begins, if none is under way: one that changes something ends when it is committed.
    fn begin(&mut self) {
        if !self.changed {
            (self.proven, self.reopened) = (false, false);
        }
    }

    fn read_by<H: Host>(
        &self,
        host: &mut H,
        fd: Fd,
        block: u32,
        bytes: &mut [u8],
    ) -> Result<(), StorageError> {
        let node = self.tree.node(block + 1)?;
        let second = node.flags.get() & layout::SECOND_BLOCK != 0;
        let len = host.read(fd, data_at(block, second), bytes);
        if len.map_err(missing)? < bytes.len() {
            return Err(StorageError::Corrupt);
        }
        host.at_length(|| self.key.decrypt(node, bytes))
    }

    #[inline(never)]
    fn read_block<H: Host>(
        &mut self,
        host: &mut H,
        block: u32,
        bytes: &mut [u8],
    ) -> Result<(), StorageError> {
        self.ensure(host, block + 1, false)?;
        let read = match self.fd {
            Some(fd) => self.read_by(host, fd, block, bytes),
            None => Err(StorageError::Corrupt),
        };
        match read {
            Err(_) if !self.reopened => {
                let fd = self.reopen(host)?;
                self.read_by(host, fd, block, bytes)
            }
            Ok(()) => {
                self.proven = true;
                Ok(())
            }
            err => err,
        }
    }

    /// Has a block in memory, the last of them; it need not be read if all of it is to be `replaced`.
    #[inline(never)]
    fn page<H: Host>(
        &mut self,
        host: &mut H,
        block: u32,
        replaced: bool,
    ) -> Result<&mut Page, StorageError> {
        let found = self.pages.iter().position(|page| page.block == block);
        if found.is_none_or(|at| at + 1 != self.pages.len()) {
            self.flush(host)?;
        }
        if let Some(at) = found {
            self.tree.figures.blocks.hits += 1;
            if let Some(others) = self.pages.get_mut(at..) {
                others.rotate_left(1);
            }
        } else {
            self.tree.figures.blocks.misses += 1;
            self.tree.trim(self.limits.nodes);
            self.trim_pages((self.limits.blocks / BLOCK).saturating_sub(1));
            fallible::try_reserve(&mut self.pages, 1)?;
            let mut page = Page {
                block,
                dirty: false,
                bytes: zeros(BLOCK)?,
            };
            if u64::from(block) < layout::blocks(self.length) && !replaced {
                self.read_block(host, block, &mut page.bytes)?;
            }
            self.pages.push(page);
        }
        self.pages.last_mut().ok_or(StorageError::Corrupt)
    }

    /// Encrypts the block that is in memory, if it has changed, to `out`; where it goes.
    #[inline(never)]
    fn seal<H: Host>(
        &mut self,
        host: &mut H,
        out: &mut Vec<u8>,
    ) -> Result<Option<u64>, StorageError> {
        let Some(block) = self.dirty_block() else {
            return Ok(None);
        };
        self.prepare(host, block)?;
        let Some(page) = self.pages.last_mut() else {
            return Ok(None);
        };
        fallible::try_reserve(out, BLOCK)?;
        let at = out.len();
        out.extend_from_slice(&page.bytes);
        let (node, second) = self.tree.write(page.block)?;
        host.random(&mut node.iv);
        let (key, text) = (&self.key, out.get_mut(at..).unwrap_or_default());
        node.tag = host.at_length(|| key.encrypt(&node.iv, text))?;
        page.dirty = false;
        Ok(Some(data_at(page.block, second)))
    }

    fn dirty_block(&self) -> Option<u32> {
        let page = self.pages.last().filter(|page| page.dirty);
        page.map(|page| page.block)
    }

    fn flush<H: Host>(&mut self, host: &mut H) -> Result<(), StorageError> {
        let mut out = Vec::new();
        let block = self.dirty_block();
        if let Some(at) = self.seal(host, &mut out)? {
            self.write(host, at, &out)?;
            self.witness = block;
        }
        Ok(())
    }

    /// Reads up to `len` bytes from `at` on, in pieces; how many there were.
    pub(crate) fn read<H: Host>(
        &mut self,
        host: &mut H,
        at: u64,
        len: usize,
        to: crate::file::Sink<'_, H>,
    ) -> Result<usize, StorageError> {
        self.begin();
        let len = usize::try_from(self.length.saturating_sub(at))
            .unwrap_or(len)
            .min(len);
        let mut done = 0;
        while done < len {
            let (block, within) = split(at + done as u64);
            let piece = (BLOCK - within).min(len - done);
            let page = self.page(host, block, false)?;
            let bytes = page.bytes.get(within..within + piece);
            to(host, done, bytes.ok_or(StorageError::Corrupt)?)?;
            done += piece;
        }
        Ok(len)
    }

    /// Writes, with zeros in between if it was shorter than `at`.
    pub(crate) fn write_data<H: Host>(
        &mut self,
        host: &mut H,
        at: u64,
        len: usize,
        from: crate::file::Source<'_, H>,
    ) -> Result<(), StorageError> {
        self.begin();
        if len == 0 {
            return Ok(());
        }
        let end = at
            .checked_add(len as u64)
            .ok_or(TeeResult::BAD_PARAMETERS)?;
        self.prolong(host, at, end)?;
        let mut done = 0;
        while done < len {
            let (block, within) = split(at + done as u64);
            let piece = (BLOCK - within).min(len - done);
            let page = self.page(host, block, piece == BLOCK)?;
            let bytes = page.bytes.get_mut(within..within + piece);
            from(host, done, bytes.ok_or(StorageError::Corrupt)?)?;
            page.dirty = true;
            self.changed = true;
            done += piece;
            self.length = self.length.max(at + done as u64);
        }
        Ok(())
    }

    /// Cuts it off, or prolongs it by zeros.
    pub(crate) fn truncate<H: Host>(
        &mut self,
        host: &mut H,
        bytes: u64,
    ) -> Result<(), StorageError> {
        self.begin();
        if bytes < self.length {
            self.changed = true;
            self.length = bytes;
            let blocks = layout::blocks(bytes);
            self.tree.shrink(u32::try_from(blocks).unwrap_or(u32::MAX));
            self.pages.retain(|page| u64::from(page.block) < blocks);
        }
        self.prolong(host, bytes, bytes)
    }

    /// Zeros up to `to`. It is going to have `end` bytes.
    fn prolong<H: Host>(&mut self, host: &mut H, to: u64, end: u64) -> Result<(), StorageError> {
        if layout::blocks(end) > MAX_BLOCKS {
            return Err(StorageError::NoSpace);
        }
        while self.length < to {
            let (block, within) = split(self.length);
            let page = self.page(host, block, within == 0)?;
            page.bytes.get_mut(within..).unwrap_or_default().fill(0);
            page.dirty = true;
            self.changed = true;
            self.length = to.min((u64::from(block) + 1) * BLOCK as u64);
        }
        Ok(())
    }
}

/// A file that has gone was taken away.
pub(crate) const fn missing(err: StorageError) -> StorageError {
    match err {
        StorageError::NotFound | StorageError::Exists => StorageError::Corrupt,
        err => err,
    }
}

/// Block of a position, and bytes of it before the position.
const fn split(at: u64) -> (u32, usize) {
    ((at / BLOCK as u64) as u32, (at % BLOCK as u64) as usize)
}
