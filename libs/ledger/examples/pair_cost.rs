//! What a malloc and free pair costs, in instructions, with all accounting on.
//!
//! Bare metal, for QEMU with `-icount shift=0`, where the 62.5 MHz counter advances one tick every
//! 16 instructions:
//!
//! ```text
//! cargo build -p tally-ledger --release --target aarch64-unknown-none-softfloat --example pair_cost
//! qemu-system-aarch64 -M virt -cpu max -m 256 -icount shift=0 -nographic -semihosting -kernel ...
//! ```
//!
//! Instructions a pair, segregated, four frames, accounts of owners summed when asked for (kept):
//!
//! | live blocks | 1        | 10       | 100      | 1,000     | 10,000    |
//! |-------------|----------|----------|----------|-----------|-----------|
//! | pair        | 96 (119) | 96 (119) | 99 (121) | 104 (127) | 104 (127) |
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    println!("runs under QEMU: see the head of this file");
}

#[cfg(target_os = "none")]
mod bare {
    use core::alloc::Layout;
    use core::fmt::{self, Write};
    use core::hint::black_box;
    use core::ptr::NonNull;

    use tally_ledger::{Caller, Config, Origin, OwnerId, Pool, StackBounds, Strategy, Walkable};

    core::arch::global_asm!(
        ".section .text.start, \"ax\"",
        ".global _start",
        "_start:",
        "ldr x0, =__stack_hi",
        "mov sp, x0",
        "mov x29, #0",
        "mov x30, #0",
        "bl {main}",
        "1: b 1b",
        main = sym main,
    );

    const WINDOW: usize = 0x4400_0000;
    const WINDOW_BYTES: usize = 31 << 20;
    const MOST: usize = 10_000;
    /// A power of two, so that the measured loop need not divide.
    const STEPS: usize = 1 << 14;

    static mut BLOCKS: [Option<NonNull<u8>>; MOST] = [None; MOST];
    static mut PLAN: [(u16, u16); STEPS] = [(0, 0); STEPS];

    struct Console;

    fn semihost(op: usize, arg: usize) {
        // SAFETY: a semihosting call; operands are valid for the operations used here.
        unsafe { core::arch::asm!("hlt #0xf000", inout("x0") op => _, in("x1") arg) };
    }

