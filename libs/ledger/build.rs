//! Gives the bare-metal example its linker script.

fn main() {
    println!("cargo:rerun-if-changed=examples/pair_cost.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let root = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo:rustc-link-arg-examples=-T{root}/examples/pair_cost.ld");
    }
}
