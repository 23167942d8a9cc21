//! Runs a target: makes input after input, and says how they ended.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::mutate::mutate;
use crate::rng::Rng;
use crate::targets::Target;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Chooses the inputs.
    pub seed: u64,
    /// Their numbers.
    pub inputs: Range<u64>,
    /// How many run at a time.
    pub jobs: u64,
}

/// How inputs ended, with how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(pub BTreeMap<&'static str, u64>);

/// An input that a target could not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which target.
    pub target: &'static str,
    /// Which seed.
    pub seed: u64,
    /// Which input of it.
    pub number: u64,
    /// The input.
    pub input: Vec<u8>,
    /// What it did.
    pub said: String,
}

impl Tally {
    /// How many inputs there were.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// The ends of `target` that no input came to.
    pub fn missing(&self, target: &Target) -> Vec<&'static str> {
        target.reached.iter().copied().filter(|end| !self.0.contains_key(end)).collect()
    }

    fn add(&mut self, other: &Self) {
        for (end, count) in &other.0 {
            *self.0.entry(end).or_default() += count;
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seed, number, input, said } = self;
        writeln!(f, "{target}: {said}")?;
        write!(f, "  input:")?;
        for byte in input {
            write!(f, " {byte:02x}")?;
        }
        write!(
            f,
            "\n  to replay: cargo xtask fuzz --target {target} --seed {seed} --first {number} \
             --executions 1"
        )
    }
}

/// Runs a target with every input of the plan; stops at the first finding.
///
/// # Errors
/// The finding.
pub fn play(target: &Target, plan: &Plan) -> Result<Tally, Finding> {
    let jobs = plan.jobs.max(1);
    let stop = AtomicBool::new(false);
    let mut tally = Tally::default();
    let mut finding = None;
    std::thread::scope(|scope| {
        let stop = &stop;
        let parts: Vec<_> =
            (0..jobs).map(|job| scope.spawn(move || part(target, plan, job, jobs, stop))).collect();
        for part in parts {
            match part.join() {
                Ok(Ok(part)) => tally.add(&part),
                Ok(Err(found)) => finding = finding.take().or(Some(found)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    finding.map_or(Ok(tally), Err)
}

/// Every input whose number is `job` plus a multiple of `jobs`.
fn part(
    target: &Target,
    plan: &Plan,
    job: u64,
    jobs: u64,
    stop: &AtomicBool,
) -> Result<Tally, Finding> {
    let samples = (target.samples)();
    let mut tally = Tally::default();
    let mut input = Vec::new();
    let mut number = plan.inputs.start + job;
    // Relaxed: it only saves work.
    while number < plan.inputs.end && !stop.load(Ordering::Relaxed) {
        make(target, &samples, &mut Rng::new(plan.seed, number), &mut input);
        let end = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        match end {
            Ok(end) => *tally.0.entry(end).or_default() += 1,
            Err(panic) => {
                stop.store(true, Ordering::Relaxed);
                let (target, said) = (target.name, words_of(panic.as_ref()));
                return Err(Finding { target, seed: plan.seed, number, input, said });
            }
        }
        number += jobs;
    }
    Ok(tally)
}

/// Makes an input. A few are whole: they show that what is taken is taken.
fn make(target: &Target, samples: &[Vec<u8>], rng: &mut Rng, input: &mut Vec<u8>) {
    input.clear();
    input.extend_from_slice(&samples[rng.index(samples.len())]);
    if !rng.once_in(64) {
        let other = rng.index(samples.len());
        mutate(input, &samples[other], rng);
    }
    if let Some(repair) = target.repair
        && !rng.once_in(4)
    {
        repair(input, rng);
    }
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::targets::TARGETS;

    /// Inputs for each target in an ordinary test run; `cargo xtask fuzz` takes many more.
    const INPUTS: u64 = 30_000;

    fn plan(inputs: Range<u64>) -> Plan {
        Plan { seed: 1, inputs, jobs: 2 }
    }

    #[test]
    fn every_target_takes_what_comes_and_gets_past_its_first_checks() {
        for target in &TARGETS {
            let inputs = INPUTS / target.cost;
            let tally = play(target, &plan(0..inputs)).unwrap_or_else(|found| panic!("{found}"));
            assert_eq!(tally.total(), inputs);
            assert_eq!(tally.missing(target), Vec::<&str>::new(), "{}: {tally:?}", target.name);
        }
    }

    #[test]
    fn whole_samples_are_taken() {
        for target in &TARGETS {
            for (number, sample) in (target.samples)().iter().enumerate() {
                let end = (target.run)(sample);
                assert!(target.reached.contains(&end), "{} {number}: {end}", target.name);
            }
        }
    }

    /// Takes everything but an input of more than 40 bytes whose 20th says 0x5A.
    const BROKEN: Target = Target {
        name: "broken",
        cost: 1,
        samples: || vec![vec![0; 50]],
        repair: None,
        run: |input| {
            assert!(input.len() <= 40 || input[20] != 0x5A, "cannot take this");
            "taken"
        },
        reached: &["taken", "never"],
    };

    #[test]
    fn what_a_target_cannot_take_is_found_and_replays_alone() {
        let found = play(&BROKEN, &plan(0..100_000)).unwrap_err();
        assert!(found.said.contains("cannot take this") && found.input[20] == 0x5A);
        let again = play(&BROKEN, &plan(found.number..found.number + 1)).unwrap_err();
        assert_eq!(again, found);
        assert!(found.to_string().contains(&format!("--first {}", found.number)));
    }

    #[test]
    fn an_end_that_no_input_comes_to_is_noticed() {
        let idle = Target { run: |_| "taken", ..BROKEN };
        let tally = play(&idle, &plan(0..100)).unwrap();
        assert_eq!(tally.missing(&idle), ["never"]);
    }
}
