//! The page allocator.

use super::{Account, PAGE, account};
use crate::addr::{PhysAddr, PhysPage};
use crate::owner::OwnerId;
use crate::pages::{OWNERS, PageAllocator, PageError, PageUse, Reservation};
use crate::refused::{RefusedPages, Short};
use crate::testing::{splitmix, test_records};

const A: OwnerId = OwnerId(1);
const B: OwnerId = OwnerId(2);
const BASE: PhysPage = PhysPage::containing(PhysAddr(0x1010_0000));

fn allocator(pages: usize) -> PageAllocator {
    PageAllocator::new(BASE, test_records(pages))
}

/// Runs `test` and checks that it gave everything back.
fn balanced(pages: usize, test: impl FnOnce(&mut PageAllocator)) {
    let mut allocator = allocator(pages);
    let before = account(&allocator);
    test(&mut allocator);
    assert_eq!(account(&allocator), before);
}

#[test]
fn every_page_is_handed_out_once_and_then_none() {
    balanced(5, |pages| {
        let mut all: Vec<_> = (0..5)
            .map(|_| pages.alloc(PageUse::TaHeap, A).unwrap())
            .collect();
        assert_eq!(pages.alloc(PageUse::TaHeap, A), Err(PageError::OutOfPages));
        assert_eq!(pages.owned_by(A), 5);
        assert_eq!(pages.used_for(PageUse::TaHeap), 5);

        all.sort_unstable();
        assert_eq!(
            all,
            (0..5).map(|page| BASE.offset(page)).collect::<Vec<_>>()
        );
        all.iter().for_each(|page| pages.free(*page).unwrap());
    });
}

#[test]
fn a_page_freed_twice_is_refused() {
    balanced(3, |pages| {
        let page = pages.alloc(PageUse::TaStack, A).unwrap();
        assert_eq!(pages.free(page), Ok(()));
        let before = account(pages);
        assert_eq!(pages.free(page), Err(PageError::NotInUse));
        assert_eq!(pages.free(BASE.offset(2)), Err(PageError::NotInUse));
        assert_eq!(account(pages), before);
    });
}

#[test]
fn a_foreign_page_is_refused() {
    balanced(3, |pages| {
        let below = PhysPage::containing(PhysAddr(0));
        assert_eq!(pages.free(below), Err(PageError::NotManaged));
        assert_eq!(pages.free(BASE.offset(3)), Err(PageError::NotManaged));
        assert!(pages.record(BASE.offset(3)).is_none());
        assert_eq!(
            pages.claim(BASE.offset(2)..BASE.offset(4), PageUse::Snapshot, A),
            Err(PageError::NotManaged)
        );
    });
}

#[test]
fn a_tag_that_means_nothing_is_refused() {
    balanced(3, |pages| {
        assert_eq!(pages.alloc(PageUse::Free, A), Err(PageError::BadUse));
        let nobody = OwnerId(OWNERS as u16);
        assert_eq!(
            pages.alloc(PageUse::TaHeap, nobody),
            Err(PageError::BadOwner)
        );
        assert_eq!(pages.owned_by(nobody), 0);
    });
}

#[test]
fn claimed_pages_are_not_handed_out_and_not_part_of_the_pool() {
    balanced(6, |pages| {
        let range = BASE.offset(1)..BASE.offset(3);
        pages
            .claim(range.clone(), PageUse::KernelText, OwnerId::KERNEL)
            .unwrap();
        assert_eq!(
            pages.claim(range, PageUse::KernelData, OwnerId::KERNEL),
            Err(PageError::InUse)
        );
        let figures = pages.figures();
        assert_eq!((figures.size, figures.allocated), (4 * PAGE, 0));

        let got: Vec<_> = (0..4)
            .map(|_| pages.alloc(PageUse::TaHeap, A).unwrap())
            .collect();
        assert_eq!(pages.alloc(PageUse::TaHeap, A), Err(PageError::OutOfPages));
        assert!(!got.contains(&BASE.offset(1)) && !got.contains(&BASE.offset(2)));
        assert_eq!(pages.used_for(PageUse::KernelText), 2);

        got.iter().for_each(|page| pages.free(*page).unwrap());
        pages.free(BASE.offset(1)).unwrap();
        pages.free(BASE.offset(2)).unwrap();
        assert_eq!(pages.figures().size, 6 * PAGE);
    });
}

