//! The tool people use: what the kernel and every trusted application hold, and who leaks.
//!
//! `alloc`, `ta`, `memleak`, `pager` and `time` print what `xtest --stats` (optee_test) prints,
//! byte for byte; the rest is Tally's own.
//!
//! **Invariant:** output goes to `out`, complaints to `err`; the status is 0 (done), 1 (it
//! failed) or 2 (not understood).
//! **Knows nothing of:** consoles, transports, where names of TAs and functions are kept.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod client;
mod json;
mod text;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use tally_abi::pta::memleak::LeakRecord;
use teec::{Context, ErrorKind};

use client::{ClientError, Pager, Times};
use text::Named;

/// Secure RAM that `meminfo` must add up to, in bytes.
pub const SECURE_RAM_BYTES: u64 =
    tally_abi::virt::SECURE_RAM_END - tally_abi::virt::SECURE_RAM_BASE;

/// Names for people.
pub trait Names {
    /// Short name of a TA.
    fn name_of(&self, uuid: TeeUuid) -> Option<String>;

    /// The TA of this short name.
    fn uuid_of(&self, name: &str) -> Option<TeeUuid>;

    /// "function file:line" of a return address (offset from the link base) in a TA's image.
    fn site(&self, image: TeeUuid, offset: u64) -> Option<String>;
}

/// No names at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNames;

impl Names for NoNames {
    fn name_of(&self, _: TeeUuid) -> Option<String> {
        None
    }
    fn uuid_of(&self, _: &str) -> Option<TeeUuid> {
        None
    }
    fn site(&self, _: TeeUuid, _: u64) -> Option<String> {
        None
    }
}

/// What the tool remembers between runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The last mark that `leaks mark` set.
    pub last_mark: Option<u32>,
}

/// What `teestat help` prints.
pub const HELP: &str = "\
usage: teestat COMMAND [--json]
  alloc               statistics of the kernel's pools
  ta                  loaded TAs: sessions and heaps
  memleak             list the kernel's live blocks on the secure console
  pager               pager statistics
  time                time of both worlds
  meminfo [--all]     secure RAM by use, to the byte; unused rows too
  pools               every pool in full, TA heaps included
  owners              who holds kernel heap and pages
  leaks mark          set a mark and print its number
  leaks diff [MARK]   what was allocated since the mark (the last one) and is still there
  leaks list          every live block, by owner and call stack
  kill UUID|NAME      end a TA, busy or not
  reset               restart maxima and failure figures
  oom                 the last out-of-memory report
  help                this text
";

/// Exit status: done.
pub const STATUS_OK: u8 = 0;
/// Exit status: it failed.
pub const STATUS_FAILED: u8 = 1;
/// Exit status: not understood.
pub const STATUS_USAGE: u8 = 2;

