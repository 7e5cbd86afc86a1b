//! The shell's commands.
//!
//! **Invariant:** a command returns 0 (done), 1 (it failed) or 2 (not understood), or a status of
//! its own.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Write};
use spin::Mutex;
use tally_abi::pta::control::fault;
use tally_abi::smc::{FunctionId, sec_cap};
use teec::ErrorKind;
use teec::smc::Conduit;
use teestat::client::{self, ClientError};
use teestat::{Memory, STATUS_OK, STATUS_USAGE, Terminal as _, commands};

use super::ShellTerminal;
use super::tas;
use super::words::Begun;
use crate::machine::console::{self, Console, Direct};
use crate::machine::cpu;
use crate::names::{MachineNames, known};
use crate::output::{FILTER, OPTIONS};
use crate::{bench, jobs, selftest, supplicant, tee, tour};

/// Exit status after ctrl-C, as other shells have it.
pub(super) const STATUS_INTERRUPTED: u8 = 130;

struct Command {
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&[&str]) -> Result<u8, String>,
}

const fn command(
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    run: fn(&[&str]) -> Result<u8, String>,
) -> Command {
    Command {
        name,
        arguments,
        help,
        run,
    }
}

static COMMANDS: [Command; 26] = [
    command(
        "teestat",
        "COMMAND",
        "statistics, leaks, accounts: see `teestat help`",
        teestat_command,
    ),
    command(
        "tour",
        "",
        "a short tour: two TAs, their figures, a leak and how it is found",
        |_| Ok(tour::run()),
    ),
    command(
        "selftest",
        "[FILTER..]",
        "the paired tests, or those whose name contains a FILTER",
        |args| Ok(selftest::run(args)),
    ),
    command(
        "soak",
        "--rounds N | --seconds N",
        "open, use, close, crash and kill TAs at random; nothing may grow",
        selftest::run_soak,
    ),
    command(
        "bench",
        "[FILTER]",
        "the measured loops, marked in the instruction stream",
        bench::run,
    ),
    command("tas", "", "list the TA archive", |_| list_archive()),
    command(
        "files",
        "[flip NAME BYTE | remove NAME | restart]",
        "list what trusted storage keeps here, change a file, or forget which are open",
        super::files::run,
    ),
    command(
        "open",
        "NAME|UUID",
        "open a session and print its handle",
        tas::open,
    ),
    command(
        "invoke",
        "HANDLE COMMAND [ARGS]",
        "invoke a command in an open session; by number: in:A,B out mem:TEXT memout:SIZE",
        tas::invoke,
    ),
    command("close", "HANDLE", "close a session", tas::close),
    command("sessions", "", "list open sessions", |_| tas::list()),
    command("jobs", "", "list jobs on the second CPU", |_| list_jobs()),
    command("wait", "", "wait until all jobs are done", |_| wait_jobs()),
    command("sleep", "MILLISECONDS", "do nothing for a while", sleep),
    command("caps", "", "what the trusted OS says about itself", |_| {
        capabilities()
    }),
    command(
        "fault",
        "KIND",
        "break the kernel on purpose: panic, bad-read, stack-overflow, write-code, lose-block, \
         free-lost, early-close, off",
        break_kernel,
    ),
    command(
        "hostile",
        "CALLS [SEED]",
        "random calls and answers, as a hostile normal world makes them",
        |args| hostile(args, selftest::hostile::run),
    ),
    command(
        "hostile-ta",
        "CALLS [SEED]",
        "random system calls of TAs, as hostile TAs make them",
        |args| hostile(args, selftest::hostile_ta::run),
    ),
    command(
        "sweep",
        "[COUNT [FILTER]]",
        "refuse each request for memory of each operation once, in kernels with test hooks",
        selftest::sweep::run,
    ),
    command("echo", "WORDS", "print words", |args| {
        print(format_args!("{}\n", args.join(" ")));
        Ok(STATUS_OK)
    }),
    command("status", "", "status of the last command", |_| {
        print(format_args!("{}\n", super::interactive::last_status()));
        Ok(STATUS_OK)
    }),
    command(
        "strict",
        "",
        "from now on, a command that fails is named and the last of its line",
        |_| {
            super::interactive::be_strict();
            Ok(STATUS_OK)
        },
    ),
    command("history", "", "the lines that were typed", |_| {
        super::interactive::print_history();
        Ok(STATUS_OK)
    }),
    command("poweroff", "[STATUS]", "switch the machine off", power_off),
    command("exit", "[STATUS]", "the same as `poweroff`", power_off),
    command("help", "[COMMAND]", "this list, or one command", help),
];

