//! Tests on files built by hand, each broken in one way.
//!
//! **Invariant:** the file that [`Elf::fine`] builds is accepted; a test changes one thing.
extern crate std;

mod limits;
mod linking;
mod relocations;
mod tables;

use crate::{ImageFault, PAGE, Prot, Protection, plan, raw};
use std::string::ToString as _;
use std::vec;
use std::vec::Vec;
use tally_abi::ta::{DEPRECATED_ENTRY, TaHead};
use tally_abi::{TeeResult, TeeUuid};
use zerocopy::IntoBytes;

const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0001_4c6e_8d01_5ec0de000001);
const BASE: u64 = 1 << 30;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERP: u32 = 3;
const TLS: u32 = 7;
const RELRO: u32 = 0x6474_e552;
const R: u32 = 4;
const RX: u32 = 5;
const RW: u32 = 6;

const RELATIVE: u64 = 1027;
const ABS64: u64 = 257;
const GLOB_DAT: u64 = 1025;

/// Where the fine image's data segment, its dynamic section and its tables lie.
const DATA: u64 = 0x2000;
const TABLES: u64 = 0x100;
const SYMBOLS: u64 = 0x400;
const DYN: u64 = DATA + 0x100;
const DATA_TABLES: u64 = DATA + 0x900;
const STRINGS: u64 = 0x580;
const HASH: u64 = 0x700;
/// Where the section headers are in the file.
const SECTIONS: u64 = 0x800;

#[derive(Clone, Copy)]
struct Ph {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    file_len: u64,
    mem_len: u64,
}

/// A file in the making: tables at 0, code at 0x1000, data at 0x2000 (and one page of zeros).
struct Elf {
    headers: Vec<Ph>,
    head: TaHead,
    machine: u16,
    kind: u16,
    class: u8,
    entry: u64,
    phentsize: u16,
    dynamic: Vec<(u64, u64)>,
    rela: Vec<(u64, u64, u64)>,
    /// More of them, in the data's segment.
    data_rela: Vec<(u64, u64, u64)>,
    /// Sections: type, flags, address, size.
    sections: Vec<(u32, u64, u64, u64)>,
    shentsize: u16,
    /// Name offset, section, binding, value.
    symbols: Vec<(u32, u16, u8, u64)>,
    /// Names of symbols from 1 on, which others then find by a System V hash table of one bucket, and of libraries.
    names: Vec<&'static str>,
    needed: Vec<TeeUuid>,
    truncate_to: usize,
}

impl Elf {
    fn fine() -> Self {
        let ph = |kind, flags, address, file_len, mem_len| Ph {
            kind,
            flags,
            offset: PAGE + address,
            address,
            file_len,
            mem_len,
        };
        Self {
            headers: vec![
                ph(LOAD, R, 0, 0x800, 0x800),
                ph(LOAD, RX, 0x1000, 0x400, 0x400),
                ph(LOAD, RW, DATA, 0x1000, 0x1800),
                ph(DYNAMIC, RW, DYN, 0x100, 0x100),
            ],
            head: TaHead {
                uuid: UUID,
                stack_size: 2048,
                flags: 0,
                depr_entry: DEPRECATED_ENTRY,
            },
            machine: 183,
            kind: 3,
            class: 2,
            entry: 0x1010,
            phentsize: 56,
            dynamic: vec![],
            rela: vec![(DATA, RELATIVE, 0x1234)],
            data_rela: vec![],
            sections: vec![],
            shentsize: 64,
            symbols: vec![(0, 0, 0, 0), (1, 1, 1, 0x2008), (1, 0, 1, 0), (1, 0, 2, 0)],
            names: vec![],
            needed: vec![],
            truncate_to: usize::MAX,
        }
    }

    /// The table of names, and the entries of the dynamic section that go with it.
    fn strings(&self) -> (Vec<u8>, Vec<(u64, u64)>) {
        let mut strings = vec![0];
        for name in &self.names {
            strings.extend(name.bytes().chain([0]));
        }
        let mut entries = vec![];
        for library in &self.needed {
            entries.push((1, strings.len() as u64));
            strings.extend(library.to_string().bytes().chain([0]));
        }
        if strings.len() > 1 {
            entries.extend([(5, STRINGS), (4, HASH)]);
        }
        (strings, entries)
    }

