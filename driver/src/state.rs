//! What a volume keeps of its state while the machine is off, and which requests wait for that
//! (rule RESUME, rules.md#resume).
//!
//! The decisions are the [`Tracker`]'s (`snapless-driver-logic`). A request that has to wait is
//! chained here, ready to be sent, and goes when what it waits for is over, whatever the outcome:
//! that takes 2 s at most when the machine comes up, and one write to the disk when it goes down.
//!
//! Rule: a request that the engine knows is taken here after the engine has it, so that it is in
//! the engine's accounts or in the map that is saved.

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use snapless_driver_logic::intent_log::{IntentLog, SlotPlace};
use snapless_driver_logic::tracker::{Arrival, Known, Mode, Next, Taken, Tracker};
use snapless_engine::{Marks, RegionMap};
use snapless_types::{Extent, Geometry, Seq};
use snapless_wire::id::{AreaId, SessionId};
use snapless_wire::ioctl::LogPhase;
use snapless_wire::state_area::{self, SLOT_LEN, SavedState};
use wdk_sys::NTSTATUS;

use crate::framework::request::FileObject;
use crate::kernel::event::Event;
use crate::kernel::irp::OwnedIrp;
use crate::kernel::parked_irps::{Parked, ParkedIrps};
use crate::kernel::raw_io::{After, RawIo, Span, Transfer};
use crate::kernel::shared::Shared;
use crate::kernel::spin_lock::SpinLock;
use crate::kernel::time;

/// Memory to read and write the area by.
pub type AreaIo = RawIo<AreaOver>;

/// How long until it is looked again whether records may leave, in ticks: 100 ms.
const LEAVE_AGAIN: u64 = 1_000_000;

/// Takes a request that has waited: it is looked at again, and goes. IRQL <= DISPATCH_LEVEL.
pub type Release = fn(Parked);

/// The state of a volume.
pub struct VolumeState {
    /// [`Tracker::mode`], for requests to look at before they take the lock.
    mode: AtomicU8,
    inner: SpinLock<Inner>,
    release: Release,
    /// Wakes the thread that reads areas; `None` if there is none.
    loader: Option<Shared<Event>>,
    /// The uptime at which the first request began to wait for the area to be read.
    asked_at: AtomicU64,
    /// Transfers that nobody waits for and that are under way.
    below: AtomicU32,
    /// Set when one of them is over.
    over: Event,
    /// Wakes the thread of the write-intent log.
    log_wanted: Event,
    /// Set when a slot of it is done: records may leave.
    slot_done: Event,
    log: LogCounts,
}

/// What is counted of the log of the volume's sessions.
#[derive(Default)]
struct LogCounts {
    slots: AtomicU64,
    waits: AtomicU64,
    /// Ticks.
    longest: AtomicU64,
    /// The uptime at which the first of those began to wait that wait now; 0 if none does.
    since: AtomicU64,
    /// The last log ended because the disk has failed it, and is void or not.
    failed: AtomicU32,
}

/// How a volume's log stands, and what it has cost.
#[derive(Clone, Copy)]
pub struct LogStatus {
    /// How it stands.
    pub phase: LogPhase,
    /// Slots that were written.
    pub slots: u64,
    /// Requests that waited for one.
    pub waits: u64,
    /// The longest time that one waited, in ticks.
    pub longest: u64,
}

struct Inner {
    tracker: Tracker,
    parked: ParkedIrps,
    /// The handle for whose session changes are noted.
    noter: Option<FileObject>,
    /// What makes the state on the disk void.
    void: Option<(AreaIo, Span)>,
}

impl VolumeState {
    /// Of a volume that has just arrived: one with a state if there is a thread to read it, which
    /// `loader` wakes. `None` if there is no memory. PASSIVE_LEVEL.
    #[inline(never)] // It is on the stack only while it is made.
    pub fn new(release: Release, loader: Option<Shared<Event>>) -> Option<Shared<Self>> {
        let tracker = if loader.is_some() { Tracker::UNKNOWN } else { Tracker::NONE };
        let mode = AtomicU8::new(tracker.mode() as u8);
        let parked = ParkedIrps::default();
        let inner = Inner { tracker, parked, noter: None, void: None };
        Shared::new(Self {
            mode,
            inner: SpinLock::new(inner),
            release,
            loader,
            asked_at: AtomicU64::new(0),
            below: AtomicU32::new(0),
            over: Event::new(false)?,
            log_wanted: Event::new(false)?,
            slot_done: Event::new(false)?,
            log: LogCounts::default(),
        })
    }

