//! `bookmark`, and what an instant may be called.

use std::fs;

use snapless_server::repository::Repository;
use snapless_server::stop::StopFlag;
use snapless_server::time;
use snapless_server::verify::verify;
use snapless_wire::id::{FileTime, VolumeGuid};

use super::{
    assert_done, assert_fails, filled, filled_image, json, restore, run, run_for_volume, text,
};
use crate::common::{self, BLOCK, LENGTH, SESSION, T0, VOLUME};

#[test]
fn a_bookmark_stands_for_its_point_whatever_is_written_later() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = filled(&root);
    let made = run_for_volume(&["bookmark", "add"], &root, &["Before-upgrade", "--json"]);
    assert_done(&made);
    let latest = time::to_text(FileTime::new(driver.time - driver.tick));
    let made = json(&made);
    assert_eq!((&made["time"], &made["session"]), (&latest.into(), &SESSION.to_string().into()));
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &["start", "--at", "t0"]));
    let copied = ["copy", "--at", "Before-upgrade"];
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &copied));
    // The clock stands still: a time would take in what comes now.
    driver.time -= driver.tick;
    let later = [driver.write(0, 512, 0xdd), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[later]);

    let to = dir.path().join("image");
    for name in ["before-upgrade", "BEFORE-UPGRADE", "copy"] {
        assert_done(&restore(&root, name, &to, &["--force"]));
        assert!(fs::read(&to).unwrap() == filled_image(), "{name}");
    }
    assert_done(&restore(&root, "start", &to, &["--force"]));
    assert!(fs::read(&to).unwrap() == common::base_image());
    let other = ["--session", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "--force"];
    assert_fails(&restore(&root, "start", &to, &other), 1, &SESSION.to_string());
    let sides = ["--from", "before-upgrade", "--to", "latest", "--json"];
    let differ = json(&run_for_volume(&["diff"], &root, &sides));
    assert_eq!(differ["changed"], serde_json::json!([{ "offset": 0, "len": 512 }]));

    let listed = json(&run(&["bookmark", "list"], &root, &["--json"]));
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["Before-upgrade", "copy", "start"]);
    assert_eq!(json(&run(&["list"], &root, &["--json"]))[0]["bookmarks"][2]["name"], "start");
    assert!(text(&run(&["list"], &root, &[]).stdout).contains("bookmark Before-upgrade: "));
}

#[test]
fn a_bookmark_is_made_once_and_its_removal_leaves_the_point() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    let add = |more: &[&str]| run_for_volume(&["bookmark", "add"], &root, more);
    let remove = |name: &str| run_for_volume(&["bookmark", "remove"], &root, &[name]);
    assert_done(&add(&["nightly"]));
    assert_fails(&add(&["Nightly", "--at", "t0"]), 1, "already");
    for (bad, why) in [("t0", "names a time"), ("P1D", "names a time"), ("a/b", "a letter")] {
        assert_fails(&add(&[bad]), 2, why);
    }
    assert_fails(&add(&["early", "--at", "2019-12-31T00:00:00Z"]), 3, "2020-01-01");
    assert_fails(&remove("weekly"), 1, "nightly");
    assert_done(&remove("NIGHTLY"));
    assert_fails(&remove("nightly"), 1, "it has none");
    let to = dir.path().join("image");
    assert_fails(&restore(&root, "nightly", &to, &[]), 1, "RFC 3339");
    assert_done(&restore(&root, "latest", &to, &[]));
    assert_eq!(text(&run(&["bookmark", "list"], &root, &[]).stdout), "no bookmarks yet\n");
}

