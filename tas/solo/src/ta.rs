//! The commands.
//!
//! **Invariant:** only one session is ever open; the kernel sees to that.

use ta_runtime::ParamType::{None as Unused, ValueInput, ValueOutput};
use ta_runtime::abi::ta::flags;
use ta_runtime::{Error, ErrorKind, Parameters, Result, Time, syscall, ta_invoke_command};
use ta_uuids::solo;

ta_runtime::properties! {
    uuid: solo::UUID,
    flags: flags::SINGLE_INSTANCE,
    stack_size: 8 << 10,
    heap_size: 32 << 10,
}

#[ta_invoke_command]
fn invoke_command(command: u32, params: &mut Parameters) -> Result<()> {
    match command {
        solo::CMD_NOP => Ok(()),
        solo::CMD_WAIT => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            syscall::mask_cancellation(false);
            Time::wait(params.0.as_value()?.a())
        }
        solo::CMD_SPIN_UNTIL_CANCELLED => {
            syscall::mask_cancellation(false);
            while !syscall::cancelled() {
                core::hint::spin_loop();
            }
            Err(Error::new(ErrorKind::Cancel))
        }
        solo::CMD_SPIN => {
            params.expect([ValueInput, ValueOutput, Unused, Unused])?;
            let wanted = u64::from(params.0.as_value()?.a());
            let passed = spin(wanted);
            params.1.as_value()?.set_a(passed as u32);
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

/// Computes for at least `wanted` milliseconds; gives how long it was.
fn spin(wanted: u64) -> u64 {
    let mut start = Time::new();
    start.system_time();
    loop {
        for _ in 0..1000 {
            core::hint::spin_loop();
        }
        let mut now = Time::new();
        now.system_time();
        let passed = now.as_millis().saturating_sub(start.as_millis());
        if passed >= wanted {
            return passed;
        }
    }
}
