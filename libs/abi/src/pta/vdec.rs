//! Tally's secure buffers for a video decoder: channels, and buffers that a TA maps through them.
//!
//! The order is: open a channel, map, unmap, close the channel. A buffer whose channel was closed
//! cannot be unmapped any more, which [`super::audit`] tells.
//!
//! **Invariant:** for TAs only; a channel belongs to the session that opened it.

use super::TeeUuid;

/// Tally's own.
pub const UUID: TeeUuid = TeeUuid::from_u128(0xb1c8f0e2_5d6a_4a7e_9b43_1e7a11ed0006);

/// `(value out: a = channel)`. `OUT_OF_MEMORY` when there are too many.
pub const CMD_OPEN_CHANNEL: u32 = 0;
/// `(value in: a = channel)`: what was mapped through it and not unmapped is unmapped.
/// `ITEM_NOT_FOUND`.
pub const CMD_CLOSE_CHANNEL: u32 = 1;
/// `(value in: a = channel, b = bytes; value out: a = low, b = high word of the address)`: maps a
/// zeroed buffer of secure memory into the TA that asks. `ITEM_NOT_FOUND`, `OUT_OF_MEMORY`,
/// `BAD_PARAMETERS` for none or more than [`MAX_BYTES`].
pub const CMD_MAP: u32 = 2;
/// `(value in: a = channel; value in: a = low, b = high word of the address)`: unmaps it.
/// `ITEM_NOT_FOUND` if it is not mapped through this channel, or the channel was closed.
pub const CMD_UNMAP: u32 = 3;

/// Largest buffer.
pub const MAX_BYTES: u32 = 64 * 1024;
