//! Numbers and structures of GlobalPlatform's cryptography, as TAs' system calls have them.
//!
//! Source: GPD_SPE_010 6; optee_os `lib/libutee/include/{tee_api_defines,tee_api_defines_extensions,utee_types}.h`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

macro_rules! numbers {
    ($($name:ident = $value:expr;)*) => {
        $(#[doc = concat!("`", stringify!($name), "`.")] pub const $name: u32 = $value;)*
    };
}

/// Algorithms (`TEE_ALG_*`).
pub mod algorithm {
    numbers! {
        AES_ECB_NOPAD = 0x1000_0010;
        AES_CBC_NOPAD = 0x1000_0110;
        AES_CTR = 0x1000_0210;
        AES_CTS = 0x1000_0310;
        AES_XTS = 0x1000_0410;
        AES_CBC_MAC_NOPAD = 0x3000_0110;
        AES_CBC_MAC_PKCS5 = 0x3000_0510;
        AES_CMAC = 0x3000_0610;
        AES_CCM = (4 << 28) | 0x0710;
        AES_GCM = (4 << 28) | 0x0810;
        DES_ECB_NOPAD = 0x1000_0011;
        DES_CBC_NOPAD = 0x1000_0111;
        DES_CBC_MAC_NOPAD = 0x3000_0111;
        DES_CBC_MAC_PKCS5 = 0x3000_0511;
        DES3_ECB_NOPAD = 0x1000_0013;
        DES3_CBC_NOPAD = 0x1000_0113;
        DES3_CBC_MAC_NOPAD = 0x3000_0113;
        DES3_CBC_MAC_PKCS5 = 0x3000_0513;
        SM4_ECB_NOPAD = 0x1000_0014;
        SM4_CBC_NOPAD = 0x1000_0114;
        SM4_CTR = 0x1000_0214;
        RSASSA_PKCS1_V1_5_MD5 = 0x7000_1830;
        RSASSA_PKCS1_V1_5_SHA1 = 0x7000_2830;
        RSASSA_PKCS1_V1_5_SHA224 = 0x7000_3830;
        RSASSA_PKCS1_V1_5_SHA256 = 0x7000_4830;
        RSASSA_PKCS1_V1_5_SHA384 = 0x7000_5830;
        RSASSA_PKCS1_V1_5_SHA512 = 0x7000_6830;
        RSASSA_PKCS1_V1_5_MD5SHA1 = 0x7000_f830;
        RSASSA_PKCS1_V1_5_SHA3_224 = 0x7000_8830;
        RSASSA_PKCS1_V1_5_SHA3_256 = 0x7000_9830;
        RSASSA_PKCS1_V1_5_SHA3_384 = 0x7000_a830;
        RSASSA_PKCS1_V1_5_SHA3_512 = 0x7000_b830;
        RSASSA_PKCS1_PSS_MGF1_SHA1 = 0x7021_2930;
        RSASSA_PKCS1_PSS_MGF1_SHA224 = 0x7031_3930;
        RSASSA_PKCS1_PSS_MGF1_SHA256 = 0x7041_4930;
        RSASSA_PKCS1_PSS_MGF1_SHA384 = 0x7051_5930;
        RSASSA_PKCS1_PSS_MGF1_SHA512 = 0x7061_6930;
        RSASSA_PKCS1_PSS_MGF1_SHA3_224 = 0x7081_8930;
        RSASSA_PKCS1_PSS_MGF1_SHA3_256 = 0x7091_9930;
        RSASSA_PKCS1_PSS_MGF1_SHA3_384 = 0x70a1_a930;
        RSASSA_PKCS1_PSS_MGF1_SHA3_512 = 0x70b1_b930;
        RSAES_PKCS1_V1_5 = 0x6000_0130;
        RSAES_PKCS1_OAEP_MGF1_SHA1 = 0x6021_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA224 = 0x6031_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA256 = 0x6041_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA384 = 0x6051_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA512 = 0x6061_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA3_224 = 0x6081_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA3_256 = 0x6091_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA3_384 = 0x60a1_0230;
        RSAES_PKCS1_OAEP_MGF1_SHA3_512 = 0x60b1_0230;
        RSA_NOPAD = 0x6000_0030;
        DSA_SHA1 = 0x7000_2131;
        DSA_SHA224 = 0x7000_3131;
        DSA_SHA256 = 0x7000_4131;
        DSA_SHA3_224 = 0x7000_8131;
        DSA_SHA3_256 = 0x7000_9131;
        DSA_SHA3_384 = 0x7000_a131;
        DSA_SHA3_512 = 0x7000_b131;
        SM2_DSA_SM3 = 0x7000_6045;
        DH_DERIVE_SHARED_SECRET = 0x8000_0032;
        SM2_KEP = 0x6000_0045;
        MD5 = 0x5000_0001;
        SHA1 = 0x5000_0002;
        SHA224 = 0x5000_0003;
        SHA256 = 0x5000_0004;
        SHA384 = 0x5000_0005;
        SHA512 = 0x5000_0006;
        SHA3_224 = 0x5000_0008;
        SHA3_256 = 0x5000_0009;
        SHA3_384 = 0x5000_000a;
        SHA3_512 = 0x5000_000b;
        MD5SHA1 = 0x5000_000f;
        HMAC_MD5 = 0x3000_0001;
        HMAC_SHA1 = 0x3000_0002;
        HMAC_SHA224 = 0x3000_0003;
        HMAC_SHA256 = 0x3000_0004;
        HMAC_SHA384 = 0x3000_0005;
        HMAC_SHA512 = 0x3000_0006;
        HMAC_SM3 = 0x3000_0007;
        HMAC_SHA3_224 = 0x3000_0008;
        HMAC_SHA3_256 = 0x3000_0009;
        HMAC_SHA3_384 = 0x3000_000a;
        HMAC_SHA3_512 = 0x3000_000b;
        ECDH_DERIVE_SHARED_SECRET = 0x8000_0042;
        ECDSA_SHA1 = 0x7000_1042;
        ECDSA_SHA224 = 0x7000_2042;
        ECDSA_SHA256 = 0x7000_3042;
        ECDSA_SHA384 = 0x7000_4042;
        ECDSA_SHA512 = 0x7000_5042;
        ECDSA_SHA3_224 = 0x7000_6042;
        ECDSA_SHA3_256 = 0x7000_7042;
        ECDSA_SHA3_384 = 0x7000_8042;
        ECDSA_SHA3_512 = 0x7000_9042;
        ED25519 = 0x7000_6043;
        ED448 = 0x7000_6044;
        SM2_PKE = 0x8000_0046;
        HKDF = 0x8000_0047;
        SM3 = 0x5000_0007;
        X25519 = 0x8000_0044;
        X448 = 0x8000_0045;
        SM4_ECB_PKCS5 = 0x1000_0015;
        SM4_CBC_PKCS5 = 0x1000_0115;
        SHAKE128 = 0x5000_0101;
        SHAKE256 = 0x5000_0102;
        RSASSA_PKCS1_PSS_MGF1_MD5 = 0xf011_1930;
        RSAES_PKCS1_OAEP_MGF1_MD5 = 0xf011_0230;
        HKDF_MD5_DERIVE_KEY = 0x8000_10c0;
        HKDF_SHA1_DERIVE_KEY = 0x8000_20c0;
        HKDF_SHA224_DERIVE_KEY = 0x8000_30c0;
        HKDF_SHA256_DERIVE_KEY = 0x8000_40c0;
        HKDF_SHA384_DERIVE_KEY = 0x8000_50c0;
        HKDF_SHA512_DERIVE_KEY = 0x8000_60c0;
        CONCAT_KDF_SHA1_DERIVE_KEY = 0x8000_20c1;
        CONCAT_KDF_SHA224_DERIVE_KEY = 0x8000_30c1;
        CONCAT_KDF_SHA256_DERIVE_KEY = 0x8000_40c1;
        CONCAT_KDF_SHA384_DERIVE_KEY = 0x8000_50c1;
        CONCAT_KDF_SHA512_DERIVE_KEY = 0x8000_60c1;
        PBKDF2_HMAC_SHA1_DERIVE_KEY = 0x8000_20c2;
        PBKDF2_HMAC_SHA224_DERIVE_KEY = 0x8000_30c2;
        PBKDF2_HMAC_SHA256_DERIVE_KEY = 0x8000_40c2;
        PBKDF2_HMAC_SHA384_DERIVE_KEY = 0x8000_50c2;
        PBKDF2_HMAC_SHA512_DERIVE_KEY = 0x8000_60c2;
        PBKDF2_HMAC_SM3_DERIVE_KEY = 0x8000_70c2;
        RSASSA_PKCS1_V1_5 = 0xf000_0830;
        DES3_CMAC = 0xf000_0613;
        SM4_XTS = 0xf000_0414;
    }
}

/// Types of objects (`TEE_TYPE_*`).
pub mod object_type {
    numbers! {
        AES = 0xa000_0010;
        DES = 0xa000_0011;
        DES3 = 0xa000_0013;
        SM4 = 0xa000_0014;
        HMAC_MD5 = 0xa000_0001;
        HMAC_SHA1 = 0xa000_0002;
        HMAC_SHA224 = 0xa000_0003;
        HMAC_SHA256 = 0xa000_0004;
        HMAC_SHA384 = 0xa000_0005;
        HMAC_SHA512 = 0xa000_0006;
        HMAC_SM3 = 0xa000_0007;
        HMAC_SHA3_224 = 0xa000_0008;
        HMAC_SHA3_256 = 0xa000_0009;
        HMAC_SHA3_384 = 0xa000_000a;
        HMAC_SHA3_512 = 0xa000_000b;
        RSA_PUBLIC_KEY = 0xa000_0030;
        RSA_KEYPAIR = 0xa100_0030;
        DSA_PUBLIC_KEY = 0xa000_0031;
        DSA_KEYPAIR = 0xa100_0031;
        DH_KEYPAIR = 0xa100_0032;
        ECDSA_PUBLIC_KEY = 0xa000_0041;
        ECDSA_KEYPAIR = 0xa100_0041;
        ECDH_PUBLIC_KEY = 0xa000_0042;
        ECDH_KEYPAIR = 0xa100_0042;
        ED25519_PUBLIC_KEY = 0xa000_0043;
        ED25519_KEYPAIR = 0xa100_0043;
        X448_PUBLIC_KEY = 0xa000_0049;
        X448_KEYPAIR = 0xa100_0049;
        SM2_DSA_PUBLIC_KEY = 0xa000_0045;
        SM2_DSA_KEYPAIR = 0xa100_0045;
        SM2_KEP_PUBLIC_KEY = 0xa000_0046;
        SM2_KEP_KEYPAIR = 0xa100_0046;
        SM2_PKE_PUBLIC_KEY = 0xa000_0047;
        SM2_PKE_KEYPAIR = 0xa100_0047;
        GENERIC_SECRET = 0xa000_0000;
        CORRUPTED_OBJECT = 0xa000_00be;
        DATA = 0xa000_00bf;
        X25519_PUBLIC_KEY = 0xa000_0044;
        X25519_KEYPAIR = 0xa100_0044;
        HKDF_IKM = 0xa100_00c0;
        CONCAT_KDF_Z = 0xa100_00c1;
        PBKDF2_PASSWORD = 0xa100_00c2;
    }
}

/// Attributes of objects and of operations (`TEE_ATTR_*`).
pub mod attribute {
    numbers! {
        SECRET_VALUE = 0xc000_0000;
        RSA_MODULUS = 0xd000_0130;
        RSA_PUBLIC_EXPONENT = 0xd000_0230;
        RSA_PRIVATE_EXPONENT = 0xc000_0330;
        RSA_PRIME1 = 0xc000_0430;
        RSA_PRIME2 = 0xc000_0530;
        RSA_EXPONENT1 = 0xc000_0630;
        RSA_EXPONENT2 = 0xc000_0730;
        RSA_COEFFICIENT = 0xc000_0830;
        DSA_PRIME = 0xd000_1031;
        DSA_SUBPRIME = 0xd000_1131;
        DSA_BASE = 0xd000_1231;
        DSA_PUBLIC_VALUE = 0xd000_0131;
        DSA_PRIVATE_VALUE = 0xc000_0231;
        DH_PRIME = 0xd000_1032;
        DH_SUBPRIME = 0xd000_1132;
        DH_BASE = 0xd000_1232;
        DH_X_BITS = 0xf000_1332;
        DH_PUBLIC_VALUE = 0xd000_0132;
        DH_PRIVATE_VALUE = 0xc000_0232;
        RSA_OAEP_LABEL = 0xd000_0930;
        RSA_OAEP_MGF_HASH = 0xd000_0931;
        RSA_PSS_SALT_LENGTH = 0xf000_0a30;
        ECC_PUBLIC_VALUE_X = 0xd000_0141;
        ECC_PUBLIC_VALUE_Y = 0xd000_0241;
        ECC_PRIVATE_VALUE = 0xc000_0341;
        ECC_CURVE = 0xf000_0441;
        SM2_ID_INITIATOR = 0xd000_0446;
        SM2_ID_RESPONDER = 0xd000_0546;
        SM2_KEP_USER = 0xf000_0646;
        SM2_KEP_CONFIRMATION_IN = 0xd000_0746;
        SM2_KEP_CONFIRMATION_OUT = 0xd000_0846;
        ECC_EPHEMERAL_PUBLIC_VALUE_X = 0xd000_0146;
        ECC_EPHEMERAL_PUBLIC_VALUE_Y = 0xd000_0246;
        SM2_EPHEMERAL_X_OLD = 0xd000_0946;
        SM2_EPHEMERAL_Y_OLD = 0xd000_0a46;
        EDDSA_CTX = 0xd000_0643;
        ED25519_PUBLIC_VALUE = 0xd000_0743;
        ED25519_PRIVATE_VALUE = 0xc000_0843;
        X25519_PUBLIC_VALUE = 0xd000_0944;
        X25519_PRIVATE_VALUE = 0xc000_0a44;
        EDDSA_PREHASH = 0xf000_0004;
        X448_PUBLIC_VALUE = 0xd000_0a45;
        X448_PRIVATE_VALUE = 0xc000_0a46;
        HKDF_SALT = 0xd000_0946;
        HKDF_INFO = 0xd000_0a46;
        HKDF_HASH_ALGORITHM = 0xf000_0b46;
        KDF_KEY_SIZE = 0xf000_0c46;
        HKDF_IKM = 0xc000_01c0;
        HKDF_SALT_OLD = 0xd000_02c0;
        HKDF_INFO_OLD = 0xd000_03c0;
        HKDF_OKM_LENGTH = 0xf000_04c0;
        CONCAT_KDF_Z = 0xc000_01c1;
        CONCAT_KDF_OTHER_INFO = 0xd000_02c1;
        CONCAT_KDF_DKM_LENGTH = 0xf000_03c1;
        PBKDF2_PASSWORD = 0xc000_01c2;
        PBKDF2_SALT = 0xd000_02c2;
        PBKDF2_ITERATION_COUNT = 0xf000_03c2;
        PBKDF2_DKM_LENGTH = 0xf000_04c2;
    }
    /// Bit of those that may be read whatever an object's usage is.
    pub const PUBLIC: u32 = 1 << 28;
    /// Bit of those that are two numbers, not bytes.
    pub const VALUE: u32 = 1 << 29;
}

/// Elliptic curves (`TEE_ECC_CURVE_*`), in [`attribute::ECC_CURVE`].
pub mod curve {
    numbers! {
        NIST_P192 = 0x0000_0001;
        NIST_P224 = 0x0000_0002;
        NIST_P256 = 0x0000_0003;
        NIST_P384 = 0x0000_0004;
        NIST_P521 = 0x0000_0005;
        CURVE_25519 = 0x0000_0300;
        SM2 = 0x0000_0400;
    }
}

/// What an operation does (`TEE_MODE_*`).
pub mod mode {
    numbers! {
        ENCRYPT = 0;
        DECRYPT = 1;
        SIGN = 2;
        VERIFY = 3;
        MAC = 4;
        DIGEST = 5;
        DERIVE = 6;
    }
}

/// What a key may be used for (`TEE_USAGE_*`).
pub mod usage {
    /// To be read.
    pub const EXTRACTABLE: u32 = 1;
    /// Anything.
    pub const ALL: u32 = u32::MAX;
}

/// Flags of an object (`TEE_HANDLE_FLAG_*`).
pub mod handle_flag {
    /// It is in storage.
    pub const PERSISTENT: u32 = 1 << 16;
    /// It has its attributes.
    pub const INITIALIZED: u32 = 1 << 17;
}

/// `struct utee_attribute`: two numbers, or address and length.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UteeAttribute {
    /// First number, or address.
    pub a: u64,
    /// Second number, or length.
    pub b: u64,
    /// See [`attribute`].
    pub id: u32,
    /// Nothing.
    pub padding: u32,
}

/// `struct utee_object_info`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct UteeObjectInfo {
    /// See [`object_type`].
    pub object_type: u32,
    /// Bits of the key.
    pub size_bits: u32,
    /// Bits that it may have.
    pub max_size_bits: u32,
    /// See [`usage`].
    pub usage: u32,
    /// Bytes of data, in storage.
    pub data_bytes: u32,
    /// Position in them.
    pub data_position: u32,
    /// See [`handle_flag`].
    pub flags: u32,
}
