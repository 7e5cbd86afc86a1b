//! Commands of TAs.

use tally_abi::TeeUuid;
use tally_abi::ta::entry;

crate::record! {
    /// What a command of a TA costs.
    CommandRow: "commands" = 9, 96 bytes {
        /// Which TA.
        uuid: TeeUuid => ta,
        /// What it was called for.
        function: u32 => word(crate::function),
        /// The command, if it was called to invoke one.
        command: u32 => number(None) or null = |row| row.command(),
        /// Calls.
        calls: u64 => number(Count),
        /// Calls that did not succeed.
        failed: u64 => number(Count),
        /// Allocations during those that were looked at in detail; null if none was.
        allocations: u64 => number(Count) or null = |row| row.in_detail(row.allocations),
        /// Releases during those that were looked at in detail; null if none was.
        releases: u64 => number(Count) or null = |row| row.in_detail(row.releases),
        /// Heap bytes afterwards less before, all calls together.
        net_bytes: i64 => number(Bytes),
        /// Highest that the heap rose above where it was at an entry.
        heap_above_entry: u64 => number(Bytes),
        /// Deepest stack of those that were looked at in detail; null if none was.
        stack_deepest: u64 => number(Bytes) or null = |row| row.in_detail(row.stack_deepest),
        /// Ticks of the system counter spent, all calls together.
        ticks: u64 => number(Ticks),
        /// Calls that were looked at in detail.
        detailed: u64 => number(Count),
    }
}

impl CommandRow {
    fn command(&self) -> Option<u32> {
        (u64::from(self.function) == entry::INVOKE_COMMAND).then_some(self.command)
    }

    /// A figure that only looking in detail tells.
    fn in_detail(&self, figure: u64) -> Option<u64> {
        (self.detailed != 0).then_some(figure)
    }
}
