//! Calls to the `inspect` pTA that are no lists.

use tally_abi::TeeUuid;
use tally_abi::pta::inspect;
use teec::{Context, Operation, ParamNone, ParamTmpRef};

use super::lists::session;
use super::{ClientError, Result};

/// Has the kernel write a TA's status to the secure console.
///
/// # Errors
/// [`ClientError`]; `ItemNotFound` if it is not loaded.
pub fn status_to_console(context: &Context<'_>, uuid: TeeUuid) -> Result<()> {
    let bytes = uuid.to_bytes();
    let memory = ParamTmpRef::new_input(&bytes);
    let mut op = Operation::new(0, memory, ParamNone, ParamNone, ParamNone);
    session(context)?
        .invoke_command(inspect::CMD_STATUS, &mut op)
        .map_err(|error| ClientError::Invoke("status", error))
}
