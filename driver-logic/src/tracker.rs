//! Which changes of a volume no session has, and which requests wait for that to be known (rule
//! RESUME, rules.md#resume).
//!
//! ```text
//! Unknown ──loaded──▶ Armed ──take──▶ None ──begin_save──▶ Saving ──seal──▶ Sealed ──▶ Voiding
//!    └─────────────────┴───────────────▶│ ▲ end_log          ▲└─────▶ None ◀──────────────┘
//!                               begin_log▼ │                  │
//!                                       Live ───begin_save────┘
//! ```
//!
//! When the machine comes up it is not known whether a state was saved: requests that change the
//! volume wait until the area was read, and a saved state was overwritten by one that is used. From
//! then on their regions are noted, until a session takes the map. When the machine goes down, what
//! the server may lack is collected while writes go on and are noted, and is sealed: a write to a
//! region that the sealed map does not have waits until the state on the disk is void.
//!
//! While a session runs, there is the [`IntentLog`]: a write waits until the log on the disk has
//! its regions. It holds until a sealed state is on the disk.
//!
//! Before a session begins that is to leave out what no file has, changes are noted as well, from
//! before the file system is asked which clusters are free ([`Tracker::begin_noting`]) until t0
//! ([`Tracker::take_noted`]): a block that was changed meanwhile may have got a file's content
//! (rule T0, rules.md#t0).
//!
//! The driver keeps a tracker under a spin lock and the simulator of restarts drives the same one.

use alloc::boxed::Box;

use snapless_fixed::memory::{OutOfMemory, boxed};
use snapless_fixed::sabotaged;
use snapless_tracking::marks::Marks;
use snapless_tracking::regions::RegionMap;
use snapless_types::{End, Ends, Extent, Geometry, Regions, Seq, Tick};
use snapless_wire::id::{Extents, SessionId};
use snapless_wire::state_area::{STAMP_RANGES_MAX, SavedState};

use crate::intent_log::{IntentLog, StampRead, Timing, Unmarked};
use crate::requests::{self, Verdict};
use crate::sleep::Sleep;

/// Makes a log: as [`IntentLog::new`].
pub fn new_log(
    regions: Regions,
    area: &Extent,
    stamp: &Extents<STAMP_RANGES_MAX>,
    times: (Timing, Tick),
) -> Result<Log, OutOfMemory> {
    boxed(|| IntentLog::new(regions, area, *stamp, times))
}

/// What is done with requests that change the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mode {
    /// They go.
    None = 0,
    /// They wait: the area is not read yet.
    Unknown = 1,
    /// They are noted in the map of the state that was saved, and go.
    Armed = 2,
    /// They are noted in the map that is saved next, and go.
    Saving = 3,
    /// They go if the map has them. Otherwise the state becomes void first.
    Sealed = 4,
    /// They wait until the state is void.
    Voiding = 5,
    /// They go if the log on the disk has them. Otherwise it is written first.
    Live = 6,
    /// They are noted in a map for the session that begins next, and go.
    Noting = 7,
}

/// What a request does that changes the volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Arrival {
    /// It goes.
    Goes,
    /// It waits.
    Waits(Next),
}

/// What the host does for those that wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Next {
    /// Nothing: it is under way.
    Nothing,
    /// Has the area read: then [`Tracker::loaded`].
    Load,
    /// Makes the state on the disk void: then [`Tracker::voided`].
    Void,
    /// Does what the log's [`IntentLog::todo`] says, and lets them go.
    Log,
}

/// A log, in memory of its own.
pub type Log = Box<[IntentLog; 1]>;

/// A state that was saved, and the regions that were written to since.
#[derive(Debug)]
pub struct Known {
    /// What was saved.
    pub saved: SavedState,
    /// What the server may lack.
    pub map: RegionMap,
    /// The machine has crashed: it is the log's.
    pub is_log: bool,
}

/// What a session that continues says of a state that it has taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// As [`SavedState::acknowledged`].
    pub acknowledged: Seq,
    /// As [`SavedState::captured`].
    pub captured: Seq,
    /// As [`SavedState::ends`].
    pub ends: Ends,
    /// Bytes of the regions that the server may lack.
    pub bytes: u64,
    /// As [`Known::is_log`].
    pub is_log: bool,
}

impl Taken {
    fn new(saved: &SavedState, map: &RegionMap, is_log: bool) -> Self {
        let SavedState { acknowledged, captured, ends, .. } = *saved;
        Self { acknowledged, captured, ends, bytes: map.marked_bytes(), is_log }
    }

    /// True if it is known what a server may lack whose stream ends with this record.
    pub fn holds(&self, end: &End) -> bool {
        self.ends.contains(end) || sabotaged!(EndsNotCompared)
    }
}

impl Known {
    /// What a session says of it.
    pub fn summary(&self) -> Taken {
        Taken::new(&self.saved, &self.map, self.is_log)
    }
}

/// The changes of a volume that no session has.
#[derive(Debug)]
pub struct Tracker {
    mode: Mode,
    /// The saved state; none while a session's state is saved.
    saved: Option<SavedState>,
    map: Option<RegionMap>,
    /// The bytes of the area: a write to them takes it away.
    area: Option<Extent>,
    /// A session takes the map next.
    is_claimed: bool,
    /// The sealed state is on the disk.
    is_written: bool,
    /// The saved state is the log's.
    is_log: bool,
    log: Option<Log>,
    /// Clearings that the session has not done with, whatever is known of the volume.
    clearings: u32,
    sleep: Sleep,
    stamp_writes: StampWrites,
}

