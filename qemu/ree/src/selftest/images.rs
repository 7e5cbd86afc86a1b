//! Images of TAs that must not run: altered, cut, lied about.
//!
//! **Invariant:** the supplicant tells the truth again after every case.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use ta_uuids::{bad, hello, stillborn};
use tally_abi::image::ImageFault;
use tally_abi::msg::PAGE_SIZE;
use tally_abi::smc::ret;
use tally_abi::{TeeResult, TeeUuid};
use tally_records::{FailureRow, Selector, failed_pool};
use teec::{ErrorKind, Transport};
use teestat::client;

use super::account::Account;
use super::raw::RawCall;
use super::{Bench, Outcome, Test, equal, holds, works};
use crate::supplicant::{self, Lie};

pub(super) const TESTS: &[Test] = &[
    ("an altered image is refused", altered),
    ("a TA comes by three requests", three_requests),
    ("a signed image with a bad ELF file is refused", bad_elfs),
    ("a cut image is refused", cut),
    ("an unsigned image is refused", unsigned),
    ("another TA's image is refused", other_image),
    ("a wild header is refused", wild_headers),
    ("a size that is a lie is refused", size_lies),
    ("a supplicant that fails is believed", failures),
    ("no shared memory for an image", no_memory),
    ("little shared memory for an image", little_memory),
    (
        "a TA that cannot be created gives all back",
        cannot_be_created,
    ),
];

/// More than is asked for before the size is known.
const MUCH: usize = 200 << 10;
/// Sizes in the signed header (optee_os signed_hdr.h): fixed part, then the bootstrap header.
const HEADER: usize = 20;
const BOOTSTRAP: usize = 20;

fn image() -> Result<&'static [u8], &'static str> {
    supplicant::image(hello::UUID).ok_or("hello is not in the archive")
}

/// Where the ELF file begins.
fn elf_offset(image: &[u8]) -> Option<usize> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(image.get(at..at + 2)?.try_into().ok()?));
    Some(HEADER + usize::from(u16_at(16)?) + usize::from(u16_at(18)?) + BOOTSTRAP)
}

/// With this lie, hello must be refused in this way.
fn refused(bench: &Bench, lie: Lie, kind: ErrorKind) -> Outcome {
    let what = format!("{lie:?}");
    let what = &what[..what.len().min(40)];
    supplicant::set_lie(Some(lie));
    let result = bench.context.open_session(hello::UUID);
    supplicant::set_lie(None);
    match result {
        Ok(_) => Err(format!("{what}: loaded all the same")),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(format!("{what}: {error} instead of {kind:?}")),
    }
}

/// What nobody vouches for, whatever is wrong with it.
const BAD: ErrorKind = ErrorKind::Security;

fn loads_well(bench: &Bench) -> Outcome {
    let mut session = bench.open(hello::UUID)?;
    works(session.invoke_plain(hello::CMD_NOP))
}

fn altered(bench: &Bench) -> Outcome {
    let image = image()?;
    let elf = elf_offset(image).ok_or("hello's image is too short")?;
    let places = [
        0,
        4,
        8,
        12,
        HEADER,
        HEADER + 40,
        elf - BOOTSTRAP,
        elf - 4,
        elf,
        elf + 24,
        elf + 100,
        image.len() / 2,
        image.len() - 1,
    ];
    for place in places {
        refused(bench, Lie::Flip(place as isize), BAD)?;
    }
    loads_well(bench)
}

/// Images that `ldelf` refuses, and why.
const FAULTS: &[(&str, TeeUuid, ImageFault)] = &[
    ("overlapping segments", bad::OVERLAP, ImageFault::Overlap),
    (
        "segments sharing a page",
        bad::SHARED_PAGE,
        ImageFault::SharedPage,
    ),
    ("a segment of 1 TiB", bad::HUGE, ImageFault::TooBig),
    (
        "writable code",
        bad::WRITE_EXEC,
        ImageFault::WritableAndExecutable,
    ),
    (
        "an entry in data",
        bad::ENTRY,
        ImageFault::EntryNotExecutable,
    ),
    ("another TA's head", bad::OTHER_UUID, ImageFault::WrongUuid),
    (
        "a segment beyond the file",
        bad::BEYOND_FILE,
        ImageFault::SegmentOutsideFile,
    ),
    (
        "a relocation outside",
        bad::RELOCATION_OUTSIDE,
        ImageFault::RelocationTarget,
    ),
    (
        "a relocation in code",
        bad::RELOCATION_IN_CODE,
        ImageFault::RelocationTarget,
    ),
    (
        "an unknown relocation",
        bad::RELOCATION_KIND,
        ImageFault::UnknownRelocation,
    ),
    (
        "a needed library",
        bad::NEEDS_LIBRARY,
        ImageFault::NeedsLibrary,
    ),
    (
        "an interpreter",
        bad::NEEDS_INTERPRETER,
        ImageFault::NeedsInterpreter,
    ),
    ("thread-local storage", bad::NEEDS_TLS, ImageFault::NeedsTls),
    ("another processor", bad::MACHINE, ImageFault::WrongMachine),
    (
        "an image for one address",
        bad::NOT_PIE,
        ImageFault::NotPositionIndependent,
    ),
    ("no stack", bad::NO_STACK, ImageFault::BadStack),
    ("a stack of 4 GiB", bad::HUGE_STACK, ImageFault::BadStack),
];

