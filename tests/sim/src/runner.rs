//! Plays one run, turns errors and panics into a [`Failure`], and makes failing runs smaller.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use clap::ValueEnum;

use crate::failure::{Failure, Rule};
use crate::options::{Fault, Options};
use crate::plan::MOST_WRITERS;
use crate::report::Report;
use crate::world::World;

/// Plays one run.
pub fn run(options: &Options) -> Result<Report, Box<Failure>> {
    silence_panics();
    let mut world = World::new(options);
    PLAYING.set(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| world.run()));
    PLAYING.set(false);
    let (rule, what) = match outcome {
        Ok(Ok(report)) => return Ok(report),
        Ok(Err(broken)) => (Some(broken.rule), broken.what),
        // The engine's assertions name their rule.
        Err(_) => Rule::of_message(LAST_PANIC.take()),
    };
    Err(Box::new(Failure { options: options.clone(), step: world.step.0, rule, what }))
}

/// Looks for a smaller run that breaks the same rule: fewer steps, fewer writers, fewer faults.
pub fn shrink(failure: &Failure) -> Failure {
    let mut best = failure.clone();
    let keeps = |best: &mut Failure, options: Options| match run(&options) {
        Err(found) if found.rule == failure.rule => {
            *best = *found;
            true
        }
        _ => false,
    };
    for &fault in Fault::value_variants() {
        let mut options = best.options.clone();
        options.without.push(fault);
        keeps(&mut best, options);
    }
    for writers in 1..MOST_WRITERS {
        let options = Options { writers: Some(writers), ..best.options.clone() };
        if keeps(&mut best, options) {
            break;
        }
    }
    let mut step = best.options.steps / 2;
    while step > 0 {
        let options = Options { steps: best.options.steps - step, ..best.options.clone() };
        if options.steps == 0 || !keeps(&mut best, options) {
            step /= 2;
        }
        step = step.min(best.options.steps - 1);
    }
    best
}

thread_local! {
    /// This thread plays a run: what panics is caught and reported.
    static PLAYING: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: Cell<String> = const { Cell::new(String::new()) };
}

/// Keeps the messages of panics in a run, instead of printing them.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !PLAYING.get() {
                previous(info);
                return;
            }
            let message = info.payload_as_str().unwrap_or("a panic without a message");
            let place = info.location().map(|place| format!(" ({place})")).unwrap_or_default();
            LAST_PANIC.set(format!("{message}{place}"));
        }));
    });
}