/// What is done with writes to the stamp while the volume is in doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum StampWrites {
    /// One that comes waits until the volume was looked at.
    Wait,
    /// One does.
    Waiting,
    /// They go: the volume was looked at just now.
    Go,
}

impl Tracker {
    /// Of a volume of which no state is saved.
    pub const NONE: Self = Self::new(Mode::None);
    /// Of a volume that may have a saved state.
    pub const UNKNOWN: Self = Self::new(Mode::Unknown);

    const fn new(mode: Mode) -> Self {
        Self {
            mode,
            saved: None,
            map: None,
            area: None,
            is_claimed: false,
            is_written: false,
            is_log: false,
            log: None,
            clearings: 0,
            sleep: Sleep::Awake,
            stamp_writes: StampWrites::Wait,
        }
    }

    /// What is done with requests that change the volume.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A device control request with this input.
    pub fn controls(&mut self, code: u32, input: &[u8]) -> Arrival {
        // A request that the device refuses for its alignment is noted in vain.
        match requests::judge(code, input, 1) {
            Verdict::Pass | Verdict::ReportsLength => Arrival::Goes,
            Verdict::Clear(clearing) => self.writes(|| {
                clearing.ranges().filter_map(|range| Extent::new(range.offset, range.len))
            }),
            Verdict::Refuse | Verdict::RefuseMalformed | Verdict::Resizes => self.changes(),
        }
    }

    /// A request changes these bytes.
    pub fn writes<I: Iterator<Item = Extent>>(&mut self, extents: impl Fn() -> I) -> Arrival {
        let takes_area = || {
            let area = self.area.as_ref();
            area.is_some_and(|area| extents().any(|extent| extent.overlaps(area)))
        };
        match self.mode {
            Mode::None => return Arrival::Goes,
            Mode::Unknown => return Arrival::Waits(Next::Load),
            Mode::Voiding => return Arrival::Waits(Next::Nothing),
            Mode::Armed if takes_area() => self.forget(),
            Mode::Live | Mode::Saving if takes_area() => return self.lose(),
            // It would hide what another system has written there.
            Mode::Live | Mode::Saving if self.waits_for_look(&extents) => {
                self.stamp_writes = StampWrites::Waiting;
                return Arrival::Waits(Next::Log);
            }
            Mode::Armed | Mode::Noting => extents().for_each(|extent| self.note(&extent)),
            Mode::Live | Mode::Saving => {
                extents().for_each(|extent| self.note(&extent));
                if self.log_mut().is_some_and(|log| !log.goes(&extents)) {
                    return Arrival::Waits(Next::Log);
                }
            }
            Mode::Sealed => {
                let has = |extent| self.map.as_ref().is_some_and(|map| map.has(&extent));
                if takes_area() || !extents().all(has) {
                    return self.void();
                }
                // Until the sealed state is on the disk, the log holds.
                let holds = |log: &IntentLog| extents().all(|extent| log.has(&extent));
                if !self.is_written && !self.any_log().is_none_or(holds) {
                    return Arrival::Waits(Next::Nothing);
                }
            }
        }
        Arrival::Goes
    }

    /// A write changes an extent to these bytes, if they are known.
    pub fn writes_bytes(&mut self, extent: Extent, bytes: Option<&[u8]>) -> Arrival {
        let before = self.log().map(IntentLog::stamp_writes);
        let arrival = self.writes(|| core::iter::once(extent));
        if let (Some(log), Some(bytes)) = (self.log_mut(), bytes)
            && before.is_some_and(|before| before != log.stamp_writes())
        {
            log.wrote(&extent, bytes);
        }
        arrival
    }

    /// A request changes the volume, and where is not known.
    pub fn changes(&mut self) -> Arrival {
        match self.mode {
            Mode::None => Arrival::Goes,
            Mode::Unknown => Arrival::Waits(Next::Load),
            Mode::Voiding => Arrival::Waits(Next::Nothing),
            Mode::Armed | Mode::Noting => {
                self.forget();
                Arrival::Goes
            }
            Mode::Live | Mode::Saving => self.lose(),
            Mode::Sealed => self.void(),
        }
    }

    /// A write that has no record yet will arrive: false if it will have to wait for the log.
    pub fn expects(&mut self, extent: &Extent) -> bool {
        let log = self.log_mut();
        log.is_none_or(|log| log.expects(extent))
    }

    /// A clearing arrives, which the session does not know of yet. If it goes, no marks are taken
    /// off until [`Tracker::cleared`]: its records are made, and its pieces sent, whenever it is.
    pub fn clears<I: Iterator<Item = Extent>>(&mut self, extents: impl Fn() -> I) -> Arrival {
        if self.log_mut().is_some_and(|log| !log.goes(&extents)) {
            return Arrival::Waits(Next::Log);
        }
        self.clearings = self.clearings.saturating_add(1);
        Arrival::Goes
    }

    /// The session knows of a clearing that has gone, or has done with it.
    pub fn cleared(&mut self) {
        self.clearings = self.clearings.saturating_sub(1);
    }

    /// As [`IntentLog::unmark`]; no mark is taken off while a clearing is on its way that the
    /// session may not know of.
    pub fn unmark(&mut self, region: u64, marks: &Marks) -> Option<Unmarked> {
        let may = self.clearings == 0;
        self.log_mut().filter(|_| may)?.unmark(region, marks)
    }

    /// As [`IntentLog::begin_live`]; the log does not become live while a clearing is on its way.
    pub fn begin_live(
        &mut self,
        ends: &Ends,
        read: Option<StampRead>,
        bytes: &mut [u8],
    ) -> Option<u64> {
        // A stamp that was read while the machine may have slept may be another system's.
        let may = read.is_none() || self.clearings == 0 && !self.sleep.is_doubtful();
        self.log_mut().filter(|_| may)?.begin_live(ends, read, bytes)
    }

