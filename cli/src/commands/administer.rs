//! `snapless protect`, `unprotect`, `pause`, `resume`, `reload`: asks the service, which changes
//! its configuration and follows it.

use std::io::Write;
use std::path::Path;

use serde::Serialize;
use snapless_control::message::{Answer, Done, Request, Scheduled};
use snapless_service::schedule::InForce;
use snapless_service::size::Size;

use super::common::print_json;
use super::service::{ask, other_answer};
use crate::arguments::ProtectArguments;
use crate::error::CliError;

/// What is printed for scripts.
#[derive(Serialize)]
struct Line<'a> {
    volume: Option<&'a str>,
    server: Option<&'a str>,
    changed: bool,
    paused: bool,
    schedule: Option<Scheduled>,
}

impl<'a> Line<'a> {
    fn of(done: &'a Done) -> Self {
        let Done { volume, server, changed, paused, schedule, .. } = done;
        let (volume, server) = (volume.as_deref(), server.as_deref());
        let (changed, paused, schedule) = (*changed, *paused, *schedule);
        Self { volume, server, changed, paused, schedule }
    }
}

/// Has volumes protected, one after the other.
pub(crate) fn protect(
    arguments: &ProtectArguments,
    channel: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let ProtectArguments { volumes, to, group, json } = arguments;
    for volume in volumes {
        let (volume, server, group) = (volume.to_string(), to.clone(), group.clone());
        let request = Request::Protect { volume, server, group };
        if *json && volumes.len() > 1 {
            let Answer::Done(done) = ask(request, channel)? else { return Err(other_answer()) };
            serde_json::to_writer(&mut *out, &Line::of(&done))?;
            writeln!(out)?;
        } else {
            run(request, *json, channel, out)?;
        }
    }
    Ok(())
}

/// Asks the service that listens at `channel`.
pub(crate) fn run(
    request: Request,
    json: bool,
    channel: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let Answer::Done(done) = ask(request.clone(), channel)? else { return Err(other_answer()) };
    if json {
        return print_json(&Line::of(&done), out);
    }
    write!(out, "{}", told(&request, &done)?)?;
    if let (Request::Throttle { .. } | Request::Reload, Some(schedule)) = (&request, done.schedule)
    {
        let Scheduled { entry, bytes_per_second: rate } = schedule;
        let now = InForce { entry, rate }.text("send_rates");
        write!(out, ". The schedule goes before `send_rate`: {now}")?;
    }
    writeln!(out)?;
    Ok(())
}

