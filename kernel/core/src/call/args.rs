//! Parameters of an operation in the kernel's own form, between any two of: the normal world, a
//! TA, a pseudo-TA.
//!
//! **Invariant:** every memory parameter was checked against the memory it names when the `Args`
//! were made, and shared memory in them is in use until [`Args::release`].

use crate::call::large_args::COPY_BYTES;
use crate::call::shm::{Shm, ShmError, ShmRef, ShmTable, is_large};
use crate::ta::instance::InstanceRef;
use alloc::vec::Vec;
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_abi::ta::{NUM_PARAMS, param_type};
use tally_mem::addr::{PAGE_SIZE, PhysAddr, UserVa};
use tally_mem::fallible::try_push;
use tally_mem::machine::{NormalMemory, ThreadControl};

/// Memory that a parameter names.
#[derive(Debug, PartialEq, Eq)]
pub enum ArgMemory {
    /// None: a null reference.
    Null,
    /// Shared memory from this offset on.
    Shm(ShmRef, u64),
    /// Memory of the calling TA.
    Ta(InstanceRef, UserVa),
}

/// One parameter.
#[derive(Debug, PartialEq, Eq)]
pub enum Arg {
    /// None.
    None,
    /// Two values.
    Value {
        /// First.
        a: u64,
        /// Second.
        b: u64,
    },
    /// A memory reference.
    Memref {
        /// What it names.
        memory: ArgMemory,
        /// Bytes the caller gave.
        given: u64,
        /// Bytes reported back.
        size: u64,
    },
}

/// The parameters of an operation.
#[derive(Debug)]
pub struct Args {
    /// Packed types ([`param_type`]).
    pub types: u32,
    /// The parameters.
    pub items: [Arg; NUM_PARAMS],
}

impl Default for Args {
    fn default() -> Self {
        Self {
            types: 0,
            items: [const { Arg::None }; NUM_PARAMS],
        }
    }
}

/// Whether a type is an output (or both ways).
#[must_use]
pub const fn is_output(kind: u32) -> bool {
    kind & 3 >= 2
}

/// Whether a type is an input (or both ways).
#[must_use]
pub const fn is_input(kind: u32) -> bool {
    kind & 1 != 0
}

/// Whether a type is a memory reference.
#[must_use]
pub const fn is_memref(kind: u32) -> bool {
    kind >= param_type::MEMREF_INPUT && kind <= param_type::MEMREF_INOUT
}

/// Why parameters are not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untaken {
    /// Shared memory is refused.
    Memory(ShmError),
    /// They are not what a message has.
    Code(TeeResult),
}

impl From<TeeResult> for Untaken {
    fn from(code: TeeResult) -> Self {
        Self::Code(code)
    }
}

impl From<Untaken> for TeeResult {
    fn from(why: Untaken) -> Self {
        match why {
            Untaken::Memory(why) => why.into(),
            Untaken::Code(code) => code,
        }
    }
}

/// Much memory that parameters of a message lend for one call, by the parameters' numbers. Taken in before
/// anything is locked, since reading a long page list takes a while; little memory is taken in with the rest.
#[derive(Debug, Default)]
pub struct Lent(Vec<(usize, Shm)>);

impl Lent {
    /// Takes in what these parameters lend by long page lists.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for memory that is not the normal world's; `OUT_OF_MEMORY`.
    pub fn take_in(
        machine: &(impl NormalMemory + ThreadControl),
        params: &[MsgParam],
    ) -> Result<Self, Untaken> {
        let mut lent = Self::default();
        for (index, param) in params.iter().enumerate() {
            if is_large(param.b) && param.attr & attr::NONCONTIG != 0 && lends(param) {
                let shm = Shm::take_in_list(machine, PhysAddr(param.a), param.b, None);
                let shm = shm.map_err(Untaken::Memory)?;
                try_push(&mut lent.0, (index, shm)).map_err(TeeResult::from)?;
            }
        }
        Ok(lent)
    }

