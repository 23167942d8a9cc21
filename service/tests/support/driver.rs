//! A fake driver: one volume, at most one session, claimed by a handle as in the real driver.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use snapless_driver_client::error::Call;
use snapless_driver_client::file_system::{Answers, Unanswered};
use snapless_driver_client::port::KeptPlace;
use snapless_driver_client::state_place::{NoPlace, StatePlace};
use snapless_driver_client::unused_blocks::UnusedBlocks;
use snapless_driver_client::volume::device_text;
use snapless_driver_client::{Driver, DriverError, DriverPort, SessionStatus, Volume, VolumeName};
use snapless_types::{
    BlockIndex, BlockRange, EpochId, Extent, GapReason, Geometry, Made, RecordKind, Seq,
    SessionCounters,
};
use snapless_wire::id::{AreaId, FileTime, SessionId, VolumeGuid};
use snapless_wire::ioctl::{
    ABI_VERSION, CUT_LEN_MAX, CutTime, DRAIN_BUFFER_MIN, DeviceName, DrainFrom, KeepStateRequest,
    MapReply, ORIGIN_SKIP, Protection, SPECIAL_FILE_PAGING, SessionPhase, StartRequest,
    StatusFlags, StatusReply, SweepLimits, UnusedRequest, Verify,
};
use snapless_wire::record::{Position, RecordHeader};
use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

/// Bytes of the volume.
pub const LENGTH: u64 = 1 << 30;
/// What a session reads that continues with a saved state.
pub const SAVED_BYTES: u64 = 3 << 20;
/// What the wall clock shows when a session begins: 2020-01-01T00:00:00Z.
const TIME: u64 = 132_223_104_000_000_000;

/// A clock that several volumes share, in ticks: it goes on with each question for a status, or by
/// itself.
#[derive(Clone, Default)]
pub struct Clock {
    time: Arc<AtomicU64>,
    ahead: u64,
    /// When it began, if it goes on by itself.
    begun: Option<Instant>,
}

/// Ticks by which a question for a status sets it on.
const STATUS_TICKS: u64 = 10_000;
/// How far a clock goes at once that goes on by itself: 15.625 ms.
const STEP_TICKS: u64 = 156_250;
/// Ticks that pass while a write waits for the end of a cut, before it looks again.
const CUT_TICKS: u64 = 1_000;

impl Clock {
    /// One that goes on by itself, in steps as long as those of Windows, and shows so many ticks
    /// more.
    pub fn running(ahead: u64) -> Self {
        Self { ahead, begun: Some(Instant::now()), ..Self::default() }
    }

    /// What it shows.
    pub fn now(&self) -> u64 {
        match self.begun {
            Some(begun) => {
                let ticks = u64::try_from(begun.elapsed().as_nanos() / 100).unwrap() + self.ahead;
                ticks - ticks % STEP_TICKS
            }
            None => self.time.load(Ordering::SeqCst) + self.ahead,
        }
    }

    /// Lets so many ticks pass, unless it goes on by itself.
    pub fn pass(&self, ticks: u64) {
        self.time.fetch_add(ticks, Ordering::SeqCst);
    }
}

/// A call that the driver has seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    Opened,
    Closed,
    Started(SessionId),
    Continued(SessionId, GapReason),
    Resumed(SessionId),
    DrainedFrom(u64, bool),
    Stopped(SessionId),
    Acknowledged(u64),
    Reviewed(bool),
    Noted,
    /// The file system was asked for what is unused.
    Asked,
    /// The driver was told that so many blocks are unused, and there are more.
    Unused(u64),
    /// It was told of all of them.
    AllUnused,
}

