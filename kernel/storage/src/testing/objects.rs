//! Objects as a kernel keeps them: a file each, and their entries.

use super::{World, keys, write};
use crate::directory::{Directory, ObjectId};
use crate::file::{Committed, File};
use crate::host::{Host, Name, StorageError};
use tally_abi::TeeUuid;

/// What is done to objects.
#[derive(Clone, Debug)]
pub enum Action {
    /// A new one of these bytes.
    Create {
        /// Its id.
        id: ObjectId,
        /// Its data.
        bytes: Vec<u8>,
        /// Whether one of this id is replaced.
        replace: bool,
    },
    /// Bytes are written.
    Write {
        /// Of which one.
        id: ObjectId,
        /// Bytes before them.
        at: usize,
        /// They.
        bytes: Vec<u8>,
    },
    /// It is cut off, or prolonged.
    Truncate {
        /// Which one.
        id: ObjectId,
        /// To so many bytes.
        len: usize,
    },
    /// It gets another id.
    Rename {
        /// The one it has.
        from: ObjectId,
        /// The one it gets.
        to: ObjectId,
    },
    /// It goes.
    Remove {
        /// Which one.
        id: ObjectId,
    },
}

/// Does something to a TA's objects.
pub fn act(
    world: &mut World,
    directory: &mut Directory,
    ta: TeeUuid,
    action: &Action,
) -> Result<(), StorageError> {
    match action {
        Action::Create { id, bytes, replace } => create(world, directory, ta, id, bytes, *replace),
        Action::Write { id, at, bytes } => change(world, directory, ta, id, |world, file| {
            write(world, file, *at as u64, bytes)
        }),
        Action::Truncate { id, len } => change(world, directory, ta, id, |world, file| {
            file.truncate(world, &keys(), *len as u64)
        }),
        Action::Rename { from, to } => directory.rename(world, &keys(), ta, from, to),
        Action::Remove { id } => {
            let number = directory.remove(world, &keys(), ta, id)?;
            let _ = world.remove(Name::Number(number));
            Ok(())
        }
    }
}

fn create(
    world: &mut World,
    directory: &mut Directory,
    ta: TeeUuid,
    id: &ObjectId,
    bytes: &[u8],
    replace: bool,
) -> Result<(), StorageError> {
    let number = directory.reserve(world, &keys())?;
    let mut file = File::create(world, &keys(), ta, number)?;
    let made = write(world, &mut file, 0, bytes)
        .and_then(|()| file.commit(world, &keys()))
        .and_then(|file| directory.put(world, &keys(), ta, id, file, replace));
    file.close(world);
    match made {
        Ok(None) => Ok(()),
        Ok(Some(old)) => {
            let _ = world.remove(Name::Number(old));
            Ok(())
        }
        Err(err) => {
            // The directory may have it after all.
            let found = directory.find(world, &keys(), ta, id);
            if found.is_ok_and(|entry| entry.is_none_or(|entry| entry.file.number != number)) {
                let _ = world.remove(Name::Number(number));
            }
            directory.release(number);
            Err(err)
        }
    }
}

fn change(
    world: &mut World,
    directory: &mut Directory,
    ta: TeeUuid,
    id: &ObjectId,
    work: impl FnOnce(&mut World, &mut File) -> Result<(), StorageError>,
) -> Result<(), StorageError> {
    let entry = directory.find(world, &keys(), ta, id)?;
    let entry = entry.ok_or(StorageError::NotFound)?;
    let mut file = File::open(world, &keys(), ta, entry.file)?;
    let done = work(world, &mut file)
        .and_then(|()| file.commit(world, &keys()))
        .and_then(|file| directory.update(world, &keys(), ta, id, file));
    file.close(world);
    done
}

/// An object's bytes.
pub fn bytes(
    world: &mut World,
    directory: &mut Directory,
    ta: TeeUuid,
    id: &ObjectId,
) -> Result<Option<Vec<u8>>, StorageError> {
    let Some(entry) = directory.find(world, &keys(), ta, id)? else {
        return Ok(None);
    };
    open_and_read(world, ta, entry.file).map(Some)
}

fn open_and_read(
    world: &mut World,
    ta: TeeUuid,
    committed: Committed,
) -> Result<Vec<u8>, StorageError> {
    let mut file = File::open(world, &keys(), ta, committed)?;
    let all = super::read(world, &mut file);
    file.close(world);
    all
}
