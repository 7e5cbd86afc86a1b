//! The GICv3 split between the worlds.
//!
//! All interrupts are the normal world's (group 1 NS) but: SGIs 8..=14 (group 1 S, enabled, as
//! TF-A leaves them), the secure physical timer and the secure UART (group 1 S), and SGI 15, which
//! wakes parked CPUs (group 0).
//!
//! **Invariant:** no group 0 interrupt but the wake SGI exists, and a running CPU has none pending.

use core::ptr::NonNull;

use arm_gic::IntId;
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{
    GicCpuInterface, GicError, GicRedistributorIterator, GicV3, Group, HIGHEST_S_PRIORITY,
    SecureIntGroup, SgiTarget, SgiTargetGroup,
};
use arm_pl011_uart::UniqueMmioPointer;
use spin::mutex::SpinMutex;
use tally_board_virt as virt;

use crate::context::MAX_CPUS;
use crate::sysreg;

/// The SGI that wakes a parked CPU.
pub(crate) const WAKE_SGI: u32 = 15;
/// Secure SGIs that the kernel may use.
const KERNEL_SGIS: core::ops::RangeInclusive<u32> = 8..=14;
/// CNTPS, PPI 13 (interrupt id 29).
const SECURE_TIMER: IntId = IntId::ppi(13);
/// Secure PL011.
const SECURE_UART: IntId = IntId::spi(virt::SECURE_UART_SPI);

const GROUP_1S: Group = Group::Secure(SecureIntGroup::Group1S);
const GROUP_0: Group = Group::Secure(SecureIntGroup::Group0);

static GIC: SpinMutex<Option<GicV3<'static>>> = SpinMutex::new(None);

/// Sets the distributor up and returns how many CPUs there are. Called once, by CPU 0.
pub(crate) fn init_distributor() -> Result<usize, GicError> {
    let (Some(gicd), Some(gicr)) = (
        NonNull::new(virt::GICD as *mut Gicd),
        NonNull::new(virt::GICR as *mut GicrSgi),
    ) else {
        return Ok(0);
    };
    // SAFETY:
    // 1. Both windows are mapped as device memory for good, and cover MAX_CPUS redistributors.
    // 2. CPU 0 counts before any other driver value exists; a parked CPU touches its own frame only.
    let count = unsafe { GicRedistributorIterator::new(gicr)? }
        .take(MAX_CPUS)
        .count();
    // SAFETY: as above; this is the one driver value from here on.
    let mut gic = unsafe { GicV3::new(UniqueMmioPointer::new(gicd), gicr, count)? };
    let distributor = gic.distributor();
    distributor.enable_affinity_routing_non_secure(true);
    distributor.configure_default_settings();
    distributor.set_group(SECURE_UART, GROUP_1S)?;
    distributor.set_interrupt_priority(SECURE_UART, HIGHEST_S_PRIORITY)?;
    distributor.enable_group1_secure(true);
    distributor.enable_group0(true);
    *GIC.lock() = Some(gic);
    Ok(count)
}

/// Sets up this CPU's redistributor and interface.
pub(crate) fn init_cpu(cpu: usize) -> Result<(), GicError> {
    if let Some(gic) = GIC.lock().as_mut() {
        // CPU 0 sleeps until now, the others woke themselves to be woken.
        match gic.redistributor_mark_core_awake(cpu) {
            Ok(()) | Err(GicError::AlreadyAwake) => {}
            Err(error) => return Err(error),
        }
        let mut redistributor = gic.redistributor(cpu)?;
        redistributor.configure_default_settings();
        for sgi in KERNEL_SGIS {
            redistributor.set_group(IntId::sgi(sgi), GROUP_1S)?;
            redistributor.set_interrupt_priority(IntId::sgi(sgi), HIGHEST_S_PRIORITY)?;
            redistributor.enable_interrupt(IntId::sgi(sgi), true)?;
        }
        redistributor.set_group(SECURE_TIMER, GROUP_1S)?;
        redistributor.set_interrupt_priority(SECURE_TIMER, HIGHEST_S_PRIORITY)?;
        redistributor.set_group(IntId::sgi(WAKE_SGI), GROUP_0)?;
        redistributor.set_interrupt_priority(IntId::sgi(WAKE_SGI), HIGHEST_S_PRIORITY)?;
    }
    GicCpuInterface::disable_legacy_interrupt_bypass_el3(true);
    GicCpuInterface::enable_system_register_el3(true);
    if sysreg::has_el2() {
        GicCpuInterface::disable_legacy_interrupt_bypass_el2(true);
        GicCpuInterface::enable_system_register_el2(true);
    }
    // The secure copy; the normal world's is its own to set.
    GicCpuInterface::enable_system_register_el1();
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group0(true);
    GicCpuInterface::enable_group1_secure(true);
    Ok(())
}

/// Wakes a parked CPU.
pub(crate) fn wake(cpu: usize) -> Result<(), GicError> {
    GicCpuInterface::send_sgi(
        IntId::sgi(WAKE_SGI),
        SgiTarget::List {
            affinity3: 0,
            affinity2: 0,
            affinity1: 0,
            target_list: 1 << cpu,
        },
        SgiTargetGroup::Group0,
    )
}