    /// True if a request that changes the volume has to be taken by [`VolumeState::take_in`].
    /// Any IRQL.
    #[inline]
    pub fn watches(&self) -> bool {
        // Relaxed: of a request that the engine has, the engine's lock orders it: the mode changes
        // before the engine is asked about the request's blocks, or the engine knows the request.
        self.mode.load(Ordering::Relaxed) != Mode::None as u8
    }

    /// True if requests wait, or will, until the area is read. Any IRQL.
    pub fn is_unknown(&self) -> bool {
        self.mode.load(Ordering::Relaxed) == Mode::Unknown as u8
    }

    /// True if a state was read that no session has claimed. IRQL <= DISPATCH_LEVEL.
    pub fn is_armed(&self) -> bool {
        self.with(|inner| inner.tracker.is_armed())
    }

    /// When the area was asked for first; `None` if it was not, or was read. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn asked_at(&self) -> Option<u64> {
        let at = self.asked_at.load(Ordering::Relaxed);
        (at != 0 && self.is_unknown()).then_some(at)
    }

    /// True if a write of the session that has these marks goes at once. IRQL <= DISPATCH_LEVEL.
    pub fn lets_pass(&self, marks: &Marks, irp: &OwnedIrp) -> bool {
        let (offset, len) = irp.extent();
        let extent = u64::try_from(offset).ok().and_then(|offset| Extent::new(offset, len.into()));
        // Relaxed: see `watches`.
        self.mode.load(Ordering::Relaxed) == Mode::Live as u8
            && extent.is_some_and(|extent| marks.pass(&extent))
    }

    /// A write will arrive, of which the engine makes a record next: the log has the write's
    /// regions before it lists the end of that record's epoch. IRQL <= DISPATCH_LEVEL.
    pub fn expect(&self, marks: &Marks, extent: &Extent) {
        // Relaxed: see `watches`.
        let is_live = self.mode.load(Ordering::Relaxed) == Mode::Live as u8;
        if !(is_live && marks.pass(extent) || self.with(|inner| inner.tracker.expects(extent))) {
            self.log_wanted.set();
        }
    }

    /// Takes a clearing that the engine does not know of yet; gives it back if it goes now. It is
    /// counted then, until [`VolumeState::clearing_done`]. IRQL <= DISPATCH_LEVEL.
    #[inline(never)]
    pub fn take_clearing<I: Iterator<Item = Extent>>(
        &self,
        parked: Parked,
        extents: impl Fn() -> I,
    ) -> Option<Parked> {
        let parked = self.with(|inner| match inner.tracker.clears(extents) {
            Arrival::Goes => Some(parked),
            Arrival::Waits(_) => {
                parked.irp.mark_pending();
                self.note_wait();
                inner.parked.push(parked);
                None
            }
        });
        if parked.is_none() {
            self.log_wanted.set();
        }
        parked
    }

    /// The engine knows of a clearing, or is done with it. IRQL <= DISPATCH_LEVEL.
    pub fn clearing_done(&self) {
        self.with(|inner| inner.tracker.cleared());
    }

    /// Waits until records may leave, as [`Tracker::may_leave`]. PASSIVE_LEVEL.
    #[inline(never)]
    pub fn wait_to_leave(&self, end: Seq) {
        while !self.with(|inner| inner.tracker.may_leave(end)) {
            self.wake_log();
            // Set for each slot; a signal may be that of an earlier one.
            let _ = self.slot_done.wait_for(LEAVE_AGAIN);
        }
    }

    /// True while the machine may have slept since the volume was looked at. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn is_doubtful(&self) -> bool {
        self.with(|inner| inner.tracker.sleep().is_doubtful())
    }

    /// Calls `act` with the tracker. IRQL <= DISPATCH_LEVEL.
    pub fn track<R>(&self, act: impl FnOnce(&mut Tracker) -> R) -> R {
        self.with(|inner| act(&mut inner.tracker))
    }

    /// Wakes the thread of the log. IRQL <= DISPATCH_LEVEL.
    pub fn wake_log(&self) {
        self.log_wanted.set();
    }

    /// Waits until the thread of the log is woken, `ticks` at most. PASSIVE_LEVEL.
    pub fn wait_for_log(&self, ticks: u64) {
        if ticks > 0 {
            let _ = self.log_wanted.wait_for(ticks);
        }
    }

    /// Lets the requests go that waited for a slot of the log. PASSIVE_LEVEL.
    pub fn slot_done(&self) {
        let since = self.log.since.swap(0, Ordering::Relaxed);
        if since != 0 {
            let waited = time::uptime().saturating_sub(since);
            self.log.longest.fetch_max(waited, Ordering::Relaxed);
        }
        self.release_parked();
        self.slot_done.set();
    }

    /// Lets the writes to the stamp go that waited until the volume was looked at. PASSIVE_LEVEL.
    pub fn looked_at(&self) {
        self.track(|tracker| tracker.open_stamp(true));
        self.slot_done();
        self.track(|tracker| tracker.open_stamp(false));
    }

    /// Counts a slot of the log. IRQL <= DISPATCH_LEVEL.
    pub fn count_slot(&self) {
        self.log.slots.fetch_add(1, Ordering::Relaxed);
    }

    /// The log ends, void on the disk or not. PASSIVE_LEVEL.
    pub fn log_ended(&self, is_void: bool) {
        let failed = self.with(|inner| {
            let failed = inner.tracker.log().is_some_and(IntentLog::has_failed);
            inner.tracker.end_log();
            failed
        });
        let phase = match (is_void, failed) {
            (false, _) => LogPhase::Distrusted,
            (true, true) => LogPhase::GivenUp,
            (true, false) => LogPhase::Off,
        };
        self.log.failed.store(phase.to_wire(), Ordering::Relaxed);
    }

    /// How the log stands, and what it has cost. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // Not on the stack of a status.
    pub fn log_status(&self) -> LogStatus {
        let live = self.with(|inner| inner.tracker.log().map(|log| !log.is_void()));
        let counts = &self.log;
        let phase = match live {
            Some(true) => LogPhase::Live,
            Some(false) => LogPhase::Void,
            None => {
                LogPhase::from_wire(counts.failed.load(Ordering::Relaxed)).unwrap_or(LogPhase::Off)
            }
        };
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (slots, waits, longest) =
            (get(&counts.slots), get(&counts.waits), get(&counts.longest));
        LogStatus { phase, slots, waits, longest }
    }

    fn note_wait(&self) {
        self.log.waits.fetch_add(1, Ordering::Relaxed);
        let now = time::uptime().max(1);
        let _ = self.log.since.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes a request, marked pending, that changes the volume; gives it back if it goes now.
    /// `bytes`: those of a write, if the disk transfers just these. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // Not on the stack of a request that is not watched.
    pub fn take_in(this: &Shared<Self>, parked: Parked, bytes: Option<&[u8]>) -> Option<Parked> {
        let (parked, next) = this.with(|inner| match arrival(inner, &parked.irp, bytes) {
            Arrival::Goes => {
                let has_news = inner.tracker.log().is_some_and(IntentLog::has_news);
                (Some(parked), if has_news { Next::Log } else { Next::Nothing })
            }
            Arrival::Waits(next) => {
                if next == Next::Log {
                    this.note_wait();
                }
                inner.parked.push(parked);
                (None, next)
            }
        });
        Self::act(this, next);
        parked
    }

    /// Takes a change of the engine's that cannot wait: true if it goes, false if it has to be
    /// given up. IRQL <= DISPATCH_LEVEL.
    #[inline(never)]
    pub fn lets_go(this: &Shared<Self>, extent: Extent) -> bool {
        let arrival = this.with(|inner| inner.tracker.writes(|| core::iter::once(extent)));
        match arrival {
            Arrival::Goes => true,
            Arrival::Waits(next) => {
                Self::act(this, next);
                false
            }
        }
    }

    /// The volume is another one than before: what is kept of its state is void. IRQL <=
    /// DISPATCH_LEVEL.
    #[inline(never)]
    pub fn changes(this: &Shared<Self>) {
        if let Arrival::Waits(next) = this.with(|inner| inner.tracker.changes()) {
            Self::act(this, next);
        }
    }

    /// Notes that the area was read ([`Tracker::loaded`]), and lets the requests go that waited.
    /// PASSIVE_LEVEL.
    #[inline(never)]
    pub fn loaded(&self, known: Option<Known>, area: Option<Extent>) {
        self.with(|inner| inner.tracker.loaded(known, area));
        self.release_parked();
    }

    /// As [`Tracker::forget_known`]; requests that waited for the area to be read go. IRQL <=
    /// DISPATCH_LEVEL.
    pub fn forget(&self) {
        self.with(|inner| inner.tracker.forget_known());
        self.release_parked();
    }

    /// As [`Tracker::claim`]. IRQL <= DISPATCH_LEVEL.
    pub fn claim(&self, session: SessionId, geometry: &Geometry) -> Option<Taken> {
        self.with(|inner| inner.tracker.claim(session, geometry))
    }

    /// As [`Tracker::give_back`]. IRQL <= DISPATCH_LEVEL.
    pub fn give_back(&self) {
        self.with(|inner| inner.tracker.give_back());
    }

    /// As [`Tracker::take`]. IRQL <= DISPATCH_LEVEL.
    #[inline(never)]
    pub fn take(&self) -> Option<Known> {
        self.with(|inner| inner.tracker.take())
    }

    /// As [`Tracker::begin_noting`], for the session that this handle starts next; false as well
    /// while changes are noted for another one. IRQL <= DISPATCH_LEVEL.
    #[inline(never)]
    pub fn begin_noting(&self, noter: FileObject, map: RegionMap) -> bool {
        self.with(|inner| {
            let is_another = inner.noter.is_some_and(|before| before != noter);
            let is_taken = is_another && inner.tracker.mode() == Mode::Noting;
            let begun = !is_taken && inner.tracker.begin_noting(map);
            if begun {
                inner.noter = Some(noter);
            }
            begun
        })
    }

    /// The handle is closed: nothing is noted for its session any more. IRQL <= DISPATCH_LEVEL.
    pub fn noter_closed(&self, noter: FileObject) {
        let map = self.with(|inner| {
            let is_it = inner.noter == Some(noter);
            is_it.then(|| take_noted(inner)).flatten()
        });
        // Not under the lock.
        drop(map);
    }

    /// As [`Tracker::take_noted`], with the handle for whose session it is. IRQL <= DISPATCH_LEVEL.
    #[inline(never)]
    pub fn take_noted(&self) -> Option<(FileObject, RegionMap)> {
        self.with(take_noted)
    }

    /// As [`Tracker::begin_save`]. IRQL <= DISPATCH_LEVEL.
    pub fn begin_save(&self, map: RegionMap, area: Extent) -> bool {
        self.with(|inner| inner.tracker.begin_save(map, area))
    }

    /// As [`Tracker::begin_save_again`]. IRQL <= DISPATCH_LEVEL.
    pub fn begin_save_again(&self) -> Option<SavedState> {
        self.with(|inner| inner.tracker.begin_save_again())
    }

    /// As [`Tracker::note`]. IRQL <= DISPATCH_LEVEL.
    pub fn note(&self, extent: &Extent) {
        self.with(|inner| inner.tracker.note(extent));
    }

    /// As [`Tracker::seal`]. IRQL <= DISPATCH_LEVEL.
    pub fn seal(&self, bytes: &mut [u8]) -> bool {
        self.with(|inner| inner.tracker.seal(bytes))
    }

    /// Notes that the sealed state is on the disk, and what makes it void: these bytes of the
    /// buffer, once they are written. PASSIVE_LEVEL.
    pub fn written(this: &Shared<Self>, io: AreaIo, void: Span) {
        let next = this.with(|inner| {
            inner.void = Some((io, void));
            inner.tracker.written()
        });
        match next {
            // What waited because the log lacks it.
            Next::Nothing => this.slot_done(),
            next => Self::act(this, next),
        }
    }

    /// Notes that it is not known what is on the disk of the sealed state, and makes it void.
    /// PASSIVE_LEVEL.
    pub fn not_written(this: &Shared<Self>, io: AreaIo, void: Span) {
        this.with(|inner| {
            inner.tracker.not_written();
            inner.void = Some((io, void));
        });
        Self::act(this, Next::Void);
    }

    /// As [`VolumeState::not_written`], while the write of the sealed state is still below: once it
    /// is over. `void` has its bytes by then. PASSIVE_LEVEL.
    pub fn left_unwritten(this: &Shared<Self>, io: AreaIo, void: Void) {
        this.with(|inner| inner.tracker.not_written());
        Self::leave(this, io, Step::Sealed(void));
    }

    /// Gives a transfer up that takes too long. PASSIVE_LEVEL.
    pub fn give_up(this: &Shared<Self>, io: AreaIo) {
        Self::leave(this, io, Step::Nothing);
    }

    /// Waits until no transfer is under way that nobody waits for: the volume is going, and none
    /// begins any more. PASSIVE_LEVEL.
    pub fn close(&self) {
        // Acquire: the transfers are over.
        while self.below.load(Ordering::Acquire) > 0 {
            self.over.wait();
        }
    }

    fn leave(this: &Shared<Self>, io: AreaIo, step: Step) {
        this.below.fetch_add(1, Ordering::Relaxed);
        io.leave(AreaOver { state: this.clone(), step });
    }

    fn act(this: &Shared<Self>, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Log => this.log_wanted.set(),
            Next::Load => {
                // Relaxed: the event orders it.
                let now = time::uptime().max(1);
                let _ =
                    this.asked_at.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
                if let Some(loader) = &this.loader {
                    loader.set();
                }
            }
            Next::Void => Self::void(this),
        }
    }

    /// Makes the state on the disk void, and lets the requests go that waited for that.
    fn void(this: &Shared<Self>) {
        this.below.fetch_add(1, Ordering::Relaxed);
        let void = this.with(|inner| inner.void.take());
        let over = AreaOver { state: this.clone(), step: Step::Void };
        if !void.is_some_and(|(io, span)| io.start(Transfer::Write, span, over)) {
            this.voided();
        }
    }

    fn voided(&self) {
        self.over();
        self.with(|inner| inner.tracker.voided());
        self.release_parked();
    }

    fn over(&self) {
        // Release: what the transfer did comes first.
        self.below.fetch_sub(1, Ordering::Release);
        self.over.set();
    }

    /// Lets requests go that waited. Each is looked at again.
    fn release_parked(&self) {
        let mut parked = self.with(|inner| inner.parked.take());
        while let Some(parked) = parked.pop() {
            (self.release)(parked);
        }
    }

    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        self.inner.with(|inner| {
            let result = act(inner);
            // Relaxed: see `watches`.
            self.mode.store(inner.tracker.mode() as u8, Ordering::Relaxed);
            result
        })
    }
}

