//! The one place that starts QEMU.
//!
//! **Invariant:** no QEMU outlives its [`Run`]: it dies with this process (parent-death signal),
//! on every error path (kill on drop), on signals, and when the guest is silent for too long. A guest has no way
//! to the host but bytes that are appended to files: there is no semihosting, and QEMU itself is in its sandbox.

mod console;
mod deaths;
mod files;
mod hang;
mod preloaded;
mod qmp;
mod status;
mod terminal;
#[cfg(test)]
mod tests;

use crate::images::Images;
use crate::linux::{self, Linux};
use crate::lock::Name;
use crate::symbols::Symbols;
use crate::tfa::Tfa;
use crate::{paths, setup, ui};
use anyhow::{Context as _, Result};
use console::{Console, SecureTail};
use files::Files;
pub(crate) use preloaded::Preloaded;
use std::io::Read as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};
use tally_board_virt as virt;
use terminal::Keyboard;

/// xtask's exit status for a guest that went silent (as `timeout(1)` does it).
pub(crate) const STATUS_HUNG: u8 = 124;
/// xtask's exit status after ctrl-C.
pub(crate) const STATUS_INTERRUPTED: u8 = 130;
/// The guest's exit status after a kernel panic.
pub(crate) const STATUS_KERNEL_PANIC: u8 = 70;
/// The guest's exit status after a crash of the monitor.
pub(crate) const STATUS_MONITOR_CRASH: u8 = 71;

/// What a broken QEMU may not do either: start programs, change users, and what Linux has for old ones.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";
/// Most bytes of each file that QEMU writes, whatever a guest sends.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Channels of the guest, and the files in the run's directory that they end in.
const RESULTS: &str = "results";
const FILES: &str = "files.channel";

/// Where the normal world's console goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// The caller's terminal, both ways.
    Interactive,
    /// Standard output; deaths of TAs are told.
    Shown,
    /// Standard output; deaths of TAs, which are on purpose, are counted.
    ShownAlone,
    /// Only into the outcome.
    Captured,
}

impl Output {
    /// Of a run that ends TAs on purpose.
    pub(crate) fn of_many_deaths() -> Self {
        match ui::asked_verbose() {
            true => Self::Shown,
            false => Self::ShownAlone,
        }
    }
}

/// A run to be made.
pub(crate) struct Run<'a> {
    /// What to boot.
    pub(crate) images: &'a Images,
    /// Name of the directory for logs.
    pub(crate) label: &'a str,
    /// Commands for the shell, separated by `;` or newlines; none: interactive.
    pub(crate) command: Option<&'a str>,
    /// Where output goes.
    pub(crate) output: Output,
    /// Whether the secure console is shown between the lines of the normal one.
    pub(crate) secure_console: bool,
    /// Longest silence of both consoles.
    pub(crate) silence: Duration,
    /// Where files go that the guest hands out; none: into the run's own directory.
    pub(crate) files: Option<PathBuf>,
    /// Virtual CPUs.
    pub(crate) cpus: u32,
    /// More arguments for QEMU.
    pub(crate) extra: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The machine was switched off with this status.
    Exit(u8),
    /// Silent for too long; where each CPU was.
    Hung(String),
    /// [`terminal::LEAVE`] or a signal to xtask.
    Interrupted,
    /// QEMU itself died of this signal.
    Killed(i32),
    /// The machine was switched off without a status, or QEMU failed.
    Silent,
}

/// What a run left behind.
pub(crate) struct Outcome {
    /// How it ended.
    pub(crate) ending: Ending,
    /// The normal world's console.
    pub(crate) normal: String,
    /// The secure world's console.
    pub(crate) secure: String,
    /// File with the secure world's console.
    pub(crate) secure_path: PathBuf,
    /// What QEMU printed on standard error.
    pub(crate) qemu_log: String,
    /// What the guest wrote into its results, but for the status.
    pub(crate) results: String,
    /// Files that the guest handed out whole.
    pub(crate) files: Vec<PathBuf>,
    /// TAs whose death was reported and not told.
    pub(crate) deaths: u64,
    /// Host time from start to end.
    pub(crate) time: Duration,
    /// Host time from start to the normal world's first output.
    pub(crate) first_output: Option<Duration>,
    /// Nobody else writes to the run's directory meanwhile.
    _dir: Name,
}

