//! Parameters as pseudo-TAs see them: of whom, from where to where, and in which memory.

use super::asks::Asker;
use super::*;
use crate::pta::Params;
use crate::testing::world::{CLIENT, Run, header, memref, value};
use tally_abi::msg::{MsgParam, attr, cmd};
use tally_abi::ta::param_type::{MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_OUTPUT, pack};
use tally_mem::addr::PhysAddr;

const COPIES: TeeUuid = TeeUuid::from_u128(0x88);
/// Bytes of each reference.
const LEN: u64 = 16;

/// Copies four bytes from one reference to the other, as far into each as the command says; tells where they lie.
const COPIES_TA: PseudoTa<()> = PseudoTa {
    uuid: COPIES,
    name: "copies",
    work: Work::Alone(|_, step| step.of_anyone(copy)),
};

fn copy(offset: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    let mut bytes = [0; 4];
    let secure = [0, 1, 2].map(|index| u32::from(params.is_secure(index)));
    params.set_value(2, secure[0], secure[1] | secure[2] << 4);
    if params.types() != pack([MEMREF_INPUT, MEMREF_OUTPUT, VALUE_OUTPUT, NONE]) {
        return Err(TeeResult::BAD_FORMAT);
    }
    params.read(0, offset.into(), &mut bytes)?;
    params.write(1, offset.into(), &bytes)
}

/// Offsets, and whether four bytes lie there.
const OFFSETS: [(u32, bool); 6] = [
    (0, true),
    (5, true),
    (12, true),
    (13, false),
    (16, false),
    (u32::MAX, false),
];
const TEXT: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

/// What is behind 16 bytes of output into which four were copied, or none.
fn copied(offset: u32, is_copied: bool) -> [u8; 32] {
    let mut after = [b'.'; 32];
    if is_copied {
        let at = offset as usize;
        after[at..at + 4].copy_from_slice(&TEXT[at..at + 4]);
    }
    after
}

fn told(is_inside: bool) -> TeeResult {
    if is_inside {
        TeeResult::SUCCESS
    } else {
        TeeResult::BAD_PARAMETERS
    }
}

#[test]
fn clients_references_are_what_they_name_and_not_what_lies_behind() {
    let world = World::new(&[COPIES_TA]);
    let session = world.opened(COPIES);
    let whole = memref(attr::TMEM_INOUT, CLIENT.0, 4096, 9);
    let registered = world.send(header(cmd::REGISTER_SHM, 0, 0), &[whole]);
    assert_eq!(registered.result, TeeResult::SUCCESS);
    let (from, to) = (100, 300);
    for (offset, is_inside) in OFFSETS {
        world.write(PhysAddr(CLIENT.0 + from), TEXT);
        world.write(PhysAddr(CLIENT.0 + to), &[b'.'; 32]);
        let params: [MsgParam; 3] = [
            memref(attr::RMEM_INPUT, from, LEN, 9),
            memref(attr::RMEM_OUTPUT, to, LEN, 9),
            value(attr::VALUE_OUTPUT, 0, 0),
        ];
        let reply = world.invoke(session, offset, &params);
        assert_eq!(reply.result, told(is_inside), "{offset}");
        assert_eq!((reply.params[2].a, reply.params[2].b), (0, 0));
        let after = world.read(PhysAddr(CLIENT.0 + to), 32);
        assert_eq!(after, copied(offset, is_inside), "{offset}");
    }
    let other = world.invoke(session, 0, &[memref(attr::RMEM_INPUT, from, LEN, 9)]);
    assert_eq!(other.result, TeeResult::BAD_FORMAT);
}

#[cfg(not(miri))]
#[test]
fn tas_references_are_what_they_name_and_secure() {
    let world = world_of(&[COPIES_TA]);
    let asker = Asker::new(&world, MULTI, COPIES);
    for (offset, is_inside) in OFFSETS {
        let words = |run: &mut Run<'_>| {
            let [from, to] = [100, 300].map(|n| run.stack(n));
            run.store(from, TEXT);
            run.store(to, &[b'.'; 32]);
            [from, LEN, to, LEN, 0, 0, 0, 0]
        };
        let kinds = [MEMREF_INPUT, MEMREF_OUTPUT, VALUE_OUTPUT, NONE];
        let ((result, words), after) = asker.asks_of(offset, kinds, words, |run| {
            let mut after = [0; 32];
            run.load(run.stack(300), &mut after);
            after
        });
        assert_eq!(result, told(is_inside), "{offset}");
        assert_eq!(words[4..6], [1, 1], "both, and the value is none");
        assert_eq!(after, copied(offset, is_inside), "{offset}");
    }
    asker.close();
}