#[test]
fn a_page_that_was_used_before_can_be_claimed() {
    balanced(4, |pages| {
        let got: Vec<_> = (0..3)
            .map(|_| pages.alloc(PageUse::TaHeap, A).unwrap())
            .collect();
        got.iter().for_each(|page| pages.free(*page).unwrap());
        pages
            .claim(BASE.offset(1)..BASE.offset(2), PageUse::Snapshot, B)
            .unwrap();
        assert_eq!(pages.check(), Ok(()));
        assert_eq!(
            pages.alloc_adjacent(3, PageUse::TaHeap, A),
            Err(PageError::OutOfPages)
        );

        let two = pages.alloc_adjacent(2, PageUse::TaHeap, A).unwrap();
        assert_eq!(two, BASE.offset(2));
        assert_eq!(pages.check(), Ok(()));
        [1, 2, 3]
            .iter()
            .for_each(|page| pages.free(BASE.offset(*page)).unwrap());
    });
}

#[test]
fn promised_pages_go_to_nobody_else() {
    balanced(4, |pages| {
        let mut promise = pages.reserve(3, A).unwrap();
        assert_eq!(pages.reserve(2, A), Err(PageError::OutOfPages));
        let other = pages.alloc(PageUse::TaStack, B).unwrap();
        assert_eq!(pages.alloc(PageUse::TaStack, B), Err(PageError::OutOfPages));
        assert_eq!(
            pages.claim(BASE.offset(2)..BASE.offset(3), PageUse::Snapshot, B),
            Err(PageError::OutOfPages)
        );

        let mine = pages
            .alloc_reserved(&mut promise, PageUse::TaHeap, A)
            .unwrap();
        assert_eq!(
            (promise.pages(), pages.promised_pages(), pages.available()),
            (2, 2, 0)
        );
        pages.unreserve(promise);
        assert_eq!(pages.available(), 2);
        pages.free(mine).unwrap();
        pages.free(other).unwrap();
    });
}

#[test]
fn a_spent_reservation_gives_nothing() {
    balanced(4, |pages| {
        let mut promise = pages.reserve(1, A).unwrap();
        let page = pages
            .alloc_reserved(&mut promise, PageUse::TaHeap, A)
            .unwrap();
        let spent = pages.alloc_reserved(&mut promise, PageUse::TaHeap, A);
        assert_eq!(spent, Err(PageError::ReservationSpent));
        assert_eq!(promise, Reservation::EMPTY);
        pages.free(page).unwrap();
    });
}

#[test]
fn a_retagged_page_changes_accounts() {
    balanced(2, |pages| {
        let page = pages.alloc(PageUse::TaImage, A).unwrap();
        pages.retag(page, PageUse::LeakScan, B).unwrap();
        assert_eq!((pages.owned_by(A), pages.owned_by(B)), (0, 1));
        assert_eq!(pages.used_for(PageUse::LeakScan), 1);
        assert_eq!(pages.check(), Ok(()));
        pages.free(page).unwrap();
        assert_eq!(
            pages.retag(page, PageUse::Snapshot, A),
            Err(PageError::NotInUse)
        );
    });
}

#[test]
fn figures_remember_the_maximum_and_the_biggest_failure() {
    balanced(8, |pages| {
        let promise = pages.reserve(5, A).unwrap();
        let refused = |pages: &mut PageAllocator, wanted| {
            assert!(pages.reserve(wanted, B).is_err());
            pages.settle_refused().unwrap()
        };
        let as_it_was = refused(pages, 4);
        pages.unreserve(promise);
        // What was free, not what is now.
        assert_eq!(
            as_it_was,
            RefusedPages {
                short: Short::SecureRam,
                owner: B,
                wanted: 4,
                used: 5,
                size: 8,
                left: 3
            }
        );
        let page = pages.alloc(PageUse::TaHeap, A).unwrap();
        refused(pages, 8);
        refused(pages, 8);
        // As big with more in use, and smaller: the first of the biggest counts.
        let promise = pages.reserve(2, A).unwrap();
        refused(pages, 8);
        refused(pages, 6);
        pages.unreserve(promise);
        // An attempt that something else follows.
        assert!(pages.reserve(9, A).is_err());
        assert_eq!(
            pages.withdraw_refused().map(|refused| refused.wanted),
            Some(9)
        );
        assert_eq!(pages.settle_refused(), None);

        let figures = pages.figures();
        assert_eq!(figures.size, 8 * PAGE);
        assert_eq!(figures.allocated, PAGE);
        assert_eq!(figures.max_allocated, 5 * PAGE);
        assert_eq!(figures.failures, 5);
        assert_eq!((figures.promised, figures.largest_free), (0, 7 * PAGE));
        assert_eq!(
            (figures.biggest_failure, figures.biggest_failure_used),
            (8 * PAGE, PAGE)
        );
        assert_eq!((figures.gets, figures.releases), (1, 0));

        pages.reset_figures();
        let figures = pages.figures();
        assert_eq!((figures.max_allocated, figures.failures), (PAGE, 0));
        assert_eq!(
            (figures.biggest_failure, figures.biggest_failure_used),
            (0, 0)
        );
        pages.free(page).unwrap();
    });
}