    /// True if records may leave of which this is the last one that ends an epoch, as
    /// [`IntentLog::lists`].
    pub fn may_leave(&mut self, end: Seq) -> bool {
        if self.sleep.is_doubtful() {
            return false;
        }
        match self.mode {
            Mode::Live | Mode::Saving => self.log_mut().is_none_or(|log| log.lists(end)),
            // The log may still be what counts.
            Mode::Sealed | Mode::Voiding => self.log.is_none(),
            Mode::None | Mode::Unknown | Mode::Armed | Mode::Noting => true,
        }
    }

    /// A log begins for a volume that has a session. False if there is one, or a state is being
    /// read, saved or taken.
    pub fn begin_log(&mut self, log: Log, area: Extent) -> bool {
        if self.mode != Mode::None {
            return false;
        }
        self.forget();
        (self.mode, self.area, self.log) = (Mode::Live, Some(area), Some(log));
        true
    }

    /// The log, until a state is sealed.
    pub fn log(&self) -> Option<&IntentLog> {
        let holds = matches!(self.mode, Mode::Live | Mode::Saving);
        self.any_log().filter(|_| holds)
    }

    /// As [`Tracker::log`].
    pub fn log_mut(&mut self) -> Option<&mut IntentLog> {
        let holds = matches!(self.mode, Mode::Live | Mode::Saving);
        self.log.as_mut().filter(|_| holds).map(|log| {
            let [log] = &mut **log;
            log
        })
    }

    /// The log ends: it is void on the disk, or cannot be made so. Requests that waited go.
    pub fn end_log(&mut self) {
        match self.mode {
            Mode::Live => self.forget(),
            Mode::Saving => self.log = None,
            Mode::None
            | Mode::Unknown
            | Mode::Armed
            | Mode::Sealed
            | Mode::Voiding
            | Mode::Noting => {}
        }
    }

    /// The area was read: a state was saved, and is used on the disk now; or none is. From now on
    /// requests that waited go, as they are taken by [`Tracker::writes`].
    pub fn loaded(&mut self, known: Option<Known>, area: Option<Extent>) {
        if self.mode != Mode::Unknown {
            // The volume has gone meanwhile.
            return;
        }
        self.forget();
        if let Some(Known { saved, map, is_log }) = known {
            let mode = Mode::Armed;
            (self.mode, self.area, self.is_log) = (mode, area, is_log);
            (self.saved, self.map) = (Some(saved), Some(map));
        }
    }

    /// True if a state was read that no session has claimed.
    pub fn is_armed(&self) -> bool {
        self.mode == Mode::Armed && !self.is_claimed
    }

    /// A session begins that may take the map: if it continues the one of the saved state, on the
    /// same volume, what it takes. The map is no use to any other.
    pub fn claim(&mut self, session: SessionId, geometry: &Geometry) -> Option<Taken> {
        if self.mode != Mode::Armed || self.sleep.is_doubtful() {
            return None;
        }
        let is_it = |saved: &&SavedState| saved.session == session && saved.geometry == *geometry;
        let (Some(saved), Some(map)) = (self.saved.as_ref().filter(is_it), self.map.as_ref())
        else {
            self.forget();
            return None;
        };
        self.is_claimed = true;
        Some(Taken::new(saved, map, self.is_log))
    }

    /// The session does not begin after all.
    pub fn give_back(&mut self) {
        self.is_claimed = false;
    }

    /// The session has every change from now on, and all that came before is noted. `None` if the
    /// map does not hold any more.
    pub fn take(&mut self) -> Option<Known> {
        if self.mode != Mode::Armed || !self.is_claimed || self.sleep.is_doubtful() {
            return None;
        }
        let known = Option::zip(self.saved.take(), self.map.take());
        let is_log = self.is_log;
        self.forget();
        known.map(|(saved, map)| Known { saved, map, is_log })
    }

    /// From now on changes are noted in this map, which says nothing yet, of a volume on which a
    /// session is to begin; anew if they are noted already. False while anything else is noted, or
    /// it is not known whether a state was saved.
    pub fn begin_noting(&mut self, map: RegionMap) -> bool {
        let may = matches!(self.mode, Mode::None | Mode::Noting) && !self.sleep.is_doubtful();
        if may {
            (self.mode, self.map) = (Mode::Noting, Some(map));
        }
        may
    }

    /// The session has every change from now on, and all that came before is noted: what was
    /// changed since [`Tracker::begin_noting`]. `None` if that is not known.
    pub fn take_noted(&mut self) -> Option<RegionMap> {
        if self.mode != Mode::Noting {
            return None;
        }
        let map = self.map.take();
        let is_doubtful = self.sleep.is_doubtful();
        self.forget();
        map.filter(|_| !is_doubtful)
    }

    /// From now on requests are noted in this map, which says nothing yet, of a volume that has a
    /// session. False if a state is being read, saved, or taken.
    pub fn begin_save(&mut self, map: RegionMap, area: Extent) -> bool {
        if !matches!(self.mode, Mode::None | Mode::Live) || !self.sleep.may_save() {
            return false;
        }
        (self.mode, self.map, self.area) = (Mode::Saving, Some(map), Some(area));
        true
    }

    /// As [`Tracker::begin_save`], for a volume without a session: the state that was saved before
    /// is saved again. `None` if there is none.
    pub fn begin_save_again(&mut self) -> Option<SavedState> {
        if self.mode != Mode::Armed || self.is_claimed || !self.sleep.may_save() {
            return None;
        }
        self.mode = Mode::Saving;
        self.saved
    }

