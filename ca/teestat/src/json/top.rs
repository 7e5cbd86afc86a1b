//! One round of `top` for programs.
//!
//! **Invariant:** one object a round.
//! **Knows nothing of:** where the figures come from.

use core::fmt::{self, Write};

use super::{array, uuid_fields};
use crate::Names;
use crate::commands::top::Round;

pub(crate) fn round(
    out: &mut dyn Write,
    round: &Round,
    before: &Round,
    names: &dyn Names,
) -> fmt::Result {
    array(out, "tas", &round.rows, |out, _, row| {
        write!(
            out,
            "{{\"instance\":{},\"state\":\"{}\",\"sessions\":{},\"heap\":{},\"peak\":{},\"rss\":{},\
             \"kernel_heap\":{}",
            row.instance, row.state, row.sessions, row.heap, row.peak, row.rss, row.kernel
        )?;
        if let Some(growth) = before.growth_of(row) {
            write!(out, ",\"growth\":{growth}")?;
        }
        uuid_fields(out, row.uuid, names)?;
        out.write_char('}')
    })?;
    writeln!(
        out,
        ",\"secure_ram\":{},\"secure_ram_used\":{},\"kernel_heap\":{},\"kernel_heap_used\":{}}}",
        round.ram.0, round.ram.1, round.kernel_heap.0, round.kernel_heap.1
    )
}
