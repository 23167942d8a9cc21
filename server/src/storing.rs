//! The storing thread of a session: opens it, stores its frames, acknowledges its epochs.
//!
//! The connection's own thread receives and watches ([`crate::connection`]). So storage that is
//! slow keeps neither the service in the dark nor a stop, a takeover or a revocation from ending
//! the connection.
//!
//! Content that the repository has from before the session stands in for its hash first
//! ([`crate::seeds`]).
//!
//! Rule LOSS (rules.md#loss): frames are stored in the order in which they came, each after its
//! records passed the stream's rules, and an acknowledgement leaves after the commit.

use std::sync::Arc;

use log::{info, warn};
use snapless_link::LinkError;
use snapless_link::server::Speaker;
use snapless_types::GapReason;
use snapless_wire::frame::{Acknowledge, FrameHeader, FrameKind, Hello, Welcome};
use snapless_wire::verified::Verified;
use zerocopy::IntoBytes;

use crate::backlog::Outlet;
use crate::connected::Connection;
use crate::error::{Error, Result};
use crate::floor::LOOK_AGAIN;
use crate::format::session::SessionHeader;
use crate::gate::Seat;
use crate::host::Host;
use crate::ingest::{Action, Ingest};
use crate::occupancy::{Cancel, Claim};
use crate::reader::SessionReader;
use crate::seeds::Seeds;
use crate::stream::StreamState;
use crate::time;
use crate::verification::{self, Verifying, has_checks};
use crate::writer::SessionWriter;

/// What the thread needs.
pub(crate) struct Storing<'a> {
    /// Where streams are stored.
    pub host: &'a Host,
    /// The session.
    pub hello: Hello,
    /// Its place.
    pub seat: Seat,
    /// Requests to end the connection.
    pub cancel: &'a Cancel,
    /// The service hears its answers here.
    pub speaker: Speaker,
    /// The connection, in the log.
    pub name: &'a str,
    /// What there is of the volume from before the session.
    pub seeds: &'a Seeds<'a>,
    /// Where its blocks are counted for the console.
    pub connection: &'a Connection,
}

/// An open session. The writer is dropped before the claim: the next writer finds no file open.
struct Session<'a> {
    host: &'a Host,
    seeds: &'a Seeds<'a>,
    writer: SessionWriter,
    _claim: Claim,
    _seat: Seat,
    milestones: Milestones,
    checks: Checks,
    /// Bytes that were stored since the indexer looked at the session.
    unseen: u64,
    /// Of the last epoch that has ended; it may stand for others before it.
    unacknowledged: Option<Acknowledge>,
}

/// What verifies the copy ([`crate::verification`]).
#[derive(Default)]
struct Checks {
    verifying: Arc<Verifying>,
    /// The repository knows that the session has some.
    are_expected: bool,
    /// One has come since the last commit.
    are_stored: bool,
    /// One is durable that the indexer has not been told of.
    are_durable: bool,
}

/// Milestones of a stream that are in the log.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Milestones {
    base_complete: bool,
    in_gap: Option<GapReason>,
}

impl Storing<'_> {
    /// Stores what comes until nothing more will.
    ///
    /// # Errors
    /// Why the connection must end.
    pub fn run(self, frames: Outlet) -> Result<()> {
        let Self { host, hello, seat, cancel, speaker, name, seeds, connection } = self;
        let (mut session, state) = open((host, seeds), &hello, seat, cancel)?;
        connection.note_blocks(&state);
        let mut ingest = Ingest::AwaitingHello;
        welcome(&speaker, name, &session, &state)?;
        ingest.begin(state);
        frames.opened();
        session.look_at(name);
        let end = session.store_all(&frames, &mut ingest, &speaker, (name, connection));
        // After any other end, the state may be that of a record that was refused.
        if let (Ok(()) | Err(Error::Link(_)), Some(state)) = (&end, ingest.state()) {
            session.writer.keep_state_at_end(state);
        }
        end
    }
}

