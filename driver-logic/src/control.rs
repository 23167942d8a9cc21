//! The control device's dispatcher: checks a request's code, lengths, input and handle, and carries
//! it out.
//!
//! It acts through two traits, [`Request`] and [`Driver`]. The driver implements them with its
//! sessions and the framework's requests, the fuzz target (`tests/fuzz`) with a model.
//!
//! Rule: no input is used before it has been checked here; a request is completed once, or handed
//! to the session that its handle claims; no reply is longer than its buffer.

use snapless_types::{BlockIndex, EpochId};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    AcknowledgeRequest, BadRequest, CutRequest, CutTime, DRAIN_BUFFER_MIN, DeviceName, DrainFrom,
    DrainFromReply, DrainFromRequest, ExcludedExtents, IOCTL_ACKNOWLEDGE, IOCTL_CUT, IOCTL_DRAIN,
    IOCTL_DRAIN_FROM, IOCTL_KEEP_STATE, IOCTL_LIMIT_SWEEP, IOCTL_LIST_VOLUMES, IOCTL_MAP,
    IOCTL_NOTE, IOCTL_RESUME, IOCTL_REVIEW, IOCTL_START, IOCTL_STATUS, IOCTL_STOP, IOCTL_UNUSED,
    IOCTL_VERIFY, IOCTL_VERSION, KeepStateRequest, ListRequest, NoteRequest, ReviewRequest,
    SessionReply, SessionRequest, StartRequest, StartSettings, StatusReply, SweepLimits,
    SweepRequest, UnusedReply, UnusedRequest, Verify, VerifyRequest, VersionReply,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why a request is refused before anything is done for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such code, or this handle may not send it.
    InvalidRequest,
    /// The input or the output buffer is too short.
    TooSmall,
    /// The input is too long, or a value in it is out of range.
    InvalidParameter,
    /// The driver does not support the caller's version.
    Version,
    /// There is no such session.
    NotFound,
}

/// A device control request. The value owns it: it is completed once.
pub trait Request {
    /// The status of a request that fails.
    type Status: From<Refusal>;

    /// The input; empty for a code that takes none.
    fn input(&self) -> &[u8];
    /// Bytes of the output buffer.
    fn room(&self) -> usize;
    /// Completes the request with output that fits the buffer.
    fn answer(self, bytes: &[u8]);
    /// Completes the request without output.
    fn complete(self, result: Result<(), Self::Status>);
}

/// The driver behind the dispatcher. A handle of the control device claims a session.
pub trait Driver {
    /// Its requests.
    type Request: Request;
    /// A session that the request's handle claims.
    type Claimed;
    /// A session that was looked up.
    type Found;
    /// The entries of all volumes.
    type Entries: AsRef<[u8]>;

    /// True if the request came through a handle, which can claim a session.
    fn has_handle(&self, request: &Self::Request) -> bool;
    /// The session that the handle claims.
    fn claimed(&self, request: &Self::Request) -> Option<Self::Claimed>;
    /// The session with an identity.
    fn find(&self, id: SessionId) -> Option<Self::Found>;
    /// The entries of all volumes.
    fn volumes(&self) -> Result<Self::Entries, StatusOf<Self>>;
    /// Starts a session, which the handle claims; the extents are checked.
    fn start(
        &self,
        request: &Self::Request,
        volume: &DeviceName,
        settings: StartSettings,
        excluded: &ExcludedExtents,
    ) -> Result<SessionReply, StatusOf<Self>>;
    /// Lets the handle claim a session that has no claimant.
    fn resume(
        &self,
        request: &Self::Request,
        session: Self::Found,
    ) -> Result<SessionReply, StatusOf<Self>>;
    /// Lets the claimed session's next drain begin there; false if a gap does.
    fn drain_from(&self, session: Self::Claimed, from: DrainFrom) -> Result<bool, StatusOf<Self>>;
    /// Keeps a drain request until there are records for it. Its buffer has at least
    /// [`DRAIN_BUFFER_MIN`] bytes.
    fn drain(&self, session: Self::Claimed, request: Self::Request);
    /// Notes that everything up to an epoch is durable at the server; refuses an epoch that the
    /// server cannot have.
    fn acknowledge(&self, session: Self::Claimed, epoch: EpochId) -> Result<(), StatusOf<Self>>;
    /// Notes whether the files still have the session's excluded extents.
    fn review(&self, session: Self::Claimed, are_still: bool) -> Result<(), StatusOf<Self>>;
    /// Notes changes of a volume from now on, for the session that the handle starts on it next.
    fn note(
        &self,
        request: &Self::Request,
        volume: &DeviceName,
        block_size: u32,
    ) -> Result<(), StatusOf<Self>>;
    /// Notes which blocks no file has. The request is checked, as far as it can be without the
    /// volume. Returns the block to go on with.
    fn unused(
        &self,
        session: Self::Claimed,
        request: &UnusedRequest,
    ) -> Result<BlockIndex, StatusOf<Self>>;
    /// Sets how hard the sweep of the claimed session may read the disk from now on.
    fn limit_sweep(
        &self,
        session: Self::Claimed,
        limits: SweepLimits,
    ) -> Result<(), StatusOf<Self>>;
    /// Says where the session's state is kept while the machine is off. The request is checked, as
    /// far as it can be without the volume.
    fn keep_state(
        &self,
        session: Self::Claimed,
        request: &KeepStateRequest,
    ) -> Result<(), StatusOf<Self>>;
    /// State and counters.
    fn status(&self, session: Self::Found) -> StatusReply;
    /// In which state the blocks of each part of the volume are, as a `MapReply`'s bytes.
    fn map(&self, session: Self::Found) -> Result<Self::Entries, StatusOf<Self>>;
    /// Begins or ends a verification of the copy, or repairs what one has found.
    fn verify(&self, session: Self::Found, verify: Verify) -> Result<(), StatusOf<Self>>;
    /// Lets writes that arrive in a time to come wait until its end.
    fn cut(&self, session: Self::Found, cut: CutTime) -> Result<(), StatusOf<Self>>;
    /// Ends a session.
    fn stop(&self, session: Self::Found, id: SessionId) -> Result<(), StatusOf<Self>>;
}

