//! Fast calls, messages that are wrong, threads.
//!
//! **Invariant:** every call that is started here is ended here.

use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use ta_uuids::hello;
use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size, attr, cmd};
use tally_abi::pta::{control, stats};
use tally_abi::smc::{self, FunctionId, ret, sec_cap};
use tally_abi::{TeeResult, TeeUuid};
use tally_board_virt as virt;
use teec::ErrorKind;
use teec::smc::{Conduit, Message, Pages};

use super::raw::{RawCall, open_params, result_of};
use super::{Bench, ONE_CPU, Outcome, Test, equal, holds, second_cpu, works};
use crate::jobs;
use crate::machine::cpu;

pub(super) const TESTS: &[Test] = &[
    ("fast calls answer exactly", fast_calls),
    ("capabilities are what Linux needs", capabilities),
    ("unknown functions are unknown", unknown_functions),
    (
        "asynchronous notifications are not offered",
        no_notifications,
    ),
    ("an unknown UUID is not found", unknown_uuid),
    ("unknown message commands are refused", unknown_commands),
    (
        "messages with too many parameters are refused",
        too_many_params,
    ),
    ("open without meta parameters is refused", open_without_meta),
    ("messages at bad addresses are refused", bad_addresses),
    ("unregistered cookies are refused", bad_cookies),
    ("resuming what is not suspended is refused", bad_resume),
    ("a message changed meanwhile is read once", changed_message),
    ("threads run out and come back", thread_exhaustion),
    ("a call resumes on the other CPU", resume_elsewhere),
    (
        "a page list that points into secure memory is refused",
        list_into_secure_memory,
    ),
];

/// No TA has it.
const NOBODY: TeeUuid = TeeUuid::from_u128(0xdeadbeef_0000_4000_8000_000000000001);

fn ask(bench: &Bench, function: u32, args: [u32; 3]) -> [u32; 8] {
    let [a, b, c] = args;
    bench.tee.conduit().smc([function, a, b, c, 0, 0, 0, 0])
}

fn fast_calls(bench: &Bench) -> Outcome {
    let get = |function: FunctionId| {
        let regs = ask(bench, function.0, [0; 3]);
        [regs[0], regs[1], regs[2], regs[3]]
    };
    equal(get(FunctionId::CALLS_UID), smc::CALLS_UID, "CALLS_UID")?;
    equal(get(FunctionId::GET_OS_UUID), smc::OS_UUID, "GET_OS_UUID")?;
    equal(
        get(FunctionId::CALLS_REVISION)[..2].to_vec(),
        smc::CALLS_REVISION.to_vec(),
        "CALLS_REVISION",
    )?;
    equal(
        get(FunctionId::CALLS_COUNT)[0],
        smc::CALLS_COUNT,
        "CALLS_COUNT",
    )?;
    equal(
        get(FunctionId::GET_SHM_CONFIG)[0],
        ret::ENOTAVAIL,
        "GET_SHM_CONFIG",
    )?;
    equal(
        get(FunctionId::DISABLE_SHM_CACHE)[0],
        ret::ENOTAVAIL,
        "DISABLE_SHM_CACHE",
    )?;
    equal(
        get(FunctionId::ENABLE_SHM_CACHE)[0],
        ret::OK,
        "ENABLE_SHM_CACHE",
    )?;
    let threads = get(FunctionId::GET_THREAD_COUNT);
    equal(threads[0], ret::OK, "GET_THREAD_COUNT")?;
    holds(threads[1] >= 4, "there are fewer than four threads")
}

fn capabilities(bench: &Bench) -> Outcome {
    let regs = ask(bench, FunctionId::EXCHANGE_CAPABILITIES.0, [1, 0, 0]);
    equal(regs[0], ret::OK, "EXCHANGE_CAPABILITIES")?;
    let needed = sec_cap::DYNAMIC_SHM | sec_cap::MEMREF_NULL | sec_cap::RPC_ARG;
    equal(u64::from(regs[1]) & needed, needed, "capability bits")?;
    holds(regs[3] >= 4, "too few RPC parameters")?;
    let unknown = ask(bench, FunctionId::EXCHANGE_CAPABILITIES.0, [0x80, 0, 0]);
    equal(
        unknown[0],
        ret::ENOTAVAIL,
        "unknown normal-world capability",
    )
}

