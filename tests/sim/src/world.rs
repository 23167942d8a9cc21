//! The world of a run: everything that acts, and the scheduler that lets one of them act at a time.
//!
//! A step is one call of a verb of the engine, or one event between two calls: a payload is copied,
//! the disk transfers some sectors, a record travels. So any two calls of a host are interleaved
//! with everything else, from one seed, on one thread.

mod files;
mod marks;
mod paging;
mod preempted;
mod stages;
mod tasks;
mod verbs;
mod views;
mod workers;

use std::ops::Range;

use snapless_driver_logic::tracker::Tracker;
use snapless_engine::{
    Capture, Drained, Issue, Part, Read, ReadOutcome, Session, Ticket, WORKERS, Worker,
};
use snapless_types::BlockRange;

use crate::check;
use crate::disk::Disk;
use crate::failure::Broken;
use crate::far_end::FarEnd;
use crate::files::Files;
use crate::host::{MS, SimHost};
use crate::ledger::{Ledger, Step};
use crate::link::{Link, LinkStep};
use crate::lulls::Lulls;
use crate::memory::QueueMemory;
use crate::options::Options;
use crate::paging::Paging;
use crate::plan::{Pace, Plan};
use crate::report::Report;
use crate::rng::Rng;
use crate::trace::Trace;
use crate::volume::{Content, WriteId};
use crate::writer::Writer;

use preempted::Preempted;

/// Where a run stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// No session yet: writes go straight down.
    Before,
    /// The session holds writes; those from before are still under way.
    Starting,
    /// The session has begun.
    Running,
    /// The session was stopped.
    Stopped,
    /// The power has failed.
    Off,
}

/// What can run.
#[derive(Clone, Copy, Debug)]
enum Choice {
    Writer(usize),
    Task(usize),
    Disk(usize),
    Worker(Worker),
    Link(LinkStep),
}

impl Choice {
    fn class(self) -> usize {
        match self {
            Self::Writer(_) => 0,
            Self::Task(_) => 1,
            Self::Disk(_) => 2,
            Self::Worker(_) => 3,
            Self::Link(_) => 4,
        }
    }
}

/// Something that can run: from when on, and when it is due.
#[derive(Clone, Copy, Debug)]
struct Item {
    from: u64,
    due: u64,
    choice: Choice,
}

/// The worker whose thread works on a write; `None`: the application's thread does.
type By = Option<Worker>;

/// Work to be done.
#[derive(Debug)]
enum Job {
    /// Issue a write that the session does not know of.
    Before(WriteId),
    /// Copy a write's payload into queue memory.
    Copy(Capture<WriteId>, Range<usize>, By),
    /// Tell the engine that it is copied.
    Captured(Capture<WriteId>, Range<usize>, By),
    /// Copy a part of a write's payload into queue memory.
    CopyPart(Part<WriteId>, Range<usize>, By),
    /// Tell the engine that it is copied.
    PartCaptured(Part<WriteId>, Range<usize>, By),
    /// Hand a write to the disk, which transfers it from cells of queue memory.
    Issue(Issue<WriteId>, Option<Range<usize>>, By),
    /// Tell the engine that the disk is done with a write.
    Complete(WriteId, Ticket, Option<Range<usize>>),
    /// Tell the application.
    Done(WriteId),
    /// Tell the engine that a read is over.
    ReadDone { read: Read, worker: Worker, cells: Range<usize>, outcome: ReadOutcome },
    /// Hand a record's memory back.
    Drained { drained: Drained, cells: Range<usize>, payload: Vec<Content> },
}

/// Work, and when it can be done.
#[derive(Debug)]
struct Task {
    /// When.
    due: u64,
    job: Job,
}

/// One worker's thread.
#[derive(Clone, Copy, Debug, Default)]
struct WorkerThread {
    /// When it calls its verb next; never, until it is woken.
    due: Option<u64>,
    /// Work that it has in hand.
    in_hand: usize,
    /// It is preempted until this instant.
    stopped_until: u64,
    /// Its verb returned that it ends.
    ended: bool,
}

