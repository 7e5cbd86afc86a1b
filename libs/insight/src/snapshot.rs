//! Reads `tally_records::snapshot`.
//!
//! **Invariant:** no bytes make [`Snapshot::parse`] panic, or allocate more than [`MAX_GROWTH`] times
//! the file's length. Sections that are not known are skipped and counted; of a record longer
//! than known the beginning is read, in a shorter one the missing fields are zero.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use tally_abi::TeeUuid;
use tally_records::snapshot::{Header, LEAST_HEADER_BYTES, MAGIC, Section, VERSION};
use tally_records::{Described, PoolRow, Record, Row, SiteRow, pool_kind};
use zerocopy::{FromBytes, IntoBytes};

use crate::growth::Amount;
use crate::json::List;
use crate::names::Names;

/// Longest record of any section that is believed.
const MAX_RECORD_BYTES: usize = 1 << 16;

/// How many times as long as it stands in the file a record may become: an older writer's has fewer fields.
pub const MAX_GROWTH: usize = 4;

macro_rules! snapshot {
    ($($field:ident: $record:ty,)*) => {
        /// The whole account at one moment.
        #[derive(Clone, Debug, Default)]
        pub struct Snapshot {
            /// When, why, of whom.
            pub header: Header,
            $(
                /// All records of this section.
                pub $field: Vec<$record>,
            )*
            /// Sections of kinds that are not known here.
            pub unknown_sections: u32,
            /// Kinds of the sections that are there, as they come.
            pub kinds: Vec<u32>,
        }

        impl Snapshot {
            /// Takes the records of a section; `None`: they are shorter than any writer's.
            fn take(&mut self, kind: u32, records: &[u8], record_bytes: usize) -> Option<()> {
                match kind {
                    $(<$record>::SECTION => read(records, record_bytes, &mut self.$field)?,)*
                    _ => self.unknown_sections += 1,
                }
                Some(())
            }

            /// Hands every record to `each`, the header first.
            pub fn each(&self, each: &mut dyn FnMut(&dyn Row)) {
                each(&self.header);
                $(self.$field.iter().for_each(|row| each(row));)*
            }

            /// What its lists are called, and how many records each has.
            #[must_use]
            pub fn counts(&self) -> Vec<(&'static str, usize)> {
                Vec::from([$((<$record>::TABLE.list, self.$field.len())),*])
            }

            /// Its lists.
            pub(crate) fn lists<'a>(&'a self, names: &'a dyn Names) -> Lists<'a> {
                Lists { $($field: List(&self.$field, names),)* }
            }

            /// As a file.
            #[cfg(any(test, feature = "sample"))]
            #[must_use]
            pub fn to_bytes(&self) -> Vec<u8> {
                let mut file = crate::sample::File::new(&self.header);
                $(file.append(&self.$field);)*
                file.finish()
            }
        }

        crate::answer! {
            /// All lists of a snapshot.
            pub(crate) struct Lists<'a> {
                $(#[serde(flatten)] $field: List<'a, $record>,)*
            }
        }
    };
}

tally_records::snapshot_sections!(snapshot);

/// Why a file is not a snapshot that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Shorter than a header, or without the magic.
    NotASnapshot,
    /// Of a version that is not known; the one it has.
    Version(u32),
    /// The header's lengths contradict the file's; bytes that the header promises.
    Length(u64),
    /// A section at this offset does not fit in the file, or has records that are too short.
    Section(usize),
    /// So many bytes are behind the end that the header gives: of another snapshot, or of nothing.
    Behind(usize),
}

impl core::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASnapshot => write!(f, "not a snapshot (`teestat snapshot FILE` writes one)"),
            Self::Version(found) => write!(
                f,
                "a snapshot of version {found}, and this tool reads version {VERSION}"
            ),
            Self::Length(promised) => write!(
                f,
                "the snapshot is cut short or damaged: its header speaks of {promised} bytes"
            ),
            Self::Behind(bytes) => write!(
                f,
                "{bytes} bytes are behind the snapshot's end: a file has one snapshot (`report A B` takes several files)"
            ),
            Self::Section(at) => write!(f, "the snapshot is damaged: section at offset {at:#x}"),
        }
    }
}