    /// Notes a change, while changes are noted.
    pub fn note(&mut self, extent: &Extent) {
        if let Some(map) = self.map.as_mut()
            && matches!(self.mode, Mode::Armed | Mode::Saving | Mode::Noting)
        {
            map.note(extent);
        }
    }

    /// Writes the map that is saved down, and seals it; false if the state is not to be saved any
    /// more.
    pub fn seal(&mut self, bytes: &mut [u8]) -> bool {
        let Some(map) = self.map.as_ref().filter(|_| self.mode == Mode::Saving) else {
            return false;
        };
        map.write(bytes);
        (self.mode, self.is_written) = (Mode::Sealed, false);
        true
    }

    /// The sealed state is on the disk, and what makes it void is ready. Requests that waited for
    /// that go.
    pub fn written(&mut self) -> Next {
        (self.is_written, self.log) = (true, None);
        if self.mode == Mode::Voiding { Next::Void } else { Next::Nothing }
    }

    /// What is on the disk of the sealed state is not known.
    pub fn not_written(&mut self) {
        if self.mode == Mode::Sealed {
            self.mode = Mode::Voiding;
        }
    }

    /// The state on the disk is void, or cannot be made so: requests that waited go.
    pub fn voided(&mut self) {
        if self.mode == Mode::Voiding {
            self.forget();
        }
    }

    /// Nothing is known of the volume any more, or it goes: requests go, unless they wait for a
    /// state on the disk to be void, or for the log.
    pub fn forget_known(&mut self) {
        match self.mode {
            Mode::Saving if self.log.is_some() => (self.mode, self.map) = (Mode::Live, None),
            Mode::Unknown | Mode::Armed | Mode::Saving => self.forget(),
            Mode::None | Mode::Sealed | Mode::Voiding | Mode::Live | Mode::Noting => {}
        }
    }

    /// Whether the machine may have slept since the volume was looked at.
    pub fn sleep(&self) -> Sleep {
        self.sleep
    }

    /// The system is about to sleep.
    pub fn falls_asleep(&mut self, now: Tick) {
        self.sleep.falls_asleep(now);
    }

    /// The system is awake again. A session looks at its volume next; without one nothing is known
    /// of the volume any more.
    pub fn wakes(&mut self, has_session: bool) {
        if self.sleep.wakes() && !has_session {
            self.sleep = Sleep::Awake;
            if matches!(self.mode, Mode::Armed | Mode::Noting) {
                self.forget();
            }
        }
    }

    /// The stamp was read while no write to it was under way, after so many writes. Not noted while
    /// the machine may have slept: it may be another system's.
    pub fn copy_stamp(&mut self, writes: u64, bytes: &[u8]) {
        let may = !self.sleep.is_doubtful();
        if let Some(log) = self.log_mut().filter(|_| may) {
            log.copy_stamp(writes, bytes);
        }
    }

    /// True if the volume is to be looked at now: the machine has slept, or a write to the stamp
    /// waits for that.
    pub fn is_to_be_looked_at(&self, now: Tick) -> bool {
        self.stamp_writes == StampWrites::Waiting || self.sleep.is_to_be_looked_at(now)
    }

    /// From now on writes to the stamp go although the machine may have slept, or they wait again.
    pub fn open_stamp(&mut self, is_open: bool) {
        self.stamp_writes = if is_open { StampWrites::Go } else { StampWrites::Wait };
    }

    fn waits_for_look<I: Iterator<Item = Extent>>(&self, extents: impl Fn() -> I) -> bool {
        let is_doubtful = self.sleep.is_doubtful() && self.stamp_writes != StampWrites::Go;
        is_doubtful && self.log().is_some_and(|log| log.is_of_stamp(extents))
    }

    /// As [`IntentLog::is_stamp`]; without a log nothing is known.
    pub fn is_stamp(&self, bytes: &[u8]) -> Option<bool> {
        self.log()?.is_stamp(bytes)
    }

    /// The volume was looked at for a write to the stamp, while the machine falls asleep or wakes
    /// up: `same`, or not, or that is not known.
    pub fn looked_at_early(&mut self, same: Option<bool>) {
        self.stamp_writes = StampWrites::Wait;
        if same == Some(false) {
            self.sleep.has_changed();
        }
        if same != Some(true)
            && let Some(log) = self.log_mut()
        {
            log.forget_stamp();
        }
    }

    /// The volume was looked at, as it was to be `then`. If it is not the `same`, the session has
    /// lost what had not left: the server may lack something of every region.
    pub fn looked_at(&mut self, then: Sleep, now: Tick, same: bool) {
        self.stamp_writes = StampWrites::Wait;
        self.sleep.looked_at(then);
        if let Some(log) = self.log_mut().filter(|_| !same) {
            log.mark_all();
            // The stamp is another one.
            log.put_off(now, 0);
        }
    }

    /// How the volume is cut into regions, while changes are noted.
    pub fn regions(&self) -> Option<Regions> {
        self.map.as_ref().map(|map| *map.regions())
    }

    fn void(&mut self) -> Arrival {
        self.mode = Mode::Voiding;
        Arrival::Waits(if self.is_written { Next::Void } else { Next::Nothing })
    }

    /// The log, whatever it is for now.
    fn any_log(&self) -> Option<&IntentLog> {
        self.log.as_ref().map(|log| {
            let [log] = &**log;
            log
        })
    }