impl WorkerThread {
    /// Lets it call its verb at this instant at the latest.
    fn wake(&mut self, at: u64) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// The records that a service loses which leaves.
#[derive(Clone, Copy, Debug, Default)]
struct Losing {
    /// The machine shuts down when the service leaves next: its records are lost.
    shuts_down: bool,
    /// Its records are lost, and no other service has come since.
    is_lost: bool,
    /// The last record of those that were lost.
    last: u64,
}

/// A worker's place in an array of them.
fn index(worker: Worker) -> usize {
    WORKERS.iter().position(|&other| other == worker).expect("every worker is in WORKERS")
}

/// Everything that acts.
pub struct World {
    options: Options,
    plan: Plan,
    rng: Rng,
    /// The step that runs now.
    pub step: Step,
    host: SimHost,
    session: Option<Session<SimHost>>,
    stage: Stage,
    /// The stream described the volume after the last step under load.
    consistent: bool,
    /// Steps under load so far.
    loaded: u64,
    /// What was done so far, as far as nothing else counts it.
    report: Report,
    /// The sweep is paused.
    paused: bool,
    /// Runs of blocks that the sweep thread still has to skip.
    skips: Vec<BlockRange>,
    /// When the session was made, and the bytes that its sweep has read since.
    swept: (u64, u64),
    paging: Paging,
    files: Files,
    /// Notes what is changed before the session.
    tracker: Tracker,
    /// Runs of unused blocks that the session is to be told of; without any, that these were all.
    unused: Option<Vec<BlockRange>>,
    /// Writes from before the session that are still under way.
    before: Vec<WriteId>,
    /// Writes that the session was given and that are neither completed nor cancelled.
    outstanding: usize,
    /// Since when the queue has not been empty.
    queue_busy_since: Option<u64>,
    /// The last epoch whose end was drained.
    ended_epoch: u64,
    losing: Losing,
    /// What the last loss of the service left was checked.
    unchecked_loss: Option<Step>,
    preempted: Preempted,
    lulls: Lulls,
    /// No faults, no new writes: everything has to come to rest.
    calm: bool,
    disk: Disk,
    memory: QueueMemory,
    ledger: Ledger,
    link: Link,
    writers: Vec<Writer>,
    tasks: Vec<Task>,
    threads: [WorkerThread; 4],
    trace: Trace,
    items: Vec<Item>,
}

impl World {
    /// The world of a run, at rest.
    pub fn new(options: &Options) -> Self {
        let plan = Plan::new(options);
        Self {
            options: options.clone(),
            rng: Rng::new(options.seed, 2),
            step: Step(0),
            host: SimHost::default(),
            session: None,
            stage: Stage::Before,
            consistent: true,
            loaded: 0,
            report: Report::default(),
            paused: false,
            skips: Vec::new(),
            swept: (0, 0),
            paging: Paging::new(plan.volume.paging),
            files: Files::new(&plan.volume, plan.frees_once_in > 0, &mut Rng::new(options.seed, 4)),
            tracker: Tracker::NONE,
            unused: None,
            before: Vec::new(),
            outstanding: 0,
            queue_busy_since: None,
            ended_epoch: 0,
            losing: Losing::default(),
            unchecked_loss: None,
            preempted: Preempted::default(),
            lulls: Lulls::new(options.seed),
            calm: false,
            disk: Disk::new(&plan.volume, plan.disk.clone()),
            memory: QueueMemory::new(plan.volume, plan.config.queue_bytes),
            ledger: Ledger::new(plan.volume),
            link: Link::new(
                plan.link.clone(),
                plan.far_end.clone().map(|plan_| FarEnd::new(plan_, plan.volume, options)),
            ),
            writers: plan.writers.iter().cloned().map(Writer::new).collect(),
            tasks: Vec::new(),
            threads: std::array::from_fn(|_| WorkerThread::default()),
            trace: Trace::START,
            items: Vec::new(),
            plan,
        }
    }

    /// How long the thread that acts now is preempted: mostly not at all.
    fn preemption(&mut self) -> u64 {
        if self.calm || !self.rng.once_in(self.plan.pace.preempts_once_in) {
            return 0;
        }
        let ticks = self.rng.scaled(MS..=Pace::PREEMPTED_MAX);
        self.preempted.add(self.host.ticks(), ticks);
        ticks
    }

    /// Ticks in which no thread was preempted, so far.
    fn running_ticks(&self) -> u64 {
        let now = self.host.ticks();
        now - self.preempted.until(now)
    }

