//! Dependencies of the workspace, held against `deny.toml`.
//!
//! [`check`] needs nothing but cargo: licences, sources, and crates of two versions. cargo-deny knows
//! more (advisories, yanked versions, licence texts), and takes minutes to build.
//!
//! **Invariant:** every rule is a function from packages to complaints, tested as such.

use crate::{paths, setup, tool};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use spdx::{Expression, ParseMode};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A package that something is built of.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    /// None of the workspace's own.
    source: Option<String>,
}

/// What cargo tells of the workspace.
struct Workspace {
    packages: Vec<Package>,
    /// Crates of others that a member names.
    direct: BTreeSet<String>,
}

/// What `deny.toml` allows.
#[derive(Debug, Default)]
struct Policy {
    targets: Vec<String>,
    licences: Vec<String>,
    /// Further licences of some crates.
    exceptions: BTreeMap<String, Vec<String>>,
    /// `crate@version` of those that may be there beside another version.
    skipped: BTreeSet<String>,
    registries: Vec<String>,
}

/// Why something cannot be checked here: nothing is wrong with the code.
#[derive(Debug)]
pub(crate) struct Unavailable(String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Says of each crate why we depend on it.
const TABLE: &str = "docs/dependencies.md";

/// Licences, sources, versions, and a reason for each crate.
pub(crate) fn check() -> Result<()> {
    let text = std::fs::read_to_string(paths::root().join("deny.toml"))?;
    let policy = Policy::parse(&text)?;
    let Workspace { packages, direct } = workspace(&policy)?;
    let table = std::fs::read_to_string(paths::root().join(TABLE))?;
    let mut complaints: Vec<String> = packages
        .iter()
        .flat_map(|package| [licence(&policy, package), source(&policy, package)])
        .flatten()
        .collect();
    complaints.extend(versions(&policy, &packages));
    complaints.extend(reasons(&direct, &table));
    ensure!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

/// All that cargo-deny knows without the network.
pub(crate) fn cargo_deny() -> Result<()> {
    deny(&[
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ])
}

/// Known faults of what we depend on.
pub(crate) fn advisories() -> Result<()> {
    if let Err(err) = deny(&["fetch", "db"]) {
        let text = format!("{err:#}");
        let fatal = text.lines().find(|line| line.starts_with("fatal:"));
        let why = fatal.or(text.lines().next()).unwrap_or_default();
        bail!(Unavailable(format!(
            "the database of advisories cannot be had: {why}"
        )));
    }
    deny(&["check", "--hide-inclusion-graph", "advisories"])
}

fn deny(args: &[&str]) -> Result<()> {
    setup::ensure(setup::Part::Deny)?;
    let mut deny = setup::cargo_deny();
    let (ok, text) = tool::captured(
        deny.current_dir(paths::root())
            .arg("--workspace")
            .args(args),
    )?;
    ensure!(ok, "{text}\n`{}` failed", tool::line(&deny));
    Ok(())
}

/// Everything that is built for one of the policy's targets.
fn workspace(policy: &Policy) -> Result<Workspace> {
    let mut cargo = tool::cargo();
    cargo.args([
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--all-features",
    ]);
    for target in &policy.targets {
        cargo.args(["--filter-platform", target]);
    }
    let metadata: Value = serde_json::from_str(&tool::output(&mut cargo)?)?;
    let nodes = metadata["resolve"]["nodes"].as_array();
    let nodes = nodes.context("cargo metadata resolved nothing")?;
    let resolved: BTreeSet<&str> = nodes
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let mut packages = Vec::new();
    let mut direct = BTreeSet::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if !package["id"]
            .as_str()
            .is_some_and(|id| resolved.contains(id))
        {
            continue;
        }
        let package_source = text(&package["source"]);
        if package_source.is_none() {
            let named = package["dependencies"].as_array().into_iter().flatten();
            let others = named.filter(|dependency| dependency["path"].is_null());
            direct.extend(others.filter_map(|dependency| text(&dependency["name"])));
        }
        packages.push(Package {
            name: text(&package["name"]).unwrap_or_default(),
            version: text(&package["version"]).unwrap_or_default(),
            licence: text(&package["license"]),
            source: package_source,
        });
    }
    Ok(Workspace { packages, direct })
}

impl Policy {
    fn parse(text: &str) -> Result<Self> {
        let table: toml::Table = text.parse().context("in deny.toml")?;
        let at = |path: [&str; 2]| table.get(path[0]).and_then(|part| part.get(path[1]));
        let list = |path| {
            at(path)
                .and_then(toml::Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let field = |value: &toml::Value, name: &str| {
            let text = value.get(name).and_then(toml::Value::as_str);
            text.map(str::to_owned)
        };
        let exceptions = list(["licenses", "exceptions"]);
        let exceptions = exceptions.iter().filter_map(|exception| {
            let allowed = exception.get("allow").and_then(toml::Value::as_array);
            Some((field(exception, "crate")?, strings(allowed?)))
        });
        let skipped = list(["bans", "skip"]);
        let skipped = skipped.iter().filter_map(|entry| field(entry, "crate"));
        Ok(Self {
            targets: strings(&list(["graph", "targets"])),
            licences: strings(&list(["licenses", "allow"])),
            exceptions: exceptions.collect(),
            skipped: skipped.collect(),
            registries: strings(&list(["sources", "allow-registry"])),
        })
    }
}

fn strings(list: &[toml::Value]) -> Vec<String> {
    let texts = list.iter().filter_map(toml::Value::as_str);
    texts.map(str::to_owned).collect()
}

/// A licence that is not allowed.
fn licence(policy: &Policy, package: &Package) -> Option<String> {
    package.source.as_ref()?;
    let name = &package.name;
    let Some(licence) = &package.licence else {
        return Some(format!("{name}: names no licence"));
    };
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return Some(format!("{name}: `{licence}` is no SPDX expression"));
    };
    let further = policy.exceptions.get(name).into_iter().flatten();
    let allowed: Vec<&String> = policy.licences.iter().chain(further).collect();
    let is_allowed = expression.evaluate(|required| {
        let required = required.to_string();
        allowed.iter().any(|allowed| **allowed == required)
    });
    (!is_allowed).then(|| format!("{name}: deny.toml does not allow `{licence}`"))
}

/// A source that is not allowed.
fn source(policy: &Policy, package: &Package) -> Option<String> {
    let source = package.source.as_ref()?;
    let registry = source.strip_prefix("registry+").unwrap_or(source);
    let is_allowed = policy.registries.iter().any(|allowed| allowed == registry);
    (!is_allowed).then(|| format!("{}: comes from {source}", package.name))
}

/// Crates of several versions, and entries of the list that are no longer needed.
fn versions(policy: &Policy, packages: &[Package]) -> Vec<String> {
    let mut all: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        let versions = all.entry(&package.name).or_default();
        versions.insert(&package.version);
    }
    let mut unused = policy.skipped.clone();
    let mut complaints = Vec::new();
    for (name, versions) in all.iter().filter(|(_, versions)| versions.len() > 1) {
        let counted = versions
            .iter()
            .filter(|version| !unused.remove(&format!("{name}@{version}")));
        let counted: Vec<&str> = counted.copied().collect();
        if counted.len() > 1 {
            let versions = counted.join(" and ");
            complaints.push(format!("{name}: there are {versions}"));
        }
    }
    let unused = unused.into_iter();
    complaints.extend(unused.map(|entry| format!("{entry}: deny.toml need not skip it")));
    complaints
}

/// Crates that the table has no row of, and rows of crates that nobody names.
fn reasons(direct: &BTreeSet<String>, table: &str) -> Vec<String> {
    let rows = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let rows: BTreeSet<String> = rows.map(str::to_owned).collect();
    let missing = direct.difference(&rows);
    let missing = missing.map(|name| format!("{name}: {TABLE} does not say why"));
    let stale = rows.difference(direct);
    let stale = stale.map(|name| format!("{name}: is in {TABLE}, and nobody depends on it"));
    missing.chain(stale).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGISTRY: &str = "registry+https://registry.example/index";

    fn policy() -> Policy {
        Policy::parse(
            "[licenses]\nallow = ['MIT', 'Apache-2.0 WITH LLVM-exception']\n\
             exceptions = [{ crate = 'odd', allow = ['CDDL-1.0'] }]\n\
             [bans]\nskip = [{ crate = 'a@1.0.0', reason = 'old' }]\n\
             [sources]\nallow-registry = ['https://registry.example/index']\n",
        )
        .unwrap()
    }

    fn package(name: &str, version: &str, licence: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            licence: Some(licence.into()),
            source: Some(REGISTRY.into()),
        }
    }

    #[test]
    fn licences_are_allowed_by_expression() {
        let complains =
            |licence| super::licence(&policy(), &package("a", "1.0.0", licence)).is_some();
        for allowed in [
            "MIT",
            "GPL-2.0 OR MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(!complains(allowed), "{allowed}");
        }
        for refused in ["GPL-2.0-only", "MIT AND CDDL-1.0", "Apache-2.0", "whatever"] {
            assert!(complains(refused), "{refused}");
        }
    }

    #[test]
    fn exceptions_are_of_one_crate() {
        assert!(licence(&policy(), &package("odd", "1.0.0", "CDDL-1.0")).is_none());
        assert!(licence(&policy(), &package("even", "1.0.0", "CDDL-1.0")).is_some());
    }

    #[test]
    fn packages_without_a_licence_and_from_elsewhere_are_found() {
        let mut stray = package("a", "1.0.0", "MIT");
        stray.licence = None;
        stray.source = Some("git+https://example.org/a".into());
        assert!(licence(&policy(), &stray).is_some());
        assert!(source(&policy(), &stray).is_some());
        // Our own have none of both.
        stray.source = None;
        assert!(licence(&policy(), &stray).is_none() && source(&policy(), &stray).is_none());
    }

    #[test]
    fn crates_of_several_versions_are_listed_or_refused() {
        let of = |names: &[(&str, &str)]| {
            let packages = names.iter();
            let packages = packages.map(|(name, version)| package(name, version, "MIT"));
            versions(&policy(), &packages.collect::<Vec<_>>())
        };
        assert!(of(&[("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")]).is_empty());
        assert_eq!(
            of(&[
                ("a", "1.0.0"),
                ("a", "2.0.0"),
                ("b", "1.0.0"),
                ("b", "2.0.0")
            ]),
            ["b: there are 1.0.0 and 2.0.0"]
        );
        assert_eq!(
            of(&[("a", "2.0.0")]),
            ["a@1.0.0: deny.toml need not skip it"]
        );
    }

    #[test]
    fn every_crate_has_its_reason_and_no_other() {
        let direct = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let table = "| crate | why |\n|---|---|\n| `a` | x |\n| `c` | y |\n";
        assert_eq!(
            reasons(&direct, table),
            [
                "b: docs/dependencies.md does not say why",
                "c: is in docs/dependencies.md, and nobody depends on it"
            ]
        );
    }
}
