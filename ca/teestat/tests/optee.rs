//! `teestat` on OP-TEE: the answers of its stats pseudo-TA, byte by byte as
//! `core/pta/stats.c` writes them (optee_os `lib/libutee/include/pta_stats.h`), and nothing else there.
//!
//! **Invariant:** the bytes are put together without the structures that read them.

use tally_abi::TeeUuid;
use tally_abi::pta::stats;
use teec::{Context, Error, ErrorKind, RawParam, SharedBytes, TempMemory, Transport};
use teestat::{Memory, NoNames, STATUS_FAILED, STATUS_OK, commands};

/// How the OP-TEE at hand was built and what it has.
#[derive(Clone, Copy)]
struct OpTee {
    /// `CFG_WITH_STATS`.
    has_stats: bool,
    /// `CFG_TA_STATS`.
    has_ta_stats: bool,
    /// Records of the loaded TAs.
    tas: &'static [Ta],
}

/// UUID as the C structure's bytes in hexadecimal, panicked, sessions, figures of the heap.
type Ta = (&'static str, u32, u32, [u32; 6]);

const FULL: OpTee = OpTee {
    has_stats: true,
    has_ta_stats: true,
    tas: TAS,
};

/// Figures of OP-TEE's issue 7160: a TA with a session, and one without, of which OP-TEE tells nothing.
const TAS: &[Ta] = &[
    (
        "33221100554477668899aabbccddeeff",
        0,
        1,
        [128, 256, 16368, 0, 0, 0],
    ),
    ("785634123412785690abcdef01234567", 0, 0, [0; 6]),
];

/// `struct pta_stats_alloc`: name, sum of squares; allocated, most, size, refused, largest refused, used then.
fn alloc(name: &str, free2_sum: u64, figures: [u32; 6]) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(32, 0);
    bytes.extend(free2_sum.to_le_bytes());
    bytes.extend(figures.iter().flat_map(|figure| figure.to_le_bytes()));
    bytes
}

fn pools() -> Vec<u8> {
    [
        alloc("Heap", 8_100_000_000, [66_304, 91_000, 163_840, 0, 0, 0]),
        alloc("Public DDR (deprecated)", 0, [0; 6]),
        alloc(
            "Physical TA memory",
            0,
            [442_368, 999_424, 13_631_488, 2, 20_000_768, 442_368],
        ),
        alloc("KHeap (disabled)", 0, [0; 6]),
        alloc("RPMB secure storage (no data)", 0, [0; 6]),
    ]
    .concat()
}

fn ta((uuid, panicked, sessions, figures): &Ta) -> Vec<u8> {
    let pairs = (0..uuid.len()).step_by(2);
    let mut bytes: Vec<u8> = pairs
        .map(|at| u8::from_str_radix(&uuid[at..at + 2], 16).unwrap())
        .collect();
    bytes.extend(
        [panicked, sessions]
            .into_iter()
            .flat_map(|word| word.to_le_bytes()),
    );
    bytes.extend(alloc("", 0, *figures));
    bytes
}

fn put(param: &mut RawParam<'_>, bytes: &[u8]) -> teec::Result<()> {
    let RawParam::Temp { memory, size } = param else {
        return Err(Error::new(ErrorKind::BadParameters));
    };
    **size = bytes.len();
    match memory {
        TempMemory::Output(room) if room.len() >= bytes.len() => {
            room[..bytes.len()].copy_from_slice(bytes);
            Ok(())
        }
        _ => Err(Error::new(ErrorKind::ShortBuffer)),
    }
}

