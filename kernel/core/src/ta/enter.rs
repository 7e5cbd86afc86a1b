//! Entering a TA: parameters in, EL0 until it returns or dies, parameters out.
//!
//! **Invariant:** what was mapped for a call is unmapped when it ends; a TA that dies is buried
//! before its client hears of it.

use crate::call::Call;
use crate::call::args::{Arg, ArgMemory, Args, is_input, is_output};
use crate::call::large_args::COPY_BYTES;
use crate::kernel::{Kernel, State, page_count};
use crate::observer::Observer;
use crate::refused::Refused;
use crate::ta::instance::{InstanceRef, Life};
use crate::ta::stack;
use crate::ta::syscall::Flow;
use crate::ta::task::{Cause, Death, End, Exit, Ran, TaCall, Task};
use tally_abi::TeeResult;
use tally_abi::ta::{NUM_PARAMS, UteeParams};
use tally_mem::addr::{PAGE_SIZE, UserVa};
use tally_mem::machine::{Abort, Machine, STACK_PAGES, Trap, UserContext, UserRoot};
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;
use tally_mem::refused::{RefusedPages, Short};
use tally_mem::region::{Place, Prot, RegionKind};
use zerocopy::IntoBytes;

/// Bytes below the initial stack pointer that hold [`UteeParams`], 16-byte aligned.
const PARAMS_BYTES: u64 = (size_of::<UteeParams>() as u64).next_multiple_of(16);
/// Bytes on the stack while two TAs' memory is copied.
const COPY_CHUNK: usize = 512;

/// Bytes of kernel stack that entering a TA, the loader or a pseudo-TA leaves at least for what runs there: the deepest
/// system call that enters nobody. `cargo xtask stacks` compares it with the image.
pub const STACK_RESERVE: usize = 32 * 512;

/// Which table of system calls applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A TA, serving a session.
    Ta(u32),
    /// The loader.
    Ldelf,
}

/// Where a reference to no bytes points that is not null: at nothing, as no region lies below `WINDOW_START`.
const EMPTY: UserVa = UserVa(PAGE_SIZE as u64);

/// Where parameter n is mapped in the TA.
pub(crate) type Mapped = [Option<UserVa>; NUM_PARAMS];

