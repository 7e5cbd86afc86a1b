//! `cargo xtask run` as somebody at a terminal has it: a pseudo-terminal, keys, and what an emulator shows.
//!
//! **Invariant:** nothing is waited for by time alone, but until the screen shows it or too long has passed.

use super::results::Results;
use super::{Known, guest};
use crate::paths;
use crate::qemu::STATUS_INTERRUPTED;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

type Test = (&'static str, fn() -> Result<()>);

const TESTS: &[Test] = &[
    (
        "terminal: a line wider than the terminal is shown once, at 60, 80 and 200 columns",
        wide_lines,
    ),
    (
        "terminal: ctrl-C gives up a line, cancels a call, then ends its TA; the machine lives",
        interrupts,
    ),
    (
        "terminal: keys typed while a command runs are kept",
        typed_ahead,
    ),
    (
        "terminal: options, values and handles are completed, and nothing that the kernel refuses",
        completions,
    ),
    (
        "terminal: a TA's last words and its call stack are told with the status of the call",
        deaths,
    ),
    (
        "terminal: tables fit 60, 80 and 200 columns",
        fitting_tables,
    ),
    ("terminal: ctrl-] ends a machine whatever it does", way_out),
    ("terminal: what comes by a pipe is commands", piped),
    (
        "terminal: a shell and a run beside it do each other no harm",
        beside,
    ),
    (
        "terminal: a folder in a file's place fails the command, and the machine goes on",
        taken_name,
    ),
    (
        "terminal: a TA that was opened by its UUID has its name, and words too many are refused",
        named_and_refused,
    ),
    (
        "terminal: what a job says comes between prompts, and the line goes on below it",
        job_at_prompt,
    ),
    (
        "terminal: the tour succeeds beside a leak of one's own",
        tour_beside_a_leak,
    ),
];

/// A file that a command's output goes into.
const FILE: &str = "redirected.txt";
/// A folder among the files that guests hand out.
const FOLDER: &str = "a-folder";
/// Files of a shell and of a run beside it.
const BESIDE: [&str; 2] = ["of-a-shell.txt", "of-a-run-beside.txt"];
/// Columns of a terminal unless a test says otherwise, and its rows.
const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
/// So long may anything take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// So long a command needs from its line on until it runs, and much more.
const SOON: Duration = Duration::from_millis(300);
/// Until the first prompt: the images may have to be linked.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);

/// Names of all of them.
pub(super) fn names() -> impl Iterator<Item = Known> {
    TESTS.iter().map(|(name, _)| Known::short(*name))
}

/// Runs what is wanted.
pub(super) fn run(results: &mut Results) {
    for (name, test) in TESTS {
        results.check(name, || test().map_err(|err| format!("{err:#}")));
    }
}

/// `cargo xtask run`, of the program that runs this.
fn xtask_run() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("run").current_dir(paths::root());
    Ok(command)
}

/// Somebody who types and looks.
struct Seat {
    child: Child,
    terminal: File,
    output: Receiver<Vec<u8>>,
    screen: vt100::Parser,
}

