//! The subcommands: arguments in, report out. The work is done by the modules above.

mod list;
mod progress;
mod restore;
mod serve;
mod verify;

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::cli::{Cli, Command};
use crate::error::{Error, Result};
use crate::stop::StopFlag;

/// Failed.
const EXIT_FAILED: u8 = 1;
/// The point cannot be restored.
const EXIT_NOT_RESTORABLE: u8 = 3;
/// Damage was found.
const EXIT_DAMAGE: u8 = 4;
/// Stopped by Ctrl-C or SIGTERM.
const EXIT_STOPPED: u8 = 130;

const GOOD: Style = AnsiColor::Green.on_default();
const POOR: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Runs the subcommand of the command line.
pub fn run(cli: Cli) -> ExitCode {
    let result = match cli.command {
        Command::Serve(args) => serve::run(&args),
        Command::Restore(args) => restore::run(args),
        Command::List(args) => list::run(&args),
        Command::Verify(args) => verify::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            anstream::eprintln!("{BAD}error{BAD:#}: {error}");
            ExitCode::from(match error {
                Error::NotRestorable { .. } => EXIT_NOT_RESTORABLE,
                Error::Damaged { .. } => EXIT_DAMAGE,
                Error::Stopped => EXIT_STOPPED,
                _ => EXIT_FAILED,
            })
        }
    }
}

/// Returns a flag that Ctrl-C, SIGTERM and SIGHUP set; they also call `also`.
fn on_signal(also: impl Fn() + Send + 'static) -> Result<StopFlag> {
    let stop = StopFlag::default();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        flag.set();
        also();
    })?;
    Ok(stop)
}

/// Prints a report as JSON.
fn print_json(report: &impl Serialize) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, report).map_err(|error| Error::Report(error.into()))?;
    writeln!(out).map_err(Error::Report)
}

/// A number of bytes with a binary unit.
fn bytes(count: u64) -> indicatif::BinaryBytes {
    indicatif::BinaryBytes(count)
}
