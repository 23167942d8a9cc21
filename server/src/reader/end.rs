//! The acknowledged end of a stream: what is stored of it, and the state of the stream there.

use std::path::PathBuf;

use snapless_types::{Made, RecordKind};
use snapless_wire::frame::{FrameKind, Watermark};
use snapless_wire::record::Records;

use super::SessionReader;
use super::entries::Wanted;
use super::indices::with_indices;
use super::segment::SegmentReader;
use super::segments::REPLAY_BUFFER_BYTES;
use crate::error::{Damage, Error, Result};
use crate::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use crate::format::segment::SegmentNumber;
use crate::format::slots::SLOTS_FILE_LEN;
use crate::format::state::{Checkpoint, Entry, STATE_FILE};
use crate::format::watermark::{self, WATERMARK_FILE};
use crate::stop::StopFlag;
use crate::storage::OpenMode;
use crate::stream::StreamState;

impl SessionReader {
    /// The state of the stream at its acknowledged end, with the watermark after that. Reads the
    /// headers of the records after the state that the writer has kept, of all if there is none of
    /// use, and checks the stream's rules. Reads the content of the entries that no index has.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a header or the stream is not sound.
    pub fn survey(&self, stop: &StopFlag) -> Result<StreamState> {
        self.find_end(stop).map(|end| end.state)
    }

    /// [`Self::survey`], and what a new checkpoint needs.
    pub(crate) fn find_end(&self, stop: &StopFlag) -> Result<End> {
        let mut end = self.find_last_record(stop)?;
        // One after an earlier record is in the segments, if it matters.
        let watermark = self.watermark().filter(|it| it.seq() == self.acknowledged.seq);
        if let Some(watermark) = watermark
            && let Err(why) = end.state.mark(&watermark)
        {
            log::warn!("{WATERMARK_FILE} is not used: {why}");
        }
        Ok(end)
    }

    fn find_last_record(&self, stop: &StopFlag) -> Result<End> {
        self.check_segments()?;
        if let Some((checkpoint, state)) = self.kept_state() {
            match self.survey_from(Some(checkpoint), &state, stop) {
                Ok(end) => return Ok(end),
                Err(Error::Stopped) => return Err(Error::Stopped),
                // The state may be of another history; the segments alone decide.
                Err(error) => log::warn!("{STATE_FILE} is not used: {error}"),
            }
        }
        match self.begin()? {
            Some((checkpoint, state)) => self.survey_from(Some(checkpoint), &state, stop),
            None => self.survey_from(None, &StreamState::new(self.header.geometry), stop),
        }
    }

