//! Exception entry that EL3 makes in a lower level's place: an undefined instruction, for whatever that level
//! may not do or EL3 does not know.
//!
//! Source: Arm ARM DDI 0487, `AArch64.TakeException` (J1.1), ESR_EL1, SPSR_EL3, HCR_EL2.

/// ESR of an exception of unknown reason: class 0, a 32-bit instruction.
#[cfg(target_os = "none")]
pub(crate) const SYNDROME: u64 = 1 << 25;

/// PSTATE as an SPSR of AArch64 has it.
mod pstate {
    pub(super) const STACK_OF_LEVEL: u64 = 1;
    pub(super) const LEVEL_SHIFT: u32 = 2;
    pub(super) const AARCH32: u64 = 1 << 4;
    /// Debug, system error, interrupts.
    pub(super) const MASKS: u64 = 0xf << 6;
    pub(super) const SSBS: u64 = 1 << 12;
    pub(super) const ALLINT: u64 = 1 << 13;
    pub(super) const PAN: u64 = 1 << 22;
    pub(super) const DIT: u64 = 1 << 24;
    pub(super) const TCO: u64 = 1 << 25;
    pub(super) const FLAGS: u64 = 0xf << 28;
}

/// SCTLR_EL1 and SCTLR_EL2.
mod sctlr {
    pub(super) const SPAN: u64 = 1 << 23;
    pub(super) const DSSBS: u64 = 1 << 44;
    pub(super) const SPINTMASK: u64 = 1 << 62;
}

/// HCR_EL2.
mod hcr {
    pub(super) const TGE: u64 = 1 << 27;
    pub(super) const RW: u64 = 1 << 31;
    pub(super) const E2H: u64 = 1 << 34;
}

/// What the CPU has beyond Armv8.0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Features {
    pan: bool,
    ssbs: bool,
    tag_checks: bool,
    nmi: bool,
}

impl Features {
    /// From ID_AA64MMFR1_EL1 and ID_AA64PFR1_EL1.
    pub(crate) fn read(mmfr1: u64, pfr1: u64) -> Self {
        let field = |register: u64, shift: u32| register >> shift & 0xf;
        Self {
            pan: field(mmfr1, 20) != 0,
            ssbs: field(pfr1, 4) != 0,
            tag_checks: field(pfr1, 8) >= 2,
            nmi: field(pfr1, 36) != 0,
        }
    }
}

/// The level that takes the exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    El1,
    El2,
}

/// Who was interrupted, and what of EL2 counts for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Its PSTATE: SPSR_EL3.
    pub(crate) pstate: u64,
    /// HCR_EL2, where EL2 exists in this world.
    pub(crate) hcr: Option<u64>,
}

/// What the exception entry sets beside ELR, SPSR and ESR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Behind the level's vector base, in bytes.
    pub(crate) vector_offset: u64,
    /// PSTATE in the handler.
    pub(crate) pstate: u64,
}

impl Origin {
    fn is_aarch32(self) -> bool {
        self.pstate & pstate::AARCH32 != 0
    }

    fn is_el0(self) -> bool {
        // Zero in AArch32 as well: user mode.
        self.pstate & 0xf == 0
    }

    /// Whether EL0 is that of an operating system at EL2.
    fn is_in_host(self) -> bool {
        let both = hcr::E2H | hcr::TGE;
        self.hcr.is_some_and(|hcr| hcr & both == both)
    }

    /// Who takes the exception: the level itself, or the operating system of an application.
    pub(crate) fn level(self) -> Level {
        let at_el2 = if self.is_el0() {
            self.hcr.is_some_and(|hcr| hcr & hcr::TGE != 0)
        } else {
            // EL1 is AArch64's wherever there is nobody above it to choose otherwise.
            self.is_aarch32() || self.pstate >> pstate::LEVEL_SHIFT & 3 == 2
        };
        match (at_el2, self.hcr) {
            (true, Some(_)) => Level::El2,
            (true, None) | (false, _) => Level::El1,
        }
    }

