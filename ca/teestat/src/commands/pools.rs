//! Commands for a pool's contents: `slabinfo`, `allocinfo`, `blocks`, `block`, `pool`.
//!
//! **Invariant:** lists of blocks and chunks are written as they come, never kept.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use tally_records::ChunkRow;
use tally_records::ClassRow;
use tally_records::OwnerRow;
use tally_records::TaDetail;

use tally_abi::TeeUuid;
use tally_insight::growth::Amount;
use tally_insight::json::{Hexadecimal, List, One, Stream};
use tally_insight::merged;
use tally_insight::names::Stack;
use tally_records::{BlockRow, PoolRow, SiteRow, damage, pool_kind, state};
use teec::ErrorKind;

use super::{Command, Form};
use crate::client::{self, ClientError, pools as calls};
use crate::text::Count;
use crate::text::pools::ChunkTotals;
use crate::tool::{Failure, Tool, is_gone, usage};
use crate::{STATUS_FAILED, STATUS_OK, SlabNote, size, text};
use tally_records::Selector;

mod answers;

pub(super) use answers::ANSWERS;
use answers::{
    Block, BlockTotals, BlockWhole, Checked, Chunks, Class, Classes, KindBytes, Sites, Whose,
};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "slabinfo",
        forms: &[Form(
            "[POOL] [--diff]",
            "size classes of a pool (kernel, or a TA's); what changed since it was last asked",
        )],
        run: |tool, words| tool.slabinfo(words),
    },
    Command {
        name: "allocinfo",
        forms: &[Form(
            "[POOL] [--sort bytes|blocks|calls|peak] [--top N]",
            "live bytes, blocks, allocations and peak per call site",
        )],
        run: |tool, words| tool.allocinfo(words),
    },
    Command {
        name: "blocks",
        forms: &[Form("[POOL]", "every live block with its call site")],
        run: |tool, words| tool.blocks(words),
    },
    Command {
        name: "block",
        forms: &[Form(
            "ADDRESS|OFFSET [POOL]",
            "the block that has this byte, and what is in it",
        )],
        run: |tool, words| tool.block(words),
    },
    Command {
        name: "pool",
        forms: &[
            Form("dump [POOL]", "every chunk of a pool, free ones too"),
            Form("check [POOL]", "whether a pool's tables are sound"),
        ],
        run: |tool, words| tool.pool(words),
    },
];

/// The pool that a command is about.
struct Asked {
    /// Nobody, or one instance of a TA.
    who: Selector,
    /// Which of a TA's instances was taken, as a line; empty if there was no choice.
    note: String,
    /// The numbers of the TA's living instances.
    alive: Vec<u32>,
}

/// What the notes of earlier questions say to a pool's.
#[derive(Debug, PartialEq, Eq)]
enum Earlier {
    /// Nobody has asked about this TA before, or about the kernel.
    None,
    /// Only other instances of it were asked about, last this one.
    Other(u32),
    /// It was so.
    Notes(Vec<SlabNote>),
}

impl Earlier {
    /// Of a pool, which is that of an instance of a TA.
    fn of(notes: &[SlabNote], pool: TeeUuid, instance: u32) -> Self {
        let of_ta = notes.iter().filter(|note| note.pool == pool);
        let (same, others): (Vec<SlabNote>, Vec<SlabNote>) =
            of_ta.partition(|note| note.instance == instance);
        match (&same[..], others.last()) {
            ([], None) => Self::None,
            ([], Some(other)) => Self::Other(other.instance),
            _ => Self::Notes(same),
        }
    }

    fn notes(&self) -> Option<&[SlabNote]> {
        match self {
            Self::Notes(notes) => Some(notes),
            Self::None | Self::Other(_) => None,
        }
    }
}

/// How call sites are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Bytes,
    Blocks,
    Calls,
    Peak,
}

impl Order {
    fn key(self, row: &SiteRow) -> u64 {
        match self {
            Self::Bytes => row.live_bytes,
            Self::Blocks => row.live_blocks,
            Self::Calls => row.allocations,
            Self::Peak => row.peak_bytes,
        }
    }

