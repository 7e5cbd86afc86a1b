//! From a running machine to what people read: a real snapshot reported whole, leaks gated.
//!
//! **Invariant:** figures are compared with what the workload must have done, to the byte.

use super::report as pages;
use super::results::Results;
use crate::given::Ta;
use crate::images::Images;
use crate::leakcheck::{Answer, Check};
use crate::qemu::{Ending, Run};
use crate::report::{self, programs};
use crate::{builds, paths, setup, symbolize};
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::time::Duration;
use tally_board_virt::SECURE_RAM_BYTES;
use tally_insight::account::{Account, Doubt};
use tally_insight::account::{Build, Symbols};
use tally_insight::findings::doubts;
use tally_insight::gate::{Pace, Spread};
use tally_insight::growth::{self, Change};
use tally_insight::snapshot::Snapshot;
use tally_records::{FailureRow, pool_kind};
use tally_report::programs::Programs;
use tally_symbols::elf::Image;

const REPORT_TEST: &str = "qemu: two snapshots are reported whole, a leak by function and line";
const METRICS_TEST: &str = "qemu: a machine's own OpenMetrics, read and added up";
const GIVEN_TEST: &str = "qemu: leakcheck names the calls of the TA that it was given";
const NAMED_TEST: &str =
    "qemu: symbolize names a crash and a refusal by the builds that ran, and by no others";
const LEAK_FUNCTION: &str = ta_uuids::heap::LEAK_FUNCTION;

/// A script, the status that it must have, and how the call stack that grew did.
struct Gate {
    name: &'static str,
    script: &'static str,
    status: u8,
    /// Bytes, blocks, and its pace.
    grown: Option<(u64, u64, Pace)>,
    /// What the answer says, among the rest.
    says: &'static str,
}

const CHECKS: &[Gate] = &[
    Gate {
        name: "qemu: leakcheck names a leak",
        script: "open heap\n---\ninvoke 1 leak 10 28\n",
        status: 1,
        grown: Some((
            280 * CYCLES,
            10 * CYCLES,
            Pace {
                spread: Spread::Regular,
                amount: 280,
                cycles: 1,
            },
        )),
        says: "",
    },
    Gate {
        name: "qemu: leakcheck passes a workload that gives all back",
        script: "open heap\n---\ninvoke 1 alloc 3000\ninvoke 1 free-all\nhello inc 1 2\ninvoke 1 grow 9000\n",
        status: 0,
        grown: None,
        says: "",
    },
    // It was a leak of "150 a cycle". Three of the ten entries are there before the first account.
    Gate {
        name: "qemu: leakcheck passes a cache that has filled, and says so",
        script: "open heap\n---\ninvoke 1 cache 10 300\n",
        status: 0,
        grown: Some((
            2100,
            7,
            Pace {
                spread: Spread::Ended,
                amount: 2100,
                cycles: 7,
            },
        )),
        says: "",
    },
    // They were "15 a cycle".
    Gate {
        name: "qemu: leakcheck says in which cycles a seventh call loses 100 bytes",
        script: "open heap\n---\ninvoke 1 leak-every 7 100\n",
        status: 1,
        grown: Some((
            300,
            3,
            Pace {
                spread: Spread::Regular,
                amount: 100,
                cycles: 7,
            },
        )),
        says: "",
    },
    Gate {
        name: "qemu: leakcheck cannot tell of a script that fails",
        script: "open heap\n---\ninvoke 1 alloc 8\ninvoke 1 no-such-command\n",
        status: 2,
        grown: None,
        says: "`invoke 1 no-such-command` failed with status ",
    },
    // It passed.
    Gate {
        name: "qemu: leakcheck cannot tell of a TA that its script never opens",
        script: "hello inc 1 2\n",
        status: 2,
        grown: None,
        says: "",
    },
];
const CYCLES: u64 = 20;

/// Their names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let own = [REPORT_TEST, METRICS_TEST, GIVEN_TEST, NAMED_TEST];
    own.into_iter().chain(CHECKS.iter().map(|check| check.name))
}