/// Hello's image with the changes of `bad/UUID.patch`: a signed header (u32 length, bytes), then
/// (u32 offset, u32 length, bytes) of the ELF file.
fn patched(uuid: TeeUuid) -> Option<Vec<u8>> {
    fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
        let (bytes, behind) = rest.split_at_checked(len)?;
        *rest = behind;
        Some(bytes)
    }
    fn number(rest: &mut &[u8]) -> Option<usize> {
        let bytes = take(rest, 4)?.try_into().ok()?;
        Some(u32::from_le_bytes(bytes) as usize)
    }
    let hello = image().ok()?;
    let mut elf = hello.get(elf_offset(hello)?..)?.to_vec();
    let mut rest = supplicant::archive().file(&format!("bad/{uuid}.patch"))?;
    let header_len = number(&mut rest)?;
    let mut out = take(&mut rest, header_len)?.to_vec();
    while !rest.is_empty() {
        let at = number(&mut rest)?;
        let len = number(&mut rest)?;
        let bytes = take(&mut rest, len)?;
        elf.get_mut(at..at + len)?.copy_from_slice(bytes);
    }
    out.extend(elf);
    Some(out)
}

/// What was refused last.
fn last_refusal(bench: &Bench) -> Result<FailureRow, String> {
    let rows = client::rows::<FailureRow>(&bench.context, &Selector::ALL);
    let rows = rows.map_err(|e| format!("{e}"))?;
    rows.last().copied().ok_or_else(|| String::from("nothing"))
}

fn bad_elfs(bench: &Bench) -> Outcome {
    let load = |uuid: TeeUuid| {
        let bytes = patched(uuid).ok_or("the archive has no such image")?;
        supplicant::set_lie(Some(Lie::Replace(bytes)));
        let result = bench.context.open_session(uuid);
        supplicant::set_lie(None);
        Ok::<_, &str>(result)
    };
    // Signature and patch are fine: without a fault it loads and works.
    let mut control = works(load(bad::CONTROL)?)?;
    works(control.invoke_plain(hello::CMD_NOP))?;
    works(control.close())?;
    for &(what, uuid, fault) in FAULTS {
        let before = Account::take(bench)?;
        let kind = teec::Error::from_raw_error(TeeResult::from(fault).0).kind();
        super::fails(load(uuid)?, kind).map_err(|why| format!("{what}: {why}"))?;
        let same = before.same_as(&Account::take(bench)?);
        same.map_err(|why| format!("{what}: {why}"))?;
        let row = last_refusal(bench)?;
        equal(
            (row.pool, row.owner, row.fault),
            (failed_pool::IMAGE, uuid, fault.code()),
            what,
        )?;
    }
    super::fails(load(bad::ABOVE_QUOTA)?, ErrorKind::OutOfMemory)?;
    let row = last_refusal(bench)?;
    equal(
        (row.pool, row.owner, row.fault),
        (failed_pool::TA_QUOTA, bad::ABOVE_QUOTA, 0),
        "a segment above the quota",
    )?;
    loads_well(bench)
}

fn cut(bench: &Bench) -> Outcome {
    let image = image()?;
    let elf = elf_offset(image).ok_or("hello's image is too short")?;
    for size in [
        1,
        HEADER - 1,
        HEADER,
        HEADER + 32,
        elf,
        elf + 64,
        image.len() - 1,
    ] {
        refused(bench, Lie::Cut(size), BAD)?;
    }
    refused(bench, Lie::Grow(MUCH), ErrorKind::ShortBuffer)?;
    loads_well(bench)
}

fn unsigned(bench: &Bench) -> Outcome {
    let image = image()?;
    let elf = elf_offset(image).ok_or("hello's image is too short")?;
    // The ELF file alone, and with a signature of zeros.
    refused(bench, Lie::Replace(image[elf..].to_vec()), BAD)?;
    let mut zeros = image.to_vec();
    zeros[HEADER + 32..elf - BOOTSTRAP].fill(0);
    refused(bench, Lie::Replace(zeros), BAD)?;
    loads_well(bench)
}

