//! A batch: the records of one drain, prepared for the link.
//!
//! [`Batch::prepare`] parses the records once: it removes payloads of zeros, replaces what was read
//! to verify the copy by its hashes, and cuts the batch into frames at record boundaries. Rule: the
//! records keep their order and meaning, an `EpochEnd` is the last record of its frame, and bytes
//! that are not records are never sent.

use std::mem;
use std::ops::Range;

use snapless_types::{EpochId, Made, RecordKind, Seq};
use snapless_wire::frame::FRAME_PAYLOAD_MAX;
use snapless_wire::ioctl::DRAIN_BUFFER_MIN;
use snapless_wire::record::{RECORD_HEADER_LEN, RecordError, RecordHeader};

use crate::checks;

/// A frame ends before the record that would make it longer than this: short enough that sending
/// starts early, long enough that frame headers cost nothing.
const FRAME_TARGET_LEN: usize = 4 << 20;

const _: () = assert!(FRAME_TARGET_LEN <= FRAME_PAYLOAD_MAX);
// Any single record fits in a frame, so `frames` always makes progress.
const _: () = assert!(DRAIN_BUFFER_MIN <= FRAME_PAYLOAD_MAX);

/// A drain buffer, allocated once, and the length of the last drain.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    len: usize,
    /// Where each frame ends and with what, once the batch is prepared.
    cuts: Vec<Cut>,
}

/// The end of a frame in a batch.
#[derive(Clone, Copy, Debug)]
struct Cut {
    /// The byte behind it.
    end: usize,
    last: Seq,
    made: Made,
    ends_epoch: Option<EpochId>,
}

/// A frame of records, which it owns or borrows from its batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame<P = Vec<u8>> {
    /// The records.
    pub payload: P,
    /// The last of them.
    pub last: Seq,
    /// When that was made.
    pub made: Made,
    /// The epoch that it ends, if it is an `EpochEnd`.
    pub ends_epoch: Option<EpochId>,
}

impl Frame<&[u8]> {
    /// The same with its own copy of the records.
    pub fn into_owned(self) -> Frame {
        let Self { payload, last, made, ends_epoch } = self;
        Frame { payload: payload.to_vec(), last, made, ends_epoch }
    }
}

impl Batch {
    /// Empty, with room for any drain.
    pub fn new() -> Self {
        Self { bytes: vec![0; DRAIN_BUFFER_MIN], len: 0, cuts: Vec::new() }
    }

    /// Fills the buffer by `drain`, which returns the length.
    pub fn fill<E>(&mut self, drain: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        self.len = 0;
        self.cuts.clear();
        let len = drain(&mut self.bytes)?;
        assert!(len <= self.bytes.len(), "a drain cannot fill more than the buffer");
        self.len = len;
        Ok(())
    }

