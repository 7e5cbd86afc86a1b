//! Pictures to scale: memory as squares of a page each, areas by size, lines over time.
//!
//! **Invariant:** areas and heights are proportional to the figures; each figure is also there as
//! text (a `<title>`), to the byte.

use super::table::escape;
use std::fmt::Write as _;
use tally_insight::numbers::{rough, thousands};

/// One part of a whole.
pub(super) struct Part {
    /// What it is.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
    /// CSS class of its colour.
    pub(super) colour: String,
}

/// Colours that there are: there are no more uses of secure RAM.
const COLOURS: usize = 24;

/// CSS class of the `n`th colour.
pub(super) fn colour(n: usize) -> String {
    format!("c{}", n % COLOURS)
}

const COLUMNS: u64 = 96;
const CELL: f64 = 8.0;
const PAGE: u64 = 4096;

/// Memory as a grid: one cell a page of 4 KiB (more, when there are very many), uses one after the
/// other.
pub(super) fn memory_map(parts: &[Part], label: &str) -> String {
    let total = parts
        .iter()
        .fold(0u64, |sum, part| sum.saturating_add(part.bytes));
    let cell_bytes = (total / 8192).max(PAGE);
    let cells = |bytes: u64| bytes as f64 / cell_bytes as f64;
    let rows = (cells(total) / COLUMNS as f64).ceil();
    let (width, height) = (COLUMNS as f64 * CELL, rows * CELL);
    let mut svg = format!(
        "<svg class=\"map\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">\
         <defs><pattern id=\"cells\" width=\"{CELL}\" height=\"{CELL}\" \
         patternUnits=\"userSpaceOnUse\"><path d=\"M{CELL} 0H0V{CELL}\" class=\"grid\"/>\
         </pattern></defs>",
        escape(label)
    );
    let mut at = 0u64;
    for part in parts.iter().filter(|part| part.bytes > 0) {
        let (start, end) = (cells(at), cells(at.saturating_add(part.bytes)));
        let _ = write!(
            svg,
            "<g class=\"{}\"><title>{}: {} bytes</title>",
            part.colour,
            escape(&part.name),
            thousands(part.bytes)
        );
        runs(start, end, &mut svg);
        svg.push_str("</g>");
        at = at.saturating_add(part.bytes);
    }
    let _ = write!(
        svg,
        "<rect width=\"{width}\" height=\"{height}\" fill=\"url(#cells)\" pointer-events=\"none\"/></svg>"
    );
    svg
}

/// Rectangles for the cells from `start` to `end`: the rest of a row, whole rows, part of a row.
fn runs(start: f64, end: f64, svg: &mut String) {
    let columns = COLUMNS as f64;
    let mut rect = |from: f64, to: f64, row: f64, rows: f64| {
        if to > from && rows > 0.0 {
            let _ = write!(
                svg,
                "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{:.2}\"/>",
                from * CELL,
                row * CELL,
                (to - from) * CELL,
                rows * CELL
            );
        }
    };
    let (first, last) = ((start / columns).floor(), (end / columns).floor());
    if first == last {
        rect(start - first * columns, end - last * columns, first, 1.0);
        return;
    }
    let whole = if start > first * columns {
        rect(start - first * columns, columns, first, 1.0);
        first + 1.0
    } else {
        first
    };
    rect(0.0, columns, whole, last - whole);
    rect(0.0, end - last * columns, last, 1.0);
}

