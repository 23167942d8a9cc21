//! The driver's session: table, capture queue with kept records, epochs, gap.
//!
//! A write that is held is one that has not been submitted yet: an application cannot tell. So
//! [`Driver::submit`] has no queue of held writes, and any block may be read at any time, for the
//! sweep or for a hold. What takes several chunks in the engine is one step here, but for the
//! blocks of lost epochs ([`Driver::tidy`]), as the engine's own models and simulator cover the
//! chunks.

use snapless_types::{GapReason, RecordKind};

use crate::bounds::{BLOCKS_MAX, Sizes};
use crate::record::{Content, Frame, Record};
use crate::sabotage::Sabotage;
use crate::saved::{ENDS_MAX, SavedState};
use crate::server::Acknowledgement;

/// `tracking::table::BlockState`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BlockState {
    /// Its content at t0 is not captured.
    Unsynced,
    /// It is being read.
    Reading,
    /// The stream has its content.
    Synced,
    /// The stream may not have its content.
    Dirty,
}

/// `engine::lifecycle::Service`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Attachment {
    /// There is a service.
    Attached,
    /// There is none, and the records of the last one are kept.
    Away,
    /// There is none, and the records of the last one are lost.
    Lost,
}

/// `tracking::claims::Claimed`: a block that is being read, and what the disk gave.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Claimed {
    block: u8,
    before: BlockState,
    content: u8,
    is_spoiled: bool,
}

/// `tracking::epochs::Epoch`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Epoch {
    id: u8,
    /// Its last record; 0 while it is open.
    last_seq: u8,
    /// When that was made.
    made: u8,
    touched: u8,
    is_empty: bool,
}

/// `tracking::origin::Origin`: numbers inside begin at 1 behind it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Origin {
    /// The last record that the server has.
    durable: u8,
    /// What is added to numbers inside.
    seq: u8,
    epoch: u8,
}

/// What becomes of a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Submission {
    /// It waits.
    Held,
    /// It goes to the disk, captured or not.
    Issued,
}

/// A rule that the driver would assert.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// `ImpossibleSeq`.
    Seq,
    /// `ImpossibleEpoch`.
    Epoch,
}

/// `engine::session::Session`.
// As many as the engine's owners of state have together.
#[allow(clippy::struct_excessive_bools)]
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Driver {
    /// The session's id.
    pub session: u8,
    continues: Option<GapReason>,
    /// `None` until a service has said where the stream stands.
    origin: Option<Origin>,
    is_capturing: bool,
    attachment: Attachment,
    table: [BlockState; BLOCKS_MAX],
    claimed: Option<Claimed>,
    /// Blocks that writes in flight touch.
    in_flight: u8,
    /// Kept records, then those that wait to be drained. Their numbers are those inside.
    queue: Vec<Record>,
    kept: usize,
    is_pinned: bool,
    last_seq: u8,
    acknowledged_seq: u8,
    /// When that record was made.
    acknowledged_made: u8,
    /// Those that are not acknowledged; the last one is open.
    epochs: Vec<Epoch>,
    /// The ends of those that were lost, as far as their slots are not used again.
    lost: Vec<(u8, u8)>,
    /// Blocks of lost epochs that are not dirty yet.
    losing: u8,
    gap: bool,
    base_is_lost: bool,
    /// The record that says that the base image is complete; 0 for none.
    complete_seq: u8,
    /// What it continues with.
    saved: Option<SavedState>,
    /// A gap had no room: rule LOSS.
    pub overflown: bool,
}

/// What a call needs besides the session.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Limits.
    pub sizes: Sizes,
    /// A defect.
    pub sabotage: Option<Sabotage>,
    /// How often the machine was put back.
    pub now: u8,
    /// Sessions that have continued so far, on whatever machine.
    pub continued: u8,
    /// For the checks alone: what the volume has, with the writes that were issued.
    pub truth: Content,
}

