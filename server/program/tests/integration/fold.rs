//! Folds: each retained point, the boundary and every instant after it are the images of a session
//! that was not folded, whatever is folded where, and again after what is garbage has gone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME};
use snapless_server::compression::Compression;
use snapless_server::error::Error;
use snapless_server::fold::{
    CollectReport, FoldReport, Plan, collect, fold_into, garbage, history,
};
use snapless_server::format::acknowledged::{ACKNOWLEDGED_FILE, Acknowledged};
use snapless_server::format::repository::session_dir;
use snapless_server::list::{Content, list};
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::salvage::{Report, salvage_to};
use snapless_server::seal::KeySource;
use snapless_server::stat::stat;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::{At, Cut, NotRestorable};
use snapless_server::verify::{Finding, verify};
use snapless_server::writer::SessionWriter;
use snapless_types::{RecordKind, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::id::FileTime;
use snapless_wire::record::Records;

/// Segments are short, so that there are many.
const SEGMENT: u64 = 40_000;

fn folder(root: &Path) -> PathBuf {
    root.join(session_dir(VOLUME, SESSION))
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder(root)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|it| it == extension)
}

pub fn reader_of(repository: &Repository) -> SessionReader {
    let Presence::Header(header) = repository.session(VOLUME, SESSION).unwrap() else {
        panic!("there is no session")
    };
    SessionReader::open(repository.store(), header).unwrap()
}

fn reader(root: &Path) -> SessionReader {
    reader_of(&Repository::open(root).unwrap())
}

fn fold(root: &Path, boundary: u64, points: &[Cut]) -> Result<FoldReport, Error> {
    let plan = Plan { boundary: Seq::new(boundary), points: points.to_vec() };
    fold_into(&reader(root), &plan, SEGMENT, &StopFlag::default(), |_, _| {})
}

fn sweep(root: &Path) -> CollectReport {
    collect(&reader(root), || Ok(false), &StopFlag::default()).unwrap()
}

fn damage(root: &Path) -> Vec<Finding> {
    verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {}).unwrap().damage
}

fn image(root: &Path, at: At) -> Result<Vec<u8>, Error> {
    image_in(&Repository::open(root).unwrap(), at)
}

pub fn image_in(repository: &Repository, at: At) -> Result<Vec<u8>, Error> {
    let source = Source { volume: VOLUME, session: Some(SESSION), at };
    let stop = StopFlag::default();
    let mut image = vec![0xcc; usize::try_from(LENGTH).unwrap()];
    Found::find(repository, &source, &stop)?.open(&stop, |_| {})?.read(0, &mut image)?;
    Ok(image)
}

/// Numbers that look random, the same for the same seed.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn bytes(&mut self, sectors: u64) -> Vec<u8> {
        (0..sectors * SECTOR).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }
}

/// A stream, the image at each instant of a record, and the records at which epochs end.
pub struct Story {
    pub frames: Vec<Vec<u8>>,
    /// Of each record its number and its time.
    pub instants: Vec<(u64, u64, Vec<u8>)>,
    pub ends: Vec<u64>,
    t0: Vec<u8>,
}

impl Story {
    pub fn new(seed: u64, epochs: u64) -> Self {
        let mut numbers = Numbers(seed);
        let mut driver = Driver::default();
        let mut image = common::base_image();
        let mut story = Self {
            frames: vec![driver.first_sync()],
            instants: vec![(driver.seq, driver.time - driver.tick, image.clone())],
            ends: vec![driver.seq],
            t0: image.clone(),
        };
        for _ in 0..epochs {
            let mut frame = Vec::new();
            for _ in 0..=numbers.below(6) {
                let sectors = 1 + numbers.below(40);
                let first = numbers.below(LENGTH / SECTOR - sectors);
                let (from, len) = (first * SECTOR, sectors * SECTOR);
                let range = usize::try_from(from).unwrap()..usize::try_from(from + len).unwrap();
                if numbers.below(6) == 0 {
                    frame.extend(driver.zero(RecordKind::Write, from, len));
                    image[range].fill(0);
                } else {
                    let bytes = numbers.bytes(sectors);
                    frame.extend(driver.data(RecordKind::Write, from, &bytes));
                    image[range].copy_from_slice(&bytes);
                }
                story.instants.push((driver.seq, driver.time - driver.tick, image.clone()));
            }
            frame.extend(driver.epoch_end());
            story.instants.push((driver.seq, driver.time - driver.tick, image.clone()));
            story.ends.push(driver.seq);
            story.frames.push(frame);
        }
        story
    }