pub struct FakeDriver {
    device: String,
    state: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[allow(clippy::struct_excessive_bools, reason = "switches of a fake")]
struct State {
    present: bool,
    length: u64,
    /// How often the machine was restarted.
    boot: u64,
    /// The volume was removed.
    removed: bool,
    /// What the volume's file system answers.
    file_system: Answers,
    /// What the list says of the volume.
    protection: Protection,
    /// Where the paging file is: at the first look, and at every later one.
    paging: [Vec<Extent>; 2],
    /// What the last start excluded.
    excluded: Vec<Extent>,
    /// What no file has, as the file system says.
    unused: Option<UnusedBlocks>,
    /// How many blocks each request about them gets done.
    unused_room: u64,
    /// The port for whose session changes are noted, and how much of them.
    noter: Option<u64>,
    /// How many drains and acknowledgements are still to fail for want of memory.
    scarce: usize,
    /// How many drains are still to be cancelled.
    cancellations: usize,
    /// Drains get no record.
    withholds: bool,
    /// Records are not kept once they are drained.
    forgets: bool,
    /// How often the status was asked for.
    asked: u64,
    /// The driver takes limits of the sweep only when a session starts, and no cuts.
    is_older: bool,
    /// How often it was asked to take other ones.
    limits_asked: u64,
    /// Where the session's state can be saved; a new file is on the disk at the next look.
    place: Option<StatePlace>,
    place_is_new: bool,
    /// Where the driver was told to save it.
    kept_at: Option<AreaId>,
    /// What was saved.
    saved: Option<Saved>,
    /// What a server's stream could end with when a state was saved.
    saved_ends: Vec<(u64, Made)>,
    /// A session that is on a copy of the volume.
    on_copy: Option<SessionId>,
    next_port: u64,
    /// A clock of the machine; without it each record is a tick.
    clock: Option<Clock>,
    session: Option<Session>,
    seen: Vec<Seen>,
}

#[allow(clippy::struct_excessive_bools, reason = "switches of a fake")]
#[derive(Clone)]
struct Session {
    id: SessionId,
    /// Bytes of the volume when it began.
    length: u64,
    /// How hard it may read the disk.
    sweep: SweepLimits,
    /// The clock of the machine.
    clock: Option<Clock>,
    /// How far the clocks have gone without a record.
    passed: u64,
    /// The last cut.
    cut: Option<CutTime>,
    /// How often the machine was restarted before it.
    boot: u64,
    /// The number behind which its own begin.
    origin: u64,
    /// The last record that is durable.
    acknowledged_seq: u64,
    /// When each epoch's last record was made, and that behind which it continues.
    ends: Vec<(u64, Made)>,
    /// Not as the stream says: writes are not captured.
    in_gap: bool,
    base_complete: bool,
    claimant: Option<u64>,
    /// It is to be told what is unused.
    expects_unused: bool,
    /// Where the next drain begins is known.
    drains: bool,
    /// The claimant's records are lost, for this reason, until it says anew where the stream
    /// stands.
    lost: Option<GapReason>,
    /// Why it continues one of an earlier start, until it is known behind which record.
    unplaced: Option<GapReason>,
    /// What it continues with.
    saved: Option<Saved>,
    /// That is of a write-intent log.
    after_crash: bool,
    /// Records that were drained, with their numbers.
    kept: VecDeque<(u64, Vec<u8>)>,
    queue: VecDeque<(u64, Vec<u8>)>,
    last_seq: u64,
    epoch: u64,
    acknowledged: u64,
}

/// A state that the driver has saved.
#[derive(Clone)]
struct Saved {
    /// The last acknowledged record.
    acknowledged: u64,
    /// The last one.
    captured: u64,
    /// What a server's stream may end with.
    ends: Vec<(u64, Made)>,
}

/// What a driver has in its memory.
pub struct Memory(Session);

impl FakeDriver {
    pub fn new(device: &str) -> Arc<Self> {
        Self::with(device, None)
    }

    /// One of several volumes of a machine.
    pub fn with_clock(device: &str, clock: &Clock) -> Arc<Self> {
        Self::with(device, Some(clock.clone()))
    }

    fn with(device: &str, clock: Option<Clock>) -> Arc<Self> {
        let state = State {
            present: true,
            length: LENGTH,
            boot: 0,
            removed: false,
            file_system: Answers { attributes: Ok(0), owned_by_cluster: Ok(Some(0)) },
            protection: Protection::Possible,
            paging: Default::default(),
            excluded: Vec::new(),
            unused: None,
            unused_room: u64::MAX,
            noter: None,
            scarce: 0,
            cancellations: 0,
            withholds: false,
            forgets: false,
            asked: 0,
            is_older: false,
            limits_asked: 0,
            place: None,
            place_is_new: false,
            kept_at: None,
            saved: None,
            saved_ends: Vec::new(),
            on_copy: None,
            next_port: 1,
            clock,
            session: None,
            seen: Vec::new(),
        };
        let state = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        Arc::new(Self { device: device.to_owned(), state })
    }

    /// Loads or unloads the driver.
    pub fn set_present(&self, present: bool) {
        self.state.lock().present = present;
    }

    /// Changes what the volume's file system answers.
    pub fn set_file_system(&self, answers: Answers) {
        self.state.lock().file_system = answers;
    }

    /// Puts a paging file on the volume: where it is at the first look, and later.
    pub fn set_paging(&self, first: &[Extent], later: &[Extent]) {
        self.state.lock().paging = [first.to_vec(), later.to_vec()];
    }

    /// Puts blocks on the volume that no file has, of which each request to the driver gets so many
    /// done.
    pub fn set_unused(&self, unused: UnusedBlocks, room: u64) {
        self.state.change(|state| (state.unused, state.unused_room) = (Some(unused), room));
    }

    /// Makes it one that takes limits of the sweep only when a session starts, and no cuts.
    pub fn make_older(&self) {
        self.state.lock().is_older = true;
    }

