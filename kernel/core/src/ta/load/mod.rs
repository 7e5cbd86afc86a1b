//! Loading a TA: fetch the image, verify it, let `ldelf` lay it out at EL0.
//!
//! **Invariant:** not one byte of an image is interpreted, but for its headers, before its
//! signature holds; the image is copied once and only the copy is looked at.

pub(crate) mod encrypted;
pub mod image;
mod image_pages;
pub mod image_sizes;
pub mod rsa;
mod subkey;
pub mod versions;

use crate::call::Call;
use crate::call::claim::PAGES_A_STEP;
use crate::call::rpc::RpcShm;
use crate::kernel::{State, page_count};
use crate::observer::Observer;
use crate::refused::{Refused, RefusedImage};
use crate::ta::enter::Mode;
use crate::ta::instance::InstanceRef;
use crate::ta::load::image::{Refusal, Trust, Verified};
use crate::ta::load::image_pages::ImagePages;
use crate::ta::syscall::Flow;
use crate::ta::task::Exit;
use alloc::vec::Vec;
use tally_abi::image::{ImageFault, MAX_IMAGE_BYTES};
use tally_abi::ldelf::{LdelfArg, map_flag, svc};
use tally_abi::ta::flags;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage, UserVa, pages_for};
use tally_mem::fallible::TryBox;
use tally_mem::fallible::vec_with_capacity;
use tally_mem::machine::{Access, Machine, UserContext, Vectors};
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageUse;
use tally_mem::quota::Quota;
use tally_mem::region::{Place, Prot, RegionKind};
use tally_mem::space::{AddressSpace, SpaceError};
use zerocopy::IntoBytes;

/// Bytes of `ldelf`'s stack.
const LDELF_STACK: u64 = 2 * PAGE_SIZE as u64;
/// Bytes copied at a time from shared memory.
const COPY_CHUNK: usize = 1024;
/// Most padding that MAP_ZI may ask for.
const MAX_PAD: u64 = 1 << 30;

/// The hardware key of a board that has none, which OP-TEE has for it, too.
const DEVELOPMENT_KEY: [u8; 16] = [0; 16];

/// A verified image in pages of the kernel's.
struct Image {
    pages: Vec<PhysPage>,
    len: usize,
}

/// Why an image did not come.
enum FetchError {
    /// It has this many bytes, which is more than there was room for.
    TooLarge(u64),
    /// What the supplicant says, or what is said of its answer.
    Refused(Unloaded),
}

impl From<TeeResult> for FetchError {
    fn from(code: TeeResult) -> Self {
        Self::Refused(code.into())
    }
}

/// Why a TA is not loaded.
#[derive(Clone, Copy, Debug)]
enum Unloaded {
    /// For this fault of its image, of so many bytes.
    Image(ImageFault, u64),
    /// For anything else.
    Code(TeeResult),
}

impl From<TeeResult> for Unloaded {
    fn from(code: TeeResult) -> Self {
        Self::Code(code)
    }
}

