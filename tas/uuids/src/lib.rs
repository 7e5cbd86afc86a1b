//! UUIDs and command numbers of the sample and test TAs.
//!
//! **Invariant:** a command's comment gives its four parameters; any other types get
//! `BAD_PARAMETERS`, an unknown command `NOT_SUPPORTED`. "none" parameters are left out.
#![no_std]
#![forbid(unsafe_code)]

use tally_abi::TeeUuid;

/// Values, memory references, time, random bytes. Multi-instance, 32 KiB heap.
pub mod hello {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0001_4c6e_8d01_5ec0de000001);

    /// `(value inout)`: `a + 1`, `b + 2`, wrapping.
    pub const CMD_INC: u32 = 0;
    /// `(memref in, value out)`: `a` = sum of the bytes (wrapping), `b` = their number.
    pub const CMD_CHECKSUM: u32 = 1;
    /// `(memref out, value in: a = byte, b = length)`: writes `b` bytes `a`. Too small a buffer
    /// gets `SHORT_BUFFER` and size `b`.
    pub const CMD_FILL: u32 = 2;
    /// `(memref inout)`: reverses the bytes and turns ASCII letters to upper case.
    pub const CMD_REVERSE: u32 = 3;
    /// `(memref in, memref out)`: copies; `SHORT_BUFFER` and the size needed if too small.
    pub const CMD_ECHO: u32 = 4;
    /// `(memref in: UTF-8)`: a line on the secure console, `I/TA: hello: <text>`.
    /// `BAD_FORMAT` when it is not UTF-8.
    pub const CMD_LOG: u32 = 5;
    /// `(value out: system seconds, ms; value out: REE seconds, ms)`.
    pub const CMD_TIME: u32 = 6;
    /// `(memref out)`: fills the buffer with random bytes.
    pub const CMD_RANDOM: u32 = 7;
    /// `()`: nothing; for measuring.
    pub const CMD_NOP: u32 = 8;
    /// `(value in: a = access flags, b = [`place`]; value out: a = result code)`: asks the kernel
    /// about 16 bytes at a place. [`place::PARAM`] takes a third parameter, a memref of any
    /// direction, and asks about all of it.
    pub const CMD_CHECK_ACCESS: u32 = 9;
    /// `(value in: a = ms)`: waits; `CANCEL` when cancelled.
    pub const CMD_WAIT: u32 = 10;
    /// `(value in x, value out, value inout y, memref in or none)`: out = `(x.a + y.a, x.b + y.b)`,
    /// y = `(y.b, y.a)`.
    pub const CMD_MIX: u32 = 11;
    /// `(value in: a = bytes)`: allocates and keeps them until the session closes.
    pub const CMD_KEEP: u32 = 12;

    /// Places that [`CMD_CHECK_ACCESS`] asks about.
    pub mod place {
        /// Address 0: `ACCESS_DENIED`.
        pub const NULL: u32 = 0;
        /// The TA's stack: readable, writable.
        pub const STACK: u32 = 1;
        /// The TA's code: readable, not writable.
        pub const CODE: u32 = 2;
        /// A kernel address: `ACCESS_DENIED`.
        pub const KERNEL: u32 = 3;
        /// A range that wraps around: `ACCESS_DENIED`.
        pub const WRAPS: u32 = 4;
        /// The third parameter's buffer.
        pub const PARAM: u32 = 5;
    }
}