    /// What parameter `index` lends, if it was taken in.
    fn take(&mut self, index: usize) -> Option<Shm> {
        let at = self.0.iter().position(|(number, _)| *number == index)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Whether a parameter lends memory for one call.
const fn lends(param: &MsgParam) -> bool {
    let kind = param.attr & attr::TYPE_MASK;
    kind >= attr::TMEM_INPUT && kind <= attr::TMEM_INOUT && param.a != 0
}

impl Arg {
    /// Whether it is a reference to more memory than is mapped, or copied, at one go.
    #[must_use]
    pub fn is_large(&self) -> bool {
        match self {
            Self::Memref { memory, given, .. } => match memory {
                ArgMemory::Shm(..) => is_large(*given),
                ArgMemory::Ta(..) => *given > COPY_BYTES,
                ArgMemory::Null => false,
            },
            Self::Value { .. } | Self::None => false,
        }
    }
}

impl Args {
    /// Whether one is a reference to more memory than is mapped, or copied, at one go.
    #[must_use]
    pub fn has_large(&self) -> bool {
        self.items.iter().any(Arg::is_large)
    }

    /// The TA that passes on memory of its own, if one does, and the pages that this takes where it is mapped.
    #[must_use]
    pub fn lent_by_ta(&self) -> Option<(InstanceRef, u32)> {
        let mut lent = None;
        for item in &self.items {
            if let Arg::Memref {
                memory: ArgMemory::Ta(caller, _),
                given,
                ..
            } = item
            {
                let (_, pages) = lent.get_or_insert((*caller, 0_u32));
                let more = u32::try_from(given.div_ceil(PAGE_SIZE as u64)).unwrap_or(u32::MAX);
                *pages = pages.saturating_add(more);
            }
        }
        lent.filter(|(_, pages)| *pages > 0)
    }

    /// Type of parameter `index`.
    #[must_use]
    pub const fn kind(&self, index: usize) -> u32 {
        param_type::get(self.types, index)
    }

    /// Takes in the application's parameters of a message, and the memory that they lend.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for unknown types, more than four, or memory that is not the normal
    /// world's; `OUT_OF_MEMORY`. Nothing stays in use then.
    pub fn take_in(
        &mut self,
        shm: &mut ShmTable,
        memory: &impl NormalMemory,
        mut lent: Lent,
        params: &[MsgParam],
    ) -> Result<(), Untaken> {
        if params.len() > NUM_PARAMS {
            return Err(TeeResult::BAD_PARAMETERS.into());
        }
        let mut kinds = [param_type::NONE; NUM_PARAMS];
        for (index, param) in params.iter().enumerate() {
            match parse(shm, memory, lent.take(index), param) {
                Ok((kind, item)) => {
                    kinds[index] = kind;
                    self.items[index] = item;
                }
                Err(err) => {
                    self.release(shm);
                    return Err(err);
                }
            }
        }
        self.types = param_type::pack(kinds);
        Ok(())
    }

    /// Whether shared memory is in use for one of them.
    #[must_use]
    pub fn has_shm(&self) -> bool {
        self.items.iter().any(|item| {
            matches!(
                item,
                Arg::Memref {
                    memory: ArgMemory::Shm(..),
                    ..
                }
            )
        })
    }

    /// Ends the use of shared memory.
    pub fn release(&mut self, shm: &mut ShmTable) {
        for item in &mut self.items {
            if let Arg::Memref {
                memory: ArgMemory::Shm(shm_ref, _),
                ..
            } = core::mem::replace(item, Arg::None)
            {
                shm.put(shm_ref);
            }
        }
    }

    /// Writes what an operation put out into the words of the message's parameter `index`; false
    /// if the parameter is no output.
    #[must_use]
    pub fn update_param(&self, index: usize, param: &mut MsgParam) -> bool {
        if !is_output(self.kind(index)) {
            return false;
        }
        match self.items[index] {
            Arg::None => false,
            Arg::Value { a, b } => {
                param.a = a;
                param.b = b;
                param.c = 0;
                true
            }
            Arg::Memref { size, .. } => {
                param.b = size;
                true
            }
        }
    }
}

fn parse(
    shm: &mut ShmTable,
    memory: &impl NormalMemory,
    lent: Option<Shm>,
    param: &MsgParam,
) -> Result<(u32, Arg), Untaken> {
    let kind = param.attr & attr::TYPE_MASK;
    // Only memory that is lent for the call comes in a list of pages.
    let allowed = match kind {
        attr::TMEM_INPUT..=attr::TMEM_INOUT => attr::TYPE_MASK | attr::NONCONTIG,
        _ => attr::TYPE_MASK,
    };
    if param.attr & !allowed != 0 {
        return Err(TeeResult::BAD_PARAMETERS.into());
    }
    let memref = |kind: u64, memory| {
        let arg = Arg::Memref {
            memory,
            given: param.b,
            size: param.b,
        };
        (kind as u32, arg)
    };
    match kind {
        attr::NONE => Ok((param_type::NONE, Arg::None)),
        attr::VALUE_INPUT..=attr::VALUE_INOUT => {
            // An output value reads as zero until it is set.
            let (a, b) = if kind == attr::VALUE_OUTPUT {
                (0, 0)
            } else {
                (param.a, param.b)
            };
            Ok((kind as u32, Arg::Value { a, b }))
        }
        attr::RMEM_INPUT..=attr::RMEM_INOUT => {
            let shm_ref = shm.get(param.c).map_err(Untaken::Memory)?;
            let fits = shm
                .object(&shm_ref)
                .is_some_and(|o| o.check(param.a, param.b).is_ok());
            if !fits {
                shm.put(shm_ref);
                return Err(TeeResult::BAD_PARAMETERS.into());
            }
            Ok(memref(kind, ArgMemory::Shm(shm_ref, param.a)))
        }
        attr::TMEM_INPUT..=attr::TMEM_INOUT => {
            // Same order of in, out and both as registered memory.
            let kind = kind - attr::TMEM_INPUT + attr::RMEM_INPUT;
            let pa = PhysAddr(param.a);
            if pa.0 == 0 {
                // As OP-TEE has it, whatever size comes with it.
                let arg = Arg::Memref {
                    memory: ArgMemory::Null,
                    given: 0,
                    size: 0,
                };
                return Ok((kind as u32, arg));
            }
            let lent = match lent {
                Some(large) => large,
                None if param.attr & attr::NONCONTIG != 0 => {
                    Shm::from_page_list(memory, pa, param.b, None).map_err(Untaken::Memory)?
                }
                None => Shm::contiguous(memory, pa, param.b, None).map_err(Untaken::Memory)?,
            };
            let lent = shm.lend(lent).map_err(Untaken::Memory)?;
            Ok(memref(kind, ArgMemory::Shm(lent, 0)))
        }
        _ => Err(TeeResult::BAD_PARAMETERS.into()),
    }
}
