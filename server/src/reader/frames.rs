//! Reads a session's frames as they came, from the end of a record on: for a copy into another
//! repository.
//!
//! Where an entry lies is each repository's own; what joins two of them is the last record of an
//! entry, and the frame's checksum.

use snapless_types::Seq;
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::record::{RecordHeader, Records};

use super::entries::How;
use super::segments::REPLAY_BUFFER_BYTES;
use super::{SegmentReader, SessionReader, Wanted, with_indices};
use crate::error::{Damage, Error, Result};
use crate::format::segment::SegmentNumber;
use crate::stop::StopFlag;

/// Where an entry of records ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EntryEnd {
    segment: SegmentNumber,
    offset: u64,
    /// The entry's frame.
    pub(crate) frame: FrameHeader,
    /// Its last record.
    pub(crate) record: RecordHeader,
}

/// A frame that passed its checksum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredFrame<'a> {
    /// Its header.
    pub(crate) header: FrameHeader,
    /// Its payload: records or a watermark.
    pub(crate) payload: &'a [u8],
    /// Bytes that its entry takes in the segment.
    pub(crate) stored_len: u64,
    segment: &'a SegmentReader,
}

impl StoredFrame<'_> {
    /// Damage of the entry that the frame is in.
    pub(crate) fn damage(&self, why: impl Into<Damage>) -> Error {
        self.segment.damage(why)
    }
}

impl EntryEnd {
    /// The segment, and where in it, in bytes from the file's start.
    pub(crate) fn place(&self) -> (SegmentNumber, u64) {
        (self.segment, self.offset)
    }
}

impl SessionReader {
    /// Where the entry ends whose last record has this number; `None` if there is no such entry.
    /// Looks at the first record of some segments, and at the index of one.
    ///
    /// # Errors
    /// [`Error::Damaged`], or [`Error::Stopped`].
    pub(crate) fn entry_end(&self, seq: Seq, stop: &StopFlag) -> Result<Option<EntryEnd>> {
        let Some(segment) = self.segment_with(seq)? else { return Ok(None) };
        with_indices(|indices| {
            let mut found = None;
            self.entries_of(segment, 0, How { indices, stop }, |entry| {
                let Some(last) = entry.records().last() else { return Ok(Wanted::More) };
                if last.header.seq() < seq {
                    return Ok(Wanted::More);
                }
                if last.header.seq() == seq {
                    let (offset, frame, record) = (entry.end(), entry.frame, *last.header);
                    found = Some(EntryEnd { segment, offset, frame, record });
                }
                Ok(Wanted::Enough)
            })?;
            Ok(found)
        })
    }

    /// The last segment that begins at or before this record.
    fn segment_with(&self, seq: Seq) -> Result<Option<SegmentNumber>> {
        let segments: Vec<_> = self.segments().collect();
        let (mut found, mut begin, mut end) = (None, 0, segments.len());
        while begin < end {
            let middle = begin + (end - begin) / 2;
            // Of objects, that of a takeover has no entry: the next one that has stands for it.
            let mut first = None;
            for (at, number) in segments.iter().enumerate().take(end).skip(middle) {
                if let Some(record) = self.first_record(*number)? {
                    first = Some((at, record));
                    break;
                }
            }
            match first {
                Some((at, record)) if record.seq() <= seq => {
                    (found, begin) = (Some(segments[at]), at + 1);
                }
                _ => end = middle,
            }
        }
        Ok(found)
    }

    /// Reads the frames after a place, or all of them, records and watermarks, and checks their
    /// checksums.
    ///
    /// # Errors
    /// [`Error::Damaged`], or the error of `visit`.
    pub(crate) fn frames<E: From<Error>>(
        &self,
        after: Option<&EntryEnd>,
        mut visit: impl FnMut(StoredFrame<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (first, offset) = after.map_or((SegmentNumber::FIRST, 0), EntryEnd::place);
        let mut payload = Vec::new();
        for number in self.segments().filter(|number| *number >= first) {
            let mut segment = self.segment(number, REPLAY_BUFFER_BYTES)?;
            if number == first && offset > 0 {
                segment.go_to(offset)?;
            }
            while segment.next_entry()? {
                let header = segment.load(&mut payload)?;
                let stored_len = segment.entry_end() - segment.entry_start();
                let (payload, segment) = (&payload[..], &segment);
                visit(StoredFrame { header, payload, stored_len, segment })?;
            }
            self.check_whole(&segment)?;
        }
        Ok(())
    }

    /// The first record of a segment; `None` if it has no entry.
    fn first_record(&self, number: SegmentNumber) -> Result<Option<RecordHeader>> {
        let mut segment = self.segment(number, REPLAY_BUFFER_BYTES)?;
        let mut payload = Vec::new();
        while segment.next_entry()? {
            if segment.load(&mut payload)?.kind() != FrameKind::Records {
                continue;
            }
            if let Some(record) = Records::new(&payload).next() {
                return Ok(Some(record.map_err(|why| segment.damage(why))?.header));
            }
        }
        Ok(None)
    }
}
