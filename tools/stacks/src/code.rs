//! Instructions, as far as they matter to a stack: where they go, and what they do to the stack pointer.
//!
//! Source: Arm ARM DDI 0487, C6.2.

use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction, Opcode, Operand};

/// The stack pointer's number where an operand may be it.
pub(crate) const SP: u16 = 31;
/// The link register.
const LINK: u16 = 30;

/// Where an instruction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// To the one behind it.
    Behind,
    /// Elsewhere.
    Jump(u64),
    /// There or behind.
    Branch(u64),
    /// Behind, when what it calls returns.
    Call(u64),
    /// Behind, when what the register points to returns.
    CallRegister(u16),
    /// Where the register points.
    JumpRegister(u16),
    /// Back to the caller.
    Return,
    /// Nowhere.
    Stop,
}

/// What an instruction does to the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Motion {
    /// Nothing.
    None,
    /// It lies this many bytes lower afterwards.
    Down(i64),
    /// It lies this many bytes below the place in a register; `None`: wherever.
    From(Option<(u16, i64)>),
}

/// What an instruction leaves in a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Definition {
    /// What was there.
    Kept,
    /// What lies this many bytes behind the address in another register, which may be the stack pointer (31).
    Loaded(u16, i32),
    /// What is in another register.
    Copied(u16),
    /// The sum of two registers: an entry of a jump table.
    Sum,
    /// Something else.
    Other,
}

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    word: u32,
    at: u64,
    /// `None` of what is no instruction.
    decoded: Option<Instruction>,
}

impl Word {
    pub(crate) fn decode(word: u32, at: u64) -> Self {
        let bytes = word.to_le_bytes();
        let decoded = InstDecoder::default().decode(&mut U8Reader::new(&bytes));
        Self {
            word,
            at,
            decoded: decoded.ok(),
        }
    }

    pub(crate) fn next(&self) -> Next {
        let Some(code) = &self.decoded else {
            return Next::Stop;
        };
        let target = || {
            let offset = code.operands.iter().find_map(|operand| match operand {
                Operand::PCOffset(offset) => Some(*offset),
                _ => None,
            });
            self.at.wrapping_add_signed(offset.unwrap_or_default())
        };
        let register = || match code.operands[0] {
            Operand::Register(_, number) => number,
            _ => LINK,
        };
        match code.opcode {
            Opcode::B => Next::Jump(target()),
            Opcode::Bcc(_) | Opcode::CBZ | Opcode::CBNZ | Opcode::TBZ | Opcode::TBNZ => {
                Next::Branch(target())
            }
            Opcode::BL => Next::Call(target()),
            Opcode::BLR => Next::CallRegister(register()),
            Opcode::BR => Next::JumpRegister(register()),
            Opcode::RET | Opcode::ERET => Next::Return,
            Opcode::UDF | Opcode::BRK => Next::Stop,
            _ => Next::Behind,
        }
    }

    pub(crate) fn motion(&self) -> Motion {
        let Some(code) = &self.decoded else {
            return Motion::None;
        };
        for operand in &code.operands {
            match *operand {
                Operand::RegPreIndex(SP, offset, true) | Operand::RegPostIndex(SP, offset) => {
                    return Motion::Down(-i64::from(offset));
                }
                Operand::RegPostIndexReg(SP, _) => return Motion::From(None),
                _ => {}
            }
        }
        match self.place() {
            Some((SP, SP, by)) => Motion::Down(by),
            Some((SP, from, by)) => Motion::From(Some((from, by))),
            None if matches!(code.operands[0], Operand::RegisterOrSP(_, SP)) => Motion::From(None),
            _ => Motion::None,
        }
    }

    /// A register that it sets to a place this far below another one's, which may be the stack pointer (31).
    pub(crate) fn place(&self) -> Option<(u16, u16, i64)> {
        let code = self.decoded.as_ref()?;
        let (to, from) = match (code.operands[0], code.operands[1]) {
            (Operand::RegisterOrSP(_, to), Operand::RegisterOrSP(_, from)) => (to, from),
            // Here 31 is zero.
            (Operand::RegisterOrSP(_, to), Operand::Register(_, from)) if from != SP => (to, from),
            _ => return None,
        };
        let by = match code.operands[2] {
            Operand::Immediate(by) => i64::from(by),
            Operand::ImmShift(by, shift) => i64::from(by) << shift,
            // Rounds down.
            Operand::Imm64(mask) if code.opcode == Opcode::AND && (!mask + 1).is_power_of_two() => {
                i64::try_from(!mask).ok()?
            }
            _ => return None,
        };
        match code.opcode {
            Opcode::SUB | Opcode::AND => Some((to, from, by)),
            Opcode::ADD => Some((to, from, -by)),
            _ => None,
        }
    }

    /// The register that it compares the stack pointer with.
    pub(crate) fn compares_stack_pointer(&self) -> Option<u16> {
        let code = self.decoded.as_ref()?;
        match (code.opcode, code.operands[1], code.operands[2]) {
            (Opcode::SUBS, Operand::RegisterOrSP(_, SP), Operand::RegShift(_, 0, _, with)) => {
                Some(with)
            }
            _ => None,
        }
    }

