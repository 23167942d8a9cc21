//! `stat`.

use std::fs;
use std::path::Path;

use serde_json::Value;
use snapless_server::format::segment::SEGMENT_HEADER_LEN;
use snapless_server::format::session::SessionHeader;
use snapless_types::RecordKind;
use snapless_wire::frame::{FRAME_HEADER_LEN, FrameHeader};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use super::{assert_done, assert_fails, json, run, run_for_volume, text};
use crate::common::connection::{Connection, quiet};
use crate::common::{self, BLOCK, Driver, LENGTH, SESSION, VOLUME};

const HOUR: u64 = 3_600 * FileTime::TICKS_PER_SECOND;

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

/// Lengths of all files below a folder.
fn lengths(folder: &Path) -> u64 {
    let length = |entry: fs::DirEntry| match entry.metadata().unwrap() {
        metadata if metadata.is_dir() => lengths(&entry.path()),
        metadata => metadata.len(),
    };
    fs::read_dir(folder).unwrap().map(|entry| length(entry.unwrap())).sum()
}

/// Asserts that the parts of a usage add up to what is stored.
#[track_caller]
fn assert_adds_up(usage: &Value) {
    let content = usage["causes"].as_object().unwrap().values();
    let content: u64 = content.map(|cause| number(&cause["stored_bytes"])).sum();
    let overhead = usage["overhead"].as_object().unwrap().values();
    let overhead: u64 = overhead.map(number).sum();
    assert_eq!(content + overhead, number(&usage["stored_bytes"]), "{usage:#}");
}

/// A stream with a record of each cause, over 36 hours.
fn store_each_cause(root: &Path) {
    let mut connection = Connection::with_segments(root, 40_000);
    let mut driver = Driver::default();
    let base = [
        driver.start(),
        driver.blocks(0..1),
        driver.zero(RecordKind::Block, BLOCK, BLOCK),
        driver.plain(RecordKind::Unallocated, 2 * BLOCK, BLOCK),
        driver.plain(RecordKind::Excluded, 3 * BLOCK, BLOCK),
        driver.blocks(4..5),
        driver.base_complete(),
        driver.epoch_end(),
    ];
    connection.records(&base.concat());
    connection.mark(quiet(&mut driver, 12 * 3_600)).unwrap();
    let changes = [
        driver.write(0, 1024, 1),
        driver.zero(RecordKind::Write, 0, 512),
        driver.plain(RecordKind::Trim, BLOCK, 2 * BLOCK),
        driver.plain(RecordKind::Zero, 0, 512),
        driver.unreadable(0, 512),
        driver.epoch_end(),
    ];
    connection.records(&changes.concat());
    driver.time += 24 * HOUR;
    driver.monotonic += 24 * HOUR;
    connection.records(&driver.bridged_gap(9));
    connection.end();
}

#[test]
fn every_byte_has_a_cause() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    store_each_cause(&root);
    let done = run(&["stat"], &root, &["--json"]);
    assert_done(&done);
    let report = json(&done);
    let usage = &report["volumes"][0]["sessions"][0];
    let cause = |name: &str| {
        let cause = &usage["causes"][name];
        ["records", "volume_bytes", "stored_bytes", "elided_bytes"].map(|it| number(&cause[it]))
    };
    let tail = LENGTH - 4 * BLOCK;
    for (name, want) in [
        ("first_sync", [3, 2 * BLOCK + tail, BLOCK + tail, BLOCK]),
        ("unallocated", [1, BLOCK, 0, 0]),
        ("excluded", [1, BLOCK, 0, 0]),
        ("writes", [2, 1536, 1024, 512]),
        ("trims", [1, 2 * BLOCK, 0, 0]),
        ("zero_writes", [1, 512, 0, 0]),
        ("resync", [1, BLOCK, BLOCK, 0]),
        ("unreadable", [1, 512, 0, 0]),
        ("markers", [7, 0, 0, 0]),
    ] {
        assert_eq!(cause(name), want, "{name}");
    }
    let dir = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    assert_eq!(number(&usage["stored_bytes"]), lengths(&dir));
    assert_adds_up(usage);
    let segments = fs::read_dir(&dir).unwrap();
    let segments =
        segments.filter(|it| it.as_ref().unwrap().path().extension().unwrap() == "slseg");
    assert_eq!(number(&usage["segments"]), segments.count() as u64);
    assert_eq!((number(&usage["entries"]), number(&usage["records"])), (3, 18));
    assert_eq!(number(&usage["overhead"]["record_header_bytes"]), 18 * 64);
    assert_eq!(number(&usage["overhead"]["watermark_bytes"]), 40);
    assert!(number(&usage["overhead"]["derived_bytes"]) > 0);
    let content = number(&usage["content_bytes"]);
    assert_eq!(content, 3 * BLOCK + tail + 1536);
    let amplification = usage["write_amplification"].as_f64().unwrap();
    let [stored, of] = [lengths(&dir), content].map(|it| f64::from(u32::try_from(it).unwrap()));
    let want = stored / of;
    assert!((amplification - want).abs() < 0.001, "{amplification}, {want}");
    let growth = &usage["growth"];
    let days: Vec<_> = growth["days"].as_array().unwrap().iter().map(|it| &it["date"]).collect();
    assert_eq!(days, ["2020-01-01", "2020-01-02"]);
    let changes = 1024 + BLOCK + 12 * 64;
    let bytes = number(&growth["bytes"]);
    assert!((changes..changes + 64 * 4).contains(&bytes), "{bytes}");
    assert_eq!(number(&growth["seconds"]), 36 * 3_600);
    assert_eq!(number(&growth["bytes_per_day"]), bytes * 24 / 36);
    let human = text(&run(&["stat"], &root, &[]).stdout);
    for part in ["first sync", "resync", "amplification", "a day", "2020-01-02"] {
        assert!(human.contains(part), "{part}: {human}");
    }
}

