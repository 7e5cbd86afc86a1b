//! Tests of `teestat`'s answers that carry no figures.
//!
//! **Invariant:** every test ends with the TA gone and no watchpoint armed.

use alloc::format;
use alloc::string::String;
use ta_uuids::{crash, heap, hello};
use tally_abi::TeeUuid;
use tally_abi::pta::watch::SLOTS;
use tally_records::Selector;
use tally_records::SnapshotRow;
use tally_records::TaDetail;
use tally_records::state;
use teec::ErrorKind;
use teestat::{Memory, client};

use super::figures::printed;
use super::{
    Bench, ONE_CPU, Outcome, Test, equal, fails, holds, parsed, second_cpu, value_in, works,
};
use crate::machine::cpu;
use crate::names::MachineNames;
use crate::{bench, jobs};

pub(super) const TESTS: &[Test] = &[
    ("a dead TA is called dead, not unknown", dead),
    ("the nil UUID names no TA", nil),
    ("the kernel is no TA", kernel),
    ("an unknown command is answered with the nearest", command),
    ("a measure that is none is told those that are", measure),
    (
        "call sites that read the same are one row of allocinfo",
        same_sites,
    ),
    (
        "a question about one of two instances says which it is",
        one_of_two,
    ),
    (
        "the owner of a kernel block has its name and its row",
        owner_named,
    ),
    (
        "a watchpoint that finds no place is told who has them",
        no_place,
    ),
    ("what teestat kill calls ended has ended", killed),
    (
        "a first slabinfo --diff is answered in full",
        first_difference,
    ),
];

/// Status and complaint of a run that must fail.
fn complaint(bench: &Bench, args: &[&str], status: u8) -> Result<String, String> {
    let (mut out, mut err) = (String::new(), String::new());
    let got = teestat::run(
        args,
        &bench.context,
        &mut out,
        &mut err,
        &MachineNames,
        &mut Memory::default(),
    );
    equal(got, status, &format!("{args:?}: {out}{err}"))?;
    holds(
        out.is_empty(),
        &format!("{args:?}, before it failed: {out}"),
    )?;
    Ok(err)
}

fn dead(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    let panic = value_in(&mut session, crash::CMD_PANIC_HOLDING, 3, 0);
    fails(panic, ErrorKind::TargetDead)?;
    for args in [
        &["leaks", "ta", "crash"][..],
        &["leaks", "scan", "crash"],
        &["blocks", "crash"],
        &["pool", "check", "crash"],
        &["pool", "dump", "crash"],
        &["slabinfo", "crash"],
        &["maps", "crash"],
        &["kill", "crash"],
    ] {
        let said = complaint(bench, args, 1)?;
        holds(
            said.ends_with(" is dead, its heap is freed; see `teestat history`\n"),
            &format!("{args:?}: {said}"),
        )?;
    }
    drop(session);
    Ok(())
}

fn nil(bench: &Bench) -> Outcome {
    let nil = format!("{}", TeeUuid::nil());
    for args in [
        &["ta", &nil][..],
        &["maps", &nil],
        &["allocinfo", &nil],
        &["watch", &nil, "--on", "fail"],
    ] {
        let said = complaint(bench, args, 2)?;
        holds(said.contains("the nil UUID names no TA"), &said)?;
    }
    Ok(())
}

fn kernel(bench: &Bench) -> Outcome {
    for args in [
        &["ta", "kernel"][..],
        &["ta", "kernel#0"],
        &["status", "kernel"],
        &["leaks", "ta", "kernel"],
        &["watch", "kernel", "--on", "fail"],
    ] {
        let said = complaint(bench, args, 2)?;
        holds(said.contains("`kernel` is no TA"), &said)?;
    }
    printed(bench, &["maps", "kernel"], &mut Memory::default()).map(|_| ())
}

fn command(bench: &Bench) -> Outcome {
    let said = complaint(bench, &["meminf"], 2)?;
    holds(
        said.starts_with("teestat: there is no command `meminf`; nearest are: meminfo (")
            && said.lines().count() == 1,
        &said,
    )
}

fn measure(_: &Bench) -> Outcome {
    let refused = |args: &[&str]| match bench::run(args) {
        Ok(status) => Err(format!("bench {args:?}: status {status}")),
        Err(why) => Ok(why),
    };
    let said = refused(&["nosuch"])?;
    holds(
        said.starts_with("no measure is called `nosuch`; there are pta_invoke, ")
            && said.ends_with(", storage, wait, storage_wait"),
        &said,
    )?;
    let said = refused(&["heap", "nosuch"])?;
    holds(said.contains("`nosuch` is too much"), &said)
}

fn same_sites(bench: &Bench) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 10, 28))?;
    let text = printed(bench, &["allocinfo", "heap"], &mut Memory::default())?;
    drop(session);
    let rows = text.lines().filter(|line| line.contains("leak_in_this_"));
    let blocks = rows.map(|line| line.split_whitespace().nth(1));
    holds(blocks.eq([Some("10")]), &text)
}

