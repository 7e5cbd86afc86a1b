//! Says what a snapshot has, and with a second one what grew: without a kernel, an ELF file or a
//! machine.
//!
//! `cargo run -p tally-insight --example snapshot a.snap b.snap`

use tally_insight::account::{Account, NoSymbols};
use tally_insight::growth;
use tally_insight::names::printable;
use tally_insight::snapshot::{Error, Snapshot};

/// What the files say, the first compared with the last.
pub(crate) fn report(files: &[(String, Vec<u8>)]) -> Result<String, Error> {
    let mut snapshots = Vec::new();
    for (name, bytes) in files {
        snapshots.push((Snapshot::parse(bytes)?, name.clone()));
    }
    let accounts = Account::several(snapshots, &NoSymbols);
    let (Some(first), Some(last)) = (accounts.first(), accounts.last()) else {
        return Ok(String::new());
    };
    let header = &last.snapshot.header;
    let mut out = format!(
        "{}, {} ms after boot: {} bytes of secure RAM\n",
        last.file, header.at_ms, header.secure_ram
    );
    for row in &last.snapshot.meminfo {
        out += &format!("{:>12} {}\n", row.bytes, printable(&row.label));
    }
    let changes = growth::between(first, last);
    for change in changes.iter().filter(|change| change.bytes() != 0) {
        let heap = last.program(change.image);
        out += &format!(
            "{:>+12} in {:+} blocks of {}, heap of {heap}\n",
            change.bytes(),
            change.blocks(),
            change.owner
        );
    }
    Ok(out)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    for name in std::env::args().skip(1) {
        let bytes = std::fs::read(&name)?;
        files.push((name, bytes));
    }
    print!("{}", report(&files)?);
    Ok(())
}
