//! The map of a point: its image is that of a replay of the whole stream, whatever the stream is,
//! and damage never gives a wrong one.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME};
use snapless_server::error::{Damage, Error};
use snapless_server::format::repository::session_dir;
use snapless_server::point::keep::keep;
use snapless_server::point::{Content, PointReader};
use snapless_server::reader::{SessionReader, Wanted};
use snapless_server::repository::{Presence, Repository};
use snapless_server::restore::{Found, Source, Stage};
use snapless_server::stop::StopFlag;
use snapless_server::stream::{BaseBlocks, StreamState};
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_types::{BlockRange, Extent, RecordKind};
use snapless_wire::frame::{FrameHeader, FrameKind};
use snapless_wire::id::FileTime;
use snapless_wire::record::{Record, Records};

/// Numbers that look random, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn sectors(&mut self, most: u64) -> (u64, u64) {
        let start = self.below(LENGTH / SECTOR);
        let len = 1 + self.below(most.min(LENGTH / SECTOR - start));
        (start * SECTOR, len * SECTOR)
    }

    fn blocks(&mut self) -> (u64, u64) {
        let start = self.below(5);
        let end = start + 1 + self.below(5 - start);
        (start * BLOCK, (end * BLOCK).min(LENGTH) - start * BLOCK)
    }
}

/// Bytes that tell record and sector.
fn content(seq: u64, len: u64) -> Vec<u8> {
    let sectors = (0..len / SECTOR).flat_map(|sector| {
        let mark = (seq << 16 | sector).to_le_bytes();
        mark.into_iter().cycle().take(usize::try_from(SECTOR).unwrap())
    });
    sectors.collect()
}

/// A record of any kind, which may break a rule.
fn any_record(driver: &mut Driver, numbers: &mut Numbers) -> Vec<u8> {
    let seq = driver.seq + 1;
    let blocks = numbers.blocks();
    let few = numbers.sectors(6);
    let many = numbers.sectors(60);
    match numbers.below(18) {
        0 | 1 => driver.data(RecordKind::Block, blocks.0, &content(seq, blocks.1)),
        2 => driver.zero(RecordKind::Block, blocks.0, blocks.1),
        3 => driver.plain(RecordKind::Unallocated, blocks.0, blocks.1),
        4 => driver.plain(RecordKind::Excluded, blocks.0, blocks.1),
        5 => driver.unreadable(blocks.0, blocks.1),
        6 => driver.unreadable(few.0, few.1),
        7 => driver.plain(RecordKind::Trim, many.0, many.1),
        8 => driver.plain(RecordKind::Zero, few.0, few.1),
        9 => driver.zero(RecordKind::Write, few.0, few.1),
        10 => driver.data(RecordKind::Resync, blocks.0, &content(seq, blocks.1)),
        14 => driver.check(blocks.0, &content(seq, blocks.1)),
        13 => driver.plain(RecordKind::Unchanged, blocks.0, blocks.1),
        11 if numbers.below(2) == 0 => driver.gap(),
        11 => driver.consistent(),
        12 => driver.data(RecordKind::Write, many.0, &content(seq, many.1)),
        _ => driver.data(RecordKind::Write, few.0, &content(seq, few.1)),
    }
}

/// A valid stream, as frames of whole epochs.
fn any_stream(numbers: &mut Numbers) -> Vec<Vec<u8>> {
    let mut driver = Driver::default();
    let mut state = StreamState::new(common::geometry(LENGTH));
    let first = driver.start();
    accept(&mut state, &first);
    let mut frames = vec![first];
    // What the base image lacks is captured at an instant of its own.
    let (steps, base_by) = (40 + numbers.below(120), numbers.below(40));
    for step in 0..steps {
        let mut tried = driver.clone();
        let record = if step >= base_by && state.timeline().coverage().known < 5 {
            let block = numbers.below(5);
            tried.data(
                RecordKind::Block,
                block * BLOCK,
                &content(tried.seq + 1, BLOCK.min(LENGTH - block * BLOCK)),
            )
        } else {
            any_record(&mut tried, numbers)
        };
        let header = Records::new(&record).next().unwrap().unwrap().header;
        let mut next = state.clone();
        if header.seq().get() == driver.seq + 1 && next.accept(&header).is_ok() {
            (driver, state) = (tried, next);
            frames.last_mut().unwrap().extend(record);
        }
        if numbers.below(12) == 0 {
            let end = driver.epoch_end();
            accept(&mut state, &end);
            frames.last_mut().unwrap().extend(end);
            frames.push(Vec::new());
        } else if numbers.below(6) == 0 {
            // A frame ends inside an epoch.
            frames.push(Vec::new());
        }
    }
    let end = driver.epoch_end();
    frames.last_mut().unwrap().extend(end);
    frames.retain(|frame| !frame.is_empty());
    frames
}