    impl Write for Console {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for byte in text.bytes() {
                semihost(3, core::ptr::from_ref(&byte).expose_provenance());
            }
            Ok(())
        }
    }

    fn exit(code: usize) -> ! {
        let block = [0x20026usize, code];
        semihost(0x18, core::ptr::from_ref(&block).expose_provenance());
        loop {
            core::hint::spin_loop();
        }
    }

    fn ticks() -> u64 {
        let now: u64;
        // SAFETY: reads the virtual counter.
        unsafe { core::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) now) };
        now
    }

    struct Random(u64);

    impl Random {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
        }

        /// 16 bytes to 4 KiB, half as likely with each doubling, as the heap test TA does.
        fn size(&mut self) -> usize {
            let from = 16 << self.next().trailing_zeros().min(7);
            from + self.next() as usize % from
        }
    }

    #[repr(C)]
    struct Heap {
        stack: Walkable,
        pool: Pool,
    }

    #[inline(never)]
    fn malloc<const DEPTH: usize, const ACCOUNTS: bool>(
        heap: &mut Heap,
        size: usize,
    ) -> Option<NonNull<u8>> {
        // SAFETY: what runs in the guest is compiled with frame pointers.
        let caller = unsafe { Caller::capture(DEPTH, heap.stack) };
        // SAFETY: 16 is a power of two, and sizes are small.
        let layout = unsafe { Layout::from_size_align_unchecked(size, 16) };
        match heap.pool.alloc_known::<ACCOUNTS>(layout, &caller) {
            Some(block) => Some(block),
            None => malloc_slowly::<DEPTH, ACCOUNTS>(heap, layout, caller.origin()),
        }
    }

    #[inline(never)]
    fn malloc_slowly<const DEPTH: usize, const ACCOUNTS: bool>(
        heap: &mut Heap,
        layout: Layout,
        origin: Origin,
    ) -> Option<NonNull<u8>> {
        let stack = origin.stack(DEPTH, heap.stack);
        heap.pool.try_alloc(layout, OwnerId(3), &stack)
    }

    #[inline(never)]
    fn free<const ACCOUNTS: bool>(heap: &mut Heap, ptr: NonNull<u8>) {
        // SAFETY: the loop forgets the block.
        if !unsafe { heap.pool.free_known::<ACCOUNTS>(ptr) } {
            free_slowly(heap, ptr);
        }
    }

    #[inline(never)]
    fn free_slowly(heap: &mut Heap, ptr: NonNull<u8>) {
        // SAFETY: the loop forgets the block.
        if unsafe { heap.pool.free(ptr) }.is_err() {
            exit(2);
        }
    }

    #[inline(never)]
    fn nothing(_: &mut Heap, size: usize) -> Option<NonNull<u8>> {
        NonNull::new(black_box(size as *mut u8))
    }

    #[inline(never)]
    fn nothing_freed(_: &mut Heap, ptr: NonNull<u8>) {
        black_box(ptr);
    }

    #[inline(never)]
    fn run(
        heap: &mut Heap,
        blocks: &mut [Option<NonNull<u8>>],
        plan: &[(u16, u16)],
        get: fn(&mut Heap, usize) -> Option<NonNull<u8>>,
        put: fn(&mut Heap, NonNull<u8>),
    ) -> u64 {
        let start = ticks();
        for &(at, size) in plan {
            if let Some(block) = blocks.get_mut(at as usize) {
                if let Some(ptr) = block.take() {
                    put(heap, ptr);
                }
                *block = get(heap, size as usize);
            }
        }
        ticks() - start
    }

    /// Puts frames under the measured loop.
    #[inline(never)]
    fn deeper<const DEPTH: usize, const ACCOUNTS: bool>(
        frames: usize,
        heap: &mut Heap,
        live: usize,
        plan: &[(u16, u16)],
        idle: bool,
    ) -> u64 {
        if frames > 0 {
            return black_box(deeper::<DEPTH, ACCOUNTS>(
                frames - 1,
                heap,
                live,
                plan,
                idle,
            ));
        }
        // SAFETY: one CPU, and nobody else uses it.
        let blocks = unsafe { &mut BLOCKS[..live] };
        if idle {
            run(heap, blocks, plan, nothing, nothing_freed)
        } else {
            run(
                heap,
                blocks,
                plan,
                malloc::<DEPTH, ACCOUNTS>,
                free::<ACCOUNTS>,
            )
        }
    }

    fn measure<const DEPTH: usize, const ACCOUNTS: bool>(
        strategy: Strategy,
        live: usize,
        steps: usize,
    ) -> Option<u64> {
        unsafe extern "C" {
            static __stack_lo: u8;
            static __stack_hi: u8;
        }
        let bounds = StackBounds {
            lo: (&raw const __stack_lo).expose_provenance(),
            hi: (&raw const __stack_hi).expose_provenance(),
        };
        let base = NonNull::new(core::ptr::with_exposed_provenance_mut::<u8>(WINDOW))?;
        let cfg = Config {
            strategy,
            depth: DEPTH as u8,
            accounts: ACCOUNTS,
            ..Config::KERNEL
        };
        // Tables must read as zero.
        let tables = tally_ledger::metadata_bytes(WINDOW_BYTES, &cfg);
        // SAFETY: RAM that nothing else uses.
        unsafe { base.as_ptr().write_bytes(0, tables) };
        // SAFETY: as above; the last run's pool is gone.
        let pool = unsafe { Pool::create(base, WINDOW_BYTES, WINDOW_BYTES, &cfg) }.ok()?;
        let mut heap = Heap {
            pool,
            stack: bounds.walkable(),
        };
        heap.pool.set_owner(OwnerId(3));
        let mut random = Random(42);
        // SAFETY: one CPU, and nobody else uses it.
        let (blocks, plan) = unsafe { (&mut BLOCKS[..live], &mut PLAN[..steps]) };
        for block in blocks.iter_mut() {
            *block = Some(malloc::<DEPTH, ACCOUNTS>(&mut heap, random.size())?);
        }
        // Age the pool before measuring.
        for _ in 0..2 {
            for step in plan.iter_mut() {
                *step = ((random.next() as usize % live) as u16, random.size() as u16);
            }
            if !heap_is_slow(strategy, live) {
                deeper::<DEPTH, ACCOUNTS>(6, &mut heap, live, plan, false);
            }
        }
        let busy = deeper::<DEPTH, ACCOUNTS>(6, &mut heap, live, plan, false);
        if heap.pool.check().is_err() {
            exit(3);
        }
        for block in blocks.iter_mut() {
            free::<ACCOUNTS>(&mut heap, block.take()?);
        }
        for block in blocks.iter_mut() {
            *block = NonNull::new(core::ptr::with_exposed_provenance_mut(16));
        }
        let idle = deeper::<DEPTH, ACCOUNTS>(6, &mut heap, live, plan, true);
        Some((busy - idle) * 16 / steps as u64)
    }

    fn heap_is_slow(strategy: Strategy, live: usize) -> bool {
        strategy == Strategy::FirstFit && live >= 1000
    }

    extern "C" fn main() -> ! {
        let mut out = Console;
        for strategy in [Strategy::Segregated, Strategy::FirstFit] {
            for live in [1, 10, 100, 1000, 10_000] {
                let steps = if heap_is_slow(strategy, live) {
                    512
                } else {
                    STEPS
                };
                let mut print = |what, cost| match cost {
                    Some(cost) => {
                        let _ = writeln!(
                            out,
                            "{strategy:?} live {live} {what}: {cost} instructions a pair"
                        );
                    }
                    None => exit(4),
                };
                print("depth 4", measure::<4, false>(strategy, live, steps));
                print(
                    "depth 4, accounts",
                    measure::<4, true>(strategy, live, steps),
                );
                if strategy == Strategy::Segregated {
                    print("depth 0", measure::<0, false>(strategy, live, steps));
                    print("depth 8", measure::<8, false>(strategy, live, steps));
                }
            }
        }
        exit(0)
    }

    #[panic_handler]
    fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
        let _ = writeln!(Console, "{info}");
        exit(1)
    }
}
