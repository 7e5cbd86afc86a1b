//! Messages of yielding calls (`optee_msg.h`) in a shared page.
//!
//! **Invariant:** all accesses stay inside the page; what the other world says about sizes is
//! bounded before use.

use tally_abi::msg::{MsgHeader, MsgParam, PAGE_SIZE, arg_size};

use super::page::Pages;

/// A message, or an RPC argument, at an offset in shared pages.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pages: &'a Pages,
    first_word: usize,
}

impl<'a> Message<'a> {
    /// The message at byte `offset` (8-byte aligned) of `pages`.
    #[must_use]
    pub const fn at(pages: &'a Pages, offset: usize) -> Self {
        Self {
            pages,
            first_word: offset / 8,
        }
    }

    /// Writes all of a message's fixed part.
    pub fn set_header(&self, h: &MsgHeader) {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let words = [
            pair(h.cmd, h.func),
            pair(h.session, h.cancel_id),
            pair(h.pad, h.ret),
            pair(h.ret_origin, h.num_params),
        ];
        for (i, word) in words.into_iter().enumerate() {
            self.pages.set(self.first_word + i, word);
        }
    }

    /// Reads the fixed part.
    #[must_use]
    pub fn header(&self) -> MsgHeader {
        let word = |i| {
            let word: u64 = self.pages.get(self.first_word + i);
            (word as u32, (word >> 32) as u32)
        };
        let (cmd, func) = word(0);
        let (session, cancel_id) = word(1);
        let (pad, ret) = word(2);
        let (ret_origin, num_params) = word(3);
        MsgHeader {
            cmd,
            func,
            session,
            cancel_id,
            pad,
            ret,
            ret_origin,
            num_params,
        }
    }

    /// Writes parameter `index`.
    pub fn set_param(&self, index: usize, p: &MsgParam) {
        let at = self.param_word(index);
        for (i, word) in [p.attr, p.a, p.b, p.c].into_iter().enumerate() {
            self.pages.set(at + i, word);
        }
    }

    /// Reads parameter `index`.
    #[must_use]
    pub fn param(&self, index: usize) -> MsgParam {
        let at = self.param_word(index);
        MsgParam {
            attr: self.pages.get(at),
            a: self.pages.get(at + 1),
            b: self.pages.get(at + 2),
            c: self.pages.get(at + 3),
        }
    }

    /// Writes the result of an RPC.
    pub fn set_ret(&self, ret: u32, origin: u32) {
        let header = self.header();
        self.set_header(&MsgHeader {
            ret,
            ret_origin: origin,
            ..header
        });
    }

    /// The RPC argument that follows this message, if it fits the page.
    #[must_use]
    pub fn rpc_argument(&self, num_params: usize, rpc_params: usize) -> Option<Message<'a>> {
        let offset = self.first_word * 8 % PAGE_SIZE + arg_size(num_params);
        (offset + arg_size(rpc_params) <= PAGE_SIZE)
            .then(|| Self::at(self.pages, self.first_word * 8 + arg_size(num_params)))
    }

    const fn param_word(&self, index: usize) -> usize {
        self.first_word + arg_size(index) / 8
    }
}