/// The status of a driver's requests.
pub type StatusOf<D> = <<D as Driver>::Request as Request>::Status;

/// Carries a request out, or refuses it.
pub fn dispatch<D: Driver>(driver: &D, request: D::Request, code: u32) {
    match code {
        IOCTL_VERSION => answer(request, VersionReply::of_this_code().as_bytes()),
        IOCTL_LIST_VOLUMES => list(driver, request),
        IOCTL_START => {
            let reply = start(driver, &request);
            finish(request, reply);
        }
        IOCTL_RESUME => {
            let reply = resume(driver, &request);
            finish(request, reply);
        }
        IOCTL_DRAIN_FROM => {
            let reply = drain_from(driver, &request);
            finish(request, reply);
        }
        IOCTL_DRAIN => drain(driver, request),
        IOCTL_ACKNOWLEDGE => {
            let result = acknowledge(driver, &request);
            request.complete(result);
        }
        IOCTL_REVIEW => {
            let result = review(driver, &request);
            request.complete(result);
        }
        IOCTL_NOTE => {
            let result = note(driver, &request);
            request.complete(result);
        }
        IOCTL_UNUSED => {
            let reply = unused(driver, &request);
            finish(request, reply);
        }
        IOCTL_LIMIT_SWEEP => {
            let result = limit_sweep(driver, &request);
            request.complete(result);
        }
        IOCTL_KEEP_STATE => {
            let result = keep_state(driver, &request);
            request.complete(result);
        }
        IOCTL_STATUS => status(driver, request),
        IOCTL_MAP => map(driver, request),
        IOCTL_CUT => {
            let result = cut(driver, &request);
            request.complete(result);
        }
        IOCTL_VERIFY => {
            let result = verify(driver, &request);
            request.complete(result);
        }
        IOCTL_STOP => {
            let result = stop(driver, &request);
            request.complete(result);
        }
        _ => request.complete(Err(Refusal::InvalidRequest.into())),
    }
}

// Out of line, as the next ones, so that their replies are not on a kernel's stack together.
#[inline(never)]
fn list<D: Driver>(driver: &D, request: D::Request) {
    let input = read::<ListRequest>(request.input());
    let version = input.and_then(|input| input.parse().map_err(refusal));
    match version.map_err(Into::into).and_then(|_| driver.volumes()) {
        Ok(entries) => answer(request, entries.as_ref()),
        Err(status) => request.complete(Err(status)),
    }
}

#[inline(never)]
fn start<D: Driver>(driver: &D, request: &D::Request) -> Result<SessionReply, StatusOf<D>> {
    let input = StartRequest::read(request.input()).map_err(refusal)?;
    let settings = input.settings().map_err(refusal)?;
    may_claim(driver, request)?;
    if driver.find(settings.session).is_some() {
        return Err(Refusal::InvalidParameter.into());
    }
    driver.start(request, &input.device, settings, &input.excluded)
}

#[inline(never)]
fn resume<D: Driver>(driver: &D, request: &D::Request) -> Result<SessionReply, StatusOf<D>> {
    may_claim(driver, request)?;
    let (_, session) = named_session(driver, request)?;
    driver.resume(request, session)
}

#[inline(never)]
fn drain_from<D: Driver>(driver: &D, request: &D::Request) -> Result<DrainFromReply, StatusOf<D>> {
    let input: DrainFromRequest = read(request.input())?;
    let from = input.parse().map_err(refusal)?;
    let session = claimed(driver, request)?;
    Ok(DrainFromReply::new(driver.drain_from(session, from)?))
}

#[inline(never)]
fn drain<D: Driver>(driver: &D, request: D::Request) {
    match claimed(driver, &request) {
        Ok(session) if request.room() >= DRAIN_BUFFER_MIN => driver.drain(session, request),
        Ok(_) => request.complete(Err(Refusal::TooSmall.into())),
        Err(refusal) => request.complete(Err(refusal.into())),
    }
}

