//! The operations that are swept.
//!
//! **Invariant:** each leaves the secure world as it found it, whatever was refused, and looks at its result when it
//! succeeds.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use ta_uuids::{chain, crash, drm, heap, hello, keepalive, solo};
use tally_abi::TeeUuid;
use tally_abi::pta::audit::ledger;
use tally_abi::pta::stats;
use tally_records::{
    MeminfoRow, OwnerRow, PoolRow, Selector, SnapshotRow, SuspectRow, snapshot_state, trigger,
};
use teec::{
    Direction, ErrorKind, Operation, Param, ParamNone, ParamRegisteredMem, ParamTmpRef, ParamType,
    ParamValue, Session, SharedMemory,
};
use teestat::client::{self, leaks};

use super::super::{equal, fails, holds, value_call, value_in, works};
use super::{Bench, Outcome, Probe, Swept, quick, slow};
use crate::supplicant::{self, Lie};

pub(super) const OPERATIONS: &[Swept] = &[
    quick("nothing", |_, probe| {
        probe.during_what_succeeds(|| Ok::<(), teec::Error>(()))?;
        equal(probe.seen, 0, "requests of nothing")
    }),
    quick("open a pseudo-TA", |bench, probe| {
        opened(bench, probe, stats::UUID)
    }),
    quick("load and open a TA", |bench, probe| {
        opened(bench, probe, hello::UUID)
    }),
    slow("load a TA that stays", |bench, probe| {
        opened(bench, probe, keepalive::UUID)?;
        if probe.works {
            end(bench, keepalive::UUID)?;
        }
        Ok(())
    }),
    slow("load a TA that is refused", |bench, probe| {
        let mut code = ErrorKind::Security;
        supplicant::set_lie(Some(Lie::Flip(-1)));
        let opened = probe.during(|| match bench.context.open_session(hello::UUID) {
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(error),
            other => {
                code = other.map_or_else(|error| error.kind(), |_| ErrorKind::BadState);
                Ok(())
            }
        });
        supplicant::set_lie(None);
        opened?;
        equal(code, ErrorKind::Security, "code")
    }),
    quick("open a TA that is there", |bench, probe| {
        let first = bench.open(keepalive::UUID)?;
        opened(bench, probe, keepalive::UUID)?;
        works(first.close())?;
        end(bench, keepalive::UUID)
    }),
    quick("close a session with a pseudo-TA", |bench, probe| {
        closed(bench, probe, stats::UUID)
    }),
    quick("close the last session of a TA", |bench, probe| {
        closed(bench, probe, hello::UUID)
    }),
    quick("close a session of a TA that stays", |bench, probe| {
        closed(bench, probe, keepalive::UUID)?;
        end(bench, keepalive::UUID)
    }),
    slow("close a session that holds buffers", |bench, probe| {
        let mut session = bench.open(drm::UUID)?;
        works(value_in(&mut session, drm::CMD_HOLD, 20_000, 0))?;
        probe.during_what_succeeds(|| session.close())
    }),
    slow("close a session that holds a session", |bench, probe| {
        let mut session = bench.open(chain::UUID)?;
        works(session.invoke_plain(chain::CMD_KEEP_SESSION))?;
        probe.during_what_succeeds(|| session.close())
    }),
    quick("invoke without parameters", |bench, probe| {
        let mut session = bench.open(hello::UUID)?;
        probe.during(|| session.invoke_plain(hello::CMD_NOP))?;
        Ok(())
    }),
    quick("invoke with values", |bench, probe| {
        let mut session = bench.open(hello::UUID)?;
        let mut op = Operation::new(
            0,
            ParamValue::new(1, 2, ParamType::ValueInput),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamValue::new(30, 40, ParamType::ValueInout),
            ParamTmpRef::new_input(b"fourth"),
        );
        let done = probe.during(|| session.invoke_command(hello::CMD_MIX, &mut op))?;
        let (_, out, inout, _) = op.parameters();
        let got = (out.a(), out.b(), inout.a(), inout.b());
        whole(done, got, (31, 42, 40, 30))
    }),
    quick("invoke with memory of a page", |bench, probe| {
        let bytes = vec![7; 100];
        let mut session = bench.open(hello::UUID)?;
        summed(&mut session, probe, ParamTmpRef::new_input(&bytes), 100)
    }),
    slow("invoke with memory of many pages", |bench, probe| {
        let bytes = vec![7; 2_400_000];
        let mut session = bench.open(hello::UUID)?;
        let memory = ParamTmpRef::new_input(&bytes);
        summed(&mut session, probe, memory, 2_400_000)
    }),
    quick("invoke with memory in and memory out", |bench, probe| {
        let mut session = bench.open(hello::UUID)?;
        echoed(&mut session, probe, hello::CMD_ECHO)
    }),
    quick("invoke with memory both ways", |bench, probe| {
        let mut session = bench.open(hello::UUID)?;
        reversed(&mut session, probe, hello::CMD_REVERSE)
    }),
    quick("invoke with registered memory", |bench, probe| {
        let memory = works(SharedMemory::allocate(&bench.context, 10_000))?;
        memory.write(0, &[7; 10_000]);
        let mut session = bench.open(hello::UUID)?;
        let part = ParamRegisteredMem::part(&memory, Direction::Input, 4000, 5000);
        summed(&mut session, probe, part, 5000)?;
        works(memory.release())
    }),
    quick("register memory", |bench, probe| {
        let memory = probe.during(|| SharedMemory::allocate(&bench.context, 10_000))?;
        memory.map_or(Ok(()), |memory| works(memory.release()))
    }),
    slow("register much memory", |bench, probe| {
        let memory = probe.during(|| SharedMemory::allocate(&bench.context, 3_000_000))?;
        memory.map_or(Ok(()), |memory| works(memory.release()))
    }),
    quick("unregister memory", |bench, probe| {
        let memory = works(SharedMemory::allocate(&bench.context, 10_000))?;
        probe.during_what_succeeds(|| memory.release())
    }),
    slow("a TA's call with values", |bench, probe| {
        let mut session = bench.open(chain::UUID)?;
        let mut op = Operation::new(
            0,
            ParamValue::new(5, 6, ParamType::ValueInout),
            ParamNone,
            ParamNone,
            ParamNone,
        );
        let done = probe.during(|| session.invoke_command(chain::CMD_INC, &mut op))?;
        let value = op.parameters().0;
        whole(done, (value.a(), value.b()), (6, 8))
    }),
    slow("a TA's call with its client's memory", |bench, probe| {
        let mut session = bench.open(chain::UUID)?;
        echoed(&mut session, probe, chain::CMD_ECHO)
    }),
    slow("a TA's call with its own memory", |bench, probe| {
        let mut session = bench.open(chain::UUID)?;
        reversed(&mut session, probe, chain::CMD_REVERSE)
    }),
    slow("a TA's call to a pseudo-TA", |bench, probe| {
        let mut session = bench.open(chain::UUID)?;
        let mut op = Operation::new(
            0,
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
            ParamNone,
            ParamNone,
        );
        let done = probe.during(|| session.invoke_command(chain::CMD_STATS, &mut op))?;
        whole(done, op.parameters().0.a(), 64)
    }),
    slow("TAs that call TAs", |bench, probe| {
        let mut session = bench.open(chain::UUID)?;
        let done = probe.during(|| value_call(&mut session, chain::CMD_NEST, 2, 0))?;
        done.map_or(Ok(()), |reached| equal(reached.0, 3, "instances reached"))
    }),
    slow("a TA keeps a session", |bench, probe| {
        let mut session = bench.open(chain::UUID)?;
        probe.during(|| session.invoke_plain(chain::CMD_KEEP_SESSION))?;
        works(session.close())
    }),
    quick("a TA's heap begins", |bench, probe| {
        let mut session = bench.open(heap::UUID)?;
        let block = probe.during(|| value_call(&mut session, heap::CMD_ALLOC, 1000, 0))?;
        match block {
            Some((handle, _)) => works(value_in(&mut session, heap::CMD_FREE, handle, 0)),
            None => Ok(()),
        }
    }),
    slow("a TA's heap grows", |bench, probe| {
        let mut session = bench.open(heap::UUID)?;
        works(value_in(&mut session, heap::CMD_GROW, 1000, 0))?;
        probe.during(|| value_in(&mut session, heap::CMD_GROW, 3_000_000, 0))?;
        Ok(())
    }),
    slow("a TA keeps memory beyond its session", |bench, probe| {
        let mut session = bench.open(keepalive::UUID)?;
        let held = probe.during(|| value_call(&mut session, keepalive::CMD_HOLD, 20_000, 0))?;
        works(session.close())?;
        end(bench, keepalive::UUID)?;
        held.map_or(Ok(()), |held| equal(held.0, 20_000, "bytes held"))
    }),
    quick("map and unmap a buffer", |bench, probe| {
        let mut session = bench.open(drm::UUID)?;
        let order = drm::order::RIGHT;
        let done = probe.during(|| value_call(&mut session, drm::CMD_SWITCH, 2, order))?;
        done.map_or(Ok(()), |done| equal(done, (2, 0), "switches and refusals"))
    }),
    slow("map a buffer in the wrong order", |bench, probe| {
        let mut session = bench.open(drm::UUID)?;
        let order = drm::order::WRONG;
        let done = probe.during(|| value_call(&mut session, drm::CMD_SWITCH, 2, order))?;
        done.map_or(Ok(()), |done| equal(done, (2, 2), "switches and refusals"))
    }),
    slow("hold a buffer", |bench, probe| {
        let mut session = bench.open(drm::UUID)?;
        probe.during(|| value_in(&mut session, drm::CMD_HOLD, 20_000, 0))?;
        works(session.close())
    }),
    slow("a snapshot", |bench, probe| {
        let session = bench.open(hello::UUID)?;
        let taken = probe.during(|| client::take_snapshot(&bench.context))?;
        if let Some((number, bytes)) = taken {
            let read = told(client::read_snapshot(&bench.context, number, |_| true))?;
            equal(read, bytes as usize, "bytes of it")?;
            told(client::drop_snapshot(&bench.context, number))?;
        }
        equal(snapshots(bench)?.len(), 0, "snapshots left")?;
        works(session.close())
    }),
    slow("read a snapshot", |bench, probe| {
        let (number, bytes) = told(client::take_snapshot(&bench.context))?;
        let read = probe.during(|| client::read_snapshot(&bench.context, number, |_| true))?;
        told(client::drop_snapshot(&bench.context, number))?;
        read.map_or(Ok(()), |read| equal(read, bytes as usize, "bytes of it"))
    }),
    slow("drop a snapshot", |bench, probe| {
        let (number, _) = told(client::take_snapshot(&bench.context))?;
        if probe
            .during(|| client::drop_snapshot(&bench.context, number))?
            .is_none()
        {
            told(client::drop_snapshot(&bench.context, number))?;
        }
        equal(snapshots(bench)?.len(), 0, "snapshots left")
    }),
    slow("arm a watchpoint", |bench, probe| {
        let armed = probe.during(|| client::arm(&bench.context, hello::UUID, trigger::ENTRY, 7))?;
        if let Some(number) = armed {
            told(client::drop_snapshot(&bench.context, number))?;
        }
        equal(snapshots(bench)?.len(), 0, "watchpoints left")
    }),
    slow("a watchpoint is met on entry", |bench, probe| {
        watched(
            bench,
            probe,
            trigger::ENTRY,
            heap::CMD_FREE_ALL,
            |session| session.invoke_plain(heap::CMD_FREE_ALL),
        )
    }),
    slow("a watchpoint is met as a heap rises", |bench, probe| {
        watched(bench, probe, trigger::HEAP, 50_000, |session| {
            value_in(session, heap::CMD_GROW, 60_000, 0)
        })
    }),
    slow("a watchpoint is met by a refusal", |bench, probe| {
        watched(bench, probe, trigger::FAILURE, 0, |session| {
            // Refused in any case.
            match value_call(session, heap::CMD_ALLOC, 77_777_777, 0) {
                Err(error) if error.kind() == ErrorKind::OutOfMemory => Ok(()),
                other => other.map(drop),
            }
        })
    }),
    slow("a scan of a TA", |bench, probe| {
        let mut session = bench.open(heap::UUID)?;
        works(value_in(&mut session, heap::CMD_LEAK, 3, 100))?;
        scanned(bench, probe, &Selector::ta(heap::UUID))?;
        works(session.close())
    }),
    slow("a scan of the kernel", |bench, probe| {
        scanned(bench, probe, &Selector::KERNEL)
    }),
    slow("clear what a scan found", |bench, probe| {
        let mut session = bench.open(heap::UUID)?;
        let of = Selector::ta(heap::UUID);
        works(value_in(&mut session, heap::CMD_LEAK, 3, 100))?;
        told(leaks::scan(&bench.context, &of))?;
        let cleared = probe.during(|| leaks::clear(&bench.context, &of))?;
        let left = told(client::rows::<SuspectRow>(&bench.context, &of))?;
        equal(left.is_empty(), cleared.is_some(), "whether none are shown")?;
        works(session.close())
    }),
    quick("a mark", |bench, probe| {
        probe.during(|| leaks::mark(&bench.context, "sweep"))?;
        Ok(())
    }),
    slow("a list of live blocks", |bench, probe| {
        let listed = probe.during(|| leaks::live(&bench.context, &Selector::KERNEL))?;
        listed.map_or(Ok(()), |rows| holds(!rows.is_empty(), "no blocks"))
    }),
    quick("the account", |bench, probe| {
        let rows = probe.during(|| client::rows::<MeminfoRow>(&bench.context, &Selector::ALL))?;
        if let Some(rows) = rows {
            let sum: u64 = rows.iter().map(|row| row.bytes).sum();
            equal(sum, tally_board_virt::SECURE_RAM_BYTES, "secure RAM")?;
        }
        Ok(())
    }),
    quick("the owners", |bench, probe| {
        probe.during(|| client::rows::<OwnerRow>(&bench.context, &Selector::ALL))?;
        Ok(())
    }),
    slow("the pools", |bench, probe| {
        let rows = probe.during(|| client::rows::<PoolRow>(&bench.context, &Selector::ALL))?;
        rows.map_or(Ok(()), |rows| holds(!rows.is_empty(), "no pools"))
    }),
    slow("look at a TA's commands in detail", |bench, probe| {
        let set = |what| client::set_ledger(&bench.context, hello::UUID, what);
        probe.during(|| set(ledger::DETAIL))?;
        told(set(ledger::PLAIN))
    }),
    slow("kill a TA", |bench, probe| {
        let session = bench.open(hello::UUID)?;
        let killed = probe.during(|| client::kill(&bench.context, hello::UUID))?;
        if killed.is_none() {
            end(bench, hello::UUID)?;
        }
        works(session.close())?;
        killed.map_or(Ok(()), |count| equal(count, 1, "instances"))
    }),
    slow("kill a TA that holds much", |bench, probe| {
        let mut session = bench.open(drm::UUID)?;
        works(value_in(&mut session, drm::CMD_HOLD, 20_000, 0))?;
        if probe
            .during(|| client::kill(&bench.context, drm::UUID))?
            .is_none()
        {
            end(bench, drm::UUID)?;
        }
        works(session.close())
    }),
    slow("a TA crashes", |bench, probe| {
        died(bench, probe, crash::CMD_NULL_READ)
    }),
    slow("a TA panics", |bench, probe| {
        died(bench, probe, crash::CMD_PANIC)
    }),
    quick("a TA waits", |bench, probe| {
        let mut session = bench.open(solo::UUID)?;
        probe.during(|| value_in(&mut session, solo::CMD_WAIT, 2, 0))?;
        works(session.close())
    }),
];

