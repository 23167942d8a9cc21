//! Compares what a service has read with what its stream gives ([`snapless_wire::compare`]).
//!
//! ```text
//!   connection ── Compare ──▶ this thread ── Compared ──▶ service
//!                                 │ reads
//!                             repository, as far as it is acknowledged
//! ```
//!
//! What the stream does not give, the repository may have from before the session
//! ([`crate::seeds`]).
//!
//! A thread of its own reads the content, made at the first request of a connection: ingest waits
//! for none of it. Rule: only content that the acknowledged stream gives as a whole is the same
//! (rule LOSS, rules.md#loss), and the record at which that was so is told with it. Whatever else
//! comes of a request, of damage too, the answer does not tell it from content that differs: the
//! service then sends its own.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread::{self, Scope};
use std::time::Duration;

use log::warn;
use snapless_link::server::Speaker;
use snapless_types::Seq;
use snapless_wire::compare::{Compare, Compared};
use snapless_wire::frame::{FrameKind, Hello};

use crate::error::{Error, Result};
use crate::format::session::SessionHeader;
use crate::given::Given;
use crate::host::Host;
use crate::openings::Opening;
use crate::reader::SessionReader;
use crate::repository::Presence;
use crate::seeds::Seeds;
use crate::stop::StopFlag;

/// Requests of a connection that wait. A service has no more without an answer.
const WAITING_MAX: usize = 8;
/// Content that is not asked about for so long is closed: while it is open, nothing is collected.
const IDLE_LIMIT: Duration = Duration::from_secs(20);

/// The end of a connection's own thread.
pub(crate) struct Comparer<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    host: &'env Host,
    hello: Hello,
    seeds: &'env Seeds<'env>,
    speaker: Speaker,
    /// The connection, in the log.
    name: &'env str,
    stop: StopFlag,
    requests: Option<SyncSender<Compare>>,
}

impl<'scope, 'env> Comparer<'scope, 'env> {
    /// For a session whose service hears its answers from `speaker`.
    pub(crate) fn new(
        scope: &'scope Scope<'scope, 'env>,
        host: &'env Host,
        (hello, seeds): (Hello, &'env Seeds<'env>),
        speaker: Speaker,
        name: &'env str,
    ) -> Self {
        let (stop, requests) = (StopFlag::default(), None);
        Self { scope, host, hello, seeds, speaker, name, stop, requests }
    }

    /// Takes a request; it is answered later, or at once if too many wait.
    ///
    /// # Errors
    /// The request is none, or the connection is over.
    pub(crate) fn ask(&mut self, payload: &[u8]) -> Result<()> {
        let request = Compare::read(payload)?;
        if self.requests.is_none() {
            self.begin();
        }
        let refused = match &self.requests {
            None => Some(request),
            Some(requests) => match requests.try_send(request) {
                Ok(()) => None,
                Err(TrySendError::Full(request) | TrySendError::Disconnected(request)) => {
                    Some(request)
                }
            },
        };
        match refused {
            Some(request) => say(&self.speaker, &request.unanswered()),
            None => Ok(()),
        }
    }

    fn begin(&mut self) {
        let (requests, asked) = mpsc::sync_channel(WAITING_MAX);
        let answering = Answering {
            host: self.host,
            hello: self.hello,
            seeds: self.seeds,
            speaker: self.speaker.clone(),
            name: self.name,
            stop: self.stop.clone(),
            open: None,
            has_failed: false,
        };
        let thread = thread::Builder::new().name(format!("compare {}", self.hello.session));
        match thread.spawn_scoped(self.scope, move || answering.run(&asked)) {
            Ok(_) => self.requests = Some(requests),
            Err(error) => warn!("{}: nothing is compared: {error}", self.name),
        }
    }
}

impl Drop for Comparer<'_, '_> {
    fn drop(&mut self) {
        self.stop.set();
        self.seeds.stop();
    }
}

/// The thread that answers.
struct Answering<'a> {
    host: &'a Host,
    hello: Hello,
    seeds: &'a Seeds<'a>,
    speaker: Speaker,
    name: &'a str,
    stop: StopFlag,
    open: Option<(Given, Opening)>,
    /// Nothing is told any more, and that is in the log.
    has_failed: bool,
}

impl Answering<'_> {
    fn run(mut self, asked: &Receiver<Compare>) {
        while !self.stop.is_set() {
            let request = match asked.recv_timeout(IDLE_LIMIT) {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) => {
                    self.open = None;
                    self.seeds.close();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let answer = self.answer(&request);
            if say(&self.speaker, &answer).is_err() {
                return;
            }
        }
    }

    fn answer(&mut self, request: &Compare) -> Compared {
        if self.has_failed {
            return request.unanswered();
        }
        self.try_answer(request).unwrap_or_else(|why| {
            if !matches!(why, Error::Stopped) {
                warn!(
                    "{}: what was read again is sent, since it cannot be compared: {why}",
                    self.name
                );
            }
            self.has_failed = true;
            self.open = None;
            request.unanswered()
        })
    }

    fn try_answer(&mut self, request: &Compare) -> Result<Compared> {
        let stop = self.stop.clone();
        let given = self.given(request.since())?;
        let given = given.map(|given| given.answer(request, &stop)).transpose()?;
        // The seed is opened only if it is needed.
        if let Some(answer) = &given
            && answer.same().iter().all(|is_same| *is_same)
        {
            return Ok(answer.clone());
        }
        let Some(seed) = self.seeds.get()? else {
            return Ok(given.unwrap_or_else(|| request.unanswered()));
        };
        let none = || request.answered(request.since(), vec![false; request.extents().len()]);
        let answer = given.unwrap_or_else(none);
        let mut seeded = Vec::new();
        for ((extent, hash), is_same) in request.extents().iter().zip(answer.same()) {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            seeded.push(!is_same && seed.has(extent, hash));
        }
        Ok(answer.with_seeded(seeded))
    }

    /// What the stream gives after this record or a later one; `None` if nothing is known of that.
    fn given(&mut self, since: Seq) -> Result<Option<&Given>> {
        if self.open.as_ref().is_none_or(|(given, _)| given.seq() < since) {
            // First the old one: there is a limit.
            self.open = None;
            let reader = self.reader()?;
            let acknowledged = reader.acknowledged().seq;
            // A stream that begins gives nothing.
            if acknowledged < since || acknowledged == Seq::new(0) {
                return Ok(None);
            }
            let Some(opening) = self.host.openings.take() else { return Ok(None) };
            self.open = Some((Given::open(reader, &self.stop)?, opening));
        }
        Ok(self.open.as_ref().map(|(given, _)| given))
    }

    /// The session's stream up to its acknowledged end.
    fn reader(&self) -> Result<SessionReader> {
        let repository = self.host.repository.repository();
        let (volume, session) = (self.hello.volume, self.hello.session);
        let header: SessionHeader = match repository.session(volume, session)? {
            Presence::Header(header) => header,
            Presence::Nothing => return Err(Error::NoSession { volume, session }),
        };
        SessionReader::open_pinned(repository.store(), header, "compare")
    }
}

fn say(speaker: &Speaker, answer: &Compared) -> Result<()> {
    Ok(speaker.send(FrameKind::Compared, &answer.to_bytes())?)
}