/// Everything a heap can do. Single instance, multi session, 8 MiB heap.
pub mod heap {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0002_4c6e_8d01_5ec0de000002);

    /// Most blocks that a session holds through [`CMD_ALLOC`].
    pub const MAX_HANDLES: u32 = 64;

    /// `(value in: a = bytes, value out: a = handle)`: allocates; `OUT_OF_MEMORY`.
    pub const CMD_ALLOC: u32 = 0;
    /// `(value in: a = handle)`: frees; `ITEM_NOT_FOUND`.
    pub const CMD_FREE: u32 = 1;
    /// `(value in: a = blocks, b = bytes each)`: loses them, in the function
    /// [`LEAK_FUNCTION`]. `OUT_OF_MEMORY` keeps what it lost so far.
    pub const CMD_LEAK: u32 = 2;
    /// `(value in: a = bytes of each block, value out: a = bytes, b = blocks)`: allocates until
    /// refused, frees all again, and says how far it got. Succeeds.
    pub const CMD_HOG: u32 = 3;
    /// `(value in: a = bytes)`: allocates, touches and frees one block of that size.
    pub const CMD_GROW: u32 = 4;
    /// `(value out: a = allocated, b = max; value out: a = size, b = failures; value out:
    /// a = live blocks, b = biggest failure)`: the TA's own view of its pool.
    pub const CMD_STATS: u32 = 5;
    /// `(value in: a = live blocks (at most 10000), b = pairs; value in: a = [`strategy`])`:
    /// fills the heap with blocks of 16 to 4096 bytes, then frees and allocates one of them
    /// `b` times between `hint #100` and `hint #101`, then frees all. An equal loop without the
    /// heap runs between `hint #102` and `hint #103`, to be subtracted.
    pub const CMD_BENCH: u32 = 6;
    /// `(value out: a = bytes held by this session's context)`.
    pub const CMD_CONTEXT: u32 = 7;
    /// `()`: frees all that the session holds through [`CMD_ALLOC`].
    pub const CMD_FREE_ALL: u32 = 8;
    /// `(value in: a = bytes)`: an allocation that cannot report failure: ends the TA when it
    /// does not fit (`TARGET_DEAD`).
    pub const CMD_ALLOC_OR_DIE: u32 = 9;
    /// `()`: allocates, frees the block twice: ends the TA (`TARGET_DEAD`).
    pub const CMD_DOUBLE_FREE: u32 = 10;

    /// `(value in: a = [`keep`], b = bytes)`: allocates a block and keeps one pointer to it, in
    /// place of the one that was kept there before. `OUT_OF_MEMORY`.
    pub const CMD_KEEP: u32 = 20;
    /// `()`: frees all that [`CMD_KEEP`] keeps.
    pub const CMD_FORGET: u32 = 21;
    /// `(value in: a = bytes)`: allocates a block, keeps the pointer to it on the stack, overwrites
    /// what earlier calls have left on the stack below, and never returns; must be killed.
    pub const CMD_HOLD_AND_LOOP: u32 = 22;

    /// `(value in: a = handle, b = position, value out: a = 1 if this build's blocks have guard
    /// bytes)`: writes one byte at that position of a block, which may lie behind its end but not
    /// behind its last 16 bytes. `ITEM_NOT_FOUND`, `BAD_PARAMETERS`.
    pub const CMD_OVERRUN: u32 = 23;

    /// `(value in: a = bytes before, b = bytes after)`: resizes a block of `TEE_Malloc` whose every byte is written,
    /// where others were before. `BAD_STATE` if it lost its contents, `GENERIC` if what it gained is not zero.
    pub const CMD_RESIZE: u32 = 24;
    /// `(value in: a = bytes, b = alignment)`: allocates a block and frees it. `OUT_OF_MEMORY` if there is none,
    /// `BAD_STATE` if it is not aligned so.
    pub const CMD_ALIGN: u32 = 25;

    /// `(value in: a = entries, b = bytes each)`: adds an entry to the session's cache, unless it has that many.
    /// `OUT_OF_MEMORY`.
    pub const CMD_CACHE: u32 = 26;
    /// `(value in: a = calls, b = bytes)`: loses a block in each `a`th call of the session, in the function
    /// [`LEAK_FUNCTION`]. `BAD_PARAMETERS` for 0 calls, `OUT_OF_MEMORY`.
    pub const CMD_LEAK_EVERY: u32 = 27;

    /// Where [`CMD_KEEP`] keeps the pointer.
    pub mod keep {
        /// In a static variable.
        pub const STATIC: u32 = 0;
        /// In the last of three nodes of a list, whose first a static variable points to.
        pub const LIST: u32 = 1;
        /// In a static variable, but to the block's middle.
        pub const INSIDE: u32 = 2;
    }

    /// The function that [`CMD_LEAK`]'s call stacks name.
    pub const LEAK_FUNCTION: &str = "leak_in_this_function";

    /// Which allocator [`CMD_BENCH`] measures.
    pub mod strategy {
        /// The TA's heap as built.
        pub const DEFAULT: u32 = 0;
        /// First fit on `linked_list_allocator`.
        pub const FIRST_FIT: u32 = 1;
        /// As the heap, without accounts, maxima and call sites.
        pub const UNTRACKED: u32 = 2;
        /// As the heap, with call sites of one frame.
        pub const DEPTH_1: u32 = 3;
        /// As the heap, with call sites of four frames.
        pub const DEPTH_4: u32 = 4;
        /// As the heap, with call sites of eight frames.
        pub const DEPTH_8: u32 = 5;
        /// As the heap, with the pool's figures alone.
        pub const ACCOUNTS: u32 = 6;
        /// As the heap, with the pool's figures and each block's return address.
        pub const LIGHT: u32 = 7;
    }
}

