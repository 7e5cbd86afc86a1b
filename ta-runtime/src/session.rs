//! Sessions to other TAs, under the Teaclave SDK's names.
//!
//! **Invariant:** a session that was opened is closed, at the latest when it is dropped.

use crate::{Error, ErrorKind, ErrorOrigin, ParamType, Result, Uuid, syscall};
use core::ops::{Index, IndexMut};
use tally_abi::TeeResult;
use tally_abi::ta::{UteeParams, param_type};

/// `TEE_TIMEOUT_INFINITE`.
pub const TIMEOUT_INFINITE: u32 = u32::MAX;

/// Which parameter.
#[derive(Clone, Copy, Debug)]
pub enum ParamIndex {
    /// First.
    Arg0,
    /// Second.
    Arg1,
    /// Third.
    Arg2,
    /// Fourth.
    Arg3,
}

enum Content<'a> {
    None,
    MemrefInput(&'a [u8]),
    MemrefOutput(&'a mut [u8]),
    MemrefInout(&'a mut [u8]),
    Value(ParamType, u32, u32),
}

/// One parameter of a call to another TA.
pub struct Param<'a> {
    content: Content<'a>,
    /// Size that the other TA reported, for memory out.
    size: usize,
}

impl Param<'_> {
    const NONE: Self = Self {
        content: Content::None,
        size: 0,
    };

    /// What the other TA wrote, for memory out.
    #[must_use]
    pub fn written_slice(&self) -> Option<&[u8]> {
        match &self.content {
            Content::MemrefOutput(buffer) | Content::MemrefInout(buffer) => buffer.get(..self.size),
            Content::None | Content::MemrefInput(_) | Content::Value(..) => None,
        }
    }

    /// The size that the other TA reported: after `ShortBuffer`, the size needed.
    #[must_use]
    pub fn updated_size(&self) -> usize {
        self.size
    }

    /// Values out.
    #[must_use]
    pub fn output_value(&self) -> Option<(u32, u32)> {
        match self.content {
            Content::Value(ParamType::ValueOutput | ParamType::ValueInout, a, b) => Some((a, b)),
            _ => None,
        }
    }

    fn raw(&mut self) -> (ParamType, [u64; 2]) {
        let memory = |address: *const u8, len: usize| [address as u64, len as u64];
        match &mut self.content {
            Content::None => (ParamType::None, [0, 0]),
            Content::MemrefInput(b) => (ParamType::MemrefInput, memory(b.as_ptr(), b.len())),
            Content::MemrefOutput(b) => (ParamType::MemrefOutput, memory(b.as_mut_ptr(), b.len())),
            Content::MemrefInout(b) => (ParamType::MemrefInout, memory(b.as_mut_ptr(), b.len())),
            Content::Value(t, a, b) => (*t, [u64::from(*a), u64::from(*b)]),
        }
    }

    fn update(&mut self, pair: [u64; 2]) {
        match &mut self.content {
            Content::MemrefOutput(_) | Content::MemrefInout(_) => self.size = pair[1] as usize,
            Content::Value(ParamType::ValueOutput | ParamType::ValueInout, a, b) => {
                (*a, *b) = (pair[0] as u32, pair[1] as u32);
            }
            Content::None | Content::MemrefInput(_) | Content::Value(..) => {}
        }
    }
}

/// The parameters of a call to another TA.
pub struct TeeParams<'a> {
    params: [Param<'a>; 4],
}