/// More numbers than a session uses up. In place of the service's random number
/// (`snapless_wire::ioctl::origin_behind`), each session that continues begins at another multiple.
const JUMP: u8 = 40;

impl Call {
    /// True if this is the defect.
    pub fn is(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }
}

impl Driver {
    /// `Session::new` and `Session::begin`: the writes from before have completed, t0 is stamped.
    pub fn start(session: u8, call: &Call) -> Self {
        let mut driver = Self::make(session, call);
        driver.append(RecordKind::SessionStart, None, 0, call);
        driver
    }

    /// `Session::continued` and `Session::begin`.
    pub fn continued(
        session: u8,
        reason: GapReason,
        saved: Option<SavedState>,
        call: &Call,
    ) -> Self {
        let mut driver = Self::make(session, call);
        driver.continues = Some(reason);
        driver.saved = saved;
        for block in 0..call.sizes.blocks {
            if saved.is_some_and(|saved| saved.marked & bit(block) == 0) {
                driver.table[usize::from(block)] = BlockState::Synced;
            }
        }
        driver.origin = None;
        driver.attachment = Attachment::Away;
        driver.is_pinned = true;
        driver.base_is_lost = true;
        if call.is(Sabotage::DoesNotCompareABlock) {
            driver.table[0] = BlockState::Synced;
        }
        driver.open_gap(reason, call);
        if call.is(Sabotage::ContinuesWithoutGap) {
            driver.queue.clear();
            driver.last_seq = 0;
        }
        driver
    }

    fn make(session: u8, call: &Call) -> Self {
        let mut table = [BlockState::Synced; BLOCKS_MAX];
        table[..usize::from(call.sizes.blocks)].fill(BlockState::Unsynced);
        Self {
            session,
            continues: None,
            origin: Some(Origin { durable: 0, seq: 0, epoch: 0 }),
            is_capturing: true,
            attachment: Attachment::Attached,
            table,
            claimed: None,
            in_flight: 0,
            queue: Vec::new(),
            kept: 0,
            is_pinned: false,
            last_seq: 0,
            acknowledged_seq: 0,
            acknowledged_made: 0,
            epochs: vec![Epoch { id: 1, last_seq: 0, made: 0, touched: 0, is_empty: true }],
            lost: Vec::new(),
            losing: 0,
            gap: false,
            base_is_lost: false,
            complete_seq: 0,
            saved: None,
            overflown: false,
        }
    }

    // ------------------------------------------------------------------ what others may look at

    /// True while the stream does not describe the volume.
    pub fn is_in_gap(&self) -> bool {
        self.gap
    }

    /// True if a service drains the session.
    pub fn is_attached(&self) -> bool {
        self.attachment == Attachment::Attached
    }

    /// True if records wait to be drained, and a service has said from where on.
    pub fn has_records(&self) -> bool {
        self.is_attached() && self.waiting() > 0
    }

    /// `Status::placed`.
    pub fn is_placed(&self) -> bool {
        self.origin.is_some()
    }

    /// `Status::last_seq`.
    pub fn captured(&self) -> u8 {
        self.seq_outside(self.last_seq)
    }

    /// `Status::acknowledged_seq`.
    pub fn acknowledged(&self) -> u8 {
        self.seq_outside(self.acknowledged_seq)
    }

    /// `Status::saved`.
    pub fn saved(&self) -> Option<SavedState> {
        self.saved
    }

    /// What the driver saves when the machine shuts down. A session that nobody has placed yet
    /// knows of the server what the state said that it continues with.
    pub fn save(&self, stamp: u8, call: &Call) -> Option<SavedState> {
        let (acknowledged, captured, ends) = if self.is_placed() {
            (self.acknowledged(), self.captured(), self.ends())
        } else {
            self.saved.map(|saved| (saved.acknowledged, saved.captured, saved.ends))?
        };
        let unsafe_epochs = self.epochs.iter().fold(0, |union, epoch| union | epoch.touched);
        let mut marked = self.losing;
        if !call.is(Sabotage::SavesTooLittle) {
            marked |= unsafe_epochs;
        }
        for block in 0..call.sizes.blocks {
            if self.table[usize::from(block)] != BlockState::Synced {
                marked |= bit(block);
            }
        }
        Some(SavedState { session: self.session, acknowledged, captured, ends, marked, stamp })
    }

