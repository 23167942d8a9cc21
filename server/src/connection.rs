//! One connection, from its Hello to its end. Each has a thread of its own, which receives and
//! watches; once the Hello is there, a second one stores ([`crate::storing`]).
//!
//! ```text
//!   service ── this thread ──▶ backlog ── storing thread ──▶ repository
//!   service ◀────────────── Welcome, acknowledgements ◀── storing thread
//!   service ◀── keep-alives, the reason of the end ── this thread
//! ```
//!
//! What the service asks about the stream's content another thread answers ([`crate::comparer`]).
//! A connection may ask one question in the place of its Hello ([`crate::questions`]).
//!
//! While storage keeps the backlog full, this thread receives nothing and sends keep-alives: the
//! service then waits for a slow server, and gives up a dead one. What came before the service's
//! end of the connection is stored and acknowledged; a stop, a takeover and a revocation do not
//! wait for that.

use std::net::{SocketAddr, TcpStream};
use std::panic;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use log::{info, warn};
use snapless_link::LinkError;
use snapless_link::packing::unpack;
use snapless_link::question::{Bookmarked, Opened, Question, RefusedKind, Reply};
use snapless_link::server::{HELLO_LIMIT, Patience, ServerLink, Speaker};
use snapless_link::stream::RECEIVE_STEP;
use snapless_trust::audit::Act;
use snapless_wire::frame::{FrameHeader, FrameKind, Hello, Welcome};
use zerocopy::IntoBytes;

use crate::backlog::{Inlet, Until, backlog};
use crate::comparer::Comparer;
use crate::connected::Connection;
use crate::error::{Error, Result};
use crate::fetching::{Asked, Point};
use crate::gate::{Greeting, Seat};
use crate::host::Host;
use crate::ingest::{Action, Ingest};
use crate::occupancy::Cancel;
use crate::questions;
use crate::security::Pass;
use crate::seeds::Seeds;
use crate::stop::StopFlag;
use crate::storing::Storing;

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
    let mut place = Some(greeting);
    match greet(&mut link, &mut place, &watch) {
        Ok(First::Hello(hello, seat)) => serve_session(host, link, (&hello, seat), &watch, begun),
        Ok(First::Question(question, place)) => {
            if let Err(end) = serve_question(host, &mut link, question, place, &watch) {
                return part(link, &peer.to_string(), &end, begun);
            }
            link.close();
        }
        // Threads that wait for others to read would be more and more.
        Err(end) if place.as_ref().is_some_and(Greeting::is_crowded) => {
            info!("{peer}: {end}");
            link.refuse_at_once(&end.to_string());
        }
        Err(end) => part(link, &peer.to_string(), &end, begun),
    }
}

/// What a connection begins with.
enum First {
    Hello(Hello, Seat),
    /// Or why it is none.
    Question(Result<Question, String>, Greeting),
}