enum Failure {
    Usage(String),
    Client(ClientError),
    Said(String),
    Output,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

/// Runs `teestat` with `args` (without the program's name) and returns its exit status.
pub fn run(
    args: &[&str],
    context: &Context<'_>,
    out: &mut dyn Write,
    err: &mut dyn Write,
    names: &dyn Names,
    memory: &mut Memory,
) -> u8 {
    let as_json = args.contains(&"--json");
    let words: Vec<&str> = args.iter().copied().filter(|&a| a != "--json").collect();
    let mut tool = Tool {
        context,
        out,
        names,
        memory,
        as_json,
    };
    let (status, said) = match tool.dispatch(&words) {
        Ok(status) => return status,
        Err(Failure::Usage(why)) => {
            // Where complaints cannot be written, the status still tells.
            let _ = writeln!(err, "teestat: {why}");
            let _ = err.write_str(HELP);
            return STATUS_USAGE;
        }
        Err(Failure::Said(what)) => (STATUS_FAILED, what),
        Err(Failure::Client(error)) => (STATUS_FAILED, alloc::format!("{error}")),
        Err(Failure::Output) => (STATUS_FAILED, String::from("cannot write the output")),
    };
    let _ = writeln!(err, "teestat: {said}");
    status
}

struct Tool<'a, 'c> {
    context: &'a Context<'c>,
    out: &'a mut dyn Write,
    names: &'a dyn Names,
    memory: &'a mut Memory,
    as_json: bool,
}

impl Tool<'_, '_> {
    fn dispatch(&mut self, words: &[&str]) -> Result<u8, Failure> {
        match words {
            ["alloc"] => {
                let stats = client::alloc_stats(self.context)?;
                if self.as_json {
                    json::alloc(self.out, &stats)?;
                } else {
                    text::alloc(self.out, &stats)?;
                }
            }
            ["ta"] => {
                let stats = client::ta_stats(self.context)?;
                if self.as_json {
                    json::ta(self.out, &stats, self.names)?;
                } else {
                    text::ta(self.out, &stats)?;
                }
            }
            ["memleak"] => {
                client::memleak_to_console(self.context)?;
                if self.as_json {
                    writeln!(self.out, "{{}}")?;
                }
            }
            ["pager"] => {
                let pager = client::pager(self.context)?;
                self.pager(&pager)?;
            }
            ["time"] => {
                let times = client::times(self.context)?;
                self.times(&times)?;
            }
            ["meminfo"] => return self.meminfo(false),
            ["meminfo", "--all" | "-v"] => return self.meminfo(true),
            ["pools"] => {
                let pools = client::pools(self.context)?;
                if self.as_json {
                    json::pools(self.out, &pools, self.names)?;
                } else {
                    text::pools(self.out, &pools, self.names)?;
                }
            }
            ["owners"] => {
                let rows = client::owners(self.context)?;
                if self.as_json {
                    json::owners(self.out, &rows, self.names)?;
                } else {
                    text::owners(self.out, &rows, self.names)?;
                }
            }
            ["kill", who] => return self.kill(who),
            ["leaks", rest @ ..] => return self.leaks(rest),
            ["reset"] => {
                client::reset(self.context)?;
                if self.as_json {
                    writeln!(self.out, "{{}}")?;
                }
            }
            ["oom"] => self.oom()?,
            ["help" | "--help" | "-h"] => self.out.write_str(HELP)?,
            [] => return Err(Failure::Usage(String::from("which command?"))),
            ["kill"] => return Err(Failure::Usage(String::from("kill which TA?"))),
            [command, ..] => {
                return Err(Failure::Usage(alloc::format!(
                    "`{command}` is not understood here"
                )));
            }
        }
        Ok(STATUS_OK)
    }

    fn meminfo(&mut self, all: bool) -> Result<u8, Failure> {
        let rows = client::meminfo(self.context)?;
        let adds_up = if self.as_json {
            json::meminfo(self.out, &rows)?
        } else {
            text::meminfo(self.out, &rows, all)?
        };
        Ok(if adds_up { STATUS_OK } else { STATUS_FAILED })
    }

    fn pager(&mut self, pager: &Pager) -> fmt::Result {
        if self.as_json {
            json::pager(self.out, pager)
        } else {
            text::pager(self.out, pager)
        }
    }

    fn times(&mut self, times: &Times) -> fmt::Result {
        if self.as_json {
            json::times(self.out, times)
        } else {
            text::times(self.out, times)
        }
    }

