//! The observer's types, as guests and instances name them.

use core::convert::Infallible;
use core::fmt::Debug;
use tally_mem::fallible::HeapExhausted;

/// What an observer keeps ([`crate::observer::Observer`] says when).
pub trait Book: Debug + Sized + Send + 'static {
    /// What it keeps of each TA instance.
    type Notes: Debug + Send;
    /// Names a place in the code, and who was there.
    type Trace: Copy + Debug + Send;
    /// How a pseudo-TA that asks the account is entered.
    type Entry: Copy + Sync + 'static;
    /// What it has that is fixed when the kernel is built, or has a lock of its own.
    type Shared: Send + Sync + 'static;

    /// The notes of an instance that is about to be loaded.
    fn notes(&self) -> Self::Notes;

    /// The book of a guest that is not there. It has no memory.
    fn absent() -> Self;

    /// Takes all the memory that the tables of an absent guest's book need.
    ///
    /// # Errors
    /// [`HeapExhausted`]; then it is to be made anew.
    fn begin(&mut self) -> Result<(), HeapExhausted>;
}

impl Book for () {
    type Notes = ();
    type Trace = ();
    type Entry = Infallible;
    type Shared = ();

    fn notes(&self) -> Self::Notes {}

    fn absent() -> Self {}

    fn begin(&mut self) -> Result<(), HeapExhausted> {
        Ok(())
    }
}
