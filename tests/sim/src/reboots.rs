//! The simulator of restarts: the real engine is dropped at any step with all that it has, the disk
//! goes on without it, and the next one continues the session. The server's rules are the real
//! ones.
//!
//! A step is one thing that happens: a write arrives or completes, a worker calls its verb, a
//! record travels, the server makes an epoch durable, the service goes or comes, the machine loses
//! power, the server is put back to an older state, or exchanged for a copy and back; the machine
//! is put back to a snapshot of its disk; the volume grows or shrinks, while its session runs or
//! not; or the driver saves its state, the machine goes down and comes up, and the next session
//! takes it; or the driver does something for its write-intent log; or the machine sleeps and wakes
//! up. The disk has a cache that a loss of power empties. Whenever the stream describes the
//! volume and nothing is on its way, the replica must be the disk; at the end every such instant
//! must be a point still.

mod logging;
mod saved;
mod saving;
mod server;
mod sleep;

use snapless_driver_logic::tracker::{Arrival, Next};
use snapless_engine::{
    Config, MemorySpan, Read, ReadOutcome, Session, Step, Submission, Ticket, Urgency,
};
use snapless_tracking::marks::Marks;
use snapless_types::{BlockIndex, BlockRange, EpochId, GapReason, Geometry, Regions, Seq};
use snapless_wire::ioctl::origin_behind;

use crate::host::{MS, SimHost};
use crate::rng::Rng;
use crate::volume::WriteId;

use saved::{Kept, Nap, STAMP, Saved};
use server::{Repository, SECTOR, SECTORS, SECTORS_IN_BLOCK, Server, extent, sectors};

/// Steps of a run under load, and at most until it comes to rest.
const STEPS: u64 = 3_000;
const CALM_STEPS: u64 = 20_000;

/// Sectors that most writes go to, for a while.
const HOT: usize = 8;

/// What a run has seen.
#[derive(Clone, Copy, Default, Debug)]
pub struct Played {
    /// Starts of a session that continues.
    pub continued: u64,
    /// Those of them because the server was put back.
    pub rolled_back: u64,
    /// Exchanges of the server's repository for a copy of it.
    pub exchanged: u64,
    /// Instants that were checked, and are points at the end.
    pub points: u64,
    /// Blocks that were read again and not sent.
    pub unchanged: u64,
    /// Sessions that continued with a state that was saved.
    pub saved: u64,
    /// Bytes that these did not read again.
    pub spared: u64,
    /// Sessions that continued with the log, after a crash.
    pub logged: u64,
    /// Bytes that these did not read again.
    pub log_spared: u64,
    /// Live slots of the log.
    pub slots: u64,
    /// Machines that were put back to a snapshot of their disk.
    pub put_back: u64,
    /// Writes that waited for the log.
    pub waited: u64,
    /// Sleeps of the machine.
    pub slept: u64,
    /// Those after which the volume was as it was.
    pub woken: u64,
    /// Those after which every block was read again.
    pub doubted: u64,
    /// Changes of the volume's length.
    pub resized: u64,
}

struct Flight {
    ticket: Ticket,
    write: WriteId,
    memory: Option<MemorySpan>,
}

/// A write: the sectors from the first one on get this content.
#[derive(Clone, Copy)]
struct Write {
    first: usize,
    count: usize,
    content: u32,
}

/// What a machine is put back to: its disk, with the state area and what the service has there.
struct Snapshot {
    sectors: usize,
    disk: Vec<u32>,
    kept: Kept,
}

/// An instant at which the stream described the volume.
#[derive(Clone)]
struct Known {
    seq: u64,
    disk: Vec<u32>,
}