fn told<T>(result: Result<T, client::ClientError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// If the operation is done, what came of it must be all of it.
fn whole<T: PartialEq + core::fmt::Debug>(done: Option<()>, got: T, wanted: T) -> Outcome {
    done.map_or(Ok(()), |()| equal(got, wanted, "result"))
}

fn end(bench: &Bench, uuid: TeeUuid) -> Outcome {
    equal(told(client::kill(&bench.context, uuid))?, 1, "instances")
}

fn opened(bench: &Bench, probe: &mut Probe, uuid: TeeUuid) -> Outcome {
    let session = probe.during(|| bench.context.open_session(uuid))?;
    session.map_or(Ok(()), |session| works(session.close()))
}

fn closed(bench: &Bench, probe: &mut Probe, uuid: TeeUuid) -> Outcome {
    let session = bench.open(uuid)?;
    probe.during_what_succeeds(|| session.close())
}

/// The checksum of `len` bytes of 7.
fn summed(session: &mut Session<'_>, probe: &mut Probe, memory: impl Param, len: u32) -> Outcome {
    let mut op = Operation::new(
        0,
        memory,
        ParamValue::new(0, 0, ParamType::ValueOutput),
        ParamNone,
        ParamNone,
    );
    let done = probe.during(|| session.invoke_command(hello::CMD_CHECKSUM, &mut op))?;
    let sum = op.parameters().1;
    whole(done, (sum.a(), sum.b()), (7 * len, len))
}

fn echoed(session: &mut Session<'_>, probe: &mut Probe, command: u32) -> Outcome {
    let input: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let mut output = vec![0; 10_100];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&input),
        ParamTmpRef::new_output(&mut output),
        ParamNone,
        ParamNone,
    );
    let done = probe.during(|| session.invoke_command(command, &mut op))?;
    let size = op.parameters().1.updated_size();
    let (copy, rest) = output.split_at(input.len());
    holds(rest.iter().all(|&byte| byte == 0), "more was written")?;
    match done {
        Some(()) => {
            equal(size, input.len(), "size of the echo")?;
            holds(copy == input, "the echo differs")
        }
        // "Nothing written half".
        None => holds(
            copy.iter().all(|&byte| byte == 0) || copy == input,
            "half was written",
        ),
    }
}

