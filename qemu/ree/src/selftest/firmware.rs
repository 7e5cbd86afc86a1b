//! The firmware between the worlds: what it refuses, what it keeps apart, and that it survives both.

use alloc::format;
use core::arch::asm;
use ta_uuids::{chain, crash, heap};
use tally_abi::pta::control::fault;
use tally_board_virt as virt;
use tally_board_virt::images::FW_CFG_OTHER_FIRMWARE;
use tally_simd as simd;
use teec::{ErrorKind, Operation, ParamNone, ParamType, ParamValue};
use teestat::client;

use super::{Bench, NO_HOOKS, OTHER_FIRMWARE, Outcome, Test, equal, fails, holds, works};
use crate::machine::cpu;
use crate::machine::exceptions::{Exception, FLAGS, attempt};
use crate::machine::fw_cfg;

pub(super) const TESTS: &[Test] = &[
    (
        "what only the secure world may do is an undefined instruction",
        undefined,
    ),
    ("nothing reaches the host by semihosting", semihosting),
    ("bad arguments of PSCI are answered", power_refusals),
    ("unknown calls of the firmware are answered", unknown_calls),
    (
        "registers of this world survive a secure world that runs",
        registers_survive,
    ),
    (
        "floating-point registers of this world survive TAs that use them",
        vectors_survive,
    ),
    (
        "floating-point registers of this world survive cryptography in the kernel",
        vectors_survive_crypto,
    ),
    (
        "cryptography gives the same by the CPU's instructions and without",
        crypto_sample,
    ),
    (
        "the cycle counter stands still in the secure world",
        cycles_stand_still,
    ),
    (
        "a TA that reads the cycle counter ends",
        no_cycles::<{ crash::CMD_READ_CYCLES }>,
    ),
    (
        "a TA that writes the cycle counter ends",
        no_cycles::<{ crash::CMD_WRITE_CYCLES }>,
    ),
    (
        "a TA that chooses an event counter ends",
        no_cycles::<{ crash::CMD_CHOOSE_COUNTER }>,
    ),
    (
        "a TA that signs with this world's key ends",
        closed::<{ crash::CMD_SIGN }>,
    ),
    (
        "a TA that reads its software context ends",
        closed::<{ crash::CMD_READ_CONTEXT }>,
    ),
];

/// Reads a system register.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading the registers named here has no side effect.
        unsafe { asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack)) };
        value
    }};
}

/// Writes a system register.
macro_rules! write {
    ($name:literal, $value:expr) => {
        // SAFETY: nothing in this world depends on the registers named here.
        unsafe { asm!(concat!("msr ", $name, ", {}"), "isb", in(reg) $value, options(nomem, nostack)) }
    };
}

fn is_other() -> bool {
    fw_cfg::file(FW_CFG_OTHER_FIRMWARE).is_some()
}

fn is_undefined(what: &str, own: bool, tried: Result<u64, Exception>) -> Outcome {
    let expected = Exception {
        vector: if own { 4 } else { 0 },
        syndrome: 1 << 25,
        offset: 0,
        pstate: FLAGS | 0x3c4 | u64::from(own),
        masks: 0x3c0,
    };
    match tried {
        Err(exception) => equal(exception, expected, what),
        Ok(value) => Err(format!("{what}: {value:#x} instead of an exception")),
    }
}

/// Registers of interrupts that are the secure world's alone; the firmware traps them, as it takes those
/// interrupts itself.
fn undefined(bench: &Bench) -> Outcome {
    if is_other() {
        return bench.skipped(OTHER_FIRMWARE);
    }
    macro_rules! try_each {
        ($($instruction:literal),* $(,)?) => {
            for own in [true, false] {
                $(is_undefined($instruction, own, attempt!($instruction, own_stack: own, x0: 0x1234))?;)*
            }
        };
    }
    try_each!(
        "mrs x0, icc_iar0_el1",
        "msr icc_eoir0_el1, x0",
        "mrs x0, icc_hppir0_el1",
        "msr icc_bpr0_el1, x0",
        "mrs x0, icc_ap0r0_el1",
        "msr icc_igrpen0_el1, x0",
    );
    // The machine goes on, and so does the secure world.
    works(bench.open(crash::UUID)?.invoke_plain(crash::CMD_NOP))
}

