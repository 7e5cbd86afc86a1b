//! One run of the tool: what it has, and how it fails.
//!
//! **Invariant:** a failure says what to do, or what the nearest valid choice is.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use serde::Serialize;
use tally_abi::TeeUuid;
use tally_insight::json;
use tally_insight::names::Names;
use tally_insight::schema::Schema;
use tally_records::{TaDetail, state};
use teec::{Context, ErrorKind};

use crate::client;
use crate::client::ClientError;
use crate::text::Called;
use crate::{Files, Memory, Namer, STATUS_FAILED, STATUS_USAGE, Server, Terminal, words};
use tally_records::Selector;

pub(crate) enum Failure {
    /// Not understood.
    Usage(String),
    /// There is no such command.
    Command(String),
    /// The other side refused.
    Client(ClientError),
    /// It failed, as said.
    Said(String),
    /// The output cannot be written.
    Output,
}

impl Failure {
    /// The exit status that tells it.
    pub(crate) const fn status(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Command(_) => STATUS_USAGE,
            Self::Client(_) | Self::Said(_) | Self::Output => STATUS_FAILED,
        }
    }
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
    pub(crate) names: &'a Namer<'a, 'c>,
    pub(crate) files: &'a dyn Files,
    pub(crate) memory: &'a mut Memory,
    pub(crate) terminal: &'a dyn Terminal,
    pub(crate) server: &'a dyn Server,
    pub(crate) as_json: bool,
}

impl Tool<'_, '_> {
    /// An answer: an object for programs, or what `text` writes for people.
    pub(crate) fn tell<T: Serialize + Schema>(
        &mut self,
        answer: &T,
        text: impl FnOnce(&mut dyn Write) -> fmt::Result,
    ) -> Result<(), Failure> {
        if self.as_json {
            json::write(self.out, answer)?;
        } else {
            text(self.out)?;
        }
        Ok(())
    }

    /// The TA that `who` names, by UUID or short name.
    pub(crate) fn ta_named(&self, who: &str) -> Result<TeeUuid, Failure> {
        if who == "kernel" {
            return Err(usage(
                "`kernel` is no TA; `maps kernel`, `slabinfo kernel` and `leaks scan kernel` are about it",
            ));
        }
        if who.starts_with('-') {
            return Err(Failure::Usage(alloc::format!("`{who}` is no option here")));
        }
        if let Some((name, _)) = who.split_once('#') {
            return Err(Failure::Usage(alloc::format!(
                "this is about all instances of a TA: `{name}`, not `{who}`"
            )));
        }
        let machine = self.names.machine();
        let uuid = machine.uuid_of(who).or_else(|| who.parse().ok());
        let uuid = uuid.map_or_else(|| self.ta_meant(who), Ok)?;
        if uuid == TeeUuid::nil() {
            return Err(usage("the nil UUID names no TA"));
        }
        Ok(uuid)
    }

    /// The TA whose UUID begins so, of those that have a name or are loaded.
    fn ta_meant(&self, who: &str) -> Result<TeeUuid, Failure> {
        let tas = self.tas();
        let mut known = self.names.machine().known();
        known.extend(
            tas.iter()
                .map(|ta| (short_or_uuid(ta.uuid, self.names), ta.uuid)),
        );
        words::ta(who, &known)
            .map_err(|why| Failure::Usage(alloc::format!("{why}{}", loaded(&tas, self.names))))
    }

    /// Whom `who` names: `kernel`, or a TA by UUID or short name, perhaps with `#` and the number
    /// of an instance.
    pub(crate) fn subject(&self, who: &str) -> Result<Selector, Failure> {
        if who == "kernel" {
            return Ok(Selector::KERNEL);
        }
        self.ta_subject(who)
    }

    /// The TA that `who` names, perhaps with `#` and the number of an instance.
    pub(crate) fn ta_subject(&self, who: &str) -> Result<Selector, Failure> {
        match who.split_once('#') {
            None => self.ta_named(who).map(Selector::ta),
            Some((name, number)) => {
                let uuid = self.ta_named(name)?;
                let number = number.parse().map_err(|_| {
                    Failure::Usage(alloc::format!("`{number}` is not an instance's number"))
                })?;
                Ok(Selector::instance(uuid, number))
            }
        }
    }

    /// What a question about a TA failed with; says which TAs are loaded if that one is not.
    pub(crate) fn about_ta(&self, who: &Selector, error: ClientError) -> Failure {
        if is_gone(&error) {
            self.not_there(who)
        } else {
            error.into()
        }
    }

    /// The TA asked for is not loaded, or dead; says which are loaded.
    pub(crate) fn not_there(&self, who: &Selector) -> Failure {
        Failure::Said(why_not_there(who, &self.tas(), self.names))
    }

    /// The instances that are loaded, as far as that can be told.
    fn tas(&self) -> Vec<TaDetail> {
        client::rows::<TaDetail>(self.context, &Selector::TAS).unwrap_or_default()
    }
}

