//! Programs with libraries, in memory that a map stands for.

use super::*;
use crate::{Extent, MAX_MODULES, Program, System, load, open, symbol};
use std::boxed::Box;
use std::collections::BTreeMap;

const LIBRARY: TeeUuid = TeeUuid::from_u128(0x11b);
const OTHER: TeeUuid = TeeUuid::from_u128(0x22b);

const JUMP_SLOT: u64 = 1026;
const TLS_TPREL: u64 = 1030;
const TLSDESC: u64 = 1031;

pub(super) const GLOBAL: u8 = 1;
pub(super) const WEAK: u8 = 2;
/// A thread-local variable for all.
const THREAD: u8 = 0x61;
pub(super) const UNDEFINED: u16 = 0;
pub(super) const DEFINED: u16 = 1;

/// Where a program has libutee's record.
const INFO: u64 = DATA + 0x300;
/// Where what a test relocates lies.
pub(super) const SLOT: u64 = DATA + 0x400;

#[derive(Debug, PartialEq)]
pub(super) enum Failure {
    Image(ImageFault),
    NotFound,
    NoRoom,
}

impl From<ImageFault> for Failure {
    fn from(why: ImageFault) -> Self {
        Self::Image(why)
    }
}

/// A TA's memory, and the files that there are.
#[derive(Default)]
pub(super) struct World {
    files: BTreeMap<TeeUuid, &'static [u8]>,
    memory: BTreeMap<u64, Vec<u8>>,
    protections: Vec<(u64, Protection)>,
    opened: Vec<TeeUuid>,
    concerned: TeeUuid,
    /// How many mappings there is room for, if that is bounded.
    room: Option<usize>,
    next: u64,
}

impl World {
    pub(super) fn with(files: impl IntoIterator<Item = (TeeUuid, Elf)>) -> Self {
        let files = files
            .into_iter()
            .map(|(uuid, elf)| (uuid, leak(elf.build())));
        Self {
            files: files.collect(),
            ..Self::default()
        }
    }

    pub(super) fn load(&mut self, program: &Elf) -> Result<Program, Failure> {
        load(self, leak(program.build()), UUID)
    }

    pub(super) fn word(&self, address: u64) -> u64 {
        let (base, bytes) = self.memory.range(..=address).next_back().unwrap();
        word(bytes, address - base)
    }

    /// Where the module lies that was mapped as the n-th piece of all.
    pub(super) fn base(&self, n: usize) -> u64 {
        *self.memory.keys().nth(n).unwrap()
    }
}

fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}

impl System<'static> for World {
    type Error = Failure;

    fn concerns(&mut self, module: TeeUuid) {
        self.concerned = module;
    }

    fn open(&mut self, library: TeeUuid) -> Result<&'static [u8], Failure> {
        self.opened.push(library);
        self.files.get(&library).copied().ok_or(Failure::NotFound)
    }

    fn map(&mut self, len: u64) -> Result<u64, Failure> {
        assert!(len > 0 && len.is_multiple_of(PAGE), "{len:#x}");
        if self.room.is_some_and(|room| self.memory.len() >= room) {
            return Err(Failure::NoRoom);
        }
        self.next += BASE;
        self.memory.insert(self.next, vec![0; len as usize]);
        Ok(self.next)
    }

    fn memory(&mut self, address: u64, len: u64) -> &mut [u8] {
        let bytes = self.memory.get_mut(&address).unwrap();
        assert_eq!(bytes.len() as u64, len);
        bytes
    }

    fn protect(&mut self, base: u64, pages: Protection) -> Result<(), Failure> {
        assert!(pages.address + pages.len <= self.memory[&base].len() as u64);
        self.protections.push((base, pages));
        Ok(())
    }

    fn unmap(&mut self, address: u64, len: u64) -> Result<(), Failure> {
        let bytes = self.memory.remove(&address).unwrap();
        assert_eq!(bytes.len() as u64, len);
        Ok(())
    }

    fn look(&self, at: Extent) -> &'static [u8] {
        if at.len == 0 {
            return &[];
        }
        let (base, bytes) = self.memory.range(..=at.address).next_back().unwrap();
        let from = (at.address - base) as usize;
        leak(bytes[from..from + at.len as usize].to_vec())
    }

    fn read(&mut self, address: u64) -> [u8; 16] {
        let (base, bytes) = self.memory.range(..=address).next_back().unwrap();
        *bytes[(address - base) as usize..].first_chunk().unwrap()
    }

    fn write(&mut self, address: u64, bytes: [u8; 16]) {
        let (base, memory) = self.memory.range_mut(..=address).next_back().unwrap();
        let at = (address - base) as usize;
        memory[at..at + 16].copy_from_slice(&bytes);
    }
}

