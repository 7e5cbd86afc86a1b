//! A normal world that tests the monitor together with `fake_kernel`, on two CPUs.
//!
//! Needs two CPUs and semihosting. The word at `MODE` (a loader device) says what to do: 0 all checks,
//! exit status 0 or the number of the check that failed; 1 SYSTEM_OFF (QEMU's status 0); 2
//! SYSTEM_RESET (the same with `-no-reboot`); 3 fast calls in a loop, for counting instructions (exit
//! status: instructions of a round); 4 reads secure RAM (exit status 99: it gets an abort).
//!
//! Flash is the monitor with `fake_kernel`'s raw image in place of the kernel's; this image's raw
//! bytes go to `NORMAL_BASE`.
//!
//! **Invariant:** runs with the MMU off, so all accesses are aligned; no formatting.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use core::arch::{asm, global_asm};
    use core::ptr;
    use core::sync::atomic::{AtomicU64, Ordering};

    use tally_board_virt as virt;

    /// Physical address of the mode word.
    const MODE: usize = virt::RAM_BASE as usize + 0x700_0000;
    /// Where the second CPU starts.
    const ENTRY_2: u64 = virt::images::NORMAL_BASE + 0x40;
    /// Where the first comes back from a power-down suspend.
    const ENTRY_RESUMED: u64 = virt::images::NORMAL_BASE + 0x80;

    global_asm!(
        r#"
.section .text.normal, "ax"
.global payload_entry
payload_entry:
    ldr     x1, ={STACK}
    mov     sp, x1
    mov     x19, x0
    adr     x1, vectors
    msr     vbar_el1, x1
    mrs     x1, currentel
    mrs     x2, daif
    mov     x0, x19
    bl      primary
    .balign 64
    // ENTRY_2: second CPU
    ldr     x1, ={STACK} + 0x10000
    mov     sp, x1
    adr     x1, vectors
    msr     vbar_el1, x1
    bl      secondary
    .balign 64
    // ENTRY_RESUMED: first CPU, resumed
    ldr     x1, ={STACK}
    mov     sp, x1
    adr     x1, vectors
    msr     vbar_el1, x1
    mrs     x1, sctlr_el1
    bl      resumed
.ltorg
.balign 2048
vectors:
    .rept 16
    .balign 128
    mov     x0, #99
    b       unexpected
    .endr
"#,
        STACK = const virt::RAM_BASE + 0x601_0000,
    );

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        exit(98)
    }

    #[unsafe(no_mangle)]
    extern "C" fn unexpected(status: u64) -> ! {
        exit(status)
    }

    fn exit(status: u64) -> ! {
        let block = [0x2_0026u64, status];
        loop {
            // SAFETY: semihosting SYS_EXIT reads `block`.
            unsafe { asm!("hlt #0xf000", in("x0") 0x18u64, in("x1") block.as_ptr()) };
        }
    }

    /// Lets another virtual CPU run (QEMU's `wfe` never waits long).
    fn relax() {
        // SAFETY: a hint.
        unsafe { asm!("wfe", options(nomem, nostack)) };
    }

    fn check(number: u64, holds: bool) {
        if !holds {
            exit(number);
        }
    }

    fn smc(a: [u64; 8]) -> [u64; 4] {
        let (r0, r1, r2, r3);
        // SAFETY: an SMC changes x0..x3 only (SMCCC 1.2), which is what this tests.
        unsafe {
            asm!("smc #0", inout("x0") a[0] => r0, inout("x1") a[1] => r1,
                inout("x2") a[2] => r2, inout("x3") a[3] => r3,
                in("x4") a[4], in("x5") a[5], in("x6") a[6], in("x7") a[7], options(nostack));
        }
        [r0, r1, r2, r3]
    }

    fn call(id: u64, x1: u64, x2: u64, x3: u64) -> [u64; 4] {
        smc([id, x1, x2, x3, 0, 0, 0, 0])
    }

    fn psci(id: u64, x1: u64, x2: u64, x3: u64) -> i64 {
        call(id, x1, x2, x3)[0] as i64
    }

    macro_rules! write_sys {
        ($name:literal, $value:expr) => {
            // SAFETY: nothing here depends on these registers.
            unsafe { asm!(concat!("msr ", $name, ", {}"), in(reg) $value) }
        };
    }
    macro_rules! read_sys {
        ($name:literal) => {{
            let value: u64;
            // SAFETY: reading has no side effect.
            unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value) };
            value
        }};
    }

    const CPU_ON: u64 = 0xc400_0003;
    const AFFINITY_INFO: u64 = 0xc400_0004;
    const OFF: i64 = 1;

    /// The round that the second CPU may finish.
    static GO: AtomicU64 = AtomicU64::new(0);
    /// The round that it has finished.
    static SECOND: AtomicU64 = AtomicU64::new(0);
    static SECOND_CALL: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

    #[unsafe(no_mangle)]
    extern "C" fn primary(x0: u64, current_el: u64, daif: u64) -> ! {
        check(1, x0 == virt::RAM_BASE && daif == 0x3c0);
        check(2, current_el == 4 || current_el == 8);
        // SAFETY: RAM.
        match unsafe { ptr::read_volatile(MODE as *const u32) } {
            0 => all(),
            1 => psci(0x8400_0008, 0, 0, 0),
            2 => psci(0x8400_0009, 0, 0, 0),
            3 => count(),
            // SAFETY: faults, on purpose.
            _ => i64::from(unsafe { ptr::read_volatile(virt::KERNEL_BASE as *const u32) }),
        };
        exit(97)
    }

    fn all() -> ! {
        // Identity and unknown calls.
        check(10, psci(0x8400_0000, 0, 0, 0) == 0x1_0001);
        check(11, psci(0x8000_0000, 0, 0, 0) == 0x1_0002);
        check(12, psci(0x8000_0001, 0x8000_0000, 0, 0) == 0);
        check(13, psci(0x8000_0001, 0x8000_8000, 0, 0) == -1);
        check(14, psci(0xc300_0000, 0, 0, 0) == -1);
        check(15, psci(0xbe00_0006, 1, 2, 3) == 0x55); // Owner 62: the kernel's to refuse.
        check(16, psci(0x8400_000a, CPU_ON, 0, 0) == 0);
        check(17, psci(0x8400_0006, 0, 0, 0) == 2);

        // Calls into the secure world.
        check(20, call(0xb200_0001, 10, 20, 30) == [11, 21, 31, 0x22]);
        let sum = 0x3200_0004 + 1 + 2 + 3 + 4 + 5 + 6 + 7;
        let result = smc([0x3200_0004, 1, 2, 3, 4, 5, 6, 7]);
        check(21, result == [sum, 0x5e_c000, 0, 0x11]);
        check(22, call(0xb200_0003, 0, 0, 0)[..2] == [u64::MAX, u64::MAX]);

        // EL1 registers of this world survive a secure world that overwrites them.
        write_sys!("csselr_el1", 1u64);
        write_sys!("elr_el1", 0x1110u64);
        write_sys!("far_el1", 0x2220u64);
        write_sys!("esr_el1", 0x3330u64);
        write_sys!("spsr_el1", 0x3c4u64);
        write_sys!("tpidr_el0", 0x5550u64);
        write_sys!("tpidrro_el0", 0x6660u64);
        write_sys!("tpidr_el1", 0x7770u64);
        write_sys!("contextidr_el1", 0x8880u64);
        write_sys!("cpacr_el1", 3u64 << 20);
        write_sys!("mair_el1", 0x9990u64);
        let par = read_sys!("par_el1");
        check(23, call(0xb200_0004, 0, 0, 0)[0] == 0);
        check(
            24,
            read_sys!("csselr_el1") == 1 && read_sys!("elr_el1") == 0x1110,
        );
        check(
            25,
            read_sys!("far_el1") == 0x2220 && read_sys!("esr_el1") == 0x3330,
        );
        check(
            26,
            read_sys!("spsr_el1") == 0x3c4 && read_sys!("tpidr_el0") == 0x5550,
        );
        check(
            27,
            read_sys!("tpidrro_el0") == 0x6660 && read_sys!("tpidr_el1") == 0x7770,
        );
        check(
            28,
            read_sys!("contextidr_el1") == 0x8880 && read_sys!("mair_el1") == 0x9990,
        );
        check(
            29,
            read_sys!("cpacr_el1") == 3 << 20 && read_sys!("par_el1") == par,
        );
        check(30, gp_survive());

        // Floating point and, where there is some, SVE are this world's to use.
        write_sys!("cpacr_el1", 3u64 << 20 | 3 << 16);
        let has_sve = (read_sys!("id_aa64pfr0_el1") >> 32) & 0xf != 0;
        // SAFETY: fmov d0, #1.0; ptrue p0.b; no compiled code here uses these registers.
        unsafe {
            asm!("isb", ".inst 0x1e6e1000");
            if has_sve {
                asm!(".inst 0x2518e3e0");
            }
        }

        // A secure interrupt while this world runs.
        check(31, call(0xb200_0002, 0, 0, 0)[0] == 0);
        check(32, smc([0x3200_0004, 0, 0, 0, 0, 0, 0, 0])[2] == 1);

        // PSCI: refusals.
        check(40, psci(AFFINITY_INFO, 0, 0, 0) == 0);
        check(41, psci(AFFINITY_INFO, 1, 0, 0) == OFF);
        check(42, psci(CPU_ON, 1, virt::KERNEL_BASE, 0) == -9);
        check(43, psci(CPU_ON, 9, ENTRY_2, 0) == -2);
        check(44, psci(CPU_ON, 0, ENTRY_2, 0) == -4);
        check(45, psci(AFFINITY_INFO, 1, 0, 0) == OFF);

        // The second CPU up, down, and up again.
        for round in 1..=3u64 {
            check(50, psci(CPU_ON, 1, ENTRY_2, round) == 0);
            let again = psci(CPU_ON, 1, ENTRY_2, round);
            check(51, again == -4 || again == -5);
            GO.store(round, Ordering::Release);
            while SECOND.load(Ordering::Acquire) != round {
                relax();
            }
            check(52, SECOND_CALL[0].load(Ordering::Relaxed) == 6);
            check(53, SECOND_CALL[1].load(Ordering::Relaxed) == 0x5e_c001);
            check(54, SECOND_CALL[2].load(Ordering::Relaxed) == 1);
            while psci(AFFINITY_INFO, 1, 0, 0) != OFF {
                relax();
            }
        }
        interrupts()
    }

    /// The normal world's own interrupts: it can set them up, they wake it from a suspend, and the
    /// secure world sees them as FIQ.
    fn interrupts() -> ! {
        /// Virtual timer, interrupt id 27; the first redistributor's GICR_ISENABLER0.
        const TIMER: u32 = 27;
        const ENABLE: usize = virt::GICR as usize + 0x1_0000 + 0x100;
        const PRIORITY: usize = ENABLE + 0x300 + TIMER as usize;
        check(60, call(0xb200_0005, 0, 0, 0)[0] == 0);
        // SAFETY: this world's part of the GIC.
        unsafe {
            ptr::write_volatile(ENABLE as *mut u32, 0xffff_ffff);
            // The secure SGIs' bits are not this world's to see.
            check(61, ptr::read_volatile(ENABLE as *const u32) & 0xff00 == 0);
            ptr::write_volatile(ENABLE.wrapping_add(0x80) as *mut u32, !(1 << TIMER));
            ptr::write_volatile(PRIORITY as *mut u8, 0x80);
        }
        write_sys!("S3_0_C12_C12_5", 7u64); // ICC_SRE_EL1
        write_sys!("S3_0_C4_C6_0", 0xf0u64); // ICC_PMR_EL1
        write_sys!("S3_0_C12_C12_7", 1u64); // ICC_IGRPEN1_EL1
        write_sys!("cntv_tval_el0", 100_000u64);
        write_sys!("cntv_ctl_el0", 1u64);
        check(62, psci(0xc400_0001, 1, 0, 0) == 0);
        check(63, read_sys!("isr_el1") == 1 << 7);
        check(64, call(0xb200_0005, 0, 0, 0)[0] == 1 << 6);
        write_sys!("tpidr_el1", 0x77u64);
        psci(0xc400_0001, 1 << 30, ENTRY_RESUMED, 0x1234);
        exit(65)
    }

    #[unsafe(no_mangle)]
    extern "C" fn resumed(context_id: u64, sctlr: u64) -> ! {
        check(66, context_id == 0x1234 && sctlr & 1 == 0);
        check(67, call(0xb200_0001, 1, 0, 0)[0] == 2);
        exit(0)
    }

    /// Puts a value in x4..x30, calls the secure world, and sees whether all are still there.
    fn gp_survive() -> bool {
        let differences: u64;
        // SAFETY: all registers that change are named or saved on the stack.
        unsafe {
            asm!(
                "stp x29, x30, [sp, #-32]!",
                "str x19, [sp, #16]",
                "ldr x0, =0xb2000001",
                "mov x4, #4", "mov x8, #8", "mov x12, #12", "mov x16, #16", "mov x17, #17",
                "mov x18, #18", "mov x19, #19", "mov x28, #28", "mov x29, #29", "mov x30, #30",
                "smc #0",
                "sub x4, x4, #4", "sub x8, x8, #8", "sub x12, x12, #12", "sub x16, x16, #16",
                "sub x17, x17, #17", "sub x18, x18, #18", "sub x19, x19, #19", "sub x28, x28, #28",
                "sub x29, x29, #29", "sub x30, x30, #30",
                "orr x4, x4, x8", "orr x4, x4, x12", "orr x4, x4, x16", "orr x4, x4, x17",
                "orr x4, x4, x18", "orr x4, x4, x19", "orr x4, x4, x28", "orr x4, x4, x29",
                "orr x4, x4, x30",
                "ldr x19, [sp, #16]",
                "ldp x29, x30, [sp], #32",
                out("x0") _, out("x1") _, out("x2") _, out("x3") _, out("x4") differences,
                out("x8") _, out("x12") _, out("x16") _, out("x17") _, out("x28") _,
            );
        }
        differences == 0
    }

    #[unsafe(no_mangle)]
    extern "C" fn secondary(context_id: u64) -> ! {
        while GO.load(Ordering::Acquire) != context_id {
            relax();
        }
        let result = smc([0x3200_0000, 1, 1, 1, 1, 1, 1, 0]);
        SECOND_CALL[0].store(result[0].wrapping_sub(0x3200_0000), Ordering::Relaxed);
        SECOND_CALL[1].store(result[1], Ordering::Relaxed);
        call(0xb200_0002, 0, 0, 0);
        let result = smc([0x3200_0000, 1, 1, 1, 1, 1, 1, 0]);
        SECOND_CALL[2].store(result[2], Ordering::Relaxed);
        SECOND.store(context_id, Ordering::Release);
        psci(0x8400_0002, 0, 0, 0);
        exit(96)
    }

    /// Fast calls, between two counter reads; under `-icount shift=0` the exit status is the
    /// instructions of one round, modulo 256 (the counter has 62.5 MHz: 16 instructions a tick).
    fn count() -> ! {
        const CALLS: u64 = 16_000;
        let start = read_sys!("cntpct_el0");
        for _ in 0..CALLS {
            call(0xb200_0001, 0, 0, 0);
        }
        let ticks = read_sys!("cntpct_el0") - start;
        exit(ticks * 16 / CALLS)
    }
}
