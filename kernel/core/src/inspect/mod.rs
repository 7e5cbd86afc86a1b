//! Looking into the secure world: TAs whole, address spaces, what was refused, what has ended.
//!
//! **Invariant:** asks without the TA's help and changes nothing; work that grows with a TA's size is
//! cut into steps, and the state is unlocked between them.
//! **Knows nothing of:** who asks, and how it is printed.

mod detail;
pub mod failures;
mod figures;
pub mod history;
pub mod left;
pub mod pools;
pub mod regions;
pub mod rows;
mod stack;
mod status;
mod unfreed;

use crate::guest::Guest;
use crate::instance::{Instance, InstanceRef, Life};
use crate::kernel::Kernel;
use crate::session::Target;
use tally_abi::TeeUuid;
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

    fn names(&self, found: &Instance) -> bool {
        self.uuid.is_none_or(|uuid| uuid == found.uuid)
            && self
                .instance
                .is_none_or(|number| number == found.generation)
    }
}

impl<M: Machine> Kernel<M> {
    /// The instance in slot `from` or behind it that `which` means, by its number, and where to go on.
    pub fn instance_from(&self, which: Which, from: usize) -> Option<(Which, usize)> {
        let state = self.state();
        let (instance, found) = state.guest.instance_from(which, from)?;
        let meant = Which {
            uuid: Some(found.uuid),
            instance: Some(instance.generation),
        };
        Some((meant, instance.slot + 1))
    }
}

impl Guest {
    /// The first instance meant by `which` in slot `from` or behind it.
    #[must_use]
    pub fn instance_from(&self, which: Which, from: usize) -> Option<(InstanceRef, &Instance)> {
        self.instances
            .iter()
            .find(|(slot, found)| *slot >= from && which.names(found))
            .map(|(slot, found)| {
                let generation = found.generation;
                (InstanceRef { slot, generation }, found)
            })
    }

    /// Whether there are instances meant by `which`, all of them dead.
    #[must_use]
    pub fn is_dead(&self, which: Which) -> bool {
        let meant = self
            .instances
            .iter()
            .filter(|(_, found)| which.names(found));
        let mut lives = meant.map(|(_, found)| found.life).peekable();
        lives.peek().is_some() && lives.all(|life| life == Life::Dead)
    }

    /// The sessions that an instance serves.
    pub fn sessions_of(
        &self,
        instance: InstanceRef,
    ) -> impl Iterator<Item = &crate::session::Session> {
        self.sessions
            .iter()
            .map(|(_, session)| session)
            .filter(move |session| session.target == Target::Ta(instance))
    }
}