#[inline(never)]
fn acknowledge<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let input: AcknowledgeRequest = read(request.input())?;
    driver.acknowledge(claimed(driver, request)?, input.epoch())
}

#[inline(never)]
fn review<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let input: ReviewRequest = read(request.input())?;
    let are_still = input.parse().map_err(refusal)?;
    driver.review(claimed(driver, request)?, are_still)
}

#[inline(never)]
fn note<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let input: &NoteRequest = read_in_place(request.input())?;
    let (volume, block_size) = input.parse().map_err(refusal)?;
    may_claim(driver, request)?;
    driver.note(request, volume, block_size)
}

#[inline(never)]
fn unused<D: Driver>(driver: &D, request: &D::Request) -> Result<UnusedReply, StatusOf<D>> {
    let input: &UnusedRequest = read_in_place(request.input())?;
    input.check().map_err(refusal)?;
    Ok(UnusedReply::new(driver.unused(claimed(driver, request)?, input)?))
}

#[inline(never)]
fn limit_sweep<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let input: SweepRequest = read(request.input())?;
    let limits = input.parse().map_err(refusal)?;
    driver.limit_sweep(claimed(driver, request)?, limits)
}

#[inline(never)]
fn keep_state<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let input: &KeepStateRequest = read_in_place(request.input())?;
    input.check().map_err(refusal)?;
    driver.keep_state(claimed(driver, request)?, input)
}

#[inline(never)]
fn status<D: Driver>(driver: &D, request: D::Request) {
    match named_session(driver, &request) {
        Ok((_, session)) => answer(request, driver.status(session).as_bytes()),
        Err(refusal) => request.complete(Err(refusal.into())),
    }
}

#[inline(never)]
fn map<D: Driver>(driver: &D, request: D::Request) {
    let found = named_session(driver, &request).map_err(Into::into);
    match found.and_then(|(_, session)| driver.map(session)) {
        Ok(map) => answer(request, map.as_ref()),
        Err(status) => request.complete(Err(status)),
    }
}

#[inline(never)]
fn verify<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let input: VerifyRequest = read(request.input())?;
    let (id, verify) = input.parse().map_err(refusal)?;
    driver.verify(driver.find(id).ok_or(Refusal::NotFound)?, verify)
}

#[inline(never)]
fn cut<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let input: CutRequest = read(request.input())?;
    let (id, cut) = input.parse().map_err(refusal)?;
    driver.cut(driver.find(id).ok_or(Refusal::NotFound)?, cut)
}

#[inline(never)]
fn stop<D: Driver>(driver: &D, request: &D::Request) -> Result<(), StatusOf<D>> {
    let (id, session) = named_session(driver, request)?;
    driver.stop(session, id)
}

/// A handle claims one session.
fn may_claim<D: Driver>(driver: &D, request: &D::Request) -> Result<(), Refusal> {
    if !driver.has_handle(request) || driver.claimed(request).is_some() {
        return Err(Refusal::InvalidRequest);
    }
    Ok(())
}

/// The session that the request's handle claims.
fn claimed<D: Driver>(driver: &D, request: &D::Request) -> Result<D::Claimed, Refusal> {
    if !driver.has_handle(request) {
        return Err(Refusal::InvalidRequest);
    }
    driver.claimed(request).ok_or(Refusal::NotFound)
}

/// The session that the input identifies.
fn named_session<D: Driver>(
    driver: &D,
    request: &D::Request,
) -> Result<(SessionId, D::Found), Refusal> {
    let input: SessionRequest = read(request.input())?;
    let id = input.parse().map_err(refusal)?;
    let session = driver.find(id).ok_or(Refusal::NotFound)?;
    Ok((id, session))
}

/// An input that is exactly a `T`.
fn read<T: FromBytes + KnownLayout + Immutable>(input: &[u8]) -> Result<T, Refusal> {
    if input.len() < size_of::<T>() {
        return Err(Refusal::TooSmall);
    }
    T::read_from_bytes(input).map_err(|_| Refusal::InvalidParameter)
}

/// As [`read`], for one that is long for a kernel's stack.
fn read_in_place<T>(input: &[u8]) -> Result<&T, Refusal>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    if input.len() < size_of::<T>() {
        return Err(Refusal::TooSmall);
    }
    T::ref_from_bytes(input).map_err(|_| Refusal::InvalidParameter)
}

#[inline(never)]
fn finish<R: Request>(request: R, reply: Result<impl IntoBytes + Immutable, R::Status>) {
    match reply {
        Ok(reply) => answer(request, reply.as_bytes()),
        Err(status) => request.complete(Err(status)),
    }
}

fn answer<R: Request>(request: R, bytes: &[u8]) {
    // An empty buffer is too small for an empty reply, too.
    if bytes.len().max(1) > request.room() {
        request.complete(Err(Refusal::TooSmall.into()));
    } else {
        request.answer(bytes);
    }
}

fn refusal(bad: BadRequest) -> Refusal {
    match bad {
        BadRequest::Short => Refusal::TooSmall,
        BadRequest::Version => Refusal::Version,
        _ => Refusal::InvalidParameter,
    }
}
