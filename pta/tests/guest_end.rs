//! The end of a guest in the middle of everything: every page and every block of the heap comes back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicIsize, Ordering};

use tally_abi::msg::attr;
use tally_abi::pta::{memleak, vdec, watch};
use tally_abi::smc::FunctionId;
use tally_abi::ta::{UteeParams, flags, param_type, svc};
use tally_abi::{TeeResult, TeeUuid, rpc};
use tally_account::book::Shown;
use tally_account::testing::{World, world};
use tally_core::call::guest_life::GuestEnd;
use tally_core::guest_id::GuestId;
use tally_core::testing::world::{CLIENT, Event, header, memref, value};
use tally_mem::pages::PageUse;
use tally_mem::testing::BLOCK_OWNER;
use zerocopy::IntoBytes;

const KEPT: TeeUuid = TeeUuid::from_u128(0x11);
const WAITS: TeeUuid = TeeUuid::from_u128(0x22);

/// Blocks of owners other than the model and the kernel itself.
static CHARGED: AtomicIsize = AtomicIsize::new(0);

/// The host's heap, with a tag before each block.
struct Tagged;

#[global_allocator]
static HEAP: Tagged = Tagged;

/// A layout with room for the tag before the block, and where the block begins.
fn tagged(layout: Layout) -> Option<(Layout, usize)> {
    Layout::new::<isize>().extend(layout).ok()
}

// SAFETY:
// 1. A block lies in one of the system's, behind room for its tag, where its layout wants it.
// 2. `dealloc` gets the same layout, and thus gives the same block of the system's back.
unsafe impl GlobalAlloc for Tagged {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, offset)) = tagged(layout) else {
            return std::ptr::null_mut();
        };
        // SAFETY: the size is not zero.
        let base = unsafe { System.alloc(whole) };
        if base.is_null() {
            return base;
        }
        let charged = isize::from(BLOCK_OWNER.load(Ordering::Relaxed) != 0);
        CHARGED.fetch_add(charged, Ordering::Relaxed);
        // SAFETY: the tag comes first, and the block at its offset.
        unsafe {
            base.cast::<isize>().write(charged);
            base.add(offset)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((whole, offset)) = tagged(layout) else {
            return;
        };
        // SAFETY: the block is one of `alloc`'s, with its tag before it and of the same layout.
        unsafe {
            let base = block.sub(offset);
            CHARGED.fetch_sub(base.cast::<isize>().read(), Ordering::Relaxed);
            System.dealloc(base, whole);
        }
    }
}

fn by_use(world: &World) -> Vec<u32> {
    let state = world.kernel.state();
    assert_eq!(state.pages.check(), Ok(()));
    let uses = PageUse::ALL.iter();
    uses.map(|usage| state.pages.used_for(*usage)).collect()
}

/// A TA has a channel and a buffer open, shared memory is registered, and a snapshot and a mark are there.
fn fill(world: &World) {
    let ta = world.opened(KEPT);
    let sessions = [memleak::UUID, watch::UUID].map(|pta| world.opened(pta));
    let out = [value(attr::VALUE_OUTPUT, 0, 0)];
    let unnamed = [memref(attr::TMEM_INPUT, 0, 0, 0), out[0]];
    let marked = world.invoke(sessions[0], memleak::CMD_MARK, &unnamed);
    assert_eq!(marked.result, TeeResult::SUCCESS);
    let taken = world.invoke(sessions[1], watch::CMD_TAKE, &out);
    assert_eq!(taken.result, TeeResult::SUCCESS);
    let shared = memref(attr::TMEM_OUTPUT, CLIENT.0, 4096, 7);
    let registered = world.send(header(tally_abi::msg::cmd::REGISTER_SHM, 0, 0), &[shared]);
    assert_eq!(registered.result, TeeResult::SUCCESS);
    world.ta(|run| {
        let at = run.stack(0);
        run.store(at, vdec::UUID.as_bytes());
        run.call(svc::OPEN_TA_SESSION, &[at, 0, 0, at + 64, at + 128])
    });
    world.ta(|run| {
        let at = run.stack(0);
        let id = run.load_u32(at + 64);
        let types = param_type::pack([param_type::VALUE_OUTPUT, 0, 0, 0]);
        let params = UteeParams {
            types: types.into(),
            ..UteeParams::default()
        };
        run.store(at + 256, params.as_bytes());
        let open = u64::from(vdec::CMD_OPEN_CHANNEL);
        run.call(
            svc::INVOKE_TA_COMMAND,
            &[id.into(), 0, open, at + 256, at + 128],
        )
    });
    assert_eq!(world.invoke(ta, 0, &[]).result, TeeResult::SUCCESS);
    let state = world.kernel.state();
    assert_eq!(state.guest(GuestId::FIRST).buffers.channels().len(), 1);
}

