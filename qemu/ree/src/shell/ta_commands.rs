//! The commands of trusted applications: their names, numbers, parameters, and what they do.
//!
//! **Invariant:** the parameters are what `ta_uuids` says of the command.

use ta_uuids::{chain, crash, drm, glutton, heap, hello, keepalive, solo, stillborn, storage};
use tally_abi::TeeUuid;

/// One parameter, and how many words of the command line make it.
#[derive(Clone, Copy)]
pub(super) enum Spec {
    /// Value in, of one or two numbers.
    In(usize),
    /// Value out.
    Out,
    /// Value in and out, of two numbers.
    Inout,
    /// Memory in: a text, or `@N` for N bytes of a pattern.
    MemIn,
    /// Memory out: its size.
    MemOut,
    /// Memory in and out: as `MemIn`.
    MemInout,
    /// Memory in: bytes of a UUID, by name.
    Uuid,
}

pub(super) struct TaCommand {
    pub(super) ta: &'static str,
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) params: &'static [Spec],
    pub(super) arguments: &'static str,
    /// What it does; what it gives back.
    pub(super) says: &'static str,
}

macro_rules! commands {
    ($($ta:ident $name:literal $number:ident [$($spec:expr),*] $arguments:literal $says:literal;)*) => {
        pub(super) static COMMANDS: &[TaCommand] = &[$(TaCommand {
            ta: stringify!($ta),
            name: $name,
            number: $ta::$number,
            params: &[$($spec),*],
            arguments: $arguments,
            says: $says,
        },)*];
    };
}

use Spec::{In, Inout, MemIn, MemInout, MemOut, Out, Uuid};

