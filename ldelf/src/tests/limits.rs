//! Limits of what is accepted, each from both sides.

use super::linking::{DEFINED, GLOBAL, SLOT, UNDEFINED, WEAK, World, elf, program, thread_storage};
use super::*;
use crate::link_map::{Entry, LinkMap};
use crate::symbols::{Extent, SymbolTables, Symbols};
use crate::{MAX_SPAN, Module, library};

const LIBRARY: TeeUuid = TeeUuid::from_u128(0x11b);

#[test]
fn variables_of_the_thread_alone_ask_for_libutee() {
    let mut storage = elf(&[], &[], &[]);
    thread_storage(&mut storage, 8);
    let refused = World::default().load(&storage).err();
    assert_eq!(refused, Some(ImageFault::NeedsTls.into()));
    let mut described = program(&[], &[], &[]);
    thread_storage(&mut described, 8);
    let loaded = World::default().load(&described).unwrap();
    assert_eq!(loaded.link_map.len, PAGE);
    let alone = World::default().load(&program(&[], &[], &[])).unwrap();
    assert_eq!(alone.link_map.len, PAGE, "it wants to know its modules");
}

#[test]
fn variables_of_the_thread_are_as_many_and_as_aligned_as_can_be() {
    for (len, align, sound) in [
        (0, 16, true),
        (MAX_SPAN, 16, true),
        (MAX_SPAN + 1, 16, false),
        (8, 17, false),
        (8, 0, true),
    ] {
        let mut elf = Elf::fine();
        thread_storage(&mut elf, len);
        let mut file = elf.build();
        let at = 64 + 56 * (elf.headers.len() - 1) + 48;
        file[at] = align;
        let planned = plan(&file, UUID).map(|plan| plan.tls_len);
        let wanted = if sound {
            Ok(len)
        } else {
            Err(ImageFault::NeedsTls)
        };
        assert_eq!(planned, wanted, "{len:#x} {align}");
    }
}

#[test]
fn entries_of_the_dynamic_section_have_the_sizes_of_this_format() {
    for (tag, value, why) in [
        // DT_RELAENT, DT_SYMENT, DT_PLTREL, DT_RELSZ, DT_RELRSZ.
        (9, 24, None),
        (9, 23, Some(ImageFault::BadDynamic)),
        (9, 25, Some(ImageFault::BadDynamic)),
        (11, 24, None),
        (11, 25, Some(ImageFault::BadDynamic)),
        (20, 7, None),
        (20, 17, Some(ImageFault::UnknownRelocation)),
        (18, 0, None),
        (18, 8, Some(ImageFault::UnknownRelocation)),
        (35, 0, None),
    ] {
        let loaded = with(|elf| elf.dynamic.push((tag, value))).load();
        assert_eq!(loaded.err(), why, "{tag} {value}");
    }
}

#[test]
fn pages_are_read_only_once_relocated_if_whole_and_in_one_writable_segment() {
    for (address, len, pages) in [
        (DATA, 0x1000, Some((DATA, 0x1000))),
        (DATA, 0xfff, None),
        (DATA, 0x1001, Some((DATA, 0x1000))),
        (DATA, 0x2000, Some((DATA, 0x2000))),
        // Beyond the segment's last page; before its first; not writable; wrapping.
        (DATA, 0x3000, None),
        (DATA - 0x1000, 0x2000, None),
        (0, 0x1000, None),
        (DATA, u64::MAX - DATA, None),
        (DATA, u64::MAX, None),
        // It may not begin within a page that has other data before.
        (DATA + 8, 0x1ff8, Some((DATA + 0x1000, 0x1000))),
        (DATA + 8, 0xff8, None),
        (DATA + 0x1000, 0x1000, Some((DATA + 0x1000, 0x1000))),
        (DATA, 0, None),
    ] {
        let file = with(|elf| {
            elf.headers.push(Ph {
                kind: RELRO,
                flags: R,
                offset: PAGE + DATA,
                address,
                file_len: 0,
                mem_len: len,
            });
        })
        .build();
        let plan = plan(&file, UUID).unwrap();
        let relro = plan.protections().nth(2).map(|it| (it.address, it.len));
        assert_eq!(relro, pages, "{address:#x} {len:#x}");
    }
    // A segment that begins within a page: all of that page is its own.
    let file = with(|elf| {
        elf.headers[2].address += 0x80;
        elf.headers[2].offset += 0x80;
        elf.headers[2].file_len -= 0x80;
        elf.headers[2].mem_len -= 0x80;
        let first = elf.headers[2];
        elf.headers.push(Ph {
            kind: RELRO,
            mem_len: 0xf80,
            ..first
        });
    })
    .build();
    let plan = plan(&file, UUID).unwrap();
    let relro = plan.protections().nth(2).map(|it| (it.address, it.len));
    assert_eq!(relro, Some((DATA, 0x1000)));
}

