//! The observer: the kernel tells it everything that an account needs.
//!
//! The kernel says what happens: a TA is loaded, entered, left, refused memory, ends; something is
//! undone in the wrong order. What an observer keeps lies in the guest ([`Book`]) and in each
//! instance ([`Book::Notes`]), under the state lock, so that what adds up is of one moment.
//! `()` is the observer of a build without statistics.

use crate::book::Book;
use crate::guest_id::GuestId;
use crate::kernel::{Kernel, State};
use crate::owners::OwnerName;
use crate::pta::services::PtaCall;
use crate::pta::{Session, Step};
use crate::refused::Refused;
use crate::ta::instance::InstanceRef;
use crate::ta::session::Caller;
use crate::ta::storage::StorageCall;
use crate::ta::task::{End, Ran, TaCall};
use tally_abi::{TeeResult, TeeUuid};
use tally_mem::machine::{Machine, UserContext};
use tally_mem::owner::OwnerId;
use tally_mem::space::SpaceError;

/// Why a heap does not grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// What the TA itself reserved.
    HeapSize,
    /// What one TA may have.
    Quota,
    /// All of secure RAM.
    SecureRam,
    /// The kernel's own bookkeeping.
    KernelHeap,
}

impl From<SpaceError> for Limit {
    fn from(err: SpaceError) -> Self {
        match err {
            SpaceError::QuotaExceeded => Self::Quota,
            SpaceError::OutOfMemory => Self::SecureRam,
            SpaceError::Heap
            | SpaceError::NoSpace
            | SpaceError::Overlap
            | SpaceError::BadRange
            | SpaceError::NotMapped
            | SpaceError::Protection
            | SpaceError::BadMemory => Self::HeapSize,
            SpaceError::TooManyRegions => Self::KernelHeap,
        }
    }
}

/// A refused request of a TA for more heap.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// Bytes of the allocation, 0 if the TA did not say.
    pub size: u64,
    /// Bytes that the heap was to grow to.
    pub wanted: u64,
    /// What stood in the way.
    pub limit: Limit,
}

/// Something that a TA did with a pseudo-TA's buffers in the wrong order.
#[derive(Clone, Copy, Debug)]
pub enum WrongOrder<T> {
    /// A channel was closed that had mappings.
    CloseBeforeUnmap {
        /// Who closes it.
        caller: Caller,
        /// The channel.
        channel: u32,
        /// Where it was opened.
        opened: T,
        /// Its mappings.
        mappings: u32,
        /// Bytes of them.
        bytes: u64,
        /// Where the first of them was mapped.
        mapped: T,
    },
    /// Something was to be unmapped whose channel is not open.
    UnmapWithoutChannel {
        /// Who unmaps it.
        caller: Caller,
        /// The channel as the caller names it.
        channel: u32,
    },
    /// A TA ended, or its session to the pseudo-TA was closed, with a channel open.
    EndBeforeClose {
        /// The channel.
        channel: u32,
        /// Where it was opened.
        opened: T,
        /// Its mappings.
        mappings: u32,
        /// Bytes of them.
        bytes: u64,
    },
}

/// Keeps the account. Whatever has a [`State`] is told with the state locked: bounded work.
pub trait Observer: Book {
    /// What is remembered from a TA's entry to its way out.
    type Entered;

    /// Has a pseudo-TA that asks the account do one step of a session.
    ///
    /// # Errors
    /// The pseudo-TA's.
    fn enter_pta<M: Machine>(
        call: &PtaCall<'_, '_, M, Self>,
        entry: Self::Entry,
        session: &Session<'_>,
        step: Step<'_>,
    ) -> Result<(), TeeResult>;

