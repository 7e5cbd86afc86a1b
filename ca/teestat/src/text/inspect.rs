//! TAs whole, regions and status, for people.
//!
//! **Invariant:** hidden addresses are shown as such, never as zero.

use core::fmt::{self, Display, Write};

use tally_abi::TeeUuid;
use tally_abi::ta::flags;
use tally_insight::names::{Names, entry};
use tally_records::{
    RegionRow, SessionRow, TaDetail, cause, consistency, fragmentation, prot, state, word,
};

use super::{Called, Count, Label};

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

/// What an instance does, or how it died.
struct Doing<'a>(&'a TaDetail);

impl Display for Doing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ta) = self;
        f.write_str(word(state::WORDS, ta.state))?;
        match (ta.state, ta.cause) {
            (state::DEAD, cause::NONE) => return Ok(()),
            (state::DEAD, cause::PANICKED) => write!(f, ", panicked with {:#x}", ta.panic_code)?,
            (state::DEAD, cause) => write!(f, ", {}", word(cause::WORDS, cause))?,
            (state::BUSY, _) => {}
            _ => return Ok(()),
        }
        if ta.session != 0 {
            write!(f, " in {}", entry(ta.function, ta.command))?;
            write!(f, " of session {:#x}", ta.session)?;
        }
        match ta.state {
            state::BUSY => write!(f, " since {}", Seconds(ta.busy_since_ms)),
            _ => write!(f, " at {}", Seconds(ta.died_ms)),
        }
    }
}

/// A line of what is told of a TA.
fn line(out: &mut dyn Write, label: &str, value: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(out, "  {label:<14}{value}")
}

/// What of its pages a heap has taken.
struct Taken<'a>(&'a TaDetail);

impl fmt::Display for Taken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TaDetail {
            heap_committed,
            heap_reserved,
            ..
        } = self.0;
        match heap_reserved {
            0 => f.write_str("in the TA's data"),
            _ => write!(f, "{heap_committed} taken of {heap_reserved} with tables"),
        }
    }
}

/// The figures of a heap whose books add up.
fn heap(out: &mut dyn Write, ta: &TaDetail) -> fmt::Result {
    let mut row = |label: &str, value: fmt::Arguments<'_>| line(out, label, value);
    let heap = &ta.heap.alloc;
    // That of a C TA lies in its data.
    let is_in_data = ta.heap_reserved == 0;
    let size = if is_in_data {
        heap.size.into()
    } else {
        ta.heap_declared()
    };
    row(
        "heap",
        format_args!(
            "{} of {} bytes in {}, at most {}",
            heap.allocated,
            size,
            Count(ta.heap.live_blocks, "block"),
            heap.max_allocated
        ),
    )?;
    row(
        "",
        format_args!(
            "{}, largest free chunk {}, bookkeeping {}, fragmentation {} %",
            Taken(ta),
            ta.heap.largest_free,
            ta.heap.metadata,
            fragmentation(heap).unwrap_or(0)
        ),
    )?;
    row(
        "",
        format_args!(
            "{}, {}, {} failed",
            Count(ta.heap.num_get, "allocation"),
            Count(ta.heap.num_release, "release"),
            heap.num_alloc_fail
        ),
    )?;
    match ta.heap.inconsistent {
        0 => Ok(()),
        _ => row("", format_args!("changed while it was read")),
    }
}

fn one_ta(out: &mut dyn Write, ta: &TaDetail, names: &dyn Names) -> fmt::Result {
    writeln!(out, "{}, instance {}", Called(ta.uuid, names), ta.instance)?;
    let mut row = |label: &str, value: fmt::Arguments<'_>| line(out, label, value);
    row("state", format_args!("{}", Doing(ta)))?;
    row(
        "loaded",
        format_args!(
            "at {}, {} open, flags {}",
            Seconds(ta.loaded_ms),
            Count(ta.sessions.into(), "session"),
            FlagNames(ta.flags)
        ),
    )?;
    if ta.heap.inconsistent == consistency::INCONSISTENT {
        row(
            "heap",
            format_args!("INCONSISTENT: its books do not add up, and tell nothing"),
        )?;
        row("", format_args!("{}", Taken(ta)))?;
    } else {
        heap(out, ta)?;
    }
    let mut row = |label: &str, value: fmt::Arguments<'_>| line(out, label, value);
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
        format_args!("{} in {}", ta.kernel_heap, Count(ta.kernel_blocks, "block")),
    )?;
    if ta.objects + ta.operations > 0 {
        row(
            "cryptography",
            format_args!(
                "{} and {}, {} of it",
                Count(ta.objects.into(), "object"),
                Count(ta.operations.into(), "operation"),
                ta.crypto
            ),
        )?;
    }
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
                Called(owner, names),
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
            "{:>18} {:>12} {:>11} {:>11}        {}",
            "",
            "",
            sum(|row| row.bytes),
            sum(|row| row.populated),
            Count(group.len() as u64, "region")
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

