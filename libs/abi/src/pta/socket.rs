//! OP-TEE's socket pTA: TCP and UDP by way of the supplicant. Source: optee_os `lib/libutee/include/pta_socket.h`.
//!
//! **Invariant:** for TAs only.

use super::TeeUuid;

/// `PTA_SOCKET_UUID`.
pub const UUID: TeeUuid = TeeUuid::from_u128(0x3b996a7d_2c2b_4a49_a896_e1fb5766d2f4);

/// `(value in: a = version of IP, b = port; memref in: address; value in: a = protocol; value out: a = socket)`.
pub const CMD_OPEN: u32 = 1;
/// `(value in: a = socket)`.
pub const CMD_CLOSE: u32 = 2;
/// `(value in: a = socket, b = milliseconds; memref in: data; value out: a = bytes sent)`.
pub const CMD_SEND: u32 = 3;
/// `(value in: a = socket, b = milliseconds; memref out: data)`.
pub const CMD_RECV: u32 = 4;
/// `(value in: a = socket, b = command; memref inout: data)`.
pub const CMD_IOCTL: u32 = 5;
