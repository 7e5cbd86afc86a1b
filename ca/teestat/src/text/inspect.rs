//! TAs whole, regions and status, for people.
//!
//! **Invariant:** hidden addresses are shown as such, never as zero.
//! **Knows nothing of:** where the figures come from.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_abi::pta::inspect::{
    FailureRow, HistoryRow, RegionRow, SessionRow, TaDetail, failed_pool, prot, state,
};
use tally_abi::ta::{entry, flags};
use tally_metrics::advice::Advice;

use super::{Label, Named, fragmentation, kind_name};
use crate::Names;

/// `TA_FLAG_*` by name.
pub(crate) struct FlagNames(pub(crate) u32);

impl Display for FlagNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut bar = "";
        for (bit, name) in flags::NAMES {
            if rest & bit != 0 {
                write!(f, "{bar}{name}")?;
                rest &= !bit;
                bar = "|";
            }
        }
        if rest != 0 || self.0 == 0 {
            write!(f, "{bar}{rest:#x}")?;
        }
        Ok(())
    }
}

/// Rights in the columns that OP-TEE prints: the kernel's in small letters, the TA's in capitals.
pub(crate) struct Rights(pub(crate) u32, pub(crate) bool);

impl Display for Rights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bits, is_kernel) = *self;
        let letter = |bit, letter| if bits & bit != 0 { letter } else { '-' };
        f.write_char(letter(prot::READ, 'r'))?;
        f.write_char(letter(prot::WRITE, 'w'))?;
        if is_kernel {
            f.write_char(letter(prot::EXECUTE, 'x'))?;
            f.write_str("---")
        } else {
            f.write_char('-')?;
            f.write_char(letter(prot::READ, 'R'))?;
            f.write_char(letter(prot::WRITE, 'W'))?;
            f.write_char(letter(prot::EXECUTE, 'X'))
        }
    }
}

/// An address, or that it is hidden.
struct Address(u64);

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            f.pad("-")
        } else {
            f.pad(&alloc::format!("{:#x}", self.0))
        }
    }
}

/// Milliseconds as seconds.
pub(crate) struct Seconds(pub(crate) u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} s", self.0 / 1000, self.0 % 1000)
    }
}

pub(crate) const fn state_name(state: u32) -> &'static str {
    match state {
        state::LOADING => "loading",
        state::IDLE => "idle",
        state::BUSY => "busy",
        state::DEAD => "dead",
        _ => "unknown",
    }
}

/// What an entry function is called.
pub(crate) const fn function_name(function: u32) -> &'static str {
    match function as u64 {
        entry::OPEN_SESSION => "open session",
        entry::CLOSE_SESSION => "close session",
        entry::INVOKE_COMMAND => "invoke",
        _ => "other",
    }
}

fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

pub(crate) fn tas(out: &mut dyn Write, tas: &[TaDetail], names: &dyn Names) -> fmt::Result {
    if tas.is_empty() {
        return writeln!(out, "no TA is loaded");
    }
    for (n, ta) in tas.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        one_ta(out, ta, names)?;
    }
    Ok(())
}

fn one_ta(out: &mut dyn Write, ta: &TaDetail, names: &dyn Names) -> fmt::Result {
    writeln!(out, "{}, instance {}", Named(ta.uuid, names), ta.instance)?;
    let mut row = |label: &str, value: fmt::Arguments<'_>| writeln!(out, "  {label:<14}{value}");
    let name = state_name(ta.state);
    match (ta.state, u64::from(ta.function)) {
        (state::BUSY, entry::INVOKE_COMMAND) => row(
            "state",
            format_args!(
                "{name} in command {} of session {:#x} since {}",
                ta.command,
                ta.session,
                Seconds(ta.busy_since_ms)
            ),
        )?,
        (state::BUSY, _) => row(
            "state",
            format_args!(
                "{name} in {} of session {:#x} since {}",
                function_name(ta.function),
                ta.session,
                Seconds(ta.busy_since_ms)
            ),
        )?,
        _ => row("state", format_args!("{name}"))?,
    }
    row(
        "loaded",
        format_args!(
            "at {}, {} session{} open, flags {}",
            Seconds(ta.loaded_ms),
            ta.sessions,
            plural(ta.sessions.into()),
            FlagNames(ta.flags)
        ),
    )?;
    let heap = &ta.heap.alloc;
    row(
        "heap",
        format_args!(
            "{} of {} bytes in {} block{}, at most {}",
            heap.allocated,
            ta.heap_reserved,
            ta.heap.live_blocks,
            plural(ta.heap.live_blocks),
            heap.max_allocated
        ),
    )?;
    row(
        "",
        format_args!(
            "{} taken, largest free chunk {}, bookkeeping {}, fragmentation {} %",
            ta.heap_committed,
            ta.heap.largest_free,
            ta.heap.metadata,
            fragmentation(heap).unwrap_or(0)
        ),
    )?;
    row(
        "",
        format_args!(
            "{} allocations, {} releases, {} failed",
            ta.heap.num_get, ta.heap.num_release, heap.num_alloc_fail
        ),
    )?;
    match ta.heap.inconsistent {
        0 => {}
        1 => row(
            "",
            format_args!("INCONSISTENT: its books do not add up, do not trust its heap's figures"),
        )?,
        _ => row("", format_args!("changed while it was read"))?,
    }
    row(
        "stack",
        format_args!("{} of {} bytes at its deepest", ta.stack_deepest, ta.stack),
    )?;
    row(
        "image",
        format_args!("{} code and constants, {} data", ta.code, ta.data),
    )?;
    row("page tables", format_args!("{}", ta.tables))?;
    row(
        "kernel heap",
        format_args!(
            "{} in {} block{}",
            ta.kernel_heap,
            ta.kernel_blocks,
            plural(ta.kernel_blocks)
        ),
    )?;
    row(
        "shared memory",
        format_args!("{} of the normal world mapped", ta.shared),
    )?;
    row(
        "sizes",
        format_args!(
            "VSS {}  RSS {}  PSS {}  USS {}",
            ta.vss, ta.rss, ta.pss, ta.uss
        ),
    )?;
    row(
        "quota",
        format_args!(
            "{} of {} bytes charged, at most {}",
            ta.charged, ta.quota, ta.charged_max
        ),
    )
}

