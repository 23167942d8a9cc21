//! Salvage and takeover among objects: what is not right in a salvaged image is listed, whatever
//! object of a folded session is damaged or gone.

use std::path::{Path, PathBuf};

use object_store::{ObjectStoreExt, PutPayload};
use snapless_server::fold::{Plan, collect, fold_into};
use snapless_server::format::repository::session_dir;
use snapless_server::reader::SessionReader;
use snapless_server::repository::Repository;
use snapless_server::restore::Source;
use snapless_server::salvage::{Report, salvage_to};
use snapless_server::stop::StopFlag;
use snapless_server::storage::{OpenMode, Storage};
use snapless_server::timeline::At;
use snapless_types::Seq;

use crate::common::object_stream::{Connection, image, segments};
use crate::common::objects::{Before, FaultyStore, place};
use crate::common::{BLOCK, Driver, SECTOR, SESSION, VOLUME};
use crate::fold::reader_of;

/// A stream with void segments, writes, and a gap in the epoch that ends at the boundary.
struct Stored {
    store: FaultyStore,
    /// The last record before the gap.
    before_gap: u64,
    boundary: u64,
    last: u64,
}

impl Stored {
    fn new() -> Self {
        let store = FaultyStore::default();
        let repository = store.repository();
        let mut driver = Driver::default();
        let mut connection = Connection::open(&repository);
        connection.store(&driver.first_sync()).unwrap();
        for byte in 0x40..0x46 {
            leave(&store, &driver, byte);
            connection = Connection::open(&repository);
            // A part that stays, and more that the next epoch replaces: a fold moves the part.
            let stays = driver.write(BLOCK + u64::from(byte - 0x40) * SECTOR, SECTOR, byte);
            let replaced = driver.write(2 * BLOCK, 4 * SECTOR, byte);
            let epoch = [stays, replaced, driver.epoch_end()].concat();
            assert!(connection.store(&epoch).unwrap());
        }
        let before_gap = driver.seq;
        let resync = [driver.gap(), driver.resync(2, 0xdd), driver.consistent()].concat();
        assert!(connection.store(&[resync, driver.epoch_end()].concat()).unwrap());
        let boundary = driver.seq;
        leave(&store, &driver, 0x99);
        connection = Connection::open(&repository);
        let epoch = [driver.write(3 * BLOCK, SECTOR, 0x77), driver.epoch_end()].concat();
        assert!(connection.store(&epoch).unwrap());
        Self { store, before_gap, boundary, last: driver.seq }
    }

    fn fold(&self) {
        fold(&self.store, self.boundary);
    }

    fn open(&self) -> Repository {
        Repository::open_in(self.store.store()).unwrap()
    }

    fn latest(&self) -> Vec<u8> {
        image(&self.open(), At::Latest)
    }

    fn salvage(&self) -> (Report, Vec<u8>) {
        let source = Source { volume: VOLUME, session: Some(SESSION), at: At::Latest };
        let memory = |length, _| Ok(vec![0; usize::try_from(length).unwrap()]);
        let (to, stop) = (Path::new("memory"), StopFlag::default());
        salvage_to(&self.open(), &source, to, memory, &stop, |_| {}).unwrap()
    }

    fn read(&self, path: &Path) -> Vec<u8> {
        let file = self.store.storage().open(path, OpenMode::Read).unwrap();
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        assert_eq!(file.read_at(0, &mut content).unwrap(), content.len());
        content
    }

    /// The object with other content, or without it.
    fn put(&self, path: &Path, content: Option<Vec<u8>>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (memory, at) = (&self.store.memory, place(path));
        match content {
            Some(content) => _ = runtime.block_on(memory.put(&at, PutPayload::from(content))),
            None => runtime.block_on(memory.delete(&at)).unwrap(),
        }
    }

    /// The objects of the session.
    fn objects(&self) -> Vec<PathBuf> {
        let names = self.store.names().into_iter().map(PathBuf::from);
        names.filter(|path| path.starts_with(session_dir(VOLUME, SESSION))).collect()
    }

    /// The image is right, or the report says where it is not.
    fn assert_listed(&self, want: &[u8], why: &str) {
        let (report, found) = self.salvage();
        let is_lost = !report.lost.is_empty() || report.unsure_after.is_some();
        let told = |at: usize| {
            let runs = report.missing.iter().chain(&report.doubtful);
            let at = at as u64;
            runs.into_iter().any(|run| run.offset <= at && at < run.offset + run.len)
        };
        let wrong = (0..want.len()).find(|&at| found[at] != want[at] && !told(at));
        assert!(wrong.is_none() || is_lost, "{why}: byte {wrong:?}: {report:?}");
        assert!(wrong.is_none() || !report.is_whole(), "{why}: {report:?}");
    }
}

