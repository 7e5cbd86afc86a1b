//! Secure RAM by use.

use tally_abi::pta::DESC_LEN;

crate::record! {
    /// One use of secure RAM. All uses add up to it.
    MeminfoRow: "meminfo" = 1, 48 bytes, metrics "secure_memory" {
        /// What it is used for.
        label: [u8; DESC_LEN] => label(text) "use",
        /// Bytes of secure RAM by use; they add up to all of it.
        bytes: u64 => gauge(Bytes),
        /// Pages of 4 KiB.
        pages: u64 => number(Pages),
    }
}
