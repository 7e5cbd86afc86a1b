//! Scripted TAs, and the model of `ldelf`.
//!
//! **Invariant:** touches memory only as EL0 can, with page faults answered by the kernel.

use super::world::{TA_ENTRY, TA_STACK, World};
use crate::observer::Observer;
use alloc::vec;
use tally_abi::image::ImageFault;
use tally_abi::ldelf::{LdelfArg, svc as ldelf_svc, task};
use tally_abi::ta::{UteeParams, svc};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::addr::PAGE_SIZE;
use tally_mem::machine::{Trap, UserContext, UserRoot};
use zerocopy::IntoBytes;

/// A TA that runs.
pub struct Run<'a, O: Observer = ()> {
    /// The world around it.
    pub world: &'a World<O>,
    /// Its registers.
    pub context: &'a mut UserContext,
    /// Its address space.
    pub root: UserRoot,
}

impl<O: Observer> Run<'_, O> {
    /// Returns `code` from the entry point.
    pub fn exit(&mut self, code: TeeResult) -> Trap {
        self.call(svc::RETURN, &[u64::from(code.0)])
    }

    /// Makes a system call.
    pub fn call(&mut self, number: u64, args: &[u64]) -> Trap {
        self.context.x[8] = number;
        self.context.x[..args.len()].copy_from_slice(args);
        Trap::Syscall
    }

    /// The result of the last system call.
    #[must_use]
    pub fn result(&self) -> TeeResult {
        TeeResult(self.context.x[0] as u32)
    }

    /// The `n`-th free byte of its stack, upwards, 8-byte aligned places of 1 KiB in all.
    #[must_use]
    pub fn stack(&self, n: u64) -> u64 {
        self.context.sp - 2048 + n
    }

    /// Loads as the TA would, with its page faults answered.
    pub fn load(&mut self, va: u64, buf: &mut [u8]) {
        let machine = &self.world.kernel.machine;
        for (n, byte) in buf.iter_mut().enumerate() {
            let byte = core::slice::from_mut(byte);
            if let Err(abort) = machine.user_load(self.root, va + n as u64, byte) {
                self.world.touch(self.root, abort);
                let again = machine.user_load(self.root, va + n as u64, byte);
                assert_eq!(again, Ok(()), "a load that faults for ever");
            }
        }
    }

    /// Stores as the TA would, with its page faults answered.
    pub fn store(&mut self, va: u64, data: &[u8]) {
        let machine = &self.world.kernel.machine;
        for (n, byte) in data.iter().enumerate() {
            let byte = core::slice::from_ref(byte);
            if let Err(abort) = machine.user_store(self.root, va + n as u64, byte) {
                self.world.touch(self.root, abort);
                let again = machine.user_store(self.root, va + n as u64, byte);
                assert_eq!(again, Ok(()), "a store that faults for ever");
            }
        }
    }

    /// A number in its memory.
    pub fn load_u64(&mut self, va: u64) -> u64 {
        let mut bytes = [0; 8];
        self.load(va, &mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number in its memory.
    pub fn load_u32(&mut self, va: u64) -> u32 {
        let mut bytes = [0; 4];
        self.load(va, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Its parameters. At its entry only.
    pub fn params(&mut self) -> UteeParams {
        let mut params = UteeParams::default();
        let at = self.context.x[2];
        self.load(at, params.as_mut_bytes());
        params
    }
}

/// No TA has more than its quota, however many instances of it there are.
fn check_quotas<O: Observer>(run: &Run<'_, O>) {
    let state = run.world.kernel.state();
    for guest in state.guests() {
        for (instance, found) in guest.instances.named() {
            let others = guest.charged_to_others(instance).unwrap_or_default();
            let all = found.charged_pages() + others;
            assert!(all <= guest.ta_quota_pages, "{all} pages of {}", found.uuid);
        }
    }
}

/// First bytes of an image that `ldelf` panics of.
pub const PANICS_LDELF: [u8; 4] = [0xff; 4];

/// Fifth byte of an image that `ldelf` lays out in a way that cannot be run; the sixth says how ([`ODD_LAYOUTS`]).
pub const ODD_LAYOUT: u8 = 0xe0;
/// How many ways there are; in the next one the TA has as little stack as one can run with.
pub const ODD_LAYOUTS: u8 = 7;

fn make_odd(arg: &mut LdelfArg, way: u8, stack: u64) {
    match way {
        // Not executable; not mapped.
        0 => arg.entry = stack,
        1 => arg.entry = arg.load_base + PAGE_SIZE as u64,
        // Misaligned; too short; longer than it is; wrapping; in what cannot be written.
        2 => arg.stack_ptr -= 8,
        3 => arg.stack_len = PAGE_SIZE as u64 - 1,
        4 => arg.stack_len = TA_STACK + PAGE_SIZE as u64,
        5 => (arg.stack_ptr, arg.stack_len) = (16, PAGE_SIZE as u64),
        6 => (arg.stack_ptr, arg.stack_len) = (arg.load_base + PAGE_SIZE as u64, PAGE_SIZE as u64),
        // As short as it may be.
        _ => arg.stack_len = PAGE_SIZE as u64,
    }
}

/// What lies behind the image in its last page was not somebody else's.
fn check_tail<O: Observer>(run: &mut Run<'_, O>, arg: &LdelfArg) {
    let end = arg.image_va + arg.image_len;
    let mut tail = vec![0; (end.next_multiple_of(PAGE_SIZE as u64) - end) as usize];
    run.load(end, &mut tail);
    assert!(tail.iter().all(|byte| *byte == 0), "{tail:x?}");
}

/// First bytes of a library that `ldelf` finds a fault in.
pub const FAULTY_LIBRARY: [u8; 4] = [0xfe; 4];
/// The TA that needs [`LIBRARY`], and has a link map.
pub const LINKED: TeeUuid = TeeUuid::from_u128(0x6666);
/// Its library.
pub const LIBRARY: TeeUuid = TeeUuid::from_u128(0x7777);
/// What each symbol's address is above the length of its name.
pub const SYMBOLS: u64 = 0x1000;

/// The model of `ldelf` in a TA that runs: it maps two pages, protects one of them, and opens the library; or finds a
/// symbol, unless its name begins with a zero.
fn ldelf_in_ta<O: Observer>(run: &mut Run<'_, O>, step: u64, mut arg: LdelfArg) -> Trap {
    let arg_va = run.context.x[20];
    let (word, page) = (arg_va - 64, PAGE_SIZE as u64);
    assert!(arg.link_map != 0 && arg.link_map_len != 0, "no link map");
    if arg.task == task::SYMBOL {
        let mut first = [0];
        run.load(arg_va + size_of::<LdelfArg>() as u64, &mut first);
        if first == [0] {
            arg.why = ImageFault::UndefinedSymbol.code();
        }
        arg.entry = SYMBOLS + u64::from(arg.name_len);
        run.store(arg_va, arg.as_bytes());
        return run.call(ldelf_svc::RETURN, &[u64::from(arg.why)]);
    }
    match step {
        0 => {
            run.store(word, &[0; 8]);
            run.call(ldelf_svc::MAP_ZI, &[word, 2 * page, 0, page, 0])
        }
        1 => {
            let code = run.load_u64(word);
            let prot = tally_abi::ldelf::prot::EXEC;
            run.call(ldelf_svc::SET_PROT, &[code, page, prot])
        }
        2 => opens(run, arg.uuid),
        _ => {
            let image = run.load_u64(word);
            let mut flags = [0; 4];
            run.load(image, &mut flags);
            match flags {
                PANICS_LDELF => return run.call(ldelf_svc::PANIC, &[1]),
                FAULTY_LIBRARY => {
                    arg.why = ImageFault::UndefinedSymbol.code();
                    arg.why_of = arg.uuid;
                }
                _ => arg.link_map_len += page,
            }
            run.store(arg_va, arg.as_bytes());
            run.call(ldelf_svc::RETURN, &[u64::from(arg.why)])
        }
    }
}

/// Has a library opened, whose address goes to the word.
fn opens<O: Observer>(run: &mut Run<'_, O>, library: TeeUuid) -> Trap {
    let arg_va = run.context.x[20];
    let (word, len, uuid) = (arg_va - 64, arg_va - 56, arg_va - 96);
    run.store(uuid, library.as_bytes());
    run.store(word, &[0; 16]);
    run.call(ldelf_svc::OPEN_BIN, &[uuid, word, len])
}

/// The model of `ldelf`; x19 counts its steps.
pub(super) fn ldelf<O: Observer>(run: &mut Run<'_, O>) -> Trap {
    check_quotas(run);
    let step = run.context.x[19];
    run.context.x[19] += 1;
    if step == 0 {
        run.context.x[20] = run.context.x[0];
        // It uses all of its stack.
        run.store(run.context.sp - 7 * PAGE_SIZE as u64, &[0; 16]);
    } else if run.result() != TeeResult::SUCCESS {
        let result = run.context.x[0];
        return run.call(ldelf_svc::RETURN, &[result]);
    }
    let arg_va = run.context.x[20];
    let word = arg_va - 64;
    let page = PAGE_SIZE as u64;
    let mut arg = LdelfArg::default();
    run.load(arg_va, arg.as_mut_bytes());
    if arg.task != task::LOAD {
        return ldelf_in_ta(run, step, arg);
    }
    match step {
        0 => {
            run.store(word, &[0; 8]);
            run.call(ldelf_svc::MAP_ZI, &[word, page, 0, page, 0])
        }
        1 => {
            let code = run.load_u64(word);
            run.context.x[21] = code;
            // Read as parameters: one value out.
            run.store(code, &[2, 0, 0, 0]);
            run.call(
                ldelf_svc::SET_PROT,
                &[code, page, tally_abi::ldelf::prot::EXEC],
            )
        }
        2 => {
            run.store(word, &[0; 8]);
            run.call(
                ldelf_svc::MAP_ZI,
                &[word, TA_STACK, 0, 0, tally_abi::ldelf::map_flag::STACK],
            )
        }
        3 if arg.uuid == LINKED => {
            run.context.x[22] = run.load_u64(word);
            opens(run, LIBRARY)
        }
        _ => {
            let mut stack = run.load_u64(word);
            if arg.uuid == LINKED {
                stack = run.context.x[22];
                (arg.link_map, arg.link_map_len) = (run.context.x[21], page);
            }
            let mut flags = [0; 4];
            run.load(arg.image_va, &mut flags);
            if flags == PANICS_LDELF {
                return run.call(ldelf_svc::PANIC, &[1]);
            }
            check_tail(run, &arg);
            arg.flags = u32::from_le_bytes(flags);
            arg.load_base = run.context.x[21];
            arg.load_len = page;
            arg.entry = arg.load_base + TA_ENTRY;
            arg.stack_ptr = stack + TA_STACK;
            arg.stack_len = TA_STACK;
            let mut odd = [0; 2];
            run.load(arg.image_va + 4, &mut odd);
            if odd[0] == ODD_LAYOUT {
                make_odd(&mut arg, odd[1], stack);
            }
            run.store(arg_va, arg.as_bytes());
            run.call(ldelf_svc::RETURN, &[0])
        }
    }
}
