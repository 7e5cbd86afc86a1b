//! Trusted storage where the normal world refuses, lies or ends, where memory is short, and where two want the same.

use super::storage::*;
use super::*;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use crate::testing::caller::Caller;
use crate::testing::world::Event;
use std::sync::Mutex;
use tally_abi::rpc::cmd;
use tally_abi::storage::{data_flag as flag, whence};
use tally_abi::ta::svc;
use tally_mem::machine::ThreadControl;

const NEW: u32 = ALL | flag::OVERWRITE;

/// Something of everything; false if something is refused.
fn round(ta: &Caller<'_>) -> Result<(), TeeResult> {
    let data = [7; 5000];
    let object = create(ta, "a", NEW, &data)?;
    ta.call(svc::STORAGE_OBJ_WRITE, &[object, ta.memory, 3000])
        .ok()?;
    ta.call(svc::STORAGE_OBJ_SEEK, &[object, 0, whence::SET])
        .ok()?;
    assert_eq!(read(ta, object, 5000)?, data);
    ta.call(svc::CRYP_OBJ_RESTRICT_USAGE, &[object, 7]).ok()?;
    let [at, len] = id(ta, "b");
    let renamed = ta.call(svc::STORAGE_OBJ_RENAME, &[object, at, len]);
    if renamed != TeeResult::ACCESS_CONFLICT {
        renamed.ok()?;
    }
    ta.call(svc::STORAGE_OBJ_TRUNC, &[object, 10]).ok()?;
    let listing = ta.handle(svc::STORAGE_ENUM_ALLOC, &[])?;
    ta.call(svc::STORAGE_ENUM_START, &[listing, 1]).ok()?;
    let out = [listing, ta.memory, ta.memory + 0x100, ta.memory + 0x200];
    ta.call(svc::STORAGE_ENUM_NEXT, &out).ok()?;
    ta.call(svc::CRYP_OBJ_CLOSE, &[object]).ok()?;
    let object = match open(ta, "b", ALL) {
        Err(TeeResult::ITEM_NOT_FOUND) => open(ta, "a", ALL)?,
        opened => opened?,
    };
    ta.call(svc::STORAGE_OBJ_DEL, &[object]).ok()
}

#[test]
fn whichever_request_for_files_is_refused_nothing_is_left_in_memory() {
    for code in [
        TeeResult::GENERIC,
        TeeResult::COMMUNICATION,
        TeeResult::BAD_PARAMETERS,
        TeeResult::OUT_OF_MEMORY,
        TeeResult::STORAGE_NO_SPACE,
        TeeResult::ITEM_NOT_FOUND,
    ] {
        leaves_nothing(|world| {
            world.refuse_with(code);
            for n in 0.. {
                let ta = Caller::new(world, MULTI);
                world.fail_event(Some(n));
                let _ = world.take_events();
                let result = round(&ta);
                let pending = world.failure_pending();
                world.fail_event(None);
                ta.close();
                if world.take_events().get(n) == Some(&Event::Alloc) {
                    // Without memory for messages nobody hears that a file is closed.
                    world.restart_supplicant();
                }
                if pending {
                    assert_eq!(result, Ok(()));
                    assert!(n > 50, "few requests: {n}");
                    break;
                }
                // Codes that end no TA which asks for what may go wrong.
                let known = [
                    TeeResult::STORAGE_NOT_AVAILABLE,
                    TeeResult::STORAGE_NO_SPACE,
                    TeeResult::OUT_OF_MEMORY,
                    TeeResult::ITEM_NOT_FOUND,
                    TeeResult::CORRUPT_OBJECT,
                    TeeResult::GENERIC,
                    TeeResult::ACCESS_CONFLICT,
                ];
                if let Err(err) = result {
                    assert!(known.contains(&err), "request {n} {code}: {err}");
                }
            }
        });
    }
}

#[test]
fn a_supplicant_that_never_answers_again_keeps_nothing() {
    leaves_nothing(|world| {
        for n in (0..80).step_by(7) {
            let ta = Caller::new(world, MULTI);
            world.set_patience(Some(n));
            let _ = round(&ta);
            world.set_patience(None);
            ta.close();
            // What was not closed or given back because nobody heard it is the normal world's to know.
            world.restart_supplicant();
            world.forget_lent();
        }
    });
}

