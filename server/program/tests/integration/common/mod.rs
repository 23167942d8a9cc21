//! What the tests share: a stream of records as a driver would make it, a client that speaks the
//! service's half of the protocol, and a repository in a temporary directory.
#![allow(clippy::missing_panics_doc, unreachable_pub, reason = "test code")]

#[cfg(feature = "cloud")]
pub mod azurite;
pub mod connection;
pub mod counting;
#[cfg(feature = "cloud")]
pub mod google;
#[cfg(feature = "cloud")]
pub mod launched;
#[cfg(all(feature = "cloud", target_os = "linux"))]
pub mod moto;
#[cfg(feature = "cloud")]
pub mod object_stream;
#[cfg(feature = "cloud")]
pub mod objects;
#[cfg(feature = "cloud")]
pub mod s3;
#[cfg(feature = "cloud")]
pub mod stores;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod traced;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_link::socket::{Socket, TcpLimits};
use snapless_server::error::Error;
use snapless_server::format::session::SessionHeader;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Report, Request, Source, restore};
use snapless_server::serve::{Limits, Server, Stopper};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::writer::SessionWriter;
use snapless_trust::identity::Role;
use snapless_trust::keystore::{Applicant, Credentials};
use snapless_trust::server::ServerTrust;
use snapless_trust::token::{Grant, LIFETIME_DEFAULT};
use snapless_types::{EpochId, GapReason, Geometry, RecordKind, Seq};
use snapless_wire::check::{CHECK_TILE, tile_hash};
use snapless_wire::compare::Compared;
use snapless_wire::frame::{Acknowledge, FrameHeader, FrameKind, Hello};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RecordHeader};
use snapless_wire::verified::Verified;
use zerocopy::IntoBytes;

pub const VOLUME: VolumeGuid = VolumeGuid([0x11; 16]);
pub const SESSION: SessionId = SessionId([0x22; 16]);
pub const SECTOR: u64 = 512;
pub const BLOCK: u64 = 16 << 10;
/// The same, of memory.
pub const BLOCK_LEN: usize = 16 << 10;
/// Four whole blocks and a short one.
pub const LENGTH: u64 = 4 * BLOCK + 3 * SECTOR;
/// The t0 of every stream: 2020-01-01T00:00:00Z.
pub const T0: u64 = 132_223_104_000_000_000;

pub const TCP: TcpLimits = TcpLimits {
    send: Duration::from_secs(30),
    probe_after: Duration::from_secs(20),
    probe_interval: Duration::from_secs(5),
    probes: None,
};

/// A temporary directory, in memory where the system has such a thing: some tests sync thousands of
/// times.
pub fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::tempdir_in(place).unwrap()
}

pub fn geometry(length: u64) -> Geometry {
    Geometry::new(length, 512, 16 << 10).unwrap()
}

pub fn header(length: u64) -> SessionHeader {
    SessionHeader {
        volume: VOLUME,
        session: SESSION,
        geometry: geometry(length),
        created: FileTime::new(T0),
    }
}

pub fn hello(length: u64) -> Hello {
    Hello::new(VOLUME, SESSION, &geometry(length))
}

/// Makes records with the numbers, times and epochs that a driver would give them.
#[derive(Clone, Debug)]
pub struct Driver {
    pub seq: u64,
    pub time: u64,
    /// The clock that is never set.
    pub monotonic: u64,
    pub epoch: u64,
    /// How far the clock goes from record to record.
    pub tick: u64,
}

impl Default for Driver {
    fn default() -> Self {
        Self { seq: 0, time: T0, monotonic: 0, epoch: 1, tick: 10 }
    }
}

impl Driver {
    fn next(&mut self) -> Position {
        self.seq += 1;
        let position = Position {
            seq: Seq::new(self.seq),
            time: FileTime::new(self.time),
            monotonic: self.monotonic,
            epoch: EpochId::new(self.epoch),
        };
        self.time += self.tick;
        self.monotonic += self.tick;
        position
    }

    pub fn marker(&mut self, kind: RecordKind) -> Vec<u8> {
        let record = RecordHeader::marker(kind, self.next()).unwrap().to_bytes().to_vec();
        if kind == RecordKind::EpochEnd {
            self.epoch += 1;
        }
        record
    }

    pub fn data(&mut self, kind: RecordKind, offset: u64, bytes: &[u8]) -> Vec<u8> {
        let len = bytes.len() as u64;
        let header = RecordHeader::extent(kind, self.next(), offset, len).unwrap();
        [&header.to_bytes(), bytes].concat()
    }

    pub fn zero(&mut self, kind: RecordKind, offset: u64, len: u64) -> Vec<u8> {
        let header = RecordHeader::extent(kind, self.next(), offset, len).unwrap();
        header.zeroed().unwrap().to_bytes().to_vec()
    }

