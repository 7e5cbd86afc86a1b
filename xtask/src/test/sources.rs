//! Names of tests, read from the sources: what there is to run is known before anything is built.
//!
//! **Invariant:** every rule is a function from text to names. A name that is wrong is noticed: a
//! test that stands here and does not report has failed, and so has one that reports and does not
//! stand here.

use crate::{paths, tool};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A workspace member and its tests on the host.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Member {
    /// Package name.
    pub(super) package: String,
    /// Tests of libtest, by path.
    pub(super) tests: Vec<String>,
    /// Whether its documentation has examples that run.
    pub(super) doctests: bool,
}

/// All members, from `cargo metadata`.
pub(super) fn members() -> Result<Vec<Member>> {
    let mut cargo = tool::cargo();
    cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&tool::output(&mut cargo)?)?;
    let packages = metadata["packages"].as_array();
    let mut members = Vec::new();
    for package in packages.into_iter().flatten() {
        let mut member = Member {
            package: package["name"].as_str().unwrap_or_default().to_owned(),
            ..Member::default()
        };
        for root in roots(package) {
            let mut files = Vec::new();
            rust_files(&root, &mut files)?;
            for file in files {
                let text = std::fs::read_to_string(&file)
                    .with_context(|| format!("cannot read {}", file.display()))?;
                let below = file.strip_prefix(&root).unwrap_or(&file);
                member.tests.extend(unit_tests(&module(below), &text));
                member.doctests |= has_doctests(&text);
            }
        }
        members.push(member);
    }
    Ok(members)
}

/// Refuses what is in no name of `names`, before anything is built or started for it.
pub(crate) fn holds(names: &[String], filter: &str, what: &str) -> Result<()> {
    anyhow::ensure!(
        names.iter().any(|name| name.contains(filter)),
        "no {what} has `{filter}` in its name; there are {}",
        names.join(", ")
    );
    Ok(())
}

/// Names in the tables `table` of the Rust files below `dir`, a path in the checkout.
pub(crate) fn tables(dir: &str, table: &str) -> Result<Vec<String>> {
    let mut files = Vec::new();
    rust_files(&paths::root().join(dir), &mut files)?;
    let mut names = Vec::new();
    for file in files {
        names.extend(strings_in_table(&std::fs::read_to_string(file)?, table));
    }
    anyhow::ensure!(!names.is_empty(), "no table {table} below {dir}");
    Ok(names)
}

/// Directories and files with the sources of a package of `cargo metadata`: `src`, and each
/// integration test, a file or a directory with a `main.rs`.
fn roots(package: &Value) -> Vec<PathBuf> {
    let mut roots = Vec::new();
    for target in package["targets"].as_array().into_iter().flatten() {
        let path = Path::new(target["src_path"].as_str().unwrap_or_default());
        let root = match target["kind"][0].as_str() {
            Some("test") if !path.ends_with("main.rs") => Some(path),
            Some("custom-build" | "example" | "bench") | None => None,
            Some(_) => path.parent(),
        };
        roots.extend(root.map(Path::to_path_buf));
    }
    roots.sort();
    roots.dedup();
    roots
}

fn rust_files(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if path.is_dir() {
        let entries = std::fs::read_dir(path)?.flatten();
        let mut entries: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        entries.sort();
        for entry in entries {
            rust_files(&entry, files)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_path_buf());
    }
    Ok(())
}

/// The module that a file below `src` holds.
fn module(path: &Path) -> String {
    let path = path.with_extension("");
    let parts = path.iter().map(|part| part.to_string_lossy());
    let mut parts: Vec<_> = parts.collect();
    if matches!(
        parts.last().map(|last| &**last),
        Some("mod" | "lib" | "main")
    ) {
        parts.pop();
    }
    parts.join("::")
}

/// Tests of libtest in a file formatted by rustfmt.
fn unit_tests(module: &str, text: &str) -> Vec<String> {
    // Each module with the indentation of its closing brace.
    let mut open: Vec<(usize, &str)> = Vec::new();
    let mut tests = Vec::new();
    let mut marked = false;
    for line in text.lines() {
        let code = line.trim_start();
        let indentation = line.len() - code.len();
        if code == "#[test]" {
            marked = true;
        } else if let Some(name) = opened_module(code) {
            open.push((indentation, name));
        } else if code == "}" && open.last().is_some_and(|(at, _)| *at == indentation) {
            open.pop();
        } else if marked && let Some(signature) = code.strip_prefix("fn ") {
            marked = false;
            let name = signature.split('(').next();
            let path = [module].into_iter().filter(|module| !module.is_empty());
            let path = path.chain(open.iter().map(|(_, name)| *name)).chain(name);
            tests.push(path.collect::<Vec<_>>().join("::"));
        }
    }
    tests
}

