//! Time and random bytes under the Teaclave SDK's names.
//!
//! **Invariant:** where GlobalPlatform says that a call cannot fail, a failure ends the TA.

use crate::{Result, syscall};
use core::fmt;
use tally_abi::TeeResult;
use tally_abi::ta::{TeeTime, time_category};

/// A time with millisecond resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// Seconds.
    pub seconds: u32,
    /// Milliseconds, below 1000.
    pub millis: u32,
}

impl Time {
    /// Zero.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            seconds: 0,
            millis: 0,
        }
    }

    /// Reads the monotonic time from boot.
    pub fn system_time(&mut self) {
        if let Err(code) = self.read(time_category::SYSTEM) {
            syscall::panic(code.0);
        }
    }

    /// Reads the normal world's time.
    pub fn ree_time(&mut self) {
        if let Err(code) = self.read(time_category::REE) {
            syscall::panic(code.0);
        }
    }

    /// Reads the TA's persistent time.
    ///
    /// # Errors
    /// `TimeNotSet`.
    pub fn ta_time(&mut self) -> Result<()> {
        Ok(self.read(time_category::TA_PERSISTENT)?)
    }

    /// Sets the TA's persistent time.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn set_ta_time(&self) -> Result<()> {
        let time = TeeTime {
            seconds: self.seconds,
            millis: self.millis,
        };
        Ok(syscall::set_ta_time(&time)?)
    }

    /// Sleeps for `timeout` milliseconds.
    ///
    /// # Errors
    /// `Cancel`.
    pub fn wait(timeout: u32) -> Result<()> {
        Ok(syscall::wait(timeout)?)
    }

    /// Milliseconds altogether.
    #[must_use]
    pub const fn as_millis(&self) -> u64 {
        self.seconds as u64 * 1000 + self.millis as u64
    }

    fn read(&mut self, category: u64) -> core::result::Result<(), TeeResult> {
        let time = syscall::time(category)?;
        self.seconds = time.seconds;
        self.millis = time.millis;
        Ok(())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "(second: {}, millisecond: {})",
            self.seconds, self.millis
        )
    }
}

/// Random bytes.
pub struct Random;

impl Random {
    /// Fills `buffer`.
    pub fn generate<T: AsMut<[u8]>>(mut buffer: T) {
        if let Err(code) = syscall::random(buffer.as_mut()) {
            syscall::panic(code.0);
        }
    }
}
