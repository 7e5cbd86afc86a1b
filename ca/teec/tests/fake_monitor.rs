//! The SMC transport against a secure world of the test's own.

use std::borrow::Cow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr, cmd};
use tally_abi::smc::{CALLS_UID, FunctionId, ret, sec_cap};
use tally_abi::{TeeResult, TeeUuid, rpc};
use teec::smc::{CallInfo, Conduit, Message, PageList, Pages, Services, SmcTransport};
use teec::{
    Context, Direction, ErrorKind, ErrorOrigin, Operation, ParamNone, ParamRegisteredMem,
    ParamTmpRef, ParamType, ParamValue, SharedMemory,
};

const UUID: TeeUuid = TeeUuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff);

/// Word `index` behind physical (here: host) address `address`.
fn word(address: u64, index: usize) -> &'static AtomicU64 {
    // SAFETY:
    // 1. The transport exposed the address of pages that live while the call runs.
    // 2. Pages are arrays of atomic words.
    unsafe { &*std::ptr::with_exposed_provenance::<AtomicU64>(address as usize + 8 * index) }
}

fn load(address: u64, index: usize) -> u64 {
    word(address, index).load(Ordering::Relaxed)
}

fn param(message: u64, index: usize) -> MsgParam {
    let at = arg_size(index) / 8;
    MsgParam {
        attr: load(message, at),
        a: load(message, at + 1),
        b: load(message, at + 2),
        c: load(message, at + 3),
    }
}

fn set_param(message: u64, index: usize, p: MsgParam) {
    let at = arg_size(index) / 8;
    for (i, v) in [p.attr, p.a, p.b, p.c].into_iter().enumerate() {
        word(message, at + i).store(v, Ordering::Relaxed);
    }
}

fn answer(message: u64, code: TeeResult, origin: u32) {
    word(message, 2).store(u64::from(code.0) << 32, Ordering::Relaxed);
    let n = load(message, 3) >> 32;
    word(message, 3).store(u64::from(origin) | n << 32, Ordering::Relaxed);
}

type Script = Box<dyn FnMut([u32; 8]) -> [u32; 8] + Send>;

struct Fake(Mutex<Script>);

impl Conduit for Fake {
    fn smc(&self, regs: [u32; 8]) -> [u32; 8] {
        match FunctionId(regs[0]) {
            FunctionId::CALLS_UID => {
                let [a, b, c, d] = CALLS_UID;
                [a, b, c, d, 0, 0, 0, 0]
            }
            FunctionId::EXCHANGE_CAPABILITIES => {
                let caps = sec_cap::DYNAMIC_SHM | sec_cap::MEMREF_NULL | sec_cap::RPC_ARG;
                [0, caps as u32, 0, 4, 0, 0, 0, 0]
            }
            _ => (self.0.lock().unwrap())(regs),
        }
    }
}

#[derive(Default)]
struct Served {
    interrupts: AtomicU64,
    limits: AtomicU64,
}

impl Services for Served {
    fn ta_image(&self, uuid: TeeUuid) -> Result<Cow<'_, [u8]>, TeeResult> {
        if uuid == UUID {
            Ok(Cow::Borrowed(b"signed image"))
        } else {
            Err(TeeResult::ITEM_NOT_FOUND)
        }
    }
    fn time(&self) -> (u64, u32) {
        (12, 34)
    }
    fn wait(&self, _key: u64, _timeout_ms: u64, _call: &CallInfo) -> Result<(), TeeResult> {
        Err(TeeResult::TIMEOUT)
    }
    fn notify(&self, _key: u64) {}
    fn suspend(&self, _millis: u64, _call: &CallInfo) {}
    fn foreign_interrupt(&self, _call: &CallInfo) {
        self.interrupts.fetch_add(1, Ordering::Relaxed);
    }
    fn thread_limit(&self) {
        self.limits.fetch_add(1, Ordering::Relaxed);
    }
}

fn transport(
    script: impl FnMut([u32; 8]) -> [u32; 8] + Send + 'static,
) -> SmcTransport<Fake, Served> {
    SmcTransport::probe(Fake(Mutex::new(Box::new(script))), Served::default()).expect("probe")
}

fn message_of(regs: [u32; 8]) -> u64 {
    assert_eq!(regs[0], FunctionId::CALL_WITH_RPC_ARG.0);
    u64::from(regs[1]) << 32 | u64::from(regs[2])
}

#[test]
fn open_sends_the_uuid_as_bytes_and_returns_the_session() {
    let t = transport(|regs| {
        let m = message_of(regs);
        assert_eq!(load(m, 0) as u32, cmd::OPEN_SESSION);
        assert_eq!(load(m, 3) >> 32, 2);
        let p = param(m, 0);
        assert_eq!(p.attr, attr::META | attr::VALUE_INPUT);
        assert_eq!(TeeUuid::from_value_pair(p.a, p.b), UUID);
        word(m, 1).store(7, Ordering::Relaxed);
        answer(m, TeeResult::SUCCESS, 3);
        [0; 8]
    });
    let calls = Context::new(&t);
    let session = calls.open_session(UUID).unwrap();
    assert_eq!(session.id(), 7);
    std::mem::forget(session);
}

