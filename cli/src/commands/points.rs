//! `snapless points` and `snapless bookmark`: what can be restored of a volume, and a name for the
//! present instant. The service asks the server.

use std::io::Write;
use std::path::Path;

use snapless_control::message::{Answer, Made, Request};
use snapless_driver_client::VolumeName;
use snapless_link::question::{Bookmark, Bookmarked, Consistency, Gap, Points, Session, Stretch};

use super::common::print_json;
use super::service::{ask, other_answer};
use crate::arguments::BookmarkArguments;
use crate::error::CliError;

/// Tells what can be restored.
pub(crate) fn list(
    volume: &VolumeName,
    json: bool,
    channel: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let asked = ask(Request::Points { volume: volume.to_string() }, channel)?;
    let Answer::Points(points) = asked else { return Err(other_answer()) };
    if json { print_json(&points, out) } else { print(&points, out) }
}

/// Gives the present instant a name.
pub(crate) fn bookmark(
    (volume, name): (&VolumeName, &str),
    arguments: &BookmarkArguments,
    channel: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let BookmarkArguments { consistency, or_crash, json, .. } = arguments;
    let request = Request::Bookmark {
        volume: volume.to_string(),
        name: name.to_owned(),
        consistency: (*consistency).into(),
        or_crash: *or_crash,
    };
    let Answer::Bookmarked(made) = ask(request, channel)? else { return Err(other_answer()) };
    if *json {
        return print_json(&made, out);
    }
    let Made { named, writers, notes } = *made;
    let Bookmarked { volume: at_server, session, name, time, .. } = named;
    writeln!(out, "{volume} as of {time} is named {name}: the server has it")?;
    if !writers.is_empty() {
        writeln!(out, "frozen at that instant: {}", writers.join(", "))?;
    }
    for note in notes {
        writeln!(out, "note: {note}")?;
    }
    writeln!(out, "restored there by: --volume {at_server} --session {session} --at {name}")?;
    Ok(())
}

fn print(points: &Points, out: &mut dyn Write) -> Result<(), CliError> {
    let Points { volume, latest, sessions, bookmarks, left_out } = points;
    writeln!(out, "at the server: volume {volume}")?;
    match latest {
        Some(latest) => writeln!(out, "latest     {latest}")?,
        None => writeln!(out, "nothing can be restored yet")?,
    }
    for session in sessions {
        print_session(session, out)?;
    }
    for Bookmark { name, time, consistency, error, .. } in bookmarks {
        match (time, error) {
            (_, Some(error)) => writeln!(out, "bookmark   {name}: of no use: {error}")?,
            (time, None) => {
                let made = match consistency {
                    None | Some(Consistency::Crash) => String::new(),
                    Some(other) => format!(", {}-consistent", other.name()),
                };
                writeln!(out, "bookmark   {name}: {}{made}", known(time.as_ref()))?;
            }
        }
    }
    if *left_out > 0 {
        writeln!(
            out,
            "{left_out} older one(s) are left out: `snapless-server points` has them all"
        )?;
    }
    Ok(())
}

fn print_session(session: &Session, out: &mut dyn Write) -> Result<(), CliError> {
    let Session { session, state, t0, t0_restorable, points, gaps, whole_from, error } = session;
    writeln!(out, "session    {session}: {}", stated(state))?;
    if let Some(t0) = t0 {
        let whole = if *t0_restorable { "" } else { " (cannot be restored)" };
        writeln!(out, "  t0       {t0}{whole}")?;
    }
    for Stretch { from, to } in points {
        writeln!(out, "  points   {from} to {to}")?;
    }
    if let Some(from) = whole_from {
        writeln!(out, "  kept     before {from} only these points")?;
    }
    for Gap { from, to, reason } in gaps {
        let to = to.as_ref().map_or_else(|| "now".to_owned(), Clone::clone);
        writeln!(out, "  gap      {from} to {to}: {reason}")?;
    }
    if let Some(error) = error {
        writeln!(out, "  damaged  {error}")?;
    }
    Ok(())
}

/// A session's state in words.
fn stated(state: &str) -> &str {
    match state {
        "empty" => "nothing is durable yet",
        "first-sync" => "the first sync is not complete",
        "gap" => "in a gap",
        "complete" => "complete",
        other => other,
    }
}

