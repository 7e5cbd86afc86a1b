//! The page, looked at as text.
//!
//! **Invariant:** figures are compared with the snapshot's own.

use super::page;
use serde_json::Value;
use tally_insight::account::{Account, NoSymbols};
use tally_insight::answers::Whole;
use tally_insight::snapshot::Snapshot;
use tally_insight::{json, sample};

/// The same snapshot for programs.
fn parsed(account: &Account) -> Value {
    serde_json::from_str(&json::text(&Whole(account)).unwrap()).unwrap()
}

fn account(snapshot: Snapshot) -> Account {
    Account::new(snapshot, "before & after.snap", &NoSymbols)
}

/// The `data-v` values in column `column` of the table `id`, without its sum.
fn column(html: &str, id: &str, column: usize) -> Vec<i64> {
    let begin = html.find(&format!("<table id=\"{id}\">")).expect(id);
    let table = &html[begin..];
    let body = &table[table.find("<tbody>").unwrap()..table.find("</tbody>").unwrap()];
    body.split("<tr>")
        .skip(1)
        .map(|row| {
            let cell = row.split("<td").nth(column + 1).unwrap();
            let value = cell.split("data-v=\"").nth(1).unwrap();
            value.split('"').next().unwrap().parse().unwrap()
        })
        .collect()
}

#[test]
fn tables_add_up_to_the_snapshot() {
    let account = account(sample::machine(3));
    let html = page(std::slice::from_ref(&account)).unwrap();
    let snapshot = &account.snapshot;
    let ram = i64::try_from(snapshot.header.secure_ram).unwrap();
    assert_eq!(column(&html, "uses", 1).iter().sum::<i64>(), ram);
    let live: i64 = snapshot.live.iter().map(|r| r.bytes as i64).sum();
    assert_eq!(column(&html, "live", 2).iter().sum::<i64>(), live);
    assert_eq!(column(&html, "site-rows", 1).iter().sum::<i64>(), live);
    let pages: i64 = snapshot.owners.iter().map(|o| i64::from(o.pages)).sum();
    assert_eq!(column(&html, "owner-rows", 3).iter().sum::<i64>(), pages);
    let unfreed: i64 = snapshot.unfreed.iter().map(|r| r.bytes as i64).sum();
    assert_eq!(column(&html, "unfreed", 1).iter().sum::<i64>(), unfreed);
    for id in [
        "failure-rows",
        "pool-rows",
        "classes",
        "commands",
        "history",
        "unfreed",
        "caches",
        "storage-rows",
        "sizes",
        "region-rows",
    ] {
        assert!(html.contains(&format!("<table id=\"{id}\">")), "{id}");
    }
}

#[test]
fn growth_of_several_snapshots_comes_first() {
    let accounts = [1, 2, 5].map(|n| account(sample::machine(n)));
    let html = page(&accounts).unwrap();
    let growth = column(&html, "live", 4);
    assert_eq!(growth[0], 4 * sample::LEAK_BYTES as i64);
    assert_eq!(growth.iter().sum::<i64>(), growth[0]);
    assert!(html.contains("id=\"time\"") && html.contains("<polyline"));
}

#[test]
fn nothing_is_fetched_and_names_are_escaped() {
    let accounts = [account(sample::machine(1)), account(sample::machine(2))];
    let html = page(&accounts).unwrap();
    assert!(html.contains("before &amp; after.snap"));
    for mark in [
        " src=",
        "@import",
        "url(http",
        "<link",
        "javascript:",
        "<iframe",
    ] {
        assert!(!html.contains(mark), "{mark} in the page");
    }
    // Only the names of XML's vocabularies look like addresses.
    let addresses = html.match_indices("http").count();
    let names = html
        .matches("=\"http://github.com/jonhoo/inferno\"")
        .count();
    let policy = html.matches("http-equiv").count();
    assert_eq!(addresses, names + policy);
}

#[test]
fn what_does_not_add_up_is_said() {
    let mut snapshot = sample::machine(1);
    snapshot.meminfo[0].bytes -= 4096;
    snapshot.header.dropped = 3;
    let html = page(&[account(snapshot)]).unwrap();
    assert!(html.contains("The uses add up to 16,773,120 bytes"));
    assert!(html.contains("3 records had no room"));
}

/// It said 0 allocations beside a heap that had grown by 30,096 bytes: nobody had counted them.
#[test]
fn figures_of_commands_that_nobody_looked_at_are_left_out() {
    let mut snapshot = sample::machine(2);
    let cells = |snapshot: &Snapshot| {
        let html = page(&[account(snapshot.clone())]).unwrap();
        let table = &html[html.find("<table id=\"commands\">").unwrap()..];
        let row = table.split("<tr>").nth(2).unwrap().to_owned();
        row.split("<td").map(str::to_owned).collect::<Vec<_>>()
    };
    let looked_at = cells(&snapshot);
    assert!(looked_at[6].contains(">20<"), "{looked_at:?}");
    snapshot.commands[0].detailed = 0;
    let not = cells(&snapshot);
    for column in [6, 7, 10] {
        assert!(not[column].contains("></td>"), "{column}: {not:?}");
    }
    assert!(parsed(&account(snapshot))["commands"][0]["allocations"].is_null());
}

