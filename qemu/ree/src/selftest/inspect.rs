//! Looking into TAs and the kernel, whatever they do.
//!
//! **Invariant:** every test ends with the TA gone.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ta_uuids::{crash, heap, hello, keepalive};
use tally_abi::TeeUuid;
use tally_abi::ta::entry;
use tally_records::MeminfoRow;
use tally_records::Selector;
use tally_records::{RegionRow, TaDetail, prot, state};
use teec::ErrorKind;
use teestat::{Memory, client};

use super::figures::printed;
use super::{Bench, ONE_CPU, Outcome, Test, equal, fails, holds, second_cpu, value_in, works};
use crate::jobs;
use crate::machine::cpu;
use crate::names::MachineNames;

pub(super) const TESTS: &[Test] = &[
    ("a TA in an endless loop is measured whole", looping),
    (
        "a dead TA and one without a session are measured",
        dead_and_kept,
    ),
    (
        "a TA that scribbles over its books is inconsistent, its pages still add up",
        scribbled,
    ),
    ("regions agree with the account of memory", regions_add_up),
    (
        "the kernel's mappings are sound and its stacks guarded",
        kernel_maps,
    ),
    ("teestat status prints what people know", status_text),
    (
        "a TA that is not there is answered with those that are",
        not_there,
    ),
];

fn told(error: client::ClientError) -> String {
    format!("{error}")
}

/// The first instance of a TA, whole.
pub(super) fn detail(bench: &Bench, uuid: TeeUuid) -> Result<TaDetail, String> {
    let tas = client::rows::<TaDetail>(&bench.context, &Selector::ta(uuid)).map_err(told)?;
    tas.first()
        .copied()
        .ok_or_else(|| String::from("an empty list"))
}

/// What must hold of every instance that has memory.
fn is_sound(bench: &Bench, ta: &TaDetail) -> Outcome {
    holds(
        ta.uss <= ta.pss && ta.pss <= ta.rss && ta.rss <= ta.vss && ta.uss > 0,
        &format!(
            "USS {} PSS {} RSS {} VSS {}",
            ta.uss, ta.pss, ta.rss, ta.vss
        ),
    )?;
    holds(
        ta.charged <= ta.charged_max && ta.charged_max <= ta.quota,
        &format!(
            "{} charged, {} at most, quota {}",
            ta.charged, ta.charged_max, ta.quota
        ),
    )?;
    holds(
        ta.stack_deepest > 0 && ta.stack_deepest <= ta.stack,
        &format!("{} of {} bytes of stack", ta.stack_deepest, ta.stack),
    )?;
    holds(
        ta.code > 0 && ta.tables > 0 && ta.kernel_heap > 0,
        "a part is empty",
    )?;
    equal(ta.heap.inconsistent, 0, "inconsistent")?;
    let who = Selector::instance(ta.uuid, ta.instance);
    let regions = client::rows::<RegionRow>(&bench.context, &who).map_err(told)?;
    equal(regions.len() as u32, ta.regions, "regions")?;
    let populated: u64 = regions.iter().map(|row| row.populated).sum();
    equal(populated, ta.rss, "memory of the regions, and RSS")
}

fn looping(bench: &Bench) -> Outcome {
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let context = bench.context;
    let job = jobs::start("loop", move || match context.open_session(crash::UUID) {
        Ok(mut session) => u8::from(session.invoke_plain(crash::CMD_LOOP).is_ok()),
        Err(_) => 1,
    })
    .ok_or("no second CPU")?;
    let result = measure_loop(bench);
    let ended = client::kill(&bench.context, crash::UUID);
    let status = loop {
        if let Some(status) = jobs::collect(job) {
            break status;
        }
        cpu::doze();
    };
    result?;
    equal(ended.map_err(told)?, 1, "instances ended")?;
    equal(status, 0, "the looping call")
}

fn measure_loop(bench: &Bench) -> Outcome {
    let start = cpu::micros();
    let ta = loop {
        match detail(bench, crash::UUID) {
            Ok(ta)
                if ta.state == state::BUSY && u64::from(ta.function) == entry::INVOKE_COMMAND =>
            {
                break ta;
            }
            _ if cpu::micros() - start > 10_000_000 => {
                return Err(String::from("it never looped"));
            }
            _ => cpu::doze(),
        }
    };
    equal(ta.command, crash::CMD_LOOP, "the command it is in")?;
    holds(ta.session != 0, "no session")?;
    equal(ta.sessions, 1, "sessions")?;
    holds(
        ta.busy_since_ms >= ta.loaded_ms,
        "busy before it was loaded",
    )?;
    is_sound(bench, &ta)?;
    client::status_to_console(&bench.context, crash::UUID).map_err(told)?;
    let text = printed(bench, &["ta", "crash"], &mut Memory::default())?;
    holds(text.contains("busy in command 8 of session 0x"), &text)?;
    let again = detail(bench, crash::UUID)?;
    equal(
        (again.instance, again.busy_since_ms),
        (ta.instance, ta.busy_since_ms),
        "the same call a while later",
    )
}

