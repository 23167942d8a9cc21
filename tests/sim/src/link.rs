//! The service and the server: records leave the driver, travel, become durable epoch by epoch, and
//! are acknowledged late, or never. When the service dies, the server keeps whole durable epochs
//! only, and the next service drains what follows them, if the driver has kept it. When the link
//! breaks, or the server crashes, a service that lives sends again what is not durable.
//!
//! In most runs the real server's code stands behind this model ([`FarEnd`]): then it decides when
//! an epoch is durable and what is left after a loss, and the model checks that nothing
//! acknowledged is missing.

mod marks;

use std::collections::VecDeque;

use snapless_types::{Made, RecordKind};

use crate::failure::{Broken, Rule, ensure};
use crate::far_end::{FarEnd, Received, Served};
use crate::plan::LinkPlan;
use crate::rng::Rng;

pub use marks::{Mark, MarkList};

/// An epoch on its way to durability: when it gets there, its id, and the records that the server
/// then keeps.
#[derive(Debug)]
struct Becoming {
    due: u64,
    epoch: u64,
    keeps: usize,
}

/// What the link can do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkStep {
    /// The server receives a record.
    Receive,
    /// An epoch becomes durable.
    Durable,
    /// An acknowledgement arrives at the driver.
    Acknowledge,
    /// The driver notices that the service is gone.
    Leave,
    /// A service is there again.
    Attach,
}

/// Service, network and server.
#[derive(Debug, Default)]
pub struct Link {
    plan: LinkPlan,
    /// The service takes records.
    pub alive: bool,
    /// Counts deaths of the service.
    pub life: u64,
    /// When the service takes the next record.
    pub next_drain: u64,
    /// Between service and server.
    pipe: VecDeque<Received>,
    /// What the server has.
    pub kept: Vec<Received>,
    /// How much of that is durable.
    pub durable: usize,
    /// Lengths of `kept` at which what follows was lost.
    pub losses: Vec<usize>,
    /// Services after which another one went on without a gap.
    pub successions: u64,
    /// The watermarks that the real server has.
    pub marks: MarkList,
    /// Links that broke and were followed by others.
    pub cuts: u64,
    durable_epoch: u64,
    becoming: VecDeque<Becoming>,
    /// When each arrives, and the epoch.
    pub acknowledgements: Vec<(u64, u64)>,
    leave_at: Option<u64>,
    attach_at: Option<u64>,
    /// The real server's code, in runs that have it.
    pub far_end: Option<FarEnd>,
}

impl Link {
    /// A link with nothing on it.
    pub fn new(plan: LinkPlan, far_end: Option<FarEnd>) -> Self {
        Self { plan, far_end, alive: true, ..Self::default() }
    }

    /// The service connects to the server; returns when the server's last record was made, if it
    /// is the real one.
    pub fn connect(&mut self, calm: bool) -> Result<Option<Made>, Broken> {
        let Some(far_end) = &mut self.far_end else { return Ok(None) };
        let (durable, made) = far_end.connect(!calm)?;
        let expected = self.last_kept();
        ensure!(
            durable == expected,
            Rule::Loss,
            "the server has record {durable} after it had record {expected}"
        );
        self.find_mark()?;
        Ok(Some(made))
    }

    /// True if the service may tell the server that there is nothing new.
    pub fn is_settled(&self) -> bool {
        let is_settled = |far_end: &FarEnd| far_end.window().is_settled();
        self.alive && self.far_end.as_ref().is_some_and(is_settled)
    }

    /// The last record that the server has acknowledged, if it has all that the service has sent.
    pub fn acknowledged(&self) -> u64 {
        self.far_end.as_ref().map_or(0, |far_end| far_end.window().last().get())
    }

    /// Sectors that were not sent, as the server had them.
    pub fn unchanged(&self) -> u64 {
        self.far_end.as_ref().map_or(0, FarEnd::unchanged)
    }

    /// The service sends a watermark, if it may.
    pub fn mark(&mut self, mark: Mark, calm: bool, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        let Some(far_end) = &mut self.far_end else { return Ok(()) };
        match far_end.mark(mark.watermark, !calm)? {
            // There is something newer.
            None => Ok(()),
            Some(Served::Marked) => {
                self.marks.push(self.kept_of(mark.watermark.seq().get()), mark);
                Ok(())
            }
            Some(Served::Failed) => {
                // The server may have it all the same.
                self.marks.push(self.kept_of(mark.watermark.seq().get()), mark);
                self.link_again(rng, now)
            }
            Some(served) => Err(Broken::new(
                Rule::Resume,
                format!("the server gets a watermark, and is {served:?}"),
            )),
        }
    }

