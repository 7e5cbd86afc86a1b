//! `cargo xtask docs`: captures the output that the documents show.
//!
//! A capture goes between `<!-- NAME:begin -->` and `<!-- NAME:end -->` in every document that
//! has these markers; the tour has files of its own.
//!
//! **Invariant:** text between markers comes from a run of this checkout; machine paths and
//! xtask's own progress lines are left out, figures are as captured. `--check` runs nothing.

mod captures;
mod links;
mod picture;
mod report;

use crate::images::{self, Config, Images};
use crate::qemu::{Ending, Outcome, Run};
use crate::symbols::Symbols;
use crate::{linux, paths, setup, tool, ui};
use anyhow::{Context as _, Result, bail, ensure};
use captures::{CAPTURES, Capture, Console};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tally_insight::schema;

/// What to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run nothing: fail if a document, a section or a pair of markers is missing or empty, a link
    /// is broken, or a document that must stay short is too long
    #[arg(long)]
    check: bool,
    /// Capture only these
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    only: Vec<String>,
}

const TOUR: &str = "tour";
const BENCH: &str = "bench";
const BENCH_LINUX: &str = "bench-linux";
const BENCH_PEER: &str = "bench-peer";
const STACKS: &str = "stacks";
/// In Debian's Linux: name, shell commands.
const LINUX: &[(&str, &str)] = &[
    (
        "linux",
        "uname -sr; teestat meminfo; linux-tests child loop & sleep 1; teestat pools --json | cut -c-200; teestat kill crash",
    ),
    (
        "serve",
        "teestat serve --label device=bench-7 & linux-tests child loop & sleep 1; wget -qSO- http://127.0.0.1:9644/metrics 2>&1 | grep -E \"HTTP|Content|^tally_(secure|ta_(rss|charged|busy)|threads|calls)|EOF\" | grep -v \" 0$\"; teestat kill crash; kill %1; wait %1; echo status $?",
    ),
];
/// What is made from the field tables.
const RECORDS: &str = "records";
/// Documents with markers.
const DOCUMENTS: &[&str] = &["README.md", "docs/MANUAL.md", "docs/BENCHMARKS.md"];
/// Folders whose documents may link to each other.
const FOLDERS: &[&str] = &["", "docs", "docs/decisions"];
/// Documents that must stay short, and the most bytes each may have.
const BOUNDED: &[(&str, usize)] = &[("README.md", 15 << 10), ("docs/ARCHITECTURE.md", 16 << 10)];
/// Documents and what they must have.
const SECTIONS: &[(&str, &[&str])] = &[
    (
        "README.md",
        &[
            "docs/tour.svg",
            "docs/tour.txt",
            "docs/MANUAL.md",
            "## Run it",
            "## Find a leak",
            "## What works",
            "## Licence",
            "<!-- leaks:begin -->",
        ],
    ),
    (
        "docs/MANUAL.md",
        &[
            "(report.png)",
            "## Running",
            "## The shell",
            "## Leaks",
            "## Out of memory",
            "## Linux",
            "## Writing a TA",
            "<!-- kernel-crash:begin -->",
        ],
    ),
    (
        "docs/ARCHITECTURE.md",
        &[
            "## Floors",
            "## Boot",
            "## Address spaces",
            "## Worlds, interrupts, threads",
            "## Life of a call",
            "## Loading a TA",
            "## Locks",
            "## Unsafe code",
            "## Tests",
        ],
    ),
    ("docs/account.md", &["## Pages", "## Leaks", "## Snapshots"]),
    ("docs/ledger.md", &["## Strategies", "## Tracking"]),
    ("docs/CONTRIBUTING.md", &["## Build and test", "## Recipes"]),
    ("docs/decisions/README.md", &["## List"]),
    ("CHANGELOG.md", &["## Unreleased"]),
    ("SECURITY.md", &["docs/THREAT_MODEL.md"]),
    (
        "docs/THREAT_MODEL.md",
        &[
            "## Who is hostile",
            "## What is checked where",
            "## What is not defended",
        ],
    ),
    ("docs/BENCHMARKS.md", &["<!-- bench:begin -->"]),
    ("docs/tour.txt", &["tally> teestat leaks diff"]),
    ("docs/tour.svg", &["<svg"]),
];

