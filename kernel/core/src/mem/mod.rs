//! Memory of the secure world: pages, translation tables, address spaces.
//!
//! **Invariant:** every secure page is free or has one use and one owner; what an address space
//! was charged it gives back.
//! **Knows nothing of:** sessions, TA images, the statistics interfaces; locks. Whoever calls
//! holds the page allocator exclusively.

pub mod access;
pub mod pages;
pub mod region;
pub mod space;
mod steps;
pub mod table;
#[cfg(test)]
mod tests;

use crate::machine::{NormalMemory, SecureMemory, TableMemory, Tlb};
use pages::PageAllocator;

/// What address spaces need of the machine.
pub trait SpaceMachine: TableMemory + SecureMemory + NormalMemory + Tlb {}

impl<T: TableMemory + SecureMemory + NormalMemory + Tlb> SpaceMachine for T {}

/// The two things that operations on address spaces work with.
#[derive(Debug)]
pub struct Mem<'a, M> {
    /// Where pages come from. The lock around it is the caller's.
    pub pages: &'a mut PageAllocator,
    /// Memory and TLB.
    pub machine: &'a M,
}

impl<'a, M> Mem<'a, M> {
    /// Puts the two together.
    pub fn new(pages: &'a mut PageAllocator, machine: &'a M) -> Self {
        Self { pages, machine }
    }
}
