//! Accounts of the secure world, to be compared.
//!
//! **Invariant:** two accounts of the same state are equal: what taking an account itself changes
//! (session numbers, maxima, counters of calls) is left out.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use tally_board_virt::SECURE_RAM_BYTES;
use tally_records::PoolRow;
use tally_records::Selector;
use tally_records::{MeminfoRow, OwnerRow};
use teestat::client::{self, ClientError};

use crate::{Bench, Outcome};

/// Who holds what.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    secure_ram: u64,
    meminfo: Vec<MeminfoRow>,
    owners: Vec<OwnerRow>,
    /// Name, owner, bytes, blocks.
    pools: Vec<(String, String, u32, u64)>,
    /// Shared memories that this side keeps.
    shared: usize,
}

fn label(bytes: &[u8]) -> String {
    let text = bytes.iter().take_while(|&&b| b != 0);
    text.map(|&b| char::from(b)).collect()
}

impl Account {
    /// Asks the secure world.
    pub fn take(bench: &Bench) -> Result<Self, String> {
        let told = |error: ClientError| format!("account: {error}");
        let mut owners = client::rows::<OwnerRow>(&bench.context, &Selector::ALL).map_err(told)?;
        for owner in &mut owners {
            owner.session = 0;
        }
        owners.sort_by_key(|o| (o.label, o.kind, o.uuid));
        let pools = client::rows::<PoolRow>(&bench.context, &Selector::ALL).map_err(told)?;
        let pools = pools.iter().map(|row| {
            let pool = &row.pool;
            (
                label(&pool.alloc.desc),
                pool.owner.to_string(),
                pool.alloc.allocated,
                pool.live_blocks,
            )
        });
        Ok(Self {
            secure_ram: client::secure_ram(&bench.context).map_err(told)?,
            meminfo: client::rows::<MeminfoRow>(&bench.context, &Selector::ALL).map_err(told)?,
            owners,
            pools: pools.collect(),
            shared: bench.side.shared_count(),
        })
    }

    /// Secure RAM must add up to what the kernel tells, and that is the board's.
    pub fn adds_up(&self) -> Outcome {
        let sum: u64 = self.meminfo.iter().map(|row| row.bytes).sum();
        crate::equal(sum, self.secure_ram, "secure RAM by use adds up to")?;
        crate::equal(self.secure_ram, SECURE_RAM_BYTES, "secure RAM told")
    }

    /// Says what differs in `after`.
    pub fn same_as(&self, after: &Self) -> Outcome {
        if self == after {
            return Ok(());
        }
        let mut said = String::from("accounts differ:");
        let mut tell = |before: Option<String>, now: Option<String>| {
            if before != now {
                let before = before.unwrap_or_else(|| "nothing".to_string());
                let now = now.unwrap_or_else(|| "nothing".to_string());
                said.push_str(&format!(" [{before} -> {now}]"));
            }
        };
        let row = |r: &MeminfoRow| format!("{} {}", label(&r.label), r.bytes);
        for i in 0..self.meminfo.len().max(after.meminfo.len()) {
            tell(self.meminfo.get(i).map(row), after.meminfo.get(i).map(row));
        }
        let owner = |o: &OwnerRow| {
            format!(
                "{} {}: {} bytes {} blocks {} pages",
                label(&o.label),
                o.uuid,
                o.heap_bytes,
                o.heap_blocks,
                o.pages
            )
        };
        for i in 0..self.owners.len().max(after.owners.len()) {
            tell(
                self.owners.get(i).map(owner),
                after.owners.get(i).map(owner),
            );
        }
        let pool = |p: &(String, String, u32, u64)| format!("{p:?}");
        for i in 0..self.pools.len().max(after.pools.len()) {
            tell(self.pools.get(i).map(pool), after.pools.get(i).map(pool));
        }
        if self.shared != after.shared {
            tell(
                Some(format!("{} shared memories", self.shared)),
                Some(format!("{}", after.shared)),
            );
        }
        Err(said)
    }
}
