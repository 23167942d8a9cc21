//! A stream in which blocks that were read again are called unchanged gives what one gives that has
//! their content once more, whatever becomes of the two; and older releases refuse it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::connection::Connection;
use crate::common::{self, BLOCK, BLOCK_LEN, Driver, LENGTH, SECTOR, SESSION, VOLUME};
use crate::fold::{image_in, reader_of};
use snapless_server::compression::Compression;
use snapless_server::copy::{How, Outcome, copy_all};
use snapless_server::diff::Comparison;
use snapless_server::error::Error;
use snapless_server::fold::{Plan, collect, fold_into};
use snapless_server::format::repository::session_dir;
use snapless_server::list::list;
use snapless_server::point::keep::keep;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Request, Source};
use snapless_server::salvage::salvage;
use snapless_server::seal::KeySource;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::{At, Cut};
use snapless_server::upgrade::upgrade;
use snapless_server::verify::verify;
use snapless_types::{RecordKind, Seq};
use snapless_wire::id::FileTime;

/// Segments are short, so that there are many.
const SEGMENT: u64 = 40_000;

/// A first sync and writes, a gap over two epochs in which blocks 1, 2 and 4 are read again and are
/// the same, blocks 0 and 3 are not, and writes, also of a part of such a block. Returns the
/// frames, and the records at which epochs end.
fn story(is_told: bool) -> (Vec<Vec<u8>>, Vec<u64>) {
    let mut driver = Driver::default();
    let mut ends = Vec::new();
    let mut frames = vec![driver.first_sync()];
    let again = |driver: &mut Driver, block: u64, byte| {
        let (offset, len) = (block * BLOCK, BLOCK.min(LENGTH - block * BLOCK));
        if is_told {
            driver.plain(RecordKind::Unchanged, offset, len)
        } else {
            driver.fill(RecordKind::Resync, offset, len, byte)
        }
    };
    let end = |driver: &mut Driver, ends: &mut Vec<u64>, records: &[Vec<u8>]| {
        let frame = [records.concat(), driver.epoch_end()].concat();
        ends.push(driver.seq);
        frame
    };
    ends.push(driver.seq);
    let records = [driver.write(BLOCK, BLOCK, 0x10), driver.write(3 * BLOCK, SECTOR, 0x13)];
    frames.push(end(&mut driver, &mut ends, &records));
    let records = [driver.gap(), driver.resync(0, 0x20), again(&mut driver, 1, 0x10)];
    frames.push(end(&mut driver, &mut ends, &records));
    let records = [
        again(&mut driver, 2, 3),
        driver.resync(3, 0x23),
        again(&mut driver, 4, 5),
        driver.consistent(),
    ];
    frames.push(end(&mut driver, &mut ends, &records));
    for byte in 0x30..0x36 {
        let records = [
            driver.write(BLOCK + SECTOR, SECTOR, byte),
            driver.write(2 * BLOCK - SECTOR, 2 * SECTOR, byte),
        ];
        frames.push(end(&mut driver, &mut ends, &records));
    }
    (frames, ends)
}

/// The same story in two repositories, with unchanged blocks and without.
struct Twins {
    _dir: tempfile::TempDir,
    roots: [PathBuf; 2],
    /// The records at which epochs end.
    ends: Vec<u64>,
}

impl Twins {
    fn new(make: impl Fn(&Path) -> WritableRepository) -> Self {
        let dir = common::scratch();
        let roots = ["told", "in-full"].map(|name| dir.path().join(name));
        let mut ends = Vec::new();
        for (root, is_told) in roots.iter().zip([true, false]) {
            let (frames, its_ends) = story(is_told);
            common::ingest_into(&make(root), &common::header(LENGTH), SEGMENT, &frames);
            ends = its_ends;
        }
        Self { _dir: dir, roots, ends }
    }

    fn repositories(&self) -> [Repository; 2] {
        [0, 1].map(|index| Repository::open(&self.roots[index]).unwrap())
    }

    /// Both give the same at each instant, or refuse it for the same reason.
    #[track_caller]
    fn are_the_same(&self, why: &str) {
        same(&self.repositories(), why);
    }
}