impl Session<'_> {
    fn store_all(
        &mut self,
        frames: &Outlet,
        ingest: &mut Ingest,
        speaker: &Speaker,
        (name, connection): (&str, &Connection),
    ) -> Result<()> {
        while let Some(received) = frames.take() {
            if let Some(state) = ingest.state() {
                connection.note_blocks(state);
            }
            // A watermark takes no space: a quiet volume's latest point goes on.
            let expanded = match received.frame.kind() {
                FrameKind::Records => self.seeds.expand(&received.payload)?,
                _ => None,
            };
            let (frame, payload) = match &expanded {
                Some((frame, payload)) => (*frame, payload),
                None => (received.frame, &received.payload),
            };
            if frame.kind() == FrameKind::Records
                && !self.has_space(payload.len(), frames, speaker)?
            {
                return Ok(());
            }
            let ends = match ingest.frame(frame, payload)? {
                Action::Store { ends } => ends,
                Action::Mark { watermark, again } => {
                    self.commit(speaker)?;
                    self.writer.mark(&watermark)?;
                    speaker.send(FrameKind::Acknowledge, again.as_bytes())?;
                    self.verify(speaker, name)?;
                    frames.give_back(received);
                    continue;
                }
                // `Ingest` opens only before `begin`.
                Action::Open(_) => return Err(LinkError::Closed.into()),
            };
            self.store(&frame, payload, ends)?;
            let is_put_off = frames.has_more()
                && ingest.state().is_some_and(|state| self.writer.may_put_off(state));
            if !is_put_off {
                self.commit(speaker)?;
            }
            frames.give_back(received);
            self.verify(speaker, name)?;
            self.milestones.log(name, ingest.state());
            if let (Some(_), false, Some(state)) = (ends, is_put_off, ingest.state()) {
                self.writer.keep_state_if_due(state);
                if self.unseen >= self.host.indexer.map_bytes() {
                    self.look_at(name);
                }
            }
        }
        Ok(())
    }

    /// Waits for free space; false if the connection ends before there is any.
    fn has_space(&mut self, len: usize, frames: &Outlet, speaker: &Speaker) -> Result<bool> {
        while !self.host.floor.admits(len as u64) {
            // What was put off for this frame.
            self.commit(speaker)?;
            if frames.rest(LOOK_AGAIN) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Has the indexer look at the session.
    fn look_at(&mut self, name: &str) {
        let store = self.host.repository.repository().store();
        match SessionReader::open(store, *self.writer.header()) {
            Ok(reader) => self.host.indexer.look_at(reader, &self.checks.verifying),
            Err(error) => warn!("{name}: no index or map is made: {error}"),
        }
        self.unseen = 0;
    }

    /// Tells the service what has come of its checks, and has those compared that are durable.
    fn verify(&mut self, speaker: &Speaker, name: &str) -> Result<()> {
        if let Some(news) = self.checks.verifying.news().filter(Verified::has_begun) {
            speaker.send(FrameKind::Verified, &news.to_bytes())?;
        }
        if self.checks.verifying.begin(self.checks.are_durable) {
            self.checks.are_durable = false;
            self.look_at(name);
        }
        Ok(())
    }

    /// Notes that a frame has a check.
    fn note_check(&mut self) -> Result<()> {
        if !self.checks.are_expected {
            let store = self.host.repository.repository().store();
            verification::expect_checks(&SessionReader::open(store, *self.writer.header())?)?;
            self.checks.are_expected = true;
        }
        self.checks.are_stored = true;
        Ok(())
    }

    /// Stores a frame as it came, and notes the epoch that it ends.
    fn store(
        &mut self,
        frame: &FrameHeader,
        payload: &[u8],
        ends: Option<Acknowledge>,
    ) -> Result<()> {
        if has_checks(payload) {
            self.note_check()?;
        }
        self.writer.append(frame, payload)?;
        self.unseen += payload.len() as u64;
        if let Some(acknowledge) = ends {
            self.writer.end_epoch(acknowledge.epoch(), acknowledge.seq());
            self.unacknowledged = Some(acknowledge);
        }
        Ok(())
    }

    /// Acknowledges the last epoch that has ended, once it is durable.
    fn commit(&mut self, speaker: &Speaker) -> Result<()> {
        if let Some(acknowledge) = self.unacknowledged.take() {
            self.writer.commit(acknowledge.epoch(), acknowledge.seq())?;
            speaker.send(FrameKind::Acknowledge, acknowledge.as_bytes())?;
            self.checks.are_durable |= std::mem::take(&mut self.checks.are_stored);
        }
        Ok(())
    }
}

fn open<'a>(
    (host, seeds): (&'a Host, &'a Seeds<'a>),
    hello: &Hello,
    seat: Seat,
    cancel: &Cancel,
) -> Result<(Session<'a>, StreamState)> {
    let header = SessionHeader::from_hello(hello, time::now()).ok_or(Error::TooManyBlocks)?;
    let claim = host.occupancy.claim(hello.volume, hello.session, cancel)?;
    let (writer, state) =
        SessionWriter::open(&host.repository, &header, host.segment_limit, cancel.stop())?;
    let milestones = Milestones::of(&state);
    let (checks, unseen, unacknowledged) = (Checks::default(), 0, None);
    let session = Session {
        host,
        seeds,
        writer,
        _claim: claim,
        _seat: seat,
        milestones,
        checks,
        unseen,
        unacknowledged,
    };
    Ok((session, state))
}

fn welcome(
    speaker: &Speaker,
    name: &str,
    session: &Session<'_>,
    state: &StreamState,
) -> Result<()> {
    let Session { writer, seeds, .. } = session;
    let acknowledged = writer.acknowledged();
    let header = writer.header();
    info!(
        "{name}: volume {}, {} bytes; durable up to epoch {}, record {}{}",
        header.volume,
        state.geometry().length(),
        acknowledged.epoch,
        acknowledged.seq,
        if state.last().is_none() { " (new)" } else { "" }
    );
    let latest = state.timeline().latest().map(|latest| latest.time());
    let welcome = Welcome::new(acknowledged.epoch, acknowledged.seq)
        .with_latest(latest)
        .with_made(writer.began_behind())
        // Afterwards no block comes for the first time.
        .with_seed(!Milestones::of(state).base_complete && seeds.may_be_there())
        .taking_packed()
        .taking_reports();
    Ok(speaker.send(FrameKind::Welcome, welcome.as_bytes())?)
}

impl Milestones {
    fn of(state: &StreamState) -> Self {
        let timeline = state.timeline();
        Self {
            base_complete: timeline.first_sync_is_done(),
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
