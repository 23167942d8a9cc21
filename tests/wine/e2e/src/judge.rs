//! The verdict on a run that is over: journal against log, images against journal, files against hashes.

use std::ops::RangeInclusive;

use snapless_writer::log::{self, Instant100};
use snapless_writer::payload::Payload;

use crate::error::E2eError;
use crate::image::Image;
use crate::journal::Journal;
use crate::run_folder::RunFolder;
use crate::truth::Truth;
use crate::writes::Matched;

/// How far the clocks of driver and writer may be apart, in units of 100 ns. Both are the machine's, but
/// Wine's coarse one moves in steps of a clock tick.
const CLOCK_TOLERANCE: u64 = 200_000;

/// What is known about when the session began.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// The journal's length just before the session was asked for.
    pub entries_before: u64,
    /// The journal's length once the session was known to have begun.
    pub entries_after: u64,
    /// Just before the session was asked for.
    pub asked: Instant100,
    /// Once the session was known to have begun.
    pub started: Instant100,
    /// The session's t0, as the driver stamped it.
    pub t0: Instant100,
}

/// The journal, matched with the writer's log.
#[derive(Debug)]
pub struct Evidence {
    journal: Journal,
    matched: Matched,
}

impl Evidence {
    /// Reads journal and log of a run, and checks them against each other.
    pub fn read(folder: &RunFolder, seed: u64) -> Result<Self, E2eError> {
        let journal = Journal::open(&folder.journal())?;
        let writes = log::read(&folder.writes())?;
        let matched = Matched::new(&journal, &writes, Payload::new(seed))?;
        Ok(Self { journal, matched })
    }

    /// The writes in the order of application.
    pub fn matched(&self) -> &Matched {
        &self.matched
    }

    /// Bytes that the writer wrote.
    pub fn bytes(&self) -> u64 {
        self.journal.entries().iter().map(|entry| entry.extent.len()).sum()
    }

    /// Starts judging images against this evidence.
    pub fn truth<'a>(&'a self, image: &Image, folder: &RunFolder) -> Result<Truth<'a>, E2eError> {
        Truth::new(&self.journal, &image.pristine, &folder.model())
    }

    /// Which prefixes of the journal t0 may stand for, by counting and by the clock.
    pub fn t0_window(&self, beginning: &Beginning) -> Result<RangeInclusive<usize>, E2eError> {
        let Beginning { asked, started, t0, .. } = *beginning;
        let near_asked = Instant100(t0.0.saturating_sub(CLOCK_TOLERANCE)).max(asked);
        let near_started = Instant100(t0.0.saturating_add(CLOCK_TOLERANCE)).min(started);
        if near_asked > started || near_started < asked {
            return Err(E2eError::Contradiction(format!(
                "the driver's t0 ({}) is not between the request ({}) and the answer ({})",
                t0.0, asked.0, started.0
            )));
        }
        let by_clock = self.matched.prefixes_between(near_asked, near_started)?;
        let first = (*by_clock.start()).max(as_len(beginning.entries_before));
        let last = (*by_clock.end()).min(as_len(beginning.entries_after));
        if first > last {
            return Err(E2eError::Contradiction(format!(
                "no prefix of the journal fits t0: by the clock {by_clock:?}, by count {} to {}",
                beginning.entries_before, beginning.entries_after
            )));
        }
        Ok(first..=last)
    }
}

/// The t0 image against the truth; returns the prefix that it shows.
pub fn judge_t0(
    truth: &mut Truth<'_>,
    folder: &RunFolder,
    window: RangeInclusive<usize>,
) -> Result<usize, E2eError> {
    match truth.matching_prefixes(&folder.restored("t0"), window)? {
        Ok(prefixes) => Ok(prefixes[0]),
        Err(difference) => Err(E2eError::Different { image: "t0", difference }),
    }
}

/// The latest image against the truth.
pub fn judge_latest(truth: &mut Truth<'_>, folder: &RunFolder) -> Result<(), E2eError> {
    match truth.matches_whole(&folder.restored("latest"))? {
        Ok(()) => Ok(()),
        Err(difference) => Err(E2eError::Different { image: "latest", difference }),
    }
}

/// Journals of a run are counted in memory.
fn as_len(entries: u64) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX)
}
