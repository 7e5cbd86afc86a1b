//! Fast calls, messages, shared memory: the normal world's side.

use super::*;
use crate::call::entry::Entry;
use crate::call::thread::MAX_THREADS;
use crate::share::Share;
use crate::testing::world::{CLIENT, CLIENT_PAGES, NORMAL_PAGES, THREADS, header, memref, value};
use tally_abi::msg::{MsgHeader, MsgParam, attr, cmd};
use tally_abi::smc::{CALLS_COUNT, FunctionId, OS_UUID, ret, sec_cap};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::{NormalMemory, STACK_PAGES};
use tally_mem::pages::PageUse;
use tally_mem::testing::{NORMAL_BASE, SECURE_BASE};
use zerocopy::IntoBytes;

const PAGE: u64 = 4096;

fn fast(world: &World, function: FunctionId, a1: u64) -> [u64; 4] {
    world
        .kernel
        .fast_call(&[u64::from(function.0), a1, 0, 0, 0, 0, 0, 0])
}

#[test]
fn fast_calls_answer_as_stock_linux_expects() {
    leaves_nothing(|world| {
        assert_eq!(
            fast(world, FunctionId::CALLS_UID, 0),
            [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b]
        );
        assert_eq!(fast(world, FunctionId::CALLS_REVISION, 0), [2, 0, 0, 0]);
        assert_eq!(
            fast(world, FunctionId::GET_OS_UUID, 0),
            OS_UUID.map(u64::from)
        );
        for (function, answer) in [
            (FunctionId::CALLS_COUNT, [CALLS_COUNT.into(), 0, 0, 0]),
            (FunctionId::GET_OS_REVISION, [0, 1, 0, 0]),
            (FunctionId::ENABLE_SHM_CACHE, [0; 4]),
        ] {
            assert_eq!(fast(world, function, 0), answer, "{function:?}");
        }
        // Unregistered and dynamic shm, null references, RPC arguments; 4 RPC parameters.
        let last_thread = MAX_THREADS as u64 - 1;
        assert_eq!(
            fast(world, FunctionId::EXCHANGE_CAPABILITIES, 1),
            [0, 0x56, last_thread, 4]
        );
        let unknown = fast(world, FunctionId::EXCHANGE_CAPABILITIES, 2);
        assert_eq!(unknown[0], u64::from(ret::ENOTAVAIL));
        for none in [FunctionId::GET_SHM_CONFIG, FunctionId::DISABLE_SHM_CACHE] {
            assert_eq!(fast(world, none, 0)[0], u64::from(ret::ENOTAVAIL));
        }
        assert_eq!(
            fast(world, FunctionId::GET_THREAD_COUNT, 0),
            [0, THREADS as u64, 0, 0]
        );
        assert_eq!(
            fast(world, FunctionId(0xb200_00ff), 0)[0],
            u64::from(ret::UNKNOWN_FUNCTION)
        );
    });
}

#[test]
fn what_is_not_offered_is_refused_as_op_tee_without_it_does() {
    // Bug: functions of asynchronous notifications answered ENOTAVAIL.
    leaves_nothing(|world| {
        let [_, caps, ..] = fast(world, FunctionId::EXCHANGE_CAPABILITIES, 0);
        assert_eq!(caps & (sec_cap::ASYNC_NOTIF | sec_cap::VIRTUALIZATION), 0);
        for function in [
            FunctionId::ENABLE_ASYNC_NOTIF,
            FunctionId::GET_ASYNC_NOTIF_VALUE,
            FunctionId::VM_CREATED,
            FunctionId::VM_DESTROYED,
        ] {
            let [code, ..] = fast(world, function, 0);
            assert_eq!(code, u64::from(ret::UNKNOWN_FUNCTION), "{function:?}");
        }
        for command in [cmd::DO_BOTTOM_HALF, cmd::STOP_ASYNC_NOTIF] {
            let reply = world.send(header(command, 0, 0), &[]);
            assert_eq!(reply.code, ret::EBADCMD, "{command}");
        }
    });
}

