//! Commands of a TA for programs.

use core::fmt::{self, Write};

use tally_records::CommandRow;

use super::{array, uuid_fields};
use crate::Names;

pub(crate) fn commands(
    out: &mut dyn Write,
    rows: &[CommandRow],
    dropped: u32,
    names: &dyn Names,
) -> fmt::Result {
    array(out, "commands", rows, |out, _, row| {
        write!(
            out,
            "{{\"function\":{},\"command\":{},\"calls\":{},\"failed\":{},\"net_bytes\":{},\
             \"heap_above_entry\":{},\"ticks\":{},\"detailed\":{},\"allocations\":{},\
             \"releases\":{},\"stack_deepest\":{}",
            row.function,
            row.command,
            row.calls,
            row.failed,
            row.net_bytes,
            row.heap_above_entry,
            row.ticks,
            row.detailed,
            row.allocations,
            row.releases,
            row.stack_deepest
        )?;
        uuid_fields(out, row.uuid, names)?;
        out.write_char('}')
    })?;
    writeln!(out, ",\"dropped\":{dropped}}}")
}
