//! Profiles for `pprof`: `profile.proto`, compressed with gzip.
//!
//! Source: github.com/google/pprof `proto/profile.proto`. Sample types are `inuse_objects`,
//! `inuse_space` and `alloc_objects`; labels say pool and owner. Live blocks and allocations are
//! separate samples with the same call stack, since the first are known by owner and the second
//! by call site.
//!
//! **Invariant:** each sample type adds up to the snapshot's figure, or to the difference of two.

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use tally_abi::TeeUuid;
use tally_insight::account::Account;
use tally_insight::growth::{Change, difference};
use tally_insight::names::{Frame, Stack};

#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// What is live in a snapshot, and what was ever allocated.
///
/// # Errors
/// None that a snapshot can cause; the compressor's.
pub fn profile(account: &Account) -> Result<Vec<u8>> {
    let mut builder = Builder::new(&account.file);
    for record in &account.snapshot.live {
        let values = [i64::from(record.blocks), signed(record.bytes), 0];
        let (owner, stack) = (account.owner_of(record), account.stack(record));
        builder.sample(account, &stack, record.image, Some(&owner), values);
    }
    for site in &account.snapshot.sites {
        let values = [0, 0, signed(site.allocations)];
        builder.sample(account, &account.stack(site), site.pool, None, values);
    }
    builder.finish()
}

/// What grew (positive) and shrank (negative) from `before` to `after`.
///
/// # Errors
/// As [`profile`].
pub fn change(before: &Account, after: &Account, changes: &[Change]) -> Result<Vec<u8>> {
    let mut builder = Builder::new(&format!("{} less {}", after.file, before.file));
    for change in changes {
        let values = [change.blocks(), change.bytes(), 0];
        let owner = Some(&*change.owner);
        builder.sample(after, &change.stack, change.image, owner, values);
    }
    // Allocations ever made, in both: a site that is gone counts backwards.
    let mut sites: BTreeMap<_, (Stack, [u64; 2])> = BTreeMap::new();
    for (n, account) in [before, after].into_iter().enumerate() {
        for site in &account.snapshot.sites {
            let (_, counts) = sites
                .entry((site.pool, site.frames))
                .or_insert_with(|| (account.stack(site), [0; 2]));
            counts[n] = counts[n].saturating_add(site.allocations);
        }
    }
    for ((pool, _), (stack, [before, now])) in sites {
        builder.sample(after, &stack, pool, None, [0, 0, difference(now, before)]);
    }
    builder.finish()
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[derive(Default)]
struct Builder {
    profile: Profile,
    strings: HashMap<String, i64>,
    mappings: HashMap<TeeUuid, usize>,
    /// By image, return address, and how many of its functions are shown.
    locations: HashMap<(TeeUuid, u64, usize), u64>,
    functions: HashMap<(i64, i64), u64>,
}

impl Builder {
    fn new(comment: &str) -> Self {
        let mut builder = Self::default();
        // The first string must be the empty one.
        builder.string("");
        let (count, bytes) = (builder.string("count"), builder.string("bytes"));
        for (kind, unit) in [
            ("inuse_objects", count),
            ("inuse_space", bytes),
            ("alloc_objects", count),
        ] {
            let kind = builder.string(kind);
            builder.profile.sample_type.push(ValueType { kind, unit });
        }
        let kind = builder.string("space");
        builder.profile.period_type = Some(ValueType { kind, unit: bytes });
        builder.profile.period = 1;
        builder.profile.default_sample_type = builder.string("inuse_space");
        let comment = builder.string(comment);
        builder.profile.comment.push(comment);
        builder
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&index) = self.strings.get(text) {
            return index;
        }
        let index = self.profile.string_table.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), index);
        index
    }

    fn sample(
        &mut self,
        account: &Account,
        stack: &Stack,
        pool: TeeUuid,
        owner: Option<&str>,
        values: [i64; 3],
    ) {
        if values == [0; 3] {
            return;
        }
        // As Go's heap profiles do: the way into the allocator is left out.
        let shown = stack.shown();
        let mut location_id: Vec<u64> = Vec::new();
        for depth in 0..stack.calls.len() {
            let shown = shown.iter().filter(|shown| shown.depth == depth);
            let frames: Vec<&Frame> = shown.map(|shown| shown.frame).collect();
            if !frames.is_empty() {
                location_id.push(self.location(account, stack, depth, &frames));
            }
        }
        let mut labels = vec![("pool", account.program(pool))];
        labels.extend(owner.map(|owner| ("owner", owner.to_owned())));
        let label = labels
            .iter()
            .map(|(key, text)| Label {
                key: self.string(key),
                text: self.string(text),
            })
            .collect();
        self.profile.sample.push(Sample {
            location_id,
            value: values.to_vec(),
            label,
        });
    }

    fn location(
        &mut self,
        account: &Account,
        stack: &Stack,
        depth: usize,
        frames: &[&Frame],
    ) -> u64 {
        let call = &stack.calls[depth];
        let key = (stack.image, call.offset, frames.len());
        if let Some(&id) = self.locations.get(&key) {
            return id;
        }
        let mapping = self.mapping(account, stack.image);
        // The return address less one lies inside the call.
        let address = call.offset.saturating_sub(1);
        let entry = &mut self.profile.mapping[mapping];
        entry.memory_limit = entry.memory_limit.max(address.saturating_add(1));
        let mapping_id = entry.id;
        let line = frames
            .iter()
            .map(|frame| {
                let name = self.string(&frame.function);
                let system_name = self.string(frame.full.as_ref().unwrap_or(&frame.function));
                let filename = self.string(&frame.file);
                Line {
                    function_id: self.function(name, system_name, filename),
                    line: i64::from(frame.line),
                }
            })
            .collect();
        let id = self.profile.location.len() as u64 + 1;
        self.profile.location.push(Location {
            id,
            mapping_id,
            address,
            line,
        });
        self.locations.insert(key, id);
        id
    }

    fn function(&mut self, name: i64, system_name: i64, filename: i64) -> u64 {
        let next = self.profile.function.len() as u64 + 1;
        let id = *self
            .functions
            .entry((system_name, filename))
            .or_insert(next);
        if id == next {
            self.profile.function.push(Function {
                id,
                name,
                system_name,
                filename,
            });
        }
        id
    }

    fn mapping(&mut self, account: &Account, image: TeeUuid) -> usize {
        if let Some(&index) = self.mappings.get(&image) {
            return index;
        }
        let index = self.profile.mapping.len();
        let filename = self.string(&account.program(image));
        self.profile.mapping.push(Mapping {
            id: index as u64 + 1,
            memory_limit: 0,
            filename,
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        });
        self.mappings.insert(image, index);
        index
    }

    fn finish(self) -> Result<Vec<u8>> {
        // No time in the gzip header: the same snapshots, the same file.
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::default());
        gzip.write_all(&self.profile.encode_to_vec())?;
        Ok(gzip.finish()?)
    }
}
