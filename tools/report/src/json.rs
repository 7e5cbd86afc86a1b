//! Everything as one JSON object.
//!
//! **Invariant:** bytes and counts are integers as in the snapshot; every list is there, empty or
//! not.

use crate::account::{Account, Doubt};
use crate::advice;
use crate::doubts::several_boots;
use crate::growth::Change;
use crate::merged;
use crate::names::{Stack, function};
use crate::shown;
use serde_json::{Value, json};
use tally_abi::TeeUuid;
use tally_metrics::advice::declared_once;
use tally_metrics::naming::{kind_name, printable};
use tally_records::{PoolStats, TaDetail};

/// A snapshot.
#[must_use]
pub fn snapshot(account: &Account) -> Value {
    let s = &account.snapshot;
    let header = &s.header;
    let mut value = json!({
        "file": account.file,
        "at_ms": header.at_ms,
        "reason": shown::reason(header.reason),
        "subject": uuid(header.subject),
        "value": header.value,
        "mark": header.mark,
        "dropped": header.dropped,
        "unknown_sections": s.unknown_sections,
        "secure_ram": header.secure_ram,
        "meminfo_sum": s.meminfo_sum(),
        "meminfo": list(&s.meminfo, |row| json!({
            "use": printable(&row.label), "bytes": row.bytes, "pages": row.pages,
        })),
        "pools": list(&s.pools, |pool| self::pool(account, pool)),
        "owners": list(&s.owners, |row| json!({
            "kind": kind_name(row.kind), "label": printable(&row.label), "session": row.session,
            "uuid": uuid(row.uuid), "owner": account.owner(row.kind, &row.label, row.uuid),
            "heap_bytes": row.heap_bytes, "heap_blocks": row.heap_blocks, "pages": row.pages,
        })),
        "tas": list(&s.tas, |ta| self::ta(account, ta)),
        "regions": list(&s.regions, |region| json!({
            "owner": account.program(region.owner), "label": printable(&region.label),
            "va": region.va, "pa": region.pa, "bytes": region.bytes,
            "populated": region.populated, "prot": shown::protection(region.prot),
            "session": region.session,
        })),
        "sites": zipped(&s.sites, &account.sites, |site, stack| json!({
            "pool": account.program(site.pool), "site": site.site,
            "live_bytes": site.live_bytes, "live_blocks": site.live_blocks,
            "allocations": site.is_counted().then_some(site.allocations),
            "peak_bytes": site.is_counted().then_some(site.peak_bytes),
            "stack": self::stack(stack),
        })),
        "live": list(&merged::live(account), |(record, stack)| json!({
            "bytes": record.bytes, "blocks": record.blocks, "block_size": record.block_size,
            "kind": kind_name(record.owner_kind), "owner": account.owner_of(record),
            "session": record.session, "uuid": uuid(record.owner),
            "pool": account.program(record.image), "stack": self::stack(stack),
        })),
        "classes": list(&s.classes, |class| json!({
            "pool": account.program(class.pool), "kind": shown::class_name(class.kind),
            "block_size": class.block_size, "slabs": class.slabs, "blocks": class.blocks,
            "live": class.live, "kept": class.kept, "bytes": class.bytes,
            "requested": class.requested,
        })),
        "commands": list(&s.commands, |row| json!({
            "ta": account.ta(row.uuid), "entry": shown::entry_name(row.function, row.command),
            "calls": row.calls, "failed": row.failed, "detailed": row.detailed,
            "allocations": (row.detailed != 0).then_some(row.allocations),
            "releases": (row.detailed != 0).then_some(row.releases), "net_bytes": row.net_bytes,
            "heap_above_entry": row.heap_above_entry,
            "stack_deepest": (row.detailed != 0).then_some(row.stack_deepest),
            "ticks": row.ticks,
        })),
        "failures": zipped(&s.failures, &account.failures, |row, stack| json!({
            "number": row.number, "at_ms": row.at_ms, "size": row.size, "used": row.used,
            "pool": shown::failed_pool_name(row.pool), "pool_size": row.pool_size,
            "largest_free": row.largest_free,
            "owner": account.owner(row.owner_kind, &row.label, row.owner),
            "stack": self::stack(stack),
        })),
        "history": list(&s.history, |row| json!({
            "ta": account.ta(row.uuid), "uuid": uuid(row.uuid), "ended": row.ended,
            "died": row.died, "heap_max": row.heap_max, "heap_size": declared_once(row),
            "stack_max": row.stack_max, "stack_size": row.stack_size,
            "charged_max": row.charged_max, "unfreed_blocks": row.unfreed_blocks,
            "unfreed_bytes": row.unfreed_bytes, "held_blocks": row.held_blocks,
            "held_bytes": row.held_bytes, "refused": row.refused,
            "biggest_refused": row.biggest_refused,
            "biggest_refused_used": row.biggest_refused_used,
        })),
        "unfreed": zipped(&s.unfreed, &account.unfreed, |row, stack| json!({
            "ta": account.ta(row.uuid), "uuid": uuid(row.uuid), "bytes": row.bytes,
            "blocks": row.blocks, "instances": row.instances, "died": row.died != 0,
            "image": image_id(row.image_id), "stack": self::stack(stack),
        })),
    });
    value["boot"] = id(&header.boot.to_be_bytes());
    let (bytes, blocks) = s.left_out();
    value["left_out"] = json!({"bytes": bytes, "blocks": blocks});
    value["kernel_build"] = id(&header.build);
    value["kernel_named"] = json!(!account.kernel_is_other);
    let doubted = account.doubted.iter();
    value["doubted"] = doubted
        .map(|(ta, doubt)| {
            let (why, image) = match doubt {
                Doubt::Missing(id) => ("no ELF file of this build", *id),
                Doubt::Several => ("several builds at the same time", 0),
                Doubt::Untold => ("the snapshot does not say which build", 0),
            };
            json!({"ta": account.ta(*ta), "uuid": uuid(*ta), "image": image_id(image), "why": why})
        })
        .collect();
    value["advice"] = list(&advice::of(s), |one| {
        json!({
            "what": one.what.name(), "uuid": uuid(one.uuid), "now": one.now, "most": one.most,
            "set": some(one.set), "setting": one.what.setting(), "refused": one.refused,
            "impossible": some(one.impossible),
        })
    });
    value
}

