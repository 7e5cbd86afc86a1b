//! Embedded build outputs: the loader, and the keys that TA images are signed with.
//!
//! **Invariant:** the loader lies in whole pages that hold nothing else, since TAs see them.

use tally_abi::shdr::short_id;
use tally_core::kernel::LdelfImage;
use tally_core::ta::load::rsa::PublicKey;
use tally_mem::addr::{PAGE_SIZE, PhysPage};

/// First word of the loader's header: "LDEL" (linker/ldelf.ld).
const LDELF_MAGIC: u32 = u32::from_le_bytes(*b"LDEL");

#[repr(C, align(4096))]
struct Pages<const N: usize>([u8; N]);

const LDELF_BYTES: usize = include_bytes!(concat!(env!("OUT_DIR"), "/ldelf.bin")).len();
const LDELF_PADDED: usize = LDELF_BYTES.next_multiple_of(PAGE_SIZE);

static LDELF: Pages<LDELF_PADDED> = {
    let mut pages = Pages([0; LDELF_PADDED]);
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/ldelf.bin"));
    pages.0.split_at_mut(LDELF_BYTES).0.copy_from_slice(bytes);
    pages
};

/// A key that TA images may be signed with.
const fn trusted(modulus: &[u8]) -> PublicKey {
    match PublicKey::from_modulus(modulus) {
        Some(key) => key,
        None => panic!("a key of TALLY_TA_KEYS is not the modulus of an RSA key"),
    }
}

// `KEYS`, the keys that TA images must be signed with one of; none in a build for checks alone.
include!(concat!(env!("OUT_DIR"), "/ta_keys.rs"));

/// Pages of the kernel image that the loader fills.
pub(crate) fn ldelf_pages() -> (PhysPage, u32) {
    let first = PhysPage::containing(tally_arch::image_address(LDELF.0.as_ptr()));
    (first, (LDELF_PADDED / PAGE_SIZE) as u32)
}

/// The loader, or one without code if the build embedded none.
pub(crate) fn ldelf() -> LdelfImage {
    let bytes = LDELF.0.as_slice();
    let word = |n: usize| {
        bytes
            .get(4 * n..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |word| u32::from_le_bytes(*word))
    };
    // Behind the header and that of the linker's note.
    let build = bytes.get(32..).and_then(<[u8]>::first_chunk);
    let build = build.copied().unwrap_or_default();
    let (code, _) = ldelf_pages();
    let valid = word(0) == LDELF_MAGIC;
    let code_len = if valid { word(1) as usize } else { 0 };
    LdelfImage {
        code,
        code_pages: (code_len / PAGE_SIZE) as u32,
        data: bytes.get(code_len..LDELF_BYTES).unwrap_or_default(),
        data_len: if valid { word(2) as usize } else { 0 },
        entry_offset: u64::from(word(3)),
        id: short_id(&build),
    }
}
