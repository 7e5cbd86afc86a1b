//! Random actions on an address space beside a model of it.

use super::{ASID, OWNER, PAGE, account, check_figures, normal_pages, protect};
use crate::addr::{PAGE_SIZE, UserVa};
use crate::machine::Access;
use crate::mem::Mem;
use crate::quota::Quota;
use crate::region::{Place, Prot, RegionKind};
use crate::space::AddressSpace;
use crate::testing::{TestMachine, splitmix};
use std::collections::BTreeMap;

/// What the model knows of a mapped page: who may write, and its first byte. `None`: shared
/// with another page, which says nothing about its contents.
type Model = BTreeMap<u64, (Prot, Option<u8>)>;

/// A source of random choices.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 += 1;
        splitmix(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)) % sides
    }
}

/// A mapped page, and one that is near and perhaps not.
fn pick(model: &Model, dice: &mut Dice) -> u64 {
    let at = dice.roll(model.len().max(1) as u64) as usize;
    let page = model.keys().nth(at).copied().unwrap_or(0x10_0000_0000);
    page + dice.roll(2) * PAGE * (dice.roll(8) / 7)
}

fn add(model: &mut Model, va: UserVa, pages: u64, prot: Prot, content: Option<u8>) {
    for page in 0..pages {
        let old = model.insert(va.0 + page * PAGE, (prot, content));
        assert!(old.is_none(), "mapped twice");
    }
    assert!(!model.contains_key(&(va.0 - PAGE)), "no guard page before");
    assert!(
        !model.contains_key(&(va.0 + pages * PAGE)),
        "no guard page after"
    );
}

fn act(space: &mut AddressSpace, mem: &mut Mem<'_, TestMachine>, model: &mut Model, d: &mut Dice) {
    let pages = 1 + d.roll(5);
    match d.roll(12) {
        0 | 1 => {
            let place = Place::random(d.roll(u64::MAX));
            let kind = RegionKind::Segment;
            if let Ok(va) = space.map_zero(mem, kind, pages * PAGE, Prot::READ_WRITE, place) {
                add(model, va, pages, Prot::READ_WRITE, Some(0));
            }
        }
        2 => {
            let place = Place::random(d.roll(u64::MAX));
            let frames = normal_pages(d.roll(8), pages);
            let count = pages as u32;
            if let Ok(va) = space.map_normal(mem, frames, count, 0, Prot::READ, place) {
                add(model, va, pages, Prot::READ, None);
            }
        }
        3 | 4 => {
            let va = pick(model, d);
            if space.unmap(mem, UserVa(va), pages * PAGE).is_ok() {
                for page in 0..pages {
                    assert!(model.remove(&(va + page * PAGE)).is_some());
                }
            }
        }
        5 => {
            let va = pick(model, d);
            let prot = [Prot::READ, Prot::READ_WRITE, Prot::READ_EXECUTE][d.roll(3) as usize];
            if protect(space, mem, UserVa(va), pages * PAGE, prot).is_ok() {
                for page in 0..pages {
                    let old = &mut model.get_mut(&(va + page * PAGE)).unwrap().0;
                    assert!(!old.contains(Prot::EXECUTE) || *old == prot);
                    *old = prot;
                }
            }
        }
        6 => mem.pages.fail_nth(Some(d.roll(4) as u32)),
        7 | 8 => {
            let va = pick(model, d);
            let byte = d.roll(256) as u8;
            let may = model
                .get(&va)
                .is_some_and(|(prot, _)| prot.contains(Prot::WRITE));
            assert_eq!(space.write_user(mem, UserVa(va), &[byte]).is_ok(), may);
            if may {
                model.insert(va, (model[&va].0, Some(byte)));
            }
        }
        9 => {
            let va = pick(model, d);
            let access = [Access::Read, Access::Write, Access::Execute][d.roll(3) as usize];
            let may = model.get(&va).is_some_and(|(prot, _)| prot.allows(access));
            assert_eq!(
                space.fault(mem, UserVa(va + d.roll(PAGE)), access).is_ok(),
                may
            );
            let does = mem.machine.user_translate(space.root(), va, access).is_ok();
            assert!(does == may);
        }
        10 => {
            let va = pick(model, d);
            let mut byte = [0];
            let read = space.read_user(mem.machine, UserVa(va), &mut byte);
            assert_eq!(read.is_ok(), model.contains_key(&va));
            if let Some((_, Some(content))) = model.get(&va) {
                assert_eq!(byte[0], *content);
            }
        }
        _ => {
            let va = pick(model, d);
            let all = (0..pages).all(|page| model.contains_key(&(va + page * PAGE)));
            let check = space.check_access(UserVa(va), pages * PAGE, Access::Read);
            assert_eq!(check.is_ok(), all);
        }
    }
}

#[test]
fn whatever_is_done_the_space_agrees_with_a_model_of_it() {
    let (rounds, steps) = if cfg!(miri) { (1, 60) } else { (24, 1_500) };
    for round in 0..rounds {
        let machine = TestMachine::new(72, 16);
        let mut pages = machine.page_allocator();
        let before = account(&pages);
        let mem = &mut Mem::new(&mut pages, &machine);
        let d = &mut Dice(round << 32);
        let random = d.roll(u64::MAX);
        let mut space = AddressSpace::new(mem, ASID, OWNER, Quota::alone(60), random).unwrap();
        let mut model = Model::new();
        for _ in 0..steps {
            act(&mut space, mem, &mut model, d);
            check_figures(&space, mem);
        }
        assert_eq!(mem.pages.check(), Ok(()));
        let mapped: u64 = space.regions().iter().map(|region| region.bytes()).sum();
        assert_eq!(mapped as usize, model.len() * PAGE_SIZE);
        mem.pages.fail_nth(None);
        space.destroy(mem);
        assert_eq!(account(&pages), before);
    }
}
