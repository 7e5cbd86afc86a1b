//! `TEE_UUID`: its memory layout (fields in native order) and its wire layout (RFC 4122 bytes).

use core::fmt;
use core::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A UUID as trusted applications see it (`TEE_UUID`, GPD_SPE_010 §3.3.4), 16 bytes.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Default,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
#[repr(C)]
pub struct TeeUuid {
    /// First four bytes.
    pub time_low: u32,
    /// Next two bytes.
    pub time_mid: u16,
    /// Next two bytes.
    pub time_hi_and_version: u16,
    /// Last eight bytes.
    pub clock_seq_and_node: [u8; 8],
}

impl TeeUuid {
    /// From a 128-bit number written as the usual hexadecimal string.
    #[must_use]
    pub const fn from_u128(v: u128) -> Self {
        Self {
            time_low: (v >> 96) as u32,
            time_mid: (v >> 80) as u16,
            time_hi_and_version: (v >> 64) as u16,
            clock_seq_and_node: (v as u64).to_be_bytes(),
        }
    }

    /// As a 128-bit number.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        ((self.time_low as u128) << 96)
            | ((self.time_mid as u128) << 80)
            | ((self.time_hi_and_version as u128) << 64)
            | u64::from_be_bytes(self.clock_seq_and_node) as u128
    }

    /// From RFC 4122 bytes (big-endian fields), as in message parameters and signed headers.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self::from_u128(u128::from_be_bytes(bytes))
    }

    /// As RFC 4122 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.to_u128().to_be_bytes()
    }

    /// From two value fields `a`, `b` of a message: the bytes as little-endian u64s.
    #[must_use]
    pub const fn from_value_pair(a: u64, b: u64) -> Self {
        Self::from_u128(((a.swap_bytes() as u128) << 64) | b.swap_bytes() as u128)
    }

    /// As two value fields `a`, `b` of a message.
    #[must_use]
    pub const fn to_value_pair(self) -> (u64, u64) {
        let v = self.to_u128();
        (((v >> 64) as u64).swap_bytes(), (v as u64).swap_bytes())
    }

    /// Whether it is the nil UUID.
    #[must_use]
    pub const fn is_nil(self) -> bool {
        self.to_u128() == 0
    }

    /// The nil UUID.
    #[must_use]
    pub const fn nil() -> Self {
        Self::from_u128(0)
    }
}

impl fmt::Display for TeeUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_u128(self.to_u128()), f)
    }
}

impl fmt::Debug for TeeUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TeeUuid {
    type Err = uuid::Error;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        uuid::Uuid::from_str(s).map(|u| Self::from_u128(u.as_u128()))
    }
}

#[cfg(test)]
mod tests {
    use super::TeeUuid;

    #[test]
    fn value_pair_matches_what_linux_sends() {
        // Device pTA 7011a688-ddde-4053-a5a9-7b3c4ddf13b8, as stock Linux passes it.
        let uuid = TeeUuid::from_value_pair(0x5340_dedd_88a6_1170, 0xb813_df4d_3c7b_a9a5);
        assert_eq!(
            uuid,
            TeeUuid::from_u128(0x7011a688_ddde_4053_a5a9_7b3c4ddf13b8)
        );
        assert_eq!(
            uuid.to_value_pair(),
            (0x5340_dedd_88a6_1170, 0xb813_df4d_3c7b_a9a5)
        );
    }

    #[test]
    fn bytes_round_trip() {
        let uuid = TeeUuid::from_u128(0x00112233_4455_6677_8899_aabbccddeeff);
        assert_eq!(TeeUuid::from_bytes(uuid.to_bytes()), uuid);
        assert_eq!(uuid.to_bytes()[0], 0);
        assert_eq!(uuid.to_bytes()[15], 0xff);
    }
}