impl Snapshot {
    /// Reads a whole file.
    ///
    /// # Errors
    /// [`Error`]: nothing is read of a file that is damaged anywhere.
    pub fn parse(file: &[u8]) -> Result<Self, Error> {
        if !file.starts_with(&MAGIC) {
            return Err(Error::NotASnapshot);
        }
        if file.len() < LEAST_HEADER_BYTES {
            return Err(Error::NotASnapshot);
        }
        let mut header: Header = prefix(file);
        if header.version != VERSION {
            return Err(Error::Version(header.version));
        }
        let wrong_length = Error::Length(header.total_bytes);
        let total = usize::try_from(header.total_bytes).map_err(|_| wrong_length)?;
        let begin = usize::try_from(header.header_bytes).map_err(|_| wrong_length)?;
        let bytes = file.get(..total).ok_or(wrong_length)?;
        if begin < LEAST_HEADER_BYTES || begin > total {
            return Err(wrong_length);
        }
        if file.len() > total {
            return Err(Error::Behind(file.len() - total));
        }
        // What a shorter header does not have is not known; a longer one has more than is known
        // here.
        header = prefix(&bytes[..begin]);
        let mut snapshot = Self {
            header,
            ..Self::default()
        };
        let mut at = begin;
        while at < bytes.len() {
            at = snapshot.section(bytes, at).ok_or(Error::Section(at))?;
        }
        snapshot.sites = join(core::mem::take(&mut snapshot.sites));
        Ok(snapshot)
    }

    /// Reads the section at `at`; returns where the next one begins.
    fn section(&mut self, bytes: &[u8], at: usize) -> Option<usize> {
        let (head, rest) = Section::read_from_prefix(bytes.get(at..)?).ok()?;
        let record_bytes = usize::try_from(head.record_bytes).ok()?;
        let length = usize::try_from(head.count)
            .ok()?
            .checked_mul(record_bytes)?;
        // Every part is a multiple of 8 bytes; only an empty section may say 0.
        let odd = !record_bytes.is_multiple_of(8) || record_bytes > MAX_RECORD_BYTES;
        if odd || record_bytes == 0 && head.count > 0 {
            return None;
        }
        let records = rest.get(..length)?;
        self.kinds.push(head.kind);
        self.take(head.kind, records, record_bytes)?;
        at.checked_add(size_of::<Section>())?.checked_add(length)
    }

    /// Whether the writer had a section of these records, empty or not.
    #[must_use]
    pub fn has<T: Record>(&self) -> bool {
        self.kinds.contains(&T::SECTION)
    }

    /// Bytes and blocks of the kernel heap that are not among the live blocks: those of statistics
    /// and of the calls that were under way, the snapshot's own included.
    #[must_use]
    pub fn left_out(&self) -> Amount {
        let mut told = Amount::default();
        let kernel = self.live.iter().filter(|r| r.image == TeeUuid::nil());
        kernel.for_each(|record| told.add(record));
        let heap = PoolRow::find(&self.pools, pool_kind::KERNEL_HEAP);
        let all = heap.map_or(Amount::default(), |heap| Amount {
            bytes: heap.alloc.allocated.into(),
            blocks: heap.live_blocks,
        });
        all.less(told)
    }

    /// Sum of the uses of secure RAM.
    #[must_use]
    pub fn meminfo_sum(&self) -> u64 {
        self.meminfo
            .iter()
            .fold(0, |sum, row| sum.saturating_add(row.bytes))
    }
}

/// As much of a `T` as `bytes` have; the rest is zero.
fn prefix<T: FromBytes + IntoBytes>(bytes: &[u8]) -> T {
    let mut record = T::new_zeroed();
    let known = bytes.len().min(size_of::<T>());
    record.as_mut_bytes()[..known].copy_from_slice(&bytes[..known]);
    record
}

/// Appends the records of a section. A record may be longer or shorter than `T`.
fn read<T: Record>(bytes: &[u8], record_bytes: usize, out: &mut Vec<T>) -> Option<()> {
    if bytes.is_empty() {
        return Some(());
    }
    if record_bytes.saturating_mul(MAX_GROWTH) < size_of::<T>() {
        return None;
    }
    out.extend(bytes.chunks_exact(record_bytes).map(prefix::<T>));
    Some(())
}

