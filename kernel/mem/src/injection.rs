//! Requests for memory that are refused on purpose, so that a test sees what becomes of them.

/// Which requests of one pool are refused, counted from now on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injection {
    first: u32,
    end: u32,
    seen: u32,
}

impl Injection {
    /// Refuses none.
    pub const NONE: Self = Self::new(0, 0);

    /// Refuses `count` requests from number `first` on; 0 is the next.
    #[must_use]
    pub const fn new(first: u32, count: u32) -> Self {
        Self {
            first,
            end: first.saturating_add(count),
            seen: 0,
        }
    }

    /// Counts a request; whether it is to be refused.
    pub fn refuses(&mut self) -> bool {
        let is_refused = self.first <= self.seen && self.seen < self.end;
        self.seen = self.seen.saturating_add(1);
        is_refused
    }

    /// Requests so far.
    #[must_use]
    pub const fn seen(&self) -> u32 {
        self.seen
    }

    /// Requests that were refused so far.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.seen.min(self.end).saturating_sub(self.first)
    }

    /// Whether some are still to be refused.
    #[must_use]
    pub const fn is_pending(&self) -> bool {
        self.seen < self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_that_were_named_are_refused() {
        let refused = |mut injection: Injection| {
            let numbers: std::vec::Vec<u32> = (0..6).filter(|_| injection.refuses()).collect();
            assert_eq!(injection.seen(), 6);
            assert_eq!(injection.refused() as usize, numbers.len());
            numbers
        };
        assert_eq!(refused(Injection::NONE), []);
        assert_eq!(refused(Injection::new(0, 1)), [0]);
        assert_eq!(refused(Injection::new(2, 2)), [2, 3]);
        assert_eq!(refused(Injection::new(4, u32::MAX)), [4, 5]);
        assert_eq!(refused(Injection::new(9, 1)), []);
        assert!(Injection::new(9, 1).is_pending());
        assert!(!Injection::NONE.is_pending());
    }
}