/// What a debugger would do for EL1 (Arm semihosting 2.0): open a file, write to a console, run a command, tell
/// the time, end the machine. It ran commands on the developer's machine.
fn semihosting(_: &Bench) -> Outcome {
    let file = *b"semihosting\0";
    let command = *b"touch semihosting\0";
    let name = file.as_ptr().expose_provenance();
    let calls = [
        ("SYS_OPEN", 0x01, [name, 5, file.len() - 1]),
        ("SYS_WRITE0", 0x04, [name, 0, 0]),
        ("SYS_TIME", 0x11, [0; 3]),
        (
            "SYS_SYSTEM",
            0x12,
            [command.as_ptr().expose_provenance(), command.len() - 1, 0],
        ),
        ("SYS_EXIT_EXTENDED", 0x20, [0x2_0026, 0, 0]),
    ];
    for (what, operation, block) in calls {
        let tried = attempt!("hlt #0xf000", own_stack: true, x0: operation, x1: &raw const block);
        is_undefined(what, true, tried)?;
    }
    Ok(())
}

/// Calls the firmware with 64-bit registers; x0 of the answer.
fn call(function: u32, args: [u64; 3]) -> i64 {
    let mut all = [0; 17];
    all[..3].copy_from_slice(&args);
    smccc::smc64(function, all)[0] as i64
}

const CPU_SUSPEND: u32 = 0xc400_0001;
const CPU_ON: u32 = 0xc400_0003;
const AFFINITY_INFO: u32 = 0xc400_0004;
const PSCI_FEATURES: u32 = 0x8400_000a;

const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const INVALID_ADDRESS: i64 = -9;

fn power_refusals(_: &Bench) -> Outcome {
    let entry = virt::images::NORMAL_BASE;
    for (function, args, expected) in [
        (CPU_ON, [0, entry, 0], ALREADY_ON),
        (CPU_ON, [77, entry, 0], INVALID_PARAMETERS),
        (CPU_ON, [1 << 32, entry, 0], INVALID_PARAMETERS),
        (CPU_ON, [u64::MAX, entry, 0], INVALID_PARAMETERS),
        (AFFINITY_INFO, [0, 0, 0], 0),
        (AFFINITY_INFO, [77, 0, 0], INVALID_PARAMETERS),
        (AFFINITY_INFO, [0, 77, 0], INVALID_PARAMETERS),
        (CPU_SUSPEND, [1 << 31, entry, 0], INVALID_PARAMETERS),
        (CPU_SUSPEND, [3 << 28, entry, 0], INVALID_PARAMETERS),
        (PSCI_FEATURES, [0x8400_00ff, 0, 0], NOT_SUPPORTED),
        (PSCI_FEATURES, [u64::MAX, 0, 0], NOT_SUPPORTED),
    ] {
        let what = format!("{function:#x} {args:x?}");
        equal(call(function, args), expected, &what)?;
    }
    if is_other() {
        return Ok(());
    }
    for secure in [0, virt::SECURE_RAM_BASE, virt::KERNEL_BASE, entry + 2] {
        let args = [1, secure, 0];
        equal(
            call(CPU_ON, args),
            INVALID_ADDRESS,
            "an entry that is no place for this world",
        )?;
        let args = [1 << 30, secure, 0];
        equal(
            call(CPU_SUSPEND, args),
            INVALID_ADDRESS,
            "a place to come back to that is none",
        )?;
    }
    Ok(())
}

fn unknown_calls(bench: &Bench) -> Outcome {
    if is_other() {
        return bench.skipped(OTHER_FIRMWARE);
    }
    for function in [
        0x8000_7fff_u32,
        0x8100_0000,
        0x8200_0001,
        0x8300_0000,
        0xc400_00fe,
        0x8500_0000,
        0x8700_ff01,
        0xaf00_0000,
        0x0400_0000,
        0xffff_fffe,
    ] {
        let what = format!("{function:#x}");
        equal(call(function, [u64::MAX; 3]) as i32, -1, &what)?;
    }
    works(bench.open(crash::UUID)?.invoke_plain(crash::CMD_NOP))
}