/// What a signal that ended QEMU means; `secure_path`: one of the run's files.
fn killed(signal: i32, secure_path: &Path, qemu_log: &str) -> String {
    if signal == rustix::process::Signal::XFSZ.as_raw() {
        let dir = secure_path.parent().unwrap_or(secure_path);
        let most = MAX_FILE_BYTES >> 20;
        return format!(
            "the guest wrote more than {most} MiB to a file in {}, and was ended",
            dir.display()
        );
    }
    format!("QEMU died of signal {signal}\n{}", qemu_log.trim_end())
}

impl Outcome {
    /// The status for xtask to exit with.
    pub(crate) fn status(&self) -> u8 {
        match self.ending {
            Ending::Exit(status) => status,
            Ending::Hung(_) => STATUS_HUNG,
            Ending::Interrupted => STATUS_INTERRUPTED,
            Ending::Killed(_) | Ending::Silent => 1,
        }
    }

    /// The file that the guest handed out by this name.
    pub(crate) fn file(&self, name: &str) -> Option<&Path> {
        let mut files = self.files.iter().map(PathBuf::as_path);
        files.find(|file| file.file_name().is_some_and(|found| found == name))
    }

    /// One or more lines on what went wrong, with addresses named; none when the guest ended on
    /// its own account with a status of its own choice.
    pub(crate) fn trouble(&self, images: &Images) -> Option<String> {
        let what = match &self.ending {
            Ending::Exit(STATUS_KERNEL_PANIC) => "the kernel panicked".to_owned(),
            Ending::Exit(STATUS_MONITOR_CRASH) => "the monitor crashed".to_owned(),
            Ending::Exit(_) | Ending::Interrupted => return None,
            Ending::Killed(signal) => killed(*signal, &self.secure_path, &self.qemu_log),
            Ending::Hung(report) => report.clone(),
            Ending::Silent => {
                let lines: Vec<&str> = self.normal.lines().collect();
                let tail = lines[lines.len().saturating_sub(40)..].join("\n");
                format!(
                    "the machine ended without a status; its last words:\n{tail}\n{}",
                    self.qemu_log.trim_end()
                )
            }
        };
        let lines: Vec<&str> = self.secure.lines().collect();
        let tail = lines[lines.len().saturating_sub(60)..].join("\n");
        let tail = Symbols::new(images).annotate(&tail);
        Some(format!(
            "{what}\nend of the secure console ({}):\n{tail}",
            paths::shown(&self.secure_path)
        ))
    }
}

enum Event {
    Normal(Vec<u8>),
    NormalEnd,
    Input(Vec<u8>),
    Signal,
}

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The machine. A device tree without random seeds keeps instruction counts the same run by run.
const MACHINE: &str = "virt,secure=on,gic-version=3,dtb-randomness=off";