    /// What is saved is dropped, and the log ends.
    fn lose(&mut self) -> Arrival {
        let Some(log) = self.log_mut() else {
            self.forget();
            return Arrival::Goes;
        };
        log.lose();
        (self.mode, self.map) = (Mode::Live, None);
        Arrival::Waits(Next::Log)
    }

    fn forget(&mut self) {
        // One by one: a tracker is large for a kernel's stack.
        (self.mode, self.is_claimed, self.is_written, self.is_log) =
            (Mode::None, false, false, false);
        (self.saved, self.area) = (None, None);
        self.map = None;
        self.log = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Range, piece_request};
    use crate::intent_log::Todo;
    use snapless_types::{Clearing, Made};
    use snapless_wire::id::FileTime;

    const REGION: u64 = 64 << 10;
    const SESSION: SessionId = SessionId([3; 16]);
    const GOES: Arrival = Arrival::Goes;

    fn geometry() -> Geometry {
        Geometry::new(100 * REGION, 512, 64 << 10).unwrap()
    }

    fn end(seq: u64) -> End {
        End { seq: Seq::new(seq), made: Made { time: 3, monotonic: Tick(4) } }
    }

    fn ends(last: u64) -> Ends {
        let mut ends = Ends::NONE;
        ends.add(end(last));
        ends
    }

    fn map() -> RegionMap {
        RegionMap::new(Regions::of(&geometry())).unwrap()
    }

    fn region(number: u64) -> Extent {
        Extent::new(number * REGION, 512).unwrap()
    }

    /// The area is in region 99.
    fn area() -> Extent {
        Extent::new(99 * REGION, REGION).unwrap()
    }

    fn known(marked: &[u64]) -> Known {
        let saved = SavedState {
            session: SESSION,
            geometry: geometry(),
            acknowledged: Seq::new(5),
            captured: Seq::new(9),
            ends: ends(7),
            stamp: Extents::new(&[region(0)]).unwrap(),
            saved_at: FileTime::new(1),
        };
        let mut map = map();
        for number in marked {
            map.note(&region(*number));
        }
        Known { saved, map, is_log: false }
    }

    fn armed(marked: &[u64]) -> Tracker {
        let mut tracker = Tracker::UNKNOWN;
        tracker.loaded(Some(known(marked)), Some(area()));
        tracker
    }

    fn write(tracker: &mut Tracker, number: u64) -> Arrival {
        tracker.writes(|| [region(number)].into_iter())
    }

    /// A state that is sealed and has these regions.
    fn sealed(marked: &[u64]) -> Tracker {
        let mut tracker = Tracker::NONE;
        assert!(tracker.begin_save(map(), area()));
        for number in marked {
            assert_eq!(write(&mut tracker, *number), GOES);
        }
        assert!(tracker.seal(&mut [0; 4096]));
        tracker
    }

    #[test]
    fn requests_wait_until_the_area_was_read_and_are_noted_from_then_on() {
        let mut tracker = Tracker::UNKNOWN;
        assert_eq!(write(&mut tracker, 7), Arrival::Waits(Next::Load));
        assert_eq!(tracker.changes(), Arrival::Waits(Next::Load));
        tracker.loaded(Some(known(&[3])), Some(area()));
        assert_eq!((write(&mut tracker, 7), tracker.mode()), (GOES, Mode::Armed));
        let taken = tracker.claim(SESSION, &geometry()).unwrap();
        assert_eq!((taken.acknowledged, taken.captured), (Seq::new(5), Seq::new(9)));
        assert_eq!(taken.bytes, 2 * REGION);
        assert!(taken.holds(&end(7)) && !taken.holds(&end(6)), "of another past");
        assert!(!taken.holds(&End { made: Made::default(), ..end(7) }));
        // It is noted until the session has every change.
        assert_eq!(write(&mut tracker, 8), GOES);
        let taken = tracker.take().unwrap();
        assert!([3, 7, 8].iter().all(|number| taken.map.is_marked(*number)));
        assert_eq!((taken.summary().bytes, tracker.mode()), (3 * REGION, Mode::None));
        assert!(tracker.take().is_none(), "it is taken once");
    }

    #[test]
    fn before_a_session_begins_changes_are_noted_from_when_that_is_asked_for() {
        let mut tracker = Tracker::NONE;
        assert_eq!((write(&mut tracker, 7), tracker.take_noted().is_none()), (GOES, true));
        assert!(tracker.begin_noting(map()));
        assert_eq!((write(&mut tracker, 8), tracker.mode()), (GOES, Mode::Noting));
        assert!(tracker.begin_noting(map()), "anew");
        assert_eq!(write(&mut tracker, 9), GOES);
        let trim = piece_request(Clearing::Trim, 0, Range { offset: 20 * REGION, len: 512 });
        let manage = requests::IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES;
        assert_eq!(tracker.controls(manage, &trim), GOES);
        tracker.forget_known();
        assert_eq!(tracker.claim(SESSION, &geometry()), None);
        let noted = tracker.take_noted().unwrap();
        assert!((0..100).filter(|number| noted.is_marked(*number)).eq([9, 20]));
        assert_eq!(tracker.mode(), Mode::None);
        assert!(tracker.take_noted().is_none(), "it is taken once");
    }

    #[test]
    fn what_was_changed_is_not_known_after_a_sleep_or_a_change_whose_place_is_unknown() {
        let mut tracker = Tracker::NONE;
        assert!(tracker.begin_noting(map()));
        assert_eq!(tracker.changes(), GOES);
        assert!(tracker.take_noted().is_none() && tracker.mode() == Mode::None);
        assert!(tracker.begin_noting(map()));
        tracker.falls_asleep(Tick(1));
        assert!(tracker.take_noted().is_none(), "it may sleep");
        assert!(!tracker.begin_noting(map()));
        tracker.wakes(false);
        assert!(tracker.begin_noting(map()));
        tracker.falls_asleep(Tick(2));
        tracker.wakes(false);
        assert!(tracker.take_noted().is_none(), "it has slept");
    }

