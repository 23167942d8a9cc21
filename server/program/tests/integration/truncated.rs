//! A finished segment that lost its end is damage for everything that reads the stream there:
//! nothing in the records tells if a gap comes next, in front of whose marker records may be
//! missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::{self, BLOCK, Driver, LENGTH, SESSION, VOLUME, program, scratch};
use snapless_server::compression::Compression;
use snapless_server::copy::{How, Outcome, copy_all};
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::SEGMENT_HEADER_LEN;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::salvage::{Report, salvage_to};
use snapless_server::seal::KeySource;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::upgrade::upgrade;
use snapless_server::verify::verify;
use snapless_types::RecordKind;

const SEGMENT: u64 = 68_000;
const HOW: How =
    How { segment_bytes: SEGMENT, map_bytes: 30_000, commit_bytes: 20_000, limit: None };
const HEADER: u64 = SEGMENT_HEADER_LEN as u64;
/// The file that is cut off.
const NAME: &str = "segment-00000002.slseg";

/// A repository of three segments: the first sync, two epochs, and a gap.
struct Site {
    dir: tempfile::TempDir,
    root: PathBuf,
    key: KeySource,
    /// The records of the second segment.
    records: [u64; 2],
}

impl Site {
    fn new(compression: Compression, is_encrypted: bool) -> Self {
        let dir = scratch();
        let root = dir.path().join("repository");
        let file = KeySource::KeyFile(dir.path().join("key"));
        let key = if is_encrypted { file } else { KeySource::None };
        let repository = WritableRepository::init_with(&root, compression, &key).unwrap();
        let mut driver = Driver::default();
        // Not compressible, so that each kind has the same segments.
        let mut noise = fastrand::Rng::with_seed(1);
        let mut data = |driver: &mut Driver, kind, offset, len: u64| {
            let mut content = vec![0; usize::try_from(len).unwrap()];
            noise.fill(&mut content);
            driver.data(kind, offset, &content)
        };
        let start = driver.start();
        let blocks = data(&mut driver, RecordKind::Block, 0, LENGTH);
        let mut frames = vec![[start, blocks, driver.base_complete(), driver.epoch_end()].concat()];
        let first = driver.seq + 1;
        for _ in 0..2 {
            let write = data(&mut driver, RecordKind::Write, BLOCK, 2 * BLOCK);
            frames.push([write, driver.epoch_end()].concat());
        }
        let records = [first, driver.seq];
        let gap = driver.gap();
        let resync = data(&mut driver, RecordKind::Resync, 0, BLOCK);
        frames.push([gap, resync, driver.consistent(), driver.epoch_end()].concat());
        common::ingest_into(&repository, &common::header(LENGTH), SEGMENT, &frames);
        Self { dir, root, key, records }
    }

    fn plain() -> Self {
        Self::new(Compression::None, false)
    }

    fn path(&self) -> PathBuf {
        self.root.join(session_dir(VOLUME, SESSION)).join(NAME)
    }

    /// The places at which the segment is cut off: at its header, and behind its first entry.
    fn ends(&self) -> [u64; 2] {
        let len = fs::metadata(self.path()).unwrap().len();
        [HEADER, HEADER + (len - HEADER) / 2]
    }

    /// For each place, with the segment cut off there.
    fn each(&self, mut check: impl FnMut(u64)) {
        let whole = fs::read(self.path()).unwrap();
        for end in self.ends() {
            fs::write(self.path(), &whole[..usize::try_from(end).unwrap()]).unwrap();
            check(end);
        }
        fs::write(self.path(), whole).unwrap();
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.root).unwrap().unlock(&self.key).unwrap()
    }

    fn source(at: At) -> Source {
        Source { volume: VOLUME, session: Some(SESSION), at }
    }

    fn image(&self, at: At) -> Result<Vec<u8>, Error> {
        let stop = StopFlag::default();
        let found = Found::find(&self.repository(), &Self::source(at), &stop)?;
        let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
        found.write_to(&mut image, &stop, |_| {})?;
        Ok(image)
    }

    /// Why the latest point is not restored.
    #[track_caller]
    fn refusal(&self) -> Error {
        match self.image(At::Latest) {
            Err(error) => error,
            Ok(_) => panic!("an image is restored"),
        }
    }

    fn salvaged(&self) -> Report {
        let memory = |length, _| Ok(vec![0; usize::try_from(length).unwrap()]);
        let (to, stop) = (Path::new("memory"), StopFlag::default());
        let repository = self.repository();
        salvage_to(&repository, &Self::source(At::Latest), to, memory, &stop, |_| {}).unwrap().0
    }

    fn run(&self, command: &str, more: &[&str]) -> Output {
        let mut program = program();
        program.arg(command).arg("--repository").arg(&self.root).args(more);
        program.output().unwrap()
    }
}