#[test]
fn a_bookmark_says_how_long_it_is_kept_if_that_was_said() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    let add = |more: &[&str]| run_for_volume(&["bookmark", "add"], &root, more);
    let said = add(&["audit", "--keep", "2 weeks"]);
    assert_done(&said);
    assert!(text(&said.stdout).contains("retention keeps it for 14d"), "{said:?}");
    assert_eq!(json(&add(&["always", "--keep", "forever", "--json"]))["keep"], "forever");
    assert!(json(&add(&["plain", "--json"])).get("keep").is_none());
    for bad in ["0d", "soon", "-1d"] {
        assert_fails(&add(&["bad", &format!("--keep={bad}")]), 2, "30d");
    }
    let listed = text(&run(&["bookmark", "list"], &root, &[]).stdout);
    let lines: Vec<_> = listed.lines().skip(1).collect();
    assert!(lines[0].ends_with("kept forever") && lines[1].ends_with("kept for 14d"), "{listed}");
    assert!(!lines[2].contains("kept"), "{listed}");
}

#[test]
fn a_damaged_bookmark_is_named_and_costs_no_other() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    for name in ["one", "two", "three"] {
        assert_done(&run_for_volume(&["bookmark", "add"], &root, &[name]));
    }
    assert_done(&run(&["verify"], &root, &[]));
    let file = |name: &str| root.join("bookmarks").join(format!("{VOLUME}.{name}.slmark"));
    let sound = fs::read(file("one")).unwrap();
    for bit in (0..sound.len() * 8).step_by(101) {
        let mut damaged = sound.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(file("one"), damaged).unwrap();
        let repository = Repository::open(&root).unwrap();
        let damage = verify(&repository, &StopFlag::default(), |_| {}).unwrap().damage;
        assert_eq!(damage.len(), 1, "bit {bit}");
        assert!(damage[0].file.ends_with(file("one").file_name().unwrap()), "bit {bit}");
    }
    // A file in another's place; one whose creation was cut off.
    fs::write(file("one"), &sound).unwrap();
    fs::copy(file("one"), file("two")).unwrap();
    fs::write(file("three"), "").unwrap();
    let verified = run(&["verify"], &root, &["--json"]);
    assert_eq!(verified.status.code(), Some(4));
    assert_eq!(json(&verified)["damage"].as_array().unwrap().len(), 2);
    assert_eq!(json(&verified)["damage"][0]["volume"], VOLUME.to_string());
    let listed = json(&run(&["list"], &root, &["--json"]));
    let is_damaged: Vec<_> = listed[0]["bookmarks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["error"].is_string())
        .collect();
    assert_eq!(is_damaged, [false, true, true]);
    let to = dir.path().join("image");
    assert_done(&restore(&root, "one", &to, &[]));
    assert_fails(&restore(&root, "two", &to, &["--force"]), 4, "two.slmark");
    for name in ["two", "three"] {
        assert_done(&run_for_volume(&["bookmark", "remove"], &root, &[name]));
    }
    assert_done(&run(&["verify"], &root, &[]));
}

#[test]
fn a_bookmark_of_a_point_that_is_gone_is_refused() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = filled(&root);
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &["kept"]));
    // As if a bookmark were of records that are gone: an older repository in this one's place.
    let to = dir.path().join("image");
    let copy = dir.path().join("older");
    let older = common::Driver::default().first_sync();
    common::ingest(&copy, LENGTH, 1 << 20, &[older]);
    fs::create_dir(copy.join("bookmarks")).unwrap();
    for entry in fs::read_dir(root.join("bookmarks")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join("bookmarks").join(entry.file_name())).unwrap();
    }
    assert_fails(&restore(&copy, "kept", &to, &[]), 3, "later than the stream");
    // Another gap after it changes nothing.
    let bridged = driver.bridged_gap(9);
    common::ingest(&root, LENGTH, 1 << 20, &[bridged]);
    assert_done(&restore(&root, "kept", &to, &[]));
    assert!(fs::read(&to).unwrap() == filled_image());
}

