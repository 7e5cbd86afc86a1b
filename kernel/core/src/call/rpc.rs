//! Asking the normal world for something in the middle of a call.
//!
//! **Invariant:** what comes back is an allegation: it is copied once and checked by the asker.

use crate::call::shm::Shm;
use core::sync::atomic::{AtomicBool, Ordering};
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr};
use tally_abi::ta::TeeTime;
use tally_abi::{TeeResult, TeeUuid, rpc, smc};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::{NormalMemory, ThreadControl};
use zerocopy::{FromZeros, IntoBytes};

/// Most parameters of an RPC (told to the normal world in `EXCHANGE_CAPABILITIES`).
pub const MAX_RPC_PARAMS: usize = 4;

/// The argument area of a call's RPCs: memory of the normal world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcArg {
    /// None yet: `RPC_ALLOC` gets one when it is needed.
    None,
    /// Came with the call.
    Given(PhysAddr),
    /// Allocated for this call; the cookie names it.
    Allocated(PhysAddr, u64),
}

/// One call's line to the normal world.
#[derive(Debug)]
pub struct RpcClient<'k> {
    arg: RpcArg,
    /// Whether it was used: others may have ended, meanwhile, whom the call works for.
    has_left: bool,
    /// Closed when the guest ends: then its memory is nobody's, and is not touched any more.
    closed: &'k AtomicBool,
}

/// Memory that the normal world allocated for us.
#[derive(Debug)]
pub struct RpcShm {
    /// Its pages.
    pub shm: Shm,
    /// Its name in the normal world.
    pub cookie: u64,
    kind: u64,
}

const fn split(value: u64) -> (u64, u64) {
    (value >> 32, value & 0xffff_ffff)
}

const fn join(high: u64, low: u64) -> u64 {
    (high & 0xffff_ffff) << 32 | low & 0xffff_ffff
}

impl<'k> RpcClient<'k> {
    /// A line that uses `arg`, until it is `closed`.
    #[must_use]
    pub const fn new(arg: RpcArg, closed: &'k AtomicBool) -> Self {
        Self {
            arg,
            has_left: false,
            closed,
        }
    }

    /// Whether the call was in the normal world.
    #[must_use]
    pub const fn has_left(&self) -> bool {
        self.has_left
    }

    /// Leaves for the normal world and comes back, unless the line is closed then.
    fn suspend<M: ThreadControl>(
        &mut self,
        machine: &M,
        out: [u64; 4],
    ) -> Result<[u64; 8], TeeResult> {
        self.has_left = true;
        let open = || !self.closed.load(Ordering::Relaxed);
        let back = open().then(|| machine.suspend(out));
        back.filter(|_| open()).ok_or(TeeResult::COMMUNICATION)
    }

    fn arg<M: ThreadControl + NormalMemory>(&mut self, machine: &M) -> Result<PhysAddr, TeeResult> {
        match self.arg {
            RpcArg::Given(pa) | RpcArg::Allocated(pa, _) => Ok(pa),
            RpcArg::None => {
                let bytes = arg_size(MAX_RPC_PARAMS) as u64;
                let thread = machine.thread_id() as u64;
                let request = [u64::from(smc::ret::RPC_ALLOC), bytes, 0, thread];
                let back = self.suspend(machine, request)?;
                let pa = PhysAddr(join(back[1], back[2]));
                let cookie = join(back[4], back[5]);
                if pa.0 == 0 {
                    return Err(TeeResult::OUT_OF_MEMORY);
                }
                // Kept even if it is bad, so that it is given back.
                self.arg = RpcArg::Allocated(pa, cookie);
                if pa.is_aligned(8) && machine.is_normal(pa, bytes) {
                    Ok(pa)
                } else {
                    self.finish(machine);
                    Err(TeeResult::COMMUNICATION)
                }
            }
        }
    }

