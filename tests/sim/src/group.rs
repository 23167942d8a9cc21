//! The simulator of a consistency group: sessions of several volumes of a machine, one clock, or of
//! several machines, each with a clock, and applications that write to all of them.
//!
//! An application writes when it has seen other writes complete, on whatever volume. Rule ORDER
//! (rules.md#order) has it that the records of all volumes up to one time of the clock have no
//! write without those that had completed before it arrived. It is checked for every time of a run,
//! and for the instants that the service finds ([`Drained`]) while the run goes on.
//!
//! A thread reads the clocks, and may be preempted before it takes a session's lock: each verb is
//! two steps of the scheduler. The clock goes on by a coarse tick, as that of Windows does.
//!
//! Clocks of several machines differ, and now and then one of them is stopped for a while, as that
//! of a virtual machine that is moved. They are compared with the server's ([`Clocks`]), which is
//! that of the run, by questions that are under way for some time. Volumes have cuts around an
//! instant of the server's ([`Session::cut`]), and only these are checked.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use fastrand::Rng;
use snapless_engine::{
    Capture, Config, Host, Issue, Part, Read, ReadOutcome, Session, Step, Submission, Tick, Ticket,
    Urgency, Waiter, Worker,
};
use snapless_service::drained::{Drained, End};
use snapless_service::meeting::{Clocks, EXCHANGES, Exchange};
use snapless_types::{Clearing, Extent, Geometry, RecordKind, Seq};
use snapless_wire::id::{FileTime, SessionId};
use snapless_wire::ioctl::CutTime;
use snapless_wire::record::{Position, RecordHeader};

use crate::host::{MS, SimMutex, US};

const VOLUMES: usize = 3;
const BLOCK: u64 = 16 << 10;
const BLOCKS: u64 = 8;
/// Applications, each with a write at a time.
const WRITERS: usize = 5;
const STEPS: usize = 3_000;
/// By how much the clock goes on at once.
const COARSE: u64 = 16 * MS;
/// How far ahead the instants are that are asked for, in ticks.
const AHEAD: u64 = 2 * COARSE;
/// How far ahead the instants of several machines are, in ticks.
const MEETING_AHEAD: u64 = 100 * MS;
/// How long a question or an answer is under way at most, in ticks.
const UNDER_WAY: u64 = 2 * MS;
/// How long a clock is stopped at most, in ticks.
const PAUSE: u64 = 150 * MS;

/// How a run is broken, to show that the check finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Breach {
    /// Each volume has a clock of its own, and they differ.
    OwnClocks,
    /// Of each volume the instant is taken at which it is asked.
    OwnInstants,
    /// Writes of several machines wait for no cut.
    NoCut,
    /// A cut is as long as a step of the clocks, and nothing else is unknown of them.
    ShortCut,
    /// Clocks are not compared again behind the instant.
    Believed,
}

/// Where the volumes of a group are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// On one machine.
    OneMachine,
    /// Each on a machine of its own.
    Machines,
}

/// Plays a run.
///
/// # Errors
/// The first write that is in an image without one that had completed before it arrived.
pub fn play(place: Place, seed: u64, breach: Option<Breach>) -> Result<(), String> {
    let mut world = World::new(place, seed, breach);
    for _ in 0..STEPS {
        world.step()?;
    }
    if place == Place::Machines {
        return Ok(());
    }
    world.check_every_time().map_err(|why| format!("seed {seed}: {why}"))
}

type WriteId = usize;

/// A volume's host: what the running thread read on the clock. No worker has to be woken, as the
/// scheduler calls every verb now and then.
#[derive(Clone, Default)]
struct GroupHost(Rc<Cell<u64>>);

impl Host for GroupHost {
    type Write = WriteId;
    type Waiting = VecDeque<Waiter<WriteId>>;
    type Mutex<T> = SimMutex<T>;

    fn now(&self) -> Tick {
        Tick(self.0.get() / COARSE * COARSE)
    }

    fn clock(&self) -> u64 {
        self.0.get()
    }

    fn wake(&self, _worker: Worker) {}
}

/// A write of an application.
struct Write {
    /// How many writes had completed before it arrived.
    after: usize,
    /// Its place among those that have completed.
    completed: Option<usize>,
}

/// What a thread does once it has the lock of a session.
enum Verb {
    Submit(WriteId, Extent, Option<Clearing>),
    Captured(Capture<WriteId>),
    PartCaptured(Part<WriteId>),
    ReadDone(Read),
    Sweep,
    Hold,
    Dispatch,
}

