//! Memory that a TA passes on to another: charged to it until the call ends.

use super::shares::{PAGE, QUOTA, charged, grows, reserves, with_lender};
use super::ta::{kills, ta_opens};
use super::*;
use crate::guest_id::GuestId;
use crate::testing::world::Run;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tally_abi::ta::{entry, param_type, svc};
use tally_mem::machine::Trap;
use zerocopy::IntoBytes;

fn hears(run: &mut Run<'_>) -> Trap {
    let result = run.result();
    run.exit(result)
}

/// Has the TA that runs next invoke a session of its own with a reference to so many bytes of its heap.
fn invokes_with(world: &World, inner: &Arc<AtomicU32>, bytes: u64) {
    let id = inner.clone();
    world.ta(move |run| {
        let (origin, params, heap) = (run.stack(0), run.stack(64), run.stack(512));
        let heap = run.load_u64(heap);
        let words = [
            u64::from(param_type::MEMREF_INPUT),
            heap,
            bytes,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        run.store(params, words.as_bytes());
        let id = u64::from(id.load(Relaxed));
        run.call(svc::INVOKE_TA_COMMAND, &[id, 0, 0, params, origin])
    });
}

/// Has the caller invoke its session with a reference to so many bytes of its heap; `during`: pages that both TAs are
/// charged for while the callee runs.
pub(super) fn passes_on(
    world: &World,
    caller: u32,
    inner: &Arc<AtomicU32>,
    bytes: u64,
    during: &Arc<[AtomicU32; 2]>,
) -> TeeResult {
    invokes_with(world, inner, bytes);
    let during = during.clone();
    // Whoever runs next: the callee, or the caller that hears of the refusal.
    world.ta(move |run| {
        let types = param_type::MEMREF_INPUT.into();
        if run.context.x[0] == entry::INVOKE_COMMAND && run.params().types == types {
            for (pages, uuid) in during.iter().zip([SHARED, MULTI]) {
                pages.store(charged(run.world, uuid), Relaxed);
            }
            run.world.ta(hears);
            return run.exit(TeeResult::SUCCESS);
        }
        hears(run)
    });
    world.invoke(caller, 0, &[]).result
}

/// The callee was charged, so that a caller took what it needs for others.
#[test]
fn what_a_ta_passes_on_is_charged_to_it_for_the_call() {
    with_lender(|world| {
        let quota = |pages| {
            let mut state = world.kernel.state();
            state.guest_mut(GuestId::FIRST).ta_quota_pages = pages;
        };
        quota(QUOTA as u32);
        let caller = world.opened(SHARED);
        reserves(world, caller);
        let mut heap = 20;
        assert_eq!(grows(world, caller, heap), TeeResult::SUCCESS);
        let inner = Arc::default();
        ta_opens(world, MULTI, &inner);
        assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
        // Whatever is left of the caller's quota, as much can be passed on.
        for left in [20_u64, 16, 15, 1, 0] {
            while u64::from(charged(world, SHARED)) < QUOTA - left {
                heap += 1;
                assert_eq!(grows(world, caller, heap), TeeResult::SUCCESS);
            }
            let idle = [SHARED, MULTI].map(|uuid| charged(world, uuid));
            for (bytes, pages) in [(600, 1), (16 * PAGE, 16)] {
                let during = Arc::<[AtomicU32; 2]>::default();
                let result = passes_on(world, caller, &inner, bytes, &during);
                if left < pages {
                    assert_eq!(result, TeeResult::OUT_OF_MEMORY, "{bytes}, {left} left");
                } else {
                    assert_eq!(result, TeeResult::SUCCESS, "{bytes}, {left} left");
                    let [by_caller, by_callee] = during.each_ref().map(|n| n.load(Relaxed));
                    assert_eq!(u64::from(by_caller - idle[0]), pages);
                    // Tables alone.
                    assert!(by_callee - idle[1] <= 3, "{by_callee} after {}", idle[1]);
                }
                let after = [SHARED, MULTI].map(|uuid| charged(world, uuid));
                assert_eq!(after, idle);
            }
        }
        assert_eq!(world.close(caller), TeeResult::SUCCESS);
        quota(crate::guest::DEFAULT_TA_QUOTA_PAGES);
    });
}

#[test]
fn what_was_passed_on_is_back_however_the_callee_ends() {
    for way in ["returns", "panics", "is killed"] {
        for bytes in [1, 16 * PAGE, 40 * PAGE - 5] {
            leaves_nothing(|world| {
                let (caller, inner) = (world.opened(SHARED), Arc::default());
                reserves(world, caller);
                assert_eq!(grows(world, caller, 40), TeeResult::SUCCESS);
                ta_opens(world, MULTI, &inner);
                assert_eq!(world.invoke(caller, 0, &[]).result, TeeResult::SUCCESS);
                let idle = charged(world, SHARED);
                invokes_with(world, &inner, bytes);
                world.ta(move |run| match way {
                    "returns" => run.exit(TeeResult::SUCCESS),
                    "panics" => run.call(svc::PANIC, &[1]),
                    _ => {
                        kills(run.world, MULTI);
                        Trap::ForeignInterrupt
                    }
                });
                world.ta(move |run| {
                    assert_eq!(charged(run.world, SHARED), idle, "{way}, {bytes}");
                    hears(run)
                });
                let expected = match way {
                    "returns" => TeeResult::SUCCESS,
                    _ => TeeResult::TARGET_DEAD,
                };
                assert_eq!(world.invoke(caller, 0, &[]).result, expected, "{way}");
                assert_eq!(world.close(caller), TeeResult::SUCCESS);
            });
        }
    }
}
