//! The line to the normal world, word by word.

use crate::call::rpc::{RpcArg, RpcClient};
use std::sync::atomic::AtomicBool;
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr};
use tally_abi::{TeeResult, TeeUuid, rpc, smc};
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::machine::NormalMemory;
use tally_mem::testing::{NORMAL_BASE, TestMachine};
use zerocopy::{FromZeros, IntoBytes};

/// Where the argument lies.
const ARG: PhysAddr = NORMAL_BASE;
const PAGE: u64 = PAGE_SIZE as u64;

/// What the normal world finds in an argument.
fn found(machine: &TestMachine) -> (MsgHeader, [MsgParam; 2]) {
    let (mut header, mut params) = (MsgHeader::new_zeroed(), [MsgParam::new_zeroed(); 2]);
    assert!(machine.read_normal(ARG, header.as_mut_bytes()));
    let at = PhysAddr(ARG.0 + size_of::<MsgHeader>() as u64);
    assert!(machine.read_normal(at, params.as_mut_bytes()));
    (header, params)
}

/// Has the normal world answer the next command with this code and these parameters.
fn answers(machine: &TestMachine, code: TeeResult, params: &[MsgParam]) {
    let params = params.to_vec();
    machine.on_suspend(move |machine, _| {
        let (mut header, _) = found(machine);
        header.ret = code.0;
        assert!(machine.write_normal(ARG, header.as_bytes()));
        for (n, param) in params.iter().enumerate() {
            let (at, bytes) = (size_of::<MsgHeader>() + n * 32, param.as_bytes());
            // Without an attribute it has the one that it went with.
            let skip = if param.attr == attr::NONE { 8 } else { 0 };
            assert!(machine.write_normal(PhysAddr(ARG.0 + (at + skip) as u64), &bytes[skip..]));
        }
        [0; 8]
    });
}

