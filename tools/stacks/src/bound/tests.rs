//! A program of five functions: its door changes to a stack and calls one that checks the stack and comes back to itself.

use super::*;
use crate::program::testing::*;

/// Where the check reads the stack pointer.
const CHECK: u64 = 0x1010;

fn program_of(checker: &[u32]) -> Program {
    let checked: &[u32] = &[TAKE, TAKE, bl(-2 - checker.len() as i32), GIVE, GIVE, RET];
    program(&[
        ("door", &[MOV_SP_X9, bl(2), BRK]),
        ("checker", checker),
        ("checked", checked),
    ])
}

/// Takes 32 bytes, reads the stack pointer, calls `checked`.
const CHECKER: [u32; 5] = [TAKE, MOV_X9_SP, bl(3), GIVE, RET];

const PLAN: Plan<'_> = Plan {
    doors: &[Door {
        symbol: "door",
        count: 1,
        step: 0,
    }],
    resumed: &[],
    entries: &[Entry {
        name: "entry",
        from: "door",
        to: "checker",
        stack: "the",
        size: "size",
        above: Some("above"),
    }],
    interrupt: None,
    rules: &[],
    recursions: &[],
    nevers: &[],
    checks: &[Check {
        function: "check",
        reserve: "reserve",
        checked: &["checked"],
    }],
    nesting: Some(Nested {
        check: 0,
        again: &["checked"],
        entry: "entry",
    }),
    uncalled: &[],
};

fn told(program: &Program, size: u64, reserve: u64, plan: &Plan<'_>) -> Result<Report> {
    let names = Names {
        symbol: &|name| match name {
            "door" => Some(0x1000),
            "size" => Some(size),
            "reserve" => Some(reserve),
            "above" => Some(16),
            _ => None,
        },
        frames: &|at| {
            let function = if at == CHECK { "check" } else { "other" };
            vec![Frame {
                function: function.to_owned(),
                file: String::new(),
                line: 0,
            }]
        },
    };
    report(program, &names, plan)
}

#[test]
fn levels_follow_from_the_reserve() {
    // From one checked call to the next: 64 bytes of `checked`, 32 of `checker`.
    let report = told(&program_of(&CHECKER), 1024, 96, &PLAN).unwrap();
    assert_eq!(report.complaints, [""; 0]);
    assert_eq!(
        (report.rows[0].chain.bytes, report.checks[0].chain.bytes),
        (48, 96)
    );
    let nesting = report.nesting.unwrap();
    assert_eq!((nesting.first.bytes, nesting.level.bytes), (48, 96));
    assert_eq!((nesting.levels, nesting.bytes), (10, 48 + 9 * 96 + 96));
}

#[test]
fn a_path_deeper_than_its_stack_is_a_complaint() {
    let complaints = told(&program_of(&CHECKER), 40, 96, &PLAN)
        .unwrap()
        .complaints;
    assert_eq!(
        complaints,
        [
            "entry: 48 bytes on a stack of 40",
            "check leaves no room for one call behind it"
        ]
    );
}

#[test]
fn a_reserve_that_does_not_hold_what_runs_behind_the_check_is_a_complaint() {
    let complaints = told(&program_of(&CHECKER), 1024, 95, &PLAN)
        .unwrap()
        .complaints;
    assert_eq!(
        complaints,
        ["check leaves 95 bytes, and 96 are taken behind it"]
    );
}

#[test]
fn what_is_taken_between_the_check_and_the_call_counts() {
    // The stack pointer is read before the frame is taken.
    let late = [TAKE, MOV_X9_SP, TAKE, bl(4), GIVE, GIVE, RET];
    let report = told(&program_of(&late), 1024, 128, &PLAN).unwrap();
    // 64 of `checked` and 64 of `checker`, of which 32 lie below the check; and once more these 32.
    assert_eq!(report.checks[0].chain.bytes, 64 + 64 + 32);
}

#[test]
fn a_call_past_the_check_is_a_complaint() {
    let unchecked = [TAKE, TAKE, bl(4), GIVE, GIVE, RET];
    let plan = Plan {
        nesting: None,
        recursions: &[Recursion {
            function: "checker",
            times: 1,
        }],
        ..PLAN
    };
    let complaints = told(&program_of(&unchecked), 1024, 512, &plan)
        .unwrap()
        .complaints;
    assert_eq!(complaints, ["checker calls checked without check"]);
}

#[test]
fn recursion_is_refused_without_a_check_or_a_bound() {
    let plan = Plan {
        checks: &[],
        nesting: None,
        ..PLAN
    };
    let refused = told(&program_of(&CHECKER), 1024, 96, &plan).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("recursion without a bound: checker -> checked")
    );
    let bounded = Recursion {
        function: "checker",
        times: 3,
    };
    let plan = Plan {
        recursions: &[bounded],
        ..plan
    };
    let report = told(&program_of(&CHECKER), 1024, 96, &plan).unwrap();
    assert_eq!(report.rows[0].chain.bytes, 16 + 3 * (32 + 64));
}

#[test]
fn a_plan_of_another_program_is_a_complaint() {
    let entry = Entry {
        to: "gone",
        ..PLAN.entries[0]
    };
    let plan = Plan {
        entries: &[entry],
        uncalled: &["nowhere"],
        ..PLAN
    };
    let complaints = told(&program_of(&CHECKER), 1024, 96, &plan)
        .unwrap()
        .complaints;
    let expected = [
        "door does not call gone on another stack",
        "no entry of the plan is door calling checker",
        "the plan names gone, which is not in the program",
        "the plan names nowhere, which is not in the program",
        "nothing calls checker",
        "nothing calls checked",
    ];
    for complaint in expected {
        assert!(
            complaints.iter().any(|found| found == complaint),
            "{complaint}: {complaints:?}"
        );
    }
}

/// Bug: of functions that the linker had folded into one, the name that a rule knew was lost, and an interrupt took 416 bytes.
#[test]
fn functions_that_are_the_same_code_have_all_their_names() {
    let path = "machine::thread::native | machine::exception::native_in_kernel";
    for name in ["native", "native_in_kernel", "exception::native_in_kernel"] {
        assert!(super::is_named(path, name), "{name}");
    }
    for name in ["kernel", "thread", "native | machine"] {
        assert!(!super::is_named(path, name), "{name}");
    }
}
