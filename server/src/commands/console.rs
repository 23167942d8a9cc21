//! What the subcommands share: exit codes, colours, signals, logs, reports as JSON.

use std::io::Write;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use log::warn;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::floor::Shortage;
use crate::repository::Repository;
use crate::restore::PassedOver;
use crate::stop::StopFlag;
use crate::time;

use super::output;

/// Failed.
pub(super) const EXIT_FAILED: u8 = 1;
/// The point cannot be restored.
pub(super) const EXIT_NOT_RESTORABLE: u8 = 3;
/// Damage was found.
pub(super) const EXIT_DAMAGE: u8 = 4;
/// Restored, with holes.
pub(super) const EXIT_HOLES: u8 = 5;
/// A point and an image differ.
pub(super) const EXIT_DIFFERS: u8 = 6;
/// Stopped by Ctrl-C or SIGTERM.
pub(super) const EXIT_STOPPED: u8 = 130;

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const POOR: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();

/// Returns a flag that Ctrl-C, SIGTERM and SIGHUP set; they also call `also`.
pub(super) fn on_signal(also: impl Fn() + Send + 'static) -> Result<StopFlag> {
    let stop = StopFlag::default();
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        flag.set();
        also();
        output::end_if_stalled(EXIT_STOPPED);
    })?;
    Ok(stop)
}

/// Prints a report as JSON: all of it, or none. What keeps it from being printed ends the command
/// when its work is done: see [`out`].
pub(super) fn print_json(report: &(impl Serialize + ?Sized)) -> Result<()> {
    let failed = |error: serde_json::Error| Error::Report(error.into());
    let mut text = serde_json::to_vec_pretty(report).map_err(failed)?;
    text.push(b'\n');
    output::whole(&text);
    Ok(())
}

/// Prints a report: as JSON, or as `print` does it for people.
pub(super) fn tell<R: Serialize + ?Sized>(
    report: &R,
    as_json: bool,
    print: impl FnOnce(&R),
) -> Result<()> {
    if as_json {
        return print_json(report);
    }
    print(report);
    Ok(())
}

/// Tells if the server takes nothing more, for want of space.
pub(super) fn warn_of_shortage(repository: &Repository) {
    match Shortage::find(repository) {
        Ok(None) => {}
        Ok(Some(shortage)) => warn!("{shortage}"),
        Err(error) => warn!("{error}"),
    }
}

/// What may surprise about a point that was found.
pub(super) fn point_notes(passed_over: &[PassedOver], gap_since: Option<&str>) -> Vec<String> {
    let newer = passed_over.iter();
    let newer = newer
        .map(|PassedOver { session, why }| format!("not from the newer session {session}: {why}"));
    let gap = gap_since.map(|since| {
        format!("the volume is in a gap since {since}; this is the last point before it")
    });
    newer.chain(gap).collect()
}

/// Logs to standard error, with the time: for a service that runs on. `RUST_LOG` sets the level.
pub(super) fn log_as_service() {
    let env = env_logger::Env::default().default_filter_or("info");
    env_logger::Builder::from_env(env)
        .format(|out, record| {
            let style = out.default_level_style(record.level());
            let (time, level) = (time::to_text(time::now()), record.level());
            writeln!(out, "{time} {style}{level:<5}{style:#} {}", record.args())
        })
        .init();
}

/// Logs warnings to standard error as notes to who runs the command.
pub(super) fn log_as_command() {
    let env = env_logger::Env::default().default_filter_or("warn");
    env_logger::Builder::from_env(env)
        .format(|out, record| writeln!(out, "{POOR}note{POOR:#}: {}", record.args()))
        .init();
}

/// So many seconds in their largest unit.
pub(super) fn duration(seconds: u64) -> indicatif::HumanDuration {
    indicatif::HumanDuration(Duration::from_secs(seconds))
}

/// A number of bytes with a binary unit.
pub(super) fn bytes(count: u64) -> indicatif::BinaryBytes {
    indicatif::BinaryBytes(count)
}
