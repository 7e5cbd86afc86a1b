//! Data of a TA, piece by piece.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_mem::machine::Machine;
use zeroize::Zeroizing;

/// Bytes that are copied with the state locked; whole blocks of every cipher.
pub(in crate::ta::syscall) const PIECE: usize = 512;

/// A piece, which begins at a word, and is zeroed when it goes.
#[repr(align(16))]
struct Piece(Zeroizing<[u8; PIECE]>);

impl Piece {
    fn new() -> Self {
        Self(Zeroizing::new([0; PIECE]))
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Works on what a TA has at an address, which was confirmed.
    pub(super) fn read_pieces(
        &self,
        instance: InstanceRef,
        from: u64,
        len: u64,
        mut work: impl FnMut(&[u8]) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let mut chunk = Piece::new();
        let chunk = &mut chunk.0;
        let mut done = 0;
        while done < len {
            let piece = &mut chunk[..(len - done).min(PIECE as u64) as usize];
            self.read(instance, from + done, piece)?;
            self.kernel.machine.interruptible(|| work(piece))?;
            done += piece.len() as u64;
        }
        Ok(())
    }

    /// Has `work` change what a TA has at an address on its way to another one; both were confirmed, and may overlap.
    pub(super) fn change_pieces(
        &self,
        instance: InstanceRef,
        [from, to]: [u64; 2],
        len: u64,
        mut work: impl FnMut(&mut [u8]) -> Result<(), TeeResult>,
    ) -> Result<(), TeeResult> {
        let mut chunk = Piece::new();
        let chunk = &mut chunk.0;
        let from = self.make_way(instance, [from, to], len, chunk)?;
        let mut done = 0;
        while done < len {
            let piece = &mut chunk[..(len - done).min(PIECE as u64) as usize];
            self.read(instance, from + done, piece)?;
            self.kernel.machine.interruptible(|| work(piece))?;
            self.write(instance, to + done, piece)?;
            done += piece.len() as u64;
        }
        Ok(())
    }

    /// Moves what lies before its own place to it, last piece first, if it would be overwritten before it is read. Where it
    /// is to be read.
    fn make_way(
        &self,
        instance: InstanceRef,
        [from, to]: [u64; 2],
        len: u64,
        chunk: &mut [u8; PIECE],
    ) -> Result<u64, TeeResult> {
        if to <= from || to - from >= len {
            return Ok(from);
        }
        let mut left = len;
        while left > 0 {
            let piece = &mut chunk[..left.min(PIECE as u64) as usize];
            left -= piece.len() as u64;
            self.read(instance, from + left, piece)?;
            self.write(instance, to + left, piece)?;
            self.kernel.breathe();
        }
        Ok(to)
    }
}