/// Captures, or checks that there is something captured.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let complaints = if args.check {
        check()?
    } else {
        capture(&args.only)?;
        check()?
    };
    for complaint in &complaints {
        anstream::println!("{complaint}");
    }
    Ok(u8::from(!complaints.is_empty()))
}

/// Every capture that has markers.
fn marked() -> impl Iterator<Item = &'static str> {
    let captures = CAPTURES.iter().map(|capture| capture.name);
    let in_linux = LINUX.iter().map(|(name, _)| *name);
    let others = report::NAMES.iter().copied();
    [BENCH, BENCH_LINUX, BENCH_PEER, STACKS]
        .into_iter()
        .chain(others)
        .chain(in_linux)
        .chain(captures)
}

fn document(name: &str) -> PathBuf {
    paths::root().join(name)
}

fn capture(only: &[String]) -> Result<()> {
    if let Some(name) = only
        .iter()
        .find(|name| ![TOUR, RECORDS].contains(&&***name) && !marked().any(|known| known == *name))
    {
        bail!("there is no capture `{name}`");
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|other| other == name);
    if wanted(RECORDS) {
        for (file, text) in of_records() {
            std::fs::write(document(file), text)?;
        }
        if only == [RECORDS] {
            return Ok(());
        }
    }
    setup::ensure(setup::Part::Qemu)?;
    let images = images::build(&Config::default())?;
    if wanted(TOUR) {
        ui::step("Capturing", TOUR);
        let tour = presentable(&start(&images, TOUR)?.normal);
        std::fs::write(document("docs/tour.txt"), &tour)?;
        std::fs::write(document("docs/tour.svg"), picture::draw(&telling(&tour)))?;
    }
    for capture in CAPTURES.iter().filter(|c| c.kernel_features.is_empty()) {
        if wanted(capture.name) {
            take(capture, &images)?;
        }
    }
    take_linux(&images, wanted)?;
    for name in report::NAMES.iter().filter(|name| wanted(name)) {
        report::capture(name, &images)?;
    }
    if wanted(BENCH) {
        let machine = "-M virt,secure=on,gic-version=3 -cpu max -smp 1 -m 256 -icount shift=0";
        insert(BENCH, &bench(&[], machine)?)?;
    }
    if wanted(STACKS) {
        insert(STACKS, &fenced(&of_xtask(&[STACKS])?))?;
    }
    for capture in CAPTURES.iter().filter(|c| !c.kernel_features.is_empty()) {
        if wanted(capture.name) {
            let config = Config::with(capture.kernel_features);
            take(capture, &images::build(&config)?)?;
        }
    }
    Ok(())
}

fn captured<'a>(images: &'a Images, commands: &'a str) -> Run<'a> {
    Run::captured(images, "docs", commands, Duration::from_secs(60))
}

fn start(images: &Images, commands: &str) -> Result<Outcome> {
    let outcome = captured(images, commands).start()?;
    ensure!(
        !outcome.normal.is_empty(),
        "`{commands}` printed nothing; {:?}",
        outcome.ending
    );
    Ok(outcome)
}

fn take(capture: &Capture, images: &Images) -> Result<()> {
    ui::step("Capturing", capture.name);
    let outcome = start(images, capture.commands)?;
    let text = match capture.console {
        Console::Normal => outcome.normal.clone(),
        Console::Secure => outcome.secure.clone(),
        Console::SecureNamed => Symbols::new(images).annotate(&outcome.secure),
    };
    let text = presentable(&text);
    let lines: Vec<&str> = text
        .lines()
        .skip_while(|line| !line.contains(capture.from))
        .collect();
    ensure!(
        !lines.is_empty(),
        "`{}` printed nothing to show",
        capture.commands
    );
    let features: String = capture
        .kernel_features
        .iter()
        .map(|feature| format!(" --kernel-features {feature}"))
        .collect();
    let secure = match capture.console {
        Console::Normal => "",
        Console::Secure | Console::SecureNamed => " --secure-console",
    };
    let shown = format!(
        "$ cargo xtask run{features}{secure} -- '{}'\n{}",
        capture.commands,
        lines.join("\n")
    );
    insert(capture.name, &fenced(&shown))
}

