//! Checks what a fold has kept, which is the only copy: damage names the retained points that it
//! touches.

use std::collections::{HashMap, HashSet};

use crate::error::{Damage, Error, Result};
use crate::format::map::{Image, MapNumber, PageRef};
use crate::format::segment::SegmentNumber;
use crate::point::read_page;
use crate::reader::{SessionReader, history};
use crate::stop::StopFlag;
use crate::time;

/// So many points are named in a finding; the others are counted.
const NAMED_MAX: usize = 8;

/// The retained points and the boundary of a folded session, each with its pages.
#[derive(Debug)]
pub(crate) struct Touched<'a> {
    reader: &'a SessionReader,
    points: Vec<(String, Image)>,
}

/// Checks the histories of a session, the roots of the newest one and all their pages; gives
/// `found` each damage.
///
/// # Errors
/// [`Error::Stopped`], or the error of `found`.
pub(crate) fn check<'a>(
    reader: &'a SessionReader,
    stop: &StopFlag,
    mut found: impl FnMut(Error) -> Result<()>,
) -> Result<Touched<'a>> {
    let mut touched = Touched { reader, points: Vec::new() };
    for number in history::numbers(reader.store(), reader.header())? {
        match history::read(reader.store(), reader.header(), number) {
            Err(error) if !error.is_not_found() => found(error)?,
            _ => {}
        }
    }
    let Some(history) = reader.history() else { return Ok(touched) };
    for (index, point) in history.points.iter().enumerate() {
        let name = time::to_text(point.time());
        match reader.retained_root(index, point) {
            Ok(image) => touched.points.push((name, image)),
            Err(error) => {
                let (offset, len) = (point.root.offset, point.root.len);
                each_part(reader, (offset, len), needed(error, &[&name]), &mut found)?;
            }
        }
    }
    for error in reader.check_parts()? {
        found(error)?;
    }
    let name = time::to_text(history.boundary.place.time());
    match reader.boundary_root() {
        Ok(Some(root)) => touched.points.push((name, root.image)),
        Ok(None) => {}
        Err(error) => found(needed(error, &[&name]))?,
    }
    check_younger(reader, touched.points.last(), stop, &mut found)?;
    for page in 0..touched.page_count() {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        for (at, length) in touched.pages(page) {
            if let Err(error) = read_page(reader, page, &at, length) {
                let with_page = |image: &Image| image.pages.get(index(page)) == Some(&at);
                let error = needed(error.or_gone(), &touched.names(with_page));
                each_part(reader, (at.offset, at.len.into()), error, &mut found)?;
            }
        }
    }
    Ok(touched)
}

/// Checks the pages that only younger maps have in the file of the fold; each is checked where it
/// differs from that of the map before.
fn check_younger(
    reader: &SessionReader,
    boundary: Option<&(String, Image)>,
    stop: &StopFlag,
    found: &mut impl FnMut(Error) -> Result<()>,
) -> Result<()> {
    let mut before = boundary.map_or(Vec::new(), |(_, image)| image.pages.clone());
    for number in reader.maps()? {
        // A root that is damaged is found with its map.
        let Ok(Some(root)) = reader.root(number) else { continue };
        for (page, at) in (0..).zip(&root.image.pages) {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            if at.map == MapNumber::PAGES
                && before.get(index(page)) != Some(at)
                && let Err(error) = read_page(reader, page, at, root.image.length)
            {
                each_part(reader, (at.offset, at.len.into()), error.or_gone(), found)?;
            }
        }
        before = root.image.pages;
    }
    Ok(())
}

/// Damage of bytes of the file of the pages: nothing tells in which of the objects that have them
/// it is.
fn each_part(
    reader: &SessionReader,
    (offset, len): (u64, u64),
    error: Error,
    found: &mut impl FnMut(Error) -> Result<()>,
) -> Result<()> {
    let more: Vec<_> = match &error {
        Error::Damaged { why, .. } if !matches!(why, Damage::Gone) => {
            let more = reader.more_parts(offset, len).into_iter();
            more.map(|path| Error::damaged(&path, 0, why.clone())).collect()
        }
        _ => Vec::new(),
    };
    found(error)?;
    more.into_iter().try_for_each(found)
}

impl Touched<'_> {
    /// Damage of a kept segment, or of the entry of it that begins at a place, with the names of
    /// the points that need it.
    pub(crate) fn name(&self, error: Error, segment: SegmentNumber, entry: Option<u64>) -> Error {
        let mut with_entry = HashSet::new();
        for page in 0..self.page_count() {
            for (at, length) in self.pages(page) {
                let Ok(runs) = read_page(self.reader, page, &at, length) else { continue };
                let needs = |it: &crate::point::runs::Entry| {
                    it.segment == segment && entry.is_none_or(|entry| it.offset == entry)
                };
                if runs.entries.iter().any(needs) {
                    with_entry.insert((page, at));
                }
            }
        }
        let needs = |image: &Image| {
            (0..).zip(&image.pages).any(|(page, at)| with_entry.contains(&(page, *at)))
        };
        needed(error, &self.names(needs))
    }

    fn names(&self, needs: impl Fn(&Image) -> bool) -> Vec<&str> {
        let points = self.points.iter().filter(|(_, image)| needs(image));
        points.map(|(name, _)| name.as_str()).collect()
    }

    fn page_count(&self) -> u64 {
        self.points.iter().map(|(_, image)| image.pages.len()).max().unwrap_or(0) as u64
    }

    /// The different pages at a place of the volume, each with the length of an image that has it:
    /// it ends at the same byte in all of them.
    fn pages(&self, page: u64) -> HashMap<PageRef, u64> {
        let of = self
            .points
            .iter()
            .filter_map(|(_, image)| image.pages.get(index(page)).map(|at| (*at, image.length)));
        of.filter(|(at, _)| at.map == MapNumber::PAGES).collect()
    }
}

/// Damage with the names of the points that need what is damaged.
fn needed(error: Error, points: &[&str]) -> Error {
    match error {
        Error::Damaged { path, offset, why } if !points.is_empty() => {
            let mut named = points[..points.len().min(NAMED_MAX)].join(", ");
            if let Some(more) = points.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
                named = format!("{named} and {more} more");
            }
            Error::damaged(&path, offset, Damage::Needed { why: Box::new(why), points: named })
        }
        other => other,
    }
}

fn index(page: u64) -> usize {
    usize::try_from(page).unwrap_or(usize::MAX)
}
