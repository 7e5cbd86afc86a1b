//! PSCI 1.1 as far as it is logic: what a call asks for, and which CPU is on.
//!
//! Source: Arm PSCI, ARM DEN 0022.
//!
//! **Invariant:** a CPU goes OFF -> ON_PENDING only by the one caller that then wakes it, and
//! ON_PENDING -> ON and ON -> OFF only by itself.

use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use arm_psci::{
    AffinityInfo, EntryPoint, ErrorCode, FeatureFlagsCpuSuspend, Function, FunctionId,
    MigrateInfoType, Mpidr, PowerState, PsciFeature, Version,
};
use tally_board_virt as virt;

/// CPUs that the table can hold.
pub(crate) const MAX_CPUS: usize = 8;
const VERSION: Version = Version { major: 1, minor: 1 };

const OFF: u8 = AffinityInfo::Off as u8;
const ON: u8 = AffinityInfo::On as u8;
const ON_PENDING: u8 = AffinityInfo::OnPending as u8;

/// Where a CPU is to start in the normal world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// Physical address.
    pub(crate) entry: u64,
    /// x0 there.
    pub(crate) context_id: u64,
}

/// What is to happen after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Return this value.
    Return(u64),
    /// Wake this CPU, then return success.
    Wake(usize),
    /// Turn the caller off.
    Off,
    /// Wait for an interrupt, then return success.
    Standby,
    /// As after a power-down suspend: wait for an interrupt, then start afresh.
    PowerDown(Start),
    /// Power the machine off.
    SystemOff,
    /// Reset the machine.
    SystemReset,
}

/// Every CPU's power state and pending start.
pub(crate) struct Cpus {
    count: AtomicUsize,
    states: [AtomicU8; MAX_CPUS],
    entries: [AtomicU64; MAX_CPUS],
    context_ids: [AtomicU64; MAX_CPUS],
}

impl Cpus {
    /// All CPUs off, none known.
    pub(crate) const fn new() -> Self {
        Self {
            count: AtomicUsize::new(0),
            states: [const { AtomicU8::new(OFF) }; MAX_CPUS],
            entries: [const { AtomicU64::new(0) }; MAX_CPUS],
            context_ids: [const { AtomicU64::new(0) }; MAX_CPUS],
        }
    }

    /// Sets how many CPUs there are; at most [`MAX_CPUS`] are used.
    pub(crate) fn set_count(&self, count: usize) {
        self.count.store(count.min(MAX_CPUS), Ordering::Relaxed);
    }

    /// The calling CPU is on.
    pub(crate) fn set_on(&self, cpu: usize) {
        self.set_state(cpu, ON);
    }

    /// The calling CPU is about to halt.
    pub(crate) fn set_off(&self, cpu: usize) {
        self.set_state(cpu, OFF);
    }

    /// Where a woken CPU is to start.
    pub(crate) fn pending_start(&self, cpu: usize) -> Option<Start> {
        if self.states.get(cpu)?.load(Ordering::Acquire) != ON_PENDING {
            return None;
        }
        Some(Start {
            entry: self.entries.get(cpu)?.load(Ordering::Relaxed),
            context_id: self.context_ids.get(cpu)?.load(Ordering::Relaxed),
        })
    }

    /// Decides on a call with x0..x3 = `args`.
    pub(crate) fn call(&self, args: &[u64; 4]) -> Outcome {
        match self.decide(args) {
            Ok(outcome) => outcome,
            Err(code) => Outcome::Return(code.into()),
        }
    }

    fn decide(&self, args: &[u64; 4]) -> Result<Outcome, ErrorCode> {
        match Function::try_from(args)? {
            Function::Version => Ok(Outcome::Return(u32::from(VERSION).into())),
            Function::CpuSuspend { state, entry } => match state {
                PowerState::StandbyOrRetention(_) => Ok(Outcome::Standby),
                PowerState::PowerDown(_) => Ok(Outcome::PowerDown(start(entry)?)),
            },
            Function::CpuOff => Ok(Outcome::Off),
            Function::CpuOn { target_cpu, entry } => {
                let cpu = self.cpu(target_cpu)?;
                self.claim(cpu, start(entry)?)?;
                Ok(Outcome::Wake(cpu))
            }
            Function::AffinityInfo {
                mpidr,
                lowest_affinity_level: 0,
            } => {
                let cpu = self.cpu(mpidr)?;
                let state = self.state(cpu).ok_or(ErrorCode::InvalidParameters)?;
                Ok(Outcome::Return(state.load(Ordering::Acquire).into()))
            }
            Function::AffinityInfo { .. } => Err(ErrorCode::InvalidParameters),
            Function::MigrateInfoType => Ok(Outcome::Return(
                MigrateInfoType::MigrationNotRequired as u64,
            )),
            Function::SystemOff => Ok(Outcome::SystemOff),
            Function::SystemReset => Ok(Outcome::SystemReset),
            Function::Features { psci_func_id } => features(psci_func_id),
            _ => Err(ErrorCode::NotSupported),
        }
    }

