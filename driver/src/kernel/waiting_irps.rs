//! A chain of requests that wait, through words of their IRPs: it takes no memory, however long it
//! is (rule BOUND, rules.md#bound).
//!
//! A driver that holds an IRP may use `Tail.Overlay.ListEntry` and `DriverContext` until it passes
//! the IRP on. No other part of this driver uses them. A request of one part is chained through the
//! IRP that was dispatched to us, one that is split through the IRP of its child, which is idle.

use core::marker::PhantomData;
use core::ptr::{NonNull, null_mut, without_provenance_mut};

use wdk_sys::{IRP, LIST_ENTRY, PVOID};

use super::child_irp::ChildIrp;
use super::irp::{OwnedIrp, Payload};
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
    /// Any two numbers.
    pub numbers: [u64; 2],
    /// Any number below 2^60.
    pub time: u64,
    /// Any four bits.
    pub bits: u8,
}

/// Requests in order of arrival. To be emptied before it is dropped: what is in it is not freed.
pub struct WaitingIrps<T, const N: usize> {
    first: Option<NonNull<IRP>>,
    last: Option<NonNull<IRP>>,
    requests: PhantomData<fn() -> T>,
}

// SAFETY: IRPs belong to no thread; the owner of the chain is the only one to use their words.
unsafe impl<T: Send, const N: usize> Send for WaitingIrps<T, N> {}

impl<T, const N: usize> Default for WaitingIrps<T, N> {
    fn default() -> Self {
        Self { first: None, last: None, requests: PhantomData }
    }
}

/// In the word that says what the request is: a child, whose address the link keeps in place of a
/// payload's.
const CHILD: u64 = 1;
/// In the same word: the bit of the rundown protection.
const PROTECTION: u64 = 2;
/// Bits of [`Note::bits`] in the word of [`Note::time`].
const NOTE_BITS: u32 = 4;

impl<T, const N: usize> WaitingIrps<T, N> {
    /// Appends a request. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // A write that waits is rare; it does not add to the stack of those that do not.
    pub fn push(&mut self, request: Chained<T, N>, note: Note) {
        let irp = store(request, note);
        set_next(irp, None);
        match self.last {
            Some(last) => set_next(last, Some(irp)),
            None => self.first = Some(irp),
        }
        self.last = Some(irp);
    }

    /// Takes the oldest request. IRQL <= DISPATCH_LEVEL.
    pub fn pop(&mut self) -> Option<(Chained<T, N>, Note)> {
        let irp = self.first?;
        self.unlink(None, irp);
        // SAFETY: stored by `push`, or by `take` for a request that stayed; out of the chain now.
        Some(unsafe { load(irp) })
    }

    /// Takes the oldest request that `accepts` takes; the others it gives back, with what is to be
    /// kept with them from now on. IRQL <= DISPATCH_LEVEL.
    pub fn take<R>(
        &mut self,
        mut accepts: impl FnMut(Chained<T, N>, Note) -> Result<R, (Chained<T, N>, Note)>,
    ) -> Option<R> {
        let (mut before, mut here) = (None, self.first);
        while let Some(irp) = here {
            here = next(irp);
            // SAFETY: stored by `push`, or below; if it stays it is stored again.
            let (request, note) = unsafe { load(irp) };
            match accepts(request, note) {
                Ok(taken) => {
                    // The request's IRP is still held: the caller has only just been given it.
                    self.unlink_known(before, irp, here);
                    return Some(taken);
                }
                Err((request, note)) => {
                    let stored = store(request, note);
                    debug_assert!(stored == irp, "HANG: a request that stays keeps its place");
                    before = Some(irp);
                }
            }
        }
        None
    }

    fn unlink(&mut self, before: Option<NonNull<IRP>>, irp: NonNull<IRP>) {
        self.unlink_known(before, irp, next(irp));
    }

    /// Takes an IRP out whose neighbours are known; does not touch the IRP itself.
    fn unlink_known(
        &mut self,
        before: Option<NonNull<IRP>>,
        irp: NonNull<IRP>,
        after: Option<NonNull<IRP>>,
    ) {
        match before {
            Some(before) => set_next(before, after),
            None => self.first = after,
        }
        if self.last == Some(irp) {
            self.last = before;
        }
    }
}