/// Call sites, those joined that come several times.
fn join(rows: Vec<SiteRow>) -> Vec<SiteRow> {
    let mut known = BTreeMap::new();
    let mut out: Vec<SiteRow> = Vec::new();
    for row in rows {
        let key = (row.pool, row.site, row.frames);
        let at = *known.entry(key).or_insert(out.len());
        if !out.get_mut(at).is_some_and(|first| first.join(&row)) {
            out.push(row);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use alloc::vec;
    use tally_records::{MeminfoRow, OwnerRow};

    #[test]
    fn rows_of_a_site_that_nobody_counts_are_joined() {
        let row = |site, live_bytes, allocations| SiteRow {
            site,
            live_bytes,
            live_blocks: 1,
            allocations,
            ..SiteRow::default()
        };
        let sites = join(vec![
            row(4, 10, 0),
            row(8, 1, 0),
            row(4, 20, 0),
            row(4, 7, 3),
            row(4, 8, 3),
        ]);
        let held: Vec<_> = sites
            .iter()
            .map(|site| (site.live_bytes, site.live_blocks))
            .collect();
        assert_eq!(held, [(30, 2), (1, 1), (7, 1), (8, 1)]);
    }

    #[test]
    fn what_a_builder_writes_reads_back() {
        let bytes = sample::machine(1).to_bytes();
        let snapshot = Snapshot::parse(&bytes).unwrap();
        assert_eq!(snapshot.header.at_ms, sample::machine(1).header.at_ms);
        assert_eq!(snapshot.meminfo_sum(), snapshot.header.secure_ram);
        assert_eq!(snapshot.to_bytes(), bytes);
    }

    #[test]
    fn unknown_sections_are_skipped_and_records_read_by_prefix() {
        let whole = sample::machine(1);
        let mut bytes = whole.to_bytes();
        // A section of a later version, then owners that are longer than known.
        let later = Section {
            kind: 77,
            record_bytes: 24,
            count: 2,
            reserved: 0,
        };
        bytes.extend_from_slice(later.as_bytes());
        bytes.extend_from_slice(&[0xaa; 48]);
        let owners = Section {
            kind: OwnerRow::SECTION,
            record_bytes: size_of::<OwnerRow>() as u32 + 8,
            count: 1,
            reserved: 0,
        };
        bytes.extend_from_slice(owners.as_bytes());
        bytes.extend_from_slice(whole.owners[0].as_bytes());
        bytes.extend_from_slice(&[0xff; 8]);
        sample::fix_length(&mut bytes);
        let read = Snapshot::parse(&bytes).unwrap();
        assert_eq!(read.unknown_sections, 1);
        assert_eq!(read.owners.len(), whole.owners.len() + 1);
        assert_eq!(read.owners.last(), whole.owners.first());
    }

    #[test]
    fn a_shorter_header_of_an_older_writer_says_nothing_of_boot_and_build() {
        let whole = sample::machine(1);
        let mut bytes = whole.to_bytes();
        bytes.drain(LEAST_HEADER_BYTES..size_of::<Header>());
        bytes[12..16].copy_from_slice(&(LEAST_HEADER_BYTES as u32).to_le_bytes());
        sample::fix_length(&mut bytes);
        let read = Snapshot::parse(&bytes).unwrap();
        assert_eq!(read.header.secure_ram, whole.header.secure_ram);
        assert_eq!((read.header.boot, read.header.build), (0, [0; 20]));
        assert_eq!(read.meminfo_sum(), whole.header.secure_ram);
        // Shorter than any.
        bytes[12..16].copy_from_slice(&72_u32.to_le_bytes());
        assert!(matches!(Snapshot::parse(&bytes), Err(Error::Length(_))));
    }

    #[test]
    fn shorter_records_of_an_older_writer_have_zeros_at_their_end() {
        let mut bytes = Snapshot::default().to_bytes();
        let older = Section {
            kind: MeminfoRow::SECTION,
            record_bytes: 40,
            count: 1,
            reserved: 0,
        };
        bytes.extend_from_slice(older.as_bytes());
        let row = MeminfoRow {
            bytes: 4096,
            pages: 1,
            ..MeminfoRow::default()
        };
        bytes.extend_from_slice(&row.as_bytes()[..40]);
        sample::fix_length(&mut bytes);
        let read = Snapshot::parse(&bytes).unwrap();
        assert_eq!((read.meminfo[0].bytes, read.meminfo[0].pages), (4096, 0));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let bytes = sample::machine(0).to_bytes();
        for end in 0..bytes.len() {
            assert!(Snapshot::parse(&bytes[..end]).is_err(), "cut at {end}");
        }
        // Cut, and the header's length made to agree: refused unless between two sections, of which
        // there are as many as kinds.
        let kinds = sample::machine(0).counts().len();
        let mut whole = 0;
        for end in size_of::<Header>()..bytes.len() {
            let mut cut = bytes[..end].to_vec();
            sample::fix_length(&mut cut);
            whole += usize::from(Snapshot::parse(&cut).is_ok());
        }
        assert!(whole <= kinds, "{whole} cuts went unnoticed");
    }

    /// `cat a.snap b.snap` was read as the first alone.
    #[test]
    fn bytes_behind_the_end_are_refused() {
        let one = sample::machine(0).to_bytes();
        for more in [1, 8, one.len()] {
            let two: Vec<u8> = one
                .iter()
                .chain(&one)
                .copied()
                .take(one.len() + more)
                .collect();
            assert_eq!(Snapshot::parse(&two).unwrap_err(), Error::Behind(more));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let good = sample::machine(0).to_bytes();
        assert_eq!(Snapshot::parse(b"ELF").unwrap_err(), Error::NotASnapshot);
        let mut other = good.clone();
        other[8] = 9;
        assert_eq!(Snapshot::parse(&other).unwrap_err(), Error::Version(9));
        let mut long = good.clone();
        long[16] ^= 1;
        assert!(matches!(Snapshot::parse(&long), Err(Error::Length(_))));
        let mut wild = good;
        wild[size_of::<Header>() + 8..][..4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            Snapshot::parse(&wild).unwrap_err(),
            Error::Section(size_of::<Header>())
        );
    }
}
