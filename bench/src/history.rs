//! A repository with a history, written by the server's code, without a driver and a network: to
//! measure what restores, mounts and reports cost after it.
//!
//! A volume with an image file begins with a first sync of the file. Writes at random places go
//! into the file as well: at the end it is the image of the latest point. A volume without one
//! begins without data.
//!
//! What a history costs depends on counts: records, segments, kept maps, pieces of the volume. So a
//! long one can be made small by shorter lengths or by longer times between its writes, with the
//! same counts of what is to be shown.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use snapless_server::error::Error as ServerError;
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::SEGMENT_LIMIT_BYTES;
use snapless_server::format::session::SessionHeader;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::point::keep::keep_due;
use snapless_server::reader::SessionReader;
use snapless_server::repository::WritableRepository;
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::time;
use snapless_server::writer::SessionWriter;
use snapless_types::Geometry;
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use crate::counted::Counted;
use crate::error::{Error, IoContext, Result};
use crate::stream::{BLOCK, FRAME_LEN, Far, Pace, Stream};

/// Bytes of a write, unless others are wanted.
pub const WRITE_LEN: u64 = 4096;
/// The session.
pub const SESSION: SessionId = SessionId([7; 16]);
/// 2026-01-01T00:00:00Z.
const BEGIN: &str = "2026-01-01T00:00:00Z";
/// Bytes of the volume in one record, where it has no data.
const HOLE: u64 = 1 << 30;
/// Frames of an epoch of which each is full.
const EPOCH_FRAMES: u64 = 4;

/// What is written.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The repository, which must not exist.
    pub repository: PathBuf,
    /// The volume.
    pub volume: VolumeGuid,
    /// What it holds at t0.
    pub begin: Begin,
    /// Writes after the first sync,
    pub writes: u64,
    /// bytes of each,
    pub write_len: u64,
    /// and microseconds between them.
    pub interval_us: u64,
    /// Writes of an epoch; 0: those of four frames of 4 MiB. No epoch has more.
    pub epoch_writes: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// A map is kept after so many bytes of the stream at least.
    pub map_bytes: u64,
}

/// What a volume holds at t0.
#[derive(Clone, Debug)]
pub enum Begin {
    /// The content of a file, which gets the writes.
    Image {
        /// The file.
        image: PathBuf,
        /// A copy of it that is made after half of the writes.
        middle: Option<PathBuf>,
    },
    /// Nothing.
    Empty {
        /// Bytes of the volume.
        length: u64,
    },
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
    /// Records.
    pub records: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes of content that the records brought.
    pub content_bytes: u64,
    /// Bytes of all writes to files of the repository.
    pub written_bytes: u64,
    /// Bytes of the segments' indices.
    pub index_bytes: u64,
    /// Bytes of the maps.
    pub map_bytes: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            repository: PathBuf::new(),
            volume: VolumeGuid([0; 16]),
            begin: Begin::Empty { length: HOLE },
            writes: 0,
            write_len: WRITE_LEN,
            interval_us: 1000,
            epoch_writes: 0,
            segment_bytes: SEGMENT_LIMIT_BYTES,
            map_bytes: 4 << 30,
        }
    }
}

