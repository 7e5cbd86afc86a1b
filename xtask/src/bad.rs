//! Images that are signed well and made ill: what `ldelf` must refuse.
//!
//! Each is hello's ELF file with a few bytes changed. The archive holds only what differs:
//! `bad/UUID.patch` has the signed header (u32 length, bytes), then changes to hello's ELF file
//! (u32 offset, u32 length, bytes), all little-endian. The normal world puts them together.
//!
//! **Invariant:** every image differs from [`bad::CONTROL`], which loads, by the fault it is named
//! for and by its UUID.

use crate::keys::DevKey;
use crate::{paths, sign};
use anyhow::{Context as _, Result, ensure};
use object::LittleEndian;
use object::elf::{self, DynamicTag, FileHeader64, ProgramHeader64, ProgramType};
use object::read::elf::{Dyn as _, FileHeader as _, ProgramHeader as _};
use std::mem::offset_of;
use ta_uuids::bad;
use tally_abi::TeeUuid;
use tally_abi::shdr::{BootstrapHeader, SignedHeader};
use zerocopy::IntoBytes as _;

type FileHeader = FileHeader64<LittleEndian>;
type ProgramHeader = ProgramHeader64<LittleEndian>;

/// Offsets in the file header.
const E_TYPE: usize = offset_of!(FileHeader, e_type);
const E_MACHINE: usize = offset_of!(FileHeader, e_machine);
const E_ENTRY: usize = offset_of!(FileHeader, e_entry);
/// Offsets in a program header.
const P_FLAGS: usize = offset_of!(ProgramHeader, p_flags);
const P_OFFSET: usize = offset_of!(ProgramHeader, p_offset);
const P_VADDR: usize = offset_of!(ProgramHeader, p_vaddr);
const P_FILESZ: usize = offset_of!(ProgramHeader, p_filesz);
const P_MEMSZ: usize = offset_of!(ProgramHeader, p_memsz);
/// Offset of the stack size in a TA's head.
const STACK_SIZE: usize = 16;

type Fault = fn(&mut Patched) -> Result<()>;

