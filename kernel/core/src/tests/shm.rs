//! Limits of shared memory, and what is told of each: to the entry, the page and the byte.

use crate::call::args::{Args, Lent, Untaken};
use crate::call::shm::{Shm, ShmError, ShmTable};
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::machine::NormalMemory;
use tally_mem::testing::{NORMAL_BASE, TestMachine};
use zerocopy::IntoBytes;

const PAGE: u64 = PAGE_SIZE as u64;
/// Runs of pages that all objects have at most.
const RUNS: u64 = 6144;
/// Entries of a list's page that are no link.
const ENTRIES: usize = 511;

/// Page `n` of the normal world's.
const fn page(n: u64) -> PhysAddr {
    PhysAddr(NORMAL_BASE.0 + n * PAGE)
}

/// A list of so many pages none of which follows the one before it; where it lies.
fn scattered(machine: &TestMachine, pages: u64) -> PhysAddr {
    let lists = pages.div_ceil(ENTRIES as u64);
    for list in 0..lists {
        let mut words = [0; ENTRIES + 1];
        for (n, word) in words.iter_mut().enumerate() {
            // An odd number in each page of the list.
            let is_even = (n as u64 + list).is_multiple_of(2);
            *word = page(if is_even { 0 } else { 2 }).0;
        }
        words[ENTRIES] = page(8 + list + 1).0;
        assert!(machine.write_normal(page(8 + list), words.as_bytes()));
    }
    page(8)
}

#[test]
fn so_many_runs_of_pages_are_taken_in_and_none_more() {
    let machine = TestMachine::new(1, 32);
    let take_in = |runs: u64, cookie| {
        let list = scattered(&machine, runs);
        Shm::from_page_list(&machine, list, runs * PAGE, Some(cookie))
    };
    let refused = take_in(RUNS + 1, 1);
    let too_many = |runs, used| ShmError::Scattered { runs, used };
    assert_eq!(refused.err(), Some(too_many(6145, 0)));
    let all = take_in(RUNS, 1).unwrap();
    assert_eq!(all.pages(0, RUNS * PAGE).count(), 6144);
    let mut table = ShmTable::new(4).unwrap();
    table.register(all, 0).unwrap();
    // The table is full of runs, though not of objects.
    let one = Shm::contiguous(&machine, page(0), 1, Some(2)).unwrap();
    let refused = table.register(one, 0).unwrap_err();
    assert_eq!(refused, too_many(1, 6144));
    let told = refused.refusal().unwrap();
    assert_eq!((told.wanted, told.used, told.size), (1, 6144, 6144));
}

/// Pages of an object in which runs of one, two and three pages follow each other.
const RUNS_OF_PAGES: [u64; 8] = [4, 5, 6, 9, 2, 3, 20, 7];
/// Where it begins in the first.
const OFFSET: u64 = 0x10;

/// Address of byte `n` of that object.
const fn byte(n: u64) -> u64 {
    let at = OFFSET + n;
    page(RUNS_OF_PAGES[(at / PAGE) as usize]).0 + at % PAGE
}

