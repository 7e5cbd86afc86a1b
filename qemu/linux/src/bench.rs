//! Test fixtures: connections, sessions, the supplicant, the kernel's log.
//!
//! **Invariant:** every wait ends.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tally_abi::TeeUuid;
use teec::{Context, Operation, ParamNone, ParamType, ParamValue, Session};
use teec_linux::{DEVICE, LinuxTransport};

/// How a test went.
pub(crate) type Outcome = Result<(), String>;

/// A fresh connection.
pub(crate) fn connect() -> Result<LinuxTransport, String> {
    LinuxTransport::open(DEVICE).map_err(|error| format!("{DEVICE}: {error}"))
}

/// Opens a session.
pub(crate) fn open<'t>(context: &Context<'t>, uuid: TeeUuid) -> Result<Session<'t>, String> {
    context
        .open_session(uuid)
        .map_err(|error| format!("open {uuid}: {error}"))
}

/// An input value parameter and nothing else.
pub(crate) type ValueOperation = Operation<ParamValue, ParamNone, ParamNone, ParamNone>;

/// An operation with one value.
pub(crate) const fn value(a: u32, b: u32, kind: ParamType) -> ValueOperation {
    cancellable(0, a, b, kind)
}

/// As [`value`], to be cancelled by `id`.
pub(crate) const fn cancellable(id: u32, a: u32, b: u32, kind: ParamType) -> ValueOperation {
    let first = ParamValue::new(a, b, kind);
    Operation::new(id, first, ParamNone, ParamNone, ParamNone)
}

/// Invokes hello's increment and checks what comes back.
pub(crate) fn increment(hello: &mut Session<'_>, number: u32) -> Outcome {
    let mut operation = value(number, 0, ParamType::ValueInout);
    hello
        .invoke_command(ta_uuids::hello::CMD_INC, &mut operation)
        .map_err(|error| format!("increment: {error}"))?;
    equal(
        operation.parameters().0.a(),
        number.wrapping_add(1),
        "incremented value",
    )
}

/// Compares.
pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(found: T, expected: T, what: &str) -> Outcome {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found:?}, not {expected:?}"))
    }
}

/// Waits for `done`, ten seconds at most.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) -> Outcome {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > Duration::from_secs(10) {
            return Err(format!("waited in vain for {what}"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Starts this program as a child of a test.
pub(crate) fn child(name: &str) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    Command::new(program)
        .args(["child", name])
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("child {name}: {error}"))
}

/// Ends a child's input, and waits until it has ended by itself. One that is killed while the supplicant works for it
/// takes the supplicant along.
pub(crate) fn finish(mut child: Child) -> Outcome {
    let status = child.wait().map_err(|error| format!("child: {error}"))?;
    equal(status.code(), Some(0), "status of a child")
}

/// Ends a child as SIGKILL does, and waits until all of it is gone.
pub(crate) fn end(mut child: Child) -> Outcome {
    child
        .kill()
        .and_then(|()| child.wait())
        .map(drop)
        .map_err(|error| format!("kill: {error}"))
}

/// Runs a program; its output if its status is 0.
pub(crate) fn program(name: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(name)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(text)
    } else {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(format!("{name}: {}\n{text}{complaint}", output.status))
    }
}

/// The supplicant's process.
pub(crate) fn supplicant() -> Option<Pid> {
    let entries = std::fs::read_dir("/proc").ok()?;
    entries.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let name = std::fs::read_to_string(entry.path().join("comm")).ok()?;
        // A process that has ended but was not waited for has no memory.
        let alive = !std::fs::read(entry.path().join("cmdline")).ok()?.is_empty();
        (name.trim() == "tee-supplicant" && alive)
            .then(|| Pid::from_raw(pid))
            .flatten()
    })
}

/// Sends the supplicant a signal.
pub(crate) fn signal_supplicant(signal: Signal) -> Outcome {
    let pid = supplicant().ok_or("no supplicant runs")?;
    kill_process(pid, signal).map_err(|error| format!("supplicant: {error}"))
}

/// Ends the supplicant and waits until it is gone.
pub(crate) fn stop_supplicant() -> Outcome {
    signal_supplicant(Signal::KILL)?;
    until("the supplicant's end", || supplicant().is_none())
}

/// Starts the supplicant as a daemon.
pub(crate) fn start_supplicant() -> Outcome {
    program("tee-supplicant", &["-d"])?;
    until("the supplicant's start", || supplicant().is_some())
}

/// Lines of the kernel's log that are warnings or worse, but for those of the machine's own.
pub(crate) fn warnings() -> Result<Vec<String>, String> {
    const WARNING: u32 = 4;
    let log = program("dmesg", &["-r"])?;
    let severity = |line: &str| -> Option<u32> {
        let (number, _) = line.strip_prefix('<')?.split_once('>')?;
        Some(number.parse::<u32>().ok()? & 7)
    };
    let ours = |line: &&str| {
        let lower = line.to_lowercase();
        [
            "optee",
            "tee",
            "rcu",
            "psci",
            "warning",
            "bug:",
            "call trace",
            "oops",
            "lockup",
            "hung",
        ]
        .iter()
        .any(|word| lower.contains(word))
    };
    Ok(log
        .lines()
        .filter(|line| severity(line).is_some_and(|severity| severity <= WARNING))
        .filter(ours)
        .map(str::to_owned)
        .collect())
}

/// A whole small file.
pub(crate) fn file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| format!("{path}: {error}"))?;
    Ok(text.trim_end().to_owned())
}
