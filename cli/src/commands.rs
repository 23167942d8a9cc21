//! The commands, one module each.

mod administer;
mod common;
pub mod completions;
mod doctor;
mod enroll;
mod points;
mod predict;
mod service;
mod status;
mod stop;
mod support_bundle;
mod verify;
mod version;
mod volumes;

use std::io::Write;
use std::path::Path;

use snapless_control::channel::PIPE;
use snapless_control::message::Request;
use snapless_driver_client::{Driver, paths};

use crate::arguments::{Command, ProtectArguments, ThrottleArguments, VolumeArguments};
use crate::error::CliError;

/// Carries out `command`.
pub fn run(command: &Command, driver: &dyn Driver, out: &mut dyn Write) -> Result<(), CliError> {
    let pipe = Path::new(PIPE);
    let ask = |request, json, out: &mut dyn Write| administer::run(request, json, pipe, out);
    match command {
        Command::Doctor { json } => doctor::run(*json, driver, out),
        Command::SupportBundle(arguments) => support_bundle::run(arguments, driver, out),
        Command::Volumes { json } => volumes::run(*json, driver, out),
        Command::Status(arguments) => status::run(arguments, driver, &paths::state_dir(), out),
        Command::Stop(arguments) => stop::run(arguments, driver, out),
        Command::Verify(arguments) => verify::run(arguments, driver, &paths::state_dir(), out),
        Command::Enroll(arguments) => enroll::run(arguments, &paths::state_dir(), out),
        Command::Protect(ProtectArguments { volume, to, json }) => {
            let (volume, server) = (volume.to_string(), to.clone());
            ask(Request::Protect { volume, server }, *json, out)
        }
        Command::Unprotect(VolumeArguments { volume, json }) => {
            ask(Request::Unprotect { volume: volume.to_string() }, *json, out)
        }
        Command::Pause(VolumeArguments { volume, json }) => {
            ask(Request::Pause { volume: volume.to_string() }, *json, out)
        }
        Command::Resume(VolumeArguments { volume, json }) => {
            ask(Request::Resume { volume: volume.to_string() }, *json, out)
        }
        Command::Throttle(ThrottleArguments { rate, json, .. }) => {
            ask(Request::Throttle { bytes_per_second: *rate }, *json, out)
        }
        Command::Predict(arguments) => predict::run(arguments, driver, out),
        Command::Reload { json } => ask(Request::Reload, *json, out),
        Command::Points(VolumeArguments { volume, json }) => points::list(volume, *json, pipe, out),
        Command::Bookmark(arguments) => points::bookmark(arguments, pipe, out),
        Command::Completions { shell } => completions::run(*shell, out),
        Command::Version { json } => version::run(*json, out),
    }
}
