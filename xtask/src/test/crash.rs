//! The kernel's crash reports, read as a person would read them: cause, registers, call stack, account.
//!
//! **Invariant:** each part is looked at by its values; text that a boot prints anyhow proves nothing.

use super::guest::tail;
use crate::images::Images;
use crate::qemu::{Ending, Outcome, STATUS_KERNEL_PANIC};
use crate::symbols::{Kind, Symbols};
use anyhow::{Context as _, Result, bail, ensure};
use std::ops::Range;
use tally_board_virt::SECURE_RAM_BYTES;

/// A way to break the kernel, and what its report must say.
pub(super) struct Fatal {
    /// What the guest's shell is told.
    pub(super) command: &'static str,
    /// How the report begins.
    says: &'static str,
    /// Exception class and the bit that tells writes (Arm ARM, ESR_EL1); none for a panic, which is no exception.
    syndrome: Option<u64>,
    far: Far,
    /// The function that did it: the program counter is in it, or it called the panic.
    function: &'static str,
    /// Functions of the call stack, innermost first, others between them.
    callers: &'static [&'static str],
}

/// The address that a crash is about.
enum Far {
    /// This one.
    At(u64),
    /// In the code of this function.
    Code(&'static str),
    /// Below the stack that overflowed, no deeper than a frame.
    Guard,
}

const READ: u64 = 0x25 << 26;
const WRITE: u64 = READ | 1 << 6;
const COMMAND: &[&str] = &["fault", "invoke", "enter_pseudo", "thread_main"];

/// Ways that end in a panic or a crash of the kernel.
pub(super) const FATAL: &[Fatal] = &[
    Fatal {
        command: "fault panic",
        says: "Panic at kernel/src/faults.rs:",
        syndrome: None,
        far: Far::At(0),
        function: "fault",
        callers: COMMAND,
    },
    Fatal {
        command: "fault bad-read",
        says: "Kernel crash: bad read at address 0xdead0000",
        syndrome: Some(READ),
        far: Far::At(0xdead_0000),
        function: "read_unmapped",
        callers: COMMAND,
    },
    Fatal {
        command: "fault stack-overflow",
        says: "Kernel crash: bad write at address 0xffffffffd",
        syndrome: Some(WRITE),
        far: Far::Guard,
        function: "recurse",
        callers: &["recurse"; 8],
    },
    Fatal {
        command: "fault write-code",
        says: "Kernel crash: bad write at address 0xffffffffc",
        syndrome: Some(WRITE),
        far: Far::Code("fault"),
        function: "write_code",
        callers: COMMAND,
    },
];

/// Largest frame of a function that overflows by itself.
const FRAME_BYTES: u64 = 1024;

/// That the machine ended by this crash and reported it whole.
pub(super) fn died_well(
    images: &Images,
    fatal: &Fatal,
    outcome: &Outcome,
) -> std::result::Result<(), String> {
    check(images, fatal, outcome).map_err(|err| {
        let end = outcome.trouble(images);
        let end = end.unwrap_or_else(|| tail(&outcome.secure, 40));
        format!("{err:#}\n{end}")
    })
}

fn check(images: &Images, fatal: &Fatal, outcome: &Outcome) -> Result<()> {
    ensure!(
        outcome.ending == Ending::Exit(STATUS_KERNEL_PANIC),
        "ended with {:?}, not with status {STATUS_KERNEL_PANIC}",
        outcome.ending
    );
    let report = Report::parse(&outcome.secure)?;
    ensure!(
        report.cause.starts_with(fatal.says),
        "the report begins with `{}`",
        report.cause
    );
    let mut symbols = Symbols::new(images);
    let mut named = |address: u64, function: &str| {
        let place = symbols.describe(address, Kind::Exact);
        let name = place.map(|place| place.to_string()).unwrap_or_default();
        let is_named = name.contains(function) && name.contains("kernel/src/faults.rs:");
        ensure!(is_named, "{address:#x} is `{name}`, not in {function}");
        Ok(())
    };
    match fatal.syndrome {
        Some(syndrome) => {
            let class = report.esr & WRITE;
            ensure!(class == syndrome, "esr {:#x}", report.esr);
            named(report.pc, fatal.function)?;
        }
        None => ensure!(report.esr == 0, "esr {:#x} of a panic", report.esr),
    }
    let stack = stack_of(images, report.x[29])?;
    match fatal.far {
        Far::At(address) => ensure!(report.far == address, "far {:#x}", report.far),
        Far::Code(function) => named(report.far, function)?,
        Far::Guard => {
            let guard = stack.start - FRAME_BYTES..stack.start;
            ensure!(guard.contains(&report.far), "far {:#x}", report.far);
            ensure!(report.overflown == Some("thread 0"), "no stack overflow");
        }
    }
    let is_overflow = matches!(fatal.far, Far::Guard);
    ensure!(
        is_overflow == report.overflown.is_some(),
        "overflown: {:?}",
        report.overflown
    );
    ensure!(
        is_overflow || stack.contains(&report.sp) && report.sp < report.x[29] + 1,
        "sp {:#x} is not on the stack of the frame at {:#x}",
        report.sp,
        report.x[29]
    );
    let mut frames = report.frames.iter();
    for caller in fatal.callers {
        ensure!(
            frames.any(|frame| frame == caller),
            "no {caller}, where it must be, in the call stack {:?}",
            report.frames
        );
    }
    report.account()
}

/// The thread's stack that an address lies on: each has a slot, and lies at its end.
fn stack_of(images: &Images, address: u64) -> Result<Range<u64>> {
    let number = |name| images.kernel.symbol(name).context(name);
    let base = number("tally_stacks_base")?;
    let slot_bytes = number("tally_stack_slot_bytes")?;
    let slot = address.wrapping_sub(base) / slot_bytes;
    let end = base.saturating_add((slot + 1).saturating_mul(slot_bytes));
    let stack = end - number("tally_thread_stack_bytes")?..end;
    ensure!(
        slot < number("tally_threads")? && stack.contains(&address),
        "{address:#x} is on no thread's stack"
    );
    Ok(stack)
}

/// A crash report.
#[derive(Debug, Default, PartialEq)]
struct Report<'a> {
    cause: &'a str,
    overflown: Option<&'a str>,
    esr: u64,
    far: u64,
    pc: u64,
    x: Vec<u64>,
    sp: u64,
    /// Functions of the call stack that have a name, file and line.
    frames: Vec<&'a str>,
    /// Bytes of secure RAM by use.
    uses: Vec<(&'a str, u64)>,
    /// Instances, sessions, objects of shared memory, threads in use.
    counts: Vec<u64>,
}

impl<'a> Report<'a> {
    /// Reads what an `E/TC` line and those behind it say.
    fn parse(secure: &'a str) -> Result<Self> {
        let lines = secure.lines().filter(|line| line.starts_with("E/TC:"));
        let lines = lines.filter_map(|line| line.get("E/TC:0 00 ".len()..));
        let mut report = Self::default();
        let mut in_stack = false;
        for line in lines.map(str::trim_end) {
            if line.starts_with("Panic") || line.starts_with("Kernel crash") {
                ensure!(report.cause.is_empty(), "two crashes: {line}");
                report.cause = line;
            } else if let Some(stack) = line.strip_prefix("Stack overflow: ") {
                report.overflown = Some(stack);
            } else if line == "Call stack:" {
                in_stack = true;
            } else if line.starts_with("esr ") || line.starts_with('x') {
                report.registers(line)?;
            } else if let Some((label, bytes)) = line
                .strip_suffix(" bytes")
                .and_then(|line| line.rsplit_once(' '))
            {
                in_stack = false;
                report.uses.push((label.trim(), bytes.parse()?));
            } else if line.contains(" TA instances, ") {
                let words = line.split(' ').filter_map(|word| word.parse().ok());
                report.counts = words.collect();
            } else if in_stack {
                // ` kernel+0x1aefc fault (kernel/src/faults.rs:27)`
                let words: Vec<&str> = line.split_whitespace().collect();
                let function = words.get(1).copied();
                let place = words.last().copied().unwrap_or_default();
                let has_line = place.contains(".rs:") && !place.ends_with(":0)");
                report.frames.extend(function.filter(|_| has_line));
            }
        }
        ensure!(!report.cause.is_empty(), "no crash is reported");
        ensure!(report.x.len() == 31, "{} registers", report.x.len());
        Ok(report)
    }

