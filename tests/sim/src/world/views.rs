//! What is checked while a run goes on: what the application sees, what the session reports of its
//! blocks, and what is left when the service is lost.

use snapless_engine::{BlockState, Phase, Read, Urgency};
use snapless_types::BlockIndex;

use super::{Stage, World};
use crate::check;
use crate::failure::{Broken, Rule, ensure};
use crate::host::MS;
use crate::ledger::{Place, Write};
use crate::volume::{WriteId, overlap};

/// The queue hands its memory out in pieces of so many bytes.
const GRANULE: u64 = 4096;
/// Holds are looked at once in so many steps.
const HOLDS_EVERY: u64 = 8;

impl World {
    /// Rule HANG (rules.md#hang): no write is held longer than the hold limit and local work take.
    pub(super) fn check_holds(&self) -> Result<(), Broken> {
        if !self.step.0.is_multiple_of(HOLDS_EVERY) {
            return Ok(());
        }
        let (now, bound) = (self.running_ticks(), self.plan.hold_bound());
        let limit = self.plan.longest_wait();
        for &id in &self.ledger.open {
            if let Place::Held(since) = self.ledger.write(id).place {
                ensure!(
                    now - since <= bound,
                    Rule::Hang,
                    "write {id} is held for {} ms; the limit is {} ms, local work takes up to {} ms",
                    (now - since) / MS,
                    limit / MS,
                    (bound - limit) / MS
                );
            }
        }
        Ok(())
    }

    /// True if nothing keeps this write, which arrives, from being captured and issued at once.
    pub(super) fn could_go(&self, id: WriteId) -> bool {
        let Some(session) = self.session.as_ref() else { return false };
        let write = self.ledger.write(id);
        let is_urgent = write.urgency == Urgency::MustNotWait;
        let open = || self.ledger.open.iter().filter(|&&other| other != id);
        // An urgent write does not wait behind one that waits for a slot.
        let overlaps = |&other: &WriteId| {
            overlap(&self.ledger.write(other).sectors, &write.sectors)
                && !(is_urgent && self.host.waits(other))
        };
        let has_slot = self.outstanding <= self.plan.config.writes_max as usize || {
            let is_urgent = |id: &WriteId| self.ledger.write(*id).urgency == Urgency::MustNotWait;
            let urgent = open().copied().filter(is_urgent).count();
            is_urgent(&id) && urgent < self.plan.config.urgent_writes() as usize
        };
        let is_synced = |block| session.block_state(BlockIndex(block as u64)) == BlockState::Synced;
        // The disk transfers those in flight from the queue, also where their records are kept.
        let in_queue = |id: WriteId| {
            let len = self.plan.volume.bytes(self.ledger.write(id).sectors.len());
            len.next_multiple_of(GRANULE)
        };
        let is_in_flight = |id: &WriteId| !matches!(self.ledger.write(*id).place, Place::Held(_));
        let with_disk: u64 = open().copied().filter(is_in_flight).map(in_queue).sum();
        let config = &self.plan.config;
        let for_writes = config.queue_bytes - config.sweep_share();
        // What is in flight may lie in pieces.
        let has_memory = with_disk == 0 || with_disk + in_queue(id) <= for_writes / 2;
        let status = session.status();
        status.phase == Phase::Capturing
            && self.queue_busy_since.is_none()
            && status.queue_with_disk == 0
            && has_slot
            && has_memory
            && write.sectors.end <= self.plan.volume.sectors
            && self.plan.volume.bytes(write.sectors.len()) <= self.plan.config.write_bytes
            && self.blocks_of(id).all(is_synced)
            && !open().any(overlaps)
    }

    /// Rule CLEAR (rules.md#clear): the sweep keeps to its cap and its pause.
    pub(super) fn check_sweep(&mut self, read: &Read) -> Result<(), Broken> {
        ensure!(!self.paused, Rule::Clear, "the sweep is paused, and reads {:?}", read.extent());
        let rate = self.plan.config.sweep.bytes_per_second;
        let (since, bytes) = self.swept;
        // The engine may have read the clock a moment ago.
        let ticks = self.host.ticks() - since + MS;
        ensure!(
            rate == 0
                || u128::from(bytes) * 1_000 * u128::from(MS)
                    <= u128::from(rate) * u128::from(ticks),
            Rule::Clear,
            "the sweep has read {bytes} bytes in {} ms, its cap is {rate} bytes per second",
            ticks / MS
        );
        self.swept = (since, bytes + read.extent().len());
        Ok(())
    }

