//! A Rust panic ends the TA: a line on the console, then `TEE_Panic`.
//!
//! **Invariant:** neither allocates nor returns.

use crate::syscall;
use crate::trace::Trace;
use core::panic::PanicInfo;
use tally_abi::TeeResult;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(at) => {
            let (file, line) = (at.file(), at.line());
            Trace::print(format_args!(
                "E/TA: panicked at {file}:{line}: {}\n",
                info.message()
            ));
        }
        None => Trace::print(format_args!("E/TA: panicked: {}\n", info.message())),
    }
    syscall::panic(TeeResult::GENERIC.0)
}
