//! Debian's Linux as the normal world: what QEMU gets to boot it.
//!
//! **Invariant:** kernel, modules, libraries and supplicant are Debian's, unmodified.

pub(crate) mod bench;
mod filters;
pub(crate) mod kept;
mod packages;
pub(crate) mod peer;
pub(crate) mod teaclave;
pub(crate) mod tests;

use crate::archive::Archive;
use crate::images::{self, Images};
use crate::{paths, setup, tool, ui};
use anyhow::{Context as _, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use tally_symbols::elf;

pub(crate) use packages::{Debian, KIT, Unreachable, kit, upstream_source};

/// The Rust target of programs for Linux.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-musl";
/// RAM of a machine with Linux, in MiB.
pub(crate) const RAM_MIB: u32 = 512;
/// `quiet`: errors of the kernel are shown, its other messages are in `dmesg`.
pub(crate) const BOOT_ARGUMENTS: &str = "console=ttyAMA0 quiet panic=-1";

/// Modules of the kernel's package, or what is built into it. `init.sh` loads all but the last, which a test does.
const MODULES: &[&str] = &[
    "drivers/virtio/virtio_mmio.ko",
    "drivers/char/virtio_console.ko",
    "drivers/tee/tee.ko",
    "drivers/tee/optee/optee.ko",
    "drivers/char/hw_random/optee-rng.ko",
];

/// A Linux to boot.
pub(crate) struct Linux {
    /// Debian's kernel.
    pub(crate) kernel: PathBuf,
    /// Everything in its RAM disk but the command.
    ramdisk: Vec<u8>,
}

/// Gets the packages, builds the programs, and makes the RAM disk.
///
/// # Errors
/// [`Unreachable`] when the packages cannot be had.
pub(crate) fn prepare(images: &Images, debian: Debian) -> Result<Linux> {
    let root = debian.unpacked()?;
    let kernel = kernel(&root)?;
    let mut archive = Archive::default();
    archive.program("init", include_bytes!("init.sh"))?;
    for directory in ["etc", "proc", "sys", "dev", "run", "tmp", "root"] {
        archive.directory(directory)?;
    }
    let modules = modules(&root)?;
    for module in MODULES {
        if let Some(bytes) = self::module(&modules, module)? {
            let name = module.rsplit('/').next().unwrap_or(module);
            archive.file(&format!("lib/modules/{name}"), &bytes)?;
        }
    }
    for file in debian.files(&root)? {
        let bytes = read(&root.join(&file))?;
        archive.program(&packages::place_of(&file), &bytes)?;
    }
    for (name, program) in programs()? {
        archive.program(&format!("bin/{name}"), &program)?;
    }
    for (file, bytes) in images.lib_files() {
        archive.file(&file, &bytes)?;
    }
    if let Some(program) = c_client(&root)? {
        archive.program("bin/hello-client", &program)?;
    }
    Ok(Linux {
        kernel,
        ramdisk: archive.finish()?,
    })
}

impl Linux {
    /// One whose RAM disk is empty.
    #[cfg(test)]
    pub(crate) fn without_programs(kernel: PathBuf) -> Self {
        let ramdisk = Vec::new();
        Self { kernel, ramdisk }
    }

    /// Adds a program.
    pub(crate) fn add_program(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut archive = Archive::default();
        archive.program(&format!("bin/{name}"), bytes)?;
        self.ramdisk.extend(archive.finish()?);
        Ok(())
    }

    /// Writes the RAM disk of one run; `command` is a shell script.
    pub(crate) fn write_ramdisk(&self, path: &Path, command: Option<&str>) -> Result<()> {
        let mut bytes = self.ramdisk.clone();
        if let Some(command) = command {
            let mut archive = Archive::default();
            archive.file("etc/tally/command", format!("{command}\n").as_bytes())?;
            bytes.extend(archive.finish()?);
        }
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }
}

fn kernel(root: &Path) -> Result<PathBuf> {
    let boot = root.join("boot");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&boot)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("/vmlinuz-"))
        .collect();
    found.sort();
    found.pop().context("the kernel's package has no kernel")
}

fn modules(root: &Path) -> Result<PathBuf> {
    let all = ["lib/modules", "usr/lib/modules"].map(|dir| root.join(dir));
    let all = all.iter().find_map(|dir| std::fs::read_dir(dir).ok());
    let first = all.and_then(|entries| entries.flatten().next());
    Ok(first.context("the kernel's package has no modules")?.path())
}

/// A module as it is loaded; `None` when it is built in.
fn module(modules: &Path, module: &str) -> Result<Option<Vec<u8>>> {
    let path = modules.join("kernel").join(module);
    let packed = path.with_extension("ko.xz");
    if packed.is_file() {
        let mut unpack = Command::new("xz");
        unpack.args(["--decompress", "--stdout"]).arg(&packed);
        let unpacked = unpack.output().context("cannot start xz")?;
        ensure!(
            unpacked.status.success(),
            "`{}` failed",
            tool::line(&unpack)
        );
        return Ok(Some(unpacked.stdout));
    }
    let built_in = std::fs::read_to_string(modules.join("modules.builtin"))?;
    if built_in
        .lines()
        .any(|line| line == format!("kernel/{module}"))
    {
        return Ok(None);
    }
    read(&path).map(Some)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Our own programs for Linux, by name.
fn programs() -> Result<Vec<(String, Vec<u8>)>> {
    setup::ensure(setup::Part::LinuxTarget)?;
    ui::step("Building", "teestat and tests for Linux");
    let built = images::programs(TARGET, &["teestat-linux", "tally-linux"], &[], &[])?;
    if built.is_empty() {
        bail!("nothing was built for Linux");
    }
    let mut programs = Vec::new();
    for (name, path) in built {
        programs.push((name, elf::Image::read(&path)?.stripped()?));
    }
    programs.sort();
    Ok(programs)
}

/// The C client, built against Debian's headers and libteec; none without a compiler.
fn c_client(root: &Path) -> Result<Option<Vec<u8>>> {
    let compiler = format!("{}gcc", setup::CROSS_COMPILE);
    if !tool::works(&compiler, "--version") {
        return Ok(None);
    }
    let out = paths::out().join("hello-client");
    let mut compile = Command::new(&compiler);
    compile.args(["-O2", "-Wall", "-Wextra", "-Werror", "-s", "-o"]);
    compile.arg(&out);
    compile.arg(paths::root().join("qemu/linux/client/hello.c"));
    compile.arg("-I").arg(root.join("usr/include"));
    compile
        .arg("-L")
        .arg(root.join("usr/lib/aarch64-linux-gnu"));
    tool::run(compile.arg("-lteec"))?;
    Ok(Some(read(&out)?))
}
