//! The targets, by name.
//!
//! **Invariant:** a target takes any bytes and panics only where the code under test is wrong.

use crate::device_tree;
use std::cell::RefCell;
use tally_abi::TeeUuid;
use tally_abi::msg::{MsgHeader, MsgParam, attr, cmd};
use tally_abi::shdr::{self, BootstrapHeader, SignedHeader};
use tally_abi::sites::Table;
use tally_core::call::args::{Args, Lent};
use tally_core::call::message::{Message, Place};
use tally_core::call::shm::{Shm, ShmTable};
use tally_core::ta::load::image::ImageHeader;
use tally_core::ta::load::rsa::{MAX_MODULUS_LEN, PublicKey, Verify};
use tally_mem::addr::PhysAddr;
use tally_mem::machine::{NormalMemory, ThreadControl};
use tally_mem::owner::OwnerId;
use zerocopy::IntoBytes as _;

/// A target.
pub(crate) struct Target {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// Takes one input.
    pub(crate) run: fn(&[u8]),
    /// Inputs worth mutating.
    pub(crate) samples: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "message",
        run: message,
        samples: messages,
    },
    Target {
        name: "image",
        run: image,
        samples: images,
    },
    Target {
        name: "calls",
        run: tally_account::fuzzing::calls,
        samples: call_lists,
    },
    Target {
        name: "elf",
        run: ldelf::fuzz,
        samples: programs,
    },
    Target {
        name: "heap",
        run: heap,
        samples: Vec::new,
    },
    Target {
        name: "c-heap",
        run: tally_bget::model::fuzz,
        samples: Vec::new,
    },
    Target {
        name: "device-tree",
        run: device_tree::run,
        samples: device_tree::samples,
    },
    Target {
        name: "snapshot",
        run: crate::snapshot::run,
        samples: crate::snapshot::samples,
    },
    Target {
        name: "sites",
        run: sites,
        samples: Vec::new,
    },
];

const BASE: u64 = 1 << 30;

/// Normal-world memory that holds the input at [`BASE`].
struct Flat(RefCell<Vec<u8>>);

impl Flat {
    fn range(&self, pa: PhysAddr, len: u64) -> Option<std::ops::Range<usize>> {
        let start = usize::try_from(pa.0.checked_sub(BASE)?).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        (end <= self.0.borrow().len()).then_some(start..end)
    }
}

impl NormalMemory for Flat {
    fn is_normal(&self, pa: PhysAddr, len: u64) -> bool {
        self.range(pa, len).is_some()
    }

    fn read_normal(&self, pa: PhysAddr, buf: &mut [u8]) -> bool {
        let Some(range) = self.range(pa, buf.len() as u64) else {
            return false;
        };
        buf.copy_from_slice(&self.0.borrow()[range]);
        true
    }

    fn write_normal(&self, pa: PhysAddr, data: &[u8]) -> bool {
        let Some(range) = self.range(pa, data.len() as u64) else {
            return false;
        };
        self.0.borrow_mut()[range].copy_from_slice(data);
        true
    }
}

/// A normal world that has nothing to say, and no interrupts.
impl ThreadControl for Flat {
    fn suspend(&self, _out: [u64; 4]) -> [u64; 8] {
        [0; 8]
    }

    fn interruptible<R>(&self, work: impl FnOnce() -> R) -> R {
        work()
    }

    fn thread_id(&self) -> usize {
        0
    }

    fn set_owner(&self, _owner: OwnerId) -> OwnerId {
        OwnerId::KERNEL
    }

    fn stack_left(&self) -> usize {
        usize::MAX
    }
}