/// Writes a repository.
///
/// # Errors
/// What keeps the image from being read or written, or the repository from being written.
pub fn write(plan: &Plan) -> Result<History> {
    let volume = Volume::open(&plan.begin)?;
    let geometry = Geometry::new(volume.length, 512, BLOCK).map_err(Error::Geometry)?;
    let created = time::from_text(BEGIN).unwrap_or(FileTime::new(0));
    let header = SessionHeader { volume: plan.volume, session: SESSION, geometry, created };
    let written = Arc::new(AtomicU64::new(0));
    let root = &plan.repository;
    std::fs::create_dir_all(root).on("create", root)?;
    let store = Store::new(Arc::new(Counted::new(root, Arc::clone(&written))));
    let repository = WritableRepository::init_in(store)?;
    let stop = StopFlag::default();
    let (writer, state) = SessionWriter::open(&repository, &header, plan.segment_bytes, &stop)?;
    let far = Writer {
        session: writer,
        ingest: Ingest::Streaming(Box::new(state)),
        store: repository.repository().store().clone(),
        map_bytes: plan.map_bytes,
        unseen: 0,
        maps: 0,
    };
    let mut stream = Stream::begin(far, plan.pace(created))?;
    volume.first_sync(&mut stream)?;
    let mut middle = stream.now();
    for number in 0..plan.writes {
        let (offset, content) = plan.write(number, volume.length);
        volume.write(offset, &content)?;
        stream.write(offset, &content)?;
        if plan.epoch_writes > 0 && (number + 1).is_multiple_of(plan.epoch_writes) {
            stream.end_epoch()?;
        }
        if number == plan.writes / 2 {
            middle = stream.now();
            volume.copy_middle()?;
        }
    }
    stream.end_epoch()?;
    volume.sync()?;
    stream.far().keep_state_at_end();
    while stream.far().keep_map()? {}
    let reader = SessionReader::open(repository.repository().store(), header)?;
    let dir = root.join(session_dir(plan.volume, SESSION));
    let (segments, _) = files(&dir, "slseg")?;
    let folder = File::open(root).on("open", root)?;
    rustix::fs::syncfs(&folder).map_err(std::io::Error::from).on("sync", root)?;
    Ok(History {
        middle: time::to_text(middle),
        bytes: reader.stored_bytes()?,
        maps: stream.far().maps,
        records: stream.records(),
        segments,
        content_bytes: stream.content(),
        written_bytes: written.load(Ordering::Relaxed),
        index_bytes: files(&dir, "slidx")?.1,
        map_bytes: files(&dir, "slmap")?.1,
    })
}

impl Plan {
    /// Place and content of a write, which no other one has, in a volume of this length.
    pub fn write(&self, number: u64, length: u64) -> (u64, Vec<u8>) {
        let offset = scattered(number) % (length / self.write_len) * self.write_len;
        let words =
            (0..self.write_len / 8).flat_map(|word| scattered(number << 16 | word).to_le_bytes());
        (offset, words.collect())
    }

    fn pace(&self, begin: FileTime) -> Pace {
        let ticks = self.interval_us.saturating_mul(10);
        Pace { begin, ticks, frame_len: FRAME_LEN, epoch_frames: EPOCH_FRAMES }
    }
}

/// The volume while the history is written.
struct Volume<'a> {
    image: Option<(File, &'a Path)>,
    middle: Option<&'a Path>,
    length: u64,
}

impl<'a> Volume<'a> {
    fn open(begin: &'a Begin) -> Result<Self> {
        match begin {
            Begin::Empty { length } => Ok(Self { image: None, middle: None, length: *length }),
            Begin::Image { image: path, middle } => {
                let image = OpenOptions::new().read(true).write(true).open(path);
                let image = image.on("open", path)?;
                let length = image.metadata().on("examine", path)?.len();
                Ok(Self { image: Some((image, path)), middle: middle.as_deref(), length })
            }
        }
    }

    fn first_sync(&self, stream: &mut Stream<Writer>) -> Result<()> {
        let step = if self.image.is_some() { u64::from(BLOCK) } else { HOLE };
        let mut block = vec![0; BLOCK as usize];
        let steps = usize::try_from(step).unwrap_or(usize::MAX);
        for offset in (0..self.length).step_by(steps) {
            let len = step.min(self.length - offset);
            let Some((image, path)) = &self.image else {
                stream.unallocated(offset, len)?;
                continue;
            };
            let content = &mut block[..usize::try_from(len).unwrap_or(0)];
            image.read_exact_at(content, offset).on("read", path)?;
            stream.block(offset, content)?;
        }
        stream.base_complete()
    }

    fn write(&self, offset: u64, content: &[u8]) -> Result<()> {
        let Some((image, path)) = &self.image else { return Ok(()) };
        image.write_all_at(content, offset).on("write", path)
    }

    fn copy_middle(&self) -> Result<()> {
        let (Some((_, image)), Some(middle)) = (&self.image, self.middle) else { return Ok(()) };
        std::fs::copy(image, middle).on("write", middle).map(drop)
    }

    fn sync(&self) -> Result<()> {
        let Some((image, path)) = &self.image else { return Ok(()) };
        image.sync_all().on("write", path)
    }
}

/// The storing half of a server.
struct Writer {
    session: SessionWriter,
    ingest: Ingest,
    store: Store,
    /// A map is kept after so many bytes at least.
    map_bytes: u64,
    /// Bytes since it was last looked whether a map is due.
    unseen: u64,
    /// Maps that were kept.
    maps: u64,
}

