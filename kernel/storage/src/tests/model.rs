//! Random operations against a map.

use crate::directory::Directory;
use crate::figures::Limits;
use crate::host::{Host, StorageError};
use crate::testing::objects::{Action, act, bytes};
use crate::testing::{World, id, keys};
use std::collections::BTreeMap;
use tally_abi::TeeUuid;

const TAS: [TeeUuid; 3] = [
    TeeUuid::from_u128(1),
    TeeUuid::from_u128(2),
    TeeUuid::from_u128(1 << 96),
];
const IDS: [&str; 6] = ["", "a", "b", "ab", "abc", "0"];
const LENGTHS: [usize; 9] = [0, 1, 100, 4095, 4096, 4097, 9000, 20_000, 130_000];

struct Dice(World);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        let mut bytes = [0; 4];
        self.0.random(&mut bytes);
        u32::from_le_bytes(bytes) as usize % n
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let most = self.of(&LENGTHS);
        let mut bytes = vec![0; self.below(most + 1)];
        self.0.random(&mut bytes);
        bytes
    }

    fn action(&mut self) -> Action {
        let id = id(self.of(&IDS));
        match self.below(8) {
            0 | 1 => Action::Create {
                id,
                bytes: self.bytes(),
                replace: self.below(2) == 0,
            },
            2..5 => Action::Write {
                id,
                at: self.of(&LENGTHS),
                bytes: self.bytes(),
            },
            5 => Action::Truncate {
                id,
                len: self.of(&LENGTHS),
            },
            6 => Action::Rename {
                from: id,
                to: crate::testing::id(self.of(&IDS)),
            },
            _ => Action::Remove { id },
        }
    }
}

type Model = BTreeMap<(u128, Vec<u8>), Vec<u8>>;

fn apply(model: &mut Model, ta: TeeUuid, action: &Action) -> Result<(), StorageError> {
    let key = |id: &crate::directory::ObjectId| (ta.to_u128(), id.as_bytes().to_vec());
    let missing = StorageError::NotFound;
    match action {
        Action::Create { id, replace, .. } if model.contains_key(&key(id)) && !replace => {
            return Err(StorageError::Exists);
        }
        Action::Create { id, bytes, .. } => drop(model.insert(key(id), bytes.clone())),
        Action::Write { id, at, bytes } => {
            let object = model.get_mut(&key(id)).ok_or(missing)?;
            if !bytes.is_empty() {
                object.resize(object.len().max(at + bytes.len()), 0);
                object[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
        Action::Truncate { id, len } => {
            let object = model.get_mut(&key(id)).ok_or(missing)?;
            object.resize(*len, 0);
        }
        Action::Rename { from, to } => {
            if !model.contains_key(&key(from)) {
                return Err(missing);
            }
            if model.contains_key(&key(to)) {
                return Err(StorageError::Exists);
            }
            let object = model.remove(&key(from)).ok_or(missing)?;
            model.insert(key(to), object);
        }
        Action::Remove { id } => drop(model.remove(&key(id)).ok_or(missing)?),
    }
    Ok(())
}

fn list(world: &mut World, directory: &mut Directory, ta: TeeUuid) -> Vec<Vec<u8>> {
    let (mut ids, mut at) = (Vec::new(), None);
    while let Some((place, id)) = directory.next(world, &keys(), ta, at).unwrap() {
        ids.push(id.as_bytes().to_vec());
        at = Some(place);
    }
    ids.sort();
    ids
}

#[test]
#[cfg(not(miri))]
fn ten_thousand_operations_do_what_a_map_does() {
    let (mut world, mut directory) = (World::default(), Directory::new());
    let mut dice = Dice(World::default());
    let mut model = Model::new();
    for n in 0..10_000 {
        let (ta, action) = (dice.of(&TAS), dice.action());
        let done = act(&mut world, &mut directory, ta, &action);
        assert_eq!(done, apply(&mut model, ta, &action), "{n}");
        match dice.below(30) {
            0 => world.restart(),
            1 => directory.forget(&mut world),
            2 => {
                world.restart();
                world.open_other("dirf.db");
                world.open_other("0");
            }
            3 => directory = Directory::new(),
            4 => {
                let limits = Limits {
                    nodes: 0,
                    blocks: dice.below(4) << 12,
                    index: dice.below(80),
                };
                directory.set_limits(&mut world, limits);
            }
            _ => {}
        }
        let (ta, name) = (dice.of(&TAS), dice.of(&IDS));
        let found = bytes(&mut world, &mut directory, ta, &id(name)).unwrap();
        let expected = model.get(&(ta.to_u128(), name.into()));
        assert!(found.as_ref() == expected, "{n}");
        let ids = model.keys().filter(|(of, _)| *of == ta.to_u128());
        let ids: Vec<_> = ids.map(|(_, id)| id.clone()).collect();
        assert_eq!(list(&mut world, &mut directory, ta), ids, "{n}");
    }
    // No file is left over.
    assert_eq!(world.files.len(), model.len() + 1);
}
