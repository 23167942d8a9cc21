//! Exports and imports: a repository on a disk that is shipped, which says whether it is whole.

use std::fs;
use std::path::Path;
use std::process::Output;

use super::{HOW, Machine, files, same_points, says, sound};
use crate::common::{
    self, Client, Driver, LENGTH, Running, SESSION, Said, VOLUME, program, scratch,
};
use snapless_server::copy::Wanted;
use snapless_server::error::Error;
use snapless_server::export;
use snapless_server::format::repository::session_dir;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::stop::StopFlag;
use snapless_server::verify::verify;

fn run(command: &str, from: (&str, &Path), to: (&str, &Path), more: &[&str]) -> Output {
    let mut program = program();
    program.arg(command).arg(from.0).arg(from.1).arg(to.0).arg(to.1).args(more);
    program.output().unwrap()
}

fn export(from: &Path, to: &Path, more: &[&str]) -> Output {
    run("export", ("--repository", from), ("--to", to), &[&["--all"], more].concat())
}

fn import(from: &Path, to: &Path, more: &[&str]) -> Output {
    run("import", ("--from", from), ("--repository", to), more)
}

#[test]
fn an_export_is_imported_and_the_machine_goes_on_with_the_new_server() {
    let dir = scratch();
    let [a, disk, b] = ["a", "disk", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 1);
    machine.sync();
    machine.connect(30);
    says(&export(&a, &disk, &["--dry-run"]), 0, "nothing was changed");
    assert!(!disk.exists());
    says(&export(&a, &disk, &[]), 0, "has 1 session(s)");
    sound(&disk);
    drop(common::repository(&b));
    says(&import(&disk, &b, &["--dry-run"]), 0, "nothing was changed");
    let shipped = files(&disk);
    says(&import(&disk, &b, &[]), 0, &format!("an export of {}", a.display()));
    assert_eq!(files(&disk), shipped, "an export is only read");
    same_points(&a, &b, &mut machine);
    says(&import(&disk, &b, &[]), 0, "up to date");

    // What came since goes the same way.
    machine.connect(5);
    says(&export(&a, &disk, &[]), 0, "complete");
    says(&import(&disk, &b, &["--json"]), 0, "\"copied\"");
    same_points(&a, &b, &mut machine);

    // The service says Hello for the same session, and goes on behind what was copied.
    let server = Running::start(&b);
    let (mut client, _, seq) = Client::resume(server.address);
    assert_eq!(seq, machine.driver.seq);
    client.records(&[machine.driver.write(0, 512, 0xab), machine.driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    drop((client, server));
    // From then on the new server has more.
    says(&import(&disk, &b, &[]), 1, "the machine sends to the target now");
    sound(&b);
}

#[test]
fn an_export_that_was_cut_short_or_lost_something_is_not_imported() {
    let dir = scratch();
    let [a, disk, b] = ["a", "disk", "b"].map(|name| dir.path().join(name));
    let mut machine = Machine::new(a.clone(), 2);
    machine.sync();
    drop(common::repository(&b));
    says(&import(&a, &b, &[]), 1, "is a repository and no export");
    // As it is while the first session is copied.
    let (from, to) = (Repository::open(&a).unwrap(), WritableRepository::init(&disk).unwrap());
    export::begin(&from, &to).unwrap();
    drop(to);
    says(&import(&disk, &b, &[]), 1, "was not finished");
    says(&export(&a, &disk, &[]), 0, "complete");
    let whole = files(&disk);
    // One that goes on is under way again.
    let to = WritableRepository::open(&disk).unwrap();
    export::begin(&from, &to).unwrap();
    drop(to);
    says(&import(&disk, &b, &[]), 1, "was not finished");
    says(&export(&a, &disk, &[]), 0, "up to date");

    // An older acknowledged end, a session that is gone, and a damaged mark.
    let session = disk.join(session_dir(VOLUME, SESSION));
    let end = session.join("acknowledged.snapless");
    let mut older = whole[&end].clone();
    let newest = [0, 4096].into_iter().max_by_key(|at| older[at + 16]).unwrap();
    older[newest] ^= 1;
    fs::write(&end, &older).unwrap();
    let refused = import(&disk, &b, &[]);
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(fs::read_dir(b.join("volumes")).unwrap().count(), 0, "nothing was imported");
    fs::write(&end, &whole[&end]).unwrap();
    let aside = dir.path().join("aside");
    fs::rename(&session, &aside).unwrap();
    says(&import(&disk, &b, &[]), 4, "it is missing");
    fs::rename(&aside, &session).unwrap();
    let mark = disk.join("export.snapless");
    let mut bytes = fs::read(&mark).unwrap();
    bytes[30] ^= 1;
    fs::write(&mark, &bytes).unwrap();
    says(&import(&disk, &b, &[]), 4, "export.snapless");
    let report = verify(&Repository::open(&disk).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage.len(), 1, "{report:?}");
    bytes[30] ^= 1;
    fs::write(&mark, &bytes).unwrap();
    says(&import(&disk, &b, &[]), 0, "copied");
    same_points(&a, &b, &mut machine);
}

#[test]
fn a_folder_of_something_else_is_no_target() {
    let dir = scratch();
    let [a, other, b] = ["a", "other", "b"].map(|name| dir.path().join(name));
    for root in [&a, &other] {
        common::ingest(root, LENGTH, 1 << 20, &[Driver::default().first_sync()]);
    }
    says(&export(&a, &other, &[]), 1, "that no export began");
    fs::create_dir(&b).unwrap();
    fs::write(b.join("letter.txt"), "dear").unwrap();
    says(&export(&a, &b, &[]), 1, "letter.txt");
    fs::remove_file(b.join("letter.txt")).unwrap();
    says(&export(&a, &b, &[]), 0, "complete");
    says(&export(&other, &b, &[]), 1, &format!("an export of another repository, {}", a.display()));
    says(&export(&a, &a.join("inside"), &[]), 1, "lies in the repository");
}

#[test]
fn an_export_with_a_session_that_failed_is_not_complete() {
    let dir = scratch();
    let [a, disk, b] = ["a", "disk", "b"].map(|name| dir.path().join(name));
    common::ingest(&a, LENGTH, 1 << 20, &[Driver::default().first_sync()]);
    let segment = a.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[300] ^= 1;
    fs::write(&segment, bytes).unwrap();
    says(&export(&a, &disk, &[]), 4, "not complete");
    drop(common::repository(&b));
    says(&import(&disk, &b, &[]), 1, "was not finished");
}

#[test]
fn a_target_without_room_is_refused_before_anything_is_written() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    // A file with a hole: more than any file system has room for.
    common::ingest(&a, LENGTH, 1 << 20, &[Driver::default().first_sync()]);
    let session = a.join(session_dir(VOLUME, SESSION));
    let first = fs::read(session.join("segment-00000001.slseg")).unwrap();
    let stop = StopFlag::default();
    let from = Repository::open(&a).unwrap();
    let plan = snapless_server::copy::Plan::make(&from, None, &Wanted::default(), &stop).unwrap();
    assert_eq!(plan.bytes(), first.len() as u64);
    let room = fs4::available_space(dir.path()).unwrap();
    let sparse =
        fs::OpenOptions::new().write(true).open(session.join("segment-00000001.slseg")).unwrap();
    // Only its length counts for the check; the acknowledged end is put behind it.
    let len = (first.len() as u64).max(room + (64 << 20));
    sparse.set_len(len).unwrap();
    acknowledge_to(&session.join("acknowledged.snapless"), len);
    let refused = export(&a, &b, &[]);
    says(&refused, 1, "--no-space-check");
    assert!(!b.exists());
}

/// Puts the acknowledged end elsewhere in its segment.
fn acknowledge_to(path: &Path, offset: u64) {
    use snapless_server::format::acknowledged::Acknowledged;
    let mut bytes = fs::read(path).unwrap();
    let end = Acknowledged { offset, ..Acknowledged::read(&bytes).unwrap() };
    let at = end.slot_offset();
    bytes[at..at + 64].copy_from_slice(&end.to_slot());
    fs::write(path, bytes).unwrap();
}

#[test]
fn an_export_into_a_repository_made_by_hand_is_refused_by_the_library_too() {
    let dir = scratch();
    let [a, b] = ["a", "b"].map(|name| dir.path().join(name));
    common::ingest(&a, LENGTH, 1 << 20, &[Driver::default().first_sync()]);
    let from = Repository::open(&a).unwrap();
    let target = common::repository(&b);
    assert!(matches!(export::finish(&target), Err(Error::Copy(_))), "it was not begun");
    export::begin(&from, &target).unwrap();
    snapless_server::copy::copy_all(&from, &target, &HOW, &StopFlag::default()).unwrap();
    let sessions = export::finish(&target).unwrap();
    assert_eq!(export::check(target.repository()).unwrap().sessions.unwrap(), sessions);
}
