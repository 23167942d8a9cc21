//! A whole repository that a program has changed, as every command that reads it meets it.
//!
//! An input is a list of changes of a small sound repository: which file, how, where, and the bytes
//! (see [`Change`]). All commands run on it in memory. None panics, none takes memory out of
//! proportion, and a change that no checksum can miss never gives another image.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use snapless_server::diff::Comparison;
use snapless_server::error::{Damage, Error, Result};
use snapless_server::export;
use snapless_server::format::bookmark::{Bookmark, BookmarkName, Making};
use snapless_server::format::export::{EXPORT_FILE, Export, Exported, Origin};
use snapless_server::format::floor::{FLOOR_FILE, FloorHeader};
use snapless_server::format::repository::{REPOSITORY_FILE, RepositoryHeader, session_dir};
use snapless_server::format::session::{SESSION_FILE, SessionHeader};
use snapless_server::format::sessions::SESSIONS_FILE;
use snapless_server::format::state::STATE_FILE;
use snapless_server::list::list;
use snapless_server::points::{self, points};
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::retention::folds::Folds;
use snapless_server::retention::minimum::Minimums;
use snapless_server::retention::policy::{POLICY_FILE, Policies};
use snapless_server::retention::{gc, show::show};
use snapless_server::salvage::salvage_to;
use snapless_server::seal::KeySource;
use snapless_server::stat::stat;
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_types::Seq;
use snapless_wire::id::FileTime;

use super::{Target, repository};
use crate::disk::Files;
use crate::memory::peak_of;

pub(super) const TARGET: Target = Target {
    name: "whole",
    repairs: &[],
    run,
    reached: &["sound", "no repository", "damaged", "no point", "large volume"],
};

/// The pinned files of a small repository that this release reads.
const PINNED: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../server/program/tests/integration/golden");
/// Larger volumes are not played: images and bitmaps of them take longer than the parsers.
const LENGTH_MAX: u64 = 1 << 22;
const BLOCKS_MAX: u64 = 1 << 12;
/// Memory beyond that for the sound repository that a changed one may take, in bytes.
const MORE_MAX: usize = 32 << 20;
/// Most changes of an input.
const CHANGES_MAX: usize = 64;
/// A change of this many bytes in a row is noticed by every checksum, whatever the bytes are.
const NOTICED_LEN: usize = 4;

/// One change: a file's number and what happens, a place in it, a length, and bytes.
struct Change<'a> {
    file: usize,
    what: What,
    at: usize,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Overwrite,
    /// And make the checksum right that ends where the bytes begin to be a structure.
    Seal,
    Cut,
    Remove,
    Replace,
    Insert,
    /// By the content of another file.
    Copy,
    Append,
}

/// A sound repository, and what its commands take.
struct Sound {
    files: Vec<(PathBuf, Arc<[u8]>)>,
    key: KeySource,
    memory: usize,
}

/// A plain one, and one that is compressed and encrypted.
static SOUND: LazyLock<[Sound; 2]> = LazyLock::new(|| {
    [Sound::new("", "quiet", KeySource::None), {
        let key = KeySource::KeyFile(Path::new(PINNED).join("sealed/key"));
        Sound::new("sealed", "sealed", key)
    }]
});

impl Sound {
    /// From the pinned files of a folder, or another one that goes before.
    fn new(folder: &str, before: &str, key: KeySource) -> Self {
        let mut files = BTreeMap::new();
        for folder in [folder, before] {
            let folder = Path::new(PINNED).join(folder);
            for entry in std::fs::read_dir(folder).expect("pinned files") {
                let path = entry.expect("a pinned file").path();
                if path.is_file() {
                    let name = path.file_name().expect("a name").to_owned();
                    files.insert(PathBuf::from(name), std::fs::read(path).expect("its content"));
                }
            }
        }
        files.remove(Path::new("key"));
        files.remove(Path::new("state-1.snapless"));
        if folder.is_empty() {
            // That of the same volume without quiet hours.
            files.remove(Path::new(STATE_FILE));
        }
        let header = SessionHeader::read(&files[Path::new(SESSION_FILE)]).expect("a session");
        let dir = session_dir(header.volume, header.session);
        let of_root = [REPOSITORY_FILE, SESSIONS_FILE];
        let place = |name: PathBuf| {
            if of_root.iter().any(|it| name == Path::new(it)) { name } else { dir.join(name) }
        };
        let mut files: BTreeMap<_, _> =
            files.into_iter().map(|(name, bytes)| (place(name), bytes)).collect();
        let created = FileTime::new(5);
        let plain = || RepositoryHeader { created }.to_bytes().to_vec();
        files.entry(REPOSITORY_FILE.into()).or_insert_with(plain);
        let name = BookmarkName::parse("name").expect("a name");
        let bookmark = Bookmark {
            name: name.clone(),
            volume: header.volume,
            session: header.session,
            created,
            time: header.created,
            cut: Cut::Base,
            keep: None,
            making: Making::default(),
        };
        files.insert(name.file(header.volume), bookmark.to_bytes().to_vec());
        let origin = Origin { created, place: "here".to_owned() };
        let exported =
            Exported { volume: header.volume, session: header.session, seq: Seq::new(6) };
        let export = Export { origin, time: created, sessions: Some(vec![exported]) };
        files.insert(EXPORT_FILE.into(), export.to_bytes());
        files.insert(POLICY_FILE.into(), b"[default]\nkeep_all = \"30d\"\ndaily = 3\n".to_vec());
        let floor = FloorHeader { created, bytes: 1, percent: 5 };
        files.insert(FLOOR_FILE.into(), floor.to_bytes().to_vec());
        let files = files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect();
        let mut sound = Self { files, key, memory: 0 };
        let (outcome, memory) = peak_of(|| sound.play(&sound.changed(&[])));
        assert_eq!(outcome.end, "sound", "{:?}", outcome.error);
        sound.memory = memory;
        sound
    }

