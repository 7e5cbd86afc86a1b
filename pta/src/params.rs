//! Checks that all pseudo-TA commands share: parameter types and sizes.
//!
//! **Invariant:** the client learns the size of the answer even where it does not fit.

use tally_abi::{TeeResult, TeeUuid};
use tally_core::pta::Params;
use zerocopy::IntoBytes;

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

/// The UUID in memory reference `param`, as TAs have it (`TEE_UUID`).
///
/// # Errors
/// `BAD_PARAMETERS` if it is of another size.
pub(crate) fn native_uuid(params: &dyn Params, param: usize) -> Result<TeeUuid, TeeResult> {
    let mut uuid = TeeUuid::nil();
    if params.memref_len(param) != size_of::<TeeUuid>() as u64 {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    params.read(param, 0, uuid.as_mut_bytes())?;
    Ok(uuid)
}

/// The UUID in memory reference `param`, as the normal world has it.
///
/// # Errors
/// `BAD_PARAMETERS` if it is of another size.
#[cfg(feature = "stats")]
pub(crate) fn uuid(params: &dyn Params, param: usize) -> Result<TeeUuid, TeeResult> {
    let mut bytes = [0; 16];
    if params.memref_len(param) != bytes.len() as u64 {
        return Err(TeeResult::BAD_PARAMETERS);
    }
    params.read(param, 0, &mut bytes)?;
    Ok(TeeUuid::from_bytes(bytes))
}
