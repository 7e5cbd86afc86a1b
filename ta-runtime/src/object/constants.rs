//! Numbers and flags of objects (GPD_SPE_010 5.4).

use bitflags::bitflags;
use tally_abi::crypto::handle_flag;

/// From where on a position is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Whence {
    /// From the first byte on.
    DataSeekSet = 0,
    /// From where the handle is.
    DataSeekCur = 1,
    /// From the end.
    DataSeekEnd = 2,
}

/// Which storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ObjectStorageConstants {
    /// The TA's, wherever the kernel has it.
    Private = 0x0000_0001,
    /// In files of the normal world.
    PrivateRee = 0x8000_0000,
    /// In a replay-protected memory block.
    PrivateRpmb = 0x8000_0100,
    /// None.
    IllegalValue = 0x7fff_ffff,
}

/// Limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum MiscellaneousConstants {
    /// Highest position in an object's data.
    TeeDataMaxPosition = u32::MAX,
    /// Most bytes of an object's id.
    TeeObjectIdMaxLen = 64,
}

bitflags! {
    /// What may be done through a handle, and through others meanwhile.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DataFlag: u32 {
        /// Data may be read.
        const ACCESS_READ = 0x0000_0001;
        /// Data may be written.
        const ACCESS_WRITE = 0x0000_0002;
        /// The object may be renamed and deleted.
        const ACCESS_WRITE_META = 0x0000_0004;
        /// Others may read.
        const SHARE_READ = 0x0000_0010;
        /// Others may write.
        const SHARE_WRITE = 0x0000_0020;
        /// An object that is there already is replaced, at once.
        const OVERWRITE = 0x0000_0400;
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