    /// This order, or by bytes if the pool does not count what this one goes by.
    fn possible(self, rows: &[SiteRow]) -> Self {
        match self {
            Self::Calls | Self::Peak if !rows.iter().any(SiteRow::is_counted) => Self::Bytes,
            order => order,
        }
    }
}

impl Tool<'_, '_> {
    /// The pool that is named; the kernel heap if none is.
    fn pool_named(&self, name: Option<&str>) -> Result<Asked, Failure> {
        let name = name.unwrap_or("kernel");
        let mut who = self.subject(name)?;
        let mut note = String::new();
        let mut alive = Vec::new();
        if who != Selector::KERNEL {
            // What is wrong with the TA, the question itself is told.
            let ta = Selector::ta(who.uuid);
            let mut tas = client::rows::<TaDetail>(self.context, &ta).unwrap_or_default();
            tas.retain(|ta| ta.state != state::DEAD);
            alive.extend(tas.iter().map(|ta| ta.instance));
        }
        if let ([first, others @ ..], None) = (&alive[..], who.instance_number()) {
            who = Selector::instance(who.uuid, *first);
            if !others.is_empty() {
                note = text::pools::one_of_many(name, *first, others);
            }
        }
        Ok(Asked { who, note, alive })
    }

    /// What a question about a pool failed with.
    fn about_pool(&self, who: &Selector, error: ClientError) -> Failure {
        match error.kind() {
            Some(ErrorKind::CorruptObject) => {
                Failure::Said(String::from("the pool's books make no sense: INCONSISTENT"))
            }
            Some(ErrorKind::Busy) => Failure::Said(String::from(
                "the pool is changed whenever it is read; try again",
            )),
            _ => self.about_ta(who, error),
        }
    }

    fn slabinfo(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let diff = words.contains(&"--diff");
        let rest: Vec<&str> = words.iter().copied().filter(|w| *w != "--diff").collect();
        super::no_more(rest.get(1..).unwrap_or_default())?;
        let Asked { who, note, alive } = self.pool_named(rest.first().copied())?;
        let rows = client::rows::<ClassRow>(self.context, &who);
        let rows = rows.map_err(|error| self.about_pool(&who, error))?;
        let (pool, instance) = (who.uuid, who.instance_number().unwrap_or(0));
        let notes = &mut self.memory.slabs;
        let before = Earlier::of(notes, pool, instance);
        // Of other instances, those that are alive may be asked about again.
        notes.retain(|note| {
            note.pool != pool || note.instance != instance && alive.contains(&note.instance)
        });
        notes.extend(rows.iter().map(|row| SlabNote::of(row, instance)));
        let notes = before.notes().filter(|_| diff);
        let names = self.names;
        let answer = Classes {
            classes: rows
                .iter()
                .map(|row| Class::new(row, notes, names))
                .collect(),
            compared: notes.is_some(),
            whose: Whose::new(&who, names),
        };
        self.tell(&answer, |out| {
            out.write_str(&note)?;
            text::pools::classes(out, &rows, notes)?;
            match before {
            Earlier::Other(other) if diff => writeln!(
                out,
                "there was nothing to compare with: instance {instance} was not asked about before, but {other} \
                 was; from now on there is"
            ),
            Earlier::None if diff => writeln!(
                out,
                "there was nothing to compare with; from now on there is"
            ),
            _ => Ok(()),
        }
        })?;
        Ok(STATUS_OK)
    }