/// Runs `test` on a line whose argument came with the call.
fn with_line(test: impl FnOnce(&TestMachine, &mut RpcClient<'_>)) {
    let machine = TestMachine::new(1, 8);
    let closed = AtomicBool::new(false);
    test(&machine, &mut RpcClient::new(RpcArg::Given(ARG), &closed));
    assert_eq!(machine.steps_left(), (0, 0));
}

const fn param(attr: u64, a: u64, b: u64, c: u64) -> MsgParam {
    MsgParam { attr, a, b, c }
}

#[test]
fn an_argument_is_named_by_all_bits_of_its_cookie() {
    const COOKIE: u64 = 0x1234_5678_9abc_def0;
    let machine = TestMachine::new(1, 8);
    let closed = AtomicBool::new(false);
    let mut line = RpcClient::new(RpcArg::None, &closed);
    machine.on_suspend(|_, out| {
        assert_eq!(out[..2], [smc::ret::RPC_ALLOC.into(), arg_size(4) as u64]);
        // The upper halves of registers are nobody's.
        let upper = 0x7777_u64 << 32;
        let words = [0, ARG.0 >> 32, ARG.0, 0, COOKIE >> 32, COOKIE, 0, 0];
        words.map(|word| word & 0xffff_ffff | upper)
    });
    machine.on_suspend(|_, _| [0; 8]);
    machine.on_suspend(|_, _| [0; 8]);
    let _ = line.sleep(&machine, 1);
    line.finish(&machine);
    let named = [smc::ret::RPC_CMD, smc::ret::RPC_FREE]
        .map(|what| [u64::from(what), 0x1234_5678, 0x9abc_def0]);
    let told = machine.suspensions();
    assert_eq!([&told[1][..3], &told[2][..3]], named);
}

#[test]
fn an_argument_that_is_lent_lies_whole_and_aligned_in_normal_memory() {
    for at in [
        ARG.0 + 4,
        NORMAL_BASE.0 + 8 * PAGE - 8,
        NORMAL_BASE.0 - PAGE,
    ] {
        let machine = TestMachine::new(1, 8);
        let closed = AtomicBool::new(false);
        let mut line = RpcClient::new(RpcArg::None, &closed);
        machine.on_suspend(move |_, _| [0, at >> 32, at, 0, 0, 9, 0, 0]);
        // It is given back.
        machine.on_suspend(|_, out| {
            assert_eq!(out[..3], [smc::ret::RPC_FREE.into(), 0, 9]);
            [0; 8]
        });
        assert_eq!(line.sleep(&machine, 1), Err(TeeResult::COMMUNICATION));
        assert_eq!(machine.steps_left(), (0, 0), "{at:#x}");
    }
}

#[test]
fn a_command_that_nobody_answers_has_failed() {
    with_line(|machine, line| {
        machine.on_suspend(|machine, _| {
            let (header, params) = found(machine);
            assert_eq!((header.cmd, header.num_params), (rpc::cmd::SUSPEND, 1));
            assert_eq!(params[0], param(attr::VALUE_INPUT, 77, 0, 0));
            [0; 8]
        });
        assert!(!line.has_left());
        assert_eq!(line.sleep(machine, 77), Err(TeeResult::GENERIC));
        assert!(line.has_left());
    });
}

#[test]
fn time_of_the_normal_world_is_in_seconds_and_milliseconds() {
    with_line(|machine, line| {
        for (nanos, millis) in [(0, 0), (999_999, 0), (7_000_000, 7), (u64::MAX, 999)] {
            let answer = [param(attr::NONE, 5, nanos, 0)];
            answers(machine, TeeResult::SUCCESS, &answer);
            let time = line.time(machine).unwrap();
            assert_eq!((time.seconds, time.millis), (5, millis), "{nanos}");
            assert_eq!(found(machine).1[0].attr, attr::VALUE_OUTPUT);
        }
    });
}

#[test]
fn memory_is_lent_as_one_piece_or_as_a_list_and_no_less_than_was_asked_for() {
    const FREED: TeeResult = TeeResult::SUCCESS;
    with_line(|machine, line| {
        let (list, pages) = (ARG.0 + PAGE, [ARG.0 + 3 * PAGE, ARG.0 + 5 * PAGE]);
        assert!(machine.write_normal(PhysAddr(list), pages.as_bytes()));
        let piece = param(attr::TMEM_OUTPUT, ARG.0 + 2 * PAGE, PAGE, 5);
        let listed = param(attr::TMEM_OUTPUT | attr::NONCONTIG, list, 2 * PAGE, 6);
        for (answer, size, first) in [
            (piece, PAGE, Ok(piece.a)),
            (piece, 1, Ok(piece.a)),
            (listed, 2 * PAGE, Ok(pages[0])),
            (piece, PAGE + 1, Err(TeeResult::COMMUNICATION)),
            (listed, 2 * PAGE + 1, Err(TeeResult::COMMUNICATION)),
        ] {
            answers(machine, TeeResult::SUCCESS, &[answer]);
            if first.is_err() {
                answers(machine, FREED, &[]);
            }
            let lent = line.shm_alloc(machine, size);
            let lies = lent.map(|lent| {
                assert_eq!(lent.cookie, answer.c);
                let first = lent.shm.pages(0, lent.shm.size()).next();
                first.map_or(0, |page| page.0)
            });
            assert_eq!(lies, first, "{answer:x?} {size}");
        }
        // What is refused is given back by its name.
        assert_eq!(found(machine).1[0].b, listed.c);
        for kind in [attr::TMEM_INPUT, attr::RMEM_OUTPUT, attr::NONCONTIG, 0] {
            let answer = param(kind, ARG.0 + 2 * PAGE, PAGE, 5);
            answers(machine, TeeResult::SUCCESS, &[answer]);
            let refused = line.shm_alloc(machine, PAGE).err();
            assert_eq!(refused, Some(TeeResult::COMMUNICATION), "{kind:#x}");
        }
    });
}

#[test]
fn an_image_that_is_too_long_is_told_by_its_size_alone() {
    let uuid = TeeUuid::from_u128(0x1234);
    with_line(|machine, line| {
        let piece = param(attr::TMEM_OUTPUT, ARG.0 + 2 * PAGE, PAGE, 5);
        answers(machine, TeeResult::SUCCESS, &[piece]);
        let shm = line.shm_alloc(machine, PAGE).unwrap();
        let (a, b) = uuid.to_value_pair();
        let sent = |machine: &TestMachine| {
            let (header, [named, image]) = found(machine);
            assert_eq!((header.cmd, header.num_params), (rpc::cmd::LOAD_TA, 2));
            assert_eq!(named, param(attr::VALUE_INPUT, a, b, 0));
            image
        };
        for (code, size, told) in [
            (TeeResult::SUCCESS, 100, Ok(100)),
            (TeeResult::SHORT_BUFFER, PAGE + 1, Ok(PAGE + 1)),
            (TeeResult::SHORT_BUFFER, PAGE, Err(TeeResult::SHORT_BUFFER)),
            (TeeResult::SHORT_BUFFER, 1, Err(TeeResult::SHORT_BUFFER)),
            (
                TeeResult::ITEM_NOT_FOUND,
                PAGE + 1,
                Err(TeeResult::ITEM_NOT_FOUND),
            ),
        ] {
            let answer = [
                param(attr::VALUE_INPUT, a, b, 0),
                param(attr::RMEM_OUTPUT, 0, size, 5),
            ];
            answers(machine, code, &answer);
            assert_eq!(line.load_ta(machine, uuid, &shm), told, "{code} {size}");
            assert_eq!(sent(machine).attr, attr::RMEM_OUTPUT);
        }
        machine.on_suspend(move |machine, _| {
            let (header, [_, image]) = found(machine);
            assert_eq!(
                (header.cmd, image),
                (rpc::cmd::LOAD_TA, param(attr::TMEM_OUTPUT, 0, 0, 0))
            );
            [0; 8]
        });
        assert_eq!(line.ta_size(machine, uuid), Err(TeeResult::GENERIC));
    });
}
