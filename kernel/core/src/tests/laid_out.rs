//! Memory that `ldelf` laid out: unmapped and protected whole, and no other.

use super::*;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use crate::ta::instance::InstanceRef;
use crate::ta::load::libraries::Libraries;
use crate::testing::world::{Event, ODD_LAYOUT, ODD_LAYOUTS, signed_image};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tally_abi::ldelf::{prot, svc};
use tally_abi::ta::svc as ta_svc;
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::UserContext;
use tally_mem::mem::Mem;
use tally_mem::region::{Place, Prot, RegionKind};
use tally_mem::testing::TestMachine;
use zerocopy::IntoBytes;

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages that take more than a step.
const MANY: u64 = 150;

type OfLdelf<'a> = Call<'a, TestMachine, ()>;

/// A call of the normal world that `ldelf` runs in.
fn of_ldelf(world: &World) -> OfLdelf<'_> {
    Call::new(&world.kernel, GuestId::FIRST, RpcArg::None)
}

/// Makes one of `ldelf`'s calls for an instance.
fn ldelf_calls(world: &World, instance: InstanceRef, number: u64, args: &[u64]) -> TeeResult {
    ldelf_goes_on(&mut of_ldelf(world), instance, number, args)
}

/// Makes another one in the same run of it.
fn ldelf_goes_on(
    call: &mut OfLdelf<'_>,
    instance: InstanceRef,
    number: u64,
    args: &[u64],
) -> TeeResult {
    let mut context = UserContext::default();
    context.x[8] = number;
    context.x[..args.len()].copy_from_slice(args);
    let _ = call.ldelf_syscall(instance, &mut context);
    TeeResult(context.x[0] as u32)
}

/// The regions of an instance: where, pages, kind and protection.
fn regions(world: &World, instance: InstanceRef) -> Vec<(u64, u64, RegionKind, Prot)> {
    let state = world.kernel.state();
    let space = state.instance(instance).unwrap().space.as_ref().unwrap();
    let regions = space.regions().iter();
    regions
        .map(|region| {
            (
                region.va().0,
                region.bytes() / PAGE,
                region.kind(),
                region.prot(),
            )
        })
        .collect()
}