/// What the secure console says of a TA's instances, with addresses as far as they are shown.
pub(crate) fn status(
    out: &mut dyn Write,
    tas: &[TaDetail],
    sessions: &[SessionRow],
    regions: &[RegionRow],
) -> fmt::Result {
    for (n, ta) in tas.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let sessions = sessions.iter().filter(|row| row.instance == ta.instance);
        let regions = regions.iter().filter(|row| row.instance == ta.instance);
        status_of(out, ta, sessions, regions)?;
    }
    Ok(())
}

fn status_of<'a>(
    out: &mut dyn Write,
    ta: &TaDetail,
    sessions: impl Iterator<Item = &'a SessionRow>,
    regions: impl Iterator<Item = &'a RegionRow> + Clone,
) -> fmt::Result {
    writeln!(
        out,
        "Status of user TA {} (instance {}{})",
        ta.uuid,
        ta.instance,
        if ta.state == state::DEAD {
            ", dead"
        } else {
            ""
        }
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
        .clone()
        .map(|row| row.usable)
        .fold(0, u64::saturating_add);
    writeln!(out, "Memory Used: {used:#x}")?;
    writeln!(out, "Memory List:")?;
    for (n, row) in regions.enumerate() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::print;
    use tally_abi::ta::entry;
    use tally_insight::names::NoNames;

    #[test]
    fn a_scribbled_heap_is_inconsistent_and_nothing_else() {
        // Bug: figures stood beside it, among them a heap size that nobody had declared.
        let mut ta = TaDetail {
            heap_committed: 45_056,
            heap_reserved: 45_056,
            ..TaDetail::default()
        };
        ta.heap.inconsistent = consistency::INCONSISTENT;
        let text = print(|out| one_ta(out, &ta, &NoNames));
        assert!(
            text.contains(
                "\n  heap          INCONSISTENT: its books do not add up, and tell nothing\n\
                 \x20               45056 taken of 45056 with tables\n  stack "
            ),
            "{text}"
        );
        assert!(!text.contains("allocation"), "{text}");
    }

    #[test]
    fn what_a_ta_holds_of_cryptography_has_a_line_if_it_holds_any() {
        let mut ta = TaDetail::default();
        let none = print(|out| one_ta(out, &ta, &NoNames));
        assert!(!none.contains("cryptography"), "{none}");
        (ta.objects, ta.operations, ta.crypto) = (2, 1, 640);
        let text = print(|out| one_ta(out, &ta, &NoNames));
        let line = "\n  cryptography  2 objects and 1 operation, 640 of it\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_dead_ta_says_how_it_died() {
        let says = |cause, session| {
            let ta = TaDetail {
                state: state::DEAD,
                cause,
                panic_code: 0xffff_0000,
                function: entry::INVOKE_COMMAND as u32,
                command: 17,
                session,
                died_ms: 141,
                ..TaDetail::default()
            };
            alloc::format!("{}", Doing(&ta))
        };
        assert_eq!(
            says(cause::PANICKED, 0xa02),
            "dead, panicked with 0xffff0000 in command 17 of session 0xa02 at 0.141 s"
        );
        assert_eq!(
            says(cause::CRASHED, 0xa02),
            "dead, crashed in command 17 of session 0xa02 at 0.141 s"
        );
        assert_eq!(says(cause::KILLED, 0), "dead, killed at 0.141 s");
        assert_eq!(says(cause::NONE, 0), "dead");
    }
}
