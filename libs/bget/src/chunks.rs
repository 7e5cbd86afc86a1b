//! The row of chunks of each pool, in steps.

use crate::books::{Pool, View};
use crate::{END, HEAD_BYTES, Inconsistent, MIN_CHUNK, Reader, words};
use tally_ledger::{Block, Chunk, ChunkKind, Damage};

/// Chunks that one step of a check looks at.
const CHECK_STEP: usize = 32;

/// A chunk of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Free,
    Taken,
    /// The words that end a pool.
    End,
}

/// A chunk, and where it lies.
#[derive(Clone, Copy, Debug)]
struct Found {
    va: u64,
    bytes: u64,
    piece: Piece,
    /// What comes next, 0 after the last.
    next: u64,
}

/// What a walk has found so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Where it goes on.
    cursor: u64,
    /// Bytes of allocated chunks, the list of pools among them.
    pub(crate) taken: u64,
    /// Live blocks.
    pub blocks: u64,
    /// Bytes that they have.
    pub(crate) usable: u64,
    /// Bytes of free chunks.
    pub(crate) free: u64,
    /// Free chunks.
    pub free_chunks: u64,
    /// Sum of their squares.
    pub(crate) free2_sum: u64,
    /// The largest of them.
    pub(crate) largest_free: u64,
}