    fn store(&self, root: &Path, segment: u64) {
        common::ingest(root, LENGTH, segment, &self.frames);
    }

    /// Everything from the boundary on is there, and these cuts before it; nothing else.
    fn check(&self, root: &Path, boundary: u64, cuts: &[Cut], why: &str) {
        let repository = Repository::open(root).unwrap();
        self.check_in(&repository, boundary, cuts, why);
        assert_eq!(damage(root), [], "{why}");
    }

    pub fn check_in(&self, repository: &Repository, boundary: u64, cuts: &[Cut], why: &str) {
        for (seq, time, want) in &self.instants {
            let time = FileTime::new(*time);
            let is_cut = |cut: &Cut| match cut {
                Cut::Base => false,
                Cut::Through(through) => through.get() == *seq,
                Cut::Until(instant) => instant.time == time,
            };
            let found = image_in(repository, At::Time(time));
            if *seq >= boundary || cuts.iter().any(is_cut) {
                assert!(found.unwrap() == *want, "{why}: record {seq}");
            } else {
                let refused = found.unwrap_err();
                let is_folded = matches!(
                    &refused,
                    Error::NotRestorable { why: NotRestorable::Folded { .. }, .. }
                );
                assert!(is_folded, "{why}: record {seq}: {refused}");
            }
        }
        let t0 = image_in(repository, At::T0);
        if cuts.contains(&Cut::Base) {
            assert!(t0.unwrap() == self.t0, "{why}: t0");
        } else {
            t0.unwrap_err();
        }
        let (_, _, last) = self.instants.last().unwrap();
        assert!(image_in(repository, At::Latest).unwrap() == *last, "{why}: latest");
    }

    /// Some records before the boundary, as cuts of both kinds, and the base.
    fn some_cuts(&self, root: &Path, numbers: &mut Numbers, boundary: u64) -> Vec<Cut> {
        self.some_cuts_in(&Repository::open(root).unwrap(), numbers, boundary)
    }

    pub fn some_cuts_in(
        &self,
        repository: &Repository,
        numbers: &mut Numbers,
        boundary: u64,
    ) -> Vec<Cut> {
        let mut cuts = Vec::new();
        if numbers.below(2) == 0 {
            cuts.push(Cut::Base);
        }
        for (seq, time, _) in self.instants.iter().filter(|(seq, ..)| *seq < boundary) {
            match numbers.below(12) {
                0 => cuts.push(Cut::Through(Seq::new(*seq))),
                1 => cuts.push(Self::until_in(repository, *time)),
                _ => {}
            }
        }
        cuts
    }

    /// The cut of an instant, as a restore finds it.
    fn until_in(repository: &Repository, time: u64) -> Cut {
        let source =
            Source { volume: VOLUME, session: Some(SESSION), at: At::Time(FileTime::new(time)) };
        Found::find(repository, &source, &StopFlag::default()).unwrap().point().cut
    }
}

