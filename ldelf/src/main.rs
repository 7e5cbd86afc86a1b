//! The loader at EL0: maps memory, applies the plan, and returns to the kernel.
//!
//! **Invariant:** nothing of a refused image stays usable: the kernel drops the address space of
//! an `ldelf` that returns an error. This image itself needs no relocation.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod el0 {
    use core::arch::{asm, global_asm};
    use core::slice;
    use ldelf::ImageFault;
    use tally_abi::TeeResult;
    use tally_abi::ldelf::{LdelfArg, map_flag, svc};
    use tally_memops as _;

    global_asm!(
        ".section .text._start, \"ax\"",
        ".globl _start",
        "_start:",
        "mov x29, xzr",
        "mov x30, xzr",
        "b {main}",
        main = sym start,
    );

    /// Room kept free on both sides of the image.
    const GUARD: u64 = 4096;

    /// System call `number`.
    #[inline(always)]
    fn call(number: u64, args: [u64; 5]) -> u64 {
        let [mut x0, x1, x2, x3, x4] = args;
        // SAFETY:
        // 1. The kernel changes no memory of ours but through pointers among `args`, which our
        //    callers derive from live objects; hence no `readonly` or `nomem` here.
        // 2. It preserves all registers but x0.
        unsafe {
            asm!("svc #0", in("x8") number, inlateout("x0") x0, in("x1") x1, in("x2") x2,
                 in("x3") x3, in("x4") x4, options(nostack));
        }
        x0
    }

    fn finish(code: u64) -> ! {
        loop {
            call(svc::RETURN, [code, 0, 0, 0, 0]);
        }
    }

    /// What went wrong: the image, or a system call.
    enum Failure {
        Image(ImageFault),
        Kernel(u64),
    }

    fn check(code: u64) -> Result<(), Failure> {
        if code == 0 {
            Ok(())
        } else {
            Err(Failure::Kernel(code))
        }
    }

    /// Maps `len` zeroed bytes where the kernel likes.
    fn map(len: u64, pad: u64, flags: u64) -> Result<u64, Failure> {
        let mut address = 0_u64;
        let at = &raw mut address as u64;
        check(call(svc::MAP_ZI, [at, len, pad, pad, flags]))?;
        Ok(address)
    }

    extern "C" fn start(arg: *mut LdelfArg) -> ! {
        // SAFETY: the kernel enters us with a pointer to an argument that is ours alone.
        let arg = unsafe { &mut *arg };
        match load(arg) {
            Ok(()) => finish(0),
            Err(Failure::Kernel(code)) => finish(code),
            Err(Failure::Image(why)) => {
                arg.why = why.code();
                finish(u64::from(TeeResult::from(why).0))
            }
        }
    }

    fn load(arg: &mut LdelfArg) -> Result<(), Failure> {
        // SAFETY: the kernel has mapped the file there, read-only, for as long as we run.
        let image =
            unsafe { slice::from_raw_parts(arg.image_va as *const u8, arg.image_len as usize) };
        let plan = ldelf::plan(image, arg.uuid).map_err(Failure::Image)?;

        let base = map(plan.span, GUARD, 0)?;
        // SAFETY:
        // 1. The kernel has just mapped these bytes, readable, writable and zero.
        // 2. Nothing else refers to them; the slice ends before their permissions change.
        let memory = unsafe { slice::from_raw_parts_mut(base as *mut u8, plan.span as usize) };
        plan.apply(memory, base).map_err(Failure::Image)?;
        for pages in plan.protections() {
            let address = base + pages.address;
            check(call(
                svc::SET_PROT,
                [address, pages.len, pages.prot.bits(), 0, 0],
            ))?;
        }

        let stack = map(plan.stack_len, GUARD, map_flag::STACK)?;
        arg.entry = base + plan.entry;
        arg.stack_ptr = stack + plan.stack_len;
        arg.stack_len = plan.stack_len;
        arg.load_base = base;
        arg.load_len = plan.span;
        arg.flags = plan.head.flags;
        Ok(())
    }

    /// Only a bug gets here. No message: formatting it would need relocations.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {
            call(svc::PANIC, [u64::from(TeeResult::GENERIC.0), 0, 0, 0, 0]);
        }
    }
}