    /// A line of pairs, a name and a number each.
    fn registers(&mut self, line: &str) -> Result<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        for pair in words.chunks(2) {
            let [name, value] = pair else {
                bail!("half a register: {line}");
            };
            let value = value.strip_prefix("0x").unwrap_or(value);
            let value = u64::from_str_radix(value, 16).context(line.to_owned())?;
            match *name {
                "esr" => self.esr = value,
                "far" => self.far = value,
                "pc" => self.pc = value,
                "sp" => self.sp = value,
                "pstate" => {}
                _ if *name == format!("x{}", self.x.len()) => self.x.push(value),
                _ => bail!("{name} is out of place: {line}"),
            }
        }
        Ok(())
    }

    /// That the uses add up to the secure RAM, heap and free memory among them, with one session of one call.
    fn account(&self) -> Result<()> {
        let sum: u64 = self.uses.iter().map(|(_, bytes)| bytes).sum();
        ensure!(
            sum == SECURE_RAM_BYTES,
            "uses add up to {sum} of {SECURE_RAM_BYTES} bytes: {:?}",
            self.uses
        );
        for label in ["free", "kernel text", "kernel heap", "kernel stacks"] {
            let of = self.uses.iter().filter(|(name, _)| *name == label);
            ensure!(of.count() == 1, "no account of {label}: {:?}", self.uses);
        }
        ensure!(
            self.counts.starts_with(&[0, 1, 0, 1]),
            "instances, sessions, shared memory, threads: {:?}",
            self.counts
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNER: &str = "I/TC: 64 threads, 192 KiB heap, 14284 KiB for TAs\n";

    fn text() -> String {
        let mut text = format!("{BANNER}E/TC:0 00 Panic at kernel/src/faults.rs:27: why\n");
        text.push_str("E/TC:0 00 esr 0x00000000 far 0x0 pc 0xffff pstate 0x3c0\n");
        for n in 0..31 {
            text.push_str(&format!("E/TC:0 00 x{n:<2} {n:016x} \n"));
        }
        text.push_str(
            "E/TC:0 00 Call stack:\nE/TC:0 00  kernel+0x1e94 fault (kernel/src/faults.rs:27)\n",
        );
        text.push_str("E/TC:0 00  kernel+0x1b04 tally_yield_entry (assembly:0)\n");
        text
    }

    #[test]
    fn a_report_is_read_by_its_parts() {
        let text = format!(
            "{}E/TC:0 00 free                 14626816 bytes\n\
             E/TC:0 00 0 TA instances, 1 sessions, 0 shared memory objects, 1 of 64 threads in use\n",
            text()
        );
        let report = Report::parse(&text).unwrap();
        assert_eq!(report.frames, ["fault"]);
        assert_eq!((report.pc, report.x[30]), (0xffff, 30));
        assert_eq!(report.uses, [("free", 14_626_816)]);
        assert_eq!(report.counts, [0, 1, 0, 1, 64]);
        // It does not add up.
        assert!(report.account().is_err());
    }

    #[test]
    fn a_report_without_registers_or_account_is_none() {
        // Bug: the banner's "heap" was an account, and the panic's own line a named call stack.
        assert!(Report::parse(BANNER).is_err());
        assert!(Report::parse(&text().replace("E/TC:0 00 x7 ", "E/TC:0 00 y7 ")).is_err());
        let text = text();
        let report = Report::parse(&text).unwrap();
        assert!(report.account().is_err());
    }
}
