//! The plan of the kernel's stacks: entries, indirect calls, recursions, checks.

use tally_stacks::bound::{Check, Door, Entry, Nested, Never, Plan, Recursion};
use tally_stacks::calls::{Rule, To};

const THREAD: (&str, &str) = ("thread", "tally_thread_stack_bytes");
const CPU: (&str, &str) = ("CPU", "tally_cpu_stack_bytes");
const BOOT: (&str, &str) = ("boot", "tally_boot_stack_bytes");
const EMERGENCY: (&str, &str) = ("emergency", "tally_emergency_stack_bytes");

const fn entry(
    name: &'static str,
    from: &'static str,
    to: &'static str,
    (stack, size): (&'static str, &'static str),
) -> Entry<'static> {
    Entry {
        name,
        from,
        to,
        stack,
        size,
        above: None,
    }
}

/// A yielding call, in which TAs run.
const YIELDING: &str = "yielding call";

/// The kernel.
pub(super) const PLAN: Plan<'static> = Plan {
    doors: &[
        Door {
            symbol: "_start",
            count: 1,
            step: 0,
        },
        Door {
            symbol: "tally_opteed_vectors",
            count: 9,
            step: 4,
        },
        Door {
            symbol: "tally_el1_vectors",
            count: 16,
            step: 128,
        },
    ],
    // By tally_yield_entry, when the thread is resumed.
    resumed: &["tally_thread_suspend"],
    entries: &[
        Entry {
            above: Some("tally_switch_frame_bytes"),
            ..entry(YIELDING, "tally_yield_entry", "thread_main", THREAD)
        },
        entry(
            "yielding call, choice of its thread",
            "tally_yield_entry",
            "yielding_call",
            CPU,
        ),
        entry(
            "yielding call, end of its thread",
            "tally_yield_entry",
            "thread_done",
            CPU,
        ),
        entry(
            "yielding call, suspended",
            "tally_thread_suspend",
            "thread_suspended",
            CPU,
        ),
        entry("fast call", "tally_fast_entry", "fast_call", CPU),
        entry("secure interrupt", "tally_fiq_entry", "", CPU),
        entry("boot, MMU off", "_start", "", CPU),
        entry("boot", "tally_start_high", "start", BOOT),
        entry(
            "boot, thread stacks zeroed",
            "tally_start_high",
            "tally_zero",
            CPU,
        ),
        entry(
            "start of a CPU",
            "tally_cpu_on_high",
            "start_secondary",
            CPU,
        ),
        entry(
            "crash report",
            "tally_crash_entry",
            "crash_entry",
            EMERGENCY,
        ),
    ],
    interrupt: Some("tally_el1_vectors"),
    rules: &[
        rule(
            "",
            "tally_opteed_vectors",
            To::Functions(&["tally_fast_entry", "tally_yield_entry", "tally_fiq_entry"]),
        ),
        rule(
            "",
            "tally_kernel_interrupt",
            To::Functions(&["native_in_kernel", "foreign_interrupt"]),
        ),
        rule(
            "kernel/arch/src/",
            "",
            To::Methods(&["as tally_arch::thread::Hooks>"]),
        ),
        rule("log-", "", To::Methods(&["as log::Log>"])),
        rule(
            "kernel/crypto/src/symmetric/",
            "",
            To::Methods(&["instructions::Instructions for tally_arch::Arm>"]),
        ),
        rule(
            "core/src/fmt/rt.rs",
            "",
            To::Functions(&[
                "fmt::Display>::fmt",
                "fmt::Debug>::fmt",
                "fmt::LowerHex>::fmt",
                "fmt::Pointer>::fmt",
            ]),
        ),
        rule(
            "core/src/fmt/",
            "dyn core::fmt::Debug",
            To::Methods(&["as core::fmt::Debug>"]),
        ),
        rule("core/src/fmt/", "", To::Methods(&["as core::fmt::Write>"])),
        rule(
            "kernel/mem/src/text.rs",
            "",
            To::Methods(&["as core::fmt::Write>"]),
        ),
        rule(
            "",
            "tally_enable_mmu",
            To::Functions(&["tally_start_high", "tally_cpu_on_high"]),
        ),
        rule(
            "kernel/src/heap_books.rs",
            "with_failures",
            To::Functions(&[
                "note_failure::{{closure}}",
                "next_failure::{{closure}}",
                "give_owner::{{closure}}",
            ]),
        ),
        rule(
            "kernel/src/heap_books.rs",
            "look_up",
            To::Methods(&["leaks::scan::", "{{closure}}"]),
        ),
        rule(
            "kernel/src/heap_books.rs",
            "",
            To::Methods(&["as core::fmt::Write>"]),
        ),
        rule(
            "kernel/src/oom.rs",
            "",
            To::Methods(&["as core::fmt::Write>"]),
        ),
        rule(
            "kernel/core/src/kernel.rs",
            "",
            To::Methods(&["as tally_core::kernel::KernelHeap>", "as core::fmt::Write>"]),
        ),
        // Any: no pseudo-TA keeps state in its session yet.
        rule(
            "kernel/core/src/pta/services.rs",
            "with_words",
            To::Methods(&["{{closure}}"]),
        ),
        rule(
            "kernel/core/src/pta/services.rs",
            "enter_pseudo_checked",
            To::Functions(&[
                "core::ops::function::FnOnce::call_once",
                "tally_pta::socket::enter",
                "tally_pta::system::enter",
                "tally_pta::vdec::enter",
            ]),
        ),
        rule(
            "kernel/core/src/pta/supplicant.rs",
            "",
            To::Methods(&["as tally_core::pta::Params>"]),
        ),
        rule(
            "kernel/account/src/observe.rs",
            "enter_pta",
            To::Functions(&["core::ops::function::FnOnce::call_once"]),
        ),
        rule(
            "kernel/storage/src/",
            "",
            To::Methods(&[
                "tally_core::ta::syscall::storage::",
                "tally_core::ta::storage::files::",
                "tally_storage::directory::Read::",
            ]),
        ),
        rule(
            "kernel/core/src/",
            "",
            To::Methods(&["tally_account::heaps::kernel_heap::HeapBooks for"]),
        ),
        rule(
            "kernel/account/src/past/order_events.rs",
            "stack_of",
            To::Functions(&["HeapBooks for tally_kernel::heap::Heap>::call_stack"]),
        ),
        rule(
            "kernel/account/src/answers/lists.rs",
            "",
            To::Methods(&["as tally_account::api::lists::Rows>"]),
        ),
        rule(
            "kernel/account/src/leaks/scan.rs",
            "scan_heaps",
            To::Methods(&["as tally_account::api::lists::Rows>"]),
        ),
        // Nobody: a kernel that ships cannot be broken on purpose.
        rule(
            "kernel/account/src/answers/actions.rs",
            "fault",
            To::Functions(&[]),
        ),
        rule(
            "kernel/account/src/",
            "",
            To::Methods(&[
                "tally_account::heaps::kernel_heap::HeapBooks for",
                "{{closure}}",
            ]),
        ),
        rule(
            "pta/src/lists.rs",
            "as core::fmt::Write>",
            To::Methods(&["as tally_core::pta::Params>"]),
        ),
        rule(
            "pta/src/lists.rs",
            "as tally_account::api::lists::Rows>",
            To::Methods(&["as tally_core::pta::Params>"]),
        ),
        rule(
            "pta/src/lists.rs",
            "room",
            To::Methods(&["as tally_core::pta::Params>"]),
        ),
        rule(
            "pta/src/params.rs",
            "",
            To::Methods(&["as tally_core::pta::Params>"]),
        ),
        rule(
            "pta/src/",
            "",
            To::Methods(&[
                "as tally_core::pta::Params>",
                "tally_core::pta::services::BufferServices for",
                "as tally_core::pta::services::Control>",
                "as tally_core::pta::services::Entropy>",
                "as tally_core::pta::supplicant::Supplicant>",
                "as tally_core::pta::system_services::SystemServices>",
                "tally_account::api::actions::Actions for",
                "tally_account::api::lists::Lists for",
            ]),
        ),
    ],
    recursions: &[
        // An argument of a message, what it is made of, and what that is made of, on the way to a TA's lines and from
        // there to the console.
        bounded("core::fmt::write", 6),
        // `{:#?}` of a structure in a structure.
        bounded(
            "<core::fmt::builders::PadAdapter as core::fmt::Write>::write_str",
            2,
        ),
        bounded(
            "<core::fmt::builders::PadAdapter as core::fmt::Write>::write_char",
            2,
        ),
        // Its pieces are texts and a number.
        bounded(
            "<tally_account::tas::status::FlagNames as core::fmt::Display>::fmt",
            1,
        ),
        // Lines that become messages.
        bounded(CONSOLE_LINES, 1),
        bounded(CRASH_LINES, 1),
        bounded(TEXT, 1),
        bounded(LOG, 1),
        bounded(PREFIX, 1),
        // Halves, until there is nothing left of twice the logarithm of 512 groups; then it sorts by a heap.
        bounded("quicksort::quicksort", 19),
        // An eighth of 512, as long as there are 64.
        bounded("median3_rec", 3),
        // To leave out an empty last piece.
        bounded("SplitInternal<P>::next_back", 2),
        // The message of a bad index into a string is cut at an index that is none.
        bounded("slice_error_fail", 2),
        // What is locked to tell a refusal refuses nothing.
        bounded(TELL, 1),
        // `closings.is_closing`: a round that is under way is not begun again.
        bounded(
            "closing::<impl tally_core::call::Call<M,O>>::end_session",
            2,
        ),
    ],
    nevers: &[
        // They write to the console or into memory of their own.
        never(LOG, &[CONSOLE_LINES, CRASH_LINES, TEXT]),
        never(PREFIX, &[CONSOLE_LINES, CRASH_LINES, TEXT]),
        never(TELL, &[CONSOLE_LINES, CRASH_LINES, TEXT]),
        never(REPORT, &[CONSOLE_LINES, CRASH_LINES, TEXT, TELL]),
        never(ENDING, &[CONSOLE_LINES, CRASH_LINES, TEXT]),
        // They look at a heap, and take no memory.
        never(
            "ta_heap::<impl tally_account::inspector::Inspector<M>>::top_sites",
            &[TELL],
        ),
        never(
            "figures::<impl tally_account::inspector::Inspector<M>>::walk_pool",
            &[TELL],
        ),
        never(
            "walk::<impl tally_account::inspector::Inspector<M>>::heap_blocks",
            &[TELL],
        ),
        never(
            "tally_kernel::heap::Heap::refused",
            &[CONSOLE_LINES, CRASH_LINES, TEXT, TELL],
        ),
        // It answers nobody, and locks what it finds unlocked, in another way.
        never(
            "tally_arch::crash::crash_entry",
            &[CONSOLE_LINES, TEXT, TELL],
        ),
        // Without a thread nothing is refused that is told: `lend_stack` settles it.
        never("thread::Hooks>::yield_entry", &[TELL]),
        never("thread::Hooks>::thread_done", &[TELL]),
    ],
    checks: &[
        Check {
            function: "check_stack",
            reserve: "tally_stack_reserve_bytes",
            checked: &[
                "run_ta_checked",
                "load_checked",
                "run_in_checked",
                "enter_pseudo_checked",
                "close_checked",
            ],
        },
        Check {
            function: "has_stack_for_snapshot",
            reserve: "tally_snapshot_stack_bytes",
            checked: &["write_snapshot_checked"],
        },
    ],
    nesting: Some(Nested {
        check: 0,
        again: &["run_ta_checked", "close_checked"],
        entry: YIELDING,
    }),
    // Methods of traits of which others are called.
    uncalled: &[
        "<log::NopLogger as log::Log>::enabled",
        "<log::NopLogger as log::Log>::flush",
        "<tally_arch::console::Logger as log::Log>::enabled",
        "<tally_arch::console::Logger as log::Log>::flush",
        "core::ptr::drop_in_place<tally_kernel::roof::Roof>",
        "with_words",
    ],
};

/// What is told and noted of a TA's end.
const ENDING: &str = "tally_core::observer::Observer for tally_account::book::Book>::ending";
const LOG: &str = "<tally_arch::console::Logger as log::Log>::log";
const PREFIX: &str = "tally_arch::console::write_prefix";
/// Report of a TA's heap that does not grow.
const REPORT: &str = "past::oom::<impl tally_account::inspector::Inspector<M>>::report";
/// Tells what was refused while the state was locked.
const TELL: &str = "tally_core::locked::tell";
/// Writers of text.
const CONSOLE_LINES: &str =
    "<tally_account::answers::actions::ConsoleLines as core::fmt::Write>::write_str";
const CRASH_LINES: &str = "<tally_arch::crash::Prefixed as core::fmt::Write>::write_str";
const TEXT: &str = "<tally_pta::lists::Text as core::fmt::Write>::write_str";

const fn never(function: &'static str, calls: &'static [&'static str]) -> Never<'static> {
    Never { function, calls }
}

const fn bounded(function: &'static str, times: u32) -> Recursion<'static> {
    Recursion { function, times }
}

const fn rule(file: &'static str, function: &'static str, to: To<'static>) -> Rule<'static> {
    Rule { file, function, to }
}
