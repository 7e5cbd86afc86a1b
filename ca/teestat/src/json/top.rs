//! One round of `top` for programs.

use core::fmt::{self, Write};

use tally_records::{consistency, state};

use super::{array, uuid_fields};
use crate::Names;
use crate::commands::top::Round;
use crate::text::inspect::state_name;

pub(crate) fn round(
    out: &mut dyn Write,
    round: &Round,
    before: &Round,
    names: &dyn Names,
) -> fmt::Result {
    array(out, "tas", &round.tas, |out, _, ta| {
        write!(
            out,
            "{{\"instance\":{},\"state\":\"{}\",\"sessions\":{},\"heap\":{},\"peak\":{},\"rss\":{},\
             \"kernel_heap\":{}",
            ta.instance,
            state_name(ta.state),
            ta.sessions,
            ta.heap.alloc.allocated,
            ta.heap.alloc.max_allocated,
            ta.rss,
            ta.kernel_heap
        )?;
        if ta.heap.inconsistent == consistency::INCONSISTENT {
            out.write_str(",\"consistent\":false")?;
        }
        if ta.state == state::BUSY {
            write!(out, ",\"command\":{}", ta.command)?;
        }
        if let Some(growth) = before.growth_of(ta) {
            write!(out, ",\"growth\":{growth}")?;
        }
        uuid_fields(out, ta.uuid, names)?;
        out.write_char('}')
    })?;
    writeln!(
        out,
        ",\"secure_ram\":{},\"secure_ram_used\":{},\"kernel_heap\":{},\"kernel_heap_used\":{}}}",
        round.ram.0, round.ram.1, round.kernel_heap.0, round.kernel_heap.1
    )
}