#[test]
fn what_a_fold_retains_is_what_was_there_and_a_second_fold_goes_on_from_it() {
    for seed in 0..12 {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let mut numbers = Numbers(seed * 77);
        let story = Story::new(seed, 24);
        story.store(&root, SEGMENT);
        if seed % 3 != 0 {
            // Maps before the boundary, at it and after it.
            let after = [1, 60_000][usize::try_from(seed % 2).unwrap()];
            keep(&reader(&root), after, &StopFlag::default()).unwrap();
        }
        let first = story.ends[6 + usize::try_from(numbers.below(6)).unwrap()];
        let cuts = story.some_cuts(&root, &mut numbers, first);
        let report = fold(&root, first, &cuts).unwrap();
        assert!(report.is_new);
        story.check(&root, first, &cuts, &format!("seed {seed}, folded"));
        assert!(!fold(&root, first, &cuts).unwrap().is_new, "it is folded once");
        let before = garbage(&reader(&root)).unwrap();
        assert_eq!(before, report.garbage);
        assert_eq!(sweep(&root).removed, before);
        assert_eq!(garbage(&reader(&root)).unwrap(), []);
        story.check(&root, first, &cuts, &format!("seed {seed}, collected"));

        // A map on the boundary's, and then another fold.
        keep(&reader(&root), 1, &StopFlag::default()).unwrap();
        story.check(&root, first, &cuts, &format!("seed {seed}, with maps"));
        let second = story.ends[16 + usize::try_from(numbers.below(6)).unwrap()];
        let mut again: Vec<Cut> = cuts.iter().filter(|_| numbers.below(3) > 0).copied().collect();
        let between = story.instants.iter().filter(|(seq, ..)| (first..second).contains(seq));
        again.extend(between.step_by(5).map(|(seq, ..)| Cut::Through(Seq::new(*seq))));
        fold(&root, second, &again).unwrap();
        story.check(&root, second, &again, &format!("seed {seed}, folded again"));
        sweep(&root);
        story.check(&root, second, &again, &format!("seed {seed}, collected again"));
        assert_eq!(history(&reader(&root)).unwrap().unwrap().points.len(), again.len());
    }
}

#[test]
fn the_stream_goes_on_after_a_fold_and_while_a_writer_has_it_open() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(5, 12);
    story.store(&root, SEGMENT);
    let repository = WritableRepository::open(&root).unwrap();
    let stop = StopFlag::default();
    let (mut writer, mut state) =
        SessionWriter::open(&repository, &common::header(LENGTH), SEGMENT, &stop).unwrap();
    fold(&root, story.ends[8], &[]).unwrap();
    let removed = sweep(&root).removed;
    assert!(removed.iter().any(|it| it.name == "segment-00000001.slseg"), "{removed:?}");
    let last = state.last().unwrap();
    let mut driver = Driver { seq: last.seq.get(), ..Driver::default() };
    driver.time = last.time().get() + driver.tick;
    driver.monotonic = driver.time - common::T0;
    driver.epoch = last.epoch.get() + 1;
    for byte in 0..40 {
        let payload = [driver.write(0, SECTOR, byte), driver.epoch_end()].concat();
        for record in Records::new(&payload) {
            state.accept(&record.unwrap().header).unwrap();
        }
        writer.append(&FrameHeader::new(FrameKind::Records, &payload).unwrap(), &payload).unwrap();
        let last = state.last().unwrap();
        writer.commit(last.epoch, last.seq).unwrap();
    }
    drop((writer, repository));
    let mut want = story.instants.last().unwrap().2.clone();
    common::patch(&mut want, 0, SECTOR, 39);
    assert!(image(&root, At::Latest).unwrap() == want);
    // A Hello begins with the boundary's state if no later one is kept.
    fs::remove_file(folder(&root).join("state.snapless")).ok();
    let repository = WritableRepository::open(&root).unwrap();
    let (_, opened) =
        SessionWriter::open(&repository, &common::header(LENGTH), SEGMENT, &stop).unwrap();
    assert_eq!(opened.timeline().records(), state.timeline().records());
    assert_eq!(damage(&root), []);
}