    /// Takes `cpu` from OFF to ON_PENDING, to start at `start`.
    fn claim(&self, cpu: usize, start: Start) -> Result<(), ErrorCode> {
        let state = self.state(cpu).ok_or(ErrorCode::InvalidParameters)?;
        // A state of its own keeps a second caller from seeing ON_PENDING with half a start.
        const CLAIMED: u8 = 0xff;
        match state.compare_exchange(OFF, CLAIMED, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {}
            Err(ON) => return Err(ErrorCode::AlreadyOn),
            Err(_) => return Err(ErrorCode::OnPending),
        }
        if let (Some(entry), Some(context_id)) = (self.entries.get(cpu), self.context_ids.get(cpu))
        {
            entry.store(start.entry, Ordering::Relaxed);
            context_id.store(start.context_id, Ordering::Relaxed);
        }
        state.store(ON_PENDING, Ordering::Release);
        Ok(())
    }

    fn cpu(&self, mpidr: Mpidr) -> Result<usize, ErrorCode> {
        let cpu = usize::from(mpidr.aff0);
        let flat = mpidr.aff1 == 0 && mpidr.aff2 == 0 && mpidr.aff3.unwrap_or(0) == 0;
        if flat && cpu < self.count.load(Ordering::Relaxed) {
            Ok(cpu)
        } else {
            Err(ErrorCode::InvalidParameters)
        }
    }

    fn state(&self, cpu: usize) -> Option<&AtomicU8> {
        self.states.get(cpu)
    }

    fn set_state(&self, cpu: usize, state: u8) {
        if let Some(slot) = self.state(cpu) {
            slot.store(state, Ordering::Release);
        }
    }
}

/// Checks an entry point: aligned, and where the normal world can run code at all.
fn start(entry: EntryPoint) -> Result<Start, ErrorCode> {
    let address = entry.entry_point_address();
    let reachable = address >= virt::RAM_BASE || virt::NORMAL_FLASH.contains(&address);
    if !reachable || !address.is_multiple_of(4) {
        return Err(ErrorCode::InvalidAddress);
    }
    Ok(Start {
        entry: address,
        context_id: entry.context_id(),
    })
}