pub(crate) fn regions(out: &mut dyn Write, rows: &[RegionRow], names: &dyn Names) -> fmt::Result {
    let key = |row: &RegionRow| (row.owner, row.instance);
    for (n, group) in rows.chunk_by(|a, b| key(a) == key(b)).enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let owner = group[0].owner;
        let is_kernel = owner == TeeUuid::nil();
        if is_kernel {
            writeln!(out, "kernel")?;
        } else {
            writeln!(
                out,
                "{}, instance {}",
                Named(owner, names),
                group[0].instance
            )?;
        }
        writeln!(
            out,
            "{:>18} {:>12} {:>11} {:>11} {:<6} what",
            "va", "pa", "size", "populated", "flags"
        )?;
        for row in group {
            region(out, row, is_kernel)?;
        }
        let sum = |of: fn(&RegionRow) -> u64| group.iter().map(of).fold(0, u64::saturating_add);
        writeln!(
            out,
            "{:>18} {:>12} {:>11} {:>11}        {} regions",
            "",
            "",
            sum(|row| row.bytes),
            sum(|row| row.populated),
            group.len()
        )?;
    }
    if rows.iter().all(|row| row.va == 0) && !rows.is_empty() {
        writeln!(
            out,
            "addresses are hidden; a kernel built with the feature `addresses` shows them"
        )?;
    }
    Ok(())
}

fn region(out: &mut dyn Write, row: &RegionRow, is_kernel: bool) -> fmt::Result {
    write!(
        out,
        "{:>18} {:>12} {:>11} {:>11} {} {}",
        Address(row.va),
        Address(row.pa),
        row.bytes,
        row.populated,
        Rights(row.prot, is_kernel),
        Label(&row.label)
    )?;
    for (bit, word) in [
        (prot::NON_SECURE, "normal world"),
        (prot::DEVICE, "device"),
        (prot::SHARED, "shared"),
    ] {
        if row.prot & bit != 0 {
            write!(out, ", {word}")?;
        }
    }
    if row.session != 0 {
        write!(out, ", session {:#x}", row.session)?;
    }
    writeln!(out)
}

/// What the secure console says of a TA, with addresses as far as they are shown.
pub(crate) fn status(
    out: &mut dyn Write,
    ta: &TaDetail,
    sessions: &[SessionRow],
    regions: &[RegionRow],
) -> fmt::Result {
    writeln!(
        out,
        "Status of user TA {} (instance {})",
        ta.uuid, ta.instance
    )?;
    writeln!(out, "Arch: aarch64")?;
    writeln!(out, "Flags: {}", FlagNames(ta.flags))?;
    writeln!(out, "Sessions List:")?;
    for session in sessions {
        writeln!(out, "{:#010x}", session.session)?;
    }
    writeln!(
        out,
        "Stack Ptr: {}, Size: {:#x}, Free: {:#x}",
        Hidden(ta.stack_pointer, 0),
        ta.stack,
        ta.stack.saturating_sub(ta.stack_deepest)
    )?;
    let used = regions
        .iter()
        .map(|row| row.usable)
        .fold(0, u64::saturating_add);
    writeln!(out, "Memory Used: {used:#x}")?;
    writeln!(out, "Memory List:")?;
    for (n, row) in regions.iter().enumerate() {
        writeln!(
            out,
            "region {n:2}: va {} pa {} size {:#08x} flags {}",
            Hidden(row.va, 10),
            Hidden(row.pa, 10),
            row.usable,
            Rights(row.prot, false)
        )?;
    }
    Ok(())
}