commands! {
    hello "inc" CMD_INC [Inout] "A B" "adds 1 to A and 2 to B";
    hello "checksum" CMD_CHECKSUM [MemIn, Out] "TEXT|@N" "a = sum of the bytes, b = their number";
    hello "fill" CMD_FILL [MemOut, In(2)] "SIZE BYTE LENGTH" "writes LENGTH bytes into a buffer of SIZE; SHORT_BUFFER if it is too small";
    hello "reverse" CMD_REVERSE [MemInout] "TEXT" "the text backwards, in capitals";
    hello "echo" CMD_ECHO [MemIn, MemOut] "TEXT SIZE" "copies the text into a buffer of SIZE";
    hello "log" CMD_LOG [MemIn] "TEXT" "a line on the secure console";
    hello "time" CMD_TIME [Out, Out] "" "seconds and milliseconds of the TEE, then of the normal world";
    hello "random" CMD_RANDOM [MemOut] "SIZE" "random bytes";
    hello "nop" CMD_NOP [] "" "nothing";
    hello "wait" CMD_WAIT [In(1)] "MILLISECONDS" "waits; ctrl-C cancels it";
    hello "mix" CMD_MIX [In(2), Out, Inout] "A B C D" "a value in, one out, one in and out: a = A + C, b = B + D; then D C";
    hello "keep" CMD_KEEP [In(1)] "BYTES" "allocates and keeps until the session closes";
    heap "alloc" CMD_ALLOC [In(1), Out] "BYTES" "allocates a block and keeps it: a = its handle";
    heap "free" CMD_FREE [In(1)] "HANDLE" "frees a block that `alloc` keeps";
    heap "leak" CMD_LEAK [In(2)] "BLOCKS BYTES" "loses BLOCKS blocks of BYTES each";
    heap "hog" CMD_HOG [In(1), Out] "BYTES" "allocates blocks until refused, frees all: a = bytes, b = blocks it had";
    heap "grow" CMD_GROW [In(1)] "BYTES" "allocates and frees one block";
    heap "stats" CMD_STATS [Out, Out, Out] "" "the TA's own view: allocated and most, size and failures, blocks and biggest failure";
    heap "bench" CMD_BENCH [In(2), In(1)] "LIVE PAIRS STRATEGY" "frees and allocates PAIRS times among LIVE blocks, as `bench heap_pair` does";
    heap "context" CMD_CONTEXT [Out] "" "a = bytes that this session holds";
    heap "free-all" CMD_FREE_ALL [] "" "frees all that `alloc` keeps";
    heap "alloc-or-die" CMD_ALLOC_OR_DIE [In(1)] "BYTES" "allocates, and ends the TA if that is refused";
    heap "double-free" CMD_DOUBLE_FREE [] "" "frees a block twice, which ends the TA";
    heap "keep" CMD_KEEP [In(2)] "PLACE BYTES" "a block with one pointer to it: PLACE 0 in a static, 1 at the end of a list, 2 into its middle";
    heap "forget" CMD_FORGET [] "" "frees what `keep` keeps";
    heap "overrun" CMD_OVERRUN [In(2), Out] "HANDLE POSITION" "writes byte POSITION of a block, also behind its end; a = 1 if there are guard bytes";
    heap "hold-and-loop" CMD_HOLD_AND_LOOP [In(1)] "BYTES" "a block whose only pointer is on the stack, then loops until killed";
    heap "align" CMD_ALIGN [In(2)] "BYTES ALIGNMENT" "allocates a block so aligned and frees it";
    heap "cache" CMD_CACHE [In(2)] "ENTRIES BYTES" "keeps a block more, until it has ENTRIES";
    heap "leak-every" CMD_LEAK_EVERY [In(2)] "CALLS BYTES" "loses a block in each CALLSth call of the session";
    heap "resize" CMD_RESIZE [In(2)] "BEFORE AFTER" "resizes a block by TEE_Realloc; fails unless what it gained is zero";
    crash "null-read" CMD_NULL_READ [] "" "reads address 0";
    crash "wild-write" CMD_WILD_WRITE [] "" "writes to an address that is not mapped";
    crash "write-code" CMD_WRITE_CODE [] "" "writes to its own code";
    crash "exec-data" CMD_EXEC_DATA [] "" "jumps to its own data";
    crash "stack-overflow" CMD_STACK_OVERFLOW [] "" "recurses until the stack ends";
    crash "divide" CMD_DIVIDE [] "" "divides by zero, a Rust panic";
    crash "undefined" CMD_UNDEFINED [] "" "executes an undefined instruction";
    crash "breakpoint" CMD_BREAKPOINT [] "" "executes a breakpoint instruction";
    crash "sve" CMD_SVE [] "" "uses a scalable vector register";
    crash "loop" CMD_LOOP [] "" "never returns; ctrl-C twice, or `teestat kill crash`, ends it";
    crash "panic" CMD_PANIC [] "" "a Rust panic with a message";
    crash "unaligned" CMD_UNALIGNED [] "" "reads and writes unaligned memory, which is allowed";
    crash "bad-syscall" CMD_BAD_SYSCALL [Out] "" "a = what the kernel says to system calls that do not exist";
    crash "bad-pointers" CMD_BAD_POINTERS [Out] "" "a = calls with pointers that are not its own, b = those not refused";
    crash "kernel-read" CMD_KERNEL_READ [] "" "reads a kernel address";
    crash "sysreg" CMD_SYSREG [] "" "reads a system register of EL1";
    crash "smc" CMD_SMC [] "" "executes an SMC";
    crash "tee-panic" CMD_TEE_PANIC [] "" "TEE_Panic with a code of its own";
    crash "panic-holding" CMD_PANIC_HOLDING [In(1)] "DEPTH" "panics DEPTH calls deep, with blocks allocated";
    crash "nop" CMD_NOP [] "" "nothing";
    crash "write-input" CMD_WRITE_INPUT [MemIn] "TEXT" "writes to a buffer that was given for reading";
    crash "scribble" CMD_SCRIBBLE [] "" "overwrites the books of its own heap";
    chain "inc" CMD_INC [Inout] "A B" "passes the value to hello's `inc`";
    chain "echo" CMD_ECHO [MemIn, MemOut] "TEXT SIZE" "passes the buffers to hello's `echo`";
    chain "stats" CMD_STATS [Out] "" "asks the stats pseudo-TA: a = bytes of the answer, b = kernel heap in use";
    chain "nest" CMD_NEST [In(1), Out] "DEPTH" "opens a session to itself, DEPTH times over: a = instances reached";
    chain "reverse" CMD_REVERSE [MemInout] "TEXT" "passes a copy to hello's `reverse`";
    chain "call" CMD_CALL [Uuid, In(1), Out] "TA COMMAND-NUMBER" "opens a session to another TA and invokes: a = result, b = origin";
    chain "short" CMD_SHORT [MemIn, MemOut] "TEXT SIZE" "asks hello's `fill` for one byte more than fits";
    chain "keep-session" CMD_KEEP_SESSION [] "" "opens a session to hello and keeps it";
    chain "pass-all" CMD_PASS_ALL [MemInout, MemInout, MemInout, MemInout] "TEXT TEXT TEXT TEXT" "passes four buffers to hello's `nop`";
    keepalive "count" CMD_COUNT [Out] "" "a = a counter after adding 1, b = sessions open";
    keepalive "hold" CMD_HOLD [In(1), Out] "BYTES" "holds a block of BYTES in place of the last one (0: none)";
    keepalive "held" CMD_HELD [Out] "" "a = bytes held, b = 1 if they are intact";
    keepalive "panic" CMD_PANIC [] "" "panics, which ends the instance";
    keepalive "lives" CMD_LIVES [Out] "" "a = times created, b = sessions ever opened";
    solo "nop" CMD_NOP [] "" "nothing";
    solo "wait" CMD_WAIT [In(1)] "MILLISECONDS" "waits; ctrl-C cancels it";
    solo "spin-until-cancelled" CMD_SPIN_UNTIL_CANCELLED [] "" "computes until ctrl-C cancels it";
    solo "spin" CMD_SPIN [In(1), Out] "MILLISECONDS" "computes for that long: a = milliseconds that passed";
    glutton "nop" CMD_NOP [] "" "nothing";
    glutton "eat" CMD_EAT [In(1), Out] "BYTES" "allocates blocks until refused, and keeps them: a = bytes, b = blocks";
    glutton "spit" CMD_SPIT [] "" "frees them";
    glutton "reserve" CMD_RESERVE [In(2), Out] "LOW HIGH" "reserves a heap of so many bytes, in two words: a = result";
    glutton "grow" CMD_GROW [In(2), Out] "LOW HIGH" "grows the heap to so many bytes, in two words: a = result";
    glutton "forge" CMD_FORGE [In(2), Out] "SITES FRAMES" "writes books with so many call sites over its heap's, and is refused: a = result";
    drm "switch" CMD_SWITCH [In(2), Out] "COUNT ORDER" "opens a channel, maps a buffer, unmaps, closes, COUNT times; ORDER 0: so, 1: closes first, 2: in turn";
    drm "hold" CMD_HOLD [In(1)] "BYTES" "opens a channel, maps a buffer, and keeps both until the session closes";
    storage "open" CMD_OPEN [MemIn, In(1), Out] "ID FLAGS" "opens an object, FLAGS 1: read, 2: write, 4: rename and delete: a = its handle";
    storage "create" CMD_CREATE [MemIn, In(2), Out] "ID FLAGS BYTES" "makes an object of BYTES, FLAGS as above: a = its handle";
    storage "close" CMD_CLOSE [In(1)] "HANDLE" "closes an object";
    storage "delete" CMD_DELETE [In(1)] "HANDLE" "deletes an object";
    storage "rename" CMD_RENAME [MemIn, In(1)] "ID HANDLE" "gives an object another id";
    storage "read" CMD_READ [In(1), MemOut] "HANDLE SIZE" "reads from the handle's position on";
    storage "write" CMD_WRITE [In(1), MemIn] "HANDLE TEXT" "writes from the handle's position on";
    storage "truncate" CMD_TRUNCATE [In(2)] "HANDLE BYTES" "makes an object so long";
    storage "seek" CMD_SEEK [In(2), In(1)] "HANDLE OFFSET WHENCE" "moves the position; WHENCE 0: from the start, 1: on, 2: from the end";
    storage "info" CMD_INFO [In(1), Out, Out] "HANDLE" "bytes and position, then type and bits of the key";
    storage "list" CMD_LIST [MemOut, Out] "SIZE" "ids, each behind its length: a = how many";
    storage "fill" CMD_FILL [In(2), In(1)] "HANDLE BYTES SEED" "writes BYTES of a pattern";
    storage "check" CMD_CHECK [In(2), In(1), Out] "HANDLE BYTES SEED" "reads them: a = bytes that are right";
    storage "put-key" CMD_PUT_KEY [MemIn, MemIn] "ID KEY" "keeps an AES key of 32 bytes";
    storage "get-key" CMD_GET_KEY [In(1), MemOut] "HANDLE SIZE" "the key's bytes";
    storage "many" CMD_MANY [In(2), Out] "COUNT BYTES" "makes COUNT objects of BYTES each: a = how many it made";
    storage "remove-all" CMD_REMOVE_ALL [Out] "" "deletes all objects: a = how many";
    storage "enumerators" CMD_ENUMERATORS [In(1), Out] "COUNT" "makes enumerators and keeps them: a = how many it keeps";
    storage "forget" CMD_FORGET [] "" "forgets what it keeps, which stays open";
    storage "panic" CMD_PANIC [] "" "panics with what it keeps";
}

pub(super) const TAS: [(&str, TeeUuid); 10] = [
    ("hello", hello::UUID),
    ("heap", heap::UUID),
    ("crash", crash::UUID),
    ("chain", chain::UUID),
    ("keepalive", keepalive::UUID),
    ("solo", solo::UUID),
    ("stillborn", stillborn::UUID),
    ("glutton", glutton::UUID),
    ("drm", drm::UUID),
    ("storage", storage::UUID),
];
