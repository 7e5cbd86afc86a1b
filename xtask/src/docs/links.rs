//! Links between the documents: every relative one leads to a file, and to a heading in it.

use crate::paths;
use std::path::Path;

/// Complaints about the links of the document `name`, a path in the checkout, whose text is `text`.
pub(super) fn broken(name: &Path, text: &str) -> Vec<String> {
    let document = paths::root().join(name);
    let targets = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    targets
        .map(|(target, _)| target)
        .filter(|target| !target.contains("://"))
        .filter(|target| {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = match file {
                "" => document.clone(),
                _ => document.with_file_name(file),
            };
            !path.exists() || !(heading.is_empty() || has_heading(&path, heading))
        })
        .map(|target| format!("{}: broken link {target}", name.display()))
        .collect()
}

fn has_heading(path: &Path, anchor: &str) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .any(|line| line.starts_with('#') && anchor_of(line) == anchor)
}

/// A heading's anchor, as GitHub makes it.
fn anchor_of(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || " -_".contains(*c);
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    words
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

#[cfg(test)]
mod tests {
    use super::{anchor_of, broken};
    use std::path::Path;

    #[test]
    fn broken_links_are_found() {
        let links = |text| broken(Path::new("docs/a.md"), text).len();
        assert_eq!(
            links("[x](TFA.md) [y](../README.md#run-it) [z](https://a.b)"),
            0
        );
        assert_eq!(links("[x](none.md) [y](../README.md#none)"), 2);
    }

    #[test]
    fn anchors_are_githubs() {
        assert_eq!(
            anchor_of("### From Teaclave's `optee-utee`"),
            "from-teaclaves-optee-utee"
        );
    }
}
