//! Storage that is slow: the service waits and is not cut off, a connection that must end does, and
//! other sessions do not notice. The real server, over a directory whose syncs a test can hold.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::common::{
    self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, Said, VOLUME, geometry,
};
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_server::list::{Content, list};
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::security::{Security, trust_dir};
use snapless_server::serve::{Limits, Server};
use snapless_server::stop::StopFlag;
use snapless_server::storage::local::LocalStorage;
use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile, Store};
use snapless_trust::config::Purpose;
use snapless_trust::identity::Role;
use snapless_trust::keystore::Credentials;
use snapless_trust::revocation::Subject;
use snapless_trust::server::ServerTrust;
use snapless_wire::frame::{FrameKind, Hello};
use snapless_wire::id::SessionId;
use tempfile::TempDir;
use zerocopy::IntoBytes;

/// The links' limits of time, so short that each test outlasts them several times.
const LIMIT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_millis(100);
/// How long a test waits for what must not happen.
const WHILE: Duration = Duration::from_secs(3);
/// A hold ends by itself, so that a test fails instead of hanging.
const HELD_MAX: Duration = Duration::from_secs(20);

/// Syncs of files whose path contains this text wait.
#[derive(Debug, Default)]
struct Hold {
    part: Mutex<Option<String>>,
    changed: Condvar,
    /// Syncs that wait.
    waiting: AtomicUsize,
    /// Syncs that were not released.
    forgotten: AtomicUsize,
}

impl Hold {
    fn set(&self, part: &str) {
        *self.part.lock().unwrap() = Some(part.to_owned());
    }

    fn release(&self) {
        *self.part.lock().unwrap() = None;
        self.changed.notify_all();
        assert_eq!(self.forgotten.load(Ordering::Relaxed), 0, "no sync waited too long");
    }

    fn pass(&self, path: &Path) {
        let holds = |part: &mut Option<String>| {
            part.as_ref().is_some_and(|part| path.to_string_lossy().contains(part))
        };
        let mut part = self.part.lock().unwrap();
        if !holds(&mut part) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let (_part, waited) = self.changed.wait_timeout_while(part, HELD_MAX, holds).unwrap();
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.forgotten.fetch_add(usize::from(waited.timed_out()), Ordering::Relaxed);
    }