fn reversed(session: &mut Session<'_>, probe: &mut Probe, command: u32) -> Outcome {
    let mut text = *b"Tally counts every byte";
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_inout(&mut text),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    let done = probe.during(|| session.invoke_command(command, &mut op))?;
    match done {
        Some(()) => equal(&text, b"ETYB YREVE STNUOC YLLAT", "reversed"),
        None => equal(&text, b"Tally counts every byte", "left alone"),
    }
}

fn snapshots(bench: &Bench) -> Result<Vec<SnapshotRow>, String> {
    told(client::rows(&bench.context, &Selector::ALL))
}

/// `meets` the condition; a snapshot for which there is no memory costs the TA nothing.
fn watched(
    bench: &Bench,
    probe: &mut Probe,
    kind: u32,
    wanted: u32,
    meets: impl FnOnce(&mut Session<'_>) -> teec::Result<()>,
) -> Outcome {
    let mut session = bench.open(heap::UUID)?;
    let number = told(client::arm(&bench.context, heap::UUID, kind, wanted))?;
    let done = probe.during(|| meets(&mut session))?;
    let rows = snapshots(bench)?;
    told(client::drop_snapshot(&bench.context, number))?;
    works(session.close())?;
    let [row] = rows[..] else {
        return Err(alloc::format!("{} watchpoints", rows.len()));
    };
    if done.is_some() {
        let met = [snapshot_state::TAKEN, snapshot_state::FAILED];
        holds(met.contains(&row.state), "the watchpoint was not met")?;
        if probe.refused == 0 {
            equal(row.state, snapshot_state::TAKEN, "its state")?;
        }
    }
    Ok(())
}

fn scanned(bench: &Bench, probe: &mut Probe, of: &Selector) -> Outcome {
    let rows = probe.during(|| leaks::scan(&bench.context, of))?;
    if let Some(rows) = rows {
        equal(rows.len(), 1, "heaps that were scanned")?;
        equal(rows[0].inconsistent, 0, "inconsistent")?;
    }
    Ok(())
}

/// A command that ends its TA has one answer, whatever is refused.
fn died(bench: &Bench, probe: &mut Probe, command: u32) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    let ends = || match session.invoke_plain(command) {
        Err(error) if error.kind() == ErrorKind::TargetDead => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err(teec::Error::from(ErrorKind::BadState)),
    };
    if probe.during(ends)?.is_none() {
        fails(session.invoke_plain(command), ErrorKind::TargetDead)?;
    }
    works(session.close())
}
