//! The parameters of a call into the TA, under the Teaclave SDK's names.
//!
//! **Invariant:** a [`Parameter`] points into the kernel's parameter block for as long as the call
//! lasts; its type never changes, so a value is never taken for a buffer.
//!
//! A buffer may be memory that the normal world shares and changes at any moment: copy what you
//! check before you check it.

use crate::{Error, ErrorKind, Result};
use core::ffi::c_void;
use core::marker::PhantomData;
use core::{fmt, ptr, slice};
use tally_abi::ta::{UteeParams, param_type};

/// The four parameters.
pub struct Parameters(pub Parameter, pub Parameter, pub Parameter, pub Parameter);

impl Parameters {
    /// For the attributes' generated code.
    ///
    /// # Safety
    /// `raw` must point to the kernel's parameter block of the call being served, and nothing else
    /// may refer to the block while the value lives.
    #[doc(hidden)]
    #[must_use]
    pub unsafe fn __from_runtime(raw: *mut c_void) -> Self {
        let raw = raw.cast::<UteeParams>();
        // SAFETY: by our contract the block is valid and ours alone.
        let (types, values) = unsafe { ((*raw).types as u32, &raw mut (*raw).vals) };
        let parameter = |n: usize| {
            // In bounds: n < 4, and there are four pairs.
            let pair = values.cast::<[u64; 2]>().wrapping_add(n);
            Parameter {
                // SAFETY: by our contract the block is valid.
                capacity: unsafe { (*pair)[1] } as usize,
                pair,
                param_type: ParamType::from(param_type::get(types, n)),
            }
        };
        Self(parameter(0), parameter(1), parameter(2), parameter(3))
    }

    /// For the attributes' generated code: opens a session with a new context of its own, stored
    /// in `slot`.
    ///
    /// # Safety
    /// `slot` must be valid for writing.
    #[doc(hidden)]
    pub unsafe fn __with_new_context<T: Default>(
        &mut self,
        slot: *mut *mut c_void,
        open: impl FnOnce(&mut Self, &mut T) -> Result<()>,
    ) -> Result<()> {
        let mut context = T::default();
        open(self, &mut context)?;
        let layout = core::alloc::Layout::new::<T>();
        let place = if layout.size() == 0 {
            ptr::dangling_mut::<T>()
        } else {
            // SAFETY: the layout's size is not 0.
            unsafe { alloc::alloc::alloc(layout) }.cast::<T>()
        };
        if place.is_null() {
            return Err(Error::new(ErrorKind::OutOfMemory));
        }
        // SAFETY: `place` is valid for a `T` (or dangling for one without bytes), and `slot` is
        // valid by our contract.
        unsafe {
            place.write(context);
            *slot = place.cast();
        }
        Ok(())
    }

    /// The four types, packed.
    #[must_use]
    pub fn types(&self) -> u32 {
        param_type::pack([
            self.0.param_type as u32,
            self.1.param_type as u32,
            self.2.param_type as u32,
            self.3.param_type as u32,
        ])
    }

    /// Refuses any other types than these.
    ///
    /// # Errors
    /// `BadParameters`.
    pub fn expect(&self, types: [ParamType; 4]) -> Result<()> {
        if self.types() == param_type::pack(types.map(|t| t as u32)) {
            Ok(())
        } else {
            Err(Error::new(ErrorKind::BadParameters))
        }
    }
}

/// One parameter.
pub struct Parameter {
    pair: *mut [u64; 2],
    /// Size of the buffer as the kernel gave it, if it is one.
    capacity: usize,
    /// Its type.
    pub param_type: ParamType,
}

impl Parameter {
    /// As a pair of values.
    ///
    /// # Errors
    /// `BadParameters` when it is none.
    pub fn as_value(&mut self) -> Result<ParamValue<'_>> {
        match self.param_type {
            ParamType::ValueInput | ParamType::ValueInout | ParamType::ValueOutput => {
                Ok(ParamValue {
                    // SAFETY: the pair is valid and ours by `__from_runtime`'s contract.
                    pair: unsafe { &mut *self.pair },
                    param_type: self.param_type,
                })
            }
            _ => Err(Error::new(ErrorKind::BadParameters)),
        }
    }

    /// As a memory reference.
    ///
    /// # Errors
    /// `BadParameters` when it is none.
    pub fn as_memref(&mut self) -> Result<ParamMemref<'_>> {
        match self.param_type {
            ParamType::MemrefInout | ParamType::MemrefInput | ParamType::MemrefOutput => {
                // SAFETY: the pair is valid and ours by `__from_runtime`'s contract.
                let pair = unsafe { &mut *self.pair };
                Ok(ParamMemref {
                    capacity: self.capacity,
                    pair,
                    param_type: self.param_type,
                    buffer: PhantomData,
                })
            }
            _ => Err(Error::new(ErrorKind::BadParameters)),
        }
    }
}

impl fmt::Debug for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parameter({})", self.param_type as u32)
    }
}

/// A pair of values.
pub struct ParamValue<'a> {
    pair: &'a mut [u64; 2],
    param_type: ParamType,
}

impl ParamValue<'_> {
    /// First value.
    #[must_use]
    pub fn a(&self) -> u32 {
        self.pair[0] as u32
    }

    /// Second value.
    #[must_use]
    pub fn b(&self) -> u32 {
        self.pair[1] as u32
    }

    /// Sets the first value.
    pub fn set_a(&mut self, a: u32) {
        self.pair[0] = u64::from(a);
    }

    /// Sets the second value.
    pub fn set_b(&mut self, b: u32) {
        self.pair[1] = u64::from(b);
    }

    /// Its type.
    #[must_use]
    pub fn param_type(&self) -> ParamType {
        self.param_type
    }
}

