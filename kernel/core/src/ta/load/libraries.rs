//! Libraries: what `ldelf` opens for a TA, and what a TA asks for while it runs.
//!
//! **Invariant:** the file of a library is there only while `ldelf` runs; a TA whose library is refused has its memory as
//! before.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use crate::ta::load::lay_out::OF_LDELF;
use crate::ta::load::{Image, Unloaded};
use alloc::vec::Vec;
use tally_abi::ldelf::{LdelfArg, task};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::fallible::{HeapExhausted, try_reserve};
use tally_mem::machine::{Access, Machine};
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;
use tally_mem::region::{Place, Prot, RegionKind};
use zerocopy::{FromZeros as _, IntoBytes};

/// Most libraries opened at a time, as `ldelf` has it too.
const MAX_LIBRARIES: usize = 15;

/// What a run of `ldelf` has opened and mapped.
#[derive(Debug, Default)]
pub(crate) struct Libraries {
    opened: Vec<Opened>,
    /// In a TA that outlives the run, if it ends badly; whoever is loaded is buried.
    mapped: Option<Vec<(UserVa, u64)>>,
}

/// A library's file.
#[derive(Debug)]
struct Opened {
    uuid: TeeUuid,
    image: Image,
    va: UserVa,
}

impl Libraries {
    /// As of a run in a TA that outlives it.
    pub(crate) const fn noting() -> Self {
        Self {
            opened: Vec::new(),
            mapped: Some(Vec::new()),
        }
    }

    /// Makes room for one more note.
    pub(super) fn reserve_mapped(&mut self) -> Result<(), HeapExhausted> {
        self.mapped
            .as_mut()
            .map_or(Ok(()), |mapped| try_reserve(mapped, 1))
    }

    /// Notes what was mapped, for which there is room.
    pub(super) fn note_mapped(&mut self, va: UserVa, len: u64) {
        if let Some(mapped) = &mut self.mapped {
            mapped.push((va, len));
        }
    }

