//! What no file of a volume has, so that it need not be read: from when on changes are noted, and
//! which blocks are unused.
//!
//! The service has the driver note changes, asks the file system which clusters are free, starts
//! the session, and says after t0 which blocks are. What was changed in between counts as used
//! (rule T0, rules.md#t0).

use snapless_types::{BlockIndex, BlockRange};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BadRequest, DeviceName, block_size, is_spoken};

/// Blocks that one request is about, at most.
pub const UNUSED_MAX: u32 = 32_768;
/// Bytes of the bitmap in a request.
pub const UNUSED_BYTES: usize = UNUSED_MAX as usize / 8;

/// Input of [`IOCTL_NOTE`](super::IOCTL_NOTE).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct NoteRequest {
    version: U32,
    block_size: U32,
    device: DeviceName,
}

impl NoteRequest {
    /// A request in this version, for a session with blocks of so many bytes.
    pub fn new(version: u32, block_size: u32, device: DeviceName) -> Self {
        Self { version: U32::new(version), block_size: U32::new(block_size), device }
    }

    /// The volume, and bytes of a block of the session that is to begin.
    ///
    /// # Errors
    /// [`BadRequest::Version`] or [`BadRequest::BlockSize`].
    pub fn parse(&self) -> Result<(&DeviceName, u32), BadRequest> {
        if !is_spoken(self.version.get()) {
            return Err(BadRequest::Version);
        }
        Ok((&self.device, block_size(self.block_size.get())?))
    }
}

/// Input of [`IOCTL_UNUSED`](super::IOCTL_UNUSED).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UnusedRequest {
    first: U64,
    count: U32,
    is_last: U32,
    /// A bit for each block, from the lowest bit of the first byte on: set if it is unused.
    bits: [u8; UNUSED_BYTES],
}

impl UnusedRequest {
    /// A request about these blocks, [`UNUSED_MAX`] at most; `None` if they are more.
    pub fn new(
        blocks: BlockRange,
        is_last: bool,
        is_unused: impl Fn(BlockIndex) -> bool,
    ) -> Option<Self> {
        let count = u32::try_from(blocks.len()).ok().filter(|count| *count <= UNUSED_MAX)?;
        let mut bits = [0; UNUSED_BYTES];
        for (block, place) in blocks.iter().zip(0_usize..) {
            if let Some(byte) = bits.get_mut(place / 8) {
                *byte |= u8::from(is_unused(block)) << (place % 8);
            }
        }
        let (first, is_last) = (U64::new(blocks.start.0), U32::new(is_last.into()));
        Some(Self { first, count: U32::new(count), is_last, bits })
    }

    /// Checks it: its other verbs are for one that was checked.
    ///
    /// # Errors
    /// [`BadRequest::Unused`].
    pub fn check(&self) -> Result<(), BadRequest> {
        let (first, count) = (self.first.get(), self.count.get());
        let has_end = first.checked_add(count.into()).is_some();
        let is_sound = has_end && count <= UNUSED_MAX && self.is_last.get() <= 1;
        is_sound.then_some(()).ok_or(BadRequest::Unused)
    }

    /// The blocks that it is about.
    pub fn blocks(&self) -> BlockRange {
        let first = self.first.get();
        let end = first.saturating_add(self.count.get().min(UNUSED_MAX).into());
        BlockRange::new(BlockIndex(first), BlockIndex(end))
    }

    /// True if no more requests follow.
    pub fn is_last(&self) -> bool {
        self.is_last.get() != 0
    }

    /// The unused blocks, run by run.
    pub fn runs(&self) -> impl Iterator<Item = BlockRange> + '_ {
        let BlockRange { start: first, end } = self.blocks();
        let is_unused = move |block: &BlockIndex| {
            let place = block.0.saturating_sub(first.0);
            let byte = usize::try_from(place / 8).ok().and_then(|place| self.bits.get(place));
            byte.is_some_and(|byte| byte >> (place % 8) & 1 == 1)
        };
        let mut next = first;
        core::iter::from_fn(move || {
            let start = BlockRange::new(next, end).iter().find(is_unused)?;
            let len = BlockRange::new(start, end).iter().take_while(is_unused).count();
            next = BlockIndex(start.0.saturating_add(len as u64));
            Some(BlockRange::new(start, next))
        })
    }
}

