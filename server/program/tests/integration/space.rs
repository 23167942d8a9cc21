//! A repository's disk that is full, read-only, broken or gone while the server serves: nothing is
//! acknowledged and lost, no link breaks at the floor, and it goes on by itself. The real server,
//! over a directory whose free space and errors a test sets.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::connection::quiet;
use crate::common::{self, Client, Driver, Running, SECTOR, SESSION, Said};
use snapless_server::floor::Shortage;
use snapless_server::list::{Content, list};
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::security::Security;
use snapless_server::serve::{Limits, Server};
use snapless_server::stop::StopFlag;
use snapless_server::storage::local::LocalStorage;
use snapless_server::storage::{Lock, OpenMode, Space, Storage, StorageFile, Store};
use snapless_server::verify::verify;
use snapless_wire::frame::FrameKind;
use tempfile::TempDir;
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;
const TOTAL: u64 = 1024 * MIB;
const FLOOR: u64 = 64 * MIB;
const KEEP_ALIVE: Duration = Duration::from_millis(50);
/// How long a test waits for what must not happen: several looks at the free space.
const WHILE: Duration = Duration::from_millis(1500);
/// A bound against hangs.
const LONG: Duration = Duration::from_secs(20);
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// What a test sets.
#[derive(Debug)]
struct Disk {
    free: AtomicU64,
    /// The error of every change; 0 for none.
    error: AtomicI32,
}

