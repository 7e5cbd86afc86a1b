//! Tests of a pool's contents: call sites, classes, blocks, chunks, checks.
//!
//! **Invariant:** every test ends with the TA gone.

use alloc::format;
use alloc::string::String;
use ta_uuids::{crash, heap, hello};
use tally_records::ClassRow;
use tally_records::MeminfoRow;
use tally_records::RegionRow;
use tally_records::Selector;
use tally_records::TaDetail;
use tally_records::{BlockRow, ChunkRow, PoolRow, chunk_kind, damage, pool_kind};
use teec::ErrorKind;
use teestat::client::{self, ClientError, pools};
use teestat::{Memory, STATUS_FAILED};

use crate::figures::printed;
use crate::{Bench, Outcome, Test, equal, holds, parsed, value_call, value_in, works};

pub(crate) const TESTS: &[Test] = &[
    (
        "a hundred thousand live blocks are listed, and the pool adds up",
        many_blocks,
    ),
    (
        "call sites and size classes of a pool are told",
        sites_and_classes,
    ),
    (
        "slabinfo compares an instance of a TA with itself alone",
        instances_apart,
    ),
    ("a block is found by any of its bytes", one_block),
    (
        "a pool of the kernel is sound, a scribbled one is not",
        checked,
    ),
    ("the chunks of the kernel heap add up to it", kernel_chunks),
    (
        "addresses and bytes of blocks are shown by builds that do, and only by those",
        shown,
    ),
    (
        "a write past a block's end is found where there are guard bytes",
        overrun,
    ),
];

fn told(error: ClientError) -> String {
    format!("{error}")
}

/// Live blocks of a pool and their bytes; offsets must rise.
fn count(bench: &Bench, who: &Selector) -> Result<(u64, u64), String> {
    let (mut blocks, mut bytes, mut end) = (0, 0, 0);
    let mut rising = true;
    client::each::<BlockRow, _>(&bench.context, who, &mut |row: &BlockRow| {
        rising &= row.offset >= end;
        end = row.offset + row.size;
        blocks += 1;
        bytes += row.size;
        Ok::<(), ClientError>(())
    })
    .map_err(told)?;
    holds(rising, "blocks overlap, or do not rise")?;
    Ok((blocks, bytes))
}

/// Where the chunks of a pool end, and how many are blocks; they must add up.
fn chunk_sum(bench: &Bench, who: &Selector) -> Result<(u64, u64), String> {
    let (mut end, mut sum, mut blocks) = (0, 0, 0);
    client::each::<ChunkRow, _>(&bench.context, who, &mut |row: &ChunkRow| {
        end = end.max(row.offset + row.bytes);
        sum += row.bytes;
        blocks += u64::from(row.kind == chunk_kind::BLOCK);
        Ok::<(), ClientError>(())
    })
    .map_err(told)?;
    equal(sum, end, "bytes of all chunks, and where they end")?;
    Ok((end, blocks))
}

fn many_blocks(bench: &Bench) -> Outcome {
    const BLOCKS: u64 = 100_000;
    let who = Selector::ta(heap::UUID);
    let mut session = bench.open(heap::UUID)?;
    let before = count(bench, &who)?;
    works(value_in(&mut session, heap::CMD_LEAK, BLOCKS as u32, 20))?;
    let meminfo = client::rows::<MeminfoRow>(&bench.context, &Selector::ALL).map_err(told)?;
    let after = count(bench, &who)?;
    equal(
        (after.0 - before.0, after.1 - before.1),
        (BLOCKS, 20 * BLOCKS),
        "blocks and bytes listed",
    )?;
    equal(
        client::rows::<MeminfoRow>(&bench.context, &Selector::ALL).map_err(told)?,
        meminfo,
        "secure memory before and after the list",
    )?;
    let ta = client::rows::<TaDetail>(&bench.context, &who).map_err(told)?;
    let ta = ta.first().ok_or("it is not listed")?;
    equal(
        (
            ta.heap.inconsistent,
            ta.heap.live_blocks,
            u64::from(ta.heap.alloc.allocated),
        ),
        (0, after.0, after.1),
        "its figures",
    )?;
    let (end, blocks) = chunk_sum(bench, &who)?;
    equal(
        (end, blocks),
        (ta.heap_committed, after.0),
        "end of the pool, and blocks",
    )?;
    equal(
        pools::check(&bench.context, &who).map_err(told)?.0,
        damage::NONE,
        "the check",
    )
}

