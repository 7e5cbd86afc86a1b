//! Commands of trusted applications by name, with arguments from the command line.
//!
//! **Invariant:** a handle stands for one open session until it is closed.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use spin::Mutex;
use tally_abi::TeeUuid;
use teec::{Direction, RawParam, Session, TempMemory};
use teestat::STATUS_OK;
use teestat::commands::nearest;

use super::commands::{entry, print};
use super::ta_commands::Spec::{self, In, Inout, MemIn, MemInout, MemOut, Out, Uuid};
use super::ta_commands::{COMMANDS, TAS, TaCommand};
use crate::{names, supplicant, tee};

struct Open {
    handle: u32,
    uuid: TeeUuid,
    session: Session<'static>,
}

static SESSIONS: Mutex<Vec<Open>> = Mutex::new(Vec::new());

/// Whether a TA of this name has commands here.
pub(super) fn is_ta(name: &str) -> bool {
    TAS.iter().any(|(ta, _)| *ta == name)
}

/// Names of the TAs.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TAS.iter().map(|(name, _)| *name)
}

/// Names of a TA's commands.
pub(super) fn commands_of(ta: &str) -> impl Iterator<Item = &'static str> + use<'_> {
    COMMANDS.iter().filter(move |c| c.ta == ta).map(|c| c.name)
}

/// Columns for what a command is called with; longer ones have a line of their own.
const MAX_USAGE: usize = 40;

/// Handles of open sessions.
pub(super) fn handles() -> Vec<String> {
    let sessions = SESSIONS.lock();
    sessions
        .iter()
        .map(|open| open.handle.to_string())
        .collect()
}

/// Name of the TA that a handle's session is with; empty for none.
pub(super) fn ta_of(handle: &str) -> String {
    let sessions = SESSIONS.lock();
    let open = sessions.iter().find(|s| s.handle.to_string() == handle);
    open.map_or_else(String::new, |open| names::name_of(open.uuid))
}

/// Lists a TA's commands, or the one that is named.
pub(super) fn help(ta: &str, command: Option<&str>) {
    let is_one = commands_of(ta).any(|name| Some(name) == command);
    let meant = |c: &&TaCommand| c.ta == ta && (!is_one || Some(c.name) == command);
    let commands = || COMMANDS.iter().filter(meant);
    let usage = |c: &TaCommand| format!("{ta} {} {}", c.name, c.arguments);
    let width = commands().map(|c| usage(c).len()).max().unwrap_or(0);
    for c in commands() {
        entry(width.min(MAX_USAGE) + 4, &usage(c), c.says);
    }
    if commands().next().is_none() {
        print(format_args!(
            "{ta} has no commands; `open {ta}` opens a session\n"
        ));
    }
}

/// Opens a session, invokes one command, closes the session.
pub(super) fn one_shot(ta: &str, args: &[&str]) -> Result<u8, String> {
    let uuid = names::resolve(ta)?;
    let Some((name, args)) = args.split_first() else {
        help(ta, None);
        return Ok(teestat::STATUS_USAGE);
    };
    let call = Call::parse(ta, name, args)?;
    let context = tee::context()?;
    supplicant::set_foreground(Some(uuid));
    let session = context
        .open_session(uuid)
        .map_err(|error| format!("{ta}: cannot open a session: {error}"))?;
    let result = call.invoke(&session);
    drop(session);
    result
}

/// `open NAME`.
pub(super) fn open(args: &[&str]) -> Result<u8, String> {
    let [name] = args else {
        return Err("usage: open NAME|UUID".to_string());
    };
    let uuid = names::resolve(name)?;
    let context = tee::context()?;
    supplicant::set_foreground(Some(uuid));
    let session = context
        .open_session(uuid)
        .map_err(|error| format!("{name}: cannot open a session: {error}"))?;
    let mut sessions = SESSIONS.lock();
    let handle = sessions.iter().map(|s| s.handle).max().unwrap_or(0) + 1;
    print(format_args!(
        "handle {handle} (session {:#x}) of {}\n",
        session.id(),
        names::name_of(uuid)
    ));
    sessions.push(Open {
        handle,
        uuid,
        session,
    });
    Ok(STATUS_OK)
}