/// Prints to the console.
pub(super) fn print(what: fmt::Arguments<'_>) {
    // The console takes everything.
    let _ = Console.write_fmt(what);
}

fn no_command(name: &str) -> String {
    let names = COMMANDS.iter().map(|c| c.name).chain(tas::names());
    let nearest = commands::nearest(name, names);
    format!("no command `{name}`{nearest} (`help` lists all)")
}

/// Runs one command.
pub(super) fn run(words: &[&str]) -> Result<u8, String> {
    let Some((&name, args)) = words.split_first() else {
        return Ok(STATUS_OK);
    };
    let asks_for_help = |word: &&str| matches!(*word, "--help" | "-h");
    if args.iter().any(asks_for_help) && !["teestat", "echo"].contains(&name) {
        let about = words.iter().copied().filter(|word| !asks_for_help(word));
        return help(&about.collect::<Vec<_>>());
    }
    if let Some(command) = COMMANDS.iter().find(|c| c.name == name) {
        // What would be left out was meant to do something.
        if let (true, [first, ..]) = (command.arguments.is_empty(), args) {
            return Err(format!(
                "`{first}` is not understood here: `{name}` takes nothing"
            ));
        }
        (command.run)(args)
    } else if tas::is_ta(name) {
        tas::one_shot(name, args)
    } else {
        Err(no_command(name))
    }
}

/// Words that could stand in place of the last one.
pub(super) fn complete(begun: &Begun) -> Vec<String> {
    let words: Vec<&str> = begun.words.iter().map(String::as_str).collect();
    let Some((typed, before)) = words.split_last() else {
        return Vec::new();
    };
    let starting = |candidates: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        candidates
            .filter(|c| c.starts_with(typed))
            .map(ToString::to_string)
            .collect()
    };
    let known: Vec<&str> = known().map(|(name, _)| name).collect();
    match before {
        [] if begun.is_filter => starting(&mut [FILTER].into_iter()),
        _ if begun.is_filter => starting(&mut OPTIONS.into_iter()),
        [] | ["help"] => starting(&mut offered().map(|c| c.name).chain(tas::names())),
        ["teestat", ..] => commands::complete(words.get(1..).unwrap_or_default(), &known),
        ["close" | "invoke"] => starting(&mut tas::handles().iter().map(String::as_str)),
        ["invoke", handle] => starting(&mut tas::commands_of(&tas::ta_of(handle))),
        ["fault"] if has_hooks() => starting(
            &mut FAULTS
                .iter()
                .map(|(name, _)| *name)
                .chain(["early-close", "off"]),
        ),
        [name] if tas::is_ta(name) => starting(&mut tas::commands_of(name)),
        [name, args @ ..] => {
            let command = COMMANDS.iter().find(|c| c.name == *name);
            let form = command.map_or("", |c| c.arguments);
            commands::of_form(form, args, typed, &known)
        }
    }
}

/// Commands that the kernel does not refuse.
fn offered() -> impl Iterator<Item = &'static Command> {
    let has_hooks = has_hooks();
    let of_hooks = ["fault", "sweep"];
    COMMANDS
        .iter()
        .filter(move |command| has_hooks || !of_hooks.contains(&command.name))
}

/// Whether the kernel was built to be broken.
fn has_hooks() -> bool {
    tee::context().is_ok_and(|context| {
        let checked = client::fault(&context, fault::CHECK_PAGES);
        checked.map_or_else(
            |error| error.kind() != Some(ErrorKind::NotSupported),
            |()| true,
        )
    })
}

const ABOUT: &str = "\
Commands are separated by `;`. `COMMAND &` runs on the second CPU.
`COMMAND | grep [-i] [-v] TEXT` shows lines that have TEXT; `> FILE` behind it
writes them into a file. Sizes are 65536, 0x10000, 64k, 4M; a UUID's beginning
is enough. ctrl-C gives up a line, cancels a call, and ends its TA when typed
again; ctrl-R searches the history. `help COMMAND` and `help TA` say more.
";

/// A line of help, broken where the terminal ends.
pub(super) fn entry(indent: usize, left: &str, right: &str) {
    let columns = ShellTerminal.columns();
    // The console takes everything.
    let _ = commands::entry(&mut Console, columns, indent, left, right);
}