    /// True if blocks of lost epochs are not dirty yet.
    pub fn is_losing(&self) -> bool {
        self.losing != 0
    }

    /// True while a block is being read.
    pub fn is_reading(&self) -> bool {
        self.claimed.is_some()
    }

    /// True while a write to a block is at the disk.
    pub fn is_written(&self, block: u8) -> bool {
        self.in_flight & bit(block) != 0
    }

    fn waiting(&self) -> usize {
        self.queue.len() - self.kept
    }

    fn last_taken(&self) -> u8 {
        self.last_seq - low(self.waiting())
    }

    fn seq_outside(&self, inside: u8) -> u8 {
        match self.origin {
            Some(origin) if inside == 0 => origin.durable,
            Some(origin) => inside + origin.seq,
            None => inside,
        }
    }

    fn seq_inside(&self, outside: u8) -> Option<u8> {
        let origin = self.origin.filter(|origin| outside >= origin.durable)?;
        Some(outside.saturating_sub(origin.seq))
    }

    // -------------------------------------------------------------------------------- writes

    /// `Core::submit`.
    pub fn submit(&mut self, block: u8, content: u8, urgent: bool, call: &Call) -> Submission {
        if self.is_written(block) {
            return Submission::Held;
        }
        let state = self.table[usize::from(block)];
        let is_synced = state == BlockState::Synced || call.is(Sabotage::ForgetsHold);
        if self.is_capturing && is_synced && self.reserve(call) {
            self.in_flight |= bit(block);
            let mut call = *call;
            call.truth[usize::from(block)] = content;
            self.push(RecordKind::Write, Some(block), content, None, &call);
            return Submission::Issued;
        }
        let is_covered = !self.is_capturing
            || state == BlockState::Dirty
            || (self.base_is_lost && state == BlockState::Unsynced);
        let reason = if is_covered {
            None
        } else if urgent {
            Some(GapReason::UrgentWrite)
        } else {
            // For its record, or for its block's that is read before.
            let lacks_room = is_synced || (state == BlockState::Unsynced && !self.reserve(call));
            let reason = match self.attachment {
                Attachment::Attached => GapReason::QueueFull,
                Attachment::Away | Attachment::Lost => GapReason::ServiceLost,
            };
            let waits = self.is_attached() && !self.gap;
            if !lacks_room || waits {
                return Submission::Held;
            }
            self.in_flight |= bit(block);
            self.mark_dirty(block, Some(reason), call);
            self.stop_capturing(reason, call);
            return Submission::Issued;
        };
        self.in_flight |= bit(block);
        self.mark_dirty(block, reason, call);
        Submission::Issued
    }

    /// `Core::completed`.
    pub fn completed(&mut self, block: u8, succeeded: bool, call: &Call) {
        self.in_flight &= !bit(block);
        if !succeeded && !call.is(Sabotage::ForgetsFailure) {
            self.mark_dirty(block, Some(GapReason::WriteFailed), call);
        }
        self.resume_capturing_if_drained(call);
    }

    /// True if a write to some block waits for room in the queue.
    pub fn is_full(&self, call: &Call) -> bool {
        self.is_capturing && self.is_attached() && !self.gap && !self.has_room(1, call)
    }

    /// `Core::end_holds_past_the_limit`.
    pub fn end_hold(&mut self, call: &Call) {
        self.stop_capturing(GapReason::QueueFull, call);
    }

    // --------------------------------------------------------------------------------- reads

    /// True if the block may be read.
    pub fn can_claim(&self, block: u8, call: &Call) -> bool {
        let may = match self.table[usize::from(block)] {
            BlockState::Unsynced => true,
            BlockState::Dirty => !self.is_written(block) || call.is(Sabotage::ReadsUnderWrite),
            BlockState::Reading | BlockState::Synced => false,
        };
        may && self.is_capturing && self.claimed.is_none() && self.has_room(1, call)
    }

