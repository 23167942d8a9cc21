//! A disk under a fold that breaks its rules.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use snapless_server::format::history::{History, HistoryNumber};
use snapless_server::format::map::{MapNumber, PageRef, Root, Trailer};
use snapless_server::format::segment::SegmentNumber;
use snapless_server::format::session::SessionHeader;
use snapless_server::storage::{OpenMode, Storage, Store};

use super::StoreSabotage;
use super::breached::{self, Breach};
use super::model::Model;
use crate::storage::SimStorage;

/// The storage for a fold that breaks this rule.
pub(super) fn store(storage: &SimStorage, sabotage: Option<StoreSabotage>) -> Store {
    let is_early = sabotage == Some(StoreSabotage::EarlyCollection);
    breached::store(Arc::new(storage.clone()), Broken { is_early, old: Mutex::default() })
}

#[derive(Debug)]
struct Broken {
    is_early: bool,
    /// Of each younger map its file of before.
    old: Mutex<BTreeMap<PathBuf, Vec<u8>>>,
}

fn whole(below: &dyn Storage, path: &Path) -> io::Result<Vec<u8>> {
    let file = below.open(path, OpenMode::Read)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// The session of a folder.
fn session(dir: &Path) -> Option<SessionHeader> {
    [2, 3].into_iter().map(|number| *Model::new(number).header()).find(|header| {
        dir.file_name().is_some_and(|name| name.to_str() == Some(&header.session.to_string()))
    })
}

/// Removes the log before the boundary of a history that is about to get its name.
fn collect_early(below: &dyn Storage, from: &Path, to: &Path) -> io::Result<()> {
    let (Some(dir), Some(name)) = (to.parent(), to.file_name().and_then(|it| it.to_str())) else {
        return Ok(());
    };
    let Some(number) = HistoryNumber::from_file_name(name) else { return Ok(()) };
    let Some(session) = session(dir) else { return Ok(()) };
    let history = History::read(&whole(below, from)?, number, &session);
    let history = history.map_err(|_| io::ErrorKind::InvalidData)?;
    for name in below.list(dir)? {
        let is_kept = |it: SegmentNumber| {
            it >= history.boundary.segment || history.segments.iter().any(|kept| kept.number == it)
        };
        if SegmentNumber::from_file_name(&name).is_some_and(|number| !is_kept(number)) {
            below.remove(&dir.join(name))?;
        }
    }
    below.sync_dir(dir)
}

impl Broken {
    /// The file of a younger map with the pages of before; `None` for any other file.
    fn forgotten(&self, below: &dyn Storage, to: &Path) -> Option<Vec<u8>> {
        let (dir, name) = (to.parent()?, to.file_name()?.to_str()?);
        let (number, history) = MapNumber::parse(name)?;
        let session = session(dir)?;
        history?;
        let histories = below.list(dir).ok()?;
        // The boundary's map is the first one that a fold writes.
        let mut old = self.old.lock().unwrap_or_else(PoisonError::into_inner);
        old.insert(to.to_owned(), Vec::new());
        let is_first_fold = !histories.iter().any(|it| HistoryNumber::from_file_name(it).is_some());
        if old.len() < 2 || !is_first_fold {
            return None;
        }
        drop(old);
        let root = |file: &[u8]| {
            let (body, trailer) = file.split_last_chunk()?;
            let trailer = Trailer::read(trailer).ok()?;
            Root::read(body.get(usize::try_from(trailer.offset).ok()?..)?, number, &session).ok()
        };
        let mut before = root(&whole(below, &dir.join(number.file_name())).ok()?)?;
        let mut bytes = Vec::new();
        for page in &mut before.image.pages {
            let file = whole(below, &dir.join(page.map.file_name())).ok()?;
            let start = usize::try_from(page.offset).ok()?;
            let offset = bytes.len() as u64;
            bytes.extend(file.get(start..start + page.len as usize)?);
            *page = PageRef { map: number, offset, ..*page };
        }
        let (offset, root) = (bytes.len() as u64, before.to_bytes(&session));
        bytes.extend(&root);
        bytes.extend(Trailer::new(offset, &root).to_bytes());
        Some(bytes)
    }
}

impl Breach for Broken {
    fn rename(&self, below: &dyn Storage, from: &Path, to: &Path) -> io::Result<()> {
        if self.is_early {
            collect_early(below, from, to)?;
        } else if let Some(forgotten) = self.forgotten(below, to) {
            let file = below.open(from, OpenMode::Create)?;
            file.write_at(0, &forgotten)?;
            file.sync()?;
        }
        below.rename(from, to)
    }
}
