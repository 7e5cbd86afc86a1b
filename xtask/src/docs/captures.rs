//! Output of the guest's shell that the documents show.
//!
//! **Invariant:** each name has a pair of markers in some document (`cargo xtask docs --check`).

/// Which console a capture is taken from.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Console {
    Normal,
    Secure,
    /// With the names that xtask knows for addresses.
    SecureNamed,
}

/// Output of shell commands that the documents show.
pub(super) struct Capture {
    pub(super) name: &'static str,
    pub(super) commands: &'static str,
    pub(super) kernel_features: &'static [&'static str],
    pub(super) console: Console,
    /// Only what follows the first line with this text, that line included.
    pub(super) from: &'static str,
}

const fn normal(name: &'static str, commands: &'static str) -> Capture {
    Capture {
        name,
        commands,
        kernel_features: &[],
        console: Console::Normal,
        from: "",
    }
}

pub(super) const CAPTURES: &[Capture] = &[
    normal("help", "help"),
    normal("teestat-help", "teestat help"),
    normal("alloc", "teestat alloc"),
    normal(
        "ta",
        "open heap; invoke 1 alloc 3000; open crash; invoke 2 panic-holding 3; keepalive hold 5000; teestat ta",
    ),
    normal(
        "leaks",
        "open heap; teestat leaks mark; invoke 1 leak 10 28; teestat leaks diff",
    ),
    normal(
        "meminfo",
        "open hello; open heap; invoke 2 alloc 100000; teestat meminfo",
    ),
    normal("owners", "open hello; open heap; teestat owners"),
    normal("pools", "open heap; invoke 1 alloc 3000; teestat pools"),
    normal("oom", "heap alloc 20000000; teestat oom"),
    normal(
        "kill",
        "crash loop & sleep 200; teestat ta; teestat kill crash; wait; teestat owners",
    ),
    normal(
        "ta-whole",
        "open heap; invoke 1 alloc 3000; teestat ta heap",
    ),
    normal("maps", "open heap; teestat maps heap; teestat maps kernel"),
    normal("status", "open heap; teestat status heap"),
    normal("failures", "heap alloc 20000000; teestat failures"),
    normal("history", "heap leak 3 100; crash panic; teestat history"),
    normal(
        "storage",
        "open storage; invoke 1 create name 7 9000; invoke 1 create other 7 100; files; teestat storage",
    ),
    normal(
        "advise",
        "open heap; invoke 1 alloc 30000; open hello; invoke 2 inc 1 2; teestat advise",
    ),
    normal(
        "allocinfo",
        "open heap; invoke 1 alloc 3000; invoke 1 leak 10 28; teestat allocinfo heap --sort calls --top 4",
    ),
    normal(
        "slabinfo",
        "open heap; invoke 1 alloc 3000; teestat slabinfo heap; invoke 1 leak 100 28; teestat slabinfo heap --diff",
    ),
    normal(
        "pool",
        "open heap; invoke 1 alloc 5000; teestat pool check heap; teestat pool dump heap",
    ),
    normal(
        "block",
        "open heap; invoke 1 alloc 5000; teestat blocks heap; teestat block 77000 heap",
    ),
    normal(
        "cycles",
        "open heap; teestat leaks mark before; invoke 1 leak 1 28; teestat leaks mark; invoke 1 leak 1 28; teestat leaks mark; invoke 1 leak 1 28; teestat leaks mark after; teestat leaks diff before after",
    ),
    normal(
        "scan",
        "open heap; invoke 1 alloc 500000; invoke 1 leak 3 100; teestat leaks scan heap; teestat leaks show heap; teestat leaks clear heap; teestat leaks ta heap",
    ),
    normal(
        "audit",
        "open drm; invoke 1 hold 8192; teestat audit; invoke 1 switch 2 1; teestat audit --events",
    ),
    normal(
        "watch",
        "teestat watch heap --on heap>50000; open heap; invoke 1 alloc 60000; teestat watch list; teestat watch show 1",
    ),
    normal(
        "top",
        "crash loop & sleep 200; open heap; invoke 1 alloc 30000; teestat top -n 1; teestat kill crash",
    ),
    normal(
        "ledger",
        "open heap; teestat ledger heap --detail; invoke 1 alloc 3000; invoke 1 leak 10 28; teestat ledger heap",
    ),
    Capture {
        name: "ta-crash",
        commands: "crash null-read",
        kernel_features: &[],
        console: Console::SecureNamed,
        from: "E/TC",
    },
    Capture {
        name: "kernel-crash",
        commands: "open hello; fault panic",
        kernel_features: &["test-hooks"],
        console: Console::Secure,
        from: "E/TC",
    },
];
