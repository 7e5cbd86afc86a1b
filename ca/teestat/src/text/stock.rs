//! Text of `xtest --stats`: pools, TAs, pager, time.
//!
//! **Invariant:** follows optee_test `host/xtest/stats.c` to the byte: its tabs, its spelling, its
//! missing newline.

use core::fmt::{self, Write};

use tally_abi::pta::stats::{AllocStats, TaStats};

use super::Label;
use crate::client::{Pager, Times};

/// Where the answer to `memleak` is: it does not come through the call.
pub(crate) const MEMLEAK: &str = "The list is on the secure world's console (of OP-TEE with CFG_TEE_CORE_MALLOC_DEBUG=y alone).\n";

/// Percentage of the free memory that is not in one piece, as the C text computes it; `None` if
/// it prints none.
fn fragmentation(stats: &AllocStats) -> Option<u32> {
    if stats.free2_sum == 0 || stats.size == stats.allocated {
        return None;
    }
    let free_sum = f64::from(stats.size.wrapping_sub(stats.allocated));
    let free_quote = libm::sqrt(stats.free2_sum as f64) / free_sum;
    let fragmentation = 1.0 - free_quote * free_quote;
    Some((fragmentation * 100.0) as u32)
}

/// Unsigned on the wire, printed as C's `%d`.
const fn signed(value: u32) -> i32 {
    value as i32
}

pub(crate) fn alloc(out: &mut dyn Write, stats: &[AllocStats]) -> fmt::Result {
    for (n, pool) in stats.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        writeln!(out, "Pool:                {}", Label(&pool.desc))?;
        writeln!(
            out,
            "Bytes allocated:                       {}",
            signed(pool.allocated)
        )?;
        if let Some(percent) = fragmentation(pool) {
            writeln!(out, "Fragmentation:\t\t\t       {percent} %")?;
        }
        figures(out, "", pool)?;
    }
    Ok(())
}

/// The lines that `--alloc` and `--ta` have in common.
fn figures(out: &mut dyn Write, indent: &str, pool: &AllocStats) -> fmt::Result {
    let rows = [
        (
            "Max bytes allocated:                   ",
            pool.max_allocated,
        ),
        ("Size of pool:                          ", pool.size),
        (
            "Number of failed allocations:          ",
            pool.num_alloc_fail,
        ),
        (
            "Size of larges allocation failure:     ",
            pool.biggest_alloc_fail,
        ),
        (
            "Total bytes allocated at that failure: ",
            pool.biggest_alloc_fail_used,
        ),
    ];
    for (label, value) in rows {
        writeln!(out, "{indent}{label}{}", signed(value))?;
    }
    Ok(())
}

pub(crate) fn ta(out: &mut dyn Write, stats: &[TaStats]) -> fmt::Result {
    if stats.is_empty() {
        // No newline: neither has xtest.
        return out.write_str("No loaded TA found");
    }
    for (n, ta) in stats.iter().enumerate() {
        if n > 0 {
            writeln!(out)?;
        }
        let u = &ta.uuid;
        write!(
            out,
            "ta({:08x}-{:04x}-{:04x}-",
            u.time_low, u.time_mid, u.time_hi_and_version
        )?;
        for byte in u.clock_seq_and_node {
            write!(out, "{byte:02x}")?;
        }
        writeln!(out, ")")?;
        writeln!(
            out,
            "\tpanicked({}) -- True if TA has panicked",
            signed(ta.panicked)
        )?;
        writeln!(out, "\tsession number({})", signed(ta.sess_num))?;
        writeln!(out, "\tHeap Status:")?;
        writeln!(
            out,
            "\t\tBytes allocated:                       {}",
            signed(ta.heap.allocated)
        )?;
        figures(out, "\t\t", &ta.heap)?;
    }
    Ok(())
}

pub(crate) fn pager(out: &mut dyn Write, pager: &Pager) -> fmt::Result {
    writeln!(out, "Pager statistics (Number of):")?;
    writeln!(out, "Unlocked pages:     {}", signed(pager.unlocked))?;
    writeln!(out, "Page pool size:     {}", signed(pager.pool))?;
    writeln!(
        out,
        "R/O faults:         {}",
        signed(pager.read_only_faults)
    )?;
    writeln!(
        out,
        "R/W faults:         {}",
        signed(pager.read_write_faults)
    )?;
    writeln!(out, "Hidden faults:      {}", signed(pager.hidden_faults))?;
    writeln!(out, "Zi pages released:  {}", signed(pager.released))
}

