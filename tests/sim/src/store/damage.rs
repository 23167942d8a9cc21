//! What must hold of a store in which one file was damaged: `verify` names the file, no byte that
//! is restored is wrong, and what a salvage does not list is right.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use snapless_server::error::Error;
use snapless_server::fold::{FOLD_LOCK, garbage};
use snapless_server::format::acknowledged::{ACKNOWLEDGED_FILE, SLOT_LEN};
use snapless_server::format::claim::Claim;
use snapless_server::format::history::HistoryNumber;
use snapless_server::format::map::MapNumber;
use snapless_server::format::pin::PINS_DIR;
use snapless_server::format::repository::{LOCK_FILE, REPOSITORY_FILE};
use snapless_server::format::sealed::SEALED_MAGIC;
use snapless_server::format::sealing::{COPY_STRIDE, SEALING_LEN};
use snapless_server::format::segment::{SEGMENT_HEADER_LEN, SegmentNumber};
use snapless_server::format::session::SESSION_FILE;
use snapless_server::format::sessions::{ENTRY_LEN, SESSIONS_DIR, SESSIONS_FILE};
use snapless_server::format::slots::SLOT_STRIDE;
use snapless_server::format::state::STATE_FILE;
use snapless_server::format::watermark::WATERMARK_FILE;
use snapless_server::reader::SessionReader;
use snapless_server::repository::Repository;
use snapless_server::restore::Source;
use snapless_server::salvage::{Report, salvage_to};
use snapless_server::stop::StopFlag;
use snapless_server::storage::lease::lease_of;
use snapless_server::timeline::At;
use snapless_server::verify::verify;

use super::StoreSabotage;
use super::check::image;
use super::model::{Model, VOLUME};
use super::world::{World, go_back};
use crate::rng::Rng;
use crate::storage::Disk;

/// Bytes that a misdirected write puts into another file.
const MISDIRECTED: usize = 512;

/// One damaged file.
#[derive(Clone, Debug)]
pub struct Damaged {
    path: PathBuf,
    kind: Kind,
    content: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// A bit of this byte was flipped.
    Flip(usize),
    /// What belongs into another file was written from this byte on.
    Foreign(usize),
    /// The same map of another history is in its place. If it names what is there still, it is as
    /// good as this one.
    OtherHistory,
    /// The file is as it was earlier.
    Older,
    /// The file ends after so many bytes.
    Short(usize),
    /// The file was removed.
    Gone,
}

/// What a file is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    /// The stream, or what is needed to find it.
    Needed,
    /// What says what a fold has kept. One that is gone is not missed: a fold may not have ended.
    History,
    /// What nothing refers to.
    Garbage,
    /// The newest segment of a bucket, which tells the acknowledged end. One that is gone is not
    /// missed: the end is then that of the one before.
    Newest,
    /// The acknowledged end.
    End,
    /// What the stream says as well.
    Derived,
    /// The same, and it is written without a sync: what is wrong in it is no damage.
    Unsynced,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged: {:?}", self.path.display(), self.kind)
    }
}

/// Every file of a disk that is asked for, damaged in every way; `earlier` are disks from before.
pub fn each(disk: &Disk, earlier: &[Disk], is_asked: impl Fn(&Path) -> bool) -> Vec<Damaged> {
    let mut found = Vec::new();
    let paths = files(disk);
    let asked = paths.iter().zip(paths.iter().cycle().skip(1));
    for (path, other) in asked.filter(|(path, _)| is_asked(path)) {
        let len = disk.read(path).len();
        for byte in [0, 9, 17, 40, len / 3, len / 2, len - len / 5, len.saturating_sub(1)] {
            found.extend(flip(disk, path, byte));
        }
        found.extend(misdirect(disk, path, other, len / 2, MISDIRECTED));
        found.extend(misdirect(disk, path, other, 0, usize::MAX));
        found.extend(ends(disk.read(path)).into_iter().filter_map(|end| cut(disk, path, end)));
        let older = |earlier: &&Disk| {
            let before = earlier.read(path);
            !before.is_empty() && before != disk.read(path)
        };
        for disk in [earlier.iter().find(older), earlier.iter().rfind(older)].into_iter().flatten()
        {
            let content = Some(disk.read(path).to_vec());
            found.push(Damaged { path: path.clone(), kind: Kind::Older, content });
        }
        found.push(Damaged { path: path.clone(), kind: Kind::Gone, content: None });
    }
    found
}