/// A thread that has read the clock and waits for the lock.
struct Thread {
    volume: usize,
    read: u64,
    verb: Verb,
}

struct Volume {
    host: GroupHost,
    session: Session<GroupHost>,
    /// By how much its clock is ahead.
    ahead: u64,
    /// How it compares with the server's, when the instant was asked for.
    clocks: Option<Clocks>,
    /// Issued writes.
    on_disk: Vec<(WriteId, Ticket)>,
    /// Which write a record is of.
    record_of: HashMap<Seq, WriteId>,
    /// Drained records: number, monotonic time.
    records: Vec<(Seq, u64)>,
    drained: Drained,
    asked_for: u64,
    /// The instant that was asked for, by its clock.
    asked_at: u64,
}

struct World {
    rng: Rng,
    place: Place,
    breach: Option<Breach>,
    now: u64,
    volumes: Vec<Volume>,
    threads: Vec<Thread>,
    writes: Vec<Write>,
    completed: usize,
    outstanding: usize,
    /// An instant was asked for.
    is_asked: bool,
    /// Ends of the streams of the first volumes, each of its own instant.
    own: Vec<Seq>,
}

const SESSION: SessionId = SessionId([1; 16]);

impl Volume {
    fn new(ahead: u64) -> Self {
        let host = GroupHost::default();
        host.0.set(ahead);
        let config = Config { read_bytes: BLOCK, ..Config::new(64 * BLOCK) };
        let geometry = Geometry::new(BLOCKS * BLOCK, 512, 16 << 10).expect("a geometry");
        let session = Session::new(host.clone(), geometry, config).expect("a session");
        session.begin();
        let drained = Drained::default();
        drained.begin(SESSION);
        Self {
            host,
            session,
            ahead,
            clocks: None,
            on_disk: Vec::new(),
            record_of: HashMap::new(),
            records: Vec::new(),
            drained,
            asked_for: 0,
            asked_at: 0,
        }
    }

    /// What its clock shows.
    fn clock(&self, now: u64) -> u64 {
        self.host.0.set(now + self.ahead);
        self.host.now().0
    }

    /// Drains what is there, and has it acknowledged.
    fn drain(&mut self) {
        while let Step::Do(drained) = self.session.drain(u64::MAX) {
            let record = drained.record();
            let (seq, epoch, monotonic) = (record.seq, record.epoch, record.monotonic.0);
            let at = Position { seq, time: FileTime::new(record.time), monotonic, epoch };
            // What it is does not count here.
            let header = RecordHeader::marker(RecordKind::EpochEnd, at).expect("a marker");
            self.drained.seeing().see(&header);
            self.records.push((seq, monotonic));
            self.session.drained(drained);
            if record.kind == RecordKind::EpochEnd {
                self.session.acknowledge(epoch).expect("an epoch that has ended");
            }
        }
    }
}

impl World {
    fn new(place: Place, seed: u64, breach: Option<Breach>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut volume = |volume: usize| match (place, breach) {
            (Place::Machines, _) => Volume::new(rng.u64(10_000 * MS..20_000 * MS)),
            (_, Some(Breach::OwnClocks)) => Volume::new(volume as u64 * 3 * COARSE),
            _ => Volume::new(0),
        };
        Self {
            volumes: (0..VOLUMES).map(&mut volume).collect(),
            rng,
            place,
            breach,
            now: 0,
            threads: Vec::new(),
            writes: Vec::new(),
            completed: 0,
            outstanding: 0,
            is_asked: false,
            own: Vec::new(),
        }
    }

    fn step(&mut self) -> Result<(), String> {
        let volume = self.rng.usize(..VOLUMES);
        match self.rng.u8(..20) {
            0..=2 if self.outstanding < WRITERS => self.write(volume),
            3..=7 => self.complete(volume),
            8 => self.think(volume, Verb::Sweep),
            9..=10 => self.think(volume, Verb::Hold),
            11..=13 => self.think(volume, Verb::Dispatch),
            14 => self.volumes[volume].drain(),
            15 => self.now += self.rng.u64(..2 * COARSE),
            16 => self.look()?,
            _ => self.now += self.rng.u64(..100 * US),
        }
        // Threads that wait for the lock; some for long.
        while self.threads.len() > 6 || !self.threads.is_empty() && self.rng.bool() {
            let thread = self.threads.swap_remove(self.rng.usize(..self.threads.len()));
            self.run(thread);
        }
        Ok(())
    }

