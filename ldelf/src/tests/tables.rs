//! Relocation tables in several segments, as OP-TEE's kit links them.

use super::{BASE, DATA, DATA_TABLES, Elf, RELATIVE, TABLES, with, word};
use super::{Vec, vec};
use crate::ImageFault;

const RELA: u32 = 4;
const PROGBITS: u32 = 1;
const ALLOC: u64 = 2;

/// One relocation in the code's segment, as the fine file has, and two in the data's.
fn two_tables(sections: &[(u32, u64, u64, u64)]) -> Elf {
    with(|elf| {
        elf.data_rela = vec![(DATA + 8, RELATIVE, 0x55), (DATA + 16, RELATIVE, 0x66)];
        elf.sections = sections.to_vec();
    })
}

fn relocated(elf: &Elf) -> Result<[u64; 3], ImageFault> {
    let memory = elf.load()?;
    Ok([0, 8, 16].map(|at| word(&memory, DATA + at)))
}

const FIRST: (u32, u64, u64, u64) = (RELA, ALLOC, TABLES, 24);
const SECOND: (u32, u64, u64, u64) = (RELA, ALLOC, DATA_TABLES, 48);

#[test]
fn all_tables_that_the_sum_tells_of_are_applied() {
    // Bug: the sum was taken for one table's length, which ran out of the segment: none of the kit's TAs could be loaded.
    let all = Ok([BASE + 0x1234, BASE + 0x55, BASE + 0x66]);
    let other = (PROGBITS, ALLOC, DATA, 0x100);
    let not_loaded = (RELA, 0, DATA_TABLES, 24);
    let null = (0, 0, 0, 0);
    for sections in [
        vec![FIRST, SECOND],
        vec![SECOND, FIRST],
        vec![null, other, FIRST, not_loaded, SECOND, other],
    ] {
        assert_eq!(relocated(&two_tables(&sections)), all, "{sections:?}");
    }
}

#[test]
fn the_table_of_procedures_is_not_taken_twice() {
    let mut elf = two_tables(&[FIRST, SECOND, (RELA, ALLOC, DATA_TABLES + 48, 24)]);
    elf.dynamic = vec![(2, 24), (20, 7), (23, DATA_TABLES + 48)];
    let all = [BASE + 0x1234, BASE + 0x55, BASE + 0x66];
    assert_eq!(relocated(&elf), Ok(all));
}

#[test]
fn sections_that_do_not_add_up_are_not_believed() {
    // Then the sum is one table's length, as it is without sections: whatever lies there is no relocation of this image.
    let eight = vec![(RELA, ALLOC, TABLES, 24); 8];
    let nine: Vec<_> = [FIRST; 9].to_vec();
    let outside = (RELA, ALLOC, 0x5000, 48);
    let ragged = (RELA, ALLOC, DATA_TABLES, 47);
    for sections in [
        vec![],
        vec![FIRST],
        vec![SECOND],
        vec![FIRST, SECOND, FIRST],
        vec![FIRST, outside],
        vec![FIRST, ragged],
        eight,
        nine,
    ] {
        let tried = relocated(&two_tables(&sections));
        assert_ne!(
            tried.map(|words| words[1..] == [BASE + 0x55, BASE + 0x66]),
            Ok(true),
            "{sections:?}"
        );
    }
    // Of headers of another size, none.
    let mut elf = two_tables(&[FIRST, SECOND]);
    elf.shentsize = 63;
    assert_ne!(
        relocated(&elf),
        Ok([BASE + 0x1234, BASE + 0x55, BASE + 0x66])
    );
}

#[test]
fn a_fine_file_is_loaded_whatever_its_sections_say() {
    for sections in [vec![(RELA, ALLOC, u64::MAX, u64::MAX)], vec![FIRST; 30]] {
        let elf = with(|elf| elf.sections = sections.clone());
        assert_eq!(word(&elf.load().unwrap(), DATA), BASE + 0x1234);
    }
}
