//! `points`.

use serde_json::Value;
use snapless_server::format::session::SessionHeader;
use snapless_server::time;
use snapless_types::GapReason;
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use super::{assert_done, assert_fails, filled, json, run, run_for_volume, text};
use crate::common::connection::{Connection, quiet};
use crate::common::{self, BLOCK, Driver, LENGTH, SESSION, T0, VOLUME};

fn at(time: u64) -> Value {
    time::to_text(FileTime::new(time)).into()
}

/// From, to and seconds of each quiet stretch.
fn stretches(session: &Value) -> Vec<[Value; 3]> {
    let quiet = session["quiet"].as_array().unwrap().iter();
    quiet.map(|it| ["from", "to", "seconds"].map(|field| it[field].clone())).collect()
}

#[test]
fn points_tells_stretches_gaps_with_their_reasons_and_bookmarks() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = filled(&root);
    let bridged = [driver.gap_for(GapReason::QueueFull), driver.resync(0, 1), driver.consistent()];
    let rest = [bridged.concat(), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[rest]);
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &["after-the-gap"]));
    let volume = VOLUME.to_string();
    let told = run(&["points"], &root, &[&volume, "--json"]);
    assert_done(&told);
    let report = json(&told);
    let session = &report["sessions"][0];
    assert_eq!(
        (&report["volume"], &session["session"]),
        (&volume.clone().into(), &SESSION.to_string().into())
    );
    assert_eq!(
        (&session["state"], &session["t0"]),
        (&"complete".into(), &"2020-01-01T00:00:00Z".into())
    );
    let [points, gaps] = ["points", "gaps"].map(|it| session[it].as_array().unwrap().len());
    assert_eq!((points, gaps), (2, 1));
    assert_eq!(session["gaps"][0]["reason_text"], GapReason::QueueFull.name());
    assert_eq!(session["points"][1]["to"], session["latest"]);
    assert_eq!(report["bookmarks"][0]["name"], "after-the-gap");
    assert_eq!(report["latest"]["time"], session["latest"]);
    let human = text(&run(&["points"], &root, &[&volume]).stdout);
    let reason = format!(": {}", GapReason::QueueFull.name());
    for part in ["points  2020", &reason, "latest  2020", "bookmark after-the-gap"] {
        assert!(human.contains(part), "{part}: {human}");
    }
    let session = ["--session", &SESSION.to_string(), "--json"].map(str::to_owned);
    let more: Vec<_> =
        [volume.as_str()].into_iter().chain(session.iter().map(|it| it.as_str())).collect();
    assert_eq!(json(&run(&["points"], &root, &more))["sessions"].as_array().unwrap().len(), 1);
}

#[test]
fn points_tells_what_volumes_have_in_common() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    // The other volume begins later, and ends in a gap.
    let driver = filled(&root);
    let (other, session) = (VolumeGuid([0x33; 16]), SessionId([0x44; 16]));
    let mut later = Driver { time: T0 + 5, ..Driver::default() };
    let first_sync = later.first_sync();
    let last = later.time;
    let gap = [later.gap_for(GapReason::QueueFull), later.epoch_end()].concat();
    let header = SessionHeader { volume: other, session, ..common::header(LENGTH) };
    common::ingest_as(&root, &header, 1 << 20, &[first_sync, gap]);
    assert!(last < driver.time - driver.tick);

    let mark = |volume: VolumeGuid, name: &str, at: u64| {
        let (volume, at) = (volume.to_string(), time::to_text(FileTime::new(at)));
        let more = ["--volume", &volume, name, "--at", &at];
        assert_done(&run(&["bookmark", "add"], &root, &more));
    };
    for (volume, names) in [(VOLUME, ["both", "apart"]), (other, ["Both", "apart"])] {
        let apart = if volume == VOLUME { last } else { last - 1 };
        mark(volume, names[0], T0 + 7);
        mark(volume, names[1], apart);
    }
    mark(VOLUME, "alone", last);

    let [volume, with] = [VOLUME, other].map(|it| it.to_string());
    let common = [volume.as_str(), "--with", &with];
    let told = run(&["points"], &root, &[&common[..], &["--json"]].concat());
    assert_done(&told);
    let report = json(&told);
    assert_eq!(report["volumes"], serde_json::json!([volume, with]));
    let first = time::from_text(report["first"].as_str().unwrap()).unwrap().get();
    assert!(first > T0 && first < T0 + 10, "the later t0: {first}");
    assert_eq!((report["points"].as_array().unwrap().len(), &report["latest"]), (1, &at(last)));
    let bookmarks = serde_json::json!([{
        "name": "both",
        "time": at(T0 + 7),
        "consistency": "crash",
        "sessions": [SESSION.to_string(), session.to_string()],
    }]);
    assert_eq!(report["bookmarks"], bookmarks);
    let human = text(&run(&["points"], &root, &common).stdout);
    assert!(human.contains("bookmark  both: 2020") && !human.contains("alone"), "{human}");

    let nowhere = VolumeGuid([0x55; 16]).to_string();
    assert_fails(&run(&["points"], &root, &[&volume, "--with", &nowhere]), 1, &nowhere);
    assert_fails(&run(&["points"], &root, &[&common[..], &["--quiet"]].concat()), 2, "--with");
}

