//! A volume whose length changes: each point has the length and the bytes of its own instant, and
//! what was in a tail that was cut off never comes back.

use std::collections::BTreeMap;
use std::path::Path;

use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME, geometry};
use crate::fold::{Numbers, reader_of};
use snapless_server::diff::Comparison;
use snapless_server::error::Error;
use snapless_server::fold::{Plan, collect, fold_into};
use snapless_server::given::Given;
use snapless_server::list::list;
use snapless_server::point::keep::keep;
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::salvage::salvage_to;
use snapless_server::stop::StopFlag;
use snapless_server::stream::{StreamState, Violation};
use snapless_server::timeline::{At, NotRestorable, RESIZES_MAX};
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_types::{BlockIndex, Extent, RecordKind, Seq};
use snapless_wire::compare::Compare;
use snapless_wire::frame::FrameKind;
use snapless_wire::id::FileTime;
use snapless_wire::record::Records;
use zerocopy::IntoBytes;

use crate::common::{Client, Running, Said};

/// Segments are short, so that there are many.
const SEGMENT: u64 = 200_000;
/// Bytes of the volume that a page of a map covers.
const PAGE: u64 = 4096 * BLOCK;

/// A volume: its length, and the byte that fills each of its sectors that is not zeros.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Volume {
    length: u64,
    sectors: BTreeMap<u64, u8>,
}

impl Volume {
    fn fill(&mut self, offset: u64, len: u64, byte: u8) {
        for sector in offset / SECTOR..(offset + len) / SECTOR {
            match byte {
                0 => _ = self.sectors.remove(&sector),
                byte => _ = self.sectors.insert(sector, byte),
            }
        }
    }

    fn resize(&mut self, length: u64) {
        self.length = length;
        drop(self.sectors.split_off(&(length / SECTOR)));
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.length).unwrap()];
        for (sector, byte) in &self.sectors {
            common::patch(&mut bytes, sector * SECTOR, SECTOR, *byte);
        }
        bytes
    }
}

/// A stream with changes of the volume's length, and the volume at each instant that is a point.
struct Story {
    /// Of each connection what it sends, and how long the volume is then.
    connections: Vec<(u64, Vec<Vec<u8>>)>,
    points: Vec<(u64, Volume)>,
    /// The records at which epochs end, outside of a gap.
    ends: Vec<u64>,
}

impl Story {
    /// `lengths`: of the volume, one after the other.
    fn new(seed: u64, lengths: &[u64]) -> Self {
        let mut numbers = Numbers(seed);
        let mut driver = Driver::default();
        let mut volume = Volume { length: lengths[0], sectors: BTreeMap::new() };
        let mut story = Self { connections: Vec::new(), points: Vec::new(), ends: Vec::new() };
        for (index, &length) in lengths.iter().enumerate() {
            let mut frames = Vec::new();
            let begin = match index {
                0 => Self::first_sync(&mut driver, &mut volume),
                _ => Self::continued(&mut driver, &mut volume, length, &mut numbers),
            };
            frames.push(begin);
            story.note(&driver, &volume);
            for _ in 0..3 {
                let mut frame = Vec::new();
                for _ in 0..=numbers.below(4) {
                    let (offset, len, byte) = Self::change(&mut numbers, volume.length);
                    frame.extend(driver.write(offset, len, byte));
                    volume.fill(offset, len, byte);
                    story.note(&driver, &volume);
                }
                frame.extend(driver.epoch_end());
                story.note(&driver, &volume);
                story.ends.push(driver.seq);
                frames.push(frame);
            }
            story.connections.push((length, frames));
        }
        story
    }

    /// Mostly near the end, or to where a page ends.
    fn change(numbers: &mut Numbers, length: u64) -> (u64, u64, u8) {
        let sectors = length / SECTOR;
        let len = 1 + numbers.below(40.min(sectors));
        let near_end = sectors - len - numbers.below((sectors - len + 1).min(200));
        let first = if numbers.below(3) == 0 { numbers.below(sectors - len + 1) } else { near_end };
        (first * SECTOR, len * SECTOR, u8::try_from(1 + numbers.below(255)).unwrap())
    }

