//! One round of `top` for people.
//!
//! **Invariant:** a round is at most as wide as a terminal of 80 columns.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};

use tally_insight::names::{Names, entry};
use tally_records::{TaDetail, consistency, state, word};

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

/// A short name with the instance's number, where several are loaded.
fn name(ta: &TaDetail, round: &Round, names: &dyn Names) -> String {
    let name = names
        .name_of(ta.uuid)
        .unwrap_or_else(|| format!("{:08x}", ta.uuid.time_low));
    let instances = round.tas.iter().filter(|other| other.uuid == ta.uuid);
    if instances.count() > 1 {
        format!("{name}#{}", ta.instance)
    } else {
        name
    }
}

/// What it does.
fn doing(ta: &TaDetail) -> String {
    match ta.state {
        state::BUSY => entry(ta.function, ta.command),
        state => String::from(word(state::WORDS, state)),
    }
}

pub(crate) fn round(
    out: &mut dyn Write,
    round: &Round,
    before: &Round,
    names: &dyn Names,
) -> fmt::Result {
    writeln!(
        out,
        "TA memory {}, kernel heap {}",
        taken(round.ta_memory),
        taken(round.kernel_heap)
    )?;
    writeln!(
        out,
        "{:<12} {:<12} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "TA", "state", "sessions", "heap", "peak", "growth", "rss", "kernel"
    )?;
    let mut any_unsound = false;
    for ta in &round.tas {
        let growth = match before.growth_of(ta) {
            Some(0) => String::from("0"),
            Some(bytes) => format!("{bytes:+}"),
            None => String::from("new"),
        };
        let is_sound = ta.heap.inconsistent != consistency::INCONSISTENT;
        let of_heap = |figure: String| if is_sound { figure } else { String::from("?") };
        writeln!(
            out,
            "{:<12} {:<12} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7}",
            name(ta, round, names),
            doing(ta),
            ta.sessions,
            of_heap(format!("{}", ta.heap.alloc.allocated)),
            of_heap(format!("{}", ta.heap.alloc.max_allocated)),
            of_heap(growth),
            ta.rss,
            ta.kernel_heap
        )?;
        any_unsound |= !is_sound;
    }
    if any_unsound {
        writeln!(out, "?: INCONSISTENT, the heap's books do not add up")?;
    }
    if round.tas.is_empty() {
        writeln!(out, "no TA is loaded")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use tally_abi::TeeUuid;
    use tally_insight::names::NoNames;

    #[test]
    fn a_round_has_a_head_and_a_line_an_instance() {
        let mut ta = TaDetail {
            uuid: TeeUuid::from_u128(0x7a11e110_0002_4c6e_8d01_5ec0de000002),
            instance: 3,
            state: state::IDLE,
            sessions: 1,
            rss: 126_976,
            kernel_heap: 560,
            ..TaDetail::default()
        };
        ta.heap.alloc.allocated = 300;
        ta.heap.alloc.max_allocated = 400;
        let busy = TaDetail {
            instance: 4,
            state: state::BUSY,
            function: tally_abi::ta::entry::INVOKE_COMMAND as u32,
            command: 22,
            ..ta
        };
        let now = Round {
            ta_memory: (8 << 20, 2 << 20),
            kernel_heap: (192 << 10, 48 << 10),
            tas: Vec::from([ta, busy]),
        };
        let mut before = now.clone();
        before.tas.truncate(1);
        before.tas[0].heap.alloc.allocated = 100;
        let mut out = String::new();
        round(&mut out, &now, &before, &NoNames).expect("strings take everything");
        assert_eq!(
            out,
            "TA memory 2048 of 8192 KiB (25 %), kernel heap 48 of 192 KiB (25 %)\n\
             TA           state        sessions     heap     peak   growth      rss  kernel\n\
             7a11e110#3   idle                1      300      400     +200   126976     560\n\
             7a11e110#4   command 22          1      300      400      new   126976     560\n"
        );
        assert!(out.lines().all(|line| line.len() <= 80));
        let mut scribbled = now.clone();
        scribbled.tas[0].heap.inconsistent = consistency::INCONSISTENT;
        let mut out = String::new();
        round(&mut out, &scribbled, &before, &NoNames).expect("strings take everything");
        assert!(
            out.contains(" 1        ?        ?        ?   126976 ")
                && out.ends_with("\n?: INCONSISTENT, the heap's books do not add up\n"),
            "{out}"
        );
        let mut out = String::new();
        round(&mut out, &Round::default(), &now, &NoNames).expect("strings take everything");
        assert!(out.ends_with("no TA is loaded\n") && out.contains("0 of 0 KiB (0 %)"));
    }
}