#[test]
fn a_volume_is_the_sum_of_its_sessions_and_a_repository_of_its_volumes() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    store_each_cause(&root);
    let other = VolumeGuid([0x33; 16]);
    let of_volume = SessionHeader { session: SessionId([0x44; 16]), ..common::header(LENGTH) };
    let elsewhere = SessionHeader { volume: other, ..of_volume };
    for header in [of_volume, elsewhere] {
        common::ingest_as(&root, &header, 1 << 20, &[Driver::default().first_sync()]);
    }
    let report = json(&run(&["stat"], &root, &["--json"]));
    assert_eq!(number(&report["total"]["sessions"]), 3);
    assert_eq!(number(&report["total"]["stored_bytes"]), lengths(&root.join("volumes")));
    for usage in [&report["total"], &report["volumes"][0]["total"], &report["volumes"][1]["total"]]
    {
        assert_adds_up(usage);
    }
    let volumes = report["volumes"].as_array().unwrap();
    let records: u64 = volumes.iter().map(|volume| number(&volume["total"]["records"])).sum();
    assert_eq!(records, number(&report["total"]["records"]));
    let growth = |usage: &Value| usage["growth"]["bytes_per_day"].clone();
    assert_eq!(growth(&report["total"]), growth(&volumes[0]["total"]));
    assert!(growth(&volumes[1]["total"]).is_null(), "nothing is concluded from a second");
    let one = json(&run_for_volume(&["stat"], &root, &["--json"]));
    assert_eq!(one["volumes"], serde_json::json!([volumes[0]]));
    let missing = ["--volume", "3f2504e0-4f89-11d3-9a0c-0305e82c3301"];
    assert_fails(&run(&["stat"], &root, &missing), 1, &other.to_string());
}

#[test]
fn a_damaged_session_is_counted_up_to_the_damage_and_named() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    store_each_cause(&root);
    let session = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let whole = json(&run(&["stat"], &root, &["--json"]));
    // The first record of the segment's last entry.
    let segment = session.join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    let (mut last, mut next) = (0, SEGMENT_HEADER_LEN);
    while let Some(header) = bytes.get(next..).and_then(|rest| rest.first_chunk()) {
        let entry = FrameHeader::read(header).unwrap();
        (last, next) = (next, next + FRAME_HEADER_LEN + entry.payload_len());
    }
    bytes[last + FRAME_HEADER_LEN] ^= 1;
    fs::write(&segment, bytes).unwrap();
    // The index has its headers.
    assert_eq!(json(&run(&["stat"], &root, &["--json"])), whole);
    let index = segment.with_extension("slidx");
    let len = fs::metadata(&index).unwrap().len();
    fs::remove_file(index).unwrap();
    let done = run(&["stat"], &root, &["--json"]);
    assert_eq!(done.status.code(), Some(4));
    let report = json(&done);
    let usage = &report["volumes"][0]["sessions"][0];
    assert!(usage["error"].as_str().unwrap().contains("segment-00000001"), "{usage}");
    let (counted, all) = (number(&usage["records"]), number(&whole["total"]["records"]));
    assert!(0 < counted && counted < all, "{counted} of {all}");
    assert_eq!(number(&usage["stored_bytes"]) + len, number(&whole["total"]["stored_bytes"]));
    assert_adds_up(usage);
    fs::remove_file(session.join("acknowledged.snapless")).unwrap();
    let done = run(&["stat"], &root, &[]);
    assert_eq!(done.status.code(), Some(4));
    assert!(text(&done.stdout).contains("acknowledged.snapless"), "{done:?}");
}