#[test]
fn a_supplicant_that_comes_back_finds_everything_as_it_was() {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        let object = create(&ta, "a", ALL, b"data").unwrap();
        for _ in 0..3 {
            world.restart_supplicant();
            ta.expect(
                TeeResult::SUCCESS,
                svc::STORAGE_OBJ_SEEK,
                &[object, 0, whence::SET],
            );
            assert_eq!(read(&ta, object, 9).unwrap(), b"data");
            ta.expect(
                TeeResult::SUCCESS,
                svc::STORAGE_OBJ_WRITE,
                &[object, ta.memory, 1],
            );
            ta.expect(TeeResult::SUCCESS, svc::STORAGE_OBJ_TRUNC, &[object, 4]);
        }
        ta.close();
    });
}

#[test]
fn a_full_disk_costs_a_code_and_no_data() {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        let object = create(&ta, "a", ALL, b"data").unwrap();
        world.limit_files(Some(20_000));
        let full = TeeResult::STORAGE_NO_SPACE;
        assert_eq!(create(&ta, "b", ALL, &[1; 30_000]), Err(full));
        ta.expect(full, svc::STORAGE_OBJ_WRITE, &[object, ta.memory, 30_000]);
        world.limit_files(None);
        assert_eq!(read(&ta, object, 9).unwrap(), b"data");
        assert_eq!(open(&ta, "b", ALL), Err(TeeResult::ITEM_NOT_FOUND));
        ta.close();
    });
}

#[test]
fn a_corrupt_object_goes_and_so_does_its_handle() {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        let spoil = || {
            let names = world.file_names();
            let spoilt = names.iter().filter(|name| *name != "/dirf.db");
            for name in spoilt {
                world.change_file(name, |bytes| bytes.iter_mut().for_each(|byte| *byte ^= 1));
            }
        };
        let corrupt = TeeResult::CORRUPT_OBJECT;
        for number in [
            svc::STORAGE_OBJ_WRITE,
            svc::STORAGE_OBJ_READ,
            svc::STORAGE_OBJ_OPEN,
        ] {
            let object = create(&ta, "a", ALL, &[1; 9000]).unwrap();
            spoil();
            let closed = match number {
                svc::STORAGE_OBJ_WRITE => {
                    ta.expect(corrupt, number, &[object, ta.memory, 9]);
                    TeeResult::BAD_STATE
                }
                svc::STORAGE_OBJ_READ => {
                    assert_eq!(read(&ta, object, 9000), Err(corrupt));
                    TeeResult::BAD_STATE
                }
                _ => {
                    ta.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_CLOSE, &[object]);
                    assert_eq!(open(&ta, "a", ALL), Err(corrupt));
                    TeeResult::BAD_STATE
                }
            };
            ta.expect(closed, svc::CRYP_OBJ_CLOSE, &[object]);
            assert_eq!(open(&ta, "a", ALL), Err(TeeResult::ITEM_NOT_FOUND));
            assert_eq!(world.file_names(), ["/dirf.db"]);
        }
        ta.close();
    });
}

#[test]
fn a_ta_that_is_killed_in_the_middle_leaves_its_object_as_it_was() {
    leaves_nothing(|world| {
        for n in 0..12 {
            let ta = Caller::new(world, MULTI);
            let object = create(&ta, "a", NEW, b"before").unwrap();
            let instance = ta.instance;
            let kill = move |world: &World| {
                if let Some(found) = world.kernel.state().instance_mut(instance) {
                    found.killed = true;
                }
            };
            for _ in 0..n {
                world.on(Event::Command(cmd::FS), |_| {});
            }
            world.on(Event::Command(cmd::FS), kill);
            let _ = ta.call(svc::STORAGE_OBJ_WRITE, &[object, ta.memory + 0x100, 6000]);
            kill(world);
            world.forget_hooks();
            ta.close();
            let ta = Caller::new(world, MULTI);
            let object = open(&ta, "a", ALL).unwrap();
            let data = read(&ta, object, 9000).unwrap();
            assert!(
                data == b"before" || data.len() == 6000,
                "{n}: {}",
                data.len()
            );
            ta.close();
        }
    });
}

