//! Several volumes of a machine: consistency groups, and servers of their own.

mod support;
#[path = "support/two_volumes.rs"]
mod two_volumes;

use snapless_control::message::{Answer, RefusalKind, Request};
use snapless_driver_client::identity::volume_of_device;
use snapless_link::question::{Bookmark, Bookmarked, Points, Question, Reply, Session, Stretch};
use snapless_types::RecordKind;

use support::server::FakeServer;
use support::wait_until;
use two_volumes::{DEVICES, Machine, protect};

const GROUP: &str = "sql";

/// A machine whose volumes are in a group, and their first syncs complete.
fn grouped(server: &FakeServer) -> Machine {
    let machine = Machine::new("");
    for (index, volume) in machine.volumes.iter().enumerate() {
        machine.done(&protect(index, Some(server.address()), Some(GROUP)));
        let session = machine.session(index);
        volume.complete_base(0);
        volume.end_epoch();
        wait_until("the first sync is complete", || !server.arrived(session).is_empty());
    }
    machine
}

fn bookmark(name: &str) -> Request {
    Request::GroupBookmark { group: GROUP.to_owned(), name: name.to_owned() }
}

fn named(device: &str) -> Bookmarked {
    let [session, name, time] = ["s", "now", "t"].map(str::to_owned);
    Bookmarked { volume: device.to_owned(), session, name, time, consistency: None }
}

#[test]
fn a_common_bookmark_shows_no_write_without_the_ones_that_were_done_before_it() {
    let server = FakeServer::new();
    let machine = grouped(&server);
    let made = DEVICES.map(named).to_vec();
    server.behave(|manners| manners.reply = Some(Reply::CommonBookmarked(made)));
    let answer = machine.write_meanwhile(|| machine.ask(&bookmark("now")));
    let Answer::GroupBookmarked(made) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = made.volumes.iter().map(|it| &*it.name).collect();
    assert_eq!((&*made.name, names), ("now", DEVICES.to_vec()));
    let questions = server.questions();
    let [Question::Meet { group, volumes, .. }, Question::CommonBookmark { points, name, .. }] =
        &questions[..]
    else {
        panic!("{questions:?}")
    };
    assert_eq!((&**group, volumes.len()), (GROUP, 2));
    assert_eq!((points.len(), &**name), (2, "now"));
    let mut done = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let session = machine.session(index);
        assert_eq!(point.session, session.to_string());
        assert_eq!(point.volume, volume_of_device(DEVICES[index]).to_string());
        let arrived = server.arrived(session).into_iter();
        let writes = arrived.filter(|it| it.header.kind() == RecordKind::Write);
        let in_image = writes.filter(|it| it.header.seq().get() <= point.seq);
        done.extend(in_image.map(|it| it.header.extent_offset() / 512));
    }
    done.sort_unstable();
    assert!(!done.is_empty() && done.iter().copied().eq(0..done.len() as u64), "{done:?}");
}

#[test]
fn a_quiet_group_gets_a_common_bookmark_and_what_keeps_it_from_one_is_said() {
    let server = FakeServer::new();
    let machine = grouped(&server);
    let older = machine.refused(&bookmark("early"));
    assert!(older.text.contains("older release"), "{older}");
    let made = DEVICES.map(named).to_vec();
    server.behave(|manners| manners.reply = Some(Reply::CommonBookmarked(made)));
    assert!(matches!(machine.ask(&bookmark("now")), Answer::GroupBookmarked(_)));
    let unknown = Request::GroupBookmark { group: "mail".to_owned(), name: "now".to_owned() };
    let refused = machine.refused(&unknown);
    assert_eq!(refused.kind, RefusalKind::NoSuchVolume);
    assert!(refused.text.contains("--group mail"), "{refused}");

    machine.done(&Request::Pause { volume: DEVICES[1].to_owned() });
    let paused = machine.refused(&bookmark("paused"));
    assert!(paused.text.contains(&format!("snapless resume {}", DEVICES[1])), "{paused}");
    machine.done(&Request::Resume { volume: DEVICES[1].to_owned() });
    machine.volumes[1].sleep_and_change();
    let gap = machine.refused(&bookmark("gap"));
    assert_eq!(gap.kind, RefusalKind::NotRestorable);
    assert!(gap.text.contains(DEVICES[1]) && gap.text.contains("in a gap"), "{gap}");
}

