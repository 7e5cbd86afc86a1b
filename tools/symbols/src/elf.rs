//! Images out of linked ELF files: raw images, stripped copies, sizes.
//!
//! **Invariant:** a raw image begins at the lowest load address and ends with the last byte that
//! the file holds for a loaded segment; zero-initialised memory behind it is not part of it. A file is whatever somebody
//! made of it: what lies outside of it or of the address space is refused.

use anyhow::{Context as _, Result, bail, ensure};
use object::elf::{self, FileHeader64, SectionHeader64};
use object::pod::{bytes_of, bytes_of_slice};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _, SectionHeader as _};
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _, U32, U64};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tally_abi::shdr::BuildId;
use tally_abi::ta::{DEPRECATED_ENTRY, NAME_NOTE, NOTE_OWNER, TaHead};
use zerocopy::FromBytes as _;

/// Where a zero is in each ELF file: the last byte of `e_ident` (System V gABI).
const LAST_OF_IDENT: u64 = 15;

/// One loaded segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Address while running.
    pub vaddr: u64,
    /// Address it is loaded at.
    pub paddr: u64,
    /// Where its bytes are in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_len: u64,
    /// Bytes in memory.
    pub mem_len: u64,
    /// Whether it is executable.
    pub exec: bool,
}

impl Segment {
    /// Whether its bytes are in a file of so many, and its memory has addresses.
    fn fits(&self, file_len: u64) -> bool {
        let end = self.offset.checked_add(self.file_len);
        let fits = |start: u64| start.checked_add(self.mem_len).is_some();
        end.is_some_and(|end| end <= file_len)
            && self.file_len <= self.mem_len
            && fits(self.vaddr)
            && fits(self.paddr)
    }
}

/// A linked program, read whole.
#[derive(Clone)]
pub struct Image {
    /// Where it came from.
    pub path: PathBuf,
    /// The file.
    pub bytes: Vec<u8>,
    /// Loaded segments by load address.
    pub segments: Vec<Segment>,
    symbols: HashMap<String, u64>,
}

/// Bytes by kind of section.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Code.
    pub text: u64,
    /// Constants.
    pub rodata: u64,
    /// Initialised data.
    pub data: u64,
    /// Zero-initialised memory, stacks and reserved holes.
    pub bss: u64,
}

