//! MDLs through which a captured write goes to the disk from the queue's memory, in place of its
//! caller's buffer (rule LOSS, rules.md#loss).
//!
//! A filter may replace an IRP's MDL on the way down if it puts it back on completion, before the
//! I/O manager or a driver above looks at it; so does the filter manager. The MDLs are allocated
//! with the queue (rule BOUND, rules.md#bound): 64 bytes for each page of it, which the payload
//! that begins there uses, with those of its other pages.

use core::num::NonZeroU32;
use core::ptr::NonNull;

use snapless_engine::MemorySpan;
use wdk_sys::ntddk::IoBuildPartialMdl;
use wdk_sys::{CSHORT, MDL, PFN_NUMBER, PMDL, ULONG};

use super::irp::{CompletedIrp, OwnedIrp};
use super::mdl::{BufferMdl, unmap_partial};
use super::pool::PoolBuffer;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Bytes for each page: what is kept of a payload of one page.
const PLACE: u64 = size_of::<Place>() as u64;

/// What is kept of a payload, at the place of its first page. The frames of further pages follow,
/// in the places of those pages.
#[repr(C)]
struct Place {
    /// The caller's MDL, while the IRP has ours.
    original: PMDL,
    /// Ours.
    mdl: MDL,
    /// Where it keeps its frames.
    first_frame: PFN_NUMBER,
}

/// The MDLs of a queue's payloads.
pub struct PayloadMdls(PoolBuffer);

/// The MDL of a payload, which an IRP has in place of its caller's: one more than the number of the
/// payload's first page in the queue.
#[must_use = "the caller's MDL is to be put back on completion"]
#[derive(Clone, Copy, Debug)]
pub struct PayloadMdl(NonZeroU32);

impl PayloadMdl {
    /// Bits of its number: queues are shorter than 512 GiB.
    pub const BITS: u32 = 27;

    /// As a number of that many bits, never 0. IRQL <= DISPATCH_LEVEL.
    pub fn into_raw(self) -> u32 {
        self.0.get()
    }

    /// The MDL that [`PayloadMdl::into_raw`] gave this number; `None` for 0. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn from_raw(raw: u32) -> Option<Self> {
        NonZeroU32::new(raw).map(Self)
    }
}

impl PayloadMdl {
    /// Where in the queue a payload of this length is. IRQL <= DISPATCH_LEVEL.
    pub fn span(self, len: u32) -> MemorySpan {
        let page = u64::from(self.0.get()).saturating_sub(1);
        MemorySpan { offset: page.saturating_mul(PAGE), len: len.into() }
    }
}

impl PayloadMdls {
    /// MDLs for a queue of `bytes`; `None` if there is no memory. IRQL <= DISPATCH_LEVEL.
    pub fn new(bytes: usize) -> Option<Self> {
        let pages = u64::try_from(bytes).ok()?.div_ceil(PAGE);
        (pages >> PayloadMdl::BITS == 0).then_some(())?;
        let places = usize::try_from(pages.checked_mul(PLACE)?).ok()?;
        PoolBuffer::new(places).map(Self)
    }

    /// Gives an IRP an MDL of `span`, which begins with a page of `queue`. `None` if it keeps its
    /// own: it has none, for buffered I/O, or the span is too long for one. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // Not on the stack of what the lower device runs.
    pub fn replace(
        &self,
        irp: &OwnedIrp,
        queue: &BufferMdl,
        span: MemorySpan,
    ) -> Option<PayloadMdl> {
        let original = irp.mdl()?;
        let (first, pages) = (span.offset / PAGE, span.len.div_ceil(PAGE));
        let frames = usize::try_from(pages).ok()?.checked_mul(size_of::<PFN_NUMBER>())?;
        let size = CSHORT::try_from(frames.checked_add(size_of::<MDL>())?).ok()?;
        let address = queue.address(span.offset, span.len)?;
        let number = u32::try_from(first.checked_add(1)?).ok()?;
        let place = self.place(first, pages)?;
        let mdl = MDL { Size: size, ..MDL::default() };
        let kept = Place { original: original.as_ptr(), mdl, first_frame: 0 };
        // SAFETY: inside the places, aligned as the buffer is, and the payload's as long as its
        // write is in flight.
        unsafe { place.write(kept) };
        // SAFETY: as above; no reference is made, as the I/O manager writes frames past its end.
        let mdl = unsafe { &raw mut (*place.as_ptr()).mdl };
        let len = ULONG::try_from(span.len).ok()?;
        // SAFETY: the queue's MDL describes that address and `len` bytes; the target's size says
        // for how many frames it has room, which `place` has checked.
        unsafe { IoBuildPartialMdl(queue.as_ptr(), mdl, address.as_ptr().cast(), len) };
        irp.set_mdl(mdl);
        PayloadMdl::from_raw(number)
    }

    /// Puts the caller's MDL back that [`PayloadMdls::replace`] has replaced. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn put_back(&self, irp: &CompletedIrp, payload: PayloadMdl) {
        let first = u64::from(payload.into_raw()).saturating_sub(1);
        let Some(place) = self.place(first, 1) else { return };
        // SAFETY: written by `replace`; the payload's until its write has completed.
        let mdl = unsafe { &raw mut (*place.as_ptr()).mdl };
        // SAFETY: as above; the drivers below are done with it.
        unsafe { unmap_partial(mdl) };
        // SAFETY: as above.
        irp.set_mdl(unsafe { (*place.as_ptr()).original });
    }

    /// The place of a payload; `None` if it is not inside.
    fn place(&self, first: u64, pages: u64) -> Option<NonNull<Place>> {
        let (offset, len) = (first.checked_mul(PLACE)?, pages.checked_mul(PLACE)?);
        self.0.range(offset, len).map(NonNull::cast)
    }
}

// An MDL of any number of pages has room in as many places, and the longest payload has an MDL.
const _: () = assert!(
    size_of::<Place>() == size_of::<PMDL>() + size_of::<MDL>() + size_of::<PFN_NUMBER>()
        && size_of::<Place>() >= size_of::<PFN_NUMBER>()
        && size_of::<MDL>() as u64
            + snapless_engine::Config::WRITE_BYTES_MAX / PAGE * size_of::<PFN_NUMBER>() as u64
            <= CSHORT::MAX as u64
);
