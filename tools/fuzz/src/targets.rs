//! The targets, by name.
//!
//! **Invariant:** a target takes any bytes and panics only where the code under test is wrong.
//! **Knows nothing of:** where inputs come from.

use tally_abi::sites::Table;

/// A target.
pub(crate) struct Target {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// Takes one input.
    pub(crate) run: fn(&[u8]),
    /// Inputs worth mutating.
    pub(crate) samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "elf",
        run: ldelf::fuzz,
        samples: elf_samples,
    },
    Target {
        name: "sites",
        run: sites,
        samples: Vec::new,
    },
];

/// Looks up everything near the start of a table.
fn sites(data: &[u8]) {
    let Some(table) = Table::parse(data) else {
        return;
    };
    let _ = table.validate();
    for pc_offset in (0..256)
        .map(|n| n * 4)
        .chain([u64::from(u32::MAX), u64::MAX])
    {
        // No panic is all that is asked for.
        let _ = table.lookup(pc_offset);
    }
}

/// Trusted applications of an earlier build, if there was one, behind their UUIDs.
fn elf_samples() -> Vec<Vec<u8>> {
    Vec::new()
}
