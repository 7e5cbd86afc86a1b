//! Tally's pTA of secure buffers for a video decoder.
//!
//! **Invariant:** layouts are [`tally_abi::pta::vdec`]'s.

use crate::params::expect;
use tally_abi::TeeResult;
use tally_abi::pta::vdec::{CMD_CLOSE_CHANNEL, CMD_MAP, CMD_OPEN_CHANNEL, CMD_UNMAP, UUID};
use tally_abi::ta::param_type::{NONE, VALUE_INPUT, VALUE_OUTPUT};
use tally_core::book::Book;
use tally_core::pta::services::BufferServices;
use tally_core::pta::{Params, PseudoTa, Session, Step, Work};

/// The pseudo-TA.
pub(crate) const fn pta<O: Book>() -> PseudoTa<O> {
    PseudoTa {
        uuid: UUID,
        name: "vdec",
        work: Work::Buffers(enter),
    }
}

fn enter(
    services: &dyn BufferServices,
    session: &Session<'_>,
    step: Step<'_>,
) -> Result<(), TeeResult> {
    match step {
        Step::Open => Ok(()),
        Step::Invoke(command, params) => invoke(services, command, params),
        Step::Close => {
            services.end_session(session.id);
            Ok(())
        }
    }
}

fn invoke(
    services: &dyn BufferServices,
    command: u32,
    params: &mut dyn Params,
) -> Result<(), TeeResult> {
    match command {
        CMD_OPEN_CHANNEL => {
            expect(params, [VALUE_OUTPUT, NONE, NONE, NONE])?;
            let channel = services.open_channel()?;
            params.set_value(0, channel, 0);
            Ok(())
        }
        CMD_CLOSE_CHANNEL => {
            expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            services.close_channel(params.value(0).0)
        }
        CMD_MAP => {
            expect(params, [VALUE_INPUT, VALUE_OUTPUT, NONE, NONE])?;
            let (channel, bytes) = params.value(0);
            let va = services.map_buffer(channel, bytes)?;
            params.set_value(1, va as u32, (va >> 32) as u32);
            Ok(())
        }
        CMD_UNMAP => {
            expect(params, [VALUE_INPUT, VALUE_INPUT, NONE, NONE])?;
            let (low, high) = params.value(1);
            let va = u64::from(high) << 32 | u64::from(low);
            services.unmap_buffer(params.value(0).0, va)
        }
        _ => Err(TeeResult::NOT_SUPPORTED),
    }
}