fn unknown_functions(bench: &Bench) -> Outcome {
    for function in [0xb200_1234, 0xb200_0011 + 0x100, 0x3200_1234, 0xbf00_ff02] {
        let regs = ask(bench, function, [0; 3]);
        equal(regs[0], ret::UNKNOWN_FUNCTION, &format!("{function:#x}"))?;
    }
    Ok(())
}

fn no_notifications(bench: &Bench) -> Outcome {
    let offered = u64::from(bench.tee.capabilities().bits) & sec_cap::ASYNC_NOTIF;
    equal(offered, 0, "capability")?;
    for function in [
        FunctionId::ENABLE_ASYNC_NOTIF,
        FunctionId::GET_ASYNC_NOTIF_VALUE,
    ] {
        let regs = ask(bench, function.0, [0; 3]);
        equal(regs[0], ret::UNKNOWN_FUNCTION, "the function's answer")?;
    }
    for command in [cmd::DO_BOTTOM_HALF, cmd::STOP_ASYNC_NOTIF] {
        let header = MsgHeader {
            cmd: command,
            ..MsgHeader::default()
        };
        let mut call = RawCall::new(bench, header, &[])?;
        let code = call.step_past_interrupts(bench.tee);
        equal(code, ret::EBADCMD, "the message's answer")?;
    }
    Ok(())
}

fn unknown_uuid(bench: &Bench) -> Outcome {
    bench.refused(NOBODY, ErrorKind::ItemNotFound)
}

fn unknown_commands(bench: &Bench) -> Outcome {
    for cmd in [8, 100, u32::MAX] {
        let header = MsgHeader {
            cmd,
            ..MsgHeader::default()
        };
        let refused = match bench.tee.call_raw(header, &mut []) {
            Err(_) => true,
            Ok(answer) => answer.ret != 0,
        };
        holds(refused, &format!("command {cmd} was taken"))?;
    }
    let mut session = bench.open(control::UUID)?;
    super::fails(session.invoke_plain(u32::MAX), ErrorKind::NotSupported)
}

fn too_many_params(bench: &Bench) -> Outcome {
    for n in [7, 64, 1000, u32::MAX] {
        let header = MsgHeader {
            cmd: cmd::OPEN_SESSION,
            num_params: n,
            ..MsgHeader::default()
        };
        let mut params = open_params(stats::UUID).to_vec();
        let refused = match bench.tee.call_raw(header, &mut params) {
            Err(error) => error.kind() != ErrorKind::Communication,
            Ok(answer) => TeeResult(answer.ret) == TeeResult::BAD_PARAMETERS,
        };
        holds(refused, &format!("{n} parameters were taken"))?;
    }
    Ok(())
}

fn open_without_meta(bench: &Bench) -> Outcome {
    let header = |n| MsgHeader {
        cmd: cmd::OPEN_SESSION,
        num_params: n,
        ..MsgHeader::default()
    };
    let mut plain = open_params(stats::UUID);
    for param in &mut plain {
        param.attr &= !attr::META;
    }
    let cases: [Vec<MsgParam>; 3] = [
        Vec::new(),
        open_params(stats::UUID)[..1].to_vec(),
        plain.to_vec(),
    ];
    for mut params in cases {
        let n = params.len() as u32;
        let answer = works(bench.tee.call_raw(header(n), &mut params))?;
        equal(
            TeeResult(answer.ret),
            TeeResult::BAD_PARAMETERS,
            "open without meta parameters",
        )?;
    }
    Ok(())
}

/// Calls with the message said to be at `address`.
fn call_at(bench: &Bench, function: FunctionId, address: u64) -> u32 {
    let regs = ask(
        bench,
        function.0,
        [(address >> 32) as u32, address as u32, 0],
    );
    regs[0]
}