#[test]
fn the_boundary_is_the_end_if_the_slot_with_a_later_one_is_damaged() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(6, 12);
    story.store(&root, SEGMENT);
    // All of the stream is folded, and the segments that the older slot speaks of are gone.
    let end = *story.ends.last().unwrap();
    fold(&root, end, &[]).unwrap();
    sweep(&root);
    let path = folder(&root).join(ACKNOWLEDGED_FILE);
    let mut bytes = fs::read(&path).unwrap();
    let newest = Acknowledged::read(&bytes).unwrap();
    assert_eq!(newest.seq.get(), end);
    bytes[newest.slot_offset()] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert!(Acknowledged::read(&bytes).unwrap().seq.get() < end);
    let found = damage(&root);
    assert!(found.iter().all(|it| it.file.0 == path) && found.len() == 1, "{found:?}");
    let latest = || image(&root, At::Latest).unwrap();
    assert!(latest() == story.instants.last().unwrap().2);
    let repository = WritableRepository::open(&root).unwrap();
    let stop = StopFlag::default();
    let (writer, _) =
        SessionWriter::open(&repository, &common::header(LENGTH), SEGMENT, &stop).unwrap();
    assert_eq!(writer.acknowledged().seq.get(), end);
    assert!(latest() == story.instants.last().unwrap().2);
    assert_eq!(damage(&root), [], "the slot was written again");
}

#[test]
fn a_sealed_session_is_folded_into_sealed_segments() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let key = dir.path().join("key");
    let key = KeySource::KeyFile(key);
    let repository = WritableRepository::init_with(&root, Compression::Zstd(3), &key).unwrap();
    let story = Story::new(9, 16);
    let stop = StopFlag::default();
    let (mut writer, mut state) =
        SessionWriter::open(&repository, &common::header(LENGTH), SEGMENT, &stop).unwrap();
    for payload in &story.frames {
        for record in Records::new(payload) {
            state.accept(&record.unwrap().header).unwrap();
        }
        writer.append(&FrameHeader::new(FrameKind::Records, payload).unwrap(), payload).unwrap();
        let last = state.last().unwrap();
        writer.commit(last.epoch, last.seq).unwrap();
    }
    drop(writer);
    let cuts = [Cut::Base, Cut::Through(Seq::new(story.instants[5].0))];
    let plan = Plan { boundary: Seq::new(story.ends[12]), points: cuts.to_vec() };
    let reader = reader_of(repository.repository());
    fold_into(&reader, &plan, SEGMENT, &stop, |_, _| {}).unwrap();
    collect(&reader, || Ok(false), &stop).unwrap();
    story.check_in(repository.repository(), story.ends[12], &cuts, "sealed");
    let found = verify(repository.repository(), &stop, |_| {}).unwrap();
    assert_eq!(found.damage, []);
    let needle = &story.instants[5].2[..64];
    for name in names(&root).iter().filter(|name| name.starts_with("compact-")) {
        let bytes = fs::read(folder(&root).join(name)).unwrap();
        assert!(!bytes.windows(64).any(|window| window == needle), "{name} is clear");
    }
}

#[test]
fn nothing_is_collected_while_the_session_is_read() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(3, 12);
    story.store(&root, SEGMENT);
    // It reads on with the history that it knows.
    let old = Repository::open(&root).unwrap();
    let source = Source { volume: VOLUME, session: Some(SESSION), at: At::T0 };
    let held = Found::find(&old, &source, &StopFlag::default()).unwrap();
    fold(&root, story.ends[8], &[]).unwrap();
    let before = names(&root);
    let report = collect(&reader(&root), || Ok(true), &StopFlag::default()).unwrap();
    assert!(report.is_pinned && report.removed.is_empty());
    assert_eq!(names(&root), before);
    let mut found = vec![0; usize::try_from(LENGTH).unwrap()];
    let stop = StopFlag::default();
    held.open(&stop, |_| {}).unwrap().read(0, &mut found).unwrap();
    assert!(found == story.t0);
}

