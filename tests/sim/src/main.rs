//! `snapless-sim`: plays runs and prints the seed, the step, the broken rule and the replay command
//! of the first run that fails.

use std::process::ExitCode;

use clap::Parser;
use snapless_sim::{Batch, StoreBatch};

/// Plays the real engine under a seeded scheduler and checks every rule against a model.
///
/// Exit status: 0 if every run kept every rule, 1 if one did not, 2 if the command line is wrong.
#[derive(Parser)]
#[command(
    name = "snapless-sim",
    after_help = "Examples:\n  snapless-sim --seed 42\n  snapless-sim --seeds 2000\n  \
                  snapless-sim --store --seeds 2000\n  snapless-sim --store --depth 3"
)]
struct Arguments {
    #[command(flatten)]
    batch: Batch,
    #[command(flatten)]
    store: StoreBatch,
    /// Do not look for a smaller run that fails the same way
    #[arg(long)]
    no_shrink: bool,
}

fn main() -> ExitCode {
    let Arguments { batch, store, no_shrink } = Arguments::parse();
    if store.is_asked_for() {
        return match store.play(&batch) {
            Ok(total) => {
                println!("nothing was lost: {total}");
                ExitCode::SUCCESS
            }
            Err(failure) => {
                println!("{failure}");
                ExitCode::FAILURE
            }
        };
    }
    match batch.play(|_, _| ()) {
        Ok(total) => {
            println!("every rule was kept: {total}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            if !no_shrink {
                println!("smaller: {}", snapless_sim::shrink(&failure));
            }
            ExitCode::FAILURE
        }
    }
}
