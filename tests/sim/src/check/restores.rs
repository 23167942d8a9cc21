//! Rules T0 and POINT at the far end: what the real server restores is what the model says, byte
//! for byte, and the server offers the points that the model has.

use snapless_server::timeline::At;
use snapless_wire::id::FileTime;

use super::image::{Cell, Image};
use super::points::{self, Points};
use crate::failure::{Broken, Rule, ensure};
use crate::far_end::FarEnd;
use crate::link::Link;
use crate::rng::Rng;
use crate::volume::Volume;

/// Restores t0, the latest point and one between, if all that the model has is durable; returns how
/// many of them there were.
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
        let times = times(link);
        let time = times[rng.pick(&points.restorable)];
        // Of records of one time, the last counts.
        let index = points.restorable.iter().rfind(|&&index| times[index] == time);
        let at = At::Time(FileTime::new(time));
        restored += compare(far_end, at, index.map(image_at), Rule::Point)?;
    }
    Ok(restored)
}

/// The time of each record for a restore: never less than its predecessor's.
fn times(link: &Link) -> Vec<u64> {
    let mut latest = 0;
    let times = link.kept.iter().map(|received| {
        latest = latest.max(received.record.time);
        latest
    });
    times.collect()
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
