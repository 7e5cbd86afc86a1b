//! Instruction cache: instructions that were written become visible to fetches.
//!
//! Source: Arm ARM DDI 0487, B2.4.4 and CTR_EL0.

/// Bytes of the smallest line of the data caches, from CTR_EL0.
const fn line_bytes(ctr: u64) -> usize {
    4 << (ctr >> 16 & 0xf)
}

/// Makes what was written to `start..start + bytes` visible to fetches on all CPUs, at any address.
///
/// # Safety
/// All of it is mapped.
#[cfg(target_os = "none")]
pub(crate) unsafe fn sync(start: *const u8, bytes: usize) {
    use core::arch::asm;

    let ctr;
    // SAFETY: reads a register.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    for offset in (0..bytes).step_by(line_bytes(ctr)) {
        // SAFETY: cleans a line that is mapped, by our contract.
        unsafe {
            asm!("dc cvau, {}", in(reg) start.wrapping_add(offset), options(nostack, preserves_flags));
        }
    }
    // SAFETY: barriers; the code runs at another address than this one, so all of the instruction cache is dropped.
    unsafe {
        asm!(
            "dsb ish",
            "ic ialluis",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sync_code` took 64 bytes for granted.
    #[test]
    fn lines_are_as_long_as_the_cpu_says() {
        // Cortex-A53 and A72: 64 bytes; QEMU's `max`: the same; others: 16 and 128.
        for (ctr, bytes) in [
            (0x8444_8004, 64),
            (0x8444_c004, 64),
            (0x8002_8002, 16),
            (0x8005_8005, 128),
        ] {
            assert_eq!(line_bytes(ctr), bytes, "{ctr:#x}");
        }
    }
}