    /// How hard the session may read the disk.
    pub fn sweep(&self) -> Option<SweepLimits> {
        self.state.lock().session.as_ref().map(|session| session.sweep)
    }

    /// How often it was asked to take other limits.
    pub fn limits_asked(&self) -> u64 {
        self.state.lock().limits_asked
    }

    /// What the last start excluded.
    pub fn excluded(&self) -> Vec<Extent> {
        self.state.lock().excluded.clone()
    }

    /// Changes what the list says of the volume.
    pub fn set_protection(&self, protection: Protection) {
        self.state.lock().protection = protection;
    }

    /// Makes the next drains and acknowledgements fail for want of memory.
    pub fn lack_memory(&self, times: usize) {
        self.state.change(|state| state.scarce = times);
    }

    /// Makes the next drains end as cancelled, which the service did not do.
    pub fn cancel_drains(&self, times: usize) {
        self.state.change(|state| state.cancellations = times);
    }

    /// How many of them are still to be cancelled.
    pub fn cancellations(&self) -> usize {
        self.state.lock().cancellations
    }

    /// How many of them are still to fail.
    pub fn scarce(&self) -> usize {
        self.state.lock().scarce
    }

    /// Captures a write of `sectors`, each filled with one byte, after the end of a cut in which it
    /// arrives; returns the last record's number.
    pub fn write(&self, offset: u64, sectors: &[u8]) -> u64 {
        let mut arrived = None;
        let mut waits = || {
            self.state.change(|state| {
                let session = state.session.as_mut().expect("a session to write to");
                session.waits_for_cut(*arrived.get_or_insert(session.monotonic()))
            })
        };
        while waits() {
            thread::sleep(Duration::from_nanos(100 * CUT_TICKS));
        }
        self.capture(RecordKind::Write, offset, sectors)
    }

    /// Captures a record of `sectors`, each filled with one byte.
    pub fn capture(&self, kind: RecordKind, offset: u64, sectors: &[u8]) -> u64 {
        let mut payload = Vec::new();
        for (fill, end) in sectors.iter().zip(1..) {
            payload.resize(512 * end, *fill);
        }
        self.record(|session| {
            let len = payload.len() as u64;
            let header = RecordHeader::extent(kind, session.next(), offset, len).unwrap();
            [&header.to_bytes()[..], &payload].concat()
        })
    }

    /// The blocks from `offset` on hold no data.
    pub fn skip(&self, kind: RecordKind, offset: u64) {
        self.record(|session| {
            let header = RecordHeader::extent(kind, session.next(), offset, LENGTH - offset);
            header.unwrap().to_bytes().to_vec()
        });
    }

    /// The blocks from `offset` on hold no data, and the base image is complete.
    pub fn complete_base(&self, offset: u64) {
        self.skip(RecordKind::Unallocated, offset);
        self.record(|session| {
            session.base_complete = true;
            let header = RecordHeader::marker(RecordKind::BaseComplete, session.next());
            header.unwrap().to_bytes().to_vec()
        });
    }

    /// Queues a record; returns its number.
    fn record(&self, make: impl FnOnce(&mut Session) -> Vec<u8>) -> u64 {
        self.state.change(|state| {
            let session = state.session.as_mut().expect("a session to write to");
            let record = make(session);
            session.queue.push_back((session.last_seq, record));
            session.last_seq
        })
    }

    /// Ends the epoch; returns the last record's number.
    pub fn end_epoch(&self) -> u64 {
        self.state.change(|state| {
            let session = state.session.as_mut().expect("a session with an epoch");
            session.marker(RecordKind::EpochEnd);
            session.epoch += 1;
            session.last_seq
        })
    }

    /// The open epoch.
    pub fn epoch(&self) -> u64 {
        self.state.lock().session.as_ref().map_or(0, |session| session.epoch)
    }

    /// Ends a gap.
    pub fn end_gap(&self) {
        self.state.change(|state| {
            state.session.as_mut().expect("a session in a gap").marker(RecordKind::Consistent);
        });
    }

    /// Lets time pass in which nothing is written; returns what the wall clock shows then.
    pub fn pass(&self, ticks: u64) -> FileTime {
        self.state.change(|state| {
            let session = state.session.as_mut().expect("a session");
            session.passed += ticks;
            session.time()
        })
    }

    /// Keeps the next records in the driver's queue, or lets them go.
    pub fn withhold(&self, withholds: bool) {
        self.state.change(|state| state.withholds = withholds);
    }

    /// Lacks room for records that were drained, or keeps them for the next service.
    pub fn forget(&self, forgets: bool) {
        self.state.change(|state| {
            state.forgets = forgets;
            if let Some(session) = state.session.as_mut().filter(|_| forgets) {
                session.kept.clear();
            }
        });
    }