    /// The entry at `self.level()`, whose SCTLR this is.
    pub(crate) fn enter(self, sctlr: u64, features: Features) -> Entry {
        let level = self.level();
        let number = match level {
            Level::El1 => 1,
            Level::El2 => 2,
        };
        let own = !self.is_aarch32() && self.pstate >> pstate::LEVEL_SHIFT & 3 == number;
        let below_is_aarch32 = match (level, self.hcr) {
            (Level::El2, Some(hcr)) if !self.is_in_host() => hcr & hcr::RW == 0,
            _ => self.is_aarch32(),
        };
        let vector_offset = match (own, below_is_aarch32) {
            (true, _) if self.pstate & pstate::STACK_OF_LEVEL == 0 => 0,
            (true, _) => 0x200,
            (false, false) => 0x400,
            (false, true) => 0x600,
        };
        let serves_el0 = level == Level::El1 || self.is_in_host();
        let kept = pstate::FLAGS | pstate::DIT | pstate::PAN;
        let mut pstate = self.pstate & kept
            | pstate::MASKS
            | number << pstate::LEVEL_SHIFT
            | pstate::STACK_OF_LEVEL;
        for (set, bit) in [
            (
                features.pan && serves_el0 && sctlr & sctlr::SPAN == 0,
                pstate::PAN,
            ),
            (features.ssbs && sctlr & sctlr::DSSBS != 0, pstate::SSBS),
            (features.tag_checks, pstate::TCO),
            (
                features.nmi && sctlr & sctlr::SPINTMASK == 0,
                pstate::ALLINT,
            ),
        ] {
            if set {
                pstate |= bit;
            }
        }
        Entry {
            vector_offset,
            pstate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EL0: u64 = 0x0;
    const EL1T: u64 = 0x4;
    const EL1H: u64 = 0x5;
    const EL2H: u64 = 0x9;
    const USER32: u64 = 0x10;
    const SVC32: u64 = 0x13;
    const SPAN: u64 = 1 << 23;
    /// DAIF masked, EL1 with its own stack.
    const HANDLER_EL1: u64 = 0x3c5;
    const HANDLER_EL2: u64 = 0x3c9;

    fn entered(pstate: u64, hcr: Option<u64>, sctlr: u64, features: Features) -> (Level, Entry) {
        let origin = Origin { pstate, hcr };
        (origin.level(), origin.enter(sctlr, features))
    }

    fn goes_to(pstate: u64, hcr: Option<u64>, level: Level, vector_offset: u64, handler: u64) {
        let (to, entry) = entered(pstate, hcr, SPAN, Features::default());
        let expected = Entry {
            vector_offset,
            pstate: handler,
        };
        assert_eq!((to, entry), (level, expected), "{pstate:#x} {hcr:x?}");
    }

    #[test]
    fn a_level_without_el2_takes_its_own() {
        goes_to(EL1H, None, Level::El1, 0x200, HANDLER_EL1);
        goes_to(EL1T, None, Level::El1, 0x000, HANDLER_EL1);
        goes_to(EL0, None, Level::El1, 0x400, HANDLER_EL1);
        goes_to(USER32, None, Level::El1, 0x600, HANDLER_EL1);
    }

    #[test]
    fn el2_takes_its_own_and_what_has_nobody_else() {
        let hypervisor = Some(hcr::RW);
        goes_to(EL2H, hypervisor, Level::El2, 0x200, HANDLER_EL2);
        goes_to(EL1H, hypervisor, Level::El1, 0x200, HANDLER_EL1);
        goes_to(EL0, hypervisor, Level::El1, 0x400, HANDLER_EL1);
        // A guest of 32 bits.
        goes_to(SVC32, Some(0), Level::El2, 0x600, HANDLER_EL2);
        // An operating system at EL2, and its applications.
        let host = Some(hcr::RW | hcr::TGE | hcr::E2H);
        goes_to(EL0, host, Level::El2, 0x400, HANDLER_EL2);
        goes_to(USER32, host, Level::El2, 0x600, HANDLER_EL2);
        let without_vhe = Some(hcr::RW | hcr::TGE);
        goes_to(EL0, without_vhe, Level::El2, 0x400, HANDLER_EL2);
        // What counts is EL1's width, not the application's.
        goes_to(USER32, without_vhe, Level::El2, 0x400, HANDLER_EL2);
        goes_to(EL0, Some(1 << 27), Level::El2, 0x600, HANDLER_EL2);
    }

    #[test]
    fn flags_are_kept_and_states_of_one_instruction_are_not() {
        // Flags, DIT, UAO, step, illegal state, BTYPE; interrupts on.
        let before = 0xa000_0000 | 1 << 24 | 1 << 23 | 3 << 20 | 3 << 10 | EL1H;
        let (_, entry) = entered(before, None, SPAN, Features::default());
        assert_eq!(entry.pstate, 0xa000_0000 | 1 << 24 | HANDLER_EL1);
        let (_, entry) = entered(EL1H | pstate::PAN, None, SPAN, Features::default());
        assert_eq!(entry.pstate, HANDLER_EL1 | pstate::PAN);
    }

    #[test]
    fn bits_are_where_the_architecture_has_them() {
        let all = Features::read(1 << 20, 1 << 36 | 2 << 8 | 2 << 4);
        let set = |sctlr| entered(EL1H, None, sctlr, all).1.pstate & !HANDLER_EL1;
        let (ssbs, allint, pan, tco) = (1 << 12, 1 << 13, 1 << 22, 1 << 25);
        assert_eq!(set(0), pan | tco | allint);
        assert_eq!(set(1 << 23 | 1 << 44 | 1 << 62), ssbs | tco);
        // Bit 31 of HCR_EL2 is the width of EL1.
        goes_to(SVC32, Some(1 << 31), Level::El2, 0x400, HANDLER_EL2);
    }

    #[test]
    fn extensions_do_as_the_level_says() {
        let all = Features::read(1 << 20, 1 << 36 | 2 << 8 | 2 << 4);
        let set = |hcr, sctlr| entered(EL1H, hcr, sctlr, all).1.pstate & !HANDLER_EL1;
        assert_eq!(set(None, 0), pstate::PAN | pstate::TCO | pstate::ALLINT);
        let other = sctlr::SPAN | sctlr::DSSBS | sctlr::SPINTMASK;
        assert_eq!(set(None, other), pstate::SSBS | pstate::TCO);
        // PAN is set where EL0's memory is the level's own.
        let at_el2 = |hcr| entered(EL2H, Some(hcr), 0, all).1.pstate & pstate::PAN;
        assert_eq!(at_el2(hcr::RW), 0);
        assert_eq!(at_el2(hcr::RW | hcr::TGE | hcr::E2H), pstate::PAN);
        assert_eq!(Features::read(0, 1 << 8), Features::default());
    }
}