    pub fn unreadable(&mut self, offset: u64, len: u64) -> Vec<u8> {
        self.plain(RecordKind::Unreadable, offset, len)
    }

    /// A record of a kind that never carries a payload.
    pub fn plain(&mut self, kind: RecordKind, offset: u64, len: u64) -> Vec<u8> {
        RecordHeader::extent(kind, self.next(), offset, len).unwrap().to_bytes().to_vec()
    }

    /// Records whose content is one byte over and over.
    pub fn fill(&mut self, kind: RecordKind, offset: u64, len: u64, byte: u8) -> Vec<u8> {
        self.data(kind, offset, &vec![byte; usize::try_from(len).unwrap()])
    }

    /// A check, as the service sends it: the volume has these bytes.
    pub fn check(&mut self, offset: u64, bytes: &[u8]) -> Vec<u8> {
        let len = bytes.len() as u64;
        let header = RecordHeader::extent(RecordKind::Check, self.next(), offset, len).unwrap();
        let hash = |tile: &[u8]| tile_hash(blake3::hash(tile).as_bytes());
        let hashes: Vec<_> = bytes.chunks(CHECK_TILE).map(hash).collect();
        [&header.hashed().unwrap().to_bytes(), hashes.as_flattened()].concat()
    }

    /// Block `index` of a volume of [`LENGTH`] bytes.
    pub fn block(&mut self, index: u64, byte: u8) -> Vec<u8> {
        let offset = index * BLOCK;
        self.fill(RecordKind::Block, offset, BLOCK.min(LENGTH - offset), byte)
    }

    pub fn write(&mut self, offset: u64, len: u64, byte: u8) -> Vec<u8> {
        self.fill(RecordKind::Write, offset, len, byte)
    }

    pub fn resync(&mut self, index: u64, byte: u8) -> Vec<u8> {
        let offset = index * BLOCK;
        self.fill(RecordKind::Resync, offset, BLOCK.min(LENGTH - offset), byte)
    }

    pub fn start(&mut self) -> Vec<u8> {
        self.marker(RecordKind::SessionStart)
    }

    pub fn epoch_end(&mut self) -> Vec<u8> {
        self.marker(RecordKind::EpochEnd)
    }

    pub fn gap(&mut self) -> Vec<u8> {
        self.gap_for(GapReason::ServiceLost)
    }

    pub fn gap_for(&mut self, reason: GapReason) -> Vec<u8> {
        RecordHeader::gap_begin(self.next(), reason).to_bytes().to_vec()
    }

    /// The session continues on a volume of so many bytes: a driver that has nothing of it, and
    /// whose clock begins anew, numbers its records far behind.
    pub fn continued(&mut self, length: u64) -> Vec<u8> {
        (self.seq, self.epoch, self.monotonic) = (self.seq + 1000, self.epoch + 1000, 0);
        let marker = RecordHeader::gap_begin(self.next(), GapReason::Resized);
        marker.of_volume(length).unwrap().to_bytes().to_vec()
    }

    pub fn consistent(&mut self) -> Vec<u8> {
        self.marker(RecordKind::Consistent)
    }

    /// A whole first sync of blocks `1, 2, 3, …` in one epoch.
    pub fn first_sync(&mut self) -> Vec<u8> {
        [self.start(), self.blocks(0..5), self.base_complete(), self.epoch_end()].concat()
    }

    /// These blocks of [`base_image`].
    pub fn blocks(&mut self, indices: Range<u8>) -> Vec<u8> {
        indices.flat_map(|index| self.block(index.into(), index + 1)).collect()
    }

    pub fn base_complete(&mut self) -> Vec<u8> {
        self.marker(RecordKind::BaseComplete)
    }

    /// A whole gap, in which block 0 gets this content.
    pub fn bridged_gap(&mut self, byte: u8) -> Vec<u8> {
        [self.gap(), self.resync(0, byte), self.consistent(), self.epoch_end()].concat()
    }
}

/// The t0 image of [`Driver::first_sync`].
pub fn base_image() -> Vec<u8> {
    let mut image = Vec::new();
    for index in 0..5_u8 {
        let len = BLOCK.min(LENGTH - u64::from(index) * BLOCK);
        image.extend(vec![index + 1; usize::try_from(len).unwrap()]);
    }
    image
}

pub fn patch(image: &mut [u8], offset: u64, len: u64, byte: u8) {
    let (start, end) = (usize::try_from(offset).unwrap(), usize::try_from(offset + len).unwrap());
    image[start..end].fill(byte);
}

