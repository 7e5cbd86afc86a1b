//! Secure buffers that pseudo-TAs map into the TA that asks: channels, mappings, and which of them
//! are not undone.
//!
//! A mapping has two objects on the kernel heap, as OP-TEE's have: where it lies in the TA
//! ([`RegionNode`], 28 bytes), and what lies there ([`BufferObject`], 32 bytes).
//!
//! **Invariant:** a buffer's pages are in use as long as they are mapped, and both objects live as
//! long; a TA that ends leaves nothing here. The test-only fault breaks this on purpose, for the
//! objects, until it is switched off.

use crate::share::Share;
use crate::ta::instance::InstanceRef;
use alloc::vec::Vec;
use tally_abi::TeeResult;
use tally_mem::addr::{PAGE_SHIFT, PhysPage, UserVa};
use tally_mem::fallible::{HeapExhausted, TryBox, try_push, vec_with_capacity};

/// Why a channel or a buffer cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferError {
    /// No such channel, or not the caller's.
    NoChannel,
    /// Nothing is mapped there through this channel.
    NotMapped,
    /// No buffer is that small or that large.
    BadSize,
    /// Too many channels or mappings, no page, or no kernel heap.
    OutOfMemory,
}

impl From<BufferError> for TeeResult {
    fn from(err: BufferError) -> Self {
        match err {
            BufferError::NoChannel | BufferError::NotMapped => Self::ITEM_NOT_FOUND,
            BufferError::BadSize => Self::BAD_PARAMETERS,
            BufferError::OutOfMemory => Self::OUT_OF_MEMORY,
        }
    }
}

impl From<HeapExhausted> for BufferError {
    fn from(_: HeapExhausted) -> Self {
        Self::OutOfMemory
    }
}

/// A channel.
#[derive(Clone, Copy, Debug)]
pub struct Channel<T> {
    /// Its number.
    pub id: u32,
    /// The TA that opened it.
    pub instance: InstanceRef,
    /// The TA's session to the pseudo-TA.
    pub session: u32,
    /// Where it was opened, and by whom.
    pub opened: T,
}

/// Where a buffer lies in a TA.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RegionNode {
    /// Counts mappings.
    pub number: u32,
    /// The channel it was mapped through.
    pub channel: u32,
    /// The TA's slot.
    pub slot: u32,
    /// Which use of the slot.
    pub generation: u32,
    /// Its first page in the TA.
    pub first_page: u32,
    /// Its pages.
    pub pages: u32,
    /// The session that the TA served.
    pub session: u32,
}

/// What lies there.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct BufferObject {
    /// First of its adjacent pages.
    pub first: PhysPage,
    /// How many.
    pub pages: u64,
    /// Milliseconds since boot when it was mapped.
    pub at_ms: u64,
    /// Counts mappings, as the node does.
    pub number: u64,
}

// The two sizes of the incident that this is modelled on.
const _: () = {
    assert!(size_of::<RegionNode>() == 28);
    assert!(size_of::<BufferObject>() == 32);
};

/// Both objects.
#[derive(Debug)]
pub struct Objects {
    node: TryBox<RegionNode>,
    object: TryBox<BufferObject>,
}

/// A buffer in a TA.
#[derive(Debug)]
pub struct Mapping<T> {
    /// The TA it lies in.
    pub instance: InstanceRef,
    /// Where it was mapped, and by whom.
    pub mapped: T,
    objects: Objects,
}

impl<T> Mapping<T> {
    /// Where it lies.
    #[must_use]
    pub fn node(&self) -> &RegionNode {
        &self.objects.node
    }

    /// What lies there.
    #[must_use]
    pub fn object(&self) -> &BufferObject {
        &self.objects.object
    }

    /// Its address in the TA.
    #[must_use]
    pub fn va(&self) -> UserVa {
        UserVa(u64::from(self.node().first_page) << PAGE_SHIFT)
    }

    /// Bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.node().pages) << PAGE_SHIFT
    }
}

/// Channels and mappings of a guest.
#[derive(Debug)]
pub struct Buffers<T> {
    channels: Vec<Channel<T>>,
    mappings: Vec<Mapping<T>>,
    channel_count: u32,
    mapping_count: u32,
    /// The test-only fault: early closes leave mappings, and lost objects stay.
    faulty: bool,
    lost: Vec<Objects>,
}

impl<T> Default for Buffers<T> {
    fn default() -> Self {
        Self {
            channels: Vec::new(),
            mappings: Vec::new(),
            channel_count: 0,
            mapping_count: 0,
            faulty: false,
            lost: Vec::new(),
        }
    }
}

impl<T: Copy> Buffers<T> {
    /// None yet. The tables are taken now; only the objects come and go.
    ///
    /// # Errors
    /// [`HeapExhausted`].
    pub fn new() -> Result<Self, HeapExhausted> {
        Ok(Self {
            channels: vec_with_capacity(Share::CHANNELS.all)?,
            mappings: vec_with_capacity(Share::BUFFERS.all)?,
            ..Self::default()
        })
    }

