//! Loading a TA: fetch the image, verify it, let `ldelf` lay it out at EL0.
//!
//! **Invariant:** not one byte of an image is interpreted, but for its headers, before its
//! signature holds; the image is copied once and only the copy is looked at.

pub(crate) mod encrypted;
pub mod image;
mod image_pages;
pub mod image_sizes;
mod lay_out;
pub(crate) mod libraries;
pub mod rsa;
mod stage;
mod subkey;
pub mod versions;

pub(crate) use libraries::Libraries;

use crate::call::Call;
use crate::call::claim::PAGES_A_STEP;
use crate::call::rpc::RpcShm;
use crate::observer::Observer;
use crate::refused::{Refused, RefusedImage};
use crate::ta::instance::{InstanceRef, Kept};
use crate::ta::load::image::{Refusal, Trust, Verified};
use crate::ta::load::image_pages::ImagePages;
use alloc::vec::Vec;
use tally_abi::image::{ImageFault, MAX_IMAGE_BYTES};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, PhysPage, pages_for};
use tally_mem::fallible::TryBox;
use tally_mem::fallible::vec_with_capacity;
use tally_mem::machine::Machine;
use tally_mem::owner::OwnerId;
use tally_mem::pages::PageUse;

/// Bytes copied at a time from shared memory.
const COPY_CHUNK: usize = 1024;

/// The hardware key of a board that has none, which OP-TEE has for it, too.
const DEVELOPMENT_KEY: [u8; 16] = [0; 16];

/// A verified image in pages of the kernel's.
#[derive(Debug)]
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

/// Tells the console why a TA or a library is not loaded.
#[cold]
fn say_unloaded(what: &str, uuid: TeeUuid, why: impl core::fmt::Display) {
    log::error!("{what} {uuid} is not loaded: {why}");
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
        let loaded = self.add_kept(instance).map_err(Unloaded::from);
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
        loaded.map_err(|why| self.tell_unloaded("TA", uuid, owner, why))
    }

    /// Makes room for its floating-point registers, so that a TA never ends for want of it.
    fn add_kept(&self, instance: InstanceRef) -> Result<(), TeeResult> {
        let kept = TryBox::new(Kept::new())?;
        let mut state = self.kernel.state();
        let found = state.instance_mut(instance);
        found.ok_or(TeeResult::TARGET_DEAD)?.kept = Some(kept);
        Ok(())
    }

    #[cold]
    fn tell_unloaded(&self, what: &str, uuid: TeeUuid, owner: OwnerId, why: Unloaded) -> TeeResult {
        match why {
            Unloaded::Code(code) => {
                say_unloaded(what, uuid, code);
                code
            }
            Unloaded::Image(why, size) => {
                say_unloaded(what, uuid, why);
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
}

#[cfg(test)]
mod tests {
    use super::{Unloaded, plausible};
    use tally_abi::image::ImageFault;

    #[test]
    fn an_image_has_one_byte_at_least_and_eight_megabytes_at_most() {
        for (size, why) in [
            (0, Some(ImageFault::Empty)),
            (1, None),
            (8 << 20, None),
            ((8 << 20) + 1, Some(ImageFault::TooLarge)),
            (u64::MAX, Some(ImageFault::TooLarge)),
        ] {
            let told = plausible(size);
            let told = told.map_err(|told| match told {
                Unloaded::Image(why, of) => (why, of),
                Unloaded::Code(code) => panic!("{code}"),
            });
            let wanted = why.map_or(Ok(size), |why| Err((why, size)));
            assert_eq!(told, wanted, "{size}");
        }
    }
}
