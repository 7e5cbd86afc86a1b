//! Arguments that name the tests which the guest is to run.

/// How the name of a test ends that runs for minutes: the guest runs it when it is asked for.
pub(super) const AT_LENGTH: &str = ", at length";

/// What the guest is to run, as its program takes it; names have apostrophes, and no double quotes.
pub(super) fn filters(wanted: &[&str], tests: &[String]) -> String {
    if wanted.len() == tests.len() {
        return " \"\"".to_owned();
    }
    let mut sorted: Vec<&str> = tests.iter().map(String::as_str).collect();
    sorted.retain(|test| !test.ends_with(AT_LENGTH));
    sorted.sort_unstable();
    if wanted == sorted {
        return String::new();
    }
    let names = wanted.iter().map(|name| format!(" \"{name}\""));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::filters;

    #[test]
    fn the_guest_is_told_no_more_than_it_has_to_be() {
        let tests = ["b", "a", "c, at length"].map(str::to_owned);
        for (wanted, told) in [
            (&["a", "b"][..], ""),
            (&["a", "b", "c, at length"], " \"\""),
            (&["a"], " \"a\""),
            (&["a", "c, at length"], " \"a\" \"c, at length\""),
        ] {
            assert_eq!(filters(wanted, &tests), told);
        }
    }
}
