//! The trusted OS as this world has it: one transport for both CPUs.
//!
//! **Invariant:** the transport is made once and lives for ever.

use alloc::format;
use alloc::string::String;
use spin::Once;
use teec::Context;
use teec::smc::SmcTransport;

use crate::machine::cpu::Smc;
use crate::supplicant::Supplicant;

/// The transport of this machine.
pub(crate) type Tee = SmcTransport<Smc, Supplicant>;

static TEE: Once<Result<Tee, teec::Error>> = Once::new();

/// Looks for the trusted OS; says what went wrong if there is none that can be used.
pub(crate) fn get() -> Result<&'static Tee, String> {
    TEE.call_once(|| SmcTransport::probe(Smc, Supplicant))
        .as_ref()
        .map_err(|error| format!("no trusted OS answers: {error}"))
}

/// The transport, if it was found already.
pub(crate) fn found() -> Option<&'static Tee> {
    TEE.get()?.as_ref().ok()
}

/// A context over the transport.
pub(crate) fn context() -> Result<Context<'static>, String> {
    get().map(|tee| Context::new(tee))
}