impl Disk {
    fn change(&self) -> io::Result<()> {
        match self.error.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

#[derive(Debug)]
struct Failing {
    below: LocalStorage,
    disk: Arc<Disk>,
}

#[derive(Debug)]
struct FailingFile {
    below: Box<dyn StorageFile>,
    disk: Arc<Disk>,
}

impl Storage for Failing {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        if mode != OpenMode::Read {
            self.disk.change()?;
        }
        let below = self.below.open(path, mode)?;
        Ok(Box::new(FailingFile { below, disk: Arc::clone(&self.disk) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.disk.change()?;
        self.below.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.change()?;
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.change()?;
        self.below.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.change()?;
        self.below.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.below.lock(path)
    }

    fn space(&self) -> io::Result<Option<Space>> {
        Ok(Some(Space { free: self.disk.free.load(Ordering::Relaxed), total: TOTAL }))
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.below.locate(path)
    }
}

impl StorageFile for FailingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.below.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.disk.change() {
            // A disk that fills up, or breaks, in the midst of a write.
            self.below.write_at(offset, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.below.write_at(offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.change()?;
        self.below.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.change()?;
        self.below.sync()
    }

    fn has_its_name(&self) -> io::Result<bool> {
        self.below.has_its_name()
    }
}

/// A server over such a directory, and a service whose first sync is stored.
struct Site {
    server: Running,
    store: Store,
    disk: Arc<Disk>,
    root: PathBuf,
    _dir: TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        drop(common::repository(&root));
        let disk = Arc::new(Disk { free: AtomicU64::new(TOTAL), error: AtomicI32::new(0) });
        let storage = Failing { below: LocalStorage::new(&root), disk: Arc::clone(&disk) };
        let store = Store::new(Arc::new(storage));
        let repository = WritableRepository::open_in(store.clone()).unwrap();
        let min_free = "64MiB".parse().unwrap();
        let limits = Limits { keep_alive: KEEP_ALIVE, min_free, ..Limits::default() };
        let address = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind_to(address, repository, limits, Security::Insecure).unwrap();
        Self { server: Running::of(server), store, disk, root, _dir: dir }
    }

    fn free(&self, bytes: u64) {
        self.disk.free.store(bytes, Ordering::Relaxed);
    }

    fn fail(&self, number: i32) {
        self.disk.error.store(number, Ordering::Relaxed);
    }

    fn shortage(&self) -> Option<Shortage> {
        Shortage::find(&Repository::open_in(self.store.clone()).unwrap()).unwrap()
    }

    fn records(&self) -> u64 {
        let volumes = list(&Repository::open(&self.root).unwrap(), &StopFlag::default()).unwrap();
        match &volumes[0].sessions[0].content {
            Content::Complete(stream) => {
                assert_eq!(stream.gaps.len(), 0);
                stream.records
            }
            other => panic!("{other:?}"),
        }
    }

    /// The bytes of the session's segments.
    fn stored(&self) -> u64 {
        let files = std::fs::read_dir(self.root.join("volumes")).unwrap();
        let sessions = files.flat_map(|it| std::fs::read_dir(it.unwrap().path()).unwrap());
        let files = sessions.flat_map(|it| std::fs::read_dir(it.unwrap().path()).unwrap());
        let segments =
            files.map(Result::unwrap).filter(|it| it.path().extension() == Some("slseg".as_ref()));
        segments.map(|it| it.metadata().unwrap().len()).sum()
    }
}

fn epoch(driver: &mut Driver, byte: u8) -> Vec<u8> {
    [driver.write(0, SECTOR, byte), driver.epoch_end()].concat()
}

/// Sends epochs until one is not acknowledged for a while: a look at the space is due by then.
fn fill(site: &Site, client: &mut Client, driver: &mut Driver) {
    site.free(FLOOR - 1);
    std::thread::sleep(WHILE);
    client.records(&epoch(driver, 1));
}

#[test]
fn at_the_floor_nothing_is_taken_the_link_stays_and_it_goes_on_by_itself() {
    let site = Site::new();
    let (mut client, mut driver) = site.server.synced();
    assert_eq!(site.shortage(), None);
    fill(&site, &mut client, &mut driver);
    let before = site.stored();
    for byte in 2..=5 {
        client.records(&epoch(&mut driver, byte));
    }
    std::thread::sleep(WHILE);
    assert_eq!((site.stored(), site.records()), (before, 8), "nothing is taken");
    let shortage = site.shortage().unwrap();
    assert_eq!((shortage.free_bytes, shortage.floor_bytes), (FLOOR - 1, FLOOR));
    let text = shortage.to_string();
    assert!(text.contains("64.0 MiB free") && text.contains("free some space"), "{text}");
    site.free(FLOOR);
    for epoch in 2..=6 {
        assert_eq!(client.hear(), Said::Acknowledge { epoch, seq: 8 + 2 * (epoch - 1) });
    }
    assert_eq!((site.records(), site.shortage()), (18, None));
}

#[test]
fn at_the_floor_the_latest_point_of_a_quiet_volume_goes_on() {
    let site = Site::new();
    let (mut client, mut driver) = site.server.synced();
    site.free(0);
    std::thread::sleep(WHILE);
    client.send(FrameKind::Watermark, quiet(&mut driver, 60).as_bytes());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
}

#[test]
fn at_the_floor_a_newer_connection_and_a_stop_end_the_wait() {
    let site = Site::new();
    let (mut client, mut driver) = site.server.synced();
    fill(&site, &mut client, &mut driver);
    let (mut newer, epoch_then, seq) = Client::resume(site.server.address);
    assert_eq!((epoch_then, seq), (1, 8));
    match client.hear() {
        Said::Error(text) => assert!(text.contains("newer connection"), "{text}"),
        other => panic!("want the reason, heard {other:?}"),
    }
    let mut driver =
        Driver { seq: 8, epoch: 2, time: common::T0 + 1000, monotonic: 1000, tick: 10 };
    newer.records(&epoch(&mut driver, 1));
    std::thread::sleep(KEEP_ALIVE);
    let begun = Instant::now();
    site.server.stop();
    match newer.hear() {
        Said::Error(text) => assert!(text.contains("stopped"), "{text}"),
        other => panic!("want the reason, heard {other:?}"),
    }
    assert!(begun.elapsed() < LONG);
}

/// A new session at the floor is welcomed: its first record waits.
#[test]
fn at_the_floor_a_hello_is_answered() {
    let site = Site::new();
    site.free(0);
    let (mut client, epoch, seq) = Client::resume(site.server.address);
    assert_eq!((epoch, seq), (0, 0));
    client.records(&Driver::default().first_sync());
    std::thread::sleep(WHILE);
    site.free(TOTAL);
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
}

#[test]
fn a_disk_that_is_full_read_only_or_broken_costs_nothing_acknowledged_and_no_gap() {
    for (number, part) in [(ENOSPC, "free some space"), (EROFS, "Read-only"), (EIO, "error")] {
        let site = Site::new();
        let (mut client, mut driver) = site.server.synced();
        site.fail(number);
        let lost = epoch(&mut driver, 9);
        client.records(&lost);
        match client.hear() {
            Said::Error(text) => assert!(text.contains(part), "{text}"),
            other => panic!("want the reason, heard {other:?}"),
        }
        // The service tries again, and is told again.
        let mut again = Client::connect(site.server.address);
        again.hello(SESSION);
        assert!(matches!(again.hear(), Said::Error(_)), "{number}");
        site.fail(0);
        let (mut client, durable_epoch, seq) = Client::resume(site.server.address);
        assert_eq!((durable_epoch, seq), (1, 8), "{number}");
        client.records(&lost);
        assert_eq!(client.hear(), Said::Acknowledge { epoch: 2, seq: 10 });
        assert_eq!(site.records(), 10);
        let report = verify(&Repository::open(&site.root).unwrap(), &StopFlag::default(), |_| {});
        assert_eq!(report.unwrap().damage, []);
    }
}

#[test]
fn a_repository_that_vanishes_while_records_come_is_not_written_into_another_folder() {
    let site = Site::new();
    let (mut client, mut driver) = site.server.synced();
    let away = site.root.with_extension("unmounted");
    std::fs::rename(&site.root, &away).unwrap();
    std::fs::create_dir(&site.root).unwrap();
    let lost = epoch(&mut driver, 9);
    client.records(&lost);
    match client.hear() {
        Said::Error(text) => assert!(text.contains("put it back"), "{text}"),
        other => panic!("want the reason, heard {other:?}"),
    }
    assert_eq!(std::fs::read_dir(&site.root).unwrap().count(), 0, "nothing is made there");
    std::fs::remove_dir(&site.root).unwrap();
    std::fs::rename(&away, &site.root).unwrap();
    let (mut client, ..) = Client::resume(site.server.address);
    client.records(&lost);
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 2, seq: 10 });
    assert_eq!(site.records(), 10);
}

#[test]
fn list_and_stat_tell_that_the_disk_is_full() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    drop(common::Served::start(&root));
    let options = ["--insecure", "--listen", "127.0.0.1:0", "--min-free", "100%"];
    let served = common::Served::listen(common::program(), &root, &options).unwrap();
    for (command, is_json) in [("list", false), ("list", true), ("stat", false), ("stat", true)] {
        let mut told = common::program();
        told.args([command, "--repository"]).arg(&root).args(is_json.then_some("--json"));
        let told = told.output().unwrap();
        let text = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(told.status.success(), "{text}");
        assert!(text.contains("the disk is full") && text.contains("--min-free"), "{text}");
    }
    drop(served);
    drop(common::Served::start(&root));
    let told = common::program().args(["list", "--repository"]).arg(&root).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&told.stderr), "");
}
