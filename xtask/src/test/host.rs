//! Tests of the workspace's members on the host: libtest's, and examples in documentation.
//!
//! All members are built at once, and their programs run one test after the other, as many programs
//! at a time as there are CPUs: all tests together take ten seconds, so that a runner with a process
//! for each test (cargo-nextest) would cost more than it saves.
//!
//! **Invariant:** each test of libtest is one result; a program that dies or goes silent leaves
//! tests without report, which have failed.

use super::results::{Results, Verdict};
use super::sources::Member;
use crate::{tool, ui};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// A test that takes longer hangs.
const SILENCE: Duration = Duration::from_secs(300);

const BUILD: &str = "build: tests of the host";
const DOCTESTS: &str = "examples in the documentation";

/// Names of all tests.
pub(super) fn names(members: &[Member]) -> Vec<String> {
    let mut names = vec![BUILD.to_owned()];
    for member in members {
        let tests = member.tests.iter().map(String::as_str);
        let tests = tests.chain(member.doctests.then_some(DOCTESTS));
        names.extend(tests.map(|test| format!("{}: {test}", member.package)));
    }
    names
}

/// Builds and runs what is wanted.
pub(super) fn run(results: &mut Results, members: &[Member]) {
    let wanted: Vec<&str> = members
        .iter()
        .map(|member| member.package.as_str())
        .filter(|package| results.of_group(package).next().is_some())
        .collect();
    if wanted.is_empty() && !results.wants(BUILD) {
        return;
    }
    ui::step("Testing", "on the host");
    let start = Instant::now();
    let programs = build(if wanted.len() == members.len() {
        &[]
    } else {
        &wanted
    });
    let programs = match programs {
        Ok(programs) => programs,
        Err(err) => {
            let failed = Verdict::Failed(format!("{err:#}"));
            return results.record(BUILD, Some(start.elapsed()), failed);
        }
    };
    results.record(BUILD, Some(start.elapsed()), Verdict::Passed);
    let runs = programs.into_iter().map(|program| {
        let of_package = |member: &&Member| member.package == program.package;
        let member = members.iter().find(of_package);
        let wanted: Vec<String> = results
            .of_group(&program.package)
            .map(str::to_owned)
            .collect();
        let all =
            member.is_some_and(|member| member.tests.iter().all(|test| wanted.contains(test)));
        Run {
            program,
            filter: (!all).then_some(wanted),
        }
    });
    let runs: Vec<Run> = runs.collect();
    run_programs(results, &runs);
    for member in members.iter().filter(|member| member.doctests) {
        let name = format!("{}: {DOCTESTS}", member.package);
        results.check(&name, || {
            let mut cargo = tool::cargo();
            super::succeeds(cargo.args(["test", "--doc", "--quiet", "-p", &member.package]))
        });
    }
}

/// A test program.
struct Program {
    package: String,
    executable: PathBuf,
    dir: PathBuf,
}

/// Builds the test programs of these packages, of all members when there are none.
fn build(packages: &[&str]) -> Result<Vec<Program>> {
    let mut cargo = tool::cargo();
    cargo.args([
        "test",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]);
    if !ui::verbose() {
        cargo.arg("--quiet");
    }
    if packages.is_empty() {
        cargo.arg("--workspace");
    }
    for package in packages {
        cargo.args(["-p", package]);
    }
    let out = cargo
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{}`", tool::line(&cargo)))?;
    if !out.status.success() {
        bail!("building the tests failed; the messages are above");
    }
    let text = String::from_utf8_lossy(&out.stdout);
    Ok(text.lines().filter_map(program).collect())
}

/// The test program that a message of cargo's is of.
fn program(message: &str) -> Option<Program> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["profile"]["test"].as_bool()?;
    let executable = message["executable"].as_str().filter(|_| is_test)?;
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    // `path+file:///dir#name@version`, or `..dir#version` where the directory has the package's name.
    let id = message["package_id"].as_str()?.rsplit('#').next()?;
    let dir = manifest.parent()?;
    let package = match id.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => dir.file_name()?.to_string_lossy().into_owned(),
    };
    Some(Program {
        package,
        executable: executable.into(),
        dir: dir.to_path_buf(),
    })
}

/// A run to be made of a program.
struct Run {
    program: Program,
    /// Its wanted tests; none when all are, be they known or not.
    filter: Option<Vec<String>>,
}

/// What a program says: name, time and result of a test.
type Told = (String, Duration, Verdict);

/// Makes all runs, some at a time.
fn run_programs(results: &mut Results, runs: &[Run]) {
    let at_a_time = std::thread::available_parallelism().map_or(1, usize::from);
    let queue = Mutex::new(runs.iter());
    let (sender, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..at_a_time {
            let (queue, sender) = (&queue, sender.clone());
            scope.spawn(move || {
                let next = || queue.lock().ok().and_then(|mut queue| queue.next());
                while let Some(run) = next() {
                    run.make(&sender);
                }
            });
        }
        drop(sender);
        for (name, time, verdict) in told {
            results.reported(&name, Some(time), verdict);
        }
    });
}

