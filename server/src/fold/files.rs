//! The files of a fold: their numbers, and the order in which they become durable.

use super::images::{Images, Of};
use super::rewrite::PagesFile;
use crate::error::{Error, Result};
use crate::format::history::{Boundary, History, HistoryNumber, KeptSegment, Retained, RootRef};
use crate::format::map::{MapNumber, Root, page_sum};
use crate::point::keep::write_root;
use crate::reader::SessionReader;
use crate::reader::history::{self, Numbered, root_part};
use crate::timeline::Place;

/// The number of the next history: after all that were used, also by folds that did not end.
pub(super) fn next_history(reader: &SessionReader) -> Result<HistoryNumber> {
    let used = reader.store().list(reader.dir(), |name| {
        let of_map = || MapNumber::parse(name).and_then(|(_, history)| history);
        let of_pages = HistoryNumber::from_pages_name(name).or_else(of_map);
        HistoryNumber::from_file_name(name).or(of_pages)
    })?;
    Ok(used.last().map_or(HistoryNumber(1), |last| last.next()))
}

/// Checks that no history is newer than the reader's: one that is damaged may be put back.
///
/// # Errors
/// The damage of a newer one.
pub(super) fn check_newer(reader: &SessionReader) -> Result<()> {
    let used = reader.history().map_or(HistoryNumber(0), |history| history.number);
    let present = history::numbers(reader.store(), reader.header())?;
    for newer in present.into_iter().filter(|number| *number > used) {
        match history::read(reader.store(), reader.header(), newer)? {
            Numbered::Fence(_) => {}
            // Another fold ended meanwhile.
            Numbered::History(_) => return Err(Error::FoldRuns(reader.header().session)),
        }
    }
    Ok(())
}

/// Makes everything durable that the history refers to, and returns the history.
pub(super) fn publish(
    reader: &SessionReader,
    images: Images,
    segments: Vec<KeptSegment>,
    mut pages: PagesFile,
) -> Result<History> {
    images.remove_staged(reader)?;
    let seal = reader.seal().map(MapNumber::PAGES)?;
    let mut points = Vec::new();
    for (index, map) in images.maps[..images.boundary].iter().enumerate() {
        let Of::Point { cut, at } = map.of else { unreachable!("points are before the boundary") };
        let mut bytes = images.image(index).to_bytes(reader.header());
        seal.seal(root_part(index), &mut bytes, 0)?;
        let sum = page_sum(reader.header(), root_part(index), &bytes);
        let root = RootRef { offset: pages.append(&bytes)?, len: bytes.len() as u64, sum };
        points.push(Retained { cut, at, root });
    }
    pages.sync()?;
    // Its name, and those of the compacted segments.
    reader.store().sync_dir(reader.dir())?;
    let mut boundary = None;
    for (index, map) in images.maps.iter().enumerate() {
        let (checkpoint, state) = match &map.of {
            Of::Point { .. } => continue,
            Of::Boundary { checkpoint, state } => {
                boundary = state.last().map(|place: Place| Boundary {
                    place,
                    segment: checkpoint.segment,
                    offset: checkpoint.offset,
                });
                (*checkpoint, (**state).clone())
            }
            Of::Younger(number) => match reader.root(*number)? {
                Some(root) => (root.checkpoint, root.state),
                None => continue,
            },
        };
        let name = MapNumber::of(checkpoint.seq).file_name_in(Some(pages.number));
        let root = Root { checkpoint, state, image: images.image(index) };
        reader.store().create_once_with(&reader.dir().join(name), |file| {
            write_root(file, 0, reader, &root)
        })?;
    }
    let Some(boundary) = boundary else { unreachable!("the boundary has a map") };
    Ok(History { number: pages.number, boundary, points, segments, pages_len: pages.len })
}