/// A file with symbols: name, section, binding, value; and relocations of `SLOT` and the words behind it: kind, symbol.
pub(super) fn elf(
    symbols: &[(&'static str, u16, u8, u64)],
    relocations: &[(u64, u64)],
    needed: &[TeeUuid],
) -> Elf {
    with(|elf| {
        elf.names = symbols.iter().map(|it| it.0).collect();
        elf.symbols = vec![(0, 0, 0, 0)];
        for &(_, section, binding, value) in symbols {
            elf.symbols.push((0, section, binding, value));
        }
        elf.rela = vec![];
        for (n, &(kind, symbol)) in relocations.iter().enumerate() {
            elf.rela
                .push((SLOT + 16 * n as u64, symbol << 32 | kind, 0));
        }
        elf.needed = needed.to_vec();
    })
}

/// As `elf`, with libutee's record.
pub(super) fn program(
    symbols: &[(&'static str, u16, u8, u64)],
    relocations: &[(u64, u64)],
    needed: &[TeeUuid],
) -> Elf {
    let info = [("__elf_phdr_info", DEFINED, GLOBAL, INFO)];
    elf(&[symbols, &info].concat(), relocations, needed)
}

pub(super) fn thread_storage(elf: &mut Elf, len: u64) {
    elf.headers.push(Ph {
        kind: TLS,
        flags: R,
        offset: PAGE + DATA,
        address: DATA,
        file_len: 0,
        mem_len: len,
    });
}

#[test]
fn a_program_uses_what_its_library_defines_and_the_other_way_round() {
    let library = elf(
        &[
            ("given", DEFINED, GLOBAL, 0x2010),
            ("taken", UNDEFINED, GLOBAL, 0),
            ("nowhere", UNDEFINED, WEAK, 0),
        ],
        &[(GLOB_DAT, 2), (ABS64, 1), (JUMP_SLOT, 3)],
        &[],
    );
    let mut world = World::with([(LIBRARY, library)]);
    let loaded = world.load(&elf(
        &[
            ("given", UNDEFINED, GLOBAL, 0),
            ("taken", DEFINED, WEAK, 0x2020),
        ],
        &[(JUMP_SLOT, 1), (ABS64, 1), (ABS64, 2)],
        &[LIBRARY],
    ));
    let loaded = loaded.unwrap();
    let (own, library) = (world.base(0), world.base(1));
    assert_eq!((loaded.base, loaded.entry), (own, own + 0x1010));
    assert_eq!(world.word(own + SLOT), library + 0x2010);
    assert_eq!(world.word(own + SLOT + 16), library + 0x2010);
    assert_eq!(world.word(own + SLOT + 32), own + 0x2020);
    assert_eq!(world.word(library + SLOT), own + 0x2020);
    assert_eq!(world.word(library + SLOT + 16), library + 0x2010);
    assert_eq!(world.word(library + SLOT + 32), 0, "weak, and nobody's");
    let executable = world
        .protections
        .iter()
        .filter(|it| it.1.prot == Prot::Exec);
    assert_eq!(executable.count(), 2, "{:?}", world.protections);
}

/// `malloc` of a program is its libraries' too; a pointer that a library has to its own function stays its own.
#[test]
fn the_programs_definition_goes_before_the_librarys_where_it_is_called() {
    let both = [("malloc", DEFINED, GLOBAL, 0x2010)];
    let library = elf(&both, &[(JUMP_SLOT, 1), (GLOB_DAT, 1), (ABS64, 1)], &[]);
    let mut world = World::with([(LIBRARY, library)]);
    world.load(&elf(&both, &[], &[LIBRARY])).unwrap();
    let (own, library) = (world.base(0), world.base(1));
    assert_eq!(world.word(library + SLOT), own + 0x2010);
    assert_eq!(world.word(library + SLOT + 16), own + 0x2010);
    assert_eq!(world.word(library + SLOT + 32), library + 0x2010);
}

#[test]
fn a_symbol_that_no_module_defines_for_others_is_undefined() {
    for (section, binding) in [(UNDEFINED, GLOBAL), (UNDEFINED, WEAK), (DEFINED, 0)] {
        let library = elf(&[("wanted", section, binding, 0x2010)], &[], &[]);
        let mut world = World::with([(LIBRARY, library)]);
        let wants = elf(
            &[("wanted", UNDEFINED, GLOBAL, 0)],
            &[(JUMP_SLOT, 1)],
            &[LIBRARY],
        );
        let refused = world.load(&wants);
        assert_eq!(
            refused.err(),
            Some(ImageFault::UndefinedSymbol.into()),
            "{section} {binding}"
        );
    }
}

/// Bug: what was wrong with a program was told as its last library's fault.
#[test]
fn a_fault_is_told_of_the_module_that_has_it() {
    let sound = || elf(&[], &[], &[]);
    let undefined = |needed: &[TeeUuid]| {
        let nowhere = ("nowhere", UNDEFINED, GLOBAL, 0);
        elf(&[nowhere], &[(GLOB_DAT, 1)], needed)
    };
    let needs = |library| elf(&[], &[], &[library]);
    let both = |first, second| [(LIBRARY, first), (OTHER, second)];
    for (own, files, whose) in [
        (undefined(&[LIBRARY]), both(sound(), sound()), UUID),
        (needs(LIBRARY), both(undefined(&[OTHER]), sound()), LIBRARY),
        (needs(LIBRARY), both(needs(OTHER), undefined(&[])), OTHER),
        (
            needs(LIBRARY),
            both(needs(TeeUuid::from_u128(3)), sound()),
            TeeUuid::from_u128(3),
        ),
        (
            elf(
                &[("__elf_phdr_info", DEFINED, GLOBAL, 1 << 40)],
                &[],
                &[LIBRARY],
            ),
            both(sound(), sound()),
            UUID,
        ),
    ] {
        let mut world = World::with(files);
        assert!(world.load(&own).is_err(), "{whose}");
        assert_eq!(world.concerned, whose);
    }
}

/// Each once, in the order in which they are named, though they need each other.
#[test]
fn libraries_of_libraries_are_opened_breadth_first_and_once() {
    let third = TeeUuid::from_u128(3);
    let mut world = World::with([
        (LIBRARY, elf(&[], &[], &[third, UUID])),
        (OTHER, elf(&[], &[], &[LIBRARY, OTHER])),
        (third, elf(&[], &[], &[OTHER])),
    ]);
    world.load(&elf(&[], &[], &[LIBRARY, OTHER])).unwrap();
    assert_eq!(world.opened, [LIBRARY, OTHER, third]);
}

#[test]
fn a_library_that_is_not_there_is_told_as_the_system_tells_it() {
    let refused = World::default().load(&elf(&[], &[], &[LIBRARY]));
    assert_eq!(refused.err(), Some(Failure::NotFound));
}

#[test]
fn a_library_without_a_uuid_for_a_name_is_refused() {
    let named_otherwise = with(|e| {
        e.names = vec!["libc.so.6"];
        e.symbols = vec![(0, 0, 0, 0), (0, DEFINED, GLOBAL, 0x2000)];
        e.dynamic = vec![(1, 1)];
    });
    let refused = World::default().load(&named_otherwise);
    assert_eq!(refused.err(), Some(ImageFault::NeedsLibrary.into()));
    let beyond = with(|e| e.dynamic = vec![(1, 0x9000)]);
    let refused = World::default().load(&beyond);
    assert_eq!(refused.err(), Some(ImageFault::BadDynamic.into()));
}

#[test]
fn a_sixteenth_library_is_too_many() {
    let chain = |n: u128| {
        (
            TeeUuid::from_u128(n),
            elf(&[], &[], &[TeeUuid::from_u128(n + 1)]),
        )
    };
    let last = |n: u128| (TeeUuid::from_u128(n), elf(&[], &[], &[]));
    let most = MAX_MODULES as u128 - 1;
    let first = elf(&[], &[], &[TeeUuid::from_u128(1)]);
    let mut world = World::with((1..most).map(chain).chain([last(most)]));
    world.load(&first).unwrap();
    assert_eq!(world.opened.len(), MAX_MODULES - 1);
    let mut world = World::with((1..=most).map(chain).chain([last(most + 1)]));
    let refused = world.load(&first);
    assert_eq!(refused.err(), Some(ImageFault::TooManyLibraries.into()));
    assert_eq!(world.opened.len(), MAX_MODULES - 1, "it was not fetched");
}

#[test]
fn libutee_finds_all_modules_with_their_program_headers() {
    let mut world = World::with([(LIBRARY, elf(&[], &[], &[]))]);
    let loaded = world.load(&program(&[], &[], &[LIBRARY])).unwrap();
    let (own, library) = (world.base(0), world.base(1));
    assert_eq!(world.word(own + INFO), 2 << 32, "{{0, count 2, 0, 0}}");
    let list = world.word(own + INFO + 8);
    for (n, base) in [own, library].into_iter().enumerate() {
        let words: Vec<u64> = (0..8)
            .map(|word| world.word(list + 64 * n as u64 + 8 * word))
            .collect();
        let [found, name, headers, count, loads, unloads, tls, data] = words[..] else {
            panic!("{words:?}");
        };
        assert_eq!(
            (found, name, count),
            (base, own + INFO + 7, 4),
            "module {n}"
        );
        assert_eq!((loads, unloads, tls, data), (1, 0, 0, 0), "module {n}");
        // The third one is that of the data segment.
        assert_eq!(world.word(headers + 2 * 56 + 16), DATA, "module {n}");
    }
    let (map, pages) = *world.protections.last().unwrap();
    assert_eq!(map, loaded.link_map.address);
    assert_eq!((pages.len, pages.prot), (loaded.link_map.len, Prot::Read));
}

#[test]
fn a_library_is_called_by_its_own_name() {
    let library = with(|e| {
        e.names = vec!["own.name"];
        e.symbols = vec![(0, 0, 0, 0), (0, DEFINED, GLOBAL, 0x2000)];
        e.dynamic = vec![(14, 1)];
    });
    let mut world = World::with([(LIBRARY, library)]);
    world.load(&program(&[], &[], &[LIBRARY])).unwrap();
    let (own, library) = (world.base(0), world.base(1));
    let list = world.word(own + INFO + 8);
    assert_eq!(world.word(list + 64 + 8), library + STRINGS + 1);
}

#[test]
fn a_record_that_is_no_record_is_refused() {
    // Of another version; its end outside of the program; all of it outside.
    for (at, fill) in [(DATA + 0x800, 1), (0x3ff8, 0), (1 << 40, 0)] {
        let info = [("__elf_phdr_info", DEFINED, GLOBAL, at)];
        let refused = World::default().load(&elf(&info, &[], &[]));
        assert_eq!(
            refused.err(),
            Some(ImageFault::BadPhdrInfo.into()),
            "{at:#x} {fill}"
        );
    }
}

#[test]
fn a_program_that_asks_for_nothing_of_it_has_no_link_map() {
    let mut world = World::default();
    let loaded = world.load(&Elf::fine()).unwrap();
    assert_eq!(loaded.link_map.len, 0);
    assert_eq!(world.memory.len(), 1);
}

/// libutee puts the modules' variables one behind the other, behind two words.
#[test]
fn variables_of_the_thread_lie_where_libutee_puts_them() {
    let mut library = elf(
        &[
            ("theirs", DEFINED, THREAD, 8),
            ("mine", UNDEFINED, THREAD, 0),
        ],
        &[(TLS_TPREL, 1), (TLS_TPREL, 2), (TLSDESC, 1), (TLS_TPREL, 0)],
        &[],
    );
    thread_storage(&mut library, 0x30);
    let mut own = program(
        &[
            ("mine", DEFINED, THREAD, 4),
            ("theirs", UNDEFINED, THREAD, 0),
        ],
        &[(TLS_TPREL, 1), (TLSDESC, 2)],
        &[LIBRARY],
    );
    thread_storage(&mut own, 0x21);
    let mut world = World::with([(LIBRARY, library)]);
    world.load(&own).unwrap();
    let (own, library, resolver) = (world.base(0), world.base(1), world.base(2));
    let (first, second) = (16, 16 + 0x21);
    assert_eq!(world.word(own + SLOT), first + 4);
    assert_eq!(world.word(own + SLOT + 16), resolver);
    assert_eq!(world.word(own + SLOT + 24), second + 8);
    assert_eq!(world.word(library + SLOT), second + 8);
    assert_eq!(world.word(library + SLOT + 16), first + 4);
    assert_eq!(world.word(library + SLOT + 32), resolver);
    assert_eq!(world.word(library + SLOT + 40), second + 8);
    assert_eq!(world.word(library + SLOT + 48), second);
    // ldr x0, [x0, #8]; ret
    assert_eq!(world.word(resolver), 0xd65f_03c0_f940_0400);
    let exec = Protection {
        address: 0,
        len: PAGE,
        prot: Prot::Exec,
    };
    assert!(world.protections.contains(&(resolver, exec)));
    let list = world.word(own + INFO + 8);
    assert_eq!((world.word(list + 48), world.word(list + 64 + 48)), (1, 2));
}

#[test]
fn variables_of_the_thread_that_nobody_makes_are_refused() {
    let variable = [("mine", DEFINED, THREAD, 4)];
    // Nobody reads the storage; there is none; it is an address.
    let mut unread = elf(&variable, &[(TLS_TPREL, 1)], &[]);
    thread_storage(&mut unread, 8);
    let none = program(&variable, &[(TLS_TPREL, 1)], &[]);
    let none_described = program(&variable, &[(TLSDESC, 1)], &[]);
    for (program, why) in [
        (unread, ImageFault::NeedsTls),
        (none, ImageFault::NeedsTls),
        (none_described, ImageFault::NeedsTls),
        (
            program(&variable, &[(GLOB_DAT, 1)], &[]),
            ImageFault::BadDynamic,
        ),
    ] {
        assert_eq!(World::default().load(&program).err(), Some(why.into()));
    }
    let mut twice = program(&variable, &[], &[]);
    thread_storage(&mut twice, 8);
    thread_storage(&mut twice, 8);
    assert_eq!(
        World::default().load(&twice).err(),
        Some(ImageFault::NeedsTls.into())
    );
}

/// The second word of a descriptor has its own check.
#[test]
fn a_descriptor_that_ends_behind_the_files_bytes_is_refused() {
    let mut program = program(&[("mine", DEFINED, THREAD, 0)], &[], &[]);
    thread_storage(&mut program, 8);
    program.rela = vec![(0x2ff8, 1 << 32 | TLSDESC, 0)];
    let refused = World::default().load(&program);
    assert_eq!(refused.err(), Some(ImageFault::RelocationTarget.into()));
}

#[test]
fn a_library_opened_later_joins_those_that_are_there() {
    let first = elf(&[("first", DEFINED, GLOBAL, 0x2010)], &[], &[]);
    let later = elf(
        &[
            ("first", UNDEFINED, GLOBAL, 0),
            ("own", UNDEFINED, GLOBAL, 0),
            ("later", DEFINED, GLOBAL, 0x2030),
        ],
        &[(GLOB_DAT, 1), (GLOB_DAT, 2)],
        &[LIBRARY],
    );
    let mut world = World::with([(LIBRARY, first), (OTHER, later)]);
    let own = program(&[("own", DEFINED, GLOBAL, 0x2020)], &[], &[LIBRARY]);
    let before = world.load(&own).unwrap().link_map;
    let (own, first) = (world.base(0), world.base(1));
    assert_eq!(
        symbol(&world, before, None, b"later"),
        Err(ImageFault::UndefinedSymbol)
    );

    let map = open(&mut world, before, OTHER).unwrap();
    assert_eq!(world.opened, [LIBRARY, OTHER], "the first one was there");
    assert!(!world.memory.contains_key(&before.address));
    let later = world.base(2);
    assert_eq!(world.word(later + SLOT), first + 0x2010);
    assert_eq!(world.word(later + SLOT + 16), own + 0x2020);
    assert_eq!(world.word(own + INFO) >> 32, 3);
    let list = world.word(own + INFO + 8);
    assert!((map.address..map.address + map.len).contains(&list));
    assert_eq!(world.word(list + 128), later);

    assert_eq!(symbol(&world, map, None, b"later"), Ok(later + 0x2030));
    assert_eq!(
        symbol(&world, map, Some(OTHER), b"later"),
        Ok(later + 0x2030)
    );
    // What it does not define itself may be another's.
    assert_eq!(symbol(&world, map, Some(OTHER), b"own"), Ok(own + 0x2020));
    let no_module = symbol(&world, map, Some(TeeUuid::from_u128(9)), b"own");
    assert_eq!(no_module, Err(ImageFault::NeedsLibrary));

    let again = open(&mut world, map, OTHER).unwrap();
    assert_eq!((again.address, again.len), (map.address, map.len));
    assert_eq!(world.opened, [LIBRARY, OTHER]);
}

#[test]
fn variables_of_a_library_opened_later_lie_behind_the_others() {
    let mut later = elf(&[("later", DEFINED, THREAD, 1)], &[(TLSDESC, 1)], &[]);
    thread_storage(&mut later, 8);
    let mut world = World::with([(OTHER, later)]);
    let mut own = program(&[], &[], &[]);
    thread_storage(&mut own, 0x10);
    let map = world.load(&own).unwrap().link_map;
    let resolver = world.base(1);
    open(&mut world, map, OTHER).unwrap();
    let later = world.base(2);
    assert_eq!(world.word(later + SLOT), resolver, "one for all");
    assert_eq!(world.word(later + SLOT + 8), 16 + 0x10 + 1);
}

/// Whatever fails, libutee goes on with what it knew.
#[test]
fn a_library_that_cannot_be_opened_later_changes_nothing() {
    let undefined = elf(&[("nowhere", UNDEFINED, GLOBAL, 0)], &[(GLOB_DAT, 1)], &[]);
    let mut world = World::with([(LIBRARY, undefined), (OTHER, elf(&[], &[], &[]))]);
    let map = world.load(&program(&[], &[], &[])).unwrap().link_map;
    let own = world.base(0);
    let info = world.read(own + INFO);
    let bytes = world.memory[&map.address].clone();
    let why = open(&mut world, map, LIBRARY).err();
    assert_eq!(why, Some(ImageFault::UndefinedSymbol.into()));
    for room in 0..2 {
        world.room = Some(world.memory.len() + room);
        let why = open(&mut world, map, OTHER).err();
        assert_eq!(why, Some(Failure::NoRoom), "{room}");
    }
    assert_eq!(
        open(&mut world, map, TeeUuid::from_u128(9)).err(),
        Some(Failure::NotFound)
    );
    assert_eq!(world.read(own + INFO), info);
    assert_eq!(world.memory[&map.address], bytes);
}

/// A program with relative relocations besides: where each is, and what it points to.
fn with_pointers(elf: Elf, pointers: &[(u64, u64)]) -> Elf {
    let more = pointers.iter().map(|(at, to)| (*at, RELATIVE, *to));
    let rela = elf.rela.iter().copied().chain(more).collect();
    Elf { rela, ..elf }
}

#[test]
fn free_lists_are_told_by_two_words_that_point_back_at_them() {
    let list = DATA + 0x500;
    let (first, second) = ((list + 16, list), (list + 24, list));
    let tells = |pointers: &[(u64, u64)]| {
        let mut world = World::default();
        let program = with_pointers(elf(&[], &[], &[]), pointers);
        let loaded = world.load(&program).unwrap();
        loaded.free_lists.0.map(|at| at.wrapping_sub(loaded.base))
    };
    let none = 0_u64.wrapping_sub(World::default().load(&elf(&[], &[], &[])).unwrap().base);
    assert_eq!(tells(&[first, second]), [list, none, none, none]);
    assert_eq!(tells(&[second, first]), [list, none, none, none]);
    for other in [
        &[first][..],
        &[second],
        // Another list's head, and queues that are empty.
        &[first, (list + 24, list + 8)],
        &[(list, list), (list + 8, list)],
        &[(list + 8, list)],
    ] {
        assert_eq!(tells(other), [none; 4], "{other:x?}");
    }
    // There is room for so many.
    let many: Vec<(u64, u64)> = (0..6)
        .flat_map(|n| {
            [
                (list + 32 * n + 16, list + 32 * n),
                (list + 32 * n + 24, list + 32 * n),
            ]
        })
        .collect();
    assert_eq!(tells(&many), [0, 32, 64, 96].map(|at| list + at));
}

#[test]
fn free_lists_of_libraries_are_told_behind_the_programs() {
    let list = DATA + 0x500;
    let pointers = [(list + 16, list), (list + 24, list)];
    let library = with_pointers(elf(&[], &[], &[]), &pointers);
    let mut world = World::with([(LIBRARY, library)]);
    let program = with_pointers(elf(&[], &[], &[LIBRARY]), &pointers);
    let loaded = world.load(&program).unwrap();
    let (own, library) = (world.base(0), world.base(1));
    assert_eq!(loaded.free_lists.0, [own + list, library + list, 0, 0]);
}
