//! Reads one segment, entry by entry.

use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind, Watermark};
use snapless_wire::record::{RECORD_HEADER_LEN, RecordError, RecordHeader};

use crate::error::{Damage, Error, Result};
use crate::format::index::EntryIndex;
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber};
use crate::format::session::SessionHeader;
use crate::storage::StoredFile;

/// Reads one segment, entry by entry, up to its acknowledged end.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: BufReader<StoredFile>,
    /// Where the present entry begins.
    start: u64,
    /// Where the next entry begins.
    next: u64,
    end: u64,
}

impl SegmentReader {
    pub(super) fn open(
        file: StoredFile,
        session: &SessionHeader,
        number: SegmentNumber,
        end: u64,
        buffer: usize,
    ) -> Result<Self> {
        let mut reader = Self {
            file: BufReader::with_capacity(buffer, file),
            start: 0,
            next: SEGMENT_HEADER_LEN as u64,
            end,
        };
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        reader.fill(&mut bytes)?;
        let header = SegmentHeader::read(&bytes).map_err(|why| reader.damage(why))?;
        if header.volume != session.volume || header.session != session.session {
            return Err(reader.damage(Damage::Foreign("session")));
        }
        if header.number != number {
            return Err(reader.damage(Damage::Foreign("place in the stream")));
        }
        Ok(reader)
    }

    /// Begins the next entry, of records or a watermark; `None` at the acknowledged end.
    /// [`Self::load`] must follow; [`Self::watermark`] does so for a watermark.
    pub(crate) fn next_entry(&mut self) -> Result<Option<FrameHeader>> {
        self.start = self.next;
        if self.start == self.end {
            return Ok(None);
        }
        let mut bytes = [0; FRAME_HEADER_LEN];
        self.fill(&mut bytes)?;
        let frame = FrameHeader::read(&bytes).map_err(|why| self.damage(why))?;
        if !matches!(frame.kind(), FrameKind::Records | FrameKind::Watermark) {
            return Err(self.damage(Damage::Kind));
        }
        self.next = self.start + (FRAME_HEADER_LEN + frame.payload_len()) as u64;
        if self.next > self.end {
            return Err(self.damage(Damage::Overlong(self.end)));
        }
        Ok(Some(frame))
    }

    /// Reads the entry's payload and checks its checksum.
    pub(crate) fn load(&mut self, frame: FrameHeader, payload: &mut Vec<u8>) -> Result<()> {
        payload.resize(frame.payload_len(), 0);
        self.fill(payload)?;
        frame.verify(payload).map_err(|why| self.damage(why))
    }

    /// Reads the entry if it is a watermark, and checks its checksum; `None` for records.
    pub(crate) fn watermark(&mut self, frame: FrameHeader) -> Result<Option<Watermark>> {
        if frame.kind() != FrameKind::Watermark {
            return Ok(None);
        }
        let mut payload = Vec::new();
        self.load(frame, &mut payload)?;
        Watermark::read(&payload).map(Some).map_err(|why| self.damage(why))
    }

    /// What an index has of the present entry, which was loaded.
    pub(crate) fn index_of(&self, frame: FrameHeader, payload: &[u8]) -> Result<EntryIndex> {
        if frame.kind() == FrameKind::Watermark {
            let watermark = Watermark::read(payload).map_err(|why| self.damage(why))?;
            return Ok(EntryIndex::of_watermark(self.start, frame, watermark));
        }
        EntryIndex::of(self.start, frame, payload).map_err(|why| self.damage(why))
    }

    /// Reads the headers of the entry's records and skips their content; checks no checksum.
    pub(crate) fn skim(&mut self, frame: FrameHeader) -> Result<EntryIndex> {
        let mut entry = EntryIndex::new(self.start, frame);
        let mut left = frame.payload_len();
        while left > 0 {
            let mut bytes = [0; RECORD_HEADER_LEN];
            if left < bytes.len() {
                return Err(self.damage(RecordError::Truncated));
            }
            self.fill(&mut bytes)?;
            let record = RecordHeader::read(&bytes).map_err(|why| self.damage(why))?;
            left = (left - bytes.len())
                .checked_sub(record.payload_len())
                .ok_or_else(|| self.damage(RecordError::Truncated))?;
            entry.push_header(record);
            let skip = i64::try_from(record.payload_len()).unwrap_or(i64::MAX);
            self.file.seek_relative(skip).map_err(Error::file("read", self.path()))?;
        }
        Ok(entry)
    }

    /// True if this entry begins there. Leaves the reader behind it.
    pub(super) fn has_entry(&mut self, offset: u64, frame: &FrameHeader) -> bool {
        let found = self.go_to(offset).and_then(|()| self.next_entry());
        let is_there = matches!(found, Ok(Some(found)) if found == *frame);
        is_there && self.go_to(self.next).is_ok()
    }

    /// The acknowledged end.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    fn path(&self) -> &Path {
        self.file.get_ref().path()
    }

    /// Where the present entry begins.
    pub(crate) fn entry_start(&self) -> u64 {
        self.start
    }

    /// Where the next entry begins.
    pub(crate) fn entry_end(&self) -> u64 {
        self.next
    }

    /// Damage of the present entry.
    pub(crate) fn damage(&self, why: impl Into<Damage>) -> Error {
        Error::damaged(self.path(), self.start, why)
    }

    /// Goes to the next entry after one with damage inside.
    pub(crate) fn skip_damaged(&mut self) -> Result<()> {
        self.go_to(self.next)
    }

    /// Goes to the entry that begins at `offset`.
    pub(super) fn go_to(&mut self, offset: u64) -> Result<()> {
        self.next = offset;
        let to = SeekFrom::Start(offset);
        self.file.seek(to).map_err(Error::file("read", self.path())).map(|_| ())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.file.read_exact(bytes) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.damage(Damage::Truncated(self.end)))
            }
            Err(error) => Err(Error::file("read", self.path())(error)),
        }
    }
}
