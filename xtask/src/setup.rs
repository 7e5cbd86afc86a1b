//! Tools that the machine needs, and their installation.
//!
//! **Invariant:** nothing is installed that is there already; what cannot be installed is named
//! together with the one line to type.

use crate::gdb::GDB;
use crate::paths::{self, GUEST_TARGET};
use crate::{linux, tool, ui};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// QEMU's program.
pub(crate) const QEMU: &str = "qemu-system-aarch64";
/// The browser's program.
pub(crate) const CHROMIUM: &str = "chromium";
/// What makes a picture of a sheet that it prints.
pub(crate) const PDFTOPPM: &str = "pdftoppm";
/// The counter of instructions on the host.
pub(crate) const VALGRIND: &str = "valgrind";
/// What the names of the cross compiler's programs begin with.
pub(crate) const CROSS_COMPILE: &str = "aarch64-linux-gnu-";

/// Programs of cargo's that are built when something needs them, and their versions.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
const CARGO_MUTANTS: (&str, &str) = ("cargo-mutants", "27.1.0");

/// What can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The guest's standard library.
    Target,
    /// The standard library of programs for Linux.
    LinuxTarget,
    /// That of programs and TAs that link with Debian's libraries.
    GnuTarget,
    /// The machine emulator.
    Qemu,
    /// A C compiler for AArch64, and make.
    CrossCompiler,
    /// rustfmt and clippy.
    Lints,
    /// Miri on a nightly toolchain.
    Miri,
    /// The browser that looks at reports.
    Chromium,
    /// What counts the instructions of allocators on the host.
    Valgrind,
    /// The debugger.
    Gdb,
    /// The checker of dependencies.
    Deny,
    /// The maker of wrong changes.
    Mutants,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Target => "rust target aarch64-unknown-none-softfloat",
            Self::LinuxTarget => "rust target aarch64-unknown-linux-musl",
            Self::GnuTarget => "rust target aarch64-unknown-linux-gnu",
            Self::Qemu => "qemu-system-aarch64",
            Self::CrossCompiler => "aarch64-linux-gnu-gcc",
            Self::Lints => "rustfmt and clippy",
            Self::Miri => "miri on nightly",
            Self::Chromium => CHROMIUM,
            Self::Valgrind => VALGRIND,
            Self::Gdb => GDB,
            Self::Deny => CARGO_DENY.0,
            Self::Mutants => CARGO_MUTANTS.0,
        }
    }

    /// Whether building, running and testing in QEMU do without it.
    fn is_optional(self) -> bool {
        match self {
            Self::Target | Self::Qemu | Self::Lints => false,
            Self::Miri
            | Self::LinuxTarget
            | Self::GnuTarget
            | Self::CrossCompiler
            | Self::Chromium
            | Self::Valgrind
            | Self::Gdb
            | Self::Deny
            | Self::Mutants => true,
        }
    }

    /// Whether it is there.
    pub(crate) fn present(self) -> bool {
        match self {
            Self::Target => rust_target_installed(GUEST_TARGET),
            Self::LinuxTarget => rust_target_installed(linux::TARGET),
            Self::GnuTarget => rust_target_installed(linux::teaclave::TARGET),
            Self::Qemu => tool::works(QEMU, "--version"),
            Self::CrossCompiler => {
                tool::works(&format!("{CROSS_COMPILE}gcc"), "--version")
                    && tool::works("make", "--version")
            }
            Self::Lints => {
                tool::works("cargo-fmt", "--version") && tool::works("cargo-clippy", "--version")
            }
            Self::Miri => {
                let mut cargo = tool::cargo_nightly();
                tool::captured(cargo.args(["miri", "--version"])).is_ok_and(|(ok, _)| ok)
            }
            Self::Chromium => tool::works(CHROMIUM, "--version") && tool::works(PDFTOPPM, "-v"),
            Self::Valgrind => tool::works(VALGRIND, "--version"),
            Self::Gdb => tool::works(GDB, "--version"),
            Self::Deny => tool::captured(cargo_deny().arg("--version")).is_ok_and(|(ok, _)| ok),
            Self::Mutants => {
                let mut mutants = cargo_tool(CARGO_MUTANTS.0);
                tool::captured(mutants.args(["mutants", "--version"])).is_ok_and(|(ok, _)| ok)
            }
        }
    }

    fn install(self) -> Result<()> {
        match self {
            Self::Target => rustup(&["target", "add", GUEST_TARGET]),
            Self::LinuxTarget => rustup(&["target", "add", linux::TARGET]),
            Self::GnuTarget => rustup(&["target", "add", linux::teaclave::TARGET]),
            Self::Lints => rustup(&["component", "add", "rustfmt", "clippy"]),
            Self::Qemu => debian_packages(QEMU, &["qemu-system-arm"]),
            Self::CrossCompiler => debian_packages(
                "a C compiler for AArch64",
                &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "make"],
            ),
            Self::Miri => install_miri(),
            Self::Chromium => debian_packages(CHROMIUM, &["chromium", "poppler-utils"]),
            Self::Valgrind => debian_packages(VALGRIND, &["valgrind"]),
            Self::Gdb => debian_packages(GDB, &["gdb-multiarch"]),
            Self::Deny => install_cargo_tool(CARGO_DENY),
            Self::Mutants => install_cargo_tool(CARGO_MUTANTS),
        }
    }
}

