//! A chain of requests that wait, through words of their IRPs: it takes no memory, however long it
//! is (rule BOUND, rules.md#bound).
//!
//! A driver that holds an IRP may use `Tail.Overlay.ListEntry` and `DriverContext` until it passes
//! the IRP on. No other part of this driver uses them. A request of one part is chained through the
//! IRP that was dispatched to us, one that is split through the IRP of its child, which is idle.
//!
//! Every verb takes the same few steps however long the chain is. A cancelled IRP says by itself
//! whether it is in a chain, and in which.

use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut, without_provenance_mut};
use core::sync::atomic::{AtomicU32, Ordering};

use wdk_sys::{IRP, LIST_ENTRY, PVOID};

use super::child_irp::ChildIrp;
use super::irp::{CancelledIrp, OwnedIrp, Payload};
use super::rundown::RundownProtection;

/// A request that may wait in a chain.
pub enum Chained<T, const N: usize> {
    /// The application's own request, with its rundown protection and its mapped data.
    Original(OwnedIrp, RundownProtection, Option<Payload>),
    /// A split request.
    Child(ChildIrp<T, N>),
}

/// What is kept with a request.
#[derive(Clone, Copy)]
pub struct Note {
    /// Where it changes the volume: first byte and number of bytes.
    pub place: (u64, u32),
    /// Any number below 2^56.
    pub time: u64,
    /// Any four bits.
    pub bits: u8,
}

/// Requests in order of arrival. To be emptied before it is dropped: what is in it is not freed.
pub struct WaitingIrps<T, const N: usize> {
    id: u32,
    first: Option<NonNull<IRP>>,
    last: Option<NonNull<IRP>>,
    requests: PhantomData<fn() -> T>,
}

// SAFETY: IRPs belong to no thread; the owner of the chain is the only one to use their words.
unsafe impl<T: Send, const N: usize> Send for WaitingIrps<T, N> {}

impl<T, const N: usize> Default for WaitingIrps<T, N> {
    fn default() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only the number matters. 0 is no chain's.
        let id = MADE.fetch_add(1, Ordering::Relaxed).wrapping_add(1).max(1);
        Self { id, first: None, last: None, requests: PhantomData }
    }
}

/// In the word of [`Note::time`], above [`Note::bits`]: the request is a child, whose address is in
/// place of a payload's.
const CHILD: u64 = 1 << 4;
/// In the same word: the bit of the rundown protection.
const PROTECTION: u64 = 1 << 5;
/// In the same word: the payload is mapped.
const MAPPED: u64 = 1 << 6;
/// Bits below the time in its word.
const NOTE_BITS: u32 = 8;
/// Bits of a length in its word, below the chain's id.
const LEN_BITS: u32 = 32;

impl<T, const N: usize> WaitingIrps<T, N> {
    /// Notes the place of a request that is to be held, in a chain or not: before its cancel
    /// routine is set. IRQL <= DISPATCH_LEVEL.
    pub fn prepare(irp: &OwnedIrp, (offset, len): (u64, u32)) {
        // SAFETY: the IRP is ours.
        unsafe {
            words(irp.as_non_null()).write([
                word(offset),
                word(len.into()),
                null_mut(),
                null_mut(),
            ]);
        };
    }

    /// The place of a prepared request. DISPATCH_LEVEL.
    pub fn place(cancelled: &CancelledIrp) -> (u64, u32) {
        // SAFETY: the cancel routine was set after `prepare`.
        let [offset, len, ..] = unsafe { words(cancelled.as_non_null()).read() };
        (number(offset), low_half(number(len)))
    }

    /// Appends a request. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // A write that waits is rare; it does not add to the stack of those that do not.
    pub fn push(&mut self, request: Chained<T, N>, note: Note) {
        let irp = store(self.id, request, note);
        set_links(irp, self.last, None);
        match self.last {
            Some(last) => set_links(last, links(last).0, Some(irp)),
            None => self.first = Some(irp),
        }
        self.last = Some(irp);
    }

    /// Takes the oldest request. IRQL <= DISPATCH_LEVEL.
    pub fn pop(&mut self) -> Option<(Chained<T, N>, Note)> {
        let irp = self.first?;
        Some(self.remove(irp))
    }

    /// Takes a cancelled request, if it is in this chain. DISPATCH_LEVEL.
    pub fn take(&mut self, cancelled: &CancelledIrp) -> Option<(Chained<T, N>, Note)> {
        let irp = cancelled.as_non_null();
        // SAFETY: the cancel routine was set after `prepare`.
        let [_, len, ..] = unsafe { words(irp).read() };
        (number(len) >> LEN_BITS == u64::from(self.id)).then(|| self.remove(irp))
    }

    /// Takes an IRP out that is in the chain.
    fn remove(&mut self, irp: NonNull<IRP>) -> (Chained<T, N>, Note) {
        let (before, after) = links(irp);
        match before {
            Some(before) => set_links(before, links(before).0, after),
            None => self.first = after,
        }
        match after {
            Some(after) => set_links(after, before, links(after).1),
            None => self.last = before,
        }
        // SAFETY: stored by `push`; out of the chain now.
        unsafe { load(irp) }
    }
}

