//! From sources to what QEMU boots.
//!
//! **Invariant:** the three cargo calls see the same flags from every command of xtask, so that
//! nothing is built twice; every output lies in `target/tally`.

use crate::keys::{self, DevKey};
use crate::paths::{self, GUEST_TARGET};
use crate::report::programs;
use crate::{bad, builds, file, flash, lock, setup, sign, sites, tool, ui};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tally_abi::TeeUuid;
use tally_insight::account::Build;
use tally_symbols::elf::Image;

/// Where the archive has TAs, as Linux has them.
pub(crate) const LIB: &str = "lib/optee_armtz";
/// The board's feature for half of the secure RAM.
const HALF_RAM: &str = "half-ram";

/// What may differ between builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Config {
    /// Build the kernel with these cargo features
    #[arg(long, value_name = "FEATURE", value_delimiter = ',', value_parser = kernel_feature)]
    pub(crate) kernel_features: Vec<String>,
    /// Build the kernel without its default features, that is without statistics
    #[arg(long)]
    pub(crate) kernel_no_default_features: bool,
    /// Build firmware and kernel for a machine with half of the secure RAM
    #[arg(long)]
    pub(crate) half_ram: bool,
    /// Trust this RSA key for TAs as well, public or private, as PEM or DER; several may be given
    #[arg(long, value_name = "FILE")]
    pub(crate) ta_key: Vec<PathBuf>,
    /// Sign TAs with this private key in place of the development key.
    #[arg(skip)]
    pub(crate) sign_with: Option<PathBuf>,
    /// How the TAs are built.
    #[command(flatten)]
    pub(crate) heaps: Heaps,
}

/// What may differ between builds of the TAs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Heaps {
    /// The TAs with guard bytes behind each block of their heaps, so that who writes past a
    /// block's end is named on the secure console
    #[arg(long)]
    pub(crate) debug_heap: bool,
    /// The TAs with heaps that write down where each live block was allocated, and keep no counters of
    /// call sites: cheaper, and with smaller tables
    #[arg(long)]
    pub(crate) light_heap: bool,
    /// The TAs with symbols in Rust's v0 mangling, as other builds of them may have.
    #[arg(skip)]
    pub(crate) v0_symbols: bool,
}

/// A feature of the kernel, or which there are.
fn kernel_feature(name: &str) -> Result<String> {
    let manifest = std::fs::read_to_string(paths::root().join("kernel/Cargo.toml"))?;
    let manifest: toml::Table = manifest.parse()?;
    let features = manifest.get("features").and_then(|table| table.as_table());
    let names = features.into_iter().flat_map(|table| table.keys());
    let names: Vec<&str> = names
        .map(String::as_str)
        .filter(|name| *name != "default")
        .collect();
    ensure!(
        names.contains(&name),
        "the kernel has the features {}",
        names.join(", ")
    );
    Ok(name.to_owned())
}

impl Heaps {
    /// Tells the outputs of different builds apart.
    fn suffix(self) -> String {
        let features = self.features();
        let symbols = self.v0_symbols.then_some("v0-symbols");
        let parts = features.chain(symbols);
        parts.map(|part| format!("-{part}")).collect()
    }

    /// What cargo is told of the TAs.
    fn args(self) -> Vec<String> {
        let features: Vec<_> = self
            .features()
            .map(|feature| format!("ta-runtime/{feature}"))
            .collect();
        let mut args = Vec::new();
        if !features.is_empty() {
            args.extend(["--features".to_owned(), features.join(",")]);
        }
        if self.v0_symbols {
            let flags =
                format!("target.{GUEST_TARGET}.rustflags=[\"-C\",\"symbol-mangling-version=v0\"]");
            args.extend(["--config".to_owned(), flags]);
        }
        args
    }

    /// Features of `ta-runtime`.
    fn features(self) -> impl Iterator<Item = &'static str> {
        let features = [
            (self.debug_heap, "debug-heap"),
            (self.light_heap, "light-heap"),
        ];
        features
            .into_iter()
            .filter_map(|(wanted, feature)| wanted.then_some(feature))
    }

    /// Where the TAs lie as they were linked. In cargo's own directory a build with other features
    /// overwrites them, and one that is found in its cache comes back with its old time.
    pub(crate) fn linked(self) -> PathBuf {
        paths::out().join(format!("elf{}", self.suffix()))
    }
}

