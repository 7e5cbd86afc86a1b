//! Header and linker script of the TA, from OP-TEE's kit in `TA_DEV_KIT_DIR`.

use optee_utee_build::{Builder, Error, LinkerType, TaConfig};

const UUID: &str = "7a11e110-0100-4c6e-8d01-5ec0de000100";

fn main() -> Result<(), Error> {
    let config = TaConfig::new_default(UUID, "0.1.0", "a TA on Teaclave's crates")?;
    Builder::new(config).linker_type(LinkerType::Cc).build()
}