    /// Waits until a sync waits.
    fn wait_for_sync(&self) {
        let begun = Instant::now();
        while self.waiting.load(Ordering::Relaxed) == 0 {
            assert!(begun.elapsed() < HELD_MAX, "no sync came");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[derive(Debug)]
struct Slow {
    below: LocalStorage,
    hold: Arc<Hold>,
}

#[derive(Debug)]
struct SlowFile {
    below: Box<dyn StorageFile>,
    path: PathBuf,
    hold: Arc<Hold>,
}

impl Storage for Slow {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let below = self.below.open(path, mode)?;
        Ok(Box::new(SlowFile { below, path: path.to_owned(), hold: Arc::clone(&self.hold) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.below.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.below.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.below.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.hold.pass(dir);
        self.below.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.below.lock(path)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.below.locate(path)
    }
}

impl StorageFile for SlowFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.below.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.below.write_at(offset, bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.below.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.hold.pass(&self.path);
        self.below.sync()
    }

    fn has_its_name(&self) -> io::Result<bool> {
        self.below.has_its_name()
    }
}

/// A server over such a directory.
struct Site {
    server: Running,
    hold: Arc<Hold>,
    root: PathBuf,
    /// With TLS: a machine that has enrolled.
    machine: Option<Credentials>,
    _dir: TempDir,
}

impl Site {
    fn new() -> Self {
        Self::with(|_| (Security::Insecure, None))
    }

    fn with_tls() -> Self {
        Self::with(|root| {
            let trust = ServerTrust::create(&trust_dir(root), SystemTime::now()).unwrap();
            let trust = Arc::new(trust);
            (Security::Tls(Arc::clone(&trust)), Some(trust))
        })
    }

    fn with(security: impl FnOnce(&Path) -> (Security, Option<Arc<ServerTrust>>)) -> Self {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        drop(common::repository(&root));
        let (security, trust) = security(&root);
        let hold = Arc::<Hold>::default();
        let storage = Slow { below: LocalStorage::new(&root), hold: Arc::clone(&hold) };
        let repository = WritableRepository::open_in(Store::new(Arc::new(storage))).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let limits = Limits { keep_alive: KEEP_ALIVE, ..Limits::default() };
        let server = Running::of(Server::bind_to(address, repository, limits, security).unwrap());
        let machine = trust.map(|trust| common::enrol(&trust, Role::Client, server.address));
        Self { server, hold, root, machine, _dir: dir }
    }

    /// A link that has said Hello for this session and waits for no more than [`LIMIT`].
    fn link(&self, session: SessionId) -> Link {
        let limits = LinkLimits { welcome: LIMIT, send: LIMIT, ..LinkLimits::default() };
        let address = self.server.address.to_string();
        let linked = match &self.machine {
            None => Link::connect(&address, &limits, &|| false),
            Some(machine) => {
                let config = machine.config(Purpose::Link).unwrap();
                Link::connect_tls(&address, &limits, &config, &|| false)
            }
        };
        let mut link = linked.unwrap();
        let hello = Hello::new(VOLUME, session, &geometry(LENGTH));
        link.greet(&hello, &limits, &|| false).unwrap();
        link
    }
}

/// Sends these records and waits for the acknowledgement of their epoch.
fn store(link: &mut Link, records: &[u8], epoch: u64) {
    link.sender.send(FrameKind::Records, records).unwrap();
    assert_eq!(acknowledged(link), epoch);
}

fn acknowledged(link: &mut Link) -> u64 {
    match link.receiver.receive() {
        Ok(Some(Message::Acknowledge(ack))) => ack.epoch().get(),
        other => panic!("want an acknowledgement, heard {other:?}"),
    }
}

/// An epoch of about a megabyte.
fn long_epoch(driver: &mut Driver) -> Vec<u8> {
    let mut records: Vec<u8> = (0..64).flat_map(|_| driver.write(0, BLOCK, 7)).collect();
    records.extend(driver.epoch_end());
    records
}

#[test]
fn a_sync_that_takes_longer_than_every_limit_costs_no_link_and_no_resend() {
    outlasts(&Site::new());
}

#[test]
fn over_tls_it_costs_no_link_either() {
    outlasts(&Site::with_tls());
}

fn outlasts(site: &Site) {
    const EPOCHS: u64 = 96;
    let mut link = site.link(SESSION);
    let mut driver = Driver::default();
    store(&mut link, &driver.first_sync(), 1);
    let sent = AtomicUsize::new(0);
    site.hold.set(&SESSION.to_string());
    let Link { mut sender, mut receiver, closer, .. } = link;
    let (sent_meanwhile, outcome, epochs) = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let outcome = (0..EPOCHS).try_for_each(|_| {
                sent.fetch_add(1, Ordering::Relaxed);
                sender.send(FrameKind::Records, &long_epoch(&mut driver)).map(|_| ())
            });
            if outcome.is_err() {
                closer.close();
            }
            outcome
        });
        let receiving = scope.spawn(move || {
            let mut epochs = Vec::new();
            while epochs.last() != Some(&(EPOCHS + 1))
                && let Ok(Some(Message::Acknowledge(ack))) = receiver.receive()
            {
                epochs.push(ack.epoch().get());
            }
            epochs
        });
        site.hold.wait_for_sync();
        thread::sleep(WHILE);
        let sent_meanwhile = sent.load(Ordering::Relaxed);
        site.hold.release();
        (sent_meanwhile, sending.join().unwrap(), receiving.join().unwrap())
    });
    outcome.unwrap();
    assert!(epochs.into_iter().eq(2..=EPOCHS + 1), "each of them, in order");
    let most = 64;
    assert!(sent_meanwhile < most, "more than backlog and sockets take: {sent_meanwhile}");
    closer.close();
    let volumes = list(&Repository::open(&site.root).unwrap(), &StopFlag::default()).unwrap();
    let Content::Complete(stream) = &volumes[0].sessions[0].content else { panic!("{volumes:?}") };
    assert_eq!((stream.records, stream.gaps.len()), (driver.seq, 0));
}

