//! TA properties: the TA header, the size of the heap, the name.
//!
//! **Invariant:** the header lies at link address 0, where the loader looks for it.

use tally_abi::ta::{NAME_NOTE, NOTE_OWNER, TaHead};

unsafe extern "C" {
    // By `properties!` in the TA.
    #[link_name = "ta_head"]
    safe static TA_HEAD: TaHead;
    #[link_name = "ta_heap_size"]
    safe static TA_HEAP_SIZE: usize;
}

/// The TA's header.
#[must_use]
pub fn head() -> &'static TaHead {
    &TA_HEAD
}

/// Most bytes of heap that the TA asks for.
#[must_use]
pub fn heap_size() -> usize {
    TA_HEAP_SIZE
}

/// A TA's name as an ELF note of `N` bytes, which tools read.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(4))]
pub struct NameNote<const N: usize> {
    /// Bytes of owner and name, kind of note.
    head: [u32; 3],
    owner: [u8; NOTE_OWNER.len()],
    name: [u8; N],
}

impl<const N: usize> NameNote<N> {
    /// Of these bytes.
    #[must_use]
    pub const fn new(name: [u8; N]) -> Self {
        // `properties!` makes it at compile time, from the name of a package: nothing is cut.
        let head = [NOTE_OWNER.len() as u32, N as u32, NAME_NOTE];
        let owner = NOTE_OWNER;
        Self { head, owner, name }
    }
}

/// Declares a TA's identity. Its name is its package's.
///
/// ```ignore
/// ta_runtime::properties! {
///     uuid: UUID,          // tally_abi::TeeUuid
///     flags: 0,            // tally_abi::ta::flags
///     stack_size: 8192,    // bytes
///     heap_size: 32768,    // bytes at most; it starts small
/// }
/// ```
#[macro_export]
macro_rules! properties {
    (uuid: $uuid:expr, flags: $flags:expr, stack_size: $stack:expr, heap_size: $heap:expr $(,)?) => {
        const _: () = {
            #[unsafe(export_name = "ta_head")]
            #[cfg_attr(target_os = "none", unsafe(link_section = ".ta_head"))]
            #[used]
            static HEAD: $crate::abi::ta::TaHead = $crate::abi::ta::TaHead {
                uuid: $uuid,
                stack_size: $stack,
                flags: $flags,
                depr_entry: $crate::abi::ta::DEPRECATED_ENTRY,
            };
            #[unsafe(export_name = "ta_heap_size")]
            static HEAP: usize = $heap;
            const NAME: &str = env!("CARGO_PKG_NAME");
            #[cfg_attr(target_os = "none", unsafe(link_section = ".note.tally"))]
            #[used]
            static NOTE: $crate::properties::NameNote<{ NAME.len() }> = {
                let mut name = [0; NAME.len()];
                name.copy_from_slice(NAME.as_bytes());
                $crate::properties::NameNote::new(name)
            };
        };
    };
}