    /// Loses what was captured, as at a shutdown.
    pub fn lose(&self) {
        self.state.change(|state| {
            let session = state.session.as_mut().expect("a session that loses records");
            session.kept.clear();
            session.queue.clear();
        });
    }

    /// The machine sleeps and wakes up, and the volume is not as it was.
    pub fn sleep_and_change(&self) {
        self.lose();
        self.state.change(|state| {
            let session = state.session.as_mut().expect("a session over a sleep");
            session.lost = Some(GapReason::Slept);
        });
    }

    /// How often the service has asked for the status.
    pub fn asked(&self) -> u64 {
        self.state.lock().asked
    }

    /// Queues bytes that are not records; returns the number of the last record.
    pub fn corrupt(&self) -> u64 {
        self.state.change(|state| {
            let session = state.session.as_mut().unwrap();
            session.queue.push_back((session.last_seq, vec![0xee; 100]));
            session.last_seq
        })
    }

    /// Removes the volume, or puts it back.
    pub fn set_removed(&self, removed: bool) {
        self.state.change(|state| {
            state.removed = removed;
            state.session = None;
        });
    }

    /// Restarts the machine: nothing is left of the session. Its service has stopped.
    pub fn restart(&self) {
        self.state.change(|state| (state.session, state.boot) = (None, state.boot + 1));
    }

    /// What the driver has in its memory, for [`Self::put_back`]. No service has claimed the
    /// session.
    pub fn snapshot(&self) -> Memory {
        let session = self.state.lock().session.clone().expect("a session in a snapshot");
        assert_eq!(session.claimant, None, "the snapshot's service goes on otherwise");
        Memory(session)
    }

    /// The machine is put back with its memory: its clocks go on from there, and a little later
    /// than in the past that it left.
    pub fn put_back(&self, memory: &Memory) {
        let mut session = memory.0.clone();
        session.passed += 1;
        self.state.change(|state| state.session = Some(session));
    }

    /// Restarts the machine in order: the driver saves what it knows of the session, if it was told
    /// where. Its service has stopped.
    pub fn restart_in_order(&self) {
        self.state.change(|state| {
            let session = state.session.as_ref().expect("a session whose state is saved");
            let (acknowledged, captured) = (session.acknowledged_seq, session.last_seq);
            let mut ends = session.ends.clone();
            ends.retain(|(seq, _)| *seq >= acknowledged);
            let saved = Saved { acknowledged, captured, ends: ends.clone() };
            (state.saved, state.saved_ends) = (state.kept_at.map(|_| saved), ends);
        });
        self.restart();
    }

    /// The driver begins the session when the machine comes up, which had this one, before any
    /// service is there. The machine has crashed, or not.
    pub fn begin_by_itself(&self, id: SessionId, after_crash: bool) {
        self.state.change(|state| {
            let mut session = state.begin(id, Some(GapReason::Restarted));
            session.after_crash = after_crash;
            state.session = Some(session);
        });
    }

    /// The same, on a copy of the volume.
    pub fn begin_on_copy(&self, id: SessionId) {
        self.state.change(|state| state.on_copy = Some(id));
    }

    /// Gives the volume a place for a session's state; one that is new is found at the second look.
    pub fn set_place(&self, place: StatePlace, is_new: bool) {
        self.state.change(|state| (state.place, state.place_is_new) = (Some(place), is_new));
    }

    /// What the driver saved is of another time.
    pub fn set_saved(&self, acknowledged: u64, captured: u64) {
        self.state.change(|state| {
            let ends = state.saved_ends.clone();
            state.saved = Some(Saved { acknowledged, captured, ends });
        });
    }

    /// What the driver saved is of another past: it has not made what the server has.
    pub fn set_saved_elsewhere(&self) {
        self.state.change(|state| {
            if let Some(saved) = &mut state.saved {
                saved.ends.iter_mut().for_each(|(_, made)| made.time += 1);
            }
        });
    }

    /// The volume has no place for a session's state any more.
    pub fn lose_place(&self) {
        self.state.change(|state| state.place = None);
    }

    /// Where the driver was told to save a session's state.
    pub fn kept_at(&self) -> Option<AreaId> {
        self.state.lock().kept_at
    }

    /// Changes the length of the volume.
    pub fn set_length(&self, length: u64) {
        self.state.change(|state| state.length = length);
    }

    /// Stops the session, as an administrator would.
    pub fn stop_session(&self) {
        self.state.change(|state| state.session = None);
    }

    /// The name of the volume's device.
    pub fn device(&self) -> &str {
        &self.device
    }

    pub fn session(&self) -> Option<SessionId> {
        self.state.lock().session.as_ref().map(|session| session.id)
    }

