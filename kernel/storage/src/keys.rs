//! Keys: storage key, TA key, file key, as OP-TEE derives them (optee_os `core/tee/tee_fs_key_manager.c`).

use zeroize::Zeroizing;

/// Bytes of the storage key.
pub const STORAGE_KEY: usize = 32;

/// The storage key, which derives from the board's hardware key.
pub struct Keys {
    #[expect(dead_code, reason = "skeleton")]
    storage: Zeroizing<[u8; STORAGE_KEY]>,
}

impl Keys {
    /// Those below this storage key.
    #[must_use]
    pub const fn new(storage: Zeroizing<[u8; STORAGE_KEY]>) -> Self {
        Self { storage }
    }
}
