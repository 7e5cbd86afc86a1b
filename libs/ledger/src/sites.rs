//! The table of call sites: each call stack once, with its counters.
//!
//! **Invariant:** entries are never removed, so an id names the same stack for the pool's life. A
//! stack that finds no place is counted at site 0.
//! **Knows nothing of:** blocks.

use crate::capture::CallStack;
use crate::window::Window;

/// Places looked at for one stack.
const PROBES: u16 = 16;

impl Window {
    /// Id of a call stack, interned if there is room.
    pub(crate) fn intern(&mut self, stack: &CallStack) -> u16 {
        match self.known_site(stack.key()) {
            // Without frames the key is 0, and so is the place; site 0 has no key either.
            Some(place) => place.site(),
            None => self.intern_slowly(stack),
        }
    }

    fn intern_slowly(&mut self, stack: &CallStack) -> u16 {
        if stack.key() == 0 {
            return 0;
        }
        let mask = (self.geometry().sites - 1) as u16;
        let first = self.site_place(stack.key()).site();
        for probe in 0..PROBES.min(mask) {
            let place = first.wrapping_add(probe) & mask;
            if place == 0 {
                continue; // Everyone else's.
            }
            let site = self.site_mut(place);
            if site.key == stack.key() {
                return place;
            }
            if site.key == 0 {
                site.key = stack.key();
                let frames = self.site_frames_mut(place);
                let mut n = 0;
                for (to, &from) in frames.iter_mut().zip(stack.frames()) {
                    *to = from;
                    n += 1;
                }
                self.site_mut(place).frames = n;
                self.header_mut().sites_used += 1;
                return place;
            }
        }
        0
    }
}
