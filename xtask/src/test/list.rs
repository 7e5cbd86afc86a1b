//! Lists of what becomes of things that others made: lines of `NAME: WHAT`, a dash, and the reason for people.
//!
//! **Invariant:** whatever is found otherwise than listed, or is missing on either side, is an error that names it.

use crate::paths;
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;

/// A list, as it stands in the repository.
pub(super) struct List {
    /// Below the repository's root.
    path: &'static str,
    /// What becomes of each, by name.
    pub(super) listed: BTreeMap<String, String>,
}

impl List {
    pub(super) fn read(path: &'static str) -> Result<Self> {
        let text = std::fs::read_to_string(paths::root().join(path));
        Self::parse(path, &text.context(path)?)
    }

    pub(super) fn parse(path: &'static str, text: &str) -> Result<Self> {
        let lines = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let listed = lines.map(|line| {
            let (name, rest) = line.split_once(": ").with_context(|| line.to_owned())?;
            let (what, _) = rest
                .split_once(" \u{2014} ")
                .with_context(|| line.to_owned())?;
            Ok((name.to_owned(), what.to_owned()))
        });
        let listed = listed.collect::<Result<_>>()?;
        Ok(Self { path, listed })
    }

    /// Says what differs from the list.
    pub(super) fn compare(&self, found: &BTreeMap<String, String>) -> Result<()> {
        let missing = self.listed.keys().filter(|name| !found.contains_key(*name));
        let differing: Vec<String> = found
            .iter()
            .filter(|(name, what)| self.listed.get(*name) != Some(what))
            .map(|(name, what)| format!("{name}: {what}"))
            .chain(missing.map(|name| format!("{name}: not there")))
            .collect();
        let path = self.path;
        ensure!(
            differing.is_empty(),
            "{path} says otherwise:\n{}",
            differing.join("\n")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_the_list_is_told() {
        let list = "# TAs\n\na: opens \u{2014} one\nb: BUSY (0x1) \u{2014} two\n";
        let list = List::parse("list", list).unwrap();
        let found = |pairs: &[(&str, &str)]| {
            let all = pairs
                .iter()
                .map(|(name, what)| ((*name).into(), (*what).into()));
            list.compare(&all.collect()).map_err(|err| err.to_string())
        };
        assert_eq!(found(&[("a", "opens"), ("b", "BUSY (0x1)")]), Ok(()));
        for (wrong, told) in [
            (&[("a", "opens")][..], "b: not there"),
            (&[("a", "opens"), ("b", "opens")], "b: opens"),
            (
                &[("a", "opens"), ("b", "BUSY (0x1)"), ("c", "opens")],
                "c: opens",
            ),
        ] {
            assert!(found(wrong).unwrap_err().ends_with(told), "{told}");
        }
        assert!(List::parse("list", "a opens").is_err());
    }
}
