//! Where a salvage of a folded session begins: with the image of the boundary, or of a retained
//! point, as far as its map and its content can be read.

use std::ops::Range;

use snapless_types::Seq;
use snapless_wire::id::FileTime;

use super::image::Image;
use super::report::Place;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fold::is_after;
use crate::format::history::{Boundary, History, Retained};
use crate::format::map::Root;
use crate::point::{Content, PointMap, PointReader};
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::target::Target;
use crate::timeline::{At, Cut, NotRestorable};

/// Bytes that are read at once.
const STEP_BYTES: u64 = 64 << 10;
/// Bytes that are read at once where some of a step cannot be read.
const SMALL_STEP_BYTES: u64 = 512;

/// Where the salvage begins.
pub(super) struct Begin {
    pub(super) boundary: Boundary,
    /// What the clock showed up to there, as far as it is known.
    pub(super) clock: Clock,
    pub(super) gap_since: Option<FileTime>,
    /// The retained point that is asked for: nothing of the stream belongs to it.
    pub(super) point: Option<Retained>,
    /// `None` if the map cannot be read.
    image: Option<PointReader>,
    /// Why not.
    pub(super) damage: Vec<Error>,
}

impl Begin {
    /// `None` if the session was never folded.
    ///
    /// # Errors
    /// [`Error::NotRestorable`] for a point that was folded away, or what keeps the files from
    /// being read, but for damage.
    pub(super) fn find(reader: &SessionReader, at: At) -> Result<Option<Self>> {
        let Some(history) = reader.history() else { return Ok(None) };
        let mut damage = Vec::new();
        let root = sound(reader.boundary_root(), &mut damage)?.flatten();
        let timeline = root.as_ref().map(|root| root.state.timeline());
        let instant = |time| timeline.map(|timeline| timeline.instant_of(time));
        let is_before = match at {
            At::Latest => false,
            At::T0 => true,
            At::Time(time) => match instant(time) {
                Some(instant) => instant < history.boundary.place.at,
                None => time < history.boundary.place.time(),
            },
            At::Exact { cut, .. } => !is_after(history, cut),
        };
        let point = if is_before { Some(find_point(reader, history, at)?) } else { None };
        let clock = timeline.map_or_else(Clock::default, |timeline| timeline.clock().clone());
        let gap = timeline.and_then(|timeline| timeline.open_gap_now());
        let gap_since = gap.map(|gap| gap.begin.time()).filter(|_| point.is_none());
        let map = match point {
            Some(point) => {
                let stop = StopFlag::default();
                let built = PointMap::build(reader, point.cut, Seq::new(0), &stop, |_, _| {});
                sound(built, &mut damage)?
            }
            None => root.map(|root: Root| PointMap::of_root(reader, root)).transpose()?,
        };
        let image = map.map(|map| PointReader::new(reader.clone(), map));
        let boundary = history.boundary;
        Ok(Some(Self { boundary, clock, gap_since, point, image, damage }))
    }

    /// When the image is of.
    pub(super) fn time(&self) -> FileTime {
        self.point.map_or(self.boundary.place.time(), |point| point.time())
    }

    /// Bytes of the image, if its map can be read.
    pub(super) fn length(&self) -> Option<u64> {
        self.image.as_ref().map(|image| image.map().length())
    }

    /// Records of which it is made.
    pub(super) fn records(&self) -> u64 {
        self.image.as_ref().map_or(0, |image| image.map().records())
    }

    /// Writes what can be read; returns the damage of the rest.
    pub(super) fn apply(
        &self,
        image: &mut Image<'_, impl Target>,
        stop: &StopFlag,
    ) -> Result<Vec<Place>> {
        let mut damage = Vec::new();
        let Some(from) = &self.image else { return Ok(damage) };
        for page in 0.. {
            let window = from.map().window(page);
            if window.is_empty() {
                break;
            }
            for part in from.map().content(window) {
                if stop.is_set() {
                    return Err(Error::Stopped);
                }
                match part {
                    Ok((part, Content::Zero | Content::Excluded)) => image.zero(&part, false)?,
                    Ok((part, Content::Unreadable)) => image.zero(&part, true)?,
                    Ok((part, Content::Stored(_))) => {
                        copy(from, &part, STEP_BYTES, image, &mut damage)?;
                    }
                    Err(error) => note(error, &mut damage)?,
                }
            }
        }
        Ok(damage)
    }
}

/// Copies a stored part, in steps of so many bytes; smaller ones where one cannot be read.
fn copy(
    from: &PointReader,
    part: &Range<u64>,
    step: u64,
    image: &mut Image<'_, impl Target>,
    damage: &mut Vec<Place>,
) -> Result<()> {
    let mut at = part.start;
    while at < part.end {
        let end = ((at / step + 1) * step).min(part.end);
        let mut bytes = vec![0; usize::try_from(end - at).unwrap_or(usize::MAX)];
        match from.read(at, &mut bytes) {
            Ok(()) => image.write(at, &bytes)?,
            Err(error) if step > SMALL_STEP_BYTES && end - at > SMALL_STEP_BYTES => {
                if !matches!(error, Error::Damaged { .. }) {
                    return Err(error);
                }
                copy(from, &(at..end), SMALL_STEP_BYTES, image, damage)?;
            }
            Err(error) => note(error, damage)?,
        }
        at = end;
    }
    Ok(())
}

/// Notes damage once; any other error ends the salvage.
fn note(error: Error, damage: &mut Vec<Place>) -> Result<()> {
    let Error::Damaged { path, offset, why } = error else { return Err(error) };
    let place = Place { file: path.into(), offset, error: why.to_string() };
    if damage.last() != Some(&place) {
        damage.push(place);
    }
    Ok(())
}

/// The retained point that is asked for.
fn find_point(reader: &SessionReader, history: &History, at: At) -> Result<Retained> {
    let (found, time) = match at {
        At::T0 => (history.point(Cut::Base), history.boundary.place.time()),
        At::Time(time) => (history.points.iter().rev().find(|it| it.time() == time), time),
        At::Exact { time, cut } => (history.point(cut), time),
        At::Latest => (None, history.boundary.place.time()),
    };
    let why = || NotRestorable::Folded {
        at: time,
        before: history.points.iter().rev().map(Retained::time).find(|it| *it < time),
        after: history.points.iter().map(Retained::time).find(|it| *it > time),
        boundary: history.boundary.place.time(),
    };
    let session = reader.header().session;
    found.copied().ok_or_else(|| Error::NotRestorable { session, why: why(), other: None })
}

/// What is sound; damage is kept, any other error ends the salvage.
fn sound<T>(found: Result<T>, damage: &mut Vec<Error>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error @ Error::Damaged { .. }) => {
            damage.push(error);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
