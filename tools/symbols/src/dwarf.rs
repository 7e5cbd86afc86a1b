//! Names for code: functions, files and lines from an image's debug information.
//!
//! **Invariant:** file names never show where a checkout or cargo's registry lie.

use crate::elf::Image;
use anyhow::Result;
use gimli::{EndianArcSlice, LittleEndian, Reader as _};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

type Slice = EndianArcSlice<LittleEndian>;

/// A function at an address: one of several where functions are inlined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Full path, demangled.
    pub function: String,
    /// Source file; empty when unknown.
    pub file: String,
    /// Line in it; 0 when unknown.
    pub line: u32,
}

/// Debug information of one image.
pub struct Dwarf {
    context: addr2line::Context<Slice>,
    root: PathBuf,
    /// Where its crates were compiled, if not at `root`.
    others: BTreeSet<PathBuf>,
    symbols: Vec<(u64, String)>,
}

impl Dwarf {
    /// Reads it. Sources below `root`, the checkout, are shown relative to it, those of a crate that was compiled
    /// elsewhere with the last part of its directory.
    ///
    /// # Errors
    /// A file whose sections or debug information do not parse.
    pub fn load(image: &Image, root: &Path) -> Result<Self> {
        let file = object::File::parse(&*image.bytes)?;
        let dwarf = gimli::Dwarf::load(|id| -> Result<Slice, gimli::Error> {
            let data = file
                .section_by_name(id.name())
                .and_then(|section| section.data().ok());
            Ok(Slice::new(
                Arc::from(data.unwrap_or_default()),
                LittleEndian,
            ))
        })?;
        let mut symbols: Vec<(u64, String)> = file
            .symbols()
            .filter(|symbol| {
                symbol.is_definition()
                    && matches!(
                        symbol.kind(),
                        SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown
                    )
            })
            .filter_map(|symbol| {
                let name = symbol
                    .name()
                    .ok()
                    .filter(|name| !name.is_empty() && !name.starts_with('$'))?;
                Some((symbol.address(), name.to_owned()))
            })
            .collect();
        symbols.sort();
        Ok(Self {
            others: directories(&dwarf)?,
            context: addr2line::Context::from_dwarf(dwarf)?,
            root: root.to_path_buf(),
            symbols,
        })
    }

    /// The functions at `address`, innermost first; by the symbol table where debug information
    /// has none (assembly).
    pub fn frames(&self, address: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        if let Ok(mut found) = self.context.find_frames(address).skip_all_loads() {
            while let Ok(Some(frame)) = found.next() {
                let function = frame
                    .function
                    .as_ref()
                    .and_then(|name| Some(name.demangle().ok()?.into_owned()));
                let (file, line) = frame.location.map_or((String::new(), 0), |location| {
                    (
                        location
                            .file
                            .map(|file| self.shown(file))
                            .unwrap_or_default(),
                        location.line.unwrap_or(0),
                    )
                });
                if let Some(function) = function {
                    frames.push(Frame {
                        function: without_hash(&function),
                        file,
                        line,
                    });
                }
            }
        }
        if frames.is_empty()
            && let Some((_, name)) =
                self.symbols[..self.symbols.partition_point(|(start, _)| *start <= address)].last()
        {
            let function = without_hash(&rustc_demangle::demangle(name).to_string());
            // Some functions have lines but no entry of their own.
            let location = self.context.find_location(address).ok().flatten();
            let (file, line) = location.map_or((String::new(), 0), |location| {
                let file = location
                    .file
                    .map(|file| self.shown(file))
                    .unwrap_or_default();
                (file, location.line.unwrap_or(0))
            });
            frames.push(Frame {
                function,
                file,
                line,
            });
        }
        frames
    }

    fn shown(&self, path: &str) -> String {
        shown_source(&self.root, &self.others, path)
    }
}

/// Where the units of a program were compiled.
fn directories(dwarf: &gimli::Dwarf<Slice>) -> Result<BTreeSet<PathBuf>> {
    let mut directories = BTreeSet::new();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        if let Some(directory) = dwarf.unit(header)?.comp_dir {
            directories.insert(PathBuf::from(&*directory.to_string_lossy()?));
        }
    }
    // Of sources that are named by where they are relative to, all is said.
    directories.retain(|directory| directory.is_absolute());
    Ok(directories)
}

fn without_hash(name: &str) -> String {
    match name.rsplit_once("::h") {
        Some((rest, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
            rest.to_owned()
        }
        _ => name.to_owned(),
    }
}

/// A source path as people want it: relative to the checkout, `crate-version/src/..` for
/// registry crates, `core/src/..` for the standard library.
fn shown_source(root: &Path, others: &BTreeSet<PathBuf>, path: &str) -> String {
    if let Ok(inside) = Path::new(path).strip_prefix(root) {
        return inside.display().to_string();
    }
    for mark in ["/rustlib/src/rust/library/", "/registry/src/"] {
        if let Some((_, rest)) = path.split_once(mark) {
            let cut = if mark.contains("registry") {
                rest.split_once('/')
            } else {
                None
            };
            return cut.map_or(rest, |(_, inside)| inside).to_owned();
        }
    }
    if let Some(rest) = path.strip_prefix("/rustc/") {
        let inside = rest.split_once('/').map_or(rest, |(_, inside)| inside);
        return inside.strip_prefix("library/").unwrap_or(inside).to_owned();
    }
    // The innermost is the last.
    let other = others.iter().rfind(|dir| Path::new(path).starts_with(dir));
    if let Some(inside) = other
        .and_then(|dir| dir.parent())
        .and_then(|above| Path::new(path).strip_prefix(above).ok())
    {
        return inside.display().to_string();
    }
    path.trim_start_matches("./")
        .trim_start_matches('/')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_shown_without_the_machine() {
        let cases = [
            (
                "/rustc/abc/library/core/src/fmt/mod.rs",
                "core/src/fmt/mod.rs",
            ),
            (
                "/h/.rustup/toolchains/x/lib/rustlib/src/rust/library/alloc/src/vec/mod.rs",
                "alloc/src/vec/mod.rs",
            ),
            (
                "/h/.cargo/registry/src/index-1/goblin-0.10.7/src/elf/mod.rs",
                "goblin-0.10.7/src/elf/mod.rs",
            ),
            ("kernel/src/main.rs", "kernel/src/main.rs"),
        ];
        let others = ["/", "/crates", "/crates/greet", "/crates/all"];
        let others = others.map(PathBuf::from).into();
        let shown = |path| shown_source(Path::new("/checkout"), &others, path);
        for (path, as_shown) in cases {
            assert_eq!(shown(path), as_shown);
        }
        assert_eq!(shown("/checkout/kernel/src/main.rs"), "kernel/src/main.rs");
        // Bug: a TA's own crate was shown with all of the path to it.
        assert_eq!(shown("/crates/greet/src/main.rs"), "greet/src/main.rs");
        assert_eq!(shown("/crates/all/a/src/b.rs"), "all/a/src/b.rs");
    }
}
