//! The model disk: requests in flight are applied sector by sector, in any order, at any time, and
//! some fail: a sector cannot be read, a read fails once, or the disk answers no read for a while.
//!
//! A read of a sector that a write in flight covers sees the old content or the new, and a read of
//! many sectors sees a mixture: the checks find an engine that reads under a write.

use std::ops::Range;

use snapless_engine::{Read, ReadOutcome, Ticket, Worker};

use crate::host::MS;
use crate::ledger::{Ledger, Step};
use crate::memory::QueueMemory;
use crate::plan::DiskPlan;
use crate::rng::Rng;
use crate::volume::{Content, Sectors, Volume, WriteId};

/// Ticks for which the disk answers no read, at most.
const AWAY_MAX: u64 = 500 * MS;

/// What a request is for.
#[derive(Debug)]
pub enum Purpose {
    /// A write; without a ticket if it went down before the session was made, or if a sabotage has
    /// used the ticket up. It is transferred from cells of queue memory, or from the application's
    /// buffer.
    Write { id: WriteId, ticket: Option<Ticket>, cells: Option<Range<usize>> },
    /// A read of the engine, into cells of queue memory.
    Read { read: Read, worker: Worker, cells: Range<usize> },
}

#[derive(Debug)]
struct Request {
    purpose: Purpose,
    sectors: Sectors,
    /// Sectors to be transferred, the next one last.
    remaining: Vec<usize>,
    outcome: ReadOutcome,
    started: u64,
    ready: u64,
}

/// The disk.
#[derive(Debug)]
pub struct Disk {
    /// The content of each sector.
    pub sectors: Vec<Content>,
    plan: DiskPlan,
    requests: Vec<Request>,
    /// Reads are answered with [`ReadOutcome::NotNow`] until then.
    away_until: u64,
}

impl Disk {
    /// A volume's disk before any write.
    pub fn new(volume: &Volume, plan: DiskPlan) -> Self {
        let sectors = 0..volume.sectors + volume.beyond;
        let sectors = sectors.map(|sector| volume.initial(sector)).collect();
        Self { sectors, plan, requests: Vec::new(), away_until: 0 }
    }

    /// Takes a request.
    pub fn start(
        &mut self,
        purpose: Purpose,
        sectors: Sectors,
        may_fail: bool,
        rng: &mut Rng,
        now: u64,
    ) {
        let mut remaining: Vec<usize> = sectors.clone().rev().collect();
        if rng.once_in(2) {
            rng.shuffle(&mut remaining);
        }
        let is_read = matches!(purpose, Purpose::Read { .. });
        let outcome = if is_read {
            self.read_outcome(&sectors, may_fail, rng, now)
        } else if may_fail && rng.once_in(self.plan.write_fails_once_in) {
            ReadOutcome::BadSector
        } else {
            ReadOutcome::Done
        };
        if outcome != ReadOutcome::Done {
            remaining.drain(..rng.index(remaining.len() + 1));
        }
        let ready = now + rng.scaled(self.plan.latency.clone());
        let started = now;
        self.requests.push(Request { purpose, sectors, remaining, outcome, started, ready });
    }

    fn read_outcome(
        &mut self,
        sectors: &Sectors,
        may_fail: bool,
        rng: &mut Rng,
        now: u64,
    ) -> ReadOutcome {
        let is_bad = |sector: usize| self.plan.bad_sectors.contains(&sector);
        if may_fail && rng.once_in(self.plan.read_fails_once_in) {
            if rng.once_in(2) {
                return ReadOutcome::BadSector;
            }
            if rng.once_in(4) {
                self.away_until = now + rng.scaled(MS..=AWAY_MAX);
            }
            return ReadOutcome::NotNow;
        }
        if may_fail && now < self.away_until {
            ReadOutcome::NotNow
        } else if sectors.clone().any(is_bad) {
            ReadOutcome::BadSector
        } else {
            ReadOutcome::Done
        }
    }

    /// When each request can next be advanced, and when it is overdue.
    pub fn dues(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.requests.iter().map(|request| {
            let next = if request.remaining.is_empty() { request.ready } else { request.started };
            (next, request.ready)
        })
    }

    /// True if nothing is in flight.
    pub fn is_idle(&self) -> bool {
        self.requests.is_empty()
    }

    /// Transfers some sectors of a request, or finishes it if its time has come: then returns its
    /// purpose, and what became of it; a write that fails has a bad sector.
    pub fn advance(
        &mut self,
        index: usize,
        rng: &mut Rng,
        now: u64,
        memory: &mut QueueMemory,
        ledger: &mut Ledger,
        step: Step,
    ) -> Option<(Purpose, ReadOutcome)> {
        let request = &mut self.requests[index];
        let finishes = now >= request.ready;
        let count =
            if finishes { request.remaining.len() } else { rng.index(request.remaining.len()) + 1 };
        if let Purpose::Write { id, .. } = request.purpose
            && rng.once_in(self.plan.buffer_changes_once_in)
        {
            ledger.change_buffer(id);
        }
        for sector in request.remaining.drain(request.remaining.len() - count..).rev() {
            let at = sector - request.sectors.start;
            match &request.purpose {
                Purpose::Write { id, cells, .. } => {
                    let buffer = || ledger.content(*id, sector);
                    let content =
                        cells.as_ref().map_or_else(buffer, |cells| memory.cells[cells.start + at]);
                    self.sectors[sector] = content;
                    ledger.apply(sector, content, step);
                }
                Purpose::Read { cells, .. } => {
                    memory.cells[cells.start + at] = self.sectors[sector];
                }
            }
        }
        finishes.then(|| {
            let request = self.requests.swap_remove(index);
            (request.purpose, request.outcome)
        })
    }
}
