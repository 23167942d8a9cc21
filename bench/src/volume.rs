//! A volume: one thread with one ring, on which everything happens that has to do with it.
//!
//! The thread receives requests, asks the engine, reads and writes the file, sends replies, and runs the engine's
//! workers between two turns of the ring. So a write never waits for another thread: there is no hop between the
//! socket, the gate, the copy into the queue and the disk.
//!
//! | module | what it does |
//! | --- | --- |
//! | `client` | requests, from the socket to the reply |
//! | `engine` | the engine's sweep, hold, dispatch and drain |
//!
//! The rule: the loop never blocks but in the ring's wait.

mod client;
mod engine;

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::time::{Duration, Instant};

use slab::Slab;
use snapless_engine::{Rundown, RundownOwner, Tick};
use snapless_types::BlockRange;

use crate::connection::Connection;
use crate::error::Result;
use crate::host::{Alarm, Signal};
use crate::memory::{Buffer, Memory, Pool};
use crate::ring::{Done, Ring, Target, Verb};
use crate::session::{Disk, Run};
use crate::sink::Pace;

use client::Request;

/// A gate whose slots say whether the writes inside belong to the session.
pub type VolumeGate = Rundown<AtomicBool, Signal>;

/// What a volume's loop shares with other threads.
#[derive(Debug)]
pub struct Shared {
    /// The file.
    pub disk: Disk,
    /// Wakes the loop.
    pub alarm: Arc<Alarm>,
    /// Which writes belong to the session.
    pub gate: VolumeGate,
    /// What was served.
    pub statistics: Statistics,
}

/// Counters of what was served. Relaxed: they tell nothing about each other.
#[derive(Debug, Default)]
pub struct Statistics {
    /// Reads answered.
    pub reads: AtomicU64,
    /// Bytes of them.
    pub read_bytes: AtomicU64,
    /// Writes answered, trims and writes of zeros among them.
    pub writes: AtomicU64,
    /// Bytes of them.
    pub write_bytes: AtomicU64,
    /// Flushes answered.
    pub flushes: AtomicU64,
    /// Requests that failed.
    pub errors: AtomicU64,
    /// Connections, now.
    pub connections: AtomicU64,
}

/// What other threads ask of the loop.
pub enum Mail {
    /// Serve this client.
    Connect(UnixStream, bool),
    /// Run this session's workers.
    Begin(Box<Beginning>, SyncSender<()>),
    /// Forget the session, which is settled.
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
    /// What the sweep need not read.
    pub holes: Vec<BlockRange>,
    /// Reads of the sweep under way at once, at most.
    pub depth: usize,
}

/// What an operation of the ring is for.
#[derive(Clone, Copy, Debug)]
enum Tag {
    /// The alarm.
    Bell,
    /// A connection's inbox.
    Inbox(usize),
    /// A write's payload: connection and request.
    Payload(usize, usize),
    /// A connection's replies.
    Sent(usize),
    /// A request's I/O.
    Request(usize),
    /// A read of sweep or hold.
    EngineRead,
}

/// When workers have to be asked again without being woken.
#[derive(Clone, Copy, Default, Debug)]
struct Deadlines {
    sweep: Option<Tick>,
    dispatch: Option<Tick>,
    drain: Option<Instant>,
}

/// The loop of a volume. Without `ENGINE` there is no gate and no engine in it, not even a branch.
pub struct Loop<const ENGINE: bool> {
    shared: Arc<Shared>,
    mail: Receiver<Mail>,
    ring: Ring<Tag>,
    done: Vec<Done<Tag>>,
    pool: Pool,
    connections: Slab<Connection>,
    requests: Slab<Request>,
    /// Connections that got replies in this turn.
    replied: Vec<usize>,
    run: Option<Arc<Run>>,
    pace: Option<Pace>,
    holes: Vec<BlockRange>,
    depth: usize,
    /// Reads of the sweep and of hold under way.
    reads: usize,
    deadlines: Deadlines,
    stopping: bool,
}

/// What a volume's loop and other threads need to work together.
pub struct Parts {
    /// What they share.
    pub shared: Arc<Shared>,
    /// The others' end of the mail.
    pub sender: Sender<Mail>,
    /// The loop's end.
    pub receiver: Receiver<Mail>,
    /// The right to change the gate.
    pub owner: RundownOwner,
}

