//! Hands the kernel's linker script and the board's addresses to the linker, and the loader and the key to
//! the kernel.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let script = root.join("../linker/kernel.ld");
    println!("cargo:rerun-if-changed={}", script.display());
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        for (symbol, address) in [
            ("KERNEL_PHYS", tally_board::KERNEL_BASE),
            ("SECURE_RAM_END", tally_board::SECURE_RAM_END),
        ] {
            println!("cargo:rustc-link-arg-bins=--defsym={symbol}={address:#x}");
        }
        println!("cargo:rustc-link-arg-bins=-T{}", script.display());
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
        // Snapshots have it, so that no other image's names are taken for theirs.
        println!("cargo:rustc-link-arg-bins=--build-id=sha1");
        // What was left out lies nowhere, rather than at the monitor's first address.
        println!("cargo:rustc-link-arg-bins=-zdead-reloc-in-nonalloc=.debug_*=0xffffffffffffffff");
    }
    // A kernel that is built to be checked alone has neither, and loads no TA.
    embed("TALLY_LDELF", &out.join("ldelf.bin"), |_| true, &[0; 16]);
    embed(
        "TALLY_TA_PUBKEY",
        &out.join("ta_pubkey.bin"),
        is_modulus,
        &[],
    );
}

/// Whether these bytes are the modulus of an RSA-2048 key, big-endian.
fn is_modulus(bytes: &[u8]) -> bool {
    matches!(bytes, [first, .., last] if bytes.len() == 256 && *first >= 0x80 && last % 2 == 1)
}

/// Copies the file that the environment variable names, or `otherwise` where no image is built.
fn embed(variable: &str, to: &Path, is_good: fn(&[u8]) -> bool, otherwise: &[u8]) {
    println!("cargo:rerun-if-env-changed={variable}");
    let is_image = env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none")
        && env::var("PROFILE").as_deref() == Ok("release");
    let content = match env::var_os(variable) {
        Some(path) => {
            let path = Path::new(&path);
            println!("cargo:rerun-if-changed={}", path.display());
            let content = fs::read(path);
            let content =
                content.unwrap_or_else(|err| panic!("{variable}: {}: {err}", path.display()));
            assert!(
                is_good(&content),
                "{variable}: {} is not one",
                path.display()
            );
            content
        }
        None if is_image => panic!("{variable} is not set: build the kernel with `cargo xtask`"),
        None => otherwise.to_vec(),
    };
    fs::write(to, content).unwrap_or_else(|err| panic!("{}: {err}", to.display()));
}