/// Asserts that an error is damage of the segment at this place.
#[track_caller]
fn is_cut(error: &Error, end: u64) {
    let Error::Damaged { path, offset, .. } = error else { panic!("{error}") };
    assert!(path.ends_with(NAME), "{error}");
    assert_eq!(*offset, end, "{error}");
}

/// Asserts that a command ended with damage, and named the segment and the place.
#[track_caller]
fn says_cut(output: &Output, end: u64) {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert_eq!(output.status.code(), Some(4), "{out}{err}");
    let said = format!("{out}{err}");
    assert!(said.contains(NAME) && said.contains(&end.to_string()), "{said}");
}

#[test]
fn a_copy_and_an_export_end_there() {
    for (compression, is_encrypted) in [(Compression::None, false), (Compression::Zstd(3), true)] {
        let site = Site::new(compression, is_encrypted);
        let whole_epochs = site.ends();
        site.each(|end| {
            let to = common::repository(&site.dir.path().join(format!("copy-{end}")));
            let stop = StopFlag::default();
            let report = copy_all(&site.repository(), &to, &HOW, &stop).unwrap();
            let Outcome::Failed { error, damaged: true } = &report.sessions[0].outcome else {
                panic!("{report:?}")
            };
            assert!(error.contains(NAME) && error.contains(&format!("byte {end}:")), "{error}");
            // What is in front of it is copied, and nothing behind it.
            let verified = verify(to.repository(), &stop, |_| {}).unwrap();
            assert_eq!(verified.damage, []);
            let reader = crate::fold::reader_of(to.repository());
            let epochs = if end == whole_epochs[0] { 1 } else { 2 };
            assert_eq!(reader.acknowledged().epoch.get(), epochs);
        });
    }
    let site = Site::plain();
    site.each(|end| {
        let to = site.dir.path().join(format!("export-{end}"));
        says_cut(&site.run("export", &["--all", "--to", to.to_str().unwrap()]), end);
    });
}

