//! Interrupts: a periodic tick on each CPU, so that the secure world is interrupted for real, and what is typed.
//!
//! **Invariant:** the handler takes no lock; it counts, and puts bytes by.

use aarch64_cpu::registers::{
    CNTFRQ_EL0, CNTP_CTL_EL0, CNTP_CVAL_EL0, CNTP_TVAL_EL0, CNTPCT_EL0, DAIF, Readable, Writeable,
};
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicV3};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use spin::Mutex;
use tally_board_virt as virt;

/// EL1 physical timer (Arm BSA: INTID 30, a PPI).
const TIMER: IntId = IntId::ppi(14);
/// The console, whose interrupts go to CPU 0.
const UART: IntId = IntId::spi(virt::NORMAL_UART_SPI);
/// CPUs that are used at most.
pub(super) const CPUS: usize = 4;
/// Ticks a second unless a test wants more.
pub(crate) const USUAL_HERTZ: u64 = 100;

/// CPUs that the interrupt controller says there are.
static FOUND: AtomicUsize = AtomicUsize::new(1);
static GIC: Mutex<Option<GicV3<'static>>> = Mutex::new(None);
static HERTZ: AtomicU64 = AtomicU64::new(USUAL_HERTZ);
static TICKS: [AtomicU64; CPUS] = [const { AtomicU64::new(0) }; CPUS];
/// Longest that a tick has waited for its handler, in ticks of the system counter.
static LONGEST_WAIT: AtomicU64 = AtomicU64::new(0);

/// Sets the controller up, on CPU 0.
pub(crate) fn init_first() {
    let pointers = (
        NonNull::new(core::ptr::with_exposed_provenance_mut::<Gicd>(
            virt::GICD as usize,
        )),
        NonNull::new(core::ptr::with_exposed_provenance_mut::<GicrSgi>(
            virt::GICR as usize,
        )),
    );
    let (Some(gicd), Some(gicr)) = pointers else {
        unreachable!("neither is at address 0");
    };
    // SAFETY:
    // 1. Both register blocks are there, mapped as device memory, with room for so many redistributors.
    // 2. This is the only instance of the driver in this world: one is gone before the next.
    let driver = |cpus| unsafe { GicV3::new(UniqueMmioPointer::new(gicd), gicr, cpus) };
    let is_last = |cpu: &usize| {
        driver(cpu + 1)
            .and_then(|mut gic| gic.gicr_typer(*cpu))
            .is_ok_and(|typer| typer.last_redistributor())
    };
    let found = (0..CPUS).find(is_last).map_or(CPUS, |last| last + 1);
    FOUND.store(found, Ordering::Relaxed);
    if let Ok(mut gic) = driver(found) {
        gic.setup(0);
        enable_timer(&mut gic, 0);
        // As for the timer: the distributor has so many lines.
        let _ = gic.set_interrupt_priority(UART, None, 0x80);
        let _ = gic.enable_interrupt(UART, None, true);
        *GIC.lock() = Some(gic);
    }
    start_ticking();
}

/// CPUs of the machine, whatever the firmware says.
pub(crate) fn cpus() -> usize {
    FOUND.load(Ordering::Relaxed)
}

/// Sets this CPU's interface up, on any but CPU 0.
pub(crate) fn init_other() {
    let cpu = super::cpu::index();
    if let Some(gic) = GIC.lock().as_mut() {
        gic.init_cpu(cpu);
        // Again: the firmware sets the redistributor up when it starts a CPU.
        enable_timer(gic, cpu);
    }
    GicCpuInterface::enable_group1(true);
    start_ticking();
}

fn enable_timer(gic: &mut GicV3<'_>, cpu: usize) {
    // A CPU that runs has a redistributor, so neither can fail.
    let _ = gic.set_interrupt_priority(TIMER, Some(cpu), 0x80);
    let _ = gic.enable_interrupt(TIMER, Some(cpu), true);
}

fn start_ticking() {
    GicCpuInterface::set_priority_mask(0xff);
    rearm();
    DAIF.write(DAIF::D::Masked + DAIF::A::Masked + DAIF::I::Unmasked + DAIF::F::Unmasked);
}

fn rearm() {
    match HERTZ.load(Ordering::Relaxed) {
        0 => CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::CLEAR),
        hertz => {
            CNTP_TVAL_EL0.set(CNTFRQ_EL0.get() / hertz);
            CNTP_CTL_EL0.write(CNTP_CTL_EL0::ENABLE::SET);
        }
    }
}

/// Sets how often ticks come, now on this CPU and at its next tick on another; 0 stops them
/// (another CPU keeps stopped until it is restarted itself).
pub(crate) fn set_hertz(hertz: u64) {
    HERTZ.store(hertz, Ordering::Relaxed);
    rearm();
}

/// Ticks that CPU `cpu` has had.
pub(crate) fn ticks(cpu: usize) -> u64 {
    TICKS.get(cpu).map_or(0, |n| n.load(Ordering::Relaxed))
}

/// The longest that a tick has waited for its handler since this was last asked, in microseconds.
pub(crate) fn longest_wait_micros() -> u64 {
    LONGEST_WAIT.swap(0, Ordering::Relaxed) * 1_000_000 / CNTFRQ_EL0.get().max(1)
}

/// Handles what is pending; called from the vector.
pub(super) fn handle() {
    GicCpuInterface::handle_interrupt(InterruptGroup::Group1, |id| {
        if id == TIMER {
            let waited = CNTPCT_EL0.get().saturating_sub(CNTP_CVAL_EL0.get());
            LONGEST_WAIT.fetch_max(waited, Ordering::Relaxed);
            rearm();
            if let Some(n) = TICKS.get(super::cpu::index()) {
                n.fetch_add(1, Ordering::Relaxed);
            }
        } else if id == UART {
            super::console::receive();
        }
    });
}