impl Config {
    /// A kernel with these features beside the default ones.
    pub(crate) fn with(features: &[&str]) -> Self {
        Self {
            kernel_features: features.iter().map(|&name| name.to_owned()).collect(),
            ..Self::default()
        }
    }

    /// A kernel that can be broken on purpose, and shows addresses and memory.
    pub(crate) fn hooked() -> Self {
        Self::with(&["test-hooks", "addresses", "block-bytes"])
    }

    /// What cargo is told of the kernel.
    fn kernel_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if self.kernel_no_default_features {
            args.push("--no-default-features".to_owned());
        }
        if !self.kernel_features.is_empty() {
            args.extend(["--features".to_owned(), self.kernel_features.join(",")]);
        }
        args.extend(self.board_args("tally-board"));
        args
    }

    /// What cargo is told of the board, of which a package knows by this name.
    fn board_args(&self, name: &str) -> Vec<String> {
        if self.half_ram {
            vec!["--features".to_owned(), format!("{name}/{HALF_RAM}")]
        } else {
            Vec::new()
        }
    }

    /// Tells the outputs of different builds apart.
    fn suffix(&self) -> String {
        let plain = self.kernel_no_default_features.then_some("plain");
        let parts = plain
            .into_iter()
            .chain(self.half_ram.then_some(HALF_RAM))
            .chain(self.kernel_features.iter().map(String::as_str))
            .chain((!self.ta_key.is_empty()).then_some("keys"));
        parts.map(|part| format!("-{part}")).collect()
    }
}

/// One trusted application.
#[derive(Clone)]
pub(crate) struct Ta {
    /// Package name.
    pub(crate) name: String,
    /// From its head.
    pub(crate) uuid: TeeUuid,
    /// Which build it is ([`tally_abi::shdr::image_id`]).
    pub(crate) id: u64,
    /// As linked, with debug information.
    pub(crate) elf: Image,
    /// Bytes of the signed container.
    pub(crate) signed_len: usize,
    /// Bytes of the call-site table.
    pub(crate) sites_len: usize,
}

/// A file that was built, and its contents: another build may put others in its place.
#[derive(Clone)]
pub(crate) struct Raw {
    /// The file.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) bytes: Arc<[u8]>,
}

impl Raw {
    /// Writes it, unless the same is there already.
    fn write(path: PathBuf, bytes: Vec<u8>) -> Result<Self> {
        write_if_changed(&path, &bytes)?;
        let bytes = bytes.into();
        Ok(Self { path, bytes })
    }

