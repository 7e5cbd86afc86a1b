//! Debian's arm64 packages: fetched with apt-get, kept below the target directory.
//!
//! apt gets a state folder of its own and the machine's own package source, asked for another release and
//! arm64. It checks signatures and hashes; nothing is installed.
//!
//! **Invariant:** what [`Debian::unpacked`] returns was unpacked whole; what is there is not fetched again.

use crate::{paths, tool, ui};
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the newest kernel.
const KERNEL_META: &str = "linux-image-arm64";

/// Where OP-TEE's TA kit lies among its packages.
pub(crate) const KIT: &str = "usr/lib/optee-os-dev/vexpress-qemu_armv8a";

/// The TA behind `libckteec`, as the kit has it.
const PKCS11: &str = "ta/fd02c9da-306c-48c7-a49c-bbd827ae86ee.ta";

/// Where the guest has a file of the packages.
pub(crate) fn place_of(file: &str) -> String {
    let ta = file
        .strip_prefix(KIT)
        .and_then(|file| file.strip_prefix("/ta/"));
    match ta {
        Some(ta) => format!("lib/optee_armtz/{ta}"),
        None => file.strip_prefix("usr/").unwrap_or(file).to_owned(),
    }
}

/// A release of Debian: packages that are unpacked together, its kernel among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Debian {
    /// Linux 6.1, libteec 3.19
    #[value(name = "12")]
    Bookworm,
    /// Linux 6.12, libteec and test suite of OP-TEE 4.5, whose TAs the kernel trusts
    #[default]
    #[value(name = "13")]
    Trixie,
}