    #[test]
    fn nothing_is_noted_for_a_session_while_a_state_is_used_or_made() {
        let unknown = Tracker::UNKNOWN;
        for mut tracker in [unknown, armed(&[]), sealed(&[])] {
            assert!(!tracker.begin_noting(map()));
        }
    }

    #[test]
    fn without_a_saved_state_nothing_is_noted() {
        let mut tracker = Tracker::UNKNOWN;
        tracker.loaded(None, Some(area()));
        assert_eq!((write(&mut tracker, 7), tracker.mode()), (GOES, Mode::None));
        assert_eq!(tracker.claim(SESSION, &geometry()), None);
    }

    #[test]
    fn a_map_is_no_use_to_another_session_or_volume() {
        let other = Geometry::new(100 * REGION, 512, 128 << 10).unwrap();
        for (session, geometry) in [(SessionId([4; 16]), geometry()), (SESSION, other)] {
            let mut tracker = armed(&[]);
            assert_eq!((tracker.claim(session, &geometry), tracker.mode()), (None, Mode::None));
            assert_eq!(tracker.claim(SESSION, &self::geometry()), None, "it is dropped");
        }
        let mut tracker = armed(&[1]);
        assert!(tracker.take().is_none(), "nothing has claimed it");
        assert!(tracker.claim(SESSION, &geometry()).is_some());
        tracker.give_back();
        assert!(tracker.take().is_none() && tracker.claim(SESSION, &geometry()).is_some());
    }

    #[test]
    fn what_changes_the_volume_somewhere_or_takes_the_area_makes_the_map_useless() {
        let mut tracker = armed(&[]);
        assert!(tracker.claim(SESSION, &geometry()).is_some());
        assert_eq!((tracker.changes(), tracker.mode()), (GOES, Mode::None));
        assert!(tracker.take().is_none());
        let mut tracker = armed(&[]);
        assert_eq!((write(&mut tracker, 99), tracker.mode()), (GOES, Mode::None));
        let takes: [fn(&mut Tracker) -> Arrival; 2] = [Tracker::changes, |it| write(it, 99)];
        for take in takes {
            let mut tracker = Tracker::NONE;
            assert!(tracker.begin_save(map(), area()));
            assert_eq!(take(&mut tracker), GOES);
            assert!(!tracker.seal(&mut [0; 4096]), "it is not saved");
        }
    }

    #[test]
    fn a_volume_that_goes_lets_its_requests_go_and_what_was_read_comes_too_late() {
        let mut tracker = Tracker::UNKNOWN;
        assert_eq!(write(&mut tracker, 7), Arrival::Waits(Next::Load));
        tracker.forget_known();
        assert_eq!(write(&mut tracker, 7), GOES);
        tracker.loaded(Some(known(&[])), None);
        assert_eq!(tracker.mode(), Mode::None);
    }

    #[test]
    fn a_trim_is_noted_and_what_has_no_place_makes_the_map_useless() {
        let manage = requests::IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES;
        let trim = piece_request(Clearing::Trim, 0, Range { offset: 7 * REGION, len: 512 });
        let mut tracker = armed(&[]);
        assert_eq!(tracker.controls(manage, &trim), GOES);
        assert!(tracker.claim(SESSION, &geometry()).is_some());
        assert!(tracker.take().unwrap().map.is_marked(7));
        let copy_data = 0x0007_c064;
        for (code, input) in [(copy_data, &[][..]), (manage, &trim[..40]), (0x0007_c0d0, &[])] {
            let mut tracker = armed(&[]);
            assert_eq!((tracker.controls(code, input), tracker.mode()), (GOES, Mode::None));
        }
        let mut tracker = Tracker::UNKNOWN;
        for code in [requests::IOCTL_DISK_GET_LENGTH_INFO, 0x0007_0000] {
            assert_eq!(tracker.controls(code, &[]), GOES, "it changes nothing");
        }
        assert_eq!(tracker.controls(copy_data, &[]), Arrival::Waits(Next::Load));
    }

    #[test]
    fn what_comes_while_a_state_is_saved_is_in_it() {
        let mut tracker = Tracker::NONE;
        assert!(tracker.begin_save(map(), area()));
        assert!(!tracker.begin_save(map(), area()), "it is being saved");
        tracker.note(&region(1));
        assert_eq!(tracker.writes(|| [region(2), region(70)].into_iter()), GOES);
        let mut bytes = [0; 4096];
        assert!(tracker.seal(&mut bytes) && !tracker.seal(&mut bytes));
        assert_eq!((bytes[0], bytes[8]), (0b110, 0b100_0000));
        tracker.note(&region(3));
        assert_eq!(write(&mut tracker, 3), Arrival::Waits(Next::Nothing), "it is sealed");
    }