#[derive(Clone, Copy, Debug)]
struct Area {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

const MAP_W: f64 = 1000.0;
const MAP_H: f64 = 380.0;

/// Parts as areas, the largest first.
pub(super) fn treemap(mut parts: Vec<Part>, label: &str) -> String {
    parts.retain(|part| part.bytes > 0);
    parts.sort_by_key(|part| std::cmp::Reverse(part.bytes));
    let sizes: Vec<f64> = parts.iter().map(|part| part.bytes as f64).collect();
    let areas = squarify(
        &sizes,
        Area {
            x: 0.0,
            y: 0.0,
            w: MAP_W,
            h: MAP_H,
        },
    );
    let mut svg = format!(
        "<svg class=\"treemap\" viewBox=\"0 0 {MAP_W} {MAP_H}\" role=\"img\" aria-label=\"{}\">",
        escape(label)
    );
    for (part, area) in parts.iter().zip(areas) {
        let Area { x, y, w, h } = area;
        let name = escape(&part.name);
        let _ = write!(
            svg,
            "<g class=\"{}\"><title>{name}: {} bytes</title><rect x=\"{x:.2}\" y=\"{y:.2}\" \
             width=\"{w:.2}\" height=\"{h:.2}\"/>",
            part.colour,
            thousands(part.bytes)
        );
        let room = ((w - 8.0).max(0.0) / 8.6) as usize;
        if h > 20.0 && room >= 4 {
            let _ = write!(
                svg,
                "<text x=\"{:.2}\" y=\"{:.2}\">{}</text>",
                x + 6.0,
                y + 17.0,
                escape(&shortened(&part.name, room))
            );
            let size = rough(part.bytes);
            // Its letters are smaller.
            let fits = size.chars().count() as f64 * 7.4 < w - 8.0;
            if h > 38.0 && fits {
                let _ = write!(
                    svg,
                    "<text class=\"dim\" x=\"{:.2}\" y=\"{:.2}\">{}</text>",
                    x + 6.0,
                    y + 34.0,
                    size
                );
            }
        }
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    svg
}

/// As much of a name as there is room for. A long one is cut in its middle: the UUIDs of one
/// vendor's TAs differ at the end.
fn shortened(text: &str, room: usize) -> String {
    const LEAST_END: usize = 4;
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= room {
        return text.to_owned();
    }
    let room = room.saturating_sub(1);
    let end = if room >= 2 * LEAST_END { room / 2 } else { 0 };
    let begin = chars[..room - end].iter().collect::<String>();
    let end = chars[chars.len() - end..].iter().collect::<String>();
    format!("{begin}\u{2026}{end}")
}

/// Squarified layout (Bruls, Huizing, van Wijk): `sizes` in falling order fill `area`.
fn squarify(sizes: &[f64], area: Area) -> Vec<Area> {
    let total: f64 = sizes.iter().sum();
    if total <= 0.0 {
        return Vec::new();
    }
    let scale = area.w * area.h / total;
    let scaled: Vec<f64> = sizes.iter().map(|size| size * scale).collect();
    let mut out = Vec::with_capacity(sizes.len());
    let (mut rest, mut from) = (area, 0);
    while from < scaled.len() {
        let side = rest.w.min(rest.h);
        let mut to = from + 1;
        // Sizes fall: the first of a row is its largest, the last its smallest.
        let largest = scaled[from];
        let mut row = largest;
        while let Some(&next) = scaled.get(to)
            && worst(row + next, next, largest, side) <= worst(row, scaled[to - 1], largest, side)
        {
            row += next;
            to += 1;
        }
        let along_height = rest.w >= rest.h;
        let thickness = if side > 0.0 { row / side } else { 0.0 };
        let mut offset = 0.0;
        for size in &scaled[from..to] {
            let length = if thickness > 0.0 {
                size / thickness
            } else {
                0.0
            };
            out.push(if along_height {
                Area {
                    x: rest.x,
                    y: rest.y + offset,
                    w: thickness,
                    h: length,
                }
            } else {
                Area {
                    x: rest.x + offset,
                    y: rest.y,
                    w: length,
                    h: thickness,
                }
            });
            offset += length;
        }
        if along_height {
            rest.x += thickness;
            rest.w = (rest.w - thickness).max(0.0);
        } else {
            rest.y += thickness;
            rest.h = (rest.h - thickness).max(0.0);
        }
        from = to;
    }
    out
}

/// The worst ratio of sides in a row of sizes from `low` to `high` along a side of length `side`.
fn worst(sum: f64, low: f64, high: f64, side: f64) -> f64 {
    (side * side * high / (sum * sum)).max(sum * sum / (side * side * low))
}

/// A line over time.
pub(super) struct Series {
    /// What it shows.
    pub(super) name: String,
    /// Milliseconds since boot, bytes.
    pub(super) points: Vec<(u64, u64)>,
    /// Most bytes there were, if that is known.
    pub(super) peak: Option<u64>,
}

const PLOT_W: f64 = 320.0;
const PLOT_H: f64 = 124.0;
/// Around the plot: room for what is written at its axes.
const LEFT: f64 = 62.0;
const RIGHT: f64 = PLOT_W - 8.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = PLOT_H - 20.0;

/// A chart of bytes from zero to the highest figure, over the time of the snapshots.
pub(super) fn chart(series: &Series) -> String {
    let times = || series.points.iter().map(|(at, _)| *at);
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let figures = series.points.iter().map(|(_, n)| *n);
    let high = figures.chain(series.peak).max().unwrap_or(0);
    let span = last.saturating_sub(first).max(1) as f64;
    let height = |n: u64| BOTTOM - (BOTTOM - TOP) * n as f64 / high.max(1) as f64;
    let place = |(at, n): (u64, u64)| {
        let x = LEFT + (RIGHT - LEFT) * (at - first) as f64 / span;
        (x, height(n))
    };
    let line: Vec<String> = series
        .points
        .iter()
        .map(|&point| {
            let (x, y) = place(point);
            format!("{x:.1},{y:.1}")
        })
        .collect();
    let mut svg = format!(
        "<svg class=\"chart\" viewBox=\"0 0 {PLOT_W} {PLOT_H}\" role=\"img\" aria-label=\"{}\">\
         <path class=\"axis\" d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\"/>",
        escape(&series.name),
    );
    // Writing to a string does not fail.
    let mut label = |x: f64, y: f64, end: bool, text: &str| {
        let class = if end { " class=\"end\"" } else { "" };
        let _ = write!(svg, "<text x=\"{x}\" y=\"{y:.1}\"{class}>{text}</text>");
    };
    label(LEFT - 6.0, TOP + 4.0, true, &rough(high));
    label(LEFT - 6.0, BOTTOM, true, "0");
    label(LEFT, PLOT_H - 4.0, false, &time(first));
    if last > first {
        label(RIGHT, PLOT_H - 4.0, true, &time(last));
    }
    if let Some(peak) = series.peak {
        let y = height(peak);
        label(RIGHT, y - 4.0, true, &format!("peak {}", rough(peak)));
        let _ = write!(
            svg,
            "<path class=\"peak\" d=\"M{LEFT} {y:.1}H{RIGHT}\"><title>at most {} bytes</title></path>",
            thousands(peak)
        );
    }
    let _ = write!(svg, "<polyline points=\"{}\"/>", line.join(" "));
    for &point in &series.points {
        let (x, y) = place(point);
        let _ = write!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{} bytes at {} ms</title></circle>",
            thousands(point.1),
            thousands(point.0)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// A time since boot, for an axis.
fn time(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{} ms", thousands(ms)),
        _ => format!("{}.{} s", thousands(ms / 1000), ms % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// All were "TA 7a11e...".
    #[test]
    fn long_names_of_one_vendors_tas_can_be_told_apart() {
        let name = "TA 7a11e110-0002-4c6e-8d01-5ec0de000042";
        assert_eq!(shortened(name, 11), "TA 7a\u{2026}00042");
        assert_eq!(shortened(name, 80), name);
        assert_eq!(shortened("TA hello", 5), "TA h\u{2026}");
    }

    /// The size stood out of narrow areas.
    #[test]
    fn sizes_are_written_where_there_is_room_for_them() {
        let part = |bytes| Part {
            name: "name".into(),
            bytes,
            colour: colour(0),
        };
        let sizes = |parts| treemap(parts, "").matches("class=\"dim\"").count();
        assert_eq!(sizes(vec![part(4096 << 10), part(4096 << 10)]), 2);
        assert_eq!(sizes(vec![part(4096 << 10), part(200 << 10)]), 1);
    }

    /// Firmware and the stacks of TAs had one colour, kernel text and the heaps of TAs another.
    #[test]
    fn every_use_of_memory_has_a_colour_of_its_own() {
        let style = include_str!("page.css");
        let fill = |n| {
            let rule = format!(".{} {{ fill: ", colour(n));
            let found = style.split_once(&rule).map(|(_, rest)| &rest[..7]);
            found.unwrap_or_else(|| panic!("no {rule}"))
        };
        let fills: BTreeSet<&str> = (0..COLOURS).map(fill).collect();
        assert_eq!(fills.len(), COLOURS);
    }

    /// Nothing said what the height of a line was, or that of a peak between two snapshots.
    #[test]
    fn charts_say_what_their_axes_and_the_peak_are() {
        let svg = chart(&Series {
            name: "s".into(),
            points: vec![(126, 1024), (61_300, 2048)],
            peak: Some(4096),
        });
        for text in [
            ">4 KiB<",
            ">0<",
            ">126 ms<",
            ">61.3 s<",
            ">peak 4 KiB<",
            "at most 4,096 bytes",
        ] {
            assert!(svg.contains(text), "{text} in {svg}");
        }
        // Half as high as the peak.
        let half = (TOP + BOTTOM) / 2.0;
        assert!(svg.contains(&format!("cy=\"{half:.1}\"")), "{svg}");
    }

    #[test]
    fn areas_are_to_scale_and_fill_the_map() {
        let sizes = [600.0, 300.0, 60.0, 30.0, 9.0, 1.0];
        let whole = Area {
            x: 0.0,
            y: 0.0,
            w: MAP_W,
            h: MAP_H,
        };
        let areas = squarify(&sizes, whole);
        for (size, area) in sizes.iter().zip(&areas) {
            let expected = size * MAP_W * MAP_H / 1000.0;
            assert!((area.w * area.h - expected).abs() < 1e-6 * MAP_W * MAP_H);
            assert!(area.x + area.w <= MAP_W + 1e-6 && area.y + area.h <= MAP_H + 1e-6);
        }
        assert_eq!(areas.len(), sizes.len());
        assert!(squarify(&[], whole).is_empty());
    }

    #[test]
    fn cells_of_the_map_are_to_scale() {
        let part = |bytes| Part {
            name: "x".into(),
            bytes,
            colour: colour(0),
        };
        // 300 pages and 84: the second begins in the fourth row.
        let svg = memory_map(&[part(300 * PAGE), part(84 * PAGE)], "map");
        let sum: f64 = svg
            .split("<rect x=\"")
            .skip(1)
            .map(|rect| {
                let field = |name: &str| -> f64 {
                    let at = rect.find(name).unwrap() + name.len() + 2;
                    rect[at..].split('"').next().unwrap().parse().unwrap()
                };
                field("width") * field("height")
            })
            .sum();
        assert!((sum - 384.0 * CELL * CELL).abs() < 1e-6);
    }

    #[test]
    fn wild_figures_draw_something_bounded() {
        let part = |bytes| Part {
            name: "x".into(),
            bytes,
            colour: colour(3),
        };
        assert!(memory_map(&[part(u64::MAX), part(u64::MAX)], "m").len() < 10_000);
        assert!(treemap(vec![part(u64::MAX), part(1)], "m").len() < 10_000);
        let series = Series {
            name: "s".into(),
            points: vec![(u64::MAX, 0), (0, u64::MAX)],
            peak: Some(u64::MAX),
        };
        assert!(chart(&series).contains("polyline"));
    }
}
