//! Sizes of references and shared memory, ends, refusals, lines, crashes: what clients and TAs choose besides questions.
//!
//! **Invariant:** each is as large as it can be.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use ta_uuids::{bad, chain, crash, drm, glutton, heap, hello, keepalive};
use tally_abi::msg::PAGE_SIZE;
use tally_abi::pta::vdec;
use tally_board_virt as virt;
use teec::smc::{Conduit, PageList};
use teec::{Context, Direction, Operation, ParamNone, ParamRegisteredMem, ParamTmpRef, Session};

use super::{ask, measure, told, values, values_out};
use crate::tee;

const MIB: usize = 1 << 20;
/// The largest shared memory.
const SHARED: usize = 64 * MIB;
/// Crashes are commands of `crash`; the highest.
const LAST_CRASH: u32 = crash::CMD_SVE;

/// Measures all of them.
pub(super) fn run(context: &Context<'static>) -> Result<(), String> {
    references(context)?;
    shared_memory(context)?;
    ends(context)?;
    refusals(context)?;
    lines(context)?;
    buffers(context)?;
    for command in 0..=LAST_CRASH {
        // Runs until it is killed.
        if command != crash::CMD_LOOP {
            let mut session = context.open_session(crash::UUID).map_err(told)?;
            let name = alloc::format!("crash, command {command}");
            // It ends, or says that it does nothing of the kind without parameters.
            measure(&name, || {
                let _ = session.invoke_plain(command);
                Ok(())
            })?;
        }
    }
    let images = [
        ("data of 1 TiB", bad::HUGE),
        ("data above the quota", bad::ABOVE_QUOTA),
        ("data that the file has not", bad::BEYOND_FILE),
        ("none", bad::CONTROL),
    ];
    for (what, uuid) in images {
        let name = alloc::format!("open, image with a fault: {what}");
        measure(&name, || {
            drop(context.open_session(uuid));
            Ok(())
        })?;
    }
    Ok(())
}

/// TA to TA, and client to TA.
fn references(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(chain::UUID).map_err(told)?;
    let mut memory = vec![0_u8; 8 * MIB];
    for (name, bytes) in [("2 MiB", 2 * MIB), ("1 MiB", MIB)] {
        let mut pieces = memory.chunks_mut(bytes);
        let mut piece = || ParamTmpRef::new_inout(pieces.next().unwrap_or_default());
        let mut op = Operation::new(0, piece(), piece(), piece(), piece());
        measure(&alloc::format!("TA to TA, 4 references of {name}"), || {
            session
                .invoke_command(chain::CMD_PASS_ALL, &mut op)
                .map_err(told)
        })?;
    }
    Ok(())
}

fn shared_memory(context: &Context<'static>) -> Result<(), String> {
    const COOKIE: u64 = 0x7000_0010;
    let tee = tee::get()?;
    // No two are neighbours, so that each is a run of its own; nobody reads or writes them.
    let pages = (0..SHARED / PAGE_SIZE)
        .map(|n| virt::RAM_BASE + (2 * n % (SHARED / PAGE_SIZE) * PAGE_SIZE) as u64);
    let list = PageList::build(pages, 0, |va| tee.conduit().physical(va));
    let list = list.ok_or("no memory for the list")?;
    let scattered = || tee.register(COOKIE, list.buf_ptr(), SHARED).map_err(told);
    measure("register 64 MiB in 16,384 runs", || {
        // The kernel heap may not have as much.
        let _ = scattered().map(|()| tee.unregister(COOKIE));
        Ok(())
    })?;
    let mut runs = SHARED / PAGE_SIZE;
    while runs > 1
        && tee
            .register(COOKIE, list.buf_ptr(), runs * PAGE_SIZE)
            .is_err()
    {
        runs = runs * 9 / 10;
    }
    let mut session = context.open_session(hello::UUID).map_err(told)?;
    let whole = || ParamRegisteredMem::from_cookie(COOKIE, Direction::Inout, 0, runs * PAGE_SIZE);
    let mut op = Operation::new(0, whole(), whole(), whole(), whole());
    measure("4 references in as many runs as fit", || {
        session
            .invoke_command(hello::CMD_NOP, &mut op)
            .map_err(told)
    })?;
    measure("unregister as many runs as fit", || {
        tee.unregister(COOKIE).map_err(told)
    })?;
    let pages = (0..SHARED / PAGE_SIZE).map(|n| virt::RAM_BASE + (n * PAGE_SIZE) as u64);
    let list = PageList::build(pages, 0, |va| tee.conduit().physical(va));
    let list = list.ok_or("no memory for the list")?;
    measure("register 64 MiB", || {
        tee.register(COOKIE, list.buf_ptr(), SHARED).map_err(told)
    })?;
    let whole = || ParamRegisteredMem::from_cookie(COOKIE, Direction::Inout, 0, SHARED);
    let mut op = Operation::new(0, whole(), whole(), whole(), whole());
    measure("4 references of 64 MiB", || {
        session
            .invoke_command(hello::CMD_NOP, &mut op)
            .map_err(told)
    })?;
    measure("unregister 64 MiB", || tee.unregister(COOKIE).map_err(told))
}

