//! Reads a heap from outside: the memory alone, of a program that may be gone, or hostile.
//!
//! `cargo run -p tally-ledger --example read heap.bin`

use tally_ledger::SiteInfo;
use tally_ledger::view::View;

/// What a snapshot of `global.rs` says; `None` if the bytes are no sound heap of this version.
pub(crate) fn report(bytes: &[u8]) -> Option<String> {
    let view = View::open(bytes, bytes.len()).ok()?;
    let stats = view.stats().ok()?;
    let mut out = format!(
        "{} bytes live, {} refused\n",
        stats.allocated, stats.num_alloc_fail
    );
    let mut top = [SiteInfo::default(); 8];
    let found = view.top_sites(&mut top);
    for site in &top[..found.count] {
        out += &format!(
            "{:>8} bytes in {:>4} blocks, {:>6} at most, allocated at {:#x}\n",
            site.live_bytes, site.live_blocks, site.peak_bytes, site.frames[0]
        );
    }
    Some(out)
}

fn main() -> std::io::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "heap.bin".into());
    let text = report(&std::fs::read(file)?);
    print!("{}", text.ok_or(std::io::ErrorKind::InvalidData)?);
    Ok(())
}