/// Reads a message at the start of memory, and what its parameters refer to.
fn message(data: &[u8]) {
    let mut bytes = data.to_vec();
    bytes.resize(16 << 10, 0);
    let memory = Flat(RefCell::new(bytes));
    let mut message = Message::default();
    let place = Place::Physical(PhysAddr(BASE));
    if message.read(&memory, place).is_err() {
        return;
    }
    assert!(message.len_bytes() <= tally_abi::msg::PAGE_SIZE);
    let Ok(mut table) = ShmTable::new(8) else {
        return;
    };
    let skip = message.open_session().map_or(0, |(_, skip)| skip);
    let params = &message.params()[skip..];
    // Registration, as the command would do it.
    for param in params {
        if param.attr & attr::NONCONTIG != 0
            && let Ok(shm) = Shm::from_page_list(&memory, PhysAddr(param.a), param.b, Some(param.c))
        {
            touch(&shm, &memory, param);
            // A cookie that is taken is an error, not a panic.
            let _ = table.register(shm, 0);
        }
        if let Ok(shm) = Shm::contiguous(&memory, PhysAddr(param.a), param.b, None) {
            touch(&shm, &memory, param);
        }
    }
    let before = table.len();
    let mut args = Args::default();
    if Lent::take_in(&memory, params)
        .and_then(|lent| args.take_in(&mut table, &memory, lent, params))
        .is_ok()
    {
        for (index, param) in params.iter().enumerate() {
            let mut param = *param;
            let _ = args.update_param(index, &mut param);
        }
        args.release(&mut table);
    }
    assert_eq!(
        table.len(),
        before,
        "parameters of a call must leave nothing behind"
    );
}

/// Reads and writes at the ends of an object and beyond.
fn touch(shm: &Shm, memory: &Flat, param: &MsgParam) {
    let mut word = [0; 8];
    for offset in [
        0,
        1,
        param.c,
        shm.size().wrapping_sub(8),
        shm.size(),
        u64::MAX,
    ] {
        let inside = offset.checked_add(8).is_some_and(|end| end <= shm.size());
        let read = shm.read(memory, offset, &mut word);
        assert!(inside || read.is_err());
        if inside {
            assert!(shm.pages(offset, 8).count() <= 2);
            assert!(shm.write(memory, offset, &word).is_ok() == read.is_ok());
        }
    }
}

fn messages() -> Vec<Vec<u8>> {
    let message = |command: u32, params: &[MsgParam]| -> Vec<u8> {
        let header = MsgHeader {
            cmd: command,
            func: 1,
            session: 1,
            cancel_id: 0,
            pad: 0,
            ret: 0,
            ret_origin: 0,
            num_params: params.len() as u32,
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(params.as_bytes());
        // A page list of three pages.
        bytes.resize(4096, 0);
        for page in 1..4 {
            bytes.extend_from_slice(&(BASE + page * 4096).to_le_bytes());
        }
        bytes.resize(8192, 0);
        bytes
    };
    let param = |attr, a, b, c| MsgParam { attr, a, b, c };
    let meta = attr::META | attr::VALUE_INPUT;
    vec![
        message(
            cmd::OPEN_SESSION,
            &[
                param(meta, 0x5340_dedd_88a6_1170, 0xb813_df4d_3c7b_a9a5, 0),
                param(meta, 0, 0, 0),
                param(attr::VALUE_INOUT, 1, 2, 3),
            ],
        ),
        message(
            cmd::INVOKE_COMMAND,
            &[
                param(attr::TMEM_INPUT, BASE + 0x1000, 64, 0),
                param(
                    attr::TMEM_OUTPUT | attr::NONCONTIG,
                    BASE + 0x1000,
                    0x3000,
                    7,
                ),
                param(attr::RMEM_INOUT, 0, 64, 7),
                param(attr::VALUE_OUTPUT, 0, 0, 0),
            ],
        ),
        message(
            cmd::REGISTER_SHM,
            &[param(
                attr::TMEM_OUTPUT | attr::NONCONTIG,
                BASE + 0x1010,
                0x2000,
                9,
            )],
        ),
    ]
}

/// Lists of calls to begin with: long ones, since random bytes are calls as good as any.
fn call_lists() -> Vec<Vec<u8>> {
    (1..5u8)
        .map(|seed| {
            let mut state = u32::from(seed);
            (0..900)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect()
        })
        .collect()
}

const UUID: TeeUuid = TeeUuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff);

/// Reads a signed image's headers and checks the rest.
fn image(data: &[u8]) {
    let Ok(mut header) = ImageHeader::parse(data, data.len(), UUID) else {
        return;
    };
    assert_eq!(header.uuid, UUID);
    assert!(header.hashed_offset < header.elf_offset && header.elf_offset <= data.len());
    header.update(&data[header.hashed_offset..]);
    assert!(header.verify(KEYS).is_err(), "nobody has these keys");
}

