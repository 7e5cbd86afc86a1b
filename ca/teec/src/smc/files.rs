//! Files that the secure world keeps in this one: requests of [`cmd::FS`](tally_abi::rpc::cmd::FS) and their answers, as
//! OP-TEE's tee-supplicant gives them.
//!
//! **Invariant:** what is read of shared memory, or written, lies in the buffer that the request names.
//! **Knows nothing of:** where files are: [`Files`] does.

use alloc::string::String;
use alloc::vec::Vec;
use tally_abi::TeeResult;
use tally_abi::msg::{MsgParam, attr};
use tally_abi::rpc::fs;

use super::rpc::{Refused, Way};
use super::{Conduit, Services, SmcTransport};

/// Longest name, in bytes, as the supplicant has it: 255 with `./` before it and a zero behind it.
const MAX_NAME: usize = 252;

/// Whoever keeps files. Names have folders, like those of files elsewhere; a folder is there while a file is in it.
pub trait Files: Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `OUT_OF_MEMORY`.
    fn open(&self, name: &str) -> Result<u32, TeeResult>;

    /// Opens an empty file; what was in it, if there was one, is lost.
    ///
    /// # Errors
    /// `STORAGE_NO_SPACE`, `OUT_OF_MEMORY`.
    fn create(&self, name: &str) -> Result<u32, TeeResult>;

    /// Closes a file.
    ///
    /// # Errors
    /// `GENERIC` if it is not open.
    fn close(&self, file: u32) -> Result<(), TeeResult>;

    /// Reads `most` bytes from `at` on, or those that there are; `to` is given them with their number before.
    ///
    /// # Errors
    /// `GENERIC` if it is not open.
    fn read(
        &self,
        file: u32,
        at: u64,
        most: usize,
        to: &mut dyn FnMut(usize, &[u8]),
    ) -> Result<(), TeeResult>;

    /// Writes; between the end and `at` there are zeros.
    ///
    /// # Errors
    /// `GENERIC` if it is not open, `STORAGE_NO_SPACE`.
    fn write(&self, file: u32, at: u64, bytes: &[u8]) -> Result<(), TeeResult>;

    /// Cuts a file off, or prolongs it by zeros.
    ///
    /// # Errors
    /// `GENERIC` if it is not open, `STORAGE_NO_SPACE`.
    fn truncate(&self, file: u32, bytes: u64) -> Result<(), TeeResult>;

    /// Removes a file; who has it open keeps it.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`.
    fn remove(&self, name: &str) -> Result<(), TeeResult>;

    /// Renames a file, in place of one of the new name if that may be lost.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `ACCESS_CONFLICT`, `OUT_OF_MEMORY`.
    fn rename(&self, from: &str, to: &str, overwrite: bool) -> Result<(), TeeResult>;

    /// Opens a folder.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, `OUT_OF_MEMORY`.
    fn open_folder(&self, name: &str) -> Result<u32, TeeResult>;

    /// Closes a folder.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` if it is not open.
    fn close_folder(&self, folder: u32) -> Result<(), TeeResult>;

    /// Gives `to` the next name in the folder.
    ///
    /// # Errors
    /// `BAD_PARAMETERS` if it is not open, `ITEM_NOT_FOUND` if that was the last.
    fn next_name(&self, folder: u32, to: &mut dyn FnMut(&str)) -> Result<(), TeeResult>;
}

const BAD: Refused = Refused(TeeResult::BAD_PARAMETERS);

