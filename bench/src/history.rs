//! A repository with a history, written as the server writes it, without a driver and a network: to
//! measure what restores and mounts cost.
//!
//! The image file is stored as a first sync. Then come writes of [`WRITE_LEN`] bytes at random
//! places, a millisecond apart, which go into the image file as well: at the end it is the image of
//! the latest point.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use snapless_server::error::Error as ServerError;
use snapless_server::format::segment::SEGMENT_LIMIT_BYTES;
use snapless_server::format::session::SessionHeader;
use snapless_server::point::keep::keep_due;
use snapless_server::reader::SessionReader;
use snapless_server::repository::WritableRepository;
use snapless_server::stop::StopFlag;
use snapless_server::stream::StreamState;
use snapless_server::time;
use snapless_server::writer::SessionWriter;
use snapless_types::{EpochId, Extent, Geometry, RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RecordHeader};

use crate::error::{Error, IoContext, Result};

/// Bytes of each write.
pub const WRITE_LEN: u64 = 4096;
/// Bytes of a block.
const BLOCK: u32 = 64 << 10;
/// Bytes of a frame, as services send them.
const FRAME_LEN: usize = 4 << 20;
/// Frames of an epoch.
const EPOCH_FRAMES: u64 = 4;
/// 2026-01-01T00:00:00Z.
const BEGIN: &str = "2026-01-01T00:00:00Z";
/// Ticks of 100 ns between two records: 1,000 a second.
const TICK: u64 = 10_000;

/// What is written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The repository, which must not exist.
    pub repository: PathBuf,
    /// The volume.
    pub volume: VolumeGuid,
    /// The image file.
    pub image: PathBuf,
    /// Writes after the first sync.
    pub writes: u64,
    /// A map is kept after so many bytes of the stream at least.
    pub map_bytes: u64,
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct History {
    /// The instant after half of the writes, RFC 3339.
    pub middle: String,
    /// Bytes of the stream.
    pub bytes: u64,
    /// Maps that were kept.
    pub maps: u64,
}

/// Writes a repository.
///
/// # Errors
/// What keeps the image from being read or written, or the repository from being written.
pub fn write(plan: &Plan) -> Result<History> {
    let image = OpenOptions::new().read(true).write(true).open(&plan.image);
    let image = image.on("open", &plan.image)?;
    let length = image.metadata().on("examine", &plan.image)?.len();
    let geometry = Geometry::new(length, 512, BLOCK).map_err(Error::Geometry)?;
    let session = SessionId([7; 16]);
    let created = time::from_text(BEGIN).unwrap_or(FileTime::new(0));
    let header = SessionHeader { volume: plan.volume, session, geometry, created };
    let repository = WritableRepository::init(&plan.repository)?;
    let stop = StopFlag::default();
    let (writer, state) = SessionWriter::open(&repository, &header, SEGMENT_LIMIT_BYTES, &stop)?;
    let mut stream = Stream { writer, state, seq: 0, epoch: 1, frames: 0, frame: Vec::new() };
    stream.first_sync(plan, &image, length)?;
    let mut middle = stream.now();
    for number in 0..plan.writes {
        stream.write(plan, &image, number, length)?;
        if number == plan.writes / 2 {
            middle = stream.now();
        }
    }
    stream.end_epoch()?;
    image.sync_all().on("write", &plan.image)?;
    stream.writer.keep_state_at_end(&stream.state);
    let reader = SessionReader::open(repository.repository().store(), header)?;
    let mut maps = 0;
    while keep_due(&reader, plan.map_bytes, &stop)? {
        maps += 1;
    }
    Ok(History { middle: time::to_text(middle), bytes: reader.stored_bytes()?, maps })
}

/// The stream while it is written.
struct Stream {
    writer: SessionWriter,
    state: StreamState,
    /// The last record.
    seq: u64,
    epoch: u64,
    /// Frames of the epoch.
    frames: u64,
    frame: Vec<u8>,
}

