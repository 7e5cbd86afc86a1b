//! Calls made by hand, to be suspended, spoiled and resumed at will.
//!
//! **Invariant:** the message's page stays allocated until the call has ended.

use alloc::string::{String, ToString};
use tally_abi::msg::{MsgHeader, MsgParam, attr, cmd, login};
use tally_abi::smc::{FunctionId, ret};
use tally_abi::{TeeResult, TeeUuid};
use teec::smc::{CallInfo, Conduit, Message, Pages};

use super::Bench;
use crate::tee::Tee;

/// A yielding call.
pub(super) struct RawCall {
    pages: Pages,
    num_params: usize,
    rpc_params: usize,
    regs: [u32; 8],
}

/// Parameters of an open session message.
pub(super) fn open_params(uuid: TeeUuid) -> [MsgParam; 2] {
    let (a, b) = uuid.to_value_pair();
    [
        MsgParam {
            attr: attr::VALUE_INPUT | attr::META,
            a,
            b,
            c: 0,
        },
        MsgParam {
            attr: attr::VALUE_INPUT | attr::META,
            a: 0,
            b: 0,
            c: u64::from(login::PUBLIC),
        },
    ]
}

impl RawCall {
    /// A call with this message, not yet made.
    pub(super) fn new(
        bench: &Bench,
        header: MsgHeader,
        params: &[MsgParam],
    ) -> Result<Self, String> {
        let pages = Pages::allocate(1).ok_or("no memory")?;
        let message = Message::at(&pages, 0);
        message.set_header(&MsgHeader {
            num_params: params.len() as u32,
            ..header
        });
        for (i, param) in params.iter().enumerate() {
            message.set_param(i, param);
        }
        let rpc_params = bench.tee.capabilities().rpc_params as usize;
        if let Some(argument) = message.rpc_argument(params.len(), rpc_params) {
            argument.set_header(&MsgHeader {
                num_params: rpc_params as u32,
                ..MsgHeader::default()
            });
        }
        let address = bench.tee.conduit().physical(pages.address());
        let regs = [
            FunctionId::CALL_WITH_RPC_ARG.0,
            (address >> 32) as u32,
            address as u32,
            0,
            0,
            0,
            0,
            0,
        ];
        Ok(Self {
            pages,
            num_params: params.len(),
            rpc_params,
            regs,
        })
    }

    /// A call that opens a session.
    pub(super) fn open(bench: &Bench, uuid: TeeUuid) -> Result<Self, String> {
        let header = MsgHeader {
            cmd: cmd::OPEN_SESSION,
            ..MsgHeader::default()
        };
        Self::new(bench, header, &open_params(uuid))
    }

    pub(super) fn pages(&self) -> &Pages {
        &self.pages
    }

    fn message(&self) -> Message<'_> {
        Message::at(&self.pages, 0)
    }

    /// Makes the call, or goes on with it; returns what it came out with (`smc::ret`).
    pub(super) fn step(&mut self, tee: &Tee) -> u32 {
        self.regs = tee.conduit().smc(self.regs);
        self.regs[0]
    }

    /// Steps past interrupts.
    pub(super) fn step_past_interrupts(&mut self, tee: &Tee) -> u32 {
        loop {
            match self.step(tee) {
                ret::RPC_FOREIGN_INTR => self.serve(tee),
                code => return code,
            }
        }
    }

    /// Serves what it came out for.
    pub(super) fn serve(&mut self, tee: &Tee) {
        let argument = self
            .message()
            .rpc_argument(self.num_params, self.rpc_params);
        let mut regs = self.regs;
        tee.serve_suspension(&mut regs, &CallInfo::default(), argument);
        self.regs = regs;
    }

    /// Goes on until it ends. It must be suspended now.
    pub(super) fn finish(&mut self, tee: &Tee) -> Result<MsgHeader, String> {
        self.serve(tee);
        loop {
            match self.step(tee) {
                ret::OK => return Ok(self.message().header()),
                code if ret::is_rpc(code) => self.serve(tee),
                code => return Err(alloc::format!("the call ended with {code:#x}")),
            }
        }
    }

    /// What it ended with.
    pub(super) fn answer(&self) -> MsgHeader {
        self.message().header()
    }

    /// The resume information: thread.
    pub(super) fn thread(&self) -> u32 {
        self.regs[3]
    }
}

/// The result in an answer, as words.
pub(super) fn result_of(header: &MsgHeader) -> String {
    TeeResult(header.ret).to_string()
}