    fn kill(&mut self, who: &str) -> Result<u8, Failure> {
        let uuid = self.names.uuid_of(who).or_else(|| who.parse().ok());
        let Some(uuid) = uuid else {
            return Err(Failure::Usage(alloc::format!(
                "`{who}` is neither a UUID nor the name of a known TA"
            )));
        };
        match client::kill(self.context, uuid) {
            Ok(n) if self.as_json => writeln!(self.out, "{{\"uuid\":\"{uuid}\",\"ended\":{n}}}")?,
            Ok(n) => {
                let plural = if n == 1 { "" } else { "s" };
                writeln!(
                    self.out,
                    "ended {n} instance{plural} of {}",
                    Named(uuid, self.names)
                )?;
            }
            Err(error) if error.kind() == Some(ErrorKind::ItemNotFound) => {
                let mut said = String::from("no TA with this UUID is loaded");
                match client::ta_stats(self.context) {
                    Ok(loaded) if loaded.is_empty() => said.push_str("; none is loaded"),
                    Ok(loaded) => {
                        said.push_str("; loaded are: ");
                        for (i, ta) in loaded.iter().enumerate() {
                            let comma = if i == 0 { "" } else { ", " };
                            write!(said, "{comma}{}", Named(ta.uuid, self.names))?;
                        }
                    }
                    Err(_) => {}
                }
                return Err(Failure::Said(said));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(STATUS_OK)
    }

    fn leaks(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let mark = match words {
            ["mark"] => {
                let mark = client::mark(self.context)?;
                self.memory.last_mark = Some(mark);
                if self.as_json {
                    writeln!(self.out, "{{\"mark\":{mark}}}")?;
                } else {
                    writeln!(self.out, "mark {mark}")?;
                }
                return Ok(STATUS_OK);
            }
            ["list"] => 0,
            ["diff"] => self.memory.last_mark.ok_or_else(|| {
                Failure::Said(String::from(
                    "no mark is set; `teestat leaks mark` sets one",
                ))
            })?,
            ["diff", mark] => mark.parse().map_err(|_| {
                Failure::Usage(alloc::format!("`{mark}` is not the number of a mark"))
            })?,
            _ => return Err(Failure::Usage(String::from("leaks mark, diff or list?"))),
        };
        let (records, stacks) = self.named_leaks(mark)?;
        if self.as_json {
            json::leaks(self.out, mark, &records, &stacks, self.names)?;
        } else {
            text::leaks(self.out, mark, &records, &stacks, self.names)?;
        }
        Ok(STATUS_OK)
    }

    /// Leaks with named stacks. Groups that read the same (a loop that the compiler unrolled has
    /// several call sites in one line) become one.
    fn named_leaks(&self, mark: u32) -> Result<(Vec<LeakRecord>, Vec<Vec<String>>), Failure> {
        let mut records: Vec<LeakRecord> = Vec::new();
        let mut stacks: Vec<Vec<String>> = Vec::new();
        for record in client::leaks(self.context, mark, 0)? {
            let stack = self.name_frames(&record);
            let same = records.iter_mut().zip(&stacks).find(|(other, others)| {
                let key = |r: &LeakRecord| (r.owner_kind, r.session, r.owner, r.label, r.image);
                key(other) == key(&record) && **others == stack
            });
            if let Some((other, _)) = same {
                other.bytes = other.bytes.saturating_add(record.bytes);
                other.blocks = other.blocks.saturating_add(record.blocks);
                if other.block_size != record.block_size {
                    other.block_size = 0;
                }
            } else {
                records.push(record);
                stacks.push(stack);
            }
        }
        Ok((records, stacks))
    }

    fn name_frames(&self, record: &LeakRecord) -> Vec<String> {
        let frames = record.frames.iter().take_while(|&&frame| frame != 0);
        let mut names: Vec<String> = frames
            .map(|&frame| frame_name(self.context, self.names, record.image, frame))
            .collect();
        names.drain(..allocator_frames(&names));
        names
    }

    /// A line of the kernel's, with names for the frames in it.
    fn name_addresses(&self, line: &str) -> String {
        let words = line.split(' ').map(|word| match written_frame(word) {
            Some((image, frame)) => frame_name(self.context, self.names, image, frame),
            None => word.into(),
        });
        words.collect::<Vec<String>>().join(" ")
    }

    fn oom(&mut self) -> Result<(), Failure> {
        let report = match client::last_oom(self.context) {
            Ok(report) => Some(report),
            Err(error) if error.kind() == Some(ErrorKind::NoData) => None,
            Err(error) => return Err(error.into()),
        };
        if self.as_json {
            json::oom(self.out, report.as_deref())?;
        } else {
            let report = report.as_deref().unwrap_or("nothing has run out of memory");
            for line in report.trim_end().lines() {
                writeln!(self.out, "{}", self.name_addresses(line))?;
            }
        }
        Ok(())
    }
}

/// A frame as the kernel writes it: `UUID+0xOFFSET`.
fn written_frame(word: &str) -> Option<(TeeUuid, u64)> {
    let (uuid, offset) = word.split_once("+0x")?;
    Some((uuid.parse().ok()?, u64::from_str_radix(offset, 16).ok()?))
}

/// How many frames at the start of a stack are only the way into the allocator. All but the last
/// can be.
fn allocator_frames(stack: &[String]) -> usize {
    const FILES: [&str; 3] = [
        "kernel/src/heap.rs:",
        "kernel/core/src/fallible.rs:",
        "ta-runtime/src/heap.rs:",
    ];
    let entry = |name: &String| {
        let (function, file) = name.split_once(' ').unwrap_or((name, ""));
        function.starts_with("__rust_")
            || function.starts_with("alloc::")
            || file.starts_with("alloc/src/")
            || FILES.iter().any(|known| file.starts_with(known))
    };
    let leading = stack.iter().take_while(|name| entry(name)).count();
    if leading < stack.len() { leading } else { 0 }
}

/// Name of a return address: "function file:line" if anyone knows, else image and offset.
#[must_use]
pub fn frame_name(context: &Context<'_>, names: &dyn Names, image: TeeUuid, frame: u64) -> String {
    if image == TeeUuid::nil() {
        return client::kernel_frame(context, frame)
            .unwrap_or_else(|_| alloc::format!("kernel+{frame:#x}"));
    }
    names
        .site(image, frame)
        .unwrap_or_else(|| alloc::format!("{}+{frame:#x}", Named(image, names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stack: &[&str]) -> usize {
        let stack: Vec<String> = stack.iter().map(|&name| String::from(name)).collect();
        allocator_frames(&stack)
    }

    #[test]
    fn frames_are_told_from_other_words() {
        let uuid = "7a11e110-0002-4c6e-8d01-5ec0de000002";
        let parsed = uuid.parse().unwrap();
        assert_eq!(
            written_frame(&alloc::format!("{uuid}+0x1f")),
            Some((parsed, 0x1f))
        );
        assert_eq!(written_frame(uuid), None);
        assert_eq!(written_frame("kernel+0x10"), None);
    }

    #[test]
    fn the_way_into_the_allocator_is_hidden() {
        assert_eq!(
            shown(&[
                "__rust_alloc kernel/src/heap.rs:41",
                "try_allocate_in<u8> alloc/src/raw_vec/mod.rs:500",
                "vec_with_capacity<u8> kernel/core/src/fallible.rs:55",
                "register kernel/core/src/shm.rs:341",
                "__rust_alloc kernel/src/heap.rs:41",
            ]),
            3
        );
        assert_eq!(
            shown(&[
                "__rust_alloc ta-runtime/src/heap.rs:36",
                "leak_in_this_function tas/heap/src/ta.rs:127",
            ]),
            1
        );
    }

    #[test]
    fn a_stack_of_nothing_else_stays() {
        assert_eq!(shown(&["__rust_alloc kernel/src/heap.rs:41"]), 0);
        assert_eq!(
            shown(&[
                "__rust_alloc kernel/src/heap.rs:41",
                "try_push kernel/core/src/fallible.rs:67",
            ]),
            0
        );
        assert_eq!(shown(&[]), 0);
    }

    #[test]
    fn other_frames_are_not_hidden() {
        assert_eq!(shown(&["kernel+0x1234", "kernel+0x99"]), 0);
        assert_eq!(shown(&["hog tas/heap/src/ta.rs:130"]), 0);
        assert_eq!(shown(&["new kernel/core/src/guest.rs:47"]), 0);
        assert_eq!(shown(&["allocate tas/heap/src/heap.rs:1", "x y:1"]), 0);
    }
}
