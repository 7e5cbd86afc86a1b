//! Parameters of messages: what is large, what is lent, and what TAs and pseudo-TAs see of it.

use super::*;
use crate::call::args::{Arg, ArgMemory, Args};
use crate::call::large_args::COPY_BYTES;
use crate::call::shm::STEP_BYTES;
use crate::guest_id::GuestId;
use crate::testing::world::{CLIENT, CLIENT_PAGES, header, memref, value};
use tally_abi::msg::{MsgParam, PAGE_LIST_ENTRIES, attr, cmd};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, UserVa};
use zerocopy::IntoBytes;

const PAGE: u64 = PAGE_SIZE as u64;
/// More than is taken in, or mapped, at one go.
const LARGE: u64 = STEP_BYTES + 2 * PAGE;

/// Address of the client's page `n`.
const fn page(n: u64) -> u64 {
    CLIENT.0 + n * PAGE
}

/// Writes a list of so many pages, whose own pages are the client's from `first` on; where it begins.
pub(super) fn list(world: &World, first: u64, pages: u64, entry: impl Fn(u64) -> u64) -> u64 {
    const ENTRIES: u64 = PAGE_LIST_ENTRIES as u64;
    for n in 0..pages.div_ceil(ENTRIES) {
        let rest = n * ENTRIES..pages.min((n + 1) * ENTRIES);
        let mut words: Vec<u64> = rest.map(&entry).collect();
        // Behind the last one lies no link.
        words.resize(PAGE_LIST_ENTRIES, 1);
        words.push(if (n + 1) * ENTRIES < pages {
            page(first + n + 1)
        } else {
            1
        });
        world.write(PhysAddr(page(first + n)), words.as_bytes());
    }
    page(first)
}

/// Has the memory of a list, 8 pages of the client's from `first` on again and again, begin with these bytes.
fn lists(world: &World, at: u64, first: u64, bytes: [u8; 4]) -> MsgParam {
    world.write(PhysAddr(page(first)), &bytes);
    let paged = attr::TMEM_INPUT | attr::NONCONTIG;
    let list = list(world, at, LARGE / PAGE, |n| page(first + n % 8));
    memref(paged, list, LARGE, 0)
}