#[test]
fn a_fold_that_cannot_be_is_refused_and_changes_nothing() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(4, 12);
    story.store(&root, SEGMENT);
    let refused = |boundary, cuts: &[Cut]| fold(&root, boundary, cuts).unwrap_err().to_string();
    assert!(refused(story.ends[4] - 1, &[]).contains("no acknowledged epoch ends"), "within");
    assert!(refused(story.ends[12] + 1, &[]).contains("no acknowledged epoch ends"), "later");
    let later = Cut::Through(Seq::new(story.ends[2]));
    fold(&root, story.ends[6], &[]).unwrap();
    assert!(refused(story.ends[4], &[]).contains("an earlier fold"), "before the last one");
    assert!(refused(story.ends[8], &[later]).contains("was folded away"), "gone already");
    let history = history(&reader(&root)).unwrap().unwrap();
    assert_eq!((history.number.0, history.boundary.place.seq.get()), (1, story.ends[6]));
    story.check(&root, story.ends[6], &[], "as it was");
    sweep(&root);
    assert!(!names(&root).iter().any(|name| has_extension(name, "new")), "{:?}", names(&root));

    // Damage of what is needed ends it.
    let other = dir.path().join("other");
    story.store(&other, SEGMENT);
    for name in names(&other).iter().filter(|name| has_extension(name, "slseg")) {
        let mut bytes = fs::read(folder(&other).join(name)).unwrap();
        bytes.iter_mut().skip(400).step_by(500).for_each(|byte| *byte ^= 1);
        fs::write(folder(&other).join(name), &bytes).unwrap();
    }
    let error = fold(&other, story.ends[11], &[]).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(history_names(&other).is_empty());
}

fn history_names(root: &Path) -> Vec<String> {
    names(root).into_iter().filter(|name| has_extension(name, "slhist")).collect()
}

#[test]
fn damage_of_what_a_fold_has_kept_names_the_points_that_it_touches() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(8, 16);
    story.store(&root, SEGMENT);
    let cuts = [Cut::Base, Cut::Through(Seq::new(story.instants[9].0))];
    fold(&root, story.ends[12], &cuts).unwrap();
    sweep(&root);
    let kept: Vec<_> = names(&root)
        .into_iter()
        .filter(|name| name.starts_with("compact-") || name.starts_with("pages-"))
        .collect();
    assert!(kept.iter().any(|name| name.starts_with("compact-")), "{:?}", names(&root));
    for name in &kept {
        let path = folder(&root).join(name);
        let good = fs::read(&path).unwrap();
        for at in (0..good.len()).step_by(good.len() / 40 + 1) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).unwrap();
            let found = damage(&root);
            assert!(!found.is_empty(), "{name}, byte {at}");
            // No point gives other bytes than it has.
            let point = At::Time(FileTime::new(story.instants[9].1));
            for (at, want) in [(At::T0, &story.t0), (point, &story.instants[9].2)] {
                if let Ok(image) = image(&root, at) {
                    assert!(image == *want, "{name}");
                }
            }
        }
        fs::remove_file(&path).unwrap();
        let found = damage(&root);
        assert!(found.iter().any(|it| it.error.contains("need it")), "{name}: {found:?}");
        fs::write(&path, &good).unwrap();
        assert_eq!(damage(&root), [], "{name}");
    }
    // An older sound history counts if the newest is damaged; without one that is damage.
    let path = folder(&root).join("history-00000001.slhist");
    let mut bytes = fs::read(&path).unwrap();
    bytes[70] ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(damage(&root).len(), 1);
    let refused = image(&root, At::Latest).unwrap_err().to_string();
    assert!(refused.contains("history-00000001.slhist"), "{refused}");
}

