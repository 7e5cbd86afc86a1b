//! Commands for a pool's contents: `slabinfo`, `allocinfo`, `blocks`, `block`, `pool`.
//!
//! **Invariant:** lists of blocks and chunks are written as they come, never kept.

use alloc::string::String;
use alloc::vec::Vec;

use tally_abi::TeeUuid;
use tally_records::{BlockRow, SiteRow, damage, state};
use teec::ErrorKind;

use super::{Command, Form};
use crate::client::inspect::Subject;
use crate::client::{self as client_calls, ClientError, pools as client};
use crate::frames::{KernelNames, name_frames};
use crate::growth::Amount;
use crate::json::pools::Whose;
use crate::text::Count;
use crate::tool::{Failure, Tool, is_gone, usage};
use crate::{STATUS_FAILED, STATUS_OK, SlabNote, json, text};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "slabinfo",
        forms: &[Form(
            "[POOL] [--diff]",
            "size classes of a pool (kernel, or a TA's); what changed since it was last asked",
        )],
        words: super::A_TA,
        run: |tool, words| tool.slabinfo(words),
    },
    Command {
        name: "allocinfo",
        forms: &[Form(
            "[POOL] [--sort bytes|blocks|calls|peak] [--top N]",
            "live bytes, blocks, allocations and peak per call site",
        )],
        words: super::A_TA,
        run: |tool, words| tool.allocinfo(words),
    },
    Command {
        name: "blocks",
        forms: &[Form("[POOL]", "every live block with its call site")],
        words: super::A_TA,
        run: |tool, words| tool.blocks(words),
    },
    Command {
        name: "block",
        forms: &[Form(
            "ADDRESS|OFFSET [POOL]",
            "the block that has this byte, and what is in it",
        )],
        words: &[],
        run: |tool, words| tool.block(words),
    },
    Command {
        name: "pool",
        forms: &[
            Form("dump [POOL]", "every chunk of a pool, free ones too"),
            Form("check [POOL]", "whether a pool's tables are sound"),
        ],
        words: &["dump", "check"],
        run: |tool, words| tool.pool(words),
    },
];