#[test]
fn an_instant_may_be_told_by_how_long_ago_it_was() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    let to = dir.path().join("image");
    // The records are of 2020: 100 years ago lies before t0, an hour ago after the last of them.
    assert_fails(&restore(&root, "100 years ago", &to, &[]), 3, "before the begin");
    assert_fails(&restore(&root, "1h ago", &to, &[]), 3, "--at latest");
    // Twelve hours in this machine's past, whenever that is.
    let mut driver = common::Driver {
        time: time::now().get() - 12 * 3_600 * FileTime::TICKS_PER_SECOND,
        tick: 3_600 * FileTime::TICKS_PER_SECOND,
        ..common::Driver::default()
    };
    assert!(driver.time > T0);
    let root = dir.path().join("other");
    let first = driver.first_sync();
    let second = [driver.write(BLOCK, 512, 0xee), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[first, second]);
    assert_done(&restore(&root, "3 hours, 30 minutes ago", &to, &[]));
    assert!(fs::read(&to).unwrap() == filled_image());
    assert_done(&restore(&root, "270m ago", &to, &["--force"]));
    assert!(fs::read(&to).unwrap() == common::base_image());
}

#[test]
fn acts_are_in_the_audit_log() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    assert_done(&run(&["ca", "init"], &root, &[]));
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &["nightly"]));
    assert_done(&run_for_volume(&["bookmark", "remove"], &root, &["nightly"]));
    let log = fs::read_to_string(root.join("trust/audit.log")).unwrap();
    let acts: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let acts: Vec<_> = acts.iter().rev().take(2).map(|act| act["act"].clone()).collect();
    assert_eq!(acts, ["bookmark-removed", "bookmark-added"]);
    assert!(log.contains("nightly"), "{log}");
}

#[test]
fn a_bookmark_of_another_volume_is_none_of_this_one() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &["nightly"]));
    let other = VolumeGuid([0x33; 16]).to_string();
    let more = ["--volume", &other, "--at", "nightly", "--to", "unused"];
    assert_fails(&run(&["restore"], &root, &more), 1, "no bookmark nightly");
    let listed = json(&run(&["bookmark", "list"], &root, &["--volume", &other, "--json"]));
    assert_eq!(listed, serde_json::json!([]));
}

#[test]
fn a_bookmark_of_a_session_that_was_removed_is_of_no_use_and_no_damage() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    filled(&root);
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &["nightly"]));
    let session = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    fs::remove_dir_all(session).unwrap();
    let listed = || json(&run(&["bookmark", "list"], &root, &["--json"]));
    assert!(listed()[0]["error"].is_null(), "the session is missed, and may come back");
    let forget = ["--session", &SESSION.to_string()];
    assert_done(&run_for_volume(&["forget"], &root, &forget));
    assert_done(&run(&["verify"], &root, &[]));
    let error = listed()[0]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("was removed"), "{error}");
    assert!(text(&run(&["bookmark", "list"], &root, &[]).stdout).contains("of no use"));
    assert_fails(&restore(&root, "nightly", &dir.path().join("image"), &[]), 1, "has no session");
    assert_done(&run_for_volume(&["bookmark", "remove"], &root, &["nightly"]));
}

#[test]
fn a_bookmark_of_an_instant_stays_where_it_was_when_the_clock_is_set_back() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let minute = 60 * FileTime::TICKS_PER_SECOND;
    let mut driver = common::Driver { tick: minute, ..common::Driver::default() };
    let first = driver.first_sync();
    let second = [driver.write(BLOCK, 512, 0xee), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[first, second]);
    let before_the_write = time::to_text(FileTime::new(T0 + 7 * minute + minute / 2));
    let add = ["before-the-write", "--at", &before_the_write];
    assert_done(&run_for_volume(&["bookmark", "add"], &root, &add));
    driver.time -= 5 * minute;
    let later = [driver.write(BLOCK, 512, 0xdd), driver.epoch_end(), driver.write(0, 512, 1)];
    let later = [&later[..], &[driver.epoch_end()]].concat();
    common::ingest(&root, LENGTH, 1 << 20, &[later[..2].concat(), later[2..].concat()]);
    let to = dir.path().join("image");
    assert_done(&restore(&root, "before-the-write", &to, &[]));
    assert!(fs::read(&to).unwrap() == common::base_image());
    // The clock has shown the time twice: on its own it is the later one.
    assert_done(&restore(&root, &before_the_write, &to, &["--force"]));
    assert!(fs::read(&to).unwrap() != common::base_image());
}
