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
