//! What pseudo-TAs' commands have in common: parameter types and sizes.
//!
//! **Invariant:** the client learns the size of the answer even where it does not fit.
//! **Knows nothing of:** what the answers say.

use tally_abi::TeeResult;
use tally_core::pta_api::Params;

/// Reports the size of what was, or would have been, written.
///
/// # Errors
/// `SHORT_BUFFER` if there was no room for it.
pub(crate) fn finish(params: &mut dyn Params, param: usize, needed: u64) -> Result<(), TeeResult> {
    let room = params.memref_len(param);
    params.set_memref_len(param, needed);
    if needed > room {
        Err(TeeResult::SHORT_BUFFER)
    } else {
        Ok(())
    }
}

/// Confirms the parameter types.
///
/// # Errors
/// `BAD_PARAMETERS`.
pub(crate) fn expect(params: &dyn Params, types: [u32; 4]) -> Result<(), TeeResult> {
    if params.types() == tally_abi::ta::param_type::pack(types) {
        Ok(())
    } else {
        Err(TeeResult::BAD_PARAMETERS)
    }
}