fn take(handle: &str) -> Result<Open, String> {
    let mut sessions = SESSIONS.lock();
    let at = handle
        .parse()
        .ok()
        .and_then(|n: u32| sessions.iter().position(|s| s.handle == n))
        .ok_or_else(|| format!("`{handle}` is no handle of an open session (or it is in use)"))?;
    Ok(sessions.remove(at))
}

/// `invoke HANDLE COMMAND ARGS`.
pub(super) fn invoke(args: &[&str]) -> Result<u8, String> {
    let [handle, name, args @ ..] = args else {
        return Err("usage: invoke HANDLE COMMAND [ARGS]".to_string());
    };
    let open = take(handle)?;
    let ta = names::name_of(open.uuid);
    supplicant::set_foreground(Some(open.uuid));
    let result = Call::parse(&ta, name, args).and_then(|call| call.invoke(&open.session));
    SESSIONS.lock().push(open);
    result
}

/// `close HANDLE`.
pub(super) fn close(args: &[&str]) -> Result<u8, String> {
    let [handle] = args else {
        return Err("usage: close HANDLE".to_string());
    };
    take(handle)?
        .session
        .close()
        .map_err(|error| format!("close: {error}"))?;
    Ok(STATUS_OK)
}

/// `sessions`.
pub(super) fn list() -> Result<u8, String> {
    for open in SESSIONS.lock().iter() {
        print(format_args!(
            "handle {} (session {:#x}) of {}\n",
            open.handle,
            open.session.id(),
            names::name_of(open.uuid)
        ));
    }
    Ok(STATUS_OK)
}

/// A parameter with its memory.
struct Argument {
    spec: Spec,
    a: u32,
    b: u32,
    bytes: Vec<u8>,
    size: usize,
}

impl Argument {
    fn raw(&mut self) -> RawParam<'_> {
        let direction = match self.spec {
            In(_) | MemIn | Uuid => Direction::Input,
            Out | MemOut => Direction::Output,
            Inout | MemInout => Direction::Inout,
        };
        match self.spec {
            In(_) | Out | Inout => RawParam::Value {
                direction,
                a: &mut self.a,
                b: &mut self.b,
            },
            MemIn | Uuid => RawParam::Temp {
                memory: TempMemory::Input(&self.bytes),
                size: &mut self.size,
            },
            MemOut => RawParam::Temp {
                memory: TempMemory::Output(&mut self.bytes),
                size: &mut self.size,
            },
            MemInout => RawParam::Temp {
                memory: TempMemory::Inout(&mut self.bytes),
                size: &mut self.size,
            },
        }
    }

    fn show(&self) {
        match self.spec {
            In(_) | MemIn | Uuid => {}
            Out | Inout => print(format_args!("a = {} b = {}\n", self.a, self.b)),
            MemOut | MemInout => {
                let bytes = &self.bytes[..self.size.min(self.bytes.len())];
                let text = core::str::from_utf8(bytes)
                    .ok()
                    .filter(|t| t.chars().all(|c| !c.is_control()));
                match text {
                    Some(text) => print(format_args!("{} bytes: {text}\n", self.size)),
                    None => {
                        print(format_args!("{} bytes:", self.size));
                        for byte in bytes.iter().take(64) {
                            print(format_args!(" {byte:02x}"));
                        }
                        print(format_args!("\n"));
                    }
                }
            }
        }
    }
}

struct Call {
    title: String,
    number: u32,
    arguments: Vec<Argument>,
}