#[track_caller]
fn same(repositories: &[Repository; 2], why: &str) {
    let ticks = (0..60).map(|record| At::Time(FileTime::new(common::T0 + 10 * record)));
    let mut images = 0;
    for at in ticks.chain([At::T0, At::Latest]) {
        let [told, in_full] = [0, 1].map(|index| image_in(&repositories[index], at));
        match (told, in_full) {
            (Ok(told), Ok(in_full)) => {
                assert!(told == in_full, "{why}: {at:?}");
                images += 1;
            }
            (Err(told), Err(in_full)) => {
                assert_eq!(told.to_string(), in_full.to_string(), "{why}: {at:?}");
            }
            (told, in_full) => {
                panic!("{why}: {at:?}: {:?}, {:?}", told.is_ok(), in_full.is_ok());
            }
        }
    }
    assert!(images > 1, "{why}: {images} images");
    for repository in repositories {
        let found = verify(repository, &StopFlag::default(), |_| {}).unwrap();
        assert_eq!(found.damage, [], "{why}");
    }
}

#[test]
fn every_instant_is_the_same_by_indices_without_them_and_by_kept_maps() {
    let twins = Twins::new(common::repository);
    twins.are_the_same("as stored");
    for root in &twins.roots {
        let folder = root.join(session_dir(VOLUME, SESSION));
        for name in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()) {
            let name = name.into_string().unwrap();
            let is_derived = ["slidx", "slmap"].iter().any(|it| name.ends_with(it));
            if is_derived || name == "state.snapless" {
                fs::remove_file(folder.join(name)).unwrap();
            }
        }
    }
    twins.are_the_same("without what is derived");
    for root in &twins.roots {
        let repository = WritableRepository::open(root).unwrap();
        let report = upgrade(&repository, (SEGMENT, 1), &StopFlag::default(), |_, _| {}).unwrap();
        assert!(report.failed.is_empty() && report.made[0].maps > 0, "{report:?}");
    }
    twins.are_the_same("with maps");
    // The list tells the same of both.
    let told = twins.repositories().map(|repository| {
        let report = list(&repository, &StopFlag::default()).unwrap();
        let mut report = serde_json::to_value(report).unwrap();
        strip(&mut report, &["bytes", "stored_bytes", "path"]);
        report
    });
    assert_eq!(told[0], told[1]);
}

/// Leaves out what two repositories differ in: how many bytes they take, and where they are.
fn strip(value: &mut serde_json::Value, names: &[&str]) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.retain(|name, _| !names.contains(&name.as_str()));
            fields.values_mut().for_each(|value| strip(value, names));
        }
        serde_json::Value::Array(values) => {
            for value in values {
                strip(value, names);
            }
        }
        _ => {}
    }
}

#[test]
fn a_fold_before_in_and_after_the_gap_retains_the_same() {
    let ends = story(true).1;
    let stop = StopFlag::default();
    for (number, boundary) in ends.iter().enumerate() {
        for points in [vec![], vec![Cut::Base], vec![Cut::Base, Cut::Through(Seq::new(ends[1]))]] {
            let twins = Twins::new(common::repository);
            assert_eq!(twins.ends, ends);
            let why = format!("folded at epoch {number}, {} points", points.len());
            let folded = twins.repositories().map(|repository| {
                let reader = reader_of(&repository);
                if number % 2 == 0 {
                    keep(&reader, 1, &stop).unwrap();
                }
                let plan = Plan { boundary: Seq::new(*boundary), points: points.clone() };
                let folded = fold_into(&reader, &plan, SEGMENT, &stop, |_, _| {});
                folded.map(|report| report.is_new).map_err(|error| error.to_string())
            });
            assert_eq!(folded[0], folded[1], "{why}");
            twins.are_the_same(&why);
            for repository in twins.repositories() {
                collect(&reader_of(&repository), || Ok(false), &stop).unwrap();
            }
            twins.are_the_same(&format!("{why}, collected"));
        }
    }
}

#[test]
fn sealed_repositories_and_copies_give_the_same() {
    for (compression, is_encrypted) in
        [(Compression::Zstd(3), false), (Compression::None, true), (Compression::Zstd(3), true)]
    {
        let keys = common::scratch();
        let file = KeySource::KeyFile(keys.path().join("key"));
        let key = if is_encrypted { file } else { KeySource::None };
        let twins =
            Twins::new(|root| WritableRepository::init_with(root, compression, &key).unwrap());
        let open = |root: &PathBuf| Repository::open(root).unwrap().unlock(&key).unwrap();
        let sealed = [open(&twins.roots[0]), open(&twins.roots[1])];
        same(&sealed, "sealed");
        // A copy is not sealed, and cuts other segments.
        let copies = [0, 1].map(|index| twins.roots[index].with_extension("copy"));
        for (from, to) in sealed.iter().zip(&copies) {
            let how = How { segment_bytes: 1 << 20, map_bytes: 1, commit_bytes: 1, limit: None };
            let to = common::repository(to);
            let report = copy_all(from, &to, &how, &StopFlag::default()).unwrap();
            assert!(report.sessions.iter().all(|it| matches!(it.outcome, Outcome::Copied { .. })));
        }
        let copies = [0, 1].map(|index| Repository::open(&copies[index]).unwrap());
        same(&copies, "copied");
    }
}