#[test]
fn list_tells_the_retained_points_and_from_where_on_all_is_kept() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(6, 8);
    story.store(&root, SEGMENT);
    let retained = &story.instants[3];
    fold(&root, story.ends[5], &[Cut::Through(Seq::new(retained.0))]).unwrap();
    let listed = list(&Repository::open(&root).unwrap(), &StopFlag::default()).unwrap();
    let Content::Complete(stream) = &listed[0].sessions[0].content else { panic!("{listed:?}") };
    assert!(!stream.t0_restorable);
    assert_eq!(stream.points.len(), 2);
    assert_eq!(stream.points[0].from, stream.points[0].to);
    assert_eq!(Some(&stream.points[1].from), stream.whole_from.as_ref());
    assert_eq!(stream.latest.as_ref(), Some(&stream.points[1].to));
    let refused = image(&root, At::Time(FileTime::new(story.instants[1].1))).unwrap_err();
    let text = refused.to_string();
    assert!(text.contains(&stream.points[0].from), "{text}");
    assert!(text.contains(&stream.points[1].from), "{text}");
}

#[test]
fn a_volume_of_several_pages_keeps_what_each_of_them_has() {
    const PAGE: u64 = 4096 * BLOCK;
    const LONG: u64 = 3 * PAGE + 2 * BLOCK;
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let all = [driver.start(), driver.plain(RecordKind::Unallocated, 0, LONG)].concat();
    let mut frames = vec![[all, driver.base_complete(), driver.epoch_end()].concat()];
    let mut sectors: Vec<(u64, u8)> = [0, PAGE - SECTOR, PAGE, 2 * PAGE + BLOCK, 3 * PAGE]
        .into_iter()
        .map(|place| (place, 0))
        .collect();
    let mut truth = vec![(driver.seq, driver.time - driver.tick, sectors.clone())];
    for byte in 1..=24_u8 {
        let (place, found) = &mut sectors[usize::from(byte) % 5];
        let mut frame = Vec::new();
        // Twice, so that half of what each segment has is dead at once.
        for byte in [0xff, 0xfe, byte] {
            frame.extend(driver.write(*place, SECTOR, byte));
        }
        *found = byte;
        frame.extend(driver.epoch_end());
        frames.push(frame);
        truth.push((driver.seq, driver.time - driver.tick, sectors.clone()));
    }
    common::ingest(&root, LONG, 5_000, &frames);
    keep(&reader(&root), 1, &StopFlag::default()).unwrap();
    let check = |boundary: u64, kept: &[u64], why: &str| {
        for (seq, time, sectors) in
            truth.iter().filter(|(seq, ..)| *seq >= boundary || kept.contains(seq))
        {
            let at = At::Time(FileTime::new(*time));
            let source = Source { volume: VOLUME, session: Some(SESSION), at };
            let repository = Repository::open(&root).unwrap();
            let stop = StopFlag::default();
            let found = Found::find(&repository, &source, &stop).unwrap();
            let image = found.open(&stop, |_| {}).unwrap();
            for (place, byte) in sectors {
                let mut found = [0xcc; 512];
                image.read(*place, &mut found).unwrap();
                assert_eq!(found, [*byte; 512], "{why}: record {seq}, sector at {place}");
            }
        }
        assert_eq!(damage(&root), [], "{why}");
    };
    let kept = [truth[3].0, truth[7].0];
    let cuts = kept.map(|seq| Cut::Through(Seq::new(seq)));
    let report = fold(&root, truth[14].0, &cuts).unwrap();
    assert!(report.bytes_read >= 5 * SECTOR, "{report:?}");
    check(truth[14].0, &kept, "folded");
    let before = sweep(&root).bytes;
    assert!(before > 0);
    check(truth[14].0, &kept, "collected");
    fold(&root, truth[20].0, &cuts[1..]).unwrap();
    sweep(&root);
    check(truth[20].0, &kept[1..], "folded again");
    assert_eq!(garbage(&reader(&root)).unwrap(), []);
}

