//! Heaps, the kernel's and those of TAs: read from outside, in steps.

pub(crate) mod c_heap;
pub mod figures;
pub mod kernel_heap;
pub mod maxima;
pub(crate) mod peak;
pub mod pools;
pub mod question;
pub mod rows;
pub mod ta_heap;
pub mod walk;
