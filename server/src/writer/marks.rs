//! The watermark of a session that is being written: kept in its own file while nothing comes after
//! it, and appended to the stream when something does.

use std::mem;
use std::path::Path;

use snapless_types::Seq;
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use zerocopy::IntoBytes;

use crate::clock::{Reading, Readings};
use crate::error::Result;
use crate::format::slots::{self, SLOTS_FILE_LEN};
use crate::format::watermark::{self, WATERMARK_FILE};
use crate::storage::{OpenMode, Store, StoredFile};

/// The watermarks after the last entry, and their file, which has the last one.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The last record before them.
    seq: Seq,
    /// What the timeline of the stream has, too.
    readings: Readings,
    file: Option<MarkFile>,
}

/// An entry of a segment that is a watermark.
#[derive(Clone, Copy, Debug)]
pub(super) struct MarkEntry {
    /// Its header.
    pub(super) frame: FrameHeader,
    /// What it says.
    pub(super) watermark: Watermark,
}

#[derive(Debug)]
struct MarkFile {
    file: StoredFile,
    /// Where in it the next watermark goes.
    slot: usize,
}

impl Marks {
    /// The watermark that was found after the last entry, if there is one.
    pub(super) fn new(last: Option<Watermark>) -> Self {
        let mut marks = Self::default();
        if let Some(last) = last {
            marks.note(&last);
        }
        marks
    }

    /// Takes a watermark after the last entry, without its file.
    pub(super) fn note(&mut self, watermark: &Watermark) {
        self.seq = watermark.seq();
        self.readings.push(Reading::of(watermark));
    }

    /// Writes the watermark after the last entry into the file in `dir`.
    pub(super) fn keep(&mut self, store: &Store, dir: &Path, watermark: &Watermark) -> Result<()> {
        self.note(watermark);
        let MarkFile { file, slot } = match self.file.take() {
            Some(open) => open,
            None => MarkFile::open(store, &dir.join(WATERMARK_FILE))?,
        };
        file.write_at(slot as u64, &watermark::to_slot(watermark))?;
        self.file = Some(MarkFile { file, slot: slots::other(slot) });
        Ok(())
    }

    /// The entries that go in front of the next one; none without a watermark.
    pub(super) fn take_entries(&mut self) -> Result<Vec<MarkEntry>> {
        let readings = mem::take(&mut self.readings);
        let entry = |Reading { time, monotonic }| {
            let watermark = Watermark::new(self.seq, time, monotonic);
            let frame = FrameHeader::new(FrameKind::Watermark, watermark.as_bytes())?;
            Ok(MarkEntry { frame, watermark })
        };
        readings.iter().map(entry).collect()
    }
}

impl MarkFile {
    /// Opens the file, or makes it.
    fn open(store: &Store, path: &Path) -> Result<Self> {
        match store.read_head(path, SLOTS_FILE_LEN) {
            Ok(bytes) => {
                let slot = watermark::next_slot(&bytes);
                Ok(Self { file: store.open(path, OpenMode::Write)?, slot })
            }
            Err(error) if error.is_not_found() => {
                Ok(Self { file: store.open(path, OpenMode::CreateNew)?, slot: 0 })
            }
            Err(error) => Err(error),
        }
    }
}