    /// A thread reads the clocks.
    fn think(&mut self, volume: usize, verb: Verb) {
        let read = self.now + self.volumes[volume].ahead;
        self.threads.push(Thread { volume, read, verb });
    }

    fn write(&mut self, volume: usize) {
        let id = self.writes.len();
        self.writes.push(Write { after: self.completed, completed: None });
        self.outstanding += 1;
        let sector = self.rng.u64(..BLOCKS * BLOCK / 512 - 8);
        let extent = Extent::new(sector * 512, self.rng.u64(1..=8) * 512).expect("an extent");
        let clearing = (self.rng.u8(..3) == 0).then_some(Clearing::Trim);
        self.think(volume, Verb::Submit(id, extent, clearing));
    }

    /// The disk is done with a write.
    fn complete(&mut self, volume: usize) {
        let on_disk = &mut self.volumes[volume].on_disk;
        if on_disk.is_empty() {
            return;
        }
        let (id, ticket) = on_disk.swap_remove(self.rng.usize(..on_disk.len()));
        self.volumes[volume].session.completed(ticket, true);
        self.writes[id].completed = Some(self.completed);
        self.completed += 1;
        self.outstanding -= 1;
    }

    /// A thread has the lock.
    fn run(&mut self, Thread { volume, read, verb }: Thread) {
        let it = &self.volumes[volume];
        it.host.0.set(read);
        let session = &it.session;
        match verb {
            Verb::Submit(id, extent, None) => {
                let submission = session.submit(id, extent, Urgency::MayWait);
                self.carry_out(volume, submission);
            }
            Verb::Submit(id, extent, Some(clearing)) => {
                let submission = session.submit_clearing(id, clearing, extent, Urgency::MayWait);
                self.carry_out(volume, submission);
            }
            Verb::Captured(capture) => {
                let issue = session.captured(capture);
                self.issue(volume, issue);
            }
            Verb::PartCaptured(part) => {
                let submission = session.part_captured(part);
                self.carry_out(volume, submission);
            }
            Verb::ReadDone(read) => {
                if let Some(again) = session.read_done(read, ReadOutcome::Done) {
                    self.think(volume, Verb::ReadDone(again));
                }
            }
            Verb::Sweep => {
                if let Step::Do(read) = session.sweep() {
                    self.think(volume, Verb::ReadDone(read));
                }
            }
            Verb::Hold => {
                if let Step::Do(read) = session.hold() {
                    self.think(volume, Verb::ReadDone(read));
                }
            }
            Verb::Dispatch => {
                if let Step::Do(submission) = session.dispatch() {
                    self.carry_out(volume, submission);
                }
            }
        }
    }

    fn carry_out(&mut self, volume: usize, submission: Submission<WriteId>) {
        match submission {
            Submission::Capture(capture) => self.think(volume, Verb::Captured(capture)),
            Submission::Part(part) => self.think(volume, Verb::PartCaptured(part)),
            Submission::Issue(issue) => self.issue(volume, issue),
            Submission::Held => {}
            Submission::Cancelled(id) => panic!("CLEAR: no write was cancelled: {id}"),
        }
    }

    fn issue(&mut self, volume: usize, issue: Issue<WriteId>) {
        let it = &mut self.volumes[volume];
        let record = issue.record.expect("the queue has room for every write");
        it.record_of.insert(record, issue.write);
        it.on_disk.push((issue.write, issue.ticket));
    }

    /// Asks for an instant as the service does, or for the end of each volume's stream up to it.
    fn look(&mut self) -> Result<(), String> {
        if self.breach == Some(Breach::OwnInstants) {
            return self.look_at_one();
        }
        if !self.is_asked {
            match self.place {
                Place::OneMachine => self.ask(),
                Place::Machines => self.meet(),
            }
            return Ok(());
        }
        let mut ends = Vec::new();
        for it in &mut self.volumes {
            it.host.0.set(self.now + it.ahead);
            let status = it.session.status();
            it.drain();
            if status.monotonic.0 <= it.asked_at {
                return Ok(());
            }
            match it.drained.answer(Seq::new(status.last_seq)) {
                End::Known(end) => ends.push(end),
                other => return Err(format!("all was drained, and the end is {other:?}")),
            }
        }
        self.is_asked = false;
        let at = self.volumes[0].asked_at;
        for volume in 0..VOLUMES {
            let Some(before) = self.volumes[volume].clocks.take() else { continue };
            let are_still = self.compare(volume).is_some_and(|now| before.are_still(&now));
            if !are_still && self.breach != Some(Breach::Believed) {
                // There is no bookmark.
                return Ok(());
            }
        }
        self.check(&ends).map_err(|why| format!("at {at}: {why}"))
    }