#[test]
fn points_tells_quiet_stretches_as_far_as_it_is_asked() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut connection = Connection::open(&root);
    let mut driver = Driver::default();
    connection.records(&driver.first_sync());
    // An hour, told by several watermarks; half a minute; two minutes that go on.
    let last = driver.time - driver.tick;
    connection.mark(quiet(&mut driver, 1_800)).unwrap();
    let hour = quiet(&mut driver, 1_800);
    connection.mark(hour).unwrap();
    for seconds in [30, 120] {
        let write = driver.write(BLOCK, 512, 7);
        connection.records(&[write, driver.epoch_end()].concat());
        connection.mark(quiet(&mut driver, seconds)).unwrap();
    }
    connection.end();
    let told = |more: &[&str]| {
        let volume = VOLUME.to_string();
        let more = [&[volume.as_str(), "--json"], more].concat();
        let done = run(&["points"], &root, &more);
        assert_done(&done);
        stretches(&json(&done)["sessions"][0])
    };
    let seconds = FileTime::TICKS_PER_SECOND;
    let present = [at(driver.time - 120 * seconds - driver.tick), at(driver.time), 120.into()];
    let before = [at(last), at(hour.time().get()), 3_600.into()];
    assert_eq!(told(&["--quiet"]), [before.clone(), present.clone()]);
    assert_eq!(told(&[]), std::slice::from_ref(&present));
    let human = text(&run(&["points"], &root, &[&VOLUME.to_string(), "--quiet"]).stdout);
    assert!(human.contains("quiet   2020-01-01") && human.contains("60 minutes"), "{human}");
    // Damage that no index has hides what was before; the kept state has the rest.
    let session = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let segment = session.join("segment-00000001.slseg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[64 + 16 + 64] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    assert_eq!(told(&["--quiet"]), [before, present.clone()]);
    std::fs::remove_file(session.join("segment-00000001.slidx")).unwrap();
    assert_eq!(told(&["--quiet"]), std::slice::from_ref(&present));
    let human = text(&run(&["points"], &root, &[&VOLUME.to_string(), "--quiet"]).stdout);
    assert!(human.contains("damaged") && human.contains("segment-00000001"), "{human}");
}

#[test]
fn points_of_what_is_not_there_or_not_whole_are_none() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let begun = [driver.start(), driver.block(0, 1), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[begun]);
    let volume = VOLUME.to_string();
    let human = text(&run(&["points"], &root, &[&volume]).stdout);
    assert!(human.contains("no points yet"), "{human}");
    let other = VolumeGuid([0x33; 16]).to_string();
    assert_fails(&run(&["points"], &root, &[&other]), 1, &volume);
    assert_fails(&run(&["points"], &root, &[&volume, "--session", &other]), 1, "no session");
    assert_fails(&run(&["points"], &root, &["C:"]), 2, "expected the GUID");
}
