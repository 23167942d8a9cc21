//! The whole: a volume with its applications and its disk, a machine with driver and service, a
//! link, a server.
//!
//! [`World::steps`] lists what may happen next, [`World::after`] does it. A step has the name of
//! the verb of the code that it stands for.

use snapless_types::GapReason;

use crate::bounds::{BLOCKS_MAX, Budget, Sizes};
use crate::driver::{Call, Driver, Submission};
use crate::record::Content;
use crate::sabotage::Sabotage;
use crate::saved::{SavedState, Tracker};
use crate::server::{Fault, Server};
use crate::service::{Outcome, Service, Stage, StateFile};

/// A session continues less often than this, whatever happens within the budgets of a check.
const CONTINUED_MAX: u8 = 5;

/// What does not change while a check runs.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Sizes.
    pub sizes: Sizes,
    /// How often each event may happen.
    pub budget: Budget,
    /// A defect.
    pub sabotage: Option<Sabotage>,
}

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Breach {
    /// The server's side.
    Server(Fault),
    /// The driver refuses what driver, service and server agree about.
    DriverRefused,
    /// The begin of a gap finds no room in the queue.
    NoRoomForGap,
    /// The session continues again and again.
    NoEnd,
}

/// What happens next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// Engine: `submit`.
    Submit {
        /// The block.
        block: u8,
        /// It must not wait.
        urgent: bool,
    },
    /// Engine: `completed`.
    Completed {
        /// The block.
        block: u8,
        /// The disk says that it succeeded.
        succeeded: bool,
        /// The disk has the new content.
        applied: bool,
    },
    /// Engine: `end_holds_past_the_limit`.
    EndHold,
    /// Engine: `claim`, by sweep or hold; the disk gives the block's content.
    Claim(u8),
    /// Engine: `read_done`.
    ReadDone,
    /// Engine: `tidy`, after a loss.
    Tidy,
    /// Engine: `close_epoch`.
    CloseEpoch {
        /// While other things happen; otherwise in time, when all else is done.
        early: bool,
    },
    /// Driver: `boot::start_session`, before any service is there.
    BeginByItself,
    /// Pipeline: `plan`, `Claim::take`.
    TakeClaim,
    /// Pipeline: `save`, `greet`.
    Greet,
    /// Pipeline: `judge`, `go_on`, `Links::join`.
    GoOn,
    /// Stream: `drain`, `Window::put`.
    Drain,
    /// Links: `send`.
    Send,
    /// Links: `receive`.
    Receive,
    /// Pipeline: `save`.
    Save,
    /// Links: `dial`.
    Dial,
    /// Links: `join`.
    Join,
    /// Pipeline: an attempt fails because of its records.
    LoseRecords,
    /// The service ends without a word, and starts again.
    CrashService,
    /// The link breaks; so many more frames arrive.
    Cut(u8),
    /// Storing: `store`.
    Store,
    /// Storing: `commit`.
    Commit,
    /// The server ends without a word, and starts again.
    CrashServer,
    /// The repository is copied.
    CopyRepository,
    /// The repository is exchanged for its copy.
    ExchangeRepository,
    /// The machine starts again. Of the writes in flight none is applied, or all are.
    Reboot {
        /// All are.
        applied: bool,
    },
    /// The machine shuts down in order, and starts again: the last-chance shutdown.
    ShutDown,
    /// Another system writes to the volume while the machine is off.
    WriteBehind(u8),
    /// A snapshot is made of the machine.
    Snapshot,
    /// The machine returns to its snapshot.
    Revert,
}

/// What a machine's memory has: writes that were issued and that are in flight, driver and service.
type Memory = (Content, [u8; BLOCKS_MAX], Tracker, Option<Driver>, Service);

/// A snapshot of a machine.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Machine {
    disk: Content,
    stamp: u8,
    area: Option<SavedState>,
    file: Option<StateFile>,
    /// If it has the memory too.
    memory: Option<Memory>,
}

