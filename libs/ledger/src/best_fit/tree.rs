//! Best fit: the smallest free chunk that is large enough, in bounded time.
//!
//! Free chunks are nodes of a tree by size, which lies in the chunks themselves: at depth `d` a node's subtrees
//! differ in bit `d` of the size, from the topmost on, so that a way down has at most [`BITS`] steps. Chunks of a
//! size that the tree has already hang on its node in a list.
//!
//! ```text
//! free chunk   | size, previous of its size | children | parent, next of its size | ... | size |
//! ```
//! A block's chunk has 16 bytes before the block, whatever its alignment, and a flag that says whether the chunk
//! before it is free; then that one's size is the word before.
//!
//! **Invariant:** no two free chunks touch; each is in the tree once. A node that cannot be a free chunk (somebody
//! wrote to a block that was freed) ends the search; no way is longer than a sound tree's.
//!
//! Source of the search: Lea, "A Memory Allocator" (treebins), where the tree is by size as well.

use super::BadChunk;
use crate::chunks::{
    Chunk, EXTRA, GRANULE, HEAD_BYTES, any_start, is_start, mark, set_head, usable,
};
use crate::entry;
use crate::layout::MAX_POOL_BYTES;
use crate::window::Window;

/// Bits of a chunk's size in granules.
const BITS: u32 = (MAX_POOL_BYTES / GRANULE).ilog2() + 1;
/// Bytes of the smallest chunk: a node, or a block's head and a granule.
const LEAST: usize = 32;
/// No chunk.
const NIL: u32 = u32::MAX;
/// Parent of a chunk that is in a node's list.
const LISTED: u32 = u32::MAX - 1;
/// In the low half of a block's record: the chunk before it is free.
const AFTER_FREE: u64 = 1 << 8;
/// The logarithm of what is before a block.
const FRONT_LOG: u64 = HEAD_BYTES.trailing_zeros() as u64;

/// A free chunk as its words have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    size: u32,
    prev: u32,
    children: [u32; 2],
    parent: u32,
    next: u32,
}

/// The root, and what is free.
pub(crate) struct Tree {
    root: u32,
    free_bytes: usize,
    /// Whether the chunk that ends where the body does is free.
    end_is_free: bool,
}

fn bit(size: u32, depth: u32) -> usize {
    let granules = size / GRANULE as u32;
    (granules >> (BITS - 1).saturating_sub(depth) & 1) as usize
}

fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

fn node(window: &Window, at: u32) -> Node {
    let word = |n: usize| window.body_word(at as usize / 8 + n);
    let (first, second, third) = (word(0), word(1), word(2));
    Node {
        size: first as u32,
        prev: (first >> 32) as u32,
        children: [second as u32, (second >> 32) as u32],
        parent: third as u32,
        next: (third >> 32) as u32,
    }
}

fn set_node(window: &mut Window, at: u32, node: Node) {
    let first = at as usize / 8;
    window.set_body_word(first, pair(node.size, node.prev));
    window.set_body_word(first + 1, pair(node.children[0], node.children[1]));
    window.set_body_word(first + 2, pair(node.parent, node.next));
}

/// The node at `at`, if a free chunk can be there: inside the body, as long at its end as at its start.
fn sound_node(window: &Window, at: u32) -> Option<Node> {
    let (start, node) = (at as usize, node(window, at));
    let size = node.size as usize;
    let end = start.checked_add(size)?;
    let fits = start.is_multiple_of(GRANULE)
        && size.is_multiple_of(GRANULE)
        && size >= LEAST
        && end <= window.body_bytes();
    (fits && window.body_word(end / 8 - 1) == u64::from(node.size)).then_some(node)
}

impl Tree {
    /// All of the body free.
    pub(crate) fn create(window: &mut Window) -> Option<Self> {
        let mut tree = Self {
            root: NIL,
            free_bytes: 0,
            end_is_free: false,
        };
        let bytes = window.body_bytes();
        tree.insert(window, 0, bytes);
        Some(tree)
    }

