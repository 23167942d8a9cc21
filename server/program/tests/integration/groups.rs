//! The real service against the real server: one instant of several volumes.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use snapless_control::message::{Answer, GroupBookmarked, RefusalKind, Request};
use snapless_server::format::bookmark::{Bookmark, BookmarkName};
use snapless_server::groups::{Groups, Members};
use snapless_server::points::in_common;
use snapless_server::repository::Repository;
use snapless_server::restore::Source;
use snapless_server::stop::StopFlag;
use snapless_server::time;
use snapless_server::timeline::At;
use snapless_wire::id::VolumeGuid;

use crate::common::{self, Running};
use crate::kills::support;
use snapless_driver_client::identity::volume_of_device;
use support::driver::Clock;
use two_volumes::{DEVICES, Machine, protect};

#[path = "../../../../service/tests/support/two_volumes.rs"]
mod two_volumes;

const GROUP: &str = "sql";
/// Bytes of an image that the program writes to at most.
const WRITTEN: usize = 16 << 20;

/// The images have the first writes of a program of which each comes when the one before is done,
/// and no other ones.
#[track_caller]
fn assert_has_all_before(root: &Path, made: &GroupBookmarked) {
    let dir = common::scratch();
    let repository = Repository::open(root).unwrap();
    let name = BookmarkName::parse(&made.name).unwrap();
    let mut done = Vec::new();
    for it in &made.volumes {
        let volume = VolumeGuid::parse(&it.volume).unwrap();
        let Bookmark { session, time: at, cut, .. } = repository.bookmark(volume, &name).unwrap();
        assert_eq!((session.to_string(), time::to_text(at)), (it.session.clone(), it.time.clone()));
        let (session, at) = (Some(session), At::Exact { time: at, cut });
        let to = dir.path().join(&it.volume);
        common::restore_to(root, Source { volume, session, at }, &to).unwrap();
        let mut image = vec![0; WRITTEN];
        File::open(to).unwrap().read_exact(&mut image).unwrap();
        done.extend(image.chunks(512).enumerate().filter(|(_, it)| it[0] == 1).map(|(n, _)| n));
    }
    done.sort_unstable();
    assert!(!done.is_empty() && done.iter().copied().eq(0..done.len()), "{done:?}");
}

#[test]
fn the_images_of_a_common_bookmark_have_all_that_was_done_before_what_they_have() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let machine = Machine::new("");
    for (index, volume) in machine.volumes.iter().enumerate() {
        machine.done(&protect(index, Some(&server.address.to_string()), Some(GROUP)));
        machine.session(index);
        volume.complete_base(0);
        volume.end_epoch();
    }
    let name = "in-the-midst".to_owned();
    let bookmark = Request::GroupBookmark { group: GROUP.to_owned(), name };
    let answer = machine.write_meanwhile(|| machine.ask(&bookmark));
    let Answer::GroupBookmarked(made) = answer else { panic!("{answer:?}") };
    assert_eq!(made.volumes.len(), 2);

    for it in &made.volumes {
        assert_eq!(it.time, made.time);
    }
    assert_has_all_before(&root, &made);

    let answer = machine.ask(&Request::GroupPoints { group: GROUP.to_owned() });
    let Answer::GroupPoints(points) = answer else { panic!("{answer:?}") };
    assert_eq!((points.points.len(), points.bookmarks.len()), (1, 1), "{points:?}");
    assert_eq!(points.bookmarks[0].time, made.time);
    let [first, at, latest] = [points.first.as_ref(), Some(&made.time), points.latest.as_ref()]
        .map(|text| time::from_text(text.unwrap()).unwrap());
    assert!(first <= at && at <= latest, "{points:?}");
    let taken = machine.refused(&bookmark);
    assert!(taken.text.contains("in-the-midst"), "{taken}");
}

/// Two machines whose clocks differ. Each protects the volume of its index.
struct Machines {
    pair: [Machine; 2],
    _server: Running,
    dir: tempfile::TempDir,
}

impl Machines {
    /// The first syncs of so many are complete, and the server has a group of them.
    fn new(complete: usize) -> Self {
        let dir = common::scratch();
        let server = Running::start(&dir.path().join("repository"));
        let hour = 3_600 * 10_000_000;
        // Neither do they step at the same moment.
        let ahead = [hour, 30 * hour + 78_125];
        let pair = ahead.map(|ahead| Machine::with_clock("", Clock::running(ahead)));
        for (index, machine) in pair.iter().enumerate() {
            machine.done(&protect(index, Some(&server.address.to_string()), Some(GROUP)));
            machine.session(index);
            if index < complete {
                machine.volumes[index].complete_base(0);
            }
            machine.volumes[index].end_epoch();
        }
        let machines = Self { pair, _server: server, dir };
        let repository = Repository::open(&machines.root()).unwrap();
        support::wait_until("both are connected", || repository.volumes().unwrap().len() == 2);
        machines.group(&[0, 1]);
        machines
    }