fn features(queried: PsciFeature) -> Result<Outcome, ErrorCode> {
    use FunctionId as F;
    match queried {
        PsciFeature::PsciFunction(F::CpuSuspend32 | F::CpuSuspend64) => Ok(Outcome::Return(
            FeatureFlagsCpuSuspend::EXTENDED_POWER_STATE.bits().into(),
        )),
        PsciFeature::SmcccVersion
        | PsciFeature::PsciFunction(
            F::PsciVersion
            | F::CpuOff
            | F::CpuOn32
            | F::CpuOn64
            | F::AffinityInfo32
            | F::AffinityInfo64
            | F::MigrateInfoType
            | F::SystemOff
            | F::SystemReset
            | F::PsciFeatures,
        ) => Ok(Outcome::Return(0)),
        PsciFeature::PsciFunction(_) => Err(ErrorCode::NotSupported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU_ON: u64 = 0xc400_0003;
    const AFFINITY_INFO: u64 = 0xc400_0004;
    const ENTRY: u64 = virt::images::NORMAL_BASE;

    fn two_cpus() -> Cpus {
        let cpus = Cpus::new();
        cpus.set_count(2);
        cpus.set_on(0);
        cpus
    }

    fn error(code: ErrorCode) -> Outcome {
        Outcome::Return(code.into())
    }

    #[test]
    fn cpu_on_goes_from_off_over_pending_to_on() {
        let cpus = two_cpus();
        assert_eq!(cpus.call(&[AFFINITY_INFO, 1, 0, 0]), Outcome::Return(1));
        assert_eq!(cpus.pending_start(1), None);
        assert_eq!(cpus.call(&[CPU_ON, 1, ENTRY, 7]), Outcome::Wake(1));
        assert_eq!(
            cpus.pending_start(1),
            Some(Start {
                entry: ENTRY,
                context_id: 7
            })
        );
        assert_eq!(
            cpus.call(&[CPU_ON, 1, ENTRY, 8]),
            error(ErrorCode::OnPending)
        );
        assert_eq!(cpus.call(&[AFFINITY_INFO, 1, 0, 0]), Outcome::Return(2));
        cpus.set_on(1);
        assert_eq!(
            cpus.call(&[CPU_ON, 1, ENTRY, 9]),
            error(ErrorCode::AlreadyOn)
        );
        assert_eq!(cpus.call(&[AFFINITY_INFO, 1, 0, 0]), Outcome::Return(0));
        cpus.set_off(1);
        assert_eq!(cpus.call(&[AFFINITY_INFO, 1, 0, 0]), Outcome::Return(1));
        assert_eq!(cpus.call(&[CPU_ON, 1, ENTRY, 9]), Outcome::Wake(1));
    }

    #[test]
    fn cpu_on_refuses_secure_and_unaligned_entries() {
        let cpus = two_cpus();
        for entry in [
            0,
            virt::SECURE_RAM_BASE,
            virt::KERNEL_BASE,
            virt::NORMAL_UART,
            ENTRY + 2,
        ] {
            let expected = error(ErrorCode::InvalidAddress);
            assert_eq!(cpus.call(&[CPU_ON, 1, entry, 0]), expected, "{entry:#x}");
        }
        assert_eq!(cpus.call(&[AFFINITY_INFO, 1, 0, 0]), Outcome::Return(1));
    }

    #[test]
    fn unknown_cpus_are_invalid_parameters() {
        let cpus = two_cpus();
        for mpidr in [2, 8, 0x100, 0x1_0000, 1 << 32, 1 << 24, u64::MAX] {
            let expected = error(ErrorCode::InvalidParameters);
            assert_eq!(
                cpus.call(&[CPU_ON, mpidr, ENTRY, 0]),
                expected,
                "{mpidr:#x}"
            );
            assert_eq!(
                cpus.call(&[AFFINITY_INFO, mpidr, 0, 0]),
                expected,
                "{mpidr:#x}"
            );
        }
        assert_eq!(
            cpus.call(&[AFFINITY_INFO, 0, 1, 0]),
            error(ErrorCode::InvalidParameters)
        );
    }

    #[test]
    fn only_answered_functions_are_features() {
        let cpus = two_cpus();
        assert_eq!(
            cpus.call(&[0x8400_0000, 0, 0, 0]),
            Outcome::Return(0x1_0001)
        );
        assert_eq!(cpus.call(&[0x8400_000a, CPU_ON, 0, 0]), Outcome::Return(0));
        assert_eq!(
            cpus.call(&[0x8400_000a, 0xc400_0001, 0, 0]),
            Outcome::Return(2)
        );
        assert_eq!(
            cpus.call(&[0x8400_000a, 0x8400_000e, 0, 0]),
            error(ErrorCode::NotSupported)
        );
        assert_eq!(
            cpus.call(&[0x8400_000a, 0x1234, 0, 0]),
            error(ErrorCode::NotSupported)
        );
        assert_eq!(
            cpus.call(&[0x8400_000e, 0, 0, 0]),
            error(ErrorCode::NotSupported)
        );
        assert_eq!(
            cpus.call(&[0x8400_0099, 0, 0, 0]),
            error(ErrorCode::NotSupported)
        );
    }

    #[test]
    fn suspend_tells_standby_from_power_down() {
        let cpus = two_cpus();
        assert_eq!(cpus.call(&[0xc400_0001, 1, 0, 0]), Outcome::Standby);
        assert_eq!(
            cpus.call(&[0xc400_0001, 1 << 30, ENTRY, 3]),
            Outcome::PowerDown(Start {
                entry: ENTRY,
                context_id: 3
            })
        );
        assert_eq!(
            cpus.call(&[0xc400_0001, 1 << 30, virt::KERNEL_BASE, 3]),
            error(ErrorCode::InvalidAddress)
        );
    }
}
