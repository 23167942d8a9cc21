//! The driver's allocations from the kernel that are not freed.
//!
//! The rule: when the driver unbinds, nothing is left.

use alloc::collections::{BTreeMap, BTreeSet};
use core::sync::atomic::{AtomicUsize, Ordering};

use nt::spinlock::SpinLock;

use crate::checks::violation;

/// A kind of allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// `IoAllocateIrp`
    Irp,
    /// `IoAllocateMdl`
    Mdl,
    /// `IoAllocateWorkItem`
    WorkItem,
}

static IRPS: SpinLock<BTreeSet<usize>> = SpinLock::new(BTreeSet::new());
static MDLS: SpinLock<BTreeSet<usize>> = SpinLock::new(BTreeSet::new());
static WORK_ITEMS: SpinLock<BTreeSet<usize>> = SpinLock::new(BTreeSet::new());
static POOL: SpinLock<BTreeMap<usize, PoolBlock>> = SpinLock::new(BTreeMap::new());
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// A block of pool memory.
#[derive(Clone, Copy)]
pub(crate) struct PoolBlock {
    pub(crate) size: usize,
    pub(crate) tag: u32,
    /// Whether the block has pages of its own, with a guard page behind them.
    pub(crate) paged_out: bool,
}

/// Records an allocation.
pub(crate) fn open(account: Account, address: usize) {
    if address != 0 {
        set(account).lock().insert(address);
    }
}

/// Records that something was freed; reports an unknown address or a second free.
pub(crate) fn close(account: Account, address: usize, function: &str) {
    if !set(account).lock().remove(&address) {
        violation!(
            State,
            function,
            "{address:#x} is no live {account:?} of this driver (freed before, or not the driver's)"
        );
    }
}

/// Whether the address is allocated.
pub(crate) fn is_open(account: Account, address: usize) -> bool {
    set(account).lock().contains(&address)
}

/// Records a block of pool memory.
pub(crate) fn open_pool(address: usize, block: PoolBlock) {
    POOL.lock().insert(address, block);
}

/// Removes the record of a block of pool memory.
pub(crate) fn close_pool(address: usize) -> Option<PoolBlock> {
    POOL.lock().remove(&address)
}

/// Counts a system thread's start.
pub(crate) fn thread_started() {
    // Relaxed: only the count matters, and it is read after the driver has waited for its threads.
    THREADS.fetch_add(1, Ordering::Relaxed);
}

/// Counts a system thread's end.
pub(crate) fn thread_ended() {
    // Relaxed: see above.
    THREADS.fetch_sub(1, Ordering::Relaxed);
}

/// How many allocations and threads of the driver are left.
pub(crate) fn outstanding() -> u64 {
    let books = [Account::Irp, Account::Mdl, Account::WorkItem];
    let booked: usize = books.into_iter().map(|account| set(account).lock().len()).sum();
    // Relaxed: see `thread_started`.
    (booked + POOL.lock().len() + THREADS.load(Ordering::Relaxed)) as u64
}

/// Reports anything that is left.
pub(crate) fn require_empty(function: &str) {
    // Relaxed: see `thread_started`.
    let threads = THREADS.load(Ordering::Relaxed);
    if threads > 0 {
        violation!(Leak, function, "{threads} system threads of the driver are still running");
    }
    for account in [Account::Irp, Account::Mdl, Account::WorkItem] {
        let left = set(account).lock();
        if let Some(first) = left.first() {
            let (count, first) = (left.len(), *first);
            drop(left);
            violation!(
                Leak,
                function,
                "{count} {account:?} allocations are left; the first is {first:#x}"
            );
        }
    }
    let pool = POOL.lock();
    if let Some((address, block)) = pool.first_key_value() {
        let (address, block) = (*address, *block);
        let (count, bytes) = (pool.len(), pool.values().map(|block| block.size).sum::<usize>());
        drop(pool);
        violation!(
            Leak,
            function,
            "{count} pool blocks with {bytes} bytes are left; the first is {address:#x}, {} bytes, tag {}",
            block.size,
            TagName(block.tag)
        );
    }
}

/// A pool tag as its four characters.
pub(crate) struct TagName(pub(crate) u32);

impl core::fmt::Display for TagName {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for byte in self.0.to_le_bytes() {
            let shown = if byte.is_ascii_graphic() { byte as char } else { '.' };
            write!(formatter, "{shown}")?;
        }
        Ok(())
    }
}

fn set(account: Account) -> &'static SpinLock<BTreeSet<usize>> {
    match account {
        Account::Irp => &IRPS,
        Account::Mdl => &MDLS,
        Account::WorkItem => &WORK_ITEMS,
    }
}
