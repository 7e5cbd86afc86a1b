//! Lists of fixed-size records, and texts, into a client's buffer.
//!
//! **Invariant:** the client learns the size of the whole even where none of it fits.

use crate::list::finish;
use tally_abi::TeeResult;
use tally_account::api::Answers;
use tally_core::pta::Params;
use zerocopy::{Immutable, IntoBytes};

/// More records than this are not listed, however many a changing system shows.
const MAX_RECORDS: usize = 4096;

/// Writes the records that `item` gives, from 0 until `None`, into memory reference `param`. Interrupts of the
/// normal world come through between them.
///
/// # Errors
/// `SHORT_BUFFER` with the size needed.
pub(crate) fn write<T: IntoBytes + Immutable>(
    account: &dyn Answers,
    params: &mut dyn Params,
    param: usize,
    mut item: impl FnMut(usize) -> Option<T>,
) -> Result<(), TeeResult> {
    let room = params.memref_len(param);
    let mut needed = 0;
    for index in 0..MAX_RECORDS {
        let Some(record) = item(index) else { break };
        let octets = record.as_bytes();
        if needed + octets.len() as u64 <= room {
            params.write(param, needed, octets)?;
        }
        needed += octets.len() as u64;
        account.breathe();
    }
    finish(params, param, needed)
}

/// Writes these records into memory reference `param`.
///
/// # Errors
/// `SHORT_BUFFER` with the size needed.
pub(crate) fn write_all<T: IntoBytes + Immutable>(
    params: &mut dyn Params,
    param: usize,
    records: &[T],
) -> Result<(), TeeResult> {
    let octets = records.as_bytes();
    let fit = params.memref_len(param) / size_of::<T>() as u64 * size_of::<T>() as u64;
    let fit = octets.len().min(usize::try_from(fit).unwrap_or(usize::MAX));
    params.write(param, 0, &octets[..fit])?;
    finish(params, param, octets.len() as u64)
}

/// Records that come one after the other.
pub(crate) struct Records<'a> {
    params: &'a mut dyn Params,
    param: usize,
    needed: u64,
}

impl<'a> Records<'a> {
    pub(crate) fn new(params: &'a mut dyn Params, param: usize) -> Self {
        Self {
            params,
            param,
            needed: 0,
        }
    }

    /// Appends a record, or only counts it where it has no room.
    ///
    /// # Errors
    /// What writing to the client's memory said.
    pub(crate) fn put<T: IntoBytes + Immutable>(&mut self, record: &T) -> Result<(), TeeResult> {
        let octets = record.as_bytes();
        let end = self.needed + octets.len() as u64;
        if end <= self.params.memref_len(self.param) {
            self.params.write(self.param, self.needed, octets)?;
        }
        self.needed = end;
        Ok(())
    }

    /// # Errors
    /// `SHORT_BUFFER`.
    pub(crate) fn finish(self) -> Result<(), TeeResult> {
        finish(self.params, self.param, self.needed)
    }
}

/// Text that grows in a client's buffer.
pub(crate) struct Text<'a> {
    params: &'a mut dyn Params,
    param: usize,
    len: u64,
}

impl<'a> Text<'a> {
    pub(crate) fn new(params: &'a mut dyn Params, param: usize) -> Self {
        Self {
            params,
            param,
            len: 0,
        }
    }

    /// # Errors
    /// `SHORT_BUFFER`.
    pub(crate) fn finish(self) -> Result<(), TeeResult> {
        finish(self.params, self.param, self.len)
    }
}

impl core::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len + text.len() as u64;
        if end <= self.params.memref_len(self.param) {
            let written = self.params.write(self.param, self.len, text.as_bytes());
            written.map_err(|_| core::fmt::Error)?;
        }
        self.len = end;
        Ok(())
    }
}
