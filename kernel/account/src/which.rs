//! Selector of TA instances.

use crate::book::Book;
use crate::inspector::Inspector;
use tally_abi::TeeUuid;
use tally_core::guest::Guest;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::machine::Machine;

/// Which TA instances are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Which {
    /// Of this TA; of all if `None`.
    pub uuid: Option<TeeUuid>,
    /// Only the instance of this number.
    pub instance: Option<u32>,
}

impl Which {
    /// All instances of all TAs.
    pub const ALL: Self = Self {
        uuid: None,
        instance: None,
    };

    pub(crate) fn names(&self, found: &Instance<Book>) -> bool {
        self.uuid.is_none_or(|uuid| uuid == found.uuid)
            && self
                .instance
                .is_none_or(|number| number == found.generation)
    }
}

impl<M: Machine> Inspector<'_, M> {
    /// The instance in slot `from` or behind it, and where to go on.
    pub(crate) fn instance_after(self, from: usize) -> Option<(InstanceRef, usize)> {
        let state = self.state();
        let (instance, _) = instance_from(state.guest(self.guest), Which::ALL, from)?;
        Some((instance, instance.slot() + 1))
    }

    /// The instance in slot `from` or behind it that `which` means, by its number, and where to go on.
    pub(crate) fn next_instance(self, which: Which, from: usize) -> Option<(Which, usize)> {
        let state = self.state();
        let (instance, found) = instance_from(state.guest(self.guest), which, from)?;
        let meant = Which {
            uuid: Some(found.uuid),
            instance: Some(instance.generation),
        };
        Some((meant, instance.slot() + 1))
    }
}

/// The first instance meant by `which` in slot `from` or behind it.
pub(crate) fn instance_from(
    guest: &Guest<Book>,
    which: Which,
    from: usize,
) -> Option<(InstanceRef, &Instance<Book>)> {
    let mut instances = guest.instances.named();
    instances.find(|(instance, found)| instance.slot() >= from && which.names(found))
}

/// Whether there are instances meant by `which`, all of them dead.
pub(crate) fn is_dead(guest: &Guest<Book>, which: Which) -> bool {
    let instances = guest.instances.iter();
    let meant = instances.filter(|(_, found)| which.names(found));
    let mut lives = meant.map(|(_, found)| found.life).peekable();
    lives.peek().is_some() && lives.all(|life| life == Life::Dead)
}
