//! The service: one attempt after the other, its resend window, its state file.
//!
//! What it decides the service's own code decides: [`judge`], [`go_on`] and
//! [`Window`](snapless_service::window::Window).

use snapless_driver_client::status::Saved;
use snapless_service::batch;
use snapless_service::session::{Claim, Driven, Plan, Reason, Verdict, go_on, judge};
use snapless_service::state::Remembered;
use snapless_service::window::{NoJoint, Window};
use snapless_types::{EpochId, GapReason, Geometry, Made, RecordKind, Seq, Tick};
use snapless_wire::frame::Acknowledge;
use snapless_wire::id::{SessionId, VolumeGuid};

use crate::bounds::Sizes;
use crate::driver::{Call, Driver};
use crate::port::Port;
use crate::record::{Frame, geometry, made};
use crate::sabotage::Sabotage;
use crate::saved::SavedState;
use crate::server::Acknowledgement;

/// The state file: a session and an epoch of it that was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct StateFile {
    /// The session.
    pub session: u8,
    /// The epoch.
    pub epoch: u8,
}

impl StateFile {
    fn remembered(self, geometry: &Geometry) -> Remembered {
        let remembered = Remembered::new(VolumeGuid([1; 16]), id(self.session), geometry);
        remembered.acknowledged(self.epoch.into())
    }
}

/// Where an attempt stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// Before it, or after one that failed.
    Idle,
    /// The session is claimed. `is_resumed` if it began before this claim.
    Claimed {
        /// It began before this claim.
        is_resumed: bool,
        /// What the file said of it.
        remembered: Option<StateFile>,
    },
    /// The server has given its first welcome.
    Greeted {
        /// As above.
        is_resumed: bool,
        /// As above.
        remembered: Option<StateFile>,
        /// What the server has.
        durable: Acknowledgement,
    },
    /// There is a link.
    Streaming,
    /// The link is cut.
    Cut,
    /// The next link has a welcome.
    Dialled {
        /// What the server has.
        durable: Acknowledgement,
    },
}

/// What a step of an attempt leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It goes on.
    Streams,
    /// The claim ends, and another attempt follows.
    Fails,
    /// The session cannot go on; true if the server has a part of it.
    StartsOver(bool),
    /// The driver refuses what the service's checks let pass.
    Refused,
}

/// One life of the service.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Service {
    /// Where it stands.
    pub stage: Stage,
    /// `Served::lose`.
    pub lose: bool,
    /// `Counters::last_acknowledged`, and of which session.
    counted: (u8, Acknowledgement),
    /// `window::State::before`, and when it was made.
    before: (u8, u8),
    /// The frames of the window.
    frames: Vec<Frame>,
    /// How many of them the link has sent.
    sent: usize,
    /// What the state file was given last.
    saved: u8,
}

impl Service {
    /// One that starts.
    pub fn new() -> Self {
        Self {
            stage: Stage::Idle,
            lose: false,
            counted: (0, Acknowledgement::default()),
            before: (0, 0),
            frames: Vec::new(),
            sent: 0,
            saved: 0,
        }
    }

    /// The claim begins.
    pub fn claimed(&mut self, is_resumed: bool, remembered: Option<StateFile>) {
        self.stage = Stage::Claimed { is_resumed, remembered };
        self.saved = remembered.map_or(0, |state| state.epoch);
        (self.frames, self.sent) = (Vec::new(), 0);
    }

    /// The claim ends.
    pub fn unclaimed(&mut self) {
        self.stage = Stage::Idle;
        (self.frames, self.sent) = (Vec::new(), 0);
    }

