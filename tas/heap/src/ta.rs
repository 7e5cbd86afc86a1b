//! The commands.
//!
//! **Invariant:** but for what it leaks on purpose, a session's blocks end with the session.
extern crate alloc;

use crate::{bench, keep};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::alloc::Layout;
use core::hint::black_box;
use ta_runtime::ParamType::{None as Unused, ValueInput, ValueOutput};
use ta_runtime::abi::ta::flags;
use ta_runtime::{
    Error, ErrorKind, Parameters, Result, heap as own_heap, ta_close_session, ta_invoke_command,
    ta_open_session,
};
use ta_uuids::heap;

ta_runtime::properties! {
    uuid: heap::UUID,
    flags: flags::SINGLE_INSTANCE | flags::MULTI_SESSION,
    stack_size: 16 << 10,
    heap_size: 8 << 20,
}

/// What a session keeps.
#[derive(Default)]
struct Session {
    blocks: Vec<Option<Vec<u8>>>,
    cache: Vec<Vec<u8>>,
    calls: u32,
}

#[ta_open_session]
fn open_session(_params: &mut Parameters, _session: &mut Session) -> Result<()> {
    Ok(())
}

#[ta_close_session]
fn close_session(_session: &mut Session) {}

#[ta_invoke_command]
fn invoke_command(session: &mut Session, command: u32, params: &mut Parameters) -> Result<()> {
    match command {
        heap::CMD_ALLOC => allocate(session, params),
        heap::CMD_FREE => free(session, params),
        heap::CMD_LEAK => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let value = params.0.as_value()?;
            leak_in_this_function(value.a(), value.b() as usize)
        }
        heap::CMD_HOG => hog(params),
        heap::CMD_GROW => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let len = params.0.as_value()?.a() as usize;
            black_box(filled(len)?);
            Ok(())
        }
        heap::CMD_STATS => stats(params),
        heap::CMD_BENCH => {
            params.expect([ValueInput, ValueInput, Unused, Unused])?;
            let value = params.0.as_value()?;
            bench::run(value.a(), value.b(), params.1.as_value()?.a())
        }
        heap::CMD_CONTEXT => {
            params.expect([ValueOutput, Unused, Unused, Unused])?;
            params.0.as_value()?.set_a(own_heap::session_bytes());
            Ok(())
        }
        heap::CMD_FREE_ALL => {
            session.blocks = Vec::new();
            Ok(())
        }
        heap::CMD_ALLOC_OR_DIE => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let len = params.0.as_value()?.a() as usize;
            drop(black_box(Vec::<u8>::with_capacity(len)));
            Ok(())
        }
        heap::CMD_DOUBLE_FREE => {
            double_free();
            Ok(())
        }
        heap::CMD_KEEP => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let value = params.0.as_value()?;
            keep::keep(value.a(), filled(value.b() as usize)?)
        }
        heap::CMD_FORGET => {
            keep::forget();
            Ok(())
        }
        heap::CMD_HOLD_AND_LOOP => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            keep::hold_and_loop(filled(params.0.as_value()?.a() as usize)?)
        }
        heap::CMD_CACHE => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let value = params.0.as_value()?;
            cache(session, value.a() as usize, value.b() as usize)
        }
        heap::CMD_LEAK_EVERY => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let value = params.0.as_value()?;
            session.calls = session.calls.wrapping_add(1);
            match session.calls.checked_rem(value.a()) {
                None => Err(Error::new(ErrorKind::BadParameters)),
                Some(0) => leak_in_this_function(1, value.b() as usize),
                Some(_) => Ok(()),
            }
        }
        heap::CMD_OVERRUN => overrun(session, params),
        heap::CMD_RESIZE => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let value = params.0.as_value()?;
            resize(value.a() as usize, value.b() as usize)
        }
        heap::CMD_ALIGN => {
            params.expect([ValueInput, Unused, Unused, Unused])?;
            let value = params.0.as_value()?;
            align(value.a() as usize, value.b() as usize)
        }
        _ => Err(Error::new(ErrorKind::NotSupported)),
    }
}

/// A block of `len` bytes, every one written. A function of its own, so that call stacks name who called it.
#[inline(never)]
fn filled(len: usize) -> Result<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(len)?;
    block.resize(len, 0xa5);
    Ok(block)
}

fn allocate(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let block = filled(params.0.as_value()?.a() as usize)?;
    let handle = match session.blocks.iter().position(Option::is_none) {
        Some(free) => free,
        None if session.blocks.len() >= heap::MAX_HANDLES as usize => {
            return Err(Error::new(ErrorKind::OutOfMemory));
        }
        None => {
            session.blocks.try_reserve(1)?;
            session.blocks.push(None);
            session.blocks.len() - 1
        }
    };
    if let Some(slot) = session.blocks.get_mut(handle) {
        *slot = Some(block);
    }
    params.1.as_value()?.set_a(handle as u32);
    Ok(())
}

fn free(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, Unused, Unused, Unused])?;
    let handle = params.0.as_value()?.a() as usize;
    let block = session.blocks.get_mut(handle).and_then(Option::take);
    block.map(drop).ok_or(Error::new(ErrorKind::ItemNotFound))
}

/// Keeps one block more, up to `entries`.
fn cache(session: &mut Session, entries: usize, len: usize) -> Result<()> {
    if session.cache.len() < entries {
        session
            .cache
            .try_reserve_exact(entries - session.cache.len())?;
        session.cache.push(filled(len)?);
    }
    Ok(())
}

