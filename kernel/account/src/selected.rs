//! Instances that a selector means.

use crate::book::Book;
use crate::inspector::Inspector;
use tally_core::guest::Guest;
use tally_core::ta::instance::{Instance, InstanceRef, Life};
use tally_mem::machine::Machine;
use tally_records::Selector;

impl<M: Machine> Inspector<'_, M> {
    /// The instance in slot `from` or behind it, and where to go on.
    pub(crate) fn instance_after(self, from: usize) -> Option<(InstanceRef, usize)> {
        let state = self.state();
        let (instance, _) = instance_from(state.guest(self.guest), &Selector::ALL, from)?;
        Some((instance, instance.slot() + 1))
    }
}

pub(crate) fn means(selector: &Selector, found: &Instance<Book>) -> bool {
    selector.means(found.uuid, found.generation)
}

/// The first instance that is meant in slot `from` or behind it.
pub(crate) fn instance_from<'g>(
    guest: &'g Guest<Book>,
    selector: &Selector,
    from: usize,
) -> Option<(InstanceRef, &'g Instance<Book>)> {
    let mut instances = guest.instances.named();
    instances.find(|(instance, found)| instance.slot() >= from && means(selector, found))
}

/// Whether there are instances that are meant, all of them dead.
pub(crate) fn is_dead(guest: &Guest<Book>, selector: &Selector) -> bool {
    let instances = guest.instances.iter();
    let meant = instances.filter(|(_, found)| means(selector, found));
    let mut lives = meant.map(|(_, found)| found.life).peekable();
    lives.peek().is_some() && lives.all(|life| life == Life::Dead)
}