#[test]
fn each_of_two_long_lists_is_the_parameter_that_it_came_with() {
    leaves_nothing(|world| {
        let echo = world.opened(ECHO);
        let from = lists(world, 0, 8, *b"from");
        let mut to = lists(world, 1, 16, *b"to  ");
        to.attr = attr::TMEM_OUTPUT | attr::NONCONTIG;
        let reply = world.invoke(echo, 1, &[from, to, value(attr::NONE, 0, 0)]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        let begins = [8, 16].map(|n| world.read(PhysAddr(page(n)), 4));
        assert_eq!(begins, [*b"from", *b"from"]);
        assert_eq!(world.close(echo), TeeResult::SUCCESS);
    });
}

#[test]
fn what_is_large_or_lent_is_so_by_the_byte() {
    let caller = {
        let world = world();
        let state = world.kernel.state();
        state.guest(GuestId::FIRST).instances.name(0, 7)
    };
    let of = |arg| Args {
        items: [arg, Arg::None, Arg::Value { a: 1, b: 2 }, Arg::None],
        ..Args::default()
    };
    let memref = |memory, given| {
        of(Arg::Memref {
            memory,
            given,
            size: given,
        })
    };
    let ta = |given| memref(ArgMemory::Ta(caller, UserVa(0)), given);
    for (bytes, is_large, pages) in [
        (0, false, None),
        (1, false, Some(1)),
        (PAGE, false, Some(1)),
        (COPY_BYTES, false, Some(2)),
        (COPY_BYTES + 1, true, Some(3)),
        (u64::MAX, true, Some(u32::MAX)),
    ] {
        let args = ta(bytes);
        assert_eq!(args.has_large(), is_large, "{bytes}");
        let lent = pages.map(|pages| (caller, pages));
        assert_eq!(args.lent_by_ta(), lent, "{bytes}");
        assert!(!args.has_shm());
    }
    let others = [of(Arg::None), memref(ArgMemory::Null, u64::MAX)];
    assert!(
        others
            .iter()
            .all(|args| !args.has_large() && !args.has_shm())
    );
    leaves_nothing(|world| {
        let mut state = world.kernel.state();
        let table = &mut state.guest_mut(GuestId::FIRST).shm;
        let shm = crate::call::shm::Shm::contiguous(&world.kernel.machine, CLIENT, 8, Some(1));
        table.register(shm.unwrap(), 0).unwrap();
        for (bytes, is_large) in [(1 << 20, false), ((1 << 20) + 1, true)] {
            let mut args = memref(ArgMemory::Shm(table.get(1).unwrap(), 0), bytes);
            assert_eq!((args.has_large(), args.has_shm()), (is_large, true));
            args.release(table);
        }
        assert_eq!(table.unregister(1), Ok(()));
    });
}

/// Has a TA look at a reference of so many bytes, whose byte at each of its pages' begin is told by `first`.
#[cfg(not(miri))]
fn sees(
    world: &World,
    session: u32,
    param: MsgParam,
    bytes: u64,
    first: impl Fn(u64) -> u8 + Send + 'static,
) {
    let can_write = param.attr == attr::RMEM_INOUT || param.attr == attr::RMEM_OUTPUT;
    world.ta(move |run| {
        let params = run.params();
        let (va, len) = (params.vals[0], params.vals[1]);
        assert_eq!(len, bytes);
        let mut at = va;
        while at < va + len {
            let mut byte = [0];
            run.load(at, &mut byte);
            assert_eq!(byte[0], first(at - va), "{:#x}", at - va);
            at = (at + 1)
                .next_multiple_of(PAGE)
                .min(va + len - 1)
                .max(at + 1);
        }
        let machine = &run.world.kernel.machine;
        let last = va + len - 1;
        assert_eq!(machine.user_store(run.root, last, b"!").is_ok(), can_write);
        let beyond = (last + 1).next_multiple_of(PAGE);
        assert!(machine.user_load(run.root, beyond, &mut [0]).is_err());
        run.exit(TeeResult::SUCCESS)
    });
    let reply = world.invoke(session, 0, &[param]);
    assert_eq!(reply.result, TeeResult::SUCCESS);
}

/// Nothing on the host mapped what is mapped in steps.
#[cfg(not(miri))]
#[test]
fn a_large_reference_is_mapped_whole_and_with_the_rights_of_its_kind() {
    with_session(|world, session| {
        let pages = 3 * STEP_BYTES / PAGE;
        let turns = CLIENT_PAGES as u64 - 8;
        let entry = move |n: u64| page(8 + n * 5 % turns);
        for n in 8..8 + turns {
            world.write(PhysAddr(page(n)), &[n as u8; PAGE as usize]);
        }
        let byte = move |at: u64| ((entry(at / PAGE) - CLIENT.0) / PAGE) as u8;
        let list = list(world, 0, pages, entry);
        let whole = pages * PAGE;
        let param = memref(attr::TMEM_INOUT | attr::NONCONTIG, list, whole, 9);
        let registered = world.send(header(cmd::REGISTER_SHM, 0, 0), &[param]);
        assert_eq!(registered.result, TeeResult::SUCCESS);
        for (kind, offset, len) in [
            (attr::RMEM_INPUT, 0, whole),
            (attr::RMEM_INPUT, 0x123, STEP_BYTES + 1),
            (attr::RMEM_INPUT, PAGE - 1, 2 * STEP_BYTES),
            (attr::RMEM_INPUT, PAGE - 1, 2 * STEP_BYTES + 2),
            (attr::RMEM_OUTPUT, STEP_BYTES, STEP_BYTES + 1),
            (attr::RMEM_INOUT, 7 * PAGE, 2 * STEP_BYTES),
        ] {
            let windows = world.kernel.machine.interruptible_calls();
            let param = memref(kind, offset, len, 9);
            sees(world, session, param, len, move |at| byte(offset + at));
            let steps = world.kernel.machine.interruptible_calls() - windows;
            // Mapped a step at a time, unmapped by 64 pages.
            let least = len.div_ceil(STEP_BYTES) + len / PAGE / 64;
            assert!(steps as u64 >= least, "{steps} {least}");
            let last = entry((offset + len - 1) / PAGE) + (offset + len - 1) % PAGE;
            world.write(PhysAddr(last), &[byte(offset + len - 1)]);
        }
        let reply = world.send(
            header(cmd::UNREGISTER_SHM, 0, 0),
            &[memref(attr::RMEM_INPUT, 0, 0, 9)],
        );
        assert_eq!(reply.result, TeeResult::SUCCESS);
    });
}
