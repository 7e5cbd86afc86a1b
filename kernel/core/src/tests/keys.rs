//! Keys of a TA's own: of the device, its UUID and what it gives.

use super::asks::Asker;
use super::*;
use crate::hardware_key::{Derivation, Purpose};
use crate::pta::system_services::SystemServices;
use crate::testing::world::{HARDWARE_KEY, Run};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE};
use zerocopy::IntoBytes;

const KEYS: TeeUuid = TeeUuid::from_u128(0x88);
/// What a TA gives at most: more than is taken in at a time.
const EXTRA: [u8; 300] = {
    let mut bytes = [0; 300];
    let mut n = 0;
    while n < bytes.len() {
        bytes[n] = (n / 3) as u8;
        n += 1;
    }
    bytes
};

/// From this command on, what is above it is mixed into the random numbers.
const STIRS: u32 = 1 << 20;

/// A key with as many bytes of the first reference as the command says goes to the second.
const KEYS_TA: PseudoTa<()> = PseudoTa {
    uuid: KEYS,
    name: "keys",
    work: Work::System(key),
};

fn key(system: &dyn SystemServices, _: &Session<'_>, step: Step<'_>) -> Result<(), TeeResult> {
    let Step::Invoke(extra, params) = step else {
        return Ok(());
    };
    if extra >= STIRS {
        system.stir([u64::from(extra - STIRS), 0, 0, 0]);
        return Ok(());
    }
    let key = system.unique_key(extra.into(), params, 0)?;
    params.write(1, 0, &key[..])
}

type Key = [u8; 32];

/// Keys of a TA, by the bytes that it gives.
fn keys(world: &World, ta: TeeUuid, extras: &[u32]) -> Vec<Key> {
    let kinds = [MEMREF_INPUT, MEMREF_OUTPUT, NONE, NONE];
    let asker = Asker::new(world, ta, KEYS);
    let key = |extra: &u32| {
        let given = |run: &mut Run<'_>| {
            let [given, out] = [80, 400].map(|n| run.stack(n));
            run.store(given, &EXTRA);
            [given, EXTRA.len() as u64, out, 32, 0, 0, 0, 0]
        };
        let ((result, _), key) = asker.asks_of(*extra, kinds, given, |run| {
            let mut key = Key::default();
            run.load(run.stack(400), &mut key);
            key
        });
        assert_eq!(result, TeeResult::SUCCESS);
        key
    };
    let keys = extras.iter().map(key).collect();
    asker.close();
    keys
}

#[test]
fn each_ta_has_a_key_of_its_own_for_whatever_it_gives() {
    const EXTRAS: [u32; 6] = [0, 1, 128, 129, 300, 0];
    let world = world_of(&[KEYS_TA]);
    let before = world.accounts();
    let all = [MULTI, SINGLE].map(|ta| {
        let keys = keys(&world, ta, &EXTRAS);
        let wanted = EXTRAS.map(|extra| {
            let mut derivation = Derivation::new(&HARDWARE_KEY, Purpose::UniqueTa);
            derivation.update(ta.as_bytes());
            derivation.update(&EXTRA[..extra as usize]);
            *derivation.finish()
        });
        assert_eq!(keys, wanted);
        assert_eq!(keys[0], keys[5], "the same each time");
        keys
    });
    let mut different = all.iter().flat_map(|keys| &keys[..5]).collect::<Vec<_>>();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), 10);
    same(&world, &before);
}

#[test]
fn the_normal_world_has_no_key() {
    let world = world_of(&[KEYS_TA]);
    let session = world.opened(KEYS);
    let told = world.invoke(session, 0, &[]).result;
    assert_eq!(told, TeeResult::ACCESS_DENIED);
}

#[test]
fn what_a_ta_mixes_into_the_random_numbers_changes_them() {
    // The model's are the same in every run.
    let random_after = |words| {
        let world = world_of(&[KEYS_TA]);
        let asker = Asker::new(&world, MULTI, KEYS);
        let told = asker.asks(STIRS + words, [NONE; 4], [0; 8]);
        assert_eq!(told.0, TeeResult::SUCCESS);
        asker.close();
        world.kernel.random_u64()
    };
    assert_eq!(random_after(0), random_after(0));
    assert_ne!(random_after(0), random_after(7));
}