fn take_noted(inner: &mut Inner) -> Option<(FileObject, RegionMap)> {
    let noter = inner.noter.take();
    Option::zip(noter, inner.tracker.take_noted())
}

/// What a request does, as the tracker sees it.
#[inline(never)] // Not on the stack of what follows.
fn arrival(inner: &mut Inner, irp: &OwnedIrp, bytes: Option<&[u8]>) -> Arrival {
    let tracker = &mut inner.tracker;
    if !irp.is_write() {
        return tracker.controls(irp.control_code(), irp.control_input());
    }
    let (offset, len) = irp.extent();
    let extent = u64::try_from(offset).ok().and_then(|offset| Extent::new(offset, len.into()));
    match extent {
        Some(extent) => tracker.writes_bytes(extent, bytes),
        // Zero length or out of range: it changes nothing.
        None => Arrival::Goes,
    }
}

/// A slot that says nothing, to be made in the buffer.
#[derive(Clone, Copy)]
pub struct Used {
    id: AreaId,
    place: SlotPlace,
}

impl Used {
    /// A slot with this number, in place of one of an area. IRQL <= DISPATCH_LEVEL.
    pub fn new(id: AreaId, place: SlotPlace) -> Self {
        Self { id, place }
    }

    /// Makes it. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // What it needs is on the stack only meanwhile.
    pub fn seal(&self, buffer: &mut [u8]) {
        if let Some(slot) = slot_mut(buffer, self.place.index) {
            state_area::seal_used(slot, self.id, self.place.generation);
        }
    }
}

