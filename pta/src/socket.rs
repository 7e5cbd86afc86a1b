//! OP-TEE's socket pTA (`pta_socket.h`): what a TA sends and receives goes through the supplicant.
//!
//! **Invariant:** the sockets of an instance are closed with its session.

use crate::params::expect;
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_abi::pta::socket::{CMD_CLOSE, CMD_IOCTL, CMD_OPEN, CMD_RECV, CMD_SEND, UUID};
use tally_abi::rpc::{cmd, socket};
use tally_abi::ta::param_type::{
    MEMREF_INOUT, MEMREF_INPUT, MEMREF_OUTPUT, NONE, VALUE_INPUT, VALUE_OUTPUT,
};
use tally_core::book::Book;
use tally_core::pta::supplicant::{Answer, Data, Supplicant, input, value};
use tally_core::pta::{Params, PseudoTa, Session, Step, Work};
use tally_core::ta::session::Opener;

/// The pseudo-TA.
pub(crate) const fn pta<O: Book>() -> PseudoTa<O> {
    PseudoTa {
        uuid: UUID,
        name: "socket",
        work: Work::Supplicant(enter),
    }
}

fn enter(
    supplicant: &dyn Supplicant,
    session: &Session<'_>,
    step: Step<'_>,
) -> Result<(), TeeResult> {
    let Opener::Ta(instance) = session.opener else {
        return Err(TeeResult::ACCESS_DENIED);
    };
    let instance = u64::from(instance.id());
    match step {
        Step::Open => Ok(()),
        Step::Invoke(command, params) => invoke(supplicant, instance, command, params),
        Step::Close => {
            let mut rpc = [input(socket::CLOSE_ALL, instance, 0)];
            supplicant.ask(cmd::SOCKET, &mut rpc, None, &mut NoParams)
        }
    }
}

fn invoke(
    supplicant: &dyn Supplicant,
    instance: u64,
    command: u32,
    params: &mut dyn Params,
) -> Result<(), TeeResult> {
    let (a, b) = params.value(0);
    let (a, b) = (u64::from(a), u64::from(b));
    let data = |rpc, kind, answer| {
        Some(Data {
            rpc,
            param: 1,
            kind,
            answer,
        })
    };
    let nothing = MsgParam::default();
    match command {
        CMD_OPEN => {
            expect(
                params,
                [VALUE_INPUT, MEMREF_INPUT, VALUE_INPUT, VALUE_OUTPUT],
            )?;
            let protocol = u64::from(params.value(2).0);
            let mut rpc = [
                input(socket::OPEN, instance, 0),
                input(b, protocol, a),
                nothing,
                value(attr::VALUE_OUTPUT, 0, 0, 0),
            ];
            let address = data(2, attr::RMEM_INPUT, Answer::None);
            supplicant.ask(cmd::SOCKET, &mut rpc, address, params)?;
            params.set_value(3, rpc[3].a as u32, 0);
            Ok(())
        }
        CMD_CLOSE => {
            expect(params, [VALUE_INPUT, NONE, NONE, NONE])?;
            let mut rpc = [input(socket::CLOSE, instance, a)];
            supplicant.ask(cmd::SOCKET, &mut rpc, None, params)
        }
        CMD_SEND => {
            expect(params, [VALUE_INPUT, MEMREF_INPUT, VALUE_OUTPUT, NONE])?;
            let mut rpc = [
                input(socket::SEND, instance, a),
                nothing,
                value(attr::VALUE_INOUT, b, 0, 0),
            ];
            let sent = data(1, attr::RMEM_INPUT, Answer::None);
            let done = supplicant.ask(cmd::SOCKET, &mut rpc, sent, params);
            params.set_value(2, rpc[2].b as u32, 0);
            done
        }
        CMD_RECV => {
            expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let mut rpc = [input(socket::RECV, instance, a), nothing, input(b, 0, 0)];
            let received = data(1, attr::RMEM_OUTPUT, Answer::Size);
            supplicant.ask(cmd::SOCKET, &mut rpc, received, params)
        }
        CMD_IOCTL => {
            expect(params, [VALUE_INPUT, MEMREF_INOUT, NONE, NONE])?;
            let mut rpc = [input(socket::IOCTL, instance, a), nothing, input(b, 0, 0)];
            let both = data(1, attr::RMEM_INOUT, Answer::Size);
            supplicant.ask(cmd::SOCKET, &mut rpc, both, params)
        }
        _ => Err(TeeResult::NOT_IMPLEMENTED),
    }
}

/// The end of a session has no parameters.
struct NoParams;

impl Params for NoParams {
    fn types(&self) -> u32 {
        0
    }
    fn value(&self, _: usize) -> (u32, u32) {
        (0, 0)
    }
    fn set_value(&mut self, _: usize, _: u32, _: u32) {}
    fn memref_len(&self, _: usize) -> u64 {
        0
    }
    fn set_memref_len(&mut self, _: usize, _: u64) {}
    fn read(&self, _: usize, _: u64, _: &mut [u8]) -> Result<(), TeeResult> {
        Err(TeeResult::BAD_PARAMETERS)
    }
    fn write(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), TeeResult> {
        Err(TeeResult::BAD_PARAMETERS)
    }
}