fn told(request: &Request, done: &Done) -> Result<String, CliError> {
    let nowhere = "no server".to_owned();
    let server = done.server.as_ref().unwrap_or(&nowhere);
    Ok(match (request, done.changed) {
        (Request::Protect { volume, .. }, true) => format!(
            "{volume} is protected, server {server}; `snapless status --watch` shows how far the \
             first sync is"
        ),
        (Request::Protect { volume, .. }, false) if done.paused => {
            format!("{volume} is protected already, and paused: `snapless resume {volume}`")
        }
        (Request::Protect { volume, .. }, false) => {
            format!("{volume} is protected already, server {server}")
        }
        (Request::Unprotect { volume }, _) => {
            format!("{volume} is not protected any longer; the server keeps what it has")
        }
        (Request::Pause { volume }, true) => format!(
            "{volume} is paused: nothing is sent until `snapless resume {volume}`. The driver goes \
             on capturing; once its queue is full, a gap begins"
        ),
        (Request::Pause { volume }, false) => format!("{volume} is paused already"),
        (Request::Resume { volume }, true) => format!("{volume} is sent again, to {server}"),
        (Request::Resume { volume }, false) => format!("{volume} is not paused"),
        (Request::Throttle { bytes_per_second: Some(rate) }, true) => {
            format!("no more than {} a second are sent, of all volumes together", Size(*rate))
        }
        (Request::Throttle { bytes_per_second: None }, true) => {
            "as much is sent as the link takes".to_owned()
        }
        (Request::Throttle { .. }, false) => "the limit is so already".to_owned(),
        (Request::Reload, true) => {
            format!("the configuration was read again: {} volume(s), {server}", done.volumes)
        }
        (Request::Reload, false) => "the configuration has not changed".to_owned(),
        // These have answers of their own.
        (
            Request::Points { .. }
            | Request::Bookmark { .. }
            | Request::GroupPoints { .. }
            | Request::GroupBookmark { .. },
            _,
        ) => return Err(other_answer()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::thread;

    use snapless_control::channel::Channel;
    use snapless_control::message::{Refusal, RefusalKind};

    use super::*;

    fn done(changed: bool) -> Answer {
        let (volume, server) = (Some("{g}".to_owned()), Some("backup:4850".to_owned()));
        let (paused, volumes, schedule) = (false, 3, None);
        Answer::Done(Done { volume, server, changed, paused, volumes, schedule })
    }

    /// With a schedule, of which `entry` is in force.
    fn scheduled(entry: Option<usize>) -> Answer {
        let Answer::Done(done) = done(true) else { panic!() };
        let schedule = Some(Scheduled { entry, bytes_per_second: Some(5 << 20) });
        Answer::Done(Done { schedule, ..done })
    }

    /// What is printed for each request by a service that gives `answer`.
    fn printed(answer: &Answer, json: bool) -> Vec<Result<String, CliError>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (channel, answer) = (Channel::open(&path).unwrap(), answer.clone());
        thread::spawn(move || channel.serve(move |_| answer.clone()));
        let volume = || "D:".to_owned();
        let requests = [
            Request::Protect { volume: volume(), server: None, group: None },
            Request::Unprotect { volume: volume() },
            Request::Pause { volume: volume() },
            Request::Resume { volume: volume() },
            Request::Throttle { bytes_per_second: Some(1 << 20) },
            Request::Reload,
        ];
        let print = |request| {
            let mut out = Vec::new();
            run(request, json, &path, &mut out)?;
            Ok(String::from_utf8(out).unwrap())
        };
        requests.into_iter().map(print).collect()
    }

    #[test]
    fn each_answer_says_what_is_so_and_what_follows() {
        let texts = |changed| -> Vec<String> {
            printed(&done(changed), false).into_iter().map(|text| text.unwrap()).collect()
        };
        let (changed, same) = (texts(true), texts(false));
        assert!(changed[0].contains("backup:4850") && changed[0].contains("--watch"));
        assert!(changed[1].contains("the server keeps"));
        assert!(changed[2].contains("snapless resume D:") && changed[5].contains("3 volume(s)"));
        assert!(changed[4].contains("1 MiB a second"));
        for (place, word) in [(0, "already"), (2, "already"), (3, "not paused"), (5, "not changed")]
        {
            assert!(same[place].contains(word) && same[place] != changed[place], "{same:?}");
        }
    }

    #[test]
    fn a_volume_that_is_protected_and_paused_is_no_surprise() {
        let Answer::Done(done) = done(false) else { panic!() };
        let paused = Answer::Done(Done { paused: true, ..done });
        let said = printed(&paused, false).swap_remove(0).unwrap();
        assert!(said.contains("snapless resume D:"), "{said}");
    }

    #[test]
    fn where_a_schedule_goes_before_the_rate_it_is_said() {
        for (entry, said) in [
            (Some(1), "send_rates[1] is in force, 5 MiB a second at most"),
            (None, "no entry of `send_rates` is in force, 5 MiB a second at most"),
        ] {
            for (place, text) in printed(&scheduled(entry), false).into_iter().enumerate() {
                let text = text.unwrap();
                assert_eq!(text.contains(said), place >= 4, "{text}");
            }
        }
        for text in printed(&done(false), false) {
            assert!(!text.unwrap().contains("schedule"), "there is none");
        }
        for text in printed(&scheduled(Some(1)), true) {
            let value = crate::schema::parse("change", &text.unwrap());
            assert_eq!(value["schedule"]["entry"], 1);
        }
        for text in printed(&scheduled(None), true) {
            let value = crate::schema::parse("change", &text.unwrap());
            let expected = serde_json::json!({"entry": null, "bytes_per_second": 5 << 20});
            assert_eq!(value["schedule"], expected);
        }
    }

    #[test]
    fn a_script_gets_one_document() {
        for text in printed(&done(true), true) {
            let value = crate::schema::parse("change", &text.unwrap());
            let expected = serde_json::json!({
                "volume": "{g}", "server": "backup:4850", "changed": true, "paused": false,
                "schedule": null
            });
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn several_volumes_are_protected_and_a_script_gets_a_line_of_each() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let (channel, asked) = (Channel::open(&path).unwrap(), Arc::<Mutex<Vec<_>>>::default());
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            channel.serve(move |request| {
                heard.lock().unwrap().push(request);
                done(true)
            });
        });
        let mut arguments = ProtectArguments {
            volumes: ["D:", "E:"].map(|it| it.parse().unwrap()).into(),
            to: None,
            group: Some("sql".to_owned()),
            json: true,
        };
        let mut out = Vec::new();
        protect(&arguments, &path, &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        assert_eq!(lines.lines().count(), 2);
        lines.lines().for_each(|line| _ = crate::schema::parse("change", line));
        let request = |volume: &str| {
            let (volume, group) = (volume.to_owned(), Some("sql".to_owned()));
            Request::Protect { volume, server: None, group }
        };
        assert_eq!(*asked.lock().unwrap(), [request("D:"), request("E:")]);
        arguments.json = false;
        let mut out = Vec::new();
        protect(&arguments, &path, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("E: is protected"));
    }

    #[test]
    fn a_refusal_is_an_error_in_the_services_words() {
        let refusal = Refusal::new(RefusalKind::NoSuchVolume, "no D: here");
        for printed in printed(&Answer::Refused(refusal), false) {
            let error = printed.unwrap_err();
            assert_eq!((error.to_string().as_str(), error.code()), ("no D: here", 4));
        }
    }

    #[test]
    fn without_a_service_it_is_said_how_to_start_it() {
        let folder = tempfile::tempdir().unwrap();
        let nowhere = folder.path().join("control");
        let error = run(Request::Reload, false, &nowhere, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("sc start"), "{error}");
        assert_eq!(error.code(), 7);
    }
}