const LAST: u16 = 0xfeff;
const RESERVED: u16 = 0xff00;
const ABSOLUTE: u16 = 0xfff1;

#[test]
fn symbols_of_sections_that_there_are_have_addresses() {
    // The own symbol, by its number.
    for (section, value) in [
        (DEFINED, Ok(BASE + 0x2010)),
        (LAST, Ok(BASE + 0x2010)),
        (RESERVED, Err(ImageFault::BadDynamic)),
        (ABSOLUTE, Ok(0x2010)),
        (ABSOLUTE + 1, Err(ImageFault::BadDynamic)),
    ] {
        let own = [("own", section, GLOBAL, 0x2010)];
        let loaded = elf(&own, &[(GLOB_DAT, 1)], &[]).load();
        assert_eq!(
            loaded.map(|memory| word(&memory, SLOT)),
            value,
            "{section:#x}"
        );
    }
    // By its name, for others: in a section that there is, and not for its module alone.
    for (section, binding, is_found) in [
        (DEFINED, GLOBAL, true),
        (DEFINED, WEAK, true),
        (DEFINED, 0, false),
        (LAST, GLOBAL, true),
        (RESERVED, GLOBAL, false),
        (ABSOLUTE, GLOBAL, false),
        (UNDEFINED, GLOBAL, false),
    ] {
        let file = elf(&[("its", section, binding, 0x2010)], &[], &[]).build();
        let plan = library(&file).unwrap();
        let found = plan.module(BASE, 0).symbols.find(b"its");
        assert_eq!(found.is_some(), is_found, "{section:#x} {binding}");
        assert!(plan.module(BASE, 0).symbols.find(b"it").is_none());
    }
}

/// What a module has for itself alone is called by nobody else's name.
#[test]
fn a_local_symbol_stays_its_modules_own() {
    for (binding, is_own) in [(0, true), (GLOBAL, false), (WEAK, false)] {
        let both = |binding| [("both", DEFINED, binding, 0x2010)];
        let library = elf(&both(binding), &[(GLOB_DAT, 1)], &[]);
        let mut world = World::with([(LIBRARY, library)]);
        world.load(&elf(&both(GLOBAL), &[], &[LIBRARY])).unwrap();
        let (own, library) = (world.base(0), world.base(1));
        let base = if is_own { library } else { own };
        assert_eq!(world.word(library + SLOT), base + 0x2010, "{binding}");
    }
}

#[test]
fn a_chain_of_a_hash_table_is_followed_to_its_end_and_no_further() {
    // {one bucket, three symbols, first; chain}: symbols 1 to 3 are called `a`, `b` and `c`.
    let mut symbols = vec![0; 24];
    for name in [1_u32, 3, 5] {
        symbols.extend(name.to_le_bytes());
        symbols.extend([0x10, 0, 1, 0]);
        symbols.extend([0; 16]);
    }
    let strings = *b"\0a\0b\0c\0";
    for (words, found) in [
        (&[1, 4, 1, 0, 2, 3, 0][..], [true, true, true]),
        (&[1, 4, 1, 0, 3, 0, 0], [true, false, true]),
        (&[1, 4, 3, 0, 0, 0, 2], [false, true, true]),
        // A loop; one that leads out of the table; no bucket; no chain.
        (&[1, 4, 1, 0, 2, 1, 0], [true, true, false]),
        (&[1, 4, 1, 0, 9, 0, 0], [true, false, false]),
        (&[0, 4, 1, 0, 2, 3, 0], [false; 3]),
        (&[1, 4, 0, 0, 2, 3, 0], [false; 3]),
        (&[1], [false; 3]),
    ] {
        let table = words.as_bytes();
        let kinds: [&[u8]; 3] = [&symbols, &strings, table];
        let extent = |address| Extent { address, len: 1 };
        let tables = SymbolTables {
            symbols: extent(0),
            strings: extent(1),
            gnu_hash: Extent { address: 3, len: 0 },
            hash: extent(2),
        };
        let symbols = Symbols::new(&tables, |at| {
            kinds.get(at.address as usize).copied().unwrap_or(&[])
        });
        let names = [b"a", b"b", b"c"];
        let named = names.map(|name| symbols.find(name).is_some());
        assert_eq!(named, found, "{words:?}");
    }
}

