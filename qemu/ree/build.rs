//! Passes the linker script to the guest image, and the board's addresses in it.

use tally_board_virt::images::{NORMAL_BASE, TA_ARCHIVE_BASE};

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../linker/ree.ld");
        println!("cargo:rerun-if-changed={script}");
        println!("cargo:rustc-link-arg-bins=--defsym=NORMAL_BASE={NORMAL_BASE:#x}");
        println!("cargo:rustc-link-arg-bins=--defsym=TA_ARCHIVE_BASE={TA_ARCHIVE_BASE:#x}");
        println!("cargo:rustc-link-arg-bins=-T{script}");
        // What was left out lies nowhere, rather than at the monitor's first address.
        println!("cargo:rustc-link-arg-bins=-zdead-reloc-in-nonalloc=.debug_*=0xffffffffffffffff");
    }
}