    /// Bytes not drained yet.
    pub fn queued(&self) -> usize {
        let state = self.state.lock();
        state.session.as_ref().map_or(0, |s| s.queue.iter().map(|(_, record)| record.len()).sum())
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }
}

impl State {
    /// A session without a claimant.
    fn begin(&mut self, id: SessionId, continues: Option<GapReason>) -> Session {
        Session {
            id,
            length: self.length,
            clock: self.clock.clone(),
            passed: 0,
            cut: None,
            sweep: SweepLimits::DEFAULT,
            boot: self.boot,
            origin: 0,
            acknowledged_seq: 0,
            ends: vec![(0, Made::default())],
            in_gap: false,
            base_complete: false,
            claimant: None,
            expects_unused: false,
            drains: continues.is_none(),
            lost: None,
            unplaced: continues,
            saved: self.saved.take().filter(|_| continues.is_some()),
            after_crash: false,
            kept: VecDeque::new(),
            queue: VecDeque::new(),
            last_seq: 0,
            epoch: 1,
            acknowledged: 0,
        }
    }

    /// Notes a call about unused blocks, of a volume that has some.
    fn see_unused(&mut self, call: Seen) {
        if self.unused.is_some() {
            self.seen.push(call);
        }
    }

    /// Fails as often as `lack_memory` says.
    fn has_memory(&mut self, call: Call) -> Result<(), DriverError> {
        match self.scarce.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                self.scarce = left;
                Err(DriverError::NoMemory(call))
            }
        }
    }
}

impl Session {
    fn next(&mut self) -> Position {
        self.last_seq += 1;
        Position {
            seq: Seq::new(self.last_seq),
            time: self.time(),
            monotonic: self.monotonic(),
            epoch: EpochId::new(self.epoch),
        }
    }

    /// A restart takes an hour.
    fn time(&self) -> FileTime {
        let hours = self.boot * 3_600 * FileTime::TICKS_PER_SECOND;
        let passed = self.clock.as_ref().map_or(self.last_seq + self.passed, |_| self.monotonic());
        FileTime::new(TIME + hours + passed)
    }

    fn monotonic(&self) -> u64 {
        if let Some(clock) = &self.clock {
            return clock.now();
        }
        self.last_seq - self.origin + self.passed
    }

    /// Lets time pass for a write that arrived in a cut; false if it need not wait any more.
    fn waits_for_cut(&mut self, arrived: u64) -> bool {
        let now = self.monotonic();
        let waits = self.cut.is_some_and(|cut| cut.from <= arrived && now < cut.until);
        match &self.clock {
            Some(clock) if waits => clock.pass(CUT_TICKS),
            None if waits => self.passed += CUT_TICKS,
            _ => {}
        }
        waits
    }

    fn marker(&mut self, kind: RecordKind) {
        if kind == RecordKind::Consistent {
            self.in_gap = false;
        }
        let header = RecordHeader::marker(kind, self.next()).unwrap();
        if kind == RecordKind::EpochEnd {
            self.ends.push((self.last_seq, header.made()));
        }
        self.queue.push_back((self.last_seq, header.to_bytes().to_vec()));
    }

    fn begin_gap(&mut self, reason: GapReason) {
        self.in_gap = true;
        let mut header = RecordHeader::gap_begin(self.next(), reason);
        if reason.continues_session() {
            header = header.of_volume(self.length).unwrap();
        }
        self.queue.push_back((self.last_seq, header.to_bytes().to_vec()));
    }

