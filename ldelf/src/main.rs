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
    use ldelf::{Extent, ImageFault, Protection, System};
    use tally_abi::ldelf::{LdelfArg, map_flag, svc, task};
    use tally_abi::{TeeResult, TeeUuid};
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

    impl From<ImageFault> for Failure {
        fn from(why: ImageFault) -> Self {
            Self::Image(why)
        }
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

    /// The kernel's calls.
    struct Kernel {
        /// Whose faults there would be.
        module: TeeUuid,
    }

    impl System<'static> for Kernel {
        type Error = Failure;

        fn concerns(&mut self, module: TeeUuid) {
            self.module = module;
        }

        fn open(&mut self, library: TeeUuid) -> Result<&'static [u8], Failure> {
            let (mut address, mut len) = (0_u64, 0_u64);
            let (uuid, at, of) = (&raw const library, &raw mut address, &raw mut len);
            check(call(
                svc::OPEN_BIN,
                [uuid as u64, at as u64, of as u64, 0, 0],
            ))?;
            // SAFETY: the kernel has mapped the file there, read-only, for as long as we run.
            Ok(unsafe { slice::from_raw_parts(address as *const u8, len as usize) })
        }

        fn map(&mut self, len: u64) -> Result<u64, Failure> {
            map(len, GUARD, 0)
        }

        fn memory(&mut self, address: u64, len: u64) -> &mut [u8] {
            // SAFETY:
            // 1. The kernel has mapped these bytes, readable and writable: our caller gives a mapping of this run's.
            // 2. Nothing else refers to them: it borrows all of us, and `look` is for what was mapped in earlier runs.
            unsafe { slice::from_raw_parts_mut(address as *mut u8, len as usize) }
        }

        fn protect(&mut self, base: u64, pages: Protection) -> Result<(), Failure> {
            let at = base + pages.address;
            check(call(
                svc::SET_PROT,
                [at, pages.len, pages.prot.bits(), 0, 0],
            ))
        }

        fn unmap(&mut self, address: u64, len: u64) -> Result<(), Failure> {
            check(call(svc::UNMAP, [address, len, 0, 0, 0]))
        }

        fn look(&self, at: Extent) -> &'static [u8] {
            if at.len == 0 {
                return &[];
            }
            // SAFETY: an earlier run of ours left the place in memory that the TA cannot write, and the TA does not run
            // before we return.
            unsafe { slice::from_raw_parts(at.address as *const u8, at.len as usize) }
        }

        fn read(&mut self, address: u64) -> [u8; 16] {
            // SAFETY: the place is in a module of the TA's, all of which is mapped; no reference to it is held.
            unsafe { (address as *const [u8; 16]).read_unaligned() }
        }

        fn write(&mut self, address: u64, bytes: [u8; 16]) {
            // SAFETY: as above. What is not writable ends the TA by a fault, as a write of its own would.
            unsafe { (address as *mut [u8; 16]).write_unaligned(bytes) }
        }
    }

    extern "C" fn start(arg: *mut LdelfArg) -> ! {
        // SAFETY: the kernel enters us with a pointer to an argument that is ours alone, `name_len` bytes behind it.
        let (arg, name) = unsafe {
            let name = slice::from_raw_parts(arg.add(1).cast::<u8>(), (*arg).name_len as usize);
            (&mut *arg, name)
        };
        let mut kernel = Kernel {
            module: TeeUuid::nil(),
        };
        let link_map = Extent {
            address: arg.link_map,
            len: arg.link_map_len,
        };
        let done = match arg.task {
            task::LOAD => load(&mut kernel, arg),
            task::OPEN => ldelf::open(&mut kernel, link_map, arg.uuid).map(|at| put_map(arg, at)),
            _ => {
                let of = (!arg.uuid.is_nil()).then_some(arg.uuid);
                let found = ldelf::symbol(&kernel, link_map, of, name);
                found.map(|at| arg.entry = at).map_err(Failure::from)
            }
        };
        match done {
            Ok(()) => finish(0),
            Err(Failure::Kernel(code)) => {
                arg.why_of = kernel.module;
                finish(code)
            }
            Err(Failure::Image(why)) => {
                (arg.why, arg.why_of) = (why.code(), kernel.module);
                finish(u64::from(TeeResult::from(why).0))
            }
        }
    }

    fn load(kernel: &mut Kernel, arg: &mut LdelfArg) -> Result<(), Failure> {
        // SAFETY: the kernel has mapped the file there, read-only, for as long as we run.
        let image =
            unsafe { slice::from_raw_parts(arg.image_va as *const u8, arg.image_len as usize) };
        let program = ldelf::load(kernel, image, arg.uuid)?;
        // The kernel maps whole pages of it.
        let stack = map(program.stack_len, GUARD, map_flag::STACK)?;
        arg.entry = program.entry;
        arg.stack_ptr = stack + program.stack_len;
        arg.stack_len = program.stack_len;
        arg.load_base = program.base;
        arg.load_len = program.span;
        arg.flags = program.flags;
        arg.free_lists = program.free_lists.0;
        put_map(arg, program.link_map);
        Ok(())
    }

    const fn put_map(arg: &mut LdelfArg, at: Extent) {
        arg.link_map = at.address;
        arg.link_map_len = at.len;
    }

    /// Only a bug gets here. No message: formatting it would need relocations.
    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        loop {
            call(svc::PANIC, [u64::from(TeeResult::GENERIC.0), 0, 0, 0, 0]);
        }
    }
}
