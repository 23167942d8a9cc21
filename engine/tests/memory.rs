//! Rule BOUND: a session takes the memory that `memory_needed` says, byte for byte, and that is
//! little. An allocator that counts is asked.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};

use snapless_engine::{Config, Host, Mutex, Session, Tick, Worker};
use snapless_types::Geometry;

struct Counting;

thread_local! {
    /// Bytes that this thread has allocated.
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size() as u64);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and all memory here is the system's.
        unsafe { System.dealloc(memory, layout) }
    }
}

struct TestHost;

struct TestMutex<T>(RefCell<T>);

impl<T> Mutex<T> for TestMutex<T> {
    fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        f(&mut self.0.borrow_mut())
    }
}

impl Host for TestHost {
    /// As large as what a driver keeps of an IRP.
    type Write = [u64; 4];
    type Waiting = std::collections::VecDeque<snapless_engine::Waiter<[u64; 4]>>;
    type Mutex<T> = TestMutex<T>;

    fn now(&self) -> Tick {
        Tick(0)
    }

    fn clock(&self) -> u64 {
        0
    }

    fn wake(&self, _: Worker) {}
}

type TestSession = Session<TestHost>;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Bytes that a session of this size needs; it is made and takes exactly those.
fn needed(length: u64, block_shift: u32, config: &Config) -> u64 {
    let geometry = Geometry::new(length, 512, 1 << block_shift).unwrap();
    let needed = TestSession::memory_needed(&geometry, config);
    let before = ALLOCATED.get();
    let session = TestSession::new(TestHost, geometry, *config).unwrap();
    assert_eq!(ALLOCATED.get() - before, needed, "{length} bytes, {config:?}");
    drop(session);
    needed
}

#[test]
fn a_session_takes_the_memory_that_it_needs() {
    for length in [512, 16 << 10, 3 * MIB + 512, 1 << 30] {
        for block_shift in [14, 16, 22] {
            let mut config = Config::new(64 * MIB);
            needed(length, block_shift, &config);
            config.writes_max = 1;
            config.epochs = 7;
            config.epoch_bitmap_bytes = 16;
            needed(length, block_shift, &config);
        }
    }
}

#[test]
fn a_tebibyte_in_blocks_of_64_kib_takes_less_than_12_mib_beside_the_queue_and_its_accounts() {
    let config = Config::new(64 * MIB);
    assert_eq!(config.epochs, 3);
    assert!(needed(TIB, 16, &config) < 12 * MIB + config.queue_bytes / 16);
}

#[test]
fn sixty_four_tebibytes_in_blocks_of_256_kib_take_less_than_100_mib_in_all() {
    let config = Config::new(8 * MIB);
    assert_eq!(config.epochs, 3);
    assert!(needed(64 * TIB, 18, &config) + config.queue_bytes < 100 * MIB);
}
