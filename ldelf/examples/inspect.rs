//! Prints the load plan of TA files, and fails when one is refused.
//!
//! **Invariant:** sees what the loader at EL0 sees.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        if let Err(why) = inspect(&path) {
            eprintln!("{path}: {why}");
            failed = true;
        }
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn inspect(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let image = std::fs::read(path)?;
    let uuid = ldelf::uuid(&image).unwrap_or_default();
    let plan = ldelf::plan(&image, uuid)?;
    let n_relocations = plan.check_relocations()?;
    println!("{path}: {uuid}, {} bytes", image.len());
    println!(
        "  entry {:#x}, span {:#x}, stack {}",
        plan.entry, plan.span, plan.stack_len
    );
    println!(
        "  flags {:#x}, {n_relocations} relocations",
        plan.head.flags
    );
    for s in plan.segments() {
        let (start, end) = (s.address, s.end());
        println!(
            "  {:?} {start:#x}..{end:#x}, {} from the file",
            s.prot, s.file_len
        );
    }
    for p in plan.protections() {
        println!(
            "  protect {:#x}..{:#x} {:?}",
            p.address,
            p.address + p.len,
            p.prot
        );
    }
    let mut memory = vec![0; plan.span as usize];
    plan.apply(&mut memory, 1 << 30)?;
    Ok(())
}
