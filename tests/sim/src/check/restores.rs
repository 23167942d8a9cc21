//! Rules T0 and POINT at the far end: what the real server restores is what the model says, byte
//! for byte, and the server offers the points that the model has.

use snapless_server::timeline::At;
use snapless_wire::id::FileTime;

use super::image::{Cell, Image};
use super::points::{self, Points};
use crate::failure::{Broken, Rule, ensure};
use crate::far_end::FarEnd;
use crate::host::steps_of;
use crate::link::{Link, Mark};
use crate::rng::Rng;
use crate::volume::Volume;

/// Restores t0, the latest point, one between, and one in a quiet stretch, if all that the model
/// has is durable; returns how many of them there were.
pub fn check(volume: &Volume, link: &Link, points: &Points, rng: &mut Rng) -> Result<u64, Broken> {
    let Some(far_end) = &link.far_end else { return Ok(0) };
    if link.durable < link.kept.len() {
        return Ok(0);
    }
    let base = points.base_is_whole.then(|| points::base_image(volume, link));
    let mut restored = compare(far_end, At::T0, base, Rule::T0)?;
    let image_at = |&index: &usize| points::image_at(volume, link, points, index);
    let latest = points.restorable.last();
    restored += compare(far_end, At::Latest, latest.map(image_at), Rule::Point)?;
    if latest.is_some() {
        let is_restorable = |it: &&Instant| points.restorable.binary_search(&it.index).is_ok();
        let instants = instants(link);
        let restorable: Vec<_> = instants.iter().filter(is_restorable).collect();
        let time = rng.pick(&restorable).time;
        // Of the runs that have the time, the last counts, and in it the last record.
        let run_of = |time| {
            let mut runs = instants.chunk_by(|one, next| one.run == next.run).rev();
            let has_time =
                |run: &&[Instant]| run[0].time <= time && time <= run[run.len() - 1].time;
            runs.find(has_time).expect("an instant has the time")[0].run
        };
        let run = run_of(time);
        // Of a run that has the time in a gap, or between two instants, no point is expected.
        if let Some(it) = restorable.iter().rfind(|it| (it.run, it.time) == (run, time)) {
            let at = At::Time(FileTime::new(time));
            restored += compare(far_end, at, Some(image_at(&it.index)), Rule::Point)?;
        }
        // Before a watermark nothing is written.
        let is_quiet = |two: &&[Instant]| {
            (two[0].run, two[0].index) == (two[1].run, two[1].index)
                && two[0].time < two[1].time
                && is_restorable(&&two[0])
        };
        if let Some(two) = instants.windows(2).rfind(is_quiet) {
            let time = two[0].time.midpoint(two[1].time);
            if run_of(time) == two[0].run {
                let at = At::Time(FileTime::new(time));
                restored += compare(far_end, at, Some(image_at(&two[0].index)), Rule::Point)?;
            }
        }
    }
    Ok(restored)
}

/// An instant of a record, or of a watermark after it.
#[derive(Clone, Copy, Debug)]
struct Instant {
    /// How often the wall clock had been set by a step.
    run: usize,
    /// What it showed, but not less than before since that step.
    time: u64,
    /// The record's place in what the server has.
    index: usize,
}

/// The instants of all records and of the watermarks after them: of those between two steps of the
/// wall clock, the last one counts.
fn instants(link: &Link) -> Vec<Instant> {
    let (mut run, mut steps, mut latest) = (0, None, 0);
    let mut instants = Vec::new();
    for (index, received) in link.kept.iter().enumerate() {
        let record = (received.record.time, received.record.monotonic.0);
        let mark = |mark: &Mark| (mark.watermark.time().get(), mark.watermark.monotonic());
        let marks: Vec<_> = link.marks.after(index + 1).iter().map(mark).collect();
        let same = |one: &(u64, u64), next: &(u64, u64)| steps_of(*one) == steps_of(*next);
        let last_ones = marks.chunk_by(same).map(|run| run[run.len() - 1]);
        for reading in std::iter::once(record).chain(last_ones) {
            let now = steps_of(reading);
            if steps.replace(now).is_some_and(|before| before != now) {
                (run, latest) = (run + 1, 0);
            }
            latest = latest.max(reading.0);
            instants.push(Instant { run, time: latest, index });
        }
    }
    instants
}

fn compare(far_end: &FarEnd, at: At, expected: Option<Image>, rule: Rule) -> Result<u64, Broken> {
    let restored = far_end.restore(at)?;
    ensure!(
        restored.is_some() == expected.is_some(),
        rule,
        "{at:?}: the server {} a point, the model {}",
        if restored.is_some() { "has" } else { "has not" },
        if expected.is_some() { "has one" } else { "has none" }
    );
    let (Some((restored, cut)), Some(expected)) = (restored, expected) else { return Ok(0) };
    let mut bytes = vec![0; expected.volume.sector_bytes as usize];
    let sectors = restored.chunks(bytes.len()).enumerate();
    for ((sector, found), &cell) in sectors.zip(&expected.cells) {
        bytes.fill(0);
        if let Cell::Is(content) = cell {
            content.fill(&mut bytes);
        }
        ensure!(
            found == bytes,
            rule,
            "{at:?}, {cut:?}: sector {sector} of the restored image has {} instead of {cell:?}",
            u64::from_le_bytes(*found.first_chunk().expect("sectors are long"))
        );
    }
    Ok(1)
}