impl Debian {
    fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// Directory below the target directory.
    fn dir(self) -> &'static str {
        match self {
            Self::Bookworm => "debian",
            Self::Trixie => "debian-13",
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Bookworm => &[
                "busybox-static",
                "libc6",
                "libteec1",
                "optee-client-dev",
                "tee-supplicant",
            ],
            Self::Trixie => &[
                "busybox-static",
                "libc6",
                "libckteec0t64",
                "libgcc-s1",
                "libssl3t64",
                "libteec2",
                "libuuid1",
                "libzstd1",
                "optee-client-dev",
                "optee-os",
                "optee-os-dev",
                "optee-test-qemu",
                "tee-supplicant",
                "zlib1g",
            ],
        }
    }

    /// What the guest has of them, below [`Self::unpacked`]'s directory.
    pub(crate) fn files(self, root: &Path) -> Result<Vec<String>> {
        let library = |name: &&str| format!("usr/lib/aarch64-linux-gnu/{name}");
        Ok(match self {
            Self::Bookworm => [
                "bin/busybox",
                "lib/ld-linux-aarch64.so.1",
                "lib/aarch64-linux-gnu/libc.so.6",
                "usr/lib/aarch64-linux-gnu/libteec.so.1",
                "usr/sbin/tee-supplicant",
            ]
            .map(str::to_owned)
            .to_vec(),
            Self::Trixie => {
                let programs = [
                    "usr/bin/busybox",
                    "usr/bin/xtest",
                    "usr/lib/ld-linux-aarch64.so.1",
                    "usr/sbin/tee-supplicant",
                ];
                let libraries = [
                    "libc.so.6",
                    "libckteec.so.0",
                    "libcrypto.so.3",
                    "libgcc_s.so.1",
                    "libm.so.6",
                    "libteec.so.2",
                    "libuuid.so.1",
                    "libz.so.1",
                    "libzstd.so.1",
                ];
                let mut files: Vec<String> = programs.map(str::to_owned).to_vec();
                files.extend(libraries.iter().map(library));
                for dir in ["usr/lib/optee_armtz", "usr/lib/tee-supplicant/plugins"] {
                    for entry in std::fs::read_dir(root.join(dir))? {
                        files.push(format!("{dir}/{}", entry?.file_name().to_string_lossy()));
                    }
                }
                files.push(format!("{KIT}/{PKCS11}"));
                files.sort();
                files
            }
        })
    }

    /// The key that signed its TAs.
    pub(crate) fn ta_key(self) -> Result<Option<PathBuf>> {
        match self {
            Self::Bookworm => Ok(None),
            Self::Trixie => Ok(Some(self.unpacked()?.join(KIT).join("keys/default_ta.pem"))),
        }
    }

    /// Upstream's version of a package that was unpacked.
    ///
    /// # Errors
    /// As [`Self::unpacked`]; it is none of them.
    pub(crate) fn version_of(self, package: &str) -> Result<String> {
        self.unpacked()?;
        let debs = std::fs::read_to_string(paths::out().join(self.dir()).join("unpacked"))?;
        let prefix = format!("{package}_");
        let version = debs.lines().find_map(|deb| deb.strip_prefix(&prefix));
        let version = version.and_then(|rest| rest.split(['-', '_', '+']).next());
        let version = version.with_context(|| format!("{package} was not fetched"))?;
        Ok(version.to_owned())
    }

    /// The directory that its packages are unpacked in, fetched if they are not there yet.
    ///
    /// # Errors
    /// [`Unreachable`] when the machine has no package source or cannot reach it.
    pub(crate) fn unpacked(self) -> Result<PathBuf> {
        let base = paths::out().join(self.dir());
        let root = base.join("root");
        // Written last; says what is there.
        let stamp = base.join("unpacked");
        let wanted = self.packages().join(" ");
        if std::fs::read_to_string(&stamp).is_ok_and(|text| text.lines().next() == Some(&wanted)) {
            return Ok(root);
        }
        let debs = Apt::new(&base.join("apt"), "deb", self.name())?.download(self)?;
        // Unpacked beside and moved: an interrupted run leaves no half of it.
        let fresh = base.join("root.new");
        for dir in [&fresh, &root] {
            if dir.exists() {
                std::fs::remove_dir_all(dir)?;
            }
        }
        for deb in &debs {
            let mut unpack = Command::new("dpkg-deb");
            tool::run(unpack.arg("--extract").arg(deb).arg(&fresh))?;
        }
        std::fs::rename(&fresh, &root)?;
        let names: Vec<String> = debs.iter().filter_map(|deb| file_name(deb)).collect();
        std::fs::write(&stamp, format!("{wanted}\n{}\n", names.join("\n")))?;
        Ok(root)
    }
}

/// Why there are no packages: nothing is wrong with the code, the machine cannot get them.
#[derive(Debug)]
pub(crate) struct Unreachable(String);

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Debian's packages cannot be had: {}", self.0)
    }
}

impl std::error::Error for Unreachable {}

/// The directory that OP-TEE's TA kit and its test suite's TAs are unpacked in, fetched if they are not there yet.
///
/// # Errors
/// As [`Debian::unpacked`].
pub(crate) fn kit() -> Result<PathBuf> {
    Debian::Trixie.unpacked()
}

/// The upstream archive of a source package of Debian's, fetched if it is not there yet.
///
/// # Errors
/// [`Unreachable`] when the machine has no package source or cannot reach it.
pub(crate) fn upstream_source(package: &str) -> Result<PathBuf> {
    let base = paths::out().join("debian").join(package);
    let find = || -> Result<Option<PathBuf>> {
        if !base.exists() {
            return Ok(None);
        }
        let files = std::fs::read_dir(&base)?
            .flatten()
            .map(|entry| entry.path());
        let is_upstream = |path: &PathBuf| {
            file_name(path).is_some_and(|name| {
                name.starts_with(&format!("{package}_")) && name.contains(".orig.tar.")
            })
        };
        Ok(files.filter(is_upstream).max())
    };
    if let Some(archive) = find()? {
        return Ok(archive);
    }
    ui::step("Fetching", format_args!("Debian's sources of {package}"));
    let apt = Apt::new(&base.join("apt"), "deb-src", Debian::Bookworm.name())?;
    apt.update()?;
    let mut download = apt.command("apt-get");
    download.current_dir(&base);
    apt.fetch(download.args(["source", "--download-only", "-qq", package]))?;
    find()?.with_context(|| format!("apt-get left no sources of {package}"))
}

struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// `kind` of package: `deb` or `deb-src`.
    fn new(dir: &Path, kind: &str, release: &str) -> Result<Self> {
        if !tool::works("apt-get", "--version") || !tool::works("dpkg-deb", "--version") {
            bail!(Unreachable("this machine has no apt-get".into()));
        }
        for part in ["lists/partial", "cache/archives/partial", "debs"] {
            std::fs::create_dir_all(dir.join(part))?;
        }
        let sources = sources(Path::new("/etc/apt"), release);
        if sources.is_empty() {
            bail!(Unreachable("/etc/apt names no source of Debian".into()));
        }
        let lines: String = sources
            .iter()
            .map(|source| format!("{kind} {source}\n"))
            .collect();
        std::fs::write(dir.join("sources.list"), lines)?;
        Ok(Self {
            dir: dir.to_path_buf(),
        })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let own = |name: &str, path: &str| format!("-oDir::{name}={}/{path}", self.dir.display());
        command.args([
            own("State", ""),
            own("State::Lists", "lists"),
            own("Cache", "cache"),
            own("Etc::SourceList", "sources.list"),
        ]);
        command.args([
            "-oDir::State::status=/dev/null",
            "-oDir::Etc::SourceParts=/dev/null",
            "-oAPT::Architecture=arm64",
            "-oAPT::Architectures=arm64",
            "-oAPT::Sandbox::User=root",
            "-oAcquire::Languages=none",
            "-oAcquire::Retries=2",
        ]);
        // Messages are looked into: in English.
        command.env("LC_ALL", "C");
        command
    }

    /// Fetches all packages; returns their files.
    fn download(&self, debian: Debian) -> Result<Vec<PathBuf>> {
        ui::step(
            "Fetching",
            format_args!("arm64 packages of Debian's {}", debian.name()),
        );
        self.update()?;
        let mut show = self.command("apt-cache");
        let meta = show.args(["show", KERNEL_META]).output()?;
        let kernel = kernel_package(&String::from_utf8_lossy(&meta.stdout));
        let kernel = kernel.with_context(|| format!("{KERNEL_META} names no kernel"))?;
        let packages = debian.packages().iter().map(|&name| name.to_owned());
        let packages: Vec<String> = packages.chain([kernel]).collect();
        let debs = self.dir.join("debs");
        let mut download = self.command("apt-get");
        download.current_dir(&debs).args(["download", "-qq"]);
        self.fetch(download.args(&packages))?;
        let packages = packages.iter();
        packages.map(|package| newest(&debs, package)).collect()
    }

    fn update(&self) -> Result<()> {
        let mut command = self.command("apt-get");
        self.fetch(command.args(["update", "-qq", "--error-on=any"]))
    }

    fn fetch(&self, command: &mut Command) -> Result<()> {
        let (ok, text) = tool::captured(command)?;
        if !ok {
            let why = text.lines().find(|line| line.starts_with("E: "));
            let why = why.or(text.lines().last()).unwrap_or("apt-get failed");
            bail!(Unreachable(why.trim_start_matches("E: ").to_owned()));
        }
        Ok(())
    }
}

/// The file of `package` among those downloaded: the one written last.
fn newest(debs: &Path, package: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(debs)? {
        let path = entry?.path();
        if file_name(&path).is_some_and(|name| name.starts_with(&format!("{package}_"))) {
            found.push((std::fs::metadata(&path)?.modified()?, path));
        }
    }
    found.sort();
    let (_, path) = found
        .pop()
        .with_context(|| format!("apt-get left no file of {package}"))?;
    ensure!(path.is_file(), "{} is no file", path.display());
    Ok(path)
}

fn file_name(path: &Path) -> Option<String> {
    Some(path.file_name()?.to_string_lossy().into_owned())
}