    #[test]
    fn a_write_that_a_sealed_state_does_not_have_waits_until_it_is_void() {
        let mut tracker = sealed(&[1]);
        assert_eq!(tracker.written(), Next::Nothing);
        assert_eq!(write(&mut tracker, 1), GOES);
        assert_eq!(write(&mut tracker, 2), Arrival::Waits(Next::Void));
        assert_eq!(write(&mut tracker, 1), Arrival::Waits(Next::Nothing), "in order");
        assert_eq!(tracker.changes(), Arrival::Waits(Next::Nothing));
        tracker.forget_known();
        assert_eq!(tracker.mode(), Mode::Voiding, "the write is under way");
        tracker.voided();
        assert_eq!(write(&mut tracker, 2), GOES);
        let mut tracker = sealed(&[1]);
        assert_eq!(
            (tracker.written(), tracker.changes()),
            (Next::Nothing, Arrival::Waits(Next::Void))
        );
        let mut tracker = Tracker::NONE;
        assert!(tracker.begin_save(map(), area()));
        tracker.note(&region(99));
        assert!(tracker.seal(&mut [0; 4096]));
        assert_eq!(tracker.written(), Next::Nothing);
        assert_eq!(write(&mut tracker, 99), Arrival::Waits(Next::Void), "the area's own bytes");
    }

    #[test]
    fn a_write_that_comes_before_the_sealed_state_is_on_the_disk_waits_for_that_too() {
        let mut tracker = sealed(&[]);
        assert_eq!(write(&mut tracker, 2), Arrival::Waits(Next::Nothing));
        assert_eq!(tracker.written(), Next::Void);
        tracker.voided();
        assert_eq!(tracker.mode(), Mode::None);
        let mut tracker = sealed(&[]);
        tracker.not_written();
        assert_eq!(write(&mut tracker, 2), Arrival::Waits(Next::Nothing));
        assert_eq!(tracker.written(), Next::Void);
    }

    /// A volume whose live log has no region marked.
    fn logged() -> Tracker {
        let marks = Marks::new(Regions::of(&geometry())).unwrap();
        let mut tracker = Tracker::NONE;
        let (regions, stamp) = (Regions::of(&geometry()), Extents::new(&[region(0)]).unwrap());
        let times = (Timing::DRIVER, Tick(0));
        let log = new_log(regions, &area(), &stamp, times).unwrap();
        assert!(tracker.begin_log(log, area()));
        assert_eq!((write(&mut tracker, 50), tracker.mode()), (GOES, Mode::Live));
        for number in (1..99).filter(|number| *number != 50) {
            let unmarked = tracker.unmark(number, &marks).unwrap();
            tracker.log_mut().unwrap().leave_unmarked(unmarked);
        }
        write_slot(&mut tracker, Some(StampRead { hash: 1, writes: 0 }));
        tracker
    }

    fn write_slot(tracker: &mut Tracker, read: Option<StampRead>) {
        assert!(tracker.begin_live(&ends(5), read, &mut [0; 4096]).is_some());
        tracker.log_mut().unwrap().written(Tick(1));
    }

    #[test]
    fn while_the_log_is_live_a_write_waits_for_its_region_and_an_end_for_a_slot_that_lists_it() {
        let mut tracker = logged();
        assert_eq!(write(&mut tracker, 50), GOES);
        assert!(tracker.expects(&region(50)) && tracker.may_leave(Seq::new(5)));
        assert!(!tracker.expects(&region(7)));
        assert_eq!(write(&mut tracker, 7), Arrival::Waits(Next::Log));
        assert!(!tracker.may_leave(Seq::new(6)));
        tracker.forget_known();
        assert_eq!(tracker.mode(), Mode::Live, "a slot on the disk would be trusted");
        write_slot(&mut tracker, None);
        assert_eq!(write(&mut tracker, 7), GOES);
        assert!(!tracker.may_leave(Seq::new(6)), "it is not listed");
        tracker.end_log();
        assert!(write(&mut tracker, 8) == GOES && tracker.may_leave(Seq::new(6)));
    }

    #[test]
    fn no_mark_is_taken_off_and_no_log_begins_to_live_while_a_clearing_is_on_its_way() {
        let mut tracker = logged();
        let marks = Marks::new(Regions::of(&geometry())).unwrap();
        let clears =
            |tracker: &mut Tracker, number| tracker.clears(|| [region(number)].into_iter());
        assert_eq!(clears(&mut tracker, 7), Arrival::Waits(Next::Log));
        write_slot(&mut tracker, None);
        tracker.log_mut().unwrap().passed(Tick(Timing::DRIVER.pass), &marks);
        tracker.log_mut().unwrap().passed(Tick(2 * Timing::DRIVER.pass), &marks);
        assert_eq!(clears(&mut tracker, 7), GOES);
        assert_eq!(tracker.unmark(50, &marks), None);
        let read = Some(StampRead { hash: 1, writes: 0 });
        assert_eq!(tracker.begin_live(&ends(5), read, &mut [0; 4096]), None);
        tracker.cleared();
        assert!(tracker.unmark(50, &marks).is_some());
    }

    #[test]
    fn what_takes_the_logs_area_or_changes_the_volume_somewhere_waits_until_it_is_void() {
        let takes: [fn(&mut Tracker) -> Arrival; 2] = [Tracker::changes, |it| write(it, 99)];
        for take in takes {
            let mut tracker = logged();
            assert!(tracker.begin_save(map(), area()));
            assert_eq!(take(&mut tracker), Arrival::Waits(Next::Log));
            assert!(!tracker.seal(&mut [0; 4096]), "it is not saved");
            let log = tracker.log_mut().unwrap();
            assert_eq!(log.todo(Tick(2)), Todo::Void);
            log.begin_void();
            log.written(Tick(3));
            assert_eq!(log.todo(Tick(4)), Todo::End);
            tracker.end_log();
            assert_eq!((take(&mut tracker), tracker.mode()), (GOES, Mode::None));
        }
    }

