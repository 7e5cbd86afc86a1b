//! Every command of every pseudo-TA, with parameters of every shape that one takes, and every list of the account.
//!
//! **Invariant:** a command that is added is found by its number, and a list by its table.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use ta_uuids::hello;
use tally_abi::pta::{control, inspect, rng};
use tally_insight::names::PSEUDO;
use tally_records::{Selector, TABLES};
use teec::{
    Context, Direction, ErrorKind, Operation, Param, ParamTmpRef, ParamType, ParamValue, RawParam,
    Session, TempMemory,
};
use zerocopy::IntoBytes;

use super::{measure, measure_of, record, told};

/// Commands are numbered from 0 on.
const COMMANDS: u32 = 24;
/// Room for an answer.
const ROOM: usize = 64 << 10;

/// What a parameter can be.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    No,
    ValueIn,
    ValueOut,
    Uuid,
    Selector,
    /// Room for an answer.
    Out,
    /// Bytes in and out.
    Inout,
}

use Shape::{Inout, No, Out, Selector as Who, Uuid, ValueIn, ValueOut};

const SHAPES: &[[Shape; 4]] = &[
    [No; 4],
    [ValueIn, No, No, No],
    [ValueIn, ValueIn, No, No],
    [ValueIn, ValueOut, No, No],
    [ValueIn, Out, No, No],
    [ValueOut, No, No, No],
    [ValueOut, ValueOut, No, No],
    [ValueOut, ValueOut, ValueOut, No],
    [Uuid, No, No, No],
    [Uuid, ValueIn, No, No],
    [Uuid, ValueOut, No, No],
    [Uuid, ValueIn, ValueOut, No],
    [Who, ValueOut, No, No],
    [Who, Out, No, No],
    [Who, ValueIn, Out, No],
    [Who, ValueIn, Out, ValueOut],
    [Out, No, No, No],
    [Inout, No, No, No],
];

/// A parameter of any shape.
struct Any {
    shape: Shape,
    values: [u32; 2],
    bytes: Vec<u8>,
    size: usize,
}

impl Any {
    fn new(shape: Shape) -> Self {
        let bytes = match shape {
            Uuid => hello::UUID.to_bytes().to_vec(),
            Who => Selector::ALL.as_bytes().to_vec(),
            Out | Inout => Vec::from([0; ROOM]),
            No | ValueIn | ValueOut => Vec::new(),
        };
        let size = match shape {
            // More than this is refused.
            Inout => rng::MAX_BYTES as usize,
            _ => bytes.len(),
        };
        Self {
            shape,
            values: [0; 2],
            bytes,
            size,
        }
    }
}

impl Param for Any {
    fn param_type(&self) -> ParamType {
        match self.shape {
            No => ParamType::None,
            ValueIn => ParamType::ValueInput,
            ValueOut => ParamType::ValueOutput,
            Uuid | Who => ParamType::MemrefTempInput,
            Out => ParamType::MemrefTempOutput,
            Inout => ParamType::MemrefTempInout,
        }
    }

    fn raw(&mut self) -> RawParam<'_> {
        let [a, b] = &mut self.values;
        let memory = match self.shape {
            No => return RawParam::None,
            ValueIn | ValueOut => {
                let direction = match self.shape {
                    ValueIn => Direction::Input,
                    _ => Direction::Output,
                };
                return RawParam::Value { direction, a, b };
            }
            Uuid | Who => TempMemory::Input(&self.bytes),
            Out => TempMemory::Output(&mut self.bytes),
            Inout => TempMemory::Inout(&mut self.bytes[..self.size]),
        };
        RawParam::Temp {
            memory,
            size: &mut self.size,
        }
    }
}

/// Measures all of them.
pub(super) fn run(context: &Context<'static>) -> Result<(), String> {
    let ptas = PSEUDO.into_iter().chain([("rng", rng::UUID)]);
    for (name, uuid) in ptas {
        // A pseudo-TA that serves TAs alone has its turn with one.
        let Ok(mut session) = context.open_session(uuid) else {
            continue;
        };
        for command in 0..COMMANDS {
            // Breaks the kernel.
            if (uuid, command) == (control::UUID, control::CMD_FAULT) {
                continue;
            }
            let row = format!("pTA {name}, command {command}");
            for shape in SHAPES {
                let (known, longest) = wait(&mut session, command, shape);
                record(if known { &row } else { "" }, longest);
            }
        }
    }
    let mut session = context.open_session(inspect::UUID).map_err(told)?;
    for table in TABLES.iter().filter(|table| table.section != 0) {
        measure(&format!("pTA inspect, list of {}", table.list), || {
            list(&mut session, table.section)
        })?;
    }
    Ok(())
}

/// Whether there is such a command with parameters of this shape, and the longest wait during it.
fn wait(session: &mut Session<'_>, command: u32, shape: &[Shape; 4]) -> (bool, u64) {
    let [a, b, c, d] = shape.map(Any::new);
    let mut op = Operation::new(0, a, b, c, d);
    let (answer, longest) = measure_of(|| session.invoke_command(command, &mut op));
    let known = answer.map_err(|error| error.kind()).map_or_else(
        |kind| {
            !matches!(
                kind,
                ErrorKind::BadParameters | ErrorKind::NotSupported | ErrorKind::NotImplemented
            )
        },
        |()| true,
    );
    (known, longest)
}

/// One call for a list of all; what does not fit stays untold.
fn list(session: &mut Session<'_>, section: u32) -> Result<(), String> {
    let mut rows = Vec::from([0; ROOM]);
    let mut op = Operation::new(
        0,
        ParamValue::new(section, 0, ParamType::ValueInout),
        ParamTmpRef::new_input(Selector::ALL.as_bytes()),
        ParamValue::new(0, 0, ParamType::ValueInout),
        ParamTmpRef::new_output(&mut rows),
    );
    match session.invoke_command(inspect::CMD_LIST, &mut op) {
        // Some tables are of the snapshot alone.
        Err(error) if error.kind() != ErrorKind::NotSupported => Err(told(error)),
        _ => Ok(()),
    }
}