fn accept(state: &mut StreamState, records: &[u8]) {
    for record in Records::new(records) {
        state.accept(&record.unwrap().header).unwrap();
    }
}

/// Stores the frames over one connection, at whose end the state is kept, or is not.
fn store(root: &Path, segment_limit: u64, frames: &[Vec<u8>], keeps: bool) {
    let repository = common::repository(root);
    let (header, stop) = (common::header(LENGTH), StopFlag::default());
    let (mut writer, mut state) =
        SessionWriter::open(&repository, &header, segment_limit, &stop).unwrap();
    for payload in frames {
        accept(&mut state, payload);
        writer.append(&FrameHeader::new(FrameKind::Records, payload).unwrap(), payload).unwrap();
        let last = state.last().unwrap();
        if state.ended_epoch() == last.epoch {
            writer.commit(last.epoch, last.seq).unwrap();
        }
    }
    if keeps {
        writer.keep_state_at_end(&state);
    }
}

fn repository(root: &Path) -> Repository {
    Repository::open(root).unwrap()
}

fn find(root: &Path, at: At) -> Result<Found, Error> {
    let source = Source { volume: VOLUME, session: Some(SESSION), at };
    Found::find(&repository(root), &source, &StopFlag::default())
}

fn reader(root: &Path) -> SessionReader {
    let Presence::Header(header) = repository(root).session(VOLUME, SESSION).unwrap() else {
        panic!("there is no session")
    };
    SessionReader::open(repository(root).store(), header).unwrap()
}

/// The image of a replay of the whole stream: in stream order, what belongs to the cut.
fn replayed(root: &Path, cut: Cut) -> (Vec<u8>, Vec<bool>) {
    let reader = reader(root);
    let index = |at: u64| usize::try_from(at).unwrap();
    let (mut image, mut holes) = (vec![0; index(LENGTH)], vec![false; index(LENGTH / SECTOR)]);
    let geometry = common::geometry(LENGTH);
    let mut apply = |record: &Record<'_>, extent: &Extent, is_hole: bool| {
        let bytes = index(extent.offset())..index(extent.end());
        holes[index(extent.offset() / SECTOR)..index(extent.end() / SECTOR)].fill(is_hole);
        if record.payload.is_empty() {
            image[bytes].fill(0);
        } else {
            image[bytes].copy_from_slice(record.payload);
        }
    };
    let visit = |record: &Record<'_>, accepted: &snapless_server::stream::Accepted| {
        let header = &record.header;
        let included = cut.includes(accepted.place);
        let Some(extent) = Extent::new(header.extent_offset(), header.extent_len()) else {
            return Ok(Wanted::More);
        };
        match (header.kind(), &accepted.base) {
            (RecordKind::Unreadable, BaseBlocks::Some(fresh)) => {
                let touched = geometry.blocks_of(&extent).unwrap_or(BlockRange::EMPTY);
                for block in touched.iter().filter(|&block| included || fresh.contains(block)) {
                    apply(record, &geometry.extent_of(&BlockRange::one(block)).unwrap(), true);
                }
            }
            (RecordKind::Unreadable, base) if included || *base == BaseBlocks::Holes => {
                apply(record, &extent, true);
            }
            // What is there already.
            (RecordKind::Unchanged | RecordKind::Check, _) => {}
            (_, base) if included || *base == BaseBlocks::All => apply(record, &extent, false),
            _ => {}
        }
        Ok(Wanted::More)
    };
    reader.replay(&StopFlag::default(), visit).unwrap();
    (image, holes)
}

/// Every point that a stream may have.
fn points(frames: &[Vec<u8>]) -> Vec<At> {
    let records = frames.iter().flat_map(|frame| Records::new(frame));
    let times = records.map(|record| At::Time(record.unwrap().header.time()));
    [At::T0, At::Latest].into_iter().chain(times).collect()
}