/// The name of a module that this line opens.
fn opened_module(code: &str) -> Option<&str> {
    let (visibility, name) = code.strip_suffix(" {")?.split_once("mod ")?;
    (visibility.is_empty() || visibility.starts_with("pub")).then_some(name)
}

/// Whether documentation comments have examples that rustdoc runs.
fn has_doctests(text: &str) -> bool {
    let mut inside = false;
    // Of a file that is included. In two parts, for this file has it too.
    let mut found = text.contains(concat!("#[cfg", "(doctest)]"));
    for line in text.lines().map(str::trim_start) {
        let comment = ["///", "//!"]
            .iter()
            .find_map(|mark| line.strip_prefix(mark));
        let Some(kind) = comment.and_then(|text| text.trim_start().strip_prefix("```")) else {
            continue;
        };
        inside = !inside;
        found |= inside && !["text", "ignore", "toml", "sh"].contains(&kind.trim());
    }
    found
}

/// The string literals in each `const` or `static` of this name, up to the end of its list.
fn strings_in_table(text: &str, name: &str) -> Vec<String> {
    let mut strings = Vec::new();
    let begin = format!(" {name}: &[");
    for (at, _) in text.match_indices(&begin) {
        let table = &text[at + begin.len()..];
        // Of a table of many lines, the bracket that stands alone: functions in it have lists too.
        let lines = table.lines().next().is_some_and(|line| line.ends_with('['));
        let last = if lines { "\n];\n" } else { "];\n" };
        let end = table.find(last).unwrap_or(table.len());
        let quoted = table[..end].split('"').skip(1).step_by(2);
        strings.extend(quoted.map(str::to_owned));
    }
    strings
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn modules_are_named_by_path() {
        for (path, name) in [
            ("lib.rs", ""),
            ("main.rs", ""),
            ("a.rs", "a"),
            ("a/mod.rs", "a"),
            ("a/b.rs", "a::b"),
        ] {
            assert_eq!(module(Path::new(path)), name);
        }
    }

    #[test]
    fn tests_are_found_in_their_modules() {
        let text = "#[test]\nfn outside() {\n}\npub(crate) mod tests {\n    mod deeper {\n        #[test]\n        \
                    #[cfg(unix)]\n        fn deep() {\n        }\n    }\n    fn helper() {}\n    #[test]\n    \
                    fn flat() {\n    }\n}\n#[test]\nfn last() {}\n";
        let found = unit_tests("a", text);
        let expected = [
            "a::outside",
            "a::tests::deeper::deep",
            "a::tests::flat",
            "a::last",
        ];
        assert_eq!(found, expected);
        assert_eq!(unit_tests("", "#[test]\nfn bare() {}\n"), ["bare"]);
    }

    #[test]
    fn examples_that_run_are_told_from_pictures() {
        assert!(has_doctests("/// ```\n/// let a = 1;\n/// ```\n"));
        assert!(has_doctests("    //! ```should_panic\n    //! ```\n"));
        assert!(!has_doctests("/// ```text\n/// a -> b\n/// ```\n"));
        assert!(!has_doctests(
            "//! ```ignore\n//! ```\nlet fence = \"```\";\n"
        ));
    }

    #[test]
    fn names_stand_in_tables() {
        let text = "const TESTS: &[Test] = &[\n    (\"one\", one),\n    (\n        \"and two\",\n        \
                    || {\n            let list = [];\n            list\n        },\n    ),\n    (\"three\", three),\n];\n\nfn one() -> &str {\n    \"other\"\n}\nstatic MORE: &[Test] = &[test(\"four\")];\n";
        assert_eq!(strings_in_table(text, "TESTS"), ["one", "and two", "three"]);
        assert_eq!(strings_in_table(text, "MORE"), ["four"]);
        assert!(strings_in_table(text, "NONE").is_empty());
    }

    #[test]
    fn sources_are_those_of_programs_libraries_and_tests() {
        let package = json!({"targets": [
            {"kind": ["lib"], "src_path": "/p/src/lib.rs"},
            {"kind": ["bin"], "src_path": "/p/src/main.rs"},
            {"kind": ["test"], "src_path": "/p/tests/t.rs"},
            {"kind": ["test"], "src_path": "/p/tests/u/main.rs"},
            {"kind": ["example"], "src_path": "/p/examples/e.rs"},
            {"kind": ["custom-build"], "src_path": "/p/build.rs"},
        ]});
        let expected = ["/p/src", "/p/tests/t.rs", "/p/tests/u"].map(PathBuf::from);
        assert_eq!(roots(&package), expected);
    }
}
