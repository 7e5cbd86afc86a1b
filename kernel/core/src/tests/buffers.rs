//! Buffers that a pseudo-TA maps into the TA that asks: whose they are and when they go; objects that the test-only fault
//! loses.

#[cfg(not(miri))]
use super::asks::Asker;
use super::*;
use crate::guest_id::GuestId;
use crate::pta::buffers::{BufferObject, Buffers, Channel, RegionNode};
use crate::pta::services::BufferServices;
use crate::ta::instance::Instances;
use tally_abi::pta::vdec::MAX_BYTES;
use tally_mem::addr::{PhysAddr, PhysPage};

#[test]
fn the_fault_loses_what_a_channel_closed_early_had_and_nothing_else() {
    for (is_faulty, is_closed, lost) in [
        (true, true, 1),
        (true, false, 0),
        (false, true, 0),
        (false, false, 0),
    ] {
        let instance = Instances::<()>::absent(GuestId::FIRST).name(0, 1);
        let mut buffers = Buffers::<()>::new().unwrap();
        assert_eq!(buffers.set_faulty(is_faulty).len(), 0);
        assert_eq!(buffers.is_faulty(), is_faulty);
        let channel = Channel {
            id: 0,
            instance,
            session: 1,
            opened: (),
        };
        let [id, other] = [(); 2].map(|()| buffers.open(channel).unwrap());
        let node = RegionNode {
            number: 0,
            channel: id,
            slot: 0,
            generation: 1,
            first_page: 5,
            pages: 1,
            session: 1,
        };
        let object = BufferObject {
            first: PhysPage::containing(PhysAddr(0)),
            pages: 1,
            at_ms: 0,
            number: 0,
        };
        buffers.add(instance, (), node, object).unwrap();
        let gone = if is_closed { id } else { other };
        assert!(buffers.remove_channel(gone).is_some());
        let at = buffers.find_by_channel(id).unwrap();
        let mapping = buffers.take(at);
        assert_eq!((mapping.node().number, mapping.object().number), (1, 1));
        buffers.lose(mapping);
        assert_eq!(buffers.set_faulty(false).len(), lost);
        assert_eq!(buffers.set_faulty(false).len(), 0, "once");
    }
}

const LENDS: TeeUuid = TeeUuid::from_u128(0x88);
const FORGETS: TeeUuid = TeeUuid::from_u128(0x99);
const OPEN: u32 = 0;
const CLOSE: u32 = 1;
const MAP: u32 = 2;
const UNMAP: u32 = 3;

const PTAS: &[PseudoTa<()>] = &[
    PseudoTa {
        uuid: LENDS,
        name: "lends",
        work: Work::Buffers(|services, session, step| {
            if matches!(step, Step::Close) {
                services.end_session(session.id);
            }
            lend(services, step)
        }),
    },
    // Says nothing when a session ends.
    PseudoTa {
        uuid: FORGETS,
        name: "forgets",
        work: Work::Buffers(|services, _, step| lend(services, step)),
    },
];

/// Value 0: channel and bytes; value 1 comes out; value 2: an address.
fn lend(services: &dyn BufferServices, step: Step<'_>) -> Result<(), TeeResult> {
    step.of_anyone(|command, params| {
        let (channel, bytes) = params.value(0);
        let (low, high) = params.value(2);
        let told = match command {
            OPEN => services.open_channel()?.into(),
            CLOSE => services.close_channel(channel).map(|()| 0)?,
            MAP => services.map_buffer(channel, bytes)?,
            _ => {
                let va = u64::from(high) << 32 | u64::from(low);
                services.unmap_buffer(channel, va).map(|()| 0)?
            }
        };
        params.set_value(1, told as u32, (told >> 32) as u32);
        Ok(())
    })
}

/// Has a TA ask for a command: what it was told.
#[cfg(not(miri))]
fn asks(
    asker: &Asker<'_>,
    command: u32,
    channel: u64,
    bytes: u64,
    va: u64,
) -> Result<u64, TeeResult> {
    use tally_abi::ta::param_type::{NONE, VALUE_INPUT, VALUE_OUTPUT};
    let words = [channel, bytes, 0, 0, va & 0xffff_ffff, va >> 32, 0, 0];
    let kinds = [VALUE_INPUT, VALUE_OUTPUT, VALUE_INPUT, NONE];
    let (result, words) = asker.asks(command, kinds, words);
    result.ok().map(|()| words[3] << 32 | words[2])
}