    /// Rules LOSS and TRUTH (rules.md#loss, rules.md#truth): the blocks of a write that the stream
    /// does not describe are dirty, or will be when their read ends.
    pub(super) fn check_dirty(&self, id: WriteId, rule: Rule, why: &str) -> Result<(), Broken> {
        let Some(session) = self.session.as_ref().filter(|_| self.stage != Stage::Stopped) else {
            return Ok(());
        };
        for block in self.blocks_of(id) {
            let state = session.block_state(BlockIndex(block as u64));
            ensure!(
                matches!(state, BlockState::Dirty | BlockState::Reading),
                rule,
                "write {id} {why}, and its block {block} is {state:?}"
            );
        }
        Ok(())
    }

    /// Rule CLEAR: writes that overlap are captured in the order of their arrival. An urgent one
    /// may go ahead of one that waits for a slot.
    pub(super) fn check_turn(&self, id: WriteId) -> Result<(), Broken> {
        let Write { sectors, urgency, .. } = self.ledger.write(id);
        for &other in self.ledger.open.iter().take_while(|&&other| other != id) {
            let elder = self.ledger.write(other);
            ensure!(
                !overlap(&elder.sectors, sectors)
                    || !matches!(elder.place, Place::Held(_))
                    || *urgency == Urgency::MustNotWait && self.host.waits(other),
                Rule::Clear,
                "write {id} overtakes write {other}, which it overlaps and which is held"
            );
        }
        Ok(())
    }

    /// Rule CLEAR: a write that succeeded is on the disk, unless a concurrent write came after it.
    pub(super) fn check_application_view(&self, id: WriteId) -> Result<(), Broken> {
        let write = self.ledger.write(id);
        if !write.succeeded || write.paged {
            return Ok(());
        }
        for sector in write.sectors.clone() {
            let found = self.disk.sectors[sector].writer();
            ensure!(
                found.is_some_and(|other| other == id || !self.ledger.precedes(other, id)),
                Rule::Clear,
                "write {id} succeeded, but sector {sector} holds what {found:?} wrote before it"
            );
        }
        Ok(())
    }

    /// Rules LOSS and RESUME (rules.md#resume): when the service is lost, what the server keeps and
    /// the dirty blocks make up the disk.
    pub(super) fn check_loss_of_service(&self) -> Result<(), Broken> {
        let (Some(session), true) = (self.session.as_ref(), self.stage == Stage::Running) else {
            return Ok(());
        };
        let mut certain: Vec<_> = (0..self.plan.volume.blocks())
            .map(|block| session.block_state(BlockIndex(block as u64)) == BlockState::Synced)
            .collect();
        for &id in &self.ledger.open {
            if !matches!(self.ledger.write(id).place, Place::Held(_)) {
                // The disk may have a part of it.
                certain[self.blocks_of(id)].fill(false);
            }
        }
        check::replica(&self.ledger, &self.link, &self.disk.sectors, |block| certain[block])
    }

    /// The counts of blocks in the session's status are true.
    pub(super) fn check_counts(&self) -> Result<(), Broken> {
        let Some(session) = self.session.as_ref() else { return Ok(()) };
        let status = session.status();
        let mut counts = [0; 4];
        for block in 0..status.blocks_total {
            counts[session.block_state(BlockIndex(block)) as usize] += 1;
        }
        let [unsynced, reading, synced, dirty] = counts;
        let (reported_unsynced, reported_dirty) = (status.blocks_unsynced, status.blocks_dirty);
        ensure!(
            status.blocks_synced == synced
                && reported_unsynced >= unsynced
                && reported_dirty >= dirty
                && reported_unsynced + reported_dirty == unsynced + reading + dirty,
            Rule::Loss,
            "the table has {counts:?} blocks unsynced, being read, synced, dirty; the status has \
             {reported_unsynced} unsynced, {} synced, {reported_dirty} dirty",
            status.blocks_synced
        );
        Ok(())
    }
}