/// Any file of a disk, damaged in any way.
pub fn any(disk: &Disk, rng: &mut Rng) -> Option<Damaged> {
    let paths = files(disk);
    if paths.is_empty() {
        return None;
    }
    let [path, other] = [0; 2].map(|_| &paths[rng.index(paths.len())]);
    let byte = rng.index(disk.read(path).len().max(1));
    match rng.below(9) {
        0 => Some(Damaged { path: path.clone(), kind: Kind::Gone, content: None }),
        3 => {
            let ends = ends(disk.read(path));
            cut(disk, path, ends[rng.index(ends.len())])
        }
        1 => misdirect(disk, path, other, 0, usize::MAX),
        2 => misdirect(disk, path, other, byte, MISDIRECTED),
        _ => flip(disk, path, byte),
    }
}

fn files(disk: &Disk) -> Vec<PathBuf> {
    let is_used = |path: &PathBuf| {
        let is_lock = path == Path::new(LOCK_FILE) || path.ends_with(FOLD_LOCK);
        // Of a lease the name counts.
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_lock = is_lock || path.starts_with(PINS_DIR) || lease_of(name).is_some();
        !is_lock && path.extension().is_none_or(|extension| extension != "new")
    };
    disk.paths().into_iter().filter(is_used).collect()
}

fn flip(disk: &Disk, path: &Path, byte: usize) -> Option<Damaged> {
    let mut content = disk.read(path).to_vec();
    *content.get_mut(byte)? ^= 1 << (byte % 8);
    Some(Damaged { path: path.to_owned(), kind: Kind::Flip(byte), content: Some(content) })
}

/// Where a file is cut off: in front of each entry of a segment, where nothing in the file tells,
/// and at some other places.
fn ends(content: &[u8]) -> Vec<usize> {
    let is_entry = |at: &usize| {
        let rest = &content[*at..];
        rest.starts_with(b"SLFR") || rest.starts_with(&SEALED_MAGIC[..])
    };
    let others = [0, content.len() / 2, content.len().saturating_sub(1)];
    (0..content.len()).filter(is_entry).chain(others).collect()
}

/// The file ends after so many bytes.
fn cut(disk: &Disk, path: &Path, end: usize) -> Option<Damaged> {
    let content = disk.read(path);
    let left = content.get(..end).filter(|left| left.len() < content.len())?.to_vec();
    Some(Damaged { path: path.to_owned(), kind: Kind::Short(end), content: Some(left) })
}

/// What belongs into another file is written into this one, or instead of it.
fn misdirect(disk: &Disk, path: &Path, other: &Path, byte: usize, most: usize) -> Option<Damaged> {
    let map = |path: &Path| MapNumber::parse(path.file_name()?.to_str()?).map(|it| it.0);
    let (mut content, foreign) = (disk.read(path).to_vec(), disk.read(other));
    if most == usize::MAX {
        content = foreign.to_vec();
    } else {
        let len = most.min(foreign.len()).min(content.len().checked_sub(byte)?);
        content[byte..byte + len].copy_from_slice(&foreign[..len]);
    }
    let is_damaged = content != disk.read(path) && !content.is_empty();
    let is_same_map = most == usize::MAX && map(path).is_some() && map(path) == map(other);
    let kind = if is_same_map { Kind::OtherHistory } else { Kind::Foreign(byte) };
    is_damaged.then(|| Damaged { path: path.to_owned(), kind, content: Some(content) })
}

