//! Comparison of two runs of the bench.
//!
//! **Invariant:** figures are matched by name; one that only one run has is told, too.

use crate::ui::thousands;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Figures by their path in the object.
type Figures = BTreeMap<String, f64>;

/// A figure before and now; `None` where a run does not have it.
#[derive(Debug, PartialEq)]
struct Change {
    name: String,
    before: Option<f64>,
    now: Option<f64>,
}

/// What `cargo xtask bench --json` printed into a file.
///
/// # Errors
/// It cannot be read, or is no such object.
pub(super) fn read(file: &Path) -> Result<Value> {
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let object: Value = serde_json::from_str(&text).unwrap_or_default();
    ensure!(
        object["image"].is_object(),
        "{} is not what `cargo xtask bench --json` printed",
        file.display()
    );
    Ok(object)
}

/// Prints what is different now. With `partial` only what was measured now is compared.
pub(super) fn print(before: &Value, now: &Value, partial: bool) {
    let mut changes = changes(before, now);
    if partial {
        changes.retain(|change| change.now.is_some());
    }
    if changes.is_empty() {
        anstream::println!("\nnothing changed");
        return;
    }
    anstream::println!(
        "\n{:<40}{:>14}{:>14}{:>10}",
        "changed",
        "before",
        "now",
        "by"
    );
    for change in &changes {
        let shown = |figure: Option<f64>| figure.map_or("-".into(), number);
        let by = match (change.before, change.now) {
            (Some(before), Some(now)) if before != 0.0 => {
                format!("{:+.1} %", (now - before) * 100.0 / before)
            }
            _ => String::new(),
        };
        anstream::println!(
            "{:<40}{:>14}{:>14}{by:>10}",
            change.name,
            shown(change.before),
            shown(change.now)
        );
    }
}

fn number(figure: f64) -> String {
    if figure.fract() == 0.0 && figure >= 0.0 {
        thousands(figure as u64)
    } else {
        format!("{figure}")
    }
}

fn changes(before: &Value, now: &Value) -> Vec<Change> {
    let (mut old, mut new) = (Figures::new(), Figures::new());
    flatten("", before, &mut old);
    flatten("", now, &mut new);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let change = |name: &String| Change {
        name: name.clone(),
        before: old.get(name).copied(),
        now: new.get(name).copied(),
    };
    let all = names.into_iter().map(change);
    all.filter(|change| change.before != change.now).collect()
}

fn flatten(path: &str, value: &Value, figures: &mut Figures) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let dot = if path.is_empty() { "" } else { "." };
                flatten(&format!("{path}{dot}{name}"), member, figures);
            }
        }
        value => {
            if let Some(figure) = value.as_f64() {
                figures.insert(path.to_owned(), figure);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changed_came_or_went_is_told_and_nothing_else() {
        let before = json!({"a": {"ta": 100, "kernel": 5}, "gone": 1});
        let now = json!({"a": {"ta": 107, "kernel": 5}, "new": 2.5});
        let change = |name: &str, before, now| Change {
            name: name.into(),
            before,
            now,
        };
        assert_eq!(
            changes(&before, &now),
            [
                change("a.ta", Some(100.0), Some(107.0)),
                change("gone", Some(1.0), None),
                change("new", None, Some(2.5)),
            ]
        );
    }

    #[test]
    fn a_file_that_is_no_result_is_refused_by_name() {
        let why = read(Path::new("Cargo.toml")).unwrap_err();
        assert_eq!(
            why.to_string(),
            "Cargo.toml is not what `cargo xtask bench --json` printed"
        );
    }
}
