//! The shell of the normal world.
//!
//! **Invariant:** with a command given by fw_cfg the machine powers off after it, with the status
//! of the last command that failed (0 if none did).

#[cfg(target_os = "none")]
mod commands;
#[cfg(target_os = "none")]
mod files;
#[cfg(any(target_os = "none", test))]
mod keys;
#[cfg(any(target_os = "none", test))]
mod line;
#[cfg(target_os = "none")]
mod ta_commands;
#[cfg(target_os = "none")]
mod tas;
#[cfg(target_os = "none")]
mod terminal;
#[cfg(any(target_os = "none", test))]
mod words;

#[cfg(target_os = "none")]
pub(crate) use commands::last_mark;
#[cfg(target_os = "none")]
pub(crate) use interactive::{execute, main};
#[cfg(target_os = "none")]
pub(crate) use terminal::ShellTerminal;

#[cfg(target_os = "none")]
mod interactive {
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::fmt::Write;
    use core::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
    use spin::Mutex;
    use tally_board_virt::images::{FW_CFG_COLUMNS, FW_CFG_COMMAND};
    use teestat::{Files as _, STATUS_FAILED, STATUS_USAGE};

    use super::commands::STATUS_INTERRUPTED;
    use super::line::{Editor, Event, USUAL_COLUMNS};
    use super::{commands, words};
    use crate::files::{self, HostFiles};
    use crate::jobs;
    use crate::machine::console::{self, Console, Direct};
    use crate::machine::{self, cpu, fw_cfg};
    use crate::output::Output;
    use crate::supplicant;

    static LAST_STATUS: AtomicU8 = AtomicU8::new(0);
    static COLUMNS: AtomicUsize = AtomicUsize::new(USUAL_COLUMNS);
    static INTERACTIVE: AtomicBool = AtomicBool::new(false);
    static HISTORY: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static STRICT: AtomicBool = AtomicBool::new(false);

    /// Prints the lines that were typed, oldest first.
    pub(super) fn print_history() {
        for (n, line) in HISTORY.lock().iter().enumerate() {
            say(&format!("{:>4}  {line}\n", n + 1));
        }
    }

    /// Status of the last command.
    pub(super) fn last_status() -> u8 {
        LAST_STATUS.load(Ordering::Relaxed)
    }

    /// Columns of the terminal.
    pub(super) fn columns() -> usize {
        COLUMNS.load(Ordering::Relaxed)
    }

    /// Whether somebody types the commands.
    pub(super) fn is_interactive() -> bool {
        INTERACTIVE.load(Ordering::Relaxed)
    }

    /// From now on, a command that fails is the last of its line.
    pub(super) fn be_strict() {
        STRICT.store(true, Ordering::Relaxed);
    }

    /// What CPU 0 does after start.
    pub(crate) fn main() -> ! {
        files::start();
        if let Some(command) = fw_cfg::file(FW_CFG_COMMAND) {
            machine::end(execute(&command));
        }
        INTERACTIVE.store(true, Ordering::Relaxed);
        banner();
        let columns = fw_cfg::file(FW_CFG_COLUMNS).and_then(|text| text.parse().ok());
        let mut editor = Editor::new(columns.unwrap_or(USUAL_COLUMNS));
        loop {
            report_finished_jobs();
            match read_line(&mut editor) {
                Event::Line(line) => {
                    *HISTORY.lock() = editor.history().collect();
                    execute(line.trim());
                }
                Event::Interrupt => say("ctrl-D or `poweroff` leaves\n"),
                // Whoever sat here has seen what failed.
                Event::End => machine::end(0),
                Event::Discarded | Event::None => {}
            }
        }
    }

    fn say(text: &str) {
        // The console takes everything.
        let _ = Console.write_str(text);
    }

