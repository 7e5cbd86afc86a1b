//! Overflow of a TA's stack, told from other faults.
//!
//! **Invariant:** says nothing of a stack that the TA has made itself.

use crate::book::Book;
use crate::ta::instance::Instance;
use crate::ta::task::Death;
use tally_mem::addr::UserVa;
use tally_mem::machine::{Access, Machine, UserContext};
use tally_mem::space::AddressSpace;
use zerocopy::IntoBytes;

/// How far below its stack a TA may reach with one frame. Beyond that its stack pointer is wild.
const REACH: u64 = 16 << 20;
/// How far below the stack pointer a store may be that makes room for what it stores (`STP Xn, Xm, [SP, #-512]!`).
const PRE_INDEX: u64 = 512;

/// How many bytes of stack a TA needed, at least, that died of having too few.
pub fn overflow<M: Machine, O: Book>(
    machine: &M,
    instance: &Instance<O>,
    context: &UserContext,
    death: &Death,
) -> Option<u64> {
    let Death::Abort(abort) = death else {
        return None;
    };
    let low = instance.stack_low();
    let below = low.saturating_sub(REACH)..low;
    let by_stack_pointer = abort.va >= context.sp.saturating_sub(PRE_INDEX)
        && (context.sp < low || abort.va < low)
        && abort.va < instance.stack_top;
    let lowest = abort.va.min(context.sp);
    let space = instance.space.as_ref()?;
    if context.sp < low
        && space
            .check_access(UserVa(context.sp), 1, Access::Write)
            .is_ok()
    {
        return None;
    }
    if abort.access == Access::Execute || !by_stack_pointer || !below.contains(&lowest) {
        return None;
    }
    let target = probed(machine, space, context).filter(|target| below.contains(target));
    Some(instance.stack_top - target.unwrap_or(lowest).min(lowest))
}

/// Where the stack pointer is to go while a compiler's loop touches a large frame page by page:
/// `CMP SP, Xn` and then, where it stands, `STR XZR, [SP]`.
fn probed<M: Machine>(machine: &M, space: &AddressSpace, context: &UserContext) -> Option<u64> {
    const COMPARE: u32 = 0xeb20_63ff;
    const REGISTER: u32 = 0x1f << 16;
    const STORE: u32 = 0xf900_03ff;
    let mut code = [0_u32; 2];
    let at = UserVa(context.pc.checked_sub(4)?);
    let is_probe = space.peek(machine, at, code.as_mut_bytes())
        && code[0] & !REGISTER == COMPARE
        && code[1] == STORE;
    let register = (code[0] & REGISTER) >> 16;
    context
        .x
        .get(register as usize)
        .filter(|_| is_probe)
        .copied()
}