/// Answers the only question of a connection. The other end hears meanwhile that its server lives.
fn serve_question(
    host: &Host,
    link: &mut ServerLink,
    question: Result<Question, String>,
    place: Greeting,
    watch: &Watch<'_>,
) -> Result<()> {
    let refused =
        |link: &mut ServerLink, reply: Reply| Ok(link.send(FrameKind::Reply, &reply.to_bytes())?);
    let question = match question {
        Ok(question) => question,
        Err(why) => return refused(link, Reply::refused(RefusedKind::Question, why)),
    };
    let known: Result<Option<Vec<_>>> = match questions::volumes_of(&question) {
        Ok(volumes) => volumes.into_iter().map(|it| watch.pass.known_volume(it)).collect(),
        Err(reply) => return refused(link, reply),
    };
    let Some(volumes) = known? else { return refused(link, questions::unknown()) };
    let stop = StopFlag::default();
    let speaker = link.speaker();
    let must_end = || if place.must_end() { Err(Error::MadeRoom) } else { watch.check() };
    if let (Question::Restore { session, at, is_key, .. }, &[volume]) = (&question, &volumes[..]) {
        if let Some(why) = watch.pass.restore_refusal()? {
            return refused(link, Reply::refused(RefusedKind::NotAllowed, why));
        }
        let asked = Asked { volume, session: session.as_deref(), at, is_key: *is_key };
        let open = || asked.open(host, &stop);
        return match attend_thread("open", host, &speaker, &must_end, &stop, open)? {
            Ok(point) => {
                drop(place);
                serve_point(host, link, &point, watch)
            }
            Err(reply) => refused(link, reply),
        };
    }
    let look = || questions::reply(host, &volumes, &question, &stop);
    let reply = attend_thread("question", host, &speaker, &must_end, &stop, look)?;
    let made = match &reply {
        Reply::Bookmarked(made) => std::slice::from_ref(made),
        Reply::CommonBookmarked(made) => made,
        // Those of a meeting are noted as each volume's machine is told.
        Reply::Met(_)
        | Reply::Points(_)
        | Reply::Opened(_)
        | Reply::Clock(_)
        | Reply::Cut(_)
        | Reply::Left
        | Reply::Refused(_) => &[],
    };
    for Bookmarked { volume, session, name, time, .. } in made {
        let about = format!("volume {volume}, session {session}, as of {time}, as {name}");
        watch.pass.note_act(Act::BookmarkAdded, &about);
    }
    Ok(link.send(FrameKind::Reply, &reply.to_bytes())?)
}

/// Serves a point that is open, until the machine has what it wants of it.
fn serve_point(host: &Host, link: &mut ServerLink, point: &Point, watch: &Watch<'_>) -> Result<()> {
    let Opened { volume, session, time, .. } = point.told();
    let about = format!("volume {volume}, session {session}, as of {time}");
    info!("{}: restores {about}", link.peer());
    watch.pass.note_act(Act::PointRead, &about);
    link.send(FrameKind::Reply, &Reply::Opened(Box::new(point.told().clone())).to_bytes())?;
    let (stop, speaker) = (StopFlag::default(), link.speaker());
    let must_end = || watch.check();
    attend_thread("restore", host, &speaker, &must_end, &stop, || point.serve(link, &stop))?
}

/// Waits for a thread that looks; ends it if the connection must end.
fn attend_thread<T: Send>(
    name: &str,
    host: &Host,
    speaker: &Speaker,
    must_end: &dyn Fn() -> Result<()>,
    stop: &StopFlag,
    look: impl FnOnce() -> T + Send,
) -> Result<T> {
    let (found, looked) = mpsc::channel();
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn_scoped(scope, move || found.send(look())).map_err(Error::Thread)?;
        let mut shown = Instant::now();
        loop {
            match looked.recv_timeout(host.keep_alive.min(RECEIVE_STEP)) {
                Ok(answer) => return Ok(answer),
                Err(RecvTimeoutError::Timeout) => {}
                // It has panicked, which the end of the scope passes on.
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Stopped),
            }
            let ended = must_end().and_then(|()| {
                if shown.elapsed() >= host.keep_alive {
                    shown = Instant::now();
                    speaker.keep_alive()?;
                }
                Ok(())
            });
            ended.inspect_err(|_| stop.set())?;
        }
    })
}

/// Serves a session; logs why its connection ended.
fn serve_session(
    host: &Host,
    mut link: ServerLink,
    (hello, seat): (&Hello, Seat),
    watch: &Watch<'_>,
    begun: Instant,
) {
    let name = format!("{}, session {}", link.peer(), hello.session);
    let (inlet, outlet) = backlog();
    let (speaker, hello, cancel) = (link.speaker(), *hello, watch.cancel);
    let machine = watch.pass.machine().map(|certified| &certified.identity);
    let connection = host.connected.enter(hello.volume, machine, link.speaker());
    let seeds = Seeds::new(host, hello, &name);
    let connection = &connection;
    let storing =
        Storing { host, hello, seat, cancel, speaker, name: &name, seeds: &seeds, connection };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(format!("store {}", hello.session));
        let storing = match thread.spawn_scoped(scope, || storing.run(outlet)) {
            Ok(storing) => storing,
            Err(source) => return part(link, &name, &Error::Thread(source), begun),
        };
        let mut comparer = Comparer::new(scope, host, (hello, &seeds), link.speaker(), &name);
        let to = (&inlet, &mut comparer, connection);
        let end = attend(&mut link, watch, to, (&name, host.keep_alive));
        drop(comparer);
        let (is_over, was_opened) = (inlet.is_over(), inlet.was_opened());
        // If it is not over, it ends after the frame that it stores, while the service is told.
        drop(inlet);
        let stored = if is_over { storing.join() } else { Ok(Ok(())) };
        let end = match stored.unwrap_or_else(|panic| panic::resume_unwind(panic)) {
            Ok(()) => end,
            Err(error) if error.is_damage() && !was_opened => {
                put_aside(&mut link, &hello, error, cancel)
            }
            Err(error) => error,
        };
        part(link, &name, &end, begun);
    });
}