/// What Debian's Linux shows. Left as it is where the packages cannot be had.
fn take_linux(images: &Images, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let shells: Vec<_> = LINUX.iter().filter(|(name, _)| wanted(name)).collect();
    if shells.is_empty() && !wanted(BENCH_LINUX) && !wanted(BENCH_PEER) {
        return Ok(());
    }
    let linux = match linux::prepare(images, linux::Debian::default()) {
        Ok(linux) => linux,
        Err(err) if err.is::<linux::Unreachable>() => {
            ui::warn(format_args!("what Linux shows stays as it is: {err:#}"));
            return Ok(());
        }
        Err(err) => return Err(err),
    };
    for (name, commands) in shells {
        ui::step("Capturing", name);
        let outcome = captured(images, commands).start_linux(&linux)?;
        ensure!(
            outcome.ending == Ending::Exit(0),
            "`{commands}` in Linux ended with {:?}",
            outcome.ending
        );
        let text = presentable(&outcome.normal);
        let shown = format!("$ cargo xtask run --linux -- '{commands}'\n{text}");
        insert(name, &fenced(&shown))?;
    }
    if wanted(BENCH_LINUX) {
        let machine =
            "-M virt,secure=on,gic-version=3 -cpu max -smp 1 -m 512 -icount shift=0,sleep=off";
        insert(BENCH_LINUX, &bench(&["--linux"], machine)?)?;
    }
    if wanted(BENCH_PEER) {
        let machine = "-M virt,secure=on,gic-version=3 -cpu max,sve=off,sme=off -smp 1 -m 512 -icount shift=0,sleep=off";
        insert(BENCH_PEER, &bench(&["--peer"], machine)?)?;
    }
    Ok(())
}

/// A command of xtask and what it prints.
fn of_xtask(args: &[&str]) -> Result<String> {
    let line = args.join(" ");
    ui::step("Capturing", &line);
    let printed = tool::output(Command::new(std::env::current_exe()?).args(args))?;
    Ok(format!("$ cargo xtask {line}\n{}", presentable(&printed)))
}

/// The table of `cargo xtask bench` and what made it.
fn bench(args: &[&str], machine: &str) -> Result<String> {
    let version = tool::output(Command::new(setup::QEMU).arg("--version"))?;
    let version = version.lines().next().unwrap_or_default();
    let table = of_xtask(&[&[BENCH], args].concat())?;
    Ok(format!("{}\n{version}; `{machine}`.\n", fenced(&table)))
}

/// Without machine paths, colours, carriage returns, and blanks at line ends.
fn presentable(text: &str) -> String {
    let root = format!("{}/", paths::root().display());
    let text = anstream::adapter::strip_str(text).to_string();
    let lines: Vec<String> = text
        .replace(&root, "")
        .replace('\r', "")
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    let text = lines.join("\n");
    format!("{}\n", text.trim_matches('\n'))
}

fn fenced(text: &str) -> String {
    format!("```text\n{}\n```\n", text.trim_end())
}

