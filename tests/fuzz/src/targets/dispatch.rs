//! Requests to the control device, one after the other, by several handles: the driver's own
//! dispatcher, on a model of its sessions.
//!
//! Upholds: whatever is asked, the dispatcher does to the model only what the driver may be asked
//! to do, each request is completed once or waits as a drain of its own claim, and no answer is
//! longer than its buffer.

use std::cell::{Cell, RefCell};

use snapless_driver_logic::control::{self, Refusal};
use snapless_types::{BlockIndex, EpochId};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    CUT_LEN_MAX, CutTime, DRAIN_BUFFER_MIN, DeviceName, DrainFrom, ExcludedExtents,
    IOCTL_ACKNOWLEDGE, IOCTL_CUT, IOCTL_DRAIN, IOCTL_DRAIN_FROM, IOCTL_KEEP_STATE,
    IOCTL_LIMIT_SWEEP, IOCTL_LIST_VOLUMES, IOCTL_MAP, IOCTL_NOTE, IOCTL_RESUME, IOCTL_REVIEW,
    IOCTL_START, IOCTL_STATUS, IOCTL_STOP, IOCTL_UNUSED, IOCTL_VERIFY, IOCTL_VERSION,
    KeepStateRequest, MapReply, SessionReply, StartSettings, StatusReply, SweepLimits,
    UnusedRequest, Verify, VolumeEntry,
};
use zerocopy::FromZeros;

use super::{Target, split};

pub(super) const TARGET: Target = Target {
    name: "dispatch",
    repairs: &[],
    run,
    reached: &[
        "nothing",
        "closed",
        "version: answered",
        "version: too small",
        "list: answered",
        "list: too small",
        "list: bad parameter",
        "list: bad version",
        "start: answered",
        "start: too small",
        "start: bad parameter",
        "start: bad request",
        "start: bad version",
        "start: failed",
        "resume: answered",
        "resume: too small",
        "resume: bad parameter",
        "resume: bad request",
        "resume: bad version",
        "resume: not found",
        "resume: failed",
        "drain from: answered",
        "drain from: too small",
        "drain from: bad parameter",
        "drain from: bad request",
        "drain from: not found",
        "drain: waits",
        "drain: too small",
        "drain: bad request",
        "drain: not found",
        "acknowledge: done",
        "acknowledge: too small",
        "acknowledge: bad parameter",
        "acknowledge: bad request",
        "acknowledge: not found",
        "review: done",
        "review: too small",
        "review: bad parameter",
        "review: bad request",
        "review: not found",
        "note: done",
        "note: too small",
        "note: bad parameter",
        "note: bad request",
        "note: bad version",
        "note: failed",
        "unused: answered",
        "unused: too small",
        "unused: bad parameter",
        "unused: bad request",
        "unused: not found",
        "limit sweep: done",
        "limit sweep: too small",
        "limit sweep: bad parameter",
        "limit sweep: bad request",
        "limit sweep: not found",
        "keep state: done",
        "keep state: too small",
        "keep state: bad parameter",
        "keep state: bad request",
        "keep state: not found",
        "status: answered",
        "status: too small",
        "status: bad parameter",
        "status: bad version",
        "status: not found",
        "map: answered",
        "map: too small",
        "map: bad parameter",
        "map: bad version",
        "map: not found",
        "verify: done",
        "verify: too small",
        "verify: bad parameter",
        "verify: bad version",
        "verify: not found",
        "cut: done",
        "cut: too small",
        "cut: bad parameter",
        "cut: bad version",
        "cut: not found",
        "stop: done",
        "stop: too small",
        "stop: bad parameter",
        "stop: bad version",
        "stop: not found",
        "other: bad request",
    ],
};

/// Handles are 1 to this; a request of handle 0 has come through none.
const HANDLES: u8 = 3;
const VOLUMES: usize = 2;
/// Stands for closing the handle.
const CLOSE: u32 = u32::MAX;
/// Handle, code, room, bytes of input.
const HEADER_LEN: usize = 1 + 4 + 4 + 2;