    #[test]
    fn nothing_leaves_and_no_stamp_is_believed_until_the_volume_was_looked_at_after_a_sleep() {
        let mut tracker = logged();
        let read = Some(StampRead { hash: 9, writes: 0 });
        tracker.copy_stamp(0, &[1; 512]);
        tracker.falls_asleep(Tick(5));
        tracker.copy_stamp(0, &[2; 512]);
        assert!(tracker.is_stamp(&[1; 512]) == Some(true) && !tracker.may_leave(Seq::new(1)));
        assert_eq!(tracker.begin_live(&ends(5), read, &mut [0; 4096]), None);
        assert!(tracker.begin_live(&ends(5), None, &mut [0; 4096]).is_some(), "writes may wait");
        tracker.log_mut().unwrap().written(Tick(6));
        tracker.wakes(true);
        assert!(!tracker.may_leave(Seq::new(1)));
        let then = tracker.sleep();
        tracker.looked_at(then, Tick(7), true);
        assert!(tracker.may_leave(Seq::new(1)));
        assert!(matches!(tracker.log_mut().unwrap().todo(Tick(7)), Todo::Nothing(_)));
        tracker.falls_asleep(Tick(8));
        tracker.wakes(true);
        let then = tracker.sleep();
        tracker.looked_at(then, Tick(7), false);
        assert_eq!(tracker.log_mut().unwrap().todo(Tick(9)), Todo::Slot, "all is marked");
    }

    #[test]
    fn a_write_to_the_stamp_waits_for_a_look_at_what_it_overwrites() {
        let mut tracker = logged();
        tracker.copy_stamp(0, &[1; 512]);
        let write_stamp = |tracker: &mut Tracker| tracker.writes_bytes(region(0), Some(&[2; 512]));
        assert_eq!(write_stamp(&mut tracker), GOES);
        assert_eq!(tracker.is_stamp(&[2; 512]), Some(true));
        tracker.falls_asleep(Tick(5));
        assert!(!tracker.is_to_be_looked_at(Tick(6)) && write(&mut tracker, 50) == GOES);
        assert_eq!(write_stamp(&mut tracker), Arrival::Waits(Next::Log));
        assert!(tracker.is_to_be_looked_at(Tick(6)));
        tracker.looked_at_early(Some(true));
        assert!(tracker.sleep().is_doubtful(), "it may sleep only now");
        tracker.open_stamp(true);
        assert_eq!(write_stamp(&mut tracker), GOES);
        tracker.open_stamp(false);
        assert_eq!(write_stamp(&mut tracker), Arrival::Waits(Next::Log));
        assert!(tracker.sleep().may_save());
        tracker.looked_at_early(None);
        assert!(tracker.sleep().may_save() && tracker.is_stamp(&[2; 512]).is_none());
        tracker.looked_at_early(Some(false));
        assert!(!tracker.begin_save(map(), area()), "the state would have another system's stamp");
    }

    #[test]
    fn a_saved_state_does_not_outlive_a_sleep_without_a_session() {
        for wakes_first in [true, false] {
            let mut tracker = armed(&[]);
            tracker.falls_asleep(Tick(5));
            if wakes_first {
                tracker.wakes(false);
                assert_eq!((tracker.mode(), tracker.sleep()), (Mode::None, Sleep::Awake));
            }
            assert_eq!(tracker.claim(SESSION, &geometry()), None);
        }
        let mut tracker = armed(&[]);
        assert!(tracker.claim(SESSION, &geometry()).is_some());
        tracker.falls_asleep(Tick(5));
        assert!(tracker.take().is_none());
    }

    #[test]
    fn until_a_sealed_state_is_on_the_disk_the_log_holds() {
        let mut tracker = logged();
        assert!(tracker.begin_save(map(), area()));
        assert_eq!(write(&mut tracker, 7), Arrival::Waits(Next::Log));
        assert_eq!(write(&mut tracker, 50), GOES);
        tracker.note(&region(8));
        let mut bytes = [0; 4096];
        assert!(tracker.seal(&mut bytes));
        assert!(tracker.log().is_none(), "no slot is written any more");
        assert_eq!(write(&mut tracker, 8), Arrival::Waits(Next::Nothing), "the log lacks it");
        assert_eq!(write(&mut tracker, 50), GOES, "both have it");
        assert!(!tracker.may_leave(Seq::new(5)));
        assert_eq!(tracker.written(), Next::Nothing);
        assert!(tracker.may_leave(Seq::new(6)));
        assert_eq!((write(&mut tracker, 8), write(&mut tracker, 7)), (GOES, GOES));
        assert_eq!(write(&mut tracker, 9), Arrival::Waits(Next::Void));
        let mut tracker = logged();
        assert!(tracker.begin_save(map(), area()));
        tracker.forget_known();
        assert_eq!(tracker.mode(), Mode::Live, "a save that failed leaves the log");
        assert_eq!(write(&mut tracker, 8), Arrival::Waits(Next::Log));
    }

    #[test]
    fn a_state_that_no_session_has_taken_is_saved_again_with_what_came_since() {
        let mut tracker = armed(&[1]);
        assert_eq!(write(&mut tracker, 2), GOES);
        assert_eq!(tracker.begin_save_again(), Some(known(&[]).saved));
        assert_eq!(write(&mut tracker, 3), GOES);
        let mut bytes = [0; 4096];
        assert!(tracker.seal(&mut bytes));
        assert_eq!(bytes[0], 0b1110);
        let mut tracker = armed(&[1]);
        assert!(tracker.claim(SESSION, &geometry()).is_some());
        assert_eq!(tracker.begin_save_again(), None, "a session takes it");
        let mut tracker = Tracker::NONE;
        assert_eq!(tracker.begin_save_again(), None);
    }
}