/// A slot's bytes in the buffer. IRQL <= DISPATCH_LEVEL.
pub fn slot_mut(buffer: &mut [u8], index: usize) -> Option<&mut [u8; SLOT_LEN]> {
    buffer.as_chunks_mut::<SLOT_LEN>().0.get_mut(index)
}

/// What makes a sealed state void once its own write is over.
#[derive(Clone, Copy)]
pub struct Void {
    /// The bytes.
    pub span: Span,
    /// Makes them, in the buffer.
    pub used: Used,
}

/// What follows on a transfer that nobody waits for.
pub struct AreaOver {
    state: Shared<VolumeState>,
    step: Step,
}

enum Step {
    Nothing,
    /// The sealed state may be on the disk.
    Sealed(Void),
    /// The state on the disk is void, or cannot be made so.
    Void,
}

impl After for AreaOver {
    fn done(self, mut io: AreaIo, _status: NTSTATUS) {
        let Self { state, step } = self;
        match step {
            Step::Nothing => state.over(),
            Step::Sealed(void) => {
                void.used.seal(io.bytes());
                let over = Self { state: state.clone(), step: Step::Void };
                if !io.start(Transfer::Write, void.span, over) {
                    state.voided();
                }
            }
            Step::Void => state.voided(),
        }
    }
}