impl Run {
    /// Runs the tests, and tells each.
    fn make(&self, told: &Sender<Told>) {
        let package = &self.program.package;
        // The receiver outlives every sender.
        let tell = |test: &str, time, verdict| {
            let _ = told.send((format!("{package}: {test}"), time, verdict));
        };
        let mut failed = Vec::new();
        let mut last = Instant::now();
        let output = self.output(|test, verdict| {
            let time = last.elapsed();
            last = Instant::now();
            match verdict {
                Verdict::Failed(_) => failed.push((test, time)),
                verdict => tell(&test, time, verdict),
            }
        });
        match output {
            Ok(mut output) => {
                for (test, time) in failed {
                    let details = output.details.remove(&test).unwrap_or_default();
                    tell(&test, time, Verdict::Failed(details.join("\n")));
                }
            }
            Err(err) => {
                for (test, time) in failed {
                    tell(
                        &test,
                        time,
                        Verdict::Failed("its program died later".into()),
                    );
                }
                let program = self.program.executable.display().to_string();
                tell(
                    &program,
                    Duration::ZERO,
                    Verdict::Failed(format!("{err:#}")),
                );
            }
        }
    }

    /// Runs the program; `each` gets each test's verdict at once.
    fn output(&self, mut each: impl FnMut(String, Verdict)) -> Result<Output> {
        let Program {
            executable, dir, ..
        } = &self.program;
        let mut command = Command::new(executable);
        command.args(["--test-threads=1", "--format=pretty"]);
        if let Some(tests) = &self.filter {
            command.arg("--exact").args(tests);
        }
        command.current_dir(dir).env("CARGO_MANIFEST_DIR", dir);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let stderr = child.stderr.take().context("it has no error output")?;
        let complaints =
            std::thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send(line))
        });
        let mut output = Output::default();
        loop {
            match lines.recv_timeout(SILENCE) {
                Ok(line) => {
                    if let Some((test, verdict)) = output.take(line) {
                        each(test, verdict);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    child.kill()?;
                    bail!("it was silent for {} s", SILENCE.as_secs());
                }
            }
        }
        let status = child.wait()?;
        // libtest's status when a test has failed.
        if !status.success() && status.code() != Some(101) || !output.closed {
            let complaints = complaints.join().unwrap_or_default();
            bail!(
                "it died ({status})\n{}",
                super::guest::tail(&complaints, 100)
            );
        }
        Ok(output)
    }
}

/// libtest's pretty output, as far as it was read.
#[derive(Debug, Default)]
struct Output {
    /// What failed tests printed.
    details: BTreeMap<String, Vec<String>>,
    /// The test whose details are read.
    current: Option<String>,
    /// Whether the last line was read.
    closed: bool,
}

impl Output {
    /// The test that the next line is the verdict of.
    fn take(&mut self, line: String) -> Option<(String, Verdict)> {
        if let Some(test) = line.strip_prefix("test ")
            && let Some((name, verdict)) = test.rsplit_once(" ... ")
        {
            let verdict = match verdict.split_once(", ").unwrap_or((verdict, "")) {
                ("ok", _) => Verdict::Passed,
                ("FAILED", _) => Verdict::Failed(String::new()),
                ("ignored", why) => Verdict::Skipped(format!("ignored {why}")),
                _ => return None,
            };
            return Some((name.to_owned(), verdict));
        }
        let head = line.strip_prefix("---- ");
        if let Some(test) = head.and_then(|head| head.strip_suffix(" stdout ----")) {
            self.current = Some(test.to_owned());
        } else if line == "failures:" || line.starts_with("test result:") {
            self.closed |= line.starts_with("test result:");
            self.current = None;
        } else if let Some(test) = &self.current
            && !line.trim().is_empty()
        {
            self.details.entry(test.clone()).or_default().push(line);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_of_libtest_are_read() {
        let text = "\nrunning 2 tests\ntest a::works ... ok\ntest a::fails ... FAILED\n\
                    test a::rests ... ignored, too long\n\nfailures:\n\n---- a::fails stdout ----\n\
                    left: 1\n\nfailures:\n    a::fails\n\ntest result: FAILED. 1 passed; 1 failed\n";
        let mut output = Output::default();
        let lines = text.lines().map(str::to_owned);
        let told: Vec<_> = lines.filter_map(|line| output.take(line)).collect();
        let words: Vec<_> = told.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(words, ["a::works", "a::fails", "a::rests"]);
        assert_eq!(told[0].1, Verdict::Passed);
        assert!(matches!(told[1].1, Verdict::Failed(_)));
        assert_eq!(told[2].1, Verdict::Skipped("ignored too long".into()));
        assert_eq!(output.details["a::fails"], ["left: 1"]);
        assert!(output.closed);
    }

    #[test]
    fn test_programs_are_told_from_other_artifacts() {
        let message = |id: &str, test: bool| {
            format!(
                "{{\"package_id\":\"path+file:///w/{id}\",\"manifest_path\":\"/w/core/Cargo.toml\",\
                 \"profile\":{{\"test\":{test}}},\"executable\":\"/t/core-1\"}}"
            )
        };
        let found = program(&message("core#tally-core@0.1.0", true)).unwrap();
        assert_eq!(found.package, "tally-core");
        assert_eq!(
            program(&message("core#0.1.0", true)).unwrap().package,
            "core"
        );
        assert!(program(&message("core#tally-core@0.1.0", false)).is_none());
        assert!(program("{\"reason\":\"build-finished\"}").is_none());
    }

    #[test]
    fn every_member_has_its_tests_and_its_examples() {
        let member = Member {
            package: "a".into(),
            tests: vec!["one".into()],
            doctests: true,
        };
        let expected = [BUILD, "a: one", "a: examples in the documentation"];
        assert_eq!(names(&[member]), expected);
    }
}
