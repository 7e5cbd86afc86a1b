//! Questions that pseudo-TAs may ask the account.

mod audit;
pub mod inspect;
pub mod leaks;
mod statistics;
mod watch;

pub use audit::AuditServices;
pub use inspect::Inspect;
pub use leaks::LeakServices;
pub use statistics::Statistics;
use tally_core::pta::services::Control;
use tally_core::pta::{PtaResult, Session, Step};
pub use watch::WatchServices;

/// All of it.
pub trait Answers: Statistics + Inspect + AuditServices + WatchServices + LeakServices {}

/// How a pseudo-TA that asks the account is entered, by what it needs.
#[derive(Clone, Copy)]
pub enum Entry {
    /// The account.
    Asks(fn(&dyn Answers, &Session<'_>, Step<'_>) -> PtaResult),
    /// It ends TAs or asks for the time, besides.
    Controls(fn(&dyn Answers, &dyn Control, &Session<'_>, Step<'_>) -> PtaResult),
}