fn instances_apart(bench: &Bench) -> Outcome {
    // Bug: what `slabinfo` remembered was of a TA, and one instance was compared with another.
    let mut memory = Memory::default();
    let first = bench.open(hello::UUID)?;
    let said = printed(bench, &["slabinfo", "hello", "--diff"], &mut memory)?;
    holds(said.contains("nothing to compare with; from"), &said)?;
    let number = |n: usize| -> Result<u32, String> {
        let tas =
            client::rows::<TaDetail>(&bench.context, &Selector::ta(hello::UUID)).map_err(told)?;
        tas.get(n)
            .map(|ta| ta.instance)
            .ok_or_else(|| format!("no instance {n}"))
    };
    let second = bench.open(hello::UUID)?;
    let (one, two) = (number(0)?, number(1)?);
    let asked = format!("hello#{two}");
    let said = printed(bench, &["slabinfo", &asked, "--diff"], &mut memory)?;
    let other = format!("instance {two} was not asked about before, but {one} was");
    holds(said.contains(&other), &said)?;
    let said = printed(bench, &["slabinfo", &asked, "--diff"], &mut memory)?;
    holds(said.ends_with("nothing changed\n"), &said)?;
    let said = printed(bench, &["pools"], &mut memory)?;
    holds(
        [one, two]
            .iter()
            .all(|n| said.contains(&format!(") #{n}\n"))),
        &said,
    )?;
    drop((first, second));
    // One that is gone is compared with nobody.
    let third = bench.open(hello::UUID)?;
    let said = printed(bench, &["slabinfo", "hello", "--diff"], &mut memory)?;
    holds(said.contains("nothing to compare with: instance"), &said)?;
    let json = parsed(&printed(
        bench,
        &["slabinfo", "hello", "--json"],
        &mut memory,
    )?)?;
    equal(&json["compared"], &false.into(), "compared")?;
    equal(&json["instance"], &number(0)?.into(), "instance")?;
    drop(third);
    Ok(())
}

fn sites_and_classes(bench: &Bench) -> Outcome {
    let who = Selector::ta(heap::UUID);
    let mut memory = Memory::default();
    let mut session = bench.open(heap::UUID)?;
    works(value_in(&mut session, heap::CMD_LEAK, 5, 100))?;
    printed(bench, &["slabinfo", "heap"], &mut memory)?;
    let text = printed(bench, &["slabinfo", "heap", "--diff"], &mut memory)?;
    holds(text.ends_with("nothing changed\n"), &text)?;
    works(value_in(&mut session, heap::CMD_LEAK, 40, 100))?;
    let text = printed(bench, &["slabinfo", "heap", "--diff"], &mut memory)?;
    holds(text.contains("+40"), &text)?;
    let text = printed(bench, &["allocinfo", "heap", "--top", "1"], &mut memory)?;
    holds(text.contains(heap::LEAK_FUNCTION), &text)?;
    let sites = pools::sites(&bench.context, &who).map_err(told)?;
    let live: u64 = sites.iter().map(|site| site.live_bytes).sum();
    let ta = client::rows::<TaDetail>(&bench.context, &who).map_err(told)?;
    let ta = ta.first().ok_or("it is not listed")?;
    equal(live, ta.heap.alloc.allocated.into(), "bytes of all sites")?;
    for pool in [who, Selector::KERNEL] {
        let classes = client::rows::<ClassRow>(&bench.context, &pool).map_err(told)?;
        let bytes: u64 = classes.iter().map(|class| class.bytes).sum();
        let all = client::rows::<PoolRow>(&bench.context, &Selector::ALL).map_err(told)?;
        let size = all
            .iter()
            .find(|row| row.pool.owner == pool.uuid && row.pool.alloc.size > 0);
        let size = size.map_or(0, |row| u64::from(row.pool.alloc.size));
        equal(bytes, size, "bytes of all classes")?;
        let fits = |class: &tally_records::ClassRow| class.requested <= class.bytes;
        holds(
            classes.iter().all(fits),
            "blocks asked for more than there is",
        )?;
    }
    let ours = client::rows::<ClassRow>(&bench.context, &who).map_err(told)?;
    let requested: u64 = ours.iter().map(|class| class.requested).sum();
    equal(requested, live, "what all classes' blocks asked for")
}

