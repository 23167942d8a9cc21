//! One connection, from its Hello to its end. Each runs on its own thread.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use log::{info, warn};
use snapless_link::LinkError;
use snapless_link::server::{HELLO_LIMIT, Patience, ServerLink};
use snapless_types::{EpochId, GapReason, Seq};
use snapless_wire::frame::{Acknowledge, FrameHeader, FrameKind, Hello, Welcome};
use zerocopy::IntoBytes;

use crate::error::{Error, Result};
use crate::format::session::SessionHeader;
use crate::gate::{Greeting, Seat};
use crate::ingest::{Action, Ingest};
use crate::occupancy::{Cancel, Claim, Occupancy};
use crate::repository::WritableRepository;
use crate::security::{Pass, Security};
use crate::stream::StreamState;
use crate::time;
use crate::writer::SessionWriter;

/// State that all connections of a server share.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where streams are stored.
    pub repository: Arc<WritableRepository>,
    /// The connection that serves each session.
    pub occupancy: Occupancy,
    /// A segment that would grow past this is closed, in bytes.
    pub segment_limit: u64,
    /// Who may speak.
    pub security: Security,
}

/// An open session. The writer is dropped before the claim: the next writer finds no file open.
struct Session {
    writer: SessionWriter,
    _claim: Claim,
    _seat: Seat,
    /// In the log.
    name: String,
    milestones: Milestones,
}

/// Milestones of a stream that are in the log.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Milestones {
    base_complete: bool,
    in_gap: Option<GapReason>,
}

/// What ends a connection from outside it.
#[derive(Clone, Copy)]
struct Watch<'a> {
    pass: &'a Pass,
    cancel: &'a Cancel,
}

/// Serves an accepted connection until it ends; logs why it ended.
pub fn serve(
    host: &Host,
    (stream, peer): (TcpStream, SocketAddr),
    greeting: Greeting,
    cancel: &Cancel,
) {
    let must_end = || greeting.must_end() || cancel.check().is_err();
    match host.security.accept(stream, peer, &must_end) {
        Ok(Some((link, pass))) => converse(host, link, &pass, greeting, cancel),
        Ok(None) => {}
        Err(error) => warn!("{peer}: refused: {error}"),
    }
}

/// Serves a connection whose other end is known; logs why it ended.
fn converse(host: &Host, mut link: ServerLink, pass: &Pass, greeting: Greeting, cancel: &Cancel) {
    let begun = Instant::now();
    let peer = link.peer();
    if let Some(machine) = pass.machine() {
        info!("{peer}: {}", machine.identity);
    }
    let watch = Watch { pass, cancel };
    let mut session = None;
    let mut ingest = Ingest::AwaitingHello;
    let mut greeting = Some(greeting);
    let end = run(host, &mut link, (&mut greeting, &watch), &mut ingest, &mut session);
    let name = session
        .as_ref()
        .map_or_else(|| peer.to_string(), |session| format!("{peer}, {}", session.name));
    // After any other end, the state may be that of a record that was refused.
    let is_sound = matches!(end, Error::Link(_) | Error::Stopped | Error::Replaced);
    if let (Some(session), Some(state), true) = (&mut session, ingest.state(), is_sound) {
        session.writer.keep_state_at_end(state);
    }
    // Releases the session before the wait for the other end to take the last frame.
    drop(session);
    let seconds = begun.elapsed().as_secs();
    match end {
        Error::Link(LinkError::Closed) => info!("{name}: closed by the service after {seconds} s"),
        Error::Stopped => {
            info!("{name}: closed, the server stops");
            link.refuse(&Error::Stopped.to_string());
        }
        Error::Link(LinkError::Lost(_)) => warn!("{name}: {end} after {seconds} s"),
        // Threads that wait for others to read would be more and more.
        _ if greeting.as_ref().is_some_and(Greeting::is_crowded) => {
            info!("{name}: {end}");
            link.refuse_at_once(&end.to_string());
        }
        _ => {
            warn!("{name}: {end}");
            link.refuse(&end.to_string());
        }
    }
}

