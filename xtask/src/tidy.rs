//! `cargo xtask tidy`: rules of the house that no compiler checks.
//!
//! **Invariant:** every rule is a function from text to complaints, tested as such; only
//! [`check`] reads files.

mod heads;
mod manual;
mod uses;

use crate::{paths, tool};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tally_board_virt as virt;

const MAX_LINES: usize = 700;

/// Which workspace crates a crate may use, by package name: the floors of the house. `*` at a name's end
/// stands for any rest. A crate that is not here may use none.
const FLOORS: &[(&str, &[&str])] = &[
    ("tally-board-*", &[]),
    ("tally-abi", &[]),
    ("tally-fdt", &[]),
    ("tally-ledger", &["tally-abi"]),
    ("tally-bget", &["tally-ledger"]),
    ("tally-ledger-bench", &["tally-ledger"]),
    ("tally-memops", &[]),
    ("tally-insight", &["tally-abi", "tally-records"]),
    ("tally-records", &["tally-abi"]),
    ("tally-mem", &["tally-abi", "tally-records"]),
    ("tally-crypto", &["tally-abi"]),
    ("tally-storage", &["tally-abi", "tally-mem", "tally-crypto"]),
    (
        "tally-core",
        &["tally-abi", "tally-mem", "tally-crypto", "tally-storage"],
    ),
    (
        "tally-account",
        &[
            "tally-abi",
            "tally-records",
            "tally-ledger",
            "tally-bget",
            "tally-mem",
            "tally-core",
        ],
    ),
    (
        "tally-arch",
        &[
            "tally-abi",
            "tally-records",
            "tally-board-*",
            "tally-fdt",
            "tally-ledger",
            "tally-memops",
            "tally-mem",
            "tally-core",
        ],
    ),
    (
        "tally-pta",
        &[
            "tally-abi",
            "tally-records",
            "tally-ledger",
            "tally-mem",
            "tally-core",
            "tally-account",
        ],
    ),
    (
        "tally-kernel",
        &[
            "tally-abi",
            "tally-records",
            "tally-board-*",
            "tally-ledger",
            "tally-mem",
            "tally-core",
            "tally-account",
            "tally-arch",
            "tally-pta",
        ],
    ),
    ("ldelf", &["tally-abi", "tally-ledger", "tally-memops"]),
    ("ta-macros", &[]),
    (
        "ta-runtime",
        &["tally-abi", "tally-ledger", "tally-memops", "ta-macros"],
    ),
    ("ta-uuids", &["tally-abi"]),
    ("ta-hub", &["ta-hostile", "ta-runtime", "ta-uuids"]),
    ("ta-chain", &["ta-runtime", "ta-uuids", "tally-simd"]),
    (
        "ta-*",
        &["tally-abi", "tally-ledger", "ta-runtime", "ta-uuids"],
    ),
    ("teec", &["tally-abi"]),
    ("teec-linux", &["tally-abi", "teec"]),
    (
        "teestat",
        &["tally-abi", "tally-records", "tally-insight", "teec"],
    ),
    (
        "teestat-linux",
        &[
            "tally-abi",
            "tally-insight",
            "teec",
            "teec-linux",
            "teestat",
        ],
    ),
    (
        "tally-monitor",
        &["tally-abi", "tally-board-virt", "tally-fdt"],
    ),
    (
        "tally-paired",
        &[
            "tally-abi",
            "tally-records",
            "tally-board-virt",
            "teec",
            "teestat",
            "ta-uuids",
        ],
    ),
    (
        "tally-linux",
        &[
            "tally-abi",
            "tally-paired",
            "tally-records",
            "tally-insight",
            "tally-board-virt",
            "teec",
            "teec-linux",
            "teestat",
            "ta-uuids",
        ],
    ),
    (
        "tally-ree",
        &[
            "tally-abi",
            "tally-paired",
            "tally-simd",
            "tally-records",
            "tally-insight",
            "tally-board-virt",
            "teec",
            "teestat",
            "ta-uuids",
        ],
    ),
    ("insn-count", &["tally-board-virt"]),
    ("tally-symbols", &["tally-abi"]),
    ("tally-stacks", &["tally-symbols"]),
    (
        "tally-report",
        &[
            "tally-abi",
            "tally-records",
            "tally-insight",
            "tally-symbols",
        ],
    ),
    (
        "tally-fuzz",
        &[
            "tally-abi",
            "tally-insight",
            "tally-fdt",
            "tally-bget",
            "tally-ledger",
            "tally-mem",
            "tally-core",
            "tally-account",
            "ldelf",
            "tally-report",
            "tally-storage",
        ],
    ),
    (
        "xtask",
        &[
            "tally-abi",
            "tally-records",
            "tally-board-virt",
            "tally-fdt",
            "tally-ledger",
            "tally-mem",
            "tally-insight",
            "ta-uuids",
            "tally-stacks",
            "tally-symbols",
            "tally-report",
            "teestat",
        ],
    ),
];

