//! Crash report of a TA on the secure console: cause, registers, call stack, memory.
//!
//! **Invariant:** reads the dead TA's memory from outside, as far as it is mapped, and a bounded
//! number of frames. Nothing is locked while a line is written.

use crate::book::Book;
use crate::kernel::Kernel;
use crate::observer::Observer;
use crate::ta::instance::{Instance, InstanceRef};
use crate::ta::task::{Cause, Death};
use core::fmt;
use log::error;
use tally_abi::TeeUuid;
use tally_mem::addr::UserVa;
use tally_mem::machine::{Machine, UserContext, Vectors};
use tally_mem::region::{Prot, RegionKind};
use tally_mem::space::Target;
use zerocopy::IntoBytes;

/// Most frames of a call stack that are shown.
const MAX_DEPTH: usize = 16;

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// Writes it, line by line: nothing is locked, and the caller has claimed the instance.
    pub(crate) fn write_obituary(
        &self,
        instance: InstanceRef,
        context: &UserContext,
        death: &Death,
    ) {
        let mut frames = CallStack::default();
        let (uuid, image, load_base, overflow) = {
            let state = self.state();
            let Some(found) = state.instance(instance) else {
                return;
            };
            let loader = loader(found);
            let offset = |pc: u64| match loader {
                Some(base) => pc
                    .checked_sub(base)
                    .filter(|at| *at < self.ldelf.code_bytes()),
                None => found.image_offset(pc),
            };
            walk(&self.machine, found, context, |pc| {
                frames.push(pc, offset(pc))
            });
            let image = match loader {
                Some(_) => Image::Loader(self.ldelf.id),
                None => Image::Ta(found.uuid, found.image_id),
            };
            let is_overflow =
                matches!(found.fate, Some(fate) if fate.cause == Cause::StackOverflow);
            let overflow = is_overflow.then_some((found.stack_deepest, found.stack_len));
            (found.uuid, image, found.load_base, overflow)
        };
        match death {
            Death::Panic(code) => self.say(format_args!("TA panicked with code {code:#x}")),
            Death::Abort(abort) => self.say(format_args!(
                "User mode {:?} abort at address {:#x} ({}), esr {:#x}",
                abort.access,
                abort.va,
                if abort.translation {
                    "nothing mapped"
                } else {
                    "permission"
                },
                abort.esr
            )),
            Death::Fault(esr) => self.say(format_args!(
                "User mode exception ({}), esr {esr:#x}",
                fault_name(*esr)
            )),
        }
        if let Some((deepest, len)) = overflow {
            self.say(format_args!(
                "Stack overflow: {deepest} bytes or more in a stack of {len}"
            ));
        }
        self.say(format_args!("Status of TA {uuid}"));
        self.say(format_args!(" arch: aarch64  load address: {load_base:#x}"));
        for row in (0..28).step_by(4) {
            let x = &context.x[row..];
            self.say(format_args!(
                " x{row:<2} {:016x} {:016x} {:016x} {:016x}",
                x[0], x[1], x[2], x[3]
            ));
        }
        self.say(format_args!(
            " x28 {:016x} fp {:016x} lr {:016x} sp {:016x}",
            context.x[28], context.x[29], context.x[30], context.sp
        ));
        self.say(format_args!(" pc  {:016x}", context.pc));
        self.write_vectors(instance);
        self.say(format_args!("Image {image}: {:016x}", image.id()));
        self.say(format_args!("Call stack:"));
        for frame in &frames.places[..frames.count] {
            match frame {
                (_, Some(offset)) => self.say(format_args!(" {image}+{offset:#x}")),
                (pc, None) => self.say(format_args!(" {pc:#x}")),
            }
        }
        self.write_regions(instance);
    }

    /// Writes the floating-point registers of an instance that used them.
    fn write_vectors(&self, instance: InstanceRef) {
        for first in (0..Vectors::COUNT).step_by(2) {
            let pair = {
                let state = self.state();
                let found = state.instance(instance);
                let vectors = found
                    .and_then(|found| found.kept.as_deref())
                    .map(|kept| &kept.vectors);
                let Some(vectors) = vectors.filter(|vectors| !vectors.is_zero()) else {
                    return;
                };
                [vectors.get(first), vectors.get(first + 1)]
            };
            self.say(format_args!(
                " v{first:<2} {:032x} {:032x}",
                pair[0], pair[1]
            ));
        }
    }

    /// Writes the regions of an instance, as OP-TEE does on a crash.
    fn write_regions(&self, instance: InstanceRef) {
        for n in 0.. {
            let (region, pa) = {
                let state = self.state();
                let found = state.instance(instance);
                let Some(space) = found.and_then(|found| found.space.as_ref()) else {
                    return;
                };
                let Some(region) = space.regions().get(n).copied() else {
                    return;
                };
                (region, space.first_page(&self.machine, &region))
            };
            let pa = match pa {
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
            self.say(format_args!(
                " region {n:2}: va {:#x} pa {pa:#010x} size {:#08x} flags {}{}{} {:?}",
                region.va().0,
                region.bytes(),
                flag(Prot::READ, 'r'),
                flag(Prot::WRITE, 'w'),
                flag(Prot::EXECUTE, 'x'),
                region.kind()
            ));
        }
    }

    /// A line on the console, after which interrupts have their turn.
    fn say(&self, line: fmt::Arguments<'_>) {
        error!("{line}");
        self.breathe();
    }
}