    /// The service makes another link if the server's power has failed, as in what it does after an
    /// acknowledgement.
    pub fn link_if_cut(&mut self, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        let is_cut = |far_end: &FarEnd| !far_end.has_power();
        if self.alive && self.far_end.as_ref().is_some_and(is_cut) {
            self.link_again(rng, now)?;
        }
        Ok(())
    }

    /// How many records the server has up to this one.
    fn kept_of(&self, seq: u64) -> usize {
        self.kept.partition_point(|it| it.record.seq.get() <= seq)
    }

    /// After a connection: of the watermarks after its last record, the server has what it says.
    fn find_mark(&mut self) -> Result<(), Broken> {
        let Some(far_end) = &self.far_end else { return Ok(()) };
        self.marks.keep(self.durable, far_end.watermark())
    }

    /// True if the service can take a record when its time comes.
    pub fn has_room(&self, in_hand: usize) -> bool {
        self.alive && in_hand < self.plan.in_hand_max && self.pipe.len() < self.plan.pipe_max
    }

    /// Sends a record on its way.
    pub fn send(&mut self, received: Received, calm: bool, rng: &mut Rng, now: u64) {
        self.pipe.push_back(received);
        let gap = if calm { self.plan.drain_gap.min(100) } else { self.plan.drain_gap };
        self.next_drain = now + gap / 2 + rng.below(gap / 2 + 1);
    }

