//! Passes the linker script and the board's addresses in it.

use tally_board_virt as virt;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../linker/monitor.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    for (symbol, address) in [
        ("FLASH_BASE", virt::FLASH_BASE),
        ("PACKAGE_OFFSET", virt::images::PACKAGE_OFFSET),
        ("SECURE_RAM_BASE", virt::SECURE_RAM_BASE),
        ("KERNEL_BASE", virt::KERNEL_BASE),
    ] {
        println!("cargo:rustc-link-arg=--defsym={symbol}={address:#x}");
    }
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".into());
    println!("cargo:rustc-link-arg-bins=-T{here}/../../linker/monitor.ld");
    // Crash reports have it, so that no other image's names are taken for theirs.
    println!("cargo:rustc-link-arg-bins=--build-id=sha1");
    // What was left out lies nowhere, rather than at the first address.
    println!("cargo:rustc-link-arg-bins=-zdead-reloc-in-nonalloc=.debug_*=0xffffffffffffffff");
}