    fn first_sync(driver: &mut Driver, volume: &mut Volume) -> Vec<u8> {
        let length = volume.length;
        let last = (length - 1) / BLOCK * BLOCK;
        let mut frame = driver.start();
        if last > 0 {
            frame.extend(driver.plain(RecordKind::Unallocated, 0, last));
        }
        frame.extend(driver.fill(RecordKind::Block, last, length - last, 7));
        volume.fill(last, length - last, 7);
        frame.extend(driver.base_complete());
        frame.extend(driver.epoch_end());
        frame
    }

    /// The session continues on a volume of another length, which something wrote to meanwhile.
    fn continued(
        driver: &mut Driver,
        volume: &mut Volume,
        length: u64,
        numbers: &mut Numbers,
    ) -> Vec<u8> {
        let before = volume.length;
        let mut frame = driver.continued(length);
        volume.resize(length);
        // What the volume has got is other data, or nothing.
        let fresh = before / BLOCK * BLOCK;
        if length > before {
            let first = (fresh + BLOCK).min(length);
            frame.extend(driver.fill(RecordKind::Resync, fresh, first - fresh, 9));
            volume.fill(fresh, first - fresh, 9);
            if first < length {
                frame.extend(driver.plain(RecordKind::Trim, first, length - first));
                volume.fill(first, length - first, 0);
            }
        }
        for _ in 0..numbers.below(3) {
            let (offset, _, byte) = Self::change(numbers, length);
            let start = offset / BLOCK * BLOCK;
            let len = BLOCK.min(length - start);
            frame.extend(driver.fill(RecordKind::Resync, start, len, byte));
            volume.fill(start, len, byte);
        }
        frame.extend(driver.consistent());
        frame.extend(driver.epoch_end());
        frame
    }

    fn note(&mut self, driver: &Driver, volume: &Volume) {
        self.points.push((driver.time - driver.tick, volume.clone()));
    }

    fn store(&self, root: &Path) {
        for (length, frames) in &self.connections {
            common::ingest(root, *length, SEGMENT, frames);
        }
    }

    /// Restores and reads each of the points, or those that are kept.
    fn check(&self, root: &Path, kept: impl Fn(u64) -> bool) {
        for (time, volume) in self.points.iter().filter(|(time, _)| kept(*time)) {
            let at = At::Time(FileTime::new(*time));
            let (report, found) = common::image(root, at).unwrap();
            assert_eq!((report.bytes, found.len() as u64), (volume.length, volume.length));
            assert!(found == volume.bytes(), "the image of {time} differs");
        }
        let report = verify(&Repository::open(root).unwrap(), &StopFlag::default(), |_| {});
        assert_eq!(report.unwrap().damage, []);
    }
}

/// Lengths of a few blocks, whole or not.
fn short_lengths(numbers: &mut Numbers) -> Vec<u64> {
    (0..5).map(|_| SECTOR * (1 + numbers.below(6 * BLOCK / SECTOR))).collect()
}

/// Lengths about the ends of the pages of a map.
fn long_lengths(numbers: &mut Numbers) -> Vec<u64> {
    let mut any = || {
        let page = (1 + numbers.below(2)) * PAGE;
        [page - BLOCK, page - SECTOR, page, page + SECTOR, page + 3 * BLOCK]
            [usize::try_from(numbers.below(5)).unwrap()]
    };
    (0..4).map(|_| any()).collect()
}

#[test]
fn each_point_has_the_length_and_the_bytes_of_its_instant() {
    for seed in 0..24 {
        let story = Story::new(seed, &short_lengths(&mut Numbers(seed + 100)));
        let dir = common::scratch();
        let root = dir.path().join("repository");
        story.store(&root);
        story.check(&root, |_| true);
        // The same on kept maps.
        keep(&reader_of(&Repository::open(&root).unwrap()), 20_000, &StopFlag::default()).unwrap();
        story.check(&root, |_| true);
    }
}

