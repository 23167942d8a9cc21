//! Files of a session that nothing refers to after a fold, and their removal.

use serde::Serialize;

use super::{files, lock};
use crate::error::{Error, Result};
use crate::format::history::HistoryNumber;
use crate::format::map::MapNumber;
use crate::format::segment::SegmentNumber;
use crate::reader::SessionReader;
use crate::stop::StopFlag;

/// A file that nothing refers to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Garbage {
    /// Its name in the session's folder.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Why nothing refers to it.
    pub why: &'static str,
}

/// What was collected.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct CollectReport {
    /// The files that were removed.
    pub removed: Vec<Garbage>,
    /// Their bytes.
    pub bytes: u64,
    /// True if nothing was removed because the session is being read.
    pub is_pinned: bool,
}

/// The order of removal. Whatever part of it was done when the machine stops, what is left is
/// garbage or referred to; the histories that were replaced go last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    Map,
    Pages,
    Unfinished,
    Compacted,
    Index,
    Segment,
    History,
}

/// Files of the session that nothing refers to, in the order of deletion.
///
/// # Errors
/// Damage of a newer history than the reader's: what it refers to is not known.
pub fn garbage(reader: &SessionReader) -> Result<Vec<Garbage>> {
    files::check_newer(reader)?;
    let (store, dir) = (reader.store(), reader.dir());
    let mut found = store
        .list(dir, |name| judge(reader, name).map(|(turn, why)| (turn, name.to_owned(), why)))?;
    found.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
    let mut garbage = Vec::new();
    for (_, name, why) in found {
        if let Some(bytes) = store.len_of(&dir.join(&name))? {
            garbage.push(Garbage { name, bytes, why });
        }
    }
    Ok(garbage)
}

/// Removes the garbage of a session, unless `is_pinned` says that it is being read. A reader holds
/// its pin before it looks for the newest history, and this asks after that history was published:
/// so nothing goes that a reader still needs.
///
/// # Errors
/// As for [`garbage`]; [`Error::FoldRuns`], what `is_pinned` returns, [`Error::Stopped`], or a
/// failure to remove a file.
pub fn collect(
    reader: &SessionReader,
    is_pinned: impl FnOnce() -> Result<bool>,
    stop: &StopFlag,
) -> Result<CollectReport> {
    let _lock = lock(reader)?;
    if is_pinned()? {
        return Ok(CollectReport { is_pinned: true, ..CollectReport::default() });
    }
    // The newest history, once more.
    let reader = &SessionReader::open(reader.store(), *reader.header())?;
    let mut report = CollectReport::default();
    for garbage in garbage(reader)? {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        reader.store().remove(&reader.dir().join(&garbage.name))?;
        report.bytes += garbage.bytes;
        report.removed.push(garbage);
    }
    if !report.removed.is_empty() {
        reader.store().sync_dir(reader.dir())?;
    }
    Ok(report)
}

/// Whether a file is garbage: when it goes, and why.
fn judge(reader: &SessionReader, name: &str) -> Option<(Turn, &'static str)> {
    let history = reader.history();
    let number = history.map(|history| history.number);
    let names = |segment: SegmentNumber| {
        history.is_some_and(|it| it.segments.iter().any(|kept| kept.number == segment))
    };
    let is_before = |segment: SegmentNumber| segment < reader.begin_place().0;
    if let Some((_, of)) = MapNumber::parse(name) {
        return (of != number).then_some((Turn::Map, "a map of another history"));
    }
    if let Some(of) = HistoryNumber::from_pages_name(name) {
        return (Some(of) != number).then_some((Turn::Pages, "pages of another history"));
    }
    if let Some(segment) = SegmentNumber::from_compacted_name(name) {
        let why = "no retained point needs it";
        return (!names(segment)).then_some((Turn::Compacted, why));
    }
    if let Some(segment) = SegmentNumber::from_index_name(name) {
        return is_before(segment).then_some((Turn::Index, "it is before the boundary"));
    }
    if let Some(segment) = SegmentNumber::from_file_name(name) {
        let is_garbage = is_before(segment) && !names(segment);
        return is_garbage.then_some((Turn::Segment, "it is before the boundary"));
    }
    if let Some(of) = HistoryNumber::from_file_name(name) {
        return (Some(of) < number).then_some((Turn::History, "a newer one replaced it"));
    }
    let unfinished = name.strip_suffix(".new")?;
    let of_map = MapNumber::parse(&format!("{unfinished}.slmap"));
    let is_unfinished = unfinished.starts_with("pages-")
        || unfinished.starts_with("history-")
        || of_map.is_some_and(|(_, of)| of != number);
    is_unfinished.then_some((Turn::Unfinished, "a fold did not end"))
}