#[test]
fn what_is_unchanged_does_not_differ_by_place_or_by_content() {
    let twins = Twins::new(common::repository);
    let stop = StopFlag::default();
    let source = |at| Source { volume: VOLUME, session: None, at };
    // The last records before the gap and of it.
    let [before, after] = [11, 20].map(|seq| At::Time(FileTime::new(common::T0 + 10 * (seq - 1))));
    let [told, in_full] = twins.repositories().map(|repository| {
        let sources = [source(before), source(after)];
        let comparison = Comparison::find(&repository, sources, &stop, |_| {}).unwrap();
        [comparison.by_place().unwrap(), comparison.by_content(&stop, |_| {}).unwrap()]
    });
    assert_eq!(told[1].changed, in_full[1].changed);
    assert_eq!(told[0].changed_bytes, 2 * BLOCK, "{:?}", told[0].changed);
    assert_eq!(in_full[0].changed_bytes, LENGTH, "{:?}", in_full[0].changed);
}

#[test]
fn content_that_was_lost_is_not_made_good_by_a_record_that_calls_it_unchanged() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut frames = vec![driver.start()];
    frames.extend((0..5).map(|index| driver.blocks(index..index + 1)));
    frames.push([driver.base_complete(), driver.epoch_end()].concat());
    let same = driver.seq + 2;
    let records = [
        driver.gap(),
        driver.plain(RecordKind::Unchanged, BLOCK, BLOCK),
        driver.consistent(),
        driver.epoch_end(),
    ];
    frames.push(records.concat());
    common::ingest(&root, LENGTH, 1 << 20, &frames);
    let segment = root.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
    let good = fs::read(&segment).unwrap();
    let salvaged = || {
        let to = root.with_extension("salvaged");
        let source = Source { volume: VOLUME, session: None, at: At::Latest };
        let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
        let repository = Repository::to_salvage(&root);
        let report = salvage(&repository, &request, &StopFlag::default(), |_| {}).unwrap();
        (report, fs::read(to).unwrap())
    };
    let (report, image) = salvaged();
    assert!(report.is_whole() && image == common::base_image(), "{report:?}");

    // Block 1 is the third entry: its frame's header, its record's, some of its content.
    let entry = 80 + usize::try_from(BLOCK).unwrap();
    let third = 64 + 80 + entry;
    for bytes in [third..third + 16, third + 16..third + 80, third + 1000..third + 1040] {
        let mut bad = good.clone();
        bad[bytes.clone()].iter_mut().for_each(|byte| *byte ^= 0x5a);
        fs::write(&segment, &bad).unwrap();
        let (report, _) = salvaged();
        let told = report.missing.iter().chain(&report.doubtful);
        let told: Vec<_> = told.map(|it| (it.offset, it.len)).collect();
        assert_eq!(told, [(BLOCK, BLOCK)], "bytes {bytes:?}: {report:?}");
    }

    // Without the record itself the image is right, and the record is missed.
    let segment = root.join(session_dir(VOLUME, SESSION)).join("segment-00000002.slseg");
    let mut bad = fs::read(&segment).unwrap();
    let middle = 64 + 16 + 64 + 40;
    bad[middle] ^= 1;
    fs::write(&segment, &bad).unwrap();
    fs::write(segment.with_file_name("segment-00000001.slseg"), &good).unwrap();
    let (report, image) = salvaged();
    assert!(image == common::base_image());
    let is_missed = report.lost.iter().any(|lost| (lost.from..=lost.to).contains(&same));
    assert!(is_missed || !report.damage.is_empty(), "{report:?}");
}

/// The versions of the segments of the session, in order.
fn versions(root: &Path) -> Vec<u8> {
    let folder = root.join(session_dir(VOLUME, SESSION));
    (1..1_000)
        .map(|number| folder.join(format!("segment-{number:08}.slseg")))
        .take_while(|path| path.is_file())
        .map(|path| fs::read(path).unwrap()[8])
        .collect()
}

