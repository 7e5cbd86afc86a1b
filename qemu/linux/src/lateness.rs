//! Wake-up latency of a one-millisecond sleeper, measured as `cyclictest` does.
//!
//! **Invariant:** all sleeps are counted, the worst included.

use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{current_timer_slack, set_current_timer_slack};

const SLEEP: Duration = Duration::from_millis(1);

/// How late it was, of all sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lateness {
    /// Sleeps.
    pub(crate) sleeps: usize,
    /// Half of them were later.
    pub(crate) median: Duration,
    /// The latest.
    pub(crate) worst: Duration,
}

/// Sleeps again and again on the CPU that the caller is on, without the slack that Linux gives its
/// timers.
pub(crate) fn measure(sleeps: usize) -> Result<Lateness, String> {
    let slack = current_timer_slack().map_err(|error| format!("timer slack: {error}"))?;
    let set = |slack| set_current_timer_slack(slack).map_err(|error| format!("slack: {error}"));
    set(NonZeroU64::new(1))?;
    let lates = (0..sleeps).map(|_| {
        let begun = Instant::now();
        thread::sleep(SLEEP);
        begun.elapsed().saturating_sub(SLEEP)
    });
    let lateness = Lateness::of(lates.collect());
    set(NonZeroU64::new(slack))?;
    lateness.ok_or_else(|| "nobody slept".into())
}

impl Lateness {
    fn of(mut lates: Vec<Duration>) -> Option<Self> {
        lates.sort_unstable();
        Some(Self {
            sleeps: lates.len(),
            median: *lates.get(lates.len() / 2)?,
            worst: *lates.last()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_the_worst_of_all() {
        let lates = [5, 900, 7, 1, 6].map(Duration::from_micros).to_vec();
        let lateness = Lateness::of(lates).unwrap();
        assert_eq!(lateness.median, Duration::from_micros(6));
        assert_eq!(lateness.worst, Duration::from_micros(900));
        assert_eq!((lateness.sleeps, Lateness::of(Vec::new())), (5, None));
    }
}
