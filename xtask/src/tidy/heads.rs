//! Module heads: `//!`, a first line that names the thing, and no invariant of nothing.

/// How a first line begins that asks instead of naming.
const QUESTIONS: &[&str] = &[
    "How", "That", "What", "When", "Where", "Whether", "Which", "Who", "Whom", "Whose", "Why",
];
/// What a line of a head says that has nothing to say.
const NOTHING: &[&str] = &["anything", "none", "nothing"];

/// The complaint about the head of the module `name`, whose source is `text`.
pub(super) fn complaint(name: &str, text: &str) -> Option<String> {
    // Behind a shebang or a licence comment at most.
    let mut lines = text
        .lines()
        .map(str::trim)
        .skip_while(|line| line.is_empty() || (line.starts_with("//") && !line.starts_with("//!")));
    let Some(first) = lines.next().and_then(|line| line.strip_prefix("//!")) else {
        return Some(format!(
            "{name}: begins without `//!`: say what the module is"
        ));
    };
    let first = first.trim();
    if first.is_empty() || first.starts_with("**") {
        return Some(format!(
            "{name}: the first line of the head is empty: name the thing"
        ));
    }
    let word = first.split(|c: char| !c.is_alphanumeric()).next();
    if word.is_some_and(|word| QUESTIONS.contains(&word)) {
        return Some(format!(
            "{name}: the first line of the head asks: name the thing (`{first}`)"
        ));
    }
    let says_nothing = |line: &str| {
        let (_, said) = line.strip_prefix("**")?.split_once(":**")?;
        let said = said.trim().trim_end_matches('.').to_lowercase();
        NOTHING.contains(&said.as_str()).then_some(())
    };
    lines
        .map_while(|line| line.strip_prefix("//!"))
        .find(|line| says_nothing(line.trim()).is_some())
        .map(|line| format!("{name}: the head has a line that says nothing:{line}"))
}

#[cfg(test)]
mod tests {
    use super::complaint;

    fn check(text: &str, expected: &str) {
        let found = complaint("a.rs", text);
        match expected {
            "" => assert_eq!(found, None, "{text}"),
            _ => assert!(
                found.is_some_and(|found| found.contains(expected)),
                "{text}"
            ),
        }
    }

    #[test]
    fn module_without_a_head_is_found() {
        check("use b;\n//! late\n", "begins without");
        check("", "begins without");
    }

    #[test]
    fn head_that_names_the_thing_is_enough() {
        check("//! Leak table.\n", "");
        check("// SPDX\n\n//! `teestat` for Linux.\n", "");
        check(
            "//! Leak table: what is still held.\n//!\n//! **Invariant:** nothing is lost.\n",
            "",
        );
    }

    #[test]
    fn first_line_that_asks_is_found() {
        check("//! What is in a pool.\n", "asks");
        check("//! Whatever is in a pool.\n", "");
    }

    #[test]
    fn empty_first_line_is_found() {
        check("//!\n//! Leak table.\n", "empty");
        check(
            "//! **Invariant:** a full table counts what it drops.\n",
            "empty",
        );
    }

    #[test]
    fn line_of_a_head_that_says_nothing_is_found() {
        check(
            "//! Leak table.\n//!\n//! **Invariant:** none.\n",
            "says nothing",
        );
        check(
            "//! Leak table.\n//! **Knows nothing of:** anything.\n",
            "says nothing",
        );
        check("//! Leak table.\nuse b;\n//! **Invariant:** none.\n", "");
    }
}