    pub(crate) fn free_bytes(&self) -> usize {
        self.free_bytes
    }

    /// The body has grown by `bytes`.
    pub(crate) fn extend(&mut self, window: &mut Window, bytes: usize) {
        let start = window.body_bytes() - bytes;
        let before = if self.end_is_free {
            self.before(window, start)
        } else {
            None
        };
        self.end_is_free = false;
        match before {
            Some((at, size)) => {
                self.remove(window, at);
                self.insert(window, at as usize, size + bytes);
            }
            None => self.insert(window, start, bytes),
        }
    }

    pub(crate) fn take(
        &mut self,
        window: &mut Window,
        size: usize,
        align: usize,
        record: u64,
    ) -> Option<usize> {
        let needed = HEAD_BYTES + usable(size.checked_add(window.guard())?);
        // For a larger alignment there may be a free chunk before the block, which has its least size.
        let gap = if align > GRANULE { align + GRANULE } else { 0 };
        let at = self.best(window, u32::try_from(needed.checked_add(gap)?).ok()?)?;
        let had = node(window, at).size as usize;
        let start = at as usize;
        let mut block = start + HEAD_BYTES;
        if align > GRANULE {
            let address = window.body_addr();
            block = (address + block).next_multiple_of(align) - address;
            if block - HEAD_BYTES - start == GRANULE {
                block += align;
            }
        }
        let (from, rest) = (
            block - HEAD_BYTES,
            had - (block - HEAD_BYTES - start) - needed,
        );
        if any_start(window, start, from + needed) {
            return None; // Damaged: it is somebody's.
        }
        self.remove(window, at);
        self.set_after_free(window, start + had, false);
        let mut low = FRONT_LOG;
        if from > start {
            self.insert(window, start, from - start);
            low |= AFTER_FREE;
        }
        if rest >= LEAST {
            self.insert(window, from + needed, rest);
        } else if rest > 0 {
            low |= EXTRA;
        }
        set_head(window, block, record & !0xffff | low, size);
        mark(window, block, true);
        Some(block)
    }

    pub(crate) fn release(&mut self, window: &mut Window, chunk: &Chunk) {
        mark(window, chunk.offset, false);
        let (mut start, mut end) = (chunk.offset - HEAD_BYTES, chunk.offset + chunk.usable);
        if chunk.record & AFTER_FREE != 0
            && let Some((at, size)) = self.before(window, start)
        {
            self.remove(window, at);
            start -= size;
        }
        if let Some((at, size)) = self.behind(window, end) {
            self.remove(window, at);
            end += size;
        }
        self.insert(window, start, end - start);
    }

    pub(crate) fn shrink(
        &mut self,
        window: &mut Window,
        chunk: &Chunk,
        size: usize,
        record: u64,
    ) -> bool {
        let kept = usable(size.saturating_add(window.guard()));
        let end = chunk.offset + chunk.usable;
        let rest = chunk.usable - kept;
        let mut low = FRONT_LOG | chunk.record & AFTER_FREE;
        match self.behind(window, end) {
            Some((at, more)) if rest > 0 => {
                self.remove(window, at);
                self.insert(window, end - rest, rest + more);
            }
            _ if rest >= LEAST => self.insert(window, end - rest, rest),
            _ if rest > 0 => low |= EXTRA,
            _ => {}
        }
        set_head(window, chunk.offset, record & !0xffff | low, size);
        true
    }

    /// The free chunk that ends at `end`, where a flag says that there is one, and its size.
    fn before(&self, window: &Window, end: usize) -> Option<(u32, usize)> {
        let size = window.body_word((end / 8).checked_sub(1)?) as usize;
        let at = u32::try_from(end.checked_sub(size)?).ok()?;
        let node = sound_node(window, at)?;
        (node.size as usize == size).then_some((at, size))
    }