fn one_block(bench: &Bench) -> Outcome {
    let who = Selector::ta(heap::UUID);
    let mut session = bench.open(heap::UUID)?;
    works(value_call(&mut session, heap::CMD_ALLOC, 5000, 0))?;
    let mut found = None;
    client::each::<BlockRow, _>(&bench.context, &who, &mut |row: &BlockRow| {
        if row.size == 5000 {
            found = Some(*row);
        }
        Ok::<(), ClientError>(())
    })
    .map_err(told)?;
    let wanted = found.ok_or("the block is not listed")?;
    for byte in [0, 1, 2500, 4999] {
        let row = pools::block(&bench.context, &who, wanted.offset + byte).map_err(told)?;
        equal((row.offset, row.size), (wanted.offset, 5000), "the block")?;
    }
    let at = format!("{}", wanted.offset + 7);
    let text = printed(bench, &["block", &at, "heap"], &mut Memory::default())?;
    holds(text.contains("block of 5000 bytes at offset 0x"), &text)?;
    holds(
        text.contains("byte 7 of it") && text.contains("tas/heap/src/ta.rs:"),
        &text,
    )?;
    // The books themselves are nobody's block.
    match pools::block(&bench.context, &who, 8) {
        Err(error) if error.kind() == Some(ErrorKind::ItemNotFound) => {}
        other => return Err(format!("the books: {other:?}")),
    }
    complains(bench, &["block", "8", "heap"], "the nearest is of")?;
    complains(
        bench,
        &["block", "8", "nobody"],
        "neither a UUID nor the name",
    )
}

fn shown(bench: &Bench) -> Outcome {
    const BYTES: usize = 5000;
    let who = Selector::ta(heap::UUID);
    let mut session = bench.open(heap::UUID)?;
    works(value_call(&mut session, heap::CMD_ALLOC, BYTES as u32, 0))?;
    let mut found = None;
    client::each::<BlockRow, _>(&bench.context, &who, &mut |row: &BlockRow| {
        if row.size == BYTES as u64 {
            found = Some(*row);
        }
        Ok::<(), ClientError>(())
    })
    .map_err(told)?;
    let block = found.ok_or("the block is not listed")?;
    let regions = client::rows::<RegionRow>(&bench.context, &who).map_err(told)?;
    let addresses = regions.iter().filter(|row| row.va != 0 || row.pa != 0);
    let bytes = pools::block_bytes(&bench.context, &who, &block).map_err(told)?;
    if block.va == 0 {
        equal(addresses.count(), 0, "regions with addresses")?;
        // An address in the heap of a TA, if that is where it lies.
        return complains(
            bench,
            &["block", "0x123456789a", "heap"],
            "addresses are hidden",
        );
    }
    equal(addresses.count(), regions.len(), "regions with addresses")?;
    let again = pools::block(&bench.context, &who, block.va + 7).map_err(told)?;
    equal(again.offset, block.offset, "the block at its own address")?;
    match bytes {
        Some(bytes) => holds(
            bytes.len() == BYTES && bytes.iter().all(|byte| *byte == 0xa5),
            "its bytes are not what the TA wrote",
        ),
        // The other feature.
        None => Ok(()),
    }
}