    /// Takes a step; false if nothing can run any more.
    fn take_step(&mut self) -> Result<bool, Broken> {
        let Some(choice) = self.choose() else { return Ok(false) };
        self.step.0 += 1;
        self.trace.add(choice.class() as u64);
        self.trace.add(self.host.ticks());
        match choice {
            Choice::Writer(index) => self.run_writer(index)?,
            Choice::Task(index) => self.run_task(index)?,
            Choice::Disk(index) => self.run_disk(index),
            Choice::Worker(worker) => self.run_worker(worker)?,
            Choice::Link(step) => self.run_link(step)?,
        }
        let ticks = self.rng.below(self.plan.pace.step_max + 1);
        self.host.advance(ticks);
        self.check_holds()?;
        Ok(true)
    }

    /// Picks what runs next. If nothing can run now, time goes on to when something can.
    fn choose(&mut self) -> Option<Choice> {
        let mut items = std::mem::take(&mut self.items);
        items.clear();
        self.survey(&mut items);
        let earliest = items.iter().map(|item| item.from).min()?;
        let now = self.host.ticks();
        if earliest > now {
            self.host.advance(earliest - now);
        }
        let now = now.max(earliest);
        let is_overdue = |item: &&Item| item.from <= now && item.due + Pace::OVERDUE <= now;
        let overdue = items.iter().filter(is_overdue).min_by_key(|item| item.due);
        let choice = overdue.map_or_else(|| self.pick(&items, now), |item| item.choice);
        self.items = items;
        Some(choice)
    }

    fn pick(&mut self, items: &[Item], now: u64) -> Choice {
        let ready = items.iter().filter(|item| item.from <= now).map(|item| item.choice);
        let mut ready: Vec<_> = ready.collect();
        let mut present = [0; 5];
        for class in ready.iter().map(|choice| choice.class()) {
            present[class] = self.plan.pace.weights[class];
        }
        let mut drawn = self.rng.below(present.iter().sum());
        let mut class = 0;
        while drawn >= present[class] {
            drawn -= present[class];
            class += 1;
        }
        ready.retain(|choice| choice.class() == class);
        self.rng.pick(&ready)
    }

    /// Everything that can run, now or later.
    fn survey(&self, items: &mut Vec<Item>) {
        let mut add = |from, due, choice| items.push(Item { from, due, choice });
        if !self.calm {
            for (index, writer) in self.writers.iter().enumerate() {
                if writer.has_room() {
                    let next = writer.next.max(self.lulls.until);
                    add(next, next, Choice::Writer(index));
                }
            }
        }
        for (index, task) in self.tasks.iter().enumerate() {
            add(task.due, task.due, Choice::Task(index));
        }
        for (index, (from, due)) in self.disk.dues().enumerate() {
            add(from, due, Choice::Disk(index));
        }
        for (worker, due) in self.worker_dues() {
            add(due, due, Choice::Worker(worker));
        }
        if self.session.is_some() {
            for (due, step) in self.link.dues() {
                add(due, due, Choice::Link(step));
            }
        }
    }

    /// The blocks of a write, as the session counts them.
    fn blocks_of(&self, id: WriteId) -> Range<usize> {
        self.plan.volume.blocks_of(&self.ledger.write(id).sectors)
    }

    fn finish(&mut self) -> Result<Report, Broken> {
        let mut stream = self.check_stream()?;
        if self.link.keep_durable() {
            stream = self.check_stream()?;
        }
        let status = self.session.as_ref().map(Session::status).unwrap_or_default();
        Ok(Report {
            trace: self.trace.0,
            runs: 1,
            steps: self.step.0,
            writes: self.ledger.writes.len() as u64,
            held: status.writes_held,
            records: self.ledger.committed.len() as u64,
            clearings: self.ledger.clearings.len() as u64,
            skipped: status.blocks_unallocated,
            points: stream.points,
            gaps: status.gaps,
            losses: self.link.losses.len() as u64,
            successions: self.link.successions,
            cuts: self.link.cuts,
            watermarks: self.link.marks.count(),
            unchanged: self.link.unchanged(),
            power_cuts: u64::from(self.stage == Stage::Off),
            base_images: stream.base_images,
            verified: stream.verified,
            compared: stream.compared,
            ..self.report
        })
    }

    /// Checks what the server has.
    fn check_stream(&mut self) -> Result<Report, Broken> {
        let stream = check::stream(&self.ledger, &self.link, &mut self.rng)?;
        self.report.restored += stream.restored;
        Ok(stream)
    }
}
