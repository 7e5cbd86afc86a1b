//! `cargo xtask run`.
//!
//! **Invariant:** the exit status is the guest's, unless the guest did not choose one.

use crate::gdb::{GDB, Gdb};
use crate::images::{self, Config};
use crate::linux::{self, Debian, kept};
use crate::qemu::{Ending, Output, Preloaded, Run};
use crate::tfa::Tfa;
use crate::{given, paths, ui};
use anyhow::{Context as _, Result};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Boot Debian's Linux as the normal world; COMMANDS are its shell's
    #[arg(long)]
    linux: bool,
    /// Which Debian's Linux
    #[arg(long, value_name = "RELEASE", default_value = "13", requires = "linux")]
    debian: Debian,
    /// Keep files of trusted storage in DIR, as `/var/lib/tee` has them; else they end with the machine
    #[arg(long, value_name = "DIR", requires = "linux")]
    storage: Option<PathBuf>,
    /// Boot under stock TF-A: the one in DIR (bl1.bin, bl2.bin, bl31.bin), or Debian's, fetched and built
    #[arg(long, value_name = "DIR", num_args = 0..=1)]
    tfa: Option<Option<PathBuf>>,
    /// More TAs: ELF files, which are signed with the development key, or signed images
    #[arg(long, value_name = "FILE", num_args = 1..)]
    ta: Vec<PathBuf>,
    /// Show the secure world's console between the lines of the normal one
    #[arg(long)]
    secure_console: bool,
    /// End a guest that has been silent for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Wait at reset for gdb, which knows kernel, loader and TAs
    #[arg(long)]
    gdb: bool,
    /// Say how long the machine ran
    #[arg(long)]
    time: bool,
    /// Virtual CPUs, as many as the kernel has stacks for at most
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=4))]
    cpus: u32,
    #[command(flatten)]
    config: Config,
    /// More arguments for QEMU, split at spaces
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    qemu_args: Option<String>,
    /// Commands for the guest's shell, separated by `;`; without any, an interactive shell on a
    /// terminal, or what comes by a pipe, or a short tour
    #[arg(last = true, value_name = "COMMANDS")]
    commands: Vec<String>,
}

/// Builds, boots, and returns the guest's status.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let tas = given::read(&args.ta)?;
    let mut given = args.commands.join(" ");
    let interactive = given.trim().is_empty() && std::io::stdin().is_terminal();
    if given.trim().is_empty() && !interactive {
        given = std::io::read_to_string(std::io::stdin()).context("cannot read the commands")?;
    }
    let mut config = args.config.clone();
    if args.linux {
        config.ta_key.extend(args.debian.ta_key()?);
    }
    let mut images = images::build(&config)?;
    for ta in tas {
        ta.install(&mut images)?;
    }
    let command = match (interactive, given.trim()) {
        (true, _) => None,
        (false, "") if args.linux => Some("teestat alloc; teestat ta"),
        (false, "") => Some("tour"),
        (false, text) => Some(text),
    };
    let linux = args.linux.then(|| linux::prepare(&images, args.debian));
    let mut linux = linux.transpose()?;
    let storage = args.storage.as_deref();
    let storage = storage.map(|dir| Ok::<_, anyhow::Error>((dir, kept::read(dir)?)));
    let storage = storage.transpose()?;
    if let (Some(linux), Some((_, files))) = (&mut linux, &storage) {
        linux.keep(files)?;
    }
    let tfa = match &args.tfa {
        Some(Some(dir)) => Some(Tfa::in_dir(dir)?),
        Some(None) => Some(Tfa::debian()?),
        None => None,
    };
    if interactive {
        let help = if args.linux {
            "busybox and `teestat`"
        } else {
            "type `help`"
        };
        ui::step(
            "Shell",
            format_args!("{help}; ctrl-] ends the machine, whatever it does"),
        );
    }
    let gdb = args
        .gdb
        .then(|| Gdb::new(&images, !args.linux))
        .transpose()?;
    if let Some(gdb) = &gdb {
        ui::step(
            "Waiting",
            format_args!(
                "for gdb; in another terminal, type\n  {GDB} -x {}\n  continue",
                gdb.script.path.display()
            ),
        );
    }
    let run = Run {
        images: &images,
        label: "run",
        command,
        output: if interactive {
            Output::Interactive
        } else {
            Output::Shown
        },
        secure_console: args.secure_console,
        // Whoever looks at a machine that stands still takes his time.
        silence: if args.gdb {
            Duration::MAX
        } else {
            Duration::from_secs(args.timeout)
        },
        files: Some(paths::files()),
        cpus: args.cpus,
        extra: args
            .qemu_args
            .iter()
            .flat_map(|text| text.split_whitespace())
            .map(str::to_owned)
            .chain(gdb.iter().flat_map(Gdb::arguments))
            .collect(),
    };
    let outcome = match (&linux, &tfa) {
        (Some(linux), None) => run.start_linux(linux)?,
        (Some(linux), Some(tfa)) => run.start_preloaded(&Preloaded {
            tfa,
            secure: vec![&images.kernel_raw.bytes],
            linux,
        })?,
        (None, Some(tfa)) => run.start_under(tfa)?,
        (None, None) => run.start()?,
    };
    if args.time {
        ui::step(
            "Ended",
            format_args!("after {:.2} s", outcome.time.as_secs_f64()),
        );
    }
    for file in &outcome.files {
        ui::step("Wrote", paths::shown(file));
    }
    match (&storage, &outcome.ending) {
        (Some((dir, before)), Ending::Exit(_)) => {
            kept::write(dir, before, &kept::told(&outcome.results)?)?;
        }
        (Some((dir, _)), _) => ui::warn(format_args!(
            "{} is as it was: Linux did not power off",
            paths::shown(dir)
        )),
        (None, _) => {}
    }
    if outcome.ending == Ending::Interrupted {
        anstream::eprintln!();
        ui::step(
            "Ended",
            if interactive {
                "by ctrl-] or a signal"
            } else {
                "by ctrl-C"
            },
        );
    } else if let Some(trouble) = outcome.trouble(&images) {
        ui::error(trouble);
    } else if outcome.status() != 0 && !interactive {
        ui::warn(format_args!(
            "the guest ended with status {}; secure console in {}",
            outcome.status(),
            paths::shown(&outcome.secure_path)
        ));
    }
    Ok(outcome.status())
}
