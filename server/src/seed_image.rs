//! Imports a raw image of a volume, so that the first sync of the volume need not send what the
//! image has (`snapless-server seed`, [`crate::seeds`]).
//!
//! The image becomes a session of the volume, with one point: the repository's format, its
//! encryption, folds, copies and `verify` need not know of seeds. The point is the image as it was
//! read; its instant is when the import began.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use aws_lc_rs::rand;
use serde::Serialize;
use snapless_types::{EpochId, Extent, Geometry, RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind, Hello};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RecordHeader};

use crate::crypto::CipherError;
use crate::error::{Error, Result};
use crate::format::segment::SEGMENT_LIMIT_BYTES;
use crate::format::session::SessionHeader;
use crate::ingest::{Action, Ingest};
use crate::repository::WritableRepository;
use crate::shown_name::ShownName;
use crate::stop::StopFlag;
use crate::storage::local::read_exact_at;
use crate::time;
use crate::verify::Progress;
use crate::writer::SessionWriter;

/// Bytes of a sector: of whatever disk the image is, it is whole sectors of the smallest kind.
const SECTOR: u32 = 512;
/// Base-two logarithms of the lengths of a block that are tried.
const BLOCK_SHIFTS: std::ops::RangeInclusive<u32> = 16..=22;
/// Bytes of a record: whole blocks, unless these are longer.
const RECORD_BYTES: u64 = 1 << 20;
/// Records of a frame, which ends an epoch.
const FRAME_RECORDS: u64 = 4;

/// What was imported.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// The session that the image has become.
    pub session: String,
    /// The instant of its point, RFC 3339.
    pub time: String,
    /// The file or device.
    #[serde(flatten)]
    pub file: ShownName,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes of it that are not zeros.
    pub content_bytes: u64,
}

/// Imports an image.
///
/// # Errors
/// An unreadable file, one that is no image ([`Error::NotAnImage`], [`Error::ImageLength`]), what
/// keeps the repository from being written, or [`Error::Stopped`]. What was imported until then is
/// there, and of use as a seed.
pub fn import(
    repository: &WritableRepository,
    volume: VolumeGuid,
    path: &Path,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    let (file, length) = open(path)?;
    let began = time::now();
    let header = header(volume, length, began, path)?;
    let (writer, state) = SessionWriter::open(repository, &header, SEGMENT_LIMIT_BYTES, stop)?;
    let ingest = Ingest::Streaming(Box::new(state));
    let mut stream = Stream { writer, ingest, began, seq: 0, epoch: 1, frame: Vec::new() };
    stream.marker(RecordKind::SessionStart)?;
    let piece = RECORD_BYTES.max(header.geometry.block_size().into());
    let mut bytes = vec![0; usize::try_from(piece).unwrap_or(usize::MAX)];
    let mut content_bytes = 0;
    for (number, offset) in (1..).zip((0..length).step_by(bytes.len())) {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        let len = piece.min(length - offset);
        let content = &mut bytes[..usize::try_from(len).unwrap_or(0)];
        read_exact_at(&file, content, offset).map_err(Error::file("read", path))?;
        content_bytes += stream.block(offset, content)?;
        if number % FRAME_RECORDS == 0 {
            stream.end_epoch()?;
        }
        progress(Progress { done: offset + len, total: length });
    }
    stream.marker(RecordKind::BaseComplete)?;
    stream.end_epoch()?;
    stream.close();
    Ok(Report {
        volume: volume.to_string(),
        session: header.session.to_string(),
        time: time::to_text(began),
        file: path.to_owned().into(),
        bytes: length,
        content_bytes,
    })
}

/// Opens a file or a device, and sizes it.
fn open(path: &Path) -> Result<(File, u64)> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let metadata = file.metadata().map_err(Error::file("look at", path))?;
    if metadata.is_dir() {
        return Err(Error::NotAnImage(path.to_owned()));
    }
    let length = file.seek(SeekFrom::End(0)).map_err(Error::file("size", path))?;
    Ok((file, length))
}

/// The header of a session of its own, with the shortest blocks that can be.
fn header(
    volume: VolumeGuid,
    length: u64,
    created: FileTime,
    path: &Path,
) -> Result<SessionHeader> {
    let mut id = [0; 16];
    rand::fill(&mut id).map_err(|_| CipherError)?;
    let bad = || Error::ImageLength { path: path.to_owned(), length };
    let headers = BLOCK_SHIFTS.filter_map(|shift| {
        let geometry = Geometry::new(length, SECTOR, 1 << shift).ok()?;
        let hello = Hello::new(volume, SessionId(id), &geometry);
        SessionHeader::from_hello(&hello, created)
    });
    headers.into_iter().next().ok_or_else(bad)
}

/// The stream of the session.
struct Stream {
    writer: SessionWriter,
    ingest: Ingest,
    began: FileTime,
    seq: u64,
    epoch: u64,
    frame: Vec<u8>,
}

impl Stream {
    /// Appends some blocks; returns how many bytes of content that are.
    fn block(&mut self, offset: u64, content: &[u8]) -> Result<u64> {
        let len = content.len() as u64;
        let header = self.header(RecordKind::Block, Extent::new(offset, len))?;
        if content.iter().all(|byte| *byte == 0) {
            self.frame.extend_from_slice(&header.zeroed()?.to_bytes());
            return Ok(0);
        }
        self.frame.extend_from_slice(&header.to_bytes());
        self.frame.extend_from_slice(content);
        Ok(len)
    }

    fn marker(&mut self, kind: RecordKind) -> Result<()> {
        let header = self.header(kind, None)?;
        self.frame.extend_from_slice(&header.to_bytes());
        Ok(())
    }

    fn header(&mut self, kind: RecordKind, extent: Option<Extent>) -> Result<RecordHeader> {
        self.seq += 1;
        let position = Position {
            seq: Seq::new(self.seq),
            time: self.began,
            monotonic: self.seq,
            epoch: EpochId::new(self.epoch),
        };
        Ok(RecordHeader::new(kind, position, extent, None)?)
    }

    /// Ends the epoch, and stores it durably.
    fn end_epoch(&mut self) -> Result<()> {
        self.marker(RecordKind::EpochEnd)?;
        self.epoch += 1;
        let frame = FrameHeader::new(FrameKind::Records, &self.frame)?;
        let action = self.ingest.frame(frame, &self.frame)?;
        self.writer.append(&frame, &self.frame)?;
        self.frame.clear();
        if let Action::Store { ends: Some(end) } = action {
            self.writer.end_epoch(end.epoch(), end.seq());
            self.writer.commit(end.epoch(), end.seq())?;
        }
        Ok(())
    }

    fn close(mut self) {
        if let Some(state) = self.ingest.state() {
            self.writer.keep_state_at_end(state);
        }
    }
}
