//! What an address space holds while `ldelf` works in it: `ldelf` itself, its stack, and the image.

use crate::kernel::{Kernel, State, page_count};
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use crate::ta::load::{Image, Verified};
use tally_abi::ldelf::LdelfArg;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::{Machine, UserContext};
use tally_mem::mem::Mem;
use tally_mem::quota::Quota;
use tally_mem::region::{Place, Prot, RegionKind};
use tally_mem::space::AddressSpace;
use zerocopy::IntoBytes;

/// Bytes of `ldelf`'s stack, of which it touches what it needs.
const LDELF_STACK: u64 = 8 * PAGE_SIZE as u64;
/// Code, data, stack, image.
const PIECES: usize = 4;

/// What is mapped for `ldelf`.
pub(super) struct Stage {
    pieces: [Option<(UserVa, u64)>; PIECES],
    /// Where its argument lies.
    pub(super) arg: UserVa,
    entry: u64,
}

impl Stage {
    /// The registers to enter it with.
    pub(super) fn context(&self) -> UserContext {
        let mut context = UserContext {
            sp: self.arg.0,
            pc: self.entry,
            ..UserContext::default()
        };
        context.x[0] = self.arg.0;
        context
    }

    fn add(&mut self, va: UserVa, len: u64) {
        if let Some(free) = self.pieces.iter_mut().find(|piece| piece.is_none()) {
            *free = Some((va, len));
        }
    }
}

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// Nothing mapped yet.
    pub(super) const fn new_stage(&self) -> Stage {
        Stage {
            pieces: [None; PIECES],
            arg: UserVa(0),
            entry: 0,
        }
    }

    /// Makes the address space of an instance that is loaded.
    pub(super) fn add_space(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        image_id: u64,
    ) -> Result<(), TeeResult> {
        let asid = state.take_asid().ok_or(TeeResult::OUT_OF_MEMORY)?;
        let (pages, guest) = state.split(instance.guest());
        let quota = Quota {
            pages: guest.ta_quota_pages,
            by_others: guest.charged_to_others(instance).unwrap_or(0),
        };
        let Some(found) = guest.instances.at_mut(instance) else {
            state.give_asid(asid);
            return Err(TeeResult::TARGET_DEAD);
        };
        found.image_id = image_id;
        let mut memory = Mem::new(pages, &self.machine);
        let owner = found.owner;
        match AddressSpace::new(&mut memory, asid, owner, quota, self.random_u64()) {
            // From here on burying the instance undoes everything.
            Ok(space) => found.space = Some(space),
            Err(err) => {
                state.give_asid(asid);
                return Err(err.into());
            }
        }
        Ok(())
    }

    /// Maps `ldelf`, its argument with `name` behind it, of less than a page, and the image that it is for.
    pub(super) fn stage(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        stage: &mut Stage,
        mut arg: LdelfArg,
        image: Option<(&Image, Verified)>,
        name: &[u8],
    ) -> Result<(), TeeResult> {
        let (pages, guest) = state.split(instance.guest());
        let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        let mut memory = Mem::new(pages, &self.machine);
        let ldelf = &self.ldelf;
        let code_len = ldelf.code_bytes();
        let data_len = (ldelf.data_len as u64).next_multiple_of(PAGE_SIZE as u64);
        let place = Place::Anywhere {
            random: self.random_u64(),
            pad_before: 0,
            pad_after: data_len,
        };
        let frames = (0..u64::from(ldelf.code_pages)).map(|n| ldelf.code.offset(n));
        let code = space.map_borrowed(
            &mut memory,
            RegionKind::LdelfCode,
            frames,
            ldelf.code_pages,
            Prot::READ_EXECUTE,
            place,
        )?;
        stage.add(code, code_len);
        stage.entry = code.0 + ldelf.entry_offset;
        self.machine.laid_out(TeeUuid::nil(), code.0);
        if data_len > 0 {
            let kind = RegionKind::LdelfData;
            let at = Place::At(UserVa(code.0 + code_len));
            let va = space.map_zero(&mut memory, kind, data_len, Prot::READ_WRITE, at)?;
            stage.add(va, data_len);
            space.write_user(&mut memory, va, ldelf.data)?;
        }
        let place = Place::random(self.random_u64());
        let kind = RegionKind::LdelfData;
        let stack = space.map_zero(&mut memory, kind, LDELF_STACK, Prot::READ_WRITE, place)?;
        stage.add(stack, LDELF_STACK);
        if let Some((image, Verified { elf_offset, .. })) = image {
            let count = page_count(image.len as u64)?;
            let va = space.map_borrowed(
                &mut memory,
                RegionKind::Image,
                image.pages.iter().copied(),
                count,
                Prot::READ,
                Place::random(self.random_u64()),
            )?;
            stage.add(va, u64::from(count) * PAGE_SIZE as u64);
            arg.image_va = va.0 + elf_offset as u64;
            arg.image_len = (image.len - elf_offset) as u64;
        }
        arg.name_len = name.len() as u32;
        let arg_bytes = (size_of::<LdelfArg>() + name.len()).next_multiple_of(16) as u64;
        stage.arg = UserVa(stack.0 + LDELF_STACK - arg_bytes);
        space.write_user(&mut memory, stage.arg, arg.as_bytes())?;
        let name_va = UserVa(stage.arg.0 + size_of::<LdelfArg>() as u64);
        Ok(space.write_user(&mut memory, name_va, name)?)
    }

    /// Unmaps what [`Self::stage`] mapped.
    pub(super) fn unstage(&self, state: &mut State<O>, instance: InstanceRef, stage: &Stage) {
        let (pages, guest) = state.split(instance.guest());
        let found = guest.instances.at_mut(instance);
        let Some(space) = found.and_then(|found| found.space.as_mut()) else {
            return;
        };
        let mut memory = Mem::new(pages, &self.machine);
        for (va, len) in stage.pieces.into_iter().flatten() {
            if let Err(err) = space.unmap(&mut memory, va, len) {
                log::error!("a piece of the loader stays mapped: {err:?}");
            }
        }
    }
}