#[test]
fn a_second_thread_waits_for_an_object_and_is_woken() {
    leaves_nothing(|world| {
        let (ta, other) = (Caller::new(world, MULTI), Caller::new(world, MULTI));
        let shared = flag::ACCESS_READ | flag::ACCESS_WRITE | flag::SHARE_READ | flag::SHARE_WRITE;
        let one = create(&ta, "a", shared, b"data").unwrap();
        let two = open(&other, "a", shared).unwrap();
        assert_eq!(read(&ta, one, 9).unwrap(), b"data");
        assert_eq!(read(&other, two, 9).unwrap(), b"data");
        // What one of them writes the other one reads.
        ta.store(ta.memory, b"more");
        ta.expect(
            TeeResult::SUCCESS,
            svc::STORAGE_OBJ_WRITE,
            &[one, ta.memory, 4],
        );
        assert_eq!(read(&other, two, 9).unwrap(), b"more");
        // Somebody has it, and lets go of it while the other one waits.
        let take = |thread| {
            let mut state = world.kernel.state();
            let object = state.object_mut(GuestId::FIRST, 0).unwrap();
            object.turn.take(thread, 1)
        };
        assert!(take(7));
        let waits = Event::Command(cmd::NOTIFICATION);
        world.on(waits, |world| {
            let machine = &world.kernel.machine;
            let thread = machine.thread_id();
            machine.set_thread_id(7);
            let mut call = Call::new(&world.kernel, GuestId::FIRST, RpcArg::None);
            call.end_turn(crate::ta::storage::turn::Shared::Object(0));
            call.finish();
            machine.set_thread_id(thread);
        });
        let _ = world.take_woken();
        ta.expect(TeeResult::SUCCESS, svc::STORAGE_OBJ_TRUNC, &[one, 2]);
        assert_eq!(world.take_woken(), [0]);
        // Where nobody can wait, it is refused, and nothing else happens.
        assert!(take(7));
        world.set_patience(Some(2));
        ta.expect(TeeResult::GENERIC, svc::STORAGE_OBJ_TRUNC, &[one, 0]);
        world.set_patience(None);
        let waiters = {
            let mut state = world.kernel.state();
            state.object_mut(GuestId::FIRST, 0).unwrap().turn.end()
        };
        assert_eq!(waiters, 0);
        ta.close();
        assert_eq!(info(&other, two).data_bytes, 2);
        other.close();
    });
}

/// Bug: a file was removed when its number was anybody's again, and so was the file that somebody had made under it meanwhile.
#[test]
fn what_one_ta_removes_is_not_what_another_one_makes_meanwhile() {
    leaves_nothing(|world| {
        let (ta, other) = (Caller::new(world, MULTI), Caller::new(world, MULTI));
        // Something stays open: the directory is in memory all the time.
        let stays = create(&other, "stays", flag::ACCESS_READ, b"").unwrap();
        let (known, mut made) = (other.known(), 0);
        for (n, replaces) in (0..40).flat_map(|n| [(n, false), (n, true)]) {
            let object = create(&ta, "a", ALL, b"old").unwrap();
            for _ in 0..n {
                world.on(Event::Command(cmd::FS), |_| {});
            }
            let result = Arc::new(Mutex::new(None));
            let told = result.clone();
            world.on(Event::Command(cmd::FS), move |world| {
                let machine = &world.kernel.machine;
                let thread = machine.thread_id();
                machine.set_thread_id(7);
                world.set_patience(Some(60));
                let other = Caller::again(world, known);
                *told.lock().unwrap() = create(&other, "b", ALL, b"new").ok();
                world.set_patience(None);
                machine.set_thread_id(thread);
            });
            if replaces {
                ta.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_CLOSE, &[object]);
                let object = create(&ta, "a", ALL | flag::OVERWRITE, b"newer").unwrap();
                ta.expect(TeeResult::SUCCESS, svc::STORAGE_OBJ_DEL, &[object]);
            } else {
                ta.expect(TeeResult::SUCCESS, svc::STORAGE_OBJ_DEL, &[object]);
            }
            world.forget_hooks();
            let Some(object) = result.lock().unwrap().take() else {
                continue;
            };
            made += 1;
            other.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_CLOSE, &[object]);
            let object = open(&other, "b", ALL).unwrap();
            assert_eq!(read(&other, object, 9).unwrap(), b"new", "request {n}");
            other.expect(TeeResult::SUCCESS, svc::STORAGE_OBJ_DEL, &[object]);
        }
        assert!(made > 0);
        other.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_CLOSE, &[stays]);
        ta.close();
        other.close();
    });
}

#[test]
fn a_ta_has_its_share_of_open_objects_and_handles_go_with_it() {
    leaves_nothing(|world| {
        let ta = Caller::new(world, MULTI);
        let mut handles = Vec::new();
        let refused = loop {
            match create(&ta, &std::format!("{}", handles.len()), ALL, b"x") {
                Ok(handle) => handles.push(handle),
                Err(err) => break err,
            }
        };
        assert_eq!(refused, TeeResult::OUT_OF_MEMORY);
        assert!(handles.len() >= 32, "{}", handles.len());
        assert_eq!(read(&ta, handles[0], 9).unwrap(), b"x");
        ta.expect(TeeResult::SUCCESS, svc::CRYP_OBJ_CLOSE, &[handles[1]]);
        create(&ta, "another", ALL, b"x").unwrap();
        ta.close();
    });
}