/// Output of [`IOCTL_UNUSED`](super::IOCTL_UNUSED).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UnusedReply {
    next: U64,
}

impl UnusedReply {
    /// A reply: the request is carried out up to this block.
    pub fn new(next: BlockIndex) -> Self {
        Self { next: U64::new(next.0) }
    }

    /// The block to go on with, for lack of room; the end of the request's blocks if all is done.
    /// `None` if it is none of them.
    pub fn next(&self, request: &UnusedRequest) -> Option<BlockIndex> {
        let BlockRange { start, end } = request.blocks();
        let next = BlockIndex(self.next.get());
        (start <= next && next <= end).then_some(next)
    }
}

const _: () = {
    assert!(size_of::<NoteRequest>() == 8 + size_of::<DeviceName>());
    assert!(size_of::<UnusedRequest>() == 16 + UNUSED_BYTES);
    assert!(size_of::<UnusedReply>() == 8);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::ABI_VERSION;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn the_runs_of_a_request_are_its_unused_blocks() {
        let unused = [blocks(100, 103), blocks(107, 117), blocks(119, 120)];
        let is_unused = |block: BlockIndex| {
            block.0 >= 120 || unused.iter().any(|run| run.start <= block && block < run.end)
        };
        let request = UnusedRequest::new(blocks(100, 120), false, is_unused).unwrap();
        assert_eq!((request.check(), request.is_last()), (Ok(()), false));
        assert_eq!(request.runs().collect::<Vec<_>>(), unused);
        let most = blocks(7, 7 + u64::from(UNUSED_MAX));
        let all = UnusedRequest::new(most, true, |_| true).unwrap();
        assert!(all.check() == Ok(()) && all.is_last());
        assert_eq!(all.runs().collect::<Vec<_>>(), [most]);
        let none = UnusedRequest::new(most, true, |_| false).unwrap();
        assert_eq!(none.runs().count(), 0);
        assert!(UnusedRequest::new(blocks(7, 8 + u64::from(UNUSED_MAX)), true, |_| true).is_none());
    }

    #[test]
    fn a_request_that_cannot_be_is_refused() {
        let sound = UnusedRequest::new(blocks(0, 9), true, |_| true).unwrap();
        let refused = |change: &dyn Fn(&mut UnusedRequest)| {
            let mut request = sound;
            change(&mut request);
            // Whatever it says, nothing is looked at past its bits.
            assert!(request.runs().all(|run| !run.is_empty()));
            request.check() == Err(BadRequest::Unused)
        };
        assert!(refused(&|it| it.count = U32::new(UNUSED_MAX + 1)));
        assert!(refused(&|it| it.count = U32::new(u32::MAX)));
        assert!(refused(&|it| it.first = U64::new(u64::MAX - 3)));
        assert!(refused(&|it| it.is_last = U32::new(2)));
        assert!(!refused(&|it| it.first = U64::new(u64::MAX - 9)));
    }

    #[test]
    fn a_reply_names_a_block_of_its_request() {
        let request = UnusedRequest::new(blocks(5, 9), true, |_| true).unwrap();
        let next = |block| UnusedReply::new(BlockIndex(block)).next(&request);
        assert_eq!((next(5), next(9)), (Some(BlockIndex(5)), Some(BlockIndex(9))));
        assert_eq!((next(4), next(10)), (None, None));
    }

    #[test]
    fn a_note_names_a_volume_and_a_size_of_blocks() {
        let device = DeviceName::new(r"\Device\HarddiskVolume3".encode_utf16()).unwrap();
        let request = NoteRequest::new(ABI_VERSION, 64 << 10, device);
        let (name, size) = request.parse().map_err(|bad| format!("{bad:?}")).unwrap();
        assert!(name.matches(&device) && size == 64 << 10);
        for (version, size, bad) in [
            (0, 64 << 10, BadRequest::Version),
            (ABI_VERSION, 0, BadRequest::BlockSize),
            (ABI_VERSION, 96 << 10, BadRequest::BlockSize),
        ] {
            assert_eq!(NoteRequest::new(version, size, device).parse().err(), Some(bad));
        }
    }
}
