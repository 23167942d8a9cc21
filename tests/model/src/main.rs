//! `snapless-model`: explores a check given by its sizes and budgets.

use std::process::ExitCode;
use std::thread;
use std::time::Instant;

use clap::Parser;
use snapless_model::Check;
use snapless_model::bounds::{Budget, Sizes};
use snapless_model::sabotage::Sabotage;

/// Tries every order of the steps of driver, service, server and environment, within bounds.
///
/// Without budgets nothing happens but a first sync: name events, and how often each may happen.
/// Exit status: 0 if every property holds, 1 if one does not, 2 if the command line is wrong.
#[derive(Parser)]
#[command(
    name = "snapless-model",
    after_help = "Examples:\n  snapless-model --writes 2 --cuts 2 --no-gap\n  \
                  snapless-model --writes 2 --service-crashes 1 --losses 1\n  \
                  snapless-model --writes 1 --reboots 1 --writes-behind 1\n  \
                  snapless-model --writes 2 --cuts 1 --sabotage acknowledges-early"
)]
struct Arguments {
    #[command(flatten)]
    sizes: Sizes,
    #[command(flatten)]
    budget: Budget,
    /// Expect no gap: the queue has room for everything, and nothing but service, server and link
    /// fails
    #[arg(long)]
    no_gap: bool,
    /// Go on until this property is broken, whatever others are: the begin of its name
    #[arg(long)]
    seek: Option<String>,
    /// Break a step on purpose
    #[arg(long)]
    sabotage: Option<Sabotage>,
}

fn main() -> ExitCode {
    let Arguments { sizes, budget, no_gap, seek, sabotage } = Arguments::parse();
    let check = Check::new(sizes, budget, sabotage);
    let check = if no_gap { check.without_gap() } else { check };
    let check = seek.map_or(check, |name| check.seeking(&name));
    let begun = Instant::now();
    let report = check.run(thread::available_parallelism().map_or(1, usize::from));
    println!("{report}\n{:.1} s", begun.elapsed().as_secs_f64());
    ExitCode::from(u8::from(report.broken.is_some()))
}
