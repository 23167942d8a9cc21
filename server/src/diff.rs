//! Compares two points of a volume by their maps.
//!
//! Bytes that both points have from the same record are the same; so are zeros. Pages that both
//! have from the same kept map are not looked at. Whatever else there is may differ, also if it was
//! written again with the same bytes: [`Comparison::by_content`] reads both points there and keeps
//! what does differ.

use std::ops::Range;

use serde::Serialize;

use crate::bytes::{Bytes, append};
use crate::error::Result;
use crate::point::{Content, PointMap, PointReader};
use crate::repository::Repository;
use crate::restore::{self, Found, Source};
use crate::stop::StopFlag;
use crate::time;

/// Bytes that are compared at a time.
const STEP_BYTES: u64 = 1 << 20;

/// The report of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// The one point.
    pub from: Side,
    /// The other point.
    pub to: Side,
    /// The content was compared: what is listed differs. Otherwise it may differ.
    pub by_content: bool,
    /// Bytes of all ranges.
    pub changed_bytes: u64,
    /// What differs or may differ, in order. Past the shorter image's end everything does.
    pub changed: Vec<Bytes>,
}

/// One of the points.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Side {
    /// The session.
    pub session: String,
    /// The instant, RFC 3339.
    pub time: String,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes that the volume's disk could not read, which are zeros in the image.
    pub unreadable_bytes: u64,
}

/// Progress of a comparison by content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes that were compared.
    pub done: u64,
    /// Bytes to compare.
    pub total: u64,
}

/// Two points of a volume.
#[derive(Debug)]
pub struct Comparison {
    volume: String,
    sides: [Side; 2],
    points: [PointReader; 2],
    is_one_session: bool,
    /// Bytes of the smallest sector of both.
    sector: u64,
}

impl Comparison {
    /// Finds the points and makes their maps.
    ///
    /// # Errors
    /// [`crate::error::Error::NotRestorable`] if there is no such point, or damage of the stream.
    pub fn find(
        repository: &Repository,
        sources: [Source; 2],
        stop: &StopFlag,
        mut progress: impl FnMut(restore::Progress),
    ) -> Result<Self> {
        let found = Found::find_both(repository, &sources, stop)?;
        let points = [found[0].open(stop, &mut progress)?, found[1].open(stop, &mut progress)?];
        let side = |index: usize| {
            let (found, map): (&Found, &PointMap) = (&found[index], points[index].map());
            Side {
                session: found.header().session.to_string(),
                time: time::to_text(found.point().time),
                bytes: map.length(),
                unreadable_bytes: map.unreadable_bytes(),
            }
        };
        let sectors = [&found[0], &found[1]].map(|found| found.header().geometry.sector_size());
        Ok(Self {
            volume: found[0].header().volume.to_string(),
            sides: [side(0), side(1)],
            is_one_session: found[0].header().session == found[1].header().session,
            sector: sectors.into_iter().min().unwrap_or(1).into(),
            points,
        })
    }

    /// What may differ, from the maps alone.
    ///
    /// # Errors
    /// What keeps a kept map from being read.
    pub fn by_place(&self) -> Result<Report> {
        Ok(self.report(false, self.changed()?))
    }

    /// What differs, in whole sectors: reads both points where they may differ.
    ///
    /// # Errors
    /// Damage of what is read, or [`crate::error::Error::Stopped`].
    pub fn by_content(
        &self,
        stop: &StopFlag,
        mut progress: impl FnMut(Progress),
    ) -> Result<Report> {
        let maybe = self.changed()?;
        let total = maybe.iter().map(|range| range.end - range.start).sum();
        let (mut done, mut changed) = (0, Vec::new());
        let mut bytes = [Vec::new(), Vec::new()];
        for range in maybe {
            let mut at = range.start;
            while at < range.end {
                if stop.is_set() {
                    return Err(crate::error::Error::Stopped);
                }
                let end = range.end.min(at + STEP_BYTES);
                for (point, bytes) in self.points.iter().zip(&mut bytes) {
                    bytes.resize(usize::try_from(end - at).unwrap_or(usize::MAX), 0);
                    point.read(at, bytes)?;
                }
                self.compare(at, &bytes, &mut changed);
                done += end - at;
                progress(Progress { done, total });
                at = end;
            }
        }
        Ok(self.report(true, changed))
    }

    /// Adds the sectors that differ.
    fn compare(&self, at: u64, [one, other]: &[Vec<u8>; 2], changed: &mut Vec<Range<u64>>) {
        let shorter = self.shorter();
        let sector = usize::try_from(self.sector).unwrap_or(usize::MAX);
        for (index, (one, other)) in (0..).zip(one.chunks(sector).zip(other.chunks(sector))) {
            let start = at + index * self.sector;
            if one != other || start >= shorter {
                append(changed, start..start + one.len() as u64);
            }
        }
    }

    fn shorter(&self) -> u64 {
        self.points[0].map().length().min(self.points[1].map().length())
    }

    /// The ranges that may differ.
    fn changed(&self) -> Result<Vec<Range<u64>>> {
        let [one, other] = [0, 1].map(|index| self.points[index].map());
        let shorter = self.shorter();
        let mut changed = Vec::new();
        for page in 0.. {
            let window = one.window(page);
            if window.start >= shorter {
                break;
            }
            if !one.shares_page(other, page) {
                self.add_changed(window.start..window.end.min(shorter), &mut changed)?;
            }
        }
        let longer = one.length().max(other.length());
        append(&mut changed, shorter..longer);
        Ok(changed)
    }

    /// Adds the ranges of a part of both images that may differ.
    fn add_changed(&self, of: Range<u64>, changed: &mut Vec<Range<u64>>) -> Result<()> {
        let [mut left, mut right] =
            [0, 1].map(|index| self.points[index].map().content(of.clone()));
        let (mut a, mut b) = (left.next().transpose()?, right.next().transpose()?);
        while let (Some((in_a, is_a)), Some((in_b, is_b))) = (&a, &b) {
            let part = in_a.start.max(in_b.start)..in_a.end.min(in_b.end);
            if !self.is_same(is_a, is_b) {
                append(changed, part.clone());
            }
            let (a_is_over, b_is_over) = (in_a.end == part.end, in_b.end == part.end);
            if a_is_over {
                a = left.next().transpose()?;
            }
            if b_is_over {
                b = right.next().transpose()?;
            }
        }
        Ok(())
    }

    /// True if equal content is certain.
    fn is_same(&self, one: &Content, other: &Content) -> bool {
        use Content::{Excluded, Stored, Unreadable, Zero};
        match (one, other) {
            (Stored(one), Stored(other)) => self.is_one_session && one == other,
            (Unreadable, Unreadable) | (Zero | Excluded, Zero | Excluded) => true,
            (Stored(_) | Unreadable | Zero | Excluded, _) => false,
        }
    }

    fn report(&self, by_content: bool, changed: Vec<Range<u64>>) -> Report {
        let changed: Vec<_> = changed.into_iter().map(Bytes::from).collect();
        let [from, to] = self.sides.clone();
        Report {
            volume: self.volume.clone(),
            from,
            to,
            by_content,
            changed_bytes: changed.iter().map(|range| range.len).sum(),
            changed,
        }
    }
}
