//! Measured loops of a client's calls. Two hints enclose each, for a plugin that counts
//! instructions; the results say what was between them, in order.
//!
//! **Invariant:** nothing but the measured calls runs between the hints in this process.
//! **Knows nothing of:** how instructions are counted.
#![cfg_attr(
    target_arch = "aarch64",
    expect(unsafe_code, reason = "the hints are instructions")
)]

use ta_uuids::{hello, keepalive};
use tally_abi::TeeUuid;
use tally_abi::pta::stats;
use teec::{Context, Operation, ParamNone, ParamTmpRef, ParamType, ParamValue};

use crate::bench::{self, Outcome};
use crate::results::Results;

/// Executes `hint #N`: nothing, but the plugin sees it.
macro_rules! mark {
    ($n:literal) => {
        #[cfg(target_arch = "aarch64")]
        // SAFETY: a hint that no processor has a meaning for does nothing.
        unsafe {
            std::arch::asm!(concat!("hint #", $n), options(nomem, nostack));
        }
    };
}

/// Runs all measures; their names go to `results`.
pub(crate) fn run(results: &str) -> Outcome {
    let mut results = Results::open(results).map_err(|error| format!("{results}: {error}"))?;
    let transport = bench::connect()?;
    let context = Context::new(&transport);

    let mut session = bench::open(&context, stats::UUID)?;
    // A command that is none: the way in and out, and nothing between.
    measure(&mut results, "pta_invoke", 100, || {
        match session.invoke_plain(u32::MAX) {
            Err(error) if error.origin() != teec::ErrorOrigin::COMMS => Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(()) => Err("an unknown command succeeded".into()),
        }
    })?;
    let mut session = bench::open(&context, hello::UUID)?;
    measure(&mut results, "ta_invoke", 100, || {
        session
            .invoke_plain(hello::CMD_NOP)
            .map_err(|error| error.to_string())
    })?;
    let mut page = [0_u8; 4096];
    measure(&mut results, "ta_invoke_memref_4k", 100, || {
        // Filling nothing: the reference is mapped, and no octet of it is touched.
        let to = ParamTmpRef::new_output(&mut page);
        let nothing = ParamValue::new(0, 0, ParamType::ValueInput);
        let mut operation = Operation::new(0, to, nothing, ParamNone, ParamNone);
        session
            .invoke_command(hello::CMD_FILL, &mut operation)
            .map_err(|error| error.to_string())
    })?;
    measure(&mut results, "ta_open_close_loaded", 50, || {
        open_close(&context, keepalive::UUID)
    })?;
    measure(&mut results, "ta_load", 5, || {
        open_close(&context, hello::UUID)
    })?;
    results.close().map_err(|error| format!("results: {error}"))
}

fn open_close(context: &Context<'_>, uuid: TeeUuid) -> Outcome {
    bench::open(context, uuid)?
        .close()
        .map_err(|error| error.to_string())
}

/// Runs `body` three times to warm up, then `iterations` times between the hints.
fn measure(
    results: &mut Results,
    name: &str,
    iterations: u32,
    mut body: impl FnMut() -> Outcome,
) -> Outcome {
    (0..3).try_for_each(|_| body())?;
    mark!("100");
    let result = (0..iterations).try_for_each(|_| body());
    mark!("101");
    result.map_err(|why| format!("{name}: {why}"))?;
    println!("{name}: {iterations} times");
    results
        .measure(name, iterations)
        .map_err(|error| format!("results: {error}"))
}