/// Sessions opened and closed, TAs with much memory that end.
fn ends(context: &Context<'static>) -> Result<(), String> {
    for (name, uuid) in [
        ("a TA", hello::UUID),
        ("a TA that stays", keepalive::UUID),
        ("a TA that pseudo-TAs serve", drm::UUID),
    ] {
        let mut session = None;
        measure(&alloc::format!("open a session of {name}"), || {
            session = Some(context.open_session(uuid).map_err(told)?);
            Ok(())
        })?;
        measure(&alloc::format!("close a session of {name}"), || {
            session.map_or(Ok(()), Session::close).map_err(told)
        })?;
    }
    let full = || {
        let mut session = context.open_session(heap::UUID).map_err(told)?;
        values(&mut session, heap::CMD_LEAK, 20_000, 360)?;
        Ok::<_, String>(session)
    };
    let session = full()?;
    measure("close the last session of a TA with 7 MiB", || {
        session.close().map_err(told)
    })?;
    let session = full()?;
    measure("kill a TA with 7 MiB", || ask(context, &["kill", "heap"]))?;
    drop(session);
    let mut session = full()?;
    measure("death of a TA with 7 MiB", || {
        // It ends.
        let _ = values(&mut session, heap::CMD_ALLOC_OR_DIE, u32::MAX, 0);
        Ok(())
    })?;
    Ok(())
}

/// Memory refused.
fn refusals(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(heap::UUID).map_err(told)?;
    measure("heap full, in small blocks", || {
        values_out(&mut session, heap::CMD_HOG, 20, 0)
    })?;
    measure("heap full, in large blocks", || {
        values_out(&mut session, heap::CMD_HOG, 65_536, 0)
    })?;
    drop(session);
    let mut gluttons = Vec::new();
    for n in 0..3 {
        let Ok(mut session) = context.open_session(glutton::UUID) else {
            break;
        };
        measure(&alloc::format!("TA {n} takes all that it gets"), || {
            values_out(&mut session, glutton::CMD_EAT, 4096, 0)
        })?;
        gluttons.push(session);
    }
    measure("open without secure RAM", || {
        drop(context.open_session(heap::UUID));
        Ok(())
    })?;
    measure("teestat snapshot without secure RAM", || {
        ask(context, &["snapshot", "file"])
    })?;
    for session in gluttons {
        measure("close the session of a TA with all that it gets", || {
            session.close().map_err(told)
        })?;
    }
    kernel_heap_full()
}

/// Shared memory registered until the kernel heap is full.
fn kernel_heap_full() -> Result<(), String> {
    const COOKIE: u64 = 0x7100_0000;
    let tee = tee::get()?;
    let pages = (0..600).map(|n| virt::RAM_BASE + (2 * n * PAGE_SIZE) as u64);
    let list = PageList::build(pages, 0, |va| tee.conduit().physical(va));
    let list = list.ok_or("no memory for the list")?;
    // Entries of many objects first: lists alone may not fill it.
    let mut taken = 0;
    while taken < 450 {
        let registered = tee.register(COOKIE + taken, list.buf_ptr(), PAGE_SIZE);
        registered.map_err(told)?;
        taken += 1;
    }
    measure("kernel heap full", || {
        let mut registered = Ok(());
        while registered.is_ok() && taken < 512 {
            registered = tee.register(COOKIE + taken, list.buf_ptr(), 600 * PAGE_SIZE);
            taken += u64::from(registered.is_ok());
        }
        match registered {
            Ok(()) => Err("the kernel heap is not full".into()),
            Err(_) => Ok(()),
        }
    })?;
    for n in 0..taken {
        tee.unregister(COOKIE + n).map_err(told)?;
    }
    Ok(())
}

/// What TAs print, ask for at random, and are told.
fn lines(context: &Context<'static>) -> Result<(), String> {
    let mut session = context.open_session(hello::UUID).map_err(told)?;
    // Each byte is shown as four.
    let line = [0x1b_u8; 512];
    let many = [b'\n'; 512];
    for (name, text) in [
        ("a line of control characters", &line),
        ("512 lines", &many),
    ] {
        let mut op = Operation::new(
            0,
            ParamTmpRef::new_input(text),
            ParamNone,
            ParamNone,
            ParamNone,
        );
        measure(&alloc::format!("a TA prints {name}"), || {
            session
                .invoke_command(hello::CMD_LOG, &mut op)
                .map_err(told)
        })?;
    }
    let mut bytes = vec![0; MIB];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_output(&mut bytes),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    measure("1 MiB of random bytes", || {
        session
            .invoke_command(hello::CMD_RANDOM, &mut op)
            .map_err(told)
    })
}

/// Buffers of the pseudo-TA for decoders.
fn buffers(context: &Context<'static>) -> Result<(), String> {
    let full = || {
        let mut session = context.open_session(drm::UUID).map_err(told)?;
        while values(&mut session, drm::CMD_HOLD, vdec::MAX_BYTES, 0).is_ok() {}
        Ok::<_, String>(session)
    };
    let mut session = None;
    measure("as many of the largest buffers as fit", || {
        session = Some(full()?);
        Ok(())
    })?;
    for question in [
        &["audit"][..],
        &["snapshot", "file"],
        &["audit", "--events"],
    ] {
        let name = alloc::format!(
            "teestat {}, with as many buffers as fit",
            question.join(" ")
        );
        measure(&name, || ask(context, question))?;
    }
    measure("close a session with as many buffers as fit", || {
        session.map_or(Ok(()), Session::close).map_err(told)
    })?;
    let session = full()?;
    measure("kill a TA with as many buffers as fit", || {
        ask(context, &["kill", "drm"])
    })?;
    drop(session);
    Ok(())
}
