//! The observer: writes into the book what the kernel tells.

use crate::api::Entry;
use crate::book::{Book, Trace};
use crate::heaps::ta_heap;
use crate::inspector::Inspector;
use crate::past::commands::is_command;
use crate::past::spent::{self, Entered};
use crate::snapshot::keep::Snapshots;
use tally_abi::{TeeResult, TeeUuid};
use tally_core::guest_id::GuestId;
use tally_core::kernel::{Kernel, State};
use tally_core::observer::{Observer, Refusal, WrongOrder};
use tally_core::owners::OwnerName;
use tally_core::pta::services::PtaCall;
use tally_core::pta::{Session, Step};
use tally_core::refused::Refused;
use tally_core::ta::instance::{Instance, InstanceRef};
use tally_core::ta::session::Caller;
use tally_core::ta::storage::StorageCall;
use tally_core::ta::task::{End, Ran, TaCall};
use tally_mem::machine::{Machine, UserContext};
use tally_mem::mem::Mem;
use tally_mem::owner::OwnerId;
use tally_records::trigger;

impl Observer for Book {
    type Entered = Entered;

    fn enter_pta<M: Machine>(
        call: &PtaCall<'_, '_, M, Self>,
        entry: Entry,
        session: &Session<'_>,
        step: Step<'_>,
    ) -> Result<(), TeeResult> {
        let account = look(call.kernel, call.guest);
        match entry {
            Entry::Asks(enter) => enter(&account, session, step),
            Entry::Controls(enter) => enter(&account, call, session, step),
        }
    }

    // Never part of its caller, with whom the call stack begins.
    #[inline(never)]
    fn trace<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        caller: &Caller,
    ) -> Trace {
        let look = look(kernel, caller.instance.guest());
        let stack = look.stack_of(state, caller);
        Trace {
            who: look.who(state, caller),
            stack: state.guest_mut(look.guest).book.orders.keep(&stack),
            at_ms: kernel.uptime_millis(),
        }
    }

    fn release(state: &mut State<Self>, guest: GuestId, trace: Trace) {
        state.guest_mut(guest).book.orders.release(trace.stack);
    }

    fn entering<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        instance: InstanceRef,
        _: TaCall,
        stack_pointer: u64,
    ) -> Entered {
        let guest = state.guest_mut(instance.guest());
        let Some(found) = guest.instances.at_mut(instance) else {
            return Entered::default();
        };
        let machine = &kernel.machine;
        let entered = spent::begin(&guest.book.commands, machine, found, stack_pointer);
        // The maximum has just been restarted, so that rising above the alarm is a new one.
        arm(machine, &guest.book.snapshots, found);
        entered
    }

    fn watches(state: &State<Self>, guest: GuestId) -> bool {
        state.guest(guest).book.snapshots.watches()
    }

    fn entered<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, call: TaCall) {
        if is_command(&call) {
            look(kernel, instance.guest()).capture(trigger::ENTRY, instance, call.command.into());
        }
    }

    fn leaving<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, call: TaCall) {
        if is_command(&call) {
            look(kernel, instance.guest()).capture(trigger::EXIT, instance, call.command.into());
        }
    }

    fn left<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        instance: InstanceRef,
        call: TaCall,
        entered: Entered,
        ran: Ran,
    ) {
        let guest = state.guest_mut(instance.guest());
        if let Some(found) = guest.instances.at_mut(instance) {
            let commands = &mut guest.book.commands;
            spent::end(commands, &kernel.machine, found, call, &entered, ran);
        }
    }

    fn heap_begins<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        instance: InstanceRef,
    ) {
        let (pages, guest) = state.split(instance.guest());
        let Some(found) = guest.instances.at_mut(instance) else {
            return;
        };
        found.notes.heap_mark = guest.book.marks.last();
        if let Some(alarm) = guest.book.snapshots.heap_alarm(found.uuid)
            && let (Some(space), Some(base)) = (&mut found.space, found.heap)
        {
            // The pool that the TA makes of these pages keeps it.
            let mut memory = Mem::new(pages, &kernel.machine);
            ta_heap::set_first_alarm(&mut memory, space, base, alarm);
        }
    }

    fn stored(state: &mut State<Self>, instance: InstanceRef, call: &StorageCall) {
        let guest = state.guest_mut(instance.guest());
        if let Some(found) = guest.instances.at(instance) {
            guest.book.stored.note(found.uuid, call);
        }
    }

    fn heap_rings<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, live: u64) {
        let look = look(kernel, instance.guest());
        look.capture(trigger::HEAP, instance, live);
        let state = kernel.state();
        if let Some(found) = state.instance(instance) {
            // The maximum is what rang, and those above it wait still.
            arm(
                &kernel.machine,
                &state.guest(instance.guest()).book.snapshots,
                found,
            );
        }
    }

    fn heap_refused<M: Machine>(
        kernel: &Kernel<M, Self>,
        instance: InstanceRef,
        context: &UserContext,
        refusal: &Refusal,
    ) {
        let look = look(kernel, instance.guest());
        look.report_heap(instance, context, refusal);
        look.note_refused(instance, Some(refusal.size));
        look.capture(trigger::FAILURE, instance, refusal.size);
        look.note_refused(instance, None);
    }

    // As of `trace`.
    #[cold]
    #[inline(never)]
    fn refused<M: Machine>(kernel: &Kernel<M, Self>, guest: GuestId, refused: &Refused) {
        look(kernel, guest).report_refused(refused);
    }

    #[inline(never)]
    fn ending<M: Machine>(kernel: &Kernel<M, Self>, instance: InstanceRef, end: End) {
        look(kernel, instance.guest()).note_end(instance, end);
    }

    fn all_ended(state: &mut State<Self>, guest: GuestId, uuid: TeeUuid) {
        state.guest_mut(guest).book.snapshots.ended(uuid);
    }

    fn owner_ends<M: Machine>(kernel: &Kernel<M, Self>, owner: OwnerId, name: &OwnerName) {
        let heap = kernel.shared.heap;
        heap.with_failures(&mut |failures| failures.settle(owner, name));
    }

    fn guest_ends<M: Machine>(_: &Kernel<M, Self>, state: &mut State<Self>, guest: GuestId) {
        let (pages, guest) = state.split(guest);
        guest.book.snapshots.forget_all(pages);
        if let Some(findings) = guest.book.scans.findings.take() {
            findings.destroy(pages);
        }
    }

    // As of `trace`.
    #[inline(never)]
    fn wrong_order<M: Machine>(
        kernel: &Kernel<M, Self>,
        state: &mut State<Self>,
        guest: GuestId,
        order: WrongOrder<Trace>,
    ) -> Option<u64> {
        look(kernel, guest).note_order(state, order)
    }

    fn say<M: Machine>(kernel: &Kernel<M, Self>, guest: GuestId, event: u64) {
        look(kernel, guest).say(event);
    }
}

/// Has an instance's pool ring for the lowest of the watchpoints that wait for its heap to rise, if any does.
fn arm<M: Machine>(machine: &M, snapshots: &Snapshots, found: &Instance<Book>) {
    if snapshots.watches()
        && let Some(bytes) = snapshots.heap_alarm(found.uuid)
        && let (Some(space), Some(heap)) = (&found.space, found.heap)
    {
        ta_heap::set_alarm(machine, space, heap, bytes);
    }
}

const fn look<M>(kernel: &Kernel<M, Book>, guest: GuestId) -> Inspector<'_, M> {
    Inspector { kernel, guest }
}
