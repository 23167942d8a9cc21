//! Folds a session's history: of the time before a *boundary* only *retained points* stay; from the
//! boundary on, every instant stays.
//!
//! A fold makes maps of the boundary and of each retained point, copies what they need of segments
//! that are mostly dead into *compacted segments*, in the order of the volume, and writes all maps
//! that remain anew with the new places. The history ([`mod@crate::format::history`]) is written
//! last; it alone publishes. Until then nothing that was there has changed, and after it the log
//! before the boundary is garbage ([`garbage`], [`collect`]).
//!
//! One process folds a session at a time: in a directory by a lock, among objects by a fence
//! (`fold/fence.rs`). There nothing is replaced: each fold has numbers of its own, and whoever does
//! not create the history of the next number has folded in vain.
//!
//! Every byte is checked against its checksum before it is written anew: damage ends a fold and
//! changes nothing. Memory is that of a page of each map, and 24 bytes a page of each map.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::history::{HISTORY_LEN_MAX, History};
use crate::format::segment::SEGMENT_LIMIT_BYTES;
use crate::reader::SessionReader;
use crate::stop::StopFlag;

mod compact;
mod cover;
mod fence;
mod files;
mod images;
mod kept;
mod leftovers;
mod plan;
mod points;
mod rewrite;

pub use fence::FOLD_LOCK;
pub(crate) use kept::check;
pub use leftovers::{CollectReport, Garbage, collect, garbage};
pub use plan::Plan;
pub(crate) use plan::is_after;
use plan::key;
pub use points::{ranges, resolve};

use fence::Fence;
use images::Images;

/// What a fold did.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct FoldReport {
    /// False if the session was folded like this already.
    pub is_new: bool,
    /// Bytes of content that were read and checked.
    pub bytes_read: u64,
    /// Bytes of segments and maps that were written.
    pub bytes_written: u64,
    /// The files that are garbage now.
    pub garbage: Vec<Garbage>,
}

/// Folds a session's history; durable when it returns. Nothing is deleted. A crash at any step
/// leaves the old history or the new one. Tells `progress` how many steps are done, and how many
/// there are.
///
/// # Errors
/// [`Error::CannotFold`] for a boundary that no epoch ends with, or before which the first sync was
/// not complete; [`Error::NotRestorable`] for a point that there is not; damage of what is needed;
/// [`Error::FoldRuns`], [`Error::Stopped`], or a failure to write.
pub fn fold(
    reader: &SessionReader,
    plan: &Plan,
    stop: &StopFlag,
    progress: impl FnMut(u64, u64),
) -> Result<FoldReport> {
    fold_into(reader, plan, SEGMENT_LIMIT_BYTES, stop, progress)
}

/// [`fold`] into compacted segments of at most so many bytes.
///
/// # Errors
/// As for [`fold`].
pub fn fold_into(
    reader: &SessionReader,
    plan: &Plan,
    segment_limit: u64,
    stop: &StopFlag,
    progress: impl FnMut(u64, u64),
) -> Result<FoldReport> {
    let fence = Fence::take(reader)?;
    // The newest history, and what was acknowledged meanwhile.
    let reader = &fence.reopen(reader)?;
    let folded = fold_fenced(reader, &fence, plan, segment_limit, stop, progress);
    match folded {
        // What it read may have gone, with all that it wrote.
        Err(error) if error.is_damage() => Err(fence.check(reader).err().unwrap_or(error)),
        folded => folded,
    }
}

fn fold_fenced(
    reader: &SessionReader,
    fence: &Fence,
    plan: &Plan,
    segment_limit: u64,
    stop: &StopFlag,
    progress: impl FnMut(u64, u64),
) -> Result<FoldReport> {
    if reader.history().is_some_and(|history| is_done(history, plan)) {
        return Ok(FoldReport { garbage: garbage(reader)?, ..FoldReport::default() });
    }
    files::check_newer(reader)?;
    let number = fence.history(reader)?;
    let mut images = Images::gather(reader, plan, number, stop)?;
    let rewritten = rewrite::rewrite(reader, &mut images, number, segment_limit, stop, progress)?;
    let history = files::publish(reader, images, rewritten.kept, rewritten.pages)?;
    let bytes = history.to_bytes(reader.header());
    if bytes.len() as u64 > HISTORY_LEN_MAX {
        let why = "it retains more points than a history has room for: retain fewer";
        return Err(Error::CannotFold { boundary: plan.boundary, why });
    }
    fence.check(reader)?;
    match reader.store().create_once(&reader.dir().join(number.file_name()), bytes) {
        Err(error) if error.is_already_there() => {
            return Err(Error::OtherFolds(reader.header().session));
        }
        created => created?,
    }
    log::info!(
        "session {}: folded up to record {}, {} point(s) retained",
        reader.header().session,
        plan.boundary,
        history.points.len()
    );
    let folded = SessionReader::open(reader.store(), *reader.header())?;
    if folded.history().map(|history| history.number) != Some(number) {
        // This one came too late.
        return Err(Error::OtherFolds(reader.header().session));
    }
    let (bytes_read, bytes_written) = (rewritten.bytes_read, rewritten.bytes_written);
    Ok(FoldReport { is_new: true, bytes_read, bytes_written, garbage: garbage(&folded)? })
}

/// The session's history: its boundary and its retained points; `None` if it was never folded.
///
/// # Errors
/// Damage of all its histories.
pub fn history(reader: &SessionReader) -> Result<Option<History>> {
    crate::reader::history::newest(reader.store(), reader.header())
}

/// True if the history is what the plan says.
fn is_done(history: &History, plan: &Plan) -> bool {
    let of_history: BTreeSet<_> = history.points.iter().map(|it| key(it.cut)).collect();
    let wanted = plan.points.iter().filter(|cut| !is_after(history, **cut));
    let wanted: BTreeSet<_> = wanted.map(|cut| key(*cut)).collect();
    history.boundary.place.seq == plan.boundary && of_history == wanted
}