/// Firmware and normal world.
#[derive(Clone, Copy)]
enum Worlds<'a> {
    /// Our firmware and our normal world.
    Own,
    /// Our firmware and Linux.
    Linux(&'a Linux),
    /// TF-A and our normal world.
    Tfa(&'a Tfa),
    /// TF-A, Linux, and the secure world that is given.
    Preloaded(&'a Preloaded<'a>),
}

impl<'a> Run<'a> {
    /// A run of these commands on two CPUs, whose consoles nobody sees.
    pub(crate) fn captured(
        images: &'a Images,
        label: &'a str,
        command: &'a str,
        silence: Duration,
    ) -> Self {
        Self {
            images,
            label,
            command: Some(command),
            output: Output::Captured,
            secure_console: false,
            silence,
            files: None,
            cpus: 2,
            extra: Vec::new(),
        }
    }

    /// Boots the bare-metal normal world, serves the consoles, and waits for the end.
    pub(crate) fn start(self) -> Result<Outcome> {
        self.boot(Worlds::Own)
    }

    /// As [`Self::start`], with stock TF-A as the firmware.
    pub(crate) fn start_under(self, tfa: &Tfa) -> Result<Outcome> {
        self.boot(Worlds::Tfa(tfa))
    }

    /// Boots Linux; the command is a shell script. Its status is the outcome's.
    pub(crate) fn start_linux(self, linux: &Linux) -> Result<Outcome> {
        self.boot(Worlds::Linux(linux))
    }

    /// Boots Linux as [`Preloaded`] has it; as [`Self::start_linux`].
    pub(crate) fn start_preloaded(self, worlds: &Preloaded<'_>) -> Result<Outcome> {
        self.boot(Worlds::Preloaded(worlds))
    }

    fn boot(self, worlds: Worlds<'_>) -> Result<Outcome> {
        setup::ensure(setup::Part::Qemu)?;
        watch_signals()?;
        let own_dir = Name::of_run(self.label)?;
        let dir = own_dir.path.as_path();
        let secure_path = dir.join("secure.log");
        let socket = qmp::socket_path();
        let mut command = self.command_line(worlds, dir, &socket)?;
        std::fs::write(dir.join("command-line"), crate::tool::line(&command))?;

        if self.output != Output::Captured {
            ui::step(
                "Booting",
                format_args!(
                    "QEMU virt; secure console in {}",
                    paths::shown(&secure_path)
                ),
            );
        }
        let started = Instant::now();
        let mut machine = Machine::spawn(&mut command, socket)?;
        let (sender, events) = mpsc::channel();
        let reader = read_output(&mut machine, sender.clone())?;
        let qemu_log = collect_stderr(&mut machine)?;
        let stdin = machine.child.stdin.take();
        let stdin = stdin.context("QEMU has no standard input")?;
        let mut keyboard = Keyboard::new(stdin);
        let _raw = if self.output == Output::Interactive {
            if let Worlds::Own | Worlds::Tfa(_) = worlds {
                keyboard.report_columns();
            }
            read_input(sender);
            Some(terminal::Raw::enter()?)
        } else {
            None
        };

        let mut serving = Serving {
            console: Console::new(self.output, self.secure_console, Symbols::new(self.images)),
            tail: SecureTail::new(secure_path.clone()),
            files: Files::new(
                dir.join(FILES),
                self.files.clone().unwrap_or_else(|| dir.join("files")),
            ),
            silence: self.silence,
            idle_is_fine: self.output == Output::Interactive,
            first_output: None,
            started,
        };
        let ending = match serving.serve(&events, &mut keyboard)? {
            Some(Stop::Interrupted) => Some(Ending::Interrupted),
            Some(Stop::Silent) => {
                let report = hang::report(&machine.socket, self.images, self.silence);
                Some(Ending::Hung(report))
            }
            None => {
                let status = machine.child.wait()?;
                match status.code() {
                    Some(0) => None,
                    Some(_) => Some(Ending::Silent),
                    None => Some(Ending::Killed(status.signal().unwrap_or(0))),
                }
            }
        };
        drop(machine);
        drop(reader);
        serving.tail.poll(&mut serving.console);
        let deaths = serving.console.counted();
        let (normal, secure) = serving.console.finish();
        std::fs::write(dir.join("normal.log"), &normal)?;
        let (results, status) = status::of_results(&dir.join(RESULTS));
        let ending = ending.unwrap_or_else(|| {
            status::of_secure(&secure)
                .or(status)
                // A person who switches Linux off gives none.
                .or((self.output == Output::Interactive).then_some(0))
                .map_or(Ending::Silent, Ending::Exit)
        });
        Ok(Outcome {
            ending,
            results,
            files: serving.files.finish()?,
            deaths,
            normal,
            secure,
            secure_path,
            qemu_log: qemu_log.join().unwrap_or_default(),
            time: started.elapsed(),
            first_output: serving.first_output,
            _dir: own_dir,
        })
    }

    fn command_line(&self, worlds: Worlds<'_>, dir: &Path, socket: &Path) -> Result<Command> {
        let mut qemu = Command::new(setup::QEMU);
        qemu.args(["-sandbox", SANDBOX]);
        qemu.args(["-M", MACHINE]);
        qemu.args(["-smp", &self.cpus.to_string()]);
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        qemu.args([
            "-chardev",
            "stdio,id=normal,signal=off",
            "-serial",
            "chardev:normal",
        ]);
        let secure = format!(
            "file,id=secure,path={}",
            option_path(&dir.join("secure.log"))
        );
        qemu.args(["-chardev", &secure, "-serial", "chardev:secure"]);
        let flash = match worlds {
            Worlds::Own | Worlds::Linux(_) => self.images.flash.put_into(dir)?,
            Worlds::Tfa(tfa) => {
                let flag = format!("name={},string=1", virt::images::FW_CFG_OTHER_FIRMWARE);
                qemu.args(["-fw_cfg", &flag]);
                tfa.install(&[&self.images.kernel_raw.bytes], dir)?
            }
            Worlds::Preloaded(worlds) => worlds.tfa.install(&worlds.secure, dir)?,
        };
        qemu.arg("-bios").arg(&flash);
        qemu.args([
            "-qmp",
            &format!("unix:{},server=on,wait=off", option_path(socket)),
        ]);
        match worlds {
            Worlds::Own => self.bare_metal(&mut qemu, "max", dir)?,
            // Built without either; see there.
            Worlds::Tfa(_) => self.bare_metal(&mut qemu, "max,sve=off,sme=off", dir)?,
            Worlds::Linux(linux) => self.linux(&mut qemu, linux, dir)?,
            Worlds::Preloaded(worlds) => worlds.load(&mut qemu, &flash, self, dir)?,
        }
        let channel = |name: &str| {
            let path = option_path(&dir.join(name));
            format!("file,id={name},path={path}")
        };
        qemu.args(["-chardev", &channel(RESULTS)]);
        if let Worlds::Linux(_) | Worlds::Preloaded(_) = worlds {
            qemu.args(["-device", "virtio-serial-device"]);
            qemu.args(["-device", &format!("virtserialport,chardev={RESULTS},nr=1")]);
        } else {
            qemu.args(["-chardev", &channel(FILES)]);
            for (n, name) in [RESULTS, FILES].into_iter().enumerate() {
                let device = format!("virtio-serial-device,id=vs{n},max_ports=1");
                let port = format!("virtconsole,bus=vs{n}.0,chardev={name}");
                qemu.args(["-device", &format!("{device},bus=virtio-mmio-bus.{n}")]);
                qemu.args(["-device", &port]);
            }
        }
        qemu.args(&self.extra);
        Ok(qemu)
    }

    fn bare_metal(&self, qemu: &mut Command, cpu: &str, dir: &Path) -> Result<()> {
        qemu.args(["-cpu", cpu, "-m", "256"]);
        for (file, address) in [
            (&self.images.ree_raw, virt::images::NORMAL_BASE),
            (&self.images.archive, virt::images::TA_ARCHIVE_BASE),
        ] {
            qemu.args(["-device", &loader(&file.put_into(dir)?, address)]);
        }
        if let (Output::Interactive, Some(columns)) = (self.output, terminal::columns()) {
            let columns = format!("name={},string={columns}", virt::images::FW_CFG_COLUMNS);
            qemu.args(["-fw_cfg", &columns]);
        }
        if let Some(text) = self.command {
            let file = dir.join("command");
            std::fs::write(&file, text)?;
            qemu.args(["-fw_cfg", &fw_cfg(virt::images::FW_CFG_COMMAND, &file)]);
        }
        let taken = match &self.files {
            Some(files) => files::taken_names(files)?,
            None => String::new(),
        };
        if !taken.is_empty() {
            let file = dir.join("taken-names");
            std::fs::write(&file, taken)?;
            qemu.args(["-fw_cfg", &fw_cfg(virt::images::FW_CFG_TAKEN_NAMES, &file)]);
        }
        Ok(())
    }

    fn linux(&self, qemu: &mut Command, linux: &Linux, dir: &Path) -> Result<()> {
        // Linux signs pointers all the time; QEMU's own algorithm is the fast one.
        qemu.args(["-cpu", "max,pauth-impdef=on"]);
        qemu.args(["-m", &linux::RAM_MIB.to_string()]);
        let ramdisk = dir.join("ramdisk.cpio");
        linux.write_ramdisk(&ramdisk, self.command)?;
        qemu.arg("-kernel").arg(&linux.kernel);
        qemu.arg("-initrd").arg(&ramdisk);
        qemu.args(["-append", linux::BOOT_ARGUMENTS]);
        Ok(())
    }
}

/// The device that puts a file into RAM.
fn loader(file: &Path, address: u64) -> String {
    let file = option_path(file);
    format!("loader,file={file},addr={address:#x},force-raw=on")
}

fn fw_cfg(name: &str, file: &Path) -> String {
    format!("name={name},file={}", option_path(file))
}

/// A path inside a QEMU option: commas are doubled.
fn option_path(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// The QEMU process; killed and its socket removed on drop.
struct Machine {
    child: Child,
    socket: PathBuf,
}

impl Machine {
    #[expect(
        unsafe_code,
        reason = "the parent-death signal is set between fork and exec"
    )]
    fn spawn(command: &mut Command, socket: PathBuf) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Its own process group: the terminal's ctrl-C reaches xtask alone, which ends QEMU.
        command.process_group(0);
        let parent = rustix::process::getpid();
        let fsize = rustix::process::Resource::Fsize;
        // Never more than whoever runs xtask allows.
        let allowed = rustix::process::getrlimit(fsize);
        let at_most = |limit: Option<u64>| Some(limit.unwrap_or(u64::MAX).min(MAX_FILE_BYTES));
        let limit = rustix::process::Rlimit {
            current: at_most(allowed.current),
            maximum: at_most(allowed.maximum),
        };
        // SAFETY:
        // 1. The closure runs between fork and exec and makes three system calls that are
        //    async-signal-safe; it neither allocates nor takes locks.
        unsafe {
            command.pre_exec(move || {
                rustix::process::set_parent_process_death_signal(Some(
                    rustix::process::Signal::KILL,
                ))?;
                rustix::process::setrlimit(fsize, limit)?;
                if rustix::process::getppid() == Some(parent) {
                    Ok(())
                } else {
                    Err(std::io::Error::from(std::io::ErrorKind::NotConnected))
                }
            });
        }
        let child = command.spawn().context("cannot start QEMU")?;
        Ok(Self { child, socket })
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

enum Stop {
    Interrupted,
    Silent,
}

struct Serving<'a> {
    console: Console<'a>,
    tail: SecureTail,
    files: Files,
    silence: Duration,
    /// Interactive: only silence after input counts.
    idle_is_fine: bool,
    first_output: Option<Duration>,
    started: Instant,
}

