//! Meetings of the volumes of a group, which may be of several machines: where they wait for each
//! other until a common bookmark is made ([`snapless_link::meeting`]).
//!
//! ```text
//!   called ── join ──▶ joined ── end ──▶ ended      each volume
//!   all joined ▶ the instant ▶ all ended ▶ named    the meeting
//! ```
//!
//! Rule: a meeting has one outcome, the same for all of its volumes: who leaves, or is late, ends
//! it. It has no power over writes: on each machine these wait for the clock alone (rule HANG,
//! rules.md#hang).

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snapless_link::question::{Bookmarked, MeetingEnd};
use snapless_wire::id::VolumeGuid;

use crate::stop::StopFlag;

/// How long who takes part is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Until all volumes have joined that are called.
    pub gather: Duration,
    /// Until all have ended that have the instant: until the server has what is before it.
    pub end: Duration,
    /// From when the instant is known until it comes: all machines must have heard of it then.
    pub ahead: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            gather: Duration::from_secs(20),
            end: Duration::from_secs(90),
            ahead: Duration::from_secs(2),
        }
    }
}

/// Of a meeting that has its outcome.
const OVER: &str = "the meeting is over";
/// How often who waits looks whether it must stop.
const STEP: Duration = Duration::from_millis(50);

/// The meetings of a server.
#[derive(Clone, Debug)]
pub struct Meetings(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// When the server's clock began.
    begun: Instant,
    limits: Limits,
    open: Mutex<HashMap<u64, Arc<Meeting>>>,
}

#[derive(Debug)]
struct Meeting {
    group: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    volumes: BTreeMap<VolumeGuid, Place>,
    /// By the server's clock.
    instant: Option<u64>,
    outcome: Option<Outcome>,
}

/// How far a volume is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Called,
    Joined,
    Ended(MeetingEnd),
}

/// What has come of a meeting: the bookmark of each volume, or why there is none.
pub type Outcome = Result<BTreeMap<VolumeGuid, Bookmarked>, String>;

/// A meeting that is open; dropping it ends it without a bookmark.
#[derive(Debug)]
pub struct Convened {
    meetings: Meetings,
    /// Its number.
    pub id: u64,
    meeting: Arc<Meeting>,
}