    /// `Core::claim`: the disk is read meanwhile, and gives this content.
    pub fn claim(&mut self, block: u8, content: u8, call: &Call) {
        if self.can_claim(block, call) && self.reserve(call) {
            let state = &mut self.table[usize::from(block)];
            let before = std::mem::replace(state, BlockState::Reading);
            self.claimed = Some(Claimed { block, before, content, is_spoiled: false });
        }
    }

    /// `Core::read_done`.
    pub fn read_done(&mut self, call: &Call) {
        let Some(claimed) = self.claimed.take() else { return };
        let Claimed { block, before, content, is_spoiled } = claimed;
        let state = &mut self.table[usize::from(block)];
        if is_spoiled && !call.is(Sabotage::UsesSpoiltRead) {
            *state = BlockState::Dirty;
            self.base_is_lost |= before == BlockState::Unsynced;
        } else {
            *state = BlockState::Synced;
            let is_base = before == BlockState::Unsynced && self.continues.is_none();
            let kind = if is_base { RecordKind::Block } else { RecordKind::Resync };
            self.push(kind, Some(block), content, None, call);
        }
        self.resume_capturing_if_drained(call);
        self.note_progress(call);
    }

    // ------------------------------------------------------------------------------- service

    /// `Core::leave`.
    pub fn leave(&mut self, call: &Call) {
        if self.is_attached() {
            self.attachment = Attachment::Away;
            self.make_room(0, call);
            self.is_pinned = true;
        }
    }

    /// `Core::place`.
    pub fn place(&mut self, end: Acknowledgement, call: &Call) {
        if self.origin.is_some() {
            return;
        }
        let (seq, epoch) = if call.is(Sabotage::NumbersTooEarly) {
            (end.seq - 1, end.epoch)
        } else if call.is(Sabotage::RepeatsNumbers) {
            (end.seq, end.epoch)
        } else {
            // In a machine that was put back, as often as in the past that it left.
            let mut free = JUMP * call.continued;
            while free <= end.seq {
                free += JUMP;
            }
            (free, free)
        };
        self.origin = Some(Origin { durable: end.seq, seq, epoch });
        self.acknowledged_made = end.made;
    }

    /// `Core::has_made`: true if the record that ends the server's stream is this past's.
    pub fn has_made(&self, end: Acknowledgement, call: &Call) -> bool {
        if call.is(Sabotage::TakesAnyPast) || call.is(Sabotage::RepeatsNumbers) {
            return true;
        }
        let inside = self.seq_inside(end.seq);
        let Some(inside) = inside.filter(|&inside| self.seq_outside(inside) == end.seq) else {
            return false;
        };
        // `Epochs::end_made`.
        let made = if inside == 0 || inside == self.acknowledged_seq {
            (inside == self.acknowledged_seq).then_some(self.acknowledged_made)
        } else {
            let ends = self.epochs.iter().map(|epoch| (epoch.last_seq, epoch.made));
            let mut ends = ends.chain(self.lost.iter().copied());
            ends.find(|&(last, _)| last == inside).map(|(_, made)| made)
        };
        made == Some(end.made)
    }

    /// `Core::ends`.
    fn ends(&self) -> [(u8, u8); ENDS_MAX] {
        let closed = self.epochs.iter().map(|epoch| (epoch.last_seq, epoch.made));
        let behind = closed.chain(self.lost.iter().copied());
        let behind = behind.filter(|&(last, _)| last > self.acknowledged_seq);
        let known = std::iter::once((self.acknowledged_seq, self.acknowledged_made)).chain(behind);
        let known = known.map(|(last, made)| (self.seq_outside(last), made));
        let mut ends: Vec<_> = known.filter(|&(last, _)| last > 0).collect();
        ends.sort_unstable();
        ends.dedup();
        ends.resize(ENDS_MAX, (0, 0));
        ends.try_into().unwrap_or_default()
    }