/// Whether the CPU signs generic data.
fn can_sign() -> bool {
    read!("id_aa64isar1_el1") >> 24 & 0xff != 0
}

fn registers_survive(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    macro_rules! survive {
        ($($name:literal = $value:expr),* $(,)?) => {{
            let before = [$({ let old = read!($name); write!($name, $value); (old, read!($name)) }),*];
            let result = works(session.invoke_plain(crash::CMD_NOP));
            let after = [$(read!($name)),*];
            let names = [$($name),*];
            let mut old = before.iter();
            $(if let Some((old, _)) = old.next() { write!($name, *old); })*
            result?;
            for ((name, (_, wrote)), after) in names.iter().zip(before).zip(after) {
                equal(after, wrote, name)?;
            }
        }};
    }
    survive!(
        "tpidr_el0" = 0x5550_u64,
        "tpidrro_el0" = 0x6660_u64,
        "contextidr_el1" = 0x8880_u64,
        "csselr_el1" = 1_u64,
        "cntkctl_el1" = 2_u64,
        "mdscr_el1" = 1_u64 << 12,
        "pmcr_el0" = 1_u64 << 6 | 1,
        "pmuserenr_el0" = 0xf_u64,
        "pmccfiltr_el0" = 1_u64 << 27,
        "pmselr_el0" = 3_u64,
    );
    if can_sign() {
        survive!(
            "s3_0_c2_c3_0" = 0x1234_5678_u64,
            "s3_0_c2_c3_1" = 0x9abc_def0_u64,
            "s3_0_c2_c1_0" = 0x1111_u64,
        );
    }
    Ok(())
}

/// A TA that uses floating point, while this world has registers of its own in use.
fn vectors_survive(bench: &Bench) -> Outcome {
    let mut session = bench.open(chain::UUID)?;
    survive(|seed| {
        let mut op = Operation::new(
            0,
            ParamValue::new(seed, 0, ParamType::ValueInput),
            ParamValue::new(1, 0, ParamType::ValueInput),
            ParamValue::new(0, 0, ParamType::ValueOutput),
            ParamNone,
        );
        works(session.invoke_command(chain::CMD_VECTORS, &mut op))
    })
}

/// All of it in a kernel with test hooks, in others the digest of a TA that is loaded.
fn vectors_survive_crypto(bench: &Bench) -> Outcome {
    survive(
        |_| match client::fault(&bench.context, fault::SAMPLE_CRYPTO) {
            Err(error) if error.kind() == Some(ErrorKind::NotSupported) => {
                bench.open(crash::UUID).map(drop)
            }
            result => result.map_err(|error| format!("{error}")),
        },
    )
}

/// Only a kernel with test hooks can be told to; `xtask test` runs this in one.
fn crypto_sample(bench: &Bench) -> Outcome {
    match client::fault(&bench.context, fault::SAMPLE_CRYPTO) {
        Err(error) if error.kind() == Some(ErrorKind::NotSupported) => bench.skipped(NO_HOOKS),
        result => result.map_err(|error| format!("{error}")),
    }
}

