//! Tells TAs how they are linked: a build script of theirs (`link.rs`) reads `DEP_TA_RUNTIME_LINK`, a file with the
//! linker's arguments.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../linker/ta.ld");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let file = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("ta.args");
    let script = root.with_file_name("linker").join("ta.ld");
    let arguments = [
        &format!("-T\"{}\"", script.display()),
        "-pie",
        "--no-dynamic-linker",
        "--build-id=none",
        "--hash-style=gnu",
        // Constants hold addresses: ta.ld puts them where the loader may write them.
        "-znotext",
        "-znow",
        "-zmax-page-size=4096",
    ];
    if let Err(err) = fs::write(&file, arguments.join("\n")) {
        println!("cargo::error=cannot write {}: {err}", file.display());
    }
    println!("cargo::metadata=LINK={}", file.display());
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    if !flags.contains("force-frame-pointers") {
        println!(
            "cargo::warning=without frame pointers a TA has no call stacks: its `.cargo/config.toml` sets \
             `-C force-frame-pointers=yes`, which RUSTFLAGS replaces"
        );
    }
}