/// Puts a request into its IRP's words, all but the link.
fn store<T, const N: usize>(request: Chained<T, N>, note: Note) -> NonNull<IRP> {
    let Note { numbers: [first, second], time, bits } = note;
    let time = time << NOTE_BITS | u64::from(bits);
    let (irp, owner, payload) = match request {
        Chained::Original(irp, protection, payload) => {
            let payload = payload.map_or(null_mut(), |payload| payload.address().as_ptr());
            let owner = if protection.into_bit() == 0 { 0 } else { PROTECTION };
            (irp.into_non_null(), word(owner), payload.cast())
        }
        Chained::Child(child) => {
            let (irp, child) = child.into_parts();
            (irp, word(CHILD), child.as_ptr())
        }
    };
    // SAFETY: the IRP is ours.
    unsafe { words(irp).write([word(first), word(second), word(time), owner]) };
    // SAFETY: the IRP is ours; its place in the chain stays.
    let link = unsafe { &mut *link(irp) };
    link.Blink = payload.cast();
    irp
}

/// Takes a request out of its IRP's words.
///
/// # Safety
/// [`store`] has put it there, and it is taken once.
unsafe fn load<T, const N: usize>(irp: NonNull<IRP>) -> (Chained<T, N>, Note) {
    // SAFETY: `store` has written all four words.
    let words = unsafe { words(irp).read() };
    // SAFETY: as above.
    let payload = unsafe { link(irp).read() }.Blink;
    let [first, second, time, owner] = words.map(|word| word.addr() as u64);
    let [low, ..] = time.to_le_bytes();
    let bits = low & ((1 << NOTE_BITS) - 1);
    let note = Note { numbers: [first, second], time: time >> NOTE_BITS, bits };
    let child = NonNull::new(payload.cast()).filter(|_| owner & CHILD != 0);
    let request = if let Some(child) = child {
        // SAFETY: the address is that of `store`.
        Chained::Child(unsafe { ChildIrp::from_address(child) })
    } else {
        // SAFETY: the IRP's owner gave it up in `store`.
        let irp = unsafe { OwnedIrp::from_non_null(irp) };
        // SAFETY: the bit is that of `store`.
        let protection =
            unsafe { RundownProtection::from_bit(usize::from(owner & PROTECTION != 0)) };
        // SAFETY: the address is that of the payload, which the IRP keeps mapped.
        let payload = NonNull::new(payload.cast()).map(|address| unsafe { Payload::new(address) });
        Chained::Original(irp, protection, payload)
    };
    (request, note)
}

/// A number in a pointer's place.
fn word(number: u64) -> PVOID {
    without_provenance_mut(usize::try_from(number).unwrap_or(0))
}

fn next(irp: NonNull<IRP>) -> Option<NonNull<IRP>> {
    // SAFETY: an IRP in the chain is ours, and its link is set.
    NonNull::new(unsafe { link(irp).read() }.Flink.cast())
}

fn set_next(irp: NonNull<IRP>, next: Option<NonNull<IRP>>) {
    // SAFETY: an IRP in the chain is ours.
    let link = unsafe { &mut *link(irp) };
    link.Flink = next.map_or(null_mut(), |next| next.as_ptr().cast());
}

/// Four words of an IRP that belong to the driver that holds it.
fn words(irp: NonNull<IRP>) -> *mut [PVOID; 4] {
    // SAFETY: the caller holds the IRP; no reference is made.
    let overlay = unsafe { &raw mut (*irp.as_ptr()).Tail.Overlay };
    // SAFETY: as above.
    unsafe { &raw mut (*overlay).__bindgen_anon_1.__bindgen_anon_1.DriverContext }
}

/// An IRP's link, which belongs to the driver that holds it.
fn link(irp: NonNull<IRP>) -> *mut LIST_ENTRY {
    // SAFETY: the caller holds the IRP; no reference is made.
    let overlay = unsafe { &raw mut (*irp.as_ptr()).Tail.Overlay };
    // SAFETY: as above.
    unsafe { &raw mut (*overlay).__bindgen_anon_2.ListEntry }
}