/// Pages of buffers that instances have, and channels and mappings that there are.
#[cfg(not(miri))]
fn taken(world: &World) -> (u32, usize, usize) {
    let state = world.kernel.state();
    let buffers = &state.guest(GuestId::FIRST).buffers;
    let pages = state
        .pages
        .used_for(tally_mem::pages::PageUse::SecureBuffer);
    (pages, buffers.channels().len(), buffers.mappings().len())
}

#[cfg(not(miri))]
#[test]
fn a_buffer_is_its_channels_its_sessions_and_its_tas() {
    const NOT_FOUND: Result<u64, TeeResult> = Err(TeeResult::ITEM_NOT_FOUND);
    let world = world_of(PTAS);
    let before = world.accounts();
    // Two sessions of one instance, and another instance.
    let [one, two, other] = [SHARED, SHARED, MULTI].map(|ta| Asker::new(&world, ta, LENDS));
    let [channel, second] = [(); 2].map(|()| asks(&one, OPEN, 0, 0, 0).unwrap());
    let bytes = 2 * 4096 + 1;
    let va = asks(&one, MAP, channel, bytes, 0).unwrap();
    assert_eq!(taken(&world), (3, 2, 1));
    for stranger in [&two, &other] {
        asks(stranger, OPEN, 0, 0, 0).unwrap();
        for command in [MAP, UNMAP, CLOSE] {
            assert_eq!(asks(stranger, command, channel, bytes, va), NOT_FOUND);
        }
    }
    for (channel, va) in [(second, va), (channel, va + 4096), (channel, 0)] {
        assert_eq!(asks(&one, UNMAP, channel, 0, va), NOT_FOUND, "{va:#x}");
    }
    let more = asks(&two, MAP, channel + 2, 1, 0).unwrap();
    assert_eq!(taken(&world), (4, 4, 2));
    assert_eq!(asks(&one, CLOSE, second, 0, 0), Ok(0));
    assert_eq!(asks(&one, UNMAP, channel, 0, va), Ok(0));
    assert_eq!(taken(&world), (1, 3, 1));
    asks(&one, MAP, channel, bytes, 0).unwrap();
    // What it leaves goes with its session, and nothing of another's.
    one.leaves();
    assert_eq!(taken(&world), (1, 2, 1));
    one.close();
    assert_eq!(asks(&two, UNMAP, channel + 2, 0, more), Ok(0));
    two.close();
    other.close();
    same(&world, &before);
}

#[cfg(not(miri))]
#[test]
fn what_a_ta_leaves_goes_with_it_whatever_its_pseudo_ta_does() {
    let world = world_of(PTAS);
    let before = world.accounts();
    let [asker, other] = [MULTI, MULTI].map(|ta| Asker::new(&world, ta, FORGETS));
    let lent = |asker: &Asker<'_>| {
        let channel = asks(asker, OPEN, 0, 0, 0).unwrap();
        let va = asks(asker, MAP, channel, 4096, 0).unwrap();
        (channel, va)
    };
    let [_, _, (channel, va)] = [&asker, &asker, &other].map(lent);
    assert_eq!(taken(&world), (3, 3, 3));
    asker.close();
    assert_eq!(taken(&world), (1, 1, 1));
    assert_eq!(asks(&other, UNMAP, channel, 0, va), Ok(0));
    other.close();
    same(&world, &before);
}

#[cfg(not(miri))]
#[test]
fn no_buffer_is_empty_or_larger_than_one_may_be() {
    let world = world_of(PTAS);
    let asker = Asker::new(&world, MULTI, LENDS);
    let channel = asks(&asker, OPEN, 0, 0, 0).unwrap();
    for bytes in [0, u64::from(MAX_BYTES) + 1, u32::MAX.into()] {
        let refused = asks(&asker, MAP, channel, bytes, 0);
        assert_eq!(refused, Err(TeeResult::BAD_PARAMETERS), "{bytes}");
    }
    asks(&asker, MAP, channel, MAX_BYTES.into(), 0).unwrap();
    assert_eq!(taken(&world), (16, 1, 1));
    asker.close();
}
