//! Floating-point registers of TAs.
//!
//! **Invariant:** every test ends with the TAs gone.

use alloc::format;
use ta_uuids::chain;
use teec::{ErrorKind, Operation, ParamNone, ParamType, ParamValue, Session};

use crate::{Bench, Outcome, Test, equal, fails, works};

pub(crate) const TESTS: &[Test] = &[
    ("floating-point registers are a TA's own", own),
    (
        "floating-point registers outlive calls of other TAs",
        nested,
    ),
    ("a TA that dies with floating point in use ends", dies),
];

/// Has a TA use them for so long, and others as deep as that: none sees what is not its own, and none loses its own.
fn use_them(session: &mut Session<'_>, seed: u32, millis: u32, depth: u32) -> Outcome {
    let mut op = Operation::new(
        0,
        ParamValue::new(seed, millis, ParamType::ValueInput),
        ParamValue::new(depth, 0, ParamType::ValueInput),
        ParamValue::new(77, 77, ParamType::ValueOutput),
        ParamNone,
    );
    works(session.invoke_command(chain::CMD_VECTORS, &mut op))?;
    let answer = op.parameters().2;
    equal(
        (answer.a(), answer.b()),
        (0, 0),
        &format!("registers of somebody else, and lost ones, seed {seed}"),
    )
}

fn own(bench: &Bench) -> Outcome {
    let mut session = bench.open(chain::UUID)?;
    use_them(&mut session, 0x1234, 60, 0)?;
    // Another instance finds none of it.
    use_them(&mut bench.open(chain::UUID)?, 0x5678, 0, 0)
}

fn nested(bench: &Bench) -> Outcome {
    for depth in 1..=3 {
        use_them(&mut bench.open(chain::UUID)?, 0x100, 10, depth)?;
    }
    Ok(())
}

fn dies(bench: &Bench) -> Outcome {
    let mut session = bench.open(chain::UUID)?;
    fails(
        session.invoke_plain(chain::CMD_VECTORS_CRASH),
        ErrorKind::TargetDead,
    )?;
    use_them(&mut bench.open(chain::UUID)?, 3, 0, 0)
}