/// Checks the store with the damaged file.
///
/// # Errors
/// What is not as it must be.
pub fn check(damaged: &Damaged, disk: &Disk, of: &World) -> Result<u64, String> {
    let models = of.models();
    let mut role = role(disk, of, &damaged.path);
    let mut broken = disk.clone();
    match &damaged.content {
        Some(content) => broken.damage(&damaged.path, content.clone()),
        None => broken.lose(&damaged.path),
    }
    // What it hides is not to be missed for itself.
    let is_short = matches!(damaged.kind, Kind::Short(_)) && !is_index(&damaged.path);
    let sabotage = of.sabotage().filter(|it| *it == StoreSabotage::UntoldEnd && is_short);
    let mut world = World::on(broken, models.clone(), of.current(), of.keeping().clone(), sabotage);
    let site = world.site();
    let is_of_repository = damaged.path == Path::new(REPOSITORY_FILE);
    let repository = match site.open() {
        // One of the two copies of the header is sound.
        Ok(repository) if is_of_repository && site.is_sealed() => {
            role = Role::Derived;
            named(&repository, damaged, role, disk, of)?;
            repository
        }
        Ok(_) if is_of_repository && damaged.kind != Kind::Older => {
            return Err("the repository's damaged header is not noticed".to_owned());
        }
        Ok(repository) => repository,
        Err(Error::NotARepository(_)) if is_of_repository && damaged.kind == Kind::Gone => {
            Repository::to_salvage_in(site.store().clone())
        }
        Err(error) if is_of_repository && error.to_string().contains(REPOSITORY_FILE) => {
            Repository::to_salvage_in(site.store().clone())
        }
        Err(error) => return Err(format!("the repository cannot be opened: {error}")),
    };
    if !is_of_repository {
        named(&repository, damaged, role, disk, of)?;
    }
    let mut points = 0;
    for model in &models {
        points += restores(&repository, model, damaged, role)?;
        if !is_earlier_end(damaged, role) || role == Role::End {
            salvages(&repository, model, damaged, role, disk, of)?;
        }
    }
    if is_of_repository {
        return Ok(points);
    }
    // The server starts, and puts the session aside or goes on.
    let opened = world.open_all();
    let must_open = match role {
        Role::Derived | Role::Unsynced | Role::Garbage => true,
        // The epoch whose end was in the slot is in the stream.
        Role::End => matches!(damaged.kind, Kind::Flip(_)),
        Role::Needed | Role::History | Role::Newest => false,
    };
    match opened {
        Err(error) if must_open => Err(format!("the server does not go on: {error}")),
        Err(_) => Ok(points),
        Ok(()) if damaged.path.ends_with(SESSIONS_FILE) => Ok(points),
        Ok(()) => {
            let went_on = world.go_on();
            let repository = site.open().map_err(|error| error.to_string())?;
            match went_on {
                Err(error) if must_open => return Err(error),
                // The epoch may be there all the same.
                Err(_) => learn_ends(&repository, &mut world),
                Ok(()) => {}
            }
            for model in &world.models() {
                points += restores(&repository, model, damaged, role)?;
            }
            Ok(points)
        }
    }
}

/// The drivers learn what the server has. An end that is earlier than what was acknowledged tells
/// them nothing.
fn learn_ends(repository: &Repository, world: &mut World) {
    let mut models = world.models();
    for model in &mut models {
        if let Ok(reader) = SessionReader::open(repository.store(), *model.header()) {
            let end = reader.acknowledged();
            _ = go_back(model, end.epoch.get(), end.seq.get());
        }
    }
    world.set_models(models);
}

fn role(disk: &Disk, of: &World, path: &Path) -> Role {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_of =
        |model: &&Model| path.to_string_lossy().contains(&model.header().session.to_string());
    if let Some(model) = of.models().iter().find(is_of).filter(|it| !it.is_unfolded()) {
        let world = World::on(disk.clone(), Vec::new(), 0, of.keeping().clone(), None);
        let repository = world.site().open();
        let reader = repository.and_then(|it| SessionReader::open(it.store(), *model.header()));
        let left = reader.as_ref().map_or(Vec::new(), |it| garbage(it).unwrap_or_default());
        if left.iter().any(|garbage| garbage.name == name) {
            return Role::Garbage;
        }
        let history = reader.as_ref().ok().and_then(SessionReader::history);
        if HistoryNumber::from_file_name(name).is_some() {
            return Role::History;
        }
        if let (Some(history), Some((number, _))) = (history, MapNumber::parse(name)) {
            let is_boundary = MapNumber::of(history.boundary.place.seq) == number;
            return if is_boundary { Role::Needed } else { Role::Derived };
        }
    }
    if of.keeping().is_in_objects() && HistoryNumber::from_file_name(name).is_some() {
        return Role::History;
    }
    if of.keeping().is_in_objects()
        && let Some(number) = SegmentNumber::from_file_name(name)
    {
        let is_newest = !disk.has(&path.with_file_name(number.next().file_name()));
        return match is_newest {
            true => Role::Newest,
            false if is_void(disk, path, number) => Role::Garbage,
            false => Role::Needed,
        };
    }
    if let Some(number) = SegmentNumber::from_index_name(name) {
        // A server may be writing that of the last segment.
        let next = path.with_file_name(number.next().file_name());
        return if disk.has(&next) { Role::Derived } else { Role::Unsynced };
    }
    let is_derived = [STATE_FILE, SESSIONS_FILE].contains(&name);
    match name {
        ACKNOWLEDGED_FILE => Role::End,
        // Its name says it all.
        _ if path.starts_with(SESSIONS_DIR) => Role::Derived,
        WATERMARK_FILE => Role::Unsynced,
        _ if is_derived || MapNumber::from_file_name(name).is_some() => Role::Derived,
        _ => Role::Needed,
    }
}

