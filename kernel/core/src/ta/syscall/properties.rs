//! Properties of the implementation and of the client.

use crate::call::Call;
use crate::observer::Observer;
use crate::ta::instance::InstanceRef;
use tally_abi::TeeResult;
use tally_abi::ta::propset;
use tally_mem::addr::UserVa;
use tally_mem::machine::Machine;
use zerocopy::IntoBytes;

/// A property that the kernel knows (GPD_SPE_010 §4); names end with a zero, as C wants them.
struct Property {
    set: u64,
    name: &'static [u8],
    /// `enum user_ta_prop_type`.
    kind: u32,
    value: Value,
}

enum Value {
    Fixed(&'static [u8]),
    /// Login and UUID of the session's client.
    Identity,
}

const KIND_U32: u32 = 1;
const KIND_IDENTITY: u32 = 3;
const KIND_STRING: u32 = 4;

const PROPERTIES: [Property; 5] = [
    Property {
        set: propset::CURRENT_CLIENT,
        name: b"gpd.client.identity\0",
        kind: KIND_IDENTITY,
        value: Value::Identity,
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.apiversion\0",
        kind: KIND_STRING,
        value: Value::Fixed(b"1.3.1\0"),
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.description\0",
        kind: KIND_STRING,
        value: Value::Fixed(b"Tally\0"),
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.systemTime.protectionLevel\0",
        kind: KIND_U32,
        value: Value::Fixed(&100_u32.to_le_bytes()),
    },
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name: b"gpd.tee.TAPersistentTime.protectionLevel\0",
        kind: KIND_U32,
        value: Value::Fixed(&100_u32.to_le_bytes()),
    },
];

impl<M: Machine, O: Observer> Call<'_, M, O> {
    #[inline(never)]
    pub(super) fn sys_get_property(
        &self,
        instance: InstanceRef,
        session: u32,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let property = PROPERTIES
            .iter()
            .filter(|property| property.set == x[0])
            .nth(x[1] as usize)
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        let identity;
        let value = match property.value {
            Value::Identity => {
                let client = self.session_of(session, |s| (s.login, s.client));
                let (login, client) = client.ok_or(TeeResult::BAD_STATE)?;
                let mut bytes = [0; 20];
                bytes[..4].copy_from_slice(login.as_bytes());
                bytes[4..].copy_from_slice(client.as_bytes());
                identity = bytes;
                &identity[..]
            }
            Value::Fixed(bytes) => bytes,
        };
        self.put_sized(instance, UserVa(x[2]), UserVa(x[3]), property.name)?;
        self.put_sized(instance, UserVa(x[4]), UserVa(x[5]), value)?;
        if x[6] != 0 {
            self.put(instance, UserVa(x[6]), property.kind.as_bytes())?;
        }
        Ok(())
    }

    /// Writes `data` to `va` and its length to `len_va`, where the room is now; nothing to a null
    /// `va`.
    pub(super) fn put_sized(
        &self,
        instance: InstanceRef,
        va: UserVa,
        len_va: UserVa,
        data: &[u8],
    ) -> Result<(), TeeResult> {
        if va.0 == 0 || len_va.0 == 0 {
            return Ok(());
        }
        let mut room = 0_u32;
        self.take(instance, len_va, room.as_mut_bytes())?;
        self.put(instance, len_va, (data.len() as u32).as_bytes())?;
        if (room as usize) < data.len() {
            return Err(TeeResult::SHORT_BUFFER);
        }
        self.put(instance, va, data)
    }

    #[inline(never)]
    pub(super) fn sys_property_index(
        &self,
        instance: InstanceRef,
        x: &[u64; 31],
    ) -> Result<(), TeeResult> {
        let mut name = [0; 64];
        let name = name
            .get_mut(..usize::try_from(x[2]).unwrap_or(usize::MAX))
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        self.take(instance, UserVa(x[1]), name)?;
        let index = PROPERTIES
            .iter()
            .filter(|property| property.set == x[0])
            .position(|property| property.name == name)
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        self.put(instance, UserVa(x[3]), (index as u32).as_bytes())
    }
}
