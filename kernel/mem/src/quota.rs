//! Charge and quota of an address space.
//!
//! **Invariant:** nothing is charged that its quota, or what others of its quota leave, does not allow.

use super::space::{AddressSpace, SpaceError, SpaceFigures};
use crate::mem::Mem;
use crate::owner::OwnerId;
use crate::refused::{RefusedPages, Short};

/// Pages that an address space may be charged for, and how many of them others have whose quota is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// All pages.
    pub pages: u32,
    /// What others are charged for.
    pub by_others: u32,
}

impl Quota {
    /// One that is shared with nobody.
    #[must_use]
    pub const fn alone(pages: u32) -> Self {
        Self {
            pages,
            by_others: 0,
        }
    }

    pub(super) const fn left(self) -> u32 {
        self.pages.saturating_sub(self.by_others)
    }

    /// Refuses the first page of an address space if nothing is left.
    pub(super) fn check_first<M>(
        self,
        mem: &mut Mem<'_, M>,
        owner: OwnerId,
    ) -> Result<(), SpaceError> {
        if self.left() == 0 {
            mem.pages.note_refused(RefusedPages {
                short: Short::Quota,
                owner,
                wanted: 1,
                used: self.by_others,
                size: self.pages,
                left: 0,
            });
            return Err(SpaceError::QuotaExceeded);
        }
        Ok(())
    }
}

impl AddressSpace {
    /// Pages it is charged for: populated and promised ones, tables, and what it has lent.
    #[must_use]
    pub const fn charged_pages(&self) -> u32 {
        self.own_pages - self.borrowed_pages + self.tables.pages() + self.lent_pages
    }

    /// Charges it for pages of another address space, in which it passes something on.
    ///
    /// # Errors
    /// [`SpaceError::QuotaExceeded`].
    pub fn lend<M>(&mut self, mem: &mut Mem<'_, M>, pages: u32) -> Result<(), SpaceError> {
        self.check_quota(mem, pages)?;
        self.lent_pages += pages;
        self.note_charge();
        Ok(())
    }

    /// Undoes [`Self::lend`] of so many pages.
    pub const fn take_back(&mut self, pages: u32) {
        self.lent_pages -= pages;
    }

    /// Pages of its translation tables.
    #[must_use]
    pub const fn table_pages(&self) -> u32 {
        self.tables.pages()
    }

    /// Most pages that it was charged for, since the last reset.
    #[must_use]
    pub fn charged_max(&self) -> u32 {
        self.charged_max
    }

    /// Makes what it is charged for now the most.
    pub fn restart_charged_max(&mut self) {
        self.charged_max = self.charged_pages();
    }

    /// Has others, whose quota is the same, be charged for so many pages of it.
    pub fn share_quota(&mut self, by_others: u32) {
        self.ceiling = self.limit_pages.saturating_sub(by_others);
    }

    /// Most pages it may be charged for.
    #[must_use]
    pub fn limit_pages(&self) -> u32 {
        self.limit_pages
    }

    /// What it takes.
    #[must_use]
    pub fn figures(&self) -> SpaceFigures {
        let mut figures = SpaceFigures {
            table_pages: self.table_pages(),
            own_pages: self.own_pages - self.promised.pages(),
            promised_pages: self.promised.pages(),
            charged_pages: self.charged_pages(),
            limit_pages: self.limit_pages,
            ..SpaceFigures::default()
        };
        for region in self.regions() {
            let kind = &mut figures.kinds[region.kind as usize];
            kind.virtual_bytes += region.bytes();
            kind.resident_bytes += region.resident_bytes();
        }
        figures
    }

    pub(super) fn note_charge(&mut self) {
        self.charged_max = self.charged_max.max(self.charged_pages());
    }

    /// Refuses so many pages more if the quota does.
    pub(super) fn check_quota<M>(
        &self,
        mem: &mut Mem<'_, M>,
        pages: u32,
    ) -> Result<(), SpaceError> {
        if pages > self.left() {
            mem.pages.note_refused(self.over_quota(pages));
            return Err(SpaceError::QuotaExceeded);
        }
        Ok(())
    }

    /// Refuses addresses for more pages than its quota would ever allow.
    ///
    /// # Errors
    /// [`SpaceError::QuotaExceeded`].
    pub fn check_window<M>(&self, mem: &mut Mem<'_, M>, pages: u32) -> Result<(), SpaceError> {
        if pages > self.limit_pages {
            mem.pages.note_refused(self.over_quota(pages));
            return Err(SpaceError::QuotaExceeded);
        }
        Ok(())
    }

    /// Pages of its quota that are in use, by it and by others.
    #[must_use]
    pub const fn quota_used(&self) -> u32 {
        self.charged_pages() + (self.limit_pages - self.ceiling)
    }

    /// Pages that it may have besides those that it has.
    pub(super) const fn left(&self) -> u32 {
        self.ceiling.saturating_sub(self.charged_pages())
    }

    /// That the quota does not allow so many pages more.
    pub(super) const fn over_quota(&self, wanted: u32) -> RefusedPages {
        RefusedPages {
            short: Short::Quota,
            owner: self.owner,
            wanted,
            used: self.quota_used(),
            size: self.limit_pages,
            left: self.left(),
        }
    }
}