impl<M: Machine, O: Observer> Call<'_, M, O> {
    /// Refuses to enter anybody when too little is left of the kernel stack, on which each TA of a chain takes its part.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub(crate) fn check_stack(&self) -> Result<(), TeeResult> {
        if self.kernel.machine.stack_left() < STACK_RESERVE {
            return Err(TeeResult::OUT_OF_MEMORY);
        }
        Ok(())
    }

    /// As [`Self::check_stack`], of somebody who hears of it: that it was refused is told.
    ///
    /// # Errors
    /// As there.
    #[inline(always)]
    pub(crate) fn require_stack(&self) -> Result<(), TeeResult> {
        let checked = self.check_stack();
        if checked.is_err() {
            self.note_little_stack();
        }
        checked
    }

    #[cold]
    #[inline(never)]
    fn note_little_stack(&self) {
        let left = (self.kernel.machine.stack_left() / PAGE_SIZE) as u32;
        let mut state = self.kernel.state();
        let caller = self.caller.as_ref();
        let caller = caller.and_then(|caller| state.instance(caller.instance));
        let owner = caller.map_or(OwnerId::CALL, |found| found.owner);
        state.refuse(Refused::Pages(RefusedPages {
            short: Short::Stack,
            owner,
            wanted: STACK_RESERVE.div_ceil(PAGE_SIZE) as u32,
            used: STACK_PAGES as u32 - left.min(STACK_PAGES as u32),
            size: STACK_PAGES as u32,
            left,
        }));
    }

    /// Enters a TA that this call has claimed. `Ok` is the TA's own code.
    ///
    /// # Errors
    /// `TARGET_DEAD` when it dies; `OUT_OF_MEMORY` and the like when its parameters cannot be
    /// mapped, or too little is left of the stack.
    pub fn run_ta(
        &mut self,
        instance: InstanceRef,
        call: TaCall,
        args: &mut Args,
    ) -> Result<TeeResult, TeeResult> {
        self.require_stack()?;
        // Clients of the normal world lend nothing that is charged.
        let lent = self.caller.as_ref().and_then(|_| args.lent_by_ta());
        if let Some((caller, pages)) = lent {
            self.lend(caller, pages)?;
        }
        let ran = self.run_ta_checked(instance, call, args);
        if let Some((caller, pages)) = lent
            && let Some(found) = self.kernel.state().instance_mut(caller)
            && let Some(space) = &mut found.space
        {
            space.take_back(pages);
        }
        ran
    }

    /// Charges a TA for the pages that its parameters take in the TA that it calls, whose quota is for others too.
    #[inline(never)]
    fn lend(&self, caller: InstanceRef, pages: u32) -> Result<(), TeeResult> {
        let mut state = self.kernel.state();
        let (allocator, guest) = state.split(caller.guest());
        let found = guest.to_grow(caller);
        let space = found.and_then(|found| found.space.as_mut());
        let space = space.ok_or(TeeResult::TARGET_DEAD)?;
        Ok(space.lend(&mut Mem::new(allocator, &self.kernel.machine), pages)?)
    }

    /// A function of its own, so that `cargo xtask stacks` tells what runs behind the check.
    #[inline(never)]
    pub(crate) fn run_ta_checked(
        &mut self,
        instance: InstanceRef,
        call: TaCall,
        args: &mut Args,
    ) -> Result<TeeResult, TeeResult> {
        let kernel = self.kernel;
        let mut mapped = Mapped::default();
        let has_large = args.has_large();
        if has_large {
            self.map_large(instance, args, &mut mapped)?;
        }
        let entered = {
            let mut state = kernel.state();
            let owner = match state.instance(instance) {
                Some(found) if found.life == Life::Ready && !found.killed => found.owner,
                // Buried with all that is mapped in it.
                _ => return Err(TeeResult::TARGET_DEAD),
            };
            kernel.as_owner(owner, || {
                let entered = kernel.prepare(&mut state, instance, call, args, &mut mapped);
                if entered.is_err() {
                    kernel.unmap_small(&mut state, instance, args, &mapped);
                }
                let (context, root) = entered?;
                let noted = kernel.begin_task(&mut state, instance, call, context.sp);
                Ok::<_, TeeResult>((context, root, noted, O::watches(&state, instance.guest())))
            })
        };
        if let Err(err) = entered
            && has_large
        {
            self.end_large(instance, args, &mapped, Err(err))?;
        }
        let (mut context, root, noted, watched) = entered?;
        if watched {
            O::entered(kernel, instance, call);
        }
        let params_va = UserVa(context.sp);
        kernel.threads.note_user_sp(self.thread, context.sp);
        let ran = self.run_user(instance, &mut context, root, Mode::Ta(call.session));
        let mut state = kernel.state();
        if O::watches(&state, instance.guest()) {
            drop(state);
            O::leaving(kernel, instance, call);
            state = kernel.state();
        }
        kernel.end_task(&mut state, instance, call, noted, ran);
        match ran.exit {
            Exit::Return(code) => {
                let mut back = kernel.collect(&mut state, instance, params_va, args, &mapped);
                kernel.unmap_small(&mut state, instance, args, &mapped);
                drop(state);
                if has_large {
                    back = self.end_large(instance, args, &mapped, back);
                }
                back.map(|()| TeeResult(code))
            }
            Exit::Died => {
                drop(state);
                self.bury(instance, End::Died);
                Err(TeeResult::TARGET_DEAD)
            }
        }
    }

    /// Runs at EL0 until it returns or dies.
    pub fn run_user(
        &mut self,
        instance: InstanceRef,
        context: &mut UserContext,
        root: UserRoot,
        mode: Mode,
    ) -> Ran {
        // Another TA's may be lent to this thread: that which calls this one, closes a session of it, or is loaded with it.
        self.kernel.machine.take_vectors();
        let mut lowest_sp = context.sp;
        let exit = loop {
            self.kernel.threads.note_user_context(self.thread, context);
            let trap = self.kernel.machine.run_user(context, root);
            self.kernel.threads.note_user_sp(self.thread, context.sp);
            lowest_sp = lowest_sp.min(context.sp);
            match trap {
                Trap::Syscall => {
                    let flow = match mode {
                        Mode::Ta(session) => self.syscall(instance, session, context),
                        Mode::Ldelf => self.ldelf_syscall(instance, context),
                    };
                    match flow {
                        // Interrupts in the normal world are no trap here.
                        Flow::Continue if self.rpc.has_left() && self.is_killed(instance) => {
                            break Exit::Died;
                        }
                        Flow::Continue => {}
                        Flow::Return(code) => break Exit::Return(code),
                        Flow::Panic(code) => {
                            self.report(instance, context, &Death::Panic(code));
                            break Exit::Died;
                        }
                        Flow::Killed => break Exit::Died,
                    }
                }
                Trap::Abort(abort) => {
                    if !self.fault(instance, abort) {
                        self.report(instance, context, &Death::Abort(abort));
                        break Exit::Died;
                    }
                }
                Trap::Vectors { .. } if self.lend_vectors(instance) => {}
                Trap::Vectors { esr } | Trap::Fault { esr } => {
                    self.report(instance, context, &Death::Fault(esr));
                    break Exit::Died;
                }
                Trap::ForeignInterrupt | Trap::SecureInterrupt => {
                    if trap == Trap::ForeignInterrupt {
                        self.yield_to_normal();
                    }
                    if self.is_killed(instance) {
                        log::error!("TA was killed while it ran");
                        break Exit::Died;
                    }
                }
            }
        };
        self.kernel.machine.take_vectors();
        Ran {
            exit,
            lowest_sp,
            tpidr: context.tpidr,
        }
    }

    /// Gives an instance its floating-point registers; false where there are none for TAs.
    #[cold]
    #[inline(never)]
    fn lend_vectors(&self, instance: InstanceRef) -> bool {
        let state = self.kernel.state();
        let found = state.instance(instance);
        let vectors = found
            .and_then(|found| found.kept.as_deref())
            .map(|kept| &kept.vectors);
        vectors.is_some_and(|vectors| self.kernel.machine.lend_vectors(vectors))
    }

    /// Whether somebody asked for this instance's end.
    #[must_use]
    pub fn is_killed(&self, instance: InstanceRef) -> bool {
        self.kernel
            .state()
            .instance(instance)
            .is_none_or(|found| found.killed)
    }

    /// Populates what the access may touch; false if it may not.
    fn fault(&self, instance: InstanceRef, abort: Abort) -> bool {
        if !abort.translation {
            return false;
        }
        let kernel = self.kernel;
        let mut state = kernel.state();
        let (pages, guest) = state.split(instance.guest());
        let Some(found) = guest.instances.at_mut(instance) else {
            return false;
        };
        let Some(space) = found.space.as_mut() else {
            return false;
        };
        space
            .fault(
                &mut Mem::new(pages, &kernel.machine),
                UserVa(abort.va),
                abort.access,
            )
            .is_ok()
    }

    #[inline(never)]
    fn report(&self, instance: InstanceRef, context: &UserContext, death: &Death) {
        let kernel = self.kernel;
        let machine = &kernel.machine;
        // What is in the CPU is told as well.
        machine.take_vectors();
        if let Some(found) = kernel.state().instance_mut(instance) {
            let overflow = stack::overflow(machine, found, context, death);
            found.stack_deepest = found.stack_deepest.max(overflow.unwrap_or(0));
            let cause = match overflow {
                Some(_) => Cause::StackOverflow,
                None => Cause::from(death),
            };
            found.note_fate(cause, machine.ticks());
        }
        kernel.write_obituary(instance, context, death);
    }
}

