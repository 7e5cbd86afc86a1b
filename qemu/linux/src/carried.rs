//! Objects of trusted storage that one secure world keeps and another reads: turns of one after the other, with the files
//! carried from one to the next.
//!
//! **Invariant:** a turn reads all that the turns before it kept, adds its own.

use teec::Context;

use crate::bench::{self, Outcome, equal};
use crate::peer::storage::Store;

/// Bytes of the objects of a turn: none, less than a block of a file, more than one, and a tree of several levels.
const SIZES: [usize; 4] = [0, 100, 5000, 70_000];
/// Bytes that go to the TA at a time.
const PIECE: usize = 4096;

/// Does one turn.
pub(crate) fn run(turn: &str) -> Outcome {
    let turn: u8 = turn.parse().map_err(|_| format!("`{turn}` is no turn"))?;
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    let mut store = Store::open(&context)?;
    for before in 0..turn {
        for bytes in SIZES {
            read(&mut store, before, bytes)?;
        }
        // A change to what another has made.
        let object = store.get(&id(before, SIZES[1]))?;
        store.rename(object, b"renamed")?;
        store.rename(object, &id(before, SIZES[1]))?;
        store.write(object, &content(before, SIZES[1]))?;
        store.close(object)?;
    }
    for bytes in SIZES {
        let object = store.create(&id(turn, bytes))?;
        for piece in content(turn, bytes).chunks(PIECE) {
            store.write(object, piece)?;
        }
        store.close(object)?;
        read(&mut store, turn, bytes)?;
    }
    Ok(())
}

fn id(turn: u8, bytes: usize) -> Vec<u8> {
    format!("turn {turn}\0{bytes} bytes").into_bytes()
}

fn content(turn: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at >> 8) as u8 ^ at as u8 ^ turn)
        .collect()
}

fn read(store: &mut Store<'_>, turn: u8, bytes: usize) -> Outcome {
    let object = store.get(&id(turn, bytes))?;
    let mut found = Vec::new();
    loop {
        let mut piece = [0; PIECE];
        let n = store.read(object, &mut piece)?;
        if n == 0 {
            break;
        }
        found.extend_from_slice(piece.get(..n).ok_or("a long piece")?);
    }
    store.close(object)?;
    equal(found.len(), bytes, "bytes of an object")?;
    match found == content(turn, bytes) {
        true => Ok(()),
        false => Err(format!("{bytes} bytes of turn {turn} are others")),
    }
}