/// Salvages a point; returns the report and the image.
fn salvaged(root: &Path, at: At) -> Result<(Report, Vec<u8>), Error> {
    let source = Source { volume: VOLUME, session: Some(SESSION), at };
    let memory = |length: u64, _| Ok(vec![0; usize::try_from(length).unwrap()]);
    let stop = StopFlag::default();
    let repository = Repository::to_salvage(root);
    salvage_to(&repository, &source, Path::new("memory"), memory, &stop, |_| {})
}

#[test]
fn a_salvage_begins_at_the_boundary_or_takes_a_retained_point() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(8, 16);
    story.store(&root, SEGMENT);
    let retained = &story.instants[9];
    let cuts = [Cut::Base, Cut::Through(Seq::new(retained.0))];
    fold(&root, story.ends[12], &cuts).unwrap();
    sweep(&root);
    let last = story.instants.last().unwrap();
    let points = [
        (At::T0, &story.t0),
        (At::Time(FileTime::new(retained.1)), &retained.2),
        (At::Latest, &last.2),
    ];
    for (at, want) in points {
        let (report, found) = salvaged(&root, at).unwrap();
        assert!(report.is_whole(), "{at:?}: {report:?}");
        assert!(found == *want, "{at:?}");
    }
    let folded_away = salvaged(&root, At::Time(FileTime::new(story.instants[1].1))).unwrap_err();
    assert!(folded_away.to_string().contains("was folded away"), "{folded_away}");
    // Whatever is damaged, what is not listed is right.
    for name in names(&root).iter().filter(|name| !has_extension(name, "lock")) {
        let path = folder(&root).join(name);
        let good = fs::read(&path).unwrap();
        for at in [0, 30, good.len() / 3, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            for (point, want) in points {
                let Ok((report, found)) = salvaged(&root, point) else {
                    assert!(has_extension(name, "slhist"), "{name}, byte {at}");
                    continue;
                };
                assert_eq!(found.len(), want.len(), "{name}, byte {at}: {point:?}");
                let listed = report.missing.iter().chain(&report.doubtful);
                let listed: Vec<_> = listed.map(|it| it.offset..it.offset + it.len).collect();
                let is_listed = |byte: u64| listed.iter().any(|it| it.contains(&byte));
                let mut bytes = (0_u64..).zip(found.iter().zip(want));
                let wrong = bytes.find(|(at, (one, other))| one != other && !is_listed(*at));
                let is_told = report.lost.is_empty() && !has_extension(name, "slhist");
                assert!(wrong.is_none() || !is_told, "{name}, byte {at}: {point:?}: {wrong:?}");
            }
        }
        fs::write(&path, &good).unwrap();
    }
}

#[test]
fn a_salvage_without_the_header_takes_the_length_of_the_volume_from_a_map() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    // Of the first segment less than a half is needed: it is compacted.
    let mut frames = vec![driver.first_sync()];
    for byte in [7, 8, 9] {
        let block = |index| (index * BLOCK, BLOCK.min(LENGTH - index * BLOCK));
        let write = |(offset, len)| driver.write(offset, len, byte);
        let mut epoch: Vec<u8> = (0..5).map(block).flat_map(write).collect();
        epoch.extend(driver.epoch_end());
        frames.push(epoch);
    }
    common::ingest(&root, LENGTH, 1 << 20, &frames);
    // The log that stays is about the volume's begin.
    let epoch = [driver.write(0, SECTOR, 1), driver.epoch_end()].concat();
    let boundary = driver.seq;
    let last = [driver.write(SECTOR, SECTOR, 2), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, SEGMENT, &[epoch, last]);
    fold(&root, boundary, &[]).unwrap();
    sweep(&root);
    assert!(!names(&root).contains(&"segment-00000001.slseg".to_owned()));
    let want = image(&root, At::Latest).unwrap();
    fs::remove_file(folder(&root).join("session.snapless")).unwrap();
    fs::remove_file(folder(&root).join("state.snapless")).ok();
    let (report, found) = salvaged(&root, At::Latest).unwrap();
    assert_eq!((report.bytes, report.damage.len()), (LENGTH, 1), "{report:?}");
    assert!(report.lost.is_empty() && report.missing.is_empty(), "{report:?}");
    assert!(found == want);
}

