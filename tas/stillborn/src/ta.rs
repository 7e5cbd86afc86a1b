//! The create entry that panics.
//!
//! **Invariant:** no session ever opens.

use ta_runtime::{Error, ErrorKind, Parameters, Result, ta_create, ta_invoke_command};
use ta_uuids::stillborn;

ta_runtime::properties! {
    uuid: stillborn::UUID,
    flags: 0,
    stack_size: 8 << 10,
    heap_size: 32 << 10,
}

#[ta_create]
fn create() -> Result<()> {
    panic!("stillborn on purpose");
}

#[ta_invoke_command]
fn invoke_command(_command: u32, _params: &mut Parameters) -> Result<()> {
    Err(Error::new(ErrorKind::BadState))
}
