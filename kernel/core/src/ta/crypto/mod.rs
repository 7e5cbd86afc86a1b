//! Keys and operations that a TA holds in the kernel: transient objects and states of algorithms (GPD_SPE_010 5 and 6).
//!
//! Source: optee_os `core/tee/{tee_svc_cryp,tee_obj}.c`.
//!
//! **Invariant:** they belong to one instance, which alone can name them, are charged to it, and go with it; what held a
//! key is zeroed.

pub mod algorithm;
pub mod handles;
pub mod object;
pub mod rules;
pub mod scheme;
pub mod state;

use handles::Handles;
use object::Object;
use state::CryptState;
use tally_abi::TeeResult;

/// Most bytes of the kernel heap that a TA's keys and operations take, those of all of its instances.
pub const MAX_TA_BYTES: usize = 40 * 1024;
/// Most bytes of the kernel heap that those of all TAs take.
pub const MAX_BYTES: usize = 80 * 1024;

/// What an instance holds.
#[derive(Debug)]
pub struct Holdings {
    /// Its objects.
    pub objects: Handles<Object>,
    /// Its states.
    pub states: Handles<CryptState>,
    /// Bytes of the heap behind both.
    bytes: usize,
}

impl Holdings {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            objects: Handles::new(),
            states: Handles::new(),
            bytes: 0,
        }
    }

    /// Bytes of the heap that it takes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts bytes that are taken for a while.
    pub const fn lend(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Counts them no more.
    pub const fn give_back(&mut self, bytes: usize) {
        self.bytes -= bytes;
    }

    /// Takes in an object. Its handle.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn add_object(&mut self, object: Object) -> Result<u32, TeeResult> {
        let bytes = object.heap_bytes();
        let handle = self.objects.insert(object)?;
        self.bytes += bytes;
        Ok(handle)
    }

    /// Lets go of an object.
    pub fn remove_object(&mut self, handle: u32) {
        if let Some(object) = self.objects.remove(handle) {
            self.bytes -= object.heap_bytes();
        }
    }

    /// Takes in a state, whose keys are its own from now on. Its handle.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn add_state(&mut self, state: CryptState) -> Result<u32, TeeResult> {
        let (bytes, keys) = (state.heap_bytes(), state.keys);
        let handle = self.states.insert(state)?;
        self.bytes += bytes;
        for key in keys {
            if let Some(key) = self.objects.get_mut(key) {
                key.is_busy = true;
            }
        }
        Ok(handle)
    }

    /// Lets go of a state and of its keys. False if there is none.
    pub fn remove_state(&mut self, handle: u32) -> bool {
        let Some(state) = self.states.remove(handle) else {
            return false;
        };
        self.bytes -= state.heap_bytes();
        for key in state.keys {
            self.remove_object(key);
        }
        true
    }
}

impl Default for Holdings {
    fn default() -> Self {
        Self::new()
    }
}