#[test]
fn only_a_segment_of_a_newer_version_has_records_of_later_kinds() {
    let kinds = [RecordKind::Unchanged, RecordKind::Check];
    for (kind, (is_sealed, added)) in
        kinds.into_iter().flat_map(|it| [(it, (false, 0)), (it, (true, 1))])
    {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let compression = if is_sealed { Compression::Zstd(1) } else { Compression::None };
        drop(WritableRepository::init_with(&root, compression, &KeySource::None).unwrap());
        let mut driver = Driver::default();
        let mut connection = Connection::open(&root);
        connection.records(&driver.first_sync());
        connection.records(&driver.bridged_gap(1));
        assert_eq!(versions(&root), [1 + added]);
        let later = |driver: &mut Driver| {
            let record = match kind {
                RecordKind::Check => driver.check(BLOCK, &[1; BLOCK_LEN]),
                _ => driver.plain(kind, BLOCK, BLOCK),
            };
            [record, driver.epoch_end()].concat()
        };
        connection.records(&later(&mut driver));
        assert_eq!(versions(&root), [1 + added, 5 + added], "a new segment");
        connection.records(&later(&mut driver));
        connection.end();

        // It goes on in the next connection, and a full one is followed by another such.
        let mut connection = Connection::with_segments(&root, 10_000);
        connection.records(&later(&mut driver));
        let mut rng = fastrand::Rng::with_seed(7);
        let random: Vec<u8> = (0..BLOCK).map(|_| rng.u8(..)).collect();
        let write = driver.data(RecordKind::Write, 0, &random);
        connection.records(&[write, driver.epoch_end()].concat());
        let write = driver.data(RecordKind::Write, BLOCK, &random);
        connection.records(&[write, driver.epoch_end()].concat());
        connection.end();
        let made = versions(&root);
        assert_eq!(made[..2], [1 + added, 5 + added]);
        assert!(made.len() > 2 && made[2..].iter().all(|it| *it == 5 + added), "{made:?}");
        let repository = Repository::open(&root).unwrap();
        let found = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
        assert_eq!(found.damage, []);
    }
}

#[cfg(feature = "cloud")]
#[test]
fn an_object_is_of_a_newer_version_if_it_has_such_a_record() {
    use crate::common::object_stream::{Connection, image, segments};
    use crate::common::objects::FaultyStore;
    use snapless_server::format::segment::SegmentNumber;
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut connection = Connection::open(&store.repository());
    connection.store(&driver.first_sync()).unwrap();
    let again = driver.gap();
    let again = [again, driver.plain(RecordKind::Unchanged, BLOCK, 2 * BLOCK)].concat();
    connection.store(&[again, driver.consistent(), driver.epoch_end()].concat()).unwrap();
    let check = driver.check(BLOCK, &common::base_image()[BLOCK_LEN..2 * BLOCK_LEN]);
    connection.store(&[check, driver.epoch_end()].concat()).unwrap();
    connection.store(&[driver.write(0, BLOCK, 9), driver.epoch_end()].concat()).unwrap();
    connection.close();
    let version = |number: u64| {
        let path = session_dir(VOLUME, SESSION).join(SegmentNumber(number).file_name());
        store.store().read_head(&path, 64).unwrap()[8]
    };
    let versions: Vec<_> = segments(&store).into_iter().map(version).collect();
    assert_eq!(versions, [3, 3, 7, 7, 3], "a takeover and four epochs");
    let repository = Repository::open_in(store.store()).unwrap();
    let mut want = common::base_image();
    common::patch(&mut want, 0, BLOCK, 9);
    assert!(image(&repository, At::Latest) == want);
    let found = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(found.damage, []);
    // The next writer finds its claims.
    let mut connection = Connection::open(&store.repository());
    connection.store(&[driver.write(0, BLOCK, 10), driver.epoch_end()].concat()).unwrap();
}

#[test]
fn a_release_that_does_not_know_a_segments_version_calls_it_newer_and_not_damaged() {
    use snapless_server::format::segment::{SegmentHeader, SegmentNumber};
    let twins = Twins::new(common::repository);
    let root = &twins.roots[0];
    assert_eq!(versions(root)[..3], [1, 1, 5]);
    let made = 3;
    // What a later version is to this release, 5 is to an older one: the check is the same.
    let name = format!("segment-{made:08}.slseg");
    let path = root.join(session_dir(VOLUME, SESSION)).join(name);
    let mut bytes = fs::read(&path).unwrap();
    let number = SegmentNumber(made);
    let header = SegmentHeader { volume: VOLUME, session: SESSION, number };
    assert_ne!(bytes[..64], header.to_bytes());
    bytes[8] = 13;
    let sum = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let repository = Repository::open(root).unwrap();
    let refused = image_in(&repository, At::Latest).unwrap_err();
    assert!(matches!(refused, Error::Damaged { .. }));
    assert!(refused.to_string().contains("use a newer release"), "{refused}");
}
