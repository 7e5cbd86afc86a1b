//! A snapshot as it grows, section by section.
//!
//! **Invariant:** what has no room is counted; of a record all is written or nothing. Memory that was refused is not asked
//! for again: each refusal is one more row to write.

use crate::inspector::Inspector;
use crate::snapshot::image::Image;
use crate::snapshot::keep::SnapshotError;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_records::Record;
use tally_records::snapshot::Section;
use zerocopy::{FromBytes, IntoBytes};

/// A snapshot that is being taken.
pub(super) struct Writer<'k, M: Machine + 'static> {
    kernel: Inspector<'k, M>,
    image: Image,
    offset: usize,
    dropped: u64,
    /// Memory was refused.
    is_full: bool,
}

/// A section as it grows.
pub(super) struct Open {
    at: usize,
    header: Section,
}

impl<'k, M: Machine> Writer<'k, M> {
    /// An empty one.
    pub(super) fn new(kernel: Inspector<'k, M>) -> Self {
        Self {
            kernel,
            image: Image::default(),
            offset: 0,
            dropped: 0,
            is_full: false,
        }
    }

    /// The kernel that it is of.
    pub(super) const fn kernel(&self) -> Inspector<'k, M> {
        self.kernel
    }

    /// Where the next record goes.
    pub(super) const fn offset(&self) -> usize {
        self.offset
    }

    /// Records that had no room.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Its memory, without what lies behind the last record.
    pub(super) fn into_image(mut self) -> Image {
        let mut state = self.kernel.kernel.state();
        self.image.truncate(&mut state.pages, self.offset);
        self.image
    }

    /// Takes pages for `more` bytes behind the last record. The state must not be locked.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`].
    #[inline(never)]
    pub(super) fn make_room(&mut self, more: usize) -> Result<(), SnapshotError> {
        let end = self.offset.saturating_add(more);
        if end <= self.image.room() {
            return Ok(());
        }
        if self.is_full {
            return Err(SnapshotError::OutOfMemory);
        }
        let kernel = self.kernel;
        let mut state = kernel.state();
        let reserved =
            kernel.as_owner(OwnerId::STATS, || self.image.reserve(&mut state.pages, end));
        self.is_full = reserved.is_err();
        reserved
    }

    /// Writes where there are pages.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`] if there are none.
    #[inline(never)]
    pub(super) fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), SnapshotError> {
        self.image.write(&self.kernel.machine, offset, data)
    }

    /// Reads what was written.
    pub(super) fn read<T: FromBytes + IntoBytes>(&self, offset: usize) -> T {
        let mut record = T::new_zeroed();
        let read = self
            .image
            .read(&self.kernel.machine, offset, record.as_mut_bytes());
        debug_assert_eq!(read, Ok(size_of::<T>()), "read behind the end");
        record
    }

    /// Appends, where there are pages.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`] if there are none.
    #[inline(never)]
    pub(super) fn append(&mut self, data: &[u8]) -> Result<(), SnapshotError> {
        self.write(self.offset, data)?;
        self.offset += data.len();
        Ok(())
    }

    /// Begins a section, where there are pages.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`] if there are none.
    pub(super) fn begin<T: Record>(&mut self) -> Result<Open, SnapshotError> {
        self.open(Section {
            kind: T::SECTION,
            record_bytes: size_of::<T>() as u32,
            ..Section::default()
        })
    }

    #[inline(never)]
    fn open(&mut self, header: Section) -> Result<Open, SnapshotError> {
        let at = self.offset;
        self.append(header.as_bytes())?;
        Ok(Open { at, header })
    }

    /// Adds a record, or counts it as dropped where there are no pages.
    #[inline(never)]
    pub(super) fn put(&mut self, open: &mut Open, record: &[u8]) {
        match self.append(record) {
            Ok(()) => open.header.count += 1,
            Err(_) => self.drop_record(),
        }
    }

    /// Adds records together, or counts all of them as dropped where there are no pages.
    pub(super) fn put_all<T: Record>(&mut self, open: &mut Open, records: &[T]) {
        match self.append(records.as_bytes()) {
            Ok(()) => open.header.count += records.len() as u32,
            Err(_) => self.dropped += records.len() as u64,
        }
    }

    /// Counts a record that has no room.
    pub(super) const fn drop_record(&mut self) {
        self.dropped += 1;
    }

    /// As [`Self::put`], with new pages if it takes any. Interrupts come through behind it.
    #[inline(never)]
    pub(super) fn record(&mut self, open: &mut Open, record: &[u8]) {
        // Without them it is dropped.
        let _ = self.make_room(record.len());
        self.put(open, record);
        self.kernel.breathe();
    }

    /// Ends a section.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`] never.
    pub(super) fn end(&mut self, open: &Open) -> Result<(), SnapshotError> {
        self.write(open.at, open.header.as_bytes())
    }

    /// A section that `fill` adds records to.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfMemory`], or `fill`'s.
    pub(super) fn section_of<T: Record>(
        &mut self,
        fill: impl FnOnce(&mut Self, &mut Open) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        self.make_room(size_of::<Section>())?;
        let mut open = self.begin::<T>()?;
        fill(self, &mut open)?;
        self.end(&open)
    }
}
