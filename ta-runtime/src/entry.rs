//! Entry point of a TA, which the kernel calls.
//!
//! **Invariant:** one call is inside the instance at a time (the kernel sees to that), so the
//! instance's state needs no lock. The instance is created before its first session and destroyed
//! after its last, unless it is kept alive.

use crate::{heap, properties, syscall, trace};
use alloc::vec::Vec;
use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::ptr;
use tally_abi::TeeResult;
use tally_abi::ta::{UteeParams, entry, flags};

unsafe extern "C" {
    // By the TA's attributes, or the linker script's defaults below.
    fn TA_CreateEntryPoint() -> u32;
    fn TA_DestroyEntryPoint();
    fn TA_OpenSessionEntryPoint(params: *mut c_void, context: *mut *mut c_void) -> u32;
    fn TA_CloseSessionEntryPoint(context: *mut c_void, size_align: &mut [usize; 2]);
    fn TA_InvokeCommandEntryPoint(context: *mut c_void, command: u32, params: *mut c_void) -> u32;
}

/// What a TA without a create or open attribute does: nothing, successfully.
#[unsafe(no_mangle)]
extern "C" fn __ta_default_succeed() -> u32 {
    0
}

/// What a TA without a close or destroy attribute does.
#[unsafe(no_mangle)]
extern "C" fn __ta_default_nothing() {}

/// The ELF file's entry point: x0 = function, x1 = session, x2 = parameters, x3 = command.
/// Begins the chain of frame records.
///
/// # Safety
/// For the kernel only.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn __ta_entry() -> ! {
    core::arch::naked_asm!(
        "mov x29, xzr",
        "mov x30, xzr",
        "mov x4, sp",
        "b {dispatch}",
        dispatch = sym dispatch,
    )
}

/// A session and what the TA keeps for it.
#[derive(Clone, Copy)]
struct Session {
    id: u32,
    context: *mut c_void,
}

/// Sessions that need no heap.
const INLINE_SESSIONS: usize = 8;

struct Instance {
    created: bool,
    sessions: [Option<Session>; INLINE_SESSIONS],
    more: Vec<Session>,
}

struct Global(UnsafeCell<Instance>);

// SAFETY: the kernel lets one call at a time into an instance.
unsafe impl Sync for Global {}

static INSTANCE: Global = Global(UnsafeCell::new(Instance {
    created: false,
    sessions: [None; INLINE_SESSIONS],
    more: Vec::new(),
}));

extern "C" fn dispatch(
    function: u64,
    session: u32,
    params: *mut UteeParams,
    command: u32,
    stack_top: usize,
) -> ! {
    // SAFETY: one call at a time is inside, and the TA's own code cannot reach `INSTANCE`.
    let instance = unsafe { &mut *INSTANCE.0.get() };
    heap::begin_call(session, stack_top);
    let code = match function {
        entry::INVOKE_COMMAND => instance.invoke(session, command, params),
        entry::OPEN_SESSION => instance.open(session, params),
        entry::CLOSE_SESSION => instance.close(session),
        entry::DUMP_MEMSTATS => TeeResult::NOT_SUPPORTED.0,
        _ => syscall::panic(TeeResult::NOT_SUPPORTED.0),
    };
    syscall::finish(code)
}

impl Instance {
    fn invoke(&self, id: u32, command: u32, params: *mut UteeParams) -> u32 {
        match self.find(id) {
            // SAFETY: the kernel's block is valid for this call.
            Some(session) => unsafe {
                TA_InvokeCommandEntryPoint(session.context, command, params.cast())
            },
            None => TeeResult::BAD_STATE.0,
        }
    }

    fn open(&mut self, id: u32, params: *mut UteeParams) -> u32 {
        if !self.created {
            trace::init();
            heap::set_owner(0);
            // SAFETY: called once, before anything else of the TA.
            let code = unsafe { TA_CreateEntryPoint() };
            if code != 0 {
                return code;
            }
            self.created = true;
            heap::set_owner(id);
        }
        if self.add(id).is_none() {
            self.destroy_if_unused();
            return TeeResult::OUT_OF_MEMORY.0;
        }
        let mut context = ptr::null_mut();
        // SAFETY: the kernel's block is valid for this call, and so is the slot.
        let code = unsafe { TA_OpenSessionEntryPoint(params.cast(), &raw mut context) };
        if code == 0 {
            if let Some(session) = self.find_mut(id) {
                session.context = context;
            }
        } else {
            self.remove(id);
            self.destroy_if_unused();
        }
        code
    }

    fn close(&mut self, id: u32) -> u32 {
        let Some(session) = self.remove(id) else {
            return TeeResult::BAD_STATE.0;
        };
        let mut size_align = [0, 1];
        // SAFETY: the context is what `open` stored, handed out for the last time.
        unsafe { TA_CloseSessionEntryPoint(session.context, &mut size_align) };
        let [size, align] = size_align;
        if size != 0
            && !session.context.is_null()
            && let Ok(layout) = Layout::from_size_align(size, align)
        {
            // SAFETY: `Parameters::__with_new_context` allocated it with this layout.
            unsafe { alloc::alloc::dealloc(session.context.cast(), layout) };
        }
        self.destroy_if_unused();
        0
    }

    fn destroy_if_unused(&mut self) {
        let keep = flags::SINGLE_INSTANCE | flags::INSTANCE_KEEP_ALIVE;
        let unused = self.more.is_empty() && self.sessions.iter().all(Option::is_none);
        if unused && properties::head().flags & keep != keep {
            heap::set_owner(0);
            // SAFETY: no session is left; the kernel destroys the instance next.
            unsafe { TA_DestroyEntryPoint() };
            self.created = false;
        }
    }

    fn find(&self, id: u32) -> Option<Session> {
        let inline = self.sessions.iter().flatten();
        inline.chain(&self.more).find(|s| s.id == id).copied()
    }

    fn find_mut(&mut self, id: u32) -> Option<&mut Session> {
        let inline = self.sessions.iter_mut().flatten();
        inline.chain(&mut self.more).find(|s| s.id == id)
    }

    fn add(&mut self, id: u32) -> Option<()> {
        let session = Session {
            id,
            context: ptr::null_mut(),
        };
        if let Some(slot) = self.sessions.iter_mut().find(|s| s.is_none()) {
            *slot = Some(session);
        } else {
            self.more.try_reserve(1).ok()?;
            self.more.push(session);
        }
        Some(())
    }

    fn remove(&mut self, id: u32) -> Option<Session> {
        for slot in &mut self.sessions {
            if slot.is_some_and(|s| s.id == id) {
                return slot.take();
            }
        }
        let at = self.more.iter().position(|s| s.id == id)?;
        Some(self.more.swap_remove(at))
    }
}
