//! `copy`, `export` and `import`.

use std::path::Path;

use super::{Kind, images, on_repository, says, session, sound};
use crate::common::{self, SESSION, program};

const DAYS: u64 = 10;

fn ten_days(dir: &Path) {
    session(&common::repository(&dir.join("repository")), SESSION, 0, DAYS);
}

/// The source is as it was, and the target has all of it.
fn is_copied(dir: &Path) {
    let [from, to] = ["repository", "second"].map(|name| dir.join(name));
    for root in [&from, &to] {
        sound(root);
    }
    let (have, want) = (images(&to, SESSION, DAYS), images(&from, SESSION, DAYS));
    assert!(want.iter().all(Option::is_some) && have == want);
}

#[test]
fn a_copy_goes_on_wherever_it_ended() {
    let kind = Kind {
        name: "copy",
        prepare: |dir| {
            ten_days(dir);
            drop(common::repository(&dir.join("second")));
        },
        command: |dir| {
            let mut command = on_repository(dir, &["copy", "--all"]);
            command.arg("--to").arg(dir.join("second"));
            command
        },
        killed: |dir| ["repository", "second"].iter().for_each(|name| sound(&dir.join(name))),
        is_done: "",
        done: |dir, _| is_copied(dir),
    };
    kind.kill();
}

#[test]
fn an_export_says_whether_it_is_whole_and_goes_on() {
    let kind = Kind {
        name: "export",
        prepare: ten_days,
        command: |dir| {
            let mut command = on_repository(dir, &["export", "--all"]);
            command.arg("--to").arg(dir.join("second"));
            command
        },
        killed: |dir| sound(&dir.join("repository")),
        is_done: "",
        done: |dir, _| is_copied(dir),
    };
    kind.kill();
}

#[test]
fn an_import_goes_on_wherever_it_ended() {
    let kind = Kind {
        name: "import",
        prepare: |dir| {
            ten_days(dir);
            says(on_repository(dir, &["export", "--all"]).arg("--to").arg(dir.join("disk")));
            drop(common::repository(&dir.join("second")));
        },
        command: |dir| {
            let mut command = program();
            command.arg("import").arg("--from").arg(dir.join("disk"));
            command.arg("--repository").arg(dir.join("second"));
            command
        },
        killed: |dir| ["disk", "second"].iter().for_each(|name| sound(&dir.join(name))),
        is_done: "",
        done: |dir, _| is_copied(dir),
    };
    kind.kill();
}
