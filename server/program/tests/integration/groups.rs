//! The real service against the real server: one instant of several volumes.

use std::fs::File;
use std::io::Read;

use snapless_control::message::{Answer, Request};
use snapless_server::format::bookmark::{Bookmark, BookmarkName};
use snapless_server::repository::Repository;
use snapless_server::restore::Source;
use snapless_server::time;
use snapless_server::timeline::At;
use snapless_wire::id::VolumeGuid;

use crate::common::{self, Running};
use crate::kills::support;
use two_volumes::{Machine, protect};

#[path = "../../../../service/tests/support/two_volumes.rs"]
mod two_volumes;

const GROUP: &str = "sql";
/// Bytes of an image that the program writes to at most.
const WRITTEN: usize = 16 << 20;

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

    let repository = Repository::open(&root).unwrap();
    let name = BookmarkName::parse(&made.name).unwrap();
    let mut done = Vec::new();
    for it in &made.volumes {
        let volume = VolumeGuid::parse(&it.volume).unwrap();
        let Bookmark { session, time: at, cut, .. } = repository.bookmark(volume, &name).unwrap();
        assert_eq!(
            (session.to_string(), time::to_text(at)),
            (it.session.clone(), made.time.clone())
        );
        let (session, at) = (Some(session), At::Exact { time: at, cut });
        let to = dir.path().join(&it.volume);
        common::restore_to(&root, Source { volume, session, at }, &to).unwrap();
        let mut image = vec![0; WRITTEN];
        File::open(to).unwrap().read_exact(&mut image).unwrap();
        done.extend(image.chunks(512).enumerate().filter(|(_, it)| it[0] == 1).map(|(n, _)| n));
    }
    done.sort_unstable();
    assert!(!done.is_empty() && done.iter().copied().eq(0..done.len()), "{done:?}");

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