/// `teestat` must fail and say this.
fn complains(bench: &Bench, args: &[&str], what: &str) -> Outcome {
    let (mut out, mut err) = (String::new(), String::new());
    let status = teestat::run(
        args,
        &bench.context,
        &mut out,
        &mut err,
        bench.side,
        &mut Memory::default(),
    );
    holds(
        status >= STATUS_FAILED && err.contains(what),
        &format!("teestat {args:?}: status {status}: {err}"),
    )
}

fn checked(bench: &Bench) -> Outcome {
    let text = printed(bench, &["pool", "check"], &mut Memory::default())?;
    equal(text.as_str(), "the pool is sound\n", "the kernel heap")?;
    let mut session = bench.open(crash::UUID)?;
    works(session.invoke_plain(crash::CMD_SCRIBBLE))?;
    let who = Selector::ta(crash::UUID);
    let found = pools::check(&bench.context, &who).map_err(told)?;
    holds(found.0 != damage::NONE, "scribbled books are called sound")?;
    for args in [
        &["blocks", "crash"],
        &["allocinfo", "crash"],
        &["slabinfo", "crash"],
    ] {
        complains(bench, args, "INCONSISTENT")?;
    }
    let killed = client::kill(&bench.context, crash::UUID).map_err(told)?;
    equal(killed, 1, "instances ended")
}

fn overrun(bench: &Bench) -> Outcome {
    const BYTES: u32 = 28;
    let who = Selector::ta(heap::UUID);
    let checked = || pools::check(&bench.context, &who).map_err(told);
    let mut session = bench.open(heap::UUID)?;
    let handle = works(value_call(&mut session, heap::CMD_ALLOC, BYTES, 0))?.0;
    works(value_call(
        &mut session,
        heap::CMD_OVERRUN,
        handle,
        BYTES - 1,
    ))?;
    equal(checked()?.0, damage::NONE, "after a write to the last byte")?;
    let guard = works(value_call(&mut session, heap::CMD_OVERRUN, handle, BYTES))?.0;
    let expected = if guard == 0 {
        damage::NONE
    } else {
        damage::OVERRUN
    };
    let (found, offset) = checked()?;
    equal(found, expected, "after a write behind it")?;
    if guard != 0 {
        let block = pools::block(&bench.context, &who, offset.into()).map_err(told)?;
        equal(block.size, BYTES.into(), "size of the block that is named")?;
    }
    works(value_in(&mut session, heap::CMD_FREE, handle, 0))?;
    equal(checked()?.0, damage::NONE, "after the block was freed")?;
    // Another one is still there when the TA ends.
    let handle = works(value_call(&mut session, heap::CMD_ALLOC, BYTES, 0))?.0;
    works(value_call(&mut session, heap::CMD_OVERRUN, handle, BYTES))?;
    let killed = client::kill(&bench.context, heap::UUID).map_err(told)?;
    equal(killed, 1, "instances ended")
}

fn kernel_chunks(bench: &Bench) -> Outcome {
    let (end, blocks) = chunk_sum(bench, &Selector::KERNEL)?;
    let all = client::rows::<PoolRow>(&bench.context, &Selector::ALL).map_err(told)?;
    let heap = PoolRow::find(&all, pool_kind::KERNEL_HEAP);
    let heap = heap.ok_or("no kernel heap")?;
    holds(
        end >= u64::from(heap.alloc.size) && blocks > 0,
        &format!("chunks end at {end}, the pool has {}", heap.alloc.size),
    )?;
    let listed = count(bench, &Selector::KERNEL)?;
    holds(
        listed.0 > 0 && listed.0 <= blocks,
        &format!("{} of {blocks} blocks are listed", listed.0),
    )
}
