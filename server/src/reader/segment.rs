//! Reads one segment, entry by entry.

use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader, FrameKind, Watermark};

use crate::error::{Damage, Error, Result};
use crate::format::claim::{CLAIM_LEN, Claim};
use crate::format::index::EntryIndex;
use crate::format::sealed::{SEALED_HEADER_LEN, SealedHeader};
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber};
use crate::format::session::SessionHeader;
use crate::seal::EntrySeal;
use crate::storage::StoredFile;

/// Reads one segment, entry by entry, up to its acknowledged end.
#[derive(Debug)]
pub(crate) struct SegmentReader {
    file: BufReader<StoredFile>,
    /// `None` if the entries are plain frames.
    seal: Option<EntrySeal>,
    /// The present entry.
    head: Option<Head>,
    /// Where the present entry begins.
    start: u64,
    /// Where the next entry begins.
    next: u64,
    end: u64,
    number: SegmentNumber,
    /// Of an object.
    claim: Option<Claim>,
}

/// The header of an entry.
#[derive(Clone, Copy, Debug)]
enum Head {
    Frame(FrameHeader),
    Sealed(SealedHeader),
}

impl SegmentReader {
    pub(super) fn open(
        file: StoredFile,
        session: &SessionHeader,
        number: SegmentNumber,
        seal: Option<EntrySeal>,
        end: u64,
        buffer: usize,
    ) -> Result<Self> {
        let mut reader = Self {
            file: BufReader::with_capacity(buffer, file),
            seal,
            head: None,
            start: 0,
            next: SEGMENT_HEADER_LEN as u64,
            end,
            number,
            claim: None,
        };
        let mut bytes = [0; SEGMENT_HEADER_LEN];
        reader.fill(&mut bytes)?;
        let header = SegmentHeader::read_of(reader.seal.is_some(), &bytes);
        let header = header.map_err(|why| reader.damage(why))?;
        if header.volume != session.volume || header.session != session.session {
            return Err(reader.damage(Damage::Foreign("session")));
        }
        if header.number != number {
            return Err(reader.damage(Damage::Foreign("place in the stream")));
        }
        if SegmentHeader::has_claim(&bytes) {
            let mut bytes = [0; CLAIM_LEN];
            reader.fill(&mut bytes)?;
            let claim = Claim::read(&bytes, number);
            reader.claim = Some(claim.map_err(|why| reader.damage(why))?);
            reader.next += CLAIM_LEN as u64;
        }
        Ok(reader)
    }

    /// Begins the next entry; false at the acknowledged end. [`Self::load`] or
    /// [`Self::check_stored`] must follow.
    ///
    /// # Errors
    /// Damage of the entry's header, or of an object that ends before its claim says.
    pub(crate) fn next_entry(&mut self) -> Result<bool> {
        self.start = self.next;
        if self.start == self.end {
            let claimed = self.claim.and_then(|claim| claim.end_of(self.number));
            return self.check_end(claimed.unwrap_or(0)).map(|()| false);
        }
        let (head, len) = if self.seal.is_some() {
            let mut bytes = [0; SEALED_HEADER_LEN];
            self.fill(&mut bytes)?;
            let header = SealedHeader::read(&bytes).map_err(|why| self.damage(why))?;
            (Head::Sealed(header), header.entry_len())
        } else {
            let mut bytes = [0; FRAME_HEADER_LEN];
            self.fill(&mut bytes)?;
            let frame = self.check_frame(&bytes)?;
            (Head::Frame(frame), FRAME_HEADER_LEN + frame.payload_len())
        };
        self.next = self.start + len as u64;
        if self.next > self.end {
            return Err(self.damage(Damage::Overlong(self.end)));
        }
        self.head = Some(head);
        Ok(true)
    }

