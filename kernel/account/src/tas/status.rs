//! The status of a user TA on the secure console, in the form that OP-TEE's people know.
//!
//! **Invariant:** a line is printed with nothing locked.

use crate::inspector::Inspector;
use crate::selected::instance_from;
use crate::tas::regions::first_region;
use core::fmt;
use log::error;
use tally_abi::TeeUuid;
use tally_abi::ta::flags;
use tally_core::ta::instance::{InstanceRef, Life};
use tally_mem::machine::Machine;
use tally_records::{Selector, prot};

impl<M: Machine> Inspector<'_, M> {
    /// Writes the status of every instance of a TA; how many there are.
    #[must_use]
    pub fn print_status(&self, uuid: TeeUuid) -> usize {
        let mut printed = 0;
        let mut from = 0;
        loop {
            let all = Selector::ta(uuid);
            let next =
                instance_from(self.state().guest(self.guest), &all, from).map(|(found, _)| found);
            let Some(instance) = next else {
                return printed;
            };
            from = instance.slot() + 1;
            self.print_instance(uuid, instance);
            printed += 1;
        }
    }

    fn print_instance(&self, uuid: TeeUuid, instance: InstanceRef) {
        let deepest = self.stack_deepest(instance);
        let (slot, generation) = (instance.slot(), instance.generation);
        let (flags, stack_pointer, stack_len, used, life) = {
            let state = self.state();
            let Some(found) = state.instance(instance) else {
                return;
            };
            let sp = match (found.task, found.busy) {
                (Some(_), Some(thread)) => self.threads.user_sp(thread),
                _ => found.stack_top,
            };
            let regions = found
                .space
                .as_ref()
                .map_or(&[][..], |space| space.regions());
            let used: u64 = regions.iter().map(|region| region.committed_bytes()).sum();
            (found.flags, sp, found.stack_len, used, found.life)
        };
        let dead = if life == Life::Dead { ", dead" } else { "" };
        error!("Status of user TA {uuid} (instance {generation}{dead})");
        error!("Arch: aarch64");
        error!("Flags: {}", FlagNames(flags));
        error!("Sessions List:");
        let this = Selector::instance(uuid, generation);
        let mut from = 0;
        while let Some((row, next)) = self.next_session(&this, from) {
            error!("{:#010x}", row.session);
            from = next;
        }
        error!(
            "Stack Ptr: {stack_pointer:#x}, Size: {stack_len:#x}, Free: {:#x}",
            stack_len.saturating_sub(deepest)
        );
        error!("Memory Used: {used:#x}");
        error!("Memory List:");
        let mut cursor = first_region(slot);
        let mut number = 0;
        while let Some((row, next)) = self.next_region_with_addresses(&this, cursor) {
            error!(
                "region {number:2}: va {:#010x} pa {:#010x} size {:#08x} flags {}",
                row.va,
                row.pa,
                row.usable,
                Columns(row.prot)
            );
            cursor = next;
            number += 1;
        }
    }
}

/// The `TA_FLAG_*` that are set, by name.
struct FlagNames(u32);

impl fmt::Display for FlagNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // On the stack they would take much of it.
        const NAMES: &[(u32, &str)] = &flags::NAMES;
        let mut rest = self.0;
        let mut bar = "";
        for (bit, name) in NAMES {
            if rest & bit != 0 {
                write!(f, "{bar}{name}")?;
                rest &= !bit;
                bar = "|";
            }
        }
        if rest != 0 || self.0 == 0 {
            write!(f, "{bar}{rest:#x}")?;
        }
        Ok(())
    }
}

/// The rights of a page, the kernel's in small letters and the TA's in capitals. The translation
/// gives the kernel what the TA may load and store; PAN keeps it out all the same.
struct Columns(u32);

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |bit, letter| if self.0 & bit != 0 { letter } else { '-' };
        write!(
            f,
            "{}{}-{}{}{}",
            letter(prot::READ, 'r'),
            letter(prot::WRITE, 'w'),
            letter(prot::READ, 'R'),
            letter(prot::WRITE, 'W'),
            letter(prot::EXECUTE, 'X')
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Columns, FlagNames, flags, prot};

    #[test]
    fn flags_have_their_names() {
        let both = flags::SINGLE_INSTANCE | flags::MULTI_SESSION;
        assert_eq!(
            format!("{}", FlagNames(both)),
            "SINGLE_INSTANCE|MULTI_SESSION"
        );
        assert_eq!(format!("{}", FlagNames(0)), "0x0");
        assert_eq!(
            format!("{}", FlagNames(flags::MULTI_SESSION | 1)),
            "MULTI_SESSION|0x1"
        );
    }

    #[test]
    fn rights_have_the_columns_that_people_know() {
        let code = prot::READ | prot::EXECUTE;
        assert_eq!(format!("{}", Columns(code)), "r--R-X");
        assert_eq!(format!("{}", Columns(prot::READ | prot::WRITE)), "rw-RW-");
        assert_eq!(format!("{}", Columns(prot::READ)), "r--R--");
    }
}
