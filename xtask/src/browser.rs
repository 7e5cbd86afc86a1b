//! Headless Chromium: what a page becomes, and what it looks like.
//!
//! **Invariant:** a run has a profile of its own, which is gone afterwards; a browser that does
//! not come back is ended.

use crate::{paths, setup, tool};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest that a page may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a browser made of a page.
pub(crate) struct Seen {
    /// The document after scripts have run.
    pub(crate) document: String,
    /// What the page wrote to the console, a line each.
    pub(crate) console: Vec<String>,
}

/// A folder that is removed when this is dropped.
struct Profile(PathBuf);

impl Drop for Profile {
    fn drop(&mut self) {
        // What is left is in the target directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(profile: &Profile) -> Command {
    let mut chromium = Command::new(setup::CHROMIUM);
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
        "--hide-scrollbars",
    ]);
    // No name leads anywhere: what a page fetched would fail, and say so on the console.
    chromium.arg("--host-resolver-rules=MAP * ~NOTFOUND");
    chromium.arg(format!("--user-data-dir={}", profile.0.display()));
    chromium
}

fn profile() -> Result<Profile> {
    let dir = paths::out().join(format!("chromium-{}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    Ok(Profile(dir))
}

fn url(page: &Path) -> Result<String> {
    let path = page
        .canonicalize()
        .with_context(|| format!("cannot find {}", page.display()))?;
    Ok(format!("file://{}", path.display()))
}

/// How a person looks at a page.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    /// Size in pixels.
    pub(crate) size: (u32, u32),
    /// Whether the system prefers dark pages.
    pub(crate) dark: bool,
}

impl Screen {
    /// That of a desk.
    pub(crate) const WIDE: Self = Self {
        size: (1280, 1480),
        dark: false,
    };
    /// That of a telephone.
    pub(crate) const NARROW: Self = Self {
        size: (390, 844),
        dark: true,
    };

    fn options(self) -> [String; 2] {
        let (width, height) = self.size;
        [
            format!("--window-size={width},{height}"),
            format!(
                "--blink-settings=preferredColorScheme={}",
                u8::from(!self.dark)
            ),
        ]
    }
}

/// Opens `page` and returns what became of it.
pub(crate) fn open(page: &Path, screen: Screen) -> Result<Seen> {
    let profile = profile()?;
    let mut chromium = command(&profile);
    chromium.args(screen.options());
    chromium.args(["--dump-dom", "--virtual-time-budget=4000"]);
    let (document, log) = finish(chromium.arg(url(page)?))?;
    let console = log
        .lines()
        .filter(|line| line.contains("CONSOLE"))
        .map(str::to_owned)
        .collect();
    Ok(Seen { document, console })
}

/// Takes a picture of the top of `page`.
pub(crate) fn picture(page: &Path, screen: Screen, to: &Path) -> Result<()> {
    let profile = profile()?;
    let mut chromium = command(&profile);
    chromium.args(screen.options());
    chromium.arg(format!("--screenshot={}", to.display()));
    finish(chromium.arg(url(page)?))?;
    Ok(())
}

/// Takes a picture of the first of `page`'s pages on paper, `width` points wide. The picture's name ends in `.png`.
pub(crate) fn printed(page: &Path, width: u32, to: &Path) -> Result<()> {
    let profile = profile()?;
    let pdf = profile.0.join("printed.pdf");
    let mut chromium = command(&profile);
    chromium.arg("--no-pdf-header-footer");
    chromium.arg(format!("--print-to-pdf={}", pdf.display()));
    finish(chromium.arg(url(page)?))?;
    let mut picture = Command::new(setup::PDFTOPPM);
    picture.args(["-png", "-singlefile", "-scale-to-y", "-1", "-scale-to-x"]);
    picture.arg(width.to_string()).arg(&pdf);
    // It adds the ending itself.
    tool::run(picture.arg(to.with_extension("")))
}

/// Both streams of a browser that ended by itself.
fn finish(chromium: &mut Command) -> Result<(String, String)> {
    let mut child = chromium
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", tool::line(chromium)))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let read = |stream: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                // What came before an error is what there is.
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = read(stdout.map(|stream| Box::new(stream) as _));
    let log = read(stderr.map(|stream| Box::new(stream) as _));
    wait(&mut child)?;
    Ok((
        out.join().unwrap_or_default(),
        log.join().unwrap_or_default(),
    ))
}

fn wait(child: &mut Child) -> Result<()> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("chromium failed ({status})");
            }
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("chromium did not come back within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