fn bad_addresses(bench: &Bench) -> Outcome {
    let pages = Pages::allocate(1).ok_or("no memory")?;
    let base = bench.tee.conduit().physical(pages.address());
    let bad = [
        0,
        virt::SECURE_RAM_BASE,
        virt::KERNEL_BASE,
        virt::SECURE_RAM_END - 8,
        virt::NORMAL_UART,
        virt::GICD,
        base + 1,
        base + 4,
        0xffff_ffff_ffff_fff8,
        0xffff_ffff_ffff_f000,
        1 << 48,
    ];
    for function in [FunctionId::CALL_WITH_ARG, FunctionId::CALL_WITH_RPC_ARG] {
        for address in bad {
            equal(
                call_at(bench, function, address),
                ret::EBADADDR,
                &format!("a message at {address:#x}"),
            )?;
        }
    }
    Ok(())
}

fn bad_cookies(bench: &Bench) -> Outcome {
    for cookie in [0, 0xdead_beef, u64::MAX] {
        let regs = ask(
            bench,
            FunctionId::CALL_WITH_REGD_ARG.0,
            [(cookie >> 32) as u32, cookie as u32, 0],
        );
        equal(
            regs[0],
            ret::EBADADDR,
            &format!("a message in unregistered memory {cookie:#x}"),
        )?;
    }
    super::fails(bench.tee.unregister(0xdead_beef), ErrorKind::BadParameters)
        .or_else(|_| super::fails(bench.tee.unregister(0xdead_beef), ErrorKind::ItemNotFound))
}

fn bad_resume(bench: &Bench) -> Outcome {
    for thread in [0, 1, 3, 100, u32::MAX] {
        let regs = ask(bench, FunctionId::RETURN_FROM_RPC.0, [0, 0, thread]);
        equal(regs[0], ret::ERESUME, &format!("thread {thread}"))?;
    }
    Ok(())
}

/// The other CPU (or, between suspensions, this one) overwrites the message all the time.
fn changed_message(bench: &Bench) -> Outcome {
    let mut call = RawCall::open(bench, hello::UUID)?;
    let code = call.step_past_interrupts(bench.tee);
    holds(ret::is_rpc(code), "loading a TA asked for nothing")?;
    call.spoil();
    let answer = call.finish(bench.tee)?;
    // The kernel works on its copy: the session is opened all the same.
    equal(TeeResult(answer.ret), TeeResult::SUCCESS, "opening")?;
    close_raw(bench, answer.session)
}

fn close_raw(bench: &Bench, session: u32) -> Outcome {
    let header = MsgHeader {
        cmd: cmd::CLOSE_SESSION,
        session,
        ..MsgHeader::default()
    };
    let answer = works(bench.tee.call_raw(header, &mut []))?;
    equal(TeeResult(answer.ret), TeeResult::SUCCESS, "closing")
}

fn thread_exhaustion(bench: &Bench) -> Outcome {
    let threads = ask(bench, FunctionId::GET_THREAD_COUNT.0, [0; 3])[1];
    let mut calls = Vec::new();
    let mut turned_away = false;
    for _ in 0..=threads {
        let mut call = RawCall::open(bench, NOBODY)?;
        let code = call.step_past_interrupts(bench.tee);
        if code == ret::ETHREAD_LIMIT {
            turned_away = true;
            break;
        }
        if !ret::is_rpc(code) {
            return Err(format!("a load did not ask for its image: {code:#x}"));
        }
        calls.push(call);
    }
    // Who ends TAs has a thread all the same.
    let asked = bench
        .open(control::UUID)
        .and_then(|session| works(session.close()));
    // A suspended call does not keep another from ending, once there is a thread.
    let suspended = calls.len() as u32;
    let mut numbers: Vec<u32> = calls.iter().map(RawCall::thread).collect();
    numbers.sort_unstable();
    numbers.dedup();
    for mut call in calls {
        let answer = call.finish(bench.tee)?;
        equal(
            result_of(&answer),
            TeeResult::ITEM_NOT_FOUND.to_string(),
            "a suspended call",
        )?;
    }
    asked?;
    holds(turned_away, "no call was turned away")?;
    let others = threads - threads / 16;
    equal(suspended, others, "suspended calls")?;
    equal(numbers.len() as u32, others, "distinct threads")?;
    bench.refused(NOBODY, ErrorKind::ItemNotFound)
}

