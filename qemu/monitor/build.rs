//! Passes the linker scripts of the monitor and of its test payloads.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../linker/monitor.ld");
    println!("cargo:rerun-if-changed=examples/payload.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_else(|_| ".".into());
    println!("cargo:rustc-link-arg-bins=-T{here}/../../linker/monitor.ld");
    println!("cargo:rustc-link-arg-examples=-T{here}/examples/payload.ld");
}
