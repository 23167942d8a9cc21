//! Appends to a session's stream, durably.
//!
//! The order on disk: entries, sync; then the acknowledged end, sync; only then may the acknowledgement leave.
//! A crash at any moment leaves the stream up to the last acknowledged epoch, and after it perhaps whole
//! epochs and something torn. [`SessionWriter::open`] keeps whole epochs (they may have been about to be
//! acknowledged, and the driver reading their blocks again does no harm) and cuts off the rest: those records
//! were never acknowledged, and the driver does read their blocks again.

use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use snapless_types::{EpochId, Seq};
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader};

use crate::error::{Error, Result};
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentHeader, SegmentNumber};
use crate::format::session::{SESSION_FILE, SessionHeader};
use crate::reader::SessionReader;
use crate::repository::{WritableRepository, create_dirs, create_durably, sync_dir_of};
use crate::stop::StopFlag;
use crate::stream::StreamState;

/// Short entries are gathered up to this many bytes before they go to the system.
const WRITE_BUFFER_BYTES: usize = 256 << 10;

/// The one writer of a session's stream.
#[derive(Debug)]
pub struct SessionWriter {
    dir: PathBuf,
    header: SessionHeader,
    segment_limit: u64,
    acknowledged: Acknowledged,
    acknowledged_file: File,
    segment: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    number: SegmentNumber,
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
}

impl SessionWriter {
    /// Opens the session, making it if it is new, and cuts its stream back to its last whole epoch. Also
    /// returns the state of the stream there, ready for a connection. The caller sees to it that there is
    /// one writer of a session at a time.
    ///
    /// # Errors
    /// [`Error::OtherGeometry`], or damage of what is stored.
    pub fn open(
        repository: &WritableRepository,
        header: &SessionHeader,
        segment_limit: u64,
        stop: &StopFlag,
    ) -> Result<(Self, StreamState)> {
        let repository = repository.repository();
        let dir = repository.session_dir(header.volume, header.session);
        let stored = match repository.session(header.volume, header.session)? {
            Some(stored) => stored,
            None => create(&dir, header)?,
        };
        if stored.geometry != header.geometry {
            return Err(Error::OtherGeometry(header.session));
        }
        let reader = SessionReader::open(dir.clone(), stored)?;
        let acknowledged = *reader.acknowledged();
        let reader = reader.with_whole_epochs();
        let mut state = reader.survey(stop)?;
        state.begin_connection();
        let whole = *reader.acknowledged();
        cut_back(&dir, &whole)?;
        let path = dir.join(ACKNOWLEDGED_FILE);
        let file = OpenOptions::new().write(true).open(&path);
        let acknowledged_file = file.map_err(Error::file("open", &path))?;
        let segment = match whole.segment.0 {
            0 => None,
            _ => Some(OpenSegment::reopen(&dir, whole)?),
        };
        let mut writer =
            Self { dir, header: stored, segment_limit, acknowledged, acknowledged_file, segment };
        if whole != acknowledged {
            writer.commit(whole.epoch, whole.seq)?;
        }
        Ok((writer, state))
    }

    /// How far the stream has been acknowledged.
    pub fn acknowledged(&self) -> &Acknowledged {
        &self.acknowledged
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        &self.header
    }