#[test]
fn a_hello_whose_storage_is_slow_is_waited_for() {
    let site = Site::new();
    let mut link = site.link(SESSION);
    store(&mut link, &Driver::default().first_sync(), 1);
    drop(link);
    site.hold.set(&SESSION.to_string());
    thread::scope(|scope| {
        let greeting = scope.spawn(|| site.link(SESSION));
        site.hold.wait_for_sync();
        thread::sleep(WHILE);
        assert!(!greeting.is_finished());
        site.hold.release();
        let mut link = greeting.join().unwrap();
        let mut driver = Driver { seq: 8, epoch: 2, ..Driver::default() };
        (driver.time, driver.monotonic) = (driver.time + 1000, 1000);
        store(&mut link, &[driver.write(0, SECTOR, 7), driver.epoch_end()].concat(), 2);
    });
}

/// A client of the test session with an epoch whose sync is held.
fn hanging(site: &Site) -> Client {
    let (mut client, ..) = Client::resume(site.server.address);
    site.hold.set(&SESSION.to_string());
    client.records(&Driver::default().first_sync());
    site.hold.wait_for_sync();
    client
}

fn error(client: &mut Client) -> String {
    match client.hear() {
        Said::Error(text) => text,
        other => panic!("want an error, heard {other:?}"),
    }
}

#[test]
fn a_takeover_ends_a_connection_whose_storage_hangs_and_goes_on_behind_what_it_stored() {
    let site = Site::new();
    let mut older = hanging(&site);
    let mut newer = Client::connect(site.server.address);
    newer.hello(SESSION);
    let text = error(&mut older);
    assert!(text.contains("newer connection"), "{text}");
    site.hold.release();
    assert_eq!(newer.hear(), Said::Welcome { epoch: 1, seq: 8 });
}

#[test]
fn a_takeover_does_not_wait_for_frames_that_wait_for_storage() {
    let site = Site::new();
    let mut older = hanging(&site);
    let mut driver = Driver { seq: 8, epoch: 2, ..Driver::default() };
    driver.time += 1000;
    for byte in 1..=5 {
        older.records(&[driver.write(0, SECTOR, byte), driver.epoch_end()].concat());
    }
    // A cut: the server stores what came before, unless the session is needed.
    drop(older);
    thread::sleep(KEEP_ALIVE);
    let mut newer = Client::connect(site.server.address);
    newer.hello(SESSION);
    thread::sleep(WHILE);
    site.hold.release();
    assert_eq!(newer.hear(), Said::Welcome { epoch: 1, seq: 8 });
}

#[test]
fn a_revocation_ends_a_connection_whose_storage_hangs() {
    let site = Site::with_tls();
    let mut link = site.link(SESSION);
    site.hold.set(&SESSION.to_string());
    link.sender.send(FrameKind::Records, &Driver::default().first_sync()).unwrap();
    site.hold.wait_for_sync();
    // As by another process.
    let elsewhere = ServerTrust::open(&trust_dir(&site.root)).unwrap();
    let machine = site.machine.as_ref().unwrap().certified.identity.machine;
    elsewhere.revoke(&Subject::Machine(machine), SystemTime::now()).unwrap();
    match link.receiver.receive() {
        Ok(Some(Message::Refused(text))) => assert!(text.contains("revoked"), "{text}"),
        other => panic!("want the reason, heard {other:?}"),
    }
    site.hold.release();
}

#[test]
fn a_stop_is_told_at_once_though_storage_hangs() {
    let site = Site::new();
    let mut client = hanging(&site);
    site.server.stop();
    let text = error(&mut client);
    assert!(text.contains("stopped"), "{text}");
    site.hold.release();
}

