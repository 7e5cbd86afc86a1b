//! A table whose entries an instance names by handles.
//!
//! **Invariant:** a handle is never 0, names one entry, and names nothing for long after that has gone; an empty table
//! has no memory.

use alloc::vec::Vec;
use tally_mem::fallible::{HeapExhausted, TryBox, try_reserve};

/// Bits of a handle that are the slot number plus one; the rest counts.
const SLOT_BITS: u32 = 8;
/// Most entries.
pub const MAX_ENTRIES: usize = (1 << SLOT_BITS) - 1;

/// The table.
#[derive(Debug)]
pub struct Handles<T> {
    slots: Vec<Slot<T>>,
    /// Handles given so far.
    given: u32,
}

#[derive(Debug)]
struct Slot<T> {
    /// 0 if it is free.
    handle: u32,
    /// Nothing in one that is in use: a call has it.
    value: Option<TryBox<T>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Handles<T> {
    /// None.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            slots: Vec::new(),
            given: 0,
        }
    }

    /// Adds an entry. Its handle.
    ///
    /// # Errors
    /// [`HeapExhausted`]: there are too many, or no memory.
    pub fn insert(&mut self, value: T) -> Result<u32, HeapExhausted> {
        let free = self.slots.iter().position(|slot| slot.handle == 0);
        let at = free.unwrap_or(self.slots.len());
        if at == MAX_ENTRIES {
            return Err(HeapExhausted);
        }
        if free.is_none() {
            try_reserve(&mut self.slots, 1)?;
        }
        let value = match TryBox::new(value) {
            Ok(value) => value,
            Err(err) => {
                self.tidy();
                return Err(err);
            }
        };
        self.given = self.given.wrapping_add(1);
        let slot = Slot {
            handle: self.given << SLOT_BITS | (at + 1) as u32,
            value: Some(value),
        };
        let handle = slot.handle;
        match self.slots.get_mut(at) {
            Some(empty) => *empty = slot,
            None => self.slots.push(slot),
        }
        Ok(handle)
    }

    /// Takes an entry out for good.
    pub fn remove(&mut self, handle: u32) -> Option<TryBox<T>> {
        let slot = self.slot_mut(handle)?;
        slot.handle = 0;
        let value = slot.value.take();
        self.tidy();
        value
    }

    /// Takes any entry out for good.
    pub fn pop(&mut self) -> Option<TryBox<T>> {
        loop {
            if let Some(value) = self.slots.pop()?.value {
                return Some(value);
            }
        }
    }

    /// Takes an entry out for a while; its handle stays.
    pub fn take(&mut self, handle: u32) -> Option<TryBox<T>> {
        self.slot_mut(handle)?.value.take()
    }

    /// Puts back what was taken out.
    pub fn put_back(&mut self, handle: u32, value: TryBox<T>) {
        if let Some(slot) = self.slot_mut(handle) {
            slot.value = Some(value);
        }
    }

    /// An entry.
    #[must_use]
    pub fn get(&self, handle: u32) -> Option<&T> {
        let slot = self.slots.get(Self::at(handle)?)?;
        slot.value.as_deref().filter(|_| slot.handle == handle)
    }

    /// An entry, to change.
    pub fn get_mut(&mut self, handle: u32) -> Option<&mut T> {
        self.slot_mut(handle)?.value.as_deref_mut()
    }

    /// All entries that are not taken out, with their handles, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut T)> {
        let all = self.slots.iter_mut();
        all.filter_map(|slot| Some((slot.handle, slot.value.as_deref_mut()?)))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.handle != 0).count()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    const fn at(handle: u32) -> Option<usize> {
        ((handle & MAX_ENTRIES as u32) as usize).checked_sub(1)
    }

    fn slot_mut(&mut self, handle: u32) -> Option<&mut Slot<T>> {
        let slot = self.slots.get_mut(Self::at(handle)?)?;
        (slot.handle == handle).then_some(slot)
    }

    /// Gives the memory of an empty table back.
    fn tidy(&mut self) {
        if self.is_empty() {
            self.slots = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Handles, MAX_ENTRIES};

    #[test]
    fn a_handle_names_its_entry_and_no_other_after_it() {
        let mut handles = Handles::default();
        let first = handles.insert('a').unwrap();
        let second = handles.insert('b').unwrap();
        assert_eq!(handles.remove(first).as_deref(), Some(&'a'));
        let third = handles.insert('c').unwrap();
        assert_eq!(handles.get(first), None);
        assert_eq!(handles.get(second), Some(&'b'));
        assert_eq!(handles.get_mut(third), Some(&mut 'c'));
        assert_eq!(third & 0xff, first & 0xff, "the same slot");
        for nothing in [0, 0xff, u32::MAX, first, second + 1] {
            assert_eq!(handles.get(nothing), None);
            assert!(handles.remove(nothing).is_none());
        }
        handles.remove(second);
        handles.remove(third);
        assert_eq!(handles.slots.capacity(), 0);
    }

    #[test]
    fn what_was_taken_out_keeps_its_handle() {
        let mut handles = Handles::default();
        let handle = handles.insert(1).unwrap();
        let taken = handles.take(handle).unwrap();
        assert_eq!((handles.get(handle), handles.len()), (None, 1));
        assert!(handles.take(handle).is_none());
        assert_ne!(handles.insert(2).unwrap() & 0xff, handle & 0xff);
        handles.put_back(handle, taken);
        assert_eq!(handles.get(handle), Some(&1));
    }

    #[test]
    fn a_full_table_refuses() {
        let mut handles = Handles::default();
        for n in 0..MAX_ENTRIES {
            handles.insert(n).unwrap();
        }
        assert!(handles.insert(0).is_err());
        assert_eq!(handles.len(), MAX_ENTRIES);
    }
}