pub(crate) fn times(out: &mut dyn Write, times: &Times) -> fmt::Result {
    for (label, time) in [("REE", times.ree), ("TEE", times.tee)] {
        writeln!(
            out,
            "{label} time: {} seconds, {} milliseconds",
            signed(time.seconds),
            signed(time.millis)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Time;
    use crate::text::print;
    use tally_abi::TeeUuid;
    use tally_abi::pta::DESC_LEN;

    fn desc(text: &str) -> [u8; DESC_LEN] {
        let mut desc = [0; DESC_LEN];
        desc[..text.len()].copy_from_slice(text.as_bytes());
        desc
    }

    fn heap() -> AllocStats {
        AllocStats {
            desc: desc("Heap"),
            free2_sum: 180_620 * 180_620 / 2,
            allocated: 22_688,
            max_allocated: 30_000,
            size: 203_312,
            num_alloc_fail: 1,
            biggest_alloc_fail: 4_000_000_000,
            biggest_alloc_fail_used: 7,
        }
    }

    #[test]
    fn alloc_prints_what_xtest_prints() {
        let full = AllocStats {
            desc: desc("Secure DDR"),
            allocated: 4096,
            size: 4096,
            free2_sum: 5,
            ..AllocStats::default()
        };
        assert_eq!(
            print(|out| alloc(out, &[heap(), full])),
            "Pool:                Heap\n\
             Bytes allocated:                       22688\n\
             Fragmentation:\t\t\t       50 %\n\
             Max bytes allocated:                   30000\n\
             Size of pool:                          203312\n\
             Number of failed allocations:          1\n\
             Size of larges allocation failure:     -294967296\n\
             Total bytes allocated at that failure: 7\n\
             \n\
             Pool:                Secure DDR\n\
             Bytes allocated:                       4096\n\
             Max bytes allocated:                   0\n\
             Size of pool:                          4096\n\
             Number of failed allocations:          0\n\
             Size of larges allocation failure:     0\n\
             Total bytes allocated at that failure: 0\n"
        );
    }

    #[test]
    fn fragmentation_follows_the_doubles_of_the_c_text() {
        let of = |free2_sum, free: u32| {
            fragmentation(&AllocStats {
                free2_sum,
                size: free,
                ..AllocStats::default()
            })
        };
        assert_eq!(of(0, 100), None);
        assert_eq!(of(5, 0), None);
        assert_eq!(of(10_000, 100), Some(0), "one chunk");
        assert_eq!(of(100, 100), Some(99), "a hundred chunks");
        assert_eq!(
            of(40_000, 100),
            Some(0),
            "figures that contradict themselves"
        );
    }

    #[test]
    fn ta_prints_what_xtest_prints() {
        let ta_stats = TaStats {
            uuid: TeeUuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff),
            panicked: 0,
            sess_num: 2,
            heap: heap(),
        };
        let one = "ta(00112233-4455-6677-8899aabbccddeeff)\n\
             \tpanicked(0) -- True if TA has panicked\n\
             \tsession number(2)\n\
             \tHeap Status:\n\
             \t\tBytes allocated:                       22688\n\
             \t\tMax bytes allocated:                   30000\n\
             \t\tSize of pool:                          203312\n\
             \t\tNumber of failed allocations:          1\n\
             \t\tSize of larges allocation failure:     -294967296\n\
             \t\tTotal bytes allocated at that failure: 7\n";
        assert_eq!(
            print(|out| ta(out, &[ta_stats, ta_stats])),
            alloc::format!("{one}\n{one}")
        );
        assert_eq!(print(|out| ta(out, &[])), "No loaded TA found");
    }

    #[test]
    fn pager_and_time_print_what_xtest_prints() {
        let figures = Pager {
            pool: 3_840,
            ..Pager::default()
        };
        assert_eq!(
            print(|out| pager(out, &figures)),
            "Pager statistics (Number of):\n\
             Unlocked pages:     0\n\
             Page pool size:     3840\n\
             R/O faults:         0\n\
             R/W faults:         0\n\
             Hidden faults:      0\n\
             Zi pages released:  0\n"
        );
        let time = |seconds, millis| Time { seconds, millis };
        let figures = Times {
            ree: time(1, 2),
            tee: time(3, 4),
        };
        assert_eq!(
            print(|out| times(out, &figures)),
            "REE time: 1 seconds, 2 milliseconds\nTEE time: 3 seconds, 4 milliseconds\n"
        );
    }
}