    fn root(&self) -> std::path::PathBuf {
        self.dir.path().join("repository")
    }

    /// Makes the server's group, of the volumes with these indices.
    fn group(&self, indices: &[usize]) {
        let volumes = indices.iter().map(|&index| volume_of_device(DEVICES[index]));
        let mut groups = Groups::default();
        let members = Members::new(volumes.collect()).unwrap();
        groups.set(GROUP.parse().unwrap(), members).unwrap();
        groups.write(Repository::open(&self.root()).unwrap().store()).unwrap();
    }

    /// Asks the first machine for a bookmark; again while a report of the volumes is awaited.
    fn bookmark(&self, name: &str) -> Answer {
        let request = Request::GroupBookmark { group: GROUP.to_owned(), name: name.to_owned() };
        for _ in 0..100 {
            match self.pair[0].ask(&request) {
                Answer::Refused(refusal) if refusal.text.contains("has not told yet") => {
                    thread::sleep(Duration::from_millis(100));
                }
                other => return other,
            }
        }
        panic!("no report arrives")
    }

    /// Asks while a program writes to both: one sector after the other, each when the write before
    /// is done, now on this machine, now on that.
    fn bookmark_meanwhile(&self, name: &str) -> Answer {
        let is_over = AtomicBool::new(false);
        let write = || {
            for number in 0_usize..WRITTEN / 512 {
                let index = number * number / 7 % 2;
                let volume = &self.pair[index].volumes[index];
                volume.write(number as u64 * 512, &[1]);
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                if number % 16 == 0 {
                    volume.end_epoch();
                }
                thread::sleep(Duration::from_micros(300));
            }
        };
        thread::scope(|scope| {
            scope.spawn(write);
            let answer = self.bookmark(name);
            is_over.store(true, Ordering::Relaxed);
            answer
        })
    }

    #[track_caller]
    fn refused(&self, name: &str, kind: RefusalKind, why: &str) {
        let answer = self.bookmark(name);
        let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
        assert_eq!(refusal.kind, kind, "{refusal}");
        assert!(refusal.text.contains(why), "{refusal}");
    }
}

#[test]
fn the_images_of_several_machines_have_all_that_was_done_before_what_they_have() {
    let machines = Machines::new(2);
    let answer = machines.bookmark_meanwhile("in-the-midst");
    let Answer::GroupBookmarked(made) = answer else { panic!("{answer:?}") };
    let names: Vec<_> = made.volumes.iter().map(|it| &*it.name).collect();
    assert_eq!(names, DEVICES);
    // Of either machine's own clock.
    assert_ne!(made.volumes[0].time, made.volumes[1].time);
    assert_has_all_before(&machines.root(), &made);

    let volumes = DEVICES.map(volume_of_device);
    let repository = Repository::open(&machines.root()).unwrap();
    let told = in_common(&repository, &volumes, &StopFlag::default()).unwrap();
    let [common] = &told.bookmarks[..] else { panic!("{told:?}") };
    assert_eq!((&*common.name, &common.time), ("in-the-midst", &made.time));
    machines.refused("in-the-midst", RefusalKind::Name, "in-the-midst");
}

#[test]
fn a_group_of_several_machines_gets_a_bookmark_of_all_or_of_none() {
    let machines = Machines::new(1);
    let [first, second] = &machines.pair;
    machines.refused("a", RefusalKind::NotRestorable, "first sync");
    second.volumes[1].complete_base(0);
    second.volumes[1].end_epoch();
    let other = Request::Protect {
        volume: DEVICES[1].to_owned(),
        server: None,
        group: Some("other".to_owned()),
    };
    second.done(&other);
    machines.refused("a", RefusalKind::NotRestorable, "is not in group sql on its machine");
    second.done(&protect(1, None, Some(GROUP)));
    second.volumes[1].make_older();
    machines.refused("a", RefusalKind::NotRestorable, "older");
    second.done(&Request::Pause { volume: DEVICES[1].to_owned() });
    machines.refused("a", RefusalKind::NotRestorable, "not connected");
    machines.group(&[1]);
    machines.refused("a", RefusalKind::Server, "not at the server");
    let repository = Repository::open(&machines.root()).unwrap();
    assert!(repository.bookmarks(None).unwrap().is_empty());
    // One that the first machine has alone.
    machines.group(&[0]);
    first.volumes[0].end_epoch();
    let answer = machines.bookmark("a");
    let Answer::GroupBookmarked(made) = answer else { panic!("{answer:?}") };
    assert_eq!(made.volumes.len(), 1);
}