#[test]
fn the_pages_of_a_map_end_where_the_volume_ends() {
    for seed in 0..3 {
        let story = Story::new(seed, &long_lengths(&mut Numbers(seed + 7)));
        let dir = common::scratch();
        let root = dir.path().join("repository");
        story.store(&root);
        let repository = Repository::open(&root).unwrap();
        keep(&reader_of(&repository), 20_000, &StopFlag::default()).unwrap();
        let some = |time: u64| time % 30 == seed * 10;
        story.check(&root, some);
        fold_at(&root, &story, story.ends.len() - 2, some);
        let boundary = folded_at(&root);
        story.check(&root, |time| some(time) || time >= boundary);
    }
}

/// Folds at an end of an epoch and retains some of the points before; removes what is garbage.
fn fold_at(root: &Path, story: &Story, end: usize, kept: impl Fn(u64) -> bool) {
    let (repository, stop) = (Repository::open(root).unwrap(), StopFlag::default());
    let reader = reader_of(&repository);
    let cut = |time: u64| {
        let at = At::Time(FileTime::new(time));
        let source = Source { volume: VOLUME, session: Some(SESSION), at };
        Found::find(&repository, &source, &stop).unwrap().point().cut
    };
    let times = story.points.iter().map(|point| point.0).filter(|time| kept(*time));
    let plan = Plan { boundary: Seq::new(story.ends[end]), points: times.map(cut).collect() };
    fold_into(&reader, &plan, SEGMENT, &stop, |_, _| {}).unwrap();
    collect(&reader_of(&repository), || Ok(false), &stop).unwrap();
}

/// The time of the boundary of the last fold.
fn folded_at(root: &Path) -> u64 {
    let reader = reader_of(&Repository::open(root).unwrap());
    snapless_server::fold::history(&reader).unwrap().unwrap().boundary.place.time().get()
}

#[test]
fn a_fold_keeps_points_of_all_lengths() {
    for seed in 0..16 {
        let story = Story::new(seed, &short_lengths(&mut Numbers(seed + 300)));
        let dir = common::scratch();
        let root = dir.path().join("repository");
        story.store(&root);
        let mut numbers = Numbers(seed);
        if numbers.below(2) == 0 {
            let reader = reader_of(&Repository::open(&root).unwrap());
            keep(&reader, 20_000, &StopFlag::default()).unwrap();
        }
        let kept = |time: u64| time.is_multiple_of(30);
        let first = usize::try_from(numbers.below(story.ends.len() as u64 - 1)).unwrap();
        for end in [first, story.ends.len() - 1] {
            fold_at(&root, &story, end, kept);
            let boundary = folded_at(&root);
            story.check(&root, |time| kept(time) || time >= boundary);
        }
    }
}

#[test]
fn a_salvage_makes_the_image_of_each_point() {
    let stop = StopFlag::default();
    for seed in 0..12 {
        let story = Story::new(seed, &short_lengths(&mut Numbers(seed + 500)));
        let dir = common::scratch();
        let root = dir.path().join("repository");
        story.store(&root);
        for (time, volume) in &story.points {
            let at = At::Time(FileTime::new(*time));
            let source = Source { volume: VOLUME, session: Some(SESSION), at };
            let memory = |length, _| Ok(Memory(vec![0xcc; usize::try_from(length).unwrap()]));
            let repository = Repository::to_salvage(&root);
            let (report, found) =
                salvage_to(&repository, &source, Path::new("memory"), memory, &stop, |_| {})
                    .unwrap();
            assert!(report.damage.is_empty() && report.lost.is_empty(), "{report:?}");
            assert_eq!((report.bytes, report.missing), (volume.length, Vec::new()));
            assert!(found.0 == volume.bytes(), "the image of {time} differs, seed {seed}");
        }
    }
}

/// An image in memory.
struct Memory(Vec<u8>);

impl snapless_server::target::Target for Memory {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        let start = usize::try_from(offset).unwrap();
        self.0[start..start + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<(), Error> {
        common::patch(&mut self.0, offset, len, 0);
        Ok(())
    }
}

/// A stream of the test volume over a connection, and the driver that makes its records.
#[derive(Clone)]
struct Stream {
    state: StreamState,
    driver: Driver,
}

impl Stream {
    fn synced() -> Self {
        let mut state = StreamState::new(geometry(LENGTH));
        state.begin_connection();
        Self { state, driver: Driver::default() }.with(Driver::first_sync)
    }