    /// `Session::continues_behind` of the driver.
    pub fn continues_behind(&self, end: Acknowledgement, call: &Call) -> bool {
        let holds = |saved: SavedState| saved.ends.contains(&(end.seq, end.made));
        self.saved.is_none_or(holds) || call.is(Sabotage::TrustsAnyState)
    }

    /// `driver/src/session/drains.rs`, `drain_from`, and `Core::drain_from`.
    pub fn drain_from(
        &mut self,
        end: Acknowledgement,
        lose: bool,
        call: &Call,
    ) -> Result<bool, Refusal> {
        if !self.has_made(end, call) {
            return Err(Refusal::Seq);
        }
        if lose {
            self.detach(call);
        }
        let durable = self.seq_inside(end.seq).ok_or(Refusal::Seq)?;
        if durable > self.last_taken() || durable < self.acknowledged_seq {
            return Err(Refusal::Seq);
        }
        // `CaptureQueue::has_all_after`.
        let oldest = self.last_seq + 1 - low(self.queue.len());
        let is_there = durable + 1 >= oldest || call.is(Sabotage::ForgetsGivenUp);
        let has_all = self.attachment != Attachment::Lost && is_there;
        // `Epochs::acknowledge_up_to`.
        while let Some(first) = self.epochs.first()
            && first.last_seq != 0
            && first.last_seq <= durable
        {
            let (last_seq, made) = (first.last_seq, first.made);
            self.acknowledge_up_to(last_seq, made);
            self.epochs.remove(0);
        }
        if let Some(&(_, made)) = self.lost.iter().find(|&&(last, _)| last == durable) {
            self.acknowledge_up_to(durable, made);
        }
        self.free_acknowledged();
        if has_all {
            self.is_pinned = false;
            let is_before = |record: &&Record| record.seq <= durable;
            self.kept = self.queue.iter().take_while(is_before).count();
        } else {
            self.detach(call);
        }
        self.attachment = Attachment::Attached;
        self.resume_capturing_if_drained(call);
        Ok(has_all)
    }

    /// `Core::detach`.
    fn detach(&mut self, call: &Call) {
        if self.attachment == Attachment::Lost {
            return;
        }
        self.attachment = Attachment::Lost;
        self.is_capturing = false;
        let is_safe = self.complete_seq != 0 && self.complete_seq <= self.acknowledged_seq;
        self.base_is_lost |= !is_safe;
        self.queue.clear();
        (self.kept, self.is_pinned) = (0, false);
        if !call.is(Sabotage::ForgetsLostEpochs) {
            self.losing |= self.epochs.iter().fold(0, |union, epoch| union | epoch.touched);
        }
        let closed = self.epochs.iter().filter(|epoch| epoch.last_seq != 0);
        self.lost.extend(closed.map(|epoch| (epoch.last_seq, epoch.made)));
        let next = self.epochs.last().map_or(1, |open| open.id + 1);
        self.epochs = vec![Epoch { id: next, last_seq: 0, made: 0, touched: 0, is_empty: true }];
        if let Some(claimed) = &mut self.claimed {
            claimed.is_spoiled = true;
        }
        let is_first = self.acknowledged_seq == 0;
        let reason = self.continues.filter(|_| is_first).unwrap_or(GapReason::ServiceLost);
        self.gap = false;
        self.open_gap(reason, call);
    }