/// Restores a point of the test session; returns the report and the image.
pub fn image(root: &Path, at: At) -> Result<(Report, Vec<u8>), Error> {
    let to = root.with_extension("img");
    let report = restore_to(root, Source { volume: VOLUME, session: Some(SESSION), at }, &to)?;
    Ok((report, std::fs::read(to).unwrap()))
}

/// Restores into a file, which may exist.
pub fn restore_to(root: &Path, source: Source, to: &Path) -> Result<Report, Error> {
    let request = Request { source, to: to.to_owned(), force: true, other_sector_size: false };
    restore(&Repository::open(root)?, &request, &StopFlag::default(), |_| {})
}

/// A repository with the records of one frame.
pub struct Stored {
    pub dir: tempfile::TempDir,
    pub root: PathBuf,
}

impl Stored {
    pub fn new(records: &[Vec<u8>]) -> Self {
        let dir = scratch();
        let root = dir.path().join("repository");
        ingest(&root, LENGTH, 1 << 20, &[records.concat()]);
        Self { dir, root }
    }

    pub fn image(&self, at: At) -> (Report, Vec<u8>) {
        image(&self.root, at).unwrap()
    }
}

/// The repository in a directory, made if there is none.
pub fn repository(root: &Path) -> WritableRepository {
    match WritableRepository::init(root) {
        Err(Error::Exists(_)) => WritableRepository::open(root).unwrap(),
        made => made.unwrap(),
    }
}

/// A machine that enrols at a server.
pub fn enrol(trust: &ServerTrust, role: Role, address: SocketAddr) -> Credentials {
    let grant = Grant { role, name: None, machine: None };
    let token = trust.make_token(&grant, LIFETIME_DEFAULT, SystemTime::now()).unwrap();
    let address = address.to_string();
    let applicant = Applicant::new(&token, "machine", &address).unwrap();
    snapless_link::tls::enrol::enrol(applicant, &address, &LinkLimits::default()).unwrap()
}

/// Stores frames as a connection would, without a network. Each call is a connection of its own.
pub fn ingest(
    root: &Path,
    length: u64,
    segment_limit: u64,
    frames: &[Vec<u8>],
) -> Vec<Acknowledge> {
    ingest_as(root, &header(length), segment_limit, frames)
}

/// [`ingest`] for any session.
pub fn ingest_as(
    root: &Path,
    header: &SessionHeader,
    segment_limit: u64,
    frames: &[Vec<u8>],
) -> Vec<Acknowledge> {
    ingest_into(&repository(root), header, segment_limit, frames)
}

/// [`ingest_as`] for a repository that is open.
pub fn ingest_into(
    repository: &WritableRepository,
    header: &SessionHeader,
    segment_limit: u64,
    frames: &[Vec<u8>],
) -> Vec<Acknowledge> {
    let (mut writer, state) =
        SessionWriter::open(repository, header, segment_limit, &StopFlag::default()).unwrap();
    let mut ingest = Ingest::AwaitingHello;
    ingest.begin(state);
    let mut acknowledged = Vec::new();
    for payload in frames {
        let frame = FrameHeader::new(FrameKind::Records, payload).unwrap();
        let Action::Store { ends } = ingest.frame(frame, payload).unwrap() else {
            panic!("records are stored");
        };
        writer.append(&frame, payload).unwrap();
        if let Some(ends) = ends {
            writer.commit(ends.epoch(), ends.seq()).unwrap();
            acknowledged.push(ends);
        }
    }
    acknowledged
}

/// A child process; killed outright when dropped.
pub struct Process(pub Child);

impl Process {
    pub fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server on a thread of its own; stopped when dropped.
pub struct Running {
    pub address: SocketAddr,
    stopper: Stopper,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn start(root: &Path) -> Self {
        Self::with_sessions(root, Limits::default().sessions)
    }

    /// A server of at most so many sessions.
    pub fn with_sessions(root: &Path, sessions: usize) -> Self {
        drop(repository(root));
        let limits =
            Limits { sessions, segment_bytes: 64 << 10, map_bytes: 64 << 10, ..Limits::default() };
        Self::of(Server::bind_with("127.0.0.1:0".parse().unwrap(), root, limits).unwrap())
    }

    pub fn of(server: Server) -> Self {
        let (address, stopper) = (server.address(), server.stopper());
        let thread = Some(std::thread::spawn(move || server.run()));
        Self { address, stopper, thread }
    }

    /// A client whose first sync is acknowledged, and the driver behind it.
    pub fn synced(&self) -> (Client, Driver) {
        let ((mut client, ..), mut driver) = (Client::resume(self.address), Driver::default());
        client.records(&driver.first_sync());
        assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
        (client, driver)
    }