#[test]
fn a_call_beyond_the_resident_threads_is_lent_a_stack_and_returns_it() {
    let world = world();
    let kernel = &world.kernel;
    kernel.machine.set_resident_threads(1);
    let start = [u64::from(FunctionId::CALL_WITH_ARG.0), 0, 0, 0, 0, 0, 0, 0];
    let stacks = || kernel.state().pages.used_for(PageUse::KernelStack);
    for thread in 0..THREADS {
        assert_eq!(kernel.yield_entry(&start), Entry::Start(thread));
        assert_eq!(stacks(), (thread * STACK_PAGES) as u32);
    }
    for thread in (0..THREADS).rev() {
        kernel.thread_done(thread);
        let left = thread.saturating_sub(1);
        assert_eq!(stacks(), (left * STACK_PAGES) as u32);
    }
    assert!(kernel.threads.idle());
}

#[test]
fn a_call_for_whose_stack_there_is_no_room_is_turned_away_and_keeps_nothing() {
    let world = world();
    let kernel = &world.kernel;
    kernel.machine.set_resident_threads(1);
    let start = [u64::from(FunctionId::CALL_WITH_ARG.0), 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(kernel.yield_entry(&start), Entry::Start(0));
    let limit = [u64::from(ret::ETHREAD_LIMIT), 0, 0, 0];
    for before in 0..STACK_PAGES as u32 {
        let free = kernel.state().pages.free_pages();
        kernel.state().pages.fail_nth(Some(before));
        assert_eq!(kernel.yield_entry(&start), Entry::Reply(limit));
        assert_eq!(kernel.state().pages.free_pages(), free);
        assert_eq!(kernel.threads.in_use(), 1);
        assert_eq!(kernel.threads.turned_away(), before + 1);
    }
    assert_eq!(kernel.yield_entry(&start), Entry::Start(1));
    kernel.thread_done(1);
    kernel.thread_done(0);
}

#[test]
fn a_call_too_many_is_turned_away_and_a_thread_not_suspended_is_not_resumed() {
    let world = world();
    let start = [u64::from(FunctionId::CALL_WITH_ARG.0), 0, 0, 0, 0, 0, 0, 0];
    for thread in 0..THREADS {
        assert_eq!(world.kernel.yield_entry(&start), Entry::Start(thread));
    }
    let limit = [u64::from(ret::ETHREAD_LIMIT), 0, 0, 0];
    assert_eq!(world.kernel.threads.turned_away(), 0);
    assert_eq!(world.kernel.yield_entry(&start), Entry::Reply(limit));
    assert_eq!(world.kernel.threads.turned_away(), 1);
    for cache in [FunctionId::DISABLE_SHM_CACHE, FunctionId::ENABLE_SHM_CACHE] {
        assert_eq!(fast(&world, cache, 0)[0], u64::from(ret::EBUSY));
    }
    for thread in [0, 1, THREADS as u64, u64::MAX] {
        let resume = [
            u64::from(FunctionId::RETURN_FROM_RPC.0),
            0,
            0,
            thread,
            0,
            0,
            0,
            0,
        ];
        let refused = [u64::from(ret::ERESUME), 0, 0, 0];
        assert_eq!(world.kernel.yield_entry(&resume), Entry::Reply(refused));
    }
}

/// Registers a page list at `list` and returns the result.
fn register(world: &World, list: u64, size: u64, cookie: u64) -> TeeResult {
    let param = memref(attr::TMEM_OUTPUT | attr::NONCONTIG, list, size, cookie);
    let reply = world.send(header(cmd::REGISTER_SHM, 0, 0), &[param]);
    assert_eq!(reply.code, ret::OK);
    reply.result
}

fn unregister(world: &World, cookie: u64) -> TeeResult {
    let param = memref(attr::RMEM_INPUT, 0, 0, cookie);
    let reply = world.send(header(cmd::UNREGISTER_SHM, 0, 0), &[param]);
    assert_eq!(reply.code, ret::OK);
    reply.result
}

/// Writes a page list that names the client's pages from `first` on, `count` of them, backwards.
fn list_at(world: &World, list: u64, first: u64, count: u64) {
    let entries: Vec<u64> = (0..count)
        .map(|n| CLIENT.0 + (first + count - 1 - n) * PAGE)
        .collect();
    world.write(PhysAddr(list), entries.as_bytes());
}

#[test]
fn shared_memory_is_registered_once_and_unregistered_once() {
    leaves_nothing(|world| {
        list_at(world, CLIENT.0, 1, 2);
        assert_eq!(
            register(world, CLIENT.0 + 8, 2 * PAGE - 8, 9),
            TeeResult::SUCCESS
        );
        assert_eq!(
            register(world, CLIENT.0, PAGE, 9),
            TeeResult::BAD_PARAMETERS
        );
        assert_eq!(unregister(world, 9), TeeResult::SUCCESS);
        assert_eq!(unregister(world, 9), TeeResult::BAD_PARAMETERS);
    });
}

#[test]
fn page_lists_that_name_other_memory_are_refused() {
    leaves_nothing(|world| {
        let bad = [SECURE_BASE.0, CLIENT.0 + 1, 0, !0xfff, NORMAL_BASE.0 - PAGE];
        for entry in bad {
            world.write(CLIENT, [CLIENT.0 + PAGE, entry].as_bytes());
            let result = register(world, CLIENT.0, 2 * PAGE, 9);
            assert_eq!(result, TeeResult::BAD_PARAMETERS, "{entry:#x}");
        }
        // The list itself elsewhere, or its size absurd.
        for list in [SECURE_BASE.0, !0xfff, u64::MAX - 7] {
            assert_eq!(register(world, list, PAGE, 9), TeeResult::BAD_PARAMETERS);
        }
        assert_ne!(register(world, CLIENT.0, u64::MAX, 9), TeeResult::SUCCESS);
        assert_ne!(
            register(world, CLIENT.0 + 8, u64::MAX - 7, 9),
            TeeResult::SUCCESS
        );
        assert_eq!(
            register(world, CLIENT.0, 65 << 20, 9),
            TeeResult::OUT_OF_MEMORY
        );
    });
}

#[test]
fn memory_that_begins_in_normal_ram_and_ends_beyond_is_refused() {
    // A look at the first page alone let the rest be anything.
    let end = NORMAL_BASE.0 + NORMAL_PAGES as u64 * PAGE;
    leaves_nothing(|world| {
        let echo = world.opened(ECHO);
        let lent = |at: u64, len: u64| {
            let param = memref(attr::TMEM_INPUT, at, len, 0);
            world.invoke(echo, 3, &[param]).result
        };
        let registered = |at: u64, len: u64| {
            let param = memref(attr::TMEM_INOUT, at, len, 9);
            let reply = world.send(header(cmd::REGISTER_SHM, 0, 0), &[param]);
            assert_eq!(reply.code, ret::OK);
            reply.result
        };
        for (at, len) in [
            (end - PAGE, 2 * PAGE),
            (end - PAGE, PAGE + 1),
            (end - 2 * PAGE, 3 * PAGE),
            (end - 1, 2),
            (end, 1),
            (NORMAL_BASE.0 - 1, 2),
            (NORMAL_BASE.0 - PAGE, 2 * PAGE),
        ] {
            assert_eq!(lent(at, len), TeeResult::BAD_PARAMETERS, "{at:#x} {len}");
            assert_eq!(
                registered(at, len),
                TeeResult::BAD_PARAMETERS,
                "{at:#x} {len}"
            );
        }
        // A list whose last run leaves it, one page after another.
        for before in 1..4 {
            let run: Vec<u64> = (0..=before).map(|n| end - (before - n) * PAGE).collect();
            world.write(CLIENT, run.as_bytes());
            let refused = register(world, CLIENT.0, (before + 1) * PAGE, 9);
            assert_eq!(refused, TeeResult::BAD_PARAMETERS, "{before}");
        }
        // To the last byte is fine.
        assert_eq!(registered(end - 2 * PAGE, 2 * PAGE), TeeResult::SUCCESS);
        assert_eq!(unregister(world, 9), TeeResult::SUCCESS);
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
    });
}

#[test]
fn a_page_list_over_several_pages_follows_its_links() {
    leaves_nothing(|world| {
        // More pages than there are: the client's, again and again.
        let entry = |n: u64| CLIENT.0 + (8 + n % (CLIENT_PAGES as u64 - 8)) * PAGE;
        for pages in [511, 512] {
            let list = super::args::list(world, 0, pages, entry);
            assert_eq!(register(world, list, pages * PAGE, 9), TeeResult::SUCCESS);
            assert_eq!(unregister(world, 9), TeeResult::SUCCESS);
        }
        // What lies off the begin of a page is no list, whatever it is.
        world.write(PhysAddr(CLIENT.0 + PAGE + 8), [entry(511)].as_bytes());
        for link in [CLIENT.0 + PAGE + 8, SECURE_BASE.0, 0, !0xfff] {
            world.write(PhysAddr(CLIENT.0 + 511 * 8), link.as_bytes());
            let result = register(world, CLIENT.0, 512 * PAGE, 9);
            assert_eq!(result, TeeResult::BAD_PARAMETERS, "{link:#x}");
        }
    });
}

// So many objects take Miri minutes.
#[cfg(not(miri))]
#[test]
fn shared_memory_can_be_exhausted_and_is_all_there_afterwards() {
    leaves_nothing(|world| {
        list_at(world, CLIENT.0, 1, 1);
        let room = crate::guest::MAX_SHM as u64;
        for cookie in 1..=room {
            assert_eq!(register(world, CLIENT.0, PAGE, cookie), TeeResult::SUCCESS);
        }
        assert_eq!(
            register(world, CLIENT.0, PAGE, room + 1),
            TeeResult::OUT_OF_MEMORY
        );
        // A message with a temporary reference has no slot either.
        let echo = world.opened(ECHO);
        let reply = world.invoke(echo, 3, &[memref(attr::TMEM_INPUT, CLIENT.0, 16, 0)]);
        assert_eq!(reply.result, TeeResult::OUT_OF_MEMORY);
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
        for cookie in 1..=room {
            assert_eq!(unregister(world, cookie), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn a_message_elsewhere_than_in_normal_memory_is_refused() {
    leaves_nothing(|world| {
        for function in [FunctionId::CALL_WITH_ARG, FunctionId::CALL_WITH_RPC_ARG] {
            for pa in [
                SECURE_BASE.0,
                CLIENT.0 + 4,
                0,
                !7,
                NORMAL_BASE.0 - 8,
                NORMAL_BASE.0 + NORMAL_PAGES as u64 * PAGE - 8,
            ] {
                let x = [
                    u64::from(function.0),
                    pa >> 32,
                    pa & 0xffff_ffff,
                    0,
                    0,
                    0,
                    0,
                    0,
                ];
                assert_eq!(world.call(&x)[0], u64::from(ret::EBADADDR), "{pa:#x}");
            }
        }
        let seven = [MsgParam::default(); 7];
        let reply = world.send(header(cmd::INVOKE_COMMAND, 0, 0), &seven);
        assert_eq!(reply.code, ret::EBADCMD);
    });
}

#[test]
fn a_registered_message_is_found_by_cookie_and_offset() {
    leaves_nothing(|world| {
        list_at(world, CLIENT.0, 1, 2);
        const COOKIE: u64 = 9 << 32 | 7;
        assert_eq!(
            register(world, CLIENT.0, 2 * PAGE, COOKIE),
            TeeResult::SUCCESS
        );
        let call = |cookie: u64, offset: u64| {
            let x0 = u64::from(FunctionId::CALL_WITH_REGD_ARG.0);
            world.call(&[x0, cookie >> 32, cookie & 0xffff_ffff, offset, 0, 0, 0, 0])[0]
        };
        // The list is backwards: the first page of the object is the client's page 2.
        let message = MsgHeader {
            cmd: cmd::CLOSE_SESSION,
            session: 77,
            ..MsgHeader::default()
        };
        world.write(PhysAddr(CLIENT.0 + 2 * PAGE + 64), message.as_bytes());
        assert_eq!(call(COOKIE, 64), u64::from(ret::OK));
        let back = world.read(PhysAddr(CLIENT.0 + 2 * PAGE + 64 + 20), 4);
        assert_eq!(back, TeeResult::BAD_PARAMETERS.0.to_le_bytes());
        for (cookie, offset) in [
            (9, 0),
            (7, 0),
            (0, 0),
            (COOKIE, 4),
            (COOKIE, 2 * PAGE),
            (COOKIE, 2 * PAGE - 8),
            (COOKIE, u64::MAX),
            (COOKIE, !7),
            // The RPC argument would lie across two pages that are not adjacent, or beyond.
            (COOKIE, PAGE - 64),
            (COOKIE, 2 * PAGE - 32),
        ] {
            let code = call(cookie, offset);
            assert_eq!(code, u64::from(ret::EBADADDR), "{cookie} {offset:#x}");
        }
        assert_eq!(unregister(world, COOKIE), TeeResult::SUCCESS);
    });
}

#[test]
fn a_message_may_be_as_long_as_one_is_and_end_with_memory() {
    leaves_nothing(|world| {
        let most = [value(attr::VALUE_INPUT, 0, 0); 4];
        let reply = world.open(ECHO, &most);
        assert_eq!((reply.code, reply.result), (ret::OK, TeeResult::SUCCESS));
        let message = header(cmd::CLOSE_SESSION, reply.session, 0);
        let at = NORMAL_BASE.0 + NORMAL_PAGES as u64 * PAGE - size_of::<MsgHeader>() as u64;
        world.write(PhysAddr(at), message.as_bytes());
        let x0 = u64::from(FunctionId::CALL_WITH_ARG.0);
        let back = world.call(&[x0, at >> 32, at & 0xffff_ffff, 0, 0, 0, 0, 0]);
        assert_eq!(back[0], u64::from(ret::OK));
    });
}

#[test]
fn what_is_registered_or_unregistered_is_named_in_full() {
    leaves_nothing(|world| {
        let send = |command: u32, params: &[MsgParam]| {
            let reply = world.send(header(command, 0, 0), params);
            assert_eq!(reply.code, ret::OK);
            reply.result
        };
        let good = memref(attr::TMEM_INOUT, CLIENT.0, PAGE, 9);
        for bad in [
            memref(attr::RMEM_INOUT, CLIENT.0, PAGE, 9),
            memref(attr::VALUE_INPUT, CLIENT.0, PAGE, 9),
            memref(attr::TMEM_INOUT, 0, PAGE, 9),
            memref(attr::TMEM_INOUT, CLIENT.0, 0, 9),
            memref(attr::TMEM_INOUT, CLIENT.0, PAGE, 0),
        ] {
            let refused = send(cmd::REGISTER_SHM, &[bad]);
            assert_eq!(refused, TeeResult::BAD_PARAMETERS, "{bad:x?}");
        }
        assert_eq!(send(cmd::REGISTER_SHM, &[good]), TeeResult::SUCCESS);
        for kind in [attr::TMEM_INPUT, attr::VALUE_INPUT, attr::NONE] {
            let refused = send(cmd::UNREGISTER_SHM, &[memref(kind, 0, 0, 9)]);
            assert_eq!(refused, TeeResult::BAD_PARAMETERS, "{kind:#x}");
        }
        for command in [cmd::REGISTER_SHM, cmd::UNREGISTER_SHM] {
            let named = memref(attr::RMEM_INPUT, 0, 0, 9);
            assert_eq!(send(command, &[]), TeeResult::BAD_PARAMETERS);
            assert_eq!(send(command, &[named; 2]), TeeResult::BAD_PARAMETERS);
        }
        assert_eq!(unregister(world, 9), TeeResult::SUCCESS);
    });
}

#[test]
fn only_the_first_copy_of_a_message_counts() {
    leaves_nothing(|world| {
        let echo = world.opened(ECHO);
        // Every read of a message is followed by a change of what was read.
        world
            .kernel
            .machine
            .set_read_hook(Some(Arc::new(|machine, pa, len| {
                if pa.0 < CLIENT.0 && (8..=128).contains(&len) {
                    machine.set_read_hook(None);
                    assert!(machine.write_normal(pa, &[0xff; 8]));
                }
            })));
        let params = [
            value(attr::VALUE_INPUT, 1, 2),
            value(attr::VALUE_OUTPUT, 0, 0),
        ];
        let reply = world.invoke(echo, 0, &params);
        assert_eq!((reply.code, reply.result), (ret::OK, TeeResult::SUCCESS));
        assert_eq!((reply.params[1].a, reply.params[1].b), (2, 1));
        world.kernel.machine.set_read_hook(None);
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
    });
}

#[test]
fn a_list_that_changes_after_it_was_read_changes_nothing() {
    leaves_nothing(|world| {
        list_at(world, CLIENT.0, 1, 2);
        world
            .kernel
            .machine
            .set_read_hook(Some(Arc::new(|machine, pa, _| {
                if pa == CLIENT {
                    machine.set_read_hook(None);
                    assert!(machine.write_normal(pa, SECURE_BASE.0.as_bytes()));
                }
            })));
        assert_eq!(register(world, CLIENT.0, 2 * PAGE, 9), TeeResult::SUCCESS);
        world.kernel.machine.set_read_hook(None);
        let echo = world.opened(ECHO);
        world.write(PhysAddr(CLIENT.0 + 2 * PAGE), b"kept");
        let reply = world.invoke(
            echo,
            1,
            &[
                memref(attr::RMEM_INPUT, 0, 4, 9),
                memref(attr::TMEM_OUTPUT, CLIENT.0 + 5 * PAGE, 4, 0),
            ],
        );
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!(world.read(PhysAddr(CLIENT.0 + 5 * PAGE), 4), b"kept");
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
        assert_eq!(unregister(world, 9), TeeResult::SUCCESS);
    });
}

#[cfg(not(miri))]
#[test]
fn shared_memory_in_use_stays_registered() {
    leaves_nothing(|world| {
        list_at(world, CLIENT.0, 1, 1);
        assert_eq!(register(world, CLIENT.0, PAGE, 9), TeeResult::SUCCESS);
        let session = world.opened(MULTI);
        world.ta(|_| tally_mem::machine::Trap::ForeignInterrupt);
        world.on(crate::testing::world::Event::Interrupt, |world| {
            assert_eq!(unregister(world, 9), TeeResult::BUSY);
        });
        let reply = world.invoke(session, 0, &[memref(attr::RMEM_INOUT, 8, 16, 9)]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!(unregister(world, 9), TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn parameters_of_the_wrong_kind_are_refused_and_let_go() {
    leaves_nothing(|world| {
        let echo = world.opened(ECHO);
        let good = memref(attr::TMEM_INPUT, CLIENT.0, 16, 0);
        for bad in [
            value(4, 0, 0),
            value(8, 0, 0),
            value(0xff, 0, 0),
            value(attr::VALUE_INPUT | attr::META, 0, 0),
            value(attr::VALUE_INPUT | 1 << 63, 0, 0),
            value(attr::VALUE_INPUT | attr::NONCONTIG, 0, 0),
            value(attr::NONCONTIG, 0, 0),
            memref(attr::RMEM_INPUT | attr::NONCONTIG, 0, 16, 0),
            memref(attr::TMEM_INPUT | attr::NONCONTIG, CLIENT.0, u64::MAX, 0),
            memref(attr::TMEM_INPUT, SECURE_BASE.0, 16, 0),
            memref(attr::TMEM_INPUT, u64::MAX, 16, 0),
            memref(attr::TMEM_INPUT, CLIENT.0, u64::MAX, 0),
            memref(attr::RMEM_INPUT, 0, 16, 1234),
        ] {
            let reply = world.invoke(echo, 3, &[good, bad]);
            assert_eq!(reply.result, TeeResult::BAD_PARAMETERS, "{bad:x?}");
        }
        let five = [MsgParam::default(); 5];
        assert_eq!(
            world.invoke(echo, 3, &five).result,
            TeeResult::BAD_PARAMETERS
        );
        assert_eq!(world.invoke(echo, 99, &[]).result, TeeResult::NOT_SUPPORTED);
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
        let reply = world.send(header(cmd::OPEN_SESSION, 0, 0), &[good]);
        assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
    });
}

#[test]
fn a_pseudo_ta_reads_what_it_may_and_reports_what_it_needs() {
    leaves_nothing(|world| {
        let echo = world.opened(ECHO);
        world.write(CLIENT, b"abcdefgh");
        let short = [
            memref(attr::TMEM_INPUT, CLIENT.0, 8, 0),
            memref(attr::TMEM_OUTPUT, CLIENT.0 + 16, 4, 0),
        ];
        let reply = world.invoke(echo, 1, &short);
        assert_eq!(reply.result, TeeResult::SHORT_BUFFER);
        assert_eq!(reply.params[1].b, 8);
        let null = [short[0], memref(attr::TMEM_OUTPUT, 0, 0, 0)];
        assert_eq!(world.invoke(echo, 1, &null).params[1].b, 8);
        // Not an input; beyond its end.
        let reply = world.invoke(echo, 1, &[short[1], short[1]]);
        assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
        let reply = world.invoke(echo, 3, &short[..1]);
        assert_eq!(reply.result, TeeResult::BAD_PARAMETERS);
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
    });
}

#[test]
fn a_call_without_rpc_argument_gets_one_and_gives_it_back() {
    leaves_nothing(|world| {
        let echo = world.opened(ECHO);
        let message = header(cmd::INVOKE_COMMAND, echo, 4);
        let reply = world.send_as(FunctionId::CALL_WITH_ARG, message, &[]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        // Refused, it is an error, and nothing is freed that was not there.
        world.fail_event(Some(0));
        let reply = world.send_as(FunctionId::CALL_WITH_ARG, message, &[]);
        assert_eq!(reply.result, TeeResult::OUT_OF_MEMORY);
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
    });
}

#[cfg(not(miri))]
#[test]
fn sessions_run_out_and_come_back() {
    leaves_nothing(|world| {
        let ids: Vec<u32> = (0..Share::SESSIONS.clients + Share::SESSIONS.kept)
            .map(|_| world.opened(ECHO))
            .collect();
        for uuid in [ECHO, MULTI, KEPT] {
            assert_eq!(world.open(uuid, &[]).result, TeeResult::OUT_OF_MEMORY);
        }
        for id in ids {
            assert_eq!(world.close(id), TeeResult::SUCCESS);
        }
        // The kept one was loaded for nothing, and does not stay.
        assert_eq!(super::ta::kills(world, KEPT), 0);
    });
}
