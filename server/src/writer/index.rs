//! Writes the index of the open segment while the segment grows.
//!
//! The index only saves time: it is synced when the segment is full and not before, and a failure
//! is logged and leaves the rest of the segment without one. What must not be is an index of
//! entries that were cut off and replaced. So when a segment is opened again, its index is cut
//! back, durably, before the segment may grow.

use std::path::{Path, PathBuf};

use log::warn;
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};

use crate::crypto::BlobSeal;
use crate::error::{Error, Result};
use crate::format::index::{ChunkBuilder, EntryIndex, INDEX_HEADER_LEN};
use crate::format::segment::{SEGMENT_HEADER_LEN, SegmentNumber};
use crate::format::session::SessionHeader;
use crate::reader::{SessionReader, SoundIndex};
use crate::stop::StopFlag;
use crate::storage::{OpenMode, Store, StoredFile};

/// The index of the open segment.
#[derive(Debug)]
pub(super) struct IndexWriter {
    store: Store,
    path: PathBuf,
    /// `None` after a failure.
    file: Option<StoredFile>,
    /// Bytes of the file.
    len: u64,
    chunks: ChunkBuilder,
}

impl IndexWriter {
    /// Begins the index of a new segment.
    pub(super) fn create(
        store: &Store,
        dir: &Path,
        session: &SessionHeader,
        number: SegmentNumber,
        seal: Option<BlobSeal>,
    ) -> Self {
        let chunks = ChunkBuilder::new(session.index_of(number), SEGMENT_HEADER_LEN as u64);
        let chunks = chunks.sealed(seal);
        let path = dir.join(number.index_name());
        let mut index =
            Self { store: store.clone(), path, file: None, len: INDEX_HEADER_LEN as u64, chunks };
        match begin(store, dir, session, number) {
            Ok(file) => index.file = Some(file),
            Err(error) => index.give_up(error),
        }
        index
    }

    /// Opens the index of the last segment again: cuts back what is damaged or past the
    /// acknowledged end, and adds the entries up to there.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what keeps the index from being cut back.
    pub(super) fn reopen(
        store: &Store,
        dir: &Path,
        reader: &SessionReader,
        stop: &StopFlag,
    ) -> Result<Self> {
        let number = reader.acknowledged().segment;
        let session = reader.header();
        let (file, sound) = match reader.sound_index(number) {
            None => {
                let sound =
                    SoundIndex { len: INDEX_HEADER_LEN as u64, end: SEGMENT_HEADER_LEN as u64 };
                (begin(store, dir, session, number)?, sound)
            }
            Some(sound) => {
                let file = store.open(&dir.join(number.index_name()), OpenMode::Write)?;
                file.set_len(sound.len)?;
                (file, sound)
            }
        };
        // Also if nothing was cut: the sync of an earlier cut may have failed.
        file.sync()?;
        let chunks = ChunkBuilder::new(session.index_of(number), sound.end);
        let chunks = chunks.sealed(reader.seal().index(number)?);
        let path = dir.join(number.index_name());
        let mut index =
            Self { store: store.clone(), path, file: Some(file), len: sound.len, chunks };
        match reader.tail(number, sound.end, stop, |entry| index.add_entry(entry)) {
            Err(error) if error.is_damage() => index.give_up(error),
            read => read?,
        }
        index.flush();
        Ok(index)
    }

    /// Adds an entry that was appended to the segment at `offset` and takes `len` bytes there.
    pub(super) fn add(&mut self, offset: u64, len: u64, frame: FrameHeader, payload: &[u8]) {
        if self.file.is_none() {
            return;
        }
        let entry = match frame.kind() {
            FrameKind::Watermark => Watermark::read(payload)
                .map(|watermark| EntryIndex::of_watermark(offset, frame, watermark))
                .ok(),
            _ => EntryIndex::of(offset, frame, payload).ok(),
        };
        match entry {
            Some(entry) => self.add_entry(&entry.with_len(len)),
            // A connection checks the records before it appends them.
            None => self.file = None,
        }
    }

    fn add_entry(&mut self, entry: &EntryIndex) {
        if self.file.is_some() && self.chunks.add(entry) {
            self.flush();
        }
    }

    /// Writes the entries that were added since the last chunk.
    pub(super) fn flush(&mut self) {
        let Some(file) = &self.file else { return };
        let chunk = match self.chunks.take() {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return,
            Err(error) => return self.give_up(error.into()),
        };
        match file.write_at(self.len, &chunk) {
            Ok(()) => self.len += chunk.len() as u64,
            Err(error) => self.give_up(error),
        }
    }

    /// The segment is full.
    pub(super) fn finish(&mut self) {
        self.flush();
        if let Some(Err(error)) = self.file.as_ref().map(StoredFile::sync) {
            self.give_up(error);
        }
    }

    /// The indexer makes another one, once the segment is finished. A part of one that was not
    /// synced would look damaged after a power loss.
    fn give_up(&mut self, error: Error) {
        warn!("a part of the segment gets no index: {error}");
        self.file = None;
        let removed = self.store.remove(&self.path);
        let dir = self.path.parent().unwrap_or(&self.path);
        match removed.and_then(|()| self.store.sync_dir(dir)) {
            Err(error) if !error.is_not_found() => warn!("it may look damaged: {error}"),
            _ => {}
        }
    }
}

/// Makes the file of an index, without an entry.
fn begin(
    store: &Store,
    dir: &Path,
    session: &SessionHeader,
    number: SegmentNumber,
) -> Result<StoredFile> {
    let file = store.open(&dir.join(number.index_name()), OpenMode::Create)?;
    file.write_at(0, &session.index_of(number).to_bytes())?;
    Ok(file)
}