impl Image {
    /// Reads an AArch64 ELF file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = crate::read(path, crate::MAX_PROGRAM_BYTES)?;
        Self::parse(path, bytes).with_context(|| format!("in {}", path.display()))
    }

    /// Takes the contents of a file.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self> {
        let file = ElfFile64::<LittleEndian>::parse(&*bytes)?;
        let header = FileHeader64::<LittleEndian>::parse(&*bytes)?;
        let endian = header.endian()?;
        ensure!(
            header.e_machine(endian) == elf::EM_AARCH64,
            "not an AArch64 program"
        );
        let mut segments: Vec<Segment> = header
            .program_headers(endian, &*bytes)?
            .iter()
            .filter(|ph| ph.p_type(endian) == elf::PT_LOAD && ph.p_memsz(endian) > 0)
            .map(|ph| Segment {
                vaddr: ph.p_vaddr(endian),
                paddr: ph.p_paddr(endian),
                offset: ph.p_offset(endian),
                file_len: ph.p_filesz(endian),
                mem_len: ph.p_memsz(endian),
                exec: ph.p_flags(endian) & elf::PF_X != elf::ProgramFlags(0),
            })
            .collect();
        for segment in &segments {
            ensure!(
                segment.fits(bytes.len() as u64),
                "the segment for {:#x} reaches beyond the file or the address space",
                segment.vaddr
            );
        }
        segments.sort_by_key(|segment| segment.paddr);
        let symbols = file
            .symbols()
            .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
            .collect();
        Ok(Self {
            path: path.to_path_buf(),
            segments,
            symbols,
            bytes,
        })
    }

    /// Lowest load address.
    pub fn base(&self) -> Result<u64> {
        match self.segments.first() {
            Some(segment) => Ok(segment.paddr),
            None => bail!(
                "{} has nothing to load: no linker script?",
                self.path.display()
            ),
        }
    }

    /// Bytes from the lowest load address to the end of the last segment in memory.
    pub fn mem_len(&self) -> u64 {
        let end = self
            .segments
            .iter()
            .map(|s| s.paddr + s.mem_len)
            .max()
            .unwrap_or(0);
        end - self.segments.first().map_or(0, |s| s.paddr)
    }

    /// Address of a symbol.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.get(name).copied()
    }

    /// Offset in the raw image of the running address `vaddr`.
    pub fn image_offset(&self, vaddr: u64) -> Option<u64> {
        let base = self.segments.first()?.paddr;
        let segment = self
            .segments
            .iter()
            .find(|s| vaddr >= s.vaddr && vaddr - s.vaddr <= s.mem_len)?;
        Some(vaddr - segment.vaddr + segment.paddr - base)
    }

    /// Running address of an offset in the raw image, inside executable segments only.
    pub fn code_address(&self, image_offset: u64) -> Option<u64> {
        let paddr = self.segments.first()?.paddr.checked_add(image_offset)?;
        let segment = self
            .segments
            .iter()
            .find(|s| s.exec && paddr >= s.paddr && paddr - s.paddr < s.mem_len)?;
        Some(paddr - segment.paddr + segment.vaddr)
    }

    /// The raw image.
    pub fn flatten(&self) -> Result<Vec<u8>> {
        let base = self.base()?;
        let mut raw = Vec::new();
        for segment in self.segments.iter().filter(|s| s.file_len > 0) {
            let at = usize::try_from(segment.paddr - base)?;
            let end = at + usize::try_from(segment.file_len)?;
            ensure!(
                end < 64 << 20,
                "{}: segment at {:#x} is {} MiB away from the first; check the linker script",
                self.path.display(),
                segment.paddr,
                at >> 20
            );
            if raw.len() < end {
                raw.resize(end, 0);
            }
            raw[at..end].copy_from_slice(self.segment_bytes(segment)?);
        }
        Ok(raw)
    }

    /// A copy of the file without sections: headers and all that segments refer to. Where there are several loaded
    /// tables of relocations, as OP-TEE's kit makes them, their section headers stay: nothing else tells where they are.
    pub fn stripped(&self) -> Result<Vec<u8>> {
        self.without_sections()
            .with_context(|| format!("in {}", self.path.display()))
    }

    fn without_sections(&self) -> Result<Vec<u8>> {
        let mut header = *FileHeader64::<LittleEndian>::parse(&*self.bytes)?;
        let endian = header.endian()?;
        ensure!(
            header.e_phnum.get(endian) < elf::PN_XNUM,
            "too many program headers"
        );
        let headers = header.program_headers(endian, &*self.bytes)?.iter();
        let ends = headers.map(|ph| ph.p_offset(endian).checked_add(ph.p_filesz(endian)));
        let own_end = Some(size_of_val(&header) as u64);
        let end = ends
            .chain([own_end])
            .try_fold(0, |most, end| Some(end?.max(most)));
        let loaded = end.and_then(|end| self.bytes.get(..usize::try_from(end).ok()?));
        let mut out = loaded
            .context("a program header reaches beyond the file")?
            .to_vec();
        let tables = self.relocation_tables(&header)?;
        if tables.len() < 2 {
            header.e_shoff.set(endian, 0);
            header.e_shentsize.set(endian, 0);
            header.e_shnum.set(endian, 0);
            header.e_shstrndx.set(endian, elf::SHN_UNDEF);
        } else {
            out.resize(out.len().next_multiple_of(align_of::<u64>()), 0);
            header.e_shoff.set(endian, out.len() as u64);
            let size = size_of::<SectionHeader64<LittleEndian>>();
            header.e_shentsize.set(endian, u16::try_from(size)?);
            // The first one is none, the last one has no names.
            header
                .e_shstrndx
                .set(endian, elf::SymbolSection(u16::try_from(tables.len() + 1)?));
            header.e_shnum.set(endian, u16::try_from(tables.len() + 2)?);
            out.resize(out.len() + size, 0);
            out.extend_from_slice(bytes_of_slice(&tables));
            out.extend_from_slice(bytes_of(&no_names(endian)));
        }
        out[..size_of_val(&header)].copy_from_slice(bytes_of(&header));
        Ok(out)
    }

    /// Section headers of the loaded tables of relocations, without what refers to other sections.
    fn relocation_tables(
        &self,
        header: &FileHeader64<LittleEndian>,
    ) -> Result<Vec<SectionHeader64<LittleEndian>>> {
        let endian = header.endian()?;
        let sections = header.section_headers(endian, &*self.bytes)?.iter();
        let is_loaded = |section: &&SectionHeader64<LittleEndian>| {
            section.sh_type(endian) == elf::SHT_RELA
                && section.sh_flags(endian).0 & elf::SHF_ALLOC.0 != 0
        };
        let alone = |section: &SectionHeader64<LittleEndian>| {
            let mut section = *section;
            section.sh_name.set(endian, 0);
            section.sh_link.set(endian, 0);
            section.sh_info.set(endian, 0);
            section
        };
        Ok(sections.filter(is_loaded).map(alone).collect())
    }

    /// Whether both are loaded alike: the same bytes at the same addresses, whatever else is in the files. What a
    /// stripper may change, the file's own headers, is not looked at where it is loaded, too.
    pub fn is_loaded_as(&self, other: &Self) -> bool {
        /// Address, bytes in memory, whether it is executable, bytes of the file.
        type Loaded = (u64, u64, bool, Vec<u8>);
        fn loaded(image: &Image) -> Option<Vec<Loaded>> {
            let header = FileHeader64::<LittleEndian>::parse(&*image.bytes).ok()?;
            let endian = header.endian().ok()?;
            let table =
                u64::from(header.e_phentsize.get(endian)) * u64::from(header.e_phnum.get(endian));
            let headers = header.e_phoff.get(endian).checked_add(table)?;
            let segments = image.segments.iter().map(|segment| {
                let mut bytes = image.segment_bytes(segment).ok()?.to_vec();
                let own = headers
                    .saturating_sub(segment.offset)
                    .min(bytes.len() as u64);
                bytes[..usize::try_from(own).ok()?].fill(0);
                Some((segment.vaddr, segment.mem_len, segment.exec, bytes))
            });
            segments.collect()
        }
        let own = loaded(self);
        own.is_some() && own == loaded(other)
    }

    /// The head of a trusted application: section `.ta_head`, else the lowest address.
    pub fn ta_head(&self) -> Result<TaHead> {
        let file = ElfFile64::<LittleEndian>::parse(&*self.bytes)?;
        let bytes = match file.section_by_name(".ta_head") {
            Some(section) => section.data()?,
            None => match self.segments.first() {
                Some(segment) => self.segment_bytes(segment)?,
                None => bail!("{} has nothing to load", self.path.display()),
            },
        };
        match TaHead::read_from_prefix(bytes) {
            Ok((head, _)) if head.depr_entry == DEPRECATED_ENTRY => Ok(head),
            _ => bail!("{} does not begin with a ta_head", self.path.display()),
        }
    }

    /// What a TA calls itself, without the `ta-` that its package's name may begin with. `None` of one that another
    /// runtime was linked into, and of a name that is none: letters, digits, `-` and `_`, 64 at most.
    pub fn ta_name(&self) -> Option<&str> {
        let header = FileHeader64::<LittleEndian>::parse(&*self.bytes).ok()?;
        let endian = header.endian().ok()?;
        let headers = header.program_headers(endian, &*self.bytes).ok()?;
        let notes = headers
            .iter()
            .filter_map(|ph| ph.notes(endian, &*self.bytes).ok()?);
        let mut notes =
            notes.flat_map(|mut notes| std::iter::from_fn(move || notes.next().ok()?));
        let name = notes.find(|note| {
            note.name_bytes() == NOTE_OWNER && note.n_type(endian) == elf::NoteType(NAME_NOTE)
        });
        name_of(name?.desc())
    }

    /// What the linker says it is; `None` of a program that was linked without.
    pub fn build_id(&self) -> Option<BuildId> {
        let file = ElfFile64::<LittleEndian>::parse(&*self.bytes).ok()?;
        file.build_id().ok()??.try_into().ok()
    }

    /// Executable sections as (running address, bytes).
    pub fn code(&self) -> Result<Vec<(u64, Vec<u8>)>> {
        let file = ElfFile64::<LittleEndian>::parse(&*self.bytes)?;
        let mut out = Vec::new();
        for section in file.sections() {
            if let object::SectionFlags::Elf { sh_flags, .. } = section.flags()
                && sh_flags.0 & elf::SHF_EXECINSTR.0 != 0
            {
                out.push((section.address(), section.data()?.to_vec()));
            }
        }
        out.sort_by_key(|(address, _)| *address);
        Ok(out)
    }

    /// Bytes by kind.
    pub fn sizes(&self) -> Result<Sizes> {
        let file = ElfFile64::<LittleEndian>::parse(&*self.bytes)?;
        let mut sizes = Sizes::default();
        for section in file.sections() {
            let object::SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                continue;
            };
            let has = |flag: elf::SectionFlags| sh_flags.0 & flag.0 != 0;
            if !has(elf::SHF_ALLOC) {
                continue;
            }
            let kind = if section.kind() == object::SectionKind::UninitializedData {
                &mut sizes.bss
            } else if has(elf::SHF_EXECINSTR) {
                &mut sizes.text
            } else if has(elf::SHF_WRITE) {
                &mut sizes.data
            } else {
                &mut sizes.rodata
            };
            *kind = kind
                .checked_add(section.size())
                .with_context(|| format!("sections of {} are too large", self.path.display()))?;
        }
        Ok(sizes)
    }

    fn segment_bytes(&self, segment: &Segment) -> Result<&[u8]> {
        let at = usize::try_from(segment.offset)?;
        let end = at + usize::try_from(segment.file_len)?;
        self.bytes
            .get(at..end)
            .context("segment lies outside the file")
    }
}

