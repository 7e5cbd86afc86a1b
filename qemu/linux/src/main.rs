//! The paired tests that run in Linux: stock driver, stock libraries, our kernel.
//!
//! `linux-tests RESULTS [FILTER..]` runs them and writes one JSON object a line to RESULTS;
//! `linux-tests bench RESULTS` runs the measured loops, `linux-tests peer RESULTS` those that any OP-TEE runs; `linux-tests carried TURN`
//! keeps objects for another secure world; `linux-tests child NAME` is what some tests start and kill; `linux-tests xtest RESULTS CASE..` runs cases of OP-TEE's test suite.
//!
//! **Invariant:** after every test the secure world's account is what it was before, to the byte.
#![deny(unsafe_code)]

mod account;
mod bench;
mod carried;
mod children;
mod lateness;
mod measures;
mod peer;
mod results;
mod tests;
mod xtest;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["child", name] => children::run(name),
        ["bench", results] => status(measures::run(results).map(|()| true)),
        ["peer", results] => status(peer::run(results).map(|()| true)),
        ["carried", turn] => status(carried::run(turn).map(|()| true)),
        ["xtest", results, ref cases @ ..] => status(xtest::run(results, cases).map(|()| true)),
        [results, ref filters @ ..] => status(tests::run(results, filters)),
        [] => {
            eprintln!(
                "usage: linux-tests RESULTS [FILTER..] | bench RESULTS | peer RESULTS | carried TURN | xtest RESULTS CASE.."
            );
            ExitCode::from(2)
        }
    }
}

/// Whether all went well, as a program says it.
fn status(well: Result<bool, String>) -> ExitCode {
    match well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("linux-tests: {why}");
            ExitCode::FAILURE
        }
    }
}