#[test]
fn refusal_carries_code_and_origin() {
    let t = transport(|regs| {
        answer(message_of(regs), TeeResult::ITEM_NOT_FOUND, 3);
        [0; 8]
    });
    let error = Context::new(&t).open_session(UUID).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ItemNotFound);
    assert_eq!(error.origin(), ErrorOrigin::TEE);
}

#[test]
fn values_and_needed_sizes_come_back_even_with_an_error() {
    let t = transport(|regs| {
        let m = message_of(regs);
        if load(m, 0) as u32 == cmd::OPEN_SESSION || load(m, 0) as u32 == cmd::CLOSE_SESSION {
            answer(m, TeeResult::SUCCESS, 3);
            return [0; 8];
        }
        let value = param(m, 0);
        set_param(
            m,
            0,
            MsgParam {
                a: value.a + 1,
                ..value
            },
        );
        let memory = param(m, 1);
        assert_eq!(memory.attr, attr::TMEM_OUTPUT);
        assert_eq!((memory.a, memory.b), (0, 0));
        set_param(m, 1, MsgParam { b: 99, ..memory });
        answer(m, TeeResult::SHORT_BUFFER, 4);
        [0; 8]
    });
    let mut session = Context::new(&t).open_session(UUID).unwrap();
    let mut op = Operation::new(
        0,
        ParamValue::new(41, 0, ParamType::ValueInout),
        ParamTmpRef::new_null(Direction::Output),
        ParamNone,
        ParamNone,
    );
    let error = session.invoke_command(1, &mut op).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShortBuffer);
    assert_eq!(error.origin(), ErrorOrigin::TA);
    assert_eq!(op.parameters().0.a(), 42);
    assert_eq!(op.parameters().1.updated_size(), 99);
}

