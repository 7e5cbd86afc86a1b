//! Tests of the kernel through its entry points, on a model of the machine.
//!
//! **Invariant:** every test compares the accounts before and after.

mod args;
#[cfg(not(miri))]
mod asks;
mod buffers;
mod calls;
mod claim;
#[cfg(not(miri))]
mod crypto;
#[cfg(not(miri))]
mod encrypted;
#[cfg(not(miri))]
mod ends;
mod instance;
#[cfg(not(miri))]
mod params;
mod pta;
mod refused;
mod rpc;
// Signatures take minutes under Miri, so there it runs what needs no TA.
#[cfg(not(miri))]
mod failures;
#[cfg(not(miri))]
mod faults;
#[cfg(not(miri))]
mod guest;
#[cfg(not(miri))]
mod keys;
#[cfg(not(miri))]
mod laid_out;
#[cfg(not(miri))]
mod lent;
#[cfg(not(miri))]
mod libraries;
#[cfg(not(miri))]
mod memory;
#[cfg(not(miri))]
mod orphans;
#[cfg(not(miri))]
mod pairs;
#[cfg(not(miri))]
mod put_off;
#[cfg(not(miri))]
mod sessions;
#[cfg(not(miri))]
mod shares;
#[cfg(not(miri))]
mod shm;
#[cfg(not(miri))]
mod signatures;
#[cfg(not(miri))]
mod steps;
#[cfg(not(miri))]
mod storage;
#[cfg(not(miri))]
mod storage_failures;
#[cfg(not(miri))]
mod subkeys;
#[cfg(not(miri))]
mod supplicant;
#[cfg(not(miri))]
mod system_calls;
#[cfg(not(miri))]
mod ta;
#[cfg(not(miri))]
mod threads;
#[cfg(not(miri))]
mod vectors;

use crate::pta::services::Control;
use crate::pta::{PseudoTa, Session, Step, Work};
use crate::testing::world::{Accounts, World};
use std::sync::Arc;
use tally_abi::ta::flags;
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::owner::OwnerId;

/// A TA with an instance for every session.
const MULTI: TeeUuid = TeeUuid::from_u128(0x11);
/// A single-instance TA for one session.
const SINGLE: TeeUuid = TeeUuid::from_u128(0x22);
/// A single-instance TA for several sessions.
const SHARED: TeeUuid = TeeUuid::from_u128(0x33);
/// A single-instance TA for several sessions that stays.
const KEPT: TeeUuid = TeeUuid::from_u128(0x44);
/// The pseudo-TA.
const ECHO: TeeUuid = TeeUuid::from_u128(0x55);

/// Copies its first parameter to its second.
const ECHO_TA: PseudoTa<()> = PseudoTa {
    uuid: ECHO,
    name: "echo",
    work: Work::Control(enter),
};

fn enter(control: &dyn Control, _: &Session<'_>, step: Step<'_>) -> Result<(), TeeResult> {
    let Step::Invoke(command, params) = step else {
        return Ok(());
    };
    match command {
        0 => {
            let (a, b) = params.value(0);
            params.set_value(1, b, a);
            Ok(())
        }
        1 => {
            let len = params.memref_len(0);
            params.set_memref_len(1, len);
            if params.memref_len(1) < len {
                return Err(TeeResult::SHORT_BUFFER);
            }
            let mut data = vec![0; len as usize];
            params.read(0, 0, &mut data)?;
            params.write(1, 0, &data)
        }
        2 => {
            let mut bytes = [0; 16];
            params.read(0, 0, &mut bytes)?;
            params.set_value(1, control.kill(TeeUuid::from_bytes(bytes)), 0);
            Ok(())
        }
        3 => params.read(0, params.memref_len(0), &mut [0]),
        4 => control.ree_time().map(drop),
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}

/// A world with all of the TAs.
fn world() -> Arc<World> {
    world_of(&[ECHO_TA])
}

/// As [`world`], with these pseudo-TAs.
fn world_of(ptas: &'static [PseudoTa<()>]) -> Arc<World> {
    let world = World::new(ptas);
    world.install(MULTI, 0, 300);
    world.install(SINGLE, flags::SINGLE_INSTANCE, 300);
    world.install(SHARED, flags::SINGLE_INSTANCE | flags::MULTI_SESSION, 300);
    world.install(
        KEPT,
        flags::SINGLE_INSTANCE | flags::MULTI_SESSION | flags::INSTANCE_KEEP_ALIVE,
        300,
    );
    world
}

/// Runs `test` in a world and checks that everything is back afterwards.
fn leaves_nothing(test: impl FnOnce(&Arc<World>)) {
    let world = world();
    let before = world.accounts();
    test(&world);
    same(&world, &before);
    assert_eq!(world.ta_steps_left(), 0, "steps of TAs that were not taken");
    assert_eq!(world.kernel.machine.owner(), OwnerId::KERNEL);
}

/// As [`leaves_nothing`], with a session of [`MULTI`].
#[cfg(not(miri))]
fn with_session(test: impl FnOnce(&Arc<World>, u32)) {
    leaves_nothing(|world| {
        let session = world.opened(MULTI);
        test(world, session);
        assert_eq!(world.close(session), TeeResult::SUCCESS);
    });
}

fn same(world: &World, before: &Accounts) {
    assert_eq!(world.accounts(), *before);
}
