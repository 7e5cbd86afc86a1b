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
pub mod stored;

use handles::Handles;
use object::Object;
use state::CryptState;
use tally_abi::TeeResult;
use tally_mem::fallible::TryBox;
use tally_storage::file::File;

/// Most bytes of the kernel heap that keys and operations of TAs take. A TA may take as many as are left to others then: the
/// first half of them, the next half of the rest, so that something is left for whoever comes.
pub const MAX_BYTES: usize = 80 * 1024;

/// What an instance holds.
#[derive(Debug)]
pub struct Holdings {
    /// Its objects.
    pub objects: Handles<Object>,
    /// Its states.
    pub states: Handles<CryptState>,
    /// Its enumerators of trusted storage.
    pub enumerators: Handles<Enumerator>,
    /// Bytes of the heap behind them.
    bytes: usize,
}

impl Holdings {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            objects: Handles::new(),
            states: Handles::new(),
            enumerators: Handles::new(),
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

    /// Puts an object, whose bytes are counted already, in the place of another one.
    pub fn fill(&mut self, handle: u32, object: Object) {
        if let Some(place) = self.objects.get_mut(handle) {
            self.bytes -= place.heap_bytes();
            *place = object;
        }
    }

    /// Takes a file out of memory if persistent objects have more than so many there, but for that of one.
    pub fn take_file(&mut self, most: usize, but: u32) -> Option<File> {
        let has_file = |object: &Object| {
            let stored = object.storage.as_ref();
            stored.is_some_and(|handle| handle.file.is_some())
        };
        let kept = self.objects.iter_mut();
        if kept.filter(|(_, object)| has_file(object)).count() <= most {
            return None;
        }
        let mut others = self.objects.iter_mut();
        let found = others.find(|(handle, object)| *handle != but && has_file(object));
        let (_, object) = found?;
        let before = object.heap_bytes();
        let (file, _) = object.storage.as_mut()?.file.take()?;
        let after = object.heap_bytes();
        self.bytes -= before - after;
        Some(file)
    }

    /// Takes an object out: it is zeroed where the caller lets go of it.
    #[must_use]
    pub fn remove_object(&mut self, handle: u32) -> Option<TryBox<Object>> {
        let object = self.objects.remove(handle)?;
        self.bytes -= object.heap_bytes();
        Some(object)
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

    /// Takes a state out with its keys, as above.
    #[must_use]
    pub fn remove_state(&mut self, handle: u32) -> Option<Removed> {
        let state = self.states.remove(handle)?;
        self.bytes -= state.heap_bytes();
        let keys = state.keys.map(|key| self.remove_object(key));
        Some(Removed {
            _state: state,
            keys,
        })
    }

    /// Takes in an enumerator. Its handle.
    ///
    /// # Errors
    /// `OUT_OF_MEMORY`.
    pub fn add_enumerator(&mut self) -> Result<u32, TeeResult> {
        let handle = self.enumerators.insert(Enumerator::default())?;
        self.bytes += size_of::<Enumerator>();
        Ok(handle)
    }

    /// Takes an enumerator out.
    pub fn remove_enumerator(&mut self, handle: u32) -> Option<TryBox<Enumerator>> {
        let enumerator = self.enumerators.remove(handle)?;
        self.bytes -= size_of::<Enumerator>();
        Some(enumerator)
    }

    /// Lets go of something, if there is anything: bounded work.
    pub fn forget_one(&mut self) -> Option<Forgotten> {
        if self.states.pop().is_some() {
            return Some(Forgotten::State);
        }
        if let Some(enumerator) = self.enumerators.pop() {
            return Some(Forgotten::Enumerator(enumerator));
        }
        self.objects.pop().map(Forgotten::Object)
    }
}

/// What was let go of, to be ended where storage is involved.
#[derive(Debug)]
pub enum Forgotten {
    /// An object.
    Object(TryBox<Object>),
    /// A state.
    State,
    /// An enumerator.
    Enumerator(TryBox<Enumerator>),
}

/// Where a list of a TA's objects in trusted storage stands.
#[derive(Debug, Default)]
pub struct Enumerator {
    /// It has begun.
    pub has_begun: bool,
    /// Place of the object that came last.
    pub after: Option<u32>,
}

/// A state and its keys on their way out.
#[derive(Debug)]
pub struct Removed {
    _state: TryBox<CryptState>,
    /// The keys.
    pub keys: [Option<TryBox<Object>>; 2],
}

impl Default for Holdings {
    fn default() -> Self {
        Self::new()
    }
}