    /// A copy in the directory of a run.
    pub(crate) fn put_into(&self, dir: &Path) -> Result<PathBuf> {
        let path = dir.join(self.path.file_name().context("a file without a name")?);
        std::fs::write(&path, &self.bytes)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

/// All images of a build.
#[derive(Clone)]
pub(crate) struct Images {
    /// EL3 firmware.
    pub(crate) monitor: Image,
    /// Secure kernel.
    pub(crate) kernel: Image,
    /// Loader at EL0, part of the kernel's image.
    pub(crate) ldelf: Image,
    /// Normal world.
    pub(crate) ree: Image,
    /// Trusted applications by package name.
    pub(crate) tas: Vec<Ta>,
    /// For `-bios`.
    pub(crate) flash: Raw,
    /// Raw normal world.
    pub(crate) ree_raw: Raw,
    /// TA archive.
    pub(crate) archive: Raw,
    /// What is in it but the names: path, contents.
    pub(crate) archive_files: Vec<(String, Vec<u8>)>,
    /// What people call the TAs in it.
    pub(crate) names: BTreeMap<TeeUuid, String>,
    /// The kernel's raw image.
    pub(crate) kernel_raw: Raw,
    /// Bytes of the kernel's raw image, with its call-site table.
    pub(crate) kernel_raw_len: usize,
    /// Bytes of the kernel's call-site table.
    pub(crate) kernel_sites_len: usize,
}

impl Images {
    /// Puts a TA into the archive, in place of one of the same UUID, whose name it takes on. Of a signed image in place
    /// of a built one, the old table of calls would speak of the other.
    pub(crate) fn put(
        &mut self,
        uuid: TeeUuid,
        name: Option<String>,
        files: Vec<(String, Vec<u8>)>,
    ) -> Result<()> {
        if !self.names.contains_key(&uuid)
            && let Some(name) = name
        {
            if let Some((other, _)) = self.names.iter().find(|(_, other)| **other == name) {
                bail!(
                    "TAs {uuid} and {other} have the same name {name}: rename the package of one"
                );
            }
            self.names.insert(uuid, name);
        }
        let own = ["ta", "sites"].map(|kind| format!("{LIB}/{uuid}.{kind}"));
        self.archive_files.retain(|(file, _)| !own.contains(file));
        self.archive_files.extend(files);
        let files = [&self.archive_files[..], &[names_file(&self.names)]].concat();
        self.archive.bytes = flash::ta_archive(&files)?.into();
        Ok(())
    }

    /// TAs, their names and tables of calls, as they lie below [`LIB`].
    pub(crate) fn lib_files(&self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let files = self.archive_files.iter().cloned();
        let files = files.filter(|(file, _)| file.starts_with(LIB));
        files.chain([names_file(&self.names)])
    }
}

/// The list of names: a line of UUID and name each.
fn names_file(names: &BTreeMap<TeeUuid, String>) -> (String, Vec<u8>) {
    let lines = names.iter().map(|(uuid, name)| format!("{uuid} {name}\n"));
    (
        format!("{LIB}/names"),
        lines.collect::<String>().into_bytes(),
    )
}

/// Builds everything.
pub(crate) fn build(config: &Config) -> Result<Images> {
    setup::ensure(setup::Part::Target)?;
    let _alone = lock::build()?;
    let key = match &config.sign_with {
        Some(file) => DevKey::read(file)?,
        None => DevKey::load()?,
    };
    let trusted = keys::moduli(&config.ta_key)?;
    let out = paths::out();
    std::fs::create_dir_all(&out)?;

    ui::step("Building", "ldelf, kernel, monitor, normal world and TAs");
    let ldelf = Image::read(&single(guest(&["ldelf"], &[], &[])?, "ldelf")?)?;
    let ldelf_blob = out.join("ldelf.bin");
    let mut ldelf_raw = ldelf.flatten()?;
    // Whole pages, zeroed memory included: the kernel copies it as it is.
    let ldelf_len = usize::try_from(ldelf.mem_len())?.next_multiple_of(4096);
    ldelf_raw.resize(ldelf_len, 0);
    write_if_changed(&ldelf_blob, &ldelf_raw)?;

    let env = [
        ("TALLY_LDELF", ldelf_blob.into_os_string()),
        ("TALLY_TA_KEYS", trusted),
    ];
    let kernel = guest(&["tally-kernel"], &config.kernel_args(), &env)?;
    let kernel = Image::read(&single(kernel, "tally-kernel")?)?;
    keep(&kernel, "tally-kernel");
    keep(&ldelf, "ldelf");

    let ta_names = ta_packages()?;
    let mut names = vec!["tally-monitor", "tally-ree"];
    let board = config.board_args("tally-board-virt");
    let tas = ta_names.iter().map(String::as_str);
    let args = config.heaps.args();
    let programs = if args.is_empty() {
        names.extend(tas);
        guest(&names, &board, &[])?
    } else {
        let mut programs = guest(&names, &board, &[])?;
        programs.extend(guest(&tas.collect::<Vec<_>>(), &args, &[])?);
        programs
    };
    let linked = |name: &str| {
        programs
            .get(name)
            .with_context(|| format!("{name} built no program"))
    };
    let program = |name: &str| -> Result<Image> { Image::read(linked(name)?) };
    let monitor = program("tally-monitor")?;
    keep(&monitor, "tally-monitor");
    let ree = program("tally-ree")?;

    let (kernel_raw, kernel_sites_len) = kernel_raw(&kernel)?;
    let variant = config.suffix();
    let kernel_raw = Raw::write(out.join(format!("kernel{variant}.bin")), kernel_raw)?;
    let monitor_raw = monitor.flatten()?;
    write_if_changed(&out.join("monitor.bin"), &monitor_raw)?;
    let flash = flash::flash(&monitor_raw, &kernel_raw.bytes)?;
    let flash = Raw::write(out.join(format!("flash{variant}.bin")), flash)?;
    let ree_raw = out.join(if config.half_ram {
        "ree-half-ram.bin"
    } else {
        "ree.bin"
    });
    let ree_raw = Raw::write(ree_raw, ree.flatten()?)?;

    let lib = out
        .join(format!("lib{}", config.heaps.suffix()))
        .join("optee_armtz");
    std::fs::create_dir_all(&lib)?;
    let kept = config.heaps.linked();
    std::fs::create_dir_all(&kept)?;
    let mut tas = Vec::new();
    let mut files = Vec::new();
    for name in &ta_names {
        let elf = program(name)?;
        write_if_changed(&kept.join(name), &std::fs::read(linked(name)?)?)?;
        let ta = package_ta(&key, name, elf, &lib, &mut files)?;
        if let Some(twin) = tas.iter().find(|other: &&Ta| other.uuid == ta.uuid) {
            bail!(
                "TAs {} and {name} have the same UUID {}",
                twin.name,
                ta.uuid
            );
        }
        tas.push(ta);
    }
    remove_stale_tas(&lib, &files)?;
    if let Some(hello) = tas.iter().find(|ta| ta.uuid == ta_uuids::hello::UUID) {
        files.extend(bad::files(&key, &hello.elf.stripped()?)?);
    }
    let named = |ta: &Ta| (ta.uuid, programs::short(&ta.name).to_owned());
    let names = tas.iter().map(named).collect();
    let archive = out.join(format!("tas{}.cpio", config.heaps.suffix()));
    let all = [&files[..], &[names_file(&names)]].concat();
    let archive = Raw::write(archive, flash::ta_archive(&all)?)?;

    Ok(Images {
        kernel_raw_len: kernel_raw.bytes.len(),
        kernel_raw,
        kernel_sites_len,
        monitor,
        kernel,
        ldelf,
        ree,
        tas,
        flash,
        ree_raw,
        archive,
        archive_files: files,
        names,
    })
}

/// Keeps a program that has a build id for names.
fn keep(image: &Image, name: &str) {
    if let Some(build) = image.build_id() {
        builds::keep(name, Build::kernel(&build).id, &image.bytes);
    }
}

/// The packages below `tas/`, sorted.
pub(crate) fn ta_packages() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(paths::root().join("tas"))? {
        let dir = entry?.path();
        if !dir.join("src").join("main.rs").exists() {
            // Shared definitions, not a TA.
            continue;
        }
        let manifest = dir.join("Cargo.toml");
        let Ok(text) = std::fs::read_to_string(&manifest) else {
            continue;
        };
        let name = text.lines().find_map(|line| {
            line.strip_prefix("name")?
                .trim_start()
                .strip_prefix('=')?
                .trim()
                .split('"')
                .nth(1)
        });
        let name = name.with_context(|| format!("no package name in {}", manifest.display()))?;
        names.push(name.to_owned());
    }
    names.sort();
    Ok(names)
}

/// Flags that make paths in images independent of the machine: registry crates are named
/// `crate-version/src/..`, the workspace's own files relative to its root.
fn remap_config(target: &str) -> String {
    let mut flags = vec![remap(&paths::root(), "")];
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    if let Some(registry) = home.map(|home| home.join("registry").join("src"))
        && let Ok(entries) = std::fs::read_dir(registry)
    {
        let mut sources: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        sources.sort();
        flags.extend(sources.iter().map(|source| remap(source, "")));
    }
    let list: Vec<String> = flags
        .iter()
        .map(|flag| serde_json::Value::from(flag.as_str()).to_string())
        .collect();
    format!("target.{target}.rustflags=[{}]", list.join(","))
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Builds programs for the bare machine; returns target name -> ELF file.
fn guest(
    packages: &[&str],
    args: &[String],
    env: &[(&str, OsString)],
) -> Result<HashMap<String, PathBuf>> {
    programs(GUEST_TARGET, packages, args, env)
}

/// Builds programs for a target of the guest's; returns target name -> ELF file.
pub(crate) fn programs(
    target: &str,
    packages: &[&str],
    args: &[String],
    env: &[(&str, OsString)],
) -> Result<HashMap<String, PathBuf>> {
    let mut cargo = tool::cargo();
    cargo.args(["build", "--release", "--bins", "--target", target]);
    cargo.args([
        "--message-format",
        "json-render-diagnostics",
        "--config",
        &remap_config(target),
    ]);
    if !ui::verbose() {
        cargo.arg("--quiet");
    }
    for package in packages {
        cargo.args(["-p", package]);
    }
    cargo.args(args);
    cargo.envs(env.iter().map(|(name, value)| (name, value)));
    let out = cargo
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", tool::line(&cargo)))?;
    if !out.status.success() {
        bail!(
            "building {} for the guest failed; the messages are above",
            packages.join(", ")
        );
    }
    let mut programs = HashMap::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        if message["reason"] == "compiler-artifact"
            && let Some(path) = message["executable"].as_str()
            && let Some(name) = message["target"]["name"].as_str()
        {
            programs.insert(name.to_owned(), PathBuf::from(path));
        }
    }
    Ok(programs)
}

fn single(programs: HashMap<String, PathBuf>, package: &str) -> Result<PathBuf> {
    let mut paths: Vec<PathBuf> = programs.into_values().collect();
    ensure!(
        paths.len() == 1,
        "{package} must build one program, not {}",
        paths.len()
    );
    Ok(paths.remove(0))
}

/// The kernel's raw image with its call-site table in the hole kept for it.
fn kernel_raw(kernel: &Image) -> Result<(Vec<u8>, usize)> {
    let mut raw = kernel.flatten()?;
    let (Some(start), Some(end)) = (kernel.symbol("__sites_start"), kernel.symbol("__sites_end"))
    else {
        ui::warn("the kernel's linker script keeps no room for call sites (__sites_start)");
        return Ok((raw, 0));
    };
    let table = sites::table(kernel)?;
    let room = end.saturating_sub(start);
    ensure!(
        table.len() as u64 <= room,
        "the kernel's call-site table has {} bytes, its hole {room}: \
         enlarge `.sites` in linker/kernel.ld",
        table.len()
    );
    let at = kernel
        .image_offset(start)
        .context("__sites_start lies in no segment")?;
    let at = usize::try_from(at)?;
    if raw.len() < at + table.len() {
        raw.resize(at + table.len(), 0);
    }
    raw[at..at + table.len()].copy_from_slice(&table);
    Ok((raw, table.len()))
}

fn package_ta(
    key: &DevKey,
    name: &str,
    elf: Image,
    dir: &Path,
    files: &mut Vec<(String, Vec<u8>)>,
) -> Result<Ta> {
    let uuid = elf.ta_head()?.uuid;
    let sites = sites::table(&elf)?;
    let path = dir.join(format!("{uuid}.ta"));
    // PSS signatures are salted: sign again only when the ELF file has changed, so that the
    // same sources keep giving the same archive.
    let stripped = elf.stripped()?;
    let signed = match std::fs::read(&path) {
        Ok(old) if sign::is_signed_by(key, uuid, &stripped, &old) => old,
        _ => sign::sign_ta(key, uuid, &stripped)?,
    };
    write_if_changed(&path, &signed)?;
    write_if_changed(&dir.join(format!("{uuid}.sites")), &sites)?;
    let id = sign::Signed::parse(&signed).context("no signed image")?.id;
    builds::keep(name, id, &elf.bytes);
    let ta = Ta {
        name: name.to_owned(),
        uuid,
        id,
        elf,
        signed_len: signed.len(),
        sites_len: sites.len(),
    };
    files.push((format!("{LIB}/{uuid}.ta"), signed));
    files.push((format!("{LIB}/{uuid}.sites"), sites));
    Ok(ta)
}

fn remove_stale_tas(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !files.iter().any(|(file, _)| file.ends_with(&name)) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).ok().as_deref() != Some(bytes) {
        file::replace(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::Cli;
    use clap::Parser as _;

    /// Cargo's complaint named none.
    #[test]
    fn features_that_the_kernel_has_are_named_for_one_that_it_has_not() {
        let parsed =
            |feature| Cli::try_parse_from(["xtask", "build", "--kernel-features", feature]);
        assert!(parsed("test-hooks,addresses").is_ok());
        let why = parsed("nosuch").err().map(|err| err.to_string());
        let why = why.unwrap_or_default();
        assert!(
            why.contains("addresses, best-fit, block-bytes, first-fit, stats, test-hooks"),
            "{why}"
        );
    }
}