impl<M: Machine, O: Observer> Kernel<M, O> {
    /// Notes what an instance is entered for, for those who ask meanwhile or afterwards.
    fn begin_task(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        call: TaCall,
        stack_pointer: u64,
    ) -> O::Entered {
        let noted = O::entering(self, state, instance, call, stack_pointer);
        if let Some(found) = state.instance_mut(instance) {
            found.task = Some(Task {
                function: call.function as u32,
                command: call.command,
                session: call.session,
                since: self.machine.ticks(),
            });
        }
        noted
    }

    /// Notes what came of it. A dead instance has its memory still.
    fn end_task(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        call: TaCall,
        noted: O::Entered,
        ran: Ran,
    ) {
        O::left(self, state, instance, call, noted, ran);
        if let Some(found) = state.instance_mut(instance) {
            found.note_stack_pointer(ran.lowest_sp);
            if let Some(kept) = &mut found.kept {
                kept.tpidr = ran.tpidr;
            }
            if ran.exit == Exit::Died {
                found.note_end(self.machine.ticks());
            }
            found.task = None;
        }
    }

    /// Maps the parameters and makes the registers to enter with.
    fn prepare(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        call: TaCall,
        args: &Args,
        mapped: &mut Mapped,
    ) -> Result<(UserContext, UserRoot), TeeResult> {
        let mut params = UteeParams {
            types: u64::from(args.types),
            ..UteeParams::default()
        };
        for (index, item) in args.items.iter().enumerate() {
            let (a, b) = match item {
                Arg::None => (0, 0),
                Arg::Value { a, b } => (*a, *b),
                Arg::Memref { memory, given, .. } => {
                    let va = match mapped[index] {
                        Some(large) => Some(large),
                        None => {
                            self.map_param(state, instance, args.kind(index), memory, *given)?
                        }
                    };
                    mapped[index] = va;
                    let va = match (va, memory) {
                        (Some(va), _) => va,
                        (None, ArgMemory::Null) => UserVa(0),
                        (None, ArgMemory::Shm(..) | ArgMemory::Ta(..)) => EMPTY,
                    };
                    (va.0, *given)
                }
            };
            params.vals[2 * index] = a;
            params.vals[2 * index + 1] = b;
        }
        let (pages, guest) = state.split(instance.guest());
        let found = guest
            .instances
            .at_mut(instance)
            .ok_or(TeeResult::TARGET_DEAD)?;
        let sp = found.stack_top - PARAMS_BYTES;
        let entry = found.entry;
        let tpidr = found.kept.as_ref().map_or(0, |kept| kept.tpidr);
        let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
        space.write_user(
            &mut Mem::new(pages, &self.machine),
            UserVa(sp),
            params.as_bytes(),
        )?;
        let mut context = UserContext {
            sp,
            pc: entry,
            tpidr,
            ..UserContext::default()
        };
        context.x[0] = call.function;
        context.x[1] = u64::from(call.session);
        context.x[2] = sp;
        context.x[3] = u64::from(call.command);
        Ok((context, space.root()))
    }

