//! Hands the kernel's linker script and the board's addresses to the linker, and the loader and the keys to
//! the kernel.

use std::ffi::OsString;
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
    let loader = embedded("TALLY_LDELF").map(|path| read("TALLY_LDELF", Path::new(&path)));
    write(
        &out.join("ldelf.bin"),
        &loader.unwrap_or_else(|| vec![0; 16]),
    );
    let keys = embedded(KEYS);
    let moduli = keys.map_or_else(Vec::new, |keys| env::split_paths(&keys).collect());
    write(&out.join("ta_keys.rs"), keys_source(&moduli).as_bytes());
}

/// Names files, each the modulus of an RSA key, big-endian.
const KEYS: &str = "TALLY_TA_KEYS";

/// The keys as constants.
fn keys_source(moduli: &[PathBuf]) -> String {
    let mut source = String::new();
    let mut names = String::new();
    for (n, path) in moduli.iter().enumerate() {
        let modulus = read(KEYS, path);
        assert!(
            is_modulus(&modulus),
            "{KEYS}: {} is not the modulus of an RSA key of 2048 to 4096 bits",
            path.display()
        );
        source += &format!("static KEY_{n}: PublicKey = trusted(&{modulus:?});\n");
        names += &format!("&KEY_{n}, ");
    }
    source + &format!("pub(crate) static KEYS: &[&PublicKey] = &[{names}];\n")
}

/// Whether these bytes can be the modulus of an RSA key, big-endian.
fn is_modulus(bytes: &[u8]) -> bool {
    let is_long_enough = (256..=512).contains(&bytes.len()) && bytes.len().is_multiple_of(8);
    matches!(bytes, [first, .., last] if is_long_enough && *first >= 0x80 && last % 2 == 1)
}

/// What a variable says whose files are part of an image.
fn embedded(variable: &str) -> Option<OsString> {
    println!("cargo:rerun-if-env-changed={variable}");
    let is_image = env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none")
        && env::var("PROFILE").as_deref() == Ok("release");
    let value = env::var_os(variable).filter(|value| !value.is_empty());
    assert!(
        value.is_some() || !is_image,
        "{variable} is not set: build the kernel with `cargo xtask`"
    );
    value
}

fn read(variable: &str, path: &Path) -> Vec<u8> {
    println!("cargo:rerun-if-changed={}", path.display());
    fs::read(path).unwrap_or_else(|err| panic!("{variable}: {}: {err}", path.display()))
}

fn write(to: &Path, content: &[u8]) {
    fs::write(to, content).unwrap_or_else(|err| panic!("{}: {err}", to.display()));
}