/// Crashes in every way. Multi-instance, 32 KiB heap.
pub mod crash {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0003_4c6e_8d01_5ec0de000003);

    /// `()`: reads address 0. `TARGET_DEAD`, as all up to [`CMD_PANIC`] but the loop.
    pub const CMD_NULL_READ: u32 = 0;
    /// `()`: writes to an unmapped address.
    pub const CMD_WILD_WRITE: u32 = 1;
    /// `()`: writes to its own code.
    pub const CMD_WRITE_CODE: u32 = 2;
    /// `()`: jumps to its own data.
    pub const CMD_EXEC_DATA: u32 = 3;
    /// `()`: recurses until the stack ends.
    pub const CMD_STACK_OVERFLOW: u32 = 4;
    /// `()`: divides by zero (a Rust panic: the instruction itself does not trap).
    pub const CMD_DIVIDE: u32 = 5;
    /// `()`: an undefined instruction.
    pub const CMD_UNDEFINED: u32 = 6;
    /// `()`: a breakpoint instruction.
    pub const CMD_BREAKPOINT: u32 = 7;
    /// `()`: never returns; must be killed or cancelled from outside.
    pub const CMD_LOOP: u32 = 8;
    /// `()`: a Rust panic with a message.
    pub const CMD_PANIC: u32 = 9;
    /// `()`: reads and writes unaligned memory, which is allowed: succeeds.
    pub const CMD_UNALIGNED: u32 = 10;
    /// `(value out: a = result)`: system calls that do not exist; `a` = what the kernel said
    /// (`NOT_SUPPORTED` or `NOT_IMPLEMENTED`). `GENERIC` when they disagree. Succeeds.
    pub const CMD_BAD_SYSCALL: u32 = 11;
    /// `(value out: a = calls made, b = calls not refused)`: system calls with null, kernel and
    /// wrapping pointers; each must get an error code. Succeeds; `b` must be 0.
    pub const CMD_BAD_POINTERS: u32 = 12;
    /// `()`: reads a kernel address.
    pub const CMD_KERNEL_READ: u32 = 13;
    /// `()`: reads an EL1 system register.
    pub const CMD_SYSREG: u32 = 14;
    /// `()`: an `hvc`/`smc` instruction.
    pub const CMD_SMC: u32 = 15;
    /// `()`: `TEE_Panic` with a code of its own.
    pub const CMD_TEE_PANIC: u32 = 16;
    /// `(value in: a = depth)`: panics `a` calls deep, with blocks allocated.
    pub const CMD_PANIC_HOLDING: u32 = 17;
    /// `()`: nothing.
    pub const CMD_NOP: u32 = 18;
    /// `(memref in)`: writes to a buffer given for reading. `TARGET_DEAD` when the kernel maps
    /// it read-only (a temporary copy in the TA otherwise).
    pub const CMD_WRITE_INPUT: u32 = 19;
    /// `()`: overwrites the books of its own heap. Succeeds; what it does with its heap afterwards ends it.
    pub const CMD_SCRIBBLE: u32 = 20;
    /// `()`: reads the cycle counter. `TARGET_DEAD`.
    pub const CMD_READ_CYCLES: u32 = 21;
    /// `()`: writes to the cycle counter. `TARGET_DEAD`.
    pub const CMD_WRITE_CYCLES: u32 = 22;
    /// `()`: chooses an event counter. `TARGET_DEAD`.
    pub const CMD_CHOOSE_COUNTER: u32 = 23;
    /// `()`: signs a value with the key for data (`pacga`). `TARGET_DEAD`.
    pub const CMD_SIGN: u32 = 24;
    /// `()`: reads the number of its software context. `TARGET_DEAD`.
    pub const CMD_READ_CONTEXT: u32 = 25;
    /// `()`: needs [`BIG_FRAME`] bytes of stack at once. `TARGET_DEAD`.
    pub const CMD_BIG_FRAME: u32 = 26;
    /// `()`: has [`ZEROED`] bytes on its stack, all zero. Succeeds.
    pub const CMD_ZEROED: u32 = 27;
    /// `()`: uses a scalable vector register. `TARGET_DEAD`.
    pub const CMD_SVE: u32 = 28;

    /// Far more than its stack.
    pub const BIG_FRAME: usize = 584 << 10;
    /// More than half of its stack.
    pub const ZEROED: usize = 9 << 10;

    /// Sessions are opened with `()` or `(value in: a = [`on_open`])`.
    pub mod on_open {
        /// Nothing special.
        pub const FINE: u32 = 0;
        /// Refuses with `ACCESS_DENIED`.
        pub const REFUSE: u32 = 1;
        /// Panics in the open session entry.
        pub const PANIC: u32 = 2;
        /// Loops for ever in the open session entry.
        pub const LOOP: u32 = 3;
    }
}