/// Hands over what comes until the connection must end; returns why, unless the storing thread has
/// ended, which knows more.
fn attend(
    link: &mut ServerLink,
    watch: &Watch<'_>,
    (inlet, comparer, connection): (&Inlet, &mut Comparer<'_, '_>, &Connection),
    (name, keep_alive): (&str, Duration),
) -> Error {
    let (has_told, has_refused) = (false, false);
    let mut wait = Waiting { watch, inlet, name, keep_alive, has_told, has_refused };
    let end = receive_all(link, watch, (inlet, comparer, connection), &mut wait);
    if let Error::Link(_) = end {
        // What came before is stored, and acknowledged if the service still listens.
        inlet.finish();
        let is_there = matches!(end, Error::Link(LinkError::Closed | LinkError::Frame(_)));
        if let Err(sooner) = wait.until(Until::End, link, is_there) {
            if !matches!(sooner, Error::Link(_)) {
                // Who needs the session, or stops the server, waits for nothing more.
                inlet.abandon();
            }
            return sooner;
        }
    }
    end
}

/// Hands over what comes; returns why nothing more does.
fn receive_all(
    link: &mut ServerLink,
    watch: &Watch<'_>,
    (inlet, comparer, connection): (&Inlet, &mut Comparer<'_, '_>, &Connection),
    wait: &mut Waiting<'_>,
) -> Error {
    if let Err(error) = wait.until(Until::Opened, link, true) {
        return error;
    }
    loop {
        if let Err(error) = wait.until(Until::Room, link, true) {
            return error;
        }
        let mut payload = inlet.buffer();
        match receive(link, watch, inlet, &mut payload) {
            Ok(frame) if frame.kind() == FrameKind::Compare => {
                if let Err(error) = comparer.ask(&payload) {
                    return error;
                }
                inlet.keep(payload);
            }
            Ok(frame) if frame.kind() == FrameKind::Report => {
                wait.tell(connection, &payload);
                inlet.keep(payload);
            }
            Ok(frame) if frame.kind() == FrameKind::Packed => {
                let packed = payload;
                let mut payload = inlet.buffer();
                match unpack(&packed, &mut payload) {
                    Ok(frame) => {
                        connection.note(payload.len());
                        inlet.put(frame, payload);
                    }
                    Err(error) => return LinkError::from(error).into(),
                }
                inlet.keep(packed);
            }
            Ok(frame) => {
                connection.note(payload.len());
                inlet.put(frame, payload);
            }
            Err(error) => return error,
        }
    }
}

/// Waits for the storing thread.
struct Waiting<'a> {
    watch: &'a Watch<'a>,
    inlet: &'a Inlet,
    /// In the log.
    name: &'a str,
    keep_alive: Duration,
    /// That storage is slow is in the log once.
    has_told: bool,
    /// That a report is none is there once, too.
    has_refused: bool,
}

