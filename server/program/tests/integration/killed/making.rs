//! `init`, `rekey`, `retention set`, `bookmark add`, `upgrade`.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Kind, images, on_repository, says, session, sound};
use crate::common::{self, Client, Driver, LENGTH, SESSION, Said, Served, VOLUME, program};
use snapless_server::format::repository::session_dir;
use snapless_server::timeline::At;

const DAYS: u64 = 10;

fn ten_days(dir: &Path) {
    session(&common::repository(&dir.join("repository")), SESSION, 0, DAYS);
}

/// All ten days are there.
fn is_whole(dir: &Path) {
    let root = dir.join("repository");
    sound(&root);
    assert!(images(&root, SESSION, DAYS).iter().all(Option::is_some));
}

#[test]
fn init_makes_a_repository_or_can_be_run_again() {
    let kind = Kind {
        name: "init",
        prepare: |_| {},
        command: |dir| {
            let mut command = program();
            command.arg("init").arg(dir.join("repository"));
            command
        },
        killed: |_| {},
        is_done: "is a Snapless repository already",
        done: |dir, _| {
            let root = dir.join("repository");
            common::ingest(&root, LENGTH, 1 << 20, &[Driver::default().first_sync()]);
            sound(&root);
        },
    };
    kind.kill();
}

#[test]
fn rekey_leaves_the_old_or_the_new_key_in_force() {
    fn opens(dir: &Path, key: &str) -> bool {
        let mut list = on_repository(dir, &["list"]);
        list.arg("--key-file").arg(dir.join(key)).output().unwrap().status.success()
    }
    let kind = Kind {
        name: "rekey",
        prepare: |dir| {
            let mut init = program();
            init.args(["init", "--encryption"]);
            init.arg(format!("key-file={}", dir.join("old").display()));
            says(init.arg(dir.join("repository")));
            let mut serve = program();
            serve.env("SNAPLESS_KEY_FILE", dir.join("old"));
            let server = Served::start_by(serve, &dir.join("repository"));
            let (mut client, ..) = Client::resume(server.address);
            client.records(&Driver::default().first_sync());
            assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
        },
        command: |dir| {
            let mut command = on_repository(dir, &["rekey"]);
            command.arg("--key-file").arg(dir.join("old"));
            command.arg("--to").arg(format!("key-file={}", dir.join("new").display()));
            command
        },
        killed: |dir| assert!(opens(dir, "old") || opens(dir, "new"), "a key opens it"),
        // The new one is in force already.
        is_done: "is not the key file of the repository",
        done: |dir, _| {
            assert!(opens(dir, "new"));
            let mut verify = on_repository(dir, &["verify"]);
            says(verify.arg("--key-file").arg(dir.join("new")));
        },
    };
    kind.kill();
}

/// The policy, as a repository that is whole shows it.
fn policy(dir: &Path) -> String {
    let show = says(on_repository(dir, &["retention", "show"]).arg("--json"));
    is_whole(dir);
    show
}

#[test]
fn a_policy_is_the_old_or_the_new_one() {
    let kind = Kind {
        name: "retention set",
        prepare: ten_days,
        command: |dir| {
            let mut command = on_repository(dir, &["retention", "set"]);
            command.args(["--keep-all", "14d", "--daily", "3"]);
            command
        },
        killed: |dir| drop(policy(dir)),
        is_done: "",
        done: |dir, _| {
            let show = policy(dir);
            assert!(show.contains("\"keep_all\": \"14d\""), "{show}");
        },
    };
    kind.kill();
}

#[test]
fn a_bookmark_is_there_or_can_be_made_again() {
    fn add(dir: &Path) -> Command {
        let mut command = on_repository(dir, &["bookmark", "add"]);
        command.args(["--volume", &VOLUME.to_string(), "--at", "t0", "begin"]);
        command
    }
    let kind = Kind {
        name: "bookmark add",
        prepare: ten_days,
        command: add,
        killed: |dir| {
            says(&mut on_repository(dir, &["bookmark", "list"]));
            // A part of a bookmark has no name that is read.
            is_whole(dir);
        },
        is_done: "has a bookmark begin already",
        done: |dir, _| {
            let list = says(on_repository(dir, &["bookmark", "list"]).arg("--json"));
            assert!(list.contains("\"begin\"") && !list.contains("\"error\""), "{list}");
            is_whole(dir);
        },
    };
    kind.kill();
}

#[test]
fn a_minimum_is_there_whole_or_not_at_all() {
    let kind = Kind {
        name: "retention set --lock-for",
        prepare: ten_days,
        command: |dir| {
            let mut command = on_repository(dir, &["retention", "set"]);
            command.args(["--keep-all", "14d", "--lock-for", "30d"]);
            command
        },
        // One that is not whole would end every fold, and each later change of the policy.
        killed: |dir| drop(policy(dir)),
        is_done: "",
        done: |dir, _| {
            let show = policy(dir);
            assert!(show.contains("\"span\": \"30d\""), "{show}");
        },
    };
    kind.kill();
}

#[test]
fn indices_and_states_that_are_made_again_are_whole_or_missing() {
    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir.join("repository").join(session_dir(VOLUME, SESSION)));
        let mut names: Vec<_> =
            entries.unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
    fn is_index(name: &str) -> bool {
        Path::new(name).extension().is_some_and(|extension| extension == "slidx")
    }
    let kind = Kind {
        name: "upgrade",
        prepare: |dir| {
            ten_days(dir);
            let folder = dir.join("repository").join(session_dir(VOLUME, SESSION));
            for name in names(dir) {
                if is_index(&name) || name == "state.snapless" {
                    fs::remove_file(folder.join(name)).unwrap();
                }
            }
        },
        command: |dir| on_repository(dir, &["upgrade"]),
        killed: is_whole,
        is_done: "",
        done: |dir, reference| {
            assert_eq!(names(dir), names(reference));
            assert!(names(dir).iter().any(|name| is_index(name)));
            is_whole(dir);
            let (_, image) = common::image(&dir.join("repository"), At::T0).unwrap();
            assert_eq!(image, common::base_image());
        },
    };
    kind.kill();
}