fn whole(image: &PointReader) -> Vec<u8> {
    let mut bytes = vec![0xcc; usize::try_from(LENGTH).unwrap()];
    image.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_image_of_the_map_is_that_of_a_replay_whatever_the_stream_is() {
    let stop = StopFlag::default();
    let (mut compared, mut on_maps) = ([0; 3], 0);
    for seed in 0..120 {
        let mut numbers = Numbers(seed);
        let frames = any_stream(&mut numbers);
        let dir = common::scratch();
        let root = dir.path();
        // There is no index, one of the first half, or one of all.
        let kept = usize::try_from(seed % 3).unwrap();
        let half = frames.len() / 2 * usize::from(kept > 0);
        let limit = if numbers.below(2) == 0 { 9 << 10 } else { 1 << 20 };
        let (first, second) = frames.split_at(epochs_in(&frames[..half]));
        store(root, limit, first, kept > 0);
        store(root, limit, second, kept > 1);
        let keeps_maps = numbers.below(2) == 0;
        if keeps_maps {
            keep(&reader(root), numbers.below(4) * BLOCK, &stop).unwrap();
        }
        for at in points(&frames) {
            let Ok(found) = find(root, at) else { continue };
            let (want, holes) = replayed(root, found.point().cut);
            let image = found.open(&stop, |_| {}).unwrap();
            assert!(whole(&image) == want, "seed {seed}, {at:?}");
            let unreadable = image.map().unreadable();
            for (sector, &is_hole) in (0..).zip(&holes) {
                let extent = Extent::new(sector * SECTOR, SECTOR).unwrap();
                let found = unreadable.iter().any(|it| it.overlaps(&extent));
                assert_eq!(found, is_hole, "seed {seed}, {at:?}, sector {sector}");
            }
            // Any part of it, again and again.
            for _ in 0..8 {
                let (offset, len) = numbers.sectors(70);
                let mut part = vec![0xcc; usize::try_from(len).unwrap()];
                image.read(offset, &mut part).unwrap();
                let start = usize::try_from(offset).unwrap();
                assert!(part == want[start..start + part.len()], "seed {seed}, {at:?}, {offset}");
            }
            let mut written = vec![0; want.len()];
            found.write_to(&mut written, &stop, |_| {}).unwrap();
            assert!(written == want, "seed {seed}, {at:?}");
            compared[kept] += 1;
            on_maps += usize::from(image.map().kept().is_some());
        }
    }
    assert!(compared.iter().all(|count| *count > 100), "{compared:?} images");
    assert!(on_maps > 100, "{on_maps} images on kept maps");
}

#[test]
fn a_volume_of_many_windows_is_restored_whole_and_of_its_damage_the_first_is_named() {
    const LONG: u64 = (33 << 20) + SECTOR;
    const WRITES: u64 = 1500;
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    let mut sync = driver.start();
    sync.extend(driver.plain(RecordKind::Unallocated, 0, LONG));
    sync.extend([driver.base_complete(), driver.epoch_end()].concat());
    let (mut frames, mut numbers) = (vec![sync], Numbers(3));
    let mut want = vec![0; usize::try_from(LONG).unwrap()];
    let mut write = |driver: &mut Driver, offset: u64, len: u64| {
        let bytes = content(driver.seq + 1, len);
        let start = usize::try_from(offset).unwrap();
        want[start..start + bytes.len()].copy_from_slice(&bytes);
        driver.data(RecordKind::Write, offset, &bytes)
    };
    // At the volume's end and across that of a window; then here and there, some over others.
    for offset in [LONG - 8 * SECTOR, 32 << 20] {
        let len = (70 * SECTOR * 4).min(LONG - offset + 4 * SECTOR);
        let record = write(&mut driver, offset - 4 * SECTOR, len);
        frames.push([record, driver.epoch_end()].concat());
    }
    for _ in 0..WRITES / 100 {
        let mut frame = Vec::new();
        for _ in 0..100 {
            let (place, len) = (numbers.below(3 << 10), 1 + numbers.below(9));
            frame.extend(write(&mut driver, place * 20 * SECTOR, len * SECTOR));
        }
        frames.push([frame, driver.epoch_end()].concat());
    }
    common::ingest(&root, LONG, 200 << 10, &frames);
    let (_, image) = common::image(&root, At::Latest).unwrap();
    assert!(image == want);
    // Damage in many entries, whose content alone is damaged.
    store_index(&root, LONG);
    let numbers = 2..=4;
    for number in numbers.clone() {
        let mut bytes = fs::read(segment(&root, number)).unwrap();
        let len = bytes.len();
        for byte in bytes[200..len - 200].iter_mut().step_by(512) {
            *byte ^= 1;
        }
        fs::write(segment(&root, number), bytes).unwrap();
    }
    for _ in 0..20 {
        let Err(Error::Damaged { path, offset, .. }) = common::image(&root, At::Latest) else {
            panic!("a damaged entry is restored")
        };
        assert_eq!((path, offset), (segment(&root, *numbers.start()), 64));
    }
}

/// Makes the indices of a repository's finished segments whole.
fn store_index(root: &Path, length: u64) {
    let (repository, stop) = (common::repository(root), StopFlag::default());
    drop(SessionWriter::open(&repository, &common::header(length), 200 << 10, &stop).unwrap());
}

/// How many of these frames are whole epochs.
fn epochs_in(frames: &[Vec<u8>]) -> usize {
    let ends = |frame: &Vec<u8>| {
        let last = Records::new(frame).last().unwrap().unwrap();
        last.header.kind() == RecordKind::EpochEnd
    };
    frames.iter().rposition(ends).map_or(0, |last| last + 1)
}

fn segment(root: &Path, number: u64) -> PathBuf {
    root.join(session_dir(VOLUME, SESSION)).join(format!("segment-{number:08}.slseg"))
}

/// A short stream of all kinds of records, in which a later write covers the place to which a
/// damaged header might move an earlier one.
fn short_stream() -> Vec<Vec<u8>> {
    let mut driver = Driver::default();
    let mut sync = driver.start();
    sync.extend((0..3).flat_map(|block| driver.zero(RecordKind::Block, block * BLOCK, BLOCK)));
    sync.extend(driver.plain(RecordKind::Unallocated, 3 * BLOCK, LENGTH - 3 * BLOCK));
    sync.extend([driver.base_complete(), driver.epoch_end()].concat());
    let mut frames = vec![sync];
    for place in [0, 1, 5, 1, 4, 2] {
        let bytes = content(driver.seq + 1, SECTOR);
        let write = driver.data(RecordKind::Write, place * SECTOR, &bytes);
        frames.push([write, driver.epoch_end()].concat());
    }
    let all = driver.plain(RecordKind::Zero, SECTOR, 3 * SECTOR);
    frames.push([all, driver.epoch_end()].concat());
    frames
}

#[test]
fn no_flipped_byte_of_a_segment_gives_a_wrong_image() {
    for keeps in [true, false] {
        let dir = common::scratch();
        let root = dir.path();
        let frames = short_stream();
        store(root, 1 << 20, &frames, keeps);
        let good = fs::read(segment(root, 1)).unwrap();
        let (mut right, mut refused) = (0, 0);
        let all = [At::T0, At::Latest, At::Time(FileTime::new(common::T0 + 145))];
        let cuts = all.map(|at| find(root, at).unwrap().point().cut);
        let wants = cuts.map(|cut| replayed(root, cut).0);
        for at in (0..good.len()).step_by(if keeps { 1 } else { 3 }) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(segment(root, 1), &bad).unwrap();
            for (point, want) in all.into_iter().zip(&wants) {
                let mut image = vec![0; want.len()];
                let made = find(root, point)
                    .and_then(|found| found.write_to(&mut image, &StopFlag::default(), |_| {}));
                match made {
                    Ok(_) => {
                        assert!(image == *want, "byte {at} flipped, {point:?}");
                        right += 1;
                    }
                    Err(Error::Damaged { path, .. }) => {
                        assert!(path.ends_with("segment-00000001.slseg"), "{path:?}");
                        refused += 1;
                    }
                    Err(Error::NotRestorable { .. }) => refused += 1,
                    Err(error) => panic!("byte {at} flipped, {point:?}: {error}"),
                }
            }
        }
        // What only a later point needs costs no point, and neither do headers that an index has.
        assert!(refused > 1000 && right > 1000, "{right} right, {refused} refused");
    }
}

