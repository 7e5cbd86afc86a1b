//! Names of programs and owners in the account.
//!
//! **Invariant:** everybody is called something: where there is no name, by UUID or kind.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

use tally_abi::{TeeUuid, pta};
use tally_records::owner_kind;

/// Pseudo-TAs, which are part of the kernel.
const PSEUDO: [(&str, TeeUuid); 8] = [
    ("pTA stats", pta::stats::UUID),
    ("pTA device", pta::device::UUID),
    ("pTA memleak", pta::memleak::UUID),
    ("pTA control", pta::control::UUID),
    ("pTA inspect", pta::inspect::UUID),
    ("pTA audit", pta::audit::UUID),
    ("pTA watch", pta::watch::UUID),
    ("pTA vdec", pta::vdec::UUID),
];

/// Short names of trusted applications.
pub trait Names {
    /// The name of this one, if anyone knows it.
    fn name_of(&self, uuid: TeeUuid) -> Option<String>;
}

/// A TA's or pseudo-TA's short name, or its UUID.
#[must_use]
pub fn ta(names: &dyn Names, uuid: TeeUuid) -> String {
    let pseudo = || PSEUDO.iter().find(|(_, known)| *known == uuid);
    match (pseudo(), names.name_of(uuid)) {
        (Some((name, _)), _) => (*name).to_owned(),
        (None, Some(name)) => name,
        (None, None) => uuid.to_string(),
    }
}

/// What a pool is called: the TA's name, or `kernel` for nil.
#[must_use]
pub fn program(names: &dyn Names, uuid: TeeUuid) -> String {
    if uuid == TeeUuid::nil() {
        "kernel".to_owned()
    } else {
        ta(names, uuid)
    }
}

/// An owner for people, one session like any other of the same TA.
#[must_use]
pub fn owner(names: &dyn Names, kind: u32, label: &[u8], uuid: TeeUuid) -> String {
    match kind {
        owner_kind::TA => format!("TA {}", ta(names, uuid)),
        owner_kind::SESSION if uuid == TeeUuid::nil() => "sessions of pseudo-TAs".to_owned(),
        owner_kind::SESSION => format!("sessions of {}", ta(names, uuid)),
        _ => match printable(label) {
            label if label.is_empty() => "unnamed".to_owned(),
            label => label,
        },
    }
}

/// Name of an owner's kind.
#[must_use]
pub const fn kind_name(kind: u32) -> &'static str {
    match kind {
        owner_kind::KERNEL => "kernel",
        owner_kind::GUEST => "guest",
        owner_kind::TA => "ta",
        owner_kind::SESSION => "session",
        _ => "unknown",
    }
}

/// A zero-padded name as text that is safe to show: what is not printable ASCII becomes `?`.
#[must_use]
pub fn printable(padded: &[u8]) -> String {
    let octets = padded.iter().take_while(|&&byte| byte != 0);
    octets
        .map(|&byte| match byte {
            b' '..=b'~' => char::from(byte),
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Known(TeeUuid);

    impl Names for Known {
        fn name_of(&self, uuid: TeeUuid) -> Option<String> {
            (uuid == self.0).then(|| "known".to_owned())
        }
    }

    const OTHER: TeeUuid = TeeUuid::from_u128(0x7a11e110_0002_4c6e_8d01_5ec0de000002);
    const KNOWN: TeeUuid = TeeUuid::from_u128(0x7a11e110_0001_4c6e_8d01_5ec0de000001);

    #[test]
    fn owners_are_named_for_people() {
        let nil = TeeUuid::nil();
        let cases = [
            (owner_kind::KERNEL, "kernel", nil, "kernel"),
            (owner_kind::KERNEL, "", nil, "unnamed"),
            (owner_kind::TA, "", KNOWN, "TA known"),
            (
                owner_kind::SESSION,
                "session",
                pta::stats::UUID,
                "sessions of pTA stats",
            ),
            (
                owner_kind::SESSION,
                "session",
                nil,
                "sessions of pseudo-TAs",
            ),
            (99, "odd", nil, "odd"),
        ];
        for (kind, label, uuid, shown) in cases {
            assert_eq!(owner(&Known(KNOWN), kind, label.as_bytes(), uuid), shown);
        }
    }

    #[test]
    fn programs_without_a_name_are_called_by_their_uuid() {
        let names = Known(KNOWN);
        assert_eq!(program(&names, TeeUuid::nil()), "kernel");
        assert_eq!(program(&names, KNOWN), "known");
        assert_eq!(program(&names, OTHER), OTHER.to_string());
    }

    #[test]
    fn names_are_made_printable() {
        assert_eq!(printable(b"ta\0xx"), "ta");
        assert_eq!(printable(b"a\x1b[2J<\xff"), "a?[2J<?");
    }
}