impl Call {
    fn parse(ta: &str, name: &str, args: &[&str]) -> Result<Self, String> {
        if let Ok(command) = number(name) {
            return Self::by_number(ta, command, args);
        }
        let command = COMMANDS
            .iter()
            .find(|c| c.ta == ta && c.name == name)
            .ok_or_else(|| {
                let nearest = nearest(name, commands_of(ta));
                format!("{ta} has no command `{name}`{nearest} (`help {ta}` lists all)")
            })?;
        let usage = || format!("usage: {ta} {name} {}", command.arguments);
        let mut rest = args.iter();
        let mut next = || rest.next().copied().ok_or_else(usage);
        let mut arguments = Vec::new();
        for &spec in command.params {
            let (mut a, mut b, mut bytes) = (0, 0, Vec::new());
            match spec {
                In(n) => {
                    a = number(next()?)?;
                    if n > 1 {
                        b = number(next()?)?;
                    }
                }
                Inout => (a, b) = (number(next()?)?, number(next()?)?),
                Out => {}
                MemIn | MemInout => bytes = memory(next()?)?,
                MemOut => bytes.resize(number(next()?)? as usize, 0),
                Uuid => {
                    let uuid = names::resolve(next()?)?;
                    bytes = uuid.to_bytes().to_vec();
                }
            }
            arguments.push(Argument {
                spec,
                a,
                b,
                size: bytes.len(),
                bytes,
            });
        }
        if rest.next().is_some() {
            return Err(usage());
        }
        Ok(Self {
            title: format!("{ta} {name}"),
            number: command.number,
            arguments,
        })
    }

    /// A command of any TA, by its number; each of `args` is one parameter.
    fn by_number(ta: &str, command: u32, args: &[&str]) -> Result<Self, String> {
        let usage = "parameters are in:A[,B] out inout:A[,B] mem:TEXT|@N memout:SIZE \
                     meminout:TEXT|@N, four at most";
        if args.len() > 4 {
            return Err(usage.to_string());
        }
        let mut arguments = Vec::new();
        for arg in args {
            let (kind, value) = arg.split_once(':').unwrap_or((arg, ""));
            let spec = match kind {
                "in" => In(2),
                "out" => Out,
                "inout" => Inout,
                "mem" => MemIn,
                "memout" => MemOut,
                "meminout" => MemInout,
                _ => return Err(usage.to_string()),
            };
            let (mut a, mut b, mut bytes) = (0, 0, Vec::new());
            match spec {
                In(_) | Inout => {
                    let (first, second) = value.split_once(',').unwrap_or((value, "0"));
                    (a, b) = (number(first)?, number(second)?);
                }
                MemOut => bytes.resize(number(value)? as usize, 0),
                MemIn | MemInout => bytes = memory(value)?,
                Out | Uuid => {}
            }
            arguments.push(Argument {
                spec,
                a,
                b,
                size: bytes.len(),
                bytes,
            });
        }
        Ok(Self {
            title: format!("{ta} {command}"),
            number: command,
            arguments,
        })
    }

    fn invoke(mut self, session: &Session<'_>) -> Result<u8, String> {
        let transport = tee::get()?;
        let mut arguments = self.arguments.iter_mut();
        let mut params: [RawParam<'_>; 4] =
            core::array::from_fn(|_| arguments.next().map_or(RawParam::None, Argument::raw));
        let result = teec::Transport::invoke(transport, session.id(), self.number, 0, &mut params);
        match result {
            Ok(()) => {
                self.arguments.iter().for_each(Argument::show);
                Ok(STATUS_OK)
            }
            Err(error) => {
                let mut said = format!("{}: {error}", self.title);
                if error.kind() == teec::ErrorKind::ShortBuffer
                    && let Some(memory) = self.arguments.iter().find(|a| matches!(a.spec, MemOut))
                {
                    said.push_str(&format!("; {} bytes are needed", memory.size));
                }
                Err(said)
            }
        }
    }
}

fn number(text: &str) -> Result<u32, String> {
    let number = teestat::size(text).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("`{text}` is no number up to {}", u32::MAX))
}

fn memory(text: &str) -> Result<Vec<u8>, String> {
    match text.strip_prefix('@') {
        Some(size) => {
            let n = number(size)? as usize;
            Ok((0..n).map(|i| i as u8).collect())
        }
        None => Ok(text.into()),
    }
}
