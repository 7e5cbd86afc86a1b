//! Text in XML and HTML.

/// With what XML 1.0 (2.2, `Char`) does not have replaced: a file with one such character is read by nobody.
/// HTML does without them as well.
#[must_use]
pub fn chars(text: &str) -> String {
    let known = |c: char| match c {
        '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'.. => c,
        _ => char::REPLACEMENT_CHARACTER,
    };
    text.chars().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::chars;

    #[test]
    fn what_xml_does_not_have_is_replaced() {
        let text = "a\u{1b}[2J\0\u{fffe}\u{ffff}\u{7f}\u{85}\u{e9}\u{1fffe}\t\r\n<&";
        let kept = "a\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{7f}\u{85}\u{e9}\u{1fffe}\t\r\n<&";
        assert_eq!(chars(text), kept);
    }
}
