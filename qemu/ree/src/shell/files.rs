//! The command `files`: what trusted storage keeps in this world, which may do with it what it likes.

use alloc::format;
use alloc::string::{String, ToString};
use teestat::STATUS_OK;

use super::commands::print;
use crate::storage;

/// Lists the files, changes one, or forgets which are open.
pub(super) fn run(args: &[&str]) -> Result<u8, String> {
    let files = storage::files();
    match *args {
        [] => {
            for (name, bytes) in files.save().files() {
                print(format_args!("{:>9}  {name}\n", bytes.len()));
            }
        }
        ["flip", name, at] => {
            let at: usize = at.parse().map_err(|_| format!("`{at}` is no byte"))?;
            let mut flipped = false;
            files.change(name, |bytes| {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1;
                    flipped = true;
                }
            });
            if !flipped {
                return Err(format!("there is no file `{name}` with a byte {at}"));
            }
        }
        ["remove", name] => teec::smc::Files::remove(files, name)
            .map_err(|_| format!("there is no file `{name}`"))?,
        ["restart"] => files.restart(),
        _ => return Err("usage: files [flip NAME BYTE | remove NAME | restart]".to_string()),
    }
    Ok(STATUS_OK)
}