    fn map_param(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        kind: u32,
        memory: &ArgMemory,
        given: u64,
    ) -> Result<Option<UserVa>, TeeResult> {
        if given == 0 {
            return Ok(None);
        }
        let place = Place::random(self.random_u64());
        match memory {
            ArgMemory::Null => Ok(None),
            ArgMemory::Shm(shm_ref, offset) => {
                let (pages, guest) = state.split(instance.guest());
                guest.share_quota(instance);
                let shm = guest.shm.object(shm_ref).ok_or(TeeResult::BAD_PARAMETERS)?;
                let first = (shm.first_offset() as u64 + offset) % PAGE_SIZE as u64;
                let count = page_count(first + given)?;
                let found = guest
                    .instances
                    .at_mut(instance)
                    .ok_or(TeeResult::TARGET_DEAD)?;
                let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
                let prot = if is_output(kind) {
                    Prot::READ_WRITE
                } else {
                    Prot::READ
                };
                let va = space.map_normal(
                    &mut Mem::new(pages, &self.machine),
                    shm.pages(*offset, given),
                    count,
                    first as usize,
                    prot,
                    place,
                )?;
                Ok(Some(va))
            }
            ArgMemory::Ta(caller, from) => {
                let (pages, guest) = state.split(instance.guest());
                let found = guest.to_grow(instance).ok_or(TeeResult::TARGET_DEAD)?;
                let space = found.space.as_mut().ok_or(TeeResult::TARGET_DEAD)?;
                let va = space.map_zero(
                    &mut Mem::new(pages, &self.machine),
                    RegionKind::Param,
                    given.next_multiple_of(PAGE_SIZE as u64),
                    Prot::READ_WRITE,
                    place,
                )?;
                if is_input(kind)
                    && let Err(err) =
                        self.copy_between(state, (*caller, *from), (instance, va), given)
                {
                    self.unmap_param(state, instance, va);
                    return Err(err);
                }
                Ok(Some(va))
            }
        }
    }