#[test]
fn damage_that_a_point_does_not_need_is_found_by_verify_alone() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = Driver::default();
    let sync = driver.first_sync();
    let first = [driver.write(0, SECTOR, 0xaa), driver.epoch_end()].concat();
    let between = driver.time - driver.tick;
    let second = [driver.write(0, SECTOR, 0xbb), driver.epoch_end()].concat();
    store(root, 1 << 20, &[sync, first, second], true);
    let mut bytes = fs::read(segment(root, 1)).unwrap();
    let damaged = bytes.windows(512).position(|it| it == [0xaa; 512]).unwrap();
    bytes[damaged + 100] ^= 4;
    fs::write(segment(root, 1), bytes).unwrap();
    let mut want = common::base_image();
    for (at, byte) in [(At::T0, 1), (At::Latest, 0xbb)] {
        common::patch(&mut want, 0, SECTOR, byte);
        let found = find(root, at).unwrap();
        assert!(whole(&found.open(&StopFlag::default(), |_| {}).unwrap()) == want, "{at:?}");
    }
    let found = find(root, At::Time(FileTime::new(between))).unwrap();
    let image = found.open(&StopFlag::default(), |_| {}).unwrap();
    let refused = image.read(0, &mut [0; 512]).unwrap_err();
    assert!(matches!(refused, Error::Damaged { why: Damage::Frame(_), .. }), "{refused}");
    let mut rest = [0; 512];
    image.read(SECTOR, &mut rest).unwrap();
    assert_eq!(rest, [1; 512], "what is intact is served");
    assert_eq!(verify(&repository(root), &StopFlag::default(), |_| {}).unwrap().damage.len(), 1);
}

