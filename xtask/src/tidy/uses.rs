//! Uses of secure RAM that no page can have.

/// The table of uses.
pub(super) const TABLE: &str = "kernel/mem/src/pages.rs";

/// The complaints about uses in `table` that no line of the kernel's `code` gives a page.
pub(super) fn complaints(table: &str, code: &[String]) -> Vec<String> {
    let complaint = |name| format!("{TABLE}: no page is ever {name}");
    ungiven(table, code).into_iter().map(complaint).collect()
}

fn ungiven<'a>(table: &'a str, code: &[String]) -> Vec<&'a str> {
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("page_uses! {"));
    let rows = rows.take_while(|line| *line != "}");
    let names = rows.filter_map(|row| Some(row.trim().split_once(" = ")?.0));
    names
        .filter(|name| !is_given(&format!("PageUse::{name}"), code, 0))
        .collect()
}

/// Arms whose pattern is an arm's value itself.
const MAX_ARMS: u32 = 4;

/// Whether code makes this variant, written with its type: patterns and comparisons only name one, and an arm
/// makes it only if one of the variants of its pattern is made.
fn is_given(variant: &str, code: &[String], arms: u32) -> bool {
    let lines = code.iter().flat_map(|text| shipped(text).lines());
    let mut lines = lines.map(|line| line.split("//").next().unwrap_or_default());
    lines.any(|line| {
        places(line, variant).any(|at| {
            let (before, after) = (&line[..at], &line[at + variant.len()..]);
            let is_named = after.contains("=>")
                || after.starts_with(" as ")
                || ["== ", "!= "].iter().any(|sign| before.ends_with(sign))
                || before.contains("matches!(");
            let pattern = before.rsplit_once("=>").map_or("", |(pattern, _)| pattern);
            let mut variants = variants(pattern).peekable();
            !is_named
                && (variants.peek().is_none()
                    || arms < MAX_ARMS && variants.any(|of| is_given(of, code, arms + 1)))
        })
    })
}

/// Variants in a pattern, written with their types.
fn variants(pattern: &str) -> impl Iterator<Item = &str> {
    let words = pattern.split(|c: char| !(c.is_alphanumeric() || "_:".contains(c)));
    words.filter(|word| word.contains("::") && word.starts_with(char::is_uppercase))
}

/// Where `word` stands as a word.
fn places<'a>(line: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            !line[..*at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part)
        })
}

/// A file without its tests, which end it.
pub(super) fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::ungiven;

    /// `meminfo --all` had three rows that nothing counts: they could only be zero. A use that stands in an arm
    /// counted as given, though nothing made what the arm is of.
    #[test]
    fn use_that_is_only_named_is_found() {
        let table = "page_uses! {\n    /// Nobody's.\n    Heap = \"heap\",\n}\n";
        let check = |code: &str, is_known: bool| {
            let code = [code.to_owned()];
            assert_eq!(ungiven(table, &code).is_empty(), is_known, "{code:?}");
        };
        check("alloc(PageUse::Heap, owner)", true);
        check("alloc(PageUse::HeapTable, owner)", false);
        check("// [`PageUse::Heap`]", false);
        check("if record.usage == PageUse::Heap {", false);
        check("PageUse::Heap => \"heap\",", false);
        check("self.by_use[PageUse::Heap as usize]", false);
        check("#[cfg(test)]\nmod tests {\n    alloc(PageUse::Heap)", false);
        let arm = "Kind::Heap | Kind::Low => PageUse::Heap,\n";
        check(arm, false);
        check(&format!("{arm}if kind == Kind::Low {{"), false);
        check(&format!("{arm}map(Kind::Low, pages)"), true);
        check(&format!("{arm}let low = LowKind::Low;"), false);
        check("flag::HEAP => PageUse::Heap,", true);
    }
}
