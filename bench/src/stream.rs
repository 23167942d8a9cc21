//! The stream of a volume without a driver: numbers records and packs them into frames, as the
//! driver and the service do.

use snapless_types::{EpochId, Extent, RecordKind, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::record::{Position, RecordHeader};

use crate::error::{Error, Result};

/// Bytes of a block.
pub const BLOCK: u32 = 64 << 10;
/// Bytes of a frame, as services send them.
pub const FRAME_LEN: usize = 4 << 20;

/// Takes the frames.
pub trait Far {
    /// Takes the records of a frame. The end of an epoch is the last record of its frame.
    fn append(&mut self, records: &[u8]) -> Result<()>;
}

/// How fast a stream goes, and how it is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// The instant of its begin.
    pub begin: FileTime,
    /// Ticks of 100 ns from one record to the next.
    pub ticks: u64,
    /// Bytes of a frame, from which on it is full.
    pub frame_len: usize,
    /// Frames of an epoch.
    pub epoch_frames: u64,
}

/// A stream while it is written.
pub struct Stream<F> {
    far: F,
    pace: Pace,
    /// The last record.
    seq: u64,
    epoch: u64,
    /// Full frames of the epoch.
    frames: u64,
    frame: Vec<u8>,
    /// Bytes of content so far.
    content: u64,
}

impl<F: Far> Stream<F> {
    /// A stream with its first record.
    pub fn begin(far: F, pace: Pace) -> Result<Self> {
        let mut this =
            Self { far, pace, seq: 0, epoch: 1, frames: 0, frame: Vec::new(), content: 0 };
        this.record(RecordKind::SessionStart, None, &[])?;
        Ok(this)
    }

    /// The content of blocks at t0.
    pub fn block(&mut self, offset: u64, content: &[u8]) -> Result<()> {
        self.record(RecordKind::Block, Extent::new(offset, content.len() as u64), content)
    }

    /// Blocks without data at t0.
    pub fn unallocated(&mut self, offset: u64, len: u64) -> Result<()> {
        self.record(RecordKind::Unallocated, Extent::new(offset, len), &[])
    }

    /// The content of every block has been given.
    pub fn base_complete(&mut self) -> Result<()> {
        self.record(RecordKind::BaseComplete, None, &[])?;
        self.end_epoch()
    }

    /// A write of an application.
    pub fn write(&mut self, offset: u64, content: &[u8]) -> Result<()> {
        self.record(RecordKind::Write, Extent::new(offset, content.len() as u64), content)
    }

    /// Ends the epoch, which from then on can be acknowledged.
    pub fn end_epoch(&mut self) -> Result<()> {
        self.record(RecordKind::EpochEnd, None, &[])?;
        self.send()?;
        (self.epoch, self.frames) = (self.epoch + 1, 0);
        Ok(())
    }

    /// The instant of the last record.
    pub fn now(&self) -> FileTime {
        FileTime::new(self.pace.begin.get() + self.seq * self.pace.ticks)
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.seq
    }

    /// The last epoch that was ended.
    pub fn ended_epoch(&self) -> u64 {
        self.epoch - 1
    }

    /// Bytes of content so far.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Where the frames go.
    pub fn far(&mut self) -> &mut F {
        &mut self.far
    }

    fn record(&mut self, kind: RecordKind, extent: Option<Extent>, content: &[u8]) -> Result<()> {
        self.seq += 1;
        let position = Position {
            seq: Seq::new(self.seq),
            time: self.now(),
            monotonic: self.seq * self.pace.ticks,
            epoch: EpochId::new(self.epoch),
        };
        let header = RecordHeader::new(kind, position, extent, None);
        let header = header.map_err(|why| Error::History(why.to_string()))?;
        self.frame.extend(header.to_bytes());
        self.frame.extend(content);
        self.content += content.len() as u64;
        if self.frame.len() < self.pace.frame_len || kind == RecordKind::EpochEnd {
            return Ok(());
        }
        self.frames += 1;
        if self.frames < self.pace.epoch_frames { self.send() } else { self.end_epoch() }
    }

    fn send(&mut self) -> Result<()> {
        self.far.append(&self.frame)?;
        self.frame.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use snapless_wire::record::Records;

    use super::*;

    /// Frames that were sent.
    #[derive(Default)]
    struct Sent(Vec<Vec<u8>>);

    impl Far for Sent {
        fn append(&mut self, records: &[u8]) -> Result<()> {
            self.0.push(records.to_vec());
            Ok(())
        }
    }

    #[test]
    fn an_epoch_ends_its_frame_and_records_are_numbered() {
        let pace = Pace { begin: FileTime::new(100), ticks: 10, frame_len: 4096, epoch_frames: 2 };
        let mut stream = Stream::begin(Sent::default(), pace).unwrap();
        stream.unallocated(0, u64::from(BLOCK)).unwrap();
        stream.base_complete().unwrap();
        for write in 0..4 {
            stream.write(write * 4096, &[1; 4096]).unwrap();
        }
        assert_eq!((stream.now().get(), stream.records()), (200, 10));
        assert_eq!((stream.ended_epoch(), stream.content()), (3, 16384));
        let mut kinds = Vec::new();
        for (seq, record) in stream.far.0.iter().flat_map(|frame| Records::new(frame)).enumerate() {
            let header = record.unwrap().header;
            assert_eq!(header.seq().get(), seq as u64 + 1);
            kinds.push(header.kind());
        }
        let ends: Vec<usize> =
            (0..kinds.len()).filter(|at| kinds[*at] == RecordKind::EpochEnd).collect();
        assert_eq!(ends, [3, 6, 9], "{kinds:?}");
        let frames: Vec<usize> =
            stream.far.0.iter().map(|frame| Records::new(frame).count()).collect();
        assert_eq!(frames, [4, 1, 2, 1, 2]);
    }
}