    /// Whether it copies the stack pointer.
    pub(crate) fn reads_stack_pointer(&self) -> bool {
        self.decoded.is_some_and(|code| {
            code.opcode == Opcode::ADD
                && matches!(code.operands[1], Operand::RegisterOrSP(_, SP))
                && matches!(
                    code.operands[2],
                    Operand::Immediate(0) | Operand::ImmShift(0, _)
                )
        })
    }

    /// Whether interrupts may come (true) or may not (false) from here on.
    pub(crate) fn window(&self) -> Option<bool> {
        const IMMEDIATE: u32 = 0xf00;
        match self.word & !IMMEDIATE {
            0xd503_40ff => Some(true),
            0xd503_40df => Some(false),
            _ => None,
        }
    }

    /// What it leaves in `register`.
    pub(crate) fn definition(&self, register: u16) -> Definition {
        let Some(code) = &self.decoded else {
            return Definition::Other;
        };
        match code.opcode {
            Opcode::BL | Opcode::BLR => {
                // AAPCS64: a function keeps x19 to x29.
                return if (19..30).contains(&register) {
                    Definition::Kept
                } else {
                    Definition::Other
                };
            }
            Opcode::B
            | Opcode::Bcc(_)
            | Opcode::CBZ
            | Opcode::CBNZ
            | Opcode::TBZ
            | Opcode::TBNZ
            | Opcode::MSR => return Definition::Kept,
            _ => {}
        }
        let is = |operand: &Operand| {
            matches!(*operand, Operand::Register(_, number) | Operand::RegisterOrSP(_, number)
                if number == register)
        };
        let written_back = |operand: &Operand| {
            matches!(*operand, Operand::RegPreIndex(base, _, true) | Operand::RegPostIndex(base, _)
                | Operand::RegPostIndexReg(base, _) if base == register)
        };
        if code.operands.iter().any(written_back) {
            return Definition::Other;
        }
        let place = |index: usize, more: i32| match code.operands[index] {
            Operand::RegPreIndex(base, offset, false) => Definition::Loaded(base, offset + more),
            _ => Definition::Other,
        };
        match code.opcode {
            Opcode::STR
            | Opcode::STP
            | Opcode::STRB
            | Opcode::STRH
            | Opcode::STUR
            | Opcode::STURB
            | Opcode::STURH
            | Opcode::STLR
            | Opcode::STLRB
            | Opcode::STLRH => Definition::Kept,
            Opcode::LDR | Opcode::LDUR if is(&code.operands[0]) => place(1, 0),
            Opcode::LDP if is(&code.operands[0]) => place(2, 0),
            Opcode::LDP if is(&code.operands[1]) => place(2, 8),
            _ if !is(&code.operands[0]) => Definition::Kept,
            Opcode::ORR => match (code.operands[1], code.operands[2]) {
                (Operand::Register(_, 31), Operand::RegShift(_, 0, _, from)) => {
                    Definition::Copied(from)
                }
                _ => Definition::Other,
            },
            Opcode::ADD => match (code.operands[1], code.operands[2]) {
                (_, Operand::RegShift(..)) => Definition::Sum,
                (Operand::RegisterOrSP(_, from), Operand::Immediate(0)) if from != SP => {
                    Definition::Copied(from)
                }
                _ => Definition::Other,
            },
            _ => Definition::Other,
        }
    }

    /// What it stores: the register, and where, behind the address in another one.
    pub(crate) fn stores(&self) -> impl Iterator<Item = (u16, u16, i32)> {
        let operands = self.decoded.map(|code| (code.opcode, code.operands));
        let (registers, place) = match operands {
            Some((Opcode::STR | Opcode::STUR, [first, place, ..])) => ([Some(first), None], place),
            Some((Opcode::STP, [first, second, place, _])) => ([Some(first), Some(second)], place),
            _ => ([None, None], Operand::Nothing),
        };
        let registers = registers.into_iter().flatten().zip([0, 8]);
        registers.filter_map(move |(register, more)| match (register, place) {
            (Operand::Register(_, register), Operand::RegPreIndex(base, offset, false)) => {
                Some((register, base, offset + more))
            }
            _ => None,
        })
    }

    /// The address that it makes of the program counter: `adr` whole, `adrp` of its page.
    pub(crate) fn address(&self) -> Option<(u16, u64)> {
        let code = self.decoded.as_ref()?;
        let base = match code.opcode {
            Opcode::ADR => self.at,
            Opcode::ADRP => self.at & !0xfff,
            _ => return None,
        };
        match (code.operands[0], code.operands[1]) {
            (Operand::Register(_, register), Operand::PCOffset(offset)) => {
                Some((register, base.wrapping_add_signed(offset)))
            }
            _ => None,
        }
    }

    /// The register that it adds to, the one that it writes, and how much.
    pub(crate) fn sum(&self) -> Option<(u16, u16, u64)> {
        let code = self.decoded.as_ref()?;
        match (code.opcode, code.operands) {
            (
                Opcode::ADD,
                [
                    Operand::RegisterOrSP(_, to),
                    Operand::RegisterOrSP(_, from),
                    Operand::Immediate(by),
                    _,
                ],
            ) => Some((from, to, by.into())),
            _ => None,
        }
    }
}