/// Makes the parts of a volume.
pub fn parts(disk: Disk) -> Result<Parts> {
    let none = || AtomicBool::new(false);
    let (gate, owner) = Rundown::new(none(), none(), Signal::default());
    let (alarm, statistics) = (Arc::new(Alarm::new()?), Statistics::default());
    let (sender, receiver) = channel();
    let shared = Arc::new(Shared { disk, alarm, gate, statistics });
    Ok(Parts { shared, sender, receiver, owner })
}

impl<const ENGINE: bool> Loop<ENGINE> {
    /// Serves until it is told to stop. To be called on a thread of its own.
    pub fn run(shared: Arc<Shared>, mail: Receiver<Mail>) -> Result<()> {
        let mut volume = Self {
            shared,
            mail,
            ring: Ring::new()?,
            done: Vec::new(),
            pool: Pool::default(),
            connections: Slab::new(),
            requests: Slab::new(),
            replied: Vec::new(),
            run: None,
            pace: None,
            holes: Vec::new(),
            depth: usize::MAX,
            reads: 0,
            deadlines: Deadlines::default(),
            stopping: false,
        };
        let bell = Buffer::new(8)?;
        volume.listen(bell);
        while !volume.is_over() {
            volume.turn()?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stopping && self.connections.is_empty() && self.requests.is_empty()
    }

    fn turn(&mut self) -> Result<()> {
        let reasons = self.shared.alarm.take();
        if reasons & Alarm::MAIL != 0 {
            self.read_mail()?;
        }
        if ENGINE {
            self.work(reasons);
        }
        self.send_replies();
        if self.is_over() {
            return Ok(());
        }
        let limit = if self.shared.alarm.doze() { self.limit() } else { Some(Duration::ZERO) };
        let waited = self.ring.wait(limit);
        self.shared.alarm.rise();
        waited?;
        let mut done = std::mem::take(&mut self.done);
        self.ring.take_done(&mut done);
        for done in done.drain(..) {
            self.finish(done)?;
        }
        self.done = done;
        Ok(())
    }

    fn finish(&mut self, done: Done<Tag>) -> Result<()> {
        let Done { tag, memory, range, result } = done;
        match (tag, memory) {
            (Tag::Bell, Memory::Buffer(bell)) => self.listen(bell),
            (Tag::Inbox(key), Memory::Buffer(inbox)) => return self.received(key, inbox, &result),
            (Tag::Payload(key, request), Memory::Buffer(buffer)) => {
                return self.received_payload((key, request), buffer, range, &result);
            }
            (Tag::Sent(key), Memory::Bytes(bytes)) => self.sent(key, bytes, range, &result),
            (Tag::Request(key), memory) => return self.request_done(key, memory, range, result),
            (Tag::EngineRead, Memory::Queue(queue, read)) => {
                self.read_done((queue, read), range, result);
            }
            // Memory comes back as it went.
            (tag, memory) => debug_assert!(false, "{tag:?} {memory:?}"),
        }
        Ok(())
    }

    fn listen(&mut self, bell: Buffer) {
        let target = Target::Socket(self.shared.alarm.bell());
        self.ring.begin(target, &Verb::Read(0), Memory::Buffer(bell), 0..8, Tag::Bell);
    }

    fn read_mail(&mut self) -> Result<()> {
        while let Ok(mail) = self.mail.try_recv() {
            match mail {
                Mail::Connect(stream, structured) => self.connect(stream, structured)?,
                Mail::Begin(beginning, reply) => {
                    self.run = Some(beginning.run);
                    self.pace = beginning.pace;
                    self.holes = beginning.holes;
                    self.depth = beginning.depth;
                    // Nobody may wait for it any more.
                    let _ = reply.send(());
                }
                Mail::End(reply) => {
                    self.run = None;
                    self.pace = None;
                    self.holes.clear();
                    self.deadlines = Deadlines::default();
                    let _ = reply.send(());
                }
                Mail::Stop => {
                    self.stopping = true;
                    self.close_all();
                }
            }
        }
        Ok(())
    }

    /// How long the loop may sleep.
    fn limit(&self) -> Option<Duration> {
        if !ENGINE {
            return None;
        }
        let run = self.run.as_ref()?;
        let ticks = [self.deadlines.sweep, self.deadlines.dispatch].into_iter().flatten().min();
        let by_tick = ticks.map(|due| {
            let now = snapless_engine::Host::now(run.session.host());
            // At least a tick, so that the deadline is passed and not met when it is looked at.
            Duration::from_nanos(due.since(now).saturating_add(1).saturating_mul(100))
        });
        let by_time = self.deadlines.drain.map(|due| due.saturating_duration_since(Instant::now()));
        by_tick.into_iter().chain(by_time).min()
    }

    fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