impl Seat {
    /// In front of the guest's first prompt.
    fn new() -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let path = ptsname(&master, Vec::new())?;
        let path = std::ffi::OsStr::from_bytes(path.as_bytes());
        let slave = File::options().read(true).write(true).open(path)?;
        let terminal = File::from(master);
        resize(&terminal, COLUMNS)?;
        let mut command = xtask_run()?;
        command.stdin(slave.try_clone()?).stdout(slave.try_clone()?);
        let child = command.stderr(slave).spawn()?;
        drop(command);
        let mut reader = terminal.try_clone()?;
        let (sender, output) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last writer's end is an error here.
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let mut seat = Self {
            child,
            terminal,
            output,
            screen: vt100::Parser::new(side(ROWS)?, side(COLUMNS)?, 0),
        };
        seat.wait("the first prompt", BOOT_PATIENCE, |seat| {
            last(&seat.rows()) == "tally> "
        })?;
        Ok(seat)
    }

    fn resize(&mut self, columns: u16) -> Result<()> {
        resize(&self.terminal, columns)?;
        self.screen
            .screen_mut()
            .set_size(side(ROWS)?, side(columns)?);
        Ok(())
    }

    fn type_keys(&mut self, keys: &str) -> Result<()> {
        Ok(self.terminal.write_all(keys.as_bytes())?)
    }

    /// An empty screen with a prompt.
    fn clear(&mut self) -> Result<()> {
        self.type_keys("\x0c")?;
        self.sees(
            "an empty screen",
            |rows| matches!(rows, [prompt] if prompt.starts_with("tally")),
        )
    }

    /// Waits until the rows, as far as there is something in them, are so.
    fn sees(&mut self, what: &str, holds: impl Fn(&[String]) -> bool) -> Result<()> {
        self.wait(what, PATIENCE, |seat| holds(&seat.rows()))
    }

    fn wait(
        &mut self,
        what: &str,
        patience: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        let until = Instant::now() + patience;
        while !holds(self) {
            let left = until.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.screen.process(&bytes),
                Err(_) => bail!("never saw {what}, but:\n{}", self.rows().join("\n")),
            }
        }
        Ok(())
    }

    fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        let mut rows: Vec<String> = screen.rows(0, screen.size().1.get()).collect();
        while rows.last().is_some_and(|row| row.trim().is_empty()) {
            rows.pop();
        }
        rows
    }

    /// Enters a command and waits for the prompt behind it, which has this status in it.
    fn command(&mut self, line: &str, status: u8) -> Result<Vec<String>> {
        self.clear()?;
        self.type_keys(&format!("{line}\r"))?;
        self.prompt(status)?;
        Ok(self.rows())
    }

    /// Enters a command and waits until its line is left.
    fn begin(&mut self, line: &str) -> Result<()> {
        self.clear()?;
        self.type_keys(&format!("{line}\r"))?;
        self.wait("the next row", PATIENCE, |seat| {
            seat.screen.screen().cursor_position().0 > 0
        })
    }

    /// Waits for a prompt below the first row.
    fn prompt(&mut self, status: u8) -> Result<()> {
        let prompt = match status {
            0 => "tally> ".to_owned(),
            status => format!("tally [{status}]> "),
        };
        self.sees(&prompt, |rows| rows.len() > 1 && last(rows) == prompt)
    }

    fn end(mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            // Whoever writes must be read.
            let _ = self.output.recv_timeout(Duration::from_millis(50));
        }
        bail!(
            "the run does not end; it shows:\n{}",
            self.rows().join("\n")
        )
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn side(cells: u16) -> Result<NonZero<u16>> {
    NonZero::new(cells).context("a terminal of no size")
}

fn resize(terminal: &File, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: ROWS,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    Ok(tcsetwinsize(terminal, size)?)
}

fn last(rows: &[String]) -> &str {
    rows.last().map_or("", String::as_str)
}

fn wide_lines() -> Result<()> {
    let mut seat = Seat::new()?;
    for columns in [60, COLUMNS, 200] {
        seat.clear()?;
        seat.resize(columns)?;
        // Up to the last column, and over several rows.
        for len in [usize::from(columns) - 7, 2 * usize::from(columns) + 5] {
            let line: String = ('a'..='z').cycle().take(len).collect();
            let shown = |line: &str| -> Vec<String> {
                let chars: Vec<char> = format!("tally> {line}").chars().collect();
                let rows = chars.chunks(columns.into());
                rows.map(|row| row.iter().collect()).collect()
            };
            seat.type_keys(&line)?;
            seat.sees("the line", |rows| rows == shown(&line))?;
            // Home, a letter, to the end, back by a word, which is all of it.
            seat.type_keys("\x1b[HX\x1b[F\x1b[1;5DY")?;
            let line = format!("YX{line}");
            seat.sees("the line, edited", |rows| rows == shown(&line))?;
            seat.type_keys("\x05\x15")?;
            seat.sees("no line", |rows| rows == ["tally> "])?;
        }
    }
    Ok(())
}

