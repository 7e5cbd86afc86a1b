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
            let sent = data(1, attr::RMEM_INPUT, Answer::Value(2));
            let done = supplicant.ask(cmd::SOCKET, &mut rpc, sent, params);
            params.set_value(2, rpc[2].b as u32, 0);
            done
        }
        CMD_RECV => {
            expect(params, [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE])?;
            let mut rpc = [input(socket::RECV, instance, a), nothing, input(b, 0, 0)];
            let received = data(1, attr::RMEM_OUTPUT, Answer::Datagram);
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
    fn is_secure(&self, _: usize) -> bool {
        false
    }
    fn read(&self, _: usize, _: u64, _: &mut [u8]) -> Result<(), TeeResult> {
        Err(TeeResult::BAD_PARAMETERS)
    }
    fn write(&mut self, _: usize, _: u64, _: &[u8]) -> Result<(), TeeResult> {
        Err(TeeResult::BAD_PARAMETERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{Call, Noted};
    use tally_abi::rpc;

    const INSTANCE: u64 = 0x3_0002;

    /// The answer, what the supplicant was asked, and the values afterwards.
    type Invoked = (Result<(), TeeResult>, Vec<String>, [(u32, u32); 4]);

    fn invoked(command: u32, types: [u32; 4], values: [(u32, u32); 4]) -> Invoked {
        let supplicant = Noted::default();
        let mut call = Call::new(types, values, [b"", b"data", b"", b""]);
        let answer = invoke(&supplicant, INSTANCE, command, &mut call);
        (answer, supplicant.into_inner(), call.values)
    }

    #[test]
    fn each_command_is_the_supplicants_with_the_instance() {
        let first = [(7, 8), (0, 0), (0, 0), (0, 0)];
        let opened = [(4, 80), (0, 0), (6, 0), (0, 0)];
        let data = |rpc, kind, answer| {
            format!("Some(Data {{ rpc: {rpc}, param: 1, kind: {kind}, answer: {answer} }})")
        };
        for (command, types, values, words, data, told) in [
            (
                CMD_OPEN,
                [VALUE_INPUT, MEMREF_INPUT, VALUE_INPUT, VALUE_OUTPUT],
                opened,
                "(1, 0, 30002, 0), (1, 50, 6, 4), (0, 0, 0, 0), (2, 0, 0, 0)",
                data(2, 5, "None"),
                Some((3, 9)),
            ),
            (
                CMD_CLOSE,
                [VALUE_INPUT, NONE, NONE, NONE],
                first,
                "(1, 1, 30002, 7)",
                "None".to_owned(),
                None,
            ),
            (
                CMD_SEND,
                [VALUE_INPUT, MEMREF_INPUT, VALUE_OUTPUT, NONE],
                first,
                "(1, 3, 30002, 7), (0, 0, 0, 0), (3, 8, 0, 0)",
                data(1, 5, "Value(2)"),
                Some((2, 5)),
            ),
            (
                CMD_RECV,
                [VALUE_INPUT, MEMREF_OUTPUT, NONE, NONE],
                first,
                "(1, 4, 30002, 7), (0, 0, 0, 0), (1, 8, 0, 0)",
                data(1, 6, "Datagram"),
                None,
            ),
            (
                CMD_IOCTL,
                [VALUE_INPUT, MEMREF_INOUT, NONE, NONE],
                first,
                "(1, 5, 30002, 7), (0, 0, 0, 0), (1, 8, 0, 0)",
                data(1, 7, "Size"),
                None,
            ),
        ] {
            let (answer, asked, after) = invoked(command, types, values);
            assert_eq!(answer, Ok(()), "{command}");
            let wanted = format!("{} [{words}] {data}", rpc::cmd::SOCKET);
            assert_eq!(asked, [wanted], "{command}");
            if let Some((index, a)) = told {
                assert_eq!(after[index], (a, 0), "{command}");
            }
        }
    }

    #[test]
    fn commands_and_types_that_are_none_ask_nobody() {
        for (command, wanted) in [
            (0, TeeResult::NOT_IMPLEMENTED),
            (6, TeeResult::NOT_IMPLEMENTED),
            (CMD_OPEN, TeeResult::BAD_PARAMETERS),
            (CMD_CLOSE, TeeResult::BAD_PARAMETERS),
            (CMD_SEND, TeeResult::BAD_PARAMETERS),
            (CMD_RECV, TeeResult::BAD_PARAMETERS),
            (CMD_IOCTL, TeeResult::BAD_PARAMETERS),
        ] {
            let (answer, asked, _) = invoked(command, [NONE; 4], [(0, 0); 4]);
            assert_eq!((answer, asked.len()), (Err(wanted), 0), "{command}");
        }
    }
}