    /// Bytes of a library's file, 0 if it is not open.
    pub(super) fn len_of(&self, uuid: TeeUuid) -> u64 {
        let found = self.opened.iter().find(|opened| opened.uuid == uuid);
        found.map_or(0, |opened| opened.image.len as u64)
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Serves OPEN_BIN.
    #[inline(never)]
    pub(super) fn ldelf_open(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let [uuid_va, va_ptr, len_ptr] = [x[0], x[1], x[2]].map(UserVa);
        let mut uuid = TeeUuid::new_zeroed();
        let owner = {
            let state = self.kernel.state();
            let kernel = self.kernel;
            kernel.read_ta(&state, instance, uuid_va, uuid.as_mut_bytes())?;
            let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
            let space = found.space.as_ref().ok_or(TeeResult::TARGET_DEAD)?;
            for va in [va_ptr, len_ptr] {
                space.check_access(va, size_of::<u64>() as u64, Access::Write)?;
            }
            found.owner
        };
        let (va, len) = self
            .open_image(instance, uuid, owner)
            .map_err(|why| self.tell_unloaded("library", uuid, owner, why))?;
        let mut state = self.kernel.state();
        for (to, value) in [(va_ptr, va), (len_ptr, len)] {
            self.kernel
                .write_ta(&mut state, instance, to, value.as_bytes())?;
        }
        Ok(())
    }

    /// Fetches, verifies and maps a library's image: where its ELF file lies, and how long it is.
    fn open_image(
        &mut self,
        instance: InstanceRef,
        uuid: TeeUuid,
        owner: OwnerId,
    ) -> Result<(u64, u64), Unloaded> {
        if self.libraries.opened.len() == MAX_LIBRARIES {
            return Err(TeeResult::NOT_SUPPORTED.into());
        }
        try_reserve(&mut self.libraries.opened, 1).map_err(TeeResult::from)?;
        let image = self.fetch(uuid, owner)?;
        let mapped = self
            .verify(&image, uuid)
            .and_then(|verified| Ok((verified, self.map_image(instance, &image)?)));
        match mapped {
            Ok((verified, va)) => {
                let (offset, len) = (verified.elf_offset as u64, image.len as u64);
                self.libraries.opened.push(Opened { uuid, image, va });
                Ok((va.0 + offset, len - offset))
            }
            Err(why) => {
                self.free_image(&image);
                Err(why)
            }
        }
    }

    fn map_image(&self, instance: InstanceRef, image: &Image) -> Result<UserVa, TeeResult> {
        let kernel = self.kernel;
        let mut state = kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        Ok(space.map_borrowed(
            &mut Mem::new(pages, &kernel.machine),
            RegionKind::Image,
            image.pages.iter().copied(),
            image.pages.len() as u32,
            Prot::READ,
            Place::random(kernel.random_u64()),
        )?)
    }

    /// Gives back the images, and what was mapped unless it shall stay.
    pub(crate) fn end_libraries(&mut self, instance: InstanceRef, stays: bool) {
        let Libraries { opened, mapped } = core::mem::take(&mut self.libraries);
        for Opened { image, va, .. } in opened {
            let mut state = self.kernel.state();
            let (pages, guest) = state.split(instance.guest());
            let found = guest.instances.at_mut(instance);
            if let Some(space) = found.and_then(|found| found.space.as_mut()) {
                let len = (image.pages.len() * PAGE_SIZE) as u64;
                let mut memory = Mem::new(pages, &self.kernel.machine);
                if let Err(err) = space.unmap(&mut memory, va, len) {
                    log::error!("an image stays mapped: {err:?}");
                }
            }
            drop(state);
            self.free_image(&image);
        }
        if !stays {
            for (va, len) in mapped.into_iter().flatten() {
                self.undo_mapping(instance, va, len);
            }
        }
    }

    /// Unmaps what `ldelf` mapped, whose pages lie in several regions by now.
    fn undo_mapping(&self, instance: InstanceRef, va: UserVa, len: u64) {
        let end = va.0 + len;
        let mut at = va;
        while at.0 < end {
            let region = {
                let state = self.kernel.state();
                let found = state.instance(instance);
                let space = found.and_then(|found| found.space.as_ref());
                space.and_then(|space| space.region_at(at).copied())
            };
            let Some(region) = region else { return };
            let piece = (region.va().0 + region.bytes()).min(end) - at.0;
            if let Err(err) = self.unmap_piecewise(instance, at, piece, OF_LDELF) {
                log::error!("what the loader mapped stays mapped: {err}");
            }
            at = UserVa(at.0 + piece);
        }
    }

    /// Loads a library into the TA that runs, with all that it needs. One that is there stays as it is.
    ///
    /// # Errors
    /// As [`Self::load`]; `NOT_SUPPORTED` for a TA that has no link map.
    pub fn open_library(
        &mut self,
        instance: InstanceRef,
        library: TeeUuid,
    ) -> Result<(), TeeResult> {
        self.require_stack()?;
        let arg = self.run_in_checked(instance, task::OPEN, library, &[])?;
        let mut state = self.kernel.state();
        let found = state.instance_mut(instance).ok_or(TeeResult::TARGET_DEAD)?;
        let kept = found.kept.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        kept.link_map = (arg.link_map, arg.link_map_len);
        Ok(())
    }

    /// The address of a symbol in the TA that runs: in the library first, if one is named.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`; `NOT_SUPPORTED` for a TA that has no link map.
    pub fn find_symbol(
        &mut self,
        instance: InstanceRef,
        library: TeeUuid,
        name: &[u8],
    ) -> Result<u64, TeeResult> {
        self.require_stack()?;
        let found = self.run_in_checked(instance, task::SYMBOL, library, name)?;
        Ok(found.entry)
    }

    /// As [`Self::run_ta_checked`].
    #[inline(never)]
    fn run_in_checked(
        &mut self,
        instance: InstanceRef,
        task: u32,
        uuid: TeeUuid,
        name: &[u8],
    ) -> Result<LdelfArg, TeeResult> {
        let kernel = self.kernel;
        let (owner, (link_map, link_map_len)) = {
            let state = kernel.state();
            let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
            let kept = found.kept.as_ref().ok_or(TeeResult::TARGET_DEAD)?;
            (found.owner, kept.link_map)
        };
        if link_map_len == 0 {
            return Err(TeeResult::NOT_SUPPORTED);
        }
        let arg = LdelfArg {
            uuid,
            task,
            link_map,
            link_map_len,
            ..LdelfArg::default()
        };
        let previous = kernel.machine.set_owner(owner);
        self.libraries = Libraries::noting();
        let ran = self.run_ldelf(instance, arg, None, name);
        kernel.machine.set_owner(previous);
        ran.map_err(|why| match (task, why) {
            (task::SYMBOL, Unloaded::Image(..)) => TeeResult::ITEM_NOT_FOUND,
            (_, Unloaded::Image(..)) => self.tell_unloaded("library", uuid, owner, why),
            // If that was a library's, its file did not come, which was told.
            (_, Unloaded::Code(code)) => code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Libraries;
    use tally_mem::addr::UserVa;

    #[test]
    fn a_note_has_its_room_before_it_is_made() {
        let mut libraries = Libraries::noting();
        for n in 0..20 {
            assert_eq!(libraries.reserve_mapped(), Ok(()));
            let mapped = libraries.mapped.as_ref().unwrap();
            assert!(mapped.capacity() > mapped.len());
            libraries.note_mapped(UserVa(n), 1);
        }
    }
}