    /// Appends one entry. It is durable after the next [`Self::commit`].
    pub fn append(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<()> {
        let entry_len = (FRAME_HEADER_LEN + payload.len()) as u64;
        let segment = self.segment_for(entry_len)?;
        segment
            .file
            .write_all(&frame.to_bytes())
            .and_then(|()| segment.file.write_all(payload))
            .map_err(Error::file("write", &segment.path))?;
        segment.len += entry_len;
        Ok(())
    }

    /// Makes all that was appended durable, and records that the epoch may be acknowledged.
    pub fn commit(&mut self, epoch: EpochId, seq: Seq) -> Result<()> {
        let Some(segment) = &mut self.segment else {
            // An epoch ends with a record, and a record is in a segment.
            return Ok(());
        };
        segment.sync()?;
        let acknowledged = Acknowledged {
            generation: self.acknowledged.generation + 1,
            epoch,
            seq,
            segment: segment.number,
            offset: segment.len,
        };
        let path = self.dir.join(ACKNOWLEDGED_FILE);
        let mut file = &self.acknowledged_file;
        file.seek(SeekFrom::Start(acknowledged.slot_offset() as u64))
            .and_then(|_| file.write_all(&acknowledged.to_slot()))
            .map_err(Error::file("write", &path))?;
        file.sync_data().map_err(Error::file("sync", &path))?;
        self.acknowledged = acknowledged;
        Ok(())
    }

    /// The segment that the next entry goes into: a new one if the present one would grow past the limit.
    fn segment_for(&mut self, entry_len: u64) -> Result<&mut OpenSegment> {
        let next = match &mut self.segment {
            None => Some(SegmentNumber::FIRST),
            Some(open) => {
                let holds_something = open.len > SEGMENT_HEADER_LEN as u64;
                let full = holds_something && open.len + entry_len > self.segment_limit;
                if full {
                    open.sync()?;
                }
                full.then(|| open.number.next())
            }
        };
        match (next, &mut self.segment) {
            (None, Some(open)) => Ok(open),
            (next, slot) => {
                let number = next.unwrap_or(SegmentNumber::FIRST);
                Ok(slot.insert(OpenSegment::create(&self.dir, &self.header, number)?))
            }
        }
    }
}

impl OpenSegment {
    fn create(dir: &Path, session: &SessionHeader, number: SegmentNumber) -> Result<Self> {
        let path = dir.join(number.file_name());
        let mut file = File::create_new(&path).map_err(Error::file("create", &path))?;
        let header = SegmentHeader { volume: session.volume, session: session.session, number };
        file.write_all(&header.to_bytes()).map_err(Error::file("write", &path))?;
        file.sync_all().map_err(Error::file("sync", &path))?;
        sync_dir_of(&path)?;
        let len = SEGMENT_HEADER_LEN as u64;
        Ok(Self { number, path, file: BufWriter::with_capacity(WRITE_BUFFER_BYTES, file), len })
    }

    fn reopen(dir: &Path, acknowledged: Acknowledged) -> Result<Self> {
        let path = dir.join(acknowledged.segment.file_name());
        let mut file =
            OpenOptions::new().write(true).open(&path).map_err(Error::file("open", &path))?;
        file.seek(SeekFrom::Start(acknowledged.offset)).map_err(Error::file("seek in", &path))?;
        let file = BufWriter::with_capacity(WRITE_BUFFER_BYTES, file);
        Ok(Self { number: acknowledged.segment, path, file, len: acknowledged.offset })
    }

    fn sync(&mut self) -> Result<()> {
        self.file.flush().map_err(Error::file("write", &self.path))?;
        self.file.get_ref().sync_data().map_err(Error::file("sync", &self.path))
    }
}

/// Makes a session's folder and files; `session.snapless` last, since it says that the session is there.
fn create(dir: &Path, header: &SessionHeader) -> Result<SessionHeader> {
    create_dirs(dir)?;
    create_durably(&dir.join(ACKNOWLEDGED_FILE), &Acknowledged::new_file())?;
    create_durably(&dir.join(SESSION_FILE), &header.to_bytes())?;
    Ok(*header)
}

/// Removes everything past the acknowledged end.
fn cut_back(dir: &Path, acknowledged: &Acknowledged) -> Result<()> {
    let mut beyond = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::file("list", dir))? {
        let name = entry.map_err(Error::file("list", dir))?.file_name();
        let number = name.to_str().and_then(SegmentNumber::from_file_name);
        beyond.extend(number.filter(|&number| number > acknowledged.segment));
    }
    beyond.sort();
    for number in beyond.iter().rev() {
        let path = dir.join(number.file_name());
        fs::remove_file(&path).map_err(Error::file("remove", &path))?;
    }
    let path = dir.join(acknowledged.segment.file_name());
    if acknowledged.segment.0 > 0 {
        let file =
            OpenOptions::new().write(true).open(&path).map_err(Error::file("open", &path))?;
        let len = file.metadata().map_err(Error::file("look at", &path))?.len();
        if len > acknowledged.offset {
            file.set_len(acknowledged.offset).map_err(Error::file("shorten", &path))?;
            file.sync_all().map_err(Error::file("sync", &path))?;
        }
    }
    sync_dir_of(&path)
}
