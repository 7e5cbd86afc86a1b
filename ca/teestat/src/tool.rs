//! One run of the tool: what it has, and how it fails.
//!
//! **Invariant:** a failure says what to do, or what the nearest valid choice is.
//! **Knows nothing of:** the commands.

use alloc::string::String;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use teec::Context;

use crate::client::{self, ClientError};
use crate::text::Named;
use crate::{Files, Memory, Names};

pub(crate) enum Failure {
    /// Not understood.
    Usage(String),
    /// The other side refused.
    Client(ClientError),
    /// It failed, as said.
    Said(String),
    /// The output cannot be written.
    Output,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Output
    }
}

/// Not understood, because of `why`.
pub(crate) fn usage(why: &str) -> Failure {
    Failure::Usage(String::from(why))
}

pub(crate) struct Tool<'a, 'c> {
    pub(crate) context: &'a Context<'c>,
    pub(crate) out: &'a mut dyn Write,
    pub(crate) names: &'a dyn Names,
    pub(crate) files: &'a dyn Files,
    pub(crate) memory: &'a mut Memory,
    pub(crate) as_json: bool,
}

impl Tool<'_, '_> {
    /// The TA that `who` names, by UUID or short name.
    pub(crate) fn ta_named(&self, who: &str) -> Result<TeeUuid, Failure> {
        let uuid = self.names.uuid_of(who).or_else(|| who.parse().ok());
        uuid.ok_or_else(|| {
            Failure::Usage(alloc::format!(
                "`{who}` is neither a UUID nor the name of a known TA"
            ))
        })
    }

    /// The TA asked for is not loaded; says which are.
    pub(crate) fn not_loaded(&self) -> Failure {
        let mut said = String::from("no TA with this UUID is loaded");
        match client::ta_stats(self.context) {
            Ok(loaded) if loaded.is_empty() => said.push_str("; none is loaded"),
            Ok(loaded) => {
                said.push_str("; loaded are: ");
                for (i, ta) in loaded.iter().enumerate() {
                    let comma = if i == 0 { "" } else { ", " };
                    // A string takes everything.
                    let _ = write!(said, "{comma}{}", Named(ta.uuid, self.names));
                }
            }
            Err(_) => {}
        }
        Failure::Said(said)
    }
}