/// Column of what a command does.
const INDENT: usize = 33;

fn help(args: &[&str]) -> Result<u8, String> {
    match args {
        [] => {
            for c in offered() {
                entry(INDENT, &format!("{} {}", c.name, c.arguments), c.help);
            }
            let names = tas::names().collect::<Vec<_>>().join(" ");
            entry(
                INDENT,
                "TA COMMAND [ARGS]",
                &format!("open a session, invoke, close; TAs are: {names}"),
            );
            print(format_args!("{ABOUT}"));
            Ok(STATUS_OK)
        }
        [name, rest @ ..] if tas::is_ta(name) => {
            tas::help(name, rest.first().copied());
            Ok(STATUS_OK)
        }
        ["teestat", rest @ ..] => {
            let words: Vec<&str> = core::iter::once("help")
                .chain(rest.iter().copied())
                .collect();
            teestat_command(&words)
        }
        [name, ..] => {
            let c = COMMANDS
                .iter()
                .find(|c| c.name == *name)
                .ok_or_else(|| no_command(name))?;
            entry(INDENT, &format!("{} {}", c.name, c.arguments), c.help);
            Ok(STATUS_OK)
        }
    }
}

static MEMORY: Mutex<Memory> = Mutex::new(Memory::new());

/// The last mark that `teestat leaks mark` set.
pub(crate) fn last_mark() -> Option<u32> {
    MEMORY.lock().last_mark
}

fn teestat_command(args: &[&str]) -> Result<u8, String> {
    let context = tee::context()?;
    let mut memory = MEMORY.lock().clone();
    let status = teestat::run(
        args,
        &context,
        &mut Console,
        &mut Direct,
        &MachineNames,
        &mut memory,
    );
    *MEMORY.lock() = memory;
    if args == ["ta"] {
        // What xtest prints may end without a newline; the prompt wants one.
        end_line_if_needed(&context);
    }
    Ok(status)
}

fn end_line_if_needed(context: &teec::Context<'_>) {
    if client::ta_stats(context).is_ok_and(|tas| tas.is_empty()) {
        print(format_args!("\n"));
    }
}

fn list_archive() -> Result<u8, String> {
    let mut n = 0;
    let files = supplicant::archive().files();
    // Beside the TAs it has their call sites, and patches for tests.
    for file in files.filter(|file| file.name.ends_with(".ta")) {
        let stem = file.name.rsplit('/').next().unwrap_or(file.name);
        let uuid = stem.split('.').next().and_then(|s| s.parse().ok());
        let name = uuid.map(crate::names::name_of).unwrap_or_default();
        print(format_args!(
            "{:>9}  {:<10} {}\n",
            file.bytes.len(),
            name,
            file.name
        ));
        n += 1;
    }
    if n == 0 {
        return Err("there is no TA archive in memory".to_string());
    }
    Ok(STATUS_OK)
}

fn list_jobs() -> Result<u8, String> {
    for job in jobs::list() {
        let state = match (job.status, job.begun) {
            (Some(status), _) => format!("done, status {status}"),
            (None, true) => "running".to_string(),
            (None, false) => "queued".to_string(),
        };
        print(format_args!("[{}] {state}: {}\n", job.id, job.title));
    }
    Ok(STATUS_OK)
}

fn wait_jobs() -> Result<u8, String> {
    let mut failed = STATUS_OK;
    loop {
        let list = jobs::list();
        if list.is_empty() {
            return Ok(failed);
        }
        for job in list {
            if let Some(status) = jobs::collect(job.id) {
                print(format_args!(
                    "[{}] done, status {status}: {}\n",
                    job.id, job.title
                ));
                if status != 0 {
                    failed = status;
                }
            }
        }
        if console::breaks() > 0 {
            return Ok(STATUS_INTERRUPTED);
        }
        cpu::doze();
    }
}

fn sleep(args: &[&str]) -> Result<u8, String> {
    let Some(millis) = args.first().and_then(|a| a.parse::<u64>().ok()) else {
        return Err("usage: sleep MILLISECONDS".to_string());
    };
    let until = cpu::micros().saturating_add(millis.saturating_mul(1000));
    while cpu::micros() < until {
        if console::breaks() > 0 {
            return Ok(STATUS_INTERRUPTED);
        }
        cpu::doze();
    }
    Ok(STATUS_OK)
}