/// Has `use_them` use the registers, while this world has its own in them.
fn survive(mut use_them: impl FnMut(u32) -> Outcome) -> Outcome {
    const CPACR_ALL: u64 = 3 << 24 | 3 << 20 | 3 << 16;
    let old = read!("cpacr_el1");
    write!("cpacr_el1", CPACR_ALL);
    simd::fill(0x4000);
    simd::set_control(3 << 22);
    simd::set_status(0x15);
    let result = use_them(1);
    let kept = (simd::copy(), simd::control(), simd::status());
    simd::set_control(0);
    // Not with a firmware that keeps them closed.
    let has = |register: u64, at: u32| !is_other() && register >> at & 0xf != 0;
    let has_sve = has(read!("id_aa64pfr0_el1"), 32);
    let has_sme = has(read!("id_aa64pfr1_el1"), 24);
    let mut differing = None;
    for is_streaming in [false, true] {
        if !(if is_streaming { has_sme } else { has_sve }) {
            continue;
        }
        let mut copies = [simd::Scalable::zeroed(), simd::Scalable::zeroed()];
        let with_ffr = !is_streaming || read!("s3_0_c0_c4_5") >> 63 != 0;
        if is_streaming {
            write!("s3_0_c1_c2_6", 1_u64 << 31 | 0xf);
            simd::set_streaming(true);
        } else {
            write!("s3_0_c1_c2_0", 0xf_u64);
        }
        simd::fill_scalable(0x7000, with_ffr);
        simd::set_status(0x11);
        simd::copy_scalable(&mut copies[0], with_ffr);
        let used = use_them(2);
        simd::copy_scalable(&mut copies[1], with_ffr);
        let status = simd::status();
        let still_streaming = has_sme && read!("s3_3_c4_c2_2") & 1 != 0;
        if is_streaming {
            simd::set_streaming(false);
        }
        let same = copies[0] == copies[1] && status == 0x11;
        if !same || still_streaming != is_streaming || used.is_err() {
            differing = Some(is_streaming);
        }
    }
    write!("cpacr_el1", old);
    result?;
    let expected = (simd::filled(0x4000), 3 << 22, 0x15);
    equal(kept, expected, "V registers, FPCR, FPSR")?;
    equal(differing, None, "streaming or not, what differs")
}

/// PMCR_EL0: counting, 64 bits.
const COUNTING: u64 = 1 << 6 | 1;
/// PMCNTENSET_EL0: the cycle counter.
const CYCLES: u64 = 1 << 31;

fn cycles_stand_still(bench: &Bench) -> Outcome {
    if is_other() {
        return bench.skipped(OTHER_FIRMWARE);
    }
    let mut session = bench.open(heap::UUID)?;
    let mut op = Operation::new(
        0,
        ParamValue::new(100, 100_000, ParamType::ValueInput),
        ParamValue::new(heap::strategy::DEFAULT, 0, ParamType::ValueInput),
        ParamNone,
        ParamNone,
    );
    write!("pmcr_el0", COUNTING);
    write!("pmcntenset_el0", CYCLES);
    write!("pmccntr_el0", 0_u64);
    // How fast it is, from this world's own time.
    let start = cpu::micros();
    while cpu::micros() - start < 1000 {}
    let a_millisecond = read!("pmccntr_el0");
    write!("pmccntr_el0", 0_u64);
    let start = cpu::micros();
    let result = works(session.invoke_command(heap::CMD_BENCH, &mut op));
    let (cycles, micros) = (read!("pmccntr_el0"), cpu::micros() - start);
    write!("pmcntenclr_el0", CYCLES);
    write!("pmcr_el0", 0_u64);
    result?;
    let all = a_millisecond * micros / 1000;
    holds(a_millisecond > 0 && micros > 2000, "nothing to measure")?;
    // What is left is this world's, which takes the TA's interrupts.
    if cycles > all / 4 {
        return Err(format!("{cycles} of {all} cycles were counted"));
    }
    Ok(())
}

/// What the firmware keeps from TAs; another one need not.
fn closed<const COMMAND: u32>(bench: &Bench) -> Outcome {
    if is_other() {
        return bench.skipped(OTHER_FIRMWARE);
    }
    no_cycles::<COMMAND>(bench)
}

/// This world opens everything to EL0 that it can; the TA is ended all the same, and the machine goes on.
fn no_cycles<const COMMAND: u32>(bench: &Bench) -> Outcome {
    let mut session = bench.open(crash::UUID)?;
    let mut other = bench.open(crash::UUID)?;
    write!("pmuserenr_el0", 0xf_u64);
    let tried = session.invoke_plain(COMMAND);
    let left = read!("pmuserenr_el0");
    write!("pmuserenr_el0", 0_u64);
    equal(left, 0xf, "what this world had opened")?;
    fails(tried, ErrorKind::TargetDead)?;
    works(other.invoke_plain(crash::CMD_NOP))
}