/// Where `ldelf` lies in an instance that it is loading.
fn loader<O: Book>(instance: &Instance<O>) -> Option<u64> {
    let regions = instance.space.as_ref()?.regions();
    let code = regions
        .iter()
        .find(|region| region.kind() == RegionKind::LdelfCode);
    code.map(|region| region.va().0)
}

/// A program that died, and which build of it.
enum Image {
    Ta(TeeUuid, u64),
    Loader(u64),
}

impl Image {
    const fn id(&self) -> u64 {
        match self {
            Self::Ta(_, id) | Self::Loader(id) => *id,
        }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ta(uuid, _) => uuid.fmt(f),
            Self::Loader(_) => f.write_str("ldelf"),
        }
    }
}

/// What a syndrome stands for, by its class (Arm ARM, ESR_ELx).
const fn fault_name(esr: u64) -> &'static str {
    match esr >> 26 & 0x3f {
        0x00 => "undefined instruction",
        0x07 => "floating point or SIMD, which this machine has none of for TAs",
        0x09 | 0x1c => "pointer authentication",
        0x0d => "branch target",
        0x0e => "illegal execution state",
        0x18 => "system register or instruction",
        0x19 => "SVE",
        0x22 => "misaligned program counter",
        0x26 => "misaligned stack pointer",
        0x2c => "floating point",
        0x30..=0x35 => "debug",
        0x3c => "breakpoint instruction",
        _ => "of another kind",
    }
}

/// Addresses of a call stack, innermost first, with their offsets in the image where they lie in it.
#[derive(Default)]
struct CallStack {
    places: [(u64, Option<u64>); MAX_DEPTH],
    count: usize,
}

impl CallStack {
    /// False once there is no room.
    fn push(&mut self, pc: u64, offset: Option<u64>) -> bool {
        let Some(place) = self.places.get_mut(self.count) else {
            return false;
        };
        *place = (pc, offset);
        self.count += 1;
        true
    }
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

#[cfg(test)]
mod tests {
    use super::fault_name;

    #[test]
    fn floating_point_is_named() {
        // An `fmov` of a TA, as QEMU's CPU reports it.
        assert!(fault_name(0x1fe0_0000).contains("floating point"));
        assert_eq!(fault_name(0x0200_0000), "undefined instruction");
    }
    #[test]
    fn a_fault_is_named_by_its_class_and_by_no_other_bits() {
        for (class, name) in [
            (0x00_u64, "undefined instruction"),
            (
                0x07,
                "floating point or SIMD, which this machine has none of for TAs",
            ),
            (0x09, "pointer authentication"),
            (0x0d, "branch target"),
            (0x0e, "illegal execution state"),
            (0x18, "system register or instruction"),
            (0x19, "SVE"),
            (0x1c, "pointer authentication"),
            (0x22, "misaligned program counter"),
            (0x26, "misaligned stack pointer"),
            (0x2c, "floating point"),
            (0x30, "debug"),
            (0x35, "debug"),
            (0x3c, "breakpoint instruction"),
            (0x3f, "of another kind"),
        ] {
            for other_bits in [0, (1 << 26) - 1, u64::MAX << 32] {
                assert_eq!(fault_name(class << 26 | other_bits), name, "{class:#x}");
            }
        }
    }
}