/// Fails in its create entry. Multi-instance.
pub mod stillborn {
    use super::TeeUuid;

    /// Tally's own. Every session gets `TARGET_DEAD`: its create entry panics.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0007_4c6e_8d01_5ec0de000007);
}

/// Calls other TAs. Multi-instance, 32 KiB heap.
pub mod chain {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0004_4c6e_8d01_5ec0de000004);

    /// Deepest [`CMD_NEST`].
    pub const MAX_DEPTH: u32 = 15;

    /// `(value inout)`: passes it to hello's `CMD_INC`.
    pub const CMD_INC: u32 = 0;
    /// `(memref in, memref out)`: passes the client's buffers to hello's `CMD_ECHO`.
    pub const CMD_ECHO: u32 = 1;
    /// `(value out: a = bytes, b = kernel heap allocated)`: asks the stats pTA for the kernel
    /// heap (`a` = size of the answer).
    pub const CMD_STATS: u32 = 2;
    /// `(value in: a = depth, value out: a = instances reached)`: opens a session to itself,
    /// `depth` times over. `BAD_PARAMETERS` above [`MAX_DEPTH`].
    pub const CMD_NEST: u32 = 3;
    /// `(memref inout)`: passes a buffer on its own heap (a copy) to hello's `CMD_REVERSE`.
    pub const CMD_REVERSE: u32 = 4;
    /// `(memref in: UUID bytes, value in: a = command; value out: a = result, b = origin)`: opens
    /// a session to that TA and invokes the command without parameters. Succeeds whatever the
    /// other TA answers.
    pub const CMD_CALL: u32 = 5;
    /// `(memref in, memref out)`: asks hello's `CMD_FILL` for one byte more than fits:
    /// `SHORT_BUFFER`, size passed on.
    pub const CMD_SHORT: u32 = 6;
    /// `()`: opens a session to hello and keeps it; it must end with this instance.
    pub const CMD_KEEP_SESSION: u32 = 7;
    /// `(memref inout x 4)`: passes the client's buffers to hello's `CMD_NOP`.
    pub const CMD_PASS_ALL: u32 = 8;
    /// `(value in: a = seed, b = ms; value in: a = depth; value out: a = floating-point registers that were not zero at
    /// first, b = that changed)`: gives each a value of the seed's, keeps them for so long, and meanwhile has another
    /// instance do the same with another seed, `depth` times over. Of all of them.
    pub const CMD_VECTORS: u32 = 9;
    /// As [`CMD_VECTORS`] without parameters, seed 1, and then reads address 0.
    pub const CMD_VECTORS_CRASH: u32 = 10;
}

