//! Memory that an operation takes while it works: of the kernel's heap, charged to its TA and within its share.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use alloc::vec::Vec;
use tally_abi::TeeResult;
use tally_abi::crypto::{UteeAttribute, attribute};
use tally_crypto::asymmetric::{Random, Word};
use tally_mem::fallible::{HeapExhausted, vec_with_capacity};
use tally_mem::machine::Machine;
use zeroize::Zeroize;

/// Words for an algorithm and bytes for what it works on; zeroed when it goes.
pub(in crate::ta::syscall) struct Room {
    words: Vec<Word>,
    /// The bytes.
    pub(in crate::ta::syscall) bytes: Vec<u8>,
}

impl Room {
    fn new(words: usize, bytes: usize) -> Result<Self, HeapExhausted> {
        let mut room = Self {
            words: vec_with_capacity(words)?,
            bytes: vec_with_capacity(bytes)?,
        };
        room.words.resize(words, Word::ZERO);
        room.bytes.resize(bytes, 0);
        Ok(room)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.words[..].zeroize();
        self.bytes[..].zeroize();
    }
}

/// The kernel's random numbers.
pub(super) struct Chance<'m, M>(pub(super) &'m M);

impl<M: Machine> Random for Chance<'_, M> {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0.random(bytes);
    }
}

/// Where a TA wants a result.
#[derive(Clone, Copy)]
pub(super) struct Target {
    /// Address.
    pub(super) va: u64,
    /// Bytes that there are, which it may write.
    pub(super) len: u64,
}

/// What became of a result.
#[derive(Clone, Copy)]
pub(super) enum Delivered {
    /// So many bytes were written.
    Whole(usize),
    /// There is no room for so many.
    Short(usize),
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(in crate::ta::syscall) fn open_room(
        &self,
        instance: InstanceRef,
        words: usize,
        bytes: usize,
    ) -> Result<Room, TeeResult> {
        let all = bytes.checked_add(words * size_of::<Word>());
        let all = all.ok_or(TeeResult::OUT_OF_MEMORY)?;
        self.lend_share(instance, all)?;
        let room = self.as_instance(instance, || Room::new(words, bytes));
        let room = room.and_then(|room| room.map_err(TeeResult::from));
        if room.is_err() {
            self.with_holdings(instance, |held| held.give_back(all))?;
        }
        room
    }

    #[inline(never)]
    pub(in crate::ta::syscall) fn close_room(&self, instance: InstanceRef, room: Room) {
        let all = size_of_val(&*room.words) + size_of_val(&*room.bytes);
        drop(room);
        // An instance that is being served does not go.
        let _ = self.with_holdings(instance, |held| held.give_back(all));
    }

    /// Works with words and bytes that are 0.
    pub(super) fn with_room<R>(
        &self,
        instance: InstanceRef,
        words: usize,
        bytes: usize,
        work: impl FnOnce(&mut [Word], &mut [u8]) -> Result<R, TeeResult>,
    ) -> Result<R, TeeResult> {
        let mut room = self.open_room(instance, words, bytes)?;
        let result = work(&mut room.words, &mut room.bytes);
        self.close_room(instance, room);
        result
    }

    /// Lets interrupts through while an algorithm works.
    pub(super) fn at_length<R>(&self, work: impl FnOnce(&mut Chance<'_, M>) -> R) -> R {
        let machine = &self.kernel.machine;
        machine.interruptible(|| work(&mut Chance(machine)))
    }

    /// Copies from the TA what it may read, of whatever length.
    #[inline(never)]
    pub(super) fn take_long(
        &self,
        instance: InstanceRef,
        va: u64,
        to: &mut [u8],
    ) -> Result<(), TeeResult> {
        let mut from = va;
        for piece in to.chunks_mut(super::data::PIECE) {
            self.read(instance, from, piece)?;
            self.kernel.breathe();
            from = from.saturating_add(piece.len() as u64);
        }
        Ok(())
    }

    /// Copies a result to the TA, if there is room for it.
    #[inline(never)]
    pub(super) fn deliver(
        &self,
        instance: InstanceRef,
        target: Target,
        result: &[u8],
    ) -> Result<Delivered, TeeResult> {
        if target.len < result.len() as u64 {
            return Ok(Delivered::Short(result.len()));
        }
        let mut to = target.va;
        for piece in result.chunks(super::data::PIECE) {
            self.write(instance, to, piece)?;
            self.kernel.breathe();
            to = to.saturating_add(piece.len() as u64);
        }
        Ok(Delivered::Whole(result.len()))
    }
}

/// An attribute among those that a call is given, which refers to bytes: address and length.
pub(super) fn find_bytes(given: &[UteeAttribute], id: u32) -> Option<(u64, u64)> {
    debug_assert!(id & attribute::VALUE == 0, "a value");
    let one = given.iter().find(|one| one.id == id)?;
    Some((one.a, one.b))
}

/// An attribute among those that a call is given, which is a value.
pub(super) fn find_value(given: &[UteeAttribute], id: u32) -> Option<u32> {
    let one = given.iter().find(|one| one.id == id)?;
    Some(one.a as u32)
}
