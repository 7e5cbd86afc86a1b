//! Ending the machine: power off and reset by the secure GPIO, a status as the last line of the console.
//!
//! **Invariant:** nothing here returns.

use core::arch::asm;
use core::ptr;

use tally_board_virt as virt;

use crate::console;

/// Offset of GPIODIR.
const DIRECTION: u64 = 0x400;

/// Powers the machine off.
pub(crate) fn off() -> ! {
    raise(virt::POWER_OFF_LINE)
}

/// Resets the machine.
pub(crate) fn reset() -> ! {
    raise(virt::RESET_LINE)
}

/// Powers the machine off with a status for whoever reads the console.
pub(crate) fn exit(status: u64) -> ! {
    console::last_line(format_args!("{}{status}", virt::images::STATUS));
    off()
}

/// Raises one line of the secure GPIO, and stops: QEMU acts on it in its main loop.
fn raise(line: u32) -> ! {
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
    loop {
        // SAFETY: waits; EL3 has all interrupts masked.
        unsafe { asm!("wfi", options(nomem, nostack)) };
    }
}
