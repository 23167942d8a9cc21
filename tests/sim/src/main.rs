//! `snapless-sim`: plays runs from the command line, and prints the seed, the step, the rule and the replay
//! command of the first that fails.
//!
//! Exit status: 0 if every run kept every rule, 1 if one did not, 2 if the command line makes no sense.

use std::process::ExitCode;

use snapless_sim::{Batch, Options, Report};

const USAGE: &str = "\
Plays the real engine under a seeded scheduler and checks every rule against a model.

usage: snapless-sim [--seed N] [--seeds N] [--steps N] [--jobs N] [--writers N]
                    [--without FAULT,FAULT…] [--sabotage NAME] [--no-shrink]

  --seed N       the first seed (default 1); with --seeds 1, the default, the only one
  --seeds N      how many seeds, one after the other; 0: until one fails
  --steps N      steps under load in each run (default 3000)
  --jobs N       runs at a time (default: one for each processor)
  --writers N    no more writers than this
  --without …    leave these faults out
  --sabotage …   break the host in this way: the run has to fail
  --no-shrink    do not look for a smaller run that fails the same way

examples:
  snapless-sim --seed 42
  snapless-sim --seed 1 --seeds 2000
";

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("snapless-sim: {message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if arguments.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let one = arguments.batch.seeds == 1;
    let outcome = arguments.batch.play(|seed, report| {
        if one {
            print_run(seed, report);
        }
    });
    match outcome {
        Ok(total) => {
            println!("{total}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            if arguments.shrinks {
                let small = snapless_sim::shrink(&failure);
                println!("smaller: {small}");
            }
            ExitCode::FAILURE
        }
    }
}

fn print_run(seed: u64, report: &Report) {
    println!(
        "seed {seed}: trace {:016x}, {} steps, {} writes ({} held), {} records, {} points, {} gaps, \
         service lost {} times, base image {}",
        report.trace,
        report.steps,
        report.writes,
        report.held,
        report.records,
        report.points,
        report.gaps,
        report.losses,
        if report.base_complete { "complete" } else { "lost" },
    );
}

struct Arguments {
    batch: Batch,
    shrinks: bool,
    help: bool,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Self { batch: Batch::new(Options::new(1), 1), shrinks: true, help: false };
        while let Some(word) = words.next() {
            let options = &mut parsed.batch.first;
            match word.as_str() {
                "--help" | "-h" => parsed.help = true,
                "--no-shrink" => parsed.shrinks = false,
                "--seed" => options.seed = number(&word, words.next())?,
                "--seeds" => parsed.batch.seeds = number(&word, words.next())?,
                "--steps" => options.steps = number(&word, words.next())?,
                "--jobs" => parsed.batch.jobs = number(&word, words.next())?,
                "--writers" => options.writers = Some(number(&word, words.next())?),
                "--without" => {
                    for name in value(&word, words.next())?.split(',') {
                        options.without.push(name.parse().map_err(|error| format!("{error}"))?);
                    }
                }
                "--sabotage" => {
                    let name = value(&word, words.next())?;
                    options.sabotage = Some(name.parse().map_err(|error| format!("{error}"))?);
                }
                _ => return Err(format!("unknown argument \"{word}\"")),
            }
        }
        Ok(parsed)
    }
}

fn value(option: &str, word: Option<String>) -> Result<String, String> {
    word.ok_or_else(|| format!("{option} needs a value"))
}

fn number<T: std::str::FromStr>(option: &str, word: Option<String>) -> Result<T, String> {
    let word = value(option, word)?;
    word.parse().map_err(|_| format!("{option} needs a number, not \"{word}\""))
}
