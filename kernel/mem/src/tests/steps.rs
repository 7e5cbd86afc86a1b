//! Giving memory back in steps.

use super::{PAGE, anywhere, normal_pages, plus, state, with_space, zeroed};
use crate::machine::Access;
use crate::region::{Prot, RegionKind};

/// The pages of a large reference, or of a large TA, were given back under one lock.
#[test]
fn a_step_gives_back_so_many_pages_and_no_more() {
    with_space(|space, mem| {
        let quiet = state(space, mem);
        let va = zeroed(space, mem, RegionKind::Param, 7);
        for page in [0, 3, 6] {
            let touched = space.fault(mem, plus(va, page * PAGE), Access::Write);
            touched.unwrap();
        }
        let shape = |space: &crate::space::AddressSpace| {
            let region = space.regions().first()?;
            Some((region.bytes() / PAGE, region.resident_bytes() / PAGE))
        };
        let mut shapes = vec![shape(space)];
        while !space.unmap_last(mem, va, 3) {
            state(space, mem);
            shapes.push(shape(space));
        }
        assert_eq!(shapes, [Some((7, 3)), Some((4, 2)), Some((1, 1))]);
        assert_eq!(state(space, mem), quiet);
        assert!(space.unmap_last(mem, va, 3), "what is gone is gone");
    });
}

#[test]
fn a_space_shrinks_to_nothing_whatever_is_in_it() {
    with_space(|space, mem| {
        let quiet = state(space, mem);
        let segment = zeroed(space, mem, RegionKind::Segment, 5);
        space.fault(mem, segment, Access::Write).unwrap();
        let frames = normal_pages(0, 4);
        let prot = Prot::READ;
        space
            .map_normal(mem, frames, 4, 0, prot, anywhere())
            .unwrap();
        let heap = space.heap_reserve(mem, 1 << 20, 9).unwrap();
        space.heap_grow(mem, 6 * PAGE).unwrap();
        space.fault(mem, heap, Access::Write).unwrap();
        let mut steps = 0;
        while !space.shrink(mem, 4) {
            state(space, mem);
            steps += 1;
        }
        assert_eq!(steps, 15 / 4);
        assert_eq!(state(space, mem), quiet);
    });
}

/// Until its last step the region has its old protection, so that the next step goes on with it.
#[test]
fn protection_is_set_step_by_step_of_every_page() {
    with_space(|space, mem| {
        let va = zeroed(space, mem, RegionKind::Segment, 10);
        for page in 0..10 {
            let at = plus(va, page * PAGE);
            space.fault(mem, at, Access::Write).unwrap();
            mem.machine.user_store(space.root(), at.0, b"x").unwrap();
        }
        let prot = |space: &crate::space::AddressSpace| space.region_at(va).unwrap().prot();
        let mut done = 0;
        for expected in [4, 8, 10] {
            assert_eq!(prot(space), Prot::READ_WRITE, "{done} done");
            done = space
                .protect(mem, va, 10 * PAGE, Prot::READ, (done, 4))
                .unwrap();
            assert_eq!(done, expected);
            for page in 0..10 {
                let stored = mem
                    .machine
                    .user_store(space.root(), va.0 + page * PAGE, b"y");
                assert_eq!(
                    stored.is_ok(),
                    page >= u64::from(done),
                    "{page}, {done} done"
                );
            }
        }
        assert_eq!(prot(space), Prot::READ);
    });
}
