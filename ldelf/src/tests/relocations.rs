//! Relocations: refused, and applied.

use super::*;

#[test]
fn relocations_outside_segments_are_refused() {
    assert_eq!(
        refused(|e| e.dynamic.push((7, 0x9000))),
        ImageFault::BadDynamic
    );
}

#[test]
fn relocation_table_of_odd_length_is_refused() {
    assert_eq!(refused(|e| e.dynamic.push((8, 23))), ImageFault::BadDynamic);
}

#[test]
fn relocations_without_addends_are_refused() {
    assert_eq!(
        refused(|e| e.dynamic.push((17, 0x100))),
        ImageFault::UnknownRelocation
    );
}

#[test]
fn packed_relative_relocations_are_refused() {
    assert_eq!(
        refused(|e| e.dynamic.push((35, 8))),
        ImageFault::UnknownRelocation
    );
}

#[test]
fn relocation_of_code_is_a_security_error() {
    let why = refused(|e| e.rela.push((0x1000, RELATIVE, 0)));
    assert_eq!(why, ImageFault::RelocationTarget);
    assert_eq!(TeeResult::from(why), TeeResult::SECURITY);
}

#[test]
fn relocation_beyond_the_files_bytes_is_refused() {
    assert_eq!(
        refused(|e| e.rela.push((0x2ff9, RELATIVE, 0))),
        ImageFault::RelocationTarget
    );
}

#[test]
fn relocation_at_the_end_of_the_address_space_is_refused() {
    assert_eq!(
        refused(|e| e.rela.push((u64::MAX, RELATIVE, 0))),
        ImageFault::RelocationTarget
    );
}

#[test]
fn relocation_of_unknown_kind_is_refused() {
    assert_eq!(
        refused(|e| e.rela.push((DATA, 1028, 0))),
        ImageFault::UnknownRelocation
    );
}

#[test]
fn relocations_against_defined_symbols_are_applied() {
    let memory = with(|e| {
        e.rela = vec![
            (DATA, 1 << 32 | ABS64, 4),
            (DATA + 8, 1 << 32 | GLOB_DAT, 0),
            (DATA + 16, 3 << 32 | GLOB_DAT, 0),
            (DATA + 24, 0, 0),
        ];
    })
    .load()
    .unwrap();
    assert_eq!(word(&memory, DATA), BASE + 0x200c);
    assert_eq!(word(&memory, DATA + 8), BASE + 0x2008);
    assert_eq!(word(&memory, DATA + 16), 0, "a weak symbol nobody defines");
    assert_eq!(word(&memory, DATA + 24), 0, "nothing to do");
}

#[test]
fn relocation_against_an_undefined_symbol_is_refused() {
    assert_eq!(
        refused(|e| e.rela.push((DATA, 2 << 32 | GLOB_DAT, 0))),
        ImageFault::UndefinedSymbol
    );
}

#[test]
fn symbol_outside_the_table_is_refused() {
    assert_eq!(
        refused(|e| e.rela.push((DATA, 0xffff_ffff << 32 | GLOB_DAT, 0))),
        ImageFault::BadDynamic
    );
}

#[test]
fn plt_relocations_are_applied_too() {
    let memory = with(|e| {
        e.rela = vec![(DATA, RELATIVE, 1), (DATA + 8, 1 << 32 | 1026, 0)];
        e.dynamic = vec![(8, 24), (20, 7), (23, TABLES + 24), (2, 24)];
    })
    .load()
    .unwrap();
    assert_eq!(word(&memory, DATA), BASE + 1);
    assert_eq!(word(&memory, DATA + 8), BASE + 0x2008);
}
