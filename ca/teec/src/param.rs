//! Operations and their parameters.
//!
//! **Invariant:** a parameter's type never changes after it is made.

use crate::context::SharedMemory;
use crate::transport::{Direction, RawParam, TempMemory};

/// Types of parameters (GPD_SPE_007 §4.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ParamType {
    /// None.
    None = 0,
    /// Value in.
    ValueInput = 1,
    /// Value out.
    ValueOutput = 2,
    /// Value in and out.
    ValueInout = 3,
    /// Temporary memory in.
    MemrefTempInput = 5,
    /// Temporary memory out.
    MemrefTempOutput = 6,
    /// Temporary memory in and out.
    MemrefTempInout = 7,
    /// All of a shared memory, in and out.
    MemrefWhole = 0xc,
    /// Part of a shared memory, in.
    MemrefPartialInput = 0xd,
    /// Part of a shared memory, out.
    MemrefPartialOutput = 0xe,
    /// Part of a shared memory, in and out.
    MemrefPartialInout = 0xf,
}

/// Four types, packed as in C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamTypes(u32);

impl ParamTypes {
    /// Packs four types.
    #[must_use]
    pub const fn new(p0: ParamType, p1: ParamType, p2: ParamType, p3: ParamType) -> Self {
        Self(p0 as u32 | (p1 as u32) << 4 | (p2 as u32) << 8 | (p3 as u32) << 12)
    }

    /// The packed number.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }
}

/// Anything that can be a parameter.
pub trait Param {
    /// Its type.
    fn param_type(&self) -> ParamType;

    /// Lends itself to a transport for one call.
    fn raw(&mut self) -> RawParam<'_>;
}

/// No parameter.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParamNone;

impl Param for ParamNone {
    fn param_type(&self) -> ParamType {
        ParamType::None
    }

    fn raw(&mut self) -> RawParam<'_> {
        RawParam::None
    }
}

/// Two numbers.
#[derive(Clone, Copy, Debug)]
pub struct ParamValue {
    a: u32,
    b: u32,
    direction: Direction,
}

impl ParamValue {
    /// A value parameter; types that are no value types count as [`ParamType::ValueInout`].
    #[must_use]
    pub const fn new(a: u32, b: u32, param_type: ParamType) -> Self {
        let direction = match param_type {
            ParamType::ValueInput => Direction::Input,
            ParamType::ValueOutput => Direction::Output,
            _ => Direction::Inout,
        };
        Self { a, b, direction }
    }

    /// First number.
    #[must_use]
    pub const fn a(&self) -> u32 {
        self.a
    }

    /// Second number.
    #[must_use]
    pub const fn b(&self) -> u32 {
        self.b
    }

    /// Sets the first number.
    pub const fn set_a(&mut self, a: u32) {
        self.a = a;
    }

    /// Sets the second number.
    pub const fn set_b(&mut self, b: u32) {
        self.b = b;
    }
}

impl Param for ParamValue {
    fn param_type(&self) -> ParamType {
        match self.direction {
            Direction::Input => ParamType::ValueInput,
            Direction::Output => ParamType::ValueOutput,
            Direction::Inout => ParamType::ValueInout,
        }
    }

    fn raw(&mut self) -> RawParam<'_> {
        RawParam::Value {
            direction: self.direction,
            a: &mut self.a,
            b: &mut self.b,
        }
    }
}

/// Memory lent for a call.
#[derive(Debug)]
pub struct ParamTmpRef<'a> {
    memory: TempMemory<'a>,
    size: usize,
}

impl<'a> ParamTmpRef<'a> {
    /// Memory that the application reads.
    #[must_use]
    pub const fn new_input(buffer: &'a [u8]) -> Self {
        let size = buffer.len();
        Self {
            memory: TempMemory::Input(buffer),
            size,
        }
    }

    /// Memory that the application writes.
    #[must_use]
    pub const fn new_output(buffer: &'a mut [u8]) -> Self {
        let size = buffer.len();
        Self {
            memory: TempMemory::Output(buffer),
            size,
        }
    }

    /// Memory that the application reads and writes.
    #[must_use]
    pub const fn new_inout(buffer: &'a mut [u8]) -> Self {
        let size = buffer.len();
        Self {
            memory: TempMemory::Inout(buffer),
            size,
        }
    }

    /// No memory, to ask for the size needed.
    #[must_use]
    pub const fn new_null(direction: Direction) -> Self {
        Self {
            memory: TempMemory::Null(direction),
            size: 0,
        }
    }