fn ta(account: &Account, ta: &TaDetail) -> Value {
    let mut value = json!({
        "ta": account.ta(ta.uuid), "uuid": uuid(ta.uuid), "instance": ta.instance,
        "state": shown::state_name(ta.state), "sessions": ta.sessions,
        "busy_in": (ta.state == tally_records::state::BUSY)
            .then(|| shown::entry_name(ta.function, ta.command)),
        "loaded_ms": ta.loaded_ms, "busy_since_ms": ta.busy_since_ms,
        "code": ta.code, "data": ta.data, "stack": ta.stack,
        "stack_deepest": ta.stack_deepest, "heap_committed": ta.heap_committed,
        "heap_reserved": ta.heap_reserved, "tables": ta.tables,
        "kernel_heap": ta.kernel_heap, "kernel_blocks": ta.kernel_blocks,
        "shared": ta.shared, "quota": ta.quota, "charged": ta.charged,
        "charged_max": ta.charged_max, "vss": ta.vss, "rss": ta.rss, "pss": ta.pss,
        "uss": ta.uss, "heap": self::pool(account, &ta.heap),
    });
    value["image"] = json!(image_id(ta.image_id));
    value
}

/// Which build of a TA, or nothing where it is not known.
fn image_id(id: u64) -> Option<String> {
    (id != 0).then(|| format!("{id:016x}"))
}

/// A number, or nothing for zero.
fn some(number: u64) -> Option<u64> {
    (number != 0).then_some(number)
}

/// What grew between two snapshots.
#[must_use]
pub fn change(before: &Account, after: &Account, changes: &[Change]) -> Value {
    json!({
        "before": before.file,
        "after": after.file,
        "several_boots": several_boots([&before.snapshot, &after.snapshot]),
        "bytes": changes.iter().map(Change::bytes).fold(0, i64::saturating_add),
        "changes": list(changes, |change| json!({
            "pool": after.program(change.image), "owner": change.owner,
            "bytes": change.bytes(), "blocks": change.blocks(),
            "bytes_before": change.before.bytes, "bytes_after": change.after.bytes,
            "blocks_before": change.before.blocks, "blocks_after": change.after.blocks,
            "stack": stack(&change.stack),
        })),
    })
}