/// Survives its sessions. Single instance, multi session, keep-alive, 32 KiB heap.
pub mod keepalive {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0005_4c6e_8d01_5ec0de000005);

    /// `(value out: a = counter after adding 1, b = sessions open now)`.
    pub const CMD_COUNT: u32 = 0;
    /// `(value in: a = bytes, value out: a = bytes held)`: replaces the block that the instance
    /// holds by one of `a` bytes (0: none).
    pub const CMD_HOLD: u32 = 1;
    /// `(value out: a = bytes held, b = 1 if its contents are intact)`.
    pub const CMD_HELD: u32 = 2;
    /// `()`: panics, which ends the instance.
    pub const CMD_PANIC: u32 = 3;
    /// `(value out: a = times created, b = sessions ever opened)`.
    pub const CMD_LIVES: u32 = 4;
}

/// One session at a time. Single instance, no multi session, 32 KiB heap.
pub mod solo {
    use super::TeeUuid;

    /// Tally's own. A second session gets `BUSY` while one is open.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0006_4c6e_8d01_5ec0de000006);

    /// `()`: nothing.
    pub const CMD_NOP: u32 = 0;
    /// `(value in: a = ms)`: waits; `CANCEL` when cancelled.
    pub const CMD_WAIT: u32 = 1;
    /// `()`: spins until the cancellation flag is set, then returns `CANCEL`.
    pub const CMD_SPIN_UNTIL_CANCELLED: u32 = 2;
    /// `(value in: a = ms, value out: a = ms that passed)`: computes for that long, unmasked.
    pub const CMD_SPIN: u32 = 3;
}

/// Takes all the memory it can get. Multi-instance; its heap may grow beyond what the kernel lets
/// one TA have.
pub mod glutton {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0008_4c6e_8d01_5ec0de000008);

    /// Heap that it declares: with code, stack and tables above the quota of 2560 pages.
    pub const HEAP_BYTES: u32 = 9 << 20 | 896 << 10;

    /// `()`: nothing.
    pub const CMD_NOP: u32 = 0;
    /// `(value in: a = bytes of each block, value out: a = bytes held, b = blocks)`: allocates
    /// and touches blocks until refused, and keeps them. Succeeds.
    pub const CMD_EAT: u32 = 1;
    /// `()`: frees all.
    pub const CMD_SPIT: u32 = 2;
    /// `(value in: a = low, b = high word of bytes; value out: a = result)`: the system call
    /// that reserves a heap.
    pub const CMD_RESERVE: u32 = 3;
    /// As above, the one that grows the heap, which tells no size of an allocation.
    pub const CMD_GROW: u32 = 4;
    /// `(value in: a = call sites, b = frames of each; value out: a = result)`: writes books with so many call sites over
    /// those of its own heap, and has an allocation refused. What it does with its heap afterwards ends it.
    pub const CMD_FORGE: u32 = 5;
}

/// Plays protected streams: maps a decoder's buffers through the pseudo-TA `vdec`. Multi-instance,
/// 32 KiB heap.
pub mod drm {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_0009_4c6e_8d01_5ec0de000009);

    /// `(value in: a = switches, b = [`order`]; value out: a = switches, b = unmappings refused)`:
    /// opens a channel, maps a buffer of [`BUFFER_BYTES`], unmaps it, closes the channel, so many
    /// times.
    pub const CMD_SWITCH: u32 = 0;
    /// `(value in: a = bytes)`: opens a channel and maps a buffer, and keeps both until the
    /// session closes.
    pub const CMD_HOLD: u32 = 1;

    /// Bytes of a buffer of [`CMD_SWITCH`].
    pub const BUFFER_BYTES: u32 = 4096;

    /// In which order [`CMD_SWITCH`] ends a switch.
    pub mod order {
        /// Unmaps, then closes.
        pub const RIGHT: u32 = 0;
        /// Closes, then unmaps.
        pub const WRONG: u32 = 1;
        /// The right and the wrong order in turn, beginning with the right one.
        pub const ALTERNATE: u32 = 2;
    }
}