impl Serving<'_> {
    /// Until QEMU closes its console (`None`) or something else ends the run.
    fn serve(&mut self, events: &Receiver<Event>, keyboard: &mut Keyboard) -> Result<Option<Stop>> {
        let mut last_sign = Instant::now();
        let mut waiting = true;
        loop {
            match events.recv_timeout(Duration::from_millis(20)) {
                Ok(Event::Normal(bytes)) => {
                    self.first_output
                        .get_or_insert_with(|| self.started.elapsed());
                    // What the secure world has said before it.
                    self.tail.poll(&mut self.console);
                    self.console.normal(&bytes)?;
                    last_sign = Instant::now();
                    waiting = !self.idle_is_fine;
                }
                Ok(Event::NormalEnd) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Ok(Event::Input(bytes)) => {
                    if bytes.contains(&terminal::LEAVE) {
                        return Ok(Some(Stop::Interrupted));
                    }
                    // Before the keys, which are for a line of that width.
                    keyboard.poll_columns();
                    keyboard.send(bytes);
                    if !waiting {
                        waiting = true;
                        last_sign = Instant::now();
                    }
                }
                Ok(Event::Signal) => return Ok(Some(Stop::Interrupted)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if INTERRUPTED.load(Ordering::Relaxed) {
                return Ok(Some(Stop::Interrupted));
            }
            if self.tail.poll(&mut self.console) {
                last_sign = Instant::now();
            }
            self.files.poll()?;
            keyboard.poll_columns();
            if waiting && last_sign.elapsed() > self.silence {
                return Ok(Some(Stop::Silent));
            }
        }
    }
}

fn read_output(
    machine: &mut Machine,
    sender: Sender<Event>,
) -> Result<std::thread::JoinHandle<()>> {
    let mut stdout = machine
        .child
        .stdout
        .take()
        .context("QEMU has no standard output")?;
    Ok(std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stdout.read(&mut buffer) {
            if sender.send(Event::Normal(buffer[..n].to_vec())).is_err() {
                return;
            }
        }
        // The receiver may be gone first.
        let _ = sender.send(Event::NormalEnd);
    }))
}