fn values(params: &mut [RawParam<'_>; 4], figures: &[(u32, u32)]) -> teec::Result<()> {
    for (param, figures) in params.iter_mut().zip(figures) {
        let RawParam::Value { a, b, .. } = param else {
            return Err(Error::new(ErrorKind::BadParameters));
        };
        (**a, **b) = *figures;
    }
    Ok(())
}

impl Transport for OpTee {
    fn open_session(&self, uuid: TeeUuid, _: &mut [RawParam<'_>; 4]) -> teec::Result<u32> {
        match uuid == stats::UUID && self.has_stats {
            true => Ok(1),
            false => Err(Error::new(ErrorKind::ItemNotFound)),
        }
    }

    fn invoke(
        &self,
        _: u32,
        command: u32,
        _: u32,
        params: &mut [RawParam<'_>; 4],
    ) -> teec::Result<()> {
        match command {
            0 => values(params, &[(3, 3_840), (17, 5), (1, 0)]),
            1 => match &params[0] {
                RawParam::Value { a, b, .. } if (**a, **b) == (0, 0) => {
                    put(&mut params[1], &pools())
                }
                _ => Err(Error::new(ErrorKind::BadParameters)),
            },
            2 => Ok(()),
            3 if !self.has_ta_stats => Err(Error::new(ErrorKind::NotSupported)),
            3 if self.tas.is_empty() => Err(Error::new(ErrorKind::ItemNotFound)),
            3 => put(
                &mut params[0],
                &self.tas.iter().flat_map(ta).collect::<Vec<_>>(),
            ),
            4 => values(params, &[(1_700_000_000, 250), (12, 7)]),
            _ => Err(Error::new(ErrorKind::BadParameters)),
        }
    }

    fn close_session(&self, _: u32) -> teec::Result<()> {
        Ok(())
    }

    fn cancel(&self, _: u32, _: u32) -> teec::Result<()> {
        Ok(())
    }

    fn allocate_shared(&self, _: usize) -> teec::Result<Box<dyn SharedBytes>> {
        Err(Error::new(ErrorKind::NotSupported))
    }

    fn release_shared(&self, _: u64) -> teec::Result<()> {
        Ok(())
    }
}

/// Status, output and complaints of a command.
fn said(optee: OpTee, command: &str) -> (u8, String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let words: Vec<&str> = command.split(' ').collect();
    let context = Context::new(&optee);
    let status = teestat::run(
        &words,
        &context,
        &mut out,
        &mut err,
        &NoNames,
        &mut Memory::default(),
    );
    (status, out, err)
}

fn answer(optee: OpTee, command: &str) -> String {
    let (status, out, err) = said(optee, command);
    assert_eq!((status, &*err), (STATUS_OK, ""), "{command}");
    out
}

#[test]
fn the_five_commands_of_xtest_are_answered() {
    let alloc = answer(FULL, "alloc");
    assert!(
        alloc.starts_with(
            "Pool:                Heap\nBytes allocated:                       66304\n"
        ),
        "{alloc}"
    );
    assert!(
        alloc.contains("Pool:                Physical TA memory\n"),
        "{alloc}"
    );
    assert!(
        alloc.contains("Size of larges allocation failure:     20000768\n"),
        "{alloc}"
    );
    let ta = answer(FULL, "ta");
    let [first, second] = ta.split("\n\n").collect::<Vec<_>>()[..] else {
        panic!("{ta}");
    };
    assert!(
        first.starts_with("ta(00112233-4455-6677-8899aabbccddeeff)\n"),
        "{first}"
    );
    assert!(
        first.contains("\t\tSize of pool:                          16368\n"),
        "{first}"
    );
    assert!(
        second.starts_with("ta(12345678-1234-5678-90abcdef01234567)\n"),
        "{second}"
    );
    assert!(second.contains("\tsession number(0)\n"), "{second}");
    assert!(answer(FULL, "memleak").contains("CFG_TEE_CORE_MALLOC_DEBUG"));
    let pager = answer(FULL, "pager");
    assert!(
        pager.contains("Page pool size:     3840\n") && pager.contains("R/O faults:         17\n")
    );
    assert_eq!(
        answer(FULL, "time"),
        "REE time: 1700000000 seconds, 250 milliseconds\nTEE time: 12 seconds, 7 milliseconds\n"
    );
}

#[test]
fn they_are_objects_for_programs() {
    let value =
        |command| -> serde_json::Value { serde_json::from_str(&answer(FULL, command)).unwrap() };
    assert_eq!(value("alloc --json")["alloc"][2]["size"], 13_631_488);
    assert_eq!(value("ta --json")["ta"][0]["heap"]["max_allocated"], 256);
    assert_eq!(value("time --json")["tee"]["seconds"], 12);
    assert_eq!(value("pager --json")["pool"], 3_840);
}

/// OP-TEE refuses the question when there is no TA: that was an error.
#[test]
fn no_ta_is_an_answer() {
    let empty = OpTee { tas: &[], ..FULL };
    assert_eq!(answer(empty, "ta"), "No loaded TA found");
    assert!(answer(empty, "ta --json").contains("\"ta\":[]"));
}

#[test]
fn what_optee_was_built_without_is_named() {
    let without = OpTee {
        has_ta_stats: false,
        ..FULL
    };
    let (status, _, why) = said(without, "ta");
    assert!(
        status == STATUS_FAILED && why.contains("CFG_TA_STATS=y"),
        "{why}"
    );
    let without = OpTee {
        has_stats: false,
        ..FULL
    };
    let (status, _, why) = said(without, "alloc");
    assert!(
        status == STATUS_FAILED && why.contains("CFG_WITH_STATS=y"),
        "{why}"
    );
}

/// They spoke of a kernel without statistics.
#[test]
fn what_needs_tally_says_so() {
    const OPTEES: [&str; 5] = ["alloc", "ta", "memleak", "pager", "time"];
    let own = commands::all().filter(|command| !OPTEES.contains(&command.name));
    let mut asked = 0;
    for command in own {
        let words = match command.name {
            "kill" | "status" | "ledger" => {
                format!("{} {}", command.name, TeeUuid::from_u128(1))
            }
            "block" => "block 0 kernel".into(),
            "pool" => "pool check kernel".into(),
            "leaks" => "leaks list".into(),
            "watch" => "watch list".into(),
            "snapshot" | "serve" => continue, // A file and a server come first.
            name => name.into(),
        };
        let (status, _, why) = said(FULL, &words);
        assert!(
            status == STATUS_FAILED && why.contains("this needs Tally"),
            "{words}: {status} {why}"
        );
        asked += 1;
    }
    assert!(asked > 15, "{asked}");
    assert!(said(FULL, "ta -v").2.contains("this needs Tally"));
}