    /// Reads the entry's payload and checks its checksum; returns its frame's header.
    pub(crate) fn load(&mut self, payload: &mut Vec<u8>) -> Result<FrameHeader> {
        let frame = match self.head.take() {
            Some(Head::Frame(frame)) => {
                payload.resize(frame.payload_len(), 0);
                self.fill(payload)?;
                frame
            }
            Some(Head::Sealed(header)) => {
                payload.resize(header.stored_len, 0);
                self.fill(payload)?;
                let Some(seal) = &self.seal else { return Err(self.damage(Damage::Kind)) };
                let opened = seal.open(&header, self.start, payload);
                *payload = opened.map_err(|why| self.damage(why))?;
                // An opened frame has a whole header.
                let header = payload.first_chunk().copied().unwrap_or_default();
                payload.drain(..FRAME_HEADER_LEN);
                self.check_frame(&header)?
            }
            None => return Err(self.damage(Damage::Kind)),
        };
        frame.verify(payload).map_err(|why| self.damage(why))?;
        Ok(frame)
    }

    /// Reads the entry and checks its checksum as far as that is possible without the key.
    pub(crate) fn check_stored(&mut self, stored: &mut Vec<u8>) -> Result<()> {
        let Some(Head::Sealed(header)) = self.head else { return self.load(stored).map(|_| ()) };
        self.head = None;
        stored.resize(header.stored_len, 0);
        self.fill(stored)?;
        header.verify(stored).map_err(|why| self.damage(why))
    }

    /// The header of a frame that may be an entry.
    fn check_frame(&self, bytes: &[u8; FRAME_HEADER_LEN]) -> Result<FrameHeader> {
        let frame = FrameHeader::read(bytes).map_err(|why| self.damage(why))?;
        let is_entry = matches!(frame.kind(), FrameKind::Records | FrameKind::Watermark);
        if is_entry { Ok(frame) } else { Err(self.damage(Damage::Kind)) }
    }

    /// What an index has of the present entry, which was loaded.
    pub(crate) fn index_of(&self, frame: FrameHeader, payload: &[u8]) -> Result<EntryIndex> {
        let entry = if frame.kind() == FrameKind::Watermark {
            let watermark = Watermark::read(payload).map_err(|why| self.damage(why))?;
            EntryIndex::of_watermark(self.start, frame, watermark)
        } else {
            EntryIndex::of(self.start, frame, payload).map_err(|why| self.damage(why))?
        };
        Ok(entry.with_len(self.next - self.start))
    }

    /// Loads the entry; returns what an index has of it.
    pub(super) fn load_index(&mut self, payload: &mut Vec<u8>) -> Result<EntryIndex> {
        let frame = self.load(payload)?;
        self.index_of(frame, payload)
    }

    /// True if this entry begins there. Leaves the reader behind it.
    pub(super) fn has_entry(&mut self, offset: u64, frame: &FrameHeader) -> bool {
        let found = self.go_to(offset).and_then(|()| self.next_entry());
        if !matches!(found, Ok(true)) {
            return false;
        }
        let is_there = match self.head {
            Some(Head::Frame(found)) => found == *frame,
            _ => self.load(&mut Vec::new()).is_ok_and(|found| found == *frame),
        };
        is_there && self.go_to(self.next).is_ok()
    }

    /// The segment's number.
    pub(super) fn number(&self) -> SegmentNumber {
        self.number
    }

    /// The claim of a segment that is an object.
    pub(super) fn claim(&self) -> Option<&Claim> {
        self.claim.as_ref()
    }

    /// The acknowledged end.
    pub(crate) fn end(&self) -> u64 {
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

    /// Checks that the segment ends no earlier than here, where an entry of it ended.
    ///
    /// # Errors
    /// [`Damage::Truncated`].
    pub(crate) fn check_end(&self, end: u64) -> Result<()> {
        if end <= self.end {
            return Ok(());
        }
        Err(Error::damaged(self.path(), self.end, Damage::Truncated(end)))
    }

    /// Goes to the next entry after one with damage inside.
    pub(crate) fn skip_damaged(&mut self) -> Result<()> {
        self.go_to(self.next)
    }

    /// Goes to the entry that begins at `offset`.
    pub(crate) fn go_to(&mut self, offset: u64) -> Result<()> {
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