struct World {
    rng: Rng,
    /// The volume as the session knows it.
    geometry: Geometry,
    /// Sectors of the volume.
    sectors: usize,
    /// The content of each sector, those that are no part of the volume included; 0 for none.
    disk: Vec<u32>,
    /// The same without what is in the disk's cache only.
    durable: Vec<u32>,
    writes: Vec<Write>,
    /// Where most writes go.
    hot: usize,
    host: SimHost,
    session: Session<SimHost>,
    boots: u64,
    memory: Vec<u32>,
    reads: Vec<Read>,
    flights: Vec<Flight>,
    /// Blocks without data that the sweep still has to skip.
    skips: Vec<BlockRange>,
    /// What the driver keeps while the machine is off.
    saved: Saved<Flight>,
    is_attached: bool,
    /// The system is being shut down.
    is_going_down: bool,
    nap: Nap,
    server: Server,
    known: Vec<Known>,
    /// A snapshot of the disk.
    snapshot: Option<Snapshot>,
    /// A copy of the server's repository, and the instants of it.
    copy: Option<(Repository, Vec<Known>)>,
    played: Played,
}

/// Plays the run of a seed; an error says what was broken.
pub fn play(seed: u64) -> Result<Played, String> {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.act(true)?;
        world.check()?;
    }
    world.come_to_rest()
}

fn geometry(sectors: usize) -> Geometry {
    let (length, block) = (sectors as u64 * SECTOR, SECTORS_IN_BLOCK as u64 * SECTOR);
    Geometry::new(length, 4096, u32::try_from(block).unwrap_or(0)).expect("a small volume")
}

