//! The course of a run: writes without a session, a session that starts under them, rounds of load
//! and calm, perhaps a stop.

use snapless_engine::{Session, Worker};
use snapless_types::{BlockIndex, BlockRange};

use super::verbs::Verb;
use super::{Stage, World, index};
use crate::check;
use crate::failure::{Broken, Rule, ensure};
use crate::ledger::BaseImage;
use crate::options::Sabotage;
use crate::report::Report;
use crate::volume::Content;

/// Steps without a session, before and after the service looks at the paging file, at most.
const BEFORE_MAX: u64 = 200;
/// Blocks that are counted in each step, on average.
const COUNTED_EVERY: u64 = 64;
/// Steps in which everything has to come to rest once faults and writes have ended.
const CALM_STEPS_MAX: u64 = 200_000;

impl World {
    /// Plays the run.
    pub fn run(&mut self) -> Result<Report, Broken> {
        self.before_session()?;
        self.paging.look();
        self.before_session()?;
        self.ask_for_unused();
        self.before_session()?;
        self.make_session();
        self.link.connect(self.calm)?;
        for round in 1..=self.plan.rounds {
            let stops_at = (self.plan.stops && round == self.plan.rounds)
                .then(|| self.rng.below(self.plan.round_steps));
            self.load(stops_at)?;
            if self.stage == Stage::Off {
                break;
            }
            self.come_to_rest()?;
        }
        self.finish()
    }

    fn before_session(&mut self) -> Result<(), Broken> {
        for _ in 0..self.rng.below(BEFORE_MAX) {
            self.take_step()?;
            self.perhaps_resize_paging();
            self.perhaps_give_back();
        }
        Ok(())
    }

    /// Makes the session: from here on it gets every write that arrives.
    fn make_session(&mut self) {
        let session =
            Session::new(self.host.clone(), self.plan.volume.geometry(), self.plan.config)
                .expect("there is memory for a small session");
        self.session = Some(session);
        self.stage = Stage::Starting;
        self.give_excluded();
        let now = self.host.ticks();
        self.swept = (now, 0);
        for thread in &mut self.threads {
            thread.wake(now);
        }
        if self.options.sabotages(Sabotage::EarlyHoles) {
            self.plan_skips();
        }
        // The session does not know the writes that are outstanding now.
        self.before = self.ledger.open.clone();
    }

    /// Begins the session once every write from before it has completed (rule T0: the host's duty).
    fn begin_if_drained(&mut self) -> Result<(), Broken> {
        let ledger = &self.ledger;
        self.before.retain(|&id| ledger.write(id).done.is_none());
        if !self.before.is_empty() && !self.options.sabotages(Sabotage::NoDrain) {
            return Ok(());
        }
        self.forget_unused();
        self.verb(Verb::Begin, |session| session.begin())?;
        self.stage = Stage::Running;
        let clock = self.session.as_ref().map_or(0, |session| session.status().t0);
        // T0: where the disk holds no data is found out after t0, never before.
        if !self.options.sabotages(Sabotage::EarlyHoles) {
            self.plan_skips();
        }
        let mut sectors = self.disk.sectors[..self.plan.volume.sectors].to_vec();
        self.forget_paged(&mut sectors);
        for (block, empty) in self.ledger.empty.iter_mut().enumerate() {
            *empty &= is_empty(&sectors[self.plan.volume.sectors_in(block)]);
        }
        self.ledger.base = Some(BaseImage { sectors, clock });
        Ok(())
    }