fn capabilities() -> Result<u8, String> {
    let tee = tee::get()?;
    let ask = |function: FunctionId| tee.conduit().smc([function.0, 0, 0, 0, 0, 0, 0, 0]);
    let uid = ask(FunctionId::CALLS_UID);
    print(format_args!(
        "message protocol  {:08x} {:08x} {:08x} {:08x}\n",
        uid[0], uid[1], uid[2], uid[3]
    ));
    let revision = ask(FunctionId::CALLS_REVISION);
    print(format_args!(
        "revision          {}.{}, {} calls\n",
        revision[0],
        revision[1],
        ask(FunctionId::CALLS_COUNT)[0]
    ));
    let os = ask(FunctionId::GET_OS_UUID);
    let version = ask(FunctionId::GET_OS_REVISION);
    print(format_args!(
        "trusted OS        {:08x} {:08x} {:08x} {:08x}, version {}.{} ({:x})\n",
        os[0], os[1], os[2], os[3], version[0], version[1], version[2]
    ));
    print(format_args!(
        "threads           {}\n",
        ask(FunctionId::GET_THREAD_COUNT)[1]
    ));
    let caps = tee.capabilities();
    print(format_args!("capabilities      {:#x}\n", caps.bits));
    let names = [
        (sec_cap::HAVE_RESERVED_SHM, "reserved shared memory"),
        (
            sec_cap::UNREGISTERED_SHM,
            "arguments in unregistered memory",
        ),
        (sec_cap::DYNAMIC_SHM, "dynamic shared memory"),
        (sec_cap::VIRTUALIZATION, "guests"),
        (sec_cap::MEMREF_NULL, "null memory references"),
        (sec_cap::ASYNC_NOTIF, "asynchronous notifications"),
        (sec_cap::RPC_ARG, "RPC arguments behind messages"),
    ];
    for (bit, name) in names {
        let has = if u64::from(caps.bits) & bit != 0 {
            "yes"
        } else {
            "no"
        };
        print(format_args!("  {has:<4} {name}\n"));
    }
    print(format_args!("RPC parameters    {}\n", caps.rpc_params));
    Ok(STATUS_OK)
}

const FAULTS: [(&str, u32); 6] = [
    ("panic", fault::PANIC),
    ("bad-read", fault::BAD_READ),
    ("stack-overflow", fault::STACK_OVERFLOW),
    ("write-code", fault::WRITE_CODE),
    ("lose-block", fault::LOSE_BLOCK),
    ("free-lost", fault::FREE_LOST),
];

fn hostile(args: &[&str], run: fn(u64, u64) -> u8) -> Result<u8, String> {
    let number = |index: usize, otherwise: u64| match args.get(index) {
        Some(word) => word
            .parse()
            .map_err(|_| format!("`{word}` is not a number from 0 to {}", u64::MAX)),
        None => Ok(otherwise),
    };
    Ok(run(number(0, 100_000)?, number(1, 1)?))
}

fn break_kernel(args: &[&str]) -> Result<u8, String> {
    let kind = args.first().copied().unwrap_or("");
    if let "early-close" | "off" = kind {
        let on = kind == "early-close";
        client::set_buffer_fault(&tee::context()?, on).map_err(no_fault)?;
        return Ok(STATUS_OK);
    }
    let Some((_, number)) = FAULTS.iter().find(|(name, _)| *name == kind) else {
        print(format_args!(
            "usage: fault panic|bad-read|stack-overflow|write-code|lose-block|free-lost|early-close|off\n"
        ));
        return Ok(STATUS_USAGE);
    };
    client::fault(&tee::context()?, *number).map_err(no_fault)?;
    if [fault::LOSE_BLOCK, fault::FREE_LOST].contains(number) {
        return Ok(STATUS_OK);
    }
    Err("the kernel came back".to_string())
}

fn no_fault(error: ClientError) -> String {
    match &error {
        ClientError::Invoke(_, refused) if refused.kind() == ErrorKind::NotSupported => {
            "this kernel cannot be broken; one built with `--kernel-features test-hooks` can".into()
        }
        _ => error.to_string(),
    }
}

fn power_off(args: &[&str]) -> Result<u8, String> {
    let status = match args {
        [] => 0,
        [status, ..] => status
            .parse()
            .map_err(|_| format!("`{status}` is no status (0 to 255)"))?,
    };
    crate::machine::end(status)
}
