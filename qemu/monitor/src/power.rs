//! Ending the machine: power off and reset by the secure GPIO, exit status by semihosting.
//!
//! **Invariant:** nothing here returns.

use core::arch::asm;
use core::ptr;

use tally_board_virt as virt;

/// Offset of GPIODIR.
const DIRECTION: u64 = 0x400;

/// Semihosting SYS_EXIT (Arm semihosting 2.0, 7.7) and its reason for an ordinary end.
const SYS_EXIT: u64 = 0x18;
const APPLICATION_EXIT: u64 = 0x2_0026;

/// Powers the machine off; falls back to a semihosting exit with status 0.
pub(crate) fn off() -> ! {
    raise(virt::POWER_OFF_LINE);
    exit(0)
}

/// Resets the machine; falls back to a semihosting exit with status 1.
pub(crate) fn reset() -> ! {
    raise(virt::RESET_LINE);
    exit(1)
}

/// Ends the machine with `status` as QEMU's exit status. Without semihosting this is an undefined
/// instruction: call [`off`] instead if that has happened once.
pub(crate) fn exit(status: u64) -> ! {
    let block = [APPLICATION_EXIT, status];
    // SAFETY: the debugger reads `block`, which outlives the call, and does not return to us.
    unsafe {
        asm!("hlt #0xf000", inout("x0") SYS_EXIT => _, in("x1") block.as_ptr(), options(nostack));
    }
    halt()
}

/// Raises one line of the secure GPIO, and gives the machine time to notice.
pub(crate) fn raise_power_off() {
    raise(virt::POWER_OFF_LINE);
}

fn raise(line: u32) {
    let mask = 1u8 << line;
    // The data register's address bits 9:2 choose which lines a write changes.
    let data = (virt::SECURE_GPIO + (1 << (line + 2))) as *mut u8;
    let direction = (virt::SECURE_GPIO + DIRECTION) as *mut u8;
    // SAFETY: the PL061's registers, mapped as device memory; only a CPU that ends the machine is here.
    unsafe {
        ptr::write_volatile(direction, ptr::read_volatile(direction) | mask);
        ptr::write_volatile(data, 0);
        ptr::write_volatile(data, mask);
    }
    // QEMU acts on it in its main loop; this CPU goes on until then.
    for _ in 0..1_000_000 {
        core::hint::spin_loop();
    }
}

/// Stops this CPU for good.
pub(crate) fn halt() -> ! {
    loop {
        // SAFETY: waits; EL3 has all interrupts masked.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
}