fn config() -> Config {
    let block = SECTORS_IN_BLOCK as u64 * SECTOR;
    let mut config = Config::new(8 * block);
    config.read_bytes = 2 * block;
    config.epoch_bytes = block;
    config.epoch_age = 20 * MS;
    config
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 3);
        let sectors = any_length(&mut rng);
        let disk: Vec<_> = (0..SECTORS).map(|_| u32::from(rng.once_in(2))).collect();
        let host = SimHost::default();
        let session =
            Session::new(host.clone(), geometry(sectors), config()).expect("there is memory");
        let queue = usize::try_from(config().queue_bytes / SECTOR).expect("a small queue");
        let mut world = Self {
            rng,
            geometry: geometry(sectors),
            sectors,
            durable: disk.clone(),
            disk,
            writes: Vec::new(),
            hot: 0,
            host,
            session,
            boots: 0,
            memory: vec![0; queue],
            reads: Vec::new(),
            flights: Vec::new(),
            skips: Vec::new(),
            saved: Saved::new(&geometry(sectors)),
            is_attached: true,
            is_going_down: false,
            nap: Nap::None,
            server: Server::new(geometry(sectors)),
            known: Vec::new(),
            snapshot: None,
            copy: None,
            played: Played::default(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.session.begin();
        self.skips.clear();
        for block in self.geometry.all_blocks().iter() {
            let run = BlockRange::new(block, BlockIndex(block.0 + 1));
            let Some(extent) = self.geometry.extent_of(&run) else { continue };
            if self.disk[sectors(&extent)].iter().all(|&content| content == 0) {
                self.skips.push(run);
            }
        }
    }

    /// One thing happens.
    fn act(&mut self, under_load: bool) -> Result<(), String> {
        self.host.advance(self.rng.below(2 * MS));
        if self.rng.once_in(6) && self.nap_step() {
            return Ok(());
        }
        if self.is_going_down && self.rng.once_in(2) {
            self.save();
            return Ok(());
        }
        if self.session.status().resized && self.is_attached && self.rng.once_in(8) {
            self.hand_over();
            return Ok(());
        }
        if self.rng.once_in(4) {
            self.log_step();
            return Ok(());
        }
        match self.rng.below(if under_load { 64 } else { 40 }) {
            0..6 => self.read(|session| session.sweep()),
            6..9 => self.read(|session| session.hold()),
            9..16 => self.finish_read(),
            16..20 => {
                if let Step::Do(submission) = self.session.dispatch() {
                    self.accept(submission);
                }
            }
            20..27 => self.complete(),
            27..34 => self.drain()?,
            34..37 => self.make_durable()?,
            37..39 => self.skip(),
            39 => self.attach()?,
            40..62 => self.submit(),
            62 => match self.rng.below(24) {
                0..6 => self.leave(),
                6 => self.copy(),
                7 => self.exchange(),
                8..12 => {
                    self.is_going_down = true;
                    self.fall_asleep();
                }
                12 => self.snapshot = Some(self.take_snapshot()),
                13 => self.put_back(),
                14..17 => self.begin_nap(),
                17 => self.resize(),
                _ => {}
            },
            _ if self.rng.once_in(4) => self.restart(),
            _ if self.saved.is_done() => self.restart(),
            _ => {}
        }
        Ok(())
    }

    fn content(&mut self, first: usize, count: usize) -> WriteId {
        let id = u32::try_from(self.writes.len()).expect("runs are short");
        self.writes.push(Write { first, count, content: id + 2 });
        WriteId(id)
    }

    fn submit(&mut self) {
        if self.writes.len() > 100_000 || self.flights.len() > 8 {
            return;
        }
        // Most writes go to a part of the volume, for a while.
        if self.rng.once_in(100) {
            self.hot = self.rng.index(SECTORS - HOT);
        }
        let is_cold = self.rng.once_in(16);
        let first = if is_cold { self.rng.index(SECTORS) } else { self.hot + self.rng.index(HOT) };
        let first = first % self.sectors;
        let count = 1 + self.rng.index((self.sectors - first).min(6));
        let id = self.content(first, count);
        if extent(first, 1).offset() >= self.geometry.length() {
            // As `IoPath::write` of the driver: it is none of the session's.
            let content = self.writes[id.0 as usize].content;
            self.disk[first..first + count].fill(content);
            return;
        }
        let urgency = if self.rng.once_in(50) { Urgency::MustNotWait } else { Urgency::MayWait };
        let submission = self.session.submit(id, extent(first, count), urgency);
        self.accept(submission);
    }

    fn accept(&mut self, submission: Submission<WriteId>) {
        let issue = match submission {
            Submission::Held | Submission::Cancelled(_) => return,
            Submission::Part(_) => unreachable!("no write is longer than a record"),
            Submission::Issue(issue) => issue,
            Submission::Capture(capture) => {
                let write = self.writes[capture.write().0 as usize];
                // Before it has a record.
                let _ = self.saved.tracker.expects(&capture.extent());
                let memory = cells(capture.memory());
                self.memory[memory].fill(write.content);
                self.session.captured(capture)
            }
        };
        let (ticket, write, memory) = (issue.ticket, issue.write, issue.payload);
        self.issue(Flight { ticket, write, memory });
    }

    fn complete(&mut self) {
        if self.flights.is_empty() {
            return;
        }
        let index = self.rng.index(self.flights.len());
        let Flight { ticket, write, memory } = self.flights.swap_remove(index);
        let Write { first, count, content } = self.writes[write.0 as usize];
        if first + count > self.sectors {
            // The volume has become shorter.
            self.session.completed(ticket, false);
            return;
        }
        match memory {
            Some(memory) => {
                let from = cells(memory);
                self.disk[first..first + count].copy_from_slice(&self.memory[from]);
            }
            None => self.disk[first..first + count].fill(content),
        }
        self.session.completed(ticket, true);
    }

    fn read(&mut self, next: impl Fn(&Session<SimHost>) -> Step<Read>) {
        if self.reads.len() < 3
            && let Step::Do(read) = next(&self.session)
        {
            self.reads.push(read);
        }
    }

    fn finish_read(&mut self) {
        if self.reads.is_empty() {
            return;
        }
        let index = self.rng.index(self.reads.len());
        let read = self.reads.swap_remove(index);
        if sectors(&read.extent()).end > self.sectors {
            let more = self.session.read_done(read, ReadOutcome::NotNow);
            assert!(more.is_none(), "it is read again later");
            return;
        }
        let to = cells(read.memory());
        self.memory[to].copy_from_slice(&self.disk[sectors(&read.extent())]);
        let more = self.session.read_done(read, ReadOutcome::Done);
        assert!(more.is_none(), "the disk can read every sector");
    }

    fn skip(&mut self) {
        let Some(run) = self.skips.pop() else { return };
        let reached = self.session.skip(run);
        if reached < run.end {
            self.skips.push(BlockRange::new(reached, run.end));
        }
    }

    fn drain(&mut self) -> Result<(), String> {
        if !self.is_attached || !self.session.has_records() {
            return Ok(());
        }
        // The next record may be any of them.
        let end = self.session.ends().last();
        if !self.saved.tracker.may_leave(end) {
            return Ok(());
        }
        let Step::Do(drained) = self.session.drain(u64::MAX) else { return Ok(()) };
        let payload = drained.memory().map(|memory| self.memory[cells(memory)].to_vec());
        let asks = self.rng.once_in(2);
        let is_unchanged = self.server.receive(drained.record(), payload, asks)?;
        self.played.unchanged += u64::from(is_unchanged);
        self.session.drained(drained);
        Ok(())
    }

    fn make_durable(&mut self) -> Result<(), String> {
        let Some(epoch) = self.server.make_durable(&mut self.rng) else { return Ok(()) };
        let taken = self.session.acknowledge(epoch);
        taken.map_err(|_| format!("RESUME: epoch {epoch} is durable, and that is refused"))
    }

    /// The service goes.
    fn leave(&mut self) {
        if self.is_attached {
            self.session.leave();
            self.server.cut();
            self.is_attached = false;
        }
    }

    /// The repository is copied; the copy from before is dropped.
    fn copy(&mut self) {
        let (last, _) = self.server.end();
        if last.get() > 0 {
            let is_durable = |known: &&Known| known.seq <= last.get();
            let known = self.known.iter().filter(is_durable).cloned().collect();
            self.copy = Some((self.server.repository(), known));
        }
    }

    /// The repository and its copy change places.
    fn exchange(&mut self) {
        let Some((repository, known)) = self.copy.take() else { return };
        self.leave();
        let (last, _) = self.server.end();
        self.known.retain(|known| known.seq <= last.get());
        let old = self.server.exchange(repository);
        let old_known = std::mem::replace(&mut self.known, known);
        self.copy = (last.get() > 0).then_some((old, old_known));
        self.played.exchanged += 1;
    }

    /// A service comes, and goes on behind what its server has, if the driver has the same past.
    fn attach(&mut self) -> Result<(), String> {
        if self.is_attached {
            return Ok(());
        }
        let (seq, _) = self.server.reconnect(&self.geometry)?;
        let status = self.session.status();
        // As `judge` of the service.
        let driven = status.acknowledged_seq..=status.last_seq;
        if status.placed && !driven.contains(&seq.get()) {
            self.start_again(GapReason::Diverged);
            return Ok(());
        }
        if self.is_taken_in_vain(seq)? {
            if !self.saved.waiting.is_empty() {
                // The driver's stop waits for these writes.
                return Ok(());
            }
            self.stop();
            self.begin_continued(GapReason::Restarted);
            return Ok(());
        }
        let origin = self.origin_behind(seq)?;
        let made = self.server.made();
        let placed = self.session.place(seq, made, origin);
        if placed.is_ok() && !self.session.has_made(seq, made) {
            if self.played.exchanged == 0 && self.played.put_back == 0 {
                return Err(format!("RESUME: the driver does not know that it has made {seq}"));
            }
            self.start_again(GapReason::Diverged);
            return Ok(());
        }
        let joined = placed.and_then(|()| self.session.drain_from(seq));
        let has_all = joined
            .map_err(|_| format!("RESUME: the driver says that the server cannot have {seq}"))?;
        if !has_all {
            // What the server had not got is lost.
            self.known.retain(|known| known.seq <= seq.get());
        }
        self.is_attached = true;
        Ok(())
    }

    fn origin_behind(&mut self, seq: Seq) -> Result<EpochId, String> {
        let origin = origin_behind(seq, self.rng.below(u64::MAX));
        origin.ok_or_else(|| format!("RESUME: no number is left behind {seq}"))
    }

    /// The machine loses power, or the server is put back and the driver's session is stopped for
    /// it.
    fn restart(&mut self) {
        let mut reason = GapReason::Restarted;
        if self.rng.once_in(4) && self.server.roll_back(&mut self.rng) {
            reason = GapReason::Diverged;
            self.played.rolled_back += 1;
        }
        self.start_again(reason);
    }

    fn take_snapshot(&self) -> Snapshot {
        Snapshot { sectors: self.sectors, disk: self.disk.clone(), kept: self.saved.kept() }
    }

    /// The machine is put back to the snapshot of its disk, and comes up.
    fn put_back(&mut self) {
        let Some(Snapshot { sectors, disk, kept }) = self.snapshot.take() else { return };
        self.played.put_back += 1;
        self.go_down();
        (self.sectors, self.disk, self.durable) = (sectors, disk.clone(), disk);
        self.saved.put_back(kept);
        self.come_back(GapReason::Restarted);
    }

    /// The driver's session is gone; the next one continues behind what the server has.
    fn start_again(&mut self, reason: GapReason) {
        self.go_down();
        // Another system writes, and frees.
        let mut foreign = if self.rng.once_in(2) { self.rng.below(4) } else { 0 };
        if self.rng.once_in(8) {
            self.change_length();
            foreign += 1;
        }
        for _ in 0..foreign {
            let sector = self.rng.index(self.sectors);
            let id = self.content(sector, 1);
            let content = self.writes[id.0 as usize].content;
            self.disk[sector] = if self.rng.once_in(3) { 0 } else { content };
        }
        if foreign > 0 {
            let id = self.content(STAMP, 1);
            self.disk[STAMP] = self.writes[id.0 as usize].content;
        }
        self.make_disk_durable();
        self.come_back(reason);
    }

    /// The machine comes up, and its session continues.
    fn come_back(&mut self, reason: GapReason) {
        let before = std::mem::replace(&mut self.geometry, geometry(self.sectors));
        // A service that does not know of the change has it continue for another reason.
        let knows = before != self.geometry && self.rng.once_in(2);
        let reason = if knows { GapReason::Resized } else { reason };
        self.come_up(reason);
        self.boots += 1;
        self.begin_continued(reason);
    }

    /// The volume's length changes; what a longer one has got is another's.
    fn change_length(&mut self) {
        self.played.resized += 1;
        self.sectors = any_length(&mut self.rng);
        for sector in self.sectors..SECTORS {
            let id = self.content(sector, 1);
            let content = self.writes[id.0 as usize].content;
            let other = if self.rng.once_in(3) { 0 } else { content };
            (self.disk[sector], self.durable[sector]) = (other, other);
        }
    }

    /// The same while the session runs; the driver notices.
    fn resize(&mut self) {
        self.change_length();
        if self.sectors == sectors_of(&self.geometry) && !self.session.status().resized {
            // Unless it was shorter meanwhile, which the driver would have noticed.
            return;
        }
        self.session.resize(extent(0, self.sectors).len());
        if let Arrival::Waits(Next::Void) = self.saved.tracker.changes() {
            self.saved.is_voiding = true;
        }
    }

    /// The service lets the session go on with the volume's new length.
    fn hand_over(&mut self) {
        if self.is_going_down {
            // It comes too late.
            return self.restart();
        }
        if !self.saved.waiting.is_empty() {
            // The driver's stop waits for these writes.
            return;
        }
        self.leave();
        let (last, _) = self.server.end();
        self.known.retain(|known| known.seq <= last.get());
        self.stop();
        self.saved.tracker.forget_known();
        self.begin_continued(GapReason::Resized);
    }

    /// The driver's session is gone, and all that is in memory.
    fn go_down(&mut self) {
        self.server.cut();
        let (last, _) = self.server.end();
        self.known.retain(|known| known.seq <= last.get());
        // What was on its way to the disk is there, or not.
        for Flight { write, .. } in std::mem::take(&mut self.flights) {
            let Write { first, count, content } = self.writes[write.0 as usize];
            for sector in first..(first + count).min(self.sectors) {
                if self.rng.once_in(2) {
                    self.disk[sector] = content;
                }
            }
        }
        // So is what was in the disk's cache.
        for sector in 0..SECTORS {
            if self.rng.once_in(2) {
                self.disk[sector] = self.durable[sector];
            }
        }
        self.reads.clear();
        (self.is_going_down, self.nap) = (false, Nap::None);
        self.lose_power();
    }

    /// What is in the disk's cache gets to the disk.
    fn make_disk_durable(&mut self) {
        self.durable.copy_from_slice(&self.disk);
    }

    /// The driver's session is stopped: what is in flight completes.
    fn stop(&mut self) {
        assert!(self.saved.waiting.is_empty(), "no write outlives its session");
        self.reads.clear();
        self.stop_log();
        for Flight { write, .. } in std::mem::take(&mut self.flights) {
            let Write { first, count, content } = self.writes[write.0 as usize];
            if first + count <= self.sectors {
                self.disk[first..first + count].fill(content);
            }
        }
    }

    /// The driver begins the session anew, which continues if the server has anything of it.
    fn begin_continued(&mut self, reason: GapReason) {
        let (last, _) = self.server.end();
        // The driver asks the volume how long it is.
        self.geometry = geometry(self.sectors);
        // The clock that is never set begins anew; the other one does not.
        let host = SimHost::default();
        host.0.steps.set(self.boots);
        self.host = host.clone();
        let (geometry, config) = (self.geometry, config());
        let session = if last.get() == 0 {
            self.server = Server::new(geometry);
            self.forget_saved();
            (self.copy, self.snapshot) = (None, None);
            self.is_attached = true;
            Session::new(host, geometry, config)
        } else {
            self.played.continued += 1;
            self.is_attached = false;
            Session::continued(host, geometry, config, reason)
        };
        self.session = session.expect("there is memory");
        self.saved.marks = Marks::new(Regions::of(&geometry)).expect("there is memory");
        self.take();
        self.begin();
    }

    /// True if no write is on its way, or waits until a saved state is void.
    fn is_disk_idle(&self) -> bool {
        self.flights.is_empty() && self.saved.waiting.is_empty()
    }

    /// Where the stream describes the volume, and nothing is on its way, it is the disk.
    fn check(&mut self) -> Result<(), String> {
        let is_still = self.is_attached && self.is_disk_idle() && !self.session.has_records();
        let status = self.session.status();
        // As the driver's status says.
        let is_consistent = status.consistent && !self.saved.tracker.sleep().is_doubtful();
        if !is_still || !is_consistent || status.blocks_synced < status.blocks_total {
            return Ok(());
        }
        let Some(seq) = self.server.describes(&self.disk[..self.sectors])? else { return Ok(()) };
        if self.known.last().is_none_or(|known| known.seq < seq) {
            self.known.push(Known { seq, disk: self.disk[..self.sectors].to_vec() });
        }
        Ok(())
    }

    fn come_to_rest(mut self) -> Result<Played, String> {
        if self.is_going_down {
            // A shutdown comes to its end: nothing leaves meanwhile.
            self.restart();
        }
        for _ in 0..CALM_STEPS {
            self.act(false)?;
            self.check()?;
            let status = self.session.status();
            let is_read = status.consistent && status.blocks_synced == status.blocks_total;
            let is_idle = self.is_disk_idle() && status.writes_holding == 0;
            if is_read && is_idle && self.is_attached && status.acknowledged_seq == status.last_seq
            {
                self.server.check_points(self.known.iter().map(|it| (it.seq, &it.disk[..])))?;
                self.played.points = self.known.len() as u64;
                return Ok(self.played);
            }
        }
        Err(format!("HANG: no rest comes: {:?}", self.session.status()))
    }
}

/// Any number of sectors that a volume may have.
fn any_length(rng: &mut Rng) -> usize {
    SECTORS - rng.index(SECTORS - 2 * SECTORS_IN_BLOCK)
}

fn sectors_of(geometry: &Geometry) -> usize {
    usize::try_from(geometry.length() / SECTOR).expect("a small volume")
}

/// The cells of queue memory.
fn cells(memory: MemorySpan) -> std::ops::Range<usize> {
    let at = |offset: u64| usize::try_from(offset / SECTOR).expect("a small queue");
    at(memory.offset)..at(memory.offset + memory.len)
}