/// Runs `test` with an instance of SHARED that has a segment of `pages` pages more, behind whose ends are gaps.
fn with_segment(pages: u64, test: impl Fn(&Arc<World>, InstanceRef, u64)) {
    leaves_nothing(|world| {
        let session = world.opened(SHARED);
        let (name, stack) = {
            let state = world.kernel.state();
            let mut all = state.guest(GuestId::FIRST).instances.named();
            let (name, found) = all.next().unwrap();
            let space = found.space.as_ref().unwrap();
            let mut regions = space.regions().iter();
            let stack = regions.find(|region| region.kind() == RegionKind::Stack);
            (name, stack.unwrap().va().0)
        };
        let before = regions(world, name);
        let args = [stack, pages * PAGE, PAGE, PAGE, 0];
        assert_eq!(
            ldelf_calls(world, name, svc::MAP_ZI, &args),
            TeeResult::SUCCESS
        );
        let now = regions(world, name);
        let added = now.iter().find(|region| !before.contains(region)).unwrap();
        assert_eq!((added.1, added.2), (pages, RegionKind::Segment));
        test(world, name, added.0);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

#[test]
fn a_length_that_is_not_that_of_what_is_mapped_changes_nothing() {
    // Bug: the end of what was unmapped was added up without a look: with some lengths the kernel was at its end.
    with_segment(4, |world, instance, va| {
        let before = regions(world, instance);
        let refused = |number: u64, at: u64, len: u64| {
            let args = [at, len, prot::WRITE];
            let result = ldelf_calls(world, instance, number, &args);
            assert_ne!(result, TeeResult::SUCCESS, "{number}: {len:#x} at {at:#x}");
            assert_eq!(
                regions(world, instance),
                before,
                "{number}: {len:#x} at {at:#x}"
            );
        };
        let huge = [1 << 40, !0xfff - (1 << 20), !0xfff, u64::MAX];
        for number in [svc::UNMAP, svc::SET_PROT] {
            for len in [0, 4 * PAGE + 1, 5 * PAGE].into_iter().chain(huge) {
                refused(number, va, len);
            }
            for at in [va + 1, va + PAGE + 8, u64::MAX, u64::MAX - 4095, 0] {
                refused(number, at, PAGE);
            }
            refused(number, va - PAGE, PAGE);
            refused(number, va + 3 * PAGE, 2 * PAGE);
            refused(number, va + 4 * PAGE, PAGE);
        }
    });
}

#[test]
fn what_takes_more_than_a_step_is_unmapped_from_its_end() {
    for front in [0, 1] {
        with_segment(MANY, |world, instance, va| {
            let seen = Arc::new(AtomicUsize::new(0));
            let during = seen.clone();
            world.at_interrupt(0, move |world| {
                let left = regions(world, instance);
                let found = left.iter().find(|region| region.0 == va).unwrap();
                during.store(found.1 as usize, Relaxed);
            });
            let args = [va + front * PAGE, (MANY - front) * PAGE];
            assert_eq!(
                ldelf_calls(world, instance, svc::UNMAP, &args),
                TeeResult::SUCCESS
            );
            assert!(!world.forget_interrupt(), "no step");
            assert_eq!(seen.load(Relaxed), MANY as usize - 64);
            let left = regions(world, instance);
            let found = left.iter().find(|region| region.0 == va);
            assert_eq!(found.map_or(0, |region| region.1), front);
        });
    }
}

#[test]
fn what_takes_more_than_a_step_is_protected_whole() {
    with_segment(MANY, |world, instance, va| {
        world.at_interrupt(0, move |world| {
            let now = regions(world, instance);
            let found = now.iter().find(|region| region.0 == va).unwrap();
            assert_eq!((found.1, found.3), (MANY, Prot::READ_WRITE));
        });
        let args = [va, MANY * PAGE, prot::EXEC];
        assert_eq!(
            ldelf_calls(world, instance, svc::SET_PROT, &args),
            TeeResult::SUCCESS
        );
        assert!(!world.forget_interrupt(), "no step");
        let now = regions(world, instance);
        let found = now.iter().find(|region| region.0 == va).unwrap();
        assert_eq!((found.1, found.3), (MANY, Prot::READ_EXECUTE));
    });
}

#[test]
fn what_lies_in_two_regions_is_not_unmapped_by_half() {
    with_segment(MANY, |world, instance, va| {
        let args = [va + 50 * PAGE, 100 * PAGE, prot::EXEC];
        assert_eq!(
            ldelf_calls(world, instance, svc::SET_PROT, &args),
            TeeResult::SUCCESS
        );
        let before = regions(world, instance);
        for number in [svc::UNMAP, svc::SET_PROT] {
            let result = ldelf_calls(world, instance, number, &[va, MANY * PAGE, 0]);
            assert_ne!(result, TeeResult::SUCCESS);
            assert_eq!(regions(world, instance), before);
        }
    });
}

#[test]
fn an_image_laid_out_in_a_way_that_cannot_be_run_is_refused() {
    leaves_nothing(|world| {
        let opened = |way| {
            let payload = [&[0; 4], &[ODD_LAYOUT, way][..], &[0; 300]].concat();
            world.install_image(MULTI, signed_image(MULTI, &payload));
            world.open(MULTI, &[])
        };
        for way in 0..ODD_LAYOUTS {
            assert_eq!(opened(way).result, TeeResult::BAD_FORMAT, "way {way}");
        }
        let short = opened(ODD_LAYOUTS);
        assert_eq!(short.result, TeeResult::SUCCESS);
        assert_eq!(world.close(short.session), TeeResult::SUCCESS);
    });
}

/// The model of the loader looks: what lies behind an image in its last page shows at EL0.
#[test]
fn nothing_of_another_ta_lies_behind_an_image() {
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        world.ta(|run| {
            let out = run.stack(0);
            run.store(out, &[0; 8]);
            run.call(ta_svc::tally::HEAP_RESERVE, &[64 * PAGE, out])
        });
        world.ta(|run| run.call(ta_svc::tally::HEAP_GROW, &[64 * PAGE, 0]));
        world.ta(|run| {
            let out = run.stack(0);
            let heap = run.load_u64(out);
            for page in 0..64 {
                run.store(heap + page * PAGE, &[0xaa; PAGE_SIZE]);
            }
            run.exit(TeeResult::SUCCESS)
        });
        assert_eq!(world.invoke(session, 0, &[]).result, TeeResult::SUCCESS);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
        let session = world.opened(SHARED);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

/// What a TA had mapped for itself is not the loader's, nor is what is lent to it for a call.
#[test]
fn the_loader_changes_only_what_it_maps() {
    with_segment(1, |world, instance, va| {
        let before = regions(world, instance);
        {
            let mut state = world.kernel.state();
            let (pages, guest) = state.split(instance.guest());
            let space = guest
                .instances
                .at_mut(instance)
                .unwrap()
                .space
                .as_mut()
                .unwrap();
            let mut memory = Mem::new(pages, &world.kernel.machine);
            let place = Place::random(7);
            for kind in [RegionKind::Mapped, RegionKind::LdelfData, RegionKind::Image] {
                let prot = Prot::READ_WRITE;
                space
                    .map_zero(&mut memory, kind, PAGE, prot, place)
                    .unwrap();
            }
        }
        let added: Vec<_> = regions(world, instance);
        let added = added.iter().filter(|region| !before.contains(region));
        let mut refused = 0;
        for (at, _, kind, _) in added {
            for number in [svc::UNMAP, svc::SET_PROT] {
                let result = ldelf_calls(world, instance, number, &[*at, PAGE, prot::READ]);
                assert_eq!(result, TeeResult::ACCESS_DENIED, "{kind:?}");
                refused += 1;
            }
        }
        assert_eq!(refused, 6);
        assert_eq!(
            ldelf_calls(world, instance, svc::UNMAP, &[va, PAGE]),
            TeeResult::SUCCESS
        );
    });
}

/// Has `ldelf` map so many pages at an address, or for 0 with a gap behind them, which it reads from a word; where.
fn maps(call: &mut OfLdelf<'_>, instance: InstanceRef, word: u64, at: u64, pages: u64) -> u64 {
    let kernel = call.kernel;
    let at_word = UserVa(word);
    let written = kernel.write_ta(&mut kernel.state(), instance, at_word, &at.to_le_bytes());
    assert_eq!(written, Ok(()));
    let args = [word, pages * PAGE, 0, MANY * PAGE, 0];
    let mapped = ldelf_goes_on(call, instance, svc::MAP_ZI, &args);
    assert_eq!(mapped, TeeResult::SUCCESS);
    let mut at = 0_u64;
    let read = kernel.read_ta(&kernel.state(), instance, at_word, at.as_mut_bytes());
    assert_eq!(read, Ok(()));
    at
}

/// More than a step, so that a step could lie in the neighbour alone.
#[test]
fn a_neighbour_is_not_unmapped_with_what_lies_before_it() {
    with_segment(1, |world, instance, word| {
        let mut call = of_ldelf(world);
        let va = maps(&mut call, instance, word, 0, 1);
        maps(&mut call, instance, word, va + PAGE, MANY);
        let before = regions(world, instance);
        for pages in [2, 65, 66, MANY, MANY + 1, MANY + 2] {
            let args = [va, pages * PAGE];
            let refused = ldelf_calls(world, instance, svc::UNMAP, &args);
            assert_ne!(refused, TeeResult::SUCCESS, "{pages}");
            assert_eq!(regions(world, instance), before, "{pages}");
        }
    });
}

#[test]
fn what_a_run_of_the_loader_mapped_in_vain_goes_and_not_its_neighbour() {
    with_segment(2, |world, instance, va| {
        let before = regions(world, instance);
        let mut call = of_ldelf(world);
        call.libraries = Libraries::noting();
        maps(&mut call, instance, va, va - PAGE, 1);
        assert_ne!(regions(world, instance), before);
        call.end_libraries(instance, false);
        assert_eq!(regions(world, instance), before);
    });
}

/// Bytes of a library's ELF file.
const LIBRARY_BYTES: usize = 16;

/// Has `ldelf` open libraries, of which there are as many as `images`, in one run of it.
fn opens(
    world: &World,
    instance: InstanceRef,
    to: (u64, u64, u64),
    images: u128,
) -> Vec<TeeResult> {
    let mut call = of_ldelf(world);
    let opened = (0..images).map(|n| {
        let library = TeeUuid::from_u128(0x1000 + n);
        world.install(library, 0, LIBRARY_BYTES);
        let mut state = world.kernel.state();
        let uuid = library.as_bytes();
        let named = world
            .kernel
            .write_ta(&mut state, instance, UserVa(to.0), uuid);
        assert_eq!(named, Ok(()));
        drop(state);
        let opened = ldelf_goes_on(&mut call, instance, svc::OPEN_BIN, &[to.0, to.1, to.2]);
        if opened == TeeResult::SUCCESS {
            // Without the headers, which are the kernel's.
            let mut len = 0_u64;
            let state = world.kernel.state();
            let told = UserVa(to.2);
            let read = world
                .kernel
                .read_ta(&state, instance, told, len.as_mut_bytes());
            assert_eq!((read, len), (Ok(()), LIBRARY_BYTES as u64));
        }
        opened
    });
    let opened = opened.collect();
    call.end_libraries(instance, false);
    call.finish();
    opened
}

#[test]
fn fifteen_libraries_are_open_at_a_time_and_none_more() {
    with_segment(1, |world, instance, va| {
        let before = regions(world, instance);
        let opened = opens(world, instance, (va, va + 16, va + 24), 17);
        let (good, bad) = opened.split_at(15);
        assert_eq!(good, [TeeResult::SUCCESS; 15]);
        assert_eq!(bad, [TeeResult::NOT_SUPPORTED; 2]);
        assert_eq!(regions(world, instance), before);
    });
}

#[test]
fn no_library_is_asked_for_that_cannot_be_told_where_it_lies() {
    with_segment(1, |world, instance, va| {
        let (good, end) = (va + 16, va + PAGE - 7);
        for (va_ptr, len_ptr) in [(good, end), (end, good), (good, 0), (0, good)] {
            drop(world.take_events());
            let opened = opens(world, instance, (va, va_ptr, len_ptr), 1);
            assert_eq!(opened, [TeeResult::ACCESS_DENIED]);
            let events = world.take_events();
            assert!(!events.contains(&Event::Command(tally_abi::rpc::cmd::LOAD_TA)));
        }
    });
}

#[test]
fn no_two_instances_of_a_ta_lie_in_the_same_place() {
    leaves_nothing(|world| {
        let sessions = [(); 2].map(|()| world.opened(MULTI));
        let state = world.kernel.state();
        let named = state.guest(GuestId::FIRST).instances.named();
        let names: Vec<_> = named.map(|(name, _)| name).collect();
        drop(state);
        let [one, other] = [0, 1].map(|n| regions(world, names[n]));
        let mut places = one.iter().map(|(va, ..)| va);
        assert!(places.all(|va| other.iter().all(|(there, ..)| there != va)));
        for session in sessions {
            assert_eq!(world.close(session), TeeResult::SUCCESS);
        }
    });
}

#[test]
fn the_loader_maps_something_and_a_gigabyte_at_most_with_gaps_as_large() {
    const MOST: u64 = 1 << 30;
    const BAD: TeeResult = TeeResult::BAD_PARAMETERS;
    with_segment(1, |world, instance, at| {
        let before = regions(world, instance);
        for (len, front, behind, kind, told) in [
            (0, 0, 0, 0, BAD),
            (MOST + 1, 0, 0, 0, BAD),
            (PAGE, MOST + 1, 0, 0, BAD),
            (PAGE, 0, MOST + 1, 0, BAD),
            (PAGE, 0, 0, 2, BAD),
            (PAGE, 0, 0, 3, BAD),
            // As much as that is more than a TA may have.
            (MOST, 0, 0, 0, TeeResult::OUT_OF_MEMORY),
            (1, MOST, MOST, 0, TeeResult::SUCCESS),
        ] {
            let args = [at, len, front, behind, kind];
            let mapped = ldelf_calls(world, instance, svc::MAP_ZI, &args);
            assert_eq!(mapped, told, "{args:x?}");
            let added = regions(world, instance).len() - before.len();
            assert_eq!(added, usize::from(told == TeeResult::SUCCESS), "{args:x?}");
        }
    });
}

#[test]
fn the_loader_has_random_numbers_where_it_may_write() {
    with_segment(1, |world, instance, at| {
        let random = |to: u64| ldelf_calls(world, instance, svc::RANDOM, &[to, 16]);
        assert_eq!(random(0), TeeResult::ACCESS_DENIED);
        assert_eq!(random(at), TeeResult::SUCCESS);
        let mut bytes = [0; 16];
        let state = world.kernel.state();
        let read = world
            .kernel
            .read_ta(&state, instance, UserVa(at), &mut bytes);
        assert_eq!(read, Ok(()));
        assert_ne!(bytes, [0; 16]);
    });
}
