//! A TA whose system calls a test makes itself, one by one.

use super::world::World;
use crate::call::Call;
use crate::call::rpc::RpcArg;
use crate::guest_id::GuestId;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use alloc::vec;
use alloc::vec::Vec;
use tally_abi::ta::svc;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::UserVa;
use tally_mem::machine::UserContext;
use zerocopy::IntoBytes;

/// The TA.
pub struct Caller<'w, O: Observer = ()> {
    /// The world around it.
    pub world: &'w World<O>,
    /// Its instance.
    pub instance: InstanceRef,
    session: u32,
    /// Bytes of its own, [`Self::MEMORY`] of them.
    pub memory: u64,
}

impl<'w, O: Observer> Caller<'w, O> {
    /// Bytes of its memory.
    pub const MEMORY: u64 = 0x1_0000;

    /// Opens a session with a TA that gets an instance for it.
    ///
    /// # Panics
    /// If it does not open.
    #[must_use]
    pub fn new(world: &'w World<O>, uuid: TeeUuid) -> Self {
        let session = world.opened(uuid);
        let (instance, stack) = {
            let state = world.kernel.state();
            let all = state.guest(GuestId::FIRST).instances.named();
            let own = all.filter(|(_, found)| found.uuid == uuid);
            let found = own.max_by_key(|(_, found)| found.generation);
            let Some((instance, found)) = found else {
                panic!("no instance");
            };
            (instance, found.stack_top - 64)
        };
        let mut caller = Self {
            world,
            instance,
            session,
            memory: stack,
        };
        caller.expect(
            TeeResult::SUCCESS,
            svc::tally::HEAP_RESERVE,
            &[Self::MEMORY, stack],
        );
        caller.memory = caller.load_u64(stack);
        caller.expect(
            TeeResult::SUCCESS,
            svc::tally::HEAP_GROW,
            &[Self::MEMORY, 0],
        );
        caller
    }

    /// Its instance, session and memory, by which a hook finds it again.
    #[must_use]
    pub const fn known(&self) -> (InstanceRef, u32, u64) {
        (self.instance, self.session, self.memory)
    }

    /// One that is known so, in a hook.
    #[must_use]
    pub const fn again(
        world: &'w World<O>,
        (instance, session, memory): (InstanceRef, u32, u64),
    ) -> Self {
        Self {
            world,
            instance,
            session,
            memory,
        }
    }

    /// Closes the session.
    ///
    /// # Panics
    /// If it does not close.
    pub fn close(self) {
        assert_eq!(self.world.close(self.session), TeeResult::SUCCESS);
    }

    /// Makes a system call.
    #[must_use]
    pub fn call(&self, number: u64, args: &[u64]) -> TeeResult {
        let mut context = UserContext::default();
        context.x[8] = number;
        context.x[..args.len()].copy_from_slice(args);
        let kernel = &self.world.kernel;
        let mut call = Call::new(kernel, GuestId::FIRST, RpcArg::None);
        let _ = call.syscall(self.instance, self.session, &mut context);
        call.finish();
        assert!(kernel.try_state().is_some(), "a system call keeps the lock");
        TeeResult(context.x[0] as u32)
    }

    /// Makes a system call that ends like this.
    ///
    /// # Panics
    /// If it does not.
    pub fn expect(&self, result: TeeResult, number: u64, args: &[u64]) {
        assert_eq!(self.call(number, args), result, "call {number} {args:x?}");
    }

    /// Makes a system call that gives a handle, which lies at the end of the memory meanwhile.
    ///
    /// # Errors
    /// The call's.
    pub fn handle(&self, number: u64, args: &[u64]) -> Result<u64, TeeResult> {
        let out = self.memory + Self::MEMORY - 8;
        let mut all = args.to_vec();
        all.push(out);
        self.call(number, &all).ok()?;
        Ok(self.load_u64(out) & u64::from(u32::MAX))
    }

    /// Writes its memory.
    ///
    /// # Panics
    /// If there is none.
    pub fn store(&self, va: u64, bytes: &[u8]) {
        let kernel = &self.world.kernel;
        let stored = kernel.write_ta(&mut kernel.state(), self.instance, UserVa(va), bytes);
        assert_eq!(stored, Ok(()));
    }

    /// Reads its memory.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn load(&self, va: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        let kernel = &self.world.kernel;
        let loaded = kernel.read_ta(&kernel.state(), self.instance, UserVa(va), &mut bytes);
        assert_eq!(loaded, Ok(()));
        bytes
    }

    /// A number in its memory.
    #[must_use]
    pub fn load_u64(&self, va: u64) -> u64 {
        let mut number = 0_u64;
        number
            .as_mut_bytes()
            .copy_from_slice(&self.load(va, size_of::<u64>()));
        number
    }
}