/// Puts a request into its IRP's words, all but the links.
fn store<T, const N: usize>(id: u32, request: Chained<T, N>, note: Note) -> NonNull<IRP> {
    let Note { place: (offset, len), time, bits } = note;
    let (irp, owner, address) = match request {
        Chained::Original(irp, protection, payload) => {
            let owner = if protection.into_bit() == 0 { 0 } else { PROTECTION };
            let (address, mapped) = match payload.map(Payload::into_parts) {
                Some((address, true)) => (address.as_ptr(), MAPPED),
                Some((address, false)) => (address.as_ptr(), 0),
                None => (null_mut(), 0),
            };
            (irp.into_non_null(), owner | mapped, address)
        }
        Chained::Child(child) => {
            let (irp, child) = child.into_parts();
            (irp, CHILD, child.as_ptr())
        }
    };
    let len = u64::from(len) | u64::from(id) << LEN_BITS;
    let time = time << NOTE_BITS | owner | u64::from(bits);
    // SAFETY: the IRP is ours.
    unsafe { words(irp).write([word(offset), word(len), word(time), address]) };
    irp
}

/// Takes a request out of its IRP's words, which say from now on that it is in no chain.
///
/// # Safety
/// [`store`] has put it there, and it is taken once.
unsafe fn load<T, const N: usize>(irp: NonNull<IRP>) -> (Chained<T, N>, Note) {
    // SAFETY: `store` has written all four words.
    let [offset, len, time, address] = unsafe { words(irp).read() };
    let place = (number(offset), low_half(number(len)));
    // SAFETY: the IRP is ours.
    unsafe { words(irp).write([offset, word(place.1.into()), time, address]) };
    let time = number(time);
    let bits = super::low_byte(low_half(time)) & 0xf;
    let note = Note { place, time: time >> NOTE_BITS, bits };
    let child = NonNull::new(address).filter(|_| time & CHILD != 0);
    let request = if let Some(child) = child {
        // SAFETY: the address is that of `store`.
        Chained::Child(unsafe { ChildIrp::from_address(child) })
    } else {
        // SAFETY: the IRP's owner gave it up in `store`.
        let irp = unsafe { OwnedIrp::from_non_null(irp) };
        // SAFETY: the bit is that of `store`.
        let protection =
            unsafe { RundownProtection::from_bit(usize::from(time & PROTECTION != 0)) };
        let is_mapped = time & MAPPED != 0;
        // SAFETY: the address is that of the payload, which the IRP keeps.
        let payload = |address| unsafe { Payload::from_parts(address, is_mapped) };
        let payload = NonNull::new(address).map(payload);
        Chained::Original(irp, protection, payload)
    };
    (request, note)
}

/// A number in a pointer's place.
fn word(number: u64) -> PVOID {
    without_provenance_mut(usize::try_from(number).unwrap_or(0))
}

fn number(word: PVOID) -> u64 {
    word.addr() as u64
}

fn low_half(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The IRPs before and after one in a chain.
fn links(irp: NonNull<IRP>) -> (Option<NonNull<IRP>>, Option<NonNull<IRP>>) {
    // SAFETY: an IRP in the chain is ours, and its links are set.
    let LIST_ENTRY { Blink, Flink } = unsafe { link(irp).read() };
    (NonNull::new(Blink.cast()), NonNull::new(Flink.cast()))
}

fn set_links(irp: NonNull<IRP>, before: Option<NonNull<IRP>>, after: Option<NonNull<IRP>>) {
    let address =
        |irp: Option<NonNull<IRP>>| irp.map_or(null_mut(), |irp| irp.as_ptr().cast::<LIST_ENTRY>());
    // SAFETY: an IRP in the chain is ours.
    unsafe { link(irp).write(LIST_ENTRY { Blink: address(before), Flink: address(after) }) };
}

/// Four words of an IRP that belong to the driver that holds it. IRQL <= DISPATCH_LEVEL.
pub(super) fn words(irp: NonNull<IRP>) -> *mut [PVOID; 4] {
    // SAFETY: the caller holds the IRP; no reference is made.
    let overlay = unsafe { &raw mut (*irp.as_ptr()).Tail.Overlay };
    // SAFETY: as above.
    unsafe { &raw mut (*overlay).__bindgen_anon_1.__bindgen_anon_1.DriverContext }
}

/// An IRP's links, which belong to the driver that holds it. IRQL <= DISPATCH_LEVEL.
pub(super) fn link(irp: NonNull<IRP>) -> *mut LIST_ENTRY {
    // SAFETY: the caller holds the IRP; no reference is made.
    let overlay = unsafe { &raw mut (*irp.as_ptr()).Tail.Overlay };
    // SAFETY: as above.
    unsafe { &raw mut (*overlay).__bindgen_anon_2.ListEntry }
}