fn one_of_two(bench: &Bench) -> Outcome {
    let one = bench.open(hello::UUID)?;
    let two = bench.open(hello::UUID)?;
    let told = |args: &[&str]| printed(bench, args, &mut Memory::default());
    let tas = client::rows::<TaDetail>(&bench.context, &Selector::ta(hello::UUID));
    let tas = tas.map_err(|error| format!("{error}"))?;
    let [first, other] = &tas[..] else {
        return Err(format!("{} instances", tas.len()));
    };
    let (first, other) = (first.instance, other.instance);
    let scans = told(&["leaks", "scan", "hello"])?;
    for number in [first, other] {
        holds(scans.contains(&format!(" #{number}: scan ")), &scans)?;
    }
    for args in [
        &["allocinfo"][..],
        &["slabinfo"],
        &["blocks"],
        &["pool", "dump"],
        &["pool", "check"],
    ] {
        let about = |who: &str| told(&[args, &[who]].concat());
        let (either, alone) = (about("hello")?, about(&format!("hello#{first}"))?);
        let note = format!("hello#{first} of 2 instances; `hello#{other}` is the other\n");
        equal(either, note + &alone, &format!("{args:?}"))?;
    }
    drop((one, two));
    Ok(())
}

fn owner_named(bench: &Bench) -> Outcome {
    let session = bench.open(hello::UUID)?;
    let told = |args: &[&str]| printed(bench, args, &mut Memory::default());
    let blocks = told(&["blocks", "kernel"])?;
    let mut words = blocks.lines().nth(1).unwrap_or("").split_whitespace();
    let (offset, owner) = (words.next().unwrap_or(""), words.nth(1).unwrap_or(""));
    let block = told(&["block", offset, "kernel"])?;
    holds(block.contains(&format!("; owner {owner}, ")), &block)?;
    let owners = told(&["owners"])?;
    let mut numbers = owners
        .lines()
        .filter_map(|row| row.split_whitespace().next());
    holds(numbers.any(|number| number == owner), &owners)?;
    // Without a name the mark would be next.
    holds(!block.contains(&format!("; owner {owner}, mark")), &block)?;
    drop(session);
    Ok(())
}

fn no_place(bench: &Bench) -> Outcome {
    let mut refused = Ok(String::new());
    for n in 0..=SLOTS {
        let args = ["watch", "hello", "--on", "fail"];
        if n < SLOTS {
            let armed = printed(bench, &args, &mut Memory::default());
            refused = armed.and_then(|text| {
                let is_told =
                    text.ends_with(&format!(", for when hello ({}) is loaded\n", hello::UUID));
                holds(is_told, &text)?;
                Ok(text)
            });
        } else {
            refused = complaint(bench, &args, 1);
        }
        if refused.is_err() {
            break;
        }
    }
    for row in client::rows::<SnapshotRow>(&bench.context, &Selector::ALL)
        .map_err(|error| format!("{error}"))?
    {
        let dropped = client::drop_snapshot(&bench.context, row.number);
        dropped.map_err(|error| format!("{error}"))?;
    }
    let said = refused?;
    holds(
        said.contains("all 8 places") && said.contains("`teestat watch drop N` frees one"),
        &said,
    )
}

fn killed(bench: &Bench) -> Outcome {
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let context = bench.context;
    let job = jobs::start("loop", move || match context.open_session(crash::UUID) {
        Ok(mut session) => u8::from(session.invoke_plain(crash::CMD_LOOP).is_ok()),
        // It is busy while the session is opened, too, and may be killed then.
        Err(error) if error.kind() == ErrorKind::TargetDead => 0,
        Err(_) => 1,
    })
    .ok_or("no second CPU")?;
    let is_busy = || {
        let tas = client::rows::<TaDetail>(&bench.context, &Selector::ta(crash::UUID));
        tas.is_ok_and(|tas| tas.iter().any(|ta| ta.state == state::BUSY))
    };
    let start = cpu::micros();
    while !is_busy() && cpu::micros() - start < 10_000_000 {
        cpu::doze();
    }
    let said = printed(bench, &["kill", "crash"], &mut Memory::default());
    let still = is_busy();
    let status = loop {
        if let Some(status) = jobs::collect(job) {
            break status;
        }
        cpu::doze();
    };
    let said = said?;
    holds(said.starts_with("ended 1 instance of crash ("), &said)?;
    equal((still, status), (false, 0), "busy after its end")
}

fn first_difference(bench: &Bench) -> Outcome {
    let args = ["slabinfo", "--diff"];
    let text = printed(bench, &args, &mut Memory::default())?;
    holds(text.contains("nothing to compare with"), &text)?;
    let args = ["slabinfo", "--diff", "--json"];
    let json = printed(bench, &args, &mut Memory::default())?;
    holds(parsed(&json)?["classes"].is_array(), &json)
}
