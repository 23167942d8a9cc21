//! `snapless points --group` and `snapless bookmark --group`: what the volumes of a consistency
//! group have in common, and a name for the present instant of them all.

use std::io::Write;
use std::path::Path;

use snapless_control::message::{
    Answer, CommonBookmark, GroupBookmarked, GroupPoints, GroupSession, GroupVolume, Request,
};
use snapless_link::question::Stretch;

use super::common::print_json;
use super::service::{ask, other_answer};
use crate::error::CliError;

/// Tells what can be restored of all volumes at once.
pub(crate) fn list(
    group: &str,
    json: bool,
    channel: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let asked = ask(Request::GroupPoints { group: group.to_owned() }, channel)?;
    let Answer::GroupPoints(points) = asked else { return Err(other_answer()) };
    if json { print_json(&points, out) } else { print(&points, out) }
}

/// Gives the present instant of all volumes a name.
pub(crate) fn bookmark(
    group: &str,
    name: &str,
    json: bool,
    channel: &Path,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let request = Request::GroupBookmark { group: group.to_owned(), name: name.to_owned() };
    let Answer::GroupBookmarked(made) = ask(request, channel)? else { return Err(other_answer()) };
    if json {
        return print_json(&made, out);
    }
    let GroupBookmarked { group, name, time, volumes } = made;
    writeln!(out, "group {group} as of {time} is named {name}: the server has it")?;
    for GroupSession { machine, name: here, volume, session, .. } in volumes {
        let machine = machine.map(|machine| format!("{machine} ")).unwrap_or_default();
        writeln!(
            out,
            "{machine}{here} is restored there by: --volume {volume} --session {session} --at \
             {name}"
        )?;
    }
    Ok(())
}

fn print(points: &GroupPoints, out: &mut dyn Write) -> Result<(), CliError> {
    let GroupPoints { group, volumes, first, latest, points, bookmarks, left_out } = points;
    writeln!(out, "group      {group}")?;
    for GroupVolume { name, volume, latest } in volumes {
        let latest = latest.as_ref().map_or("nothing yet", String::as_str);
        writeln!(out, "  {name} at the server: volume {volume}, latest {latest}")?;
    }
    match (first, latest) {
        (Some(first), Some(latest)) => {
            writeln!(out, "first      {first}")?;
            writeln!(out, "latest     {latest}")?;
        }
        _ => writeln!(out, "no instant of all volumes can be restored yet")?,
    }
    for Stretch { from, to } in points {
        writeln!(out, "  points   {from} to {to}")?;
    }
    for CommonBookmark { name, time } in bookmarks {
        writeln!(out, "bookmark   {name}: {time}")?;
    }
    if *left_out > 0 {
        writeln!(out, "{left_out} older one(s) are left out")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use snapless_control::channel::Channel;

    use super::*;

    const AT: &str = "2026-11-23T14:00:00Z";
    const SESSION: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";
    const VOLUME: &str = "71a27cdd-812a-11d0-bec7-08002be2092f";

    fn points() -> GroupPoints {
        let at = || AT.to_owned();
        let latest = Some(at());
        GroupPoints {
            group: "sql".to_owned(),
            volumes: vec![GroupVolume {
                name: "{v}".to_owned(),
                volume: VOLUME.to_owned(),
                latest,
            }],
            first: Some(at()),
            latest: Some(at()),
            points: vec![Stretch { from: at(), to: at() }],
            bookmarks: vec![CommonBookmark { name: "before".to_owned(), time: at() }],
            left_out: 3,
        }
    }

    fn made() -> GroupBookmarked {
        let (volume, session) = (VOLUME.to_owned(), SESSION.to_owned());
        let [group, name, time] = ["sql", "before", AT].map(str::to_owned);
        let (machine, here) = (Some("db1".to_owned()), "{v}".to_owned());
        let own = GroupSession { machine, name: here, volume, session, time: time.clone() };
        GroupBookmarked { group, name, time, volumes: vec![own] }
    }

    /// What both commands print at a service that gives this answer.
    fn printed(answer: Answer, json: bool) -> [Result<String, CliError>; 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let channel = Channel::open(&path).unwrap();
        thread::spawn(move || channel.serve(move |_| answer.clone()));
        let text = |out: Vec<u8>| String::from_utf8(out).unwrap();
        let (mut listed, mut made) = (Vec::new(), Vec::new());
        [
            list("sql", json, &path, &mut listed).map(|()| text(listed)),
            bookmark("sql", "before", json, &path, &mut made).map(|()| text(made)),
        ]
    }

    #[test]
    fn what_volumes_have_in_common_is_told() {
        let [listed, other] = printed(Answer::GroupPoints(Box::new(points())), false);
        let listed = listed.unwrap();
        for part in
            ["group      sql", "{v} at the server", "points   2026", "before: 2026", "3 older"]
        {
            assert!(listed.contains(part), "{part}: {listed}");
        }
        assert_eq!(other.unwrap_err().code(), 1, "an answer to another request");
        let none = GroupPoints { first: None, latest: None, points: Vec::new(), ..points() };
        let [listed, _] = printed(Answer::GroupPoints(Box::new(none)), false);
        assert!(listed.unwrap().contains("no instant of all volumes"));
    }

    #[test]
    fn a_named_instant_is_told_as_the_server_takes_it_for_each_volume() {
        let [_, text] = printed(Answer::GroupBookmarked(made()), false);
        let text = text.unwrap();
        let restored = format!("--volume {VOLUME} --session {SESSION} --at before");
        assert!(text.contains("group sql") && text.contains(&restored), "{text}");
        assert!(text.contains("db1 {v} is restored"), "{text}");
    }

    #[test]
    fn a_script_gets_one_document() {
        let [listed, _] = printed(Answer::GroupPoints(Box::new(points())), true);
        let value = crate::schema::parse("points", &listed.unwrap());
        assert_eq!((&value["group"], &value["left_out"]), (&"sql".into(), &3.into()));
        let [_, json] = printed(Answer::GroupBookmarked(made()), true);
        let value = crate::schema::parse("bookmark", &json.unwrap());
        assert_eq!(value["volumes"][0]["session"], SESSION);
        assert_eq!(value["volumes"][0]["time"], AT);
    }
}