/// True for the index of a segment.
fn is_index(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| SegmentNumber::from_index_name(name).is_some())
}

/// True if a takeover has made the segment void.
fn is_void(disk: &Disk, path: &Path, number: SegmentNumber) -> bool {
    let file = |number: SegmentNumber| path.with_file_name(number.file_name());
    let behind = (number.0..).map(SegmentNumber).skip(1);
    behind.take_while(|it| disk.has(&file(*it))).any(|it| {
        let claim = disk.read(&file(it)).get(SEGMENT_HEADER_LEN..);
        let claim = claim.and_then(|bytes| bytes.first_chunk());
        let claim = claim.and_then(|claim| Claim::read(claim, it).ok());
        claim.is_some_and(|claim| claim.void_from.0 > 0 && claim.void_from <= number)
    })
}

/// `verify` names the file, if what is damaged in it means anything.
fn named(
    repository: &Repository,
    damaged: &Damaged,
    role: Role,
    disk: &Disk,
    of: &World,
) -> Result<(), String> {
    let report = verify(repository, &StopFlag::default(), |_| ());
    let mut report = report.map_err(|error| format!("verify fails: {error}"))?;
    if of.sabotage() == Some(StoreSabotage::OneName) {
        report.damage.truncate(1);
    }
    let path = repository.store().locate(&damaged.path);
    let is_named = report.damage.iter().any(|found| found.file.0 == path);
    let must_be_named = match (damaged.kind, role) {
        (_, Role::Unsynced | Role::Garbage) | (Kind::Older | Kind::OtherHistory, _) => false,
        (Kind::Flip(_) | Kind::Foreign(_), _) if damaged.path == Path::new(SESSIONS_FILE) => {
            // A session of which nothing was acknowledged may be missing from the list.
            let is_acknowledged = |model: &&Model| model.counts().0 > 0;
            let last = disk.read(&damaged.path).rchunks(ENTRY_LEN).next().unwrap_or_default();
            of.models().iter().filter(is_acknowledged).any(|model| {
                let session = model.header().session.0;
                last.windows(session.len()).any(|bytes| bytes == session)
            })
        }
        (Kind::Gone, _) => matches!(role, Role::Needed | Role::End),
        // Between its copies are bytes that are not read.
        (_, Role::Derived) if damaged.path == Path::new(REPOSITORY_FILE) => {
            let copies = |file: &[u8]| {
                [0, COPY_STRIDE].map(|at| file.get(at..at + SEALING_LEN).map(<[u8]>::to_vec))
            };
            copies(damaged.content.as_deref().unwrap_or_default())
                != copies(disk.read(&damaged.path))
        }
        (Kind::Flip(byte), Role::End) => byte % SLOT_STRIDE < SLOT_LEN,
        (Kind::Foreign(_), Role::End) => {
            let slots = |content: &[u8]| -> Vec<u8> {
                content
                    .chunks(SLOT_STRIDE)
                    .flat_map(|it| it[..it.len().min(SLOT_LEN)].to_vec())
                    .collect()
            };
            let content = damaged.content.as_deref().unwrap_or_default();
            slots(content) != slots(disk.read(&damaged.path))
        }
        (Kind::Short(end), Role::End) => end < SLOT_STRIDE + SLOT_LEN,
        // It is whole up to the end of a chunk, or of an entry.
        (Kind::Short(_), Role::Derived) => {
            !is_index(&damaged.path) && damaged.path != Path::new(SESSIONS_FILE)
        }
        (Kind::Flip(_) | Kind::Foreign(_) | Kind::Short(_), _) => true,
    };
    if is_named || !must_be_named {
        return Ok(());
    }
    let found: Vec<_> = report.damage.iter().map(|it| it.file.0.display().to_string()).collect();
    Err(format!("verify does not name the damaged file, but {found:?}"))
}

