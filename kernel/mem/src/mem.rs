//! Pages and machine together, as operations on address spaces take them.

use crate::machine::{NormalMemory, SecureMemory, TableMemory, Tlb};
use crate::pages::PageAllocator;

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