fn name(number: usize) -> DeviceName {
    let text = [r"\Device\HarddiskVolume1", r"\Device\HarddiskVolume2"];
    DeviceName::new(text[number].encode_utf16()).expect("a short name")
}

fn run(input: &[u8]) -> &'static str {
    let model = Model::default();
    let mut rest = input;
    let mut last = "nothing";
    while let Some((header, behind)) = split::<HEADER_LEN>(rest) {
        let [handle, c0, c1, c2, c3, r0, r1, r2, r3, l0, l1] = header;
        let len = usize::from(u16::from_le_bytes([l0, l1])).min(behind.len());
        let (input, next) = behind.split_at(len);
        rest = next;
        let code = u32::from_le_bytes([c0, c1, c2, c3]);
        let room = u32::from_le_bytes([r0, r1, r2, r3]) as usize;
        last = model.take(handle % (HANDLES + 1), code, room, input);
    }
    last
}

/// The driver, as far as the dispatcher can see it.
#[derive(Default)]
struct Model {
    sessions: RefCell<Vec<Session>>,
    /// How the request under way ended.
    ended: Cell<Option<End>>,
}

#[derive(Clone, Debug)]
struct Session {
    id: SessionId,
    volume: usize,
    claimant: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Answered,
    Done,
    Waits,
    Refused(Refusal),
    /// The driver's own status.
    Failed,
}

struct Status(End);

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self(End::Refused(refusal))
    }
}

struct Request<'a> {
    model: &'a Model,
    handle: u8,
    room: usize,
    input: &'a [u8],
}

impl control::Request for Request<'_> {
    type Status = Status;

    fn input(&self) -> &[u8] {
        self.input
    }

    fn room(&self) -> usize {
        self.room
    }

    fn answer(self, bytes: &[u8]) {
        assert!(bytes.len() <= self.room, "an answer is longer than its buffer");
        self.model.end(End::Answered);
    }

    fn complete(self, result: Result<(), Status>) {
        self.model.end(result.map_or_else(|Status(end)| end, |()| End::Done));
    }
}

impl Model {
    fn take(&self, handle: u8, code: u32, room: usize, input: &[u8]) -> &'static str {
        if code == CLOSE {
            for session in self.sessions.borrow_mut().iter_mut() {
                session.claimant = session.claimant.filter(|claimant| *claimant != handle);
            }
            return "closed";
        }
        self.ended.set(None);
        control::dispatch(&self, Request { model: self, handle, room, input }, code);
        let end = self.ended.get().expect("a request is completed or waits");
        self.check();
        name_of(code, end)
    }

    fn end(&self, end: End) {
        assert_eq!(self.ended.replace(Some(end)), None, "a request ends once");
    }

    /// What holds between requests.
    fn check(&self) {
        let sessions = self.sessions.borrow();
        for (number, one) in sessions.iter().enumerate() {
            assert_ne!(one.claimant, Some(0), "a claim without a handle");
            for other in &sessions[number + 1..] {
                assert_ne!(one.id, other.id, "two sessions with one identity");
                assert_ne!(one.volume, other.volume, "two sessions of one volume");
                assert!(one.claimant.is_none() || one.claimant != other.claimant, "two claims");
            }
        }
    }
}

impl<'a> control::Driver for &'a Model {
    type Request = Request<'a>;
    type Claimed = SessionId;
    type Found = SessionId;
    type Entries = Vec<u8>;

    fn has_handle(&self, request: &Request<'a>) -> bool {
        request.handle != 0
    }

    fn claimed(&self, request: &Request<'a>) -> Option<SessionId> {
        let sessions = self.sessions.borrow();
        let claimed = sessions.iter().find(|session| session.claimant == Some(request.handle));
        claimed.map(|session| session.id)
    }