    fn with(mut self, records: impl FnOnce(&mut Driver) -> Vec<u8>) -> Self {
        for record in Records::new(&records(&mut self.driver)) {
            self.state.accept(&record.unwrap().header).unwrap();
        }
        self
    }

    /// The session continues on a volume of this length.
    fn continued(mut self, length: u64) -> Self {
        self.state.begin_connection();
        self.state.announce(length);
        self.with(|d| d.continued(length))
    }

    fn refuses(&self, record: impl FnOnce(&mut Driver) -> Vec<u8>) -> Violation {
        let Self { mut state, mut driver } = self.clone();
        let record = record(&mut driver);
        let record = Records::new(&record).next().unwrap().unwrap();
        state.accept(&record.header).unwrap_err()
    }

    fn latest(&self) -> Option<FileTime> {
        self.state.timeline().latest().map(|place| place.time())
    }
}

#[test]
fn a_gap_does_not_end_before_what_the_volume_has_got_is_read() {
    let before = Stream::synced();
    let latest = before.latest();
    let grown = before.continued(6 * BLOCK);
    // The short last block has become longer.
    let Violation::NotResynced { block, .. } = grown.refuses(Driver::consistent) else { panic!() };
    assert_eq!(block, BlockIndex(4));
    assert_eq!(grown.latest(), latest, "the points from before stay");
    assert!(grown.state.timeline().t0_is_whole());
    let read = |d: &mut Driver| d.fill(RecordKind::Resync, 4 * BLOCK, 2 * BLOCK, 3);
    let consistent = grown.clone().with(read).with(Driver::consistent);
    assert!(consistent.latest() > latest && consistent.state.timeline().t0_is_whole());
    assert_eq!(consistent.state.timeline().ranges().len(), 2);
    // Nothing of it is content at t0, or the same as before.
    let found = grown.refuses(|d| d.fill(RecordKind::Block, 5 * BLOCK, BLOCK, 3));
    assert!(matches!(found, Violation::BlockAfterChange { block: BlockIndex(5), .. }));
    let found = grown.refuses(|d| d.plain(RecordKind::Unchanged, 4 * BLOCK, BLOCK));
    assert!(matches!(found, Violation::NothingUnchanged { block: BlockIndex(4), .. }));
    let found = grown.refuses(|d| d.fill(RecordKind::Resync, 6 * BLOCK, BLOCK, 3));
    assert!(matches!(found, Violation::Outside { .. }), "{found:?}");
}

#[test]
fn nothing_behind_the_end_of_a_volume_that_has_shrunk_is_taken_or_known_again() {
    let shrunk = Stream::synced().continued(3 * BLOCK - SECTOR);
    let found = shrunk.refuses(|d| d.write(3 * BLOCK - SECTOR, SECTOR, 1));
    assert!(matches!(found, Violation::Outside { .. }), "{found:?}");
    let shrunk = shrunk.with(Driver::consistent);
    let grown = shrunk.continued(LENGTH);
    for index in 2..5 {
        let len = BLOCK.min(LENGTH - index * BLOCK);
        let found = grown.refuses(|d| d.plain(RecordKind::Unchanged, index * BLOCK, len));
        let Violation::NothingUnchanged { block, .. } = found else { panic!("{found:?}") };
        assert_eq!(block, BlockIndex(index));
    }
    let Violation::NotResynced { block, .. } = grown.refuses(Driver::consistent) else { panic!() };
    assert_eq!(block, BlockIndex(2));
    drop(grown.with(|d| d.plain(RecordKind::Unchanged, 0, 2 * BLOCK)));
}

#[test]
fn hostile_lengths_are_refused() {
    let stream = Stream::synced();
    let continued = |length: u64| {
        let mut stream = stream.clone();
        stream.state.begin_connection();
        stream.refuses(|d| d.continued(length))
    };
    // More blocks than a server takes, and more than Windows has bytes for.
    for length in [(1 << 46) + SECTOR, 1 << 63] {
        assert!(matches!(continued(length), Violation::Length { .. }), "{length}");
    }
    // Sectors of 4096 bytes.
    let coarse = snapless_types::Geometry::new(8 * BLOCK, 4096, 16 << 10).unwrap();
    let mut coarse = Stream { state: StreamState::new(coarse), driver: Driver::default() };
    coarse = coarse.with(Driver::start);
    coarse.state.begin_connection();
    let found = coarse.refuses(|d| d.continued(8 * BLOCK + SECTOR));
    assert!(matches!(found, Violation::Length { .. }), "{found:?}");
    // Within a connection no number is left out, so a session does not continue there.
    assert!(matches!(stream.refuses(|d| d.continued(6 * BLOCK)), Violation::Seq { .. }));
}

#[test]
fn the_volume_of_a_connection_is_that_of_the_stream() {
    let mut stream = Stream::synced();
    stream.state.begin_connection();
    stream.state.announce(6 * BLOCK);
    for record in [Driver::epoch_end, Driver::gap] {
        let found = stream.refuses(record);
        assert!(matches!(found, Violation::OtherLength { .. }), "{found:?}");
    }
    let found = stream.refuses(|d| d.continued(7 * BLOCK));
    let want = Violation::OtherLength { seq: Seq::new(1009), found: 6 * BLOCK, length: 7 * BLOCK };
    assert_eq!(found, want);
    drop(stream.with(|d| d.continued(6 * BLOCK)));
}

#[test]
fn a_session_takes_so_many_changes_of_length_and_no_more() {
    let mut stream = Stream::synced();
    for index in 0..RESIZES_MAX as u64 {
        stream = stream.continued((5 + index % 2) * BLOCK);
    }
    stream.state.begin_connection();
    let found = stream.refuses(|d| d.continued(9 * BLOCK));
    assert!(matches!(found, Violation::Resizes(_)), "{found:?}");
    // A restart that changes nothing is none.
    drop(stream.continued(6 * BLOCK));
}

#[test]
fn a_volume_that_is_resized_during_its_first_sync_loses_t0_and_nothing_else() {
    for length in [2 * BLOCK, 7 * BLOCK] {
        let mut state = StreamState::new(geometry(LENGTH));
        state.begin_connection();
        let stream = Stream { state, driver: Driver::default() };
        let stream = stream.with(Driver::start).with(|d| d.blocks(0..3)).continued(length);
        let t0 = |stream: &Stream| stream.state.timeline().resolve(At::T0);
        assert!(matches!(t0(&stream), Err(NotRestorable::T0Lost { blocks: 2, .. })));
        assert_eq!(stream.latest(), None);
        let stream = match length {
            len if len > LENGTH => {
                stream.with(|d| d.fill(RecordKind::Resync, 3 * BLOCK, 4 * BLOCK, 8))
            }
            _ => stream,
        };
        let stream = stream.with(Driver::consistent);
        assert!(stream.latest().is_some());
        assert!(matches!(t0(&stream), Err(NotRestorable::T0Lost { blocks: 2, .. })));
    }
}

#[test]
fn the_state_of_a_resized_stream_comes_back() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(3, &[5 * BLOCK, 2 * BLOCK + SECTOR, 9 * BLOCK]);
    story.store(&root);
    let open = || {
        let repository = common::repository(&root);
        let header = common::header(9 * BLOCK);
        let opened = SessionWriter::open(&repository, &header, SEGMENT, &StopFlag::default());
        let (mut writer, state) = opened.unwrap();
        writer.keep_state_at_end(&state);
        state
    };
    let first = open();
    let reader = reader_of(&Repository::open(&root).unwrap());
    let kept = reader.survey(&StopFlag::default()).unwrap();
    assert!(first.is_same(&kept) && kept.geometry().length() == 9 * BLOCK);
    assert_eq!(kept.timeline().resizes().len(), 2);
}