/// The whole.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// What the disk has.
    pub disk: Content,
    /// What the disk will have when the writes in flight are done.
    issued: Content,
    /// The content that writes in flight bring; 0 for none.
    in_flight: [u8; BLOCKS_MAX],
    /// The content that each block got last, in whatever past.
    newest: Content,
    /// What each other system that writes to the disk changes.
    stamp: u8,
    /// The state area on the disk.
    area: Option<SavedState>,
    /// The driver, before it has a session.
    tracker: Tracker,
    /// The driver's session.
    pub driver: Option<Driver>,
    /// The service.
    pub service: Service,
    /// The service's state file.
    pub file: Option<StateFile>,
    /// The server.
    pub server: Server,
    /// Sessions so far.
    pub sessions: u8,
    /// How often one has continued.
    continued: u8,
    snapshot: Option<Box<Machine>>,
    /// How often each event may still happen.
    pub left: Budget,
    /// The rule that is broken.
    pub breach: Option<Breach>,
}

impl World {
    /// Before anything has happened.
    pub fn new(budget: Budget) -> Self {
        Self {
            disk: Content::default(),
            issued: Content::default(),
            in_flight: [0; BLOCKS_MAX],
            newest: Content::default(),
            stamp: 0,
            area: None,
            tracker: Tracker::Unknown,
            driver: None,
            service: Service::new(),
            file: None,
            server: Server::default(),
            sessions: 0,
            continued: 0,
            snapshot: None,
            left: budget,
            breach: None,
        }
    }

    fn call(&self, rules: &Rules) -> Call {
        Call {
            sizes: rules.sizes,
            sabotage: rules.sabotage,
            now: rules.budget.reverts - self.left.reverts,
            continued: self.continued,
            truth: self.issued,
        }
    }

    fn is_idle_at_disk(&self) -> bool {
        self.in_flight == [0; BLOCKS_MAX]
    }

    fn is_linked(&self) -> bool {
        self.server.connection.as_ref().is_some_and(|connection| connection.is_linked)
    }

    /// What the parts do by themselves. If there is nothing, all is done.
    pub fn own_steps(&self, rules: &Rules) -> Vec<Step> {
        let mut steps = Vec::new();
        let blocks = 0..rules.sizes.blocks;
        for block in blocks.clone().filter(|&block| self.in_flight[usize::from(block)] != 0) {
            steps.push(Step::Completed { block, succeeded: true, applied: true });
        }
        let call = self.call(rules);
        if let Some(driver) = &self.driver {
            let can_claim = |&block: &u8| driver.can_claim(block, &call);
            steps.extend(blocks.filter(can_claim).map(Step::Claim));
            if driver.is_reading() {
                steps.push(Step::ReadDone);
            }
            if driver.is_losing() {
                steps.push(Step::Tidy);
            }
        }
        let is_armed = self.driver.is_none() && matches!(self.tracker, Tracker::Armed(_));
        if is_armed && self.is_idle_at_disk() {
            steps.push(Step::BeginByItself);
        }
        match self.service.stage {
            Stage::Idle if self.driver.is_some() || self.is_idle_at_disk() => {
                steps.push(Step::TakeClaim);
            }
            Stage::Claimed { .. } => steps.push(Step::Greet),
            Stage::Greeted { .. } => steps.push(Step::GoOn),
            Stage::Cut => steps.push(Step::Dial),
            Stage::Dialled { .. } => steps.push(Step::Join),
            Stage::Idle | Stage::Streaming => {}
        }
        if matches!(self.service.stage, Stage::Streaming | Stage::Cut | Stage::Dialled { .. })
            && self.driver.as_ref().is_some_and(Driver::has_records)
            && self.service.has_room(&rules.sizes)
        {
            steps.push(Step::Drain);
        }
        if let Some(connection) = &self.server.connection
            && self.service.stage == Stage::Streaming
            && connection.is_linked
        {
            if self.service.has_next() && connection.up.len() < usize::from(rules.sizes.in_flight) {
                steps.push(Step::Send);
            }
            if !connection.down.is_empty() {
                steps.push(Step::Receive);
            }
        }
        if self.server.can_store() {
            steps.push(Step::Store);
        }
        if self.server.can_commit() {
            steps.push(Step::Commit);
        }
        if steps.is_empty() && self.can_close_epoch(&call) {
            steps.push(Step::CloseEpoch { early: false });
        }
        steps
    }

