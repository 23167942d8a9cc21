//! Writes compacted segments.

use snapless_types::{Extent, RecordKind, Seq};
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind};
use snapless_wire::record::{Position, RECORD_HEADER_LEN, RecordHeader};

use crate::error::{Error, Result};
use crate::format::history::{HistoryNumber, KeptSegment};
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentForm, SegmentHeader, SegmentNumber};
use crate::point::runs::Entry;
use crate::reader::SessionReader;
use crate::seal::{EntrySeal, Packer};
use crate::storage::StoredFile;
use crate::timeline::Place;

/// An entry's payload does not grow past this; no single record is longer.
const ENTRY_BYTES: usize = 4 << 20;
/// Bytes that an entry may have beside its payload, sealed or not.
const ENTRY_EXTRA: u64 = 1 << 10;

/// The numbers of the compacted segments that a fold makes.
pub(super) enum Numbers {
    /// In a directory: those after all that there are.
    After(u64),
    /// Among objects: those of the history, which no other fold has.
    Of(HistoryNumber, u64),
}

/// Writes records into compacted segments, one behind the other.
pub(super) struct Compactor<'a> {
    reader: &'a SessionReader,
    boundary: Place,
    limit: u64,
    packer: Option<Packer>,
    open: Option<Open>,
    payload: Vec<u8>,
    records: u64,
    pub(super) finished: Vec<KeptSegment>,
}

struct Open {
    number: SegmentNumber,
    file: StoredFile,
    seal: Option<EntrySeal>,
    len: u64,
}

/// A record that was written.
pub(super) struct Written {
    pub(super) entry: Entry,
    /// Where in the entry's payload its content is.
    pub(super) content: u64,
}

impl Numbers {
    /// Those of a fold that publishes this history.
    pub(super) fn of(reader: &SessionReader, history: HistoryNumber) -> Result<Self> {
        if reader.store().objects().is_some() {
            return Ok(Self::Of(history, 0));
        }
        let present = reader.store().list(reader.dir(), |name| {
            SegmentNumber::from_compacted_name(name).map(SegmentNumber::compacted_index)
        })?;
        Ok(Self::After(present.last().copied().unwrap_or(0)))
    }

    /// `None` past the last one.
    fn take(&mut self) -> Option<SegmentNumber> {
        let (Self::After(last) | Self::Of(_, last)) = self;
        *last += 1;
        match *self {
            Self::After(number) => Some(SegmentNumber::compacted(number)),
            Self::Of(history, number) => history.compacted(number),
        }
    }
}

impl<'a> Compactor<'a> {
    pub(super) fn new(reader: &'a SessionReader, boundary: Place, limit: u64) -> Result<Self> {
        Ok(Self {
            reader,
            boundary,
            limit,
            packer: reader.seal().packer()?,
            open: None,
            payload: Vec::new(),
            records: 0,
            finished: Vec::new(),
        })
    }

    /// Adds a record of this content.
    pub(super) fn add(
        &mut self,
        numbers: &mut Numbers,
        extent: &Extent,
        content: &[u8],
    ) -> Result<Written> {
        if self.payload.len() + RECORD_HEADER_LEN + content.len() > ENTRY_BYTES {
            self.end_entry()?;
        }
        if self.payload.is_empty() {
            self.make_room(numbers, content.len())?;
        }
        let Some(Open { number, len, .. }) = self.open else {
            unreachable!("a segment is open once there is room")
        };
        self.records += 1;
        // What the records say beside extent and length is never read.
        let position = Position {
            seq: Seq::new(self.records),
            time: self.boundary.time(),
            monotonic: 0,
            epoch: self.boundary.epoch,
        };
        let header =
            RecordHeader::extent(RecordKind::Block, position, extent.offset(), extent.len())?;
        self.payload.extend(header.to_bytes());
        let at = self.payload.len() as u64;
        self.payload.extend(content);
        Ok(Written { entry: Entry { segment: number, offset: len }, content: at })
    }

    /// Ends the present entry.
    pub(super) fn end_entry(&mut self) -> Result<()> {
        let Some(open) = self.open.as_mut().filter(|_| !self.payload.is_empty()) else {
            return Ok(());
        };
        let header = FrameHeader::new(FrameKind::Records, &self.payload)?.to_bytes();
        if let (Some(packer), Some(seal)) = (&mut self.packer, &open.seal) {
            let entry = seal.seal(packer.pack([&header, &self.payload]), open.len)?;
            open.file.write_at(open.len, &entry)?;
            open.len += entry.len() as u64;
        } else {
            open.file.write_at(open.len, &header)?;
            open.file.write_at(open.len + FRAME_HEADER_LEN as u64, &self.payload)?;
            open.len += (FRAME_HEADER_LEN + self.payload.len()) as u64;
        }
        self.payload.clear();
        Ok(())
    }

    /// Ends the present segment; it is durable, but for its name.
    pub(super) fn end_segment(&mut self) -> Result<()> {
        self.end_entry()?;
        if let Some(Open { number, file, len, .. }) = self.open.take() {
            file.sync()?;
            self.finished.push(KeptSegment { number, len });
        }
        Ok(())
    }

    /// Opens a segment if there is none with room for an entry that begins with so many bytes.
    fn make_room(&mut self, numbers: &mut Numbers, bytes: usize) -> Result<()> {
        let needed = (bytes as u64).saturating_add(ENTRY_EXTRA);
        let is_full = |open: &Open| {
            open.len > SEGMENT_HEADER_LEN as u64 && open.len.saturating_add(needed) > self.limit
        };
        if self.open.as_ref().is_some_and(is_full) {
            self.end_segment()?;
        }
        if self.open.is_none() {
            let number = numbers.take().ok_or_else(|| Error::CannotFold {
                boundary: self.boundary.seq,
                why: "no number is left for what it writes: begin a new session",
            })?;
            let path = self.reader.dir().join(number.file_name());
            let file = self.reader.store().create_new(&path)?;
            let seal = self.reader.seal().entries(number)?;
            let session = self.reader.header();
            let header = SegmentHeader { volume: session.volume, session: session.session, number };
            file.write_at(0, &header.to_bytes_of(SegmentForm::sealed_if(seal.is_some())))?;
            self.open = Some(Open { number, file, seal, len: SEGMENT_HEADER_LEN as u64 });
        }
        Ok(())
    }
}
