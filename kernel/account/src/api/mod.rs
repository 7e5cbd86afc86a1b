//! Questions that pseudo-TAs may ask the account.

mod actions;
mod lists;

pub use actions::Actions;
pub use lists::{Lists, Rows};
use tally_core::pta::services::Control;
use tally_core::pta::{PtaResult, Session, Step};

/// All of it.
pub trait Answers: Lists + Actions {}

/// How a pseudo-TA that asks the account is entered, by what it needs.
#[derive(Clone, Copy)]
pub enum Entry {
    /// The account.
    Asks(fn(&dyn Answers, &Session<'_>, Step<'_>) -> PtaResult),
    /// It ends TAs or asks for the time, besides.
    Controls(fn(&dyn Answers, &dyn Control, &Session<'_>, Step<'_>) -> PtaResult),
}
