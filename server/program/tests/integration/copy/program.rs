//! `copy` as an administrator sees it: output, exit codes, signals.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::{Machine, SEGMENT, is_segment, same_points, says, stream, twins};
use crate::common::{self, Driver, LENGTH, SESSION, VOLUME, program, scratch};
use serde_json::Value;
use snapless_server::format::repository::session_dir;
use snapless_server::repository::WritableRepository;

fn copy(from: &Path, to: &Path, more: &[&str]) -> Output {
    let mut copy = program();
    copy.args(["copy", "--repository"]).arg(from).arg("--to").arg(to).args(more);
    copy.output().unwrap()
}

#[test]
fn a_copy_tells_people_and_scripts_what_it_did() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 1);
    machine.sync();
    machine.connect(5);
    says(&copy(&a, &b, &["--all"]), 1, "snapless-server init");
    drop(common::repository(&b));
    says(&copy(&a, &b, &[]), 2, "--all");
    says(&copy(&a, &b, &["--all", &VOLUME.to_string()]), 2, "cannot be used with");
    says(&copy(&a, &b, &["--all", "--limit", "fast"]), 2, "50MiB");
    says(&copy(&a, &b, &["--all", "--dry-run"]), 0, "nothing was changed");
    let done = copy(&a, &b, &["--all", "--json", "--limit", "1GiB"]);
    says(&done, 0, "copied");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let session = &report["sessions"][0];
    assert_eq!(session["volume"], VOLUME.to_string());
    assert_eq!(
        (&session["session"], &session["state"]),
        (&SESSION.to_string().into(), &"copied".into())
    );
    assert_eq!(session["last_seq"], machine.driver.seq);
    assert_eq!(report["bytes"], session["bytes"]);
    assert!(report["records"].as_u64() > Some(8) && report["seconds"].is_u64(), "{report}");
    says(&copy(&a, &b, &[&VOLUME.to_string()]), 0, "up to date");
    says(&copy(&a, &b, &["--session", &SESSION.to_string()]), 0, "up to date");
    says(&copy(&a, &a, &["--all"]), 1, "both source and target");
    let held = WritableRepository::open(&b).unwrap();
    says(&copy(&a, &b, &["--all"]), 1, "in use by another snapless-server");
    drop(held);
    same_points(&a, &b, &mut machine);
}

#[test]
fn each_kind_of_failure_has_its_exit_code() {
    let dir = scratch();
    let (a, b, mut machine) = twins(dir.path());
    machine.root.clone_from(&b);
    machine.connect(1);
    says(&copy(&a, &b, &["--all"]), 1, "was restored from an older state");
    let c = dir.path().join("c");
    common::ingest(&c, LENGTH, SEGMENT, &[Driver::default().first_sync()]);
    let path = c.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let d = dir.path().join("d");
    drop(common::repository(&d));
    says(&copy(&c, &d, &["--all"]), 4, "segment-00000001.slseg");
}

#[cfg(unix)]
#[test]
fn a_signal_ends_a_copy_in_order_and_the_next_one_goes_on() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 2);
    machine.sync();
    machine.connect(100);
    drop(common::repository(&b));
    let mut slow = program();
    slow.args(["copy", "--all", "--limit", "100KiB", "--repository"]).arg(&a).arg("--to").arg(&b);
    let child = slow.stderr(Stdio::piped()).spawn().unwrap();
    let segment = b.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
    let begun = std::time::Instant::now();
    while !segment.exists() {
        assert!(begun.elapsed() < std::time::Duration::from_mins(1), "it begins");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    says(&child.wait_with_output().unwrap(), 130, "stopped on request");
    says(&copy(&a, &b, &["--all"]), 0, "copied");
    same_points(&a, &b, &mut machine);
    let len = |root: &Path| stream(root).iter().filter(|(name, _)| is_segment(name)).count();
    assert!(len(&a) > len(&b), "the program's segments are longer");
}
