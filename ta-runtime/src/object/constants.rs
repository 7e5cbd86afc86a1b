//! Numbers and flags of objects (GPD_SPE_010 5.4).

use bitflags::bitflags;
use tally_abi::crypto::handle_flag;
use tally_abi::storage::{MAX_POSITION, data_flag, space, whence};

/// From where on a position is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Whence {
    /// From the first byte on.
    DataSeekSet = whence::SET as u32,
    /// From where the handle is.
    DataSeekCur = whence::CURRENT as u32,
    /// From the end.
    DataSeekEnd = whence::END as u32,
}

/// Which storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ObjectStorageConstants {
    /// The TA's, wherever the kernel has it.
    Private = space::PRIVATE,
    /// In files of the normal world.
    PrivateRee = space::PRIVATE_REE,
    /// In a replay-protected memory block.
    PrivateRpmb = space::PRIVATE_RPMB,
    /// None.
    IllegalValue = 0x7fff_ffff,
}

/// Limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MiscellaneousConstants {
    /// Highest position in an object's data.
    TeeDataMaxPosition = MAX_POSITION as u32,
    /// Most bytes of an object's id.
    TeeObjectIdMaxLen = 64,
}

bitflags! {
    /// What may be done through a handle, and through others meanwhile.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DataFlag: u32 {
        /// Data may be read.
        const ACCESS_READ = data_flag::ACCESS_READ;
        /// Data may be written.
        const ACCESS_WRITE = data_flag::ACCESS_WRITE;
        /// The object may be renamed and deleted.
        const ACCESS_WRITE_META = data_flag::ACCESS_WRITE_META;
        /// Others may read.
        const SHARE_READ = data_flag::SHARE_READ;
        /// Others may write.
        const SHARE_WRITE = data_flag::SHARE_WRITE;
        /// An object that is there already is replaced, at once.
        const OVERWRITE = data_flag::OVERWRITE;
    }

    /// What a key may be used for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct UsageFlag: u32 {
        /// To be read.
        const EXTRACTABLE = 0x0000_0001;
        /// To encrypt.
        const ENCRYPT = 0x0000_0002;
        /// To decrypt.
        const DECRYPT = 0x0000_0004;
        /// For a message authentication code.
        const MAC = 0x0000_0008;
        /// To sign.
        const SIGN = 0x0000_0010;
        /// To verify a signature.
        const VERIFY = 0x0000_0020;
        /// To derive a key.
        const DERIVE = 0x0000_0040;
    }

    /// What an object is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct HandleFlag: u32 {
        /// In storage.
        const PERSISTENT = handle_flag::PERSISTENT;
        /// It has its attributes.
        const INITIALIZED = handle_flag::INITIALIZED;
        /// Of an operation: it has its key.
        const KEY_SET = 0x0004_0000;
        /// Of an operation: it takes two keys.
        const EXPECT_TWO_KEYS = 0x0008_0000;
    }
}