#[test]
fn no_chunk_is_larger_than_what_is_left_beside_promises() {
    balanced(8, |pages| {
        let promise = pages.reserve(5, A).unwrap();
        let figures = pages.figures();
        assert_eq!((figures.allocated, figures.promised), (5 * PAGE, 5 * PAGE));
        assert_eq!(figures.largest_free, 3 * PAGE);
        pages.unreserve(promise);
    });
}

#[test]
fn free_runs_are_squared_and_summed() {
    balanced(6, |pages| {
        pages
            .claim(BASE.offset(2)..BASE.offset(3), PageUse::Snapshot, A)
            .unwrap();
        let figures = pages.figures();
        assert_eq!(figures.free2_sum, (2 * PAGE).pow(2) + (3 * PAGE).pow(2));
        assert_eq!(figures.largest_free, 3 * PAGE);
        pages.free(BASE.offset(2)).unwrap();
        assert_eq!(pages.figures().free2_sum, (6 * PAGE).pow(2));
    });
}

#[test]
fn a_failure_can_be_asked_for() {
    balanced(4, |pages| {
        pages.fail_nth(Some(1));
        let page = pages.alloc(PageUse::TaHeap, A).unwrap();
        assert!(pages.failure_pending());
        assert_eq!(pages.alloc(PageUse::TaHeap, A), Err(PageError::OutOfPages));
        assert!(!pages.failure_pending());
        let other = pages.alloc(PageUse::TaHeap, A).unwrap();
        pages.free(page).unwrap();
        pages.free(other).unwrap();
    });
}

#[test]
fn random_actions_never_unbalance_the_books() {
    let mut pages = allocator(24);
    let before: Account = account(&pages);
    let mut live = Vec::new();
    let mut promises: Vec<Reservation> = Vec::new();
    for step in 0..if cfg!(miri) { 80 } else { 5_000 } {
        let random = splitmix(step);
        let pick = (random >> 8) as usize;
        let owner = OwnerId((random >> 32) as u16 % 4);
        let available = pages.available();
        match random % 8 {
            0 | 1 => match pages.alloc(PageUse::TaHeap, owner) {
                Ok(page) => live.push(page),
                Err(err) => assert_eq!((err, available), (PageError::OutOfPages, 0)),
            },
            2 => {
                let start = BASE.offset(pick as u64 % 23);
                let free = pages.record(start).unwrap().usage() == PageUse::Free;
                let claim = pages.claim(start..start.offset(1), PageUse::KernelData, owner);
                assert_eq!(claim.is_ok(), free && available > 0);
                live.extend(claim.ok().map(|()| start));
            }
            3 => match pages.reserve(pick as u32 % 5, A) {
                Ok(promise) => promises.push(promise),
                Err(_) => assert!(pick as u32 % 5 > available),
            },
            4 if !promises.is_empty() => {
                let at = pick % promises.len();
                if promises[at].pages() > 0 {
                    live.push(
                        pages
                            .alloc_reserved(&mut promises[at], PageUse::TaStack, owner)
                            .unwrap(),
                    );
                } else {
                    pages.unreserve(promises.swap_remove(at));
                }
            }
            5 if !promises.is_empty() => {
                let at = pick % promises.len();
                pages.unreserve(promises.swap_remove(at));
            }
            _ if !live.is_empty() => {
                let at = pick % live.len();
                pages.free(live.swap_remove(at)).unwrap();
            }
            _ => {}
        }
        assert_eq!(pages.check(), Ok(()));
        let used = pages.total_pages() - pages.free_pages();
        assert_eq!(used as usize, live.len());
        assert_eq!(
            pages.promised_pages(),
            promises.iter().map(Reservation::pages).sum::<u32>()
        );
    }
    live.iter().for_each(|page| pages.free(*page).unwrap());
    promises
        .into_iter()
        .for_each(|promise| pages.unreserve(promise));
    assert_eq!(account(&pages), before);
}

#[test]
fn what_lies_side_by_side_is_what_is_left_of_adjacent_pages() {
    balanced(8, |pages| {
        let taken: Vec<_> = (0..8)
            .map(|_| pages.alloc(PageUse::SecureBuffer, A).unwrap())
            .collect();
        [0, 1, 3]
            .iter()
            .for_each(|n| pages.free(taken[*n]).unwrap());
        let adjacent = pages.alloc_adjacent(3, PageUse::SecureBuffer, B);
        assert_eq!(adjacent, Err(PageError::OutOfPages));
        let refused = pages.settle_refused().unwrap();
        assert_eq!((refused.wanted, refused.left, refused.used), (3, 2, 5));
        [2, 4, 5, 6, 7]
            .iter()
            .for_each(|n| pages.free(taken[*n]).unwrap());
    });
}