    /// Asks it to stop, and waits for nothing.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// A server process; killed outright when dropped.
pub struct Served {
    pub child: Child,
    pub address: SocketAddr,
}

impl Served {
    /// Without TLS; makes the repository if there is none.
    pub fn start(root: &Path) -> Self {
        Self::start_by(program(), root)
    }

    pub fn start_by(command: Command, root: &Path) -> Self {
        if !root.join("repository.snapless").exists() {
            let made = program().arg("init").arg(root).output().unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        Self::listen(command, root, &["--insecure", "--listen", "127.0.0.1:0"]).unwrap()
    }

    /// Serves with these options; `None` if it does not come to listen.
    pub fn listen(mut command: Command, root: &Path, options: &[&str]) -> Option<Self> {
        let mut child = command
            .arg("serve")
            .args(options)
            .arg("--repository")
            .arg(root)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on ") else {
            child.wait().unwrap();
            return None;
        };
        Some(Self { child, address: address.parse().unwrap() })
    }

    /// The most memory that it has had, in bytes, where the system tells.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
            .and_then(|kib| kib.strip_suffix("kB")?.trim().parse().ok())
            .unwrap_or(0)
            << 10
    }

    /// How many threads it has, where the system tells.
    pub fn threads(&self) -> usize {
        self.status("Threads:").and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    fn status(&self, field: &str) -> Option<String> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix(field))?;
        Some(value.trim().to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_snapless-server"))
}

/// The service's half of the protocol.
pub struct Client {
    pub stream: TcpStream,
    link: Link,
    /// The latest point that the server has named.
    pub latest: Option<FileTime>,
    /// What it has said of its copy.
    pub verified: Option<Verified>,
}

/// What a server said.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    Welcome { epoch: u64, seq: u64 },
    Acknowledge { epoch: u64, seq: u64 },
    Error(String),
    Closed,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        let socket = Socket::new(stream.try_clone().unwrap(), &TCP).unwrap();
        Self { stream, link: Link::over(Arc::new(socket)), latest: None, verified: None }
    }

    /// [`Self::connect`] to a server that may die meanwhile.
    pub fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        let socket = Socket::new(stream.try_clone().ok()?, &TCP).ok()?;
        Some(Self { stream, link: Link::over(Arc::new(socket)), latest: None, verified: None })
    }

    /// [`Self::send`] to a server that may be dead: the next [`Self::hear`] tells.
    pub fn try_send(&mut self, kind: FrameKind, payload: &[u8]) {
        drop(self.link.sender.send(kind, payload));
    }

    /// Connects and says Hello; returns the durable epoch and record.
    pub fn resume(address: SocketAddr) -> (Self, u64, u64) {
        let mut client = Self::connect(address);
        client.send(FrameKind::Hello, hello(LENGTH).as_bytes());
        match client.hear() {
            Said::Welcome { epoch, seq } => (client, epoch, seq),
            other => panic!("want a welcome, heard {other:?}"),
        }
    }

    /// Says Hello for a session of the test volume.
    pub fn hello(&mut self, session: SessionId) {
        let hello = Hello::new(VOLUME, session, &geometry(LENGTH));
        self.send(FrameKind::Hello, hello.as_bytes());
    }

    pub fn send(&mut self, kind: FrameKind, payload: &[u8]) {
        self.link.sender.send(kind, payload).unwrap();
    }

    pub fn records(&mut self, payload: &[u8]) {
        self.send(FrameKind::Records, payload);
    }

    /// The answer to a request to compare.
    pub fn compared(&mut self) -> Compared {
        match self.link.receiver.receive() {
            Ok(Some(Message::Compared(compared))) => compared,
            other => panic!("want an answer, heard {other:?}"),
        }
    }

    pub fn hear(&mut self) -> Said {
        match self.link.receiver.receive() {
            Ok(Some(Message::Welcome(welcome))) => {
                self.latest = welcome.latest();
                let (epoch, seq) = (welcome.durable_epoch().get(), welcome.durable_seq().get());
                Said::Welcome { epoch, seq }
            }
            Ok(Some(Message::Acknowledge(acknowledge))) => {
                self.latest = acknowledge.latest();
                Said::Acknowledge { epoch: acknowledge.epoch().get(), seq: acknowledge.seq().get() }
            }
            Ok(Some(other @ (Message::Compared(_) | Message::Reply(_) | Message::Meeting(_)))) => {
                panic!("an answer, and nothing was asked: {other:?}")
            }
            Ok(Some(Message::Verified(verified))) => {
                self.verified = Some(verified);
                self.hear()
            }
            Ok(Some(Message::Refused(text))) => Said::Error(text),
            Ok(None) | Err(LinkError::Lost(_)) => Said::Closed,
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let header = FrameHeader::new(kind, payload).unwrap();
    [&header.to_bytes(), payload].concat()
}