    /// After the call: bytes written, or needed.
    #[must_use]
    pub const fn updated_size(&self) -> usize {
        self.size
    }
}

impl Param for ParamTmpRef<'_> {
    fn param_type(&self) -> ParamType {
        match &self.memory {
            TempMemory::Null(Direction::Input) | TempMemory::Input(_) => ParamType::MemrefTempInput,
            TempMemory::Null(Direction::Output) | TempMemory::Output(_) => {
                ParamType::MemrefTempOutput
            }
            TempMemory::Null(Direction::Inout) | TempMemory::Inout(_) => ParamType::MemrefTempInout,
        }
    }

    fn raw(&mut self) -> RawParam<'_> {
        let memory = match &mut self.memory {
            TempMemory::Null(direction) => TempMemory::Null(*direction),
            TempMemory::Input(bytes) => TempMemory::Input(bytes),
            TempMemory::Output(bytes) => TempMemory::Output(bytes),
            TempMemory::Inout(bytes) => TempMemory::Inout(bytes),
        };
        RawParam::Temp {
            memory,
            size: &mut self.size,
        }
    }
}

/// Part of a registered shared memory.
#[derive(Clone, Copy, Debug)]
pub struct ParamRegisteredMem {
    cookie: u64,
    direction: Direction,
    offset: usize,
    size: usize,
}

impl ParamRegisteredMem {
    /// All of `memory`, in and out.
    #[must_use]
    pub fn whole(memory: &SharedMemory<'_>) -> Self {
        Self::part(memory, Direction::Inout, 0, memory.len())
    }

    /// `size` bytes of `memory` from `offset`. The other side checks the range.
    #[must_use]
    pub fn part(
        memory: &SharedMemory<'_>,
        direction: Direction,
        offset: usize,
        size: usize,
    ) -> Self {
        Self::from_cookie(memory.cookie(), direction, offset, size)
    }

    /// As [`ParamRegisteredMem::part`], by cookie.
    #[must_use]
    pub const fn from_cookie(
        cookie: u64,
        direction: Direction,
        offset: usize,
        size: usize,
    ) -> Self {
        Self {
            cookie,
            direction,
            offset,
            size,
        }
    }

    /// After the call: bytes written, or needed.
    #[must_use]
    pub const fn updated_size(&self) -> usize {
        self.size
    }
}

impl Param for ParamRegisteredMem {
    fn param_type(&self) -> ParamType {
        match self.direction {
            Direction::Input => ParamType::MemrefPartialInput,
            Direction::Output => ParamType::MemrefPartialOutput,
            Direction::Inout => ParamType::MemrefPartialInout,
        }
    }

    fn raw(&mut self) -> RawParam<'_> {
        RawParam::Registered {
            direction: self.direction,
            cookie: self.cookie,
            offset: self.offset,
            size: &mut self.size,
        }
    }
}

/// Four parameters of one call.
#[derive(Debug)]
pub struct Operation<A, B, C, D> {
    parameters: (A, B, C, D),
    cancel_id: u32,
}

impl<A: Param, B: Param, C: Param, D: Param> Operation<A, B, C, D> {
    /// An operation. `started` is the C API's field: not 0 makes it a name for cancellation.
    #[must_use]
    pub const fn new(started: u32, p0: A, p1: B, p2: C, p3: D) -> Self {
        Self {
            parameters: (p0, p1, p2, p3),
            cancel_id: started,
        }
    }

    /// The parameters, with results after a call.
    #[must_use]
    pub const fn parameters(&self) -> &(A, B, C, D) {
        &self.parameters
    }

    /// The parameters, to be changed between calls.
    pub const fn parameters_mut(&mut self) -> &mut (A, B, C, D) {
        &mut self.parameters
    }

    /// Types of the four parameters.
    #[must_use]
    pub fn param_types(&self) -> ParamTypes {
        let (a, b, c, d) = &self.parameters;
        ParamTypes::new(
            a.param_type(),
            b.param_type(),
            c.param_type(),
            d.param_type(),
        )
    }

    pub(crate) const fn cancel_id(&self) -> u32 {
        self.cancel_id
    }

    pub(crate) fn raw(&mut self) -> [RawParam<'_>; 4] {
        let (a, b, c, d) = &mut self.parameters;
        [a.raw(), b.raw(), c.raw(), d.raw()]
    }
}