fn known(time: Option<&String>) -> &str {
    time.map_or("?", String::as_str)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use snapless_control::channel::Channel;
    use snapless_control::message::{Refusal, RefusalKind};

    use super::*;
    use crate::arguments::ConsistencyArgument;

    const AT: &str = "2026-11-23T14:00:00Z";
    const SESSION: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";
    const VOLUME: &str = "71a27cdd-812a-11d0-bec7-08002be2092f";

    fn points() -> Points {
        let at = || AT.to_owned();
        let gap = |to| Gap { from: at(), to, reason: "the machine was restarted".to_owned() };
        let of = |name: &str, error: Option<&str>| Bookmark {
            name: name.to_owned(),
            session: Some(SESSION.to_owned()),
            time: error.is_none().then(at),
            consistency: error.is_none().then_some(Consistency::Application),
            meeting: None,
            error: error.map(str::to_owned),
        };
        let session = Session {
            session: SESSION.to_owned(),
            state: "gap".to_owned(),
            t0: Some(at()),
            t0_restorable: false,
            points: vec![Stretch { from: at(), to: at() }],
            gaps: vec![gap(Some(at())), gap(None)],
            whole_from: Some(at()),
            error: Some("a segment".to_owned()),
        };
        Points {
            volume: VOLUME.to_owned(),
            latest: Some(at()),
            sessions: vec![session],
            bookmarks: vec![of("before", None), of("old", Some("damaged"))],
            left_out: 3,
        }
    }

    /// What both commands print at a service that gives this answer.
    fn printed(answer: Answer, json: bool) -> [Result<String, CliError>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let channel = Channel::open(&path).unwrap();
        thread::spawn(move || channel.serve(move |_| answer.clone()));
        let volume: VolumeName = "D:".parse().unwrap();
        let arguments = BookmarkArguments {
            first: "D:".to_owned(),
            second: Some("before".to_owned()),
            group: None,
            consistency: ConsistencyArgument::Application,
            or_crash: false,
            json,
        };
        let text = |out: Vec<u8>| String::from_utf8(out).unwrap();
        let (mut listed, mut made) = (Vec::new(), Vec::new());
        [
            list(&volume, json, &path, &mut listed).map(|()| text(listed)),
            bookmark((&volume, "before"), &arguments, &path, &mut made).map(|()| text(made)),
        ]
    }

    #[test]
    fn points_are_told_with_what_hides_others() {
        let [listed, other] = printed(Answer::Points(points()), false);
        let listed = listed.unwrap();
        for part in [
            "in a gap",
            "(cannot be restored)",
            "to now: the machine",
            "old: of no use",
            "3 older",
            "Z, application-consistent",
        ] {
            assert!(listed.contains(part), "{part}: {listed}");
        }
        assert_eq!(other.unwrap_err().code(), 1, "an answer to another request");
        let none = Points { latest: None, sessions: Vec::new(), ..points() };
        let [listed, _] = printed(Answer::Points(none), false);
        assert!(listed.unwrap().contains("nothing can be restored yet"));
    }

    #[test]
    fn a_named_instant_is_told_as_the_server_takes_it() {
        let [volume, session, name, time] = [VOLUME, SESSION, "before", AT].map(str::to_owned);
        let named =
            Bookmarked { volume, session, name, time, consistency: Some(Consistency::Application) };
        let (writers, notes) = (vec!["SqlServerWriter".to_owned()], vec!["the note".to_owned()]);
        let made = Box::new(Made { named, writers, notes });
        let [other, text] = printed(Answer::Bookmarked(made.clone()), false);
        assert_eq!(other.unwrap_err().code(), 1);
        let text = text.unwrap();
        assert!(text.contains(&format!("--volume {VOLUME} --session {SESSION} --at b")));
        assert!(text.contains("instant: SqlServerWriter\nnote: the note\n"), "{text}");
        let [_, json] = printed(Answer::Bookmarked(made), true);
        let value = crate::schema::parse("bookmark", &json.unwrap());
        assert_eq!((&value["name"], &value["time"]), (&"before".into(), &AT.into()));
        assert_eq!(
            (&value["consistency"], &value["writers"][0]),
            (&"application".into(), &"SqlServerWriter".into())
        );
    }

    #[test]
    fn a_script_gets_every_point_in_one_document() {
        let [listed, _] = printed(Answer::Points(points()), true);
        let value = crate::schema::parse("points", &listed.unwrap());
        assert_eq!(value["sessions"][0]["gaps"][1]["to"], serde_json::Value::Null);
        assert_eq!(value["left_out"], 3);
    }

    #[test]
    fn what_cannot_be_restored_has_an_exit_code_of_its_own() {
        let refusal = Refusal::new(RefusalKind::NotRestorable, "in a gap");
        for printed in printed(Answer::Refused(refusal), false) {
            assert_eq!(printed.unwrap_err().code(), 9);
        }
        let refusal = Refusal::new(RefusalKind::NotConsistent, "a writer failed");
        let [_, made] = printed(Answer::Refused(refusal), false);
        assert_eq!(made.unwrap_err().code(), 11);
    }
}