    /// Chooses the blocks to skip, of those that have not been written to.
    fn plan_skips(&mut self) {
        let volume = self.plan.volume;
        for block in 0..volume.blocks() {
            let empty = is_empty(&self.disk.sectors[volume.sectors_in(block)]);
            let wrong = self.options.sabotages(Sabotage::NoData) && !empty;
            if !(empty || wrong) || !self.rng.once_in(self.plan.skips_once_in) {
                continue;
            }
            self.ledger.empty[block] = true;
            let start = BlockIndex(block as u64);
            let end = BlockIndex(block as u64 + 1);
            match self.skips.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => self.skips.push(BlockRange::new(start, end)),
            }
        }
    }

    /// A round under load.
    fn load(&mut self, stops_at: Option<u64>) -> Result<(), Broken> {
        self.calm = false;
        for step in 0..self.plan.round_steps {
            ensure!(self.take_step()?, Rule::Hang, "nothing can run under load; {}", self.state());
            if self.stage == Stage::Starting {
                self.begin_if_drained()?;
            }
            if self.step.0.is_multiple_of(self.plan.volume.blocks() as u64 / COUNTED_EVERY + 1) {
                self.check_counts()?;
            }
            self.note_convergence();
            self.perhaps_resize_paging();
            self.perhaps_mark()?;
            if self.rng.once_in(self.plan.reviews_once_in) {
                self.review_excluded()?;
            }
            if self.rng.once_in(self.plan.says_unused_once_in) {
                self.say_unused()?;
            }
            if self.rng.once_in(self.plan.verifies_once_in) {
                self.perhaps_verify()?;
            }
            if self.rng.once_in(self.plan.pace.pauses_once_in) {
                self.set_paused(!self.paused)?;
            }
            if self.plan.dies_at == Some(self.loaded) {
                self.losing.shuts_down = true;
                self.link.cut(&mut self.rng, self.host.ticks())?;
            }
            if self.rng.once_in(self.plan.cancels_once_in) {
                self.cancel()?;
            }
            if self.plan.power_fails_at == Some(self.loaded) {
                // Only what the server has is left.
                self.link.cut(&mut self.rng, self.host.ticks())?;
                self.stage = Stage::Off;
                return Ok(());
            }
            if self.plan.grows_at == Some(self.loaded) && self.stage == Stage::Running {
                let length = self.plan.volume.geometry().length();
                let sector = u64::from(self.plan.volume.sector_bytes);
                // What is known of the disk stays: a shorter volume is one whose tail is not asked
                // for.
                let other = if self.rng.once_in(2) { length + sector } else { length - sector };
                self.verb(Verb::Resize, |session| session.resize(other))?;
                if self.rng.once_in(2) {
                    // It may have other content when it is as long again.
                    self.verb(Verb::Resize, |session| session.resize(length))?;
                }
                self.ledger.resized = Some(self.step);
            }
            self.loaded += 1;
            self.link.perhaps_fail(&mut self.rng, self.host.ticks())?;
            if stops_at == Some(step) {
                self.verb(Verb::Stop, |session| session.stop())?;
                self.stage = Stage::Stopped;
            }
        }
        Ok(())
    }

    /// Faults and writes end: the run has to come to rest, and the rules are checked.
    fn come_to_rest(&mut self) -> Result<(), Broken> {
        self.calm = true;
        // A gap that ends in calm proves nothing about load.
        self.consistent = true;
        self.link.calm_down(self.host.ticks());
        if self.paused {
            self.set_paused(false)?;
        }
        let mut asked_again = false;
        for _ in 0..CALM_STEPS_MAX {
            if self.stage == Stage::Starting {
                self.begin_if_drained()?;
            }
            self.review_excluded()?;
            self.say_unused()?;
            if self.is_quiet() {
                self.perhaps_mark()?;
                self.link.link_if_cut(&mut self.rng, self.host.ticks())?;
                return self.check_at_rest();
            }
            if !self.take_step()? {
                if asked_again {
                    break;
                }
                // An acknowledgement was lost: the service asks the server what it has.
                asked_again = true;
                self.link.acknowledge_again(self.host.ticks());
            }
        }
        let what = format!("writes and faults have ended, but no rest comes; {}", self.state());
        Err(Broken::new(Rule::Hang, what))
    }

    fn perhaps_resize_paging(&mut self) {
        if self.rng.once_in(self.plan.resizes_paging_once_in) {
            self.resize_paging();
        }
    }

    /// Resync converges: a gap ends while writers go on.
    fn note_convergence(&mut self) {
        let Some(session) = self.session.as_ref() else { return };
        let consistent = session.status().consistent;
        self.report.gaps_closed_under_load += u64::from(consistent && !self.consistent);
        self.consistent = consistent;
    }

    /// Begins a verification, or now and then ends the one under way, or has some blocks repaired.
    fn perhaps_verify(&mut self) -> Result<(), Broken> {
        let rate = self.rng.pick(&[0, 0, 1 << 20, 1 << 30]);
        match self.rng.below(8) {
            0 => self.verb(Verb::Verify, |session| session.end_verification()),
            1 => self.perhaps_repair(),
            _ => self.verb(Verb::Verify, |session| session.begin_verification(rate)),
        }
    }

    fn perhaps_repair(&mut self) -> Result<(), Broken> {
        let blocks = self.plan.volume.blocks();
        let start = self.rng.index(blocks);
        let end = start + 1 + self.rng.index(blocks - start);
        let run = BlockRange::new(BlockIndex(start as u64), BlockIndex(end as u64));
        let verb = Verb::Repair { blocks: end - start };
        let repairs = self.verb(verb, |session| session.repair(run))?;
        self.report.repairs += u64::from(repairs);
        Ok(())
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), Broken> {
        self.paused = paused;
        self.verb(Verb::Pause, |session| if paused { session.pause() } else { session.resume() })
    }

    fn is_quiet(&self) -> bool {
        let Some(session) = self.session.as_ref() else { return false };
        if !self.ledger.open.is_empty() || !self.tasks.is_empty() || !self.disk.is_idle() {
            return false;
        }
        if self.stage == Stage::Stopped {
            return session.is_settled() && self.threads.iter().all(|thread| thread.ended);
        }
        let status = session.status();
        self.stage == Stage::Running
            && self.link.is_quiet()
            && status.acknowledged_seq == status.last_seq
            && status.consistent != status.resized
            && status.blocks_synced == status.blocks_total
    }

    fn check_at_rest(&mut self) -> Result<(), Broken> {
        let (Some(session), Stage::Running) = (self.session.as_ref(), self.stage) else {
            return Ok(());
        };
        let status = session.status();
        let queue_used = status.queue_used + status.queue_with_disk;
        let left = (queue_used, status.writes_in_flight, status.writes_holding);
        ensure!(
            left == (0, 0, 0),
            Rule::Bound,
            "at rest, {left:?} bytes of queue memory, writes in flight and held writes are left"
        );
        check::replica(&self.ledger, &self.link, &self.disk.sectors, |_| true)?;
        self.check_stream()?;
        Ok(())
    }

    fn state(&self) -> String {
        let mut held: Vec<_> =
            self.ledger.open.iter().map(|&id| (id.0, self.ledger.write(id).place)).collect();
        held.truncate(4);
        let status = self.session.as_ref().map(Session::status);
        let drain = self.threads[index(Worker::Drain)];
        format!("open writes {held:?}, {} tasks, drain {drain:?}, {status:?}", self.tasks.len())
    }
}

/// True if no write has put content there.
fn is_empty(sectors: &[Content]) -> bool {
    sectors.iter().all(|content| content.writer().is_none())
}