fn dead_and_kept(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    let alive = detail(bench, crash::UUID)?;
    equal(alive.state, state::IDLE, "before it panicked")?;
    is_sound(bench, &alive)?;
    fails(
        value_in(&mut session, crash::CMD_PANIC_HOLDING, 3, 0),
        ErrorKind::TargetDead,
    )?;
    let dead = detail(bench, crash::UUID)?;
    equal(
        (dead.state, dead.sessions, dead.instance),
        (state::DEAD, 1, alive.instance),
        "after it panicked",
    )?;
    equal((dead.rss, dead.charged), (0, 0), "memory of a dead TA")?;
    holds(
        dead.heap.alloc.allocated > 0 && dead.heap.live_blocks > 0,
        "what it held when it died is not known",
    )?;
    holds(
        dead.stack_deepest > alive.stack_deepest && dead.charged_max >= alive.charged,
        "what it used is not known",
    )?;
    holds(
        dead.kernel_heap > 0,
        "its entry and its session hold nothing",
    )?;
    drop(session);
    let mut session = bench.open(keepalive::UUID)?;
    works(super::value_out(&mut session, keepalive::CMD_COUNT))?;
    drop(session);
    let kept = detail(bench, keepalive::UUID);
    let sound = kept.as_ref().map_or(Ok(()), |kept| is_sound(bench, kept));
    client::kill(&bench.context, keepalive::UUID).map_err(told)?;
    sound?;
    let kept = kept?;
    equal((kept.state, kept.sessions), (state::IDLE, 0), "kept alive")
}

fn scribbled(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    works(session.invoke_plain(crash::CMD_SCRIBBLE))?;
    let ta = detail(bench, crash::UUID)?;
    equal(ta.heap.inconsistent, 1, "inconsistent")?;
    let text = printed(bench, &["ta", "crash"], &mut Memory::default())?;
    holds(text.contains("INCONSISTENT"), &text)?;
    let neighbour = bench.open(hello::UUID)?;
    is_sound(bench, &detail(bench, hello::UUID)?)?;
    drop(neighbour);
    pages_agree(bench)?;
    let who = Selector::ta(crash::UUID);
    let regions = client::rows::<RegionRow>(&bench.context, &who).map_err(told)?;
    let populated: u64 = regions.iter().map(|row| row.populated).sum();
    equal(populated, ta.rss, "its memory")?;
    equal(
        client::kill(&bench.context, crash::UUID).map_err(told)?,
        1,
        "instances ended",
    )
}

/// The populated pages of all TAs' regions are the pages that the account names so.
fn pages_agree(bench: &Bench) -> Outcome {
    let mut rows: Vec<RegionRow> = Vec::new();
    for ta in client::rows::<TaDetail>(&bench.context, &Selector::TAS).map_err(told)? {
        let who = Selector::instance(ta.uuid, ta.instance);
        rows.extend(client::rows::<RegionRow>(&bench.context, &who).map_err(told)?);
    }
    let meminfo = client::rows::<MeminfoRow>(&bench.context, &Selector::ALL).map_err(told)?;
    for (usage, labels) in [
        ("TA segments", &["code", "data", "constants"][..]),
        ("TA stacks", &["stack"][..]),
        ("TA heaps", &["heap"][..]),
    ] {
        let mapped: u64 = rows
            .iter()
            .filter(|row| labels.iter().any(|name| named(&row.label, name)))
            .map(|row| row.populated)
            .sum();
        let counted: u64 = meminfo
            .iter()
            .filter(|row| named(&row.label, usage))
            .map(|row| row.bytes)
            .sum();
        equal(mapped, counted, usage)?;
    }
    Ok(())
}

fn named(label: &[u8], name: &str) -> bool {
    label
        .strip_prefix(name.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&0))
}

