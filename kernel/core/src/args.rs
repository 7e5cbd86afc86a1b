//! Parameters of an operation in the kernel's own form, between any two of: the normal world, a
//! TA, a pseudo-TA.
//!
//! **Invariant:** every memory parameter was checked against the memory it names when the `Args`
//! were made, and shared memory in them is in use until [`Args::release`].
//! **Knows nothing of:** who calls whom.

use crate::addr::{PhysAddr, UserVa};
use crate::instance::InstanceRef;
use crate::large::take_in_list;
use crate::machine::{NormalMemory, ThreadControl};
use crate::shm::{Shm, ShmRef, ShmTable};
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_abi::ta::{NUM_PARAMS, param_type};

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

/// Memory that parameters of a message lend for one call; none for those that lend none, or a null
/// reference. Taken in before anything is locked, since reading a page list takes a while.
#[derive(Debug, Default)]
pub struct Lent([Option<Shm>; NUM_PARAMS]);

impl Lent {
    /// Takes in the memory of these parameters, of which those beyond the fourth are left out.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for memory that is not the normal world's; `OUT_OF_MEMORY`.
    pub fn take_in(
        machine: &(impl NormalMemory + ThreadControl),
        params: &[MsgParam],
    ) -> Result<Self, TeeResult> {
        let mut lent = Self::default();
        for (slot, param) in lent.0.iter_mut().zip(params) {
            let kind = param.attr & attr::TYPE_MASK;
            let pa = PhysAddr(param.a);
            if (attr::TMEM_INPUT..=attr::TMEM_INOUT).contains(&kind) && pa.0 != 0 {
                *slot = Some(if param.attr & attr::NONCONTIG != 0 {
                    take_in_list(machine, pa, param.b, None)?
                } else {
                    Shm::contiguous(machine, pa, param.b, None)?
                });
            }
        }
        Ok(lent)
    }
}

impl Args {
    /// Type of parameter `index`.
    #[must_use]
    pub const fn kind(&self, index: usize) -> u32 {
        param_type::get(self.types, index)
    }

    /// From the application's parameters of a message, and the memory that they lend.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` for unknown types, more than four, or memory that is not the normal
    /// world's; `OUT_OF_MEMORY`. Nothing stays in use then.
    pub fn from_message(
        shm: &mut ShmTable,
        mut lent: Lent,
        params: &[MsgParam],
    ) -> Result<Self, TeeResult> {
        if params.len() > NUM_PARAMS {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let mut args = Self::default();
        let mut kinds = [param_type::NONE; NUM_PARAMS];
        for (index, param) in params.iter().enumerate() {
            match parse(shm, lent.0[index].take(), param) {
                Ok((kind, item)) => {
                    kinds[index] = kind;
                    args.items[index] = item;
                }
                Err(err) => {
                    args.release(shm);
                    return Err(err);
                }
            }
        }
        args.types = param_type::pack(kinds);
        Ok(args)
    }

    /// Ends the use of shared memory.
    pub fn release(self, shm: &mut ShmTable) {
        for item in self.items {
            if let Arg::Memref {
                memory: ArgMemory::Shm(shm_ref, _),
                ..
            } = item
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

fn parse(shm: &mut ShmTable, lent: Option<Shm>, param: &MsgParam) -> Result<(u32, Arg), TeeResult> {
    const KNOWN: u64 = attr::TYPE_MASK | attr::NONCONTIG;
    let kind = param.attr & attr::TYPE_MASK;
    if param.attr & !KNOWN != 0 {
        return Err(TeeResult::BAD_PARAMETERS);
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
            let shm_ref = shm.get(param.c)?;
            let fits = shm
                .object(&shm_ref)
                .is_some_and(|o| o.check(param.a, param.b).is_ok());
            if !fits {
                shm.put(shm_ref);
                return Err(TeeResult::BAD_PARAMETERS);
            }
            Ok(memref(kind, ArgMemory::Shm(shm_ref, param.a)))
        }
        attr::TMEM_INPUT..=attr::TMEM_INOUT => {
            // Same order of in, out and both as registered memory.
            let kind = kind - attr::TMEM_INPUT + attr::RMEM_INPUT;
            let Some(lent) = lent else {
                // As OP-TEE has it, whatever size comes with it.
                let arg = Arg::Memref {
                    memory: ArgMemory::Null,
                    given: 0,
                    size: 0,
                };
                return Ok((kind as u32, arg));
            };
            Ok(memref(kind, ArgMemory::Shm(shm.lend(lent)?, 0)))
        }
        _ => Err(TeeResult::BAD_PARAMETERS),
    }
}