fn other_image(bench: &Bench) -> Outcome {
    let other = supplicant::image(ta_uuids::solo::UUID).ok_or("solo is not in the archive")?;
    refused(bench, Lie::Replace(other.to_vec()), BAD)
}

fn wild_headers(bench: &Bench) -> Outcome {
    let image = image()?;
    // Fields of the header: type, size, algorithm, sizes of hash and signature.
    let fields: [(usize, &[u8]); 9] = [
        (4, &[0, 0, 0, 0]),
        (4, &[9, 0, 0, 0]),
        (8, &[0xff, 0xff, 0xff, 0xff]),
        (8, &[0, 0, 0, 0]),
        (12, &[0, 0, 0, 0]),
        (16, &[0, 0]),
        (16, &[0xff, 0xff]),
        (18, &[0, 0]),
        (18, &[0xff, 0xff]),
    ];
    for (at, bytes) in fields {
        let mut wild = image.to_vec();
        wild[at..at + bytes.len()].copy_from_slice(bytes);
        refused(bench, Lie::Replace(wild), BAD)?;
    }
    refused(bench, Lie::Replace(vec![0; 100_000]), BAD)?;
    refused(bench, Lie::Replace(vec![0xff; 5000]), BAD)?;
    let text: Vec<u8> = b"HSTO".repeat(1000);
    refused(bench, Lie::Replace(text), BAD)?;
    loads_well(bench)
}

fn size_lies(bench: &Bench) -> Outcome {
    // No image has this size; a part of the image; more than the image.
    for size in [0, 64 << 20, 1 << 32, usize::MAX] {
        refused(bench, Lie::Size(size), ErrorKind::BadFormat)?;
    }
    for size in [1, 4096, MUCH / 2] {
        refused(bench, Lie::Size(size), ErrorKind::Security)?;
    }
    loads_well(bench)
}

/// Opens `uuid`; how many commands that took of this world.
fn requests(bench: &Bench, uuid: TeeUuid) -> Result<u32, String> {
    let mut call = RawCall::open(bench, uuid)?;
    let mut requests = 0;
    loop {
        match call.step_past_interrupts(bench.tee) {
            ret::RPC_CMD => {
                requests += 1;
                call.serve(bench.tee);
            }
            ret::OK => break,
            code => return Err(format!("the call came out with {code:#x}")),
        }
    }
    let answer = call.answer();
    equal(TeeResult(answer.ret), TeeResult::SUCCESS, "opening it")?;
    works(bench.tee.close_session(answer.session))?;
    Ok(requests)
}

fn three_requests(bench: &Bench) -> Outcome {
    // If these tests run in order, nobody asked for this image before.
    let bytes = patched(bad::CONTROL).ok_or("the archive has no such image")?;
    supplicant::set_lie(Some(Lie::Replace(bytes)));
    equal(requests(bench, bad::CONTROL)?, 3, "the first time")?;
    equal(requests(bench, bad::CONTROL)?, 3, "the second time")?;
    supplicant::set_lie(None);
    equal(requests(bench, hello::UUID)?, 3, "another TA")
}

fn failures(bench: &Bench) -> Outcome {
    for (code, kind) in [
        (TeeResult::ITEM_NOT_FOUND, ErrorKind::ItemNotFound),
        (TeeResult::GENERIC, ErrorKind::Generic),
        (TeeResult::OUT_OF_MEMORY, ErrorKind::OutOfMemory),
        (TeeResult::ACCESS_DENIED, ErrorKind::AccessDenied),
    ] {
        refused(bench, Lie::Fail(code), kind)?;
        refused(bench, Lie::FailLater(code), kind)?;
    }
    loads_well(bench)
}

fn no_memory(bench: &Bench) -> Outcome {
    refused(bench, Lie::Lend(0), ErrorKind::OutOfMemory)?;
    loads_well(bench)
}

fn little_memory(bench: &Bench) -> Outcome {
    let bytes = image()?.len() as u64;
    // The first one is refused what is asked for before its size is; the next is asked for its size.
    refused(bench, Lie::Lend(bytes - 1), ErrorKind::OutOfMemory)?;
    supplicant::set_lie(Some(Lie::Lend(bytes.next_multiple_of(PAGE_SIZE as u64))));
    let first = requests(bench, hello::UUID);
    let second = requests(bench, hello::UUID);
    supplicant::set_lie(None);
    equal(first?, 4, "requests once memory was refused")?;
    equal(second?, 3, "requests once the size is known")
}

fn cannot_be_created(bench: &Bench) -> Outcome {
    for _ in 0..5 {
        bench.refused(stillborn::UUID, ErrorKind::TargetDead)?;
    }
    holds(
        teestat::client::ta_stats(&bench.context)
            .map_err(|e| format!("{e}"))?
            .iter()
            .all(|ta| ta.uuid != stillborn::UUID),
        "a TA that could not be created is listed",
    )
}
