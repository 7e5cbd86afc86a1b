//! Figures of the page allocator: counts, and a check that they add up.
//!
//! **Invariant:** changes nothing but figures that are reset and failures that are asked for.

use super::*;

impl PageAllocator {
    /// The pages of the range.
    #[must_use]
    pub fn range(&self) -> Range<PhysPage> {
        self.base..self.base.offset(self.records.len() as u64)
    }

    /// All pages of the range.
    #[must_use]
    pub fn total_pages(&self) -> u32 {
        self.records.len() as u32
    }

    /// Pages of one use.
    #[must_use]
    pub fn used_for(&self, usage: PageUse) -> u32 {
        self.by_use[usage as usize]
    }

    /// Pages of one owner; 0 if it has no account.
    #[must_use]
    pub fn owned_by(&self, owner: OwnerId) -> u32 {
        self.by_owner
            .get(usize::from(owner.0))
            .copied()
            .unwrap_or(0)
    }

    /// Free pages, promised ones included.
    #[must_use]
    pub fn free_pages(&self) -> u32 {
        self.by_use[PageUse::Free as usize]
    }

    /// Promised pages.
    #[must_use]
    pub fn promised_pages(&self) -> u32 {
        self.promised
    }

    /// Pages that can be had.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.free_pages() - self.promised
    }

    /// Figures of the pool without those of free runs, which are 0.
    #[must_use]
    pub fn figures_at_once(&self) -> PoolFigures {
        PoolFigures {
            size: bytes(self.total_pages() - self.claimed),
            allocated: bytes(self.committed()),
            promised: bytes(self.promised),
            max_allocated: bytes(self.max_pages),
            failures: self.failures,
            biggest_failure: bytes(self.biggest_failure_pages),
            biggest_failure_used: bytes(self.biggest_failure_used_pages),
            free2_sum: 0,
            largest_free: 0,
            gets: self.gets,
            releases: self.releases,
        }
    }

    /// Figures of the pool. Walks all records.
    #[must_use]
    pub fn figures(&self) -> PoolFigures {
        let mut figures = self.figures_at_once();
        for run in self.free_runs() {
            let size = bytes(run.end - run.start);
            figures.free2_sum = figures.free2_sum.saturating_add(size.saturating_mul(size));
            figures.largest_free = figures.largest_free.max(size);
        }
        // Promised pages are in some of these runs, and nobody else gets them.
        figures.largest_free = figures.largest_free.min(bytes(self.available()));
        figures
    }

    /// Pages of the longest run that can be had. Walks all records.
    pub(super) fn longest_run(&self) -> u32 {
        let lengths = self.free_runs().map(|run| run.end - run.start);
        lengths.max().unwrap_or(0).min(self.available())
    }

    /// Restarts maximum and failure figures.
    pub fn reset_figures(&mut self) {
        self.max_pages = self.committed();
        self.failures = 0;
        self.biggest_failure_pages = 0;
        self.biggest_failure_used_pages = 0;
    }

    /// Makes the `n`-th request for pages from now on (0: the next) fail, once. For tests of what
    /// callers do then. `None` switches it off.
    pub fn fail_nth(&mut self, n: Option<u32>) {
        self.inject(n.map_or(Injection::NONE, |n| Injection::new(n, 1)));
    }

    /// Refuses such requests from now on; what became of those before.
    pub fn inject(&mut self, injection: Injection) -> Injection {
        mem::replace(&mut self.injection, injection)
    }

    /// Whether a failure asked for with [`Self::fail_nth`] is still to come.
    #[must_use]
    pub fn failure_pending(&self) -> bool {
        self.injection.is_pending()
    }

    /// Walks everything and says whether it adds up.
    ///
    /// # Errors
    /// The first inconsistency.
    pub fn check(&self) -> Result<(), Inconsistency> {
        let mut by_use = [0u32; USES];
        let mut by_owner = [0u32; OWNERS];
        let mut claimed = 0;
        let mut listed = 0u32;
        for (index, record) in self.records.iter().enumerate() {
            by_use[record.usage as usize] += 1;
            claimed += u32::from(record.claimed);
            if record.usage == PageUse::Free {
                listed += u32::from(index < self.fresh as usize);
            } else {
                let count = by_owner
                    .get_mut(usize::from(record.owner.0))
                    .ok_or(Inconsistency::OwnerCounts)?;
                *count += 1;
            }
        }
        let mut next = self.head;
        let mut seen = 0;
        while next != NIL {
            let record = self
                .records
                .get(next as usize)
                .ok_or(Inconsistency::FreeList)?;
            if record.usage != PageUse::Free || next >= self.fresh || seen == listed {
                return Err(Inconsistency::FreeList);
            }
            seen += 1;
            next = record.link;
        }
        if seen != listed {
            return Err(Inconsistency::LostPage);
        }
        if by_use != self.by_use
            || claimed != self.claimed
            || by_use.iter().sum::<u32>() != self.total_pages()
        {
            return Err(Inconsistency::UseCounts);
        }
        if by_owner != self.by_owner {
            return Err(Inconsistency::OwnerCounts);
        }
        if self.promised > self.free_pages() {
            return Err(Inconsistency::Promises);
        }
        Ok(())
    }
}
