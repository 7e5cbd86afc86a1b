//! Lists of records, and texts, into a client's buffer.
//!
//! **Invariant:** the client learns the size of what did not fit, and where to go on.

use crate::params::{expect, finish};
use tally_abi::TeeResult;
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, VALUE_INOUT};
use tally_account::api::{Answers, Rows};
use tally_core::pta::Params;
use tally_records::Selector;
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Parameters of a list: what, of whom, from where on, where to.
const SECTION: usize = 0;
const SELECTOR: usize = 1;
const CURSOR: usize = 2;
const ROWS: usize = 3;

/// Answers [`tally_abi::pta::inspect::CMD_LIST`].
///
/// # Errors
/// `BAD_PARAMETERS`, `SHORT_BUFFER` with the size that the first part takes, and
/// [`tally_account::api::Lists`]' own.
pub(crate) fn list(account: &dyn Answers, params: &mut dyn Params) -> Result<(), TeeResult> {
    expect(
        params,
        [VALUE_INOUT, MEMREF_INPUT, VALUE_INOUT, MEMREF_OUTPUT],
    )?;
    let section = params.value(SECTION).0;
    let of = selector(params, SELECTOR)?;
    let (low, high) = params.value(CURSOR);
    let mut cursor = Some(u64::from(high) << 32 | u64::from(low));
    let dropped = u32::try_from(account.dropped(section)).unwrap_or(u32::MAX);
    let (needed, next) = {
        let mut out = Records::new(params, ROWS);
        while let Some(from) = cursor {
            let whole = out.needed;
            let next = account.list(section, &of, from, &mut out)?;
            if out.is_short() {
                if whole != 0 {
                    // What fits is whole; the rest is for the next call.
                    out.needed = whole;
                }
                break;
            }
            cursor = next;
        }
        (out.needed, cursor.unwrap_or(0))
    };
    params.set_value(SECTION, dropped, 0);
    params.set_value(CURSOR, next as u32, (next >> 32) as u32);
    finish(params, ROWS, needed)
}

/// What memory reference `param` selects.
///
/// # Errors
/// `BAD_PARAMETERS`.
pub(crate) fn selector(params: &dyn Params, param: usize) -> Result<Selector, TeeResult> {
    let mut selector = Selector::new_zeroed();
    if params.memref_len(param) != size_of::<Selector>() as u64 {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    params.read(param, 0, selector.as_mut_bytes())?;
    selector.checked()
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

    fn is_short(&self) -> bool {
        self.needed > self.params.memref_len(self.param)
    }

    /// # Errors
    /// `SHORT_BUFFER`.
    pub(crate) fn finish(self) -> Result<(), TeeResult> {
        finish(self.params, self.param, self.needed)
    }
}

impl Rows for Records<'_> {
    fn room(&self) -> usize {
        let left = self
            .params
            .memref_len(self.param)
            .saturating_sub(self.needed);
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    fn put(&mut self, row: &[u8]) -> Result<(), TeeResult> {
        let end = self.needed + row.len() as u64;
        if end <= self.params.memref_len(self.param) {
            self.params.write(self.param, self.needed, row)?;
        }
        self.needed = end;
        Ok(())
    }
}

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
        let bytes = record.as_bytes();
        if needed + bytes.len() as u64 <= room {
            params.write(param, needed, bytes)?;
        }
        needed += bytes.len() as u64;
        account.breathe();
    }
    finish(params, param, needed)
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
