//! Many runs, several at a time; of several failures, the one of the lowest seed is reported.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::failure::Failure;
use crate::options::Options;
use crate::runner::run;
use crate::world::Report;

/// Runs of one seed after the other.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The first run; the others differ in their seed only.
    pub first: Options,
    /// How many; 0: until one fails.
    pub seeds: u64,
    /// How many at a time.
    pub jobs: usize,
}

impl Batch {
    /// `seeds` runs from `first` on, as many at a time as there are processors.
    pub fn new(first: Options, seeds: u64) -> Self {
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        Self { first, seeds, jobs }
    }

    /// Plays them; `on_report` gets the report of every run that kept the rules, in no particular
    /// order.
    pub fn play(&self, on_report: impl Fn(u64, &Report) + Sync) -> Result<Total, Box<Failure>> {
        let next = AtomicU64::new(0);
        let count = if self.seeds == 0 { u64::MAX } else { self.seeds };
        // Runs above this one need not be played: a lower one has failed.
        let stop_at = AtomicU64::new(count);
        let outcome = Mutex::new((Total::default(), None::<Box<Failure>>));
        let worker = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= stop_at.load(Ordering::Relaxed) {
                    return;
                }
                let seed = self.first.seed.wrapping_add(index);
                let result = run(&Options { seed, ..self.first.clone() });
                let mut outcome = outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                match result {
                    Ok(report) => {
                        outcome.0.add(&report);
                        on_report(seed, &report);
                    }
                    Err(failure) => {
                        if index < stop_at.fetch_min(index, Ordering::Relaxed) {
                            outcome.1 = Some(failure);
                        }
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(worker);
            }
        });
        match outcome.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()) {
            (_, Some(failure)) => Err(failure),
            (total, None) => Ok(total),
        }
    }
}

/// What the runs of a batch did in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Total {
    /// Runs.
    pub runs: u64,
    /// All their trace hashes, in an order-independent sum.
    pub trace: u64,
    /// Steps.
    pub steps: u64,
    /// Writes.
    pub writes: u64,
    /// Writes held and captured.
    pub held: u64,
    /// Writes cancelled while they were held.
    pub cancelled: u64,
    /// Runs that ended because the power failed.
    pub power_cuts: u64,
    /// Restorable points that were compared with the disk's history.
    pub points: u64,
    /// Points that the real server restored.
    pub restored: u64,
    /// Trims and writes of zeros in the stream.
    pub clearings: u64,
    /// Blocks that were skipped.
    pub skipped: u64,
    /// Gaps.
    pub gaps: u64,
    /// Gaps that ended while applications went on writing.
    pub converged: u64,
    /// Times that a service was lost.
    pub losses: u64,
    /// Runs whose base image was complete and exact.
    pub bases: u64,
}

impl Total {
    fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.trace = self.trace.wrapping_add(report.trace);
        self.steps += report.steps;
        self.writes += report.writes;
        self.held += report.held;
        self.cancelled += report.cancelled;
        self.power_cuts += u64::from(report.power_failed);
        self.points += report.points;
        self.restored += report.restored;
        self.clearings += report.clearings;
        self.skipped += report.skipped;
        self.gaps += report.gaps;
        self.converged += report.converged;
        self.losses += report.losses;
        self.bases += u64::from(report.base_complete);
    }
}

impl fmt::Display for Total {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs kept every rule (trace {:016x}): {} steps, {} writes ({} held, {} \
             cancelled, {} clearings), {} blocks skipped, {} points ({} \
             restored), {} gaps ({} made good under load), {} losses of \
             the service, {} power cuts, {} complete base images",
            self.runs,
            self.trace,
            self.steps,
            self.writes,
            self.held,
            self.cancelled,
            self.clearings,
            self.skipped,
            self.points,
            self.restored,
            self.gaps,
            self.converged,
            self.losses,
            self.power_cuts,
            self.bases
        )
    }
}