/// Header of the section of names that readers want, with the empty one alone: a zero of the file's own header.
fn no_names(endian: LittleEndian) -> SectionHeader64<LittleEndian> {
    SectionHeader64 {
        sh_name: U32::new(endian, 0),
        sh_type: U32::new(endian, elf::SHT_STRTAB),
        sh_flags: U64::new(endian, elf::SectionFlags(0)),
        sh_addr: U64::new(endian, 0),
        sh_offset: U64::new(endian, LAST_OF_IDENT),
        sh_size: U64::new(endian, 1),
        sh_link: U32::new(endian, 0),
        sh_info: U32::new(endian, 0),
        sh_addralign: U64::new(endian, 1),
        sh_entsize: U64::new(endian, 0),
    }
}

/// The name that a TA's package has, shortened.
fn name_of(package: &[u8]) -> Option<&str> {
    let name = str::from_utf8(package).ok()?;
    let name = name.strip_prefix("ta-").unwrap_or(name);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    ((1..=64).contains(&name.len()) && name.bytes().all(is_name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dwarf::Dwarf;

    /// One entry of a table of relocations.
    const RELA_BYTES: u64 = 24;

    /// Bytes of numbers of one size.
    macro_rules! words {
        ($type:ty: $($word:expr),* $(,)?) => { [$(<$type>::to_le_bytes($word)),*].concat() };
    }

    /// An ELF file of one segment, with code, `n_tables` loaded tables of relocations, and a table of symbols.
    fn program(n_tables: u64) -> Vec<u8> {
        let (start, end) = (64 + 56, 0x200_u64);
        let n_sections = 4 + n_tables as u16;
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        // Shared object, AArch64, version 1; no entry, headers, flags; sizes and counts.
        file.extend(words!(u16: 3, 183, 1, 0));
        file.extend(words!(u64: 0, 64, end));
        file.extend(words!(u16: 0, 0, 64, 56, 1, 64, n_sections, 2));
        // To be loaded, readable and executable: all before the section headers, at 0x1000.
        file.extend(words!(u32: 1, 5));
        file.extend(words!(u64: 0, 0x1000, 0x1000, end, end + 8, 4096));
        // BL to itself; names; a symbol at it.
        file.extend(words!(u32: 0x9400_0000, 0));
        file.extend(b"\0.symtab\0.text\0.rela\0f\0\0\0\0\0\0\0\0");
        let symbols = file.len() as u64;
        file.extend(words!(u32: 0, 0));
        file.extend(words!(u64: 0, 0));
        file.extend(words!(u32: 22, 0x0001_0002));
        file.extend(words!(u64: 0x1000 + start, 4));
        file.resize(end as usize, 0);
        let section = |name, kind, flags, at: u64, len: u64, link: u32, entry: u64| {
            [
                words!(u32: name, kind),
                words!(u64: flags, 0x1000 + at, at, len),
                words!(u32: link, 1),
                words!(u64: 8, entry),
            ]
            .concat()
        };
        file.extend([0; 64]);
        file.extend(section(9, 1, 6, start, 8, 0, 0));
        file.extend(section(1, 3, 0, start + 8, 32, 0, 0));
        file.extend(section(1, 2, 0, symbols, 48, 2, 24));
        for n in 0..n_tables {
            let at = 0x140 + n * RELA_BYTES;
            file.extend(section(15, 4, 2, at, RELA_BYTES, 3, RELA_BYTES));
        }
        file
    }

    fn parsed(file: Vec<u8>) -> Result<Image> {
        Image::parse(Path::new("a-file"), file)
    }

    /// Address and length of each section.
    fn sections(file: &[u8]) -> Vec<(u64, u64)> {
        let file = ElfFile64::<LittleEndian>::parse(file).unwrap();
        let sections = file.sections().filter(|it| it.address() != 0);
        sections.map(|it| (it.address(), it.size())).collect()
    }

    /// Bug: OP-TEE's kit puts relocations into two segments, and what was signed of its TAs did not say where.
    #[test]
    fn where_several_tables_of_relocations_are_stays_in_a_stripped_file() {
        for n_tables in [0, 1] {
            let stripped = parsed(program(n_tables)).unwrap().stripped().unwrap();
            assert_eq!(stripped.len(), 0x200);
            assert!(sections(&stripped).is_empty());
        }
        let image = parsed(program(3)).unwrap();
        let stripped = image.stripped().unwrap();
        let tables = (0..3).map(|n| (0x1140 + n * RELA_BYTES, RELA_BYTES));
        assert_eq!(sections(&stripped), tables.collect::<Vec<_>>());
        assert_eq!(stripped.len(), 0x200 + 5 * 64);
        assert!(image.is_loaded_as(&parsed(stripped).unwrap()));
    }

    /// Everything that is asked of a file.
    fn ask(image: &Image) {
        let base = image.base();
        let _ = (base, image.mem_len(), image.flatten(), image.stripped());
        let _ = (
            image.ta_head(),
            image.ta_name(),
            image.build_id(),
            image.sizes(),
        );
        for address in [0, 0x1000, u64::MAX] {
            let _ = (image.image_offset(address), image.code_address(address));
        }
        let _ = image.is_loaded_as(image);
        let frames = Dwarf::load(image, Path::new("/")).map(|dwarf| dwarf.frames(0x1080));
        let _ = (frames, image.code());
    }

    /// Bug: sums of a damaged header's fields overflowed, and ranges outside of the file were taken.
    #[test]
    fn a_damaged_file_is_refused_or_read_and_never_a_panic() {
        let whole = program(3);
        ask(&parsed(whole.clone()).unwrap());
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, whole[at] ^ 0x10] {
                // Alone, and as a field of two and of eight bytes.
                for len in [1, 2, 8] {
                    let mut file = whole.clone();
                    let end = (at + len).min(file.len());
                    file[at..end].fill(value);
                    if let Ok(image) = parsed(file) {
                        ask(&image);
                    }
                }
            }
        }
        for end in 0..whole.len() {
            if let Ok(image) = parsed(whole[..end].to_vec()) {
                ask(&image);
            }
        }
    }

    #[test]
    fn a_segment_outside_of_the_file_is_told_with_the_file() {
        let dir = std::env::temp_dir().join(format!("tally-elf-{}", std::process::id()));
        let mut file = program(1);
        // The segment's length in the file.
        file[64 + 32..64 + 40].fill(0xff);
        std::fs::write(&dir, file).unwrap();
        let why = format!("{:#}", Image::read(&dir).err().unwrap());
        std::fs::remove_file(&dir).unwrap();
        assert!(why.contains("beyond the file"), "{why}");
        assert!(why.contains(dir.to_str().unwrap()), "{why}");
    }

    /// A TA's file is whatever somebody makes of it, and its name gets to terminals and into lists.
    #[test]
    fn what_is_no_name_is_none() {
        assert_eq!(name_of(b"ta-greet"), Some("greet"));
        assert_eq!(name_of(b"greet_2"), Some("greet_2"));
        let long = [b'a'; 65];
        for bad in [&b""[..], b"ta-", b"a b", b"a\n", b"\x1b[2J", b"\xff", &long] {
            assert_eq!(name_of(bad), None, "{bad:x?}");
        }
    }
}
