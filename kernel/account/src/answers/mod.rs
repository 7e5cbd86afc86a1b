//! The answers of the account to pseudo-TAs.

mod audit;
mod inspect;
mod statistics;

use crate::api::Answers;
use crate::inspector::Inspector;
use tally_mem::machine::Machine;

impl<M: Machine> Answers for Inspector<'_, M> {}