    /// `Core::drain` and `Core::drained`: the records up to the end of an epoch, in one frame.
    pub fn drain(&mut self, call: &Call) -> Frame {
        let waiting = &self.queue[self.kept..];
        let ends = |record: &Record| record.kind == RecordKind::EpochEnd;
        let count = waiting.iter().position(ends).map_or(waiting.len(), |end| end + 1);
        let mut frame = waiting[..count].to_vec();
        let origin = self.origin.unwrap_or(Origin { durable: 0, seq: 0, epoch: 0 });
        for record in &mut frame {
            record.seq += origin.seq;
            record.epoch += origin.epoch;
        }
        self.kept += count;
        if call.is(Sabotage::FreesDrained) {
            self.queue.drain(..self.kept);
            self.kept = 0;
        }
        // `CaptureQueue::leave_room`.
        let quarter = usize::from(call.sizes.queue) / 4;
        while self.free(call) < quarter && self.give_up_oldest() {}
        self.resume_capturing_if_drained(call);
        self.note_progress(call);
        frame
    }

    /// `Core::acknowledge`.
    pub fn acknowledge(&mut self, epoch: u8) -> Result<(), Refusal> {
        let origin = self.origin.ok_or(Refusal::Epoch)?;
        let Some(id) = epoch.checked_sub(origin.epoch).filter(|&id| id > 0) else {
            // It was durable before.
            return if epoch > 0 { Ok(()) } else { Err(Refusal::Epoch) };
        };
        let Some(place) = self.epochs.iter().position(|it| it.id == id) else {
            let is_old = self.epochs.first().is_some_and(|first| id < first.id);
            return if is_old { Ok(()) } else { Err(Refusal::Epoch) };
        };
        let Epoch { last_seq, made, .. } = self.epochs[place];
        if last_seq == 0 || last_seq > self.last_taken() {
            return Err(Refusal::Epoch);
        }
        self.acknowledge_up_to(last_seq, made);
        self.epochs.drain(..=place);
        self.free_acknowledged();
        Ok(())
    }

    fn acknowledge_up_to(&mut self, seq: u8, made: u8) {
        (self.acknowledged_seq, self.acknowledged_made) = (seq, made);
        self.lost.retain(|&(last, _)| last > seq);
    }

    /// `Core::tidy`: the blocks of lost epochs turn dirty.
    pub fn tidy(&mut self, call: &Call) {
        for block in 0..call.sizes.blocks {
            let state = &mut self.table[usize::from(block)];
            if self.losing & bit(block) != 0 && *state == BlockState::Synced {
                *state = BlockState::Dirty;
            }
        }
        self.losing = 0;
        self.resume_capturing_if_drained(call);
    }

    /// True if the open epoch has records, and the next one can be opened.
    pub fn can_close_epoch(&self, call: &Call) -> bool {
        let has_records = self.epochs.last().is_some_and(|open| !open.is_empty);
        let has_slot = self.epochs.len() < usize::from(call.sizes.epochs);
        has_records && has_slot && !self.is_losing() && self.has_room(1, call)
    }

    /// `Core::close_epoch`.
    pub fn close_epoch(&mut self, call: &Call) {
        if self.make_room(1, call) {
            let record = self.record(RecordKind::EpochEnd, None, 0, None, call);
            self.queue.push(record);
            let Some(open) = self.epochs.last_mut() else { return };
            (open.last_seq, open.made) = (record.seq, record.made);
            let id = open.id + 1;
            self.epochs.push(Epoch { id, last_seq: 0, made: 0, touched: 0, is_empty: true });
        }
    }

    // ---------------------------------------------------------------------------------- gaps

    /// `Core::mark_dirty`.
    fn mark_dirty(&mut self, block: u8, reason: Option<GapReason>, call: &Call) {
        let state = &mut self.table[usize::from(block)];
        match *state {
            BlockState::Unsynced => {
                self.base_is_lost = true;
                *state = BlockState::Dirty;
            }
            BlockState::Synced => *state = BlockState::Dirty,
            BlockState::Reading | BlockState::Dirty => {}
        }
        if let Some(claimed) = self.claimed.as_mut().filter(|claimed| claimed.block == block) {
            claimed.is_spoiled = true;
        }
        if let Some(reason) = reason {
            self.open_gap(reason, call);
        }
    }

    fn open_gap(&mut self, reason: GapReason, call: &Call) {
        if self.gap {
            return;
        }
        self.gap = true;
        if self.make_room(0, call) {
            self.push(RecordKind::GapBegin, None, 0, Some(reason), call);
        } else {
            self.overflown = true;
        }
    }

