//! Supplicant of the model: images, memory, time.
//!
//! **Invariant:** what is freed was lent, unless a test garbled answers.

use super::{NORMAL_PAGES, SHM_BASE, World, memref, signed_image, value};
use crate::observer::Observer;
use alloc::vec::Vec;
use tally_abi::msg::{MsgHeader, MsgParam, attr};
use tally_abi::{TeeResult, TeeUuid, rpc};
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::machine::NormalMemory;
use tally_mem::testing::NORMAL_BASE;
use zerocopy::IntoBytes;

impl<O: Observer> World<O> {
    /// Has the normal world refuse to lend more than so many bytes at a time.
    pub fn set_shm_limit(&self, bytes: Option<u64>) {
        self.normal.lock().shm_limit = bytes;
    }

    /// The threads that were sent notifications since the last call.
    #[must_use]
    pub fn take_woken(&self) -> Vec<u64> {
        core::mem::take(&mut self.normal.lock().woken)
    }

    /// Pages for so many bytes; their address is their cookie.
    pub(super) fn lend(&self, bytes: u64) -> u64 {
        let mut normal = self.normal.lock();
        let mut at = SHM_BASE.0;
        for (cookie, len) in &normal.lent {
            if at + bytes <= *cookie {
                break;
            }
            at = cookie + len;
        }
        if at + bytes > NORMAL_BASE.0 + (NORMAL_PAGES * PAGE_SIZE) as u64 {
            at = SHM_BASE.0;
        }
        let len = bytes.next_multiple_of(PAGE_SIZE as u64);
        normal.lent.insert(at, len);
        at
    }

    pub(super) fn answer(&self, command: u32, arg: PhysAddr) -> TeeResult {
        if command == rpc::cmd::FS {
            return self.answer_files(arg);
        }
        let at = PhysAddr(arg.0 + size_of::<MsgHeader>() as u64);
        let mut params = [MsgParam::default(); 2];
        assert!(self.kernel.machine.read_normal(at, params.as_mut_bytes()));
        let [first, second] = &mut params;
        let result = match command {
            rpc::cmd::LOAD_TA => self.load_ta(TeeUuid::from_value_pair(first.a, first.b), second),
            rpc::cmd::SHM_ALLOC
                if self
                    .normal
                    .lock()
                    .shm_limit
                    .is_some_and(|most| first.b > most) =>
            {
                TeeResult::OUT_OF_MEMORY
            }
            rpc::cmd::SHM_ALLOC => {
                let size = first.b;
                let pa = self.lend(size);
                *first = memref(attr::TMEM_OUTPUT, pa, size, pa);
                TeeResult::SUCCESS
            }
            rpc::cmd::SHM_FREE => {
                let mut normal = self.normal.lock();
                let lent = normal.lent.remove(&first.b).is_some();
                assert!(lent || normal.garbled, "freed what was not lent");
                TeeResult::SUCCESS
            }
            rpc::cmd::GET_TIME => {
                *first = value(attr::VALUE_OUTPUT, 1_700_000_000, 5_000_000);
                TeeResult::SUCCESS
            }
            rpc::cmd::SUSPEND => {
                self.kernel.machine.advance(first.a * 1000);
                TeeResult::SUCCESS
            }
            rpc::cmd::NOTIFICATION => {
                if first.a == rpc::notification::SEND {
                    self.normal.lock().woken.push(first.b);
                }
                TeeResult::SUCCESS
            }
            // Turns lent bytes round, and says that its answer has b bytes; a is what it answers.
            rpc::cmd::SUPP_PLUGIN => {
                if second.attr == attr::RMEM_INOUT {
                    let mut bytes = self.read(PhysAddr(second.c), second.b as usize);
                    bytes.reverse();
                    self.write(PhysAddr(second.c), &bytes);
                }
                second.b = first.b;
                TeeResult(first.a as u32)
            }
            _ => TeeResult::NOT_SUPPORTED,
        };
        if command != rpc::cmd::NOTIFICATION {
            self.write(at, params[..1].as_bytes());
        }
        if matches!(command, rpc::cmd::LOAD_TA | rpc::cmd::SUPP_PLUGIN) {
            self.write(at, params.as_bytes());
        }
        result
    }

    fn load_ta(&self, uuid: TeeUuid, out: &mut MsgParam) -> TeeResult {
        let mut normal = self.normal.lock();
        if let Some(at) = normal.unsigned.iter().position(|(other, _)| *other == uuid) {
            let (_, payload) = normal.unsigned.swap_remove(at);
            let image = signed_image(uuid, &payload);
            normal.images.retain(|(other, _)| *other != uuid);
            normal.images.push((uuid, image));
        }
        let Some((_, image)) = normal.images.iter().find(|(other, _)| *other == uuid) else {
            return TeeResult::ITEM_NOT_FOUND;
        };
        let room = out.b;
        out.b = image.len() as u64;
        if out.attr & attr::TYPE_MASK == attr::TMEM_OUTPUT {
            return TeeResult::SHORT_BUFFER;
        }
        if room < image.len() as u64 {
            return TeeResult::SHORT_BUFFER;
        }
        if self.kernel.machine.write_normal(PhysAddr(out.c), image) {
            TeeResult::SUCCESS
        } else {
            TeeResult::GENERIC
        }
    }
}
