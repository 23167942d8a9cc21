//! The pool, with checks: tags, sizes, guards, leaks.
//!
//! The rules: fresh memory is not zero; memory is freed once, with the tag that it was allocated
//! with; nothing is written before its start, past its end, or after it was freed. Blocks of a page
//! and more have pages of their own, page-aligned as the kernel gives them, and an inaccessible
//! page behind them.

use alloc::collections::VecDeque;
use core::{ffi::c_void, ptr};

use nt::{
    pool::{ExAllocatePoolWithTag, ExFreePoolWithTag, NON_PAGED_POOL_NX},
    spinlock::SpinLock,
    win32::{
        MEM_COMMIT, MEM_RELEASE, MEM_RESERVE, PAGE_NOACCESS, PAGE_READWRITE, VirtualAlloc,
        VirtualFree, VirtualProtect,
    },
};

use crate::{
    allocation_failure::{self, Allocation},
    checks::violation,
    irql::{APC_LEVEL, DISPATCH_LEVEL, require_at_most},
    ledger::{self, PoolBlock, TagName},
};

const PAGE_SIZE: usize = 4096;
/// Wine ignores tags; the driver's own is recorded.
const GUARDED_TAG: u32 = u32::from_le_bytes(*b"hcnB");
const FRESH: u8 = 0xCD;
const FREED: u8 = 0xDD;
const GUARD: u8 = 0xFB;
/// Bytes before and behind a small block. A multiple of the pool's alignment.
const GUARD_LENGTH: usize = 16;
/// How many small blocks are kept after they were freed, to see whether they are written to.
const KEPT_MAX: usize = 4096;
/// Those blocks, the oldest first.
static KEPT: SpinLock<VecDeque<(usize, PoolBlock)>> = SpinLock::new(VecDeque::new());
/// `PagedPool`, after the flags that drivers may add to a pool type.
const PAGED_POOL: i32 = 1;
const BASE_TYPE_MASK: i32 = 1;

pub(crate) unsafe extern "system" fn allocate_with_tag(
    pool: i32,
    size: usize,
    tag: u32,
) -> *mut c_void {
    let highest = if pool & BASE_TYPE_MASK == PAGED_POOL { APC_LEVEL } else { DISPATCH_LEVEL };
    require_at_most("ExAllocatePoolWithTag", highest);
    if tag == 0 || size == 0 {
        violation!(Pool, "ExAllocatePoolWithTag", "size {size} with tag {tag:#x}");
    }
    if allocation_failure::fails(Allocation::Kernel) {
        return ptr::null_mut();
    }
    let own_pages = size >= PAGE_SIZE;
    let memory = if own_pages { allocate_pages(size) } else { allocate_guarded(size) };
    if memory.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: fresh memory of that size.
    unsafe { ptr::write_bytes(memory, FRESH, size) };
    ledger::open_pool(memory as usize, PoolBlock { size, tag, paged_out: own_pages });
    memory.cast()
}

pub(crate) unsafe extern "system" fn free_with_tag(memory: *mut c_void, tag: u32) {
    let function = "ExFreePoolWithTag";
    require_at_most(function, DISPATCH_LEVEL);
    let Some(block) = ledger::close_pool(memory as usize) else {
        violation!(
            Pool,
            function,
            "{memory:p} is no pool block (freed before, or never allocated)"
        );
    };
    if tag != 0 && tag != block.tag {
        violation!(
            Pool,
            function,
            "{memory:p} was allocated with tag {} but is freed with {}",
            TagName(block.tag),
            TagName(tag)
        );
    }
    let start = memory.cast::<u8>();
    if block.paged_out {
        // SAFETY: the block's own pages, which have no owner any more.
        unsafe { VirtualFree(memory, 0, MEM_RELEASE) };
        return;
    }
    let before = start.wrapping_sub(GUARD_LENGTH);
    for (guard, side) in
        [(before, "before its start"), (start.wrapping_add(block.size), "past its end")]
    {
        // SAFETY: the guards are part of the allocation.
        let bytes = unsafe { core::slice::from_raw_parts(guard, GUARD_LENGTH) };
        if bytes.iter().any(|&byte| byte != GUARD) {
            violation!(
                Pool,
                function,
                "{memory:p} ({} bytes, tag {}) was written {side}",
                block.size,
                TagName(block.tag)
            );
        }
    }
    // SAFETY: the block's own bytes, which have no owner any more.
    unsafe { ptr::write_bytes(start, FREED, block.size) };
    let oldest = {
        let mut kept = KEPT.lock();
        kept.push_back((start as usize, block));
        if kept.len() > KEPT_MAX { kept.pop_front() } else { None }
    };
    if let Some((start, block)) = oldest {
        give_back(start as *mut u8, &block);
    }
}

/// Gives a freed block's memory back; it must be as it was left.
fn give_back(start: *mut u8, block: &PoolBlock) {
    // SAFETY: the block is kept until now.
    let bytes = unsafe { core::slice::from_raw_parts(start, block.size) };
    if bytes.iter().any(|&byte| byte != FREED) {
        violation!(
            Pool,
            "ExFreePoolWithTag",
            "{start:p} ({} bytes, tag {}) was written after it was freed",
            block.size,
            TagName(block.tag)
        );
    }
    // SAFETY: allocated below, with the guard's address.
    unsafe { ExFreePoolWithTag(start.wrapping_sub(GUARD_LENGTH).cast(), GUARDED_TAG) };
}

fn allocate_guarded(size: usize) -> *mut u8 {
    // SAFETY: has no preconditions.
    let raw =
        unsafe { ExAllocatePoolWithTag(NON_PAGED_POOL_NX, size + 2 * GUARD_LENGTH, GUARDED_TAG) };
    let raw = raw.cast::<u8>();
    if raw.is_null() {
        return raw;
    }
    let start = raw.wrapping_add(GUARD_LENGTH);
    // SAFETY: the allocation has a guard before the block.
    unsafe { ptr::write_bytes(raw, GUARD, GUARD_LENGTH) };
    // SAFETY: and one behind it.
    unsafe { ptr::write_bytes(start.wrapping_add(size), GUARD, GUARD_LENGTH) };
    start
}

fn allocate_pages(size: usize) -> *mut u8 {
    let pages = size.next_multiple_of(PAGE_SIZE);
    // SAFETY: asks for fresh memory.
    let memory = unsafe {
        VirtualAlloc(ptr::null_mut(), pages + PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)
    };
    if memory.is_null() {
        return ptr::null_mut();
    }
    let mut old = 0;
    // SAFETY: the last page of the fresh memory.
    unsafe {
        VirtualProtect(memory.wrapping_byte_add(pages), PAGE_SIZE, PAGE_NOACCESS, &raw mut old)
    };
    memory.cast()
}