fn regions_add_up(bench: &Bench) -> Outcome {
    let mut first = bench.open(heap::UUID)?;
    works(value_in(&mut first, heap::CMD_GROW, 300_000, 0))?;
    let others = [bench.open(hello::UUID)?, bench.open(hello::UUID)?];
    pages_agree(bench)?;
    for ta in client::rows::<TaDetail>(&bench.context, &Selector::TAS).map_err(told)? {
        is_sound(bench, &ta)?;
    }
    let hellos =
        client::rows::<TaDetail>(&bench.context, &Selector::ta(hello::UUID)).map_err(told)?;
    equal(hellos.len(), 2, "instances of one TA")?;
    drop(others);
    Ok(())
}

fn kernel_maps(bench: &Bench) -> Outcome {
    let rows = client::rows::<RegionRow>(&bench.context, &Selector::KERNEL).map_err(told)?;
    let both = prot::WRITE | prot::EXECUTE;
    holds(
        rows.iter().all(|row| row.prot & both != both),
        "memory is writable and executable",
    )?;
    let meminfo = client::rows::<MeminfoRow>(&bench.context, &Selector::ALL).map_err(told)?;
    let bytes_of = |name| {
        let found = meminfo.iter().find(|row| named(&row.label, name));
        found.map_or(0, |row| row.bytes)
    };
    let mapped = |name: &str| -> u64 {
        let found = rows.iter().filter(|row| named(&row.label, name));
        found.map(|row| row.populated).sum()
    };
    equal(mapped("text"), bytes_of("kernel text"), "kernel text")?;
    equal(
        mapped("rodata"),
        bytes_of("kernel rodata") + bytes_of("ldelf image"),
        "kernel constants",
    )?;
    equal(
        mapped("page tables"),
        bytes_of("kernel page tables"),
        "kernel page tables",
    )?;
    let stacks = mapped("thread stack") + mapped("CPU stack") + mapped("emergency stack");
    equal(stacks, bytes_of("kernel stacks"), "kernel stacks")?;
    let mut before = None;
    for row in &rows {
        if named(&row.label, "thread stack") || named(&row.label, "CPU stack") {
            let guarded = before.is_some_and(|row: &RegionRow| named(&row.label, "guard"));
            holds(guarded, "a stack without a guard below it")?;
        }
        before = Some(row);
    }
    Ok(())
}

fn status_text(bench: &Bench) -> Outcome {
    let session = bench.open(hello::UUID)?;
    let text = printed(bench, &["status", "hello"], &mut Memory::default())?;
    drop(session);
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    holds(
        next().starts_with("Status of user TA 7a11e110-0001-4c6e-8d01-5ec0de000001 (instance "),
        &text,
    )?;
    equal(next(), "Arch: aarch64", "second line")?;
    holds(next().starts_with("Flags: "), &text)?;
    equal(next(), "Sessions List:", "fourth line")?;
    holds(next().starts_with("0x"), &text)?;
    holds(next().starts_with("Stack Ptr: "), &text)?;
    let used = next().strip_prefix("Memory Used: 0x").and_then(hexadecimal);
    equal(next(), "Memory List:", "eighth line")?;
    let mut sum = 0;
    for (n, line) in lines.enumerate() {
        let words: Vec<&str> = line.split_whitespace().collect();
        equal(words.len(), 10, line)?;
        equal(
            [words[0], words[2], words[4], words[6], words[8]],
            ["region", "va", "pa", "size", "flags"],
            line,
        )?;
        equal(words[1], format!("{n}:").as_str(), line)?;
        sum += words[7]
            .strip_prefix("0x")
            .and_then(hexadecimal)
            .unwrap_or(0);
        equal(words[9].len(), 6, "columns of rights")?;
    }
    equal(used, Some(sum), "memory used, and the sum of the list")
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn not_there(bench: &Bench) -> Outcome {
    let session = bench.open(hello::UUID)?;
    for (args, status) in [
        (&["status", "crash"][..], 1),
        (&["maps", "crash"], 1),
        (&["ta", "crash"], 1),
        (&["ta", "hello#77"], 1),
        (&["maps", "nobody"], 2),
        (&["ta", "hello#x"], 2),
    ] {
        let (mut out, mut err) = (String::new(), String::new());
        let got = teestat::run(
            args,
            &bench.context,
            &mut out,
            &mut err,
            &MachineNames,
            &mut Memory::default(),
        );
        equal(got, status, &format!("{args:?}"))?;
        let said = match args[1] {
            "hello#x" => "not an instance's number",
            "hello#77" => "has no instance 77; there are: ",
            _ => "loaded are: hello (",
        };
        holds(err.contains(said), &err)?;
    }
    drop(session);
    Ok(())
}