#[test]
fn what_changes_after_it_was_read_is_noticed() {
    let dir = common::scratch();
    let root = dir.path();
    store(root, 1 << 20, &[Driver::default().first_sync()], true);
    let image = find(root, At::T0).unwrap().open(&StopFlag::default(), |_| {}).unwrap();
    assert!(whole(&image) == common::base_image());
    let mut bytes = fs::read(segment(root, 1)).unwrap();
    let last = bytes.windows(512).rposition(|it| it == [5; 512]).unwrap();
    bytes[last] ^= 1;
    fs::write(segment(root, 1), bytes).unwrap();
    let refused = image.read(4 * BLOCK, &mut [0; 512]).unwrap_err();
    assert!(matches!(refused, Error::Damaged { why: Damage::Frame(_), .. }), "{refused}");
}

#[test]
fn blocks_that_follow_each_other_are_one_run() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = Driver::default();
    let sync = driver.first_sync();
    let write = [driver.write(2 * BLOCK, SECTOR, 9), driver.epoch_end()].concat();
    store(root, 1 << 20, &[sync, write], true);
    let runs = |at| find(root, at).unwrap().map(&StopFlag::default(), |_| {}).unwrap().run_count();
    // Four whole blocks, and the short one.
    assert_eq!(runs(At::T0), 2);
    assert_eq!(runs(At::Latest), 4);
    let map = find(root, At::Latest).unwrap().map(&StopFlag::default(), |_| {}).unwrap();
    let content = map.content(BLOCK..2 * BLOCK + SECTOR).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(content.len(), 2);
    assert_eq!(content[0].0, BLOCK..2 * BLOCK);
    assert!(content.iter().all(|(_, content)| matches!(content, Content::Stored(_))));
}

#[test]
fn a_point_that_was_found_is_the_same_after_the_server_has_gone_on() {
    let dir = common::scratch();
    let root = dir.path();
    let mut driver = Driver::default();
    let sync = driver.first_sync();
    store(root, 1 << 20, &[sync], true);
    let found = [At::T0, At::Latest].map(|at| find(root, at).unwrap());
    let write = [driver.write(0, SECTOR, 9), driver.epoch_end()].concat();
    store(root, 1 << 20, &[write], true);
    // The index goes further now than the points do.
    for found in found {
        let image = found.open(&StopFlag::default(), |_| {}).unwrap();
        assert!(whole(&image) == common::base_image(), "{:?}", found.point());
    }
}

#[test]
fn progress_goes_through_the_stream_and_then_through_the_image() {
    let dir = common::scratch();
    let root = dir.path();
    store(root, 1 << 20, &short_stream(), true);
    let mut told = Vec::new();
    let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
    let found = find(root, At::Latest).unwrap();
    found.write_to(&mut image, &StopFlag::default(), |progress| told.push(progress)).unwrap();
    let of = |stage| told.iter().filter(move |progress| progress.stage == stage);
    assert_eq!(of(Stage::Map).count(), short_stream().len());
    let stages: Vec<_> = told.chunk_by(|one, next| one.stage == next.stage).collect();
    assert_eq!(stages.len(), 2);
    assert!(stages.iter().all(|stage| stage.is_sorted_by_key(|progress| progress.done)));
    assert!(told.iter().all(|progress| progress.done <= progress.total));
    let last = told.last().unwrap();
    assert_eq!((last.done, last.total), (LENGTH, LENGTH));
}
