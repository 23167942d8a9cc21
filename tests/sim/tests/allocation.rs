//! Rule BOUND (rules.md#bound): the engine allocates nothing once a session is made. An allocator
//! counts the allocations while the engine holds its lock: there are none.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use snapless_sim::{Options, engine_is_deciding, run};

struct Counting;

/// Allocations while the engine held its lock.
static INSIDE: AtomicU64 = AtomicU64::new(0);
/// All others.
static OUTSIDE: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let count = if engine_is_deciding() { &INSIDE } else { &OUTSIDE };
        count.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and all memory here is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[test]
fn the_engine_allocates_nothing_after_the_start_of_a_session() {
    for seed in 1..=100 {
        run(&Options::new(seed)).unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert!(OUTSIDE.load(Ordering::Relaxed) > 10_000, "the allocator counts");
    assert_eq!(INSIDE.load(Ordering::Relaxed), 0);
}