/// Runs what is wanted.
pub(super) fn run(results: &mut Results, images: &Images, silence: Duration) {
    if !results.wants_any(names()) {
        return;
    }
    let programs = match programs::of(images) {
        Ok(programs) => programs,
        Err(err) => return results.fail(REPORT_TEST, format_args!("{err:#}")),
    };
    results.check(REPORT_TEST, || {
        snapshots(images, &programs, silence).map_err(|err| format!("{err:#}"))
    });
    if results.wants(METRICS_TEST) {
        match pages::python() {
            Ok(python) => results.check(METRICS_TEST, || {
                metrics(images, &python, silence).map_err(|err| format!("{err:#}"))
            }),
            Err(err) => results.skip(METRICS_TEST, &pages::one_line(&err)),
        }
    }
    results.check(GIVEN_TEST, || {
        given(images).map_err(|err| format!("{err:#}"))
    });
    results.check(NAMED_TEST, || {
        symbolized(images, silence).map_err(|err| format!("{err:#}"))
    });
    for check in CHECKS {
        results.check(check.name, || {
            gate(images, &programs, check).map_err(|err| format!("{err:#}"))
        });
    }
}

fn metrics(images: &Images, python: &Path, silence: Duration) -> Result<()> {
    let command = "open heap; invoke 1 alloc 3000; teestat metrics --label device=here";
    let outcome = Run::captured(images, "metrics", command, silence).start()?;
    ensure!(
        outcome.ending == Ending::Exit(0),
        "the guest ended with {:?}",
        outcome.ending
    );
    let text = outcome.normal.replace('\r', "");
    let begin = text.find("# TYPE ").context("there are no metrics")?;
    let figures = pages::live_metrics(python, &text[begin..])?;
    let uses = &figures["uses"];
    ensure!(*uses == SECURE_RAM_BYTES, "uses: {uses}");
    let block = "place=\"tas/heap/src/ta.rs:";
    let held = text.lines().any(|line| {
        line.starts_with("tally_site_live_bytes{device=\"here\",ta=\"heap\",")
            && line.contains(block)
            && line.ends_with("} 3000")
    });
    ensure!(held, "no site in heap holds 3000 bytes:\n{text}");
    Ok(())
}

/// A TA whose UUID is also one of the workspace's was named by the workspace's file.
fn given(images: &Images) -> Result<()> {
    let built = images.tas.first().context("there are no TAs")?;
    let own = built.elf.ta_name();
    ensure!(
        own == Some(programs::short(&built.name)),
        "it says that its name is {own:?}"
    );
    let mut programs = Programs::new(&paths::root());
    // Stands for the workspace's file, which is another one.
    let mut other = Ta::Linked {
        name: "given".into(),
        elf: Box::new(built.elf.clone()),
        uuid: built.uuid,
    };
    other.name(images, &mut programs)?;
    let name = programs.program(built.uuid);
    ensure!(
        name.as_deref() == Some(programs::short(&built.name)),
        "its calls are not named by its own file: {name:?}"
    );
    let path = format!("lib/optee_armtz/{}.ta", built.uuid);
    let mut files = images.archive_files.iter();
    let (_, bytes) = files.find(|(file, _)| *file == path).context("not there")?;
    for (bytes, known) in [(bytes.clone(), true), (b"another".to_vec(), false)] {
        other = Ta::Signed {
            uuid: built.uuid,
            bytes,
        };
        other.name(images, &mut programs)?;
        ensure!(
            programs.program(built.uuid).is_some() == known,
            "a signed TA that is the one of this workspace: {known}, has names: {}",
            !known
        );
    }
    Ok(())
}

/// A log of yesterday's build was named by today's.
fn symbolized(images: &Images, silence: Duration) -> Result<()> {
    let commands = "crash null-read; heap alloc 20000000";
    let log = Run::captured(images, "symbolized", commands, silence)
        .start()?
        .secure;
    let (named, refused) = symbolize::by_kept(&log);
    ensure!(refused.is_empty(), "{refused:?}\n{named}");
    let calls = [
        "  tas/crash/src/ta.rs:",
        "inlined in filled  tas/heap/src/ta.rs:",
    ];
    for call in calls {
        ensure!(named.contains(call), "no `{call}`:\n{named}");
    }
    let heap = images.tas.iter().find(|ta| ta.uuid == ta_uuids::heap::UUID);
    let id = format!("{:016x}", heap.context("there is no heap TA")?.id);
    let (named, refused) = symbolize::by_kept(&log.replace(&id, "0123456789abcdef"));
    let is_told = |why: &String| why.contains("0123456789abcdef") && why.contains("--ta");
    ensure!(
        named.contains(calls[0])
            && !named.contains(calls[1])
            && refused.len() == 1
            && refused.iter().all(is_told),
        "of another build: {refused:?}\n{named}"
    );
    Ok(())
}

