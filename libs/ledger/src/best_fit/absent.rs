//! Best fit in a build without it: there is no such tree, and nothing of it is linked.

use super::BadChunk;
use crate::chunks::Chunk;
use crate::window::Window;

/// None.
pub(crate) enum Tree {}

impl Tree {
    pub(crate) fn create(_: &mut Window) -> Option<Self> {
        None
    }

    pub(crate) fn free_bytes(&self) -> usize {
        match *self {}
    }

    pub(crate) fn extend(&mut self, _: &mut Window, _: usize) {
        match *self {}
    }

    pub(crate) fn take(&mut self, _: &mut Window, _: usize, _: usize, _: u64) -> Option<usize> {
        match *self {}
    }

    pub(crate) fn release(&mut self, _: &mut Window, _: &Chunk) {
        match *self {}
    }

    pub(crate) fn shrink(&mut self, _: &mut Window, _: &Chunk, _: usize, _: u64) -> bool {
        match *self {}
    }

    pub(crate) fn check(&self, _: &Window, _: usize, _: usize) -> Result<(), BadChunk> {
        match *self {}
    }

    pub(crate) fn check_block(&self, _: &Window, _: usize) -> Result<(), BadChunk> {
        match *self {}
    }
}