    fn allocinfo(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let (mut pool, mut order, mut top) = (None, Order::Bytes, usize::MAX);
        let mut words = words.iter();
        while let Some(&word) = words.next() {
            match word {
                "--sort" => {
                    order = match words.next() {
                        Some(&"bytes") => Order::Bytes,
                        Some(&"blocks") => Order::Blocks,
                        Some(&"calls") => Order::Calls,
                        Some(&"peak") => Order::Peak,
                        _ => return Err(usage("--sort by bytes, blocks, calls or peak?")),
                    };
                }
                "--top" => {
                    let word = words.next();
                    let word = word.ok_or_else(|| usage("--top how many?"))?;
                    let number = word.parse().ok().filter(|number| *number > 0);
                    let number = number.ok_or_else(|| {
                        usage(&alloc::format!(
                            "`{word}` is not a number from 1 to {}",
                            usize::MAX
                        ))
                    });
                    top = number?;
                }
                name if pool.is_none() => pool = Some(name),
                other => return super::no_more(&[other]).map(|()| STATUS_OK),
            }
        }
        let Asked { who, note, .. } = self.pool_named(pool)?;
        let rows = calls::sites(self.context, &who);
        let rows = rows.map_err(|error| self.about_pool(&who, error))?;
        let possible = order.possible(&rows);
        let names = self.names;
        let mut sites = merged::sites(names, &rows);
        sites.sort_by_key(|(row, _)| core::cmp::Reverse(possible.key(row)));
        let all = sites.len();
        sites.truncate(top);
        let rows: Vec<SiteRow> = sites.iter().map(|(row, _)| *row).collect();
        let answer = Sites {
            rows: List(&rows, names),
            all,
            whose: Whose::new(&who, names),
        };
        self.tell(&answer, |out| {
            out.write_str(&note)?;
            text::pools::sites(out, &sites, all)?;
            match possible == order {
                true => Ok(()),
                false => writeln!(out, "sorted by bytes instead"),
            }
        })?;
        Ok(STATUS_OK)
    }

    /// Names of a pool's call sites, by number.
    fn site_names(&self, who: &Selector) -> Result<Vec<(u32, String)>, Failure> {
        let rows = calls::sites(self.context, who);
        let rows = rows.map_err(|error| self.about_pool(who, error))?;
        let named = rows.iter().map(|row| {
            let stack = Stack::of(self.names, row);
            let name = stack.innermost().map(ToString::to_string);
            (row.site, name.unwrap_or_else(|| String::from("unknown")))
        });
        Ok(named.collect())
    }

