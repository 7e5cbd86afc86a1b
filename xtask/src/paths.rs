//! Paths in the checkout and in its target directory.
//!
//! **Invariant:** xtask writes below the target directory only.

use std::path::{Path, PathBuf};

/// The Rust target of everything that runs in the guest.
pub(crate) const GUEST_TARGET: &str = "aarch64-unknown-none-softfloat";

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Cargo's target directory: `CARGO_TARGET_DIR` when set, else `target` in the checkout.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// What xtask makes out of cargo's output: images, signed TAs, logs.
pub(crate) fn out() -> PathBuf {
    target().join("tally")
}

/// The development signing key and what is derived from it.
pub(crate) fn keys() -> PathBuf {
    target().join("keys")
}

/// Where `run` puts the files that a guest hands out.
pub(crate) fn files() -> PathBuf {
    out().join("files")
}

/// `path` as a person wants to read it: relative to the checkout where it is inside.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
