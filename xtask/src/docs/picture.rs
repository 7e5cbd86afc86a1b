//! A picture of a terminal, as SVG.
//!
//! **Invariant:** shows the lines it is given, all of them, and nothing else.

use std::fmt::Write as _;
use tally_report::xml::chars;

const FONT_PX: usize = 14;
const LINE_PX: usize = 19;
/// Width of a character; an upper bound for the usual monospace fonts at this size.
const CHAR_TENTH_PX: usize = 85;
const MARGIN_PX: usize = 22;
const BAR_PX: usize = 38;
const PROMPT: &str = "tally> ";

/// Draws `lines` in a window.
pub(super) fn draw(lines: &[String]) -> String {
    let columns = lines
        .iter()
        .map(|line| line.chars().count())
        .max()
        .unwrap_or(0);
    let width = columns * CHAR_TENTH_PX / 10 + 2 * MARGIN_PX;
    let height = BAR_PX + lines.len() * LINE_PX + MARGIN_PX;
    let mut svg = String::new();
    // Writing to a string does not fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"The tour on a terminal\">\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"10\" fill=\"#161b22\"/>\n"
    );
    for (n, colour) in ["#ff5f57", "#febc2e", "#28c840"].iter().enumerate() {
        let x = MARGIN_PX + n * 20;
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"19\" r=\"6\" fill=\"{colour}\"/>"
        );
    }
    let _ = writeln!(
        svg,
        "<g font-family=\"ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace\" \
         font-size=\"{FONT_PX}\" xml:space=\"preserve\">"
    );
    for (n, line) in lines.iter().enumerate() {
        if line.is_empty() {
            continue;
        }
        let y = BAR_PX + n * LINE_PX + FONT_PX;
        let _ = writeln!(
            svg,
            "<text x=\"{MARGIN_PX}\" y=\"{y}\">{}</text>",
            spans(line)
        );
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn spans(line: &str) -> String {
    if let Some(command) = line.strip_prefix(PROMPT) {
        return span("#3fb950", false, PROMPT) + &span("#f0f6fc", true, command);
    }
    let (colour, bold) = if line.starts_with("# ") {
        ("#8b949e", false)
    } else if line.contains("leak_in_this_function") {
        ("#f0b72f", true)
    } else if line.starts_with("adds up") || line.starts_with("the same as before") {
        ("#3fb950", true)
    } else if line.starts_with("sum ") || line.contains(" blocks of ") {
        ("#f0f6fc", true)
    } else {
        ("#c9d1d9", false)
    };
    span(colour, bold, line)
}

fn span(colour: &str, bold: bool, text: &str) -> String {
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let text = chars(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    format!("<tspan fill=\"{colour}\"{weight}>{text}</tspan>")
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn every_line_is_drawn_and_escaped() {
        let svg = draw(&["tally> a & b".into(), String::new(), "x < y".into()]);
        assert_eq!(svg.matches("<text ").count(), 2);
        assert!(svg.contains("a &amp; b") && svg.contains("x &lt; y"));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
