//! The load plan: what goes where, with which permissions.
//!
//! **Invariant:** the segments of a plan are sorted, inside the file, inside `span`, and no page
//! of it is both writable and executable; its header is for the TA asked for.

use crate::dynamic::Dynamic;
use crate::free_lists::FreeLists;
use crate::module::{Linked, Module};
use crate::symbols::SymbolTables;
use crate::{ImageFault, raw};
use goblin::elf64::dynamic::{DT_NEEDED, DT_SONAME};
use goblin::elf64::header::{
    EI_CLASS, EI_DATA, EI_VERSION, ELFCLASS64, ELFDATA2LSB, ELFMAG, EM_AARCH64, ET_DYN, EV_CURRENT,
    Header,
};
use goblin::elf64::program_header::{
    PF_W, PF_X, PT_DYNAMIC, PT_GNU_RELRO, PT_INTERP, PT_LOAD, PT_TLS, ProgramHeader,
};
use goblin::elf64::section_header::SectionHeader;
use tally_abi::TeeUuid;
use tally_abi::ldelf::prot;
use tally_abi::ta::{DEPRECATED_ENTRY, TaHead, flags};
use zerocopy::FromBytes;

/// Size of a page in bytes.
pub const PAGE: u64 = 4096;
/// Most loadable segments of an image.
pub const MAX_SEGMENTS: usize = 16;
/// Most bytes from link address 0 to the end of the last segment.
pub const MAX_SPAN: u64 = 64 << 20;
/// Largest alignment of thread-local storage in bytes: that of what TPIDR_EL0 points to (OP-TEE's `lib/libutee/tcb.c`).
const MAX_TLS_ALIGN: u64 = 16;
/// What a stack pointer is a multiple of (AAPCS64).
const STACK_ALIGN: u64 = 16;
/// Largest stack in bytes.
pub const MAX_STACK: u64 = 1 << 20;
/// Most program headers looked at.
const MAX_HEADERS: u16 = 64;

/// Permissions of a segment; always readable, never writable and executable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Prot {
    /// Constants.
    #[default]
    Read,
    /// Data.
    Write,
    /// Code.
    Exec,
}

impl Prot {
    /// As `SET_PROT` takes it, see [`tally_abi::ldelf::prot`].
    #[must_use]
    pub const fn bits(self) -> u64 {
        match self {
            Self::Read => prot::READ,
            Self::Write => prot::WRITE,
            Self::Exec => prot::EXEC,
        }
    }
}

/// One loadable segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// First address.
    pub address: u64,
    /// Bytes in memory; those beyond the file's are zero.
    pub mem_len: u64,
    /// Where its bytes begin in the file.
    pub file_offset: u64,
    /// Bytes in the file.
    pub file_len: u64,
    /// Permissions.
    pub prot: Prot,
}

impl Segment {
    /// First address behind the segment. Cannot wrap: `plan` has checked.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address + self.mem_len
    }

    /// Whether the `len` bytes at `address` are among those from the file.
    pub(crate) fn has_in_file(&self, address: u64, len: u64) -> bool {
        match address.checked_sub(self.address) {
            Some(offset) => offset <= self.file_len && len <= self.file_len - offset,
            None => false,
        }
    }
}

/// Permissions of whole pages, to be set once the image is in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protection {
    /// First address, a multiple of [`PAGE`].
    pub address: u64,
    /// Bytes, a multiple of [`PAGE`], not 0.
    pub len: u64,
    /// Permissions.
    pub prot: Prot,
}

/// A validated plan.
#[derive(Clone, Debug)]
pub struct LoadPlan<'a> {
    image: &'a [u8],
    /// Where the section headers are in the file, and how many; none if their size is not that of this format.
    sections: (u64, u16),
    segments: [Segment; MAX_SEGMENTS],
    n_segments: usize,
    relro: Option<(u64, u64)>,
    dynamic: Dynamic<'a>,
    /// The program headers, as the file has them.
    pub program_headers: &'a [u8],
    /// Bytes of thread-local storage.
    pub tls_len: u64,
    /// The TA's header; zero for a library.
    pub head: TaHead,
    /// Entry point, relative to link address 0.
    pub entry: u64,
    /// Bytes of stack, a multiple of 16 and at least a page; 0 for a library. As OP-TEE has it, the stack begins as many
    /// bytes behind the start of its pages, and what is left of them lies behind it: TAs of others read there.
    pub stack_len: u64,
    /// Bytes from link address 0 to the end of the last segment, a multiple of [`PAGE`].
    pub span: u64,
}