#[test]
fn a_group_is_told_what_its_volumes_have_in_common_and_joining_it_disturbs_no_session() {
    let server = FakeServer::new();
    let machine = Machine::new("");
    machine.done(&protect(0, Some(server.address()), Some(GROUP)));
    machine.done(&protect(1, None, None));
    let sessions = [0, 1].map(|index| machine.session(index));
    wait_until("both are linked", || server.hellos().len() == 2);
    assert!(machine.done(&protect(1, None, Some(GROUP))).changed);
    assert!(!machine.done(&protect(1, None, Some(GROUP))).changed);
    assert_eq!(machine.text().matches("group = \"sql\"").count(), 2);
    let at = || "2026-11-30T14:00:00Z".to_owned();
    let mark = Bookmark {
        name: "b".to_owned(),
        session: None,
        time: Some(at()),
        consistency: None,
        meeting: None,
        error: None,
    };
    let session = Session {
        session: "s".to_owned(),
        state: "complete".to_owned(),
        t0: None,
        t0_restorable: true,
        points: vec![Stretch { from: at(), to: at() }],
        gaps: Vec::new(),
        whole_from: None,
        error: None,
    };
    let told = Points {
        volume: "v".to_owned(),
        latest: Some(at()),
        sessions: vec![session],
        bookmarks: vec![mark],
        left_out: 0,
    };
    server.behave(|manners| manners.reply = Some(Reply::Points(told)));
    let answer = machine.ask(&Request::GroupPoints { group: GROUP.to_owned() });
    let Answer::GroupPoints(points) = answer else { panic!("{answer:?}") };
    assert_eq!((points.volumes.len(), points.first, points.latest), (2, Some(at()), Some(at())));
    assert_eq!((points.points.len(), points.bookmarks.len()), (1, 1));
    assert_eq!([0, 1].map(|index| machine.session(index)), sessions);
    assert_eq!(server.hellos().len(), 2, "no link was cut");
}

#[test]
fn each_volume_goes_to_its_own_server_and_a_change_of_one_disturbs_no_other() {
    let (main, other) = (FakeServer::new(), FakeServer::new());
    let machine = Machine::new("");
    machine.done(&protect(0, Some(main.address()), None));
    let done = machine.done(&protect(1, Some(other.address()), None));
    assert_eq!(done.server.as_deref(), Some(other.address()));
    let sessions = [0, 1].map(|index| machine.session(index));
    wait_until("each is linked", || (main.hellos().len(), other.hellos().len()) == (1, 1));
    for (server, session) in [(&main, sessions[0]), (&other, sessions[1])] {
        assert_eq!(server.hellos()[0].session, session);
    }
    let told = |volume: &str| Points {
        volume: volume.to_owned(),
        latest: None,
        sessions: Vec::new(),
        bookmarks: Vec::new(),
        left_out: 0,
    };
    for (index, server) in [&main, &other].into_iter().enumerate() {
        server.behave(|manners| manners.reply = Some(Reply::Points(told(DEVICES[index]))));
        let points = Request::Points { volume: DEVICES[index].to_owned() };
        assert_eq!(machine.ask(&points), Answer::Points(told(DEVICES[index])));
    }
    // A volume stays where it is.
    let refused = machine.refused(&protect(0, Some(other.address()), None));
    assert!(refused.text.contains("snapless unprotect"), "{refused}");
    assert!(!machine.done(&protect(1, Some(other.address()), None)).changed);
    let group = machine.done(&protect(0, None, Some(GROUP)));
    assert!(group.changed);
    let refused = machine.refused(&protect(1, None, Some(GROUP)));
    assert!(refused.text.contains("same server"), "{refused}");

    // Another server for the volumes that name none.
    let moved = FakeServer::new();
    machine.write(&machine.text().replacen(main.address(), moved.address(), 1));
    assert!(machine.done(&Request::Reload).changed);
    wait_until("it goes there", || !moved.hellos().is_empty());
    assert_eq!(machine.volumes[1].session(), Some(sessions[1]));
    assert_eq!(other.hellos().len(), 1, "its link was not cut");
}

#[test]
fn a_server_at_which_the_machine_has_not_enrolled_is_refused_with_the_command() {
    let machine = Machine::new("server = \"127.0.0.1:9\"\n");
    machine.write(&machine.text().replace("insecure = true", ""));
    let text = machine.text();
    let refused = machine.refused(&protect(0, Some("backup.example.com:4850"), None));
    let command = "snapless enroll backup.example.com:4850 --token";
    assert!(refused.text.contains(command), "{refused}");
    assert_eq!(machine.text(), text);
}
