//! TA properties: the TA header and the size of the heap.
//!
//! **Invariant:** the header lies at link address 0, where the loader looks for it.

use tally_abi::ta::TaHead;

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

/// Declares a TA's identity.
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
        };
    };
}
