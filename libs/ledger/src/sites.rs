//! The table of call sites: each call stack once, with its counters.
//!
//! **Invariant:** entries are never removed, so an id names the same stack for the pool's life. A
//! stack that finds no place is counted at site 0.

use crate::capture::CallStack;
use crate::window::{SitePlace, Window};

/// Places looked at for one stack.
const PROBES: u16 = 16;

impl Window {
    /// Id of a call stack, interned if there is room.
    pub(crate) fn intern(&mut self, stack: &CallStack) -> u16 {
        match self.find_site(stack.key()) {
            Ok(place) => place.site(),
            Err(None) => 0,
            Err(Some(place)) => {
                self.enter_site(place.site(), stack);
                place.site()
            }
        }
    }

    /// The site of a call stack's hash, wherever it is; else where it can be, if there is room.
    pub(crate) fn find_site(&self, key: u64) -> Result<SitePlace, Option<SitePlace>> {
        // Without frames the key is 0, and so is the place; site 0 has no key either.
        if let Some(place) = self.known_site(key) {
            return Ok(place);
        }
        let mask = (self.geometry().sites - 1) as u16;
        let first = self.site_place(key).site();
        for probe in 0..PROBES.min(mask) {
            let place = self.place_of(first.wrapping_add(probe) & mask);
            if place.site() == 0 {
                continue; // Everyone else's.
            }
            match self.site_key(place) {
                0 => return Err(Some(place)),
                other if other == key => return Ok(place),
                _ => {}
            }
        }
        Err(None)
    }

    fn enter_site(&mut self, site: u16, stack: &CallStack) {
        let frames = self.site_frames_mut(site);
        let mut n = 0;
        for (to, &from) in frames.iter_mut().zip(stack.frames()) {
            *to = from;
            n += 1;
        }
        let entry = self.site_mut(site);
        (entry.key, entry.frames) = (stack.key(), n);
        self.header_mut().sites_used += 1;
    }
}
