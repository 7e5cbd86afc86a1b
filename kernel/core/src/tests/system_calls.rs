//! System calls of TAs: rights to memory, caches, lines, cancellation.

use super::memory::result_of;
use super::*;
use crate::testing::logged::lines;
use crate::testing::world::{CLIENT, Run, memref};
use log::LevelFilter;
use tally_abi::msg::attr;
use tally_abi::ta::access::{ANY_OWNER, READ, WRITE};
use tally_abi::ta::svc;

const GOOD: TeeResult = TeeResult::SUCCESS;
const DENIED: TeeResult = TeeResult::ACCESS_DENIED;

#[test]
fn rights_are_those_of_the_ta_and_shared_memory_is_nobodys_own() {
    type Place = fn(&mut Run<'_>) -> u64;
    let places: [(&str, Place); 4] = [
        ("stack", |run| run.stack(0)),
        ("code", |run| run.context.pc),
        ("nothing", |_| 0),
        ("shared", |run| run.params().vals[0]),
    ];
    with_session(|world, session| {
        for (wanted, told) in [
            (READ, [GOOD, GOOD, DENIED, DENIED]),
            (WRITE, [GOOD, DENIED, DENIED, DENIED]),
            (READ | WRITE, [GOOD, DENIED, DENIED, DENIED]),
            (READ | ANY_OWNER, [GOOD, GOOD, DENIED, GOOD]),
            (WRITE | ANY_OWNER, [GOOD, DENIED, DENIED, DENIED]),
            (ANY_OWNER, [GOOD; 4]),
            (0, [GOOD, GOOD, GOOD, DENIED]),
        ] {
            for ((name, place), told) in places.into_iter().zip(told) {
                let call = svc::CHECK_ACCESS_RIGHTS;
                super::memory::calls(world, call, move |run| vec![wanted.into(), place(run), 16]);
                let shared = [memref(attr::TMEM_INPUT, CLIENT.0, 16, 0)];
                let result = world.invoke(session, 0, &shared).result;
                assert_eq!(result, told, "{name} {wanted:#x}");
            }
        }
    });
}

#[test]
fn caches_are_maintained_for_those_that_say_so_of_what_they_may_read() {
    leaves_nothing(|world| {
        world.install(
            SINGLE,
            flags::SINGLE_INSTANCE | flags::CACHE_MAINTENANCE,
            300,
        );
        for (ta, readable, elsewhere) in [
            (SINGLE, GOOD, DENIED),
            (MULTI, TeeResult::NOT_SUPPORTED, TeeResult::NOT_SUPPORTED),
        ] {
            let session = world.opened(ta);
            let cleans = |place: fn(&mut Run<'_>) -> u64| {
                let call = svc::CACHE_OPERATION;
                result_of(world, session, call, move |run| vec![place(run), 16, 0])
            };
            assert_eq!(cleans(|run| run.stack(0)), readable);
            assert_eq!(
                cleans(|run| run.context.pc),
                readable,
                "it cannot be written"
            );
            assert_eq!(cleans(|_| 0), elsewhere);
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn what_a_ta_logs_is_on_the_console_wherever_it_may_read_it() {
    with_session(|world, session| {
        world.write(CLIENT, b"I/TA: shared");
        let logs = |place: fn(&mut Run<'_>) -> u64, len: u64, told: TeeResult| {
            super::memory::calls(world, svc::LOG, move |run| vec![place(run), len]);
            let shared = [memref(attr::TMEM_INPUT, CLIENT.0, 16, 0)];
            lines(LevelFilter::Info, || {
                assert_eq!(world.invoke(session, 0, &shared).result, told);
            })
        };
        let own = |run: &mut Run<'_>| {
            let at = run.stack(0);
            run.store(at, b"I/TA: own\nI/TA: more");
            at
        };
        assert_eq!(logs(own, 20, GOOD), ["I/TA: own", "I/TA: more"]);
        assert_eq!(logs(own, 9, GOOD), ["I/TA: own"]);
        assert_eq!(logs(|run| run.params().vals[0], 12, GOOD), ["I/TA: shared"]);
        assert_eq!(logs(|_| 0, 12, DENIED), [""; 0]);
        // Not one byte of what does not end where it may read.
        assert_eq!(logs(own, 1 << 40, DENIED), [""; 0]);
    });
}

#[test]
fn cancellation_is_masked_and_unmasked_and_was_as_it_is_told() {
    with_session(|world, session| {
        for (call, was) in [
            (svc::UNMASK_CANCELLATION, 1),
            (svc::UNMASK_CANCELLATION, 0),
            (svc::MASK_CANCELLATION, 0),
            (svc::MASK_CANCELLATION, 1),
            (svc::UNMASK_CANCELLATION, 1),
        ] {
            world.ta(move |run| {
                let at = run.stack(0);
                run.store(at, &[7; 4]);
                run.call(call, &[at])
            });
            world.ta(move |run| {
                assert_eq!(run.result(), TeeResult::SUCCESS);
                assert_eq!(run.load_u32(run.stack(0)), was);
                // The same operation goes on.
                run.call(svc::WAIT, &[0])
            });
        }
        world.ta(|run| run.exit(TeeResult::SUCCESS));
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
    });
}