/// Serves the connection; returns why it ended.
fn run(
    host: &Host,
    link: &mut ServerLink,
    (greeting, watch): (&mut Option<Greeting>, &Watch<'_>),
    ingest: &mut Ingest,
    slot: &mut Option<Session>,
) -> Error {
    let mut payload = Vec::new();
    let (hello, seat) = match greet(link, greeting, watch, ingest, &mut payload) {
        Ok(greeted) => greeted,
        Err(error) => return error,
    };
    let opened = open(host, &hello, seat, watch.cancel).and_then(|(session, state)| {
        welcome(link, &session.writer, &state)?;
        ingest.begin(state);
        Ok(session)
    });
    let session = match opened {
        Ok(session) => slot.insert(session),
        Err(error) if error.is_damage() => return put_aside(link, &hello, error, watch.cancel),
        Err(error) => return error,
    };
    loop {
        if let Err(error) = step(link, watch, ingest, session, &mut payload) {
            return error;
        }
    }
}

/// Tells the service that nothing of its session is durable, and touches nothing of it: the service
/// then begins a new one. Returns why the connection ends.
fn put_aside(link: &mut ServerLink, hello: &Hello, why: Error, cancel: &Cancel) -> Error {
    let aside = Error::Aside { session: hello.session, why: Box::new(why) };
    warn!("{}: volume {}: {aside}", link.peer(), hello.volume);
    let nothing = Welcome::new(EpochId::new(0), Seq::new(0));
    if let Err(error) = link.send(FrameKind::Welcome, nothing.as_bytes()) {
        return error.into();
    }
    // A service that goes on all the same is told why it cannot.
    let begun = Instant::now();
    let must_end = || begun.elapsed() >= HELLO_LIMIT || cancel.check().is_err();
    match link.receive(Patience::Idle, &must_end, &mut Vec::new()) {
        Ok(_) | Err(LinkError::Cancelled) => aside,
        Err(error) => error.into(),
    }
}

/// Waits for the Hello, not longer than its limit in all; takes a seat for its session instead of
/// the place of a greeting.
fn greet(
    link: &mut ServerLink,
    place: &mut Option<Greeting>,
    watch: &Watch<'_>,
    ingest: &mut Ingest,
    payload: &mut Vec<u8>,
) -> Result<(Hello, Seat)> {
    let begun = Instant::now();
    let is_late = || begun.elapsed() >= HELLO_LIMIT;
    let makes_room = || place.as_ref().is_some_and(Greeting::must_end);
    let must_end = || is_late() || makes_room() || watch.must_end();
    let frame = match link.receive(Patience::Hello, &must_end, payload) {
        Err(LinkError::Cancelled) => {
            watch.check()?;
            let late = LinkError::Silent(HELLO_LIMIT);
            return Err(if makes_room() { Error::MadeRoom } else { late.into() });
        }
        received => received?,
    };
    match (ingest.frame(frame, payload)?, place.take()) {
        (Action::Open(mut hello), Some(greeting)) => {
            hello.volume = watch.pass.volume(hello.volume)?;
            let seat = greeting.admit(hello.volume, hello.session)?;
            Ok((hello, seat))
        }
        // `Ingest` stores only after `begin`, and the place is taken once.
        _ => Err(LinkError::Closed.into()),
    }
}

/// Receives a frame and stores it.
fn step(
    link: &mut ServerLink,
    watch: &Watch<'_>,
    ingest: &mut Ingest,
    session: &mut Session,
    payload: &mut Vec<u8>,
) -> Result<()> {
    let frame = receive(link, watch, payload)?;
    let ends = match ingest.frame(frame, payload)? {
        Action::Store { ends } => ends,
        Action::Mark { watermark, again } => {
            session.writer.mark(&watermark)?;
            return Ok(link.send(FrameKind::Acknowledge, again.as_bytes())?);
        }
        // `Ingest` opens only before `begin`.
        Action::Open(_) => return Err(LinkError::Closed.into()),
    };
    store(link, &mut session.writer, (&frame, payload), ends)?;
    session.milestones.log(&session.name, ingest.state());
    if let (Some(_), Some(state)) = (ends, ingest.state()) {
        session.writer.keep_state_if_due(state);
    }
    Ok(())
}

/// Receives one frame, or the reason for which this connection must end meanwhile.
fn receive(link: &mut ServerLink, watch: &Watch<'_>, payload: &mut Vec<u8>) -> Result<FrameHeader> {
    let received = link.receive(Patience::Idle, &|| watch.must_end(), payload);
    if matches!(received, Err(LinkError::Cancelled)) {
        watch.check()?;
    }
    Ok(received?)
}

fn open(host: &Host, hello: &Hello, seat: Seat, cancel: &Cancel) -> Result<(Session, StreamState)> {
    let header = SessionHeader::from_hello(hello, time::now()).ok_or(Error::TooManyBlocks)?;
    let claim = host.occupancy.claim(hello.volume, hello.session, cancel)?;
    let (writer, state) =
        SessionWriter::open(&host.repository, &header, host.segment_limit, cancel.stop())?;
    let name = format!("session {}", hello.session);
    let milestones = Milestones::of(&state);
    Ok((Session { writer, _claim: claim, _seat: seat, name, milestones }, state))
}

fn welcome(link: &mut ServerLink, writer: &SessionWriter, state: &StreamState) -> Result<()> {
    let acknowledged = writer.acknowledged();
    let header = writer.header();
    info!(
        "{}: volume {}, session {}, {} bytes; durable up to epoch {}, record {}{}",
        link.peer(),
        header.volume,
        header.session,
        header.geometry.length(),
        acknowledged.epoch,
        acknowledged.seq,
        if state.last().is_none() { " (new)" } else { "" }
    );
    let latest = state.timeline().latest().map(|latest| latest.time());
    let welcome = Welcome::new(acknowledged.epoch, acknowledged.seq).with_latest(latest);
    Ok(link.send(FrameKind::Welcome, welcome.as_bytes())?)
}

/// Stores a frame as it came; acknowledges the epoch that it ends, once that is durable.
fn store(
    link: &mut ServerLink,
    writer: &mut SessionWriter,
    (frame, payload): (&FrameHeader, &[u8]),
    ends: Option<Acknowledge>,
) -> Result<()> {
    writer.append(frame, payload)?;
    if let Some(acknowledge) = ends {
        writer.commit(acknowledge.epoch(), acknowledge.seq())?;
        link.send(FrameKind::Acknowledge, acknowledge.as_bytes())?;
    }
    Ok(())
}

impl Watch<'_> {
    /// Asked several times a second.
    fn must_end(&self) -> bool {
        self.cancel.check().is_err() || self.pass.is_over()
    }

    /// Why the connection must end, if it must.
    fn check(&self) -> Result<()> {
        self.cancel.check()?;
        self.pass.check()
    }
}

impl Milestones {
    fn of(state: &StreamState) -> Self {
        let timeline = state.timeline();
        Self {
            base_complete: timeline.coverage().known == timeline.coverage().total,
            in_gap: timeline.open_gap_now().map(|gap| gap.reason),
        }
    }

    /// Logs the milestones that the stream has passed since the last call.
    fn log(&mut self, name: &str, state: Option<&StreamState>) {
        let Some(now) = state.map(Self::of) else { return };
        match (self.in_gap, now.in_gap) {
            (None, Some(reason)) => warn!("{name}: a gap begins: {reason}"),
            (Some(_), None) => info!("{name}: the gap has ended: points can be restored again"),
            _ => {}
        }
        if now.base_complete && !self.base_complete {
            info!("{name}: every block is stored: the first sync is complete");
        }
        *self = now;
    }
}
