//! The targets, by name.
//!
//! **Invariant:** a target takes any bytes and panics only where the code under test is wrong.

use crate::device_tree;
use sha2::{Digest as _, Sha256};
use std::cell::RefCell;
use std::sync::LazyLock;
use tally_abi::TeeUuid;
use tally_abi::msg::{MsgHeader, MsgParam, attr, cmd};
use tally_abi::shdr::{self, BootstrapHeader, EncryptedHeader, SignedHeader, SubkeyHeader};
use tally_abi::sites::Table;
use tally_core::call::args::{Args, Lent};
use tally_core::call::message::{Message, Place};
use tally_core::call::shm::{Shm, ShmTable};
use tally_core::ta::load::image::{self, Trust};
use tally_core::ta::load::rsa::{MAX_MODULUS_LEN, PublicKey};
use tally_core::testing::held::HeldImage;
use tally_core::testing::signing::{MODULUS_LEN, TEST_KEY, TRUST};
use tally_core::testing::subkey::Subkey;
use tally_mem::addr::PhysAddr;
use tally_mem::machine::{NormalMemory, ThreadControl};
use tally_mem::owner::OwnerId;
use zerocopy::{FromBytes as _, IntoBytes as _};

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
        name: "subkeys",
        run: subkeys,
        samples: chains,
    },
    Target {
        name: "calls",
        run: tally_account::fuzzing::calls,
        samples: call_lists,
    },
    Target {
        name: "elf",
        run: elf,
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
        name: "storage-directory",
        run: crate::storage::directory,
        samples: crate::storage::directories,
    },
    Target {
        name: "storage-tree",
        run: crate::storage::tree,
        samples: crate::storage::trees,
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
    let trust = Trust {
        keys: &KEYS.each_ref(),
        ..TRUST
    };
    let verified = image::verify(&HeldImage::new(data), UUID, trust, |_, _, _| Ok(()));
    assert!(verified.is_err(), "nobody has these keys");
}

/// As [`image`], with digests and signatures that hold, so that what they are of is read, too.
fn subkeys(data: &[u8]) {
    let mut data = data.to_vec();
    let mut at = Some(0);
    while let Some(header) = at {
        at = sign(&mut data, header);
    }
    if let Ok(verified) = image::verify(&HeldImage::new(&data), UUID, TRUST, |_, _, _| Ok(())) {
        assert!(verified.elf_offset <= data.len());
    }
}

/// Signs what is behind a header, and says where the next one is, if it is a subkey's.
fn sign(data: &mut [u8], at: usize) -> Option<usize> {
    let image = data.get_mut(at..)?;
    let (mut header, _) = SignedHeader::read_from_prefix(image).ok()?;
    (header.hash_size, header.sig_size) = (32, MODULUS_LEN as u16);
    let is_subkey = header.img_type == shdr::img_type::SUBKEY;
    let (written, body) =
        image.split_at_mut_checked(size_of::<SignedHeader>() + 32 + MODULUS_LEN)?;
    let len = if is_subkey {
        header.img_size as usize
    } else {
        body.len()
    };
    let digest = Sha256::new().chain_update(header.as_bytes());
    let digest = digest.chain_update(body.get(..len)?).finalize();
    let signature = TEST_KEY.sign(&digest);
    written.copy_from_slice(&[header.as_bytes(), &digest, &signature].concat());
    let (subkey, _) = SubkeyHeader::read_from_prefix(body).ok()?;
    let next = at + written.len() + len + subkey.name_size as usize;
    is_subkey.then_some(next)
}

/// Keys of several lengths.
static KEYS: LazyLock<[PublicKey; 2]> = LazyLock::new(|| [key(256), key(MAX_MODULUS_LEN)]);

