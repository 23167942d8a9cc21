//! What a volume's loop shares with other threads: the file, the alarm, the rundown, the mail.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};

use snapless_engine::{Rundown, RundownOwner};
use snapless_types::BlockRange;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::host::{Alarm, Signal};
use crate::run::Run;
use crate::sink::Pace;
use crate::volume::log::Logging;

/// Shared between a volume's loop and other threads.
#[derive(Debug)]
pub struct Shared {
    /// The file.
    pub disk: Disk,
    /// Wakes the loop.
    pub alarm: Arc<Alarm>,
    /// Rundown protection of the writes; true: they belong to the session.
    pub rundown: Rundown<AtomicBool, Signal>,
    /// Counters.
    pub statistics: Statistics,
}

/// Counters of a volume. Relaxed: no reader derives one from another.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Reads answered.
    pub reads: AtomicU64,
    /// Bytes of them.
    pub read_bytes: AtomicU64,
    /// Writes and clearings answered.
    pub writes: AtomicU64,
    /// Bytes of them.
    pub write_bytes: AtomicU64,
    /// Flushes answered.
    pub flushes: AtomicU64,
    /// Requests that failed.
    pub errors: AtomicU64,
    /// Open connections.
    pub connections: AtomicU64,
    /// The write-intent log.
    pub log: LogStatistics,
}

/// Counters of a volume's write-intent log.
#[derive(Debug, Default)]
pub struct LogStatistics {
    /// A slot is live.
    pub is_live: AtomicBool,
    /// Slots written.
    pub slots: AtomicU64,
    /// Writes that have waited.
    pub waits: AtomicU64,
    /// Regions that the newest slot has.
    pub marked: AtomicU64,
}

/// Requests of other threads to the loop.
pub enum Mail {
    /// Serve this client; true: reads are answered in chunks.
    Connect(UnixStream, bool),
    /// Run this session's workers.
    Begin(Box<Beginning>, SyncSender<()>),
    /// The blocks of the session that the sweep need not read, the last ones first.
    Holes(Vec<BlockRange>),
    /// Drop the session, which has no reads left.
    End(SyncSender<()>),
    /// Close all connections and end.
    Stop,
}

/// A session that begins.
pub struct Beginning {
    /// The session.
    pub run: Arc<Run>,
    /// Its sink, if the loop serves it.
    pub pace: Option<Pace>,
    /// The sweep waits for [`Mail::Holes`].
    pub awaits_holes: bool,
    /// Most sweep reads at once.
    pub depth: usize,
    /// The volume's write-intent log.
    pub log: Option<Logging>,
}

/// The two ends of a new volume.
pub struct Parts {
    /// For both ends.
    pub shared: Arc<Shared>,
    /// For other threads.
    pub sender: Sender<Mail>,
    /// For the loop.
    pub receiver: Receiver<Mail>,
    /// The right to change the rundown.
    pub owner: RundownOwner,
}

/// Creates both ends of a volume.
pub fn parts(disk: Disk) -> Result<Parts> {
    let none = || AtomicBool::new(false);
    let rundown = Rundown::new(none(), none(), Signal::default(), 1);
    let (rundown, owner) = rundown.ok_or(Error::Session)?;
    let (alarm, statistics) = (Arc::new(Alarm::new()?), Statistics::default());
    let (sender, receiver) = channel();
    let shared = Arc::new(Shared { disk, alarm, rundown, statistics });
    Ok(Parts { shared, sender, receiver, owner })
}