#[test]
fn equal_content_is_told_as_saved_or_not_saved() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let unit = 4 << 10;
    let mut driver = Driver::default();
    let base = [
        driver.start(),
        driver.block(0, 1),
        driver.block(1, 2),
        driver.plain(RecordKind::Unallocated, 2 * BLOCK, LENGTH - 2 * BLOCK),
        driver.base_complete(),
        driver.epoch_end(),
    ];
    let changes = [
        driver.write(0, unit, 1),
        driver.write(unit, unit, 2),
        driver.write(2 * unit, unit, 0),
        driver.zero(RecordKind::Write, 3 * unit, unit),
        driver.write(3 * unit + 512, 512, 7),
        driver.epoch_end(),
    ];
    common::ingest(&root, LENGTH, 1 << 20, &[base.concat(), changes.concat()]);
    let done = run(&["stat"], &root, &["--dedup", "--json"]);
    assert_done(&done);
    let dedup = &json(&done)["volumes"][0]["dedup"];
    let [compared, same, elsewhere, zeros, saved, rest] = [
        "compared_bytes",
        "same_place_bytes",
        "elsewhere_bytes",
        "zero_bytes",
        "saved_zero_bytes",
        "not_compared_bytes",
    ]
    .map(|name| number(&dedup[name]));
    assert_eq!((compared, rest), (2 * BLOCK + 3 * unit, 512));
    // Of the four units of each block three are known from the one before them.
    assert_eq!((same, elsewhere), (unit, 6 * unit + unit));
    assert_eq!((zeros, saved), (unit, unit));
    let human = text(&run(&["stat"], &root, &["--dedup"]).stdout);
    for part in ["saved       4.00 KiB of zeros", "not saved", "that their place held before"] {
        assert!(human.contains(part), "{part}: {human}");
    }
    assert!(json(&run(&["stat"], &root, &["--json"]))["volumes"][0].get("dedup").is_none());
}

#[test]
fn a_pass_over_damaged_content_names_the_damage() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    store_each_cause(&root);
    let session = root.join("volumes").join(VOLUME.to_string()).join(SESSION.to_string());
    let segment = session.join("segment-00000001.slseg");
    let mut bytes = fs::read(&segment).unwrap();
    bytes[SEGMENT_HEADER_LEN + FRAME_HEADER_LEN + 200] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let done = run(&["stat"], &root, &["--dedup", "--json"]);
    assert_eq!(done.status.code(), Some(4), "{done:?}");
    let error = json(&done)["volumes"][0]["dedup"]["error"].clone();
    assert!(error.as_str().unwrap().contains("segment-00000001"), "{error}");
}

#[test]
fn a_bill_tells_what_a_month_costs_at_which_prices() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    store_each_cause(&root);
    let prices = dir.path().join("prices.toml");
    let text_of_prices = "store = \"a store\"\nsource = \"its page\"\ndate = \"2020\"\n\
                          currency = \"EUR\"\nput_per_thousand = 1000.0\nget_per_thousand = 0.0\n\
                          gb_month = 0.0\ngb_out = 0.0\n";
    fs::write(&prices, text_of_prices).unwrap();
    let with = |prices: &str, more: &[&str]| {
        run(&["stat"], &root, &[&["--prices", prices], more].concat())
    };
    let done = with(prices.to_str().unwrap(), &["--json"]);
    assert_done(&done);
    let report = json(&done);
    let bill = &report["volumes"][0]["bill"];
    // Three epochs in 36 hours; each costs 1.
    assert_eq!((&bill["counted_by"], number(&bill["puts_per_day"])), (&"epochs".into(), 2));
    assert!((bill["month"]["total"].as_f64().unwrap() - 2.0 * 30.4).abs() < 0.001, "{bill}");
    assert_eq!(number(&bill["objects"]), number(&report["total"]["files"]));
    assert_eq!(report["bill"], *bill);
    let human = text(&with("default", &[]).stdout);
    for part in ["2 PUTs a day if each epoch were one", "USD", "https://aws.amazon.com/s3/pricing/"]
    {
        assert!(human.contains(part), "{part}: {human}");
    }
    fs::write(&prices, text_of_prices.replace("1000.0", "-1.0")).unwrap();
    assert_fails(&with(prices.to_str().unwrap(), &[]), 1, "prices.toml");
    assert_fails(&with(dir.path().join("none").to_str().unwrap(), &[]), 1, "none");
}
