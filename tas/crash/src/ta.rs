//! The ways to crash.
//!
//! **Invariant:** a command that crashes does so the same way every time.
extern crate alloc;

use alloc::vec::Vec;
use core::arch::asm;
use core::hint::black_box;
use ta_runtime::ParamType::{MemrefInput, None as Unused, ValueInput, ValueOutput};
use ta_runtime::abi::TeeResult;
use ta_runtime::abi::ta::svc;
use ta_runtime::{
    Error, ErrorKind, ParamType, Parameters, Result, heap, syscall, ta_invoke_command,
    ta_open_session,
};
use ta_uuids::crash::{self, on_open};

ta_runtime::properties! {
    uuid: crash::UUID,
    flags: 0,
    stack_size: 16 << 10,
    heap_size: 32 << 10,
}

/// An address of the kernel's.
const KERNEL: usize = 0xffff_ffff_8000_0000;
/// Near the end of EL0's addresses, where nothing is mapped.
const WILD: usize = 0x7f_ffff_f000;

#[ta_open_session]
fn open_session(params: &mut Parameters) -> Result<()> {
    if params.0.param_type != ParamType::ValueInput {
        return Ok(());
    }
    match params.0.as_value()?.a() {
        on_open::FINE => Ok(()),
        on_open::REFUSE => Err(Error::new(ErrorKind::AccessDenied)),
        on_open::PANIC => panic!("asked to panic in open session"),
        on_open::LOOP => spin_for_ever(),
        _ => Err(Error::new(ErrorKind::BadParameters)),
    }
}

#[ta_invoke_command]
fn invoke_command(command: u32, params: &mut Parameters) -> Result<()> {
    match command {
        crash::CMD_NULL_READ => read(0),
        crash::CMD_WILD_WRITE => write(WILD),
        crash::CMD_WRITE_CODE => write(invoke_command as *const () as usize),
        crash::CMD_EXEC_DATA => exec_data(),
        crash::CMD_STACK_OVERFLOW => {
            black_box(recurse(black_box(0)));
        }
        crash::CMD_DIVIDE => {
            black_box(1_u32 / black_box(0));
        }
        // SAFETY: traps, which is the point.
        crash::CMD_UNDEFINED => unsafe { asm!("udf #0") },
        // SAFETY: traps, which is the point.
        crash::CMD_BREAKPOINT => unsafe { asm!("brk #7") },
        // SAFETY: `ptrue p0.b`: traps, which is the point.
        crash::CMD_SVE => unsafe { asm!(".inst 0x2518e3e0") },
        crash::CMD_LOOP => spin_for_ever(),
        crash::CMD_PANIC => panic!("asked to panic"),
        crash::CMD_UNALIGNED => return unaligned(),
        crash::CMD_BAD_SYSCALL => return bad_syscall(params),
        crash::CMD_BAD_POINTERS => return bad_pointers(params),
        crash::CMD_KERNEL_READ => read(KERNEL),
        crash::CMD_SYSREG => sysreg(),
        // SAFETY: a register that the kernel and the firmware keep from TAs: traps, which is the point.
        crash::CMD_READ_CYCLES => unsafe { asm!("mrs {0}, pmccntr_el0", out(reg) _) },
        // SAFETY: as above.
        crash::CMD_WRITE_CYCLES => unsafe { asm!("msr pmccntr_el0, xzr") },
        // SAFETY: as above.
        crash::CMD_CHOOSE_COUNTER => unsafe { asm!("msr pmselr_el0, xzr") },
        // SAFETY: `pacga x0, x1, x2`; as above.
        crash::CMD_SIGN => unsafe { asm!(".inst 0x9ac23020", out("x0") _) },
        // SAFETY: SCXTNUM_EL0; as above.
        crash::CMD_READ_CONTEXT => unsafe { asm!("mrs {0}, s3_3_c13_c0_7", out(reg) _) },
        // SAFETY: undefined at EL0: traps, which is the point.
        crash::CMD_SMC => unsafe { asm!("smc #0") },
        crash::CMD_TEE_PANIC => syscall::panic(0x1234),
        crash::CMD_PANIC_HOLDING => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            panic_holding(params.0.as_value()?.a(), &[])?;
        }
        crash::CMD_BIG_FRAME => cleared::<{ crash::BIG_FRAME }>(),
        crash::CMD_ZEROED => cleared::<{ crash::ZEROED }>(),
        crash::CMD_NOP => {}
        crash::CMD_WRITE_INPUT => {
            params.expect([MemrefInput, Unused, Unused, Unused])?;
            params.0.as_memref()?.buffer().fill(0xee);
        }
        crash::CMD_SCRIBBLE => scribble()?,
        _ => return Err(Error::new(ErrorKind::NotSupported)),
    }
    Ok(())
}

#[inline(never)]
fn read(address: usize) {
    let mut value: u32;
    // SAFETY: not sound at all; the kernel ends the TA here.
    unsafe { asm!("ldr {v:w}, [{a}]", v = out(reg) value, a = in(reg) address) };
    black_box(value);
}

#[inline(never)]
fn write(address: usize) {
    // SAFETY: not sound at all; the kernel ends the TA here.
    unsafe { asm!("str wzr, [{a}]", a = in(reg) address) };
}