/// The kernel's package that the metapackage depends on.
fn kernel_package(record: &str) -> Option<String> {
    let depends = record
        .lines()
        .find_map(|line| line.strip_prefix("Depends:"))?;
    let name = depends.split([',', '(']).next()?.trim();
    name.starts_with("linux-image-").then(|| name.to_owned())
}

/// What follows the kind in one line a source for apt: the machine's own ones of Debian, for the
/// release that we want.
fn sources(etc: &Path, release: &str) -> Vec<String> {
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = std::fs::read_dir(etc.join("sources.list.d")) {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.sort();
    let mut lines = BTreeSet::new();
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => lines.extend(text.lines().filter_map(|line| from_line(line, release))),
            Some("sources") => lines.extend(
                text.split("\n\n")
                    .flat_map(|stanza| from_stanza(stanza, release)),
            ),
            _ => {}
        }
    }
    lines.into_iter().collect()
}

/// A line such as `deb [signed-by=KEY] URI SUITE main`.
fn from_line(line: &str, release: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let key = options
        .split_whitespace()
        .find_map(|option| option.strip_prefix("signed-by="));
    source(rest.split_whitespace().next()?, key, release)
}

/// A stanza of a `.sources` file.
fn from_stanza(stanza: &str, release: &str) -> Vec<String> {
    let field = |name: &str| {
        stanza.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    };
    if field("Types").is_none_or(|types| !types.split_whitespace().any(|t| t == "deb"))
        || field("Enabled").is_some_and(|enabled| enabled.eq_ignore_ascii_case("no"))
    {
        return Vec::new();
    }
    let key = field("Signed-By").filter(|key| key.starts_with('/'));
    let uris = field("URIs").unwrap_or_default();
    uris.split_whitespace()
        .filter_map(|uri| source(uri, key, release))
        .collect()
}

/// Debian's archives are known by how their paths end.
fn source(uri: &str, key: Option<&str>, release: &str) -> Option<String> {
    let uri = uri.trim_end_matches('/');
    let suite = match uri.rsplit('/').next()? {
        "debian" => release.to_owned(),
        "debian-security" => format!("{release}-security"),
        _ => return None,
    };
    let options = key
        .map(|key| format!("[signed-by={key}] "))
        .unwrap_or_default();
    Some(format!("{options}{uri} {suite} main"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_s_sources_are_told_from_others() {
        let stanza = "Types: deb\n# a remark\nURIs: http://mirror.example/debian\n\
                      Suites: trixie trixie-updates\nComponents: main\nSigned-By: /keys/debian.gpg";
        assert_eq!(
            from_stanza(stanza, "bookworm"),
            ["[signed-by=/keys/debian.gpg] http://mirror.example/debian bookworm main"]
        );
        let other = "Types: deb\nURIs: https://mirror.example/node_20.x\nSuites: nodistro";
        assert!(from_stanza(other, "bookworm").is_empty());
        assert!(
            from_stanza(&stanza.replace("Types: deb", "Types: deb-src"), "bookworm").is_empty()
        );
        assert_eq!(
            from_line(
                "deb http://mirror.example/debian-security/ bookworm-security main",
                "bookworm"
            ),
            Some("http://mirror.example/debian-security bookworm-security main".into())
        );
        assert_eq!(
            from_line(
                "# deb http://mirror.example/debian bookworm main",
                "bookworm"
            ),
            None
        );
        assert_eq!(
            from_line("deb https://mirror.example/apt stable main", "bookworm"),
            None
        );
    }

    #[test]
    fn the_metapackage_names_the_kernel() {
        let record =
            "Package: linux-image-arm64\nDepends: linux-image-6.1.0-40-arm64 (= 6.1.1-1)\n";
        assert_eq!(
            kernel_package(record).as_deref(),
            Some("linux-image-6.1.0-40-arm64")
        );
        assert_eq!(kernel_package("Depends: libc6\n"), None);
    }
}