impl Meetings {
    /// None is open.
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Shared { begun: Instant::now(), limits, open: Mutex::default() }))
    }

    /// The server's clock, in ticks of 100 ns. It is never set.
    pub fn now(&self) -> u64 {
        ticks(self.0.begun.elapsed())
    }

    /// Opens a meeting of these volumes; `None` if their group has one.
    pub fn open(&self, group: &str, volumes: &[VolumeGuid]) -> Option<Convened> {
        let volumes = volumes.iter().map(|it| (*it, Place::Called)).collect();
        let state = State { volumes, instant: None, outcome: None };
        let (group, state, changed) = (group.to_owned(), Mutex::new(state), Condvar::new());
        let meeting = Arc::new(Meeting { group, state, changed });
        let mut open = self.lock();
        if open.values().any(|other| other.group == meeting.group) {
            return None;
        }
        // Not a secret, but one that no other meeting had: the state's keys are random.
        let id = RandomState::new().hash_one(self.now()).max(1);
        open.insert(id, Arc::clone(&meeting));
        Some(Convened { meetings: self.clone(), id, meeting })
    }

    /// A volume takes part. Waits for the instant, by the server's clock.
    ///
    /// # Errors
    /// Why there is none.
    pub fn join(&self, id: u64, volume: VolumeGuid, stop: &StopFlag) -> Result<u64, String> {
        let meeting = self.find(id)?;
        meeting.move_on(volume, &Place::Called, Place::Joined)?;
        meeting.wait(volume, stop, |state| state.instant)
    }

    /// A volume's stream ends there at the instant. Waits until that has its name.
    ///
    /// # Errors
    /// Why it has none.
    pub fn end(
        &self,
        id: u64,
        volume: VolumeGuid,
        end: MeetingEnd,
        stop: &StopFlag,
    ) -> Result<Bookmarked, String> {
        let meeting = self.find(id)?;
        meeting.move_on(volume, &Place::Joined, Place::Ended(end))?;
        meeting.wait(volume, stop, |state| match &state.outcome {
            Some(Ok(made)) => made.get(&volume).cloned(),
            _ => None,
        })
    }

    /// A volume does not take part: the meeting ends.
    ///
    /// # Errors
    /// If it is over already, or not the volume's.
    pub fn leave(&self, id: u64, volume: VolumeGuid, why: &str) -> Result<(), String> {
        let meeting = self.find(id)?;
        if !meeting.lock().volumes.contains_key(&volume) {
            return Err(not_called(volume));
        }
        meeting.close(Err(format!("volume {volume}: {why}")));
        Ok(())
    }

    fn find(&self, id: u64) -> Result<Arc<Meeting>, String> {
        self.lock().get(&id).cloned().ok_or_else(|| OVER.to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Meeting>>> {
        // Every change is one call.
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Convened {
    /// Waits until all have joined, and says when the instant is; then until all have ended.
    ///
    /// # Errors
    /// Why they do not.
    pub fn ends(&self, stop: &StopFlag) -> Result<Vec<(VolumeGuid, MeetingEnd)>, String> {
        let Limits { gather, end: until_ended, ahead } = self.meetings.0.limits;
        let has_joined = |place: &Place| (*place == Place::Joined).then_some(());
        self.meeting.wait_for_all(gather, stop, "has not answered", has_joined)?;
        self.meeting.lock().instant = Some(self.meetings.now() + ticks(ahead));
        self.meeting.changed.notify_all();
        let end = |place: &Place| match place {
            Place::Ended(end) => Some(end.clone()),
            Place::Called | Place::Joined => None,
        };
        let late = "has not said in time where its stream ends";
        self.meeting.wait_for_all(until_ended, stop, late, end)
    }

    /// Ends the meeting, for all that still wait.
    pub fn close(self, outcome: Outcome) {
        self.meeting.close(outcome);
    }
}

impl Drop for Convened {
    fn drop(&mut self) {
        self.meeting.close(Err("who asked for the bookmark has gone".to_owned()));
        self.meetings.lock().remove(&self.id);
    }
}

impl Meeting {
    /// Takes a volume from one place to the next.
    fn move_on(&self, volume: VolumeGuid, from: &Place, to: Place) -> Result<(), String> {
        let mut state = self.lock();
        let place = state.volumes.get_mut(&volume).ok_or_else(|| not_called(volume))?;
        if place != from {
            return Err(format!("volume {volume} is in another part of the meeting"));
        }
        *place = to;
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for something, as a volume that takes part; if it must stop, the meeting ends.
    fn wait<T>(
        &self,
        volume: VolumeGuid,
        stop: &StopFlag,
        what: impl Fn(&State) -> Option<T>,
    ) -> Result<T, String> {
        let mut state = self.lock();
        loop {
            if let Some(what) = what(&state) {
                return Ok(what);
            }
            match &state.outcome {
                Some(Err(why)) => return Err(why.clone()),
                Some(Ok(_)) => return Err(OVER.to_owned()),
                None => {}
            }
            if stop.is_set() {
                drop(state);
                self.close(Err(format!("volume {volume}: its machine's connection has ended")));
                return Err("the connection has ended".to_owned());
            }
            state = self.step(state);
        }
    }

    /// Waits until `what` is something of each volume.
    fn wait_for_all<T>(
        &self,
        limit: Duration,
        stop: &StopFlag,
        late: &str,
        what: impl Fn(&Place) -> Option<T>,
    ) -> Result<Vec<(VolumeGuid, T)>, String> {
        let begun = Instant::now();
        let mut state = self.lock();
        loop {
            if let Some(Err(why)) = &state.outcome {
                return Err(why.clone());
            }
            let all =
                state.volumes.iter().map(|(volume, place)| what(place).map(|it| (*volume, it)));
            if let Some(all) = all.collect() {
                return Ok(all);
            }
            if stop.is_set() {
                return Err("who asked for the bookmark has gone".to_owned());
            }
            if begun.elapsed() >= limit {
                let is_late = |(_, place): &(&VolumeGuid, &Place)| what(place).is_none();
                let volume = state.volumes.iter().find(is_late).map(|(volume, _)| *volume);
                let volume = volume.unwrap_or_default();
                return Err(format!("volume {volume} {late} ({} s)", limit.as_secs()));
            }
            state = self.step(state);
        }
    }

    /// The first outcome counts.
    fn close(&self, outcome: Outcome) {
        self.lock().outcome.get_or_insert(outcome);
        self.changed.notify_all();
    }

    fn step<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, STEP).unwrap_or_else(PoisonError::into_inner).0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_called(volume: VolumeGuid) -> String {
    format!("volume {volume} is not called to this meeting")
}

fn ticks(span: Duration) -> u64 {
    u64::try_from(span.as_nanos() / 100).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const VOLUMES: [VolumeGuid; 2] = [VolumeGuid([1; 16]), VolumeGuid([2; 16])];

    fn meetings() -> Meetings {
        let long = Duration::from_mins(5);
        Meetings::new(Limits { gather: long, end: long, ahead: Duration::from_millis(7) })
    }

    fn end(seq: u64) -> MeetingEnd {
        MeetingEnd { session: "s".to_owned(), seq, time: 9 }
    }

    fn made(volume: VolumeGuid) -> Bookmarked {
        let [session, name, time] = ["s", "n", "t"].map(str::to_owned);
        Bookmarked { volume: volume.to_string(), session, name, time, consistency: None }
    }

    #[test]
    fn all_get_the_same_instant_and_the_same_outcome() {
        let (meetings, stop) = (meetings(), StopFlag::default());
        let meeting = meetings.open("sql", &VOLUMES).unwrap();
        assert!(meetings.open("sql", &VOLUMES).is_none(), "one at a time");
        assert!(meetings.open("web", &VOLUMES).is_some());
        let (id, before) = (meeting.id, meetings.now());
        thread::scope(|scope| {
            let part = |(seq, volume): (u64, VolumeGuid)| {
                let (meetings, stop) = (&meetings, &stop);
                scope.spawn(move || {
                    let instant = meetings.join(id, volume, stop).unwrap();
                    (instant, meetings.end(id, volume, end(seq), stop).unwrap())
                })
            };
            let parts = [(5, VOLUMES[0]), (6, VOLUMES[1])].map(part);
            let ends = meeting.ends(&stop).unwrap();
            assert_eq!(ends, [(VOLUMES[0], end(5)), (VOLUMES[1], end(6))]);
            meeting.close(Ok(VOLUMES.map(|volume| (volume, made(volume))).into()));
            let [first, second] = parts.map(|it| it.join().unwrap());
            assert!(first.0 == second.0 && first.0 >= before + 70_000);
            assert_eq!([first.1, second.1], VOLUMES.map(made));
        });
        assert_eq!(meetings.join(id, VOLUMES[0], &stop), Err(OVER.to_owned()));
        assert!(meetings.open("sql", &VOLUMES).is_some());
    }

    #[test]
    fn who_leaves_ends_it_for_all_and_so_does_who_has_gone() {
        let (meetings, stop) = (meetings(), StopFlag::default());
        let meeting = meetings.open("sql", &VOLUMES).unwrap();
        thread::scope(|scope| {
            let first = scope.spawn(|| meetings.join(meeting.id, VOLUMES[0], &stop));
            meetings.leave(meeting.id, VOLUMES[1], "is in a gap").unwrap();
            for why in [first.join().unwrap().unwrap_err(), meeting.ends(&stop).unwrap_err()] {
                assert!(why.contains("is in a gap"), "{why}");
            }
        });
        drop(meeting);
        let meeting = meetings.open("sql", &VOLUMES).unwrap();
        let gone = StopFlag::default();
        gone.set();
        assert!(meetings.join(meeting.id, VOLUMES[0], &gone).is_err());
        assert!(meeting.ends(&stop).unwrap_err().contains("connection has ended"));
        drop(meeting);
        let meeting = meetings.open("sql", &VOLUMES).unwrap();
        assert!(meeting.ends(&gone).unwrap_err().contains("has gone"));
        let id = meeting.id;
        thread::scope(|scope| {
            let first = scope.spawn(|| meetings.join(id, VOLUMES[0], &stop));
            let has_joined =
                || meeting.meeting.lock().volumes.values().any(|it| *it == Place::Joined);
            while !has_joined() {
                thread::yield_now();
            }
            drop(meeting);
            assert!(first.join().unwrap().unwrap_err().contains("has gone"));
        });
    }

    #[test]
    fn who_is_late_ends_it() {
        let limits = Limits { gather: Duration::ZERO, ..Limits::default() };
        let (meetings, stop) = (Meetings::new(limits), StopFlag::default());
        let meeting = meetings.open("sql", &VOLUMES).unwrap();
        let why = meeting.ends(&stop).unwrap_err();
        assert!(why.contains(&VOLUMES[0].to_string()) && why.contains("not answered"), "{why}");
    }

    #[test]
    fn each_volume_does_each_step_once_and_in_order() {
        let (meetings, stop) = (meetings(), StopFlag::default());
        let meeting = meetings.open("sql", &VOLUMES[..1]).unwrap();
        let (id, other) = (meeting.id, VOLUMES[1]);
        assert!(meetings.join(id, other, &stop).unwrap_err().contains("not called"));
        assert!(meetings.leave(id, other, "why").unwrap_err().contains("not called"));
        let early = meetings.end(id, VOLUMES[0], end(1), &stop);
        assert!(early.unwrap_err().contains("another part"));
        thread::scope(|scope| {
            let ends = scope.spawn(|| meeting.ends(&stop));
            meetings.join(id, VOLUMES[0], &stop).unwrap();
            assert!(meetings.join(id, VOLUMES[0], &stop).unwrap_err().contains("another part"));
            let ended = scope.spawn(|| meetings.end(id, VOLUMES[0], end(1), &stop));
            assert_eq!(ends.join().unwrap().unwrap(), [(VOLUMES[0], end(1))]);
            meetings.leave(id, VOLUMES[0], "the service stops").unwrap();
            assert!(ended.join().unwrap().unwrap_err().contains("stops"));
        });
    }
}
