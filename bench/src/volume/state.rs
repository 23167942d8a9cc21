//! The state of a volume's loop. Only the loop's thread has it, so it needs no lock.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use slab::Slab;
use snapless_engine::{Protection, Tick, Ticket};
use snapless_nbd::{Command, Header};
use snapless_types::BlockRange;

use super::log::Logging;
use super::shared::{Mail, Shared};
use crate::connection::Connection;
use crate::error::Result;
use crate::memory::{Buffer, Pool};
use crate::ring::{Done, Ring};
use crate::run::Run;
use crate::sink::Pace;

/// A volume's loop. Without `ENGINE` it has no rundown and no engine, not even a branch.
pub struct Loop<const ENGINE: bool> {
    pub(super) shared: Arc<Shared>,
    pub(super) mail: Receiver<Mail>,
    pub(super) ring: Ring<Tag>,
    pub(super) done: Vec<Done<Tag>>,
    pub(super) pool: Pool,
    pub(super) connections: Slab<Connection>,
    pub(super) requests: Slab<Request>,
    /// Connections with new replies in this turn.
    pub(super) replied: Vec<usize>,
    pub(super) run: Option<Arc<Run>>,
    pub(super) pace: Option<Pace>,
    pub(super) holes: Option<Vec<BlockRange>>,
    pub(super) depth: usize,
    /// Engine reads in flight.
    pub(super) reads: usize,
    pub(super) deadlines: Deadlines,
    pub(super) log: Option<Logging>,
    pub(super) stopping: bool,
}

impl<const ENGINE: bool> Loop<ENGINE> {
    pub(super) fn new(shared: Arc<Shared>, mail: Receiver<Mail>) -> Result<Self> {
        Ok(Self {
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
            holes: None,
            depth: usize::MAX,
            reads: 0,
            deadlines: Deadlines::default(),
            log: None,
            stopping: false,
        })
    }
}

/// The purpose of an operation of the ring.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tag {
    /// The alarm's eventfd.
    Bell,
    /// A connection's inbox.
    Inbox(usize),
    /// A write's payload: connection and request.
    Payload(usize, usize),
    /// A connection's replies.
    Sent(usize),
    /// A request's I/O.
    Request(usize),
    /// A sweep or hold read.
    EngineRead,
    /// A read, write or flush for the write-intent log.
    Log,
}

/// When a worker is called next without being woken.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Deadlines {
    pub(super) sweep: Option<Tick>,
    pub(super) dispatch: Option<Tick>,
    pub(super) hold: Option<Tick>,
    pub(super) drain: Option<Instant>,
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) connection: usize,
    pub(super) command: Command,
    pub(super) header: Header,
    /// The payload of a write or the target of a read; `None` while the ring has it.
    pub(super) buffer: Option<Buffer>,
    /// Rundown protection, held until the request is complete.
    pub(super) protection: Option<Protection>,
    /// The session's ticket.
    pub(super) ticket: Option<Ticket>,
    /// Done, and now being made durable.
    pub(super) syncing: bool,
}

impl Request {
    pub(super) fn len(&self) -> usize {
        self.header.len as usize
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.command, Command::Write | Command::Trim | Command::Zero { .. })
    }
}
