//! The supplicant's view of a client's memory, and the part of its answer that comes back.

use super::*;
use crate::pta::supplicant::{Answer, Data, Supplicant, value};
use crate::testing::world::{CLIENT, Event, NORMAL_PAGES, memref};
use std::sync::Mutex;
use tally_abi::msg::{MsgHeader, MsgParam, arg_size, attr};
use tally_abi::rpc::cmd;
use tally_mem::addr::{PAGE_SIZE, PhysAddr};
use tally_mem::testing::NORMAL_BASE;
use zerocopy::FromBytes;

const ASKS: TeeUuid = TeeUuid::from_u128(0x88);
const ALL: usize = NORMAL_PAGES * PAGE_SIZE;
const QUESTION: &[u8; 8] = b"question";

/// Reference 0 goes along as the command says.
const ASKS_TA: PseudoTa<()> = PseudoTa {
    uuid: ASKS,
    name: "asks",
    work: Work::Supplicant(ask),
};

fn ask(supplicant: &dyn Supplicant, _: &Session<'_>, step: Step<'_>) -> Result<(), TeeResult> {
    let Step::Invoke(kind, params) = step else {
        return Ok(());
    };
    let data = Data {
        rpc: 1,
        param: 0,
        kind: kind.into(),
        answer: Answer::Size,
    };
    // The model answers with so many bytes.
    let len = params.memref_len(0).max(8);
    let mut rpc = [value(attr::VALUE_INPUT, 0, len, 0), MsgParam::default()];
    supplicant.ask(cmd::SUPP_PLUGIN, &mut rpc, Some(data), params)
}

/// The places where the question is in the normal world's memory.
fn places(world: &World) -> Vec<u64> {
    let memory = world.read(NORMAL_BASE, ALL);
    let found = memory.windows(8).enumerate();
    let found = found.filter(|(_, bytes)| bytes == QUESTION);
    found.map(|(at, _)| NORMAL_BASE.0 + at as u64).collect()
}

/// The parameter that memory became: the RPC's argument lies behind the message of the first thread.
fn became(world: &World) -> MsgParam {
    let at = arg_size(1) + size_of::<MsgHeader>() + size_of::<MsgParam>();
    let bytes = world.read(PhysAddr(NORMAL_BASE.0 + at as u64), size_of::<MsgParam>());
    MsgParam::read_from_bytes(&bytes).unwrap()
}

#[test]
fn only_what_goes_to_the_supplicant_is_shown_to_it_and_only_what_comes_back_is_taken() {
    let world = world_of(&[ASKS_TA]);
    let session = world.opened(ASKS);
    for (kind, is_shown, after) in [
        (attr::RMEM_INPUT, true, QUESTION),
        (attr::RMEM_OUTPUT, false, b"answered"),
        (attr::RMEM_INOUT, true, b"answered"),
    ] {
        world.write(CLIENT, QUESTION);
        let seen = Arc::new(Mutex::new(None));
        let told = seen.clone();
        world.on(Event::Command(cmd::SUPP_PLUGIN), move |world| {
            let param = became(world);
            let others = places(world);
            *told.lock().unwrap() = Some((param.attr, param.b, others.contains(&param.c)));
            // The model turns round what goes both ways.
            let answer = if param.attr == attr::RMEM_INOUT {
                b"derewsna"
            } else {
                b"answered"
            };
            world.write(PhysAddr(param.c), answer);
        });
        let param = memref(attr::TMEM_INOUT, CLIENT.0, 8, 0);
        let reply = world.invoke(session, kind as u32, &[param]);
        assert_eq!(reply.result, TeeResult::SUCCESS);
        assert_eq!(*seen.lock().unwrap(), Some((kind, 8, is_shown)));
        assert_eq!(world.read(CLIENT, 8), after, "{kind:#x}");
    }
    assert_eq!(world.close(session), TeeResult::SUCCESS);
}

#[test]
fn no_memory_goes_along_as_none_of_the_same_direction() {
    let world = world_of(&[ASKS_TA]);
    let session = world.opened(ASKS);
    for (kind, none) in [
        (attr::RMEM_INPUT, attr::TMEM_INPUT),
        (attr::RMEM_OUTPUT, attr::TMEM_OUTPUT),
        (attr::RMEM_INOUT, attr::TMEM_INOUT),
    ] {
        let seen = Arc::new(Mutex::new(None));
        let told = seen.clone();
        world.on(Event::Command(cmd::SUPP_PLUGIN), move |world| {
            *told.lock().unwrap() = Some(became(world));
        });
        let param = memref(attr::TMEM_INOUT, 0, 0, 0);
        // It says that it wrote 8 bytes, for which there is no room.
        let reply = world.invoke(session, kind as u32, &[param]);
        assert_eq!(reply.result, TeeResult::COMMUNICATION);
        assert_eq!(*seen.lock().unwrap(), Some(value(none, 0, 0, 0)));
    }
    assert_eq!(world.close(session), TeeResult::SUCCESS);
}

#[test]
fn what_goes_along_in_pieces_is_whole() {
    let world = world_of(&[ASKS_TA]);
    let session = world.opened(ASKS);
    let mut bytes: Vec<u8> = (0..1300_u32).map(|n| (n / 7) as u8).collect();
    world.write(CLIENT, &bytes);
    world.write(PhysAddr(CLIENT.0 + 1300), QUESTION);
    let param = memref(attr::TMEM_INOUT, CLIENT.0, 1300, 0);
    let reply = world.invoke(session, attr::RMEM_INOUT as u32, &[param]);
    assert_eq!(reply.result, TeeResult::SUCCESS);
    bytes.reverse();
    assert_eq!(world.read(CLIENT, 1300), bytes);
    assert_eq!(world.read(PhysAddr(CLIENT.0 + 1300), 8), QUESTION);
    assert_eq!(world.close(session), TeeResult::SUCCESS);
}

#[test]
fn no_more_goes_along_than_eight_megabytes() {
    const MOST: u64 = 8 << 20;
    let world = world_of(&[ASKS_TA]);
    let session = world.opened(ASKS);
    world.set_shm_limit(Some(0));
    let pages = MOST / PAGE_SIZE as u64 + 1;
    let list = super::args::list(&world, 0, pages, |_| CLIENT.0 + (PAGE_SIZE * 32) as u64);
    for (bytes, is_asked) in [(MOST, true), (MOST + 1, false)] {
        drop(world.take_events());
        let param = memref(attr::TMEM_INPUT | attr::NONCONTIG, list, bytes, 0);
        let reply = world.invoke(session, attr::RMEM_INPUT as u32, &[param]);
        assert_eq!(reply.result, TeeResult::OUT_OF_MEMORY);
        let asked = Event::Command(cmd::SHM_ALLOC);
        assert_eq!(world.take_events().contains(&asked), is_asked, "{bytes}");
    }
    assert_eq!(world.close(session), TeeResult::SUCCESS);
}