/// Whether the answer is that there is no such TA, or that it has no memory any more.
pub(crate) fn is_gone(error: &ClientError) -> bool {
    matches!(
        error.kind(),
        Some(ErrorKind::ItemNotFound | ErrorKind::TargetDead)
    )
}

/// Why nothing can be said of a TA.
fn why_not_there(who: &Selector, tas: &[TaDetail], names: &dyn Names) -> String {
    let name = Called(who.uuid, names);
    let same: Vec<&TaDetail> = tas.iter().filter(|ta| ta.uuid == who.uuid).collect();
    let living = same.iter().filter(|ta| ta.state != state::DEAD);
    let living: Vec<String> = living.map(|ta| alloc::format!("{}", ta.instance)).collect();
    match (
        who.instance_number(),
        same.iter().find(|ta| who.means(ta.uuid, ta.instance)),
    ) {
        (_, Some(_)) if living.is_empty() => {
            alloc::format!("{name} is dead, its heap is freed; see `teestat history`")
        }
        (_, Some(ta)) => alloc::format!(
            "instance {} of {name} is dead, its heap is freed; alive: {}",
            ta.instance,
            living.join(", ")
        ),
        (Some(number), None) if !same.is_empty() => {
            let there: Vec<String> = same
                .iter()
                .map(|ta| alloc::format!("{}", ta.instance))
                .collect();
            let there = there.join(", ");
            alloc::format!("{name} has no instance {number}; there are: {there}")
        }
        (_, None) => alloc::format!("no TA with this UUID is loaded{}", loaded(tas, names)),
    }
}

/// A TA's short name, or its UUID.
fn short_or_uuid(uuid: TeeUuid, names: &dyn Names) -> String {
    let name = names.name_of(uuid);
    name.unwrap_or_else(|| alloc::format!("{uuid}"))
}

/// Which TAs are loaded, as the end of a complaint.
fn loaded(tas: &[TaDetail], names: &dyn Names) -> String {
    match named_once(tas.iter().map(|ta| ta.uuid), names) {
        named if named.is_empty() => String::from("; none is loaded"),
        named => alloc::format!("; loaded are: {}", named.join(", ")),
    }
}

/// Names of TAs, each of them once, in the order of their first.
pub(crate) fn named_once(uuids: impl Iterator<Item = TeeUuid>, names: &dyn Names) -> Vec<String> {
    let mut once: Vec<TeeUuid> = Vec::new();
    for uuid in uuids {
        if !once.contains(&uuid) {
            once.push(uuid);
        }
    }
    let named = once.iter().map(|&uuid| Called(uuid, names));
    named.map(|name| alloc::format!("{name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_insight::names::NoNames;

    fn ta(uuid: u128, instance: u32, state: u32) -> TaDetail {
        TaDetail {
            uuid: TeeUuid::from_u128(uuid),
            instance,
            state,
            ..TaDetail::default()
        }
    }

    #[test]
    fn a_dead_ta_is_not_called_unknown() {
        let dead = [ta(1, 0, state::DEAD), ta(2, 0, state::IDLE)];
        let why = |who| why_not_there(&who, &dead, &NoNames);
        let first = TeeUuid::from_u128(1);
        for who in [Selector::ta(first), Selector::instance(first, 0)] {
            assert!(why(who).ends_with("is dead, its heap is freed; see `teestat history`"));
        }
        let one_of_two = [ta(1, 0, state::DEAD), ta(1, 1, state::IDLE)];
        let why = why_not_there(&Selector::ta(first), &one_of_two, &NoNames);
        assert!(
            why.starts_with("instance 0 of ") && why.ends_with("alive: 1"),
            "{why}"
        );
    }

    #[test]
    fn an_instance_that_is_not_there_is_answered_with_those_that_are() {
        let tas = [ta(1, 0, state::IDLE), ta(1, 4, state::IDLE)];
        let why = |who| why_not_there(&who, &tas, &NoNames);
        let none = why(Selector::instance(TeeUuid::from_u128(1), 1));
        assert!(
            none.ends_with("has no instance 1; there are: 0, 4"),
            "{none}"
        );
        let unknown = why(Selector::ta(TeeUuid::from_u128(9)));
        assert_eq!(
            unknown,
            "no TA with this UUID is loaded; loaded are: 00000000-0000-0000-0000-000000000001"
        );
        // Bug: a TA between whose instances another one is loaded was told twice.
        let mixed = [ta(1, 0, 0), ta(2, 1, 0), ta(1, 2, 0)];
        let unknown = why_not_there(&Selector::ta(TeeUuid::from_u128(9)), &mixed, &NoNames);
        assert_eq!(unknown.matches("000001").count(), 1, "{unknown}");
        let nobody = why_not_there(&Selector::ta(TeeUuid::from_u128(9)), &[], &NoNames);
        assert_eq!(nobody, "no TA with this UUID is loaded; none is loaded");
    }
}
