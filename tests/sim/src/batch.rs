//! Many runs, several at a time; of several failures, the one of the lowest seed is reported.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Args;

use crate::failure::Failure;
use crate::options::Options;
use crate::report::Report;
use crate::runner::run;

/// Runs of one seed after the other.
#[derive(Clone, Debug, Args)]
pub struct Batch {
    // The first run; the others differ in their seed only.
    #[command(flatten)]
    first: Options,
    /// How many seeds, one after the other; 0: until one fails
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Runs at a time [default: one for each processor]
    #[arg(long)]
    jobs: Option<usize>,
}

impl Batch {
    /// `seeds` runs from `first` on, as many at a time as there are processors.
    pub fn new(first: Options, seeds: u64) -> Self {
        Self { first, seeds, jobs: None }
    }

    /// The seeds, in order.
    pub(crate) fn all_seeds(&self) -> impl Iterator<Item = u64> + use<> {
        let count = if self.seeds == 0 { u64::MAX } else { self.seeds };
        let first = self.first.seed;
        (0..count).map(move |index| first.wrapping_add(index))
    }

    /// Steps of each run.
    pub(crate) fn steps(&self) -> u64 {
        self.first.steps
    }

    /// Plays them; `on_report` gets the report of every run that kept the rules, in no particular
    /// order.
    pub fn play(&self, on_report: impl Fn(u64, &Report) + Sync) -> Result<Report, Box<Failure>> {
        let next = AtomicU64::new(0);
        let count = if self.seeds == 0 { u64::MAX } else { self.seeds };
        // Runs above this one need not be played: a lower one has failed.
        let stop_at = AtomicU64::new(count);
        let outcome = Mutex::new((Report::default(), None::<Box<Failure>>));
        let worker = || {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= stop_at.load(Ordering::Relaxed) {
                    return;
                }
                let seed = self.first.seed.wrapping_add(index);
                let result = run(&Options { seed, ..self.first.clone() });
                let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(report) => {
                        outcome.0 += report;
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
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        thread::scope(|scope| {
            for _ in 0..self.jobs.unwrap_or_else(processors).max(1) {
                scope.spawn(worker);
            }
        });
        match outcome.into_inner().unwrap_or_else(PoisonError::into_inner) {
            (_, Some(failure)) => Err(failure),
            (total, None) => Ok(total),
        }
    }
}
