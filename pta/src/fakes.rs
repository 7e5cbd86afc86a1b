//! Stand-ins for the kernel and a client of a pseudo-TA.

use std::cell::RefCell;
use tally_abi::msg::MsgParam;
use tally_abi::ta::param_type::pack;
use tally_abi::{TeeResult, TeeUuid};
use tally_core::hardware_key::DERIVED;
use tally_core::pta::Params;
use tally_core::pta::supplicant::{Data, Supplicant};
use tally_core::pta::system_services::SystemServices;
use zeroize::Zeroizing;

/// Value of a parameter whose memory is the normal world's.
pub(crate) const NORMAL: (u32, u32) = (0xbad, 0xbad);

/// Values and memory of a call.
pub(crate) struct Call {
    types: u32,
    pub(crate) values: [(u32, u32); 4],
    pub(crate) memory: [Vec<u8>; 4],
}

impl Call {
    pub(crate) fn new(types: [u32; 4], values: [(u32, u32); 4], memory: [&[u8]; 4]) -> Self {
        Self {
            types: pack(types),
            values,
            memory: memory.map(<[u8]>::to_vec),
        }
    }
}

impl Params for Call {
    fn types(&self) -> u32 {
        self.types
    }
    fn value(&self, index: usize) -> (u32, u32) {
        self.values[index]
    }
    fn set_value(&mut self, index: usize, a: u32, b: u32) {
        self.values[index] = (a, b);
    }
    fn memref_len(&self, index: usize) -> u64 {
        self.memory[index].len() as u64
    }
    fn set_memref_len(&mut self, _: usize, _: u64) {}
    fn is_secure(&self, index: usize) -> bool {
        self.values[index] != NORMAL
    }
    fn read(&self, index: usize, offset: u64, buf: &mut [u8]) -> Result<(), TeeResult> {
        let from = self.memory[index].get(offset as usize..).unwrap_or(&[]);
        let from = from.get(..buf.len()).ok_or(TeeResult::BAD_PARAMETERS)?;
        buf.copy_from_slice(from);
        Ok(())
    }
    fn write(&mut self, index: usize, offset: u64, data: &[u8]) -> Result<(), TeeResult> {
        let to = self.memory[index].get_mut(offset as usize..);
        let to = to.and_then(|to| to.get_mut(..data.len()));
        to.ok_or(TeeResult::BAD_PARAMETERS)?.copy_from_slice(data);
        Ok(())
    }
}

/// Notes what it is asked for.
#[derive(Default)]
pub(crate) struct Noted(RefCell<Vec<String>>);

impl Noted {
    pub(crate) fn into_inner(self) -> Vec<String> {
        self.0.into_inner()
    }

    fn note(&self, what: String) -> Result<u64, TeeResult> {
        self.0.borrow_mut().push(what);
        Ok(0x12_3456_7000)
    }
}

impl SystemServices for Noted {
    fn map_zero(&self, bytes: u32, at: u64, pads: (u32, u32)) -> Result<u64, TeeResult> {
        self.note(format!("map {bytes} {at:#x} {pads:?}"))
    }
    fn unmap(&self, bytes: u32, va: u64) -> Result<(), TeeResult> {
        self.note(format!("unmap {bytes} {va:#x}")).map(drop)
    }
    fn stir(&self, words: [u64; 4]) {
        self.0.borrow_mut().push(format!("stir {words:x?}"));
    }
    fn unique_key(
        &self,
        extra: u64,
        params: &dyn Params,
        param: usize,
    ) -> Result<Zeroizing<[u8; DERIVED]>, TeeResult> {
        self.note(format!("key {extra} {param}"))?;
        assert_eq!(params.memref_len(param), extra);
        Ok(Zeroizing::new([7; DERIVED]))
    }
    fn open_library(&self, uuid: TeeUuid) -> Result<(), TeeResult> {
        self.note(format!("open {uuid}")).map(drop)
    }
    fn find_symbol(&self, uuid: TeeUuid, name: &[u8]) -> Result<u64, TeeResult> {
        let name = String::from_utf8_lossy(name).into_owned();
        self.note(format!("find {uuid} {} {name}", name.len()))
    }
}

impl Supplicant for Noted {
    fn ask(
        &self,
        command: u32,
        rpc: &mut [MsgParam],
        data: Option<Data>,
        _: &mut dyn Params,
    ) -> Result<(), TeeResult> {
        let words: Vec<_> = rpc.iter().map(|it| (it.attr, it.a, it.b, it.c)).collect();
        // Whatever comes back.
        if let Some(told) = rpc.get_mut(2) {
            told.b = 5;
        }
        if let Some(opened) = rpc.get_mut(3) {
            opened.a = 9;
        }
        self.note(format!("{command} {words:x?} {data:?}"))
            .map(drop)
    }
}