#[test]
fn a_list_and_a_comparison_tell_the_lengths() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let story = Story::new(5, &[5 * BLOCK, 8 * BLOCK]);
    story.store(&root);
    let stop = StopFlag::default();
    let repository = Repository::open(&root).unwrap();
    let volumes = list(&repository, &stop).unwrap();
    let session = &volumes[0].sessions[0];
    let stream = session.content.stream().unwrap();
    assert_eq!(session.shape.as_ref().unwrap().length, 5 * BLOCK);
    assert_eq!(stream.resizes.iter().map(|it| it.length).collect::<Vec<_>>(), [8 * BLOCK]);
    assert!(stream.t0_restorable && stream.gaps[0].reason_text == "resized");
    let at = |at| Source { volume: VOLUME, session: Some(SESSION), at };
    let sources = [at(At::T0), at(At::Latest)];
    let report = Comparison::find(&repository, sources, &stop, |_| {}).unwrap().by_place().unwrap();
    assert_eq!((report.from.bytes, report.to.bytes), (5 * BLOCK, 8 * BLOCK));
    let last = report.changed.last().unwrap();
    assert_eq!(last.offset + last.len, 8 * BLOCK);
    assert!(last.offset <= 5 * BLOCK);
}

#[test]
fn a_server_does_not_say_that_it_has_what_it_had_before_the_volume_shrank() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut driver = Driver::default();
    common::ingest(&root, LENGTH, SEGMENT, &[driver.first_sync()]);
    let shrunk = [driver.continued(2 * BLOCK), driver.consistent(), driver.epoch_end()].concat();
    common::ingest(&root, 2 * BLOCK, SEGMENT, &[shrunk]);
    let grown = [driver.continued(LENGTH), driver.epoch_end()].concat();
    common::ingest(&root, LENGTH, SEGMENT, &[grown]);
    let reader = reader_of(&Repository::open(&root).unwrap());
    let given = Given::open(reader, &StopFlag::default()).unwrap();
    let image = common::base_image();
    let ask = |block: u64| {
        let (start, len) = (block * BLOCK, BLOCK.min(LENGTH - block * BLOCK));
        let range = usize::try_from(start).unwrap()..usize::try_from(start + len).unwrap();
        let hash = *blake3::hash(&image[range]).as_bytes();
        let request = Compare::new(1, Seq::new(1), vec![(Extent::new(start, len).unwrap(), hash)]);
        given.answer(&request.unwrap(), &StopFlag::default()).unwrap().same().to_vec()
    };
    assert_eq!(
        (0..5).map(|block| ask(block)[0]).collect::<Vec<_>>(),
        [true, true, false, false, false]
    );
}

