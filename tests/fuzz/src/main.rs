//! `snapless-fuzz`: runs the targets from the command line. `cargo xtask fuzz` builds and calls it.
//!
//! Exit status: 0 if no target found anything, 1 if one did or if its inputs did not get anywhere.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use snapless_fuzz::{Plan, TARGETS, Target, play};

/// Feeds every parser of bytes from outside with broken variants of what it takes.
#[derive(Parser)]
#[command(bin_name = "cargo xtask fuzz")]
struct Arguments {
    /// Inputs for each target, fewer for those where one takes longer
    #[arg(long, default_value_t = 10_000_000)]
    executions: u64,
    /// Only this target
    #[arg(long, value_parser = target_named)]
    target: Option<&'static Target>,
    /// Chooses the inputs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Number of the first input: to replay a finding
    #[arg(long)]
    first: Option<u64>,
    /// Inputs at a time; as many as there are processors if absent
    #[arg(long)]
    jobs: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let jobs = arguments.jobs.unwrap_or(processors);
    // Findings are told with their inputs; what a panic prints by itself is noise among them.
    std::panic::set_hook(Box::new(|_| {}));
    let targets: Vec<&Target> = match arguments.target {
        Some(target) => vec![target],
        None => TARGETS.iter().collect(),
    };
    let mut passed = true;
    let mut total = 0;
    for target in targets {
        let begun = Instant::now();
        let first = arguments.first.unwrap_or(0);
        // A replay is of as many inputs as it says.
        let cost = if arguments.first.is_some() { 1 } else { target.cost };
        let inputs = first..first + (arguments.executions / cost).max(1);
        let plan = Plan { seed: arguments.seed, inputs, jobs };
        match play::play(target, &plan) {
            Ok(tally) => {
                let seconds = begun.elapsed().as_secs_f64();
                let (name, count) = (target.name, tally.total());
                total += count;
                println!("{name}: {count} inputs in {seconds:.1} s, nothing found");
                for (end, count) in &tally.0 {
                    println!("  {count:>10}  {end}");
                }
                let missing = tally.missing(target);
                if arguments.first.is_none() && !missing.is_empty() {
                    println!("{name}: no input came to {}", missing.join(", "));
                    passed = false;
                }
            }
            Err(finding) => {
                println!("{finding}");
                passed = false;
            }
        }
    }
    println!("{total} inputs (--seed {})", arguments.seed);
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn target_named(name: &str) -> Result<&'static Target, String> {
    let found = TARGETS.iter().find(|target| target.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        format!("there is no such target; there are {}", names.join(", "))
    })
}