fn key(len: usize) -> PublicKey {
    let mut modulus = [0xc5; MAX_MODULUS_LEN];
    // So that no small number divides it; the first number that does not is looked for.
    let mut last = 1;
    loop {
        modulus[len - 1] = last;
        if let Some(key) = PublicKey::from_modulus(&modulus[..len]) {
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

fn chains() -> Vec<Vec<u8>> {
    let subkey = |depth| Subkey::new(UUID, depth, &TEST_KEY, &[]).signed_by(&TEST_KEY);
    let ta = || TEST_KEY.signed_image(UUID, 1, &[0x7f; 300]);
    let named = Subkey::new(UUID, 0, &TEST_KEY, b"name").signed_by(&TEST_KEY);
    let encryption = EncryptedHeader {
        enc_algo: shdr::AES_GCM,
        flags: shdr::DEVICE_KEY,
        iv_size: 12,
        tag_size: 16,
    };
    let fields = [
        &UUID.to_bytes()[..],
        &[0; 4],
        encryption.as_bytes(),
        &[0; 28],
    ]
    .concat();
    let encrypted = TEST_KEY.signed(shdr::img_type::ENCRYPTED_TA, &fields, &[0x7f; 300]);
    vec![
        [subkey(0), encrypted.clone()].concat(),
        encrypted,
        [subkey(0), ta()].concat(),
        [subkey(1), subkey(0), ta()].concat(),
        [named, ta()].concat(),
    ]
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

fn elf(data: &[u8]) {
    ldelf::fuzz(data);
}

/// Small programs with a head and a dynamic section, behind their UUID: one with a relocation, and one with symbols, a
/// library, variables of its thread, and what libutee finds its modules by.
fn programs() -> Vec<Vec<u8>> {
    let alone = program(&[(7, 0x1060), (8, 24), (9, 24)], |put| {
        put(0x2060, [0x1080_u64, 1027, 0x100].as_bytes());
    });
    // RELA, RELASZ, SYMTAB, STRTAB, HASH, NEEDED.
    let dynamic = [
        (7, 0x1120),
        (8, 72),
        (6, 0x200),
        (5, 0x300),
        (4, 0x280),
        (1, 20),
    ];
    let linked = program(&dynamic, |put| {
        let symbol = |name: u32, kind: u8, value: u64| {
            let mut bytes = name.to_le_bytes().to_vec();
            bytes.extend([kind, 0, 1, 0]);
            bytes.extend([value, 8].as_bytes());
            bytes
        };
        put(0x1218, &symbol(1, 0x11, 0x1100));
        put(0x1230, &symbol(17, 0x16, 4));
        put(0x1280, [1_u32, 3, 1, 0, 2, 0].as_bytes());
        put(0x1301, b"__elf_phdr_info\0\0tv\0");
        put(0x1314, format!("{UUID}\0").as_bytes());
        let (glob_dat, tprel, tlsdesc) = (1 << 32 | 1025, 2 << 32 | 1030, 2 << 32 | 1031);
        let rela = [
            0x1080_u64, glob_dat, 0, 0x1088, tprel, 0, 0x1090, tlsdesc, 0,
        ];
        put(0x2120, rela.as_bytes());
        // Variables of the thread.
        put(232, &program_header(7, 4, (0x2000, 0x1000, 8), 8));
        put(56, &4_u16.to_le_bytes());
    });
    vec![alone, linked]
}

fn program_header(kind: u32, flags: u32, (file, at, len): (u64, u64, u64), align: u64) -> Vec<u8> {
    let mut bytes = [kind, flags].as_bytes().to_vec();
    bytes.extend([file, at, at, len, len, align].as_bytes());
    bytes
}

/// One of them, with entries of its dynamic section and what `more` puts to places of its file.
fn program(dynamic: &[(u64, u64)], more: impl FnOnce(&mut dyn FnMut(usize, &[u8]))) -> Vec<u8> {
    let mut elf = vec![0; 0x2200];
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    // ELF64, little-endian, ET_DYN, AArch64, entry 0x100, three program headers at 64.
    put(0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(16, &[3, 0, 183, 0, 1, 0, 0, 0]);
    put(24, &0x100u64.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(52, &[64, 0, 56, 0, 3, 0, 64, 0]);
    // Code with the head at its start, data with the dynamic section.
    put(64, &program_header(1, 5, (0x1000, 0, 0x400), 0x1000));
    put(120, &program_header(1, 6, (0x2000, 0x1000, 0x200), 0x1000));
    put(176, &program_header(2, 6, (0x2000, 0x1000, 0x70), 0x1000));
    put(0x1000, UUID.as_bytes());
    put(0x1010, &4096u32.to_le_bytes());
    put(0x1018, &u64::MAX.to_le_bytes());
    for (n, (tag, value)) in dynamic.iter().enumerate() {
        put(0x2000 + 16 * n, [*tag, *value].as_bytes());
    }
    more(&mut put);
    let mut sample = UUID.to_bytes().to_vec();
    sample.extend_from_slice(&elf);
    sample
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
        let [alone, linked] = &programs()[..] else {
            panic!("as many as are described");
        };
        for sample in [alone, linked] {
            let refused = ldelf::plan(&sample[16..], UUID).err();
            assert_eq!(refused, None);
        }
        assert!(ldelf::fuzz(linked), "it needs itself, and is there");
    }
}
