//! System calls of TAs: rights to memory, caches, lines, cancellation.

use super::memory::result_of;
use super::*;
use crate::testing::logged::lines;
use crate::testing::world::{CLIENT, Run, memref};
use log::LevelFilter;
use tally_abi::msg::attr;
use tally_abi::ta::access::{ANY_OWNER, READ, WRITE};
use tally_abi::ta::svc;
use zerocopy::IntoBytes;

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

/// Has a TA that has a session to another make a call with a pointer that is none: nobody else is entered.
fn enters_nobody(call: u64, args: impl Fn(&mut Run<'_>, u64) -> [u64; 5] + Send + Copy + 'static) {
    with_session(|world, session| {
        let inner = Arc::default();
        super::ta::ta_opens(world, SHARED, &inner);
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        let id = u64::from(inner.load(std::sync::atomic::Ordering::Relaxed));
        let before = world.accounts();
        let result = result_of(world, session, call, move |run| args(run, id).to_vec());
        assert_eq!(result, DENIED);
        same(world, &before);
    });
}

#[test]
fn nobody_is_entered_before_all_that_comes_of_it_has_somewhere_to_go() {
    use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, VALUE_OUTPUT, pack};
    let uuid = |run: &mut Run<'_>| {
        let at = run.stack(0);
        run.store(at, KEPT.as_bytes());
        at
    };
    let params = |run: &mut Run<'_>, kind: u32, place: u64| {
        let at = run.stack(64);
        let words = [
            u64::from(pack([kind, 0, 0, 0])),
            place,
            16,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        run.store(at, words.as_bytes());
        at
    };
    let (open, invoke) = (svc::OPEN_TA_SESSION, svc::INVOKE_TA_COMMAND);
    enters_nobody(open, move |run, _| {
        [uuid(run), 0, 0, run.context.pc, run.stack(32)]
    });
    enters_nobody(open, move |run, _| {
        [uuid(run), 0, 0, run.stack(16), run.context.pc]
    });
    enters_nobody(open, move |_, _| [0; 5]);
    enters_nobody(invoke, move |run, id| [id, 0, 0, 0, run.context.pc]);
    enters_nobody(invoke, move |run, id| {
        let code = run.context.pc;
        [id, 0, 0, params(run, MEMREF_OUTPUT, code), run.stack(32)]
    });
    enters_nobody(invoke, move |run, id| {
        [id, 0, 0, params(run, MEMREF_INPUT, 8), run.stack(32)]
    });
    // Parameters in what can be read only, of which a value comes out.
    enters_nobody(invoke, move |run, id| {
        // The model's code begins with the type of one value that comes out.
        let code = run.context.pc & !0xfff;
        let mut types = [0; 4];
        run.load(code, &mut types);
        assert_eq!(u32::from_le_bytes(types), pack([VALUE_OUTPUT, 0, 0, 0]));
        [id, 0, 0, code, run.stack(32)]
    });
}

#[test]
fn a_property_is_told_where_there_is_room_for_all_of_it_and_its_length_otherwise() {
    use tally_abi::ta::propset::CURRENT_CLIENT;
    const IDENTITY: u32 = 20;
    with_session(|world, session| {
        for (has_value, room, told, len) in [
            (true, IDENTITY, GOOD, IDENTITY),
            (true, 100, GOOD, IDENTITY),
            (true, IDENTITY - 1, TeeResult::SHORT_BUFFER, IDENTITY),
            // Nobody wants it.
            (false, 7, GOOD, 7),
        ] {
            world.ta(move |run| {
                let [value, len] = [0, 64].map(|n| run.stack(n));
                run.store(value, &[0xee; 24]);
                run.store(len, room.as_bytes());
                let value = if has_value { value } else { 0 };
                run.call(svc::GET_PROPERTY, &[CURRENT_CLIENT, 0, 0, 0, value, len, 0])
            });
            world.ta(move |run| {
                assert_eq!(run.result(), told, "{room}");
                assert_eq!(run.load_u32(run.stack(64)), len, "{room}");
                let mut bytes = [0; 24];
                run.load(run.stack(0), &mut bytes);
                let written = bytes.iter().filter(|byte| **byte != 0xee).count();
                let is_written = has_value && told == GOOD;
                assert_eq!(written, if is_written { 20 } else { 0 }, "{room}");
                run.exit(TeeResult::SUCCESS)
            });
            assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        }
    });
}
