//! How far a damaged stream is sound.

use snapless_wire::id::FileTime;

use super::{Indices, SessionReader, Wanted, with_indices};
use crate::error::{Damage, Error, Result};
use crate::format::segment::SegmentNumber;
use crate::format::state::Checkpoint;
use crate::stop::StopFlag;
use crate::stream::StreamState;

/// What can be read of a stream.
#[derive(Debug)]
pub struct Survey {
    /// The state at the acknowledged end, or before the damage.
    pub state: StreamState,
    damage: Option<Error>,
}

impl Survey {
    /// What keeps the rest of the stream from being read. It names the last point before, if there
    /// is one.
    pub fn damage(&self) -> Option<Error> {
        let Some(Error::Damaged { path, offset, why }) = &self.damage else { return None };
        let why = match self.state.timeline().last_before() {
            Some(last) => Damage::Tail { why: Box::new(why.clone()), last },
            None => why.clone(),
        };
        Some(Error::damaged(path, *offset, why))
    }

    /// The last instant that can be restored.
    pub fn latest(&self) -> Option<FileTime> {
        let timeline = self.state.timeline();
        match self.damage {
            None => timeline.latest().map(|place| place.time()),
            Some(_) => timeline.last_before(),
        }
    }
}

impl SessionReader {
    /// [`SessionReader::survey`] of a stream that may be damaged: then up to the last entry before
    /// the damage. Reads the headers three times in that case.
    ///
    /// # Errors
    /// [`Error::Stopped`], or what keeps files from being read.
    pub fn survey_sound(&self, stop: &StopFlag) -> Result<Survey> {
        let damage = match self.survey(stop) {
            Ok(state) => return Ok(Survey { state, damage: None }),
            Err(error) if error.is_damage() => error,
            Err(error) => return Err(error),
        };
        let kept = self.check_segments().ok().and_then(|()| self.kept_state());
        let state = with_indices(|indices| {
            // A refused record leaves a state of no use: the entries before it are counted.
            let how = (indices, stop);
            let (_, sound) = self.take_entries(kept.as_ref(), u64::MAX, how)?;
            Ok(self.take_entries(kept.as_ref(), sound, how)?.0)
        })?;
        Ok(Survey { state, damage: Some(damage) })
    }

    /// Takes so many entries, or those before the damage; returns how many.
    fn take_entries(
        &self,
        kept: Option<&(Checkpoint, StreamState)>,
        most: u64,
        (indices, stop): (Indices, &StopFlag),
    ) -> Result<(StreamState, u64)> {
        let (begin, mut state) = match kept {
            Some((at, state)) => ((at.segment, at.offset), state.clone()),
            None => ((SegmentNumber::FIRST, 0), StreamState::new(self.header().geometry)),
        };
        let mut taken = 0;
        if most == 0 {
            return Ok((state, taken));
        }
        let read = self.visit(begin, indices, stop, |_, found| {
            if let Some(watermark) = found.watermark() {
                state.mark(watermark)?;
            }
            found.records().try_for_each(|it| state.accept(it.header).map(|_| ()))?;
            taken += 1;
            Ok(if taken == most { Wanted::Enough } else { Wanted::More })
        });
        match read {
            Err(error) if !error.is_damage() || error.is_of_index() => Err(error),
            _ => Ok((state, taken)),
        }
    }
}
