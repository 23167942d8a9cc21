//! A repository of an earlier release, and what `upgrade` makes of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::{self, Driver, SECTOR, SESSION, VOLUME, program, scratch};
use serde_json::Value;
use snapless_server::format::repository::session_dir;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::Source;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::upgrade::{Made, upgrade};
use snapless_server::verify::verify;
use snapless_wire::id::FileTime;

/// What the release before indices and maps wrote of a quiet volume: see `golden.rs`. It had
/// another form of the kept state, with the same version.
const FILES: [(&str, &[u8]); 5] = [
    ("session.snapless", include_bytes!("golden/before-indices/session.snapless")),
    ("acknowledged.snapless", include_bytes!("golden/before-indices/acknowledged.snapless")),
    ("segment-00000001.slseg", include_bytes!("golden/before-indices/segment-00000001.slseg")),
    ("watermark.snapless", include_bytes!("golden/before-indices/watermark.snapless")),
    ("state.snapless", include_bytes!("golden/before-indices/state.snapless")),
];
const HOUR: u64 = 3_600 * FileTime::TICKS_PER_SECOND;

fn folder(root: &Path) -> PathBuf {
    root.join(session_dir(VOLUME, SESSION))
}

fn earlier(root: &Path) {
    drop(WritableRepository::init(root).unwrap());
    fs::create_dir_all(folder(root)).unwrap();
    for (name, content) in FILES {
        fs::write(folder(root).join(name), content).unwrap();
    }
}

fn damage(root: &Path) -> Vec<String> {
    let report = verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap();
    report.damage.iter().map(|it| it.file.display().to_string()).collect()
}

/// The points of the earlier release's files.
#[track_caller]
fn reads(root: &Path) {
    let at = |time| At::Time(FileTime::new(common::T0 + time));
    let to = root.with_extension("img");
    for (at, second) in [(At::T0, 0x5a), (at(30), 0x5a), (at(HOUR + 30), 0), (At::Latest, 0)] {
        common::restore_to(root, Source { volume: VOLUME, session: None, at }, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [[0x5a; 512], [second; 512]].concat(), "{at:?}");
    }
}

fn run(root: &Path, more: &[&str]) -> Output {
    let output = program().args(["upgrade", "--repository"]).arg(root).args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn what_an_earlier_release_wrote_is_read_and_upgraded() {
    let dir = scratch();
    let root = dir.path().join("repository");
    earlier(&root);
    reads(&root);
    // The form of its kept state is not this release's; everything else is sound.
    let state = folder(&root).join("state.snapless");
    assert_eq!(damage(&root), [state.display().to_string()]);
    let report: Value = serde_json::from_slice(&run(&root, &["--json"]).stdout).unwrap();
    assert_eq!(report["listed"], 1, "{report}");
    let made = &report["made"][0];
    assert_eq!((&made["indices"], &made["state"]), (&1.into(), &true.into()), "{report}");
    assert_eq!(damage(&root), [""; 0]);
    reads(&root);
    for (name, content) in &FILES[2..4] {
        assert_eq!(fs::read(folder(&root).join(name)).unwrap(), *content, "{name}");
    }
    assert!(folder(&root).join("segment-00000001.slidx").exists());
    let again = String::from_utf8(run(&root, &[]).stdout).unwrap();
    assert!(again.contains("nothing to do"), "{again}");
}

#[test]
fn every_index_map_and_state_that_is_missing_is_made_and_nothing_else() {
    let dir = scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut frames = vec![driver.first_sync()];
    for byte in 0..60 {
        frames.push([driver.write(0, 8 * SECTOR, byte), driver.epoch_end()].concat());
    }
    common::ingest(&root, common::LENGTH, 40_000, &frames);
    let derived = |path: &Path| {
        ["slidx", "slmap"].contains(&path.extension().unwrap().to_str().unwrap())
            || path.ends_with("state.snapless")
    };
    let list = || {
        let mut names: Vec<_> =
            fs::read_dir(folder(&root)).unwrap().map(|it| it.unwrap().path()).collect();
        names.sort();
        names
    };
    for path in list().into_iter().filter(|path| derived(path)) {
        fs::remove_file(path).unwrap();
    }
    let before: Vec<_> = list().into_iter().map(|path| fs::read(path).unwrap()).collect();
    let segments =
        list().iter().filter(|it| it.extension().is_some_and(|it| it == "slseg")).count();
    let made = || {
        let repository = WritableRepository::open(&root).unwrap();
        let report =
            upgrade(&repository, (40_000, 50_000), &StopFlag::default(), |_, _| {}).unwrap();
        assert_eq!((report.sessions, report.failed.len()), (1, 0));
        report.made
    };
    let [Made { indices, maps, state: true, .. }] = &made()[..] else { panic!("all is missing") };
    assert_eq!(*indices, segments as u64);
    assert!(*maps > 1, "{maps} maps");
    assert_eq!(made(), []);
    assert_eq!(damage(&root), [""; 0]);
    let kept: Vec<_> = list().into_iter().filter(|path| !derived(path)).collect();
    let after: Vec<_> = kept.iter().map(|path| fs::read(path).unwrap()).collect();
    assert_eq!(after, before, "what is not derived is as it was");
    // An index in the midst is made alone.
    fs::remove_file(folder(&root).join("segment-00000002.slidx")).unwrap();
    let [Made { indices: 1, maps: 0, state: false, .. }] = &made()[..] else { panic!("one index") };
}

#[test]
fn a_session_that_is_damaged_is_named_and_the_others_are_upgraded() {
    let dir = scratch();
    let root = dir.path().join("repository");
    let broken = snapless_server::format::session::SessionHeader {
        session: snapless_wire::id::SessionId([1; 16]),
        ..common::header(common::LENGTH)
    };
    for header in [broken, common::header(common::LENGTH)] {
        common::ingest_as(&root, &header, 1 << 20, &[Driver::default().first_sync()]);
    }
    let path = root.join(session_dir(VOLUME, broken.session)).join("acknowledged.snapless");
    fs::write(path, [0; 8192]).unwrap();
    let repository = WritableRepository::open(&root).unwrap();
    let report = upgrade(&repository, (1 << 20, 1 << 30), &StopFlag::default(), |_, _| {}).unwrap();
    assert_eq!((report.made.len(), report.failed.len()), (1, 1));
    assert!(report.failed[0].damaged && report.failed[0].error.contains("acknowledged.snapless"));
}