    fn can_close_epoch(&self, call: &Call) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.can_close_epoch(call))
    }

    /// Everything that may happen next.
    pub fn steps(&self, rules: &Rules) -> Vec<Step> {
        let mut steps = self.own_steps(rules);
        let Budget { writes, urgent, failures, .. } = self.left;
        for block in 0..rules.sizes.blocks {
            if writes > 0 {
                steps.push(Step::Submit { block, urgent: false });
            }
            if urgent > 0 {
                steps.push(Step::Submit { block, urgent: true });
            }
            if failures > 0 && self.in_flight[usize::from(block)] != 0 {
                steps.push(Step::Completed { block, succeeded: false, applied: false });
                steps.push(Step::Completed { block, succeeded: false, applied: true });
            }
            if self.left.writes_behind > 0 && self.is_off() {
                steps.push(Step::WriteBehind(block));
            }
        }
        let call = self.call(rules);
        if self.left.hold_limits > 0 && self.driver.as_ref().is_some_and(|it| it.is_full(&call)) {
            steps.push(Step::EndHold);
        }
        if self.left.epoch_ends > 0 && self.can_close_epoch(&call) {
            steps.push(Step::CloseEpoch { early: true });
        }
        if self.driver.as_ref().is_some_and(|it| self.service.to_save(it.session).is_some()) {
            steps.push(Step::Save);
        }
        if let Some(connection) = self.server.connection.as_ref().filter(|it| it.is_linked)
            && self.left.cuts > 0
        {
            steps.extend((0..=connection.up.len()).map(|arrives| Step::Cut(low(arrives))));
        }
        let is_serving = self.service.stage != Stage::Idle;
        for (may, step) in [
            (self.left.losses > 0 && self.service.stage == Stage::Streaming, Step::LoseRecords),
            (self.left.service_crashes > 0 && is_serving, Step::CrashService),
            (self.left.server_crashes > 0, Step::CrashServer),
            (self.left.copies > 0, Step::CopyRepository),
            (self.left.exchanges > 0 && self.server.has_other_copy(), Step::ExchangeRepository),
            (self.left.reboots > 0, Step::Reboot { applied: true }),
            (self.left.reboots > 0 && !self.is_idle_at_disk(), Step::Reboot { applied: false }),
            (self.left.shutdowns > 0 && self.is_idle_at_disk(), Step::ShutDown),
            (self.left.snapshots > 0, Step::Snapshot),
            (self.left.reverts > 0 && self.snapshot.is_some(), Step::Revert),
        ] {
            if may {
                steps.push(step);
            }
        }
        steps
    }

    /// The world after a step; `None` if nothing happens.
    pub fn after(&self, step: Step, rules: &Rules) -> Option<Self> {
        let mut world = self.clone();
        world.step(step, rules)?;
        if world.driver.as_ref().is_some_and(|driver| driver.overflown) {
            world.breach = Some(Breach::NoRoomForGap);
        }
        Some(world)
    }

    fn step(&mut self, step: Step, rules: &Rules) -> Option<()> {
        let call = self.call(rules);
        match step {
            Step::Submit { block, urgent } => self.submit(block, urgent, &call)?,
            Step::Completed { block, succeeded, applied } => {
                self.complete(block, succeeded, applied, rules);
            }
            Step::EndHold => {
                self.left.hold_limits -= 1;
                self.driver.as_mut()?.end_hold(&call);
            }
            Step::Claim(block) => {
                let content = self.disk[usize::from(block)];
                self.driver.as_mut()?.claim(block, content, &call);
            }
            Step::ReadDone => self.driver.as_mut()?.read_done(&call),
            Step::Tidy => self.driver.as_mut()?.tidy(&call),
            Step::CloseEpoch { early } => {
                self.left.epoch_ends -= u8::from(early);
                self.driver.as_mut()?.close_epoch(&call);
            }
            Step::Store => {
                let stored = self.server.store(&rules.sizes, rules.sabotage);
                self.note(stored);
            }
            Step::Commit => {
                let committed = self.server.commit(&rules.sizes, rules.sabotage);
                self.note(committed);
            }
            Step::CrashServer => {
                self.left.server_crashes -= 1;
                self.server.crash(rules.sabotage);
                self.link_is_cut();
            }
            Step::CopyRepository => {
                self.left.copies -= 1;
                self.server.copy();
            }
            Step::ExchangeRepository => {
                self.left.exchanges -= 1;
                self.server.exchange();
                self.link_is_cut();
            }
            Step::Cut(arrives) => {
                self.left.cuts -= 1;
                self.server.cut(arrives.into());
                self.link_is_cut();
            }
            Step::Reboot { applied } => {
                self.left.reboots -= 1;
                self.reboot(applied);
            }
            Step::ShutDown => {
                self.left.shutdowns -= 1;
                self.shut_down(&call);
            }
            Step::WriteBehind(block) => {
                self.left.writes_behind -= 1;
                self.stamp += 1;
                let content = self.new_content(block);
                self.disk[usize::from(block)] = content;
                self.issued[usize::from(block)] = content;
            }
            Step::Snapshot => {
                self.left.snapshots -= 1;
                let (driver, service) = (self.driver.clone(), self.service.clone());
                let memory = (self.issued, self.in_flight, self.tracker, driver, service);
                let memory = rules.budget.with_memory.then_some(memory);
                let Self { disk, stamp, area, file, .. } = *self;
                let machine = Machine { disk, stamp, area, file, memory };
                self.snapshot = Some(Box::new(machine));
            }
            Step::Revert => self.revert()?,
            _ => return self.serve(step, rules),
        }
        Some(())
    }

    fn note(&mut self, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.breach = Some(Breach::Server(fault));
        }
    }

    fn new_content(&mut self, block: u8) -> u8 {
        let newest = &mut self.newest[usize::from(block)];
        *newest += 1;
        *newest
    }

    // ---------------------------------------------------------------------------- the volume

    fn submit(&mut self, block: u8, urgent: bool, call: &Call) -> Option<()> {
        let place = usize::from(block);
        // Overlapping writes: the later one waits.
        if self.in_flight[place] != 0 {
            return None;
        }
        let left = if urgent { &mut self.left.urgent } else { &mut self.left.writes };
        *left -= 1;
        let content = self.new_content(block);
        if let Some(driver) = &mut self.driver {
            if driver.submit(block, content, urgent, call) == Submission::Held {
                return None;
            }
        } else {
            self.load(call);
            if !call.is(Sabotage::ForgetsWritesAtBoot) {
                self.tracker.note(block);
            }
        }
        self.in_flight[place] = content;
        self.issued[place] = content;
        Some(())
    }

    fn complete(&mut self, block: u8, succeeded: bool, applied: bool, rules: &Rules) {
        let place = usize::from(block);
        if applied {
            self.disk[place] = self.in_flight[place];
        }
        self.in_flight[place] = 0;
        self.issued[place] = self.disk[place];
        self.left.failures -= u8::from(!succeeded);
        let call = self.call(rules);
        if let Some(driver) = &mut self.driver {
            driver.completed(block, succeeded, &call);
        }
    }

    // --------------------------------------------------------------------------- the machine

    fn reboot(&mut self, applied: bool) {
        if applied {
            self.disk = self.issued;
        }
        (self.issued, self.in_flight) = (self.disk, [0; BLOCKS_MAX]);
        (self.tracker, self.driver, self.service) = (Tracker::Unknown, None, Service::new());
        let arrives = self.server.connection.as_ref().map_or(0, |it| it.up.len());
        self.server.cut(arrives);
    }

    /// True if no write has come by way of the driver since the machine started.
    fn is_off(&self) -> bool {
        self.driver.is_none() && self.tracker == Tracker::Unknown
    }

    /// The driver's last-chance shutdown: nothing is written any more.
    fn shut_down(&mut self, call: &Call) {
        match (&self.driver, self.tracker) {
            (Some(driver), _) => self.area = driver.save(self.stamp, call),
            (None, Tracker::Armed(saved)) => {
                self.area = Some(SavedState { stamp: self.stamp, ..saved });
            }
            // What was saved holds, or was used.
            (None, Tracker::Unknown | Tracker::Forgotten) => {}
        }
        self.reboot(true);
    }

    /// The driver looks at the state area before the first write, and marks it as used.
    fn load(&mut self, call: &Call) {
        if self.tracker != Tracker::Unknown {
            return;
        }
        let found = self.area;
        if !call.is(Sabotage::UsesStateTwice) {
            self.area = None;
        }
        let is_trusting = call.is(Sabotage::TrustsAnyStamp);
        let holds = found.filter(|saved| saved.stamp == self.stamp || is_trusting);
        self.tracker = holds.map_or(Tracker::Forgotten, Tracker::Armed);
    }

    fn revert(&mut self) -> Option<()> {
        self.left.reverts -= 1;
        let machine = self.snapshot.clone()?;
        self.reboot(true);
        (self.disk, self.stamp, self.area) = (machine.disk, machine.stamp, machine.area);
        (self.issued, self.file) = (self.disk, machine.file);
        if let Some((issued, in_flight, tracker, driver, service)) = machine.memory {
            (self.issued, self.in_flight, self.tracker) = (issued, in_flight, tracker);
            (self.driver, self.service) = (driver, service);
            self.link_is_cut();
        }
        Some(())
    }

    // --------------------------------------------------------------------------- the service

    fn link_is_cut(&mut self) {
        match self.service.stage {
            Stage::Streaming | Stage::Dialled { .. } => self.service.stage = Stage::Cut,
            // It goes on with the welcome, and finds the link cut.
            Stage::Idle | Stage::Claimed { .. } | Stage::Greeted { .. } | Stage::Cut => {}
        }
    }

    /// The session begins whose state the volume has kept.
    fn begin_by_itself(&mut self, call: &Call) -> Option<()> {
        let Tracker::Armed(SavedState { session, .. }) = self.tracker else { return None };
        let saved = self.tracker.take(session);
        self.driver = Some(Driver::continued(session, GapReason::Restarted, saved, call));
        Some(())
    }

    fn serve(&mut self, step: Step, rules: &Rules) -> Option<()> {
        let call = self.call(rules);
        match step {
            Step::BeginByItself => return self.begin_by_itself(&call),
            Step::TakeClaim => self.take_claim(rules, &call),
            Step::Greet => {
                let Stage::Claimed { is_resumed, remembered } = self.service.stage else {
                    return None;
                };
                let session = self.driver.as_ref()?.session;
                let new = StateFile { session, epoch: 0 };
                self.file = Some(remembered.unwrap_or(new));
                let durable = self.server.greet(session, rules.sabotage);
                self.service.stage = Stage::Greeted { is_resumed, remembered, durable };
            }
            Step::GoOn => {
                let outcome = self.service.go_on(self.driver.as_mut()?, &call);
                self.conclude(outcome, rules, &call);
            }
            Step::Dial => {
                let session = self.driver.as_ref()?.session;
                let durable = self.server.greet(session, rules.sabotage);
                self.service.stage = Stage::Dialled { durable };
            }
            Step::Join => {
                let Stage::Dialled { durable } = self.service.stage else { return None };
                let outcome = self.service.join(durable, self.driver.as_mut()?, &call);
                self.conclude(outcome, rules, &call);
            }
            Step::Drain => {
                let frame = self.driver.as_mut()?.drain(&call);
                self.service.put(frame, &rules.sizes);
            }
            Step::Send => {
                let frame = self.service.take_next()?;
                self.server.connection.as_mut()?.up.push(frame);
            }
            Step::Receive => {
                let end = self.server.connection.as_mut()?.down.remove(0);
                let outcome = self.service.receive(end, self.driver.as_mut()?);
                self.conclude(outcome, rules, &call);
            }
            Step::Save => {
                let file = self.service.to_save(self.driver.as_ref()?.session)?;
                self.file = Some(file);
                self.service.saved(file);
            }
            Step::LoseRecords => {
                self.left.losses -= 1;
                self.service.lose = true;
                self.end_claim(&call);
            }
            Step::CrashService => {
                self.left.service_crashes -= 1;
                self.end_claim(&call);
                self.service = Service::new();
            }
            _ => return None,
        }
        Some(())
    }

    /// `session::plan` and `Claim::take`.
    fn take_claim(&mut self, rules: &Rules, call: &Call) {
        let file = self.file;
        if self.driver.is_none() {
            self.load(call);
        }
        let (is_resumed, session) = match (&self.driver, file) {
            (Some(driver), _) => (true, driver.session),
            (None, Some(file)) if !rules.sizes.begins_anew => {
                if self.continued == CONTINUED_MAX {
                    self.breach = Some(Breach::NoEnd);
                    return;
                }
                self.continued += 1;
                let reason = GapReason::Restarted;
                let saved = self.tracker.take(file.session);
                self.driver = Some(Driver::continued(file.session, reason, saved, call));
                (true, file.session)
            }
            (None, _) => {
                self.sessions += 1;
                self.tracker = Tracker::Forgotten;
                self.driver = Some(Driver::start(self.sessions, call));
                (false, self.sessions)
            }
        };
        let remembered = file.filter(|file| is_resumed && file.session == session);
        self.service.claimed(is_resumed, remembered);
    }

    fn conclude(&mut self, outcome: Outcome, rules: &Rules, call: &Call) {
        match outcome {
            Outcome::Streams if self.is_linked() => self.service.stage = Stage::Streaming,
            Outcome::Streams => self.service.stage = Stage::Cut,
            Outcome::Fails => self.end_claim(call),
            Outcome::StartsOver(has_part) => {
                let session = self.driver.take().map(|driver| driver.session);
                self.service.unclaimed();
                self.service.forget();
                let continues = has_part && !rules.sizes.begins_anew;
                let session = session.filter(|_| continues);
                self.file = session.map(|session| StateFile { session, epoch: 0 });
                self.hang_up();
            }
            Outcome::Refused => self.breach = Some(Breach::DriverRefused),
        }
    }

    /// The port is closed.
    fn end_claim(&mut self, call: &Call) {
        if let Some(driver) = &mut self.driver {
            driver.leave(call);
        }
        self.service.unclaimed();
        self.hang_up();
    }

    fn hang_up(&mut self) {
        // Frames that were sent arrive; a break that loses some is a step of its own.
        let arrives = self.server.connection.as_ref().map_or(0, |it| it.up.len());
        self.server.cut(arrives);
    }

    // ---------------------------------------------------------------------------- the checks

    /// True if nothing more happens by itself.
    pub fn is_quiet(&self, rules: &Rules) -> bool {
        self.breach.is_none() && self.own_steps(rules).is_empty()
    }

    /// True if the server has the volume as it is.
    pub fn is_protected(&self, rules: &Rules) -> bool {
        let is_of_it = |driver: &Driver| {
            driver.session == self.server.session()
                && driver.captured() == self.server.end().seq
                && !driver.is_in_gap()
        };
        self.is_idle_at_disk()
            && self.driver.as_ref().is_some_and(is_of_it)
            && self.server.describes(&self.disk, rules.sizes.blocks)
    }

    /// True if the server has all that it acknowledged, unless it was put back.
    pub fn keeps_what_was_acknowledged(&self, rules: &Rules) -> bool {
        let has_all = |driver: &Driver| {
            let acknowledged = driver.acknowledged();
            acknowledged == 0
                || (driver.session == self.server.session()
                    && acknowledged <= self.server.end().seq)
        };
        self.left.exchanges < rules.budget.exchanges || self.driver.as_ref().is_none_or(has_all)
    }

    /// True if there was no gap, and no session but the first.
    pub fn is_without_gap(&self) -> bool {
        self.sessions <= 1
            && !self.server.has_gap()
            && !self.driver.as_ref().is_some_and(Driver::is_in_gap)
    }
}

fn low(count: usize) -> u8 {
    u8::try_from(count).expect("few frames")
}
