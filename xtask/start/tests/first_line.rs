//! First line of a build of xtask, and the silence of later ones.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A directory of cargo's with the starter in it, and what it says when cargo is `true`.
fn started(test: &str, xtask: Option<&str>) -> Output {
    let dir: PathBuf = std::env::temp_dir().join(format!("tally-{test}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let starter = dir.join("xtask-start");
    fs::copy(env!("CARGO_BIN_EXE_xtask-start"), &starter).unwrap();
    if let Some(program) = xtask {
        symlink(program, dir.join("xtask")).unwrap();
    }
    let mut command = Command::new(&starter);
    let said = command.env("CARGO", "true").args(["a", "b"]).output();
    fs::remove_dir_all(dir).unwrap();
    said.unwrap()
}

#[test]
fn the_first_build_is_spoken_of_and_later_ones_are_quiet() {
    // Bug: the first `cargo xtask run` showed an empty screen until xtask was built.
    let first = started("first", None);
    let said = String::from_utf8(first.stderr).unwrap();
    assert!(said.trim_start().starts_with("Building xtask"), "{said}");

    let later = started("later", Some("/bin/echo"));
    assert_eq!(
        (later.stdout, later.stderr),
        (b"a b\n".to_vec(), Vec::new())
    );
}

#[test]
fn the_alias_is_the_starter() {
    let config = include_str!("../../../.cargo/config.toml");
    assert!(config.contains("--package xtask-start --\""), "{config}");
}