    /// The first record that is there.
    fn first(&self) -> u64 {
        let first = self.kept.front().or(self.queue.front());
        first.map_or(self.last_seq + 1, |(seq, _)| *seq)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

impl Driver for FakeDriver {
    fn open(&self) -> Result<Box<dyn DriverPort>, DriverError> {
        let mut state = self.state.lock();
        if !state.present {
            return Err(DriverError::Absent);
        }
        let id = state.next_port;
        state.next_port += 1;
        state.seen.push(Seen::Opened);
        drop(state);
        let (device, shared) = (self.device.clone(), Arc::clone(&self.state));
        Ok(Box::new(FakePort { id, device, shared, cancelled: Mutex::new(false) }))
    }

    fn device_of(&self, name: &VolumeName) -> Result<DeviceName, DriverError> {
        DeviceName::new(name.to_string().encode_utf16())
            .ok_or_else(|| DriverError::NoSuchVolume(name.to_string()))
    }

    fn guid_of(&self, _device: &DeviceName) -> Result<Option<VolumeGuid>, DriverError> {
        Ok(None)
    }

    fn file_system_protection(&self, device: &DeviceName) -> Result<Protection, DriverError> {
        let answers = self.state.lock().file_system;
        let device = device_text(device).unwrap();
        answers.protection().map_err(|why| DriverError::FileSystem { device, why })
    }

    fn special_extents(
        &self,
        _device: &DeviceName,
        special_files: u32,
    ) -> Result<Vec<Extent>, Unanswered> {
        let mut state = self.state.lock();
        assert_eq!(special_files != 0, !state.paging[0].is_empty(), "as the list has it");
        let later = state.paging[1].clone();
        Ok(std::mem::replace(&mut state.paging[0], later))
    }

    fn unused_blocks(
        &self,
        _device: &DeviceName,
        _block_size: u32,
    ) -> Result<Option<UnusedBlocks>, Unanswered> {
        self.state.change(|state| {
            state.see_unused(Seen::Asked);
            Ok(state.unused.clone())
        })
    }

    fn state_place(&self, _device: &DeviceName) -> Result<KeptPlace, NoPlace> {
        let mut state = self.state.lock();
        let is_new = std::mem::take(&mut state.place_is_new);
        let place = state.place.clone().ok_or(NoPlace::NotNtfs)?;
        if is_new { Err(NoPlace::NoFile) } else { Ok(KeptPlace { place, held: Box::new(()) }) }
    }
}

struct FakePort {
    id: u64,
    device: String,
    shared: Arc<Shared>,
    cancelled: Mutex<bool>,
}

impl FakePort {
    fn geometry(length: u64, block_size: u32) -> Geometry {
        Geometry::new(length, 512, block_size).unwrap()
    }
}

impl DriverPort for FakePort {
    fn version(&self) -> u32 {
        ABI_VERSION
    }

    fn list(&self) -> Result<Vec<Volume>, DriverError> {
        let state = self.shared.lock();
        if state.removed {
            return Ok(Vec::new());
        }
        let session = state.session.as_ref();
        let phase = match session {
            None => SessionPhase::None,
            Some(session) if session.claimant.is_none() => SessionPhase::Detached,
            Some(_) => SessionPhase::FirstSync,
        };
        let volume = Volume {
            device: self.device.clone(),
            length: Some(state.length),
            sector_size: Some(512),
            phase,
            session: session.map(|session| session.id),
            protection: Some(state.protection),
            special_files: if state.paging[0].is_empty() { 0 } else { SPECIAL_FILE_PAGING },
        };
        let copy = state.on_copy.map(|session| Volume {
            device: format!("{}Copy", self.device),
            phase: SessionPhase::Detached,
            session: Some(session),
            ..volume.clone()
        });
        Ok(copy.into_iter().chain([volume]).collect())
    }

    fn start(&self, request: &StartRequest) -> Result<Geometry, DriverError> {
        let settings = request.settings().expect("a sound request");
        self.shared.change(|state| {
            if state.session.is_some() || state.on_copy == Some(settings.session) {
                return Err(DriverError::Busy(Call::Start));
            }
            let mut session = state.begin(settings.session, settings.continues);
            session.claimant = Some(self.id);
            session.sweep = settings.sweep;
            session.expects_unused = state.noter.take() == Some(self.id);
            let seen = match settings.continues {
                None => {
                    session.marker(RecordKind::SessionStart);
                    Seen::Started(settings.session)
                }
                Some(reason) => Seen::Continued(settings.session, reason),
            };
            state.session = Some(session);
            state.excluded = request.excluded.iter().collect();
            state.seen.push(seen);
            Ok(Self::geometry(state.length, settings.block_size))
        })
    }

    fn resume(&self, id: SessionId) -> Result<Geometry, DriverError> {
        self.shared.change(|state| match &mut state.session {
            Some(session) if session.id == id && session.claimant.is_none() => {
                session.claimant = Some(self.id);
                let length = session.length;
                state.seen.push(Seen::Resumed(id));
                Ok(Self::geometry(length, 64 << 10))
            }
            Some(session) if session.id == id => Err(DriverError::Busy(Call::Resume)),
            _ => Err(DriverError::NotFound(Call::Resume)),
        })
    }

    fn drain_from(&self, from: DrainFrom) -> Result<bool, DriverError> {
        let DrainFrom { durable, made, origin, lose } = from;
        self.shared.change(|state| {
            let ended = DriverError::SessionEnded(Call::DrainFrom);
            let session = state.session.as_mut().ok_or(ended)?;
            assert_eq!(session.claimant, Some(self.id), "only the claimant says where it goes on");
            if session.unplaced.is_some() {
                // Of another server it does not know what that may lack.
                let holds = |saved: &Saved| saved.ends.contains(&(durable.get(), made));
                if !session.saved.as_ref().is_none_or(holds) {
                    return Err(DriverError::ImpossibleSeq);
                }
            }
            if let Some(reason) = session.unplaced.take() {
                let origin = origin.get();
                assert!(origin >= durable.get() + ORIGIN_SKIP, "numbers of other copies");
                (session.last_seq, session.origin) = (origin, origin);
                (session.epoch, session.acknowledged) = (origin + 1, 0);
                session.acknowledged_seq = durable.get();
                session.ends = vec![(durable.get(), made)];
                session.begin_gap(reason);
            }
            let is_known = session.ends.contains(&(durable.get(), made));
            let may_be = session.acknowledged_seq..=session.last_seq;
            if !is_known || !may_be.contains(&durable.get()) {
                return Err(DriverError::ImpossibleSeq);
            }
            let lost = session.lost.take();
            let has_first = session.first() <= durable.get().max(session.origin) + 1;
            let has_all = has_first && lost.is_none() && !lose;
            let kept = std::mem::take(&mut session.kept);
            if has_all {
                let rest = std::mem::take(&mut session.queue);
                let after = |(seq, _): &(u64, Vec<u8>)| *seq > durable.get();
                session.queue = kept.into_iter().filter(after).chain(rest).collect();
            } else {
                session.queue.clear();
                session.begin_gap(lost.unwrap_or(GapReason::ServiceLost));
            }
            session.drains = true;
            state.seen.push(Seen::DrainedFrom(durable.get(), has_all));
            Ok(has_all)
        })
    }

    fn drain(&self, buffer: &mut [u8]) -> Result<usize, DriverError> {
        assert!(buffer.len() >= DRAIN_BUFFER_MIN);
        let mut state = self.shared.lock();
        loop {
            if *self.cancelled.lock().unwrap() {
                return Err(DriverError::Cancelled(Call::Drain));
            }
            state.has_memory(Call::Drain)?;
            if let Some(left) = state.cancellations.checked_sub(1) {
                state.cancellations = left;
                return Err(DriverError::Cancelled(Call::Drain));
            }
            let (withholds, forgets) = (state.withholds, state.forgets);
            let Some(session) = &mut state.session else {
                return Err(DriverError::SessionEnded(Call::Drain));
            };
            assert_eq!(session.claimant, Some(self.id), "only the claimant drains");
            let mut len = 0;
            assert!(session.drains, "a service says first where it goes on");
            if session.lost.is_some() {
                return Err(DriverError::VolumeChanged(Call::Drain));
            }
            while let Some((_, record)) = session.queue.front().filter(|_| !withholds) {
                if len + record.len() > buffer.len() {
                    break;
                }
                buffer[len..len + record.len()].copy_from_slice(record);
                len += record.len();
                session.kept.extend(session.queue.pop_front().filter(|_| !forgets));
            }
            if len > 0 {
                return Ok(len);
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn acknowledge(&self, epoch: EpochId) -> Result<(), DriverError> {
        self.shared.change(|state| {
            state.has_memory(Call::Acknowledge)?;
            let session =
                state.session.as_mut().ok_or(DriverError::SessionEnded(Call::Acknowledge))?;
            assert_eq!(session.claimant, Some(self.id), "only the claimant acknowledges");
            if epoch.get() < session.origin {
                // It was durable before.
                return Ok(());
            }
            assert!(epoch.get() > session.acknowledged, "epochs are acknowledged once, in order");
            if epoch.get() >= session.epoch {
                return Err(DriverError::ImpossibleEpoch);
            }
            session.acknowledged = epoch.get();
            let is_durable =
                |record: &[u8]| RecordHeader::read(record).is_ok_and(|it| it.epoch() <= epoch);
            while let Some((seq, _)) = session.kept.pop_front_if(|(_, it)| is_durable(it)) {
                session.acknowledged_seq = seq;
            }
            state.seen.push(Seen::Acknowledged(epoch.get()));
            Ok(())
        })
    }

    fn review(&self, are_still: bool) -> Result<(), DriverError> {
        self.shared.change(|state| state.seen.push(Seen::Reviewed(are_still)));
        Ok(())
    }

    fn note(&self, _device: &DeviceName, _block_size: u32) -> Result<(), DriverError> {
        self.shared.change(|state| {
            state.noter = Some(self.id);
            state.see_unused(Seen::Noted);
        });
        Ok(())
    }

    fn unused(&self, request: &UnusedRequest) -> Result<BlockIndex, DriverError> {
        request.check().expect("a sound request");
        self.shared.change(|state| {
            let ended = DriverError::SessionEnded(Call::Unused);
            let session = state.session.as_mut().ok_or(ended)?;
            assert!(session.expects_unused, "it was noted for, and is not told twice");
            let BlockRange { start, end } = request.blocks();
            let reached = BlockIndex(end.0.min(start.0.saturating_add(state.unused_room)));
            let done = |run: BlockRange| run.intersection(&BlockRange::new(start, reached)).len();
            let count = request.runs().map(done).sum();
            if request.is_last() && reached == end {
                session.expects_unused = false;
                state.see_unused(Seen::AllUnused);
            } else {
                state.see_unused(Seen::Unused(count));
            }
            Ok(reached)
        })
    }

    fn limit_sweep(&self, limits: SweepLimits) -> Result<(), DriverError> {
        self.shared.change(|state| {
            state.limits_asked += 1;
            if state.is_older {
                return Err(DriverError::Older(Call::LimitSweep));
            }
            let session = state.session.as_mut();
            let session = session.ok_or(DriverError::SessionEnded(Call::LimitSweep))?;
            assert_eq!(session.claimant, Some(self.id), "only the claimant limits the sweep");
            session.sweep = limits;
            Ok(())
        })
    }

    fn keep_state(&self, request: &KeepStateRequest) -> Result<(), DriverError> {
        let is_kept = request.check().expect("a sound request");
        self.shared.change(|state| state.kept_at = is_kept.then_some(request.area()));
        Ok(())
    }

    fn status(&self, id: SessionId) -> Result<SessionStatus, DriverError> {
        let mut state = self.shared.lock();
        state.asked += 1;
        if let Some(clock) = &state.clock {
            clock.pass(STATUS_TICKS);
        }
        let length = state.length;
        let session = state
            .session
            .as_ref()
            .filter(|session| session.id == id)
            .ok_or(DriverError::NotFound(Call::Status))?;
        let mut reply = StatusReply::new_zeroed();
        reply.phase = U32::new(SessionPhase::FirstSync as u32);
        reply.block_size = U32::new(64 << 10);
        reply.length = U64::new(session.length);
        reply.t0 = FileTime::new(1_000);
        reply.last_seq = Seq::new(session.last_seq).into();
        reply.acknowledged_seq = Seq::new(session.acknowledged_seq).into();
        reply.time = session.time();
        reply.monotonic = U64::new(session.monotonic());
        let flags = StatusFlags {
            outgrown: length > session.length,
            shrunk: length < session.length,
            base_complete: session.base_complete,
            consistent: !session.in_gap && session.lost.is_none(),
            continues: session.unplaced.is_some(),
            placed: session.unplaced.is_none(),
            ..StatusFlags::default()
        };
        if let Some(Saved { acknowledged, captured, .. }) = session.saved {
            reply.saved = U32::new(if session.after_crash { 2 } else { 1 });
            reply.saved_acknowledged_seq = Seq::new(acknowledged).into();
            reply.saved_captured_seq = Seq::new(captured).into();
            reply.saved_bytes = U64::new(SAVED_BYTES);
        }
        let reason = session.unplaced.or(session.lost);
        reply.gap_reason = U16::new(reason.map_or(0, GapReason::to_wire));
        reply.flags = U32::new(flags.to_wire());
        let queued = session.queue.iter().map(|(_, record)| record.len() as u64).sum();
        reply.set_counters(&SessionCounters { queue_used: queued, ..SessionCounters::default() });
        SessionStatus::parse(&reply)
    }

    fn map(&self, _id: SessionId) -> Result<MapReply, DriverError> {
        Err(DriverError::NotFound(Call::Map))
    }

    fn verify(&self, _id: SessionId, _verify: Verify) -> Result<(), DriverError> {
        Err(DriverError::Busy(Call::Verify))
    }

    fn cut(&self, id: SessionId, cut: CutTime) -> Result<(), DriverError> {
        self.shared.change(|state| {
            if state.is_older {
                return Err(DriverError::Older(Call::Cut));
            }
            let session = state.session.as_mut().filter(|session| session.id == id);
            let session = session.ok_or(DriverError::NotFound(Call::Cut))?;
            let now = session.monotonic();
            let is_another_pending = session.cut.is_some_and(|it| now < it.until);
            if is_another_pending || cut.from <= now {
                return Err(DriverError::NoCut);
            }
            assert!((1..=CUT_LEN_MAX).contains(&(cut.until - cut.from)), "a sound request");
            session.cut = Some(cut);
            Ok(())
        })
    }

    fn stop(&self, id: SessionId) -> Result<(), DriverError> {
        self.shared.change(|state| {
            if state.on_copy.take_if(|copy| *copy == id).is_some() {
                state.seen.push(Seen::Stopped(id));
                return Ok(());
            }
            if state.session.as_ref().is_none_or(|session| session.id != id) {
                return Err(DriverError::NotFound(Call::Stop));
            }
            state.session = None;
            state.seen.push(Seen::Stopped(id));
            Ok(())
        })
    }

    fn cancel(&self) {
        *self.cancelled.lock().unwrap() = true;
        // Under the state's lock, so that a drain between its check and its wait is not missed.
        self.shared.change(|_| ());
    }
}

impl Drop for FakePort {
    fn drop(&mut self) {
        self.shared.change(|state| {
            state.noter.take_if(|noter| *noter == self.id);
            if let Some(session) = &mut state.session
                && session.claimant == Some(self.id)
            {
                (session.claimant, session.drains) = (None, false);
            }
            state.seen.push(Seen::Closed);
        });
    }
}
