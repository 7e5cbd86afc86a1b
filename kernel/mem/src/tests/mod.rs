//! Tests of pages, tables and address spaces.
//!
//! **Invariant:** every test compares the accounts of memory before and after.
//! **Knows nothing of:** real hardware; [`TestMachine`] stands in for it.

mod limits;
mod pages;
mod quota;
mod random;
mod space;
mod steps;
mod touch;

use crate::addr::{PAGE_SIZE, PhysAddr, UserVa};
use crate::mem::Mem;
use crate::owner::OwnerId;
use crate::pages::{PageAllocator, PageUse};
use crate::quota::Quota;
use crate::region::{Place, Prot, Region, RegionKind};
use crate::space::{AddressSpace, SpaceError, SpaceFigures};
use crate::testing::{Flush, NORMAL_BASE, TestMachine};

const PAGE: u64 = PAGE_SIZE as u64;
const OWNER: OwnerId = OwnerId(7);
const ASID: u16 = 3;

/// All counts of a page allocator.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    by_use: Vec<u32>,
    by_owner: Vec<u32>,
    promised: u32,
}

fn account(pages: &PageAllocator) -> Account {
    assert_eq!(pages.check(), Ok(()));
    let by_use: Vec<_> = PageUse::ALL
        .iter()
        .map(|usage| pages.used_for(*usage))
        .collect();
    assert_eq!(by_use.iter().sum::<u32>(), pages.total_pages());
    Account {
        by_use,
        by_owner: (0..256)
            .map(|owner| pages.owned_by(OwnerId(owner)))
            .collect(),
        promised: pages.promised_pages(),
    }
}

/// Runs `test` with an address space of at most `limit` pages and checks that everything is back
/// once it is destroyed.
fn with_space_of(limit: u32, test: impl FnOnce(&mut AddressSpace, &mut Mem<'_, TestMachine>)) {
    let machine = TestMachine::new(128, 32);
    let mut pages = machine.page_allocator();
    let before = account(&pages);
    let mem = &mut Mem::new(&mut pages, &machine);
    let mut space =
        AddressSpace::new(mem, ASID, OWNER, Quota::alone(limit), 0x1234_5678_9abc).unwrap();
    test(&mut space, mem);
    check_figures(&space, mem);
    space.destroy(mem);
    assert!(machine.take_flushes().contains(&Flush::Asid(ASID)));
    assert_eq!(account(&pages), before);
}

fn with_space(test: impl FnOnce(&mut AddressSpace, &mut Mem<'_, TestMachine>)) {
    with_space_of(100, test);
}

/// What the space says it has is what the allocator says it has.
fn check_figures(space: &AddressSpace, mem: &Mem<'_, TestMachine>) {
    let figures = space.figures();
    assert_eq!(
        mem.pages.owned_by(OWNER),
        figures.own_pages + figures.table_pages
    );
    assert_eq!(
        mem.pages.used_for(PageUse::TaPageTable),
        figures.table_pages
    );
    assert_eq!(mem.pages.promised_pages(), figures.promised_pages);
    assert_eq!(
        figures.charged_pages + space.borrowed_pages,
        figures.own_pages + figures.promised_pages + figures.table_pages + space.lent_pages
    );
    assert!(figures.charged_pages <= figures.limit_pages);
}

/// Everything that an operation which fails must leave alone.
#[derive(Debug, PartialEq, Eq)]
struct State {
    account: Account,
    figures: SpaceFigures,
    regions: Vec<Region>,
}

fn state(space: &AddressSpace, mem: &Mem<'_, TestMachine>) -> State {
    check_figures(space, mem);
    State {
        account: account(mem.pages),
        figures: space.figures(),
        regions: space.regions().to_vec(),
    }
}

/// Runs `operation` with its first, second, ... request for pages failing, until it succeeds.
/// Each time it must report it and leave everything as before. Returns how often it failed.
fn fail_every_request(
    space: &mut AddressSpace,
    mem: &mut Mem<'_, TestMachine>,
    mut operation: impl FnMut(&mut AddressSpace, &mut Mem<'_, TestMachine>) -> Result<(), SpaceError>,
) -> u32 {
    for failing in 0.. {
        let before = state(space, mem);
        mem.pages.fail_nth(Some(failing));
        let result = operation(space, mem);
        if mem.pages.failure_pending() {
            mem.pages.fail_nth(None);
            assert_eq!(result, Ok(()));
            return failing;
        }
        assert_eq!(result, Err(SpaceError::OutOfMemory), "request {failing}");
        assert_eq!(state(space, mem), before, "request {failing}");
    }
    unreachable!("an operation that asks for pages without end");
}

/// Somewhere.
fn anywhere() -> Place {
    Place::random(5)
}

/// A region of `pages` zeroed writable pages.
fn zeroed(
    space: &mut AddressSpace,
    mem: &mut Mem<'_, TestMachine>,
    kind: RegionKind,
    pages: u64,
) -> UserVa {
    space
        .map_zero(mem, kind, pages * PAGE, Prot::READ_WRITE, anywhere())
        .unwrap()
}

/// Adjacent pages of the normal world.
fn normal_pages(from: u64, count: u64) -> impl Iterator<Item = PhysAddr> {
    (from..from + count).map(|page| PhysAddr(NORMAL_BASE.0 + page * PAGE))
}

/// The address `bytes` further.
fn plus(va: UserVa, bytes: u64) -> UserVa {
    UserVa(va.0 + bytes)
}

/// All of it at one go.
fn protect(
    space: &mut AddressSpace,
    mem: &mut Mem<'_, TestMachine>,
    va: UserVa,
    len: u64,
    prot: Prot,
) -> Result<(), SpaceError> {
    let all = (len / PAGE) as u32;
    let done = space.protect(mem, va, len, prot, (0, all))?;
    assert_eq!(done, all);
    Ok(())
}