#[test]
fn a_guest_ends_in_the_middle_of_everything_and_leaves_nothing() {
    let world = world(tally_pta::ALL, Shown::default());
    // Back to the point at which no guest was there.
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    let charged_before = CHARGED.load(Ordering::Relaxed);
    world.kernel.begin_guest(GuestId::FIRST).unwrap();
    let kept = flags::SINGLE_INSTANCE | flags::MULTI_SESSION | flags::INSTANCE_KEEP_ALIVE;
    world.install(KEPT, kept, 100);
    world.install(WAITS, 0, 100);
    let pages_before = by_use(&world);
    fill(&world);
    let waits = world.opened(WAITS);
    world.ta(|run| run.call(svc::WAIT, &[1000]));
    // While the thread of this call is suspended, its guest ends.
    let seen = std::sync::Arc::new(Mutex::new(None));
    let told = seen.clone();
    world.on(Event::Command(rpc::cmd::SUSPEND), move |world| {
        *told.lock().unwrap() = Some(world.kernel.end_guest(GuestId::FIRST));
    });
    let _ = world.take_events();
    // The message names no memory for RPCs, so that there is some to give back.
    let invoke = header(tally_abi::msg::cmd::INVOKE_COMMAND, waits, 0);
    let reply = world.send_as(FunctionId::CALL_WITH_ARG, invoke, &[]);
    assert_eq!(*seen.lock().unwrap(), Some(GuestEnd::Threads(1)));
    assert_eq!(
        world.take_events(),
        [Event::Alloc, Event::Command(rpc::cmd::SUSPEND)],
        "nothing is asked of a guest that has ended, not even to free"
    );
    let as_sent = (TeeResult::SUCCESS, 0);
    assert_eq!(
        (reply.result, reply.origin),
        as_sent,
        "no answer is written"
    );
    assert!(CHARGED.load(Ordering::Relaxed) > charged_before);

    assert_eq!(
        world.kernel.end_guest(GuestId::FIRST),
        GuestEnd::Done,
        "no thread is left"
    );
    assert_eq!(by_use(&world), pages_before);
    let state = world.kernel.state();
    let guest = state.guest(GuestId::FIRST);
    assert_eq!(guest.sessions.iter().count(), 0);
    assert_eq!(guest.instances.iter().count(), 0);
    assert!(guest.shm.is_empty());
    drop(state);
    assert_eq!(CHARGED.load(Ordering::Relaxed), charged_before);
    // Nobody calls from there any more.
    let refused = world.send(header(tally_abi::msg::cmd::CANCEL, 0, 0), &[]);
    assert_eq!(refused.code, tally_abi::smc::ret::ENOTAVAIL);

    // Another may begin in its place.
    world.kernel.begin_guest(GuestId::FIRST).unwrap();
    world.clear_ta_steps();
    let session = world.opened(memleak::UUID);
    // It is there already, with its session.
    world.kernel.begin_guest(GuestId::FIRST).unwrap();
    assert_eq!(world.close(session), TeeResult::SUCCESS);
    assert_eq!(world.kernel.end_guest(GuestId::FIRST), GuestEnd::Done);
    assert_eq!(CHARGED.load(Ordering::Relaxed), charged_before);
}