/// Installs `part` when it is missing.
pub(crate) fn ensure(part: Part) -> Result<()> {
    if part.present() {
        return Ok(());
    }
    ui::step("Installing", part.name());
    part.install()?;
    if !part.present() {
        bail!(
            "{} was installed but does not work; `cargo xtask doctor` shows more",
            part.name()
        );
    }
    Ok(())
}

/// Prints what is there; installs what is missing when `fix`. Returns whether all is well.
pub(crate) fn doctor(fix: bool) -> Result<bool> {
    let mut well = true;
    for part in [
        Part::Target,
        Part::LinuxTarget,
        Part::Lints,
        Part::Qemu,
        Part::CrossCompiler,
        Part::Miri,
        Part::Chromium,
        Part::Valgrind,
        Part::Gdb,
        Part::Deny,
        Part::Mutants,
    ] {
        let mut present = part.present();
        // They take minutes to build, and what needs them installs them.
        if !present && fix && !matches!(part, Part::Deny | Part::Mutants) {
            match ensure(part) {
                Ok(()) => present = true,
                Err(err) => ui::warn(format_args!("{err:#}")),
            }
        }
        let (style, word) = if present {
            (ui::GOOD, "ok")
        } else {
            (ui::BAD, "missing")
        };
        let note = match part {
            Part::Miri if !present => " (only the Miri tests need it)",
            Part::Chromium if !present => " (only the test and picture of reports need it)",
            Part::Valgrind if !present => " (only `bench --heaps` needs it)",
            Part::Gdb if !present => " (only `run --gdb` and its test need it)",
            Part::Deny | Part::Mutants if !present => {
                " (only `test --long` needs it; built in minutes)"
            }
            Part::LinuxTarget if !present => " (only --linux needs it)",
            Part::CrossCompiler if !present => " (only stock TF-A and C clients need it)",
            _ => "",
        };
        anstream::println!("{style}{word:>8}{style:#}  {}{note}", part.name());
        well &= present || part.is_optional();
    }
    Ok(well)
}

fn rust_target_installed(target: &str) -> bool {
    // rustup knows; without rustup, look for the library itself.
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "list", "--installed"])
        .current_dir(crate::paths::root());
    if let Ok((true, text)) = tool::captured(&mut rustup) {
        return text.lines().any(|line| line.trim() == target);
    }
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]);
    rustc.current_dir(crate::paths::root());
    tool::captured(&mut rustc)
        .is_ok_and(|(ok, text)| ok && std::path::Path::new(text.trim()).is_dir())
}

fn rustup(args: &[&str]) -> Result<()> {
    if !tool::works("rustup", "--version") {
        bail!("rustup is not installed; get it from https://rustup.rs and run this again");
    }
    tool::run(
        Command::new("rustup")
            .args(args)
            .current_dir(crate::paths::root()),
    )
}

/// cargo-deny.
pub(crate) fn cargo_deny() -> Command {
    cargo_tool(CARGO_DENY.0)
}

/// A program of cargo's: the one that its part installs below the target directory, else the machine's own.
pub(crate) fn cargo_tool(name: &str) -> Command {
    let own = tools().join("bin").join(name);
    if own.exists() {
        Command::new(own)
    } else {
        Command::new(name)
    }
}

fn tools() -> PathBuf {
    paths::out().join("tools")
}

fn install_cargo_tool((name, version): (&str, &str)) -> Result<()> {
    let mut install = tool::cargo();
    install.args(["install", "--locked", "--quiet", name]);
    install.args(["--version", version, "--root"]);
    tool::run(install.arg(tools()))
}

/// Installs packages for the machine itself, of which `what` is missing.
fn debian_packages(what: &str, packages: &[&str]) -> Result<()> {
    let names = packages.join(" ");
    if !tool::works("apt-get", "--version") {
        bail!("{what} is missing; install what Debian has in {names}");
    }
    if !rustix::process::geteuid().is_root() {
        bail!(
            "{what} is missing; as root, type:\n  \
             apt-get update && apt-get install -y --no-install-recommends {names}"
        );
    }
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        tool::run(&mut command)
    };
    apt(&["update", "-qq"])?;
    let mut install = vec!["install", "-y", "-qq", "--no-install-recommends"];
    install.extend(packages);
    apt(&install)
}

fn install_miri() -> Result<()> {
    let mut list = Command::new("rustup");
    let (_, toolchains) = tool::captured(list.args(["toolchain", "list"]))?;
    let mut add = Command::new("rustup");
    if toolchains.lines().any(|line| line.starts_with("nightly-")) {
        add.args(["+nightly", "component", "add", "miri", "rust-src"]);
    } else {
        add.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
        add.args(["--component", "miri", "--component", "rust-src"]);
    }
    let (ok, text) = tool::captured(&mut add)?;
    if !ok {
        let last = text
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("no message");
        bail!("`{}` failed: {last}", tool::line(&add));
    }
    Ok(())
}
