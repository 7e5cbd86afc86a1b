//! Memory that `ldelf` laid out: unmapped and protected whole, and no other.

use super::*;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use crate::ta::instance::InstanceRef;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tally_abi::ldelf::{prot, svc};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::UserContext;
use tally_mem::region::{Prot, RegionKind};

const PAGE: u64 = PAGE_SIZE as u64;
/// Pages that take more than a step.
const MANY: u64 = 150;

/// Makes one of `ldelf`'s calls for an instance.
fn ldelf_calls(world: &World, instance: InstanceRef, number: u64, args: &[u64]) -> TeeResult {
    let mut context = UserContext::default();
    context.x[8] = number;
    context.x[..args.len()].copy_from_slice(args);
    let mut call = Call::new(&world.kernel, GuestId::FIRST, RpcArg::None);
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
