//! Captures of snapshots for the documents: a comparison, a picture of the page, a leak gate.
//!
//! **Invariant:** text and picture come from the same run of this checkout.

use super::{document, fenced, insert, presentable, start};
use crate::images::{Heaps, Images};
use crate::{browser, paths, setup, tool, ui};
use anyhow::{Result, ensure};
use std::process::Command;

/// What can be captured here.
pub(super) const NAMES: &[&str] = &["report", "leakcheck"];
/// The picture of the page.
pub(super) const PICTURE: &str = "docs/report.png";
/// How it looks elsewhere: in dark colours, on a telephone, and on paper, printed from dark colours.
const DARK: &str = "docs/report-dark.png";
const PHONE: &str = "docs/report-phone.png";
const PAPER: &str = "docs/report-paper.png";
/// Points across the picture of a sheet.
const PAPER_WIDTH: u32 = 900;
/// The script of the leak gate.
const SCRIPT: &str = "docs/leak.script";
/// Longest file of a picture.
const PICTURE_BYTES: u64 = 200_000;

/// Captures `name`, one of [`NAMES`].
pub(super) fn capture(name: &str, images: &Images) -> Result<()> {
    ui::step("Capturing", name);
    if name == "leakcheck" {
        return leakcheck();
    }
    let dir = paths::out().join("docs");
    std::fs::create_dir_all(&dir)?;
    let commands = "open hello; open heap; invoke 2 alloc 30000; heap alloc 20000000; \
                    teestat snapshot a.snap; invoke 2 leak 10 28; teestat snapshot b.snap";
    let outcome = start(images, commands)?;
    let mut snapshots = Vec::new();
    for file in &outcome.files {
        // Where `cargo xtask run` puts it.
        let shown = paths::files().join(file.file_name().unwrap_or_default());
        std::fs::create_dir_all(paths::files())?;
        std::fs::copy(file, &shown)?;
        snapshots.push(shown.display().to_string());
    }
    ensure!(snapshots.len() == 2, "the guest handed out {snapshots:?}");
    let compared = xtask(&["report", "--diff", &snapshots[0], &snapshots[1]])?;
    let shown = format!(
        "$ cargo xtask run -- '{commands}'\n{}\n$ cargo xtask report --diff {} {}\n{compared}",
        outcome.normal.trim_end(),
        snapshots[0],
        snapshots[1],
    );
    insert(name, &fenced(&presentable(&shown)))?;
    let page = dir.join("report.html");
    let to = page.display().to_string();
    xtask(&["report", &snapshots[0], &snapshots[1], "-o", &to])?;
    picture(&page)
}

fn picture(page: &std::path::Path) -> Result<()> {
    if let Err(err) = setup::ensure(setup::Part::Chromium) {
        ui::warn(format_args!("{PICTURE} stays as it is: {err:#}"));
        return Ok(());
    }
    let (wide, phone) = (browser::Screen::WIDE, browser::Screen::NARROW);
    let dark = browser::Screen { dark: true, ..wide };
    browser::picture(page, wide, &document(PICTURE))?;
    browser::picture(page, dark, &document(DARK))?;
    browser::picture(page, phone, &document(PHONE))?;
    browser::printed(page, PAPER_WIDTH, &document(PAPER))?;
    for picture in [PICTURE, DARK, PHONE, PAPER] {
        let bytes = document(picture).metadata()?.len();
        ensure!(
            bytes < PICTURE_BYTES,
            "{picture} has {bytes} bytes, more than {PICTURE_BYTES}"
        );
    }
    Ok(())
}

fn leakcheck() -> Result<()> {
    let ta = Heaps::default().linked().join("ta-heap");
    let ta = ta.display().to_string();
    let args = [
        "leakcheck",
        "--ta",
        &ta,
        "--script",
        SCRIPT,
        "--cycles",
        "20",
    ];
    let mut command = Command::new(std::env::current_exe()?);
    command.args(args).current_dir(paths::root());
    let out = command.output()?;
    let script = std::fs::read_to_string(document(SCRIPT))?;
    let shown = format!(
        "$ cat {SCRIPT}\n{script}$ cargo xtask {}\n{}$ echo $?\n{}",
        args.join(" "),
        String::from_utf8_lossy(&out.stdout),
        out.status.code().unwrap_or(-1)
    );
    insert("leakcheck", &fenced(&presentable(&shown)))
}

fn xtask(args: &[&str]) -> Result<String> {
    let mut command = Command::new(std::env::current_exe()?);
    tool::output(command.args(args).current_dir(paths::root()))
}
