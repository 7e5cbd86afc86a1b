//! A QEMU TCG plugin that counts instructions by world between markers in the guest's code.
//!
//! `-plugin libinsn_count.so,out=FILE[,linux=on]`: the normal world or a TA executes `hint #100` to begin a
//! measure and `hint #101` to end it; both are no-operations of the architecture. FILE gets one JSON
//! object a line; `hint #102` and `#103` enclose what is to be taken off the measure before, such as
//! its loop: `{"boot":{..}}` with the counts from reset to the first normal-world
//! instruction, then `{"measure":n,"counts":{..},"masked":n}` for each measure, with the longest way that
//! the secure world had interrupts masked, and
//! `{"overhead":n,"counts":{..}}` for what is taken off measure n.
//!
//! Worlds are told apart by the host address of the code, since a TA may run at any virtual
//! address: what executes from flash, or where a stock firmware lies in secure RAM, is the monitor, from normal RAM the normal world, from
//! secure RAM the kernel (at its high addresses, or identity-mapped at its load address) or a TA.
//! With `linux=on` the normal world is two: its kernel at high addresses, as `normal`, and its
//! processes, as `client`.
//!
//! **Invariant:** markers themselves are not counted, and nothing that the guest can see
//! changes. Counts are exact on one virtual CPU (`-smp 1`), where nothing runs concurrently.

mod masked;

use serde_json::{Value, json};
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use tally_board_virt::{FLASH_BYTES, KERNEL_BASE, RAM_BASE, SECURE_RAM_BASE, SECURE_RAM_END};

/// `HINT #imm` is this with the immediate at bit 5 (Arm ARM DDI 0487, C6.2 HINT).
const HINT: u32 = 0xd503_201f;
const BEGIN: u32 = HINT | 100 << 5;
const END: u32 = HINT | 101 << 5;
const OVERHEAD_BEGIN: u32 = HINT | 102 << 5;
const OVERHEAD_END: u32 = HINT | 103 << 5;

/// As the runner gives the machine, without and with Linux; other host memory may follow right
/// behind.
const RAM_BYTES: [u64; 2] = [256 << 20, 512 << 20];
const KERNEL_HIGH: u64 = 0xffff_0000_0000_0000;
const SECURE_RAM: std::ops::Range<u64> = SECURE_RAM_BASE..SECURE_RAM_END;
/// Where firmware is that does not run in flash.
const FIRMWARE: std::ops::Range<u64> = SECURE_RAM_BASE..KERNEL_BASE;

const MONITOR: usize = 0;
const KERNEL: usize = 1;
const TA: usize = 2;
const NORMAL: usize = 3;
const CLIENT: usize = 4;
/// As the counts are written.
const WORLDS: [&str; 5] = ["monitor", "kernel", "ta", "normal", "client"];

static COUNTS: [AtomicU64; WORLDS.len()] = [const { AtomicU64::new(0) }; WORLDS.len()];
static AT_BEGIN: [AtomicU64; WORLDS.len()] = [const { AtomicU64::new(0) }; WORLDS.len()];
/// Whether the normal world is Linux, whose processes are counted by themselves.
static LINUX: AtomicBool = AtomicBool::new(false);
/// Host address of flash offset 0, known from the reset vector.
static FLASH_HOST: AtomicUsize = AtomicUsize::new(0);
/// Host address that RAM at guest address 0 would have, known from the normal world's entry.
static RAM_HOST: AtomicUsize = AtomicUsize::new(0);
static MEASURES: AtomicU64 = AtomicU64::new(0);
static MEASURING: AtomicBool = AtomicBool::new(false);
static OUT: Mutex<Option<std::fs::File>> = Mutex::new(None);

/// The plugin interface this library was built for (`qemu-plugin.h`).
#[unsafe(no_mangle)]
pub static qemu_plugin_version: c_int = if cfg!(feature = "qemu-10") { 4 } else { 1 };

type PluginId = u64;
type TransCallback = extern "C" fn(PluginId, *mut c_void);
type ExecCallback = extern "C" fn(c_uint, *mut c_void);