impl Waiting<'_> {
    /// Notes a report. One that is none changes nothing: what is stored does not depend on it.
    fn tell(&mut self, connection: &Connection, payload: &[u8]) {
        if let Err(why) = connection.tell(payload)
            && !std::mem::replace(&mut self.has_refused, true)
        {
            warn!("{}: the console does not show what the service tells: {why}", self.name);
        }
    }

    /// Waits until it has come, or until the storing thread has ended. The service hears
    /// meanwhile that its server lives, if it is there.
    fn until(&mut self, what: Until, link: &ServerLink, is_there: bool) -> Result<()> {
        let mut shown = Instant::now();
        while !self.inlet.wait(what, self.keep_alive.min(RECEIVE_STEP)) {
            if self.watch.must_end() {
                self.watch.check()?;
            }
            if shown.elapsed() < self.keep_alive {
                continue;
            }
            shown = Instant::now();
            if is_there {
                link.speaker().keep_alive()?;
            }
            if !std::mem::replace(&mut self.has_told, true) {
                let seconds = self.keep_alive.as_secs_f32();
                warn!("{}: storage is slow: the service waits for {seconds} s", self.name);
            }
        }
        Ok(())
    }
}

/// Logs why a connection has ended, tells the service, and closes.
fn part(link: ServerLink, name: &str, end: &Error, begun: Instant) {
    let seconds = begun.elapsed().as_secs();
    match end {
        Error::Link(LinkError::Closed) => {
            info!("{name}: closed by the service after {seconds} s");
            link.close();
        }
        Error::Stopped => {
            info!("{name}: closed, the server stops");
            link.refuse(&end.to_string());
        }
        Error::Link(LinkError::Lost(_)) => {
            warn!("{name}: {end} after {seconds} s");
            link.close();
        }
        _ => {
            warn!("{name}: {end}");
            link.refuse(&end.to_string());
        }
    }
}

/// Tells the service that nothing of its session is durable, and touches nothing of it: the service
/// then begins a new one. Returns why the connection ends.
fn put_aside(link: &mut ServerLink, hello: &Hello, why: Error, cancel: &Cancel) -> Error {
    let aside = Error::Aside { session: hello.session, why: Box::new(why) };
    warn!("{}: volume {}: {aside}", link.peer(), hello.volume);
    if let Err(error) = link.send(FrameKind::Welcome, Welcome::put_aside().as_bytes()) {
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
/// the place of a greeting. A question keeps that place.
fn greet(link: &mut ServerLink, place: &mut Option<Greeting>, watch: &Watch<'_>) -> Result<First> {
    let begun = Instant::now();
    let is_late = || begun.elapsed() >= HELLO_LIMIT;
    let makes_room = || place.as_ref().is_some_and(Greeting::must_end);
    let must_end = || is_late() || makes_room() || watch.must_end();
    let mut payload = Vec::new();
    let frame = match link.receive(Patience::Hello, &must_end, &mut payload) {
        Err(LinkError::Cancelled) => {
            watch.check()?;
            let late = LinkError::Silent(HELLO_LIMIT);
            return Err(if makes_room() { Error::MadeRoom } else { late.into() });
        }
        received => received?,
    };
    if frame.kind() == FrameKind::Question {
        let greeting = place.take().ok_or(LinkError::Closed)?;
        return Ok(First::Question(Question::read(&payload), greeting));
    }
    match (Ingest::AwaitingHello.frame(frame, &payload)?, place.take()) {
        (Action::Open(mut hello), Some(greeting)) => {
            hello.volume = watch.pass.volume(hello.volume)?;
            let seat = greeting.admit(hello.volume, hello.session)?;
            Ok(First::Hello(hello, seat))
        }
        // `Ingest` stores only after `begin`, and the place is taken once.
        _ => Err(LinkError::Closed.into()),
    }
}

/// Receives one frame, or the reason for which this connection must end meanwhile.
fn receive(
    link: &mut ServerLink,
    watch: &Watch<'_>,
    inlet: &Inlet,
    payload: &mut Vec<u8>,
) -> Result<FrameHeader> {
    let must_end = || watch.must_end() || inlet.is_over();
    let received = link.receive(Patience::Idle, &must_end, payload);
    if matches!(received, Err(LinkError::Cancelled)) {
        watch.check()?;
    }
    Ok(received?)
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
