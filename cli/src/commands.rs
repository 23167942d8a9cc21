//! The commands, one module each.

mod administer;
mod common;
pub mod completions;
mod doctor;
mod enroll;
mod group_points;
pub mod man;
mod points;
mod predict;
mod restore;
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
use snapless_installer::rescue;

use crate::arguments::{Command, Of, PointsArguments, ThrottleArguments, VolumeArguments};
use crate::error::CliError;

/// Carries out `command`.
pub fn run(command: &Command, driver: &dyn Driver, out: &mut dyn Write) -> Result<(), CliError> {
    carry_out(command, driver, Path::new(PIPE), out)
}

/// Carries it out with the service that listens at `pipe`.
fn carry_out(
    command: &Command,
    driver: &dyn Driver,
    pipe: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let ask = |request, json, out: &mut dyn Write| administer::run(request, json, pipe, out);
    match command {
        Command::Doctor { json } => doctor::run(*json, driver, out),
        Command::SupportBundle(arguments) => support_bundle::run(arguments, driver, out),
        Command::Volumes { json } => volumes::run(*json, driver, out),
        Command::Status(arguments) => status::run(arguments, driver, &paths::state_dir(), out),
        Command::Stop(arguments) => stop::run(arguments, driver, out),
        Command::Verify(arguments) => verify::run(arguments, driver, &paths::state_dir(), out),
        Command::Enroll(arguments) => enroll::run(arguments, &paths::state_dir(), out),
        Command::Protect(arguments) => administer::protect(arguments, pipe, out),
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
        Command::Points(PointsArguments { of, json }) => match (&of.volume, &of.group) {
            (Some(volume), _) => points::list(volume, *json, pipe, out),
            (None, group) => {
                group_points::list(group.as_deref().unwrap_or_default(), *json, pipe, out)
            }
        },
        Command::Bookmark(arguments) => match arguments.target()? {
            (Of::Volume(volume), name) => points::bookmark((&volume, name), arguments, pipe, out),
            (Of::Group(group), name) => {
                group_points::bookmark(&group, name, arguments.json, pipe, out)
            }
        },
        Command::Restore(arguments) => restore::run(arguments, driver, &paths::config_file(), out),
        Command::Rescue { to } => Ok(rescue::run(to, out)?),
        Command::Completions { shell } => completions::run(*shell, out),
        Command::Man { folder } => man::run(folder, out),
        Command::Version { json } => version::run(*json, out),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use clap::Parser;
    use snapless_control::channel::Channel;
    use snapless_control::message::{Answer, Done, Made};
    use snapless_link::question::{Bookmarked, Points};

    use super::*;
    use crate::arguments::Arguments;
    use crate::test_driver::TestDriver;
    use crate::test_output::Full;

    /// The answer of a service that does what it is asked.
    fn answer(request: Request) -> Answer {
        let text = || "text".to_owned();
        match request {
            Request::Points { .. } => Answer::Points(Points {
                volume: text(),
                latest: None,
                sessions: Vec::new(),
                bookmarks: Vec::new(),
                left_out: 0,
            }),
            Request::Bookmark { name, .. } => Answer::Bookmarked(Box::new(Made {
                named: Bookmarked {
                    volume: text(),
                    session: text(),
                    name,
                    time: text(),
                    consistency: None,
                },
                writers: Vec::new(),
                notes: Vec::new(),
            })),
            _ => Answer::Done(Done {
                volume: None,
                server: None,
                changed: true,
                paused: false,
                volumes: 1,
                schedule: None,
            }),
        }
    }

    #[test]
    fn a_report_that_cannot_be_printed_has_an_exit_code_and_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("control");
        let channel = Channel::open(&pipe).unwrap();
        thread::spawn(move || channel.serve(answer));
        let file = |name| folder.path().join(name).display().to_string();
        let bundle = file("bundle.zip");
        let with_json = [
            "volumes",
            "protect D:",
            "unprotect D:",
            "pause D:",
            "resume D:",
            "throttle 1MiB",
            "reload",
            "points D:",
            "bookmark D: name",
            "status",
            "stop --volume D:",
            "verify D:",
            "version",
            &format!("support-bundle --to {bundle}"),
        ];
        let mut lines: Vec<String> = with_json.map(|line| format!("{line} --json")).into();
        lines.extend(with_json.map(str::to_owned));
        lines.extend(["completions bash".to_owned(), format!("man {}", file("man1"))]);
        lines.push(format!("rescue --to {}", file("rescue.cmd")));
        for line in lines {
            _ = std::fs::remove_file(&bundle);
            let words = ["snapless"].into_iter().chain(line.split(' '));
            let command = Arguments::try_parse_from(words).unwrap().command;
            let driver = TestDriver::protecting();
            let error = carry_out(&command, &driver, &pipe, &mut Full).expect_err(&line);
            let text = error.to_string();
            assert_eq!(error.code(), 1, "{line}: {text}");
            assert!(text.starts_with("cannot print the report: "), "{line}: {text}");
            assert_eq!(text.lines().count(), 1, "{line}: {text}");
        }
    }
}
