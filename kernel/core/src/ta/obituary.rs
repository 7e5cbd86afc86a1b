//! Crash report of a TA on the secure console: cause, registers, call stack, memory.
//!
//! **Invariant:** reads the dead TA's memory from outside, as far as it is mapped, and a bounded
//! number of frames.

use crate::book::Book;
use crate::ta::instance::Instance;
use crate::ta::task::{Cause, Death};
use log::error;
use tally_mem::addr::UserVa;
use tally_mem::machine::{Machine, UserContext};
use tally_mem::region::Prot;
use tally_mem::space::Target;
use zerocopy::IntoBytes;

/// Most frames of a call stack that are shown.
const MAX_DEPTH: usize = 16;

/// Writes it.
pub fn write<M: Machine, O: Book>(
    machine: &M,
    instance: &Instance<O>,
    context: &UserContext,
    death: &Death,
) {
    match death {
        Death::Panic(code) => error!("TA panicked with code {code:#x}"),
        Death::Abort(abort) => error!(
            "User mode {:?} abort at address {:#x} ({}), esr {:#x}",
            abort.access,
            abort.va,
            if abort.translation {
                "nothing mapped"
            } else {
                "permission"
            },
            abort.esr
        ),
        Death::Fault(esr) => error!("User mode exception, esr {esr:#x}"),
    }
    if matches!(instance.fate, Some(fate) if fate.cause == Cause::StackOverflow) {
        error!(
            "Stack overflow: {} bytes or more in a stack of {}",
            instance.stack_deepest, instance.stack_len
        );
    }
    error!("Status of TA {}", instance.uuid);
    error!(" arch: aarch64  load address: {:#x}", instance.load_base);
    for row in (0..28).step_by(4) {
        let x = &context.x[row..];
        error!(
            " x{row:<2} {:016x} {:016x} {:016x} {:016x}",
            x[0], x[1], x[2], x[3]
        );
    }
    error!(
        " x28 {:016x} fp {:016x} lr {:016x} sp {:016x}",
        context.x[28], context.x[29], context.x[30], context.sp
    );
    error!(" pc  {:016x}", context.pc);
    call_stack(machine, instance, context);
    status(machine, instance);
}

/// Writes the regions of an instance, as OP-TEE does on a crash.
pub fn status<M: Machine, O: Book>(machine: &M, instance: &Instance<O>) {
    let Some(space) = &instance.space else { return };
    for (n, region) in space.regions().iter().enumerate() {
        let pa = match space.first_page(machine, region) {
            Some(Target::Secure(pa) | Target::Normal(pa)) => pa.0,
            None => 0,
        };
        let flag = |prot, letter| {
            if region.prot().contains(prot) {
                letter
            } else {
                '-'
            }
        };
        error!(
            " region {n:2}: va {:#x} pa {pa:#010x} size {:#08x} flags {}{}{} {:?}",
            region.va().0,
            region.bytes(),
            flag(Prot::READ, 'r'),
            flag(Prot::WRITE, 'w'),
            flag(Prot::EXECUTE, 'x'),
            region.kind()
        );
    }
}

fn call_stack<M: Machine, O: Book>(machine: &M, instance: &Instance<O>, context: &UserContext) {
    error!("Call stack:");
    walk(machine, instance, context, |pc| {
        match instance.image_offset(pc) {
            Some(offset) => error!(" {}+{offset:#x}", instance.uuid),
            None => error!(" {pc:#x}"),
        }
        true
    });
}

/// Walks a TA's stack by frame pointers from where it stands, innermost first, while `each` wants
/// more. A TA's stack is what the TA makes of it: addresses may be anything.
pub fn walk<M: Machine, O: Book>(
    machine: &M,
    instance: &Instance<O>,
    context: &UserContext,
    mut each: impl FnMut(u64) -> bool,
) {
    if each(context.pc) {
        walk_frames(machine, instance, context.x[29], each);
    }
}

/// As [`walk`], from a frame pointer: only the addresses that are returned to.
pub fn walk_frames<M: Machine, O: Book>(
    machine: &M,
    instance: &Instance<O>,
    mut frame: u64,
    mut each: impl FnMut(u64) -> bool,
) {
    let Some(space) = &instance.space else { return };
    for _ in 1..MAX_DEPTH {
        // A frame record: the caller's frame pointer and the return address.
        let mut record = [0_u64; 2];
        let aligned = frame != 0 && frame.is_multiple_of(8);
        if !aligned || !space.peek(machine, UserVa(frame), record.as_mut_bytes()) {
            break;
        }
        if record[0] <= frame && record[0] != 0 || record[1] == 0 {
            break;
        }
        frame = record[0];
        if !each(record[1]) {
            break;
        }
    }
}
