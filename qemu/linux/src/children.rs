//! Child processes of tests, most of them to be killed.
//!
//! **Invariant:** a child that is left alone ends by itself or with its input, or is one that loops.

use std::io::Read as _;
use std::process::ExitCode;
use std::thread::JoinHandle;

use ta_uuids::{crash, heap, hello};
use teec::{Context, Operation, ParamNone, ParamType, ParamValue};

use crate::bench::{self, Outcome};

/// Runs the child `name`.
pub(crate) fn run(name: &str) -> ExitCode {
    match child(name) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Expected where the child's TA is ended under it.
            eprintln!("child {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// Finishes once [`bench::finish`] is called.
fn input_ends() -> JoinHandle<()> {
    std::thread::spawn(|| {
        // It is over, too, when nobody can write any more.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
    })
}

fn child(name: &str) -> Outcome {
    let transport = bench::connect()?;
    let context = Context::new(&transport);
    match name {
        // Suspended in the secure world, asleep in this one.
        "wait" => {
            let mut session = bench::open(&context, hello::UUID)?;
            session
                .invoke_command(
                    hello::CMD_WAIT,
                    &mut bench::value(3000, 0, ParamType::ValueInput),
                )
                .map_err(|error| error.to_string())
        }
        // In a TA without end.
        "loop" => {
            let mut session = bench::open(&context, crash::UUID)?;
            session
                .invoke_plain(crash::CMD_LOOP)
                .map_err(|error| error.to_string())
        }
        // In no TA at all.
        "spin" => {
            let over = input_ends();
            while !over.is_finished() {
                std::hint::spin_loop();
            }
            Ok(())
        }
        // Loads a TA, again and again.
        "reload" => {
            let over = input_ends();
            while !over.is_finished() {
                bench::open(&context, hello::UUID)?;
            }
            Ok(())
        }
        // In a TA for a while, holding the instance that others wait for.
        "busy" => {
            let mut session = bench::open(&context, heap::UUID)?;
            let size = ParamValue::new(10_000, 400_000, ParamType::ValueInput);
            let strategy = ParamValue::new(0, 0, ParamType::ValueInput);
            let mut operation = Operation::new(0, size, strategy, ParamNone, ParamNone);
            session
                .invoke_command(heap::CMD_BENCH, &mut operation)
                .map_err(|error| error.to_string())
        }
        // Waits for the instance that `busy` holds.
        "queue" => {
            let mut session = bench::open(&context, heap::UUID)?;
            session
                .invoke_plain(heap::CMD_FREE_ALL)
                .map_err(|error| error.to_string())
        }
        // Asks for a TA, which the supplicant has to deliver.
        "open" => bench::open(&context, hello::UUID).map(drop),
        _ => Err("no such child".into()),
    }
}
