//! Sessions of TAs to other TAs.

use crate::call::Call;
use crate::call::args::{Arg, ArgMemory, Args, is_memref, is_output};
use crate::call::message::{OpenSession, Outcome};
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use crate::ta::invoke::Limit;
use crate::ta::session::{Caller, Opener};
use tally_abi::msg::login;
use tally_abi::ta::{NUM_PARAMS, UteeParams, access, param_type};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::UserVa;
use tally_mem::machine::Machine;
use zerocopy::IntoBytes;

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Runs `work` for a TA that uses its session `target`.
    pub(super) fn as_caller<R>(
        &mut self,
        instance: InstanceRef,
        session: u32,
        target: u32,
        x: &[u64; 31],
        work: impl FnOnce(&mut Self) -> R,
    ) -> R {
        let outer = self.caller.replace(Caller {
            instance,
            session,
            target,
            frame: x[29],
        });
        let result = work(self);
        self.caller = outer;
        result
    }

    #[inline(never)]
    pub(super) fn sys_open(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let mut target = TeeUuid::nil();
        self.take(instance, UserVa(x[0]), target.as_mut_bytes())?;
        let mut args = self.args_from_ta(instance, UserVa(x[2]))?;
        // Both results must have somewhere to go before anything happens.
        self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, UserVa(x[3]), 4)?;
        self.check_origin(instance, UserVa(x[4]))?;
        let client = {
            let state = self.kernel.state();
            state
                .instance(instance)
                .map(|found| found.uuid)
                .unwrap_or_default()
        };
        let open = OpenSession {
            target,
            client,
            login: login::TRUSTED_APP,
        };
        let (outcome, id) = self.open_session(
            &open,
            Opener::Ta(instance),
            Limit::timeout(x[1] as u32),
            &mut args,
        );
        self.put(instance, UserVa(x[3]), id.as_bytes())?;
        self.answer_ta(instance, UserVa(x[2]), UserVa(x[4]), args, outcome)
    }

    #[inline(never)]
    pub(super) fn sys_invoke(
        &mut self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let mut args = self.args_from_ta(instance, UserVa(x[3]))?;
        self.check_origin(instance, UserVa(x[4]))?;
        let outcome = self.invoke(
            x[0] as u32,
            Opener::Ta(instance),
            x[2] as u32,
            Limit::timeout(x[1] as u32),
            &mut args,
        );
        self.answer_ta(instance, UserVa(x[3]), UserVa(x[4]), args, outcome)
    }

    /// Checks where the origin of an answer goes, which a TA need not want to know (libdl passes NULL).
    fn check_origin(&self, instance: InstanceRef, va: UserVa) -> Result<(), TeeResult> {
        if va.0 == 0 {
            return Ok(());
        }
        self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, va, 4)
    }

    /// Parameters that a TA passes on; memory must be its own to read or write.
    pub(super) fn args_from_ta(
        &self,
        instance: InstanceRef,
        va: UserVa,
    ) -> Result<Args, TeeResult> {
        let mut args = Args::default();
        if va.0 == 0 {
            return Ok(args);
        }
        let mut params = UteeParams::default();
        self.take(instance, va, params.as_mut_bytes())?;
        args.types = u32::from(u16::try_from(params.types).map_err(|_| TeeResult::BAD_PARAMETERS)?);
        if (0..NUM_PARAMS).any(|index| is_output(args.kind(index))) {
            // What comes out must have somewhere to go before anything happens.
            let len = size_of::<UteeParams>() as u64;
            self.sys_check_access(instance, access::WRITE | access::ANY_OWNER, va, len)?;
        }
        for index in 0..NUM_PARAMS {
            let kind = args.kind(index);
            let [a, b] = [params.vals[2 * index], params.vals[2 * index + 1]];
            args.items[index] = match kind {
                param_type::NONE => Arg::None,
                param_type::VALUE_INPUT..=param_type::VALUE_INOUT => Arg::Value { a, b },
                _ if is_memref(kind) => {
                    let rights = if is_output(kind) {
                        access::READ | access::WRITE | access::ANY_OWNER
                    } else {
                        access::READ | access::ANY_OWNER
                    };
                    let memory = if a == 0 && b == 0 {
                        ArgMemory::Null
                    } else {
                        self.sys_check_access(instance, rights, UserVa(a), b)?;
                        ArgMemory::Ta(instance, UserVa(a))
                    };
                    Arg::Memref {
                        memory,
                        given: b,
                        size: b,
                    }
                }
                _ => return Err(TeeResult::BAD_PARAMETERS),
            };
        }
        Ok(args)
    }

    /// Writes the results of a nested operation to the TA that asked for it.
    pub(super) fn answer_ta(
        &self,
        instance: InstanceRef,
        params_va: UserVa,
        origin_va: UserVa,
        args: Args,
        outcome: Outcome,
    ) -> Result<(), TeeResult> {
        for (index, item) in args.items.iter().enumerate() {
            if !is_output(args.kind(index)) {
                continue;
            }
            let at = |n: usize| UserVa(params_va.0 + 8 + 8 * (2 * index + n) as u64);
            match item {
                Arg::None => {}
                Arg::Value { a, b } => {
                    self.put(instance, at(0), a.as_bytes())?;
                    self.put(instance, at(1), b.as_bytes())?;
                }
                Arg::Memref { size, .. } => self.put(instance, at(1), size.as_bytes())?,
            }
        }
        if origin_va.0 != 0 {
            self.put(instance, origin_va, (outcome.origin as u32).as_bytes())?;
        }
        outcome.result.ok()
    }
}