/// A memory reference.
pub struct ParamMemref<'a> {
    pair: &'a mut [u64; 2],
    capacity: usize,
    param_type: ParamType,
    buffer: PhantomData<&'a mut [u8]>,
}

impl<'a> ParamMemref<'a> {
    /// Copies bytes from `offset` of the client's buffer on. Each is read once: the client may change its buffer
    /// at any moment, so that what was checked is the same as what is used only in a copy, and the compiler must not
    /// read the buffer again instead. For what a TA decides by; [`Self::buffer`] is for bulk that it does not look at.
    ///
    /// # Errors
    /// `BadParameters` where the buffer does not have that many bytes; nothing is copied then.
    pub fn read(&self, offset: usize, to: &mut [u8]) -> Result<()> {
        let from = self.place(offset, to.len())?;
        for (n, byte) in to.iter_mut().enumerate() {
            // SAFETY: `place` has confirmed that so many bytes are mapped there for the length of the call.
            *byte = unsafe { from.add(n).read_volatile() };
        }
        Ok(())
    }

    /// Copies bytes to the client's buffer from `offset` on, each written once.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn write(&mut self, offset: usize, from: &[u8]) -> Result<()> {
        let to = self.place(offset, from.len())?;
        for (n, byte) in from.iter().enumerate() {
            // SAFETY: as in `read`. (An input is mapped read-only: writing to it ends the TA, no more.)
            unsafe { to.add(n).write_volatile(*byte) };
        }
        Ok(())
    }

    /// Where `len` bytes from `offset` on are.
    fn place(&self, offset: usize, len: usize) -> Result<*mut u8> {
        let end = offset.checked_add(len);
        let fits = end.is_some_and(|end| end <= self.capacity);
        if !fits || self.pair[0] == 0 {
            return match len {
                0 => Ok(ptr::dangling_mut()),
                _ => Err(Error::new(ErrorKind::BadParameters)),
            };
        }
        Ok((self.pair[0] as *mut u8).wrapping_add(offset))
    }

    /// The client's buffer. Empty when the client gave none. What the normal world shares may change at any moment:
    /// see [`Self::read`].
    pub fn buffer(&mut self) -> &mut [u8] {
        if self.pair[0] == 0 || self.capacity == 0 {
            return &mut [];
        }
        // SAFETY: the kernel has mapped `capacity` bytes there for the length of the call, which
        // outlives `self`. (An input is mapped read-only: writing to it ends the TA, no more.)
        unsafe { slice::from_raw_parts_mut(self.pair[0] as *mut u8, self.capacity) }
    }

    /// The same, for as long as the parameter is borrowed.
    #[must_use]
    pub fn into_buffer(self) -> &'a mut [u8] {
        if self.pair[0] == 0 || self.capacity == 0 {
            return &mut [];
        }
        // SAFETY: as in `buffer`; `self` is given up, so this is the only reference.
        unsafe { slice::from_raw_parts_mut(self.pair[0] as *mut u8, self.capacity) }
    }

    /// Its type.
    #[must_use]
    pub fn param_type(&self) -> ParamType {
        self.param_type
    }

    /// Tells the client how many bytes were written, or how many would have been needed.
    pub fn set_updated_size(&mut self, size: usize) {
        self.pair[1] = size as u64;
    }

    /// Makes sure that `needed` bytes fit, and announces that many as written.
    ///
    /// # Errors
    /// `ShortBuffer`; the client learns the size needed.
    pub fn reserve(&mut self, needed: usize) -> Result<&mut [u8]> {
        self.set_updated_size(needed);
        self.buffer()
            .get_mut(..needed)
            .ok_or(Error::new(ErrorKind::ShortBuffer))
    }
}

/// Four packed types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamTypes(u32);

impl ParamTypes {
    /// Packs four types.
    #[must_use]
    pub const fn new(f0: ParamType, f1: ParamType, f2: ParamType, f3: ParamType) -> Self {
        Self(param_type::pack([
            f0 as u32, f1 as u32, f2 as u32, f3 as u32,
        ]))
    }

    /// Unpacks them.
    #[must_use]
    pub fn into_flags(&self) -> (ParamType, ParamType, ParamType, ParamType) {
        let get = |n| ParamType::from(param_type::get(self.0, n));
        (get(0), get(1), get(2), get(3))
    }
}

impl From<u32> for ParamTypes {
    fn from(value: u32) -> Self {
        Self(value)
    }
}

impl From<ParamTypes> for u32 {
    fn from(value: ParamTypes) -> Self {
        value.0
    }
}

/// Type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ParamType {
    /// Unused.
    None = param_type::NONE,
    /// Values in.
    ValueInput = param_type::VALUE_INPUT,
    /// Values out.
    ValueOutput = param_type::VALUE_OUTPUT,
    /// Values in and out.
    ValueInout = param_type::VALUE_INOUT,
    /// Memory in.
    MemrefInput = param_type::MEMREF_INPUT,
    /// Memory out.
    MemrefOutput = param_type::MEMREF_OUTPUT,
    /// Memory in and out.
    MemrefInout = param_type::MEMREF_INOUT,
}

impl From<u32> for ParamType {
    fn from(value: u32) -> Self {
        match value {
            param_type::VALUE_INPUT => Self::ValueInput,
            param_type::VALUE_OUTPUT => Self::ValueOutput,
            param_type::VALUE_INOUT => Self::ValueInout,
            param_type::MEMREF_INPUT => Self::MemrefInput,
            param_type::MEMREF_OUTPUT => Self::MemrefOutput,
            param_type::MEMREF_INOUT => Self::MemrefInout,
            _ => Self::None,
        }
    }
}
