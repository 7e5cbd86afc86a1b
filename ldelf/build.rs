//! Passes the linker script when building for the guest.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../linker/ldelf.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        for arg in [
            &format!("-T{dir}/../linker/ldelf.ld"),
            "-pie",
            "--no-dynamic-linker",
            "--build-id=sha1",
            "-ztext",
            "-zmax-page-size=4096",
        ] {
            println!("cargo:rustc-link-arg-bins={arg}");
        }
    }
}