    /// The last watermark, whatever record it comes after. Without one, the latest point is the
    /// last record's.
    pub(crate) fn watermark(&self) -> Option<Watermark> {
        match self.store.read_head(&self.dir.join(WATERMARK_FILE), SLOTS_FILE_LEN) {
            Ok(bytes) => watermark::read(&bytes),
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                log::warn!("the latest point may be later: {error}");
                None
            }
        }
    }

    /// Checks that the last watermark, if there is one, is in a file.
    ///
    /// # Errors
    /// Damage.
    pub(crate) fn check_watermark(&self) -> Result<()> {
        match self.store.open(&self.dir.join(WATERMARK_FILE), OpenMode::Read) {
            Err(error) if error.is_no_file() => Err(error),
            // One that cannot be read is not used.
            _ => Ok(()),
        }
    }

    fn survey_from(
        &self,
        from: Option<Checkpoint>,
        before: &StreamState,
        stop: &StopFlag,
    ) -> Result<End> {
        let begin = from.map_or((SegmentNumber::FIRST, 0), |from| (from.segment, from.offset));
        let known = before.timeline().records();
        with_indices(|indices| {
            let mut state = before.clone();
            let mut entry = from.map(|from| from.entry);
            let mut last = None;
            self.visit(begin, indices, stop, |_, found| {
                if let Some(watermark) = found.watermark() {
                    state.mark(watermark)?;
                    return Ok(Wanted::More);
                }
                found.records().try_for_each(|it| {
                    last = Some(it.header.made());
                    state.accept(it.header).map(|_| ())
                })?;
                entry = Some(Entry { offset: found.offset, header: found.frame.to_bytes() });
                Ok(Wanted::More)
            })?;
            self.check_end(&state)?;
            if let (None, Some(from)) = (last, &from) {
                // The state is that of the end: its last entry is read for this alone.
                let end = (from.segment, from.entry.offset);
                self.visit(end, indices, stop, |_, found| {
                    last = found.records().last().map(|it| it.header.made()).or(last);
                    Ok(Wanted::More)
                })?;
            }
            let surveyed = state.timeline().records() - known;
            Ok(End { surveyed, state, entry, made: last.unwrap_or_default() })
        })
    }

    /// Checks that the stream ends with the acknowledged record.
    pub(crate) fn check_end(&self, state: &StreamState) -> Result<()> {
        let last = state.last().map_or(0, |last| last.seq.get());
        if last == self.acknowledged.seq.get() {
            return Ok(());
        }
        Err(Error::damaged(&self.end_path(), 0, Damage::Acknowledgement(last)))
    }

    /// Checks that the acknowledged end is not older than the state that the writer has kept, which
    /// was acknowledged when it was kept.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is.
    pub(crate) fn check_age(&self) -> Result<()> {
        let Ok(Some((checkpoint, _))) = self.read_state() else { return Ok(()) };
        if checkpoint.is_within(&self.acknowledged) {
            return Ok(());
        }
        // A server may have acknowledged and kept more meanwhile: in this order.
        if checkpoint.is_within(&Self::open(&self.store, self.header)?.acknowledged) {
            return Ok(());
        }
        let path = self.end_path();
        let (acknowledged, kept) = (self.acknowledged.seq, checkpoint.seq);
        Err(Error::damaged(&path, 0, Damage::Older { acknowledged, kept }))
    }

    /// Checks the acknowledgement before the newest, which is kept in case the newest is torn.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not sound.
    pub fn check_acknowledgement(&self) -> Result<()> {
        if self.claims.is_some() {
            return Ok(());
        }
        let path = self.dir.join(ACKNOWLEDGED_FILE);
        let bytes = self.store.read_head(&path, SLOTS_FILE_LEN)?;
        let checked = Acknowledged::read(&bytes).and_then(|newest| newest.check_older(&bytes));
        checked.map_err(|why| Error::damaged(&self.store.locate(&path), 0, why))
    }

    /// The file that tells the acknowledged end.
    fn end_path(&self) -> PathBuf {
        let newest = self.claims().and_then(|claims| claims.newest);
        let name = newest.map_or(ACKNOWLEDGED_FILE.to_owned(), |(number, _)| number.file_name());
        self.store.locate(&self.dir.join(name))
    }

    /// The same stream up to the last whole epoch, which may lie past the acknowledged end. Content
    /// past that end is checked in full.
    pub(crate) fn with_whole_epochs(&self) -> Self {
        let mut longer = self.clone();
        let found = &mut longer.acknowledged;
        let mut number = found.segment;
        loop {
            // What cannot be read here was never acknowledged: it only ends the search.
            let offset = if number == found.segment { found.offset } else { 0 };
            match self.whole_epochs_of(number, offset, found) {
                Ok(true) => number = number.next(),
                Ok(false) | Err(_) => return longer,
            }
        }
    }

    /// Moves `found` to the last whole epoch of a segment, from `offset` on; true if the segment is
    /// sound up to its end.
    fn whole_epochs_of(
        &self,
        number: SegmentNumber,
        offset: u64,
        found: &mut Acknowledged,
    ) -> Result<bool> {
        if number.0 == 0 {
            return Ok(true);
        }
        let file = self.open_segment(number)?;
        let end = file.len()?;
        let seal = self.seal.entries(number)?;
        let buffer = REPLAY_BUFFER_BYTES;
        let mut segment = SegmentReader::open(file, &self.header, number, seal, end, buffer)?;
        if offset > 0 {
            segment.go_to(offset)?;
        }
        let mut payload = Vec::new();
        while segment.next_entry()? {
            if segment.load(&mut payload)?.kind() == FrameKind::Watermark {
                continue;
            }
            let mut last = None;
            for record in Records::new(&payload) {
                last = Some(record.map_err(|why| segment.damage(why))?.header);
            }
            // An EpochEnd ends its entry.
            if let Some(header) = last.filter(|last| last.kind() == RecordKind::EpochEnd) {
                found.epoch = header.epoch();
                found.seq = header.seq();
                found.segment = number;
                found.offset = segment.entry_end();
            }
        }
        Ok(true)
    }
}

/// The end of a stream.
#[derive(Debug)]
pub(crate) struct End {
    /// The state there.
    pub(crate) state: StreamState,
    /// The last entry; `None` for an empty stream.
    pub(crate) entry: Option<Entry>,
    /// When the last record was made; zeros for an empty stream.
    pub(crate) made: Made,
    /// Records that were read to find it.
    pub(crate) surveyed: u64,
}