/// A server stores a part of the next epoch, which the machine replaces later.
fn leave(store: &FaultyStore, driver: &Driver, byte: u8) {
    let mut left = Connection::open_with(&store.repository(), 300);
    let mut other = driver.clone();
    for number in 0..4 {
        left.store(&other.write(number * BLOCK, SECTOR, byte ^ 0xff)).unwrap();
    }
}

fn fold(store: &FaultyStore, boundary: u64) {
    let (stop, plan) = (StopFlag::default(), Plan { boundary: Seq::new(boundary), points: vec![] });
    let reader = || -> SessionReader { reader_of(&Repository::open_in(store.store()).unwrap()) };
    fold_into(&reader(), &plan, 20_000, &stop, |_, _| {}).unwrap();
    assert!(collect(&reader(), || Ok(false), &stop).unwrap().bytes > 0);
}

#[test]
fn of_a_folded_session_without_a_sound_history_a_salvage_lists_what_the_fold_removed() {
    let stored = Stored::new();
    stored.fold();
    let want = stored.latest();
    // Behind it is the fence of the collection.
    let is_history = |path: &PathBuf| stored.read(path).starts_with(b"SLHIST");
    let newest = stored.objects().into_iter().rfind(is_history).unwrap();
    let good = stored.read(&newest);
    for damage in [Some(57), Some(9), Some(0), None] {
        let content = damage.map(|at: usize| {
            let mut bad = good.clone();
            bad[at] ^= 1;
            bad
        });
        stored.put(&newest, content);
        let (report, found) = stored.salvage();
        assert!(found != want, "the fold has removed content");
        // Up to the marker of the gap, which makes good nothing of what was stored.
        let is_listed = report.lost.iter().any(|lost| lost.to == stored.before_gap);
        assert!(is_listed, "{damage:?}: {report:?}");
        assert!(!report.damage.is_empty(), "{damage:?}");
        stored.put(&newest, Some(good.clone()));
    }
    assert!(stored.salvage().1 == want);
}

#[test]
fn whatever_object_of_a_folded_session_is_damaged_or_gone_a_salvage_lists_what_is_not_right() {
    for is_folded in [false, true] {
        let stored = Stored::new();
        if is_folded {
            stored.fold();
        }
        let want = stored.latest();
        let newest = *segments(&stored.store).last().unwrap();
        for path in stored.objects() {
            let good = stored.read(&path);
            for at in [0, 9, 17, 40, 70, 100, good.len() / 2, good.len() - 1] {
                let mut bad = good.clone();
                let Some(byte) = bad.get_mut(at) else { continue };
                *byte ^= 1 << (at % 8);
                stored.put(&path, Some(bad));
                stored.assert_listed(&want, &format!("{} byte {at}", path.display()));
            }
            // That the last segment is gone nothing tells.
            if !path.to_string_lossy().contains(&format!("segment-{newest:08}")) {
                stored.put(&path, None);
                stored.assert_listed(&want, &format!("without {}", path.display()));
            }
            stored.put(&path, Some(good));
        }
        assert!(stored.latest() == want);
    }
}

#[test]
fn void_segments_stay_void_for_a_salvage_without_the_sessions_header() {
    let stored = Stored::new();
    let want = stored.latest();
    stored.put(&session_dir(VOLUME, SESSION).join("session.snapless"), None);
    let (report, found) = stored.salvage();
    assert!(found == want, "{report:?}");
    assert!(report.lost.is_empty() && report.unsure_after.is_none(), "{report:?}");
}

#[test]
fn a_damaged_claim_of_the_last_segment_leaves_the_end_unsure_and_a_salvage_says_so() {
    let stored = Stored::new();
    let newest = *segments(&stored.store).last().unwrap();
    let path = session_dir(VOLUME, SESSION).join(format!("segment-{newest:08}.slseg"));
    let mut bad = stored.read(&path);
    bad[100] ^= 1;
    stored.put(&path, Some(bad));
    let (report, _) = stored.salvage();
    assert!(report.unsure_after.is_some_and(|seq| seq < stored.last), "{report:?}");
    assert!(!report.is_whole());
}

#[test]
fn a_takeover_finds_the_end_wherever_another_server_folds_and_collects_beneath_it() {
    /// Before the list of the session of this number.
    fn at_list(store: &FaultyStore, number: u32, action: Box<dyn FnOnce() + Send>) {
        let (next, dir) = (store.clone(), session_dir(VOLUME, SESSION));
        let now = match number {
            0 => action,
            _ => Box::new(move || at_list(&next, number - 1, action)),
        };
        store.before(Before::List, &dir.to_string_lossy(), now);
    }
    for number in 0..5 {
        let stored = Stored::new();
        let (other, boundary) = (stored.store.clone(), stored.boundary);
        at_list(&stored.store, number, Box::new(move || fold(&other, boundary)));
        let connection = Connection::open(&stored.store.repository());
        assert_eq!(connection.durable().1, stored.last, "at list {number}");
    }
}