/// The part of the tour that tells most: the account, the leak, the account again. What is left out of
/// these chapters is lines of the account: those that say zero, and in the end all but the sum.
fn telling(tour: &str) -> Vec<String> {
    const CHAPTERS: &[&str] = &["# Secure RAM", "# Now a leak", "# What was", LAST];
    const LAST: &str = "# The sessions";
    const LEFT_OUT: &str = "...";
    let mut lines: Vec<String> = Vec::new();
    let mut chapter = "";
    for line in tour.lines() {
        if line.starts_with("# ") {
            chapter = line;
        }
        if !CHAPTERS.iter().any(|wanted| chapter.starts_with(wanted)) {
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_row = words.len() > 2
            && words[words.len() - 2..]
                .iter()
                .all(|w| w.parse::<u64>().is_ok());
        let is_zero = is_row && words.ends_with(&["0", "0"]);
        let is_detail = is_row && chapter.starts_with(LAST) && !["free", "sum"].contains(&words[0]);
        if !is_zero && !is_detail {
            lines.push(line.to_owned());
        } else if lines.last().is_some_and(|last| last != LEFT_OUT) {
            lines.push(LEFT_OUT.to_owned());
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Puts `text` between the markers of `name`, wherever there are some.
fn insert(name: &str, text: &str) -> Result<()> {
    let mut places = 0;
    for file in DOCUMENTS {
        let path = document(file);
        let old = std::fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        if let Some((start, end)) = between(&old, name) {
            places += 1;
            let new = format!("{}\n{text}{}", &old[..start], &old[end..]);
            std::fs::write(&path, new)?;
        }
    }
    if places == 0 {
        ui::warn(format_args!("no document has the markers of `{name}`"));
    }
    Ok(())
}

/// Where the text between the markers of `name` begins and ends.
fn between(text: &str, name: &str) -> Option<(usize, usize)> {
    let begin = format!("<!-- {name}:begin -->");
    let start = text.find(&begin)? + begin.len();
    let end = start + text[start..].find(&format!("<!-- {name}:end -->"))?;
    Some((start, end))
}

/// Documents that are made from field tables and the types of answers, and what they must be.
fn of_records() -> [(&'static str, String); 2] {
    let answers = teestat::commands::answers().chain(schema::REPORTS);
    [
        ("docs/records.md", schema::markdown()),
        (
            "docs/schema.json",
            format!("{:#}\n", schema::schema(answers)),
        ),
    ]
}

fn check() -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for (file, wanted) in of_records() {
        let text = std::fs::read_to_string(document(file)).unwrap_or_default();
        if text != wanted {
            complaints.push(format!(
                "{file}: is not what the records and answers are; `cargo xtask docs --only {RECORDS}` writes it"
            ));
        }
    }
    for (file, needed) in SECTIONS {
        let Ok(text) = std::fs::read_to_string(document(file)) else {
            complaints.push(format!("{file}: is missing"));
            continue;
        };
        for what in needed.iter().filter(|what| !text.contains(**what)) {
            complaints.push(format!("{file}: has no `{what}`"));
        }
    }
    let texts: Vec<String> = DOCUMENTS
        .iter()
        .map(|file| std::fs::read_to_string(document(file)).unwrap_or_default())
        .collect();
    for (file, most) in BOUNDED {
        let bytes = std::fs::metadata(document(file)).map_or(0, |found| found.len());
        if bytes > *most as u64 {
            complaints.push(format!("{file}: {bytes} bytes, more than {most}"));
        }
    }
    for folder in FOLDERS {
        for entry in std::fs::read_dir(document(folder))? {
            let file = Path::new(folder).join(entry?.file_name());
            if file.extension().is_some_and(|extension| extension == "md") {
                let text = std::fs::read_to_string(paths::root().join(&file))?;
                complaints.extend(links::broken(&file, &text));
            }
        }
    }
    for name in marked() {
        let filled = texts.iter().any(|text| {
            between(text, name).is_some_and(|(start, end)| !text[start..end].trim().is_empty())
        });
        if !filled {
            complaints.push(format!("capture `{name}`: shown nowhere"));
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::{between, telling};

    #[test]
    fn text_between_markers_is_found() {
        let text = "a <!-- x:begin -->\nold\n<!-- x:end --> b";
        let (start, end) = between(text, "x").unwrap();
        assert_eq!(&text[start..end], "\nold\n");
        assert_eq!(between(text, "y"), None);
        assert_eq!(between("<!-- x:begin -->", "x"), None);
    }

    #[test]
    fn telling_part_leaves_out_zeros_and_other_chapters() {
        let tour = "# Who answers?\nx\n\n# Secure RAM by use\nfree 8 2\nspare 0 0\nsum 8 2\n\n";
        assert_eq!(
            telling(tour),
            ["# Secure RAM by use", "free 8 2", "...", "sum 8 2"]
        );
    }

    #[test]
    fn documents_are_complete() {
        assert_eq!(super::check().unwrap(), Vec::<String>::new());
    }
}