#[test]
fn a_header_that_is_not_of_this_format_is_refused_whatever_of_it_is_wrong() {
    for at in [0, 3, 4, 5, 6] {
        let mut file = Elf::fine().build();
        file[at] ^= 3;
        assert_eq!(plan(&file, UUID).err(), Some(ImageFault::NotElf), "{at}");
    }
}

#[test]
fn so_many_program_headers_are_looked_at_and_no_more() {
    let of = |headers| {
        let last = *Elf::fine().headers.last().unwrap();
        let file = with(|elf| elf.headers.resize(headers, Ph { kind: 0, ..last }));
        let mut file = file.build();
        // The tables behind them are where they are.
        file[64 + 56 * 4..64 + 56 * headers].fill(0);
        plan(&file, UUID).map(|_| ())
    };
    assert_eq!(of(64), Ok(()));
    assert_eq!(of(65), Err(ImageFault::BadProgramHeaders));
}

#[test]
fn a_segment_of_nothing_is_none_and_one_of_zeros_is_one() {
    let empty = Ph {
        kind: LOAD,
        flags: RW,
        offset: 0,
        address: 0x1000,
        file_len: 0,
        mem_len: 0,
    };
    let file = with(|elf| elf.headers.push(empty)).build();
    assert_eq!(plan(&file, UUID).unwrap().segments().len(), 3);
    let zeros = Ph {
        address: 0x4000,
        mem_len: 0x1000,
        ..empty
    };
    let file = with(|elf| elf.headers.push(zeros)).build();
    let plan = plan(&file, UUID).unwrap();
    assert_eq!((plan.segments().len(), plan.span), (4, 0x5000));
}

#[test]
fn relocations_are_counted() {
    let file = with(|elf| elf.rela = vec![(DATA, RELATIVE, 1), (DATA + 8, RELATIVE, 2)]).build();
    assert_eq!(plan(&file, UUID).unwrap().check_relocations(), Ok(2));
}

#[test]
fn the_rest_of_a_segment_is_what_its_file_has_behind_an_address() {
    let file = Elf::fine().build();
    let plan = plan(&file, UUID).unwrap();
    let rest = plan.file_bytes_from(0x1100).unwrap();
    assert_eq!(rest, &file[0x2100..0x2400]);
    let whole = plan.file_bytes_from(DATA).unwrap();
    assert_eq!(whole, &file[0x3000..0x4000]);
}

#[test]
fn protections_are_those_of_the_system_call() {
    use tally_abi::ldelf::prot;
    let bits = [Prot::Read, Prot::Write, Prot::Exec].map(Prot::bits);
    assert_eq!(bits, [prot::READ, prot::WRITE, prot::EXEC]);
}

#[test]
fn a_link_map_has_the_room_that_it_takes_and_all_headers_of_its_modules() {
    let headers = [[1_u8; 56].as_slice(), &[2; 112], &[3; 56]];
    let entries = headers.map(|program_headers| Entry {
        program_headers,
        ..Entry::default()
    });
    let modules = [Module::default(); 3];
    let len = LinkMap::len_for(&entries) as usize;
    let write = |memory: &mut [u8]| LinkMap::write(memory, 0x10_000, (&modules, &entries), 0, 0);
    let mut memory = vec![0; len];
    assert!(write(&mut memory).is_ok());
    let short = write(&mut vec![0; len - 1]);
    assert_eq!(short, Err(ImageFault::MemoryTooSmall));
    let map = LinkMap::new(&memory);
    let look = |extent: Extent| {
        let at = (extent.address - 0x10_000) as usize;
        &memory[at..at + extent.len as usize]
    };
    // Tables of symbols there are none.
    let found = map.modules(|extent| if extent.len == 0 { &[] } else { look(extent) });
    let found: Vec<&[u8]> = found.map(|(_, entry)| entry.program_headers).collect();
    assert_eq!(found, headers);
}
