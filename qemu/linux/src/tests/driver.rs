//! The driver: its probe, its end, its complaints.
//!
//! **Invariant:** when a test ends the driver is loaded and a supplicant runs.

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