/// `QEMU_PLUGIN_CB_NO_REGS`.
const NO_REGS: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: PluginId, callback: TransCallback);
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        insn: *mut c_void,
        callback: ExecCallback,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(tb: *const c_void) -> usize;
    fn qemu_plugin_tb_get_insn(tb: *const c_void, index: usize) -> *mut c_void;
    fn qemu_plugin_insn_vaddr(insn: *const c_void) -> u64;
    fn qemu_plugin_insn_haddr(insn: *const c_void) -> *const c_void;
    #[cfg(not(feature = "qemu-10"))]
    fn qemu_plugin_insn_data(insn: *const c_void) -> *const u8;
    #[cfg(feature = "qemu-10")]
    fn qemu_plugin_insn_data(insn: *const c_void, dest: *mut c_void, len: usize) -> usize;
}

/// Called by QEMU once.
///
/// # Safety
/// `argv` must hold `argc` pointers to C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: PluginId,
    _info: *const c_void,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let mut path = None;
    for n in 0..usize::try_from(argc).unwrap_or(0) {
        // SAFETY:
        // 1. `n` is below `argc`, and `argv` holds that many C strings by our contract.
        let arg = unsafe { CStr::from_ptr(*argv.add(n)) }
            .to_string_lossy()
            .into_owned();
        if let Some(value) = arg.strip_prefix("out=") {
            path = Some(value.to_owned());
        }
        if arg == "linux=on" {
            LINUX.store(true, Relaxed);
        }
    }
    let Some(path) = path else {
        eprintln!("insn-count: give a file: -plugin libinsn_count.so,out=FILE");
        return 1;
    };
    match (std::fs::File::create(&path), OUT.lock()) {
        (Ok(file), Ok(mut out)) => *out = Some(file),
        (Err(err), _) => {
            eprintln!("insn-count: cannot write {path}: {err}");
            return 1;
        }
        (_, Err(_)) => return 1,
    }
    // SAFETY:
    // 1. `id` is the one QEMU gave us; the callback has the type that the interface wants.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate) };
    0
}

/// Adds counting to a block of code before its first execution.
extern "C" fn on_translate(_id: PluginId, tb: *mut c_void) {
    // SAFETY:
    // 1. QEMU passes a block that is valid for the time of this call.
    let n_insns = unsafe { qemu_plugin_tb_n_insns(tb) };
    for n in 0..n_insns {
        // SAFETY:
        // 1. As above, and `n` is below the block's number of instructions.
        // 2. The instruction is valid as long as the block.
        let (insn, vaddr, host, word) = unsafe {
            let insn = qemu_plugin_tb_get_insn(tb, n);
            let host = qemu_plugin_insn_haddr(insn).addr();
            (insn, qemu_plugin_insn_vaddr(insn), host, word(insn))
        };
        let world = classify(vaddr, host);
        let (callback, data): (ExecCallback, *mut c_void) = match word {
            BEGIN | OVERHEAD_BEGIN if may_mark(world) => (on_begin, std::ptr::null_mut()),
            END if may_mark(world) => (on_end, std::ptr::null_mut()),
            OVERHEAD_END if may_mark(world) => (on_overhead_end, std::ptr::null_mut()),
            _ if world == MONITOR || world == KERNEL => {
                let described = masked::describe(world, vaddr, word) as usize;
                let run: ExecCallback = if world == KERNEL {
                    on_kernel
                } else {
                    on_monitor
                };
                (run, std::ptr::without_provenance_mut(described))
            }
            _ => (on_insn, std::ptr::without_provenance_mut(world)),
        };
        // SAFETY:
        // 1. `insn` is valid (see above); the callbacks have the type that the interface wants.
        // 2. `data` is not dereferenced by anyone.
        unsafe { qemu_plugin_register_vcpu_insn_exec_cb(insn, callback, NO_REGS, data) };
    }
}

/// Measures begin and end in the normal world or, for what happens inside of one, in a TA.
fn may_mark(world: usize) -> bool {
    world == NORMAL || world == CLIENT || world == TA
}

/// The instruction's encoding.
///
/// # Safety
/// `insn` must be valid; AArch64 instructions have four bytes.
unsafe fn word(insn: *const c_void) -> u32 {
    #[cfg(not(feature = "qemu-10"))]
    {
        // SAFETY:
        // 1. `insn` is valid by our contract.
        // 2. The interface returns a pointer to the instruction's bytes, of which there are four.
        unsafe { qemu_plugin_insn_data(insn).cast::<u32>().read_unaligned() }
    }
    #[cfg(feature = "qemu-10")]
    {
        let mut word = 0u32;
        // SAFETY:
        // 1. `insn` is valid by our contract, and `word` has room for the four bytes asked for.
        unsafe { qemu_plugin_insn_data(insn, (&raw mut word).cast(), 4) };
        word
    }
}