    fn blocks(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words.get(1..).unwrap_or_default())?;
        let Asked { who, note, .. } = self.pool_named(words.first().copied())?;
        let names = self.site_names(&who)?;
        let of_ta = who != Selector::KERNEL;
        let mut total = Amount::default();
        let (context, out) = (self.context, &mut *self.out);
        if self.as_json {
            let mut stream = Stream::new("blocks");
            let listed = client::each::<BlockRow, _>(context, &who, &mut |row: &BlockRow| {
                total.blocks += 1;
                total.bytes = total.bytes.saturating_add(row.size);
                Ok::<(), Failure>(stream.item(
                    out,
                    &Block {
                        row: One(row, self.names),
                        allocated_at: name_of(&names, row.site),
                    },
                )?)
            });
            self.told(&who, listed)?;
            let totals = BlockTotals {
                count: total.blocks,
                bytes: total.bytes,
                left_out: self.left_out_of(of_ta, total)?,
                whose: Whose::new(&who, self.names),
            };
            stream.end(self.out, &totals)?;
            return Ok(STATUS_OK);
        }
        out.write_str(&note)?;
        text::pools::blocks_head(out, of_ta)?;
        let listed = client::each::<BlockRow, _>(context, &who, &mut |row: &BlockRow| {
            total.blocks += 1;
            total.bytes = total.bytes.saturating_add(row.size);
            Ok::<(), Failure>(text::pools::block(
                out,
                row,
                of_ta,
                name_of(&names, row.site),
            )?)
        });
        self.told(&who, listed)?;
        writeln!(
            self.out,
            "{}, {} bytes",
            Count(total.blocks, "block"),
            total.bytes
        )?;
        let left_out = self.left_out_of(of_ta, total)?;
        text::left_out(self.out, left_out)?;
        Ok(STATUS_OK)
    }

    fn left_out_of(&self, of_ta: bool, listed: Amount) -> Result<Amount, Failure> {
        if of_ta {
            return Ok(Amount::default());
        }
        self.left_out(listed)
    }

    /// What the kernel heap holds besides the blocks of a list: what statistics and calls in flight
    /// take, which no list has.
    pub(super) fn left_out(&self, listed: Amount) -> Result<Amount, Failure> {
        let pools = client::rows::<PoolRow>(self.context, &Selector::ALL)?;
        let heap = PoolRow::find(&pools, pool_kind::KERNEL_HEAP);
        let all = heap.map_or(listed, |heap| Amount {
            blocks: heap.live_blocks,
            bytes: heap.alloc.allocated.into(),
        });
        Ok(all.less(listed))
    }

    /// A list's failure, with what the other side said made plain.
    fn told(&self, who: &Selector, result: Result<(), Failure>) -> Result<(), Failure> {
        result.map_err(|failure| match failure {
            Failure::Client(error) => self.about_pool(who, error),
            failure => failure,
        })
    }

    fn block(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let (at, pool) = match words {
            [at] => (*at, None),
            [at, pool] => (*at, Some(*pool)),
            _ => return Err(usage("which block?")),
        };
        let number = size(at).ok_or_else(|| {
            Failure::Usage(alloc::format!("`{at}` is neither an address nor an offset"))
        })?;
        let Asked { who, note, .. } = self.pool_named(pool)?;
        let mut whose = Vec::from([who]);
        if pool.is_none() && number > u64::from(u32::MAX) {
            // An address tells by itself whose it is.
            for ta in client::rows::<TaDetail>(self.context, &Selector::TAS)? {
                whose.push(Selector::instance(ta.uuid, ta.instance));
            }
        }
        for who in &whose {
            match calls::block(self.context, who, number) {
                Ok(row) => {
                    if !self.as_json {
                        self.out.write_str(&note)?;
                    }
                    return self.show_block(who, &row, number);
                }
                Err(error) if error.kind() == Some(ErrorKind::ItemNotFound) => {}
                // One of all, which has no memory to look in.
                Err(error) if whose.len() > 1 && is_gone(&error) => {}
                Err(error) if error.kind() == Some(ErrorKind::AccessDenied) => {
                    return Err(Failure::Said(String::from(
                        "addresses are hidden in this build of the kernel; offsets in a pool work: see `blocks`",
                    )));
                }
                Err(error) => return Err(self.about_pool(who, error)),
            }
        }
        Err(self.no_block(&whose[0], number))
    }

    fn show_block(&mut self, who: &Selector, row: &BlockRow, at: u64) -> Result<u8, Failure> {
        let sites = calls::sites(self.context, who)?;
        let site = sites.iter().find(|site| site.site == row.site);
        let stack = site.map_or_else(Stack::default, |site| Stack::of(self.names, site));
        let bytes = calls::block_bytes(self.context, who, row)?;
        let base = if at < row.offset { row.va } else { row.offset };
        let inside = at.saturating_sub(base);
        let owner = if *who == Selector::KERNEL {
            let owners = client::rows::<OwnerRow>(self.context, &Selector::ALL)?;
            text::pools::kernel_owner(row.owner, &owners, self.names)
        } else {
            text::pools::ta_owner(row.owner)
        };
        let answer = BlockWhole {
            row: One(row, self.names),
            byte: inside,
            stack: &stack,
            content: bytes.as_ref().map(|bytes| Hexadecimal(bytes).to_string()),
            whose: Whose::new(who, self.names),
        };
        self.tell(&answer, |out| {
            text::pools::block_whole(out, row, &owner, &stack, inside, bytes.as_deref())
        })?;
        Ok(STATUS_OK)
    }

    /// No block has this byte; says which is nearest.
    fn no_block(&self, who: &Selector, at: u64) -> Failure {
        let mut nearest: Option<(u64, BlockRow)> = None;
        let listed = client::each::<BlockRow, _>(self.context, who, &mut |row: &BlockRow| {
            let start = if at > u64::from(u32::MAX) {
                row.va
            } else {
                row.offset
            };
            let distance = start.abs_diff(at);
            if nearest.is_none_or(|(least, _)| distance < least) {
                nearest = Some((distance, *row));
            }
            Ok::<(), ClientError>(())
        });
        match (listed, nearest) {
            (Err(error), _) => self.about_pool(who, error),
            (Ok(()), None) => Failure::Said(String::from("the pool has no live block")),
            (Ok(()), Some((_, row))) => Failure::Said(alloc::format!(
                "no live block has the byte at {at:#x}; the nearest is of {} bytes at offset {:#x}",
                row.size,
                row.offset
            )),
        }
    }

    fn pool(&mut self, words: &[&str]) -> Result<u8, Failure> {
        let (what, pool) = match words {
            [what] => (*what, None),
            [what, pool] => (*what, Some(*pool)),
            _ => return Err(usage("pool dump or check?")),
        };
        let Asked { who, note, .. } = match what {
            "dump" | "check" => self.pool_named(pool)?,
            _ => return Err(usage("pool dump or check?")),
        };
        if what == "check" {
            return self.check_pool(&who, &note);
        }
        let (context, out) = (self.context, &mut *self.out);
        let mut totals = ChunkTotals::default();
        if self.as_json {
            let mut stream = Stream::new("chunks");
            let listed = client::each::<ChunkRow, _>(context, &who, &mut |row| {
                totals.add(row);
                Ok::<(), Failure>(stream.item(out, &One(row, self.names))?)
            });
            self.told(&who, listed)?;
            let totals = Chunks {
                count: totals.count,
                bytes: KindBytes::new(&totals),
                whose: Whose::new(&who, self.names),
            };
            stream.end(self.out, &totals)?;
            return Ok(STATUS_OK);
        }
        // A pool has a chunk; one that has none to tell of is an error, which no head goes before.
        let listed = client::each::<ChunkRow, _>(context, &who, &mut |row| {
            if totals.count == 0 {
                out.write_str(&note)?;
                text::pools::chunks_head(out)?;
            }
            totals.add(row);
            Ok::<(), Failure>(text::pools::chunk(out, row)?)
        });
        self.told(&who, listed)?;
        text::pools::chunk_totals(self.out, &totals)?;
        Ok(STATUS_OK)
    }

    fn check_pool(&mut self, who: &Selector, note: &str) -> Result<u8, Failure> {
        let checked = calls::check(self.context, who);
        let (found, at) = checked.map_err(|error| self.about_pool(who, error))?;
        let answer = Checked::new(found, at, Whose::new(who, self.names));
        self.tell(&answer, |out| {
            out.write_str(note)?;
            text::pools::checked(out, found, at)
        })?;
        Ok(if found == damage::NONE {
            STATUS_OK
        } else {
            STATUS_FAILED
        })
    }
}