/// An address in hexadecimal digits of this width, or that it is hidden.
struct Hidden(u64, usize);

impl Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address, width) = *self;
        if address == 0 {
            write!(f, "{:>width$}", "hidden")
        } else {
            write!(f, "{address:#0width$x}")
        }
    }
}

/// A refused allocation with its call stack, and the places that held most, named.
pub(crate) type NamedFailure = (FailureRow, Vec<String>, Vec<String>);

pub(crate) const fn failed_pool_name(pool: u32) -> &'static str {
    match pool {
        failed_pool::KERNEL_HEAP => "kernel heap",
        failed_pool::TA_RAM => "TA memory",
        failed_pool::TA_HEAP => "TA heap",
        failed_pool::TA_QUOTA => "TA quota",
        _ => "unknown pool",
    }
}

pub(crate) fn failures(
    out: &mut dyn Write,
    rows: &[NamedFailure],
    names: &dyn Names,
) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(out, "nothing was refused");
    }
    for (n, (row, stack, tops)) in rows.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        write!(
            out,
            "#{} at {}: {} bytes of {} refused, {} {}",
            row.number,
            Seconds(row.at_ms),
            row.size,
            failed_pool_name(row.pool),
            kind_name(row.owner_kind),
            Label(&row.label)
        )?;
        if row.session != 0 {
            write!(out, ", session {:#x}", row.session)?;
        }
        if row.owner != TeeUuid::nil() {
            write!(out, " of {}", Named(row.owner, names))?;
        }
        writeln!(out)?;
        writeln!(
            out,
            "  {} of {} bytes in use, largest free {}",
            row.used, row.pool_size, row.largest_free
        )?;
        for (depth, name) in stack.iter().enumerate() {
            writeln!(out, "  #{depth} {name}")?;
        }
        for (top, name) in row.top.iter().zip(tops) {
            writeln!(out, "  {} bytes held by {name}", top.bytes)?;
        }
    }
    let first = rows.first().map_or(1, |(row, _, _)| row.number);
    if first > 1 {
        writeln!(out, "\n{} older ones are forgotten", first - 1)?;
    }
    Ok(())
}

pub(crate) fn history(
    out: &mut dyn Write,
    rows: &[HistoryRow],
    dropped: u32,
    names: &dyn Names,
) -> fmt::Result {
    writeln!(
        out,
        "{:>5} {:>5} {:>17} {:>15} {:>8} {:>8} {:>8}  TA",
        "ended", "died", "heap most/of", "stack most/of", "memory", "unfreed", "bytes"
    )?;
    for row in rows {
        let pair = |most, of| alloc::format!("{most}/{of}");
        writeln!(
            out,
            "{:>5} {:>5} {:>17} {:>15} {:>8} {:>8} {:>8}  {}",
            row.ended,
            row.died,
            pair(row.heap_max, row.heap_size),
            pair(row.stack_max, row.stack_size),
            row.charged_max,
            row.unfreed_blocks,
            row.unfreed_bytes,
            Named(row.uuid, names)
        )?;
    }
    if dropped > 0 {
        writeln!(out, "{dropped} rows had no room and are forgotten")?;
    }
    Ok(())
}

pub(crate) fn advice(out: &mut dyn Write, advice: &[Advice], names: &dyn Names) -> fmt::Result {
    writeln!(
        out,
        "{:<14} {:>10} {:>10} {:>10}  setting",
        "what", "now", "most used", "set to"
    )?;
    let mut whose = TeeUuid::nil();
    for one in advice {
        if one.uuid != whose {
            whose = one.uuid;
            writeln!(out, "{}", Named(whose, names))?;
        }
        let set = match one.set {
            0 => String::from("-"),
            set => alloc::format!("{set}"),
        };
        write!(
            out,
            "{:<14} {:>10} {:>10} {set:>10}  {}",
            one.what.name(),
            one.now,
            one.most,
            one.what.setting()
        )?;
        if one.refused > 0 {
            write!(out, ", {} refused", one.refused)?;
        }
        if one.impossible > 0 {
            write!(
                out,
                ", one of {} bytes, more than the TA memory can give",
                one.impossible
            )?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "most used since boot or `teestat reset`; set to: half as much again, what was refused too, in \
         whole pages\nthe quota has room for the heaps as in `set to`: one that is larger than the quota \
         is refused whole"
    )
}