/// Makes a plan for the ELF file `image`, which must be the TA `uuid`.
///
/// Relocations are checked one by one when they are applied ([`LoadPlan::relocate`]) or by
/// [`LoadPlan::check_relocations`]; everything else is checked here.
///
/// # Errors
/// The first reason to refuse the image.
pub fn plan(image: &[u8], uuid: TeeUuid) -> Result<LoadPlan<'_>, ImageFault> {
    let mut plan = library(image)?;
    plan.take_head(uuid)?;
    if !plan.is_executable(plan.entry) {
        return Err(ImageFault::EntryNotExecutable);
    }
    Ok(plan)
}

/// Makes a plan for the ELF file `image`, which may be a library.
///
/// # Errors
/// As [`plan`].
pub fn library(image: &[u8]) -> Result<LoadPlan<'_>, ImageFault> {
    let header = file_header(image)?;
    let has_sections = usize::from(header.e_shentsize) == size_of::<SectionHeader>();
    let headers_len = u64::from(header.e_phnum) * size_of::<ProgramHeader>() as u64;
    let mut plan = LoadPlan {
        image,
        sections: (
            header.e_shoff,
            if has_sections { header.e_shnum } else { 0 },
        ),
        segments: [Segment::default(); MAX_SEGMENTS],
        n_segments: 0,
        relro: None,
        dynamic: Dynamic::default(),
        program_headers: raw::slice(image, header.e_phoff, headers_len)
            .ok_or(ImageFault::Truncated)?,
        tls_len: 0,
        head: TaHead {
            uuid: TeeUuid::nil(),
            stack_size: 0,
            flags: 0,
            depr_entry: 0,
        },
        entry: header.e_entry,
        stack_len: 0,
        span: 0,
    };

    let mut dynamic = None;
    let mut relro = None;
    for ph in plan
        .program_headers
        .chunks_exact(size_of::<ProgramHeader>())
    {
        let ph: ProgramHeader = raw::read(ph, 0).ok_or(ImageFault::Truncated)?;
        match ph.p_type {
            PT_LOAD if ph.p_memsz == 0 && ph.p_filesz == 0 => {}
            PT_LOAD => plan.add_segment(&ph)?,
            PT_DYNAMIC => dynamic = Some((ph.p_vaddr, ph.p_filesz)),
            PT_GNU_RELRO => relro = Some((ph.p_vaddr, ph.p_memsz)),
            PT_INTERP => return Err(ImageFault::NeedsInterpreter),
            PT_TLS => plan.take_tls(&ph)?,
            _ => {}
        }
    }
    let first = plan.segments().first().ok_or(ImageFault::NoSegments)?;
    if first.address >= PAGE {
        return Err(ImageFault::NotAtZero);
    }
    plan.relro = relro.and_then(|(address, len)| plan.relro_pages(address, len));
    if let Some((address, len)) = dynamic {
        let bytes = plan
            .file_bytes(address, len)
            .ok_or(ImageFault::BadDynamic)?;
        plan.dynamic = Dynamic::parse(bytes, &plan)?;
    }
    Ok(plan)
}

fn file_header(image: &[u8]) -> Result<Header, ImageFault> {
    let header: Header = raw::read(image, 0).ok_or(ImageFault::Truncated)?;
    let ident = &header.e_ident;
    if !ident.starts_with(ELFMAG)
        || ident.get(EI_CLASS) != Some(&ELFCLASS64)
        || ident.get(EI_DATA) != Some(&ELFDATA2LSB)
        || ident.get(EI_VERSION) != Some(&EV_CURRENT)
    {
        return Err(ImageFault::NotElf);
    }
    if header.e_machine != EM_AARCH64 {
        return Err(ImageFault::WrongMachine);
    }
    if header.e_type != ET_DYN {
        return Err(ImageFault::NotPositionIndependent);
    }
    if usize::from(header.e_phentsize) != size_of::<ProgramHeader>() || header.e_phnum > MAX_HEADERS
    {
        return Err(ImageFault::BadProgramHeaders);
    }
    Ok(header)
}