    /// Copies between two TAs' address spaces: [`COPY_BYTES`] at most under one lock. Out of line: its chunk must not lie
    /// below a TA.
    #[inline(never)]
    pub(crate) fn copy_between(
        &self,
        state: &mut State<O>,
        from: (InstanceRef, UserVa),
        to: (InstanceRef, UserVa),
        len: u64,
    ) -> Result<(), TeeResult> {
        let mut chunk = [0; COPY_CHUNK];
        let mut done = 0;
        while done < len {
            let piece = &mut chunk[..(len - done).min(COPY_CHUNK as u64) as usize];
            self.read_ta(state, from.0, UserVa(from.1.0 + done), piece)?;
            self.write_ta(state, to.0, UserVa(to.1.0 + done), piece)?;
            done += piece.len() as u64;
        }
        Ok(())
    }

    /// Copies out of a TA's memory, as far as the TA itself may read it.
    ///
    /// # Errors
    /// `TARGET_DEAD`, `ACCESS_DENIED`.
    pub fn read_ta(
        &self,
        state: &State<O>,
        instance: InstanceRef,
        va: UserVa,
        buf: &mut [u8],
    ) -> Result<(), TeeResult> {
        let space = state
            .instance(instance)
            .and_then(|found| found.space.as_ref());
        Ok(space
            .ok_or(TeeResult::TARGET_DEAD)?
            .read_user(&self.machine, va, buf)?)
    }

    /// Copies into a TA's memory, as far as the TA itself may write it.
    ///
    /// # Errors
    /// `TARGET_DEAD`, `ACCESS_DENIED`, `OUT_OF_MEMORY`.
    pub fn write_ta(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        va: UserVa,
        data: &[u8],
    ) -> Result<(), TeeResult> {
        let (pages, guest) = state.split(instance.guest());
        let found = guest
            .instances
            .at_mut(instance)
            .and_then(|found| found.space.as_mut());
        let space = found.ok_or(TeeResult::TARGET_DEAD)?;
        Ok(space.write_user(&mut Mem::new(pages, &self.machine), va, data)?)
    }

    /// Takes back what the TA put out.
    fn collect(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        params_va: UserVa,
        args: &mut Args,
        mapped: &Mapped,
    ) -> Result<(), TeeResult> {
        let mut params = UteeParams::default();
        self.read_ta(state, instance, params_va, params.as_mut_bytes())?;
        for (index, place) in mapped.iter().enumerate() {
            let kind = args.kind(index);
            if !is_output(kind) {
                continue;
            }
            let [a, b] = [params.vals[2 * index], params.vals[2 * index + 1]];
            match &mut args.items[index] {
                Arg::None => {}
                // Values are 32 bits wide on the TA's side.
                Arg::Value { a: out_a, b: out_b } => {
                    *out_a = a & 0xffff_ffff;
                    *out_b = b & 0xffff_ffff;
                }
                Arg::Memref {
                    memory,
                    given,
                    size,
                } => {
                    *size = b;
                    // What is large is copied in steps.
                    if let (ArgMemory::Ta(caller, to), Some(from)) = (memory, *place)
                        && *given <= COPY_BYTES
                    {
                        let len = b.min(*given);
                        let (caller, to) = (*caller, *to);
                        self.copy_between(state, (instance, from), (caller, to), len)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Unmaps parameters, but for the large ones.
    pub(crate) fn unmap_small(
        &self,
        state: &mut State<O>,
        instance: InstanceRef,
        args: &Args,
        mapped: &Mapped,
    ) {
        for (va, arg) in mapped.iter().zip(&args.items) {
            if let Some(va) = va
                && !arg.is_large()
            {
                self.unmap_param(state, instance, *va);
            }
        }
    }

    fn unmap_param(&self, state: &mut State<O>, instance: InstanceRef, va: UserVa) {
        let (pages, guest) = state.split(instance.guest());
        let found = guest.instances.at_mut(instance);
        let Some(space) = found.and_then(|found| found.space.as_mut()) else {
            return;
        };
        let Some(region) = space.region_at(va).copied() else {
            return;
        };
        let mut memory = Mem::new(pages, &self.machine);
        if let Err(err) = space.unmap(&mut memory, region.va(), region.bytes()) {
            log::error!("parameter stays mapped: {err:?}");
        }
    }
}
