//! Shares: how many entries of a table one may have that all use.
//!
//! **Invariant:** whatever TAs and clients take, an entry is left for whoever wants to know who took them.

use crate::refused::{RefusedEntry, SharedTable};
use tally_abi::TeeUuid;

/// Holders of a table that are counted at a time.
const CANDIDATES: usize = 8;

/// Who wants an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// A client in the normal world that asks the account, or ends TAs.
    Operator,
    /// Another client in the normal world.
    Client,
    /// A TA, all of its instances.
    Ta(TeeUuid),
}

impl Asker {
    const fn uuid(self) -> TeeUuid {
        match self {
            Self::Operator | Self::Client => TeeUuid::nil(),
            Self::Ta(uuid) => uuid,
        }
    }
}

/// How a table is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Entries in all.
    pub all: usize,
    /// Of these, kept for operators.
    pub kept: usize,
    /// Most that clients of the normal world have together; with operators, so many and those that are kept.
    pub clients: usize,
    /// Most that one TA has.
    pub ta: usize,
}

impl Share {
    /// Sessions. An id has eight bits for the entry.
    pub const SESSIONS: Self = Self {
        all: 128,
        kept: 8,
        clients: 96,
        ta: 32,
    };
    /// TA instances; a TA's are those that it has itself, whoever opened them.
    pub const INSTANCES: Self = Self::of_tas(96, 64);
    /// Channels.
    pub const CHANNELS: Self = Self::of_tas(32, 16);
    /// Buffers.
    pub const BUFFERS: Self = Self::of_tas(96, 64);
    /// Objects of trusted storage that are open.
    pub const OBJECTS: Self = Self::of_tas(96, 64);

    /// A table whose entries are TAs' alone: nobody else asks for one.
    const fn of_tas(all: usize, ta: usize) -> Self {
        Self {
            all,
            kept: 0,
            clients: 0,
            ta,
        }
    }

    /// Confirms that `asker` may have one more of `table`, whose entries are held by `holders`, as uuids, nil for
    /// clients of the normal world.
    ///
    /// # Errors
    /// What is to be told of the refusal.
    pub fn admit(
        &self,
        table: SharedTable,
        asker: Asker,
        holders: impl Iterator<Item = TeeUuid> + Clone,
    ) -> Result<(), RefusedEntry> {
        let of = |uuid: TeeUuid| holders.clone().filter(|holder| *holder == uuid).count();
        let all = holders.clone().count();
        let (own, most) = match asker {
            Asker::Operator => (of(TeeUuid::nil()), self.clients + self.kept),
            Asker::Client => (of(TeeUuid::nil()), self.clients),
            Asker::Ta(uuid) => (of(uuid), self.ta),
        };
        let common = match asker {
            Asker::Operator => self.all,
            Asker::Client | Asker::Ta(_) => self.all - self.kept,
        };
        if own < most && all < common {
            return Ok(());
        }
        Err(self.refuse(table, asker, (own, most), (all, common), holders))
    }

    #[cold]
    fn refuse(
        &self,
        table: SharedTable,
        asker: Asker,
        (own, most): (usize, usize),
        (all, common): (usize, usize),
        holders: impl Iterator<Item = TeeUuid> + Clone,
    ) -> RefusedEntry {
        let (holder, held) = most_frequent(holders);
        let (used, size) = if own < most {
            (all, common)
        } else {
            (own, most)
        };
        RefusedEntry {
            table,
            asker: asker.uuid(),
            wanted: 1,
            used: used as u32,
            size: size as u32,
            holder,
            held,
        }
    }
}

/// Who is there most often, and how often: exactly, if more often than all but one in [`CANDIDATES`]. In a table of
/// which nobody has so much it matters little who it is.
fn most_frequent(holders: impl Iterator<Item = TeeUuid> + Clone) -> (TeeUuid, u32) {
    // Misra and Gries: whoever is frequent is among the candidates at the end.
    let mut candidates = [(TeeUuid::nil(), 0_u32); CANDIDATES];
    for holder in holders.clone() {
        let known = candidates.iter().position(|(uuid, _)| *uuid == holder);
        let free = || candidates.iter().position(|(_, n)| *n == 0);
        match known.or_else(free) {
            Some(at) => candidates[at] = (holder, candidates[at].1 + 1),
            None => candidates.iter_mut().for_each(|(_, n)| *n -= 1),
        }
    }
    for (uuid, n) in &mut candidates {
        *n = holders.clone().filter(|holder| holder == uuid).count() as u32;
    }
    candidates
        .into_iter()
        .max_by_key(|(_, n)| *n)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Asker, Share, most_frequent};
    use crate::refused::SharedTable;
    use tally_abi::TeeUuid;

    const SHARE: Share = Share {
        all: 10,
        kept: 2,
        clients: 6,
        ta: 3,
    };

    fn admits(asker: Asker, holders: &[u128]) -> Result<(), (u32, u32, TeeUuid, u32)> {
        let holders = holders.iter().copied().map(TeeUuid::from_u128);
        let admitted = SHARE.admit(SharedTable::Sessions, asker, holders);
        admitted.map_err(|refused| (refused.used, refused.size, refused.holder, refused.held))
    }

    #[test]
    fn each_has_its_share_and_operators_what_is_kept() {
        let (a, b, nil) = (TeeUuid::from_u128(1), TeeUuid::from_u128(2), TeeUuid::nil());
        assert_eq!(admits(Asker::Ta(a), &[1, 1, 2, 2, 2]), Ok(()));
        assert_eq!(admits(Asker::Ta(b), &[1, 1, 2, 2, 2]), Err((3, 3, b, 3)));
        assert_eq!(admits(Asker::Client, &[0, 0, 0, 0, 0, 1]), Ok(()));
        assert_eq!(
            admits(Asker::Client, &[0, 0, 0, 0, 0, 0, 1]),
            Err((6, 6, nil, 6))
        );
        let full = [0, 0, 1, 1, 1, 2, 2, 3];
        assert_eq!(admits(Asker::Client, &full), Err((8, 8, a, 3)));
        assert_eq!(admits(Asker::Ta(b), &full), Err((8, 8, a, 3)));
        assert_eq!(admits(Asker::Operator, &full), Ok(()));
        let all = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2];
        assert_eq!(admits(Asker::Operator, &all), Err((10, 10, nil, 6)));
        // Operators leave TAs theirs.
        let by_clients = [0; 7];
        assert_eq!(admits(Asker::Operator, &by_clients), Ok(()));
        assert_eq!(admits(Asker::Ta(a), &by_clients), Ok(()));
        let by_operators = [0; 8];
        assert_eq!(admits(Asker::Operator, &by_operators), Err((8, 8, nil, 8)));
    }

    #[test]
    fn who_has_most_is_found_among_many() {
        // Each of them once, and one of them wherever there is room.
        let holders = (0..60).flat_map(|n| [100 + n, if n % 3 == 0 { 7 } else { 200 + n }]);
        let found = most_frequent(holders.map(TeeUuid::from_u128));
        assert_eq!(found, (TeeUuid::from_u128(7), 20));
        assert_eq!(most_frequent(core::iter::empty()).1, 0);
        // Whoever comes late finds room, however many came before, each for itself or in pairs.
        for pairs in [1, 2] {
            let early = (0..8).flat_map(|n| core::iter::repeat_n(100 + n, pairs));
            let late = core::iter::repeat_n(7, 20);
            let found = most_frequent(early.chain(late).map(TeeUuid::from_u128));
            assert_eq!(found, (TeeUuid::from_u128(7), 20));
        }
    }
}