    fn build(&self) -> Vec<u8> {
        let mut file = vec![0_u8; 4 * PAGE as usize];
        let mut put = |at: u64, bytes: &[u8]| {
            let at = at as usize;
            file[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &[0x7f, b'E', b'L', b'F', self.class, 1, 1]);
        put(16, &self.kind.to_le_bytes());
        put(18, &self.machine.to_le_bytes());
        put(24, &self.entry.to_le_bytes());
        put(32, &64_u64.to_le_bytes());
        put(54, &self.phentsize.to_le_bytes());
        put(56, &(self.headers.len() as u16).to_le_bytes());
        for (n, h) in self.headers.iter().enumerate() {
            let at = 64 + 56 * n as u64;
            put(at, &h.kind.to_le_bytes());
            put(at + 4, &h.flags.to_le_bytes());
            // What has no bytes in the file is aligned as a variable is.
            let align = if h.file_len == 0 { 16 } else { PAGE };
            let words = [h.offset, h.address, h.address, h.file_len, h.mem_len, align];
            put(at + 8, words.as_bytes());
        }
        put(PAGE, self.head.as_bytes());
        put(40, &SECTIONS.to_le_bytes());
        put(58, &self.shentsize.to_le_bytes());
        put(60, &(self.sections.len() as u16).to_le_bytes());
        for (n, &(kind, flags, address, size)) in self.sections.iter().enumerate() {
            let at = SECTIONS + 64 * n as u64;
            put(at + 4, &kind.to_le_bytes());
            put(
                at + 8,
                [flags, address, PAGE.wrapping_add(address), size].as_bytes(),
            );
        }
        for (table, rela) in [(TABLES, &self.rela), (DATA_TABLES, &self.data_rela)] {
            for (n, &(offset, info, addend)) in rela.iter().enumerate() {
                put(
                    PAGE + table + 24 * n as u64,
                    [offset, info, addend].as_bytes(),
                );
            }
        }
        let (strings, named) = self.strings();
        put(PAGE + STRINGS, &strings);
        let n_symbols = self.symbols.len() as u32;
        if !self.names.is_empty() {
            let chain: Vec<u32> = (0..n_symbols)
                .map(|n| if n == 0 { 0 } else { (n + 1) % n_symbols })
                .collect();
            put(PAGE + HASH, [1, n_symbols, 1].as_bytes());
            put(PAGE + HASH + 12, chain.as_bytes());
        }
        let mut at_name = 1;
        for (n, &(name, section, binding, value)) in self.symbols.iter().enumerate() {
            let at = PAGE + SYMBOLS + 24 * n as u64;
            let name = match self.names.get(n.wrapping_sub(1)) {
                Some(known) => {
                    at_name += known.len() as u32 + 1;
                    at_name - known.len() as u32 - 1
                }
                None => name,
            };
            put(at, &name.to_le_bytes());
            // Binding, and in its upper half a type.
            put(at + 4, &[binding.rotate_left(4), 0]);
            put(at + 6, &section.to_le_bytes());
            put(at + 8, &value.to_le_bytes());
        }
        let mut dynamic = vec![
            (7, TABLES),
            (8, 24 * (self.rela.len() + self.data_rela.len()) as u64),
            (9, 24),
            (6, SYMBOLS),
        ];
        dynamic.extend(&named);
        dynamic.extend(&self.dynamic);
        dynamic.push((0, 0));
        for (n, &(tag, value)) in dynamic.iter().enumerate() {
            put(PAGE + DYN + 16 * n as u64, [tag, value].as_bytes());
        }
        put(PAGE + DATA + 0x800, b"data");
        file.truncate(self.truncate_to);
        file
    }

    /// Everything that the loader does with a program alone.
    fn load(&self) -> Result<Vec<u8>, ImageFault> {
        let file = self.build();
        let plan = plan(&file, UUID)?;
        let mut memory = vec![0; plan.span as usize];
        let checked = plan.check_relocations().map(|_| ());
        let applied = plan.apply(&mut memory, BASE);
        assert_eq!(checked, applied);
        applied.map(|()| memory)
    }
}

/// A fine file, changed.
fn with(change: impl FnOnce(&mut Elf)) -> Elf {
    let mut elf = Elf::fine();
    change(&mut elf);
    elf
}

fn refused(change: impl FnOnce(&mut Elf)) -> ImageFault {
    with(change).load().expect_err("must be refused")
}

fn word(memory: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(*memory[at as usize..].first_chunk().unwrap())
}

#[test]
fn fine_file_is_loaded() {
    let memory = Elf::fine().load().unwrap();
    assert_eq!(memory.len(), 0x4000);
    assert_eq!(word(&memory, DATA), BASE + 0x1234);
    assert_eq!(&memory[0x2800..0x2804], b"data");
    assert!(memory[0x3000..].iter().all(|o| *o == 0));
}

#[test]
fn plan_names_entry_stack_and_protections() {
    let file = Elf::fine().build();
    let plan = plan(&file, UUID).unwrap();
    assert_eq!(
        (plan.entry, plan.stack_len, plan.span),
        (0x1010, PAGE, 0x4000)
    );
    let protections: Vec<_> = plan.protections().collect();
    let pages = |address, prot| Protection {
        address,
        len: PAGE,
        prot,
    };
    assert_eq!(
        protections,
        [pages(0, Prot::Read), pages(0x1000, Prot::Exec)]
    );
}

/// Bug: a stack was as long as its pages, so that nothing lay behind what a TA had on its first bytes: a TA of OP-TEE's
/// test suite that reads there (regression_4013) was refused its own memory.
#[test]
fn a_stack_is_as_long_as_it_is_asked_for() {
    for (size, len) in [
        (1, PAGE),
        (4096, PAGE),
        (4097, PAGE + 16),
        (34_816, 34_816),
        (1 << 20, 1 << 20),
    ] {
        let file = with(|e| e.head.stack_size = size).build();
        assert_eq!(plan(&file, UUID).unwrap().stack_len, len, "{size}");
    }
    assert_eq!(
        refused(|e| e.head.stack_size = (1 << 20) + 1),
        ImageFault::BadStack
    );
}

#[test]
fn relro_pages_become_read_only_and_others_stay_writable() {
    let file = with(|e| {
        e.headers.push(Ph {
            kind: RELRO,
            flags: R,
            offset: PAGE + DATA,
            address: DATA,
            file_len: 0x1000,
            mem_len: 0x1000,
        });
    })
    .build();
    let plan = plan(&file, UUID).unwrap();
    let last = plan.protections().last();
    assert_eq!(
        last,
        Some(Protection {
            address: DATA,
            len: PAGE,
            prot: Prot::Read
        })
    );
}

#[test]
fn empty_file_is_truncated() {
    assert_eq!(refused(|e| e.truncate_to = 0), ImageFault::Truncated);
}

#[test]
fn file_that_ends_in_its_program_headers_is_truncated() {
    assert_eq!(refused(|e| e.truncate_to = 100), ImageFault::Truncated);
}

#[test]
fn every_truncation_is_refused() {
    let whole = Elf::fine().build();
    for len in 0..(PAGE + DATA + 0x1000) as usize {
        assert!(plan(&whole[..len], UUID).is_err(), "{len}");
    }
}

#[test]
fn elf_of_32_bits_is_refused() {
    assert_eq!(refused(|e| e.class = 1), ImageFault::NotElf);
}

#[test]
fn other_machine_is_refused() {
    assert_eq!(refused(|e| e.machine = 62), ImageFault::WrongMachine);
}

#[test]
fn fixed_position_is_refused() {
    assert_eq!(refused(|e| e.kind = 2), ImageFault::NotPositionIndependent);
}

#[test]
fn program_headers_of_odd_size_are_refused() {
    assert_eq!(refused(|e| e.phentsize = 57), ImageFault::BadProgramHeaders);
}

#[test]
fn file_without_segments_is_refused() {
    assert_eq!(refused(|e| e.headers.clear()), ImageFault::NoSegments);
}

#[test]
fn seventeen_segments_are_too_many() {
    let why = refused(|e| {
        e.headers.truncate(3);
        for n in 1..=14 {
            let h = e.headers[2];
            e.headers.push(Ph {
                address: h.address + 0x2000 * n,
                ..h
            });
        }
    });
    assert_eq!(why, ImageFault::TooManySegments);
}

#[test]
fn segment_beyond_the_file_is_refused() {
    assert_eq!(
        refused(|e| e.headers[2].file_len = 1 << 40),
        ImageFault::SegmentOutsideFile
    );
}

#[test]
fn segment_whose_offset_wraps_is_refused() {
    assert_eq!(
        refused(|e| e.headers[2].offset = u64::MAX - 15),
        ImageFault::SegmentOutsideFile
    );
}

#[test]
fn segment_smaller_in_memory_is_refused() {
    assert_eq!(
        refused(|e| e.headers[2].mem_len = 0xfff),
        ImageFault::SegmentShrinks
    );
}

#[test]
fn segment_whose_offset_and_address_disagree_is_refused() {
    assert_eq!(
        refused(|e| e.headers[2].offset -= 8),
        ImageFault::SegmentMisaligned
    );
}

#[test]
fn oversized_segment_is_refused() {
    assert_eq!(
        refused(|e| e.headers[2].mem_len = 65 << 20),
        ImageFault::TooBig
    );
}

#[test]
fn segment_that_wraps_is_refused() {
    assert_eq!(
        refused(|e| e.headers[2].mem_len = u64::MAX),
        ImageFault::TooBig
    );
}

#[test]
fn overlapping_segments_are_refused() {
    assert_eq!(
        refused(|e| e.headers[0].mem_len = 0x1001),
        ImageFault::Overlap
    );
}

#[test]
fn segments_out_of_order_are_refused() {
    assert_eq!(refused(|e| e.headers.swap(0, 1)), ImageFault::Overlap);
}

#[test]
fn segments_with_different_permissions_on_one_page_are_refused() {
    let why = refused(|e| {
        e.headers[1].address = 0x800;
        e.headers[1].offset = PAGE + 0x800;
    });
    assert_eq!(why, ImageFault::SharedPage);
}

#[test]
fn segments_with_equal_permissions_may_share_a_page() {
    let elf = with(|e| {
        e.headers[0].mem_len = 0x700;
        e.headers[0].file_len = 0x700;
        e.headers.insert(
            1,
            Ph {
                address: 0x700,
                offset: PAGE + 0x700,
                ..e.headers[0]
            },
        );
        e.headers[1].file_len = 0x100;
        e.headers[1].mem_len = 0x100;
    });
    assert!(elf.load().is_ok());
}

#[test]
fn writable_and_executable_segment_is_refused() {
    let why = refused(|e| e.headers[2].flags = 7);
    assert_eq!(why, ImageFault::WritableAndExecutable);
    assert_eq!(TeeResult::from(why), TeeResult::SECURITY);
}

#[test]
fn image_not_linked_at_zero_is_refused() {
    let why = refused(|e| {
        e.headers.remove(0);
    });
    assert_eq!(why, ImageFault::NotAtZero);
}

#[test]
fn too_short_a_first_segment_has_no_head() {
    let why = refused(|e| {
        e.headers.truncate(3);
        e.headers[0].file_len = 31;
    });
    assert_eq!(why, ImageFault::NoHead);
}

#[test]
fn old_entry_point_in_the_head_is_refused() {
    assert_eq!(refused(|e| e.head.depr_entry = 0x1000), ImageFault::BadHead);
}

#[test]
fn unknown_flags_in_the_head_are_refused() {
    assert_eq!(refused(|e| e.head.flags = 1 << 20), ImageFault::BadHead);
}

#[test]
fn another_uuid_is_a_security_error() {
    let why = refused(|e| e.head.uuid = TeeUuid::nil());
    assert_eq!(why, ImageFault::WrongUuid);
    assert_eq!(TeeResult::from(why), TeeResult::SECURITY);
}

#[test]
fn no_stack_is_refused() {
    assert_eq!(refused(|e| e.head.stack_size = 0), ImageFault::BadStack);
}

#[test]
fn enormous_stack_is_refused() {
    assert_eq!(
        refused(|e| e.head.stack_size = u32::MAX),
        ImageFault::BadStack
    );
}

#[test]
fn entry_in_data_is_refused() {
    assert_eq!(refused(|e| e.entry = DATA), ImageFault::EntryNotExecutable);
}

#[test]
fn entry_at_the_very_end_of_code_is_refused() {
    assert_eq!(
        refused(|e| e.entry = 0x1400),
        ImageFault::EntryNotExecutable
    );
}

#[test]
fn dynamic_section_outside_segments_is_refused() {
    assert_eq!(
        refused(|e| e.headers[3].address = 0x9000),
        ImageFault::BadDynamic
    );
}

#[test]
fn interpreters_are_not_supported() {
    assert_eq!(
        refused(|e| e.headers[3].kind = INTERP),
        ImageFault::NeedsInterpreter
    );
}

#[test]
fn thread_local_storage_aligned_to_a_page_is_refused() {
    assert_eq!(refused(|e| e.headers[3].kind = TLS), ImageFault::NeedsTls);
}

#[test]
fn memory_shorter_than_the_plan_is_refused() {
    let file = Elf::fine().build();
    let plan = plan(&file, UUID).unwrap();
    assert_eq!(
        plan.apply(&mut [0; 0x1200], BASE),
        Err(ImageFault::MemoryTooSmall)
    );
}

/// A header elsewhere, named by the symbol `ta_head`, in a System V hash table of one bucket.
#[test]
fn header_is_found_by_its_symbol() {
    let mut elf = Elf::fine();
    elf.symbols = vec![(0, 0, 0, 0), (1, 1, 1, 0x700)];
    elf.dynamic = vec![(5, 0x600), (4, 0x640)];
    elf.head.uuid = TeeUuid::nil();
    let mut file = elf.build();
    let mut put = |at: u64, bytes: &[u8]| {
        let at = (PAGE + at) as usize;
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0x600, b"\0ta_head\0");
    put(0x640, [1_u32, 2, 1, 0, 0].as_bytes());
    let head = TaHead {
        uuid: UUID,
        ..elf.head
    };
    put(0x700, head.as_bytes());
    assert_eq!(plan(&file, UUID).unwrap().head.uuid, UUID);
}

/// The same by a GNU hash table of one bucket.
#[test]
fn header_is_found_by_its_symbol_in_a_gnu_table() {
    let mut elf = Elf::fine();
    elf.symbols = vec![(0, 0, 0, 0), (1, 1, 1, 0x700)];
    elf.dynamic = vec![(5, 0x600), (0x6fff_fef5, 0x640)];
    elf.head.uuid = TeeUuid::nil();
    let mut file = elf.build();
    let mut put = |at: u64, bytes: &[u8]| {
        let at = (PAGE + at) as usize;
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let hash = b"ta_head".iter().fold(5381_u32, |h, c| {
        h.wrapping_mul(33).wrapping_add(u32::from(*c))
    });
    put(0x600, b"\0ta_head\0");
    put(0x640, [1_u32, 1, 1, 0, 0, 0, 1, hash | 1].as_bytes());
    let head = TaHead {
        uuid: UUID,
        ..elf.head
    };
    put(0x700, head.as_bytes());
    assert_eq!(plan(&file, UUID).unwrap().head.uuid, UUID);
}

/// A cheap stand-in for the fuzz target: no byte of the interesting parts may cause a panic.
#[test]
fn no_single_changed_byte_causes_a_panic() {
    let fine = Elf::fine().build();
    let page = PAGE as usize;
    let interesting = [
        0..64 + 56 * 4,
        page..page + 0x20,
        page + 0x100..page + 0x118,
    ];
    let tables = [page + 0x400..page + 0x460, page + 0x2100..page + 0x2160];
    for at in interesting.into_iter().chain(tables).flatten() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xff] {
            let mut file = fine.clone();
            file[at] = value;
            if let Ok(plan) = plan(&file, UUID)
                && plan.span < 1 << 16
            {
                let mut memory = vec![0; plan.span as usize];
                let applied = plan.apply(&mut memory, BASE).is_ok();
                assert_eq!(applied, plan.check_relocations().is_ok());
            }
        }
    }
}