    /// Where a TA stands that calls a pseudo-TA, kept until [`Self::release`].
    fn trace<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        caller: &Caller,
    ) -> Self::Trace;

    /// A trace is not needed any more.
    fn release(state: &mut State<Self>, guest: GuestId, trace: Self::Trace);

    /// A TA is about to be entered with this stack pointer; its parameters are mapped.
    fn entering<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        instance: InstanceRef,
        call: TaCall,
        stack_pointer: u64,
    ) -> Self::Entered;

    /// Whether [`Self::entered`] and [`Self::leaving`] are to be told.
    fn watches(state: &State<Self>, guest: GuestId) -> bool;

    /// As [`Self::entering`], afterwards, with nothing locked.
    fn entered<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, call: TaCall);

    /// A TA has returned or died; nothing is locked, and its memory is as it left it.
    fn leaving<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, call: TaCall);

    /// As [`Self::leaving`], afterwards.
    fn left<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        instance: InstanceRef,
        call: TaCall,
        entered: Self::Entered,
        ran: Ran,
    );

    /// A TA's heap gets its first pages, which it has not touched.
    fn heap_begins<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        instance: InstanceRef,
    );

    /// The alarm of a TA's pool rings: so many bytes are live. Nothing is locked.
    fn heap_rings<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, live: u64);

    /// A TA's allocation is refused. Nothing is locked.
    fn heap_refused<M: Machine>(
        kernel: &Kernel<M, Self>,
        instance: InstanceRef,
        context: &UserContext,
        refusal: &Refusal,
    );

    /// A TA has made a system call of trusted storage.
    fn stored(state: &mut State<Self>, instance: InstanceRef, call: &StorageCall);

    /// Something that all share was refused to a call of a guest. Nothing is locked.
    fn refused<M: Machine>(kernel: &Kernel<M, Self>, guest: GuestId, refused: &Refused);

    /// An instance, which the caller has claimed, is about to lose its memory. Nothing is locked.
    fn ending<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, end: End);

    /// The last living instance of a TA has ended.
    fn all_ended(state: &mut State<Self>, guest: GuestId, uuid: TeeUuid);

    /// An owner's id is about to be given back.
    fn owner_ends<M: Machine>(kernel: &Kernel<M, Self>, owner: OwnerId, name: &OwnerName);

    /// A guest ends: the pages of its book go back.
    fn guest_ends<M: Machine>(kernel: &Kernel<M, Self>, state: &mut State<Self>, guest: GuestId);

    /// Something was done in the wrong order. The number of the event, if that is new: it is for
    /// [`Self::say`].
    fn wrong_order<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        guest: GuestId,
        order: WrongOrder<Self::Trace>,
    ) -> Option<u64>;

    /// Says on the secure console what happened. Nothing is locked.
    fn say<M: Machine>(kernel: &Kernel<M, Self>, guest: GuestId, event: u64);
}

impl Observer for () {
    type Entered = ();

    fn enter_pta<M: Machine>(
        _: &PtaCall<'_, '_, M, Self>,
        entry: Self::Entry,
        _: &Session<'_>,
        _: Step<'_>,
    ) -> Result<(), TeeResult> {
        match entry {}
    }

    fn trace<M: Machine>(_: &Kernel<M, Self>, _: &mut State<Self>, _: &Caller) {}

    fn release(_: &mut State<Self>, _: GuestId, _: Self::Trace) {}

    fn entering<M: Machine>(
        _: &Kernel<M, Self>,
        _: &mut State<Self>,
        _: InstanceRef,
        _: TaCall,
        _: u64,
    ) -> Self::Entered {
    }

    fn watches(_: &State<Self>, _: GuestId) -> bool {
        false
    }

    fn entered<M: Machine>(_: &Kernel<M, Self>, _: InstanceRef, _: TaCall) {}

    fn leaving<M: Machine>(_: &Kernel<M, Self>, _: InstanceRef, _: TaCall) {}

    fn left<M: Machine>(
        _: &Kernel<M, Self>,
        _: &mut State<Self>,
        _: InstanceRef,
        _: TaCall,
        _: Self::Entered,
        _: Ran,
    ) {
    }

    fn heap_begins<M: Machine>(_: &Kernel<M, Self>, _: &mut State<Self>, _: InstanceRef) {}

    fn heap_rings<M: Machine>(_: &Kernel<M, Self>, _: InstanceRef, _: u64) {}

    fn heap_refused<M: Machine>(_: &Kernel<M, Self>, _: InstanceRef, _: &UserContext, _: &Refusal) {
    }

    fn stored(_: &mut State<Self>, _: InstanceRef, _: &StorageCall) {}

    fn refused<M: Machine>(_: &Kernel<M, Self>, _: GuestId, _: &Refused) {}

    fn ending<M: Machine>(_: &Kernel<M, Self>, _: InstanceRef, _: End) {}

    fn all_ended(_: &mut State<Self>, _: GuestId, _: TeeUuid) {}

    fn owner_ends<M: Machine>(_: &Kernel<M, Self>, _: OwnerId, _: &OwnerName) {}

    fn guest_ends<M: Machine>(_: &Kernel<M, Self>, _: &mut State<Self>, _: GuestId) {}

    fn wrong_order<M: Machine>(
        _: &Kernel<M, Self>,
        _: &mut State<Self>,
        _: GuestId,
        _: WrongOrder<Self::Trace>,
    ) -> Option<u64> {
        None
    }

    fn say<M: Machine>(_: &Kernel<M, Self>, _: GuestId, _: u64) {}
}