#[test]
fn an_import_of_an_export_that_lost_it_ends_there() {
    let site = Site::plain();
    let to = site.dir.path().join("export");
    let output = site.run("export", &["--all", "--to", to.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // A disk with smaller segments.
    let folder = session_dir(VOLUME, SESSION);
    fs::remove_dir_all(to.join(&folder)).unwrap();
    fs::create_dir(to.join(&folder)).unwrap();
    for file in fs::read_dir(site.root.join(&folder)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(&folder).join(file.file_name())).unwrap();
    }
    let shipped = Site { root: to, ..Site::plain() };
    shipped.each(|end| {
        let into = site.dir.path().join(format!("import-{end}"));
        drop(common::repository(&into));
        let mut program = program();
        program.arg("import").arg("--from").arg(&shipped.root).arg("--repository").arg(&into);
        says_cut(&program.output().unwrap(), end);
    });
}

#[test]
fn an_upgrade_that_reads_it_names_it() {
    let site = Site::plain();
    let folder = site.root.join(session_dir(VOLUME, SESSION));
    site.each(|end| {
        // It makes the state from all records, and maps from their headers.
        _ = fs::remove_file(folder.join("state.snapless"));
        let repository = WritableRepository::open(&site.root).unwrap();
        let report = upgrade(&repository, (SEGMENT, 1), &StopFlag::default(), |_, _| {}).unwrap();
        let [failed] = &report.failed[..] else { panic!("{report:?}") };
        assert!(failed.damaged, "{failed:?}");
        assert!(failed.error.contains(NAME), "{failed:?}");
        assert!(failed.error.contains(&format!("byte {end}:")), "{failed:?}");
    });
}

#[test]
fn a_restore_fails_there_with_and_without_the_other_indices() {
    for (compression, is_encrypted) in [(Compression::None, false), (Compression::Zstd(3), true)] {
        let site = Site::new(compression, is_encrypted);
        let latest = site.image(At::Latest).unwrap();
        site.each(|end| is_cut(&site.refusal(), end));
        assert!(site.image(At::Latest).unwrap() == latest);
    }
    // With the index of another history of the first segment, no index is used.
    let (site, other) = (Site::plain(), scratch());
    let root = other.path().join("repository");
    let mut driver = Driver::default();
    let start = driver.start();
    let blocks = driver.fill(RecordKind::Block, 0, LENGTH, 0x5a);
    let first = [start, blocks, driver.base_complete(), driver.epoch_end()].concat();
    let second = [driver.write(0, BLOCK, 1), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, SEGMENT, &[first, second]);
    let index = Path::new(&session_dir(VOLUME, SESSION)).join("segment-00000001.slidx");
    fs::copy(root.join(&index), site.root.join(&index)).unwrap();
    site.image(At::Latest).unwrap();
    site.each(|end| is_cut(&site.refusal(), end));
}

#[test]
fn a_verification_names_it_with_and_without_the_key() {
    for is_encrypted in [false, true] {
        let site = Site::new(Compression::None, is_encrypted);
        site.each(|end| {
            for repository in [site.repository(), Repository::open(&site.root).unwrap()] {
                let report = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
                let found = report.damage.iter().find(|it| it.file.0 == site.path());
                let found = found.unwrap_or_else(|| panic!("{report:?}"));
                assert_eq!(found.offset, Some(end), "{found:?}");
            }
        });
    }
}

#[test]
fn figures_of_its_content_say_that_it_is_damaged() {
    let site = Site::plain();
    site.each(|end| {
        says_cut(&site.run("stat", &["--dedup"]), end);
        says_cut(&site.run("stat", &[]), end);
    });
}

#[test]
fn a_salvage_lists_the_records_that_it_had() {
    for is_encrypted in [false, true] {
        let site = Site::new(Compression::None, is_encrypted);
        let [first, last] = site.records;
        site.each(|end| {
            let report = site.salvaged();
            let damage = report.damage.iter().find(|it| it.file.0 == site.path());
            assert_eq!(damage.map(|it| it.offset), Some(end), "{report:?}");
            let from = if end == HEADER { first } else { first + 2 };
            let missing: Vec<_> = report.lost.iter().map(|it| (it.from, it.to)).collect();
            assert_eq!(missing, [(from, last)], "{report:?}");
        });
        assert!(site.salvaged().is_whole());
    }
}

#[cfg(feature = "cloud")]
mod objects {
    use object_store::{ObjectStoreExt, PutPayload};
    use snapless_server::format::claim::CLAIMED_HEADER_LEN;
    use snapless_server::format::segment::SegmentNumber;
    use snapless_server::storage::{OpenMode, Storage};

    use super::*;
    use crate::common::SECTOR;
    use crate::common::object_stream::{Connection, segments};
    use crate::common::objects::{FaultyStore, place};

    /// The entries of one epoch or two; a gap comes next.
    fn stored(limit: u64, epochs: u64) -> (FaultyStore, Vec<u64>) {
        let store = FaultyStore::default();
        let repository = store.repository();
        let mut driver = Driver::default();
        let mut connection = Connection::open_with(&repository, limit);
        connection.store(&driver.first_sync()).unwrap();
        let before = segments(&store);
        for epoch in 0..epochs {
            for number in 0..3 {
                let byte = u8::try_from(0x40 + 3 * epoch + number).unwrap();
                connection.store(&driver.write(number * BLOCK, SECTOR, byte)).unwrap();
            }
            if epoch + 1 < epochs {
                connection.store(&driver.epoch_end()).unwrap();
            }
        }
        if limit > BLOCK {
            connection.store(&driver.epoch_end()).unwrap();
        }
        connection.store(&driver.bridged_gap(0xdd)).unwrap();
        let mut parts = segments(&store).split_off(before.len());
        // That of the gap.
        parts.pop();
        connection.store(&[driver.write(0, SECTOR, 1), driver.epoch_end()].concat()).unwrap();
        (store, parts)
    }

    fn path(number: u64) -> PathBuf {
        session_dir(VOLUME, SESSION).join(SegmentNumber(number).file_name())
    }

    fn read(store: &FaultyStore, number: u64) -> Vec<u8> {
        let file = store.storage().open(&path(number), OpenMode::Read).unwrap();
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut content).unwrap();
        content
    }

    fn put(store: &FaultyStore, number: u64, content: &[u8]) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let payload = PutPayload::from(content.to_vec());
        runtime.block_on(store.memory.put(&place(&path(number)), payload)).unwrap();
    }

    /// Everything that reads the object to its end names it, or an earlier one of these parts of
    /// its epoch: nothing tells which of them is too short. `verify` names all of them.
    #[track_caller]
    fn is_found(store: &FaultyStore, parts: &[u64], number: u64, end: u64) {
        let names: Vec<_> = parts.iter().map(|part| SegmentNumber(*part).file_name()).collect();
        let name = SegmentNumber(number).file_name();
        let (repository, stop) = (Repository::open_in(store.store()).unwrap(), StopFlag::default());
        let found = Found::find(&repository, &Site::source(At::Latest), &stop).map(|_| ());
        let Err(Error::Damaged { path, .. }) = &found else { panic!("{found:?}") };
        assert!(names.iter().any(|name| path.ends_with(name)), "{found:?}");
        let dir = scratch();
        let to = common::repository(&dir.path().join("copy"));
        let report = copy_all(&repository, &to, &HOW, &stop).unwrap();
        let Outcome::Failed { error, damaged: true } = &report.sessions[0].outcome else {
            panic!("{report:?}")
        };
        assert!(names.iter().any(|name| error.contains(name)), "{error}");
        let report = verify(&repository, &stop, |_| {}).unwrap();
        let found = report.damage.iter().find(|it| it.file.0.ends_with(&name));
        assert_eq!(found.map(|it| it.offset), Some(Some(end)), "{report:?}");
        let memory = |length, _| Ok(vec![0; usize::try_from(length).unwrap()]);
        let (source, to) = (Site::source(At::Latest), Path::new("memory"));
        let salvaged = salvage_to(&repository, &source, to, memory, &stop, |_| {}).unwrap().0;
        assert!(salvaged.damage.iter().any(|it| it.file.0.ends_with(&name)), "{salvaged:?}");
        assert_eq!(salvaged.lost.len(), 1, "{salvaged:?}");
    }

    #[test]
    fn an_object_that_lost_its_end_is_found_by_its_claim() {
        let (store, objects) = stored(64 << 10, 1);
        let [number] = objects[..] else { panic!("{objects:?}") };
        let whole = read(&store, number);
        // A record of a sector, its header and that of its frame.
        let entry = 16 + 64 + usize::try_from(SECTOR).unwrap();
        for end in [CLAIMED_HEADER_LEN, CLAIMED_HEADER_LEN + entry] {
            put(&store, number, &whole[..end]);
            is_found(&store, &[number], number, end as u64);
        }
        put(&store, number, &whole);
        let repository = store.repository();
        assert_eq!(
            verify(repository.repository(), &StopFlag::default(), |_| {}).unwrap().damage,
            []
        );
    }

    #[test]
    fn a_part_of_an_epoch_that_lost_its_end_is_found_by_the_claim_of_the_last_part() {
        // The parts of an epoch that ends with a gap.
        let (store, objects) = stored(1_200, 1);
        assert!(!objects.is_empty(), "{objects:?}");
        let whole: Vec<_> = objects.iter().map(|number| read(&store, *number)).collect();
        // What is lost is lost from the last one on: the numbers jump to the gap only there.
        let (number, content) = (*objects.last().unwrap(), whole.last().unwrap());
        put(&store, number, &content[..CLAIMED_HEADER_LEN]);
        is_found(&store, &objects, number, CLAIMED_HEADER_LEN as u64);
        put(&store, number, content);
        let repository = store.repository();
        assert_eq!(
            verify(repository.repository(), &StopFlag::default(), |_| {}).unwrap().damage,
            []
        );
    }
}
