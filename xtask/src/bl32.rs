//! `cargo xtask image`: the kernel as the trusted OS of somebody else's firmware.
//!
//! **Invariant:** the file is the raw kernel that our own firmware boots, byte for byte.

use crate::images::{self, Config};
use crate::{file, paths};
use anyhow::{Context as _, Result};
use std::path::PathBuf;

/// What to write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The BL32 of TF-A with OP-TEE's dispatcher (PLAT=qemu SPD=opteed)
    #[arg(long, required = true)]
    bl32: bool,
    /// Where to; target/tally/bl32.bin without it
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    config: Config,
}

/// Writes the image and says how it is loaded.
pub(crate) fn run(args: &Args) -> Result<u8> {
    file::ensure_writable(&args.output)?;
    let images = images::build(&args.config)?;
    let default = || paths::out().join("bl32.bin");
    let path = args.output.clone().unwrap_or_else(default);
    file::put(&path, &images.kernel_raw.bytes)?;
    let address = |symbol| {
        let address = images.kernel.symbol(symbol);
        address.with_context(|| format!("the kernel has no {symbol}"))
    };
    anstream::println!(
        "{} bytes; load and enter it at {:#x} in secure RAM up to {:#x}, EL1, MMU off, \
         x2 = address of the device tree",
        images.kernel_raw_len,
        address("KERNEL_PHYS")?,
        address("SECURE_RAM_END")?,
    );
    Ok(0)
}
