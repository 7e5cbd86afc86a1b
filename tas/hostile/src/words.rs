//! Words that hostile system calls are made of.

use core::cell::UnsafeCell;
use core::hint::black_box;
use core::sync::atomic::{AtomicU64, Ordering};
use ta_runtime::abi::TeeUuid;
use ta_runtime::abi::pta::{audit, control, device, inspect, memleak, rng, stats, vdec, watch};
use ta_runtime::abi::ta::svc;
use ta_uuids::hostile::Random;
use ta_uuids::{chain, crash, drm, glutton, heap, hello, hostile, hub, keepalive, solo, stillborn};

/// Memory that the kernel may write into as it likes.
const SCRATCH_BYTES: usize = 16 << 10;

#[repr(align(4096))]
struct Scratch(UnsafeCell<[u8; SCRATCH_BYTES]>);

// SAFETY: nobody takes a reference to it.
unsafe impl Sync for Scratch {}

static SCRATCH: Scratch = Scratch(UnsafeCell::new([0; SCRATCH_BYTES]));
/// Where the heap's books are, and memory of the client's; 0 while not known.
pub(crate) static BOOKS: AtomicU64 = AtomicU64::new(0);
pub(crate) static SHARED: AtomicU64 = AtomicU64::new(0);

const TARGETS: [TeeUuid; 24] = [
    hub::UUID,
    hub::UUID,
    hub::UUID,
    hostile::UUID,
    hello::UUID,
    keepalive::UUID,
    keepalive::UUID,
    chain::UUID,
    solo::UUID,
    heap::UUID,
    drm::UUID,
    glutton::UUID,
    crash::UUID,
    stillborn::UUID,
    stats::UUID,
    device::UUID,
    rng::UUID,
    control::UUID,
    inspect::UUID,
    audit::UUID,
    watch::UUID,
    memleak::UUID,
    vdec::UUID,
    vdec::UUID,
];
/// Kernel image, stacks, direct map, holes, and what ends a TA's addresses.
const FOREIGN: [u64; 8] = [
    0xffff_ffff_c000_0000,
    0xffff_ffff_ce10_0000,
    0xffff_ffff_d000_8000,
    0xffff_ff80_0e10_0000,
    0xffff_0000_0000_0000,
    0x0000_7fff_ffff_f000,
    0x0000_007f_ffff_f000,
    0x0000_0010_0000_0000,
];
const SIZES: [u64; 16] = [
    0,
    1,
    4,
    8,
    16,
    72,
    88,
    512,
    4096,
    4097,
    65_536,
    1 << 21,
    1 << 30,
    1 << 32,
    1 << 63,
    u64::MAX,
];
const CALLS: [u64; 18] = [
    svc::LOG,
    svc::GET_PROPERTY,
    svc::GET_PROPERTY_NAME_TO_INDEX,
    svc::OPEN_TA_SESSION,
    svc::CLOSE_TA_SESSION,
    svc::INVOKE_TA_COMMAND,
    svc::CHECK_ACCESS_RIGHTS,
    svc::GET_CANCELLATION_FLAG,
    svc::UNMASK_CANCELLATION,
    svc::MASK_CANCELLATION,
    svc::WAIT,
    svc::GET_TIME,
    svc::SET_TA_TIME,
    svc::RANDOM,
    svc::CACHE_OPERATION,
    svc::tally::HEAP_RESERVE,
    svc::tally::HEAP_GROW,
    svc::tally::HEAP_ALARM,
];

pub(crate) fn target(random: &mut Random) -> TeeUuid {
    random.pick(&TARGETS, hub::UUID)
}

pub(crate) fn size(random: &mut Random) -> u64 {
    // Small ones succeed.
    let most = if random.once_in(4) { 16 } else { 9 };
    SIZES[random.below(most) as usize]
}

/// The number of a system call: mostly of one that there is.
pub(crate) fn number(random: &mut Random) -> u64 {
    match random.below(256) {
        0 => svc::PANIC,
        1 => svc::RETURN,
        2..18 => random.below(80).max(svc::PANIC + 1),
        18..22 => svc::tally::HEAP_RESERVE + random.below(8),
        22 => random.any(),
        _ => random.pick(&CALLS, svc::LOG),
    }
}

/// An argument, of any meaning.
pub(crate) fn word(random: &mut Random) -> u64 {
    match random.below(16) {
        0 => 0,
        1 | 2 => random.below(16),
        3 | 4 => size(random),
        5 => random.any(),
        _ => address(random),
    }
}

/// An address: mostly of memory that may be written.
pub(crate) fn address(random: &mut Random) -> u64 {
    let offset = random.below(SCRATCH_BYTES as u64);
    match random.below(64) {
        0 => 0,
        1..4 => random.pick(&FOREIGN, 0) + offset,
        4 => u64::MAX - offset,
        // Its own stack, code and books.
        5 => {
            let here = 0_u64;
            (black_box(&raw const here).addr() as u64 & !7) - 512 + offset % 4096
        }
        6..8 => address as fn(&mut Random) -> u64 as usize as u64 + offset,
        8..10 => BOOKS.load(Ordering::Relaxed) + offset,
        10..18 => SHARED.load(Ordering::Relaxed) + offset % 4096,
        18..24 => scratch() + offset,
        _ => scratch() + (offset & !7),
    }
}

fn scratch() -> u64 {
    SCRATCH.0.get().addr() as u64
}