impl Stream {
    fn first_sync(&mut self, plan: &Plan, image: &File, length: u64) -> Result<()> {
        self.record(RecordKind::SessionStart, None, &[])?;
        let mut block = vec![0; BLOCK as usize];
        for offset in (0..length).step_by(block.len()) {
            let len = u64::from(BLOCK).min(length - offset);
            let content = &mut block[..usize::try_from(len).unwrap_or(0)];
            image.read_exact_at(content, offset).on("read", &plan.image)?;
            self.record(RecordKind::Block, Extent::new(offset, len), content)?;
        }
        self.record(RecordKind::BaseComplete, None, &[])?;
        self.end_epoch()
    }

    /// A write of bytes that no other one has.
    fn write(&mut self, plan: &Plan, image: &File, number: u64, length: u64) -> Result<()> {
        let offset = scattered(number) % (length / WRITE_LEN) * WRITE_LEN;
        let words =
            (0..WRITE_LEN / 8).flat_map(|word| scattered(number << 16 | word).to_le_bytes());
        let content: Vec<u8> = words.collect();
        image.write_all_at(&content, offset).on("write", &plan.image)?;
        self.record(RecordKind::Write, Extent::new(offset, WRITE_LEN), &content)
    }

    /// The instant of the last record.
    fn now(&self) -> FileTime {
        let begin = time::from_text(BEGIN).map_or(0, FileTime::get);
        FileTime::new(begin + self.seq * TICK)
    }

    fn record(&mut self, kind: RecordKind, extent: Option<Extent>, content: &[u8]) -> Result<()> {
        self.seq += 1;
        let position = Position {
            seq: Seq::new(self.seq),
            time: self.now(),
            monotonic: self.seq * TICK,
            epoch: EpochId::new(self.epoch),
        };
        let header = RecordHeader::new(kind, position, extent, None).map_err(impossible)?;
        self.state.accept(&header).map_err(impossible)?;
        self.frame.extend(header.to_bytes());
        self.frame.extend(content);
        if self.frame.len() < FRAME_LEN || kind == RecordKind::EpochEnd {
            return Ok(());
        }
        self.frames += 1;
        if self.frames < EPOCH_FRAMES { self.send() } else { self.end_epoch() }
    }

    fn send(&mut self) -> Result<()> {
        let frame = FrameHeader::new(FrameKind::Records, &self.frame).map_err(impossible)?;
        self.writer.append(&frame, &self.frame)?;
        self.frame.clear();
        Ok(())
    }

    fn end_epoch(&mut self) -> Result<()> {
        self.record(RecordKind::EpochEnd, None, &[])?;
        self.send()?;
        self.writer.commit(EpochId::new(self.epoch), Seq::new(self.seq))?;
        (self.epoch, self.frames) = (self.epoch + 1, 0);
        Ok(())
    }
}

fn impossible(why: impl std::fmt::Display) -> Error {
    Error::History(why.to_string())
}

/// A number that looks random, another one for each.
fn scattered(number: u64) -> u64 {
    // The finalizer of SplitMix64.
    let mut it = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    it ^ (it >> 31)
}

impl From<ServerError> for Error {
    fn from(error: ServerError) -> Self {
        Self::History(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use snapless_server::repository::Repository;
    use snapless_server::restore::{Request, Source, restore};
    use snapless_server::timeline::At;

    use super::*;

    #[test]
    fn the_latest_point_of_the_history_is_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        std::fs::write(&image, vec![0xa5; 1 << 20]).unwrap();
        let volume = VolumeGuid([1; 16]);
        let repository = folder.path().join("repository");
        let plan =
            Plan { repository, volume, image: image.clone(), writes: 6000, map_bytes: 1 << 20 };
        let history = write(&plan).unwrap();
        assert!(history.bytes > 24 << 20 && history.maps > 2, "{history:?}");
        let stop = StopFlag::default();
        let repository = Repository::open(&plan.repository).unwrap();
        for (at, is_latest) in [(At::T0, false), (At::Latest, true)] {
            let to = folder.path().join("restored");
            let source = Source { volume, session: None, at };
            let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
            restore(&repository, &request, &stop, |_| {}).unwrap();
            let is_image = std::fs::read(&to).unwrap() == std::fs::read(&image).unwrap();
            assert_eq!(is_image, is_latest, "{at:?}");
        }
    }
}