#[test]
fn each_byte_of_an_object_is_where_its_list_says() {
    let machine = TestMachine::new(1, 32);
    let entries = RUNS_OF_PAGES.map(|n| page(n).0);
    let list = PhysAddr(page(30).0 + OFFSET);
    assert!(machine.write_normal(page(30), entries.as_bytes()));
    let size = 8 * PAGE - OFFSET - 64;
    let shm = Shm::from_page_list(&machine, list, size, None).unwrap();
    for n in 0..size / 8 {
        assert!(machine.write_normal(PhysAddr(byte(n * 8)), n.as_bytes()));
    }
    let starts = (0..8).flat_map(|n| [n * PAGE, (n * PAGE).saturating_sub(OFFSET), n * PAGE + 8]);
    for at in starts {
        for len in [
            0,
            8,
            PAGE - OFFSET,
            PAGE,
            PAGE + 8,
            2 * PAGE,
            3 * PAGE + 8,
            6 * PAGE,
        ] {
            let is_inside = at + len <= size;
            let mut words = vec![0_u64; len as usize / 8];
            let read = shm.read(&machine, at, words.as_mut_bytes());
            assert_eq!(read.is_ok(), is_inside, "{at:#x} {len:#x}");
            let is_whole = len == 0 || is_inside && byte(at + len - 1) == byte(at) + len - 1;
            let contiguous = shm.contiguous_at(at, len);
            let expected = (is_inside && is_whole).then(|| PhysAddr(byte(at)));
            if at < size {
                assert_eq!(contiguous, expected, "{at:#x} {len:#x}");
            }
            if !is_inside {
                continue;
            }
            assert!(
                words.iter().copied().eq(at / 8..(at + len) / 8),
                "{at:#x} {len:#x}"
            );
            assert_eq!(shm.write(&machine, at, words.as_bytes()), Ok(()));
            let first = (OFFSET + at) / PAGE;
            let count = if len == 0 {
                0
            } else {
                (OFFSET + at + len).div_ceil(PAGE) - first
            };
            let pages = (first..first + count).map(|n| page(RUNS_OF_PAGES[n as usize]));
            assert!(shm.pages(at, len).eq(pages), "{at:#x} {len:#x}");
        }
    }
    // What was written is what was read.
    let mut words = vec![0_u64; size as usize / 8];
    assert_eq!(shm.read(&machine, 0, words.as_mut_bytes()), Ok(()));
    assert!(words.iter().copied().eq(0..size / 8));
}

#[test]
fn sizes_are_refused_for_what_is_wrong_with_them() {
    let machine = TestMachine::new(1, 32);
    let most = 64 << 20;
    let addresses = 1 << 48;
    let list = scattered(&machine, 2);
    for (offset, size, why) in [
        (0, 2 * PAGE, None),
        (0, most, Some(ShmError::BadAddress)),
        (1, most - 1, Some(ShmError::BadAddress)),
        (1, most, Some(ShmError::TooBig(16_385))),
        (0, most + 1, Some(ShmError::TooBig(16_385))),
        (0, addresses, Some(ShmError::TooBig(1 << 36))),
        (0, addresses + 1, Some(ShmError::BadAddress)),
        (0, u64::MAX, Some(ShmError::BadAddress)),
    ] {
        let pa = PhysAddr(NORMAL_BASE.0 + offset);
        let contiguous = Shm::contiguous(&machine, pa, size, None);
        assert_eq!(contiguous.err(), why, "{offset} {size:#x}");
        // A list that is that long is never read to its end: its pages end before.
        let listed = Shm::from_page_list(&machine, PhysAddr(list.0 + offset), size, None);
        assert_eq!(listed.err(), why, "a list, {offset} {size:#x}");
    }
}

#[test]
fn whatever_parameter_is_refused_it_is_told_why() {
    let machine = TestMachine::new(1, 32);
    let big = (64 << 20) + 1;
    let untaken = |kind, a, b| {
        let param = MsgParam {
            attr: kind,
            a,
            b,
            c: 9,
        };
        let mut table = ShmTable::new(0).unwrap();
        let mut args = Args::default();
        let taken = Lent::take_in(&machine, &[param])
            .and_then(|lent| args.take_in(&mut table, &machine, lent, &[param]));
        taken.unwrap_err()
    };
    let list = scattered(&machine, 2).0;
    let paged = attr::TMEM_INPUT | attr::NONCONTIG;
    for (kind, a, b, why) in [
        (
            attr::TMEM_INPUT,
            NORMAL_BASE.0,
            big,
            ShmError::TooBig(16_385),
        ),
        (attr::TMEM_INPUT, NORMAL_BASE.0, 16, ShmError::Full(0)),
        (attr::TMEM_INPUT, 4096, 16, ShmError::BadAddress),
        (paged, list, big, ShmError::TooBig(16_385)),
        (paged, list, 2 * PAGE, ShmError::Full(0)),
        (attr::RMEM_INPUT, 0, 16, ShmError::NotFound),
    ] {
        let told = untaken(kind, a, b);
        assert_eq!(told, Untaken::Memory(why), "{kind:#x} {a:#x}");
    }
    let none = untaken(attr::VALUE_INPUT | attr::NONCONTIG, 0, 0);
    assert_eq!(none, Untaken::Code(TeeResult::BAD_PARAMETERS));
}
