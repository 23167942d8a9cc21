//! An entry on its way into a segment, before its place there is known.

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use snapless_wire::record::Records;
use zerocopy::IntoBytes;

use super::marks::MarkEntry;
use crate::error::Result;
use crate::format::segment::RecordSet;
use crate::seal::{EntrySeal, Packed, Packer};

/// An entry that has no place yet.
pub(super) struct Unplaced<'a> {
    pub(super) frame: FrameHeader,
    pub(super) payload: &'a [u8],
    /// `None` for a plain frame.
    pub(super) packed: Option<Packed>,
}

impl<'a> Unplaced<'a> {
    fn new(frame: FrameHeader, payload: &'a [u8], by: Option<&mut Packer>) -> Self {
        let packed = by.map(|packer| packer.pack([&frame.to_bytes(), payload]));
        Self { frame, payload, packed }
    }

    /// The entries of watermarks, and that of the records behind them.
    pub(super) fn all(
        marks: &'a [MarkEntry],
        (frame, payload): (&FrameHeader, &'a [u8]),
        mut by: Option<&mut Packer>,
    ) -> Vec<Self> {
        let before = marks.iter().map(|mark| (mark.frame, mark.watermark.as_bytes()));
        let frames = before.chain([(*frame, payload)]);
        frames.map(|(frame, payload)| Self::new(frame, payload, by.as_deref_mut())).collect()
    }

    /// The records that a segment must be able to have for these entries.
    pub(super) fn record_set(entries: &[Self]) -> RecordSet {
        entries.iter().map(Self::records).max().unwrap_or_default()
    }

    fn records(&self) -> RecordSet {
        if self.frame.kind() != FrameKind::Records {
            return RecordSet::First;
        }
        let records = Records::new(self.payload).flatten();
        records.map(|it| RecordSet::of(&it.header)).max().unwrap_or_default()
    }

    /// Bytes that it takes in a segment.
    pub(super) fn len(&self) -> u64 {
        let plain = FRAME_HEADER_LEN + self.payload.len();
        self.packed.as_ref().map_or(plain, Packed::entry_len) as u64
    }

    /// The same for later.
    pub(super) fn keep(self) -> Waiting {
        let records = self.records();
        let bytes = match self.packed {
            Some(packed) => Bytes::Packed(packed),
            None => Bytes::Frame([&self.frame.to_bytes()[..], self.payload].concat()),
        };
        Waiting { bytes, records }
    }
}

/// An entry that waits for its place.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: Bytes,
    /// The records that a segment must be able to have for it.
    pub(super) records: RecordSet,
}

#[derive(Debug)]
enum Bytes {
    /// A plain frame.
    Frame(Vec<u8>),
    /// One that is sealed for its place.
    Packed(Packed),
}

impl Waiting {
    /// Bytes that it takes in a segment.
    pub(super) fn len(&self) -> usize {
        match &self.bytes {
            Bytes::Frame(frame) => frame.len(),
            Bytes::Packed(packed) => packed.entry_len(),
        }
    }

    /// Puts it at the end of a segment.
    ///
    /// # Errors
    /// [`crate::error::Error::Cipher`].
    pub(super) fn put(self, segment: &mut Vec<u8>, seal: Option<&EntrySeal>) -> Result<()> {
        match (self.bytes, seal) {
            (Bytes::Frame(frame), _) => segment.extend(frame),
            (Bytes::Packed(packed), Some(seal)) => {
                let sealed = seal.seal(packed, segment.len() as u64)?;
                segment.extend(sealed);
            }
            (Bytes::Packed(_), None) => unreachable!("what is packed has a seal"),
        }
        Ok(())
    }
}