fn classify(vaddr: u64, host: usize) -> usize {
    if FLASH_HOST.load(Relaxed) == 0 {
        // The first block ever: the reset vector, at flash offset 0 or little above.
        FLASH_HOST.store(host.wrapping_sub(vaddr as usize), Relaxed);
    }
    if (host.wrapping_sub(FLASH_HOST.load(Relaxed)) as u64) < FLASH_BYTES {
        return MONITOR;
    }
    let linux = LINUX.load(Relaxed);
    let window = RAM_BASE..RAM_BASE + RAM_BYTES[usize::from(linux)];
    let mut ram = RAM_HOST.load(Relaxed);
    if ram == 0 && window.contains(&vaddr) {
        // No TA runs before the normal world does: this is its entry, identity-mapped.
        ram = host.wrapping_sub(vaddr as usize);
        RAM_HOST.store(ram, Relaxed);
        let counts = by_world(|world| COUNTS[world].load(Relaxed));
        write_line(&json!({ "boot": counts }));
    }
    if ram != 0 && window.contains(&(host.wrapping_sub(ram) as u64)) {
        // Linux's kernel runs at low addresses only until it has its own tables.
        return if linux && vaddr < KERNEL_HIGH && !window.contains(&vaddr) {
            CLIENT
        } else {
            NORMAL
        };
    }
    if FIRMWARE.contains(&vaddr) {
        return MONITOR;
    }
    if vaddr >= KERNEL_HIGH || SECURE_RAM.contains(&vaddr) {
        KERNEL
    } else {
        TA
    }
}

fn count(world: usize) {
    let count = &COUNTS[world % WORLDS.len()];
    // One virtual CPU: nobody else writes.
    count.store(count.load(Relaxed) + 1, Relaxed);
}

extern "C" fn on_insn(_cpu: c_uint, world: *mut c_void) {
    count(world.addr());
    masked::left(world.addr());
}

extern "C" fn on_monitor(_cpu: c_uint, described: *mut c_void) {
    count(MONITOR);
    masked::step(MONITOR, described.addr() as u64);
}

extern "C" fn on_kernel(_cpu: c_uint, described: *mut c_void) {
    count(KERNEL);
    masked::step(KERNEL, described.addr() as u64);
}

extern "C" fn on_begin(_cpu: c_uint, _data: *mut c_void) {
    for (begin, count) in AT_BEGIN.iter().zip(&COUNTS) {
        begin.store(count.load(Relaxed), Relaxed);
    }
    masked::take_longest();
    MEASURING.store(true, Relaxed);
}

extern "C" fn on_end(_cpu: c_uint, _data: *mut c_void) {
    if !MEASURING.swap(false, Relaxed) {
        return;
    }
    let n = MEASURES.fetch_add(1, Relaxed);
    let longest = masked::take_longest();
    write_line(&json!({ "measure": n, "counts": since_begin(), "masked": longest }));
}

extern "C" fn on_overhead_end(_cpu: c_uint, _data: *mut c_void) {
    if !MEASURING.swap(false, Relaxed) {
        return;
    }
    if let Some(n) = MEASURES.load(Relaxed).checked_sub(1) {
        write_line(&json!({ "overhead": n, "counts": since_begin() }));
    }
}

fn since_begin() -> Value {
    by_world(|world| COUNTS[world].load(Relaxed) - AT_BEGIN[world].load(Relaxed))
}

fn by_world(count: impl Fn(usize) -> u64) -> Value {
    let counts = WORLDS.iter().enumerate();
    counts
        .map(|(world, name)| ((*name).to_owned(), Value::from(count(world))))
        .collect()
}

fn write_line(line: &Value) {
    if let Ok(mut out) = OUT.lock()
        && let Some(file) = out.as_mut()
        && let Err(err) = writeln!(file, "{line}")
    {
        eprintln!("insn-count: {err}");
    }
}