    fn banner() {
        say("\nTally: a normal world on QEMU virt. ");
        match crate::tee::get() {
            Ok(tee) => say(&format!(
                "A trusted OS answers (capabilities {:#x}).\n",
                tee.capabilities().bits
            )),
            Err(why) => say(&format!("{why}.\n")),
        }
        say("Type `help` for the commands, `tour` for a tour, ctrl-D or `poweroff` to leave.\n");
    }

    fn read_line(editor: &mut Editor) -> Event {
        let prompt = match last_status() {
            0 => String::from("tally> "),
            status => format!("tally [{status}]> "),
        };
        if editor.begin(&prompt, &mut Console).is_err() {
            return Event::End;
        }
        loop {
            let Some(byte) = console::typed_byte() else {
                // The console takes everything.
                let _ = match console::wants_prompt() {
                    true => editor.show_again(&mut Console),
                    false => editor.settle(&mut Console),
                };
                console::set_prompted(true);
                cpu::doze();
                continue;
            };
            console::set_prompted(false);
            let fed = editor.feed(byte, &commands::complete, &mut Console);
            COLUMNS.store(editor.columns(), Ordering::Relaxed);
            match fed {
                Ok(Event::None) => {}
                Ok(event) => return event,
                Err(core::fmt::Error) => return Event::End,
            }
        }
    }

    /// Runs all commands of `line`, until ctrl-C; returns the status of the last one that failed, or 0.
    pub(crate) fn execute(line: &str) -> u8 {
        let commands = match words::split(line) {
            Ok(commands) => commands,
            Err(why) => {
                complain(&why);
                LAST_STATUS.store(STATUS_USAGE, Ordering::Relaxed);
                return STATUS_USAGE;
            }
        };
        let mut failed = 0;
        console::set_running(true);
        supplicant::set_foreground(None);
        for command in commands {
            let said = command.words.join(" ");
            let status = match command.background {
                true => in_background(command),
                false => run(&command),
            };
            LAST_STATUS.store(status, Ordering::Relaxed);
            if status != 0 {
                failed = status;
                if STRICT.load(Ordering::Relaxed) {
                    say(&format!("`{said}` failed with status {status}\n"));
                    break;
                }
            }
            if console::breaks() > 0 {
                if !supplicant::has_answered() {
                    say("^C\n");
                }
                LAST_STATUS.store(STATUS_INTERRUPTED, Ordering::Relaxed);
                failed = STATUS_INTERRUPTED;
                break;
            }
        }
        console::set_running(false);
        supplicant::set_foreground(None);
        failed
    }

    /// Runs a command; its output goes where it says, complaints to the console.
    fn run(command: &words::Command) -> u8 {
        let file = command.into.as_ref().map(|name| HostFiles.create(name));
        let output = file
            .transpose()
            .and_then(|file| Output::new(&command.filters, file));
        match output {
            Ok(output) if !command.filters.is_empty() || command.into.is_some() => {
                console::divert(output);
            }
            Ok(_) => {}
            Err(why) => {
                complain(&why);
                return STATUS_USAGE;
            }
        }
        let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
        let result = commands::run(&words);
        let status = *result.as_ref().unwrap_or(&STATUS_FAILED);
        let ended = console::end_diverting(status);
        for why in [result.err(), ended.as_ref().err().cloned()]
            .into_iter()
            .flatten()
        {
            complain(&why);
        }
        ended.unwrap_or(STATUS_FAILED)
    }

    fn complain(why: &str) {
        // The console takes everything.
        let _ = Direct.write_fmt(format_args!("{why}\n"));
    }

    fn in_background(command: words::Command) -> u8 {
        let title = command.words.join(" ");
        match jobs::start(&title, move || run(&command)) {
            Some(id) => {
                say(&format!("[{id}] {title}\n"));
                0
            }
            None => {
                say("there is no second CPU to run it on\n");
                1
            }
        }
    }

    fn report_finished_jobs() {
        for job in jobs::list() {
            if let Some(status) = jobs::collect(job.id) {
                say(&format!(
                    "[{}] done, status {status}: {}\n",
                    job.id, job.title
                ));
            }
        }
    }
}