/// Does anything, by a seed: system calls with any argument, any nesting, forged books. Multi-instance.
pub mod hostile {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_000a_4c6e_8d01_5ec0de00000a);

    /// `(value in: a = seed, b = calls, memref inout of a page or none)`: so many calls, each counted at the start of
    /// the page before it is made.
    pub const CMD_RUN: u32 = 0;

    /// What hostile TAs and clients draw from, by a seed: xorshift64*.
    #[derive(Debug)]
    pub struct Random(u64);

    impl Random {
        /// All that it gives follows from the seed.
        #[must_use]
        pub const fn new(seed: u64) -> Self {
            Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
        }

        /// Any number.
        pub const fn any(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
        }

        /// A number below `n`, or 0.
        pub fn below(&mut self, n: u64) -> u64 {
            // The high bits are the good ones.
            (self.any() >> 16) % n.max(1)
        }

        /// The place of one of `n` things.
        pub fn index(&mut self, n: usize) -> usize {
            self.below(n as u64) as usize
        }

        /// True once in `n` times.
        pub fn once_in(&mut self, n: u64) -> bool {
            self.below(n) == 0
        }

        /// One of these.
        pub fn pick<T: Copy>(&mut self, from: &[T], otherwise: T) -> T {
            let at = self.index(from.len());
            from.get(at).copied().unwrap_or(otherwise)
        }
    }
}

/// As [`hostile`], one instance for all sessions.
pub mod hub {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_000b_4c6e_8d01_5ec0de00000b);
}

/// Trusted storage. Multi-instance, 64 KiB heap.
pub mod storage {
    use super::TeeUuid;

    /// Tally's own.
    pub const UUID: TeeUuid = TeeUuid::from_u128(0x7a11e110_000c_4c6e_8d01_5ec0de00000c);

    /// Most bytes of an object's id.
    pub const MAX_ID: usize = 64;
    /// Bytes of a key.
    pub const KEY: usize = 32;
    /// How ids of [`CMD_MANY`] begin; a number follows.
    pub const MANY: &str = "many-";

    /// `(memref in: id, value in: a = flags, value out: a = handle)`: opens an object and keeps the handle until the
    /// session closes. Errors are the system call's, here and in what follows; `BAD_STATE` for a handle that is none.
    pub const CMD_OPEN: u32 = 0;
    /// `(memref in: id, value in: a = flags, b = bytes, value out: a = handle)`: makes an object of so many bytes of
    /// [`pattern`] 0, and keeps the handle.
    pub const CMD_CREATE: u32 = 1;
    /// `(value in: a = handle)`.
    pub const CMD_CLOSE: u32 = 2;
    /// `(value in: a = handle)`: deletes the object; the handle is gone, whatever comes of that.
    pub const CMD_DELETE: u32 = 3;
    /// `(memref in: new id, value in: a = handle)`.
    pub const CMD_RENAME: u32 = 4;
    /// `(value in: a = handle, memref out)`: reads from the handle's position on; the size is what was read.
    pub const CMD_READ: u32 = 5;
    /// `(value in: a = handle, memref in)`.
    pub const CMD_WRITE: u32 = 6;
    /// `(value in: a = handle, b = bytes)`.
    pub const CMD_TRUNCATE: u32 = 7;
    /// `(value in: a = handle, b = offset, signed; value in: a = whence)`.
    pub const CMD_SEEK: u32 = 8;
    /// `(value in: a = handle; value out: a = bytes of data, b = position; value out: a = type, b = bits of the key)`.
    pub const CMD_INFO: u32 = 9;
    /// `(memref out, value out: a = objects)`: the ids of all, each behind a byte with its length. `SHORT_BUFFER`.
    pub const CMD_LIST: u32 = 10;
    /// `(value in: a = handle, b = bytes; value in: a = seed)`: writes so many bytes of [`pattern`] by and by.
    pub const CMD_FILL: u32 = 11;
    /// `(value in: a = handle, b = bytes; value in: a = seed; value out: a = bytes that are right)`: reads them.
    pub const CMD_CHECK: u32 = 12;
    /// `(memref in: id, memref in: [`KEY`] bytes)`: keeps an AES key, in place of an object that is there.
    pub const CMD_PUT_KEY: u32 = 13;
    /// `(value in: a = handle, memref out)`: the key's bytes.
    pub const CMD_GET_KEY: u32 = 14;
    /// `(value in: a = objects, b = bytes of each; value out: a = objects made)`.
    pub const CMD_MANY: u32 = 15;
    /// `(value out: a = objects)`: deletes all.
    pub const CMD_REMOVE_ALL: u32 = 16;
    /// `(value in: a = enumerators; value out: a = enumerators kept)`: makes so many and keeps them until the session closes.
    pub const CMD_ENUMERATORS: u32 = 17;
    /// `()`: forgets all that the session keeps: the kernel has it until the instance ends.
    pub const CMD_FORGET: u32 = 18;
    /// `()`: panics, with all that it keeps. `TARGET_DEAD`.
    pub const CMD_PANIC: u32 = 19;

