//! Files of a session that nothing refers to after a fold, and their removal.

use serde::Serialize;

use super::fence::{self, Fence, Used};
use super::files;
use crate::error::{Error, Result};
use crate::format::fence::FoldFence;
use crate::format::history::HistoryNumber;
use crate::format::map::MapNumber;
use crate::format::segment::SegmentNumber;
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::storage::Removal;
use crate::storage::lease::lease_of;

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
    /// Files that the store did not let be removed: they are garbage still.
    pub refused: u64,
    /// Their bytes.
    pub refused_bytes: u64,
    /// What the store said, of the first of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_refused: Option<String>,
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
    let used = fence::used(reader)?;
    let found = found(reader, used)?;
    Ok(found.into_iter().map(|(_, garbage)| garbage).collect())
}

fn found(reader: &SessionReader, used: Option<Used>) -> Result<Vec<(Turn, Garbage)>> {
    files::check_newer(reader)?;
    let mut found = Vec::new();
    if used.is_some_and(|used| used.last.0 == 0) {
        // Nothing was ever folded: whoever folds objects begins with a number.
        return Ok(found);
    }
    for (name, bytes) in reader.store().list_with_lengths(reader.dir())? {
        if let Some((turn, why)) = judge(reader, used, &name) {
            found.push((turn, Garbage { name, bytes, why }));
        }
    }
    found.sort_by(|one, other| (one.0, &one.1.name).cmp(&(other.0, &other.1.name)));
    Ok(found)
}

/// Removes the garbage of a session, unless `is_pinned` says that it is being read. A reader holds
/// its pin before it looks for the newest history, and this asks after that history was published:
/// so nothing goes that a reader still needs. Among objects it waits a while after that, for
/// readers that hold nothing.
///
/// # Errors
/// As for [`garbage`]; [`Error::FoldRuns`], [`Error::OtherFolds`], what `is_pinned` returns,
/// [`Error::Stopped`], or a failure to remove a file.
pub fn collect(
    reader: &SessionReader,
    is_pinned: impl Fn() -> Result<bool>,
    stop: &StopFlag,
) -> Result<CollectReport> {
    let fence = Fence::take(reader)?;
    if is_pinned()? {
        return Ok(CollectReport { is_pinned: true, ..CollectReport::default() });
    }
    // The newest history, once more.
    let reader = &fence.reopen(reader)?;
    let (store, dir) = (reader.store(), reader.dir());
    if let Some(history) = reader.history().filter(|_| store.objects().is_some()) {
        store.wait_grace(&dir.join(history.number.file_name()), stop)?;
        if is_pinned()? {
            return Ok(CollectReport { is_pinned: true, ..CollectReport::default() });
        }
    }
    let used = fence::used(reader)?.map(Used::by_owner);
    let mut report = CollectReport::default();
    let found = found(reader, used)?;
    for of_turn in found.chunk_by(|one, next| one.0 == next.0) {
        for batch in of_turn.chunks(BATCH) {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            fence.check(reader)?;
            let paths: Vec<_> = batch.iter().map(|(_, it)| dir.join(&it.name)).collect();
            for ((_, garbage), removal) in batch.iter().zip(store.remove_all(&paths)?) {
                report.add(garbage, removal);
            }
        }
    }
    if !report.removed.is_empty() {
        store.sync_dir(dir)?;
    }
    Ok(report)
}

/// Files that are removed before the fence is looked at again.
const BATCH: usize = 1000;

impl CollectReport {
    fn add(&mut self, garbage: &Garbage, removal: Removal) {
        match removal {
            Removal::Removed => {
                self.bytes += garbage.bytes;
                self.removed.push(garbage.clone());
            }
            Removal::Refused(why) => {
                self.refused += 1;
                self.refused_bytes += garbage.bytes;
                self.why_refused.get_or_insert(why);
            }
        }
    }
}

/// Whether a file is garbage: when it goes, and why.
fn judge(reader: &SessionReader, used: Option<Used>, name: &str) -> Option<(Turn, &'static str)> {
    let history = reader.history();
    let number = history.map(|history| history.number);
    let names = |segment: SegmentNumber| {
        history.is_some_and(|it| it.segments.iter().any(|kept| kept.number == segment))
    };
    let is_before = |segment: SegmentNumber| segment < reader.begin_place().0;
    // Another process may be writing those of later numbers.
    let has_ended = |of: HistoryNumber| used.is_none_or(|used| of <= used.ended);
    if let Some((_, of)) = MapNumber::parse(name) {
        let is_garbage = of != number && of.is_none_or(has_ended);
        return is_garbage.then_some((Turn::Map, "a map of another history"));
    }
    if let Some(of) = HistoryNumber::from_pages_name(name) {
        let is_garbage = Some(of) != number && has_ended(of);
        return is_garbage.then_some((Turn::Pages, "pages of another history"));
    }
    if let Some(segment) = SegmentNumber::from_compacted_name(name) {
        let is_garbage =
            !names(segment) && (used.is_none() || has_ended(HistoryNumber::of_compacted(segment)));
        return is_garbage.then_some((Turn::Compacted, "no retained point needs it"));
    }
    if let Some(segment) = SegmentNumber::from_index_name(name) {
        return is_before(segment).then_some((Turn::Index, "it is before the boundary"));
    }
    if let Some(segment) = SegmentNumber::from_file_name(name) {
        let is_garbage = is_before(segment) && !names(segment);
        return is_garbage.then_some((Turn::Segment, "it is before the boundary"));
    }
    if let Some(of) = HistoryNumber::from_file_name(name) {
        // A fence that is newer than the history stays: its number must not come back, or a fold
        // that it keeps from publishing could. Later, what such a fold published would be replaced.
        return (Some(of) < number).then_some((Turn::History, "a newer one replaced it"));
    }
    if used.is_some() {
        let hold = lease_of(name).and_then(FoldFence::of_hold);
        let is_passed = hold.is_some_and(|of| used.is_some_and(|used| of < used.last));
        return is_passed.then_some((Turn::Unfinished, "a fold did not end"));
    }
    let unfinished = name.strip_suffix(".new")?;
    let of_map = MapNumber::parse(&format!("{unfinished}.slmap"));
    let is_unfinished = unfinished.starts_with("pages-")
        || unfinished.starts_with("history-")
        || of_map.is_some_and(|(_, of)| of != number);
    is_unfinished.then_some((Turn::Unfinished, "a fold did not end"))
}
