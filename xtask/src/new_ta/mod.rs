//! `cargo xtask new-ta`: the crate of a new TA, in `tas/` or anywhere else.
//!
//! **Invariant:** what is made builds as it is, and nothing that is there is overwritten.

use crate::paths::{self, GUEST_TARGET};
use crate::report::programs;
use crate::ui;
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};

/// Names that crates of this kind cannot have: the language's words (Rust Reference, Keywords), crates that come with the
/// compiler, cargo's own directories, and what each TA depends on.
const REFUSED: &[(&str, &str)] = &[
    (
        "a word of Rust",
        "abstract as async await become box break const continue crate do dyn else enum extern false final fn for gen if \
         impl in let loop macro match mod move mut override priv pub ref return self static struct super trait true try \
         type typeof unsafe unsized use virtual where while yield",
    ),
    (
        "a crate of the compiler's",
        "alloc core proc_macro std test",
    ),
    ("a directory of cargo's", "build deps examples incremental"),
    ("what a TA depends on", "ta-runtime ta_runtime"),
];
/// Packages of this workspace beside which no TA can stand in `tas/`, without their `ta-`.
const OF_WORKSPACE: [&str; 3] = ["macros", "runtime", "uuids"];

const COMMANDS: &str = include_str!("commands.rs");
const LINK: &str = include_str!("../../../ta-runtime/link.rs");

/// What to make.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory of the crate; its last part is the TA's name. Below `tas/` it is built with all others
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Have it depend on the `ta-runtime` of a repository instead of this one
    #[arg(long, value_name = "URL")]
    git: Option<String>,
}

/// Makes it.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let made = make(&args.path, args.git.as_deref())?;
    ui::step("Made", paths::shown(&made.path));
    if !made.is_inside {
        ui::step(
            "Build",
            format_args!("cd {} && cargo build --release", quoted(&made.path)),
        );
    }
    let given = if made.is_inside {
        String::new()
    } else {
        format!("--ta {} ", quoted(&made.elf(&made.path.join("target"))))
    };
    let name = made.short();
    ui::step(
        "Run",
        format_args!("cargo xtask run {given}-- 'open {name}; invoke 1 0 inout:1'"),
    );
    Ok(0)
}

/// A crate that was made.
pub(crate) struct Made {
    /// Name of the TA.
    name: String,
    /// Its directory.
    path: PathBuf,
    /// Whether it lies in `tas/`.
    is_inside: bool,
}

impl Made {
    /// What its runtime, the shell and reports call it.
    fn short(&self) -> &str {
        match self.is_inside {
            true => &self.name,
            false => programs::short(&self.name),
        }
    }

    /// The TA, once it is built on its own, in cargo's directory `target`.
    pub(crate) fn elf(&self, target: &Path) -> PathBuf {
        target.join(GUEST_TARGET).join("release").join(&self.name)
    }
}

/// Makes the crate of a TA in `path`, with the runtime of this checkout or of the repository `git`.
pub(crate) fn make(path: &Path, git: Option<&str>) -> Result<Made> {
    let path = std::path::absolute(path)?;
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.context("the path has no last part to name the TA by")?;
    let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    ensure!(
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(is_name)
            && name.len() <= 64,
        "`{name}` is no name for a TA: small letters, digits, `-` and `_`, 64 at most, a letter first"
    );
    let is_inside = path.parent() == Some(&paths::root().join("tas"));
    if let Some(why) = refused(name, is_inside) {
        bail!("`{name}` is no name for a TA: it is {why}");
    }
    if std::fs::read_dir(&path).is_ok_and(|mut files| files.next().is_some()) || path.is_file() {
        bail!("{} is there already", path.display());
    }
    ensure!(
        !is_inside || git.is_none(),
        "a TA in tas/ has the runtime beside it: --git is for others"
    );
    let commands = COMMANDS.replace("@UUID@", &uuid()?);
    let mut files = if is_inside {
        inside(name, &commands)
    } else {
        outside(&commands, git)?
    };
    for (_, text) in &mut files {
        *text = text.replace("@NAME@", name);
    }
    for (file, text) in files {
        let file = path.join(file);
        std::fs::create_dir_all(file.parent().unwrap_or(&path))
            .with_context(|| format!("cannot make {}", path.display()))?;
        std::fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(Made {
        name: name.to_owned(),
        path,
        is_inside,
    })
}

/// Why no crate can have this name.
fn refused(name: &str, is_inside: bool) -> Option<&'static str> {
    if is_inside {
        // Its package has `ta-` before it.
        return OF_WORKSPACE
            .contains(&name)
            .then_some("a package of this workspace");
    }
    if programs::short(name).is_empty() {
        return Some("nothing but `ta-`, which is left out");
    }
    let mut refused = REFUSED.iter();
    let found = refused.find(|(_, names)| names.split_whitespace().any(|other| other == name));
    found.map(|(what, _)| *what)
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+,:@%".contains(&byte);
    match text.bytes().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// A random UUID (RFC 9562, version 4), as Rust writes a number.
fn uuid() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]);
    Ok(format!("0x{}", parts.join("_")))
}