/// Addresses of the board that its crate alone writes down: of the interrupt controller, of the blocks of
/// devices, of secure RAM, and of what is loaded into normal-world RAM.
const BOARD: [Range<u64>; 4] = [
    virt::GICD..virt::GICD + DEVICES_BYTES,
    virt::NORMAL_UART..virt::NORMAL_UART + DEVICES_BYTES,
    virt::SECURE_RAM_BASE..virt::SECURE_RAM_BASE + virt::SECURE_RAM_PRESENT + 1,
    virt::RAM_BASE..virt::images::TA_ARCHIVE_BASE + virt::images::TA_ARCHIVE_MAX,
];
const DEVICES_BYTES: u64 = 2 << 20;

/// Packages whose `static` items are counted.
const KERNEL_DIRS: &[&str] = &["kernel/", "pta/", "libs/ledger/"];

/// Reads the checkout and returns the complaints, sorted.
pub(crate) fn check() -> Result<Vec<String>> {
    let root = paths::root();
    let mut files = Vec::new();
    walk(&root, &mut files)?;
    files.sort();
    let allowed_path = root.join("xtask").join("statics.txt");
    let allowed = std::fs::read_to_string(&allowed_path).unwrap_or_default();
    let mut complaints = Vec::new();
    let mut statics = Vec::new();
    let mut kernel = Vec::new();
    for path in &files {
        let name = path
            .strip_prefix(&root)
            .unwrap_or(path)
            .display()
            .to_string();
        // Binary files have no lines.
        let Ok(text) = std::fs::read_to_string(path) else {
            continue;
        };
        if name != "xtask/src/tidy.rs" {
            complaints.extend(machine_paths(&name, &text));
        }
        let is_code = [".rs", ".s", ".ld"].iter().any(|end| name.ends_with(end));
        if is_code && !name.starts_with("boards/") {
            complaints.extend(board_addresses(&name, &text));
        }
        if name.ends_with(".rs") {
            complaints.extend(heads::complaint(&name, &text));
            complaints.extend(length(&name, &text));
            if name.starts_with("kernel/") && !is_test_file(&name) {
                kernel.push(text.clone());
            }
            if KERNEL_DIRS.iter().any(|dir| name.starts_with(dir)) && !is_test_file(&name) {
                statics.extend(
                    statics_in(&text)
                        .into_iter()
                        .map(|item| (name.clone(), item)),
                );
            }
        }
    }
    complaints.extend(static_list(&statics, &allowed));
    let table = std::fs::read_to_string(root.join(uses::TABLE))?;
    complaints.extend(uses::complaints(&table, &kernel));
    let manual = std::fs::read_to_string(root.join("docs").join("MANUAL.md"))?;
    complaints.extend(manual::complaints(&manual));
    let metadata = metadata()?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        complaints.extend(edges(package));
        let manifest = package["manifest_path"].as_str().unwrap_or_default();
        let text =
            std::fs::read_to_string(manifest).with_context(|| format!("cannot read {manifest}"))?;
        complaints.extend(lints(&paths::shown(Path::new(manifest)), &text));
    }
    complaints.sort();
    complaints.dedup();
    Ok(complaints)
}

fn metadata() -> Result<Value> {
    let mut cargo = tool::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    Ok(serde_json::from_str(&tool::output(&mut cargo)?)?)
}

fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name == "target" || name == ".git" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if entry.file_type()?.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn is_test_file(name: &str) -> bool {
    ["/tests/", "/testing/"]
        .iter()
        .any(|dir| name.contains(dir))
        || name.contains("/examples/")
        || name.ends_with("/tests.rs")
        || name.ends_with("/testing.rs")
}

fn length(name: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > MAX_LINES)
        .then(|| format!("{name}: {lines} lines, more than {MAX_LINES}: split the module"))
}

fn lints(name: &str, manifest: &str) -> Option<String> {
    let mut in_lints = false;
    let inherits = manifest.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            in_lints = line == "[lints]";
        }
        in_lints && line.replace(' ', "") == "workspace=true"
    });
    (!inherits).then(|| format!("{name}: lacks `[lints] workspace = true`"))
}

fn machine_paths(name: &str, text: &str) -> Vec<String> {
    let marks = ["/home/", "/root/", "/work/", "/Users/"];
    let mut complaints = Vec::new();
    for (n, line) in text.lines().enumerate() {
        // Only where a path begins: not `docs/work/` or a URL's tail.
        let found = marks.iter().find(|mark| {
            line.match_indices(**mark).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !(c.is_alphanumeric() || "._-})*".contains(c)))
            })
        });
        if let Some(mark) = found {
            complaints.push(format!(
                "{name}:{}: a path of one machine ({mark}..)",
                n + 1
            ));
        }
    }
    complaints
}

/// Hexadecimal numbers that are addresses of the board.
fn board_addresses(name: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (n, line) in text.lines().enumerate() {
        for (at, _) in line.match_indices("0x") {
            let rest = &line[at + 2..];
            let end = rest.find(|c: char| !(c.is_ascii_hexdigit() || c == '_'));
            let digits = rest[..end.unwrap_or(rest.len())].replace('_', "");
            let address = u64::from_str_radix(&digits, 16);
            if address.is_ok_and(|address| BOARD.iter().any(|part| part.contains(&address))) {
                complaints.push(format!(
                    "{name}:{}: 0x{digits} is an address of the board: take it from its crate",
                    n + 1
                ));
            }
        }
    }
    complaints
}

fn edges(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let matches = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let exact = FLOORS.iter().find(|(floor, _)| *floor == name);
    let pattern = || FLOORS.iter().find(|(floor, _)| matches(floor, name));
    let allowed = exact
        .or_else(pattern)
        .map_or(&[][..], |(_, allowed)| allowed);
    package["dependencies"]
        .as_array()
        .into_iter()
        .flatten()
        // Workspace crates have a path; what tests use does not ship.
        .filter(|dep| dep["path"].is_string() && dep["kind"] != "dev")
        .filter_map(|dep| dep["name"].as_str())
        .filter(|dep| !allowed.iter().any(|pattern| matches(pattern, dep)))
        .map(|dep| format!("{name}: must not depend on {dep} (floors: docs/ARCHITECTURE.md)"))
        .collect()
}

/// Names of the `static` items outside test modules.
fn statics_in(text: &str) -> Vec<String> {
    uses::shipped(text)
        .lines()
        .map(str::trim_start)
        .filter_map(|line| {
            let line = match line.strip_prefix("pub") {
                // `pub`, `pub(crate)` and so on.
                Some(rest) => rest.split_once(' ')?.1,
                None => line,
            };
            // Declared only: a symbol of the linker script.
            if line.ends_with(';') && !line.contains('=') {
                return None;
            }
            let rest = line.strip_prefix("static ")?;
            let rest = rest.strip_prefix("mut ").unwrap_or(rest);
            let end = rest.find(':')?;
            Some(rest[..end].trim().to_owned())
        })
        .collect()
}