#[inline(never)]
fn exec_data() {
    // RET, on the stack.
    let code = [0xd65f_03c0_u32; 4];
    // SAFETY: not sound at all; the kernel ends the TA here.
    unsafe { asm!("blr {a}", a = in(reg) code.as_ptr(), clobber_abi("C")) };
}

#[inline(never)]
#[expect(unconditional_recursion, reason = "ends with the stack")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    recurse(depth + 1) + black_box(frame)[3]
}

#[inline(never)]
fn cleared<const BYTES: usize>() {
    let frame = [0_u8; BYTES];
    black_box(&frame);
}

fn spin_for_ever() -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[inline(never)]
fn sysreg() {
    let mut value: u64;
    // SAFETY: undefined at EL0: traps, which is the point.
    unsafe { asm!("mrs {v}, sctlr_el1", v = out(reg) value) };
    black_box(value);
}

fn unaligned() -> Result<()> {
    let mut bytes = [0_u8; 32];
    let at = black_box(bytes.as_mut_ptr().wrapping_add(3)).cast::<u64>();
    let read: u64;
    // SAFETY: eight bytes inside `bytes`; EL0 may access them unaligned.
    unsafe {
        asm!("str {v}, [{a}]", "ldr {r}, [{a}]", v = in(reg) 0x0123_4567_89ab_cdef_u64,
             a = in(reg) at, r = out(reg) read);
    }
    if read == 0x0123_4567_89ab_cdef {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::Generic))
    }
}

fn bad_syscall(params: &mut Parameters) -> Result<()> {
    params.expect([ValueOutput, Unused, Unused, Unused])?;
    let mut said = None;
    for number in [
        svc::MAX + 1,
        0x1000,
        svc::tally::HEAP_GROW + 0x100,
        u64::MAX,
    ] {
        // SAFETY: no such call; the kernel refuses it.
        let code = unsafe { syscall::raw(number, [0; 8]) } as u32;
        if *said.get_or_insert(code) != code {
            return Err(Error::new(ErrorKind::Generic));
        }
    }
    params.0.as_value()?.set_a(said.unwrap_or(0));
    Ok(())
}

fn bad_pointers(params: &mut Parameters) -> Result<()> {
    params.expect([ValueOutput, Unused, Unused, Unused])?;
    let mut room = [0_u64; 16];
    let good = room.as_mut_ptr() as u64;
    let mut calls = 0;
    let mut accepted = 0;
    let kernel = KERNEL as u64;
    for bad in [
        0,
        8,
        kernel,
        kernel + 0x1000,
        u64::MAX - 7,
        WILD as u64,
        1 << 39,
        1 << 55,
    ] {
        let lists: [(u64, [u64; 5]); 12] = [
            (svc::LOG, [bad, 16, 0, 0, 0]),
            (svc::LOG, [good, u64::MAX - 15, 0, 0, 0]),
            (svc::RANDOM, [bad, 16, 0, 0, 0]),
            (svc::RANDOM, [good, u64::MAX, 0, 0, 0]),
            (svc::GET_TIME, [0, bad, 0, 0, 0]),
            (svc::GET_CANCELLATION_FLAG, [bad, 0, 0, 0, 0]),
            (svc::OPEN_TA_SESSION, [bad, 0, good, good, good]),
            (svc::OPEN_TA_SESSION, [good, 0, bad, good, good]),
            (svc::OPEN_TA_SESSION, [good, 0, good, bad, good]),
            (svc::INVOKE_TA_COMMAND, [0, 0, 0, bad, good]),
            (svc::CLOSE_TA_SESSION, [bad, 0, 0, 0, 0]),
            (svc::tally::HEAP_RESERVE, [4096, bad, 0, 0, 0]),
        ];
        for (number, [a, b, c, d, e]) in lists {
            calls += 1;
            // SAFETY: what is bad is refused; what is good is ours, 128 bytes long.
            let code = unsafe { syscall::raw(number, [a, b, c, d, e, 0, 0, 0]) } as u32;
            if code == TeeResult::SUCCESS.0 {
                accepted += 1;
            }
        }
    }
    let mut value = params.0.as_value()?;
    value.set_a(calls);
    value.set_b(accepted);
    Ok(())
}

#[inline(never)]
fn panic_holding(depth: u32, above: &[u8]) -> Result<()> {
    let mut block = Vec::new();
    block.try_reserve_exact(64 + above.len())?;
    block.resize(64, depth as u8);
    assert!(depth != 0, "asked to panic, holding blocks");
    panic_holding(depth - 1, black_box(&block))
}

/// Overwrites the books of its own heap, which lie before all blocks.
fn scribble() -> Result<()> {
    /// Behind the magic number and the version.
    const FROM: usize = 64;
    let mut block = Vec::new();
    block.try_reserve_exact(64)?;
    block.resize(64, 1_u8);
    let base = heap::base();
    for at in (base + FROM..base + 5 * FROM).step_by(size_of::<u64>()) {
        // SAFETY: the heap's books, in the TA's own memory; the TA does not rely on them any more.
        unsafe { (at as *mut u64).write_volatile(0xa5a5_a5a5_a5a5_a5a5) };
    }
    // Giving it back would need the books.
    core::mem::forget(block);
    Ok(())
}