    fn find(&self, id: SessionId) -> Option<SessionId> {
        assert!(!id.is_nil(), "no session has the nil identity");
        let sessions = self.sessions.borrow();
        sessions.iter().find(|session| session.id == id).map(|session| session.id)
    }

    fn volumes(&self) -> Result<Vec<u8>, Status> {
        Ok(vec![0; VOLUMES * size_of::<VolumeEntry>()])
    }

    fn start(
        &self,
        request: &Request<'a>,
        volume: &DeviceName,
        settings: StartSettings,
        excluded: &ExcludedExtents,
    ) -> Result<SessionReply, Status> {
        assert!(request.handle != 0 && self.claimed(request).is_none(), "a handle claims one");
        assert_eq!(excluded.check(), Ok(()), "extents are checked");
        assert_eq!(self.find(settings.session), None, "an identity is used once");
        let found = (0..VOLUMES).find(|number| name(*number).matches(volume));
        let volume = found.ok_or(Status(End::Failed))?;
        let mut sessions = self.sessions.borrow_mut();
        if sessions.iter().any(|session| session.volume == volume) {
            return Err(Status(End::Failed));
        }
        let claimant = Some(request.handle);
        sessions.push(Session { id: settings.session, volume, claimant });
        Ok(SessionReply::new_zeroed())
    }

    fn resume(&self, request: &Request<'a>, session: SessionId) -> Result<SessionReply, Status> {
        assert!(request.handle != 0 && self.claimed(request).is_none(), "a handle claims one");
        let mut sessions = self.sessions.borrow_mut();
        let session = sessions.iter_mut().find(|known| known.id == session);
        let session = session.expect("what was found is there");
        if session.claimant.is_some() {
            return Err(Status(End::Failed));
        }
        session.claimant = Some(request.handle);
        Ok(SessionReply::new_zeroed())
    }

    fn drain_from(&self, session: SessionId, from: DrainFrom) -> Result<bool, Status> {
        let sessions = self.sessions.borrow();
        let claimed = sessions.iter().any(|known| known.id == session && known.claimant.is_some());
        assert!(claimed, "only who drains a session says where");
        assert_ne!(from.durable.get(), u64::MAX, "a record can follow");
        Ok(!from.lose)
    }

    fn drain(&self, session: SessionId, request: Request<'a>) {
        assert_eq!(self.claimed(&request), Some(session), "a drain of another handle's session");
        assert!(request.room >= DRAIN_BUFFER_MIN, "no room for the longest record");
        self.end(End::Waits);
    }

    fn acknowledge(&self, session: SessionId, _epoch: EpochId) -> Result<(), Status> {
        let sessions = self.sessions.borrow();
        let claimed = sessions.iter().any(|known| known.id == session && known.claimant.is_some());
        assert!(claimed, "only who drains a session knows what is durable of it");
        Ok(())
    }

    fn review(&self, session: SessionId, _are_still: bool) -> Result<(), Status> {
        let sessions = self.sessions.borrow();
        let claimed = sessions.iter().any(|known| known.id == session && known.claimant.is_some());
        assert!(claimed, "only who started a session knows its files");
        Ok(())
    }

    fn note(
        &self,
        request: &Request<'a>,
        volume: &DeviceName,
        block_size: u32,
    ) -> Result<(), Status> {
        assert!(request.handle != 0 && self.claimed(request).is_none(), "before it claims one");
        assert!(block_size.is_power_of_two(), "the size of a block is checked");
        let is_there = (0..VOLUMES).any(|number| name(number).matches(volume));
        is_there.then_some(()).ok_or(Status(End::Failed))
    }