#[test]
fn temporary_memory_travels_as_a_page_list_with_offset() {
    let t = transport(|regs| {
        let m = message_of(regs);
        if load(m, 0) as u32 == cmd::INVOKE_COMMAND {
            let p = param(m, 0);
            assert_eq!(p.attr, attr::TMEM_INPUT | attr::NONCONTIG);
            assert_eq!(p.b, 10_000);
            let list = p.a & !0xfff;
            let first = load(list, 0) + (p.a & 0xfff);
            // SAFETY: the buffer is borrowed for the call.
            let byte = unsafe { *std::ptr::with_exposed_provenance::<u8>(first as usize) };
            assert_eq!(byte, 0x5a);
        }
        answer(m, TeeResult::SUCCESS, 3);
        [0; 8]
    });
    let mut session = Context::new(&t).open_session(UUID).unwrap();
    let buffer = vec![0x5a_u8; 10_001];
    let mut op = Operation::new(
        0,
        ParamTmpRef::new_input(&buffer[1..]),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    session.invoke_command(1, &mut op).unwrap();
}

#[test]
fn long_page_list_links_to_its_next_page() {
    let list =
        PageList::build((0..1200_usize).map(|i| (i as u64) << 12), 5, |va| va as u64).unwrap();
    let base = list.buf_ptr() & !0xfff;
    assert_eq!(list.buf_ptr() & 0xfff, 5);
    assert_eq!(load(base, 510), 510 << 12);
    let second = load(base, 511);
    assert_eq!(load(second, 0), 511 << 12);
    let third = load(second, 511);
    assert_eq!(load(third, 0), 1022 << 12);
    assert_eq!(load(third, 1199 - 1022), 1199 << 12);
}

#[test]
fn shared_memory_is_registered_used_and_released() {
    let t = transport(|regs| {
        let m = message_of(regs);
        match load(m, 0) as u32 {
            cmd::REGISTER_SHM => {
                let p = param(m, 0);
                assert_eq!(p.attr, attr::TMEM_OUTPUT | attr::NONCONTIG);
                word(load(p.a & !0xfff, 0), 0).store(0x1122, Ordering::Relaxed);
            }
            cmd::INVOKE_COMMAND => assert_eq!(param(m, 0).attr, attr::RMEM_INOUT),
            _ => {}
        }
        answer(m, TeeResult::SUCCESS, 3);
        [0; 8]
    });
    let calls = Context::new(&t);
    let memory = SharedMemory::allocate(&calls, 5000).unwrap();
    let mut first = [0; 2];
    memory.read(0, &mut first);
    assert_eq!(first, [0x22, 0x11]);
    let mut session = calls.open_session(UUID).unwrap();
    let mut op = Operation::new(
        0,
        ParamRegisteredMem::whole(&memory),
        ParamNone,
        ParamNone,
        ParamNone,
    );
    session.invoke_command(1, &mut op).unwrap();
    assert_eq!(t.shared_count(), 1);
    memory.release().unwrap();
    assert_eq!(t.shared_count(), 0);
}

/// Plays a call that asks for a TA image: size, memory, content, free.
#[test]
fn a_call_gets_its_image_through_requests() {
    let mut step = 0;
    let mut message = 0;
    let mut cookie = 0;
    let t = transport(move |regs| {
        step += 1;
        let suspended = [ret::RPC_CMD, 0, 0, 1, 0, 0, 0, 0];
        if step == 1 {
            message = message_of(regs);
        } else {
            assert_eq!(regs[0], FunctionId::RETURN_FROM_RPC.0);
            assert_eq!(regs[3], 1, "resume information is kept");
        }
        let rpc = message + arg_size(2) as u64;
        let ask = |command: u32, n: u64| {
            word(rpc, 0).store(u64::from(command), Ordering::Relaxed);
            word(rpc, 3).store(n << 32, Ordering::Relaxed);
        };
        let (a, b) = UUID.to_value_pair();
        let uuid = MsgParam {
            attr: attr::VALUE_INPUT,
            a,
            b,
            c: 0,
        };
        let image = |size, cookie| MsgParam {
            attr: attr::RMEM_OUTPUT,
            a: 0,
            b: size,
            c: cookie,
        };
        match step {
            1 => {
                ask(rpc::cmd::LOAD_TA, 2);
                set_param(rpc, 0, uuid);
                set_param(rpc, 1, image(0, 0));
                suspended
            }
            2 => {
                assert_eq!(param(rpc, 1).b, 12);
                ask(rpc::cmd::SHM_ALLOC, 1);
                set_param(
                    rpc,
                    0,
                    MsgParam {
                        attr: attr::VALUE_INPUT,
                        a: 0,
                        b: 12,
                        c: 8,
                    },
                );
                suspended
            }
            3 => {
                let p = param(rpc, 0);
                assert_eq!(p.attr, attr::TMEM_OUTPUT | attr::NONCONTIG);
                cookie = p.c;
                ask(rpc::cmd::LOAD_TA, 2);
                set_param(rpc, 0, uuid);
                set_param(rpc, 1, image(12, cookie));
                suspended
            }
            4 => {
                assert_eq!(load(rpc, 2) >> 32, 0);
                ask(rpc::cmd::LOAD_TA, 2);
                set_param(rpc, 0, uuid);
                set_param(rpc, 1, image(1 << 40, cookie));
                suspended
            }
            5 => {
                assert_eq!(load(rpc, 2) >> 32, u64::from(TeeResult::BAD_PARAMETERS.0));
                ask(rpc::cmd::SHM_FREE, 1);
                set_param(
                    rpc,
                    0,
                    MsgParam {
                        attr: attr::VALUE_INPUT,
                        a: 0,
                        b: cookie,
                        c: 0,
                    },
                );
                suspended
            }
            6 => [ret::RPC_FOREIGN_INTR, 0, 0, 1, 0, 0, 0, 0],
            _ => {
                answer(message, TeeResult::ITEM_NOT_FOUND, 3);
                [0; 8]
            }
        }
    });
    let error = Context::new(&t).open_session(UUID).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ItemNotFound);
    assert_eq!(t.services().interrupts.load(Ordering::Relaxed), 1);
    assert_eq!(t.shared_count(), 0);
}

#[test]
fn a_call_turned_away_for_want_of_threads_is_made_again() {
    let mut step = 0;
    let t = transport(move |regs| {
        step += 1;
        let m = message_of(regs);
        if step < 3 {
            return [ret::ETHREAD_LIMIT, 0, 0, 0, 0, 0, 0, 0];
        }
        answer(m, TeeResult::SUCCESS, 3);
        [0; 8]
    });
    Context::new(&t).cancel(1, 2).unwrap();
    assert_eq!(t.services().limits.load(Ordering::Relaxed), 2);
}

#[test]
fn requests_with_wild_counts_or_kinds_are_refused() {
    let t = transport(|_| [0; 8]);
    let pages = Pages::allocate(1).unwrap();
    let argument = Message::at(&pages, 0);
    let refused = |cmd: u32, num_params: u32| {
        argument.set_header(&MsgHeader {
            cmd,
            num_params,
            ..MsgHeader::default()
        });
        t.serve_command(argument, &CallInfo::default());
        TeeResult(argument.header().ret)
    };
    assert_eq!(
        refused(rpc::cmd::GET_TIME, u32::MAX),
        TeeResult::BAD_PARAMETERS
    );
    assert_eq!(refused(rpc::cmd::LOAD_TA, 1), TeeResult::BAD_PARAMETERS);
    assert_eq!(refused(rpc::cmd::RPMB, 2), TeeResult::NOT_SUPPORTED);
    assert_eq!(refused(rpc::cmd::SHM_FREE, 1), TeeResult::BAD_PARAMETERS);
}
