//! What a machine asks in the place of a Hello: what can be restored of its volume, and that an
//! instant gets a name.

use std::net::SocketAddr;

use crate::common::{self, Client, Driver, Running, SECTOR, SESSION, Said, VOLUME};
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_link::question::{
    BOOKMARKS_MAX, CommonPoint, Consistency, Points, Question, RefusedKind, Reply,
};
use snapless_server::format::bookmark::{Bookmark, BookmarkName, Making};
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::{At, Cut};
use snapless_wire::frame::{FrameKind, Hello};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use zerocopy::IntoBytes;

fn ask(address: SocketAddr, question: &Question) -> Reply {
    let limits = LinkLimits::default();
    let mut link = Link::connect(&address.to_string(), &limits, &|| false).unwrap();
    link.ask(question, &limits, &|| false).unwrap()
}

fn points_of(volume: impl ToString) -> Question {
    Question::Points { volume: volume.to_string() }
}

fn bookmark(name: &str, time: u64) -> Question {
    let (volume, session, name) = (VOLUME.to_string(), SESSION.to_string(), name.to_owned());
    let consistency = Consistency::Crash;
    Question::Bookmark { volume, session, time, name, consistency, writers: 0 }
}

fn told(reply: Reply) -> Points {
    match reply {
        Reply::Points(points) => points,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(reply: Reply, kind: RefusedKind, why: &str) {
    let Reply::Refused(refused) = reply else { panic!("{reply:?}") };
    assert_eq!(refused.kind, kind, "{}", refused.text);
    assert!(refused.text.contains(why), "{}", refused.text);
}

#[test]
fn a_machine_is_told_what_can_be_restored_while_its_volume_streams() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    refused(ask(server.address, &points_of(VOLUME)), RefusedKind::NoSuchVolume, "no volume");
    let ((mut client, ..), mut driver) = (Client::resume(server.address), Driver::default());
    client.records(&[driver.start(), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    let points = told(ask(server.address, &points_of(VOLUME)));
    assert_eq!((points.volume, points.latest), (VOLUME.to_string(), None));
    assert_eq!(points.sessions[0].state, "first-sync");

    client.records(&driver.blocks(0..5));
    client.records(&[driver.base_complete(), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    client.records(&[driver.gap(), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    let points = told(ask(server.address, &points_of(VOLUME)));
    let [session] = &points.sessions[..] else { panic!("{points:?}") };
    assert_eq!((session.session.clone(), &*session.state), (SESSION.to_string(), "gap"));
    assert!(session.t0_restorable && session.points.len() == 1, "{session:?}");
    let [gap] = &session.gaps[..] else { panic!("{session:?}") };
    assert!(gap.to.is_none() && !gap.reason.is_empty());
    assert!(points.latest.is_some() && points.left_out == 0);
}

#[test]
fn an_instant_gets_a_name_and_is_restored_by_it() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, mut driver) = server.synced();
    client.records(&[driver.write(0, SECTOR, 7), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    let time = driver.time - driver.tick;
    client.records(&[driver.write(0, SECTOR, 8), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));

    let reply = ask(server.address, &bookmark("Before", time));
    let Reply::Bookmarked(made) = reply else { panic!("{reply:?}") };
    assert_eq!((made.volume, made.session), (VOLUME.to_string(), SESSION.to_string()));
    let mark = Repository::open(&root).unwrap();
    let mark = mark.bookmark(VOLUME, &BookmarkName::parse("before").unwrap()).unwrap();
    assert_eq!((mark.time, mark.keep), (FileTime::new(time), None), "the policy keeps it");
    let mut want = common::base_image();
    common::patch(&mut want, 0, SECTOR, 7);
    let at = At::Exact { time: mark.time, cut: mark.cut };
    assert!(common::image(&root, at).unwrap().1 == want);
    let points = told(ask(server.address, &points_of(VOLUME)));
    let [mark] = &points.bookmarks[..] else { panic!("{points:?}") };
    assert_eq!((&*mark.name, mark.consistency), ("Before", Some(Consistency::Crash)));

    let again = bookmark("before", time);
    refused(ask(server.address, &again), RefusedKind::Name, "before");
    refused(ask(server.address, &bookmark("latest", time)), RefusedKind::Name, "names a time");
    for late in [driver.time + 1_000_000_000, 1] {
        let reply = ask(server.address, &bookmark("other", late));
        refused(reply, RefusedKind::NotRestorable, "");
    }
    assert_eq!(told(ask(server.address, &points_of(VOLUME))).bookmarks.len(), 1);
    let mut consistent = bookmark("frozen", time);
    let Question::Bookmark { consistency, writers, .. } = &mut consistent else { panic!() };
    (*consistency, *writers) = (Consistency::Application, 12);
    let reply = ask(server.address, &consistent);
    let Reply::Bookmarked(made) = reply else { panic!("{reply:?}") };
    assert_eq!(made.consistency, Some(Consistency::Application));
    let listed = Repository::open(&root).unwrap().bookmarks(Some(VOLUME)).unwrap();
    let listed: Vec<_> = listed.iter().map(|found| found.shown()).collect();
    let said: Vec<_> = listed.iter().map(|mark| (mark.consistency, mark.writers)).collect();
    let [crash, frozen] = [Consistency::Crash, Consistency::Application].map(Some);
    assert_eq!(said, [(crash, None), (frozen, Some(12))]);
    // The volume streams all the while.
    client.records(&[driver.write(0, SECTOR, 9), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
}

#[test]
fn an_instant_that_volumes_have_in_common_gets_a_name_for_all_of_them_or_for_none() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, mut driver) = server.synced();
    let (twin, of_twin) = (VolumeGuid([0x12; 16]), SessionId([0x23; 16]));
    let mut second = Client::connect(server.address);
    let hello = Hello::new(twin, of_twin, &common::geometry(common::LENGTH));
    second.send(FrameKind::Hello, hello.as_bytes());
    assert!(matches!(second.hear(), Said::Welcome { .. }));
    let mut other = Driver::default();
    second.records(&other.first_sync());
    assert!(matches!(second.hear(), Said::Acknowledge { .. }));
    for (client, driver) in [(&mut client, &mut driver), (&mut second, &mut other)] {
        let writes = [7, 8].map(|byte| driver.write(0, SECTOR, byte)).concat();
        client.records(&[writes, driver.epoch_end()].concat());
        assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    }
    let point = |volume: VolumeGuid, session: SessionId, seq| CommonPoint {
        volume: volume.to_string(),
        session: session.to_string(),
        seq,
    };
    // One volume with the first of its writes, the other without.
    let (with, without) = (driver.seq - 2, other.seq - 3);
    let points = vec![point(VOLUME, SESSION, with), point(twin, of_twin, without)];
    let time = driver.time - 2 * driver.tick;
    let common = |name: &str, points: &[CommonPoint]| {
        let (points, name) = (points.to_vec(), name.to_owned());
        ask(server.address, &Question::CommonBookmark { points, time, name })
    };
    let Reply::CommonBookmarked(made) = common("Both", &points) else { panic!() };
    assert_eq!(
        made.iter().map(|it| &*it.volume).collect::<Vec<_>>(),
        [VOLUME.to_string(), twin.to_string()]
    );
    let repository = Repository::open(&root).unwrap();
    let named = |volume, name: &str| {
        let found = repository.bookmark(volume, &BookmarkName::parse(name).unwrap());
        found.map_err(|error| error.to_string())
    };
    for (volume, has_write) in [(VOLUME, true), (twin, false)] {
        let Bookmark { session, time: at, cut, .. } = named(volume, "both").unwrap();
        assert_eq!(at, FileTime::new(time), "all show the same");
        let mut want = common::base_image();
        if has_write {
            common::patch(&mut want, 0, SECTOR, 7);
        }
        let at = At::Exact { time: at, cut };
        let to = dir.path().join(volume.to_string());
        let source = Source { volume, session: Some(session), at };
        common::restore_to(&root, source, &to).unwrap();
        assert!(std::fs::read(to).unwrap() == want, "{volume}");
    }

    // What one volume refuses no other gets.
    let time = other.time - other.tick;
    let (volume, session, name) = (twin.to_string(), of_twin.to_string(), "taken".to_owned());
    let (consistency, writers) = (Consistency::Crash, 0);
    let taken = Question::Bookmark { volume, session, time, name, consistency, writers };
    assert!(matches!(ask(server.address, &taken), Reply::Bookmarked(_)));
    refused(common("taken", &points), RefusedKind::Name, "taken");
    let later = [points[0].clone(), point(twin, of_twin, other.seq + 1)];
    refused(common("later", &later), RefusedKind::NotRestorable, "");
    let unknown = [points[0].clone(), point(VolumeGuid([1; 16]), of_twin, 1)];
    refused(common("unknown", &unknown), RefusedKind::NoSuchVolume, "");
    let twice = [points[0].clone(), points[0].clone()];
    refused(common("twice", &twice), RefusedKind::Question, "twice");
    refused(common("empty", &[]), RefusedKind::Question, "1 to");
    for name in ["taken", "later", "unknown", "twice", "empty"] {
        assert!(named(VOLUME, name).is_err(), "{name}");
    }
}

#[test]
fn machines_name_so_many_instants_and_no_more() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let _streams = server.synced();
    let repository = Repository::open(&root).unwrap();
    let source = Source { volume: VOLUME, session: None, at: At::Latest };
    let found = Found::find(&repository, &source, &StopFlag::default()).unwrap();
    for number in 0..BOOKMARKS_MAX {
        let bookmark = Bookmark {
            name: BookmarkName::parse(&format!("n{number}")).unwrap(),
            volume: VOLUME,
            session: SESSION,
            created: FileTime::new(1),
            time: found.point().time,
            cut: Cut::Base,
            keep: None,
            making: Making::default(),
        };
        repository.add_bookmark(&bookmark).unwrap();
    }
    let reply = ask(server.address, &bookmark("more", found.point().time.get()));
    refused(reply, RefusedKind::Name, "snapless-server bookmark remove");
}

#[test]
fn what_is_no_question_is_refused_in_words() {
    let dir = common::scratch();
    let server = Running::start(&dir.path().join("repository"));
    let limits = LinkLimits::default();
    let say = |kind, payload: &[u8]| {
        let mut link = Link::connect(&server.address.to_string(), &limits, &|| false).unwrap();
        link.sender.send(kind, payload).unwrap();
        link.receiver.receive().unwrap().unwrap()
    };
    for (payload, why) in [
        (&b"{\"ask\":\"remove\"}"[..], "remove"),
        (b"", "not a question"),
        (b"{\"ask\":\"points\",\"volume\":\"D:\"}", "D:"),
    ] {
        let Message::Reply(reply) = say(FrameKind::Question, payload) else { panic!("{why}") };
        refused(reply, RefusedKind::Question, why);
    }
    // Longer than any connection may begin with.
    let Message::Refused(text) = say(FrameKind::Question, &vec![b' '; 5_000]) else { panic!() };
    assert!(text.contains("limit"), "{text}");
    let Message::Refused(text) = say(FrameKind::Reply, b"{}") else { panic!() };
    assert!(text.contains("a Hello or Question frame"), "{text}");
}