fn interrupts() -> Result<()> {
    let mut seat = Seat::new()?;
    seat.clear()?;
    seat.type_keys("poweroff\x03")?;
    seat.sees("a line given up", |rows| {
        rows == ["tally> poweroff^C", "tally> "]
    })?;
    seat.type_keys("\x03")?;
    seat.sees("how to leave", |rows| {
        rows.iter().any(|row| row.contains("ctrl-D")) && last(rows) == "tally> "
    })?;
    for (line, breaks) in [
        ("solo wait 600000", 1),
        ("solo spin-until-cancelled; poweroff", 1),
        ("sleep 600000; poweroff", 1),
        ("crash loop; poweroff", 2),
        ("wait", 0),
    ] {
        seat.begin(line)?;
        for n in 1..=breaks {
            // Each is answered in a row of its own.
            seat.sees("the command", |rows| rows.len() == n)?;
            std::thread::sleep(SOON);
            seat.type_keys("\x03")?;
        }
        seat.prompt(if breaks > 0 { 130 } else { 0 })
            .with_context(|| format!("`{line}`"))?;
    }
    // A command failed; nobody is warned of it who has seen it.
    seat.command("nosuch", 1)?;
    seat.type_keys("\x04")?;
    let status = seat.end()?;
    ensure!(status.success(), "ctrl-D: {status}");
    Ok(())
}

fn typed_ahead() -> Result<()> {
    let mut seat = Seat::new()?;
    seat.begin("sleep 2000")?;
    std::thread::sleep(SOON);
    seat.type_keys("open drm\rsessions\recho o\x7fall\r")?;
    seat.sees("three more commands", |rows| {
        rows.iter().filter(|row| row.contains("of drm")).count() == 2
            && rows.iter().any(|row| row == "all")
    })
}

fn completions() -> Result<()> {
    let mut seat = Seat::new()?;
    seat.command("open hello", 0)?;
    for (typed, completed) in [
        ("teestat allocinfo --so", "teestat allocinfo --sort "),
        ("teestat top --sort r", "teestat top --sort rss "),
        (
            "teestat watch heap --on en",
            "teestat watch heap --on entry:",
        ),
        ("close ", "close 1 "),
        ("invoke 1 che", "invoke 1 checksum "),
        ("jobs | g", "jobs | grep "),
        // It has no test hooks.
        ("fau", "fau"),
        ("swe", "swe"),
    ] {
        seat.clear()?;
        // What is typed behind it shows that it was looked at.
        seat.type_keys(&format!("{typed}\t."))?;
        let line = format!("tally> {completed}.");
        seat.sees(&line, |rows| rows == [line.as_str()])?;
        seat.type_keys("\x15")?;
        seat.sees("no line", |rows| last(rows) == "tally> ")?;
    }
    Ok(())
}

fn fitting_tables() -> Result<()> {
    let mut seat = Seat::new()?;
    seat.command("open hello; crash panic", 1)?;
    seat.command("sleep 0", 0)?;
    for columns in [60, COLUMNS, 200] {
        seat.clear()?;
        seat.resize(columns)?;
        for table in ["owners", "top -n 1", "ledger hello", "advise", "history"] {
            seat.command(&format!("teestat {table}"), 0)?;
            // A line that the terminal had to break would go on in the next row.
            let screen = seat.screen.screen();
            let broken = (0..ROWS).find(|&row| screen.row_wrapped(row));
            ensure!(broken.is_none(), "{table} at {columns}: row {broken:?}");
        }
    }
    Ok(())
}

fn deaths() -> Result<()> {
    let mut seat = Seat::new()?;
    let rows = seat.command("crash panic", 1)?;
    let with = |text: &str| rows.iter().position(|row| row.contains(text));
    let told = [
        with("panicked at tas/crash/src/ta.rs:"),
        with("TA panicked with code 0xffff0000"),
        // The function that was asked to, in the order of the calls.
        with("invoke_command at tas/crash/src/ta.rs:"),
        with("TARGET_DEAD"),
    ];
    ensure!(
        told.iter().all(Option::is_some) && told.is_sorted(),
        "{told:?} of {rows:#?}"
    );
    Ok(())
}

fn way_out() -> Result<()> {
    let mut seat = Seat::new()?;
    seat.clear()?;
    seat.type_keys("crash loop\r\x1d")?;
    let status = seat.end()?;
    ensure!(
        status.code() == Some(STATUS_INTERRUPTED.into()),
        "ctrl-]: {status}"
    );
    Ok(())
}