fn name_of(names: &[(u32, String)], site: u32) -> &str {
    let found = names.iter().find(|(number, _)| *number == site);
    found.map_or("unknown", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_compared_with_itself_alone() {
        // Bug: notes were kept by TA, so that one instance was compared with another.
        let (pool, other) = (TeeUuid::from_u128(1), TeeUuid::from_u128(2));
        let note = |pool, instance, live| SlabNote {
            pool,
            instance,
            live,
            ..SlabNote::default()
        };
        let notes = [note(pool, 0, 3), note(pool, 4, 5), note(other, 1, 7)];
        let of = |pool, instance| Earlier::of(&notes, pool, instance);
        assert_eq!(of(pool, 4), Earlier::Notes(Vec::from([notes[1]])));
        assert_eq!(of(pool, 5), Earlier::Other(4));
        assert_eq!(of(other, 0), Earlier::Other(1));
        assert_eq!(of(TeeUuid::nil(), 0), Earlier::None);
        assert_eq!(of(pool, 5).notes(), None);
    }

    #[test]
    fn what_is_not_counted_is_not_sorted_by() {
        let counted = SiteRow {
            allocations: 1,
            ..SiteRow::default()
        };
        let rows = [SiteRow::default(); 2];
        for order in [Order::Calls, Order::Peak] {
            assert_eq!(order.possible(&rows), Order::Bytes);
            assert_eq!(order.possible(&[rows[0], counted]), order);
        }
        assert_eq!(Order::Blocks.possible(&rows), Order::Blocks);
    }
}