fn resume_elsewhere(bench: &Bench) -> Outcome {
    if !second_cpu()? {
        return bench.skipped(ONE_CPU);
    }
    let mut call = RawCall::open(bench, hello::UUID)?;
    let code = call.step_past_interrupts(bench.tee);
    holds(ret::is_rpc(code), "loading a TA asked for nothing")?;
    let tee = bench.tee;
    let answer = alloc::sync::Arc::new(spin::Mutex::new(None));
    let there = answer.clone();
    let job = jobs::start("resume", move || {
        let result = call.finish(tee);
        *there.lock() = Some(result);
        0
    })
    .ok_or("no second CPU")?;
    while jobs::collect(job).is_none() {
        cpu::doze();
    }
    let answer = answer.lock().take().ok_or("no answer")??;
    equal(TeeResult(answer.ret), TeeResult::SUCCESS, "opening")?;
    close_raw(bench, answer.session)
}

fn list_into_secure_memory(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    let id = session.id();
    let list = Pages::allocate(1).ok_or("no memory")?;
    let list_address = bench.tee.conduit().physical(list.address());
    let bad_pages = [
        virt::SECURE_RAM_BASE,
        virt::KERNEL_BASE,
        virt::GICD,
        0xffff_ffff_ffff_f000,
        list_address + 1,
    ];
    let invoke = |param: MsgParam| {
        let header = MsgHeader {
            cmd: cmd::INVOKE_COMMAND,
            func: hello::CMD_CHECKSUM,
            session: id,
            num_params: 2,
            ..MsgHeader::default()
        };
        let out = MsgParam {
            attr: attr::VALUE_OUTPUT,
            ..MsgParam::default()
        };
        bench.tee.call_raw(header, &mut [param, out])
    };
    let refused = |param: MsgParam, what: &str| match invoke(param) {
        Ok(answer) => holds(answer.ret != 0, what),
        Err(_) => Ok(()),
    };
    let tmem = |a, b| MsgParam {
        attr: attr::TMEM_INPUT | attr::NONCONTIG,
        a,
        b,
        c: 0x7777,
    };
    for page in bad_pages {
        list.set(0, page);
        refused(
            tmem(list_address, 16),
            &format!("a buffer at {page:#x} was taken"),
        )?;
        if page == list_address + 1 {
            // Alone, this is a fine buffer.
            continue;
        }
        refused(
            MsgParam {
                attr: attr::TMEM_INPUT,
                ..tmem(page, 16)
            },
            &format!("a contiguous buffer at {page:#x} was taken"),
        )?;
    }
    for at in [virt::SECURE_RAM_BASE, 0xffff_ffff_ffff_f000] {
        refused(tmem(at, 16), &format!("a list at {at:#x} was taken"))?;
    }
    list.set(0, list_address);
    for size in [u64::MAX, u64::MAX - 4095, 1 << 40, 1 << 63] {
        refused(
            tmem(list_address, size),
            &format!("{size:#x} bytes were taken"),
        )?;
    }
    // Registering such memory is refused as well.
    list.set(0, virt::KERNEL_BASE);
    let registered = bench.tee.register(0x7000_0001, list_address, PAGE_SIZE);
    holds(registered.is_err(), "secure memory was registered")?;
    // The session is as good as before.
    works(session.invoke_plain(hello::CMD_NOP))
}

impl RawCall {
    /// Overwrites the message with nonsense, but for the RPC argument behind it.
    fn spoil(&self) {
        let pages = self.pages();
        let message = Message::at(pages, 0);
        message.set_header(&MsgHeader {
            cmd: u32::MAX,
            func: u32::MAX,
            session: u32::MAX,
            cancel_id: u32::MAX,
            pad: 0,
            ret: 0,
            ret_origin: 0,
            num_params: u32::MAX,
        });
        for word in arg_size(0) / 8..arg_size(2) / 8 {
            pages.set(word, u64::MAX);
        }
    }
}