    /// Gives back what [`Self`] allocated.
    pub fn finish<M: ThreadControl>(&mut self, machine: &M) {
        if let RpcArg::Allocated(_, cookie) = self.arg {
            self.arg = RpcArg::None;
            let (high, low) = split(cookie);
            let thread = machine.thread_id() as u64;
            let request = [u64::from(smc::ret::RPC_FREE), high, low, thread];
            // Of a guest that has ended, nothing is to be freed.
            let _ = self.suspend(machine, request);
        }
    }

    /// One command: `params` go out and come back.
    ///
    /// # Errors
    /// The normal world's code, or `COMMUNICATION`/`OUT_OF_MEMORY` when there is no argument area.
    pub fn command<M: ThreadControl + NormalMemory>(
        &mut self,
        machine: &M,
        cmd: u32,
        params: &mut [MsgParam],
    ) -> Result<(), TeeResult> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(TeeResult::COMMUNICATION);
        }
        let arg = self.arg(machine)?;
        let count = params.len().min(MAX_RPC_PARAMS);
        let header = MsgHeader {
            cmd,
            // What an absent supplicant leaves in place.
            ret: TeeResult::GENERIC.0,
            num_params: u32::try_from(count).unwrap_or(0),
            ..MsgHeader::default()
        };
        let params_at = PhysAddr(arg.0 + size_of::<MsgHeader>() as u64);
        if !machine.write_normal(arg, header.as_bytes())
            || !machine.write_normal(params_at, params[..count].as_bytes())
        {
            return Err(TeeResult::COMMUNICATION);
        }
        let cookie = match self.arg {
            RpcArg::Allocated(_, cookie) => cookie,
            RpcArg::None | RpcArg::Given(_) => 0,
        };
        let (high, low) = split(cookie);
        let thread = machine.thread_id() as u64;
        self.suspend(machine, [u64::from(smc::ret::RPC_CMD), high, low, thread])?;
        let mut back = MsgHeader::new_zeroed();
        if !machine.read_normal(arg, back.as_mut_bytes())
            || !machine.read_normal(params_at, params[..count].as_mut_bytes())
        {
            return Err(TeeResult::COMMUNICATION);
        }
        TeeResult(back.ret).ok()
    }

    /// Has the normal world allocate memory shared with its supplicant.
    ///
    /// # Errors
    /// The normal world's code; `COMMUNICATION` when its answer is not usable memory.
    pub fn shm_alloc<M: ThreadControl + NormalMemory>(
        &mut self,
        machine: &M,
        size: u64,
    ) -> Result<RpcShm, TeeResult> {
        let kind = rpc::shm_type::APPLICATION;
        let mut params = [MsgParam {
            attr: attr::VALUE_INPUT,
            a: kind,
            b: size,
            c: 8,
        }];
        self.command(machine, rpc::cmd::SHM_ALLOC, &mut params)?;
        let [answer] = params;
        let cookie = answer.c;
        let shm = if answer.attr == attr::TMEM_OUTPUT | attr::NONCONTIG {
            Shm::take_in_list(machine, PhysAddr(answer.a), answer.b, None)
        } else if answer.attr == attr::TMEM_OUTPUT {
            Shm::contiguous(machine, PhysAddr(answer.a), answer.b, None)
        } else {
            return Err(TeeResult::COMMUNICATION);
        };
        match shm {
            Ok(shm) if shm.size() >= size => Ok(RpcShm { shm, cookie, kind }),
            Ok(_) => {
                self.free(machine, kind, cookie);
                Err(TeeResult::COMMUNICATION)
            }
            Err(err) => {
                self.free(machine, kind, cookie);
                Err(err.into())
            }
        }
    }

    /// Gives such memory back.
    pub fn shm_free<M: ThreadControl + NormalMemory>(&mut self, machine: &M, shm: RpcShm) {
        self.free(machine, shm.kind, shm.cookie);
    }

    fn free<M: ThreadControl + NormalMemory>(&mut self, machine: &M, kind: u64, cookie: u64) {
        let mut params = [MsgParam {
            attr: attr::VALUE_INPUT,
            a: kind,
            b: cookie,
            c: 0,
        }];
        if let Err(err) = self.command(machine, rpc::cmd::SHM_FREE, &mut params) {
            log::error!("normal world does not take back shared memory: {err}");
        }
    }

    /// Size in bytes of a TA's image.
    ///
    /// # Errors
    /// The supplicant's code.
    pub fn ta_size<M: ThreadControl + NormalMemory>(
        &mut self,
        machine: &M,
        uuid: TeeUuid,
    ) -> Result<u64, TeeResult> {
        let (a, b) = uuid.to_value_pair();
        let mut params = [
            MsgParam {
                attr: attr::VALUE_INPUT,
                a,
                b,
                c: 0,
            },
            MsgParam {
                attr: attr::TMEM_OUTPUT,
                ..MsgParam::default()
            },
        ];
        match self.command(machine, rpc::cmd::LOAD_TA, &mut params) {
            // Linux's supplicant has this code with the size, others succeed.
            Ok(()) | Err(TeeResult::SHORT_BUFFER) => Ok(params[1].b),
            Err(err) => Err(err),
        }
    }

    /// Has a TA's image put into `shm`; returns its size. If there is no room for so much, nothing was put
    /// there.
    ///
    /// # Errors
    /// The supplicant's code.
    pub fn load_ta<M: ThreadControl + NormalMemory>(
        &mut self,
        machine: &M,
        uuid: TeeUuid,
        shm: &RpcShm,
    ) -> Result<u64, TeeResult> {
        let (a, b) = uuid.to_value_pair();
        let mut params = [
            MsgParam {
                attr: attr::VALUE_INPUT,
                a,
                b,
                c: 0,
            },
            MsgParam {
                attr: attr::RMEM_OUTPUT,
                a: 0,
                b: shm.shm.size(),
                c: shm.cookie,
            },
        ];
        match self.command(machine, rpc::cmd::LOAD_TA, &mut params) {
            Ok(()) => Ok(params[1].b),
            // Linux's supplicant has this code with the size, others succeed.
            Err(TeeResult::SHORT_BUFFER) if params[1].b > shm.shm.size() => Ok(params[1].b),
            Err(err) => Err(err),
        }
    }

    /// Time of the normal world.
    ///
    /// # Errors
    /// The normal world's code.
    pub fn time<M: ThreadControl + NormalMemory>(
        &mut self,
        machine: &M,
    ) -> Result<TeeTime, TeeResult> {
        let mut params = [MsgParam {
            attr: attr::VALUE_OUTPUT,
            ..MsgParam::default()
        }];
        self.command(machine, rpc::cmd::GET_TIME, &mut params)?;
        let millis = (params[0].b / 1_000_000).min(999);
        Ok(TeeTime {
            seconds: params[0].a as u32,
            millis: millis as u32,
        })
    }

    /// Sleeps.
    ///
    /// # Errors
    /// The normal world's code.
    pub fn sleep<M: ThreadControl + NormalMemory>(
        &mut self,
        machine: &M,
        millis: u64,
    ) -> Result<(), TeeResult> {
        let mut params = [MsgParam {
            attr: attr::VALUE_INPUT,
            a: millis,
            b: 0,
            c: 0,
        }];
        self.command(machine, rpc::cmd::SUSPEND, &mut params)
    }

    /// Waits for, or sends, the notification `key` (`rpc::notification`).
    ///
    /// # Errors
    /// The normal world's code.
    pub fn notification<M: ThreadControl + NormalMemory>(
        &mut self,
        machine: &M,
        what: u64,
        key: u64,
    ) -> Result<(), TeeResult> {
        let mut params = [MsgParam {
            attr: attr::VALUE_INPUT,
            a: what,
            b: key,
            c: 0,
        }];
        self.command(machine, rpc::cmd::NOTIFICATION, &mut params)
    }
}