fn gate(images: &Images, names: &dyn Symbols, wanted: &Gate) -> Result<()> {
    let check = Check::new("test", ta_uuids::heap::UUID, wanted.script, CYCLES)?;
    let answer = check.answer(images, names)?;
    let text = check.text(&answer);
    let (status, wanted_status) = (answer.status(), wanted.status);
    ensure!(
        status == wanted_status,
        "status {status}, not {wanted_status}:\n{text}"
    );
    ensure!(text.contains(wanted.says), "not `{}`:\n{text}", wanted.says);
    let Answer::Told(verdict) = &answer else {
        // Bug: the other cycles ran, too.
        let complaints = text.matches(wanted.says).count();
        ensure!(wanted.says.is_empty() || complaints == 1, "{text}");
        return Ok(());
    };
    let stacks = verdict.stacks.iter();
    let grown = stacks.map(|place| (place.grown().bytes, place.grown().blocks, place.pace));
    let grown: Vec<_> = grown.collect();
    let wanted_grown = Vec::from_iter(wanted.grown);
    ensure!(
        grown == wanted_grown,
        "grown by {grown:?}, not {wanted_grown:?}:\n{text}"
    );
    ensure!(
        status == 0 || text.contains(&format!("{LEAK_FUNCTION} tas/heap/src/ta.rs:")),
        "the leak is not named:\n{text}"
    );
    Ok(())
}

fn snapshots(images: &Images, names: &dyn Symbols, silence: Duration) -> Result<()> {
    let built = images.kernel.build_id().context("no build id")?;
    let command = "open heap; open hello; heap alloc 20000000; teestat leaks mark; \
                   teestat snapshot real-1.snap; invoke 1 leak 10 28; teestat snapshot real-2.snap";
    let outcome = Run::captured(images, "snapshots", command, silence).start()?;
    // The refused allocation is its only failure.
    ensure!(
        outcome.ending == Ending::Exit(1),
        "the guest ended with {:?}:\n{}",
        outcome.ending,
        outcome.normal
    );
    let mut accounts = Vec::new();
    for file in &outcome.files {
        let snapshot = report::read(file)?;
        ensure!(
            snapshot.meminfo_sum() == snapshot.header.secure_ram,
            "uses add up to {}",
            snapshot.meminfo_sum()
        );
        ensure!(snapshot.header.dropped == 0 && snapshot.unknown_sections == 0);
        accounts.push(Account::new(snapshot, "real", names));
    }
    let [before, after] = &accounts[..] else {
        anyhow::bail!("two snapshots");
    };
    for account in [before, after] {
        let header = &account.snapshot.header;
        ensure!(
            header.boot != 0 && header.build == built,
            "boot {:x}, build {:x?} of a kernel that is {built:x?}",
            header.boot,
            header.build
        );
    }
    // A program that is no kernel, or another one, must not name the kernel's calls.
    let mut wrong = Programs::new(&paths::root());
    let ta = images.tas.first().context("there are no TAs")?;
    wrong.add_kernel(ta.elf.clone());
    let misnamed = Account::new(after.snapshot.clone(), "real", &wrong);
    ensure!(
        misnamed.kernel_is_other,
        "a TA's ELF file is taken for the kernel's"
    );
    let doubts = doubts(&accounts);
    ensure!(doubts.is_empty(), "{}", doubts.join(" "));
    another_build_is_not_believed(images, &after.snapshot)?;
    let changes = growth::between(before, after);
    let leak = changes.first().context("nothing is live")?;
    let sum: i64 = changes.iter().map(Change::bytes).sum();
    ensure!(
        leak.bytes() == 280 && leak.blocks() == 10 && sum == 280,
        "the leak is {} bytes, the growth {sum}",
        leak.bytes()
    );
    ensure!(
        leak.stack
            .frames()
            .any(|frame| frame.function.contains(LEAK_FUNCTION) && frame.line > 0),
        "the leak is not named: {:?}",
        leak.stack
    );
    heaps_agree(after)?;
    ensure!(
        !after.snapshot.has::<FailureRow>()
            || after
                .snapshot
                .failures
                .iter()
                .any(|failure| failure.size >= 20_000_000),
        "the refused allocation is not on record"
    );
    if setup::ensure(setup::Part::Chromium).is_ok() {
        pages::page(&accounts, "real")?;
    }
    Ok(())
}