/// Compares what there is with the list: `FILE NAME why`, `#` begins a comment.
fn static_list(found: &[(String, String)], list: &str) -> Vec<String> {
    let allowed: Vec<(&str, &str, bool)> = list
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_whitespace();
            let file = words.next().unwrap_or_default();
            let name = words.next().unwrap_or_default();
            (file, name, words.next().is_some())
        })
        .collect();
    let mut complaints = Vec::new();
    for (file, name) in found {
        if !allowed.iter().any(|(f, n, _)| f == file && n == name) {
            complaints.push(format!(
                "{file}: new static {name}: put it into a context value, \
                 or give its reason in xtask/statics.txt"
            ));
        }
    }
    for (file, name, reasoned) in allowed {
        if !found.iter().any(|(f, n)| f == file && n == name) {
            complaints.push(format!(
                "xtask/statics.txt: {file} has no static {name} any more"
            ));
        }
        if !reasoned {
            complaints.push(format!("xtask/statics.txt: {file} {name} has no reason"));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_file_is_found() {
        assert!(length("a.rs", &"x\n".repeat(701)).is_some());
        assert!(length("a.rs", &"x\n".repeat(700)).is_none());
        // Bug: CONTRIBUTING.md named another number.
        let told = include_str!("../../docs/CONTRIBUTING.md");
        assert!(told.contains(&format!("none over {MAX_LINES}")));
    }

    #[test]
    fn member_must_inherit_lints() {
        assert!(lints("Cargo.toml", "[lints]\nworkspace = true\n").is_none());
        assert!(lints("Cargo.toml", "[package]\nworkspace = true\n[lints]\n").is_some());
    }

    #[test]
    fn paths_of_a_machine_are_found() {
        let bad = format!("see {}me/x", "/home/");
        assert_eq!(machine_paths("a", &bad).len(), 1);
        assert!(machine_paths("a", "docs/work/x and ${CARGO}/root/").is_empty());
    }

    #[test]
    fn addresses_of_the_board_are_found() {
        let found = |text: &str| board_addresses("a.s", text).len();
        // Put together here, so that the rule holds for this file too.
        for bad in [
            format!("mov x0, #0x{:x}", virt::SECURE_UART),
            format!("const A: u64 = 0x{:08x}_u64;", virt::KERNEL_BASE),
            format!("0x{:016x}+0x705", virt::RAM_BASE),
            format!("// up to 0x{:X}", virt::SECURE_RAM_BASE + (16 << 20)),
            format!("[0x0{:x}_0000]", virt::images::NORMAL_BASE >> 16),
        ] {
            assert_eq!(found(&bad), 1, "{bad}");
        }
        let end = virt::SECURE_RAM_BASE + (16 << 20) + 1;
        assert_eq!(found(&format!("0x{end:x}, 0x, 0x_, 0xffff_ffff")), 0);
        assert_eq!(found("0x7a11e110_0001_4c6e_8d01_5ec0de000001"), 0);
    }

    #[test]
    fn edge_upwards_is_found() {
        let package = |name: &str, dep: &str, kind: Value| json!({"name": name, "dependencies": [{"name": dep, "path": "x", "kind": kind}]});
        assert_eq!(
            edges(&package("tally-pta", "tally-arch", Value::Null)).len(),
            1
        );
        assert_eq!(
            edges(&package("unheard-of", "tally-abi", Value::Null)).len(),
            1
        );
        assert!(edges(&package("tally-pta", "tally-core", Value::Null)).is_empty());
        assert!(edges(&package("tally-abi", "ldelf", json!("dev"))).is_empty());
        assert!(edges(&package("ta-hello", "ta-runtime", Value::Null)).is_empty());
        // A build script counts as the crate.
        let build = json!("build");
        assert!(edges(&package("tally-kernel", "tally-board-other", build.clone())).is_empty());
        assert_eq!(
            edges(&package("tally-core", "tally-board-virt", build)).len(),
            1
        );
        assert_eq!(
            edges(&package("ta-macros", "ta-runtime", Value::Null)).len(),
            1
        );
    }

    #[test]
    fn statics_are_listed_with_a_reason() {
        let text = "static A: u8 = 0;\n    pub(crate) static mut B: u8 = 0;\n    static __end: u8;\nfn f(x: &'static str) {}\n\
                    #[cfg(test)]\nmod tests { static C: u8 = 0; }";
        assert_eq!(statics_in(text), ["A", "B"]);
        let found = [("k.rs".to_owned(), "A".to_owned())];
        assert!(static_list(&found, "# head\nk.rs A because\n").is_empty());
        assert_eq!(static_list(&found, "").len(), 1);
        assert_eq!(static_list(&found, "k.rs A\n").len(), 1);
        assert_eq!(static_list(&[], "k.rs A because\n").len(), 1);
    }
}