/// `size`, if an image can have it.
const fn plausible(size: u64) -> Result<u64, Unloaded> {
    if size == 0 {
        Err(Unloaded::Image(ImageFault::Empty, size))
    } else if size > MAX_IMAGE_BYTES {
        Err(Unloaded::Image(ImageFault::TooLarge, size))
    } else {
        Ok(size)
    }
}

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Loads `uuid` into an instance that this call has claimed. After an error the caller
    /// buries the instance.
    ///
    /// # Errors
    /// The supplicant's code; `SECURITY` or `BAD_FORMAT` for images that are refused;
    /// `OUT_OF_MEMORY`.
    pub fn load(&mut self, instance: InstanceRef, uuid: TeeUuid) -> Result<(), TeeResult> {
        self.require_stack()?;
        self.load_checked(instance, uuid)
    }

    /// As [`Self::run_ta_checked`].
    #[inline(never)]
    fn load_checked(&mut self, instance: InstanceRef, uuid: TeeUuid) -> Result<(), TeeResult> {
        let kernel = self.kernel;
        let owner = {
            let state = kernel.state();
            state
                .instance(instance)
                .ok_or(TeeResult::TARGET_DEAD)?
                .owner
        };
        let previous = kernel.machine.set_owner(owner);
        let loaded = self.add_vectors(instance).map_err(Unloaded::from);
        let loaded = loaded.and_then(|()| self.fetch(uuid, owner));
        let loaded = loaded.and_then(|image| {
            let laid_out = self
                .verify(&image, uuid)
                .and_then(|verified| self.lay_out(instance, uuid, &image, verified));
            if laid_out.is_ok() {
                let len = image.len as u64;
                kernel
                    .state()
                    .guest_mut(instance.guest())
                    .image_sizes
                    .remember(uuid, len);
            }
            self.free_image(&image);
            laid_out
        });
        kernel.machine.set_owner(previous);
        loaded.map_err(|why| self.tell_unloaded(uuid, owner, why))
    }

    /// Makes room for its floating-point registers, so that a TA never ends for want of it.
    fn add_vectors(&self, instance: InstanceRef) -> Result<(), TeeResult> {
        let vectors = TryBox::new(Vectors::zero())?;
        let mut state = self.kernel.state();
        let found = state.instance_mut(instance);
        found.ok_or(TeeResult::TARGET_DEAD)?.vectors = Some(vectors);
        Ok(())
    }

    #[cold]
    fn tell_unloaded(&self, uuid: TeeUuid, owner: OwnerId, why: Unloaded) -> TeeResult {
        match why {
            Unloaded::Code(code) => {
                log::error!("TA {uuid} is not loaded: {code}");
                code
            }
            Unloaded::Image(why, size) => {
                log::error!("TA {uuid} is not loaded: {}", why.text());
                let image = RefusedImage { size, why, owner };
                self.kernel.state().refuse(Refused::Image(image));
                why.into()
            }
        }
    }

    /// Copies the image from the normal world.
    #[inline(never)]
    fn fetch(&mut self, uuid: TeeUuid, owner: OwnerId) -> Result<Image, Unloaded> {
        let kernel = self.kernel;
        let room = kernel
            .state()
            .guest_mut(self.guest)
            .image_sizes
            .room_for(uuid);
        let room = match room {
            Some(room) => room,
            None => plausible(self.rpc.ta_size(&kernel.machine, uuid)?)?,
        };
        let size = match self.fetch_into(uuid, room, owner) {
            Err(FetchError::TooLarge(size)) => size,
            Err(FetchError::Refused(err)) => return Err(err),
            Ok(image) => return Ok(image),
        };
        self.fetch_into(uuid, size, owner).map_err(|err| match err {
            FetchError::TooLarge(_) => TeeResult::SHORT_BUFFER.into(),
            FetchError::Refused(err) => err,
        })
    }

    /// As [`Self::fetch`], by way of at least `room` bytes of shared memory.
    fn fetch_into(
        &mut self,
        uuid: TeeUuid,
        room: u64,
        owner: OwnerId,
    ) -> Result<Image, FetchError> {
        let machine = &self.kernel.machine;
        let shm = self.rpc.shm_alloc(machine, room).map_err(|err| {
            // Linux says that there is no memory, too, when its supplicant ends meanwhile: asking for the
            // size now would wait for the next one. Whoever opens the TA next asks.
            self.kernel
                .state()
                .guest_mut(self.guest)
                .image_sizes
                .refused(uuid);
            FetchError::from(err)
        })?;
        self.kernel
            .state()
            .guest_mut(self.guest)
            .image_sizes
            .lent(shm.shm.size());
        let size = self.rpc.load_ta(machine, uuid, &shm);
        let size = size.map_err(Unloaded::from).and_then(plausible);
        let image = match size {
            Ok(size) if size > shm.shm.size() => Err(FetchError::TooLarge(size)),
            Ok(size) => self.copy_image(&shm, size, owner).map_err(FetchError::from),
            Err(err) => Err(FetchError::Refused(err)),
        };
        self.rpc.shm_free(machine, shm);
        image
    }

    fn copy_image(&self, from: &RpcShm, len: u64, owner: OwnerId) -> Result<Image, TeeResult> {
        let len = len as usize;
        let mut image = Image {
            pages: vec_with_capacity(pages_for(len))?,
            len,
        };
        for n in 0..pages_for(len) {
            let page = self.kernel.state().pages.alloc(PageUse::TaImage, owner);
            let page = match page {
                Ok(page) => page,
                Err(_) => {
                    self.free_image(&image);
                    return Err(TeeResult::OUT_OF_MEMORY);
                }
            };
            image.pages.push(page);
            // Images can be long: let interrupts in between pages.
            self.kernel.machine.interruptible(|| ());
            let machine = &self.kernel.machine;
            let copied = machine.interruptible(|| self.copy_page(from, n * PAGE_SIZE, len, page));
            if let Err(err) = copied {
                self.free_image(&image);
                return Err(err);
            }
        }
        Ok(image)
    }

    fn copy_page(
        &self,
        from: &RpcShm,
        at: usize,
        len: usize,
        page: PhysPage,
    ) -> Result<(), TeeResult> {
        let machine = &self.kernel.machine;
        let bytes = (len - at).min(PAGE_SIZE);
        if bytes < PAGE_SIZE {
            // What lies behind the image in its last page shows at EL0 too.
            machine.zero_page(page);
        }
        let mut chunk = [0; COPY_CHUNK];
        let mut done = 0;
        while done < bytes {
            let piece = &mut chunk[..(bytes - done).min(COPY_CHUNK)];
            from.shm.read(machine, (at + done) as u64, piece)?;
            machine.write_secure(PhysAddr(page.addr().0 + done as u64), piece);
            done += piece.len();
        }
        Ok(())
    }

    /// What is known of an image that is the TA's and signed.
    #[inline(never)]
    fn verify(&self, image: &Image, uuid: TeeUuid) -> Result<Verified, Unloaded> {
        let kernel = self.kernel;
        let bytes = ImagePages {
            machine: &kernel.machine,
            pages: &image.pages,
            count: image.len,
        };
        let admit = |of, uuid, version| {
            let mut state = kernel.state();
            kernel.as_owner(OwnerId::KERNEL, || state.versions.admit(of, uuid, version))
        };
        let trust = Trust {
            keys: kernel.keys,
            hardware_key: &kernel.hardware_key,
        };
        let verified = image::verify(&bytes, uuid, trust, admit);
        if kernel.hardware_key == DEVELOPMENT_KEY && verified.is_ok_and(|image| image.is_encrypted)
        {
            log::warn!("TA {uuid} is encrypted with a development key: anybody can read it");
        }
        verified.map_err(|refusal| match refusal {
            Refusal::Image(why) => Unloaded::Image(why, image.len as u64),
            Refusal::NoMemory => TeeResult::OUT_OF_MEMORY.into(),
        })
    }

    fn free_image(&self, image: &Image) {
        for some in image.pages.chunks(PAGES_A_STEP as usize) {
            // It may have been decrypted.
            some.iter()
                .for_each(|page| self.kernel.machine.zero_page(*page));
            let mut state = self.kernel.state();
            for page in some {
                if let Err(err) = state.pages.free(*page) {
                    log::error!("image page {page:?} is not freed: {err:?}");
                }
            }
            drop(state);
            self.kernel.breathe();
        }
    }

    /// Has `ldelf` lay the image out in the instance's new address space.
    #[inline(never)]
    fn lay_out(
        &mut self,
        instance: InstanceRef,
        uuid: TeeUuid,
        image: &Image,
        verified: Verified,
    ) -> Result<(), Unloaded> {
        let kernel = self.kernel;
        let stage = {
            let mut state = kernel.state();
            kernel.stage(&mut state, instance, uuid, image, verified)?
        };
        let root = {
            let state = kernel.state();
            state.instance(instance).and_then(|found| found.root())
        };
        let mut context = UserContext {
            sp: stage.arg.0,
            pc: stage.entry,
            ..UserContext::default()
        };
        context.x[0] = stage.arg.0;
        let root = root.ok_or(TeeResult::TARGET_DEAD)?;
        match self
            .run_user(instance, &mut context, root, Mode::Ldelf)
            .exit
        {
            Exit::Return(0) => {}
            Exit::Return(code) => {
                let mut arg = LdelfArg::default();
                let state = kernel.state();
                kernel.read_ta(&state, instance, stage.arg, arg.as_mut_bytes())?;
                let why = ImageFault::from_code(arg.why);
                return Err(why.map_or(Unloaded::Code(TeeResult(code)), |why| {
                    Unloaded::Image(why, image.len as u64)
                }));
            }
            Exit::Died => return Err(TeeResult::TARGET_DEAD.into()),
        }
        let mut state = kernel.state();
        kernel.settle(&mut state, instance, &stage, image.len)
    }

    /// Serves a system call of `ldelf`.
    pub fn ldelf_syscall(&self, instance: InstanceRef, context: &mut UserContext) -> Flow {
        let x = context.x;
        let result = match x[8] {
            svc::RETURN => return Flow::Return(x[0] as u32),
            svc::PANIC => return Flow::Panic(x[0] as u32),
            svc::RANDOM => self.sys_random(instance, UserVa(x[0]), x[1]),
            svc::MAP_ZI => self.ldelf_map(instance, &x),
            svc::UNMAP => self.ldelf_unmap(instance, UserVa(x[0]), x[1]),
            svc::SET_PROT => self.ldelf_protect(instance, UserVa(x[0]), x[1], x[2]),
            _ => Err(TeeResult::NOT_SUPPORTED),
        };
        context.x[0] = u64::from(TeeResult::from_result(result).0);
        Flow::Continue
    }

    fn ldelf_map(&self, instance: InstanceRef, x: &[u64; 31]) -> Result<(), TeeResult> {
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
        kernel.write_ta(&mut state, instance, UserVa(va_ptr), va.0.as_bytes())
    }

    fn ldelf_unmap(&self, instance: InstanceRef, va: UserVa, len: u64) -> Result<(), TeeResult> {
        let len = to_pages(len)?;
        let mut left = len;
        // From the end on: what is left is a region all the time.
        loop {
            let piece = left.min(u64::from(PAGES_A_STEP) * PAGE_SIZE as u64);
            left -= piece;
            let at = va.checked_add(left).ok_or(TeeResult::BAD_PARAMETERS)?;
            self.in_laid_out(instance, va, left + piece, |space, memory| {
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
            done = self.in_laid_out(instance, va, len, |space, memory| {
                space.protect(memory, va, len, prot, (done, PAGES_A_STEP))
            })?;
            if u64::from(done) * PAGE_SIZE as u64 >= len {
                return Ok(());
            }
            self.kernel.breathe();
        }
    }

    /// Works on memory that `ldelf` mapped, not on `ldelf` itself or the image.
    fn in_laid_out<T>(
        &self,
        instance: InstanceRef,
        va: UserVa,
        len: u64,
        work: impl FnOnce(&mut AddressSpace, &mut Mem<'_, M>) -> Result<T, SpaceError>,
    ) -> Result<T, TeeResult> {
        let mut state = self.kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let found = guest.instances.at_mut(instance);
        let space = found.and_then(|found| found.space.as_mut());
        let space = space.ok_or(TeeResult::TARGET_DEAD)?;
        let region = space.region_at(va).ok_or(TeeResult::BAD_PARAMETERS)?;
        if !matches!(region.kind(), RegionKind::Segment | RegionKind::Stack) {
            return Err(TeeResult::ACCESS_DENIED);
        }
        let end = va.0.checked_add(len).ok_or(TeeResult::BAD_PARAMETERS)?;
        if end > region.va().0 + region.bytes() {
            return Err(SpaceError::NotMapped.into());
        }
        Ok(work(space, &mut Mem::new(pages, &self.kernel.machine))?)
    }
}

fn to_pages(len: u64) -> Result<u64, TeeResult> {
    len.checked_next_multiple_of(PAGE_SIZE as u64)
        .ok_or(TeeResult::BAD_PARAMETERS)
}

/// What an address space holds while `ldelf` works in it.
struct Stage {
    code: UserVa,
    code_len: u64,
    data: Option<(UserVa, u64)>,
    stack: (UserVa, u64),
    image: (UserVa, u64),
    arg: UserVa,
    entry: u64,
}

impl<M: Machine, O: Observer> crate::kernel::Kernel<M, O> {
    /// Makes the address space and maps `ldelf` and the image into it.
    fn stage(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        uuid: TeeUuid,
        image: &Image,
        Verified { elf_offset, id, .. }: Verified,
    ) -> Result<Stage, TeeResult> {
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
        found.image_id = id;
        let mut memory = Mem::new(pages, &self.machine);
        let owner = found.owner;
        let space = AddressSpace::new(&mut memory, asid, owner, quota, self.random_u64());
        let space = match space {
            Ok(space) => found.space.insert(space),
            Err(err) => {
                state.give_asid(asid);
                return Err(err.into());
            }
        };
        // From here on burying the instance undoes everything.
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
        self.machine.laid_out(TeeUuid::nil(), code.0);
        let mut data = None;
        if data_len > 0 {
            let kind = RegionKind::LdelfData;
            let at = Place::At(UserVa(code.0 + code_len));
            let va = space.map_zero(&mut memory, kind, data_len, Prot::READ_WRITE, at)?;
            space.write_user(&mut memory, va, ldelf.data)?;
            data = Some((va, data_len));
        }
        let place = Place::random(self.random_u64());
        let kind = RegionKind::LdelfData;
        let stack = space.map_zero(&mut memory, kind, LDELF_STACK, Prot::READ_WRITE, place)?;
        let count = page_count(image.len as u64)?;
        let image_va = space.map_borrowed(
            &mut memory,
            RegionKind::Image,
            image.pages.iter().copied(),
            count,
            Prot::READ,
            Place::random(self.random_u64()),
        )?;
        let arg_bytes = (size_of::<LdelfArg>() as u64).next_multiple_of(16);
        let arg_va = UserVa(stack.0 + LDELF_STACK - arg_bytes);
        let arg = LdelfArg {
            uuid,
            image_va: image_va.0 + elf_offset as u64,
            image_len: (image.len - elf_offset) as u64,
            ..LdelfArg::default()
        };
        space.write_user(&mut memory, arg_va, arg.as_bytes())?;
        Ok(Stage {
            code,
            code_len,
            data,
            stack: (stack, LDELF_STACK),
            image: (image_va, u64::from(count) * PAGE_SIZE as u64),
            arg: arg_va,
            entry: code.0 + ldelf.entry_offset,
        })
    }

    /// Takes over what `ldelf` made, checks it, and removes `ldelf`.
    fn settle(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        stage: &Stage,
        image_len: usize,
    ) -> Result<(), Unloaded> {
        let refused = |why| Unloaded::Image(why, image_len as u64);
        let mut arg = LdelfArg::default();
        self.read_ta(state, instance, stage.arg, arg.as_mut_bytes())?;
        let (pages, guest) = state.split(instance.guest());
        let found = guest
            .instances
            .at_mut(instance)
            .ok_or(TeeResult::TARGET_DEAD)?;
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        let mut memory = Mem::new(pages, &self.machine);
        for (va, len) in [
            Some((stage.code, stage.code_len)),
            stage.data,
            Some(stage.stack),
            Some(stage.image),
        ]
        .into_iter()
        .flatten()
        {
            space.unmap(&mut memory, va, len).map_err(TeeResult::from)?;
        }
        let stack_low = arg
            .stack_ptr
            .checked_sub(arg.stack_len)
            .ok_or(refused(ImageFault::BadLayout))?;
        if arg.stack_ptr % 16 != 0 || arg.stack_len < PAGE_SIZE as u64 {
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
        if arg.flags & !flags::OF_TAS != 0 {
            return Err(refused(ImageFault::UnknownFlags));
        }
        found.flags = arg.flags;
        self.machine.laid_out(found.uuid, found.load_base);
        Ok(())
    }
}