    /// The steps that the link can take, and when each is due.
    pub fn dues(&self) -> impl Iterator<Item = (u64, LinkStep)> + '_ {
        let receive = (!self.pipe.is_empty()).then_some((0, LinkStep::Receive));
        let durable = self.becoming.front().map(|epoch| (epoch.due, LinkStep::Durable));
        let due = self.acknowledgements.iter().map(|&(due, _)| due).min();
        let acknowledge = due.map(|due| (due, LinkStep::Acknowledge));
        let leave = self.leave_at.map(|due| (due, LinkStep::Leave));
        let attach = self.attach_at.map(|due| (due, LinkStep::Attach));
        [receive, durable, acknowledge, leave, attach].into_iter().flatten()
    }

    /// The server receives the next record.
    pub fn receive(&mut self, calm: bool, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        let Some(received) = self.pipe.pop_front() else { return Ok(()) };
        let (kind, epoch) = (received.record.kind, received.record.epoch.get());
        if let Some(far_end) = &mut self.far_end {
            far_end.send(&received)?;
        }
        self.kept.push(received);
        if kind == RecordKind::EpochEnd {
            let delay = if calm { 0 } else { rng.below(self.plan.durable_delay) };
            self.becoming.push_back(Becoming { due: now + delay, epoch, keeps: self.kept.len() });
        }
        Ok(())
    }

    /// The oldest epoch that the server has received becomes durable and is acknowledged.
    pub fn make_durable(&mut self, calm: bool, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        let Some(next) = self.becoming.pop_front() else { return Ok(()) };
        if let Some(far_end) = &mut self.far_end {
            let mut served = Served::Stored;
            while served == Served::Stored {
                served = far_end.serve(!calm)?;
            }
            if served == Served::Failed {
                self.becoming.push_front(Becoming { due: now, ..next });
                return if rng.once_in(2) { self.die(rng, now) } else { self.link_again(rng, now) };
            }
            let is_it =
                matches!(served, Served::Acknowledged(it) if it.epoch().get() == next.epoch);
            ensure!(
                is_it,
                Rule::Loss,
                "the server has all of epoch {}, and is {served:?}",
                next.epoch
            );
        }
        self.durable = next.keeps;
        self.durable_epoch = next.epoch;
        if calm || !rng.once_in(self.plan.lost_acks_once_in) {
            let delay = if calm { 0 } else { rng.below(self.plan.durable_delay) };
            self.acknowledgements.push((now + delay, next.epoch));
        }
        Ok(())
    }

    /// The acknowledgement that arrives next.
    pub fn take_acknowledgement(&mut self) -> Option<u64> {
        let waiting = self.acknowledgements.iter().enumerate();
        let (index, _) = waiting.min_by_key(|(_, (due, _))| *due)?;
        Some(self.acknowledgements.swap_remove(index).1)
    }

    /// Acknowledges again what is durable: the service asks the server.
    pub fn acknowledge_again(&mut self, now: u64) {
        if self.durable_epoch > 0 {
            self.acknowledgements.push((now, self.durable_epoch));
        }
    }

    /// Perhaps the service dies or stalls.
    pub fn perhaps_fail(&mut self, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        if self.alive && rng.once_in(self.plan.stalls_once_in) {
            self.next_drain = now + rng.scaled(1..=self.plan.stall_max);
        }
        if self.alive && rng.once_in(self.plan.cuts_once_in) {
            self.link_again(rng, now)?;
        }
        if rng.once_in(self.plan.dies_once_in) { self.cut(rng, now) } else { Ok(()) }
    }

    /// The link breaks, and the service makes another one. The model of a server loses nothing by
    /// that; the real one gets again what it has not made durable.
    fn link_again(&mut self, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        let Some(far_end) = &mut self.far_end else { return Ok(()) };
        self.cuts += 1;
        let durable = far_end.link_again()?;
        let watermark = far_end.watermark();
        let keeps = self.kept_up_to(durable)?;
        self.marks.keep(keeps, watermark)?;
        let known = self.becoming.iter().filter(|epoch| epoch.keeps <= keeps).count();
        if let Some(last) = self.becoming.drain(..known).next_back() {
            (self.durable, self.durable_epoch) = (last.keeps, last.epoch);
            // The welcome says so, if the acknowledgement was lost.
            let due = now + rng.below(self.plan.durable_delay);
            self.acknowledgements.push((due, last.epoch));
        }
        Ok(())
    }

    /// How many records the server has up to this one, which is its last durable one.
    fn kept_up_to(&self, durable: u64) -> Result<usize, Broken> {
        let keeps = self.kept.iter().take_while(|it| it.record.seq.get() <= durable).count();
        ensure!(
            keeps >= self.durable,
            Rule::Loss,
            "{} records were acknowledged, and the server has {keeps} of them",
            self.durable
        );
        Ok(keeps)
    }

    /// The service dies now, if it is alive.
    pub fn cut(&mut self, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        if self.alive { self.die(rng, now) } else { Ok(()) }
    }

    fn die(&mut self, rng: &mut Rng, now: u64) -> Result<(), Broken> {
        self.alive = false;
        self.life += 1;
        self.pipe.clear();
        // Some of what the server had all of may still become durable, without an acknowledgement.
        let mut becoming = std::mem::take(&mut self.becoming);
        let more = match &mut self.far_end {
            None => rng.index(becoming.len() + 1),
            Some(far_end) => {
                let durable = far_end.lose()?;
                let watermark = far_end.watermark();
                let keeps = self.kept_up_to(durable)?;
                self.marks.keep(keeps, watermark)?;
                becoming.iter().filter(|epoch| epoch.keeps <= keeps).count()
            }
        };
        if let Some(last) = becoming.drain(..more).next_back() {
            self.durable = last.keeps;
            self.durable_epoch = last.epoch;
        }
        self.kept.truncate(self.durable);
        if rng.once_in(2) {
            self.acknowledgements.clear();
        }
        self.leave_at = Some(now + rng.scaled(1..=self.plan.stall_max));
        Ok(())
    }

    /// The driver has noticed that the service is gone; a new one comes later.
    pub fn left(&mut self, calm: bool, rng: &mut Rng, now: u64) {
        self.leave_at = None;
        let delay = if calm { 0 } else { rng.scaled(1..=self.plan.stall_max) };
        self.attach_at = Some(now + delay);
    }

    /// The last record that the server has.
    pub fn last_kept(&self) -> u64 {
        self.kept.last().map_or(0, |last| last.record.seq.get())
    }

    /// A service is there again; `has_all` if the driver has all that follows what the server has.
    pub fn attached(&mut self, has_all: bool, now: u64) {
        if has_all {
            self.successions += 1;
        } else {
            self.losses.push(self.kept.len());
        }
        self.attach_at = None;
        self.alive = true;
        self.next_drain = now;
    }

    /// Forgets what is not durable, for good; true if there is any.
    pub fn keep_durable(&mut self) -> bool {
        let is_more = self.durable < self.kept.len();
        self.kept.truncate(self.durable);
        is_more
    }

    /// True unless the driver knows that no service is there.
    pub fn is_attached(&self) -> bool {
        self.attach_at.is_none()
    }

    /// Faults end: what is delayed happens now.
    pub fn calm_down(&mut self, now: u64) {
        self.next_drain = self.next_drain.min(now);
        let becoming = self.becoming.iter_mut().map(|epoch| &mut epoch.due);
        for due in becoming.chain(&mut self.leave_at).chain(&mut self.attach_at) {
            *due = now.min(*due);
        }
    }

    /// True if all that was drained is durable and the service is there.
    pub fn is_quiet(&self) -> bool {
        self.alive
            && self.pipe.is_empty()
            && self.becoming.is_empty()
            && self.acknowledgements.is_empty()
            && self.durable == self.kept.len()
    }
}
