//! Sinks: where records go.
//!
//! A volume's loop serves a [`Pace`] (which discards records at once, or behind a link of a given
//! rate and latency); the others copy or send on a thread of their own ([`server`], [`image`]).
//! Rule: a record that a sink has taken never goes back to the queue;
//! [`Progress`](crate::run::Progress) has the last one.

pub mod digest;
pub mod image;
pub mod server;

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use snapless_engine::{Drained, Step};
use snapless_types::EpochId;

use crate::error::{Error, Result};
use crate::host::Signal;
use crate::run::Run;
use crate::spec::SinkSpec;
use digest::Digest;

/// How often a sink's thread checks for the end of its session.
const LOOK: Duration = Duration::from_millis(50);

/// A sink that the volume's loop serves.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    latency: Duration,
    digest: Option<Arc<Digest>>,
    /// When the link is free.
    free_at: Instant,
    /// Acknowledgements in transit.
    acknowledgements: std::collections::VecDeque<(Instant, EpochId)>,
}

impl Pace {
    /// How far ahead of the link records are taken, as a link's buffers would.
    const AHEAD: Duration = Duration::from_millis(5);

    /// The sink of `spec`; `None` if it has a thread.
    pub fn new(spec: &SinkSpec, digest: Option<Arc<Digest>>) -> Option<Self> {
        let (bytes_per_second, latency_ms) = match spec {
            SinkSpec::Null { .. } => (0, 0),
            SinkSpec::Throttled { bytes_per_second, latency_ms, .. } => {
                ((*bytes_per_second).max(1), *latency_ms)
            }
            SinkSpec::Image { .. } | SinkSpec::Server { .. } => return None,
        };
        Some(Self {
            bytes_per_second,
            latency: Duration::from_millis(latency_ms),
            digest,
            free_at: Instant::now(),
            acknowledgements: std::collections::VecDeque::new(),
        })
    }

    /// Takes the records that the link can carry now; returns when to call again without a wake-up.
    pub fn serve(&mut self, run: &Run) -> Option<Instant> {
        let mut now = Instant::now();
        self.acknowledge(run, now);
        loop {
            if self.bytes_per_second > 0 {
                now = Instant::now();
                let too_early = self.free_at.saturating_duration_since(now + Self::AHEAD);
                if !too_early.is_zero() {
                    return Some(self.next_event(now + too_early));
                }
            }
            let Step::Do(drained) = run.session.drain(u64::MAX) else { break };
            self.take(run, drained, now);
        }
        self.acknowledgements.front().map(|(due, _)| *due)
    }

    fn take(&mut self, run: &Run, drained: Drained, now: Instant) {
        let record = drained.record();
        if let Some(digest) = &self.digest {
            digest.take(&record, run.queue.payload(&drained));
        }
        let bytes = drained.memory().map_or(0, |memory| memory.len);
        if self.bytes_per_second > 0 {
            let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
            let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.free_at = self.free_at.max(now) + time;
        }
        run.session.drained(drained);
        run.progress.reach(record.seq.get());
        if record.kind == snapless_types::RecordKind::EpochEnd {
            if self.latency.is_zero() && self.bytes_per_second == 0 {
                acknowledge(run, record.epoch);
            } else {
                let due = self.free_at.max(now) + self.latency;
                self.acknowledgements.push_back((due, record.epoch));
            }
        }
    }

    fn acknowledge(&mut self, run: &Run, now: Instant) {
        while let Some(&(due, epoch)) = self.acknowledgements.front()
            && due <= now
        {
            acknowledge(run, epoch);
            self.acknowledgements.pop_front();
        }
    }

    fn next_event(&self, free_at: Instant) -> Instant {
        self.acknowledgements.front().map_or(free_at, |(due, _)| free_at.min(*due))
    }
}

/// Notes that an epoch is durable.
fn acknowledge(run: &Run, epoch: EpochId) {
    if run.session.acknowledge(epoch).is_err() {
        eprintln!("error: the sink acknowledges epoch {epoch}, which it cannot have");
        run.progress.fail();
    }
}

/// The work of a sink's thread.
pub trait Serve: Send {
    /// Takes some records; [`Step::Do`] if there may be more now.
    fn serve(&mut self, run: &Run) -> Result<Step<()>>;
}

/// Starts the thread of a sink.
pub fn start(
    mut sink: impl Serve + 'static,
    run: Arc<Run>,
    signal: Arc<Signal>,
) -> Result<JoinHandle<()>> {
    let work = move || {
        loop {
            match sink.serve(&run) {
                Ok(Step::Do(()) | Step::Again) => {}
                Ok(Step::Wait(_)) => {
                    signal.wait(LOOK);
                }
                Ok(Step::Ended) => return,
                Err(error) => {
                    eprintln!("error: {error}");
                    run.progress.fail();
                    // Rule LOSS (rules.md#loss): records in the queue are lost.
                    return run.session.detach();
                }
            }
        }
    };
    thread::Builder::new().name("sink".to_owned()).spawn(work).map_err(Error::Thread)
}