    /// The free chunk that begins at `start`, if that is no block's, and its size.
    fn behind(&self, window: &Window, start: usize) -> Option<(u32, usize)> {
        if start >= window.body_bytes() || is_start(window, start + HEAD_BYTES) {
            return None;
        }
        let node = sound_node(window, start as u32)?;
        Some((start as u32, node.size as usize))
    }

    /// Says to the chunk at `at`, which is a block's or the end, whether the one before it is free.
    fn set_after_free(&mut self, window: &mut Window, at: usize, free: bool) {
        if at == window.body_bytes() {
            self.end_is_free = free;
        } else if is_start(window, at + HEAD_BYTES) {
            let record = window.body_word(at / 8) & !AFTER_FREE;
            let flag = if free { AFTER_FREE } else { 0 };
            window.set_body_word(at / 8, record | flag);
        }
    }

    /// The smallest chunk of at least `needed` bytes.
    fn best(&self, window: &Window, needed: u32) -> Option<u32> {
        let mut best = None;
        // The last subtree that was passed by and has larger sizes only.
        let (mut at, mut larger) = (self.root, NIL);
        for depth in 0..=BITS {
            let Some(node) = self.candidate(window, at, needed, &mut best) else {
                break;
            };
            if node.size == needed {
                return best.map(|(_, at)| at);
            }
            let side = bit(needed, depth);
            if side == 0 && node.children[1] != NIL {
                larger = node.children[1];
            }
            at = node.children[side];
        }
        at = larger;
        for _ in 0..=BITS {
            let Some(node) = self.candidate(window, at, needed, &mut best) else {
                break;
            };
            let [left, right] = node.children;
            at = if left == NIL { right } else { left };
        }
        best.map(|(_, at)| at)
    }

    /// The node at `at`, which is noted if it is the best so far.
    fn candidate(
        &self,
        window: &Window,
        at: u32,
        needed: u32,
        best: &mut Option<(u32, u32)>,
    ) -> Option<Node> {
        if at == NIL {
            return None;
        }
        let node = sound_node(window, at)?;
        if node.size >= needed && best.is_none_or(|(size, _)| node.size < size) {
            // One of its list costs less to take.
            let listed = node.next;
            let same = sound_node(window, listed).is_some_and(|other| other.size == node.size);
            *best = Some((node.size, if same { listed } else { at }));
        }
        Some(node)
    }

    /// Puts a free chunk into the tree, whose neighbours are blocks.
    fn insert(&mut self, window: &mut Window, start: usize, size: usize) {
        let (at, bytes) = (start as u32, size as u32);
        self.free_bytes += size;
        window.set_body_word((start + size) / 8 - 1, bytes.into());
        self.set_after_free(window, start + size, true);
        let mut new = Node {
            size: bytes,
            prev: NIL,
            children: [NIL; 2],
            parent: NIL,
            next: NIL,
        };
        let mut place = self.root;
        if place == NIL {
            self.root = at;
            set_node(window, at, new);
            return;
        }
        for depth in 0..=BITS {
            let mut here = node(window, place);
            if here.size == bytes {
                (new.parent, new.prev, new.next) = (LISTED, place, here.next);
                set_node(window, at, new);
                set_prev(window, here.next, at);
                here.next = at;
                set_node(window, place, here);
                return;
            }
            let side = bit(bytes, depth);
            if here.children[side] == NIL {
                here.children[side] = at;
                set_node(window, place, here);
                new.parent = place;
                break;
            }
            place = here.children[side];
        }
        // Without a parent only in a damaged tree, which has no way to this chunk then.
        set_node(window, at, new);
    }

