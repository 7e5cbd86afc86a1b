//! What the kernel does for pseudo-TAs that map memory into the TA that asks.
//!
//! **Invariant:** a channel is its opener's alone: this TA's, through this session.
//! **Knows nothing of:** what the memory is for.

use tally_abi::TeeResult;

/// Channels and buffers. All get `ACCESS_DENIED` when no TA asks.
pub trait BufferServices {
    /// Opens a channel; its number.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    fn open_channel(&self) -> Result<u32, TeeResult>;
    /// Closes a channel. Mappings that are left are noted and undone.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`.
    fn close_channel(&self, channel: u32) -> Result<(), TeeResult>;
    /// Maps zeroed secure memory into the TA; its address.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND` for the channel, `BAD_PARAMETERS` for the size, `OUT_OF_MEMORY`.
    fn map_buffer(&self, channel: u32, bytes: u32) -> Result<u64, TeeResult>;
    /// Unmaps it.
    ///
    /// # Errors
    /// `ITEM_NOT_FOUND`, also after the channel was closed, which is noted.
    fn unmap_buffer(&self, channel: u32, va: u64) -> Result<(), TeeResult>;
}
