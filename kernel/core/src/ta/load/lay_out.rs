//! `ldelf` at EL0: its system calls, and the image that it lays out.

use crate::call::Call;
use crate::call::claim::PAGES_A_STEP;
use crate::observer::Observer;
use crate::ta::enter::Mode;
use crate::ta::instance::InstanceRef;
use crate::ta::load::image::Verified;
use crate::ta::load::{Image, Unloaded, say_unloaded};
use crate::ta::syscall::Flow;
use crate::ta::task::Exit;
use tally_abi::image::ImageFault;
use tally_abi::ldelf::{LdelfArg, map_flag, svc, task};
use tally_abi::ta::flags;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::{Access, Machine, UserContext};
use tally_mem::mem::Mem;
use tally_mem::region::{Place, Prot, RegionKind};
use tally_mem::space::{AddressSpace, SpaceError};
use zerocopy::IntoBytes;

/// Most padding that MAP_ZI may ask for.
const MAX_PAD: u64 = 1 << 30;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Has `ldelf` lay the image out in the instance's new address space.
    #[inline(never)]
    pub(super) fn lay_out(
        &mut self,
        instance: InstanceRef,
        uuid: TeeUuid,
        image: &Image,
        verified: Verified,
    ) -> Result<(), Unloaded> {
        let kernel = self.kernel;
        kernel.add_space(&mut kernel.state(), instance, verified.id)?;
        let arg = LdelfArg {
            uuid,
            task: task::LOAD,
            ..LdelfArg::default()
        };
        let arg = self.run_ldelf(instance, arg, Some((image, verified)), &[])?;
        self.settle(instance, &arg, image.len)
    }

    /// Runs `ldelf` in the instance's address space, in which it is mapped for so long: its argument afterwards. What it
    /// mapped stays only if it ends well.
    #[inline(never)]
    pub(super) fn run_ldelf(
        &mut self,
        instance: InstanceRef,
        arg: LdelfArg,
        image: Option<(&Image, Verified)>,
        name: &[u8],
    ) -> Result<LdelfArg, Unloaded> {
        let kernel = self.kernel;
        let mut stage = kernel.new_stage();
        let staged = kernel.stage(&mut kernel.state(), instance, &mut stage, arg, image, name);
        let ran = match staged {
            Ok(()) => {
                let image_len = image.map(|(image, _)| image.len as u64);
                self.enter_ldelf(instance, stage.context(), stage.arg, (arg.uuid, image_len))
            }
            Err(err) => Err(err.into()),
        };
        kernel.unstage(&mut kernel.state(), instance, &stage);
        self.end_libraries(instance, ran.is_ok());
        ran
    }

    fn enter_ldelf(
        &mut self,
        instance: InstanceRef,
        mut context: UserContext,
        arg_va: UserVa,
        (asked, image_len): (TeeUuid, Option<u64>),
    ) -> Result<LdelfArg, Unloaded> {
        let kernel = self.kernel;
        let user_sp = kernel.threads.user_sp(self.thread);
        let root = {
            let state = kernel.state();
            let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
            found.root().ok_or(TeeResult::TARGET_DEAD)?
        };
        let ran = self.run_user(instance, &mut context, root, Mode::Ldelf);
        kernel.threads.note_user_sp(self.thread, user_sp);
        let Exit::Return(code) = ran.exit else {
            // Its fate is noted: a TA that runs ends at the next chance.
            if let Some(found) = kernel.state().instance_mut(instance) {
                found.killed = true;
            }
            return Err(TeeResult::TARGET_DEAD.into());
        };
        let mut arg = LdelfArg::default();
        kernel.read_ta(&kernel.state(), instance, arg_va, arg.as_mut_bytes())?;
        match (code, ImageFault::from_code(arg.why)) {
            (0, _) => Ok(arg),
            (_, Some(why)) if arg.why_of.is_nil() || arg.why_of == asked => {
                let len = image_len.unwrap_or_else(|| self.libraries.len_of(asked));
                Err(Unloaded::Image(why, len))
            }
            (_, Some(why)) => {
                say_unloaded("library", arg.why_of, why);
                Err(Unloaded::Image(why, self.libraries.len_of(arg.why_of)))
            }
            (code, None) => Err(Unloaded::Code(TeeResult(code))),
        }
    }

    /// Serves a system call of `ldelf`.
    pub fn ldelf_syscall(&mut self, instance: InstanceRef, context: &mut UserContext) -> Flow {
        let x = context.x;
        let result = match x[8] {
            svc::RETURN => return Flow::Return(x[0] as u32),
            svc::PANIC => return Flow::Panic(x[0] as u32),
            svc::RANDOM => self.sys_random(instance, UserVa(x[0]), x[1]),
            svc::MAP_ZI => self.ldelf_map(instance, &x),
            svc::OPEN_BIN => self.ldelf_open(instance, &x),
            svc::UNMAP => self.unmap_piecewise(instance, UserVa(x[0]), x[1], OF_LDELF),
            svc::SET_PROT => self.ldelf_protect(instance, UserVa(x[0]), x[1], x[2]),
            _ => Err(TeeResult::NOT_SUPPORTED),
        };
        context.x[0] = u64::from(TeeResult::from_result(result).0);
        Flow::Continue
    }

    fn ldelf_map(&mut self, instance: InstanceRef, x: &[u64; 31]) -> Result<(), TeeResult> {
        let [va_ptr, len, pad_before, pad_after, flags] = [x[0], x[1], x[2], x[3], x[4]];
        if len == 0 || len > MAX_PAD || pad_before > MAX_PAD || pad_after > MAX_PAD {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let kind = match flags {
            0 => RegionKind::Segment,
            map_flag::STACK => RegionKind::Stack,
            _ => return Err(TeeResult::BAD_PARAMETERS),
        };
        let kernel = self.kernel;
        self.libraries.reserve_mapped()?;
        let mut state = kernel.state();
        let mut at = 0_u64;
        kernel.read_ta(&state, instance, UserVa(va_ptr), at.as_mut_bytes())?;
        let place = if at == 0 {
            Place::Anywhere {
                random: kernel.random_u64(),
                pad_before,
                pad_after,
            }
        } else {
            Place::At(UserVa(at))
        };
        let (pages, guest) = state.split(instance.guest());
        let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        space.check_access(UserVa(va_ptr), size_of::<u64>() as u64, Access::Write)?;
        let len = len.next_multiple_of(PAGE_SIZE as u64);
        let mut memory = Mem::new(pages, &kernel.machine);
        let va = space.map_zero(&mut memory, kind, len, Prot::READ_WRITE, place)?;
        self.libraries.note_mapped(va, len);
        kernel.write_ta(&mut state, instance, UserVa(va_ptr), va.0.as_bytes())
    }

    /// Unmaps what lies in one region of a kind that may be unmapped.
    pub(crate) fn unmap_piecewise(
        &self,
        instance: InstanceRef,
        va: UserVa,
        len: u64,
        may: &[RegionKind],
    ) -> Result<(), TeeResult> {
        let len = to_pages(len)?;
        let mut left = len;
        // From the end on: what is left is a region all the time.
        loop {
            let piece = left.min(u64::from(PAGES_A_STEP) * PAGE_SIZE as u64);
            left -= piece;
            let at = va.checked_add(left).ok_or(TeeResult::BAD_PARAMETERS)?;
            self.in_region(instance, va, left + piece, may, |space, memory| {
                space.unmap(memory, at, piece)
            })?;
            if left == 0 {
                return Ok(());
            }
            self.kernel.breathe();
        }
    }

    fn ldelf_protect(
        &self,
        instance: InstanceRef,
        va: UserVa,
        len: u64,
        flags: u64,
    ) -> Result<(), TeeResult> {
        let prot = Prot::from_ldelf(flags).ok_or(TeeResult::BAD_PARAMETERS)?;
        let len = to_pages(len)?;
        let mut done = 0;
        loop {
            done = self.in_region(instance, va, len, OF_LDELF, |space, memory| {
                space.protect(memory, va, len, prot, (done, PAGES_A_STEP))
            })?;
            if u64::from(done) * PAGE_SIZE as u64 >= len {
                return Ok(());
            }
            self.kernel.breathe();
        }
    }

    /// Works on a part of a region whose kind is allowed.
    fn in_region<T>(
        &self,
        instance: InstanceRef,
        va: UserVa,
        len: u64,
        may: &[RegionKind],
        work: impl FnOnce(&mut AddressSpace, &mut Mem<'_, M>) -> Result<T, SpaceError>,
    ) -> Result<T, TeeResult> {
        let mut state = self.kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let found = guest.instances.at_mut(instance);
        let space = found.and_then(|found| found.space.as_mut());
        let space = space.ok_or(TeeResult::TARGET_DEAD)?;
        let region = space.region_at(va).ok_or(TeeResult::BAD_PARAMETERS)?;
        if !may.contains(&region.kind()) {
            return Err(TeeResult::ACCESS_DENIED);
        }
        let end = va.0.checked_add(len).ok_or(TeeResult::BAD_PARAMETERS)?;
        if end > region.va().0 + region.bytes() {
            return Err(SpaceError::NotMapped.into());
        }
        Ok(work(space, &mut Mem::new(pages, &self.kernel.machine))?)
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Takes over what `ldelf` made of a TA's image, and checks it.
    fn settle(
        &self,
        instance: InstanceRef,
        arg: &LdelfArg,
        image_len: usize,
    ) -> Result<(), Unloaded> {
        let refused = |why| Unloaded::Image(why, image_len as u64);
        let mut state = self.kernel.state();
        let found = state.instance_mut(instance);
        let found = found.ok_or(TeeResult::TARGET_DEAD)?;
        let space = found.space.as_ref().ok_or(TeeResult::TARGET_DEAD)?;
        let stack_low = arg
            .stack_ptr
            .checked_sub(arg.stack_len)
            .ok_or(refused(ImageFault::BadLayout))?;
        if !arg.stack_ptr.is_multiple_of(16) || arg.stack_len < PAGE_SIZE as u64 {
            return Err(refused(ImageFault::BadLayout));
        }
        let usable = space
            .check_access(UserVa(stack_low), arg.stack_len, Access::Write)
            .and_then(|()| space.check_access(UserVa(arg.entry), 4, Access::Execute));
        usable.map_err(|_| refused(ImageFault::BadLayout))?;
        found.entry = arg.entry;
        found.stack_top = arg.stack_ptr;
        found.stack_len = arg.stack_len;
        found.load_base = arg.load_base;
        found.load_len = arg.load_len;
        let kept = found.kept.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        kept.link_map = (arg.link_map, arg.link_map_len);
        kept.free_lists = arg.free_lists;
        if arg.flags & !flags::OF_TAS != 0 {
            return Err(refused(ImageFault::UnknownFlags));
        }
        found.flags = arg.flags;
        self.kernel.machine.laid_out(found.uuid, found.load_base);
        Ok(())
    }
}

/// What `ldelf` maps; it is none of them itself, nor is the image.
pub(super) const OF_LDELF: &[RegionKind] = &[RegionKind::Segment, RegionKind::Stack];

fn to_pages(len: u64) -> Result<u64, TeeResult> {
    len.checked_next_multiple_of(PAGE_SIZE as u64)
        .ok_or(TeeResult::BAD_PARAMETERS)
}