    /// The files after the changes.
    fn changed(&self, changes: &[Change<'_>]) -> Files {
        let mut files: BTreeMap<PathBuf, Vec<u8>> =
            self.files.iter().map(|(name, bytes)| (name.clone(), bytes.to_vec())).collect();
        for change in changes {
            let (name, _) = &self.files[change.file % self.files.len()];
            let other = &self.files[change.at % self.files.len()].0;
            let copied = files.get(other).cloned().unwrap_or_default();
            let Some(file) = files.get_mut(name) else { continue };
            let at = change.at.min(file.len());
            match change.what {
                What::Overwrite => {
                    let len = change.bytes.len().min(file.len() - at);
                    file[at..at + len].copy_from_slice(&change.bytes[..len]);
                }
                What::Seal => {
                    let start = change.bytes.first().map_or(0, |start| usize::from(*start) * 4);
                    repository::seal(&mut file[start.min(at)..at]);
                }
                What::Cut => file.truncate(at),
                What::Remove => drop(files.remove(name)),
                What::Replace => *file = change.bytes.to_vec(),
                What::Insert => drop(file.splice(at..at, change.bytes.iter().copied())),
                What::Copy => *file = copied,
                What::Append => file.extend_from_slice(change.bytes),
            }
        }
        Files(files.into_iter().map(|(name, bytes)| (name, bytes.into())).collect())
    }

    /// What every command makes of the files.
    fn play(&self, files: &Files) -> Outcome {
        let mut outcome = Outcome { end: "no repository", images: Vec::new(), error: None };
        let store = Store::new(Arc::new(files.clone()));
        let stop = StopFlag::default();
        let opened = Repository::open_in(store.clone());
        let opened = opened.and_then(|repository| repository.unlock(&self.key));
        let sound = self.header();
        let of = |at| Source { volume: sound.volume, session: Some(sound.session), at };
        if let Ok(repository) = &opened {
            outcome.end = "sound";
            if files.0.values().any(|bytes| is_large(bytes)) {
                outcome.end = "large volume";
                return outcome;
            }
            for done in commands(repository, &of, &stop) {
                outcome.note(done);
            }
            for at in [At::T0, At::Latest] {
                match image(repository, &of(at), &stop) {
                    Ok(image) => outcome.images.push((at, image)),
                    Err(error) => outcome.note(Err(error)),
                }
            }
        } else if let Err(error) = &opened {
            outcome.error = Some(error.to_string());
        }
        let to_salvage = Repository::to_salvage_in(store);
        if let Ok(repository) = to_salvage.unlock(&self.key) {
            let open = |length, _| match usize::try_from(length) {
                Ok(len) if length <= LENGTH_MAX => Ok(vec![0_u8; len]),
                _ => Err(Error::Stopped),
            };
            let salvaged =
                salvage_to(&repository, &of(At::Latest), Path::new("image"), open, &stop, |_| {});
            if let Ok((report, image)) = salvaged {
                assert_eq!(report.bytes, image.len() as u64);
            }
        }
        outcome
    }

    fn header(&self) -> SessionHeader {
        let found = self.files.iter().find(|(name, _)| name.ends_with(SESSION_FILE));
        SessionHeader::read(&found.expect("a session").1).expect("a sound one")
    }
}

/// How the commands ended.
struct Outcome {
    end: &'static str,
    /// The images that were restored.
    images: Vec<(At, Vec<u8>)>,
    /// The last error.
    error: Option<String>,
}

impl Outcome {
    fn note(&mut self, done: Result<()>) {
        let Err(error) = done else { return };
        let end = match error {
            Error::NotRestorable { .. } | Error::NoSession { .. } | Error::NoVolume { .. } => {
                "no point"
            }
            _ => "damaged",
        };
        if self.end != "damaged" {
            self.end = end;
        }
        self.error = Some(error.to_string());
    }
}

/// True for the header of a session of a volume that is not played.
fn is_large(file: &[u8]) -> bool {
    SessionHeader::read(file).is_ok_and(|header| {
        let geometry = header.geometry;
        geometry.length() > LENGTH_MAX || geometry.block_count() > BLOCKS_MAX
    })
}

/// Every command that makes no image.
fn commands(
    repository: &Repository,
    of: &dyn Fn(At) -> Source,
    stop: &StopFlag,
) -> Vec<Result<()>> {
    let volume = of(At::T0).volume;
    let request = points::Request { volume, session: None, quiet: true };
    let now = FileTime::new(u64::MAX / 4);
    let difference = || {
        let found = Comparison::find(repository, [of(At::T0), of(At::Latest)], stop, |_| {})?;
        found.by_place()?;
        found.by_content(stop, |_| {}).map(drop)
    };
    let verified = || {
        let report = verify(repository, stop, |_| {})?;
        match report.damage.first() {
            None => Ok(()),
            Some(found) => {
                let path = found.file.to_path_buf();
                Err(Error::Damaged { path, offset: 0, why: Damage::State })
            }
        }
    };
    vec![
        list(repository, stop).map(drop),
        points(repository, &request, stop, |_, _| {}).map(drop),
        stat(repository, None, stop, |_, _| {}).map(drop),
        gc::collect(repository, &Folds, None, stop).map(drop),
        show(repository, None, &Folds, now, stop).map(drop),
        Policies::read(repository.store()).map(drop),
        Minimums::read(repository.store(), now).map(drop),
        repository.bookmarks(None).map(drop),
        export::check(repository).map(drop),
        difference(),
        verified(),
    ]
}

/// The image of a restore, which a mount reads the same.
fn image(repository: &Repository, source: &Source, stop: &StopFlag) -> Result<Vec<u8>> {
    let found = Found::find(repository, source, stop)?;
    let length = usize::try_from(found.header().geometry.length()).unwrap_or(usize::MAX);
    let mut image = vec![0; length];
    found.write_to(&mut image, stop, |_| {})?;
    let mounted = found.open(stop, |_| {})?;
    let mut part = vec![0; 700];
    for offset in (0..length).step_by(part.len()) {
        mounted.read(offset as u64, &mut part)?;
        let len = part.len().min(length - offset);
        assert!(part[..len] == image[offset..offset + len], "a mount and a restore are the same");
    }
    Ok(image)
}

fn run(input: &[u8]) -> &'static str {
    let Some((which, rest)) = input.split_first() else { return "no repository" };
    let sound = &SOUND[usize::from(which & 1)];
    let changes = changes(rest);
    let files = sound.changed(&changes);
    let (outcome, peak) = peak_of(|| sound.play(&files));
    assert!(peak <= sound.memory + MORE_MAX, "{peak} bytes of memory, {} usually", sound.memory);
    // The latest point is an earlier one if the end of the stream is damaged, and that is said.
    let is_earlier = |image: &[u8]| image == expected(At::T0) && outcome.end != "sound";
    let is_right = |(at, image): &(At, Vec<u8>)| {
        *image == expected(*at) || *at == At::Latest && is_earlier(image)
    };
    if outcome.images.iter().all(is_right) {
        return outcome.end;
    }
    let is_noticed = match &changes[..] {
        [] => true,
        [change] => match change.what {
            What::Overwrite => change.bytes.len() <= NOTICED_LEN,
            What::Cut | What::Remove => true,
            _ => false,
        },
        _ => false,
    };
    assert!(!is_noticed, "another image, and nothing said so: {:?}", outcome.error);
    "other image"
}

/// The image at an instant, as the pinned files have it.
fn expected(at: At) -> Vec<u8> {
    let second = if at == At::T0 { 0x5a } else { 0 };
    [[0x5a; 512], [second; 512]].concat()
}

/// Changes: two bytes for file and kind, two for the place, one for the length, and the bytes.
fn changes(mut rest: &[u8]) -> Vec<Change<'_>> {
    let mut changes = Vec::new();
    while let Some(([file, what, low, high, len], after)) = super::split::<5>(rest) {
        let (bytes, after) = after.split_at(usize::from(len).min(after.len()));
        rest = after;
        let what = match what & 7 {
            0 => What::Overwrite,
            1 => What::Seal,
            2 => What::Cut,
            3 => What::Remove,
            4 => What::Replace,
            5 => What::Insert,
            6 => What::Copy,
            _ => What::Append,
        };
        let at = usize::from(u16::from_le_bytes([low, high]));
        changes.push(Change { file: file.into(), what, at, bytes });
        if changes.len() == CHANGES_MAX {
            break;
        }
    }
    changes
}
