//! The shell of the normal world.
//!
//! **Invariant:** with a command given by fw_cfg the machine powers off after it, with the status
//! of the last command that failed (0 if none did).

#[cfg(target_os = "none")]
mod commands;
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
    use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};
    use tally_board_virt::images::FW_CFG_COMMAND;

    use super::line::{Editor, Event};
    use super::{commands, words};
    use crate::jobs;
    use crate::machine::console::{self, Console};
    use crate::machine::{self, cpu, fw_cfg};
    use crate::supplicant;

    static LAST_STATUS: AtomicU8 = AtomicU8::new(0);
    static INTERACTIVE: AtomicBool = AtomicBool::new(false);
    static STRICT: AtomicBool = AtomicBool::new(false);

    /// Status of the last command.
    pub(super) fn last_status() -> u8 {
        LAST_STATUS.load(Ordering::Relaxed)
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
        if let Some(command) = fw_cfg::file(FW_CFG_COMMAND) {
            machine::end(execute(&command));
        }
        INTERACTIVE.store(true, Ordering::Relaxed);
        banner();
        let mut editor = Editor::new();
        loop {
            report_finished_jobs();
            match read_line(&mut editor) {
                Event::Line(line) => {
                    let words = line.trim();
                    if words == "history" {
                        for (n, line) in editor.history().enumerate() {
                            say(&format!("{:>4}  {line}\n", n + 1));
                        }
                    } else {
                        execute(words);
                    }
                }
                Event::End => machine::end(last_status()),
                Event::Cancel | Event::None => {}
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
        let complete = |words: &[&str]| -> Vec<String> { commands::complete(words) };
        if editor.begin(&prompt, &mut Console).is_err() {
            return Event::End;
        }
        loop {
            let Some(byte) = console::poll_byte() else {
                cpu::doze();
                continue;
            };
            match editor.feed(byte, &complete, &mut Console) {
                Ok(Event::None) => {}
                Ok(event) => return event,
                Err(core::fmt::Error) => return Event::End,
            }
        }
    }

    /// Runs all commands of `line`; returns the status of the last one that failed, or 0.
    pub(crate) fn execute(line: &str) -> u8 {
        let mut failed = 0;
        for command in words::split(line) {
            let said = command.words.join(" ");
            let status = if command.background {
                in_background(command.words)
            } else {
                let words: Vec<&str> = command.words.iter().map(String::as_str).collect();
                let status = commands::run(&words);
                supplicant::set_foreground(None);
                status
            };
            LAST_STATUS.store(status, Ordering::Relaxed);
            if status != 0 {
                failed = status;
                if STRICT.load(Ordering::Relaxed) {
                    say(&format!("`{said}` failed with status {status}\n"));
                    break;
                }
            }
        }
        failed
    }

    fn in_background(words: Vec<String>) -> u8 {
        let title = words.join(" ");
        let work = move || {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            commands::run(&words)
        };
        match jobs::start(&title, work) {
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
