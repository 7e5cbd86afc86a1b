//! Measured calls that any OP-TEE answers: of its own TAs, as Debian built them, and of its pseudo-TA for statistics.
//!
//! **Invariant:** nothing is asked that only one of the secure worlds has.

mod crypto;
pub(crate) mod storage;

use tally_abi::TeeUuid;
use tally_abi::pta::stats::{self, AllocStats, alloc_id};
use teec::{Context, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue, Session};

use crate::bench::{self, Outcome};
use crate::measures::{measure, open_close};
use crate::results::Results;

/// OP-TEE's test TA `sims`: one instance, loaded with its first session (optee_test `ta/sims`).
const SIMS: TeeUuid = TeeUuid::from_u128(0xe6a33ed4_562b_463a_bb7e_ff5e15a493c8);
/// The same one that stays (`ta/sims_keepalive`).
const KEPT: TeeUuid = TeeUuid::from_u128(0xa4c04d50_f180_11e8_8eb2_f2801f1b9fd1);
/// `(value in: a = index; memref out)`: fills it with what was written.
const CMD_READ: u32 = 1;
/// `(value in: a = index; memref in)`.
const CMD_WRITE: u32 = 2;
/// `(value out)`.
const CMD_GET_COUNTER: u32 = 3;
/// Bytes of a reference.
const PAGE: usize = 4096;

/// Runs all measures; their names go to `results`.
pub(crate) fn run(results: &str) -> Outcome {
    let mut results = Results::open(results).map_err(|error| format!("{results}: {error}"))?;
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    pseudo(&mut results, &context)?;
    let mut session = bench::open(&context, SIMS)?;
    invokes(&mut results, &mut session)?;
    session.close().map_err(|error| error.to_string())?;
    measure(&mut results, "ta_open_close_loaded", 50, || {
        open_close(&context, KEPT)
    })?;
    measure(&mut results, "ta_load", 5, || open_close(&context, SIMS))?;
    crypto::run(&mut results, &context)?;
    storage::run(&mut results, &context)?;
    results.close().map_err(|error| format!("results: {error}"))
}

fn pseudo(results: &mut Results, context: &Context<'_>) -> Outcome {
    let mut session = bench::open(context, stats::UUID)?;
    let (allocated, size) = pool(&mut session, alloc_id::TA_RAM)?;
    let free = size.checked_sub(allocated).ok_or("more than all is used")?;
    results
        .fact("secure_free", u64::from(free))
        .map_err(|error| format!("results: {error}"))?;
    measure(results, "pta_pool", 100, || {
        self::pool(&mut session, alloc_id::HEAP).map(drop)
    })?;
    measure(results, "pta_time", 100, || {
        let [ree, tee] = [ParamValue::new(0, 0, ParamType::ValueOutput); 2];
        let mut operation = Operation::new(0, ree, tee, ParamNone, ParamNone);
        session
            .invoke_command(stats::CMD_GET_TIME, &mut operation)
            .map_err(|error| error.to_string())
    })
}

/// Bytes used of a pool of the secure world's, and all. Records of version 4.10 have a figure more than those before; the
/// last six are the same.
fn pool(session: &mut Session<'_>, id: u32) -> Result<(u32, u32), String> {
    let mut pool = [0; size_of::<AllocStats>()];
    let which = ParamValue::new(id, 0, ParamType::ValueInput);
    let to = ParamTmpRef::new_output(&mut pool);
    let mut operation = Operation::new(0, which, to, ParamNone, ParamNone);
    session
        .invoke_command(stats::CMD_ALLOC_STATS, &mut operation)
        .map_err(|error| error.to_string())?;
    let len = operation.parameters().1.updated_size();
    let pool = pool.get(..len).ok_or("a long record")?;
    let word = |from_end: usize| -> Option<u32> {
        let at = len.checked_sub(4 * from_end)?;
        Some(u32::from_le_bytes(*pool.get(at..)?.first_chunk()?))
    };
    word(6).zip(word(4)).ok_or_else(|| "a short record".into())
}

fn invokes(results: &mut Results, session: &mut Session<'_>) -> Outcome {
    measure(results, "ta_invoke", 100, || {
        let counter = ParamValue::new(0, 0, ParamType::ValueOutput);
        let mut operation = Operation::new(0, counter, ParamNone, ParamNone, ParamNone);
        session
            .invoke_command(CMD_GET_COUNTER, &mut operation)
            .map_err(|error| error.to_string())
    })?;
    let first = ParamValue::new(0, 0, ParamType::ValueInput);
    let from = ParamTmpRef::new_input(&[7; PAGE]);
    session
        .invoke_command(
            CMD_WRITE,
            &mut Operation::new(0, first, from, ParamNone, ParamNone),
        )
        .map_err(|error| error.to_string())?;
    let mut page = [0; PAGE];
    measure(results, "ta_invoke_memref_4k", 100, || {
        let to = ParamTmpRef::new_output(&mut page);
        let mut operation = Operation::new(0, first, to, ParamNone, ParamNone);
        session
            .invoke_command(CMD_READ, &mut operation)
            .map_err(|error| error.to_string())
    })?;
    bench::equal(page, [7; PAGE], "what was read")
}