const fn page_down(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// Rounds up; the caller has bounded `address` well below the end of the address space.
const fn page_up(address: u64) -> u64 {
    page_down(address + (PAGE - 1))
}

impl<'a> LoadPlan<'a> {
    /// The loadable segments, in ascending order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        self.segments.get(..self.n_segments).unwrap_or(&[])
    }

    /// The permissions to set after [`LoadPlan::apply`] on memory that was writable until then;
    /// pages that stay writable are not among them.
    pub fn protections(&self) -> impl Iterator<Item = Protection> + '_ {
        let fixed = self.segments().iter().filter(|s| s.prot != Prot::Write);
        let segments = fixed.map(|segment| {
            let address = page_down(segment.address);
            Protection {
                address,
                len: page_up(segment.end()) - address,
                prot: segment.prot,
            }
        });
        let relro = self.relro.map(|(address, len)| Protection {
            address,
            len,
            prot: Prot::Read,
        });
        segments.chain(relro)
    }

    /// Copies the segments to `memory`, which reads as zero now.
    ///
    /// # Errors
    /// [`ImageFault::MemoryTooSmall`] when `memory` is shorter than `span`.
    pub fn place(&self, memory: &mut [u8]) -> Result<(), ImageFault> {
        for segment in self.segments() {
            let from = raw::slice(self.image, segment.file_offset, segment.file_len)
                .ok_or(ImageFault::SegmentOutsideFile)?;
            let start = segment.address as usize;
            let to = memory.get_mut(start..start + from.len());
            to.ok_or(ImageFault::MemoryTooSmall)?.copy_from_slice(from);
        }
        Ok(())
    }

    /// Relocates `memory`, in which the segments are, as the own module of `linked`, and notes its free lists.
    ///
    /// # Errors
    /// The first bad relocation. `memory` is then of no use.
    pub fn relocate(
        &self,
        memory: &mut [u8],
        linked: &Linked<'_, 'a>,
        lists: &mut FreeLists,
    ) -> Result<(), ImageFault> {
        let mut last = Segment::default();
        let base = linked.own().base;
        self.dynamic.relocations(linked, |target, value| {
            if !last.has_in_file(target, 8) {
                last = self.relocatable_segment(target)?;
            }
            let to = memory
                .get_mut(target as usize..)
                .and_then(|m| m.first_chunk_mut::<8>());
            *to.ok_or(ImageFault::MemoryTooSmall)? = value.to_le_bytes();
            lists.look(memory, base, target, value);
            Ok(())
        })
    }

    /// Places and relocates a program that has no libraries, which will be seen at address `base`.
    ///
    /// # Errors
    /// As [`Self::place`] and [`Self::relocate`].
    pub fn apply(&self, memory: &mut [u8], base: u64) -> Result<(), ImageFault> {
        self.place(memory)?;
        let own = self.module(base, 0);
        self.relocate(memory, &Linked::alone(&own), &mut FreeLists::default())
    }

    /// Checks every relocation of a program that has no libraries, without applying it.
    ///
    /// # Errors
    /// The first bad relocation.
    pub fn check_relocations(&self) -> Result<usize, ImageFault> {
        let mut n = 0;
        let own = self.module(0, 0);
        self.dynamic
            .relocations(&Linked::alone(&own), |target, _| {
                n += 1;
                self.relocatable_segment(target).map(|_| ())
            })?;
        Ok(n)
    }

    /// The image as a module whose link address 0 lies at `base`.
    #[must_use]
    pub const fn module(&self, base: u64, tls_offset: u64) -> Module<'a> {
        Module {
            base,
            span: self.span,
            symbols: self.dynamic.symbols,
            tls_offset,
        }
    }

    /// Where its symbols are.
    #[must_use]
    pub const fn symbol_tables(&self) -> &SymbolTables {
        &self.dynamic.tables
    }

    /// The libraries that it needs, which are called by their UUIDs.
    pub fn needed(&self) -> impl Iterator<Item = Result<TeeUuid, ImageFault>> + use<'a> {
        self.dynamic.names(DT_NEEDED).map(|name| {
            let name = str::from_utf8(name?).map_err(|_| ImageFault::NeedsLibrary)?;
            name.parse().map_err(|_| ImageFault::NeedsLibrary)
        })
    }

    /// Where its own name lies, which ends with a zero, if it has one.
    #[must_use]
    pub fn name_address(&self) -> Option<u64> {
        self.dynamic.address_of(DT_SONAME)
    }

    /// The section headers, each `None` where it is not in the file; `None` if there are none, or more than `most`.
    pub(crate) fn sections(
        &self,
        most: u16,
    ) -> Option<impl Iterator<Item = Option<SectionHeader>> + use<'a>> {
        let (image, (first, count)) = (self.image, self.sections);
        let header = move |n: u16| {
            let offset = u64::from(n) * size_of::<SectionHeader>() as u64;
            raw::read(image, first.checked_add(offset)?)
        };
        (1..=most).contains(&count).then(|| (0..count).map(header))
    }

    /// The `len` bytes of the file that are loaded at `address`, if one segment has them all.
    pub(crate) fn file_bytes(&self, address: u64, len: u64) -> Option<&'a [u8]> {
        let segment = self
            .segments()
            .iter()
            .find(|s| s.has_in_file(address, len))?;
        let offset = segment.file_offset + (address - segment.address);
        raw::slice(self.image, offset, len)
    }

    /// The bytes of the file from `address` to the end of its segment's part of the file.
    pub(crate) fn file_bytes_from(&self, address: u64) -> Option<&'a [u8]> {
        let segment = self.segments().iter().find(|s| s.has_in_file(address, 0))?;
        let skipped = address - segment.address;
        raw::slice(
            self.image,
            segment.file_offset + skipped,
            segment.file_len - skipped,
        )
    }

    /// The writable segment whose file part holds the eight bytes at `address`.
    fn relocatable_segment(&self, address: u64) -> Result<Segment, ImageFault> {
        let mut segments = self.segments().iter();
        segments
            .find(|s| s.prot == Prot::Write && s.has_in_file(address, 8))
            .copied()
            .ok_or(ImageFault::RelocationTarget)
    }

    /// Takes note of thread-local storage. An image has one block of it: what its other headers say is the TA's own affair.
    fn take_tls(&mut self, ph: &ProgramHeader) -> Result<(), ImageFault> {
        if ph.p_align > MAX_TLS_ALIGN || ph.p_memsz > MAX_SPAN || self.tls_len != 0 {
            return Err(ImageFault::NeedsTls);
        }
        self.tls_len = ph.p_memsz;
        Ok(())
    }

    fn add_segment(&mut self, ph: &ProgramHeader) -> Result<(), ImageFault> {
        raw::slice(self.image, ph.p_offset, ph.p_filesz).ok_or(ImageFault::SegmentOutsideFile)?;
        if ph.p_memsz < ph.p_filesz {
            return Err(ImageFault::SegmentShrinks);
        }
        if ph.p_offset % PAGE != ph.p_vaddr % PAGE {
            return Err(ImageFault::SegmentMisaligned);
        }
        match ph.p_vaddr.checked_add(ph.p_memsz) {
            Some(end) if end <= MAX_SPAN => {}
            _ => return Err(ImageFault::TooBig),
        }
        let prot = match (ph.p_flags & PF_W != 0, ph.p_flags & PF_X != 0) {
            (true, true) => return Err(ImageFault::WritableAndExecutable),
            (true, false) => Prot::Write,
            (false, true) => Prot::Exec,
            (false, false) => Prot::Read,
        };
        let segment = Segment {
            address: ph.p_vaddr,
            mem_len: ph.p_memsz,
            file_offset: ph.p_offset,
            file_len: ph.p_filesz,
            prot,
        };
        if let Some(last) = self.segments().last() {
            if segment.address < last.end() {
                return Err(ImageFault::Overlap);
            }
            if segment.prot != last.prot && page_down(segment.address) < page_up(last.end()) {
                return Err(ImageFault::SharedPage);
            }
        }
        let slot = self.segments.get_mut(self.n_segments);
        *slot.ok_or(ImageFault::TooManySegments)? = segment;
        self.n_segments += 1;
        self.span = page_up(segment.end());
        Ok(())
    }

    /// Whole pages of a "read-only after relocation" range, if it lies in a writable segment.
    fn relro_pages(&self, address: u64, len: u64) -> Option<(u64, u64)> {
        let end = page_down(address.checked_add(len)?);
        let segment = self
            .segments()
            .iter()
            .find(|s| s.prot == Prot::Write && s.address <= address && end <= page_up(s.end()))?;
        let start = if address == segment.address {
            page_down(address)
        } else {
            page_up(address)
        };
        (start < end).then(|| (start, end - start))
    }

    fn is_executable(&self, address: u64) -> bool {
        let mut segments = self.segments().iter();
        address.is_multiple_of(4)
            && segments.any(|s| s.prot == Prot::Exec && s.has_in_file(address, 4))
    }

    /// Finds and checks the TA's header: at the symbol `ta_head` if the image exports one (as
    /// OP-TEE's TA kit does), else at the lowest address.
    fn take_head(&mut self, uuid: TeeUuid) -> Result<(), ImageFault> {
        let lowest = self.segments().first().map_or(0, |s| s.address);
        let named = self.dynamic.symbols.find(b"ta_head");
        let address = named.map_or(lowest, |symbol| symbol.st_value);
        let bytes = self
            .file_bytes(address, size_of::<TaHead>() as u64)
            .ok_or(ImageFault::NoHead)?;
        let head = TaHead::read_from_bytes(bytes).map_err(|_| ImageFault::NoHead)?;
        if head.depr_entry != DEPRECATED_ENTRY || head.flags & !flags::MASK != 0 {
            return Err(ImageFault::BadHead);
        }
        if head.uuid != uuid {
            return Err(ImageFault::WrongUuid);
        }
        let stack_size = u64::from(head.stack_size);
        if stack_size == 0 || page_up(stack_size) > MAX_STACK {
            return Err(ImageFault::BadStack);
        }
        self.stack_len = stack_size.next_multiple_of(STACK_ALIGN).max(PAGE);
        self.head = head;
        Ok(())
    }
}
