//! Answers of the account to pseudo-TAs.

mod actions;
mod lists;

use crate::api::Answers;
use crate::inspector::Inspector;
use tally_mem::machine::Machine;

impl<M: Machine> Answers for Inspector<'_, M> {}