fn collect_stderr(machine: &mut Machine) -> Result<std::thread::JoinHandle<String>> {
    let mut stderr = machine
        .child
        .stderr
        .take()
        .context("QEMU has no standard error")?;
    Ok(std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

/// Forwards the terminal's bytes; the thread ends with the process.
fn read_input(sender: Sender<Event>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(n @ 1..) = std::io::stdin().lock().read(&mut buffer) {
            if sender.send(Event::Input(buffer[..n].to_vec())).is_err() {
                return;
            }
        }
        // End of input on a terminal that went away.
        let _ = sender.send(Event::Signal);
    });
}

fn watch_signals() -> Result<()> {
    static ONCE: OnceLock<Result<(), String>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let installed = ONCE.get_or_init(|| {
        ctrlc::set_handler(|| {
            INTERRUPTED.store(true, Ordering::Relaxed);
            // The second one does not wait for anything; QEMU gets its parent-death signal.
            if COUNT.fetch_add(1, Ordering::Relaxed) > 0 {
                terminal::restore();
                std::process::exit(i32::from(STATUS_INTERRUPTED));
            }
        })
        .map_err(|err| err.to_string())
    });
    match installed {
        Ok(()) => Ok(()),
        Err(err) => anyhow::bail!("cannot watch signals: {err}"),
    }
}