impl Writer {
    fn keep_state_at_end(&mut self) {
        if let Some(state) = self.ingest.state() {
            self.session.keep_state_at_end(state);
        }
    }

    /// Keeps a map if one is due.
    fn keep_map(&mut self) -> Result<bool> {
        let reader = SessionReader::open(&self.store, *self.session.header())?;
        let is_kept = keep_due(&reader, self.map_bytes, &StopFlag::default())?;
        self.maps += u64::from(is_kept);
        self.unseen = 0;
        Ok(is_kept)
    }
}

impl Far for Writer {
    fn append(&mut self, records: &[u8]) -> Result<()> {
        let frame = FrameHeader::new(FrameKind::Records, records);
        let frame = frame.map_err(|why| Error::History(why.to_string()))?;
        let Action::Store { ends } = self.ingest.frame(frame, records)? else {
            return Err(Error::History("records are no records".to_owned()));
        };
        self.session.append(&frame, records)?;
        if let Some(end) = ends {
            self.session.commit(end.epoch(), end.seq())?;
        }
        self.unseen += records.len() as u64;
        if let (Some(_), Some(state)) = (ends, self.ingest.state()) {
            self.session.keep_state_if_due(state);
            if self.unseen >= self.map_bytes {
                self.keep_map()?;
            }
        }
        Ok(())
    }
}

/// How many files with this extension a folder has, and their bytes.
fn files(folder: &Path, extension: &str) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for entry in std::fs::read_dir(folder).on("list", folder)? {
        let entry = entry.on("list", folder)?;
        if entry.path().extension().is_some_and(|it| it == extension) {
            count += 1;
            bytes += entry.metadata().on("examine", &entry.path())?.len();
        }
    }
    Ok((count, bytes))
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

    fn restored(plan: &Plan, at: At) -> Vec<u8> {
        let to = plan.repository.with_extension("restored");
        let repository = Repository::open(&plan.repository).unwrap();
        let source = Source { volume: plan.volume, session: None, at };
        let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
        restore(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
        std::fs::read(&to).unwrap()
    }

    #[test]
    fn t0_the_middle_and_the_latest_point_are_the_images() {
        let folder = tempfile::tempdir().unwrap();
        let [image, middle] = ["image", "middle"].map(|name| folder.path().join(name));
        let begin = vec![0xa5; 1 << 20];
        std::fs::write(&image, &begin).unwrap();
        let plan = Plan {
            repository: folder.path().join("repository"),
            volume: VolumeGuid([1; 16]),
            begin: Begin::Image { image: image.clone(), middle: Some(middle.clone()) },
            writes: 6000,
            map_bytes: 1 << 20,
            ..Plan::default()
        };
        let history = write(&plan).unwrap();
        assert!(history.bytes > 24 << 20 && history.maps > 2, "{history:?}");
        assert!(restored(&plan, At::T0) == begin);
        assert!(restored(&plan, At::Latest) == std::fs::read(&image).unwrap());
        let time = time::from_text(&history.middle).unwrap();
        assert!(restored(&plan, At::Time(time)) == std::fs::read(&middle).unwrap());
    }

    #[test]
    fn a_short_history_has_the_segments_and_maps_of_a_long_one() {
        let folder = tempfile::tempdir().unwrap();
        let plan = Plan {
            repository: folder.path().join("repository"),
            volume: VolumeGuid([1; 16]),
            begin: Begin::Empty { length: 1 << 20 },
            writes: 2000,
            write_len: 512,
            interval_us: 60_000_000,
            epoch_writes: 10,
            segment_bytes: 64 << 10,
            map_bytes: 128 << 10,
        };
        let history = write(&plan).unwrap();
        let stream = 2000 * (512 + 64);
        assert!(history.bytes > stream && history.segments >= stream / plan.segment_bytes);
        assert!(history.maps >= 4 && history.map_bytes > 0 && history.index_bytes > 0);
        assert_eq!(history.content_bytes, 2000 * 512);
        // The begin, the hole, its end and the ends of all epochs.
        assert_eq!(history.records, 2000 + 200 + 5);
        let files = history.bytes + history.index_bytes + history.map_bytes;
        assert!(history.written_bytes > files, "the kept state and acknowledged ends too");
        let (offset, content) = plan.write(1999, 1 << 20);
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(restored(&plan, At::Latest)[offset..offset + 512], content);
    }
}