/// A point restores to what the volume held, or not at all.
fn restores(
    repository: &Repository,
    model: &Model,
    damaged: &Damaged,
    role: Role,
) -> Result<u64, String> {
    let (epochs, _) = model.counts();
    if !model.is_whole(epochs) {
        return Ok(0);
    }
    let t0 = model.t0();
    let latest = model.latest(epochs).unwrap_or_default();
    let instants = model.instants(epochs);
    let firm = instants.iter().filter(|instant| instant.is_firm());
    let wanted = firm.map(|instant| (At::Time(instant.time), &instant.image[..]));
    let t0 = model.t0_is_kept().then_some((At::T0, &t0[..]));
    let wanted = wanted.chain(t0).chain([(At::Latest, latest)]);
    let is_ambiguous = |at| matches!(at, At::Time(time) if model.is_ambiguous(time));
    let mut points = 0;
    for (at, want) in wanted {
        match image(repository, model, at) {
            Ok(found) if found == want => points += 1,
            Ok(found) if is_earlier_end(damaged, role) && of_earlier_end(model, at, &found) => {}
            // Of a time that the clock showed before and after the damage, the first is known.
            Ok(_) if role == Role::Needed && is_ambiguous(at) => {}
            Ok(_) => return Err(format!("{at:?} restores to wrong bytes")),
            Err(error) if matches!(role, Role::Derived | Role::Unsynced | Role::Garbage) => {
                return Err(format!(
                    "{at:?} does not restore without {}: {error}",
                    damaged.path.display()
                ));
            }
            Err(_) => {}
        }
    }
    Ok(points)
}

/// True if the stream may seem to end earlier.
fn is_earlier_end(damaged: &Damaged, role: Role) -> bool {
    role == Role::End || role == Role::Newest && damaged.kind == Kind::Gone
}

/// True if a stream with an earlier end may give these bytes.
fn of_earlier_end(model: &Model, at: At, found: &[u8]) -> bool {
    match at {
        // It has an earlier last point.
        At::Latest => model.was(found),
        // It may not have the step of the clock after which that showed this time.
        At::Time(time) => model.is_end_of_run(time, found),
        _ => false,
    }
}

/// What a report lists.
fn told(report: &Report) -> String {
    let Report { damage, lost, missing, doubtful, unsure_after, .. } = report;
    let damage: Vec<_> = damage.iter().map(|it| (it.file.file_name(), &it.error)).collect();
    format!("{damage:?}, {lost:?}, missing {missing:?}, {doubtful:?}, after {unsure_after:?}")
}

/// True if there is a map in the folder of this file.
fn has_maps(disk: &Disk, file: &Path) -> bool {
    let is_map = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.parent() == file.parent() && MapNumber::parse(name).is_some()
    };
    disk.paths().iter().any(is_map)
}

/// What a salvage does not list as missing, doubtful or lost is right.
fn salvages(
    repository: &Repository,
    model: &Model,
    damaged: &Damaged,
    role: Role,
    disk: &Disk,
    of: &World,
) -> Result<(), String> {
    let (epochs, _) = model.counts();
    if !model.is_whole(epochs) || model.is_in_gap(epochs) || damaged.kind == Kind::Older {
        return Ok(());
    }
    let source = Source { volume: VOLUME, session: Some(model.header().session), at: At::Latest };
    let memory = |length, _| Ok(vec![0; usize::try_from(length).unwrap_or(0)]);
    let stop = StopFlag::default();
    let salvaged = salvage_to(repository, &source, Path::new("memory"), memory, &stop, |_| ());
    let (mut report, found): (Report, Vec<u8>) = match salvaged {
        Ok(salvaged) => salvaged,
        Err(Error::NoSession { .. } | Error::NoSessions(_) | Error::NothingToSalvage(_)) => {
            return Ok(());
        }
        Err(error) => return Err(format!("the salvage fails: {error}")),
    };
    if of.sabotage() == Some(StoreSabotage::UnlistedEnd) {
        report.unsure_after = None;
    }
    let want = model.latest(epochs).unwrap_or_default();
    let has_length = !damaged.path.ends_with(SESSION_FILE) || has_maps(disk, &damaged.path);
    if has_length && found.len() != want.len() {
        let (found, want) = (found.len(), want.len());
        return Err(format!("a salvaged image has {found} bytes, and the volume has {want}"));
    }
    let mut listed: Vec<Range<usize>> = Vec::new();
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    for run in report.missing.iter().chain(&report.doubtful) {
        listed.push(index(run.offset)..index(run.offset + run.len));
    }
    for lost in &report.lost {
        listed.extend(model.extents(lost.from, lost.to));
    }
    if let Some(seq) = report.unsure_after.filter(|_| role == Role::Newest) {
        listed.extend(model.extents(seq + 1, u64::MAX));
    }
    let differs = |byte: &usize| found.get(*byte) != want.get(*byte);
    let wrong =
        (0..want.len()).filter(differs).find(|byte| !listed.iter().any(|it| it.contains(byte)));
    match wrong {
        None => Ok(()),
        Some(byte) => Err(format!(
            "byte {byte} of a salvaged image is wrong, and is not listed: {}",
            told(&report)
        )),
    }
}
