//! `compact` and `gc`.

use std::path::Path;
use std::process::Command;

use super::{Kind, copy, images, on_repository, says, session, sound};
use crate::common::{self, SESSION, VOLUME};
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_wire::id::SessionId;

const FIRST: SessionId = SessionId([0x31; 16]);
/// Days from the first session's begin to the end of the last.
const DAYS: u64 = 22;

/// A session that goes, and one that is folded, as the policy says; beside them what they were.
fn two(dir: &Path) {
    let root = dir.join("repository");
    let repository = common::repository(&root);
    session(&repository, FIRST, 0, 10);
    session(&repository, SESSION, 11, 10);
    drop(repository);
    copy(&root, &dir.join("whole"));
    says(on_repository(dir, &["retention", "set"]).args(["--keep-all", "1d", "--daily", "3"]));
}

fn compact(dir: &Path) -> Command {
    on_repository(dir, &["compact", &VOLUME.to_string()])
}

/// What can be restored is what it was, and the latest point can.
fn is_right(dir: &Path) {
    let root = dir.join("repository");
    sound(&root);
    let want = images(&dir.join("whole"), SESSION, DAYS);
    let have = images(&root, SESSION, DAYS);
    assert!(have[1].is_some(), "latest");
    for (have, want) in have.iter().zip(&want) {
        assert!(have.is_none() || have == want);
    }
}

fn is_as(dir: &Path, reference: &Path) {
    is_right(dir);
    let [have, want] = [dir, reference].map(|dir| images(&dir.join("repository"), SESSION, DAYS));
    assert!(have == want, "the points that stay are those of a fold that was not disturbed");
}

#[test]
fn a_fold_keeps_what_it_must_wherever_it_ends() {
    let kind = Kind {
        name: "compact",
        prepare: two,
        command: compact,
        killed: is_right,
        is_done: "",
        done: |dir, reference| {
            is_as(dir, reference);
            // What the kill left is garbage, and nothing else is.
            says(&mut on_repository(dir, &["gc"]));
            is_as(dir, reference);
            let gone = images(&dir.join("repository"), FIRST, DAYS);
            assert!(gone.iter().all(Option::is_none), "it was removed");
        },
    };
    kind.kill();
}

#[test]
fn a_collection_removes_garbage_alone_wherever_it_ends() {
    let kind = Kind {
        name: "gc",
        prepare: |dir| {
            two(dir);
            // While they are read, nothing of what is folded away is removed.
            let stop = StopFlag::default();
            let repository = Repository::open(&dir.join("repository")).unwrap().pinned_for("test");
            let readers = [FIRST, SESSION].map(|session| {
                let source = Source { volume: VOLUME, session: Some(session), at: At::Latest };
                Found::find(&repository, &source, &stop).unwrap()
            });
            says(&mut compact(dir));
            drop(readers);
        },
        command: |dir| on_repository(dir, &["gc"]),
        killed: is_right,
        is_done: "",
        done: |dir, reference| {
            is_as(dir, reference);
            let left = says(on_repository(dir, &["gc"]).arg("--dry-run"));
            assert!(left.contains("0 file(s) of garbage"), "{left}");
        },
    };
    kind.kill();
}