#[test]
fn stat_tells_what_is_retained_and_what_is_garbage() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(8, 16);
    story.store(&root, SEGMENT);
    fold(&root, story.ends[12], &[Cut::Base]).unwrap();
    let told = || {
        let repository = Repository::open(&root).unwrap();
        stat(&repository, None, &StopFlag::default(), |_, _| {}).unwrap().total
    };
    let all = told();
    let left = garbage(&reader(&root)).unwrap();
    assert_eq!(all.garbage_bytes, left.iter().map(|it| it.bytes).sum::<u64>());
    assert!(all.retained_bytes > 0 && all.garbage_bytes > 0);
    sweep(&root);
    let kept = told();
    assert_eq!(kept.garbage_bytes, 0);
    assert_eq!(kept.retained_bytes, all.retained_bytes);
    assert_eq!(kept.stored_bytes, all.stored_bytes - all.garbage_bytes);
    assert_eq!(kept.overhead.other_bytes, 0, "all of the log is counted");
}

/// The files of a fold whose bytes are pinned.
fn is_pinned(name: &str) -> bool {
    ["history-", "pages-", "compact-"].iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("map-") && name.matches('-').count() == 2
}

#[test]
fn this_release_writes_and_reads_the_pinned_bytes_of_a_fold() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration/golden/folded");
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let first = [driver.start(), driver.data(RecordKind::Block, 0, &[0x5a; 1024])].concat();
    let mut frames = vec![[first, driver.base_complete(), driver.epoch_end()].concat()];
    let mut ends = vec![driver.seq];
    for byte in 1..=6_u8 {
        let offset = u64::from(byte % 2) * SECTOR;
        let writes = [0xfd, 0xfe, byte].map(|byte| driver.write(offset, SECTOR, byte));
        frames.push([writes.concat(), driver.epoch_end()].concat());
        ends.push(driver.seq);
    }
    common::ingest(&root, 1024, 1, &frames);
    keep(&reader(&root), 1, &StopFlag::default()).unwrap();
    let cuts = [Cut::Base, Cut::Through(Seq::new(ends[2]))];
    fold(&root, ends[4], &cuts).unwrap();
    sweep(&root);
    let written: Vec<_> = names(&root).into_iter().filter(|name| is_pinned(name)).collect();
    assert_eq!(written.len(), 7, "{written:?}");
    let other = Path::new(env!("CARGO_TARGET_TMPDIR")).join("folded");
    fs::create_dir_all(&other).unwrap();
    let mut differ = Vec::new();
    for name in &written {
        let bytes = fs::read(folder(&root).join(name)).unwrap();
        let pinned = fs::read(golden.join(name)).unwrap_or_default();
        if bytes != pinned {
            fs::write(other.join(name), &bytes).unwrap();
            differ.push(other.join(name));
        }
        fs::write(folder(&root).join(name), pinned).unwrap();
    }
    assert!(differ.is_empty(), "not as pinned; what was written is in {differ:?}");
    assert_eq!(damage(&root), []);
    let source = |at| Source { volume: VOLUME, session: None, at };
    let (at, to) = (
        |seq| At::Exact { time: FileTime::new(0), cut: Cut::Through(Seq::new(seq)) },
        dir.path().join("image"),
    );
    let points = [
        (At::T0, [0x5a, 0x5a]),
        (at(ends[2]), [2, 1]),
        (at(ends[4]), [4, 3]),
        (at(ends[5]), [4, 5]),
        (At::Latest, [6, 5]),
    ];
    for (at, [first, second]) in points {
        common::restore_to(&root, source(at), &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), [[first; 512], [second; 512]].concat(), "{at:?}");
    }
}