/// Keys of several lengths.
const KEYS: &[&dyn Verify] = &[&key::<32>(), &key::<64>()];

const fn key<const LIMBS: usize>() -> PublicKey<LIMBS> {
    let mut modulus = [0xc5; MAX_MODULUS_LEN];
    let len = LIMBS * 8;
    // So that no small number divides it; the first number that does not is looked for.
    let mut last = 1;
    loop {
        modulus[len - 1] = last;
        if let Some(key) = PublicKey::from_modulus(modulus.split_at(len).0) {
            return key;
        }
        last += 2;
    }
}

fn images() -> Vec<Vec<u8>> {
    let payload = [0x7f; 300];
    let header = SignedHeader {
        magic: shdr::MAGIC,
        img_type: shdr::img_type::BOOTSTRAP_TA,
        img_size: payload.len() as u32,
        algo: shdr::algo::RSASSA_PKCS1_PSS_MGF1_SHA256,
        hash_size: 32,
        sig_size: 256,
    };
    let bootstrap = BootstrapHeader {
        uuid: UUID.to_bytes(),
        ta_version: 1,
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(&[0x11; 32 + 256]);
    bytes.extend_from_slice(bootstrap.as_bytes());
    bytes.extend_from_slice(&payload);
    vec![bytes]
}

/// A list of actions on a pool, and the bytes themselves as a pool's memory.
fn heap(data: &[u8]) {
    tally_ledger::fuzzing::run(data, 61);
    tally_ledger::fuzzing::read_all(data);
}

/// Looks up everything near the start of a table.
fn sites(data: &[u8]) {
    let Some(table) = Table::parse(data) else {
        return;
    };
    // No panic is all that is asked for.
    let _ = table.validate();
    for pc_offset in (0..256)
        .map(|n| n * 4)
        .chain([u64::from(u32::MAX), u64::MAX])
    {
        let _ = table.lookup(pc_offset);
    }
}

/// A small program with a head, a dynamic section and one relocation, behind its UUID.
fn programs() -> Vec<Vec<u8>> {
    let mut elf = vec![0; 0x20e0];
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    // ELF64, little-endian, ET_DYN, AArch64, entry 0x100, three program headers at 64.
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &[3, 0, 183, 0, 1, 0, 0, 0]);
    put(24, &0x100u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 3, 0, 64, 0]);
    let header = |kind: u32, flags: u32, file: u64, at: u64, len: u64| -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend_from_slice(&flags.to_le_bytes());
        for field in [file, at, at, len, len, 0x1000] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes
    };
    // Code with the head at its start, data with the dynamic section.
    put(64, &header(1, 5, 0x1000, 0, 0x120));
    put(120, &header(1, 6, 0x2000, 0x1000, 0xe0));
    put(176, &header(2, 6, 0x2000, 0x1000, 0x60));
    put(0x1000, UUID.as_bytes());
    put(0x1010, &4096u32.to_le_bytes());
    put(0x1018, &u64::MAX.to_le_bytes());
    // RELA, RELASZ, RELAENT, then the end; one R_AARCH64_RELATIVE.
    for (n, (tag, value)) in [(7u64, 0x1060u64), (8, 24), (9, 24), (0, 0)]
        .iter()
        .enumerate()
    {
        put(0x2000 + 16 * n, &tag.to_le_bytes());
        put(0x2008 + 16 * n, &value.to_le_bytes());
    }
    for (n, field) in [0x1080u64, 1027, 0x100].iter().enumerate() {
        put(0x2060 + 8 * n, &field.to_le_bytes());
    }
    let mut sample = UUID.to_bytes().to_vec();
    sample.extend_from_slice(&elf);
    vec![sample]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_takes_its_samples() {
        for target in TARGETS {
            for sample in (target.samples)() {
                (target.run)(&sample);
            }
            (target.run)(&[]);
        }
    }

    #[test]
    fn sample_program_is_one_that_loads() {
        let sample = &programs()[0];
        assert!(
            ldelf::plan(&sample[16..], UUID).is_ok(),
            "{:?}",
            ldelf::plan(&sample[16..], UUID).err()
        );
    }
}
