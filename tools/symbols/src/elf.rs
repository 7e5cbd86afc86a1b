//! Images out of linked ELF files: raw images, stripped copies, sizes.
//!
//! **Invariant:** a raw image begins at the lowest load address and ends with the last byte that
//! the file holds for a loaded segment; zero-initialised memory behind it is not part of it.

use anyhow::{Context as _, Result, bail, ensure};
use object::elf::{self, FileHeader64};
use object::read::elf::{ElfFile64, FileHeader as _, ProgramHeader as _};
use object::{LittleEndian, Object as _, ObjectSection as _, ObjectSymbol as _};
use std::collections::HashMap;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use tally_abi::shdr::BuildId;
use tally_abi::ta::{DEPRECATED_ENTRY, NAME_NOTE, NOTE_OWNER, TaHead};
use zerocopy::FromBytes as _;

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

    /// A copy of the file without sections: headers and all that segments refer to.
    pub fn stripped(&self) -> Result<Vec<u8>> {
        let header = FileHeader64::<LittleEndian>::parse(&*self.bytes)?;
        let endian = header.endian()?;
        let end = header
            .program_headers(endian, &*self.bytes)?
            .iter()
            .map(|ph| ph.p_offset(endian) + ph.p_filesz(endian))
            .max()
            .unwrap_or(0);
        let mut out = self.bytes[..usize::try_from(end)?].to_vec();
        let offset = offset_of!(FileHeader64<LittleEndian>, e_shoff);
        out[offset..offset + size_of_val(&header.e_shoff)].fill(0);
        // Size, number and names of section headers are the last fields.
        let sizes = offset_of!(FileHeader64<LittleEndian>, e_shentsize);
        out[sizes..size_of_val(header)].fill(0);
        Ok(out)
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
            *kind += section.size();
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

/// The name that a TA's package has, shortened.
fn name_of(package: &[u8]) -> Option<&str> {
    let name = str::from_utf8(package).ok()?;
    let name = name.strip_prefix("ta-").unwrap_or(name);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    ((1..=64).contains(&name.len()) && name.bytes().all(is_name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::name_of;

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
