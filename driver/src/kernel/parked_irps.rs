//! Requests that are ready to be sent and wait for something on their disk, chained through words
//! of their IRPs: that takes no memory (rule BOUND, rules.md#bound).
//!
//! As in [`waiting_irps`](super::waiting_irps), which has none of these requests: they have left
//! the engine, or never were there. They cannot be cancelled: what they wait for ends.

use core::mem;
use core::ptr::{NonNull, null_mut, without_provenance_mut};

use wdk_sys::{IRP, LIST_ENTRY};

use super::irp::OwnedIrp;
use super::rundown::RundownProtection;
use super::waiting_irps::{link, words};

/// A request that is ready to be sent.
pub struct Parked {
    /// The request, marked pending.
    pub irp: OwnedIrp,
    /// Its rundown protection.
    pub protection: RundownProtection,
    /// What its completion routine gets, without its highest bit.
    pub tag: usize,
}

/// Requests in order of arrival. To be emptied before it is dropped: what is in it is not sent.
#[derive(Default)]
pub struct ParkedIrps {
    first: Option<NonNull<IRP>>,
    last: Option<NonNull<IRP>>,
}

// SAFETY: IRPs belong to no thread; the owner of the chain is the only one to use their words.
unsafe impl Send for ParkedIrps {}

impl ParkedIrps {
    /// Appends a request. IRQL <= DISPATCH_LEVEL.
    pub fn push(&mut self, parked: Parked) {
        let Parked { irp, protection, tag } = parked;
        let irp = irp.into_non_null();
        let bits = tag << 1 | protection.into_bit();
        // SAFETY: the IRP is ours.
        unsafe {
            words(irp).write([without_provenance_mut(bits), null_mut(), null_mut(), null_mut()]);
        };
        set_next(irp, None);
        match self.last {
            Some(last) => set_next(last, Some(irp)),
            None => self.first = Some(irp),
        }
        self.last = Some(irp);
    }

    /// Takes the oldest request. IRQL <= DISPATCH_LEVEL.
    pub fn pop(&mut self) -> Option<Parked> {
        let irp = self.first?;
        // SAFETY: an IRP in the chain is ours, and its link is set.
        let next = unsafe { link(irp).read() }.Flink;
        self.first = NonNull::new(next.cast());
        if self.first.is_none() {
            self.last = None;
        }
        // SAFETY: written by `push`.
        let [bits, ..] = unsafe { words(irp).read() };
        // SAFETY: the IRP's owner gave it up in `push`.
        let irp = unsafe { OwnedIrp::from_non_null(irp) };
        // SAFETY: the bit is that of `push`.
        let protection = unsafe { RundownProtection::from_bit(bits.addr()) };
        Some(Parked { irp, protection, tag: bits.addr() >> 1 })
    }

    /// Takes all requests. IRQL <= DISPATCH_LEVEL.
    pub fn take(&mut self) -> Self {
        mem::take(self)
    }
}

fn set_next(irp: NonNull<IRP>, next: Option<NonNull<IRP>>) {
    let next = next.map_or(null_mut(), |irp| irp.as_ptr().cast::<LIST_ENTRY>());
    // SAFETY: an IRP in the chain is ours.
    unsafe { link(irp).write(LIST_ENTRY { Flink: next, Blink: null_mut() }) };
}
