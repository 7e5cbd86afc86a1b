//! Hands the kernel's linker script and the board's addresses to the linker, and the loader and the key to
//! the kernel.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Bytes of an RSA-2048 modulus.
const MODULUS_BYTES: usize = 256;

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
    }
    // Without xtask there is no loader and a key that nobody has: such a kernel loads no TA.
    embed("TALLY_LDELF", &out.join("ldelf.bin"), &[0; 16]);
    embed(
        "TALLY_TA_PUBKEY",
        &out.join("ta_pubkey.bin"),
        &[0xff; MODULUS_BYTES],
    );
}

/// Copies the file that the environment variable names, or `otherwise`.
fn embed(variable: &str, to: &Path, otherwise: &[u8]) {
    println!("cargo:rerun-if-env-changed={variable}");
    let content = match env::var_os(variable) {
        Some(path) => {
            println!("cargo:rerun-if-changed={}", Path::new(&path).display());
            fs::read(&path).unwrap_or_else(|err| panic!("{variable}: {}: {err}", path.display()))
        }
        None => otherwise.to_vec(),
    };
    fs::write(to, content).unwrap_or_else(|err| panic!("{}: {err}", to.display()));
}