#[test]
fn what_waits_when_the_service_has_said_all_is_stored_and_acknowledged() {
    let site = Site::new();
    let mut link = site.link(SESSION);
    let mut driver = Driver::default();
    site.hold.set(&SESSION.to_string());
    link.sender.send(FrameKind::Records, &driver.first_sync()).unwrap();
    for byte in 1..=5 {
        let records = [driver.write(0, SECTOR, byte), driver.epoch_end()].concat();
        link.sender.send(FrameKind::Records, &records).unwrap();
    }
    link.sender.finish().unwrap();
    site.hold.wait_for_sync();
    site.hold.release();
    assert!((1..=6).all(|epoch| acknowledged(&mut link) == epoch));
    assert!(matches!(link.receiver.receive(), Ok(None)));
}

#[test]
fn a_frame_that_is_refused_comes_after_the_acknowledgements_before_it() {
    let site = Site::new();
    let mut client = hanging(&site);
    let mut driver = Driver { seq: 20, ..Driver::default() };
    client.records(&driver.write(0, SECTOR, 1));
    site.hold.release();
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    let text = error(&mut client);
    assert!(text.contains("record 21 came where record 9"), "{text}");
}

#[test]
fn sessions_whose_storage_or_client_is_slow_do_not_slow_the_others() {
    let site = Site::new();
    let mut slow = site.link(SESSION);
    let mut good: Vec<_> = (1..=4_u8)
        .map(|number| {
            let mut link = site.link(SessionId([number; 16]));
            let mut driver = Driver::default();
            store(&mut link, &driver.first_sync(), 1);
            (link, driver)
        })
        .collect();
    site.hold.set(&SESSION.to_string());
    slow.sender.send(FrameKind::Records, &Driver::default().first_sync()).unwrap();
    site.hold.wait_for_sync();
    // One stops in the midst of a frame, another does not take its acknowledgements.
    let mut half = Client::connect(site.server.address);
    half.hello(SessionId([0xaa; 16]));
    assert_eq!(half.hear(), Said::Welcome { epoch: 0, seq: 0 });
    let whole = common::frame(FrameKind::Records, &Driver::default().first_sync());
    half.stream.write_all(&whole[..100]).unwrap();
    let mut deaf = Client::connect(site.server.address);
    deaf.hello(SessionId([0xdd; 16]));
    let mut deafs = Driver::default();
    deaf.records(&deafs.first_sync());

    for epoch in 2..=40 {
        for (link, driver) in &mut good {
            store(link, &[driver.write(0, BLOCK, 9), driver.epoch_end()].concat(), epoch);
        }
        deaf.records(&[deafs.write(0, SECTOR, 9), deafs.epoch_end()].concat());
    }
    assert!(site.hold.waiting.load(Ordering::Relaxed) > 0, "all the while");
    // A new session is served too.
    let mut newer = site.link(SessionId([9; 16]));
    store(&mut newer, &Driver::default().first_sync(), 1);
    site.hold.release();
    assert_eq!(acknowledged(&mut slow), 1);
}

#[test]
fn a_server_that_waits_for_storage_shows_that_it_lives() {
    let site = Site::new();
    let mut driver = Driver::default();
    let mut client = Client::connect(site.server.address);
    client.send(FrameKind::Hello, common::hello(LENGTH).as_bytes());
    assert_eq!(client.hear(), Said::Welcome { epoch: 0, seq: 0 });
    client.records(&driver.first_sync());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    site.hold.set(&SESSION.to_string());
    for _ in 0..7 {
        client.records(&long_epoch(&mut driver));
    }
    site.hold.wait_for_sync();
    // As bytes: a keep-alive is a header alone.
    let alive = common::frame(FrameKind::KeepAlive, &[]);
    let mut raw: Vec<u8> = Vec::new();
    let begun = Instant::now();
    while raw.len() < 3 * alive.len() {
        assert!(begun.elapsed() < HELD_MAX, "{raw:?}");
        let mut bytes = [0; 16];
        match io::Read::read(&mut client.stream, &mut bytes) {
            Ok(count) => raw.extend(&bytes[..count]),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
    assert_eq!(raw[..3 * alive.len()], alive.repeat(3));
    site.hold.release();
}
