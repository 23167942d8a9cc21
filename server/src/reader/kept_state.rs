//! The state of the stream that the writer keeps now and then, so that a reader need not survey all
//! that lies before it.

use snapless_wire::frame::FrameHeader;

use super::SessionReader;
use super::segments::SURVEY_BUFFER_BYTES;
use crate::error::{Damage, Error, Result};
use crate::format::FormatError;
use crate::format::state::{self, Checkpoint, STATE_FILE, STATE_LEN_MAX};
use crate::storage::OpenMode;
use crate::stream::StreamState;

impl SessionReader {
    /// The state that the writer has kept, if it is sound and of this stream.
    pub(super) fn kept_state(&self) -> Option<(Checkpoint, StreamState)> {
        let (checkpoint, state) = match self.read_state() {
            Ok(found) => found?,
            Err(error) => {
                log::warn!("the whole stream is read: {error}");
                return None;
            }
        };
        let begin = self.history().map_or(0, |history| history.boundary.place.seq.get());
        let is_of_this_stream = checkpoint.is_within(&self.acknowledged)
            && checkpoint.seq.get() >= begin
            && self.has_entry(&checkpoint).unwrap_or(false);
        is_of_this_stream.then_some((checkpoint, state))
    }

    /// True if the checkpoint's entry is where it was, and ends at the checkpoint.
    pub(super) fn has_entry(&self, checkpoint: &Checkpoint) -> Result<bool> {
        let Ok(frame) = FrameHeader::read(&checkpoint.entry.header) else { return Ok(false) };
        let mut segment = self.segment(checkpoint.segment, SURVEY_BUFFER_BYTES)?;
        let is_there = segment.has_entry(checkpoint.entry.offset, &frame);
        Ok(is_there && segment.entry_end() == checkpoint.offset)
    }

    /// Reads the state that the writer has kept; `None` if there is none, or one of an older
    /// release, which the writer replaces.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not sound.
    pub(crate) fn read_state(&self) -> Result<Option<(Checkpoint, StreamState)>> {
        let path = self.dir.join(STATE_FILE);
        let len = match self.store.open(&path, OpenMode::Read) {
            Ok(file) => file.len()?.min(STATE_LEN_MAX),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error),
        };
        let bytes = self.store.read_head(&path, usize::try_from(len).unwrap_or(usize::MAX))?;
        let seal = self.seal.state()?;
        match state::open(bytes, &seal).and_then(|it| Checkpoint::read(&it, &self.header)) {
            Ok(found) => Ok(Some(found)),
            Err(FormatError::Version { found, known }) if found < known => Ok(None),
            Err(why) => Err(self.state_damage(why)),
        }
    }

    /// Checks the stored checksum of the state that the writer has kept, without the key.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not sound.
    pub(crate) fn check_stored_state(&self) -> Result<()> {
        let path = self.dir.join(STATE_FILE);
        let len = match self.store.open(&path, OpenMode::Read) {
            Ok(file) => file.len()?.min(STATE_LEN_MAX),
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let bytes = self.store.read_head(&path, usize::try_from(len).unwrap_or(usize::MAX))?;
        state::check_sealed(&bytes).map_err(|why| self.state_damage(why))
    }

    /// Damage of the state that the writer has kept.
    pub(crate) fn state_damage(&self, why: impl Into<Damage>) -> Error {
        Error::damaged(&self.store.locate(&self.dir.join(STATE_FILE)), 0, why)
    }
}