    /// `Pipeline::attempt` from the welcome on: judges, lets the driver go on, and joins.
    pub fn go_on(&mut self, driver: &mut Driver, call: &Call) -> Outcome {
        let Stage::Greeted { is_resumed, remembered, durable } = self.stage else {
            return Outcome::Fails;
        };
        let welcome = durable.welcome();
        let is_trusting = call.sabotage == Some(Sabotage::TrustsAnyWelcome);
        let geometry = geometry(call.sizes.blocks);
        let session = id(driver.session);
        let was_placed = driver.is_placed();
        let plan = if !was_placed {
            Plan::Continue(session, GapReason::Restarted)
        } else if is_resumed {
            Plan::Resume(session)
        } else {
            Plan::Start
        };
        let claim = Claim { session, geometry, plan };
        let known = Driven {
            acknowledged: seq(driver.acknowledged()),
            captured: seq(driver.captured()),
            placed: was_placed,
            saved: driver.saved().filter(|_| !call.is(Sabotage::TrustsAnyState)).map(status),
        };
        let remembered = remembered.map(|it| it.remembered(&geometry));
        match judge(&claim, remembered.as_ref(), &known, &welcome) {
            Verdict::Continue => {}
            Verdict::Verify(_) | Verdict::StartOver(_) if was_placed && is_trusting => {}
            Verdict::Verify(_) => return Outcome::StartsOver(true),
            Verdict::StartOver(_) => return Outcome::StartsOver(false),
        }
        if !matches!(plan, Plan::Start) {
            let lose = std::mem::take(&mut self.lose);
            match go_on(&Port::new(driver, durable, *call), &welcome, lose) {
                Ok(Ok(_)) => {}
                Ok(Err(Reason::OtherPast { .. }))
                    if is_trusting || call.is(Sabotage::RepeatsRefused) =>
                {
                    return Outcome::Refused;
                }
                Ok(Err(reason)) => {
                    return Outcome::StartsOver(matches!(reason.verdict(), Verdict::Verify(_)));
                }
                Err(_) => return Outcome::Refused,
            }
        }
        // `Counters::streaming`.
        if self.counted.0 != driver.session {
            self.counted = (driver.session, Acknowledgement::default());
        }
        self.before = (durable.seq, durable.made);
        self.join(durable, driver, call)
    }

    /// `Links::join`.
    pub fn join(&mut self, durable: Acknowledgement, driver: &mut Driver, call: &Call) -> Outcome {
        let is_trusting = call.sabotage == Some(Sabotage::TrustsAnyWelcome);
        if durable.epoch < self.counted.1.epoch && !is_trusting {
            return Outcome::StartsOver(durable.seq > 0);
        }
        let blind = call.is(Sabotage::JoinsAnyPast);
        let welcome = if blind { durable.welcome().with_made(ANY) } else { durable.welcome() };
        let joined = self.window(blind).begin_link(&welcome);
        self.stage = Stage::Streaming;
        if call.sabotage != Some(Sabotage::DoesNotSendAgain) {
            self.sent = 0;
        }
        match joined {
            Ok(true) => {
                self.drop_up_to(durable.seq);
                self.accept(durable, driver)
            }
            Ok(false) => {
                self.counted.1 = durable;
                Outcome::Streams
            }
            Err(NoJoint::Behind) => Outcome::Fails,
            Err(NoJoint::Ahead | NoJoint::Other) => Outcome::StartsOver(durable.seq > 0),
        }
    }

    /// True if there is room for a frame.
    pub fn has_room(&self, sizes: &Sizes) -> bool {
        self.frames.len() < usize::from(sizes.window) || self.may_forget()
    }

    /// `window::State::make_room`.
    fn may_forget(&self) -> bool {
        self.sent > 0 && !self.frames.iter().any(|frame| ends_epoch(frame).is_some())
    }

    /// `Window::put`.
    pub fn put(&mut self, frame: Frame, sizes: &Sizes) {
        while self.frames.len() >= usize::from(sizes.window) && self.may_forget() {
            self.before = end(&self.frames.remove(0));
            self.sent -= 1;
        }
        self.frames.push(frame);
    }

    /// `Window::next`: the next frame for the link.
    pub fn take_next(&mut self) -> Option<Frame> {
        let frame = self.frames.get(self.sent).cloned();
        self.sent += usize::from(frame.is_some());
        frame
    }