    /// Opens a channel; its number.
    ///
    /// # Errors
    /// [`BufferError::OutOfMemory`].
    pub fn open(&mut self, mut channel: Channel<T>) -> Result<u32, BufferError> {
        if self.channels.len() == self.channels.capacity() {
            return Err(BufferError::OutOfMemory);
        }
        self.channel_count = self.channel_count.wrapping_add(1).max(1);
        channel.id = self.channel_count;
        self.channels.push(channel);
        Ok(channel.id)
    }

    /// The channel of this number, if it is this TA's, opened through this session.
    #[must_use]
    pub fn channel(&self, id: u32, instance: InstanceRef, session: u32) -> Option<&Channel<T>> {
        self.channels.iter().find(|channel| {
            channel.id == id && channel.instance == instance && channel.session == session
        })
    }

    /// Takes a channel out.
    pub fn remove_channel(&mut self, id: u32) -> Option<Channel<T>> {
        let at = self.channels.iter().position(|c| c.id == id)?;
        Some(self.channels.swap_remove(at))
    }

    /// A channel that was opened through this session.
    #[must_use]
    pub fn channel_of_session(&self, session: u32) -> Option<u32> {
        let mut channels = self.channels.iter();
        let found = channels.find(|channel| channel.session == session);
        found.map(|channel| channel.id)
    }

    /// A channel of this TA.
    #[must_use]
    pub fn channel_of_instance(&self, instance: InstanceRef) -> Option<u32> {
        let mut channels = self.channels.iter();
        let found = channels.find(|channel| channel.instance == instance);
        found.map(|channel| channel.id)
    }

    /// Enters a mapping of `object` at `node` in its TA; both objects come from the heap, and are
    /// numbered here.
    ///
    /// # Errors
    /// [`BufferError::OutOfMemory`]; nothing is entered then.
    pub fn add(
        &mut self,
        instance: InstanceRef,
        mapped: T,
        node: RegionNode,
        object: BufferObject,
    ) -> Result<(), BufferError> {
        if self.mappings.len() == self.mappings.capacity() {
            return Err(BufferError::OutOfMemory);
        }
        let number = self.mapping_count.wrapping_add(1);
        let node = new_region_node(RegionNode { number, ..node })?;
        let object = new_buffer_object(BufferObject {
            number: u64::from(number),
            ..object
        })?;
        self.mapping_count = number;
        self.mappings.push(Mapping {
            instance,
            mapped,
            objects: Objects { node, object },
        });
        Ok(())
    }

    /// The mapping at `va` of this TA through this channel.
    #[must_use]
    pub fn find(&self, instance: InstanceRef, channel: u32, va: UserVa) -> Option<usize> {
        self.mappings.iter().position(|mapping| {
            mapping.node().channel == channel && mapping.instance == instance && mapping.va() == va
        })
    }

    /// A mapping through this channel.
    #[must_use]
    pub fn find_by_channel(&self, channel: u32) -> Option<usize> {
        let mut mappings = self.mappings.iter();
        mappings.position(|mapping| mapping.node().channel == channel)
    }

    /// A mapping in this TA.
    #[must_use]
    pub fn find_by_instance(&self, instance: InstanceRef) -> Option<usize> {
        let mut mappings = self.mappings.iter();
        mappings.position(|mapping| mapping.instance == instance)
    }

    /// Takes a mapping out. Its objects go when it is dropped.
    pub fn take(&mut self, at: usize) -> Mapping<T> {
        self.mappings.swap_remove(at)
    }

    /// Mappings and bytes through a channel, and where the first of them was made.
    #[must_use]
    pub fn through(&self, channel: u32) -> (u32, u64, Option<T>) {
        let of_channel = || {
            let all = self.mappings.iter();
            all.filter(move |mapping| mapping.node().channel == channel)
        };
        let first = of_channel().min_by_key(|mapping| mapping.node().number);
        (
            of_channel().count() as u32,
            of_channel().map(Mapping::bytes).sum(),
            first.map(|mapping| mapping.mapped),
        )
    }

    /// Channels, in no order.
    #[must_use]
    pub fn channels(&self) -> &[Channel<T>] {
        &self.channels
    }

    /// Mappings, in no order.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping<T>] {
        &self.mappings
    }

    /// Whether the test-only fault is on.
    #[must_use]
    pub const fn is_faulty(&self) -> bool {
        self.faulty
    }

    /// Switches the test-only fault. What was lost by it, to be dropped.
    #[must_use]
    pub fn set_faulty(&mut self, on: bool) -> Vec<Objects> {
        self.faulty = on;
        if on {
            Vec::new()
        } else {
            core::mem::take(&mut self.lost)
        }
    }

    /// Loses a mapping's objects, if the fault is on and its channel was closed before it.
    pub fn lose(&mut self, mapping: Mapping<T>) {
        let node = mapping.node();
        let open = self.channels.iter().any(|c| c.id == node.channel);
        if self.faulty && !open {
            // Without room for it, it is not lost.
            let _ = try_push(&mut self.lost, mapping.objects);
        }
    }
}

/// A function of its own, so that call stacks tell the two objects apart.
#[inline(never)]
fn new_region_node(node: RegionNode) -> Result<TryBox<RegionNode>, BufferError> {
    Ok(TryBox::new(node)?)
}

/// As [`new_region_node`].
#[inline(never)]
fn new_buffer_object(object: BufferObject) -> Result<TryBox<BufferObject>, BufferError> {
    Ok(TryBox::new(object)?)
}