impl Default for TeeParams<'_> {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> TeeParams<'a> {
    /// No parameters.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            params: [Param::NONE; 4],
        }
    }

    fn with(mut self, index: ParamIndex, content: Content<'a>) -> Self {
        self[index].content = content;
        self
    }

    /// Adds memory in.
    #[must_use]
    pub fn with_memref_in(self, index: ParamIndex, buffer: &'a [u8]) -> Self {
        self.with(index, Content::MemrefInput(buffer))
    }

    /// Adds memory out.
    #[must_use]
    pub fn with_memref_out(self, index: ParamIndex, buffer: &'a mut [u8]) -> Self {
        self.with(index, Content::MemrefOutput(buffer))
    }

    /// Adds memory in and out.
    #[must_use]
    pub fn with_memref_inout(self, index: ParamIndex, buffer: &'a mut [u8]) -> Self {
        self.with(index, Content::MemrefInout(buffer))
    }

    /// Adds values in.
    #[must_use]
    pub fn with_value_in(self, index: ParamIndex, a: u32, b: u32) -> Self {
        self.with(index, Content::Value(ParamType::ValueInput, a, b))
    }

    /// Adds values out.
    #[must_use]
    pub fn with_value_out(self, index: ParamIndex, a: u32, b: u32) -> Self {
        self.with(index, Content::Value(ParamType::ValueOutput, a, b))
    }

    /// Adds values in and out.
    #[must_use]
    pub fn with_value_inout(self, index: ParamIndex, a: u32, b: u32) -> Self {
        self.with(index, Content::Value(ParamType::ValueInout, a, b))
    }

    fn raw(&mut self) -> UteeParams {
        let mut raw = UteeParams::default();
        let mut types = [0; 4];
        let pairs = raw.vals.chunks_exact_mut(2);
        for ((param, pair), packed) in self.params.iter_mut().zip(pairs).zip(&mut types) {
            let (param_type, values) = param.raw();
            pair.copy_from_slice(&values);
            *packed = param_type as u32;
        }
        raw.types = u64::from(param_type::pack(types));
        raw
    }

    /// Takes over what came back.
    ///
    /// # Errors
    /// `BadParameters` when the other TA claims to have written more than fits.
    fn update(&mut self, raw: &UteeParams, short: bool) -> Result<()> {
        for (param, pair) in self.params.iter_mut().zip(raw.vals.chunks_exact(2)) {
            if let &[a, b] = pair {
                param.update([a, b]);
            }
            let sized = matches!(
                param.content,
                Content::MemrefOutput(_) | Content::MemrefInout(_)
            );
            if sized && !short && param.written_slice().is_none() {
                return Err(Error::new(ErrorKind::BadParameters));
            }
        }
        Ok(())
    }
}

impl<'a> Index<ParamIndex> for TeeParams<'a> {
    type Output = Param<'a>;

    fn index(&self, index: ParamIndex) -> &Self::Output {
        let [a, b, c, d] = &self.params;
        match index {
            ParamIndex::Arg0 => a,
            ParamIndex::Arg1 => b,
            ParamIndex::Arg2 => c,
            ParamIndex::Arg3 => d,
        }
    }
}

impl IndexMut<ParamIndex> for TeeParams<'_> {
    fn index_mut(&mut self, index: ParamIndex) -> &mut Self::Output {
        let [a, b, c, d] = &mut self.params;
        match index {
            ParamIndex::Arg0 => a,
            ParamIndex::Arg1 => b,
            ParamIndex::Arg2 => c,
            ParamIndex::Arg3 => d,
        }
    }
}

/// Opens sessions.
pub struct TaSessionBuilder<'a> {
    target: Uuid,
    timeout: u32,
    params: TeeParams<'a>,
}

impl<'a> TaSessionBuilder<'a> {
    /// To the TA `uuid`.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self {
            target: uuid,
            timeout: TIMEOUT_INFINITE,
            params: TeeParams::new(),
        }
    }

    /// Waits at most `timeout` milliseconds.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: u32) -> Self {
        self.timeout = timeout;
        self
    }

    /// Passes parameters to its open session entry.
    #[must_use]
    pub fn with_params(mut self, params: TeeParams<'a>) -> Self {
        self.params = params;
        self
    }

    /// Opens the session.
    ///
    /// # Errors
    /// Whatever the kernel or the other TA says, with its origin.
    pub fn build(mut self) -> Result<TaSession> {
        let mut raw = self.params.raw();
        let opened = syscall::open_session(self.target.raw(), self.timeout, &mut raw);
        let id = opened.map_err(from_other)?;
        Ok(TaSession { id })
    }
}

/// A session to another TA.
pub struct TaSession {
    id: u32,
}

impl TaSession {
    /// Invokes a command and waits for as long as it takes.
    ///
    /// # Errors
    /// Whatever the kernel or the other TA says, with its origin. After `ShortBuffer` the sizes
    /// needed are in `params` ([`Param::updated_size`]).
    pub fn invoke_command(&mut self, command_id: u32, params: &mut TeeParams<'_>) -> Result<()> {
        self.invoke_command_with_timeout(command_id, params, TIMEOUT_INFINITE)
    }

    /// Invokes a command and waits at most `timeout` milliseconds.
    ///
    /// # Errors
    /// As [`TaSession::invoke_command`].
    pub fn invoke_command_with_timeout(
        &mut self,
        command_id: u32,
        params: &mut TeeParams<'_>,
        timeout: u32,
    ) -> Result<()> {
        let mut raw = params.raw();
        match syscall::invoke(self.id, timeout, command_id, &mut raw) {
            Ok(()) => params.update(&raw, false),
            Err((code, origin)) => {
                if code == TeeResult::SHORT_BUFFER {
                    params.update(&raw, true)?;
                }
                Err(from_other((code, origin)))
            }
        }
    }
}

fn from_other((code, origin): (TeeResult, u32)) -> Error {
    Error::from(code).with_origin(ErrorOrigin::from(origin))
}

impl Drop for TaSession {
    fn drop(&mut self) {
        syscall::close_session(self.id);
    }
}
