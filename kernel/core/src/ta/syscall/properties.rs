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
    /// The UUID of the TA itself.
    Uuid,
}

const KIND_BOOL: u32 = 0;
const KIND_U32: u32 = 1;
const KIND_UUID: u32 = 2;
const KIND_IDENTITY: u32 = 3;
const KIND_STRING: u32 = 4;

const fn implementation(name: &'static [u8], kind: u32, value: &'static [u8]) -> Property {
    Property {
        set: propset::TEE_IMPLEMENTATION,
        name,
        kind,
        value: Value::Fixed(value),
    }
}

const NO: &[u8] = &[0];
const ZERO: &[u8] = &0_u32.to_le_bytes();
/// What the normal world controls.
const BY_NORMAL_WORLD: &[u8] = &100_u32.to_le_bytes();
const MAKER: &[u8] = b"Tally\0";
const UNKNOWN: &[u8] = b"unknown\0";
/// As the board has no number of its own: 00000000-0000-5000-8000-000000000000, of the kind that is made from names.
const DEVICE: &[u8] = &[0, 0, 0, 0, 0, 0, 0x00, 0x50, 0x80, 0, 0, 0, 0, 0, 0, 0];

/// All that OP-TEE's kernel has, in its order; libutee knows the others of a TA's.
const PROPERTIES: [Property; 19] = [
    Property {
        set: propset::CURRENT_CLIENT,
        name: b"gpd.client.identity\0",
        kind: KIND_IDENTITY,
        value: Value::Identity,
    },
    // Little-endian.
    Property {
        set: propset::CURRENT_CLIENT,
        name: b"gpd.client.endian\0",
        kind: KIND_U32,
        value: Value::Fixed(ZERO),
    },
    Property {
        set: propset::CURRENT_TA,
        name: b"gpd.ta.appID\0",
        kind: KIND_UUID,
        value: Value::Uuid,
    },
    implementation(b"gpd.tee.apiversion\0", KIND_STRING, b"1.3.1\0"),
    implementation(b"gpd.tee.description\0", KIND_STRING, MAKER),
    implementation(b"gpd.tee.deviceID\0", KIND_UUID, DEVICE),
    implementation(
        b"gpd.tee.systemTime.protectionLevel\0",
        KIND_U32,
        BY_NORMAL_WORLD,
    ),
    implementation(
        b"gpd.tee.TAPersistentTime.protectionLevel\0",
        KIND_U32,
        BY_NORMAL_WORLD,
    ),
    implementation(b"gpd.tee.cryptography.ecc\0", KIND_BOOL, NO),
    // Enforced by the normal world at most.
    implementation(
        b"gpd.tee.trustedStorage.antiRollback.protectionLevel\0",
        KIND_U32,
        BY_NORMAL_WORLD,
    ),
    implementation(
        b"gpd.tee.trustedos.implementation.version\0",
        KIND_STRING,
        concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes(),
    ),
    implementation(
        b"gpd.tee.trustedos.implementation.binaryversion\0",
        KIND_U32,
        ZERO,
    ),
    implementation(b"gpd.tee.trustedos.manufacturer\0", KIND_STRING, MAKER),
    implementation(
        b"gpd.tee.firmware.implementation.version\0",
        KIND_STRING,
        UNKNOWN,
    ),
    implementation(
        b"gpd.tee.firmware.implementation.binaryversion\0",
        KIND_U32,
        ZERO,
    ),
    implementation(b"gpd.tee.firmware.manufacturer\0", KIND_STRING, UNKNOWN),
    // TAs have no use of these, whatever the CPU has.
    implementation(
        b"org.trustedfirmware.optee.cpu.feat_bti_implemented\0",
        KIND_BOOL,
        NO,
    ),
    implementation(
        b"org.trustedfirmware.optee.cpu.feat_pauth_implemented\0",
        KIND_BOOL,
        NO,
    ),
    implementation(
        b"org.trustedfirmware.optee.cpu.feat_memtag_implemented\0",
        KIND_U32,
        ZERO,
    ),
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
        let (identity, uuid);
        let value = match property.value {
            Value::Uuid => {
                let state = self.kernel.state();
                let found = state.instance(instance).ok_or(TeeResult::TARGET_DEAD)?;
                uuid = found.uuid;
                uuid.as_bytes()
            }
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
        if x[6] != 0 {
            self.put(instance, UserVa(x[6]), property.kind.as_bytes())?;
        }
        self.put_sized(instance, UserVa(x[4]), UserVa(x[5]), value)?;
        self.put_sized(instance, UserVa(x[2]), UserVa(x[3]), property.name)
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
        if x[1] == 0 || x[2] == 0 {
            return Err(TeeResult::BAD_PARAMETERS);
        }
        let mut name = [0; 64];
        let name = name
            .get_mut(..usize::try_from(x[2]).unwrap_or(usize::MAX))
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        self.take(instance, UserVa(x[1]), name)?;
        // Whatever comes last counts as the end, as OP-TEE has it.
        if let Some(last) = name.last_mut() {
            *last = 0;
        }
        let len = name.iter().position(|byte| *byte == 0);
        let name = &name[..len.map_or(0, |len| len + 1)];
        let index = PROPERTIES
            .iter()
            .filter(|property| property.set == x[0])
            .position(|property| property.name == name)
            .ok_or(TeeResult::ITEM_NOT_FOUND)?;
        self.put(instance, UserVa(x[3]), (index as u32).as_bytes())
    }
}