/// A heap that came late was drawn over the whole width, as if it had been there all the time, and
/// its growth was that since the second snapshot.
#[test]
fn charts_have_one_clock_and_what_was_not_there_was_nothing() {
    let mut before = sample::machine(1);
    before.pools.truncate(2);
    let html = page(&[before, sample::machine(2), sample::machine(3)].map(account)).unwrap();
    let chart = format!("Heap of {}", sample::LEAKER);
    let chart = &html[html.find(&chart).unwrap()..];
    let chart = &chart[..chart.find("</figure>").unwrap()];
    assert_eq!(chart.matches("<circle").count(), 3);
    assert!(chart.contains("+3,840"), "{chart}");
}

/// Below the words that it is none, a tile said "growth over 1 interval".
#[test]
fn nothing_grows_from_one_boot_to_another() {
    let mut other = sample::machine(2);
    other.header.boot ^= 1;
    let html = page(&[sample::machine(1), other].map(account)).unwrap();
    assert!(!html.contains("Growth of live bytes") && !html.contains(">growth bytes"));
    assert!(html.contains("Difference of live bytes"));
}

/// Its card said "0 of 33,856 free (100 % in smaller pieces)", and "0 of 0" of the stack.
#[test]
fn a_dead_ta_has_nothing_in_pieces() {
    let mut snapshot = sample::machine(1);
    snapshot.tas.truncate(1);
    let ta = &mut snapshot.tas[0];
    ta.state = tally_records::state::DEAD;
    ta.heap.largest_free = 0;
    (ta.heap.live_blocks, ta.heap.alloc.allocated) = (4, 448);
    (ta.stack, ta.stack_deepest) = (0, 3352);
    let html = page(&[account(snapshot)]).unwrap();
    assert!(!html.contains("in smaller pieces"));
    assert!(html.contains("Freed when it died; it held 448 bytes in 4 blocks, at most"));
    assert!(html.contains("Freed when it died; deepest use 3,352 bytes"));
}

/// What is called live is not all that the kernel heap has: `alloc` told more, and nobody said why.
#[test]
fn what_is_left_out_of_the_live_blocks_is_said() {
    let left_out = "Left out here: 16,384 bytes in 4 blocks of the kernel heap";
    let mut snapshot = sample::machine(1);
    assert!(
        !page(&[account(snapshot.clone())])
            .unwrap()
            .contains("Left out")
    );
    snapshot.pools[0].pool.alloc.allocated += 16_384;
    snapshot.pools[0].pool.live_blocks += 4;
    assert!(page(&[account(snapshot)]).unwrap().contains(left_out));
}

#[test]
fn snapshots_of_several_boots_have_no_common_time() {
    let (first, mut second) = (sample::machine(1), sample::machine(2));
    second.header.boot += 1;
    let html = page(&[account(first), account(second)]).unwrap();
    assert!(html.contains("of different boots"));
    assert!(!html.contains("id=\"time\"") && !html.contains("href=\"#time\""));
}

#[test]
fn an_empty_snapshot_makes_a_page() {
    let html = page(&[account(Snapshot::default())]).unwrap();
    assert!(html.contains("There is nothing to draw") && html.contains("does not say"));
    assert!(page(&[]).is_none());
}

#[test]
fn wild_figures_make_a_page() {
    let mut snapshot = sample::machine(1);
    for row in &mut snapshot.meminfo {
        row.bytes = u64::MAX;
    }
    for record in &mut snapshot.live {
        record.bytes = u64::MAX;
    }
    for ta in &mut snapshot.tas {
        (ta.vss, ta.stack, ta.stack_deepest) = (u64::MAX, u64::MAX, u64::MAX);
        ta.heap.alloc.max_allocated = u32::MAX;
        ta.heap.metadata = u64::MAX;
    }
    snapshot.header.at_ms = u64::MAX;
    assert!(page(&[account(snapshot.clone()), account(snapshot)]).is_some());
}

/// A TA reserves its heap's tables too: the page and the JSON said 34,304 of a heap of which
/// `teestat history` says 32768.
#[test]
fn heaps_of_ended_tas_have_the_size_that_was_declared() {
    let mut snapshot = sample::machine(1);
    snapshot.history[0].heap_size = 34_304;
    let account = account(snapshot);
    let value = parsed(&account);
    assert_eq!(value["history"][0]["heap_declared"], 32_768);
    let html = page(&[account]).unwrap();
    assert_eq!(column(&html, "history", 4)[0], 32_768);
}

/// `session 1,794` is 0x702 in all that teestat says.
#[test]
fn sessions_are_hexadecimal() {
    let mut snapshot = sample::machine(1);
    for region in &mut snapshot.regions {
        region.session = 0x702;
    }
    snapshot.owners[0].session = 0x703;
    snapshot.tas[0].state = tally_records::state::BUSY;
    snapshot.tas[0].session = 0x704;
    let html = page(&[account(snapshot)]).unwrap();
    for said in ["0x702", "0x703", "of session 0x704 for"] {
        assert!(html.contains(said), "{said}");
    }
    assert!(!html.contains("1,794") && !html.contains("1,795") && !html.contains("1,796"));
    assert_eq!(column(&html, "region-rows", 7)[0], 0x702);
}