    /// Asks for an instant of the machine's clock.
    fn ask(&mut self) {
        let mut at = 0;
        for it in &mut self.volumes {
            it.host.0.set(self.now + it.ahead);
            let status = it.session.status();
            (it.asked_for, at) = (status.last_seq, at.max(status.monotonic.0));
        }
        at += AHEAD;
        self.is_asked = self.volumes.iter_mut().all(|it| {
            it.asked_at = at;
            it.drained.ask(SESSION, at, Seq::new(it.asked_for))
        });
    }

    /// Asks for an instant of the server's clock, with a cut of each volume.
    fn meet(&mut self) {
        for volume in 0..VOLUMES {
            self.volumes[volume].clocks = self.compare(volume);
        }
        let instant = self.now + MEETING_AHEAD;
        if self.rng.u8(..4) == 0 {
            let stopped = self.rng.u64(..PAUSE);
            self.now += stopped;
            self.volumes[self.rng.usize(..VOLUMES)].ahead -= stopped;
        }
        let (now, breach) = (self.now, self.breach);
        self.is_asked = self.volumes.iter_mut().all(|it| {
            let clocks = it.clocks.expect("clocks that were just compared");
            let CutTime { mut from, until } = clocks.cut(instant).expect("a short cut");
            if breach == Some(Breach::ShortCut) {
                from = until - COARSE;
            }
            it.host.0.set(now + it.ahead);
            let asked_for = Seq::new(it.session.status().last_seq);
            it.asked_at = until - 1;
            let is_cut =
                breach == Some(Breach::NoCut) || it.session.cut(Tick(from), Tick(until)).is_ok();
            is_cut && it.drained.ask(SESSION, it.asked_at, asked_for)
        });
    }

    /// Compares a volume's clock with the server's, as the service does.
    fn compare(&mut self, volume: usize) -> Option<Clocks> {
        let exchange = |_| {
            let before = self.volumes[volume].clock(self.now);
            self.now += self.rng.u64(..UNDER_WAY);
            let server = self.now;
            self.now += self.rng.u64(..UNDER_WAY);
            Exchange { before, server, after: self.volumes[volume].clock(self.now) }
        };
        let exchanges: Vec<_> = (0..EXCHANGES).map(exchange).collect();
        Clocks::of(&exchanges)
    }

    /// Takes the end of one volume's stream, and those of the others later.
    fn look_at_one(&mut self) -> Result<(), String> {
        let it = &mut self.volumes[self.own.len()];
        it.drain();
        self.own.push(Seq::new(it.session.status().last_seq));
        if self.own.len() < VOLUMES {
            return Ok(());
        }
        let ends = std::mem::take(&mut self.own);
        self.check(&ends)
    }

    /// Checks the images of all times.
    fn check_every_time(&mut self) -> Result<(), String> {
        for it in &mut self.volumes {
            it.drain();
        }
        let records = self.volumes.iter().flat_map(|it| &it.records);
        let mut times: Vec<u64> = records.map(|&(_, monotonic)| monotonic).collect();
        times.sort_unstable();
        times.dedup();
        for time in times {
            let last = |it: &Volume| {
                let within = it.records.iter().rfind(|(_, monotonic)| *monotonic <= time);
                within.map_or(Seq::new(0), |(seq, _)| *seq)
            };
            let ends: Vec<_> = self.volumes.iter().map(last).collect();
            self.check(&ends).map_err(|why| format!("{time}: {why}"))?;
        }
        Ok(())
    }

    /// Checks that images up to these records have no write without those that had completed before
    /// it arrived.
    fn check(&self, ends: &[Seq]) -> Result<(), String> {
        let mut is_in = vec![false; self.writes.len()];
        for (volume, it) in self.volumes.iter().enumerate() {
            for (seq, id) in &it.record_of {
                is_in[*id] = *seq <= ends[volume];
            }
        }
        let all = || self.writes.iter().zip(&is_in);
        let needed = all().filter(|(_, is_in)| **is_in).map(|(it, _)| it.after).max().unwrap_or(0);
        let is_missing = |(write, is_in): &(&Write, &bool)| {
            !**is_in && write.completed.is_some_and(|completed| completed < needed)
        };
        match all().position(|it| is_missing(&it)) {
            None => Ok(()),
            Some(id) => Err(format!(
                "ORDER: write {id} is missing, and one that arrived after {needed} had completed \
                 is there"
            )),
        }
    }
}
