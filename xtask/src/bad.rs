//! Images that are signed well and made ill: what `ldelf` must refuse.
//!
//! Each is hello's ELF file with a few octets changed. The archive holds only what differs:
//! `bad/UUID.patch` has the signed header (u32 length, octets), then changes to hello's ELF file
//! (u32 offset, u32 length, octets), all little-endian. The normal world puts them together.
//!
//! **Invariant:** every image differs from [`bad::CONTROL`], which loads, by the fault it is named
//! for and by its UUID.

use crate::keys::DevKey;
use crate::{paths, sign};
use anyhow::{Context as _, Result, ensure};
use ta_uuids::bad;
use tally_abi::TeeUuid;
use tally_abi::shdr::{BootstrapHeader, SignedHeader};
use zerocopy::IntoBytes as _;

/// Program header types and flags (System V gABI).
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_TLS: u32 = 7;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
/// Dynamic section tags.
const DT_NEEDED: u64 = 1;
const DT_RELA: u64 = 7;
const DT_DEBUG: u64 = 21;
/// Offsets in the file header.
const E_TYPE: usize = 16;
const E_MACHINE: usize = 18;
const E_ENTRY: usize = 24;
const E_PHOFF: usize = 32;
const E_PHNUM: usize = 56;
/// Size of a program header, and offsets in it.
const PHDR: usize = 56;
const P_FLAGS: usize = 4;
const P_OFFSET: usize = 8;
const P_VADDR: usize = 16;
const P_FILESZ: usize = 32;
const P_MEMSZ: usize = 40;
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
        elf.put(at, &7_u32.to_le_bytes())
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
        let len = elf.octets.len() as u64;
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
        // R_AARCH64_TLSDESC.
        let at = elf.relocation()? + 8;
        elf.put(at, &1031_u64.to_le_bytes())
    }),
    (bad::NEEDS_LIBRARY, |elf| {
        let at = elf.dynamic_entry(DT_DEBUG)?;
        elf.put(at, &DT_NEEDED.to_le_bytes())
    }),
    (bad::NEEDS_INTERPRETER, |elf| {
        let at = elf.header(|kind, _| kind == PT_GNU_RELRO)?;
        elf.put(at, &PT_INTERP.to_le_bytes())
    }),
    (bad::NEEDS_TLS, |elf| {
        let at = elf.header(|kind, _| kind == PT_GNU_RELRO)?;
        elf.put(at, &PT_TLS.to_le_bytes())
    }),
    (bad::MACHINE, |elf| {
        elf.put(E_MACHINE, &62_u16.to_le_bytes())
    }),
    (bad::NOT_PIE, |elf| elf.put(E_TYPE, &2_u16.to_le_bytes())),
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
                let container = [header, elf.octets.as_slice()].concat();
                sign::is_signed_by(key, *uuid, &elf.octets, &container)
            })
            .map(<[u8]>::to_vec);
        let header = match kept {
            Some(header) => header,
            None => {
                let mut signed = sign::sign_ta(key, *uuid, &elf.octets)?;
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

/// An ELF file and what was changed in it.
struct Patched {
    octets: Vec<u8>,
    changes: Vec<(usize, Vec<u8>)>,
}

impl Patched {
    fn new(elf: &[u8]) -> Self {
        Self {
            octets: elf.to_vec(),
            changes: Vec::new(),
        }
    }

    fn put(&mut self, at: usize, octets: &[u8]) -> Result<()> {
        let to = self.octets.get_mut(at..at + octets.len());
        to.context("beyond the file")?.copy_from_slice(octets);
        self.changes.push((at, octets.to_vec()));
        Ok(())
    }

    fn u64(&self, at: usize) -> Result<u64> {
        let octets = self.octets.get(at..at + 8).context("beyond the file")?;
        Ok(u64::from_le_bytes(octets.try_into()?))
    }

    fn u32(&self, at: usize) -> Result<u32> {
        let octets = self.octets.get(at..at + 4).context("beyond the file")?;
        Ok(u32::from_le_bytes(octets.try_into()?))
    }

    /// Offset of the first program header that `wanted` likes by its type and flags.
    fn header(&self, wanted: fn(u32, u32) -> bool) -> Result<usize> {
        let first = usize::try_from(self.u64(E_PHOFF)?)?;
        let count = (self.u32(E_PHNUM)? & 0xffff) as usize;
        for at in (first..).step_by(PHDR).take(count) {
            if wanted(self.u32(at)?, self.u32(at + P_FLAGS)?) {
                return Ok(at);
            }
        }
        anyhow::bail!("no such program header")
    }

    fn code(&self) -> Result<usize> {
        self.header(|kind, flags| kind == PT_LOAD && flags & PF_X != 0)
    }

    fn data(&self) -> Result<usize> {
        self.header(|kind, flags| kind == PT_LOAD && flags & PF_W != 0)
    }

    /// Offset of the TA's head: it is what the first segment begins with.
    fn head(&self) -> Result<usize> {
        let first = self.header(|kind, _| kind == PT_LOAD)?;
        Ok(usize::try_from(self.u64(first + P_OFFSET)?)?)
    }

    fn stack(&mut self, size: u32) -> Result<()> {
        let at = self.head()? + STACK_SIZE;
        self.put(at, &size.to_le_bytes())
    }

    fn data_memory(&mut self, len: u64) -> Result<()> {
        let at = self.data()? + P_MEMSZ;
        self.put(at, &len.to_le_bytes())
    }

    fn dynamic_entry(&self, tag: u64) -> Result<usize> {
        let header = self.header(|kind, _| kind == PT_DYNAMIC)?;
        let first = usize::try_from(self.u64(header + P_OFFSET)?)?;
        let len = usize::try_from(self.u64(header + P_FILESZ)?)?;
        for at in (first..first + len).step_by(16) {
            if self.u64(at)? == tag {
                return Ok(at);
            }
        }
        anyhow::bail!("no entry {tag} in the dynamic section")
    }

    /// Offset of the first relocation, which lies in the first segment.
    fn relocation(&self) -> Result<usize> {
        let address = self.u64(self.dynamic_entry(DT_RELA)? + 8)?;
        let first = self.header(|kind, _| kind == PT_LOAD)?;
        let vaddr = self.u64(first + P_VADDR)?;
        ensure!(
            address - vaddr < self.u64(first + P_FILESZ)?,
            "the relocations are not in the first segment"
        );
        Ok(usize::try_from(
            address - vaddr + self.u64(first + P_OFFSET)?,
        )?)
    }

    fn patch(&self, header: &[u8]) -> Result<Vec<u8>> {
        let mut out = u32::try_from(header.len())?.to_le_bytes().to_vec();
        out.extend(header);
        for (at, octets) in &self.changes {
            out.extend(u32::try_from(*at)?.to_le_bytes());
            out.extend(u32::try_from(octets.len())?.to_le_bytes());
            out.extend(octets);
        }
        Ok(out)
    }
}