/// Writes where a block has ended. A size class leaves at least as much room as this needs.
fn overrun(session: &mut Session, params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let value = params.0.as_value()?;
    let (handle, position) = (value.a() as usize, value.b() as usize);
    let block = session.blocks.get_mut(handle).and_then(Option::as_mut);
    let block = block.ok_or(Error::new(ErrorKind::ItemNotFound))?;
    if position >= block.len().next_multiple_of(16) {
        return Err(Error::new(ErrorKind::BadParameters));
    }
    // SAFETY: not sound, on purpose; blocks are whole multiples of 16 bytes, so that the byte
    // belongs to nobody else.
    unsafe { block.as_mut_ptr().add(position).write_volatile(0x5a) };
    params.1.as_value()?.set_a(own_heap::CONFIG.guard.into());
    Ok(())
}

/// Loses `blocks` blocks of `len` bytes. Its name is what a leak report must show.
#[inline(never)]
fn leak_in_this_function(blocks: u32, len: usize) -> Result<()> {
    for _ in 0..blocks {
        let mut block = Vec::<u8>::new();
        block.try_reserve_exact(len)?;
        core::mem::forget(block);
    }
    Ok(())
}

fn hog(params: &mut Parameters) -> Result<()> {
    params.expect([ValueInput, ValueOutput, Unused, Unused])?;
    let len = params.0.as_value()?.a() as usize;
    // When the vector that remembers the blocks cannot grow, the heap is full as well.
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    while blocks.try_reserve(1).is_ok() {
        let mut block = Vec::new();
        if block.try_reserve_exact(len).is_err() {
            break;
        }
        blocks.push(block);
    }
    let n_blocks = blocks.len();
    drop(blocks);
    let mut value = params.1.as_value()?;
    value.set_a((n_blocks * len) as u32);
    value.set_b(n_blocks as u32);
    Ok(())
}

fn stats(params: &mut Parameters) -> Result<()> {
    params.expect([ValueOutput, ValueOutput, ValueOutput, Unused])?;
    let stats = own_heap::stats().ok_or(Error::new(ErrorKind::NoData))?;
    let mut value = params.0.as_value()?;
    value.set_a(stats.allocated as u32);
    value.set_b(stats.max_allocated as u32);
    let mut value = params.1.as_value()?;
    value.set_a(stats.size as u32);
    value.set_b(stats.num_alloc_fail as u32);
    let mut value = params.2.as_value()?;
    value.set_a(stats.live_blocks as u32);
    value.set_b(stats.biggest_alloc_fail as u32);
    Ok(())
}

fn double_free() {
    let block = Box::into_raw(Box::new(black_box(7_u64)));
    // SAFETY: not sound at all: the second one ends the TA.
    unsafe {
        drop(Box::from_raw(block));
        drop(Box::from_raw(black_box(block)));
    }
}

/// A block so aligned, freed at once.
fn align(bytes: usize, align: usize) -> Result<()> {
    let layout = Layout::from_size_align(bytes.max(1), align);
    let layout = layout.map_err(|_| Error::new(ErrorKind::BadParameters))?;
    // SAFETY: the layout is not empty, and the block is freed by it.
    unsafe {
        let block = alloc::alloc::alloc(layout);
        if block.is_null() {
            return Err(Error::new(ErrorKind::OutOfMemory));
        }
        let is_aligned = block.addr().is_multiple_of(align);
        alloc::alloc::dealloc(block, layout);
        is_aligned
            .then_some(())
            .ok_or(Error::new(ErrorKind::BadState))
    }
}

unsafe extern "C" {
    fn TEE_Malloc(size: usize, hint: u32) -> *mut u8;
    fn TEE_Realloc(block: *mut u8, size: usize) -> *mut u8;
    fn TEE_Free(block: *mut u8);
}

/// Resizes a block as C does; one of no bytes is null.
fn resize(before: usize, after: usize) -> Result<()> {
    const NO_FILL: u32 = 1;
    const WRITTEN: u8 = 0xa5;
    // SAFETY:
    // 1. Every block is used within its size, and not after it was freed or moved.
    // 2. Its bytes are written before they are read, or `TEE_Realloc` zeroes them.
    unsafe {
        let written = |size: usize| {
            let block = TEE_Malloc(size, NO_FILL);
            if !block.is_null() {
                block.write_bytes(WRITTEN, size);
            }
            block
        };
        // Stale bytes wherever the block may go.
        TEE_Free(written(before + after));
        TEE_Free(written(after));
        let block = match before {
            0 => core::ptr::null_mut(),
            _ => written(before),
        };
        let resized = TEE_Realloc(block, after);
        if resized.is_null() {
            TEE_Free(block);
            return Err(Error::new(ErrorKind::OutOfMemory));
        }
        let bytes = core::slice::from_raw_parts(resized, after);
        let (kept, gained) = bytes.split_at(before.min(after));
        let result = if kept.iter().any(|byte| *byte != WRITTEN) {
            Err(Error::new(ErrorKind::BadState))
        } else if gained.iter().any(|byte| *byte != 0) {
            Err(Error::new(ErrorKind::Generic))
        } else {
            Ok(())
        };
        TEE_Free(resized);
        result
    }
}
