//! The verdict on a run: journal against log, images against journal.

use std::ops::RangeInclusive;

use snapless_writer::log::{self, Instant100};
use snapless_writer::payload::Payload;

use crate::console::{Console, step};
use crate::error::{E2eError, ensure};
use crate::image::Image;
use crate::journal::Journal;
use crate::run_folder::RunFolder;
use crate::summary::Summary;
use crate::truth::Truth;
use crate::writes::Matched;

/// How far the clocks of driver and writer may be apart, in units of 100 ns. Both are the
/// machine's, but Wine's coarse one moves in steps of a clock tick.
const CLOCK_TOLERANCE: u64 = 200_000;

/// Bounds of the session's t0.
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

/// An instant under load.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The instant.
    pub at: Instant100,
    /// The journal's length just before it.
    pub entries_before: u64,
    /// The journal's length once all writes that were under way at the instant had been applied.
    pub entries_after: u64,
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
        let journal = Journal::open(&folder.journal)?;
        let writes = log::read(&folder.writes)?;
        let matched = Matched::new(&journal, &writes, Payload::new(seed))?;
        Ok(Self { journal, matched })
    }

    /// The writes in the order of application.
    pub fn matched(&self) -> &Matched {
        &self.matched
    }

    /// Adds the load's figures to a summary.
    pub fn add_to(&self, summary: Summary, beginning: &Beginning) -> Summary {
        Summary {
            writes: self.matched.writes().len(),
            bytes_written: self.journal.bytes(),
            overlaps: self.matched.overlaps_under_way(),
            under_way_at_t0: self.matched.under_way_at(beginning.t0),
            ..summary
        }
    }

    /// A model of the volume that follows the journal.
    pub fn truth<'a>(&'a self, image: &Image, folder: &RunFolder) -> Result<Truth<'a>, E2eError> {
        let truth = Truth::new(&self.journal, &image.pristine, &folder.model)?;
        Ok(truth.without(image.state_area.clone()))
    }

    /// The lengths that the journal's prefix at t0 may have, by count and by the clock.
    pub fn t0_window(&self, beginning: &Beginning) -> Result<RangeInclusive<usize>, E2eError> {
        let Beginning { asked, started, t0, .. } = *beginning;
        let near_asked = Instant100(t0.0.saturating_sub(CLOCK_TOLERANCE)).max(asked);
        let near_started = Instant100(t0.0.saturating_add(CLOCK_TOLERANCE)).min(started);
        ensure!(
            near_asked <= started && near_started >= asked,
            Contradiction,
            "the driver's t0 ({t0:?}) is not between the request ({asked:?}) and the answer \
             ({started:?})"
        );
        let by_clock = self.matched.prefixes_between(near_asked, near_started)?;
        let first = (*by_clock.start()).max(as_len(beginning.entries_before));
        let last = (*by_clock.end()).min(as_len(beginning.entries_after));
        ensure!(
            first <= last,
            Contradiction,
            "no prefix of the journal fits t0: by the clock {by_clock:?}, by count {beginning:?}"
        );
        Ok(first..=last)
    }
}

/// Compares the restored images with the truth: the t0 image with a prefix of the journal whose
/// length is in `t0`, if there is one, and the latest image with the first `latest` entries.
/// Returns the t0 image's prefix.
pub fn compare(
    console: &mut dyn Console,
    mut truth: Truth<'_>,
    folder: &RunFolder,
    t0: Option<RangeInclusive<usize>>,
    latest: usize,
) -> Result<Option<usize>, E2eError> {
    let mut check = |at: &'static str, window: RangeInclusive<usize>| {
        step(console, &format!("compare the {at} image with the truth"), |_| {
            let found = truth.matching_prefixes(&folder.restored(at), window)?;
            found.map_err(|difference| E2eError::Different(at, difference))
        })
    };
    let prefix = t0.map(|window| check("t0", window)).transpose()?;
    check("latest", latest..=latest)?;
    Ok(prefix.map(|prefixes| prefixes[0]))
}

/// Compares the image of an instant under load, which was restored or mounted `at` that, with the
/// truth: it has the first of so many entries of the journal, and any of the others.
pub fn compare_moment(
    mut truth: Truth<'_>,
    folder: &RunFolder,
    at: &'static str,
    entries: RangeInclusive<u64>,
) -> Result<(), E2eError> {
    let (from, to) = (as_len(*entries.start()), as_len(*entries.end()));
    let found = truth.differs_between(&folder.restored(at), from, to)?;
    found.map_or(Ok(()), |difference| Err(E2eError::Different(at, difference)))
}

/// A count of journal entries as a length in memory.
pub fn as_len(entries: u64) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX)
}