    /// True if a frame waits to be sent.
    pub fn has_next(&self) -> bool {
        self.sent < self.frames.len()
    }

    /// `Links::receive`.
    pub fn receive(&mut self, end: Acknowledgement, driver: &mut Driver) -> Outcome {
        let window = self.window(false);
        let acknowledge = acknowledge(end);
        for _ in 0..self.sent {
            let _sent = window.next();
        }
        if !window.acknowledge(&acknowledge) {
            return Outcome::Refused;
        }
        self.drop_up_to(end.seq);
        self.accept(end, driver)
    }

    /// `Links::accept`.
    fn accept(&mut self, end: Acknowledgement, driver: &mut Driver) -> Outcome {
        self.counted.1 = end;
        match driver.acknowledge(end.epoch) {
            Ok(()) => Outcome::Streams,
            Err(_) => Outcome::Refused,
        }
    }

    /// What the server acknowledged last.
    pub fn acknowledged(&self) -> Acknowledgement {
        self.counted.1
    }

    /// Forgets what was acknowledged: the session goes on behind another record.
    pub fn forget(&mut self) {
        self.counted = (0, Acknowledgement::default());
    }

    /// `Pipeline::save`: what the state file is given next, if anything.
    pub fn to_save(&self, session: u8) -> Option<StateFile> {
        let epoch = self.counted.1.epoch;
        let is_new = matches!(self.stage, Stage::Streaming | Stage::Cut | Stage::Dialled { .. })
            && epoch > self.saved;
        is_new.then_some(StateFile { session, epoch })
    }

    /// The state file has that.
    pub fn saved(&mut self, file: StateFile) {
        self.saved = file.epoch;
    }

    /// The window itself, with a link to a server that has what is before it.
    /// `blind`: every record was made at one instant.
    fn window(&self, blind: bool) -> Window {
        let (before, past) = self.before;
        let when = |seq, past| if blind { ANY } else { made(seq, past) };
        let window = Window::new(usize::MAX, seq(before));
        let before = Acknowledgement { seq: before, ..Acknowledgement::default() }.welcome();
        let before = before.with_made(when(self.before.0, past));
        let begun = window.begin_link(&before);
        assert_eq!(begun, Ok(false), "nothing is new");
        for frame in &self.frames {
            let ends_epoch = ends_epoch(frame).map(|epoch| EpochId::new(epoch.into()));
            let (last, past) = end(frame);
            let (last, made) = (seq(last), when(last, past));
            let frame = batch::Frame { payload: Vec::new(), last, made, ends_epoch };
            assert!(window.put(frame), "the window is open");
        }
        window
    }

    fn drop_up_to(&mut self, seq: u8) {
        while self.frames.first().is_some_and(|frame| end(frame).0 <= seq) {
            self.before = end(&self.frames.remove(0));
            self.sent = self.sent.saturating_sub(1);
        }
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new()
    }
}

fn status(saved: SavedState) -> Saved {
    let SavedState { acknowledged, captured, .. } = saved;
    Saved { acknowledged: seq(acknowledged), captured: seq(captured), bytes: 0, after_crash: false }
}

/// When every record was made, for a service that does not compare it.
const ANY: Made = Made { time: 0, monotonic: Tick(0) };

fn id(session: u8) -> SessionId {
    SessionId([session; 16])
}

fn seq(number: u8) -> Seq {
    Seq::new(number.into())
}

fn acknowledge(end: Acknowledgement) -> Acknowledge {
    Acknowledge::new(EpochId::new(end.epoch.into()), seq(end.seq))
}

/// The last record, and when it was made.
fn end(frame: &Frame) -> (u8, u8) {
    frame.last().map_or((0, 0), |record| (record.seq, record.made))
}

fn ends_epoch(frame: &Frame) -> Option<u8> {
    let last = frame.last().filter(|record| record.kind == RecordKind::EpochEnd);
    last.map(|record| record.epoch)
}