fn list<T>(rows: &[T], each: impl Fn(&T) -> Value) -> Value {
    Value::Array(rows.iter().map(each).collect())
}

fn zipped<T>(rows: &[T], stacks: &[Stack], each: impl Fn(&T, &Stack) -> Value) -> Value {
    let pairs = rows.iter().zip(stacks);
    Value::Array(pairs.map(|(row, stack)| each(row, stack)).collect())
}

fn uuid(uuid: TeeUuid) -> Value {
    if uuid == TeeUuid::nil() {
        Value::Null
    } else {
        json!(uuid.to_string())
    }
}

/// Octets in hexadecimal; nothing if all are zero.
fn id(octets: &[u8]) -> Value {
    if octets.iter().all(|&octet| octet == 0) {
        return Value::Null;
    }
    let digits: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    Value::String(digits)
}

fn pool(account: &Account, pool: &PoolStats) -> Value {
    json!({
        "pool": printable(&pool.alloc.desc), "program": account.program(pool.owner),
        "uuid": uuid(pool.owner), "allocated": pool.alloc.allocated,
        "max_allocated": pool.alloc.max_allocated, "size": pool.alloc.size,
        "num_alloc_fail": pool.alloc.num_alloc_fail,
        "biggest_alloc_fail": pool.alloc.biggest_alloc_fail,
        "biggest_alloc_fail_used": pool.alloc.biggest_alloc_fail_used,
        "free2_sum": pool.alloc.free2_sum, "num_get": pool.num_get,
        "num_release": pool.num_release, "largest_free": pool.largest_free,
        "live_blocks": pool.live_blocks, "metadata": pool.metadata, "tables": pool.tables, "records": pool.records,
        "consistent": pool.inconsistent == 0,
    })
}

/// Innermost first; `allocator` marks the way into the allocator, which other formats leave out.
fn stack(stack: &Stack) -> Value {
    let allocator = stack.allocator_frames();
    let frames = stack.calls.iter().flat_map(|call| {
        let last = call.frames.len().saturating_sub(1);
        let frames = call.frames.iter().enumerate();
        frames.map(move |(n, frame)| (call.offset, frame, n < last))
    });
    let values = frames.enumerate().map(|(n, (offset, frame, inlined))| {
        json!({
            "offset": offset, "function": function(frame), "full": frame.function,
            "file": frame.file, "line": frame.line, "inlined": inlined,
            "allocator": n < allocator,
        })
    });
    Value::Array(values.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth;
    use crate::names::NoNames;
    use crate::sample;

    #[test]
    fn figures_are_the_snapshots() {
        let account = Account::new(sample::machine(3), "s", &NoNames);
        let text = snapshot(&account).to_string();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["meminfo_sum"], value["secure_ram"]);
        let sum = |list: &Value, key: &str| -> u64 {
            let rows = list.as_array().unwrap();
            rows.iter().map(|row| row[key].as_u64().unwrap()).sum()
        };
        assert_eq!(sum(&value["meminfo"], "bytes"), 16 << 20);
        // The second pool is the pages for TAs.
        let pages = value["pools"].as_array_mut().unwrap().remove(1);
        assert_eq!(pages["pool"], "Physical TA memory");
        assert_eq!(
            sum(&value["live"], "bytes"),
            sum(&value["pools"], "allocated")
        );
        assert_eq!(value["advice"][0]["what"], "kernel heap");
        assert_eq!(value["boot"], "000000000000b007");
        assert_eq!(value["kernel_build"], "b1".repeat(20));
        assert_eq!(value["tas"][0]["busy_in"], "command 2");
    }

    #[test]
    fn a_comparison_names_what_grew() {
        let account = |n| Account::new(sample::machine(n), "s", &NoNames);
        let (before, after) = (account(1), account(2));
        let value = change(&before, &after, &growth::between(&before, &after));
        assert_eq!(value["bytes"], sample::LEAK_BYTES);
        assert_eq!(value["changes"][0]["blocks"], sample::LEAK_BLOCKS);
    }
}
