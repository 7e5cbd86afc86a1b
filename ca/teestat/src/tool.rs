//! One run of the tool: what it has, and how it fails.
//!
//! **Invariant:** a failure says what to do, or what the nearest valid choice is.
//! **Knows nothing of:** the commands.

use alloc::string::String;
use core::fmt::{self, Write};

use tally_abi::TeeUuid;
use teec::{Context, ErrorKind};

use crate::client::inspect::Subject;
use crate::client::{self, ClientError};
use crate::text::Named;
use crate::{Files, Memory, Names, Server, Terminal};

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
    pub(crate) terminal: &'a dyn Terminal,
    pub(crate) server: &'a dyn Server,
    pub(crate) as_json: bool,
}

impl Tool<'_, '_> {
    /// The TA that `who` names, by UUID or short name.
    pub(crate) fn ta_named(&self, who: &str) -> Result<TeeUuid, Failure> {
        let uuid = self.names.uuid_of(who).or_else(|| who.parse().ok());
        uuid.ok_or_else(|| {
            Failure::Usage(alloc::format!(
                "`{who}` is neither a UUID nor the name of a known TA{}",
                self.loaded()
            ))
        })
    }

    /// Whom `who` names: `kernel`, or a TA by UUID or short name, perhaps with `#` and the number
    /// of an instance.
    pub(crate) fn subject(&self, who: &str) -> Result<Subject, Failure> {
        if who == "kernel" {
            return Ok(Subject::NOBODY);
        }
        match who.split_once('#') {
            None => self.ta_named(who).map(Subject::ta),
            Some((name, number)) => {
                let uuid = self.ta_named(name)?;
                let number = number.parse().map_err(|_| {
                    Failure::Usage(alloc::format!("`{number}` is not an instance's number"))
                })?;
                Ok(Subject::instance(uuid, number))
            }
        }
    }

    /// What a question about a TA failed with; says which TAs are loaded if that one is not.
    pub(crate) fn about_ta(&self, error: ClientError) -> Failure {
        if error.kind() == Some(ErrorKind::ItemNotFound) {
            self.not_loaded()
        } else {
            error.into()
        }
    }

    /// The TA asked for is not loaded; says which are.
    pub(crate) fn not_loaded(&self) -> Failure {
        Failure::Said(alloc::format!(
            "no TA with this UUID is loaded{}",
            self.loaded()
        ))
    }

    /// Which TAs are loaded, as the end of a complaint.
    fn loaded(&self) -> String {
        let mut said = String::new();
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
        said
    }
}
