//! The driver: its probe, its end, its complaints.
//!
//! **Invariant:** when a test ends the driver is loaded and a supplicant runs.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use tally_abi::pta::rng;
use teec::Context;

use crate::account::Account;
use crate::bench::{self, Outcome, equal};

pub(super) fn probes_quietly() -> Outcome {
    let log = bench::program("dmesg", &[])?;
    for line in [
        "optee: dynamic shared memory is enabled",
        "optee: initialized driver",
    ] {
        if !log.contains(line) {
            return Err(format!("the kernel's log lacks `{line}`"));
        }
    }
    quiet()
}

pub(super) fn quiet() -> Outcome {
    equal(
        bench::warnings()?,
        Vec::new(),
        "warnings in the kernel's log",
    )?;
    equal(
        bench::file("/proc/sys/kernel/tainted")?,
        "0".into(),
        "taint of the kernel",
    )
}

pub(super) fn reload() -> Outcome {
    let account = || -> Result<Account, String> {
        let transport = bench::connect()?;
        Account::take(&Context::new(&transport))
    };
    let cycle = || -> Result<Account, String> {
        bench::stop_supplicant()?;
        bench::program("rmmod", &["optee"])?;
        if std::path::Path::new(teec_linux::DEVICE).exists() {
            return Err("the device outlives its driver".into());
        }
        bench::program("insmod", &["/lib/modules/optee.ko"])?;
        bench::start_supplicant()?;
        account()
    };
    let first = cycle()?;
    let second = cycle()?;
    first.same_as(&second)?;
    // The driver has what it had at the start of the tests again.
    super::processes::many_clients()
}

/// Linux' own driver binds to the pseudo-TA that the enumeration names.
pub(super) fn random_numbers() -> Outcome {
    let device = format!("/sys/bus/tee/devices/optee-ta-{}", rng::UUID);
    if !Path::new(&device).exists() {
        return Err(format!("there is no {device}"));
    }
    bench::program("insmod", &["/lib/modules/optee-rng.ko"])?;
    let read = read_random().and_then(|first| Ok((first, read_random()?)));
    bench::program("rmmod", &["optee_rng"])?;
    let (first, second) = read?;
    let zeros = first.iter().filter(|byte| **byte == 0).count();
    if zeros > 64 || first == second {
        return Err(format!("these are no random numbers: {first:x?}"));
    }
    Ok(())
}

/// What `/dev/hwrng` gives: more than one request.
fn read_random() -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; 5000];
    let read = File::open("/dev/hwrng").and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("/dev/hwrng: {error}"))?;
    Ok(bytes)
}