/// The pool that a command is about.
struct Asked {
    /// Nobody, or one instance of a TA.
    who: Subject,
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
        if who != Subject::NOBODY {
            // What is wrong with the TA, the question itself is told.
            let ta = Subject::ta(who.uuid());
            let mut tas = client_calls::inspect::tas(self.context, &ta).unwrap_or_default();
            tas.retain(|ta| ta.state != state::DEAD);
            alive.extend(tas.iter().map(|ta| ta.instance));
        }
        if let ([first, others @ ..], None) = (&alive[..], who.instance_number()) {
            who = Subject::instance(who.uuid(), *first);
            if !others.is_empty() {
                note = text::pools::one_of_many(name, *first, others);
            }
        }
        Ok(Asked { who, note, alive })
    }

    /// What a question about a pool failed with.
    fn about_pool(&self, who: &Subject, error: ClientError) -> Failure {
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
        let rows = client::classes(self.context, &who);
        let rows = rows.map_err(|error| self.about_pool(&who, error))?;
        let (pool, instance) = (who.uuid(), who.instance_number().unwrap_or(0));
        let notes = &mut self.memory.slabs;
        let before = Earlier::of(notes, pool, instance);
        // Of other instances, those that are alive may be asked about again.
        notes.retain(|note| {
            note.pool != pool || note.instance != instance && alive.contains(&note.instance)
        });
        notes.extend(rows.iter().map(|row| SlabNote::of(row, instance)));
        let notes = before.notes().filter(|_| diff);
        if self.as_json {
            json::pools::classes(self.out, &rows, notes, &Whose(&who, self.names))?;
            return Ok(STATUS_OK);
        }
        self.out.write_str(&note)?;
        text::pools::classes(self.out, &rows, notes)?;
        match before {
            Earlier::Other(other) if diff => writeln!(
                self.out,
                "there was nothing to compare with: instance {instance} was not asked about before, but {other} \
                 was; from now on there is"
            )?,
            Earlier::None if diff => writeln!(
                self.out,
                "there was nothing to compare with; from now on there is"
            )?,
            _ => {}
        }
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
                    let number = words.next().and_then(|word| word.parse().ok());
                    top = number.ok_or_else(|| usage("--top how many?"))?;
                }
                name if pool.is_none() => pool = Some(name),
                other => return super::no_more(&[other]).map(|()| STATUS_OK),
            }
        }
        let Asked { who, note, .. } = self.pool_named(pool)?;
        let rows = client::sites(self.context, &who);
        let rows = rows.map_err(|error| self.about_pool(&who, error))?;
        let possible = order.possible(&rows);
        let mut kernel = KernelNames::new(self.context);
        let mut sites = joined(&rows, |row| {
            name_frames(&mut kernel, self.names, row.pool, &row.frames)
        });
        sites.sort_by_key(|(row, _)| core::cmp::Reverse(possible.key(row)));
        let all = sites.len();
        sites.truncate(top);
        let (rows, stacks): (Vec<SiteRow>, Vec<Vec<String>>) = sites.into_iter().unzip();
        if self.as_json {
            json::pools::sites(self.out, &rows, &stacks, all, &Whose(&who, self.names))?;
        } else {
            self.out.write_str(&note)?;
            text::pools::sites(self.out, &rows, &stacks, all)?;
            if possible != order {
                writeln!(self.out, "sorted by bytes instead")?;
            }
        }
        Ok(STATUS_OK)
    }

    /// Names of a pool's call sites, by number.
    fn site_names(&self, who: &Subject) -> Result<Vec<(u32, String)>, Failure> {
        let rows = client::sites(self.context, who);
        let rows = rows.map_err(|error| self.about_pool(who, error))?;
        let named = rows.iter().map(|row| {
            let names = self.name_frames(row.pool, &row.frames);
            let name = names.into_iter().next();
            (row.site, name.unwrap_or_else(|| String::from("unknown")))
        });
        Ok(named.collect())
    }

    fn blocks(&mut self, words: &[&str]) -> Result<u8, Failure> {
        super::no_more(words.get(1..).unwrap_or_default())?;
        let Asked { who, note, .. } = self.pool_named(words.first().copied())?;
        let names = self.site_names(&who)?;
        let (context, as_json) = (self.context, self.as_json);
        let of_ta = who != Subject::NOBODY;
        let out = &mut *self.out;
        let mut totals = (0_u64, 0_u64);
        if as_json {
            out.write_str("{\"blocks\":[")?;
        } else {
            out.write_str(&note)?;
            text::pools::blocks_head(out, of_ta)?;
        }
        let listed = client::blocks(context, &who, &mut |row: &BlockRow| {
            let name = name_of(&names, row.site);
            if as_json {
                json::pools::block(out, row, name, totals.0 == 0)?;
            } else {
                text::pools::block(out, row, of_ta, name)?;
            }
            totals = (totals.0 + 1, totals.1.saturating_add(row.size));
            Ok::<(), Failure>(())
        });
        self.told(&who, listed)?;
        let left_out = if of_ta {
            Amount::default()
        } else {
            self.left_out(totals.0, totals.1)?
        };
        if as_json {
            writeln!(
                self.out,
                "],\"count\":{},\"bytes\":{},\"left_out\":{{\"blocks\":{},\"bytes\":{}}}{}}}",
                totals.0,
                totals.1,
                left_out.blocks,
                left_out.bytes,
                Whose(&who, self.names)
            )?;
        } else {
            writeln!(self.out, "{}, {} bytes", Count(totals.0, "block"), totals.1)?;
            text::left_out(self.out, left_out)?;
        }
        Ok(STATUS_OK)
    }

    /// What the kernel heap holds besides the blocks of a list: what statistics and calls in flight take,
    /// which no list has.
    pub(super) fn left_out(&self, blocks: u64, bytes: u64) -> Result<Amount, Failure> {
        let pools = client_calls::pools(self.context)?;
        let heap = pools.first().copied().unwrap_or_default();
        Ok(Amount {
            blocks: heap.live_blocks.saturating_sub(blocks),
            bytes: u64::from(heap.alloc.allocated).saturating_sub(bytes),
        })
    }

    /// A list's failure, with what the other side said made plain.
    fn told(&self, who: &Subject, result: Result<(), Failure>) -> Result<(), Failure> {
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
        let number = at.strip_prefix("0x").map_or_else(
            || at.parse().ok(),
            |digits| u64::from_str_radix(digits, 16).ok(),
        );
        let number = number.ok_or_else(|| {
            Failure::Usage(alloc::format!("`{at}` is neither an address nor an offset"))
        })?;
        let Asked { who, note, .. } = self.pool_named(pool)?;
        let mut whose = Vec::from([who]);
        if pool.is_none() && number > u64::from(u32::MAX) {
            // An address tells by itself whose it is.
            for ta in client_calls::inspect::tas(self.context, &Subject::NOBODY)? {
                whose.push(Subject::instance(ta.uuid, ta.instance));
            }
        }
        for who in &whose {
            match client::block(self.context, who, number) {
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

    fn show_block(&mut self, who: &Subject, row: &BlockRow, at: u64) -> Result<u8, Failure> {
        let sites = client::sites(self.context, who)?;
        let site = sites.iter().find(|site| site.site == row.site);
        let stack = site.map_or_else(Vec::new, |site| self.name_frames(site.pool, &site.frames));
        let bytes = client::block_bytes(self.context, who, row)?;
        let base = if at < row.offset { row.va } else { row.offset };
        let inside = at.saturating_sub(base);
        if self.as_json {
            json::pools::block_whole(
                self.out,
                row,
                &stack,
                inside,
                bytes.as_deref(),
                &Whose(who, self.names),
            )?;
        } else {
            let owner = if *who == Subject::NOBODY {
                let owners = client_calls::owners(self.context)?;
                text::pools::kernel_owner(row.owner, &owners, self.names)
            } else {
                text::pools::ta_owner(row.owner)
            };
            text::pools::block_whole(self.out, row, &owner, &stack, inside, bytes.as_deref())?;
        }
        Ok(STATUS_OK)
    }

    /// No block has this byte; says which is nearest.
    fn no_block(&self, who: &Subject, at: u64) -> Failure {
        let mut nearest: Option<(u64, BlockRow)> = None;
        let listed = client::blocks(self.context, who, &mut |row: &BlockRow| {
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
        let (context, as_json) = (self.context, self.as_json);
        let out = &mut *self.out;
        let mut totals = text::pools::ChunkTotals::default();
        // A pool has a chunk; one that has none to tell of is an error, which no head goes before.
        let listed = client::chunks(context, &who, &mut |row| {
            match (totals.count, as_json) {
                (0, true) => out.write_str("{\"chunks\":[")?,
                (0, false) => {
                    out.write_str(&note)?;
                    text::pools::chunks_head(out)?;
                }
                _ => {}
            }
            if as_json {
                json::pools::chunk(out, row, totals.count == 0)?;
            } else {
                text::pools::chunk(out, row)?;
            }
            totals.add(row);
            Ok::<(), Failure>(())
        });
        self.told(&who, listed)?;
        if as_json {
            json::pools::chunk_totals(self.out, &totals, &Whose(&who, self.names))?;
        } else {
            text::pools::chunk_totals(self.out, &totals)?;
        }
        Ok(STATUS_OK)
    }

    fn check_pool(&mut self, who: &Subject, note: &str) -> Result<u8, Failure> {
        let checked = client::check(self.context, who);
        let (found, at) = checked.map_err(|error| self.about_pool(who, error))?;
        if self.as_json {
            json::pools::checked(self.out, found, at, &Whose(who, self.names))?;
        } else {
            self.out.write_str(note)?;
            text::pools::checked(self.out, found, at)?;
        }
        Ok(if found == damage::NONE {
            STATUS_OK
        } else {
            STATUS_FAILED
        })
    }
}

/// Call sites with their names; those that read the same are one, their peaks added up.
fn joined(
    rows: &[SiteRow],
    mut names: impl FnMut(&SiteRow) -> Vec<String>,
) -> Vec<(SiteRow, Vec<String>)> {
    let mut sites: Vec<(SiteRow, Vec<String>)> = Vec::new();
    for row in rows {
        let stack = names(row);
        match sites.iter_mut().find(|(_, other)| *other == stack) {
            Some((site, _)) => {
                site.live_bytes = site.live_bytes.saturating_add(row.live_bytes);
                site.live_blocks = site.live_blocks.saturating_add(row.live_blocks);
                site.allocations = site.allocations.saturating_add(row.allocations);
                site.peak_bytes = site.peak_bytes.saturating_add(row.peak_bytes);
            }
            None => sites.push((*row, stack)),
        }
    }
    sites
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
    fn call_sites_that_read_the_same_are_one() {
        let row = |site, live_blocks| SiteRow {
            site,
            live_blocks,
            live_bytes: 28 * live_blocks,
            allocations: live_blocks,
            ..SiteRow::default()
        };
        // An unrolled loop has several return addresses on one line.
        let rows = [row(1, 9), row(2, 5), row(3, 1)];
        let found = joined(&rows, |row| {
            let name = if row.site == 2 {
                "keep a.rs:2"
            } else {
                "leak a.rs:7"
            };
            Vec::from([String::from(name)])
        });
        let found: Vec<(u64, u64)> = found
            .iter()
            .map(|(row, _)| (row.live_blocks, row.live_bytes))
            .collect();
        assert_eq!(found, [(10, 280), (5, 140)]);
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