    /// The byte at `at` of the pattern of `seed`.
    #[must_use]
    pub const fn pattern(seed: u32, at: usize) -> u8 {
        let mixed = (at as u32).wrapping_mul(0x9e37_79b1) ^ seed.wrapping_mul(0x85eb_ca77);
        (mixed >> 13) as u8
    }
}

/// Signed images with one fault each, made from hello's by xtask.
pub mod bad {
    use super::TeeUuid;

    const fn uuid(n: u128) -> TeeUuid {
        TeeUuid::from_u128(0x7a11e110_00bd_4c6e_8d01_5ec0de000000 + n)
    }

    /// Nothing: loads, and does what hello does.
    pub const CONTROL: TeeUuid = uuid(0);
    /// Data where code is.
    pub const OVERLAP: TeeUuid = uuid(1);
    /// Code begins in a page of constants.
    pub const SHARED_PAGE: TeeUuid = uuid(2);
    /// Data of 1 TiB.
    pub const HUGE: TeeUuid = uuid(3);
    /// Data of 20 MiB: well-formed, but more than a TA may have.
    pub const ABOVE_QUOTA: TeeUuid = uuid(4);
    /// Code that is writable.
    pub const WRITE_EXEC: TeeUuid = uuid(5);
    /// The entry point lies in data.
    pub const ENTRY: TeeUuid = uuid(6);
    /// The TA's head names another TA.
    pub const OTHER_UUID: TeeUuid = uuid(7);
    /// Data that the file does not have.
    pub const BEYOND_FILE: TeeUuid = uuid(8);
    /// A relocation outside of the image.
    pub const RELOCATION_OUTSIDE: TeeUuid = uuid(9);
    /// A relocation of code.
    pub const RELOCATION_IN_CODE: TeeUuid = uuid(10);
    /// A relocation of an unknown kind.
    pub const RELOCATION_KIND: TeeUuid = uuid(11);
    /// Needs a shared library.
    pub const NEEDS_LIBRARY: TeeUuid = uuid(12);
    /// Needs a program interpreter.
    pub const NEEDS_INTERPRETER: TeeUuid = uuid(13);
    /// Needs thread-local storage.
    pub const NEEDS_TLS: TeeUuid = uuid(14);
    /// For another processor.
    pub const MACHINE: TeeUuid = uuid(15);
    /// Not position-independent.
    pub const NOT_PIE: TeeUuid = uuid(16);
    /// A stack of no bytes.
    pub const NO_STACK: TeeUuid = uuid(17);
    /// A stack of 4 GiB.
    pub const HUGE_STACK: TeeUuid = uuid(18);
}
