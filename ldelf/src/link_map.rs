//! The link map: what the loader and libutee know of a TA's modules, in memory that the TA can read only.
//!
//! `[Header][Record; n][PhdrInfo; n][program headers of each]`

use crate::symbols::{Extent, SymbolTables, Symbols};
use crate::{ImageFault, Module};
use goblin::elf64::program_header::ProgramHeader;
use tally_abi::TeeUuid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    modules: u64,
    thread_resolver: u64,
}

/// A module; addresses are those in memory.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Record {
    uuid: TeeUuid,
    base: u64,
    span: u64,
    /// As the image has them, relative to its link address 0.
    tables: SymbolTables,
    tls_offset: u64,
    tls_len: u64,
    program_headers: Extent,
    name: u64,
}

/// `struct dl_phdr_info` (OP-TEE's `lib/libutee/include/link.h`).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PhdrInfo {
    base: u64,
    name: u64,
    program_headers: u64,
    n_program_headers: u64,
    loads: u64,
    unloads: u64,
    /// Index of its thread-local storage among all modules, from 1 on; 0 if it has none.
    tls_module: u64,
    /// libutee knows.
    tls_data: u64,
}

/// A module beside what symbols are looked up in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry<'a> {
    pub(crate) uuid: TeeUuid,
    /// Its file, while it is not linked.
    pub(crate) image: &'a [u8],
    pub(crate) program_headers: &'a [u8],
    pub(crate) tables: SymbolTables,
    /// Where its own name lies, 0 if it has none.
    pub(crate) name: u64,
    pub(crate) tls_len: u64,
}

/// The link map of a TA.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LinkMap<'a>(&'a [u8]);

impl<'a> LinkMap<'a> {
    /// The one of these bytes.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn header(&self) -> Header {
        Header::read_from_prefix(self.0).map_or_else(|_| Header::default(), |(it, _)| it)
    }

    pub(crate) fn thread_resolver(&self) -> u64 {
        self.header().thread_resolver
    }

    /// The modules, in order, of a TA whose memory `look` gives.
    pub(crate) fn modules(
        &self,
        look: impl Fn(Extent) -> &'a [u8],
    ) -> impl Iterator<Item = (Module<'a>, Entry<'a>)> {
        let records = self.0.get(size_of::<Header>()..).unwrap_or(&[]);
        let records = records.chunks_exact(size_of::<Record>());
        let records = records.take(self.header().modules as usize);
        records
            .filter_map(|bytes| Record::read_from_bytes(bytes).ok())
            .map(move |record| {
                let symbols = Symbols::new(&record.tables, |extent| {
                    look(Extent {
                        address: record.base.wrapping_add(extent.address),
                        ..extent
                    })
                });
                let module = Module {
                    base: record.base,
                    span: record.span,
                    symbols,
                    tls_offset: record.tls_offset,
                };
                let entry = Entry {
                    uuid: record.uuid,
                    image: &[],
                    program_headers: look(record.program_headers),
                    tables: record.tables,
                    name: record.name,
                    tls_len: record.tls_len,
                };
                (module, entry)
            })
    }

    /// Bytes for that of `entries`.
    pub(crate) fn len_for(entries: &[Entry<'_>]) -> u64 {
        let headers: usize = entries
            .iter()
            .map(|entry| entry.program_headers.len())
            .sum();
        let each = size_of::<Record>() + size_of::<PhdrInfo>();
        (size_of::<Header>() + entries.len() * each + headers) as u64
    }

    /// Writes that of some modules to `memory`, which lies at `address`: where libutee's list of them lies.
    ///
    /// # Errors
    /// `MemoryTooSmall`.
    pub(crate) fn write(
        memory: &mut [u8],
        address: u64,
        (modules, entries): (&[Module<'_>], &[Entry<'_>]),
        thread_resolver: u64,
        no_name: u64,
    ) -> Result<u64, ImageFault> {
        let n = modules.len();
        let header = Header {
            modules: n as u64,
            thread_resolver,
        };
        put(memory, 0, header.as_bytes())?;
        let list = size_of::<Header>() + n * size_of::<Record>();
        let mut headers_at = list + n * size_of::<PhdrInfo>();
        for (index, (module, entry)) in modules.iter().zip(entries).enumerate() {
            let program_headers = Extent {
                address: address + headers_at as u64,
                len: entry.program_headers.len() as u64,
            };
            put(memory, headers_at, entry.program_headers)?;
            headers_at += entry.program_headers.len();
            let record = Record {
                uuid: entry.uuid,
                base: module.base,
                span: module.span,
                tables: entry.tables,
                tls_offset: module.tls_offset,
                tls_len: entry.tls_len,
                program_headers,
                name: entry.name,
            };
            let at = size_of::<Header>() + index * size_of::<Record>();
            put(memory, at, record.as_bytes())?;
            let info = PhdrInfo {
                base: module.base,
                name: if entry.name == 0 { no_name } else { entry.name },
                program_headers: program_headers.address,
                n_program_headers: program_headers.len / size_of::<ProgramHeader>() as u64,
                loads: 1,
                unloads: 0,
                tls_module: if entry.tls_len == 0 {
                    0
                } else {
                    index as u64 + 1
                },
                tls_data: 0,
            };
            put(
                memory,
                list + index * size_of::<PhdrInfo>(),
                info.as_bytes(),
            )?;
        }
        Ok(address + list as u64)
    }
}

fn put(memory: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), ImageFault> {
    let to = memory.get_mut(at..at + bytes.len());
    to.ok_or(ImageFault::MemoryTooSmall)?.copy_from_slice(bytes);
    Ok(())
}