    fn stop_capturing(&mut self, reason: GapReason, call: &Call) {
        self.is_capturing = false;
        self.open_gap(reason, call);
        self.resume_capturing_if_drained(call);
    }

    fn resume_capturing_if_drained(&mut self, call: &Call) {
        let is_low = self.waiting() <= usize::from(call.sizes.queue) / 4;
        if !self.is_capturing && self.is_attached() && !self.is_losing() && is_low {
            self.is_capturing = true;
            self.note_progress(call);
        }
    }

    fn note_progress(&mut self, call: &Call) {
        let is_any = |state| self.table.contains(&state);
        if !self.is_capturing || is_any(BlockState::Unsynced) {
            return;
        }
        let is_read = self.claimed.is_some_and(|it| it.before == BlockState::Unsynced);
        let is_open = self.complete_seq == 0 && !self.base_is_lost;
        let is_clean = !is_any(BlockState::Dirty) && !is_any(BlockState::Reading);
        if is_open && !is_read && self.append(RecordKind::BaseComplete, None, 0, call) {
            self.complete_seq = self.last_seq;
        }
        let is_open = self.complete_seq == 0 && !self.base_is_lost;
        if self.gap && is_clean && !is_open && self.append(RecordKind::Consistent, None, 0, call) {
            self.gap = false;
        }
    }

    // --------------------------------------------------------------------------------- queue

    fn append(&mut self, kind: RecordKind, block: Option<u8>, content: u8, call: &Call) -> bool {
        let has_room = self.make_room(1, call);
        if has_room {
            self.push(kind, block, content, None, call);
        }
        has_room
    }

    fn push(
        &mut self,
        kind: RecordKind,
        block: Option<u8>,
        content: u8,
        reason: Option<GapReason>,
        call: &Call,
    ) {
        let record = self.record(kind, block, content, reason, call);
        self.queue.push(record);
        // `Core::recorded`.
        let Some(open) = self.epochs.last_mut() else { return };
        open.touched |= block.map_or(0, bit);
        open.is_empty = false;
    }

    fn record(
        &mut self,
        kind: RecordKind,
        block: Option<u8>,
        content: u8,
        reason: Option<GapReason>,
        call: &Call,
    ) -> Record {
        self.last_seq += 1;
        let (seq, epoch) = (self.last_seq, self.epochs.last().map_or(1, |open| open.id));
        let block = block.unwrap_or(0);
        Record { seq, epoch, kind, block, content, reason, made: call.now, truth: call.truth }
    }

    /// `CaptureQueue::reserve`: room for a record, besides that for the begin of a gap.
    fn reserve(&mut self, call: &Call) -> bool {
        self.make_room(1, call)
    }

    fn free(&self, call: &Call) -> usize {
        let promised = usize::from(self.claimed.is_some());
        usize::from(call.sizes.queue).saturating_sub(self.queue.len() + promised)
    }

    fn has_room(&self, reserved: usize, call: &Call) -> bool {
        let may = if self.is_pinned { 0 } else { self.kept };
        self.free(call) + may > reserved
    }

    fn make_room(&mut self, reserved: usize, call: &Call) -> bool {
        while self.free(call) <= reserved {
            if !self.give_up_oldest() {
                return false;
            }
        }
        true
    }

    fn give_up_oldest(&mut self) -> bool {
        let may = !self.is_pinned && self.kept > 0;
        if may {
            self.queue.remove(0);
            self.kept -= 1;
        }
        may
    }

    fn free_acknowledged(&mut self) {
        while self.kept > 0 && self.queue[0].seq <= self.acknowledged_seq {
            self.queue.remove(0);
            self.kept -= 1;
        }
    }
}

fn bit(block: u8) -> u8 {
    1 << block
}

fn low(count: usize) -> u8 {
    u8::try_from(count).expect("a short queue")
}
