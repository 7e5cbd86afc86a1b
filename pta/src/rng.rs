//! OP-TEE's random number pTA (`pta_rng.h`).

use crate::params::expect;
use tally_abi::TeeResult;
use tally_abi::pta::rng::{CMD_GET_ENTROPY, CMD_GET_RNG_INFO, MAX_BYTES, UUID};
use tally_abi::ta::param_type::{MEMREF_INOUT, NONE, VALUE_OUTPUT};
use tally_core::book::Book;
use tally_core::pta::services::Entropy;
use tally_core::pta::{Params, PseudoTa, Work};

/// Bytes made between chances for an interrupt.
const PIECE: usize = 256;
/// Bits of entropy in 1,024 bits: as good as none is vouched for, since the CPU may have no source but the jitter of its
/// counter. 0 would be no answer to Linux, which then takes each bit for one of entropy.
const QUALITY: u32 = 1;

/// The pseudo-TA.
pub(crate) const fn pta<O: Book>() -> PseudoTa<O> {
    PseudoTa {
        uuid: UUID,
        name: "rng.pta",
        work: Work::Entropy(|entropy, _, step| {
            step.of_anyone(|command, params| invoke(entropy, command, params))
        }),
    }
}

fn invoke(entropy: &dyn Entropy, command: u32, params: &mut dyn Params) -> Result<(), TeeResult> {
    match command {
        CMD_GET_ENTROPY => {
            expect(params, [MEMREF_INOUT, NONE, NONE, NONE])?;
            let len = params.memref_len(0);
            if len > MAX_BYTES {
                return Err(TeeResult::NOT_SUPPORTED);
            }
            for at in (0..len).step_by(PIECE) {
                let mut piece = [0; PIECE];
                let piece = &mut piece[..(len - at).min(PIECE as u64) as usize];
                entropy.fill(piece);
                params.write(0, at, piece)?;
            }
            Ok(())
        }
        CMD_GET_RNG_INFO => {
            expect(params, [VALUE_OUTPUT, NONE, NONE, NONE])?;
            params.set_value(0, entropy.rate(), QUALITY);
            Ok(())
        }
        _ => Err(TeeResult::BAD_PARAMETERS),
    }
}
