//! Proof that a name of the normal world's is the right file's, and writing by such names.

use super::{Store, missing, zeros};
use crate::host::{Fd, Host, Name, StorageError};
use crate::layout::{BLOCK, HEADS, Head};
use zerocopy::IntoBytes;

impl Store {
    /// Whether the file is the right one.
    #[inline(never)]
    fn is_right<H: Host>(&self, host: &mut H, fd: Fd) -> Result<bool, StorageError> {
        let Some(head) = &self.head else {
            let Some(block) = self.witness else {
                return Ok(false);
            };
            let mut bytes = zeros(BLOCK)?;
            return match self.read_by(host, fd, block, &mut bytes) {
                Ok(()) => Ok(true),
                Err(StorageError::Corrupt) => Ok(false),
                Err(err) => Err(err),
            };
        };
        let mut heads = [0; HEADS];
        let at = (head.counter.get() & 1) as usize * size_of::<Head>();
        let len = host.read(fd, 0, &mut heads).map_err(missing)?;
        let read = heads.get(at..at + size_of::<Head>());
        Ok(len >= at + size_of::<Head>() && read == Some(head.as_bytes()))
    }

    /// Opens the file again, which must be the right one then.
    pub(super) fn reopen<H: Host>(&mut self, host: &mut H) -> Result<Fd, StorageError> {
        self.reopened = true;
        if let Some(fd) = self.fd.take() {
            host.close(fd);
        }
        let is_new = self.head.is_none() && self.witness.is_none();
        if is_new && self.name == Name::Directory {
            self.check_absent(host)?;
        }
        let fd = match is_new {
            true => host.create(self.name),
            false => host.open(self.name),
        };
        let fd = fd.map_err(missing)?;
        self.fd = Some(fd);
        self.proven = is_new || self.is_right(host, fd)?;
        match self.proven {
            true => Ok(fd),
            false => Err(StorageError::Corrupt),
        }
    }

    /// Asks once more whether there is no directory. All would be lost if it was only out of reach for a moment, and the
    /// supplicant says of all that it cannot open that it is not there.
    fn check_absent<H: Host>(&self, host: &mut H) -> Result<(), StorageError> {
        let fd = match host.open(self.name) {
            Err(StorageError::NotFound) => return Ok(()),
            fd => fd?,
        };
        let mut heads = [0; HEADS];
        let len = host.read(fd, 0, &mut heads);
        host.close(fd);
        len.map_err(missing)?;
        match heads == [0; HEADS] {
            true => Ok(()),
            false => Err(StorageError::Corrupt),
        }
    }

    /// The file, which is the right one.
    pub(super) fn prove<H: Host>(&mut self, host: &mut H) -> Result<Fd, StorageError> {
        if let Some(fd) = self.fd {
            if self.proven {
                return Ok(fd);
            }
            match self.is_right(host, fd) {
                Ok(true) => {
                    self.proven = true;
                    return Ok(fd);
                }
                Err(err) if self.reopened => return Err(err),
                _ if self.reopened => return Err(StorageError::Corrupt),
                _ => {}
            }
        }
        self.reopen(host)
    }

    pub(super) fn write<H: Host>(
        &mut self,
        host: &mut H,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), StorageError> {
        let fd = self.prove(host)?;
        let done = match host.write(fd, at, bytes) {
            Err(err) if err != StorageError::NoSpace && !self.reopened => {
                let fd = self.reopen(host)?;
                host.write(fd, at, bytes)
            }
            done => done,
        };
        done.map_err(missing)
    }
}