/// Files of a crate in `tas/`, which is built for the host, too.
fn inside(name: &str, commands: &str) -> Vec<(&'static str, String)> {
    let main = format!(
        "//! TA `{name}`.\n#![cfg_attr(target_os = \"none\", no_std, no_main)]\n\n\
         #[cfg(not(target_os = \"none\"))]\nfn main() {{}}\n\n\
         #[cfg(target_os = \"none\")]\nmod ta;\n"
    );
    vec![
        ("Cargo.toml", include_str!("inside.toml").to_owned()),
        ("src/main.rs", main),
        ("src/ta.rs", commands.to_owned()),
    ]
}

/// Files of a crate that stands alone.
fn outside(commands: &str, git: Option<&str>) -> Result<Vec<(&'static str, String)>> {
    let root = paths::root();
    let runtime = match git {
        Some(url) => format!("git = {url:?}"),
        None => format!("path = {:?}", root.join("ta-runtime")),
    };
    let manifest = include_str!("outside.toml").replace("@RUNTIME@", &runtime);
    // The compiler and the versions of crates that the runtime is tested with.
    let read = |file: &str| std::fs::read_to_string(root.join(file)).context(file.to_owned());
    Ok(vec![
        ("Cargo.toml", manifest),
        ("Cargo.lock", read("Cargo.lock")?),
        ("rust-toolchain.toml", read("rust-toolchain.toml")?),
        (".cargo/config.toml", include_str!("config.toml").to_owned()),
        (".gitignore", "/target\n".to_owned()),
        ("build.rs", LINK.to_owned()),
        (
            "src/main.rs",
            commands.replacen('\n', "\n#![no_std]\n#![no_main]\n\n", 1),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: cargo refused the crate that was made, or `open` did not know the name that was printed.
    #[test]
    fn a_name_that_is_taken_works_or_is_refused_at_once() {
        for name in [
            "build",
            "deps",
            "test",
            "core",
            "self",
            "fn",
            "ta-runtime",
            "ta-",
        ] {
            let why = make(&std::env::temp_dir().join(name), None).err().unwrap();
            let why = why.to_string();
            assert!(why.contains(name) && why.contains(": it is"), "{why}");
        }
        let inside = paths::root().join("tas").join("uuids");
        assert!(make(&inside, None).is_err());
        let made = |name: &str, is_inside| Made {
            name: name.to_owned(),
            path: PathBuf::new(),
            is_inside,
        };
        assert_eq!(made("ta-greet", false).short(), "greet");
        assert_eq!(made("greet", false).short(), "greet");
        assert_eq!(made("ta-greet", true).short(), "ta-greet");
    }

    /// Bug: a path with a blank was printed as two words, and an error named no path.
    #[test]
    fn paths_are_quoted_and_named() {
        assert_eq!(quoted(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
        let below_a_file = paths::root().join("README.md").join("sub");
        for path in [Path::new("/proc/x"), &below_a_file] {
            let why = format!("{:#}", make(path, None).err().unwrap());
            assert!(why.contains(path.to_str().unwrap()), "{why}");
        }
    }

    #[test]
    fn names_that_are_none_and_places_that_are_taken_are_refused() {
        let dir = std::env::temp_dir().join(format!("tally-new-ta-{}", std::process::id()));
        for name in ["Greet", "1st", "a b", "ü", "a.b"] {
            assert!(make(&dir.join(name), None).is_err(), "{name}");
        }
        assert!(!dir.exists());
        let made = make(&dir.join("greet"), Some("https://example.org/tally")).unwrap();
        let manifest = std::fs::read_to_string(made.path.join("Cargo.toml")).unwrap();
        assert!(manifest.contains("ta-runtime = { git = \"https://example.org/tally\" }"));
        assert!(make(&made.path, None).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
        let inside = paths::root().join("tas").join("no-such-ta");
        assert!(make(&inside, Some("https://example.org/tally")).is_err() && !inside.exists());
    }
}