    /// Takes a free chunk out of the tree.
    fn remove(&mut self, window: &mut Window, at: u32) {
        let gone = node(window, at);
        self.free_bytes = self.free_bytes.saturating_sub(gone.size as usize);
        if gone.parent == LISTED {
            let prev = node(window, gone.prev);
            if sound_node(window, gone.prev).is_some() && prev.next == at {
                let next = gone.next;
                set_node(window, gone.prev, Node { next, ..prev });
                set_prev(window, next, gone.prev);
            }
            return;
        }
        // Who takes its place: one of its size, else any leaf below it, else nobody.
        let mut heir = gone.next;
        if heir == NIL {
            heir = self.cut_leaf(window, at);
        }
        // Its children may have changed with that.
        let gone = node(window, at);
        if heir != NIL && sound_node(window, heir).is_some() {
            let own = node(window, heir);
            let new = Node {
                prev: NIL,
                children: gone.children,
                parent: gone.parent,
                ..own
            };
            set_node(window, heir, new);
            for child in gone.children {
                if sound_node(window, child).is_some_and(|node| node.parent == at) {
                    let node = node(window, child);
                    set_node(
                        window,
                        child,
                        Node {
                            parent: heir,
                            ..node
                        },
                    );
                }
            }
        }
        self.replace_child(window, gone.parent, at, heir);
    }

    /// Cuts off a leaf below the node at `at`; [`NIL`] if it is one itself.
    fn cut_leaf(&mut self, window: &mut Window, at: u32) -> u32 {
        let mut leaf = at;
        for _ in 0..=BITS {
            let [left, right] = node(window, leaf).children;
            let child = if left == NIL { right } else { left };
            if child == NIL || sound_node(window, child).is_none() {
                break;
            }
            leaf = child;
        }
        if leaf == at {
            return NIL;
        }
        let parent = node(window, leaf).parent;
        self.replace_child(window, parent, leaf, NIL);
        leaf
    }

    /// Has `parent`, or the root, lead to `new` instead of `old`.
    fn replace_child(&mut self, window: &mut Window, parent: u32, old: u32, new: u32) {
        if self.root == old {
            self.root = new;
            return;
        }
        if sound_node(window, parent).is_none() {
            return;
        }
        let mut node = node(window, parent);
        for child in &mut node.children {
            if *child == old {
                *child = new;
            }
        }
        set_node(window, parent, node);
    }

    /// Checks that the free chunk at `start` of `size` bytes is one by all that is written of it, and that the tree
    /// leads to it.
    pub(crate) fn check(&self, window: &Window, start: usize, size: usize) -> Result<(), BadChunk> {
        let at = start as u32;
        let found = sound_node(window, at).ok_or(BadChunk)?;
        let end = start + size;
        let flag = if end == window.body_bytes() {
            self.end_is_free
        } else {
            window.body_word(end / 8) & AFTER_FREE != 0
        };
        if found.size as usize != size || !flag {
            return Err(BadChunk);
        }
        let (mut place, mut parent) = (self.root, NIL);
        for depth in 0..=BITS {
            let here = sound_node(window, place).ok_or(BadChunk)?;
            if here.parent != parent {
                return Err(BadChunk);
            }
            if here.size == found.size {
                let listed = || {
                    let before = sound_node(window, found.prev);
                    found.parent == LISTED
                        && before.is_some_and(|it| it.next == at && it.size == found.size)
                };
                return if place == at || listed() {
                    Ok(())
                } else {
                    Err(BadChunk)
                };
            }
            (parent, place) = (place, here.children[bit(found.size, depth)]);
        }
        Err(BadChunk)
    }

    /// Checks that the chunk at `end`, which follows a block, does not say that it follows a free one.
    pub(crate) fn check_block(&self, window: &Window, end: usize) -> Result<(), BadChunk> {
        let flag = if end == window.body_bytes() {
            self.end_is_free
        } else {
            is_start(window, end + HEAD_BYTES) && window.body_word(end / 8) & AFTER_FREE != 0
        };
        if flag { Err(BadChunk) } else { Ok(()) }
    }
}

fn set_prev(window: &mut Window, at: u32, prev: u32) {
    if at != NIL && sound_node(window, at).is_some() {
        let node = node(window, at);
        set_node(window, at, Node { prev, ..node });
    }
}

const _: () = assert!(entry::MAX_UNITS * crate::classes::UNIT < LISTED as usize);
