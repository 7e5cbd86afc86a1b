//! The build script of every TA: links it as a position-independent file that `ldelf` accepts.

fn main() {
    println!("cargo:rerun-if-changed=../../ta-runtime/link.rs");
    println!("cargo:rerun-if-changed=../../linker/ta.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let dir = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        for arg in [
            &format!("-T{dir}/../../linker/ta.ld"),
            "-pie",
            "--no-dynamic-linker",
            "--build-id=none",
            "--hash-style=gnu",
            // Constants hold addresses: ta.ld puts them where the loader may write them.
            "-znotext",
            "-znow",
            "-zmax-page-size=4096",
        ] {
            println!("cargo:rustc-link-arg-bins={arg}");
        }
    }
}