    /// The records, packed.
    pub fn records(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Removes payloads of zeros, and those of checks but for their hashes, in place, and cuts the
    /// batch into frames; returns how many bytes the zeros took. Calls `see` with every record.
    ///
    /// # Errors
    /// If the buffer does not consist of whole records. The batch then has no frames and must be
    /// discarded.
    pub fn prepare(&mut self, mut see: impl FnMut(&RecordHeader)) -> Result<usize, RecordError> {
        let mut cuts = mem::take(&mut self.cuts);
        cuts.clear();
        let (mut from, mut to, mut frame) = (0, 0, 0);
        let mut zeros = 0;
        let (mut last, mut made) = (Seq::new(0), Made::default());
        while from < self.len {
            let header = RecordHeader::read(&self.bytes[from..self.len])?;
            let end = record_end(from, &header, self.len)?;
            see(&header);
            let len = self.move_record(from..end, to, &header);
            if header.kind().has_content() {
                zeros += end - from - len;
            }
            if to + len - frame > FRAME_TARGET_LEN && to > frame {
                cuts.push(Cut { end: to, last, made, ends_epoch: None });
                frame = to;
            }
            to += len;
            (last, made) = (header.seq(), header.made());
            if header.kind() == RecordKind::EpochEnd {
                let ends_epoch = Some(header.epoch());
                cuts.push(Cut { end: to, last, made, ends_epoch });
                frame = to;
            }
            from = end;
        }
        if to > frame {
            cuts.push(Cut { end: to, last, made, ends_epoch: None });
        }
        self.len = to;
        self.cuts = cuts;
        Ok(zeros)
    }

    /// The frames of a prepared batch.
    pub fn frames(&self) -> impl Iterator<Item = Frame<&[u8]>> {
        self.cuts.iter().scan(0, |start, &Cut { end, last, made, ends_epoch }| {
            let payload = &self.bytes[*start..end];
            *start = end;
            Some(Frame { payload, last, made, ends_epoch })
        })
    }

    /// Moves a record to `to`, without its payload if that is all zeros, and with the hashes of a
    /// check; returns its length there.
    fn move_record(&mut self, record: Range<usize>, to: usize, header: &RecordHeader) -> usize {
        let payload = record.start + RECORD_HEADER_LEN..record.end;
        if let Some((hashed, len)) = checks::hash(header, &mut self.bytes[payload.clone()]) {
            self.bytes[to..to + RECORD_HEADER_LEN].copy_from_slice(&hashed.to_bytes());
            let hashes = payload.start..payload.start + len;
            self.bytes.copy_within(hashes, to + RECORD_HEADER_LEN);
            return RECORD_HEADER_LEN + len;
        }
        match header.zeroed() {
            Ok(zeroed) if !payload.is_empty() && is_zero(&self.bytes[payload]) => {
                self.bytes[to..to + RECORD_HEADER_LEN].copy_from_slice(&zeroed.to_bytes());
                RECORD_HEADER_LEN
            }
            _ => {
                if record.start != to {
                    self.bytes.copy_within(record.clone(), to);
                }
                record.len()
            }
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// The end of the record at `start`; an error if it is past `limit`.
fn record_end(start: usize, header: &RecordHeader, limit: usize) -> Result<usize, RecordError> {
    let end = start + RECORD_HEADER_LEN + header.payload_len();
    if end <= limit { Ok(end) } else { Err(RecordError::Truncated) }
}

/// True if all bytes are zero. Checks one sector at a time: most payloads differ in the first.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(512).all(|sector| sector.iter().fold(0, |all, byte| all | byte) == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_wire::id::FileTime;
    use snapless_wire::record::{Position, Records};

    /// A record, its payload's sectors each filled with one byte.
    fn record(kind: RecordKind, seq: u64, sectors: &[u8]) -> Vec<u8> {
        let at = Position {
            seq: Seq::new(seq),
            time: FileTime::new(1),
            monotonic: 1,
            epoch: EpochId::new(1),
        };
        if !kind.has_extent() {
            return RecordHeader::marker(kind, at).unwrap().to_bytes().to_vec();
        }
        let len = sectors.len().max(1) as u64 * 512;
        let mut bytes = RecordHeader::extent(kind, at, 4096, len).unwrap().to_bytes().to_vec();
        if kind != RecordKind::Unreadable {
            bytes.extend(sectors.iter().flat_map(|fill| [*fill; 512]));
        }
        bytes
    }

    fn batch(bytes: &[u8]) -> Batch {
        let mut batch = Batch::new();
        let filled = batch.fill(|buffer| {
            buffer[..bytes.len()].copy_from_slice(bytes);
            Ok::<_, ()>(bytes.len())
        });
        assert_eq!(filled, Ok(()));
        batch
    }

    #[test]
    fn only_payloads_of_zeros_are_removed() {
        let parts = [
            record(RecordKind::SessionStart, 1, &[]),
            record(RecordKind::Block, 2, &[0; 8]),
            record(RecordKind::Write, 3, &[0, 7]),
            record(RecordKind::Unreadable, 4, &[0]),
            record(RecordKind::Resync, 5, &[0]),
            record(RecordKind::EpochEnd, 6, &[]),
        ];
        let mut batch = batch(&parts.concat());
        assert_eq!(batch.prepare(|_| ()), Ok(9 * 512));
        let kept: Vec<_> = Records::new(batch.records()).map(Result::unwrap).collect();
        let zeros: Vec<_> = kept.iter().map(|record| record.header.is_zero()).collect();
        assert_eq!(zeros, [false, true, false, false, true, false]);
        assert_eq!(kept[1].header.extent_len(), 8 * 512);
        assert_eq!(kept[2].payload[512..], [7; 512]);
        let order: Vec<_> = kept.iter().map(|record| record.header.seq().get()).collect();
        assert_eq!(order, [1, 2, 3, 4, 5, 6]);
        assert_eq!(batch.prepare(|_| ()), Ok(0), "a second time finds nothing");
    }

    #[test]
    fn what_was_read_to_verify_the_copy_is_replaced_by_its_hashes() {
        let tile = 128;
        let mut sectors = vec![7; tile + 2];
        sectors[..tile].fill(0);
        let parts = [
            record(RecordKind::Block, 1, &[0; 8]),
            record(RecordKind::Check, 2, &sectors),
            record(RecordKind::Check, 3, &[0]),
            record(RecordKind::Write, 4, &[7]),
        ];
        let mut batch = batch(&parts.concat());
        assert_eq!(batch.prepare(|_| ()), Ok(8 * 512), "only zeros count as such");
        let kept: Vec<_> = Records::new(batch.records()).map(Result::unwrap).collect();
        let hash = |bytes: &[u8]| blake3::hash(bytes).as_bytes()[..16].to_vec();
        assert!(kept[1].header.is_hashed() && kept[1].header.extent_len() == 130 * 512);
        assert_eq!(kept[1].payload, [hash(&vec![0; 65_536]), hash(&[7; 1024])].concat());
        assert_eq!(kept[2].payload, hash(&[0; 512]));
        assert_eq!(kept[3].payload, [7; 512]);
        assert_eq!(batch.prepare(|_| ()), Ok(0), "a second time finds nothing");
    }

    /// The lengths of a batch's frames, which have all of its bytes.
    fn frame_lens(bytes: &[u8]) -> Vec<usize> {
        let mut batch = batch(bytes);
        batch.prepare(|_| ()).unwrap();
        let frames: Vec<_> = batch.frames().map(|frame| frame.payload).collect();
        assert!(frames.concat() == bytes);
        frames.iter().map(|frame| frame.len()).collect()
    }

    #[test]
    fn frames_end_at_record_boundaries_and_have_all_records() {
        let long = record(RecordKind::Block, 1, &vec![1; FRAME_TARGET_LEN / 512]);
        let short = record(RecordKind::Write, 2, &[2]);
        let bytes = [short.clone(), long.clone(), short.clone(), short.clone()].concat();
        assert_eq!(frame_lens(&bytes), [short.len(), long.len(), 2 * short.len()]);
    }

    #[test]
    fn an_epoch_end_is_the_last_record_of_its_frame() {
        let write = record(RecordKind::Write, 1, &[1]);
        let end = record(RecordKind::EpochEnd, 2, &[]);
        let bytes = [&write[..], &write, &end, &write, &end, &end].concat();
        let (write_len, end_len) = (write.len(), end.len());
        let lens = [2 * write_len + end_len, write_len + end_len, end_len];
        assert_eq!(frame_lens(&bytes), lens);
    }

    #[test]
    fn a_frame_knows_its_last_record_and_the_epoch_that_it_ends() {
        let write = |seq| record(RecordKind::Write, seq, &[1]);
        let end = record(RecordKind::EpochEnd, 3, &[]);
        let mut batch = batch(&[write(1), write(2), end, write(4), write(5)].concat());
        batch.prepare(|_| ()).unwrap();
        let frames = batch.frames().map(|frame| (frame.last.get(), frame.ends_epoch));
        assert_eq!(frames.collect::<Vec<_>>(), [(3, Some(EpochId::new(1))), (5, None)]);
    }

    #[test]
    fn bytes_that_are_not_records_are_errors() {
        let whole = record(RecordKind::Write, 1, &[1]);
        let cut = [&whole[..], &whole[..10]].concat();
        for bytes in [&whole[..whole.len() - 1], &[0xff; 64][..], &whole[..10], &cut] {
            let mut batch = batch(bytes);
            assert!(batch.prepare(|_| ()).is_err());
            assert_eq!(batch.frames().count(), 0);
        }
    }
}
