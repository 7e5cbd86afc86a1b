//! The build script of every TA: links it as its runtime says.

fn main() {
    println!("cargo::rerun-if-env-changed=DEP_TA_RUNTIME_LINK");
    // A build for the host, where a TA does nothing, has no runtime.
    if let Ok(arguments) = std::env::var("DEP_TA_RUNTIME_LINK") {
        println!("cargo::rustc-link-arg-bins=@{arguments}");
    }
}