impl<C: Conduit, S: Services> SmcTransport<C, S> {
    pub(super) fn serve_files(
        &self,
        files: &dyn Files,
        params: &mut [MsgParam],
    ) -> Result<(), Refused> {
        let Some((what, rest)) = params.split_first_mut() else {
            return Err(BAD);
        };
        is(what, attr::VALUE_INPUT)?;
        match (what.a, rest) {
            (fs::OPEN, [name, out]) => {
                answer(out, || files.open(&self.name_of(name)?).map_err(Refused))
            }
            (fs::CREATE, [name, out]) => {
                answer(out, || files.create(&self.name_of(name)?).map_err(Refused))
            }
            (fs::CLOSE, []) => files.close(what.b as u32).map_err(Refused),
            (fs::READ, [data]) => self.read_file(files, what, data),
            (fs::WRITE, [data]) => {
                let bytes = self.bytes_of(data)?;
                let (file, at) = (what.b as u32, what.c);
                files.write(file, at, &bytes).map_err(Refused)
            }
            (fs::TRUNCATE, []) => files.truncate(what.b as u32, what.c).map_err(Refused),
            (fs::REMOVE, [name]) => files.remove(&self.name_of(name)?).map_err(Refused),
            (fs::RENAME, [from, to]) => {
                let (from, to) = (self.name_of(from)?, self.name_of(to)?);
                files.rename(&from, &to, what.b != 0).map_err(Refused)
            }
            (fs::OPENDIR, [name, out]) => answer(out, || {
                files.open_folder(&self.name_of(name)?).map_err(Refused)
            }),
            (fs::CLOSEDIR, []) => files.close_folder(what.b as u32).map_err(Refused),
            (fs::READDIR, [name]) => self.read_folder(files, what.b as u32, name),
            _ => Err(BAD),
        }
    }

    fn read_file(
        &self,
        files: &dyn Files,
        what: &MsgParam,
        data: &mut MsgParam,
    ) -> Result<(), Refused> {
        let Some((buffer, offset, room)) = self.buffer_of(data, Way::Out)? else {
            return Err(BAD);
        };
        let mut read = 0;
        let mut take = |before: usize, bytes: &[u8]| {
            buffer.write(offset + before, bytes);
            read = before + bytes.len();
        };
        files
            .read(what.b as u32, what.c, room, &mut take)
            .map_err(Refused)?;
        data.b = read as u64;
        Ok(())
    }

    fn read_folder(
        &self,
        files: &dyn Files,
        folder: u32,
        name: &mut MsgParam,
    ) -> Result<(), Refused> {
        let Some((buffer, offset, room)) = self.buffer_of(name, Way::Out)? else {
            return Err(BAD);
        };
        let mut bytes = 0;
        let mut take = |name: &str| {
            bytes = name.len() + 1;
            if bytes <= room {
                buffer.write(offset, name.as_bytes());
                buffer.write(offset + name.len(), &[0]);
            }
        };
        files.next_name(folder, &mut take).map_err(Refused)?;
        name.b = bytes as u64;
        if bytes > room {
            return Err(Refused(TeeResult::SHORT_BUFFER));
        }
        Ok(())
    }

    /// The bytes of an input parameter.
    fn bytes_of(&self, param: &MsgParam) -> Result<Vec<u8>, Refused> {
        let Some((buffer, offset, len)) = self.buffer_of(param, Way::In)? else {
            return Err(BAD);
        };
        let mut bytes = Vec::new();
        let room = bytes.try_reserve_exact(len);
        room.map_err(|_| Refused(TeeResult::OUT_OF_MEMORY))?;
        bytes.resize(len, 0);
        buffer.read(offset, &mut bytes);
        Ok(bytes)
    }

    /// The name in an input parameter: up to a zero, which has to be there. A slash before it says nothing.
    fn name_of(&self, param: &MsgParam) -> Result<String, Refused> {
        let mut bytes = self.bytes_of(param)?;
        let end = bytes.iter().position(|byte| *byte == 0).ok_or(BAD)?;
        bytes.truncate(end);
        if end > MAX_NAME {
            return Err(BAD);
        }
        let name = str::from_utf8(&bytes).map_err(|_| BAD)?;
        owned(name.trim_start_matches('/')).map_err(Refused)
    }
}

/// A name of one's own.
pub(super) fn owned(name: &str) -> Result<String, TeeResult> {
    let mut owned = String::new();
    let room = owned.try_reserve_exact(name.len());
    room.map_err(|_| TeeResult::OUT_OF_MEMORY)?;
    owned.push_str(name);
    Ok(owned)
}

fn is(param: &MsgParam, wanted: u64) -> Result<(), Refused> {
    if param.attr & attr::TYPE_MASK == wanted {
        Ok(())
    } else {
        Err(BAD)
    }
}

/// Puts what `work` gives into `out`, which is found fit for it beforehand.
fn answer(out: &mut MsgParam, work: impl FnOnce() -> Result<u32, Refused>) -> Result<(), Refused> {
    is(out, attr::VALUE_OUTPUT)?;
    out.a = u64::from(work()?);
    Ok(())
}
