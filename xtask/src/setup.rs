//! What must be on the machine, and how it gets there.
//!
//! **Invariant:** nothing is installed that is there already; what cannot be installed is named
//! together with the one line to type.
//! **Knows nothing of:** what is built or run afterwards.

use crate::paths::GUEST_TARGET;
use crate::{tool, ui};
use anyhow::{Result, bail};
use std::process::{Command, Stdio};

/// QEMU's program.
pub(crate) const QEMU: &str = "qemu-system-aarch64";
/// The browser's program.
pub(crate) const CHROMIUM: &str = "chromium";

/// What can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The guest's standard library.
    Target,
    /// The machine emulator.
    Qemu,
    /// rustfmt and clippy.
    Lints,
    /// Miri on a nightly toolchain.
    Miri,
    /// The browser that looks at reports.
    Chromium,
}

const PARTS: [Part; 5] = [
    Part::Target,
    Part::Lints,
    Part::Qemu,
    Part::Miri,
    Part::Chromium,
];

impl Part {
    /// Who alone needs it; none if everything does.
    fn needed_by(self) -> Option<&'static str> {
        match self {
            Self::Target | Self::Qemu | Self::Lints => None,
            Self::Miri => Some("the Miri tests need it"),
            Self::Chromium => Some("the test and the picture of report pages need it"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Target => "rust target aarch64-unknown-none-softfloat",
            Self::Qemu => "qemu-system-aarch64",
            Self::Lints => "rustfmt and clippy",
            Self::Miri => "miri on nightly",
            Self::Chromium => "chromium",
        }
    }

    /// Whether it is there.
    pub(crate) fn present(self) -> bool {
        match self {
            Self::Target => rust_target_installed(),
            Self::Qemu => tool::works(QEMU, "--version"),
            Self::Lints => {
                tool::works("cargo-fmt", "--version") && tool::works("cargo-clippy", "--version")
            }
            Self::Miri => {
                let mut cargo = tool::cargo_nightly();
                tool::captured(cargo.args(["miri", "--version"])).is_ok_and(|(ok, _)| ok)
            }
            Self::Chromium => tool::works(CHROMIUM, "--version"),
        }
    }

    fn install(self) -> Result<()> {
        match self {
            Self::Target => rustup(&["target", "add", GUEST_TARGET]),
            Self::Lints => rustup(&["component", "add", "rustfmt", "clippy"]),
            Self::Qemu => apt_install(QEMU, "qemu-system-arm"),
            Self::Chromium => apt_install(CHROMIUM, "chromium"),
            Self::Miri => install_miri(),
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
    for part in PARTS {
        let mut present = part.present();
        if !present && fix {
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
        let note = match part.needed_by() {
            Some(who) if !present => format!(" (only {who})"),
            _ => String::new(),
        };
        anstream::println!("{style}{word:>8}{style:#}  {}{note}", part.name());
        well &= present || part.needed_by().is_some();
    }
    Ok(well)
}

fn rust_target_installed() -> bool {
    // rustup knows; without rustup, look for the library itself.
    let mut rustup = Command::new("rustup");
    rustup
        .args(["target", "list", "--installed"])
        .current_dir(crate::paths::root());
    if let Ok((true, text)) = tool::captured(&mut rustup) {
        return text.lines().any(|line| line.trim() == GUEST_TARGET);
    }
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", GUEST_TARGET]);
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

/// Installs Debian's `package` for the sake of `program`.
fn apt_install(program: &str, package: &str) -> Result<()> {
    if !tool::works("apt-get", "--version") {
        bail!("{program} is missing; Debian has it in the package {package}");
    }
    let install = ["install", "-y", "-qq", "--no-install-recommends", package];
    if !rustix::process::geteuid().is_root() {
        bail!(
            "{program} is missing; as root, type:\n  apt-get update && apt-get {}",
            install.join(" ").replace(" -qq", "")
        );
    }
    for args in [&["update", "-qq"][..], &install] {
        let mut apt = Command::new("apt-get");
        apt.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        tool::run(apt.stdout(Stdio::null()))?;
    }
    Ok(())
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