    fn unused(&self, session: SessionId, request: &UnusedRequest) -> Result<BlockIndex, Status> {
        let sessions = self.sessions.borrow();
        let claimed = sessions.iter().any(|known| known.id == session && known.claimant.is_some());
        assert!(claimed, "only who started a session knows what is unused");
        assert_eq!(request.check(), Ok(()), "the request is checked");
        let all = request.blocks();
        let mut last = all.start;
        for run in request.runs() {
            assert!(last <= run.start && !run.is_empty() && run.end <= all.end, "runs in order");
            last = run.end;
        }
        Ok(all.end)
    }

    fn limit_sweep(&self, session: SessionId, limits: SweepLimits) -> Result<(), Status> {
        let sessions = self.sessions.borrow();
        let claimed = sessions.iter().any(|known| known.id == session && known.claimant.is_some());
        assert!(claimed, "only who drains a session limits its sweep");
        assert_eq!(limits.check(), Ok(limits), "the limits are checked");
        Ok(())
    }

    fn keep_state(&self, session: SessionId, request: &KeepStateRequest) -> Result<(), Status> {
        let sessions = self.sessions.borrow();
        let claimed = sessions.iter().any(|known| known.id == session && known.claimant.is_some());
        assert!(claimed, "only who drains a session says where its state is");
        assert!(request.check().is_ok(), "the request is checked");
        Ok(())
    }

    fn status(&self, session: SessionId) -> StatusReply {
        assert!(self.find(session).is_some());
        StatusReply::new_zeroed()
    }

    fn map(&self, session: SessionId) -> Result<Vec<u8>, Status> {
        assert!(self.find(session).is_some());
        Ok(vec![0; size_of::<MapReply>()])
    }

    fn verify(&self, session: SessionId, verify: Verify) -> Result<(), Status> {
        assert!(self.find(session).is_some());
        assert_ne!(verify, Verify::Begin { bytes_per_second: 1 }, "a rate has a least value");
        Ok(())
    }

    fn cut(&self, session: SessionId, cut: CutTime) -> Result<(), Status> {
        assert!(self.find(session).is_some());
        assert!((1..=CUT_LEN_MAX).contains(&(cut.until - cut.from)), "a cut has an end");
        Ok(())
    }

    fn stop(&self, session: SessionId, id: SessionId) -> Result<(), Status> {
        assert_eq!(session, id, "the session that was asked for");
        self.sessions.borrow_mut().retain(|known| known.id != session);
        Ok(())
    }
}

/// An end as the list of ends has it.
fn name_of(code: u32, end: End) -> &'static str {
    let code = match code {
        IOCTL_VERSION => "version",
        IOCTL_LIST_VOLUMES => "list",
        IOCTL_START => "start",
        IOCTL_RESUME => "resume",
        IOCTL_DRAIN_FROM => "drain from",
        IOCTL_DRAIN => "drain",
        IOCTL_ACKNOWLEDGE => "acknowledge",
        IOCTL_REVIEW => "review",
        IOCTL_NOTE => "note",
        IOCTL_UNUSED => "unused",
        IOCTL_LIMIT_SWEEP => "limit sweep",
        IOCTL_KEEP_STATE => "keep state",
        IOCTL_STATUS => "status",
        IOCTL_MAP => "map",
        IOCTL_VERIFY => "verify",
        IOCTL_CUT => "cut",
        IOCTL_STOP => "stop",
        _ => "other",
    };
    let end = match end {
        End::Answered => "answered",
        End::Done => "done",
        End::Waits => "waits",
        End::Failed => "failed",
        End::Refused(Refusal::InvalidRequest) => "bad request",
        End::Refused(Refusal::TooSmall) => "too small",
        End::Refused(Refusal::InvalidParameter) => "bad parameter",
        End::Refused(Refusal::Version) => "bad version",
        End::Refused(Refusal::NotFound) => "not found",
    };
    let is_it = |name: &&&str| name.split_once(": ") == Some((code, end));
    TARGET.reached.iter().find(is_it).unwrap_or_else(|| panic!("{code} cannot end so: {end}"))
}