#[test]
fn a_service_on_a_resized_volume_says_so_over_the_network() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let mut driver = Driver::default();
    let (mut client, ..) = Client::resume(server.address);
    client.records(&driver.first_sync());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    drop(client);
    let greet = |length: u64| {
        let mut client = Client::connect(server.address);
        client.send(FrameKind::Hello, common::hello(length).as_bytes());
        assert!(matches!(client.hear(), Said::Welcome { seq: 8, .. }));
        client
    };
    // One that does not is refused, and nothing of it is kept.
    let mut client = greet(9 * BLOCK);
    client.records(&[driver.clone().gap(), driver.clone().epoch_end()].concat());
    let Said::Error(why) = client.hear() else { panic!("it was taken") };
    assert!(why.contains("snapless stop") && why.contains("147456"), "{why}");
    let mut client = greet(9 * BLOCK);
    let grown = [
        driver.continued(9 * BLOCK),
        driver.fill(RecordKind::Resync, 4 * BLOCK, 5 * BLOCK, 4),
        driver.consistent(),
        driver.epoch_end(),
    ];
    client.records(&grown.concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    drop((client, server));
    let (_, t0) = common::image(&root, At::T0).unwrap();
    assert_eq!(t0, common::base_image());
    let (_, latest) = common::image(&root, At::Latest).unwrap();
    let mut want = common::base_image();
    want.resize(9 * common::BLOCK_LEN, 0);
    common::patch(&mut want, 4 * BLOCK, 5 * BLOCK, 4);
    assert!(latest == want);
}
