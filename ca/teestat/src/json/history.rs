//! History of ended TAs as JSON: memory used, blocks not freed.

use core::fmt::{self, Write};

use tally_metrics::advice::declared_once;
use tally_records::HistoryRow;

use super::pools::strings;
use super::{array, uuid_fields};
use crate::Names;
use crate::unfreed::Unfreed;

pub(crate) fn history(
    out: &mut dyn Write,
    rows: &[HistoryRow],
    dropped: u32,
    unfreed: &Unfreed,
    names: &dyn Names,
) -> fmt::Result {
    array(out, "tas", rows, |out, _, row| {
        write!(out, "{{\"ended\":{},\"died\":{}", row.ended, row.died)?;
        uuid_fields(out, row.uuid, names)?;
        write!(
            out,
            ",\"heap_max\":{},\"heap_size\":{},\"stack_max\":{},\"stack_size\":{},\
             \"charged_max\":{},\"unfreed_blocks\":{},\"unfreed_bytes\":{},\"held_blocks\":{},\
             \"held_bytes\":{},\"refused\":{},\"biggest_refused\":{},\"inconsistent\":{}}}",
            row.heap_max,
            declared_once(row),
            row.stack_max,
            row.stack_size,
            row.charged_max,
            row.unfreed_blocks,
            row.unfreed_bytes,
            row.held_blocks,
            row.held_bytes,
            row.refused,
            row.biggest_refused,
            row.inconsistent
        )
    })?;
    write!(out, ",\"dropped\":{dropped},\"unfreed\":[")?;
    for (n, place) in unfreed.places.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let row = &place.row;
        write!(
            out,
            "{comma}{{\"bytes\":{},\"blocks\":{},\"instances\":{},\"died\":{},\"stack\":[",
            row.bytes,
            row.blocks,
            row.instances,
            row.died != 0
        )?;
        strings(out, &place.stack)?;
        out.write_char(']')?;
        uuid_fields(out, row.uuid, names)?;
        out.write_char('}')?;
    }
    writeln!(out, "],\"unfreed_dropped\":{}}}", unfreed.dropped)
}
