//! EL3 firmware for QEMU virt (`secure=on`, GICv3): cold boot, loading Linux, PSCI, the switch between
//! worlds, and the OP-TEE dispatcher's protocol towards the secure kernel.
//!
//! # Memory
//! Code and constants stay in flash; `linker/monitor.ld` and `asm/tables.s` agree on fixed windows
//! (read-only code, read-only constants, writable data; nothing is both writable and executable).
//! Each CPU has 16 KiB of secure RAM: an unmapped guard page, 12 KiB of stack growing down, and at
//! its very top the CPU's [`context::CpuContext`].
//!
//! # Registers
//! While a lower level runs, SP_EL3 is the address of this CPU's context, so an exception finds its
//! save area without a look-up and can call Rust at once, on the stack right below. TPIDR_EL3 is
//! scratch for the vectors. VBAR_EL3, TTBR0_EL3 and the tables never change after reset.
//!
//! # Who handles what
//! - SMC of the normal world, owner 50..=63: `asm/vectors.s`, to the kernel's yielding or fast entry.
//! - SMC of the normal world, any other: [`smc`] (PSCI, SMCCC, else "unknown").
//! - SMC of the secure world: `asm/vectors.s` (CALL_DONE, FIQ_DONE; the others end a
//!   [`world::enter_secure`]).
//! - FIQ in the normal world (a secure interrupt): `asm/vectors.s`, to the kernel's fiq entry. In the
//!   secure world all interrupts go to S-EL1 itself.
//! - Any other exception of a lower level: [`trap`], back to that level as an undefined instruction.
//! - An exception of EL3's own: [`crash`].
//!
//! **Invariant:** no floating point at EL3. Of normal-world memory only the 2 MiB that begin with
//! the device tree are mapped there; they are touched before the normal world runs, never after.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(any(test, target_os = "none"))]
#[cfg(any(test, target_os = "none"))]
mod image;
#[cfg(any(test, target_os = "none"))]
mod package;
#[cfg(any(test, target_os = "none"))]
mod psci;
#[cfg(any(test, target_os = "none"))]
mod undefined;

#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod console;
#[cfg(target_os = "none")]
mod context;
#[cfg(target_os = "none")]
mod crash;
#[cfg(target_os = "none")]
mod fw_cfg;
#[cfg(target_os = "none")]
mod gic;
#[cfg(target_os = "none")]
mod payload;
#[cfg(target_os = "none")]
mod power;
#[cfg(target_os = "none")]
mod smc;
#[cfg(target_os = "none")]
mod sysreg;
#[cfg(target_os = "none")]
mod trap;
#[cfg(target_os = "none")]
mod world;

#[cfg(not(target_os = "none"))]
fn main() {}