/// The ELF file of another build of a TA named its calls, with lines that had nothing to do with them.
fn another_build_is_not_believed(images: &Images, snapshot: &Snapshot) -> Result<()> {
    let heap = images.tas.iter().find(|ta| ta.uuid == ta_uuids::heap::UUID);
    let heap = heap.context("there is no heap TA")?;
    let loaded = snapshot.tas.iter().find(|ta| ta.uuid == heap.uuid);
    let ran = loaded.map(|ta| ta.image_id);
    ensure!(
        ran == Some(heap.id),
        "image {ran:x?} was loaded, and {:x} signed",
        heap.id
    );
    let build = Build {
        image: heap.uuid,
        id: heap.id,
    };
    ensure!(
        builds::kept(build).is_some(),
        "the build is not kept for later"
    );
    // One that differs in one byte of its code.
    let mut bytes = heap.elf.bytes.clone();
    let code = heap.elf.segments.iter().find(|segment| segment.exec);
    let code = code.context("the TA has no code")?.offset;
    bytes[usize::try_from(code)?] ^= 1;
    let other = Image::parse(&heap.elf.path, bytes)?;
    for (elf, is_known) in [(heap.elf.clone(), true), (other, false)] {
        let mut programs = Programs::new(&paths::root());
        programs.add_kernel(images.kernel.clone());
        programs.add_ta("heap", builds::ids(&elf), elf)?;
        let account = Account::new(snapshot.clone(), "real", &programs);
        let missing = (heap.uuid, Doubt::Missing(heap.id));
        ensure!(
            account.doubted.contains(&missing) != is_known,
            "the build that ran: {is_known}, and doubted is {:?}",
            account.doubted
        );
        let live = snapshot.live.iter().map(|row| account.stack(row));
        let sites = snapshot.sites.iter().map(|row| account.stack(row));
        let named = live
            .chain(sites)
            .any(|stack| stack.image == heap.uuid && stack.frames().any(|frame| frame.line > 0));
        ensure!(
            named == is_known,
            "the build that ran: {is_known}, named: {named}"
        );
    }
    Ok(())
}

/// A TA's live blocks are its heap's allocated bytes, and its call sites' live bytes; size classes add
/// up to their heap.
fn heaps_agree(account: &Account) -> Result<()> {
    let snapshot = &account.snapshot;
    // The memory for TAs is pages and no heap.
    let mut rows: Vec<_> = snapshot.pools.iter().collect();
    rows.retain(|row| row.kind != pool_kind::TA_MEMORY);
    let heaps = rows.iter().map(|row| &row.pool);
    for pool in heaps.clone() {
        let classes = snapshot.classes.iter().filter(|row| row.pool == pool.owner);
        let sum: u64 = classes.map(|row| row.bytes).sum();
        let size = u64::from(pool.alloc.size);
        ensure!(
            sum == size,
            "classes of {} add up to {sum} of {size} bytes",
            pool.owner
        );
    }
    for pool in heaps.filter(|pool| pool.owner == ta_uuids::heap::UUID) {
        let live: u64 = snapshot
            .live
            .iter()
            .filter(|record| record.image == pool.owner)
            .map(|record| record.bytes)
            .sum();
        let sites: u64 = snapshot
            .sites
            .iter()
            .filter(|site| site.pool == pool.owner)
            .map(|site| site.live_bytes)
            .sum();
        ensure!(
            live > 0 && live == sites,
            "heap: {live} bytes live by owner, {sites} by call site"
        );
    }
    Ok(())
}