impl<R: Reader> View<R> {
    /// Walks over at most so many more chunks: whether that was all of them.
    ///
    /// # Errors
    /// The walk found something that cannot be.
    pub fn walk(&self, totals: &mut Totals, chunks: usize) -> Result<bool, Inconsistent> {
        for _ in 0..chunks {
            let found = self.chunk_at(totals.cursor)?;
            match found.piece {
                Piece::Free => {
                    totals.free += found.bytes;
                    totals.free_chunks += 1;
                    let square = found.bytes.wrapping_mul(found.bytes);
                    totals.free2_sum = totals.free2_sum.wrapping_add(square);
                    totals.largest_free = totals.largest_free.max(found.bytes);
                }
                Piece::Taken => {
                    totals.taken += found.bytes;
                    if found.va != self.own_chunk {
                        totals.blocks += 1;
                        totals.usable += found.bytes - HEAD_BYTES;
                    }
                }
                Piece::End => {}
            }
            totals.cursor = found.next;
            if found.next == 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Copies live blocks from a cursor on, which is 0 at first: how many, and where to go on, 0 after the last.
    ///
    /// # Errors
    /// The walk found something that cannot be.
    pub fn blocks(&self, cursor: u64, out: &mut [Block]) -> Result<(usize, u64), Inconsistent> {
        let (mut count, mut at) = (0, cursor);
        // A block is followed by no more than a free chunk.
        while let Some(to) = out.get_mut(count) {
            let found = self.chunk_at(at)?;
            if found.piece == Piece::Taken && found.va != self.own_chunk {
                *to = self.block(&found);
                count += 1;
            }
            at = found.next;
            if at == 0 {
                break;
            }
        }
        Ok((count, at))
    }

    /// Copies everything that the pools consist of from a cursor on, which is 0 at first: how many, and where to go on, 0
    /// after the last. The words before a block are one, the block is another.
    ///
    /// # Errors
    /// The walk found something that cannot be.
    pub fn chunks(&self, cursor: u64, out: &mut [Chunk]) -> Result<(usize, u64), Inconsistent> {
        let (mut count, mut at) = (0, cursor);
        while let Some(to) = out.get_mut(count) {
            let found = self.chunk_at(at & !(HEAD_BYTES - 1))?;
            let is_block = found.piece == Piece::Taken && found.va != self.own_chunk;
            let its_words = is_block && at.is_multiple_of(HEAD_BYTES);
            let offset = (found.va - self.base()) as usize;
            *to = match found.piece {
                Piece::Taken if is_block && !its_words => Chunk {
                    offset: offset + HEAD_BYTES as usize,
                    size: (found.bytes - HEAD_BYTES) as usize,
                    kind: ChunkKind::Block(self.block(&found)),
                    joins: false,
                },
                Piece::Taken | Piece::End => Chunk {
                    offset,
                    size: if its_words { HEAD_BYTES } else { found.bytes } as usize,
                    kind: ChunkKind::Overhead,
                    joins: false,
                },
                Piece::Free => Chunk {
                    offset,
                    size: found.bytes as usize,
                    kind: ChunkKind::Free,
                    joins: true,
                },
            };
            count += 1;
            at = if its_words { at + 1 } else { found.next };
            if at == 0 {
                break;
            }
        }
        Ok((count, at))
    }

    /// Checks counters, some chunks and the links of those that are free, from a cursor on: where to go on, 0 after the
    /// last.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, cursor: u64) -> Result<u64, Damage> {
        if !self.is_sound() {
            return Err(Damage::Counts);
        }
        let mut at = cursor;
        for _ in 0..CHECK_STEP {
            let found = self.chunk_at(at).map_err(|Inconsistent| Damage::Walk)?;
            if found.piece == Piece::Free && !self.is_linked(found.va) {
                let offset = found.va - self.base();
                return Err(Damage::Chunk(u32::try_from(offset).unwrap_or(u32::MAX)));
            }
            at = found.next;
            if at == 0 {
                break;
            }
        }
        Ok(at)
    }

    /// Copies bytes at an offset from the first pool, whatever they are; false if they are in no pool.
    pub fn read(&self, offset: u64, buf: &mut [u8]) -> bool {
        let Some(va) = self.base().checked_add(offset) else {
            return false;
        };
        let pool = self.pool_of(va);
        let inside =
            pool.is_some_and(|pool| (pool.bytes() - (va - pool.start)) >= buf.len() as u64);
        inside && self.reader.read(va, buf)
    }

    /// Whether the neighbours in the free list know of a free chunk.
    fn is_linked(&self, va: u64) -> bool {
        let is_place = |link: u64| {
            link == self.list || self.pool_of(link).is_some_and(|pool| link < pool.last)
        };
        let links = |va: u64| words::<4>(&self.reader, va).ok();
        let Some([.., next, previous]) = links(va) else {
            return false;
        };
        is_place(next)
            && is_place(previous)
            && links(next).is_some_and(|[.., back]| back == va)
            && links(previous).is_some_and(|[_, _, forth, _]| forth == va)
    }

    fn pool_of(&self, va: u64) -> Option<&Pool> {
        let mut pools = self.pools().iter();
        pools.find(|pool| va >= pool.start && va - pool.start < pool.bytes())
    }

    fn block(&self, found: &Found) -> Block {
        let size = (found.bytes - HEAD_BYTES) as usize;
        Block {
            offset: (found.va + HEAD_BYTES - self.base()) as usize,
            size,
            usable: size,
            ..Block::default()
        }
    }

    /// The chunk at an offset from the first pool, as a walk from there has come to it.
    fn chunk_at(&self, cursor: u64) -> Result<Found, Inconsistent> {
        let va = self.base().checked_add(cursor).ok_or(Inconsistent)?;
        let at = self.pools().iter().position(|pool| pool.has(va));
        let at = at.filter(|_| va.is_multiple_of(HEAD_BYTES));
        let (pool, behind) = at
            .and_then(|at| self.pools().get(at..)?.split_first())
            .ok_or(Inconsistent)?;
        let [before, size] = words(&self.reader, va)?;
        let signed = size.cast_signed();
        if va == pool.last {
            let next = behind.first().map_or(0, |next| next.start - self.base());
            let bytes = HEAD_BYTES;
            let piece = Piece::End;
            let sound = signed == END;
            let found = Found {
                va,
                bytes,
                piece,
                next,
            };
            return if sound { Ok(found) } else { Err(Inconsistent) };
        }
        let bytes = signed.unsigned_abs();
        if bytes < MIN_CHUNK || !bytes.is_multiple_of(HEAD_BYTES) || bytes > pool.last - va {
            return Err(Inconsistent);
        }
        let is_free = signed.is_positive();
        let [told] = words(&self.reader, va + bytes)?;
        // Two free chunks are never neighbours, and the next one knows of one that is free.
        let sound = if is_free {
            told == bytes && before == 0
        } else {
            told == 0
        };
        if !sound || (va == pool.start && before != 0) {
            return Err(Inconsistent);
        }
        Ok(Found {
            va,
            bytes,
            piece: if is_free { Piece::Free } else { Piece::Taken },
            next: va + bytes - self.base(),
        })
    }
}
