//! Heap values whose allocation may fail.
//!
//! **Invariant:** nothing here aborts; an exhausted heap is an `Err`.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use tally_abi::TeeResult;

/// The kernel heap could not serve a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapExhausted;

impl From<HeapExhausted> for TeeResult {
    fn from(_: HeapExhausted) -> Self {
        Self::OUT_OF_MEMORY
    }
}

/// A box whose creation can fail: stable Rust has no `Box::try_new`, but a boxed slice of length
/// one built in an exactly reserved vector is the same allocation.
#[derive(Debug)]
pub struct TryBox<T>(Box<[T]>);

impl<T> TryBox<T> {
    /// Moves `value` to the heap.
    ///
    /// # Errors
    /// [`HeapExhausted`]; `value` is dropped.
    pub fn new(value: T) -> Result<Self, HeapExhausted> {
        let mut one = vec_with_capacity(1)?;
        one.push(value);
        Ok(Self(one.into_boxed_slice()))
    }
}

impl<T> Deref for TryBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}

impl<T> DerefMut for TryBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0[0]
    }
}

/// An empty vector with room for exactly `capacity` items.
///
/// # Errors
/// [`HeapExhausted`].
pub fn vec_with_capacity<T>(capacity: usize) -> Result<Vec<T>, HeapExhausted> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(capacity).map_err(|_| HeapExhausted)?;
    Ok(vec)
}

/// Makes room for `more` items behind those that are there.
///
/// # Errors
/// [`HeapExhausted`]; `vec` is as before.
pub fn try_reserve<T>(vec: &mut Vec<T>, more: usize) -> Result<(), HeapExhausted> {
    vec.try_reserve(more).map_err(|_| HeapExhausted)
}

/// Appends, growing if there is no room.
///
/// # Errors
/// [`HeapExhausted`]; `vec` is as before.
pub fn try_push<T>(vec: &mut Vec<T>, value: T) -> Result<(), HeapExhausted> {
    try_reserve(vec, 1)?;
    vec.push(value);
    Ok(())
}

/// Grows `items` to `len`, the new ones [`Default`]; they never become fewer.
///
/// # Errors
/// [`HeapExhausted`]; `items` are as before.
pub fn try_resize<T: Default + Clone>(
    items: &mut Box<[T]>,
    len: usize,
) -> Result<(), HeapExhausted> {
    if items.len() < len {
        let mut grown = vec_with_capacity(len)?;
        grown.extend_from_slice(items);
        grown.resize(len, T::default());
        *items = grown.into_boxed_slice();
    }
    Ok(())
}

/// A table of boxed entries with a fixed number of slots, named by small numbers.
///
/// The slots are allocated once, so that inserting and removing leaves the heap as it was but
/// for the entry itself. What is looked for is looked for up to the last entry only, and entries
/// are put in front.
#[derive(Debug)]
pub struct Table<T> {
    slots: Vec<Option<TryBox<T>>>,
    /// All slots from here on are empty.
    end: usize,
}

impl<T> Default for Table<T> {
    /// A table without slots.
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            end: 0,
        }
    }
}

impl<T> Table<T> {
    /// A table with `capacity` empty slots.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new(capacity: usize) -> Result<Self, HeapExhausted> {
        let mut slots = vec_with_capacity(capacity)?;
        slots.resize_with(capacity, || None);
        Ok(Self { slots, end: 0 })
    }

    /// Puts `value` into the first empty slot and returns its number.
    ///
    /// # Errors
    /// [`HeapExhausted`] when every slot is taken or the heap is exhausted.
    pub fn insert(&mut self, value: T) -> Result<usize, HeapExhausted> {
        let used = &self.slots[..self.end];
        let free = used.iter().position(Option::is_none).unwrap_or(self.end);
        let slot = self.slots.get_mut(free).ok_or(HeapExhausted)?;
        *slot = Some(TryBox::new(value)?);
        self.end = self.end.max(free + 1);
        Ok(free)
    }

    /// Whether every slot is taken.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.end == self.slots.len() && self.slots.iter().all(Option::is_some)
    }

    /// Most entries that there can be in it now.
    #[must_use]
    pub const fn bound(&self) -> usize {
        self.end
    }

    /// Takes the entry out.
    pub fn remove(&mut self, index: usize) -> Option<TryBox<T>> {
        let taken = self.slots.get_mut(index)?.take();
        let used = &self.slots[..self.end];
        self.end = used
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        taken
    }

    /// The entry in slot `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.slots.get(index)?.as_deref()
    }

    /// The entry in slot `index`, to change.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.slots.get_mut(index)?.as_deref_mut()
    }

    /// All entries with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> + Clone {
        self.slots[..self.end]
            .iter()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, slot.as_deref()?)))
    }

    /// All entries with their numbers, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.slots[..self.end]
            .iter_mut()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, slot.as_deref_mut()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, try_push, try_reserve, try_resize};

    #[test]
    fn items_are_appended_and_never_become_fewer() {
        let mut vec = Vec::new();
        assert_eq!(
            (try_push(&mut vec, 1), try_push(&mut vec, 2)),
            (Ok(()), Ok(()))
        );
        assert_eq!(vec, [1, 2]);
        assert_eq!(try_reserve(&mut vec, 100), Ok(()));
        assert!(vec.capacity() >= 102);
        let mut items = vec.into_boxed_slice();
        for (len, expected) in [
            (4, &[1, 2, 0, 0][..]),
            (3, &[1, 2, 0, 0]),
            (5, &[1, 2, 0, 0, 0]),
        ] {
            assert_eq!(try_resize(&mut items, len), Ok(()));
            assert_eq!(*items, *expected);
        }
    }

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let mut table = Table::new(2).unwrap();
        assert_eq!(table.insert('a'), Ok(0));
        assert_eq!(table.insert('b'), Ok(1));
        assert!(table.insert('c').is_err());
        assert!(table.is_full());
        assert_eq!(table.remove(0).as_deref(), Some(&'a'));
        // A hole in front is room, though the last slot is taken.
        assert_eq!((table.is_full(), table.bound()), (false, 2));
        assert_eq!((table.get(0), table.get(1)), (None, Some(&'b')));
        assert_eq!(table.insert('d'), Ok(0));
        *table.get_mut(1).unwrap() = 'e';
        assert_eq!((table.get(1), table.get(2)), (Some(&'e'), None));
        assert_eq!(table.iter().map(|(_, c)| *c).collect::<String>(), "de");
    }

    #[test]
    fn entries_are_found_whatever_was_removed_around_them() {
        let mut table = Table::new(4).unwrap();
        let all = |table: &Table<char>| table.iter().map(|(_, c)| *c).collect::<String>();
        for c in "abcd".chars() {
            table.insert(c).unwrap();
        }
        table.remove(3);
        table.remove(1);
        assert_eq!(all(&table), "ac");
        table.remove(2);
        table.remove(2);
        assert_eq!((all(&table), table.end), ("a".into(), 1));
        assert_eq!(table.insert('e'), Ok(1));
        table.remove(0);
        assert_eq!((all(&table), table.insert('f')), ("e".into(), Ok(0)));
        table.remove(0);
        table.remove(1);
        assert_eq!((all(&table), table.end), (String::new(), 0));
    }
}