/// `e_phoff` near 2^64 was a panic of the example: eight were added to it.
#[test]
fn offsets_near_the_end_of_addresses_name_no_uuid() {
    for offset in [u64::MAX, u64::MAX - 8, 1 << 63, 40, 0] {
        let mut image = [0xff; 64];
        image[32..40].copy_from_slice(&offset.to_le_bytes());
        assert!(crate::uuid(&image).is_none(), "{offset:#x}");
    }
}

#[test]
fn what_is_read_lies_in_the_image_and_nothing_beyond() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 0, 0];
    for (offset, len, found) in [
        (0, 9, Some(&bytes[..])),
        (2, 3, Some(&bytes[2..5])),
        (9, 0, Some(&bytes[9..])),
        (0, 10, None),
        (9, 1, None),
        (10, 0, None),
        (1, u64::MAX, None),
        (u64::MAX, 1, None),
    ] {
        assert_eq!(raw::slice(&bytes, offset, len), found, "{offset} {len}");
    }
    for (offset, word) in [(0, Some(0x0403_0201)), (5, Some(0x0706)), (6, None)] {
        assert_eq!(raw::read_u32(&bytes, offset), word, "{offset}");
    }
    let mut words = [0; 25];
    words[1] = 7;
    words[9] = 9;
    words[17] = 5;
    // Wherever it lies: a symbol's name, value and size.
    let symbol: goblin::elf::sym::sym64::Sym = raw::read(&words, 1).unwrap();
    assert_eq!((symbol.st_name, symbol.st_value, symbol.st_size), (7, 9, 5));
    assert!(raw::read::<goblin::elf::sym::sym64::Sym>(&words, 2).is_none());
}