fn piped() -> Result<()> {
    let mut command = xtask_run()?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let pipe = child.stdin.take().context("no pipe")?;
    writeln!(
        &pipe,
        "echo first\n# a remark\necho second; teestat helq --json"
    )?;
    writeln!(
        &pipe,
        "help | grep -i POWEROFF | grep -v exit; echo third > {FILE}; poweroff 7"
    )?;
    drop(pipe);
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let [first, second, complaint, help] = lines[..] else {
        bail!("{}: {}", output.status, guest::tail(&text, 20));
    };
    let complaint: serde_json::Value = serde_json::from_str(complaint)?;
    ensure!(output.status.code() == Some(7), "{}", output.status);
    ensure!([first, second] == ["first", "second"] && help.contains("poweroff [STATUS]"));
    ensure!(
        complaint["schema"] == 1 && complaint["status"] == 2,
        "{complaint}"
    );
    let file = paths::files().join(FILE);
    ensure!(
        std::fs::read_to_string(&file)? == "third\n",
        "its output is not in the file"
    );
    Ok(std::fs::remove_file(file)?)
}

/// Bug: both had one directory, which the second emptied under the first.
fn beside() -> Result<()> {
    let mut seat = Seat::new()?;
    let [own, others] = BESIDE;
    let mut run = xtask_run()?;
    run.args(["--", &format!("echo beside > {others}; poweroff 7")]);
    let output = run.output()?;
    ensure!(
        output.status.code() == Some(7),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    seat.command(&format!("echo shell > {own}"), 0)?;
    seat.type_keys("\x04")?;
    let status = seat.end()?;
    ensure!(status.success(), "{status}");
    for (name, said) in [(own, "shell\n"), (others, "beside\n")] {
        let file = paths::files().join(name);
        let found = std::fs::read_to_string(&file).context(name)?;
        ensure!(found == said, "{name}: {found:?}");
        std::fs::remove_file(file)?;
    }
    Ok(())
}

/// Bug: the guest heard that all was well, and the machine ended.
fn taken_name() -> Result<()> {
    let dir = paths::files().join(FOLDER);
    std::fs::create_dir_all(&dir)?;
    let mut seat = Seat::new()?;
    let rows = seat.command(&format!("echo a > {FOLDER}"), 2)?;
    ensure!(rows[1].contains(FOLDER), "{rows:?}");
    seat.command("echo on", 0)?;
    Ok(std::fs::remove_dir(dir)?)
}

/// Bug: the tour's own leak in an instance that others had open was taken for the kernel's.
fn tour_beside_a_leak() -> Result<()> {
    let mut seat = Seat::new()?;
    seat.command("open heap; teestat leaks mark; invoke 1 leak 10 28", 0)?;
    seat.command("tour", 0)?;
    seat.command("close 1; tour", 0)?;
    Ok(())
}

/// Bug: a job wrote over the prompt and what was typed at it.
fn job_at_prompt() -> Result<()> {
    let mut seat = Seat::new()?;
    seat.command("sleep 2000 & echo from a job &", 0)?;
    seat.clear()?;
    seat.type_keys("echo begun | grep beg")?;
    seat.sees("both", |rows| {
        rows == [
            "tally> echo begun | grep beg",
            "from a job",
            "tally> echo begun | grep beg",
        ]
    })?;
    seat.type_keys("\r")?;
    seat.sees("the line, run", |rows| {
        rows.iter().any(|row| row == "begun")
    })?;
    let rows = seat.command("history | grep begun", 0)?;
    ensure!(rows[1].contains("echo begun"), "{rows:?}");
    Ok(())
}

fn named_and_refused() -> Result<()> {
    let mut seat = Seat::new()?;
    let rows = seat.command("open 7a11e110-0001", 0)?;
    ensure!(rows[1].ends_with(" of hello"), "{rows:?}");
    for line in ["tas --ta X", "status x", "history all"] {
        let rows = seat.command(line, 1)?;
        ensure!(rows[1].contains("not understood"), "{rows:?}");
    }
    for number in ["-1", "0", "99999999999999999999"] {
        let line = format!("teestat allocinfo --top {number}");
        let rows = seat.command(&line, 2)?;
        ensure!(rows[1].contains("not a number from 1 to "), "{rows:?}");
    }
    Ok(())
}
