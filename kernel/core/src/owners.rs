//! The owner table: names for [`OwnerId`]s.
//!
//! **Invariant:** an id in use names one owner; an id is free only after its owner was released. One
//! that left something behind keeps its id, and so its name, as long as there are others.

use core::fmt;
use tally_abi::TeeUuid;
use tally_mem::owner::OwnerId;
use tally_mem::text::label;

/// How many owners there can be at a time.
pub const MAX_OWNERS: usize = 256;

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKind {
    /// A part of the kernel.
    Kernel,
    /// A client machine's bookkeeping.
    Guest,
    /// A TA instance.
    Ta,
    /// A session with this id.
    Session(u32),
}

/// An owner's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerName {
    /// What it is.
    pub kind: OwnerKind,
    /// TA it belongs to, or nil.
    pub uuid: TeeUuid,
    /// Name for people.
    pub label: Label,
}

/// Names of owners for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// The kernel itself.
    Kernel,
    /// A guest's bookkeeping.
    Guest,
    /// What calls in flight borrow.
    Calls,
    /// What statistics take.
    Statistics,
    /// A TA instance.
    Ta,
    /// A session.
    Session,
    /// An owner that ended and left something behind.
    Ended,
}

impl Label {
    const ALL: [Self; 7] = [
        Self::Kernel,
        Self::Guest,
        Self::Calls,
        Self::Statistics,
        Self::Ta,
        Self::Session,
        Self::Ended,
    ];
    const FIELDS: [[u8; 16]; Self::ALL.len()] = {
        let mut fields = [[0; 16]; Self::ALL.len()];
        let mut at = 0;
        while at < fields.len() {
            fields[Self::ALL[at] as usize] = label(Self::ALL[at].text());
            at += 1;
        }
        fields
    };

    /// The name as a zero-padded field.
    #[must_use]
    pub const fn field(self) -> [u8; 16] {
        Self::FIELDS[self as usize]
    }

    /// The name.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Guest => "guest",
            Self::Calls => "calls in flight",
            Self::Statistics => "statistics",
            Self::Ta => "ta",
            Self::Session => "session",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            OwnerKind::Kernel | OwnerKind::Guest => f.write_str(self.label.text()),
            OwnerKind::Ta => write!(f, "TA {}", self.uuid),
            OwnerKind::Session(id) => write!(f, "session {id:#x} of TA {}", self.uuid),
        }
    }
}

/// Every owner of the kernel.
#[derive(Debug)]
pub struct OwnerTable {
    names: [Option<OwnerName>; MAX_OWNERS],
    /// Owners that ended and left something behind.
    ended: u32,
}

impl OwnerTable {
    /// The fixed owners of the kernel: id and label.
    pub const FIXED: [(OwnerId, Label); 4] = [
        (OwnerId::KERNEL, Label::Kernel),
        (OwnerId::GUEST, Label::Guest),
        (OwnerId::CALL, Label::Calls),
        (OwnerId::STATS, Label::Statistics),
    ];

    /// A table that has only the fixed owners.
    #[must_use]
    pub fn new() -> Self {
        let mut names = [None; MAX_OWNERS];
        for (id, label) in Self::FIXED {
            let kind = if id == OwnerId::GUEST {
                OwnerKind::Guest
            } else {
                OwnerKind::Kernel
            };
            names[usize::from(id.0)] = Some(OwnerName {
                kind,
                uuid: TeeUuid::nil(),
                label,
            });
        }
        Self { names, ended: 0 }
    }

    /// Takes a free id for a new owner, or `None` when all are taken. When only ended owners are in
    /// the way, one of them loses its name.
    pub fn create(&mut self, name: OwnerName) -> Option<OwnerId> {
        let free = self.names.iter().position(Option::is_none);
        let free = match free {
            Some(free) => free,
            None => {
                let ended = self
                    .names
                    .iter()
                    .flatten()
                    .position(|n| n.label == Label::Ended)?;
                self.ended -= 1;
                ended
            }
        };
        self.names[free] = Some(name);
        Some(OwnerId(u16::try_from(free).ok()?))
    }

    /// Changes what an owner is.
    pub fn rename(&mut self, id: OwnerId, kind: OwnerKind) {
        if let Some(Some(name)) = self.names.get_mut(usize::from(id.0)) {
            name.kind = kind;
        }
    }

    /// Gives an id back. Fixed owners stay.
    pub fn release(&mut self, id: OwnerId) {
        if usize::from(id.0) >= Self::FIXED.len()
            && let Some(slot) = self.names.get_mut(usize::from(id.0))
        {
            *slot = None;
        }
    }

    /// Keeps the id of an owner that ended and left something behind. Fixed owners stay as they are.
    pub fn end(&mut self, id: OwnerId) {
        if usize::from(id.0) >= Self::FIXED.len()
            && let Some(Some(name)) = self.names.get_mut(usize::from(id.0))
        {
            name.label = Label::Ended;
            self.ended += 1;
        }
    }

    /// Gives back the ids of ended owners of which nothing is left.
    pub fn sweep(&mut self, has_something: impl Fn(OwnerId) -> bool) {
        if self.ended == 0 {
            return;
        }
        for (id, slot) in (0_u16..).zip(&mut self.names) {
            if slot.is_some_and(|name| name.label == Label::Ended) && !has_something(OwnerId(id)) {
                *slot = None;
                self.ended -= 1;
            }
        }
    }

    /// An owner's name.
    #[must_use]
    pub fn name(&self, id: OwnerId) -> Option<&OwnerName> {
        self.names.get(usize::from(id.0))?.as_ref()
    }

    /// All owners.
    pub fn iter(&self) -> impl Iterator<Item = (OwnerId, &OwnerName)> {
        (0_u16..)
            .zip(&self.names)
            .filter_map(|(id, name)| Some((OwnerId(id), name.as_ref()?)))
    }
}

impl Default for OwnerTable {
    fn default() -> Self {
        Self::new()
    }
}
