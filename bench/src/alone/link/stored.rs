//! The same link into a server that stores: a whole first sync, until it is acknowledged.
//!
//! The repository is in memory where the system has such a file system, so that the disk's pace
//! does not hide the cost of the link.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_server::repository::WritableRepository;
use snapless_server::security::Security;
use snapless_server::serve::{Limits, Server};
use snapless_trust::rustls::ClientConfig;
use snapless_trust::server::ServerTrust;
use snapless_types::{EpochId, Geometry, RecordKind, Seq};
use snapless_wire::frame::{FrameKind, Hello};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RecordError, RecordHeader};

use super::{RECORD_LEN, RECORDS};
use crate::error::{Error, Result};

/// Blocks of the volume.
const BLOCKS: u64 = 8192;
const IN_MEMORY: &str = "/dev/shm";

/// Sends a first sync and waits until it is durable; returns bytes per second.
#[allow(clippy::cast_precision_loss)]
pub(super) fn speed(trust: &Arc<ServerTrust>, config: Option<&Arc<ClientConfig>>) -> Result<f64> {
    let memory = Path::new(IN_MEMORY);
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let folder = tempfile::tempdir_in(place).map_err(Error::Thread)?;
    let failed = |error: snapless_server::error::Error| Error::Sink(error.to_string());
    let root = folder.path().join("repository");
    drop(WritableRepository::init(&root).map_err(failed)?);
    let security = config.map_or(Security::Insecure, |_| Security::Tls(Arc::clone(trust)));
    let listen = ([127, 0, 0, 1], 0).into();
    let server =
        Server::bind_secured(listen, &root, Limits::default(), security).map_err(failed)?;
    let (address, stopper) = (server.address().to_string(), server.stopper());
    thread::scope(|scope| {
        scope.spawn(|| server.run());
        let sent = send(&address, config);
        stopper.stop();
        sent.map(|seconds| (BLOCKS * RECORD_LEN as u64) as f64 / seconds)
    })
}

/// Returns how many seconds it took.
fn send(address: &str, config: Option<&Arc<ClientConfig>>) -> Result<f64> {
    let limits = LinkLimits::default();
    let mut link = match config {
        Some(config) => Link::connect_tls(address, &limits, config, &|| false)?,
        None => Link::connect(address, &limits, &|| false)?,
    };
    let geometry = Geometry::new(BLOCKS * RECORD_LEN as u64, 512, 64 << 10);
    let geometry = geometry.map_err(Error::Geometry)?;
    let session = SessionId(*uuid::Uuid::new_v4().as_bytes());
    link.greet(&Hello::new(VolumeGuid([0x5a; 16]), session, &geometry), &limits, &|| false)?;
    let payload = vec![0x5a; RECORD_LEN];
    let mut records = Numbered { seq: 0, frame: Vec::new() };
    let begun = Instant::now();
    records.push(|at| RecordHeader::marker(RecordKind::SessionStart, at), &[])?;
    for block in 0..BLOCKS {
        let (offset, len) = (block * RECORD_LEN as u64, RECORD_LEN as u64);
        records.push(|at| RecordHeader::extent(RecordKind::Block, at, offset, len), &payload)?;
        if records.frame.len() >= RECORDS * RECORD_LEN {
            link.sender.send(FrameKind::Records, &records.frame)?;
            records.frame.clear();
        }
    }
    records.push(|at| RecordHeader::marker(RecordKind::BaseComplete, at), &[])?;
    records.push(|at| RecordHeader::marker(RecordKind::EpochEnd, at), &[])?;
    link.sender.send(FrameKind::Records, &records.frame)?;
    match link.receiver.receive()? {
        Some(Message::Acknowledge(_)) => {
            let seconds = begun.elapsed().as_secs_f64();
            link.closer.close();
            Ok(seconds)
        }
        Some(Message::Refused(why)) => Err(LinkError::Refused(why).into()),
        _ => Err(LinkError::Closed.into()),
    }
}

/// Records with their numbers, packed into a frame.
struct Numbered {
    seq: u64,
    frame: Vec<u8>,
}

impl Numbered {
    fn push(
        &mut self,
        header: impl FnOnce(Position) -> Result<RecordHeader, RecordError>,
        payload: &[u8],
    ) -> Result<()> {
        self.seq += 1;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ticks = u64::try_from(now.as_nanos() / 100).unwrap_or(0);
        let position = Position {
            seq: Seq::new(self.seq),
            time: FileTime::new(FileTime::UNIX_EPOCH.get() + ticks),
            monotonic: ticks,
            epoch: EpochId::new(1),
        };
        let header = header(position).map_err(|why| Error::Sink(why.to_string()))?;
        self.frame.extend_from_slice(&header.to_bytes());
        self.frame.extend_from_slice(payload);
        Ok(())
    }
}