const FAULTS: &[(TeeUuid, Fault)] = &[
    (bad::CONTROL, |_| Ok(())),
    (bad::OVERLAP, |elf| {
        let (code, data) = (elf.code()?, elf.data()?);
        let at = elf.u64(code + P_VADDR)?;
        elf.put(data + P_VADDR, &at.to_le_bytes())
    }),
    (bad::SHARED_PAGE, |elf| {
        // Code begins in the page that the head ends in.
        let code = elf.code()?;
        let offset = elf.u64(code + P_OFFSET)? + 0x800;
        let len = elf.u64(code + P_FILESZ)? - 0x800;
        elf.put(code + P_OFFSET, &offset.to_le_bytes())?;
        elf.put(code + P_VADDR, &0x800_u64.to_le_bytes())?;
        elf.put(code + P_FILESZ, &len.to_le_bytes())?;
        elf.put(code + P_MEMSZ, &len.to_le_bytes())
    }),
    (bad::HUGE, |elf| elf.data_memory(1 << 40)),
    (bad::ABOVE_QUOTA, |elf| elf.data_memory(20 << 20)),
    (bad::WRITE_EXEC, |elf| {
        let at = elf.code()? + P_FLAGS;
        let all = elf::PF_R.0 | elf::PF_W.0 | elf::PF_X.0;
        elf.put(at, &all.to_le_bytes())
    }),
    (bad::ENTRY, |elf| {
        let data = elf.data()?;
        let at = elf.u64(data + P_VADDR)?;
        elf.put(E_ENTRY, &at.to_le_bytes())
    }),
    (bad::OTHER_UUID, |elf| {
        let at = elf.head()?;
        elf.put(at, TeeUuid::from_u128(7).as_bytes())
    }),
    (bad::BEYOND_FILE, |elf| {
        let data = elf.data()?;
        let len = elf.bytes.len() as u64;
        elf.put(data + P_FILESZ, &len.to_le_bytes())?;
        elf.put(data + P_MEMSZ, &len.to_le_bytes())
    }),
    (bad::RELOCATION_OUTSIDE, |elf| {
        let at = elf.relocation()?;
        elf.put(at, &0x0100_0000_u64.to_le_bytes())
    }),
    (bad::RELOCATION_IN_CODE, |elf| {
        let code = elf.code()?;
        let target = elf.u64(code + P_VADDR)?;
        let at = elf.relocation()?;
        elf.put(at, &target.to_le_bytes())
    }),
    (bad::RELOCATION_KIND, |elf| {
        let at = elf.relocation()? + offset_of!(elf::Rela64<LittleEndian>, r_info);
        elf.put(at, &u64::from(elf::R_AARCH64_TLS_DTPMOD.0).to_le_bytes())
    }),
    (bad::NEEDS_LIBRARY, |elf| {
        let (at, _) = elf.dynamic_entry(elf::DT_DEBUG)?;
        elf.put(at, &elf::DT_NEEDED.0.to_le_bytes())
    }),
    (bad::NEEDS_INTERPRETER, |elf| {
        let at = elf.header(|header| is(header, elf::PT_GNU_RELRO))?;
        elf.put(at, &elf::PT_INTERP.0.to_le_bytes())
    }),
    (bad::NEEDS_TLS, |elf| {
        let at = elf.header(|header| is(header, elf::PT_GNU_RELRO))?;
        elf.put(at, &elf::PT_TLS.0.to_le_bytes())
    }),
    (bad::MACHINE, |elf| {
        elf.put(E_MACHINE, &elf::EM_X86_64.0.to_le_bytes())
    }),
    (bad::NOT_PIE, |elf| {
        elf.put(E_TYPE, &elf::ET_EXEC.0.to_le_bytes())
    }),
    (bad::NO_STACK, |elf| elf.stack(0)),
    (bad::HUGE_STACK, |elf| elf.stack(u32::MAX)),
];

/// The archive's files, from hello's ELF file as it is packed.
pub(crate) fn files(key: &DevKey, hello: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let dir = paths::out().join("bad");
    std::fs::create_dir_all(&dir)?;
    let mut files = Vec::new();
    for (uuid, fault) in FAULTS {
        let mut elf = Patched::new(hello);
        let head = elf.head()?;
        elf.put(head, uuid.as_bytes())?;
        fault(&mut elf).with_context(|| format!("hello's ELF file has no place for {uuid}"))?;
        let name = format!("{uuid}.patch");
        let path = dir.join(&name);
        // Signatures are salted: an old one is kept while it is good.
        let old = std::fs::read(&path).unwrap_or_default();
        let kept = signed_header(&old)
            .filter(|header| {
                let container = [header, elf.bytes.as_slice()].concat();
                sign::is_signed_by(key, *uuid, &elf.bytes, &container)
            })
            .map(<[u8]>::to_vec);
        let header = match kept {
            Some(header) => header,
            None => {
                let mut signed = sign::sign_ta(key, *uuid, &elf.bytes)?;
                let fixed = size_of::<SignedHeader>() + 32 + size_of::<BootstrapHeader>();
                signed.truncate(fixed + key.signature_bytes());
                signed
            }
        };
        let patch = elf.patch(&header)?;
        if patch != old {
            std::fs::write(&path, &patch)?;
        }
        files.push((format!("bad/{name}"), patch));
    }
    Ok(files)
}

fn signed_header(patch: &[u8]) -> Option<&[u8]> {
    let (len, rest) = patch.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*len) as usize)
}

fn is(header: &ProgramHeader, kind: ProgramType) -> bool {
    header.p_type(LittleEndian) == kind
}

fn flags(header: &ProgramHeader) -> u32 {
    header.p_flags(LittleEndian).0
}

/// An ELF file and what was changed in it.
struct Patched {
    bytes: Vec<u8>,
    changes: Vec<(usize, Vec<u8>)>,
}

