//! One round of `top` for people.
//!
//! **Invariant:** a round is at most as wide as a terminal of 100 columns.
//! **Knows nothing of:** where the figures come from, when the next round comes.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

use crate::Names;
use crate::commands::top::Round;

/// Clears the screen (ECMA-48 CUP and ED).
pub(crate) fn clear(out: &mut dyn Write) -> fmt::Result {
    out.write_str("\x1b[H\x1b[J")
}

/// Of how much how much is taken, in KiB and percent.
fn taken((size, used): (u64, u64)) -> String {
    let percent = used.saturating_mul(100).checked_div(size).unwrap_or(0);
    format!("{} of {} KiB ({percent} %)", used >> 10, size >> 10)
}

pub(crate) fn round(
    out: &mut dyn Write,
    round: &Round,
    before: &Round,
    names: &dyn Names,
) -> fmt::Result {
    writeln!(
        out,
        "secure RAM for TAs {}, kernel heap {}",
        taken(round.ram),
        taken(round.kernel_heap)
    )?;
    writeln!(
        out,
        "{:<14} {:<12} {:>8} {:>10} {:>10} {:>9} {:>10} {:>8}",
        "TA", "state", "sessions", "heap", "peak", "growth", "rss", "kernel"
    )?;
    for row in &round.rows {
        let name = names
            .name_of(row.uuid)
            .unwrap_or_else(|| format!("{:08x}", row.uuid.time_low));
        let growth = match before.growth_of(row) {
            Some(0) => String::from("0"),
            Some(bytes) => format!("{bytes:+}"),
            None => String::from("new"),
        };
        writeln!(
            out,
            "{name:<14} {:<12} {:>8} {:>10} {:>10} {growth:>9} {:>10} {:>8}",
            row.state,
            row.sessions,
            row.heap,
            row.peak,
            row.rss,
            row.kernel
        )?;
    }
    if round.rows.is_empty() {
        writeln!(out, "no TA is loaded")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoNames;
    use crate::commands::top::Row;
    use alloc::vec::Vec;
    use tally_abi::TeeUuid;

    #[test]
    fn a_round_has_a_head_and_a_line_a_ta() {
        let row = Row {
            uuid: TeeUuid::from_u128(0x7a11e110_0002_4c6e_8d01_5ec0de000002),
            state: "idle",
            sessions: 1,
            heap: 300,
            peak: 400,
            rss: 126_976,
            kernel: 560,
            ..Row::default()
        };
        let now = Round {
            ram: (8 << 20, 2 << 20),
            kernel_heap: (192 << 10, 48 << 10),
            rows: Vec::from([row]),
        };
        let mut before = now.clone();
        before.rows[0].heap = 100;
        let mut out = String::new();
        round(&mut out, &now, &before, &NoNames).expect("strings take everything");
        assert_eq!(
            out,
            "secure RAM for TAs 2048 of 8192 KiB (25 %), kernel heap 48 of 192 KiB (25 %)\n\
             TA             state        sessions       heap       peak    growth        rss   kernel\n\
             7a11e110       idle                1        300        400      +200     126976      560\n"
        );
        let mut out = String::new();
        round(&mut out, &now, &Round::default(), &NoNames).expect("strings take everything");
        assert!(out.contains(" new "), "{out}");
        let mut out = String::new();
        round(&mut out, &Round::default(), &now, &NoNames).expect("strings take everything");
        assert!(out.ends_with("no TA is loaded\n") && out.contains("0 of 0 KiB (0 %)"));
        assert!(out.lines().all(|line| line.len() <= 100));
    }
}
