//! Parameters, heaps and what TAs see of the world.

use super::*;
use crate::guest_id::GuestId;
use crate::testing::world::{CLIENT, Run, header, memref, value};
use tally_abi::msg::{MsgParam, attr, cmd};
use tally_abi::ta::{param_type, propset, svc, time_category};
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::machine::Trap;
use zerocopy::IntoBytes;

/// Has the TA make one system call whose arguments `args` chooses, and return its result.
pub(super) fn calls(
    world: &World,
    number: u64,
    args: impl FnOnce(&mut Run<'_>) -> Vec<u64> + Send + 'static,
) {
    world.ta(move |run| {
        let args = args(run);
        run.call(number, &args)
    });
    world.ta(|run| {
        let result = run.result();
        run.exit(result)
    });
}

/// As [`calls`], with the session's answer.
pub(super) fn result_of(
    world: &World,
    session: u32,
    number: u64,
    args: impl FnOnce(&mut Run<'_>) -> Vec<u64> + Send + 'static,
) -> TeeResult {
    calls(world, number, args);
    world.invoke(session, 0, &[]).result
}

#[test]
fn parameters_of_every_kind_go_in_and_out() {
    with_session(|world, session| {
        world.write(PhysAddr(CLIENT.0 + 4090), b"0123456789");
        world.ta(|run| {
            let params = run.params();
            let types = [
                param_type::VALUE_INPUT,
                param_type::VALUE_OUTPUT,
                param_type::MEMREF_INOUT,
                param_type::MEMREF_OUTPUT,
            ];
            assert_eq!(params.types, u64::from(param_type::pack(types)));
            assert_eq!(params.vals[..4], [1, 2, 0, 0]);
            assert_eq!((params.vals[5], params.vals[7]), (10, 4));
            let mut data = [0; 10];
            run.load(params.vals[4], &mut data);
            assert_eq!(&data, b"0123456789");
            run.store(params.vals[4], b"abc");
            run.store(params.vals[6], b"wxyz");
            let at = run.context.x[2];
            run.store(at + 8 + 16, &[0xff; 8]);
            run.store(at + 8 + 24, &9_u64.to_le_bytes());
            run.store(at + 8 + 40, &3_u64.to_le_bytes());
            run.store(at + 8 + 56, &5_u64.to_le_bytes());
            run.exit(TeeResult::SHORT_BUFFER)
        });
        let reply = world.invoke(
            session,
            0,
            &[
                value(attr::VALUE_INPUT, 1, 2),
                value(attr::VALUE_OUTPUT, 3, 4),
                memref(attr::TMEM_INOUT, CLIENT.0 + 4090, 10, 0),
                memref(attr::TMEM_OUTPUT, CLIENT.0 + 100, 4, 0),
            ],
        );
        assert_eq!(reply.result, TeeResult::SHORT_BUFFER);
        assert_eq!((reply.params[1].a, reply.params[1].b), (0xffff_ffff, 9));
        assert_eq!((reply.params[2].b, reply.params[3].b), (3, 5));
        assert_eq!(world.read(PhysAddr(CLIENT.0 + 4090), 4), b"abc3");
        assert_eq!(world.read(PhysAddr(CLIENT.0 + 100), 4), b"wxyz");
    });
}

#[test]
fn an_input_cannot_be_written_and_is_gone_after_the_call() {
    with_session(|world, session| {
        world.ta(|run| {
            let at = run.params().vals[0];
            let machine = &run.world.kernel.machine;
            let abort = machine.user_store(run.root, at, &[1]).unwrap_err();
            assert!(!abort.translation);
            run.exit(TeeResult(at as u32))
        });
        let input: [MsgParam; 1] = [memref(attr::TMEM_INPUT, CLIENT.0, 16, 0)];
        let at = world.invoke(session, 0, &input).result;
        world.ta(move |run| {
            let state = run.world.kernel.state();
            let (_, found) = state.guest(GuestId::FIRST).instances.iter().next().unwrap();
            let regions = found.space.as_ref().unwrap().regions();
            assert!(regions.iter().all(|region| region.va().0 as u32 != at.0));
            drop(state);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    });
}

#[test]
fn memory_passed_between_tas_is_copied_in_and_out() {
    with_session(|world, session| {
        world.ta(|run| {
            let (uuid, out) = (run.stack(0), run.stack(16));
            run.store(uuid, SHARED.as_bytes());
            run.store(out, &[0; 8]);
            run.call(svc::OPEN_TA_SESSION, &[uuid, 0, 0, out, out + 4])
        });
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        world.ta(|run| {
            let (out, params, data) = (run.stack(16), run.stack(64), run.stack(256));
            let types = param_type::pack([
                param_type::MEMREF_INOUT,
                param_type::MEMREF_OUTPUT,
                param_type::VALUE_INOUT,
                param_type::NONE,
            ]);
            let words = [u64::from(types), data, 600, data + 600, 8, 7, 8, 0, 0];
            run.store(params, words.as_bytes());
            run.store(data, &[0x33; 608]);
            run.store(data + 608, &[0x66; 8]);
            let id = u64::from(run.load_u32(out));
            run.call(svc::INVOKE_TA_COMMAND, &[id, 0, 5, params, out + 4])
        });
        world.ta(|run| {
            let params = run.params();
            assert_eq!((run.context.x[3], params.vals[1]), (5, 600));
            let mut data = [0; 600];
            run.load(params.vals[0], &mut data);
            assert_eq!(data, [0x33; 600]);
            assert_eq!(run.load_u64(params.vals[0] + 600), 0);
            run.store(params.vals[0], &[0x44; 600]);
            // An output begins as zeros, whatever the caller has there.
            assert_eq!(run.load_u64(params.vals[2]), 0);
            run.store(params.vals[2], &[0x55; 8]);
            let at = run.context.x[2];
            run.store(at + 16, &1_u64.to_le_bytes());
            // More than there is room for: only what there is room for is copied.
            run.store(at + 32, &4096_u64.to_le_bytes());
            run.store(at + 40, &70_u64.to_le_bytes());
            run.exit(TeeResult::SUCCESS)
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::SUCCESS);
            let (params, data) = (run.stack(64), run.stack(256));
            assert_eq!(run.load_u64(params + 16), 1);
            assert_eq!(run.load_u64(params + 32), 4096);
            assert_eq!(run.load_u64(params + 40), 70);
            assert_eq!(run.load_u64(data), 0x3333_3333_3333_3344);
            assert_eq!(run.load_u64(data + 600), 0x5555_5555_5555_5555);
            assert_eq!(run.load_u64(data + 608), 0x6666_6666_6666_6666);
            run.exit(TeeResult::SUCCESS)
        });
        // Its session goes with its own, which enters the other TA once more.
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    });
}

#[test]
fn a_ta_cannot_pass_on_what_it_cannot_touch() {
    with_session(|world, session| {
        for (at, len) in [
            (0x1000, 8),
            (u64::MAX - 4, 8),
            (0x10_0000_0000, u64::MAX),
            (1, 0xffff_ffff),
        ] {
            let result = result_of(world, session, svc::OPEN_TA_SESSION, move |run| {
                let (uuid, out, params) = (run.stack(0), run.stack(16), run.stack(64));
                run.store(uuid, ECHO.as_bytes());
                let words = [
                    u64::from(param_type::MEMREF_INPUT),
                    at,
                    len,
                    0,
                    0,
                    0,
                    0,
                    0,
                    0,
                ];
                run.store(params, words.as_bytes());
                vec![uuid, 0, params, out, out + 4]
            });
            assert_eq!(result, TeeResult::ACCESS_DENIED, "{at:#x} {len:#x}");
        }
        // Types of more parameters than there are would be passed on, and those that are none.
        for types in [1 << 16, 1 << 32, u64::MAX, 4, 8, 0xd, 0xf000] {
            let result = result_of(world, session, svc::OPEN_TA_SESSION, move |run| {
                let (uuid, out, params) = (run.stack(0), run.stack(16), run.stack(64));
                run.store(uuid, ECHO.as_bytes());
                run.store(params, [types, 0, 0, 0, 0, 0, 0, 0, 0].as_bytes());
                vec![uuid, 0, params, out, out + 4]
            });
            assert_eq!(result, TeeResult::BAD_PARAMETERS, "{types:#x}");
        }
    });
}

#[test]
fn bad_pointers_cost_a_code_in_every_system_call() {
    with_session(|world, session| {
        for bad in [
            0,
            8,
            u64::MAX,
            u64::MAX - 7,
            0x10_0000_0000,
            0x70_0000_0000 - 1,
        ] {
            for number in (1..=70).chain([svc::tally::HEAP_RESERVE, svc::tally::HEAP_GROW]) {
                if number == svc::PANIC || number == svc::WAIT {
                    continue;
                }
                for len in [1, 4096, u64::MAX] {
                    let result = result_of(world, session, number, move |_| {
                        vec![bad, bad, len, bad, bad, bad, bad]
                    });
                    assert_ne!(result, TeeResult::TARGET_DEAD, "{number} {bad:#x}");
                }
            }
        }
    });
}

#[test]
fn random_bytes_come_all_or_none() {
    with_session(|world, session| {
        // From the stack's start to one byte beyond its end.
        world.ta(|run| {
            let at = run.stack(0);
            run.store(at, &[0; 2048]);
            run.context.x[22] = at;
            let len = 4096;
            run.call(svc::RANDOM, &[at, len])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::ACCESS_DENIED);
            let at = run.context.x[22];
            let mut data = [0; 2048];
            run.load(at, &mut data);
            assert_eq!(data, [0; 2048]);
            run.call(svc::RANDOM, &[at, 600])
        });
        world.ta(|run| {
            let at = run.context.x[22];
            let mut data = [0; 608];
            run.load(at, &mut data);
            assert!(data[..600].chunks(8).all(|chunk| chunk != [0; 8]));
            assert_eq!(data[600..], [0; 8]);
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    });
}

#[test]
fn a_heap_is_reserved_once_and_grows_to_its_limit() {
    // Bug: reserving a second time said OUT_OF_MEMORY instead of BAD_STATE.
    with_session(|world, session| {
        let reserve = |bytes: u64| {
            result_of(world, session, svc::tally::HEAP_RESERVE, move |run| {
                vec![bytes, run.stack(0)]
            })
        };
        let grow = |bytes: u64| {
            result_of(world, session, svc::tally::HEAP_GROW, move |_| {
                vec![bytes, 0]
            })
        };
        assert_eq!(grow(1), TeeResult::BAD_STATE);
        assert_eq!(reserve(0), TeeResult::BAD_PARAMETERS);
        assert_eq!(reserve(u64::MAX), TeeResult::BAD_PARAMETERS);
        assert_eq!(reserve(1 << 30), TeeResult::OUT_OF_MEMORY);
        assert_eq!(reserve(1 << 20), TeeResult::SUCCESS);
        assert_eq!(reserve(1 << 20), TeeResult::BAD_STATE);
        assert_eq!(grow(5000), TeeResult::SUCCESS);
        assert_eq!(grow(100), TeeResult::SUCCESS);
        for more in [(1 << 20) + 1, u64::MAX, u64::MAX - 4095] {
            assert_eq!(grow(more), TeeResult::OUT_OF_MEMORY);
        }
        // All of secure RAM is not enough for this.
        let before = world.accounts();
        assert_eq!(grow(1 << 20), TeeResult::OUT_OF_MEMORY);
        same(world, &before);
    });
}

#[test]
fn instances_of_a_ta_have_one_quota_as_it_is_at_the_time() {
    leaves_nothing(|world| {
        let quota = |pages| {
            world
                .kernel
                .state()
                .guest_mut(GuestId::FIRST)
                .ta_quota_pages = pages
        };
        quota(64);
        let (first, second) = (world.opened(MULTI), world.opened(MULTI));
        let step = PAGE_SIZE as u64;
        for session in [first, second] {
            let reserved = result_of(world, session, svc::tally::HEAP_RESERVE, move |run| {
                vec![60 * step, run.stack(0)]
            });
            assert_eq!(reserved, TeeResult::SUCCESS);
        }
        let grow = |session, pages| {
            result_of(world, session, svc::tally::HEAP_GROW, move |_| {
                vec![pages * step, 0]
            })
        };
        let grown = (1..=60).take_while(|n| grow(first, *n) == TeeResult::SUCCESS);
        assert!((8..60).contains(&grown.count()), "pages that it grew by");
        assert_eq!(grow(second, 1), TeeResult::OUT_OF_MEMORY);
        assert_eq!(world.close(first), TeeResult::SUCCESS);
        assert_eq!(grow(second, 8), TeeResult::SUCCESS);
        assert_eq!(world.close(second), TeeResult::SUCCESS);
        quota(crate::guest::DEFAULT_TA_QUOTA_PAGES);
    });
}

#[test]
fn times_are_of_boot_of_the_normal_world_and_of_the_ta() {
    with_session(|world, session| {
        world.kernel.machine.advance(12_345_678);
        let time = |category: u64| {
            calls(world, svc::GET_TIME, move |run| {
                run.context.x[22] = run.stack(0);
                vec![category, run.stack(0)]
            });
            world.invoke(session, 0, &[]).result
        };
        assert_eq!(time(time_category::SYSTEM), TeeResult::SUCCESS);
        assert_eq!(time(time_category::REE), TeeResult::SUCCESS);
        assert_eq!(time(time_category::TA_PERSISTENT), TeeResult::TIME_NOT_SET);
        assert_eq!(time(9), TeeResult::BAD_PARAMETERS);
        for (millis, wanted) in [(1000, TeeResult::BAD_PARAMETERS), (999, TeeResult::SUCCESS)] {
            let result = result_of(world, session, svc::SET_TA_TIME, move |run| {
                let at = run.stack(0);
                run.store(at, [50_000_u32, millis].as_bytes());
                vec![at]
            });
            assert_eq!(result, wanted);
        }
        world.kernel.machine.advance(2_000_000);
        world.ta(|run| {
            let at = run.stack(0);
            run.call(svc::GET_TIME, &[time_category::TA_PERSISTENT, at])
        });
        world.ta(|run| {
            let at = run.stack(0);
            assert_eq!((run.load_u32(at), run.load_u32(at + 4)), (50_002, 999));
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        // Bug: a time beyond 32 bits of seconds was cut without a word.
        let result = result_of(world, session, svc::SET_TA_TIME, move |run| {
            let at = run.stack(0);
            run.store(at, [u32::MAX, 999].as_bytes());
            vec![at]
        });
        assert_eq!(result, TeeResult::SUCCESS);
        world.kernel.machine.advance(2_000_000);
        world.ta(|run| {
            let at = run.stack(0);
            run.call(svc::GET_TIME, &[time_category::TA_PERSISTENT, at])
        });
        world.ta(|run| {
            assert_eq!(run.result(), TeeResult::OVERFLOW);
            let at = run.stack(0);
            assert_eq!((run.load_u32(at), run.load_u32(at + 4)), (1, 999));
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    });
}

#[test]
fn properties_are_found_by_index_and_by_name() {
    with_session(|world, session| {
        for (set, index, wanted) in [
            (propset::CURRENT_CLIENT, 0, TeeResult::SUCCESS),
            (propset::CURRENT_CLIENT, 1, TeeResult::SUCCESS),
            (propset::CURRENT_CLIENT, 2, TeeResult::ITEM_NOT_FOUND),
            (propset::CURRENT_TA, 0, TeeResult::SUCCESS),
            (propset::CURRENT_TA, 1, TeeResult::ITEM_NOT_FOUND),
            (propset::TEE_IMPLEMENTATION, 15, TeeResult::SUCCESS),
            (propset::TEE_IMPLEMENTATION, 16, TeeResult::ITEM_NOT_FOUND),
            (
                propset::TEE_IMPLEMENTATION,
                u64::MAX,
                TeeResult::ITEM_NOT_FOUND,
            ),
            (7, 0, TeeResult::ITEM_NOT_FOUND),
        ] {
            let result = result_of(world, session, svc::GET_PROPERTY, move |run| {
                let (name, len) = (run.stack(0), run.stack(64));
                run.store(len, [64_u32, 64].as_bytes());
                vec![set, index, name, len, name + 128, len + 4, name + 256]
            });
            assert_eq!(result, wanted);
        }
        let result = result_of(world, session, svc::GET_PROPERTY, |run| {
            let (name, len) = (run.stack(0), run.stack(64));
            run.store(len, [64_u32, 19].as_bytes());
            vec![
                propset::CURRENT_CLIENT,
                0,
                name,
                len,
                name + 128,
                len + 4,
                0,
            ]
        });
        assert_eq!(result, TeeResult::SHORT_BUFFER);
        for (name, wanted) in [
            (&b"gpd.client.identity\0"[..], TeeResult::SUCCESS),
            (&b"gpd.client.identity\0beyond"[..], TeeResult::SUCCESS),
            (&b"gpd.client.identity"[..], TeeResult::ITEM_NOT_FOUND),
            (&b""[..], TeeResult::BAD_PARAMETERS),
            (&[b'x'; 65][..], TeeResult::ITEM_NOT_FOUND),
        ] {
            let result = result_of(
                world,
                session,
                svc::GET_PROPERTY_NAME_TO_INDEX,
                move |run| {
                    let at = run.stack(0);
                    run.store(at, name);
                    vec![
                        propset::CURRENT_CLIENT,
                        at,
                        name.len() as u64,
                        run.stack(512),
                    ]
                },
            );
            assert_eq!(result, wanted);
        }
    });
}

#[test]
fn a_log_is_cut_and_may_be_any_bytes() {
    with_session(|world, session| {
        for len in [0, 1, 600] {
            let result = result_of(world, session, svc::LOG, move |run| {
                let at = run.stack(0);
                run.store(at, &[0xe2; 600]);
                vec![at, len]
            });
            assert_eq!(result, TeeResult::SUCCESS);
        }
        world.ta(|run| run.call(svc::LOG, &[0, 0]));
        world.ta(|_| Trap::Fault { esr: 0 });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::TARGET_DEAD);
    });
}

/// Pages of a reference that is mapped in several steps.
const MANY: u64 = 1300;
/// Pages of the client that its page list names, over and over.
const NAMED: u64 = 50;

/// A list of [`MANY`] pages, each of which begins with its number modulo [`NAMED`]; where it is.
fn long_list(world: &World) -> u64 {
    const PAGE: u64 = PAGE_SIZE as u64;
    for n in 0..NAMED {
        world.write(PhysAddr(CLIENT.0 + n * PAGE), &[n as u8]);
    }
    super::args::list(world, NAMED, MANY, |n| CLIENT.0 + n % NAMED * PAGE)
}

#[test]
fn much_memory_is_taken_in_and_mapped_in_steps() {
    // Bug: 64 MiB took millions of instructions with the state locked and interrupts masked.
    const PAGE: u64 = PAGE_SIZE as u64;
    with_session(|world, session| {
        let list = long_list(world);
        let windows = || world.kernel.machine.interruptible_calls();
        let looks = |first: u64, pages: u64| {
            world.ta(move |run| {
                let va = run.params().vals[0];
                for page in [0, 1, 511, 512, 513, pages - 1].map(|n| n.min(pages - 1)) {
                    let mut byte = [0xff];
                    run.load((va & !(PAGE - 1)) + page * PAGE, &mut byte);
                    assert_eq!(u64::from(byte[0]), (first + page) % NAMED, "page {page}");
                }
                run.exit(TeeResult::SUCCESS)
            });
        };
        let before = windows();
        looks(0, MANY);
        let lent = memref(attr::TMEM_INPUT | attr::NONCONTIG, list, MANY * PAGE, 0);
        let reply = world.invoke(session, 0, &[lent]);
        assert_eq!((reply.code, reply.result), (0, TeeResult::SUCCESS));
        assert!(windows() >= before + 3, "interrupts have their turn");

        let cookie = 0x77;
        let whole = memref(
            attr::TMEM_INOUT | attr::NONCONTIG,
            list + 100,
            MANY * PAGE - 200,
            cookie,
        );
        let registered = world.send(header(cmd::REGISTER_SHM, 0, 0), &[whole]);
        assert_eq!(registered.result, TeeResult::SUCCESS);
        // From the middle of the eighth page on, 600 pages and a bit.
        looks(7, 601);
        let part = memref(attr::RMEM_INOUT, 7 * PAGE + 1000, 600 * PAGE, cookie);
        assert_eq!(world.invoke(session, 0, &[part]).result, TeeResult::SUCCESS);
        let param = memref(attr::RMEM_INOUT, 0, 0, cookie);
        let gone = world.send(header(cmd::UNREGISTER_SHM, 0, 0), &[param]);
        assert_eq!(gone.result, TeeResult::SUCCESS);
    });
}

#[test]
fn a_long_page_list_alone_is_taken_in_beforehand_and_once() {
    const LARGE: u64 = MANY * PAGE_SIZE as u64;
    leaves_nothing(|world| {
        let echo = world.opened(ECHO);
        let list = long_list(world);
        let windows = |params: &[MsgParam]| {
            let before = world.kernel.machine.interruptible_calls();
            // A command that there is not: nothing but the taking in opens a window.
            let reply = world.invoke(echo, 99, params);
            let opened = world.kernel.machine.interruptible_calls() - before;
            (reply.result, opened)
        };
        let lent = |kind, at, len| memref(kind, at, len, 0);
        let paged = attr::TMEM_INPUT | attr::NONCONTIG;
        let taken = TeeResult::NOT_SUPPORTED;
        let refused = TeeResult::BAD_PARAMETERS;
        for (params, wanted) in [
            (vec![lent(paged, list, LARGE)], (taken, 1)),
            (
                vec![lent(attr::TMEM_INOUT | attr::NONCONTIG, list, LARGE); 2],
                (taken, 2),
            ),
            // Little of it, and a null reference.
            (vec![lent(paged, list, 100)], (taken, 0)),
            (vec![lent(paged, 0, LARGE)], (taken, 0)),
            // Not as a list: so much memory does not lie in a row here.
            (vec![lent(attr::TMEM_INPUT, list, LARGE)], (refused, 0)),
            // What is not lent has no list.
            (
                vec![lent(attr::VALUE_INOUT | attr::NONCONTIG, list, LARGE)],
                (refused, 0),
            ),
            (
                vec![lent(attr::RMEM_INOUT | attr::NONCONTIG, list, LARGE)],
                (refused, 0),
            ),
            (vec![lent(0xc | attr::NONCONTIG, list, LARGE)], (refused, 0)),
        ] {
            assert_eq!(windows(&params), wanted, "{params:x?}");
        }
        // What the normal world makes of a list after it was read changes nothing.
        let copy = list + 3 * PAGE_SIZE as u64;
        world.write(PhysAddr(copy), &world.read(PhysAddr(list), PAGE_SIZE));
        world.at_interrupt(1, move |world| {
            world.write(PhysAddr(copy), &[0xff; PAGE_SIZE])
        });
        let both = [lent(paged, copy, LARGE), lent(paged, list, LARGE)];
        assert_eq!(windows(&both), (taken, 2));
        assert!(!world.forget_interrupt());
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
    });
}

#[test]
fn whichever_page_is_refused_nothing_large_stays_mapped() {
    with_session(|world, session| {
        let list = long_list(world);
        let len = MANY * PAGE_SIZE as u64;
        let lent = memref(attr::TMEM_INPUT | attr::NONCONTIG, list, len, 0);
        for n in 0..40 {
            world.kernel.state().pages.fail_nth(Some(n));
            let before = world.accounts();
            let reply = world.invoke(session, 0, &[lent, lent]);
            let pending = world.kernel.state().pages.failure_pending();
            world.kernel.state().pages.fail_nth(None);
            same(world, &before);
            assert_eq!(reply.result == TeeResult::SUCCESS, pending, "page {n}");
            if pending {
                assert!(n > 4, "few requests for pages");
                return;
            }
        }
        panic!("no end of requests for pages");
    });
}