impl Patched {
    fn new(elf: &[u8]) -> Self {
        Self {
            bytes: elf.to_vec(),
            changes: Vec::new(),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) -> Result<()> {
        let to = self.bytes.get_mut(at..at + bytes.len());
        to.context("beyond the file")?.copy_from_slice(bytes);
        self.changes.push((at, bytes.to_vec()));
        Ok(())
    }

    fn u64(&self, at: usize) -> Result<u64> {
        let bytes = self.bytes.get(at..at + 8).context("beyond the file")?;
        Ok(u64::from_le_bytes(bytes.try_into()?))
    }

    fn program_headers(&self) -> Result<&[ProgramHeader]> {
        let file = FileHeader::parse(&*self.bytes)?;
        Ok(file.program_headers(LittleEndian, &*self.bytes)?)
    }

    /// Offset of the first program header that is `wanted`.
    fn header(&self, wanted: fn(&ProgramHeader) -> bool) -> Result<usize> {
        let table = FileHeader::parse(&*self.bytes)?.e_phoff(LittleEndian);
        let index = self.program_headers()?.iter().position(wanted);
        let index = index.context("no such program header")?;
        Ok(usize::try_from(table)? + index * size_of::<ProgramHeader>())
    }

    fn code(&self) -> Result<usize> {
        self.header(|header| is(header, elf::PT_LOAD) && flags(header) & elf::PF_X.0 != 0)
    }

    fn data(&self) -> Result<usize> {
        self.header(|header| is(header, elf::PT_LOAD) && flags(header) & elf::PF_W.0 != 0)
    }

    fn first_segment(&self) -> Result<&ProgramHeader> {
        let mut headers = self.program_headers()?.iter();
        let first = headers.find(|header| is(header, elf::PT_LOAD));
        first.context("nothing is loaded")
    }

    /// Offset of the TA's head: it is what the first segment begins with.
    fn head(&self) -> Result<usize> {
        Ok(usize::try_from(
            self.first_segment()?.p_offset(LittleEndian),
        )?)
    }

    fn stack(&mut self, size: u32) -> Result<()> {
        let at = self.head()? + STACK_SIZE;
        self.put(at, &size.to_le_bytes())
    }

    fn data_memory(&mut self, len: u64) -> Result<()> {
        let at = self.data()? + P_MEMSZ;
        self.put(at, &len.to_le_bytes())
    }

    /// Offset and value of an entry in the dynamic section.
    fn dynamic_entry(&self, tag: DynamicTag) -> Result<(usize, u64)> {
        for header in self.program_headers()? {
            let Some(entries) = header.dynamic(LittleEndian, &*self.bytes)? else {
                continue;
            };
            let index = entries
                .iter()
                .position(|entry| entry.tag(LittleEndian) == tag);
            let index = index.with_context(|| format!("no {tag:?} in the dynamic section"))?;
            let first = usize::try_from(header.p_offset(LittleEndian))?;
            let at = first + index * size_of_val(&entries[index]);
            return Ok((at, entries[index].val(LittleEndian)));
        }
        anyhow::bail!("no dynamic section")
    }

    /// Offset of the first relocation, which lies in the first segment.
    fn relocation(&self) -> Result<usize> {
        let (_, address) = self.dynamic_entry(elf::DT_RELA)?;
        let first = self.first_segment()?;
        let vaddr = first.p_vaddr(LittleEndian);
        ensure!(
            address - vaddr < first.p_filesz(LittleEndian),
            "the relocations are not in the first segment"
        );
        Ok(usize::try_from(
            address - vaddr + first.p_offset(LittleEndian),
        )?)
    }

    fn patch(&self, header: &[u8]) -> Result<Vec<u8>> {
        let mut out = u32::try_from(header.len())?.to_le_bytes().to_vec();
        out.extend(header);
        for (at, bytes) in &self.changes {
            out.extend(u32::try_from(*at)?.to_le_bytes());
            out.extend(u32::try_from(bytes.len())?.to_le_bytes());
            out.extend(bytes);
        }
        Ok(out)
    }
}
