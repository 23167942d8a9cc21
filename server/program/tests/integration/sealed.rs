//! A repository that is compressed, encrypted, or both gives what a plain one gives, shows nothing
//! of the content to who has no key, and serves nothing that was changed or moved.

use std::any::Any;
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME};
use snapless_server::compression::Compression;
use snapless_server::diff::Comparison;
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::format::sealed::{SEALED_HEADER_LEN, SealedHeader};
use snapless_server::format::segment::SEGMENT_HEADER_LEN;
use snapless_server::format::session::SessionHeader;
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Presence, Repository, WritableRepository};
use snapless_server::restore::{Found, Request, Source, restore};
use snapless_server::salvage::salvage;
use snapless_server::seal::KeySource;
use snapless_server::stat::stat;
use snapless_server::stop::StopFlag;
use snapless_server::storage::local::LocalStorage;
use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile, Store};
use snapless_server::timeline::At;
use snapless_server::verify::{Report, verify};
use snapless_server::writer::SessionWriter;
use snapless_types::RecordKind;
use snapless_wire::frame::{FrameHeader, FrameKind, Watermark};
use snapless_wire::id::{FileTime, SessionId};
use snapless_wire::record::Records;

/// A repository, and the key to it.
struct Site {
    dir: tempfile::TempDir,
    root: PathBuf,
    key: KeySource,
}

const ZSTD: Compression = Compression::Zstd(3);

impl Site {
    fn new(compression: Compression, is_encrypted: bool) -> Self {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let file = KeySource::KeyFile(dir.path().join("key"));
        let key = if is_encrypted { file } else { KeySource::None };
        drop(WritableRepository::init_with(&root, compression, &key).unwrap());
        Self { dir, root, key }
    }

    /// A plain one, and one of each other kind.
    fn all() -> [Self; 4] {
        [(Compression::None, false), (ZSTD, false), (Compression::None, true), (ZSTD, true)]
            .map(|(compression, is_encrypted)| Self::new(compression, is_encrypted))
    }

    fn writable(&self) -> WritableRepository {
        WritableRepository::open_with(&self.root, &self.key).unwrap()
    }

    fn repository(&self) -> Repository {
        Repository::open(&self.root).unwrap().unlock(&self.key).unwrap()
    }

    /// Stores frames over one connection, whose end keeps the state; then keeps maps.
    fn store(&self, header: &SessionHeader, limit: u64, frames: &[Vec<u8>]) {
        let (repository, stop) = (self.writable(), StopFlag::default());
        let (mut writer, mut state) =
            SessionWriter::open(&repository, header, limit, &stop).unwrap();
        for payload in frames {
            for record in Records::new(payload) {
                state.accept(&record.unwrap().header).unwrap();
            }
            let frame = FrameHeader::new(FrameKind::Records, payload).unwrap();
            writer.append(&frame, payload).unwrap();
            let last = state.last().unwrap();
            if state.ended_epoch() == last.epoch {
                writer.commit(last.epoch, last.seq).unwrap();
                let later = last.time().get() + 3;
                let mark = Watermark::new(last.seq, FileTime::new(later), later - common::T0);
                state.mark(&mark).unwrap();
                writer.mark(&mark).unwrap();
            }
        }
        writer.keep_state_at_end(&state);
    }

    fn reader(&self) -> SessionReader {
        let repository = self.repository();
        let Presence::Header(header) = repository.session(VOLUME, SESSION).unwrap() else {
            panic!("there is no session")
        };
        SessionReader::open(repository.store(), header).unwrap()
    }

    fn image(&self, at: At) -> Result<Vec<u8>, Error> {
        let to = self.dir.path().join("image");
        let source = Source { volume: VOLUME, session: Some(SESSION), at };
        let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
        restore(&self.repository(), &request, &StopFlag::default(), |_| {})?;
        Ok(fs::read(to).unwrap())
    }

    fn salvaged(&self, at: At) -> Result<Vec<u8>, Error> {
        let to = self.dir.path().join("salvaged");
        let source = Source { volume: VOLUME, session: Some(SESSION), at };
        let request = Request { source, to: to.clone(), force: true, other_sector_size: false };
        let repository = Repository::to_salvage(&self.root).unlock(&self.key)?;
        salvage(&repository, &request, &StopFlag::default(), |_| {})?;
        Ok(fs::read(to).unwrap())
    }

    fn verified(&self) -> Report {
        verify(&self.repository(), &StopFlag::default(), |_| {}).unwrap()
    }

    fn verified_without_key(&self) -> Report {
        verify(&Repository::open(&self.root).unwrap(), &StopFlag::default(), |_| {}).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.root.join(session_dir(VOLUME, SESSION))
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.folder().join(format!("segment-{number:08}.slseg"))
    }

    /// All files of the session.
    fn files(&self) -> Vec<PathBuf> {
        fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

/// A first sync and changes of all kinds, in frames, and the times after each epoch. Some content
/// shrinks and some does not.
fn any_stream(seed: u64) -> (Vec<Vec<u8>>, Vec<At>) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut driver = Driver::default();
    let mut frames = vec![driver.first_sync()];
    let mut points = vec![At::T0];
    for _ in 0..random.usize(3..12) {
        let mut epoch = Vec::new();
        for _ in 0..random.usize(1..6) {
            let sectors = LENGTH / SECTOR;
            let first = random.u64(..sectors);
            let len = random.u64(1..=(sectors - first).min(40)) * SECTOR;
            let offset = first * SECTOR;
            epoch.extend(match random.u8(..4) {
                0 => driver.zero(RecordKind::Write, offset, len),
                1 => driver.plain(RecordKind::Trim, offset, len),
                2 => driver.write(offset, len, random.u8(..)),
                _ => {
                    let noise: Vec<u8> = (0..len).map(|_| random.u8(..)).collect();
                    driver.data(RecordKind::Write, offset, &noise)
                }
            });
            if random.bool() {
                frames.push(std::mem::take(&mut epoch));
            }
        }
        epoch.extend(driver.epoch_end());
        frames.push(epoch);
        points.push(At::Time(FileTime::new(driver.time - driver.tick)));
    }
    points.push(At::Latest);
    (frames, points)
}

/// True if an epoch ends with this frame.
fn is_epoch_end(payload: &[u8]) -> bool {
    let last = Records::new(payload).last().and_then(|record| record.ok());
    last.is_some_and(|record| record.header.kind() == RecordKind::EpochEnd)
}

#[test]
fn each_kind_gives_the_images_differences_and_salvages_of_a_plain_one() {
    for seed in 0..3 {
        let (frames, points) = any_stream(seed);
        let ends: Vec<_> = (1..frames.len()).filter(|at| is_epoch_end(&frames[at - 1])).collect();
        let (first, second) = frames.split_at(ends[ends.len() / 2]);
        let sites = Site::all();
        let [plain, ..] = &sites;
        for site in &sites {
            let header = common::header(LENGTH);
            site.store(&header, 20 << 10, first);
            keep(&site.reader(), 8 << 10, &StopFlag::default()).unwrap();
            site.store(&header, 20 << 10, second);
            assert_eq!(site.verified().damage, [], "seed {seed}");
            let records = |site: &Site| site.reader().survey(&StopFlag::default()).unwrap();
            assert!(records(site).is_same(&records(plain)), "seed {seed}");
            for at in &points {
                let image = plain.image(*at).unwrap();
                assert!(site.image(*at).unwrap() == image, "seed {seed}, {at:?}");
                assert!(site.salvaged(*at).unwrap() == image, "seed {seed}, {at:?}");
            }
            for at in points.windows(2) {
                let stop = StopFlag::default();
                let changed = |site: &Site| {
                    let source = |at| Source { volume: VOLUME, session: Some(SESSION), at };
                    let sources = [source(at[0]), source(at[1])];
                    let found = Comparison::find(&site.repository(), sources, &stop, |_| {});
                    let found = found.unwrap();
                    (found.by_place().unwrap().changed, found.by_content(&stop, |_| {}).unwrap())
                };
                assert_eq!(changed(site), changed(plain), "seed {seed}");
            }
        }
    }
}

/// A small stream: its content is found again byte for byte if it is anywhere.
fn small(site: &Site) -> Vec<u8> {
    let mut driver = Driver::default();
    let mut frames = vec![driver.start()];
    for block in 0..5 {
        frames.push(driver.zero(
            RecordKind::Block,
            block * BLOCK,
            BLOCK.min(LENGTH - block * BLOCK),
        ));
    }
    frames.push([driver.base_complete(), driver.epoch_end()].concat());
    let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
    for (index, byte) in [(1_u64, 0x51), (2, 0x52), (3, 0x53)] {
        frames.push([driver.write(index * BLOCK, SECTOR, byte), driver.epoch_end()].concat());
        common::patch(&mut image, index * BLOCK, SECTOR, byte);
    }
    // In several segments, whatever the kind.
    site.store(&common::header(LENGTH), 700, &frames);
    assert!(site.reader().acknowledged().segment.0 > 1);
    keep(&site.reader(), 400, &StopFlag::default()).unwrap();
    image
}

#[test]
fn an_encrypted_repository_shows_neither_content_nor_checksums_of_it() {
    let plain = Site::new(Compression::None, false);
    let sealed = Site::new(Compression::None, true);
    let contains = |site: &Site, bytes: &[u8]| {
        site.files()
            .iter()
            .any(|file| fs::read(file).unwrap().windows(bytes.len()).any(|window| window == bytes))
    };
    small(&plain);
    small(&sealed);
    for byte in [0x51, 0x52, 0x53] {
        let content = [byte; 512];
        let sum = crc32c::crc32c(&content).to_le_bytes();
        for secret in [&content[..16], &sum] {
            assert!(contains(&plain, secret), "the test looks for what is there");
            assert!(!contains(&sealed, secret));
        }
    }
    for secret in [&b"SLFR"[..], b"SLRC"] {
        assert!(!contains(&sealed, secret));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_nothing_else_is_served() {
    for site in [Site::new(ZSTD, true), Site::new(ZSTD, false)] {
        let image = small(&site);
        assert_eq!((site.verified().damage, site.verified_without_key().damage), (vec![], vec![]));
        assert_eq!(site.verified_without_key().without_key, site.key != KeySource::None);
        let files = site.files();
        for kind in ["slseg", "slidx", "slmap"] {
            assert!(files.iter().any(|file| file.extension().is_some_and(|it| it == kind)));
        }
        for file in files {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            // These two are not sealed, and have an older slot.
            if ["watermark.snapless", "acknowledged.snapless"].contains(&&*name) {
                continue;
            }
            // A server may be writing the index of the last segment.
            let is_checked = name != site.reader().acknowledged().segment.index_name();
            let sound = fs::read(&file).unwrap();
            for at in (0..sound.len()).filter(|at| *at < 90 || at % 61 == 0) {
                let mut damaged = sound.clone();
                damaged[at] ^= 1 << (at % 8);
                fs::write(&file, &damaged).unwrap();
                if is_checked {
                    assert_ne!(site.verified().damage, [], "byte {at} of {name}");
                    let locked = site.verified_without_key();
                    // Without the key a page of a map has no stored checksum.
                    if !name.ends_with("slmap") {
                        assert_ne!(locked.damage, [], "byte {at} of {name}, without the key");
                    }
                }
                if let Ok(found) = site.image(At::Latest) {
                    assert!(found == image, "byte {at} of {name}");
                }
                if name.ends_with("slseg")
                    && let Ok(found) = site.salvaged(At::Latest)
                {
                    for (found, want) in found.iter().zip(&image) {
                        assert!(found == want || *found == 0, "byte {at} of {name}");
                    }
                }
            }
            fs::write(&file, &sound).unwrap();
        }
        assert_eq!(site.verified().damage, []);
    }
}

/// Where the entries of a segment begin, and where it ends.
fn entries(segment: &[u8]) -> Vec<usize> {
    let mut starts = vec![SEGMENT_HEADER_LEN];
    while let Some(header) = segment[starts[starts.len() - 1]..].first_chunk::<SEALED_HEADER_LEN>()
    {
        let len = SealedHeader::read(header).unwrap().entry_len();
        starts.push(starts[starts.len() - 1] + len);
    }
    starts
}

#[test]
fn an_entry_that_was_moved_is_refused_with_every_stored_checksum_right() {
    let site = Site::new(Compression::None, true);
    let mut driver = Driver::default();
    let sync = driver.first_sync();
    let mut write = |byte| [driver.write(0, SECTOR, byte), driver.epoch_end()].concat();
    let frames = [sync, write(1), write(2), write(3)];
    site.store(&common::header(LENGTH), 1 << 20, &frames);
    for file in site.files() {
        // The segment alone.
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with("slidx") || name.starts_with("state") {
            fs::remove_file(file).unwrap();
        }
    }
    let segment = site.segment(1);
    let sound = fs::read(&segment).unwrap();
    let starts = entries(&sound);
    // Entries of one length: an epoch and the watermark before it are one behind the other.
    let of = |index: usize| starts[index]..starts[index + 1];
    let (one, other) = (starts.len() - 4, starts.len() - 2);
    assert_eq!(of(one).len(), of(other).len());
    let is_refused = |changed: &[u8]| {
        fs::write(&segment, changed).unwrap();
        assert_eq!(site.verified_without_key().damage, [], "no stored checksum tells it");
        assert_ne!(site.verified().damage, []);
        assert!(matches!(site.image(At::Latest), Err(Error::Damaged { .. })));
        assert!(site.salvaged(At::Latest).is_ok_and(|image| image[0] != 3));
    };
    let mut swapped = sound.clone();
    swapped[of(one)].copy_from_slice(&sound[of(other)]);
    swapped[of(other)].copy_from_slice(&sound[of(one)]);
    is_refused(&swapped);
    let mut repeated = sound.clone();
    repeated[of(other)].copy_from_slice(&sound[of(one)]);
    is_refused(&repeated);
    fs::write(&segment, &sound).unwrap();
    assert_eq!(site.verified().damage, []);

    // The same entries in another session, with its segment's header.
    let header = SessionHeader { session: SessionId([0x33; 16]), ..common::header(LENGTH) };
    site.store(&header, 1 << 20, &frames);
    let other = site.root.join(session_dir(VOLUME, header.session)).join("segment-00000001.slseg");
    let mut moved = fs::read(other).unwrap();
    assert_eq!(moved.len(), sound.len());
    moved[..SEGMENT_HEADER_LEN].copy_from_slice(&sound[..SEGMENT_HEADER_LEN]);
    fs::write(&segment, &moved).unwrap();
    assert_ne!(site.verified().damage, []);
    assert!(matches!(site.image(At::T0), Err(Error::Damaged { .. })));
    assert!(matches!(site.salvaged(At::T0), Err(Error::NothingToSalvage(_))));
}

#[test]
fn a_plain_segment_in_an_encrypted_repository_is_refused() {
    let site = Site::new(Compression::None, true);
    let plain = Site::new(Compression::None, false);
    let compressed = Site::new(ZSTD, false);
    for site in [&site, &plain, &compressed] {
        small(site);
    }
    for forged in [&plain, &compressed] {
        for file in forged.files() {
            fs::copy(&file, site.folder().join(file.file_name().unwrap())).unwrap();
        }
        assert_ne!(site.verified().damage, []);
        assert!(site.image(At::Latest).is_err());
        assert!(matches!(site.salvaged(At::Latest), Err(Error::NothingToSalvage(_))));
    }
    // The header, too: it is told that the key is not wanted.
    fs::copy(plain.root.join("repository.snapless"), site.root.join("repository.snapless"))
        .unwrap();
    let refused = Repository::open(&site.root).unwrap().unlock(&site.key);
    assert!(matches!(refused, Err(Error::NotEncrypted(_))));
}

#[test]
fn an_entry_that_is_cut_off_and_written_again_has_another_nonce() {
    let site = Site::new(Compression::None, true);
    let mut driver = Driver::default();
    let sync = driver.first_sync();
    site.store(&common::header(LENGTH), 1 << 20, &[sync]);
    // The writer buffers less than this: it is written before it is acknowledged.
    let mut tail: Vec<u8> = (0..8).flat_map(|_| driver.write(0, LENGTH, 1)).collect();
    tail.extend(driver.epoch_end());
    let mut nonces = HashSet::new();
    for _ in 0..3 {
        let repository = site.writable();
        let header = common::header(LENGTH);
        let (mut writer, _) =
            SessionWriter::open(&repository, &header, 1 << 20, &StopFlag::default()).unwrap();
        let before = fs::read(site.segment(1)).unwrap();
        writer.append(&FrameHeader::new(FrameKind::Records, &tail).unwrap(), &tail).unwrap();
        // As a crash before the acknowledgement leaves it.
        drop(writer);
        let after = fs::read(site.segment(1)).unwrap();
        assert!(after.len() > before.len() && after.starts_with(&before));
        for two in entries(&after).windows(2).filter(|two| two[0] >= before.len()) {
            let nonce = after[two[0] + SEALED_HEADER_LEN..][..12].to_vec();
            assert!(nonces.insert(nonce), "a nonce was used twice");
        }
    }
    assert!(nonces.len() >= 3);
}

#[test]
fn what_is_compressed_takes_less_and_noise_takes_hardly_more() {
    let stored = |compression, content: &[u8]| {
        let site = Site::new(compression, false);
        let mut driver = Driver::default();
        let write = [driver.first_sync(), driver.data(RecordKind::Write, 0, content)];
        let frames = [write[0].clone(), [write[1].clone(), driver.epoch_end()].concat()];
        site.store(&common::header(LENGTH), 1 << 20, &frames);
        site.reader().stored_bytes().unwrap()
    };
    let text: Vec<u8> = b"a sentence that is written again and again; ".repeat(800);
    let text = &text[..32 << 10];
    let mut random = fastrand::Rng::with_seed(1);
    let noise: Vec<u8> = (0..32 << 10).map(|_| random.u8(..)).collect();
    assert!(stored(ZSTD, text) < stored(Compression::None, text) / 10);
    // The first sync shrinks, the noise does not.
    assert!((32 << 10..34 << 10).contains(&stored(ZSTD, &noise)));
}

#[test]
fn what_takes_the_space_adds_up_for_each_kind() {
    let (frames, _) = any_stream(4);
    for (site, (is_compressed, is_encrypted)) in
        Site::all().iter().zip([(false, false), (true, false), (false, true), (true, true)])
    {
        site.store(&common::header(LENGTH), 20 << 10, &frames);
        let usage = stat(&site.repository(), None, &StopFlag::default(), |_, _| {}).unwrap().total;
        let lengths: u64 = site.files().iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        let content: u64 = usage.causes.each().iter().map(|(_, cause)| cause.stored_bytes).sum();
        let parts = content + usage.overhead.bytes();
        assert_eq!(usage.stored_bytes, lengths);
        assert_eq!(parts, lengths + usage.compression_saved_bytes);
        assert_eq!(usage.overhead.other_bytes, 0);
        assert_eq!(usage.compression_saved_bytes > 0, is_compressed);
        assert_eq!(usage.overhead.seal_bytes > 0, is_compressed || is_encrypted);
    }
}

#[test]
fn a_key_is_asked_for_by_its_name_and_a_wrong_one_is_refused() {
    let site = Site::new(Compression::None, true);
    small(&site);
    let id = match Repository::open(&site.root).unwrap().unlock(&KeySource::None) {
        Err(error @ Error::KeyNeeded { id, .. }) => {
            let text = error.to_string();
            assert!(text.contains(&id.to_string()) && text.contains("--key-file"), "{text}");
            id
        }
        other => panic!("{other:?}"),
    };
    let locked = WritableRepository::open(&site.root);
    assert!(matches!(locked, Err(Error::KeyNeeded { .. })));
    let passphrase = site.dir.path().join("passphrase");
    fs::write(&passphrase, "correct horse\n").unwrap();
    let other = Site::new(Compression::None, true);
    for (source, is_wrong) in [
        (other.key.clone(), true),
        (KeySource::PassphraseFile(passphrase.clone()), false),
        (KeySource::KeyFile(passphrase), false),
        (KeySource::KeyFile(site.dir.path().join("missing")), false),
    ] {
        match Repository::open(&site.root).unwrap().unlock(&source) {
            Err(Error::WrongKey { id: want, .. }) => {
                assert!(is_wrong);
                assert_eq!(want, id);
            }
            Err(_) => assert!(!is_wrong, "{source:?}"),
            Ok(_) => panic!("{source:?} unlocks it"),
        }
    }
    let plain = Site::new(ZSTD, false);
    let refused = Repository::open(&plain.root).unwrap().unlock(&site.key);
    assert!(matches!(refused, Err(Error::NotEncrypted(_))));
    // Nothing is read without the key.
    let locked = Repository::open(&site.root).unwrap();
    let source = Source { volume: VOLUME, session: Some(SESSION), at: At::Latest };
    let found = Found::find(&locked, &source, &StopFlag::default());
    assert!(matches!(found, Err(Error::KeyNeeded { .. })));
}

#[cfg(unix)]
#[test]
fn a_key_file_is_its_owners_alone_and_is_not_replaced() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(Compression::None, true);
    let KeySource::KeyFile(path) = &site.key else { panic!("it has a key file") };
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(path).unwrap();
    let other = site.dir.path().join("other");
    drop(WritableRepository::init_with(&other, ZSTD, &site.key).unwrap());
    assert_eq!(fs::read(path).unwrap(), before);
    Repository::open(&other).unwrap().unlock(&site.key).unwrap();
}

#[test]
fn a_damaged_copy_of_the_header_is_told_and_the_other_is_used() {
    let site = Site::new(Compression::None, true);
    let image = small(&site);
    let path = site.root.join("repository.snapless");
    let sound = fs::read(&path).unwrap();
    for at in [0, 20, 100, 200, 4096, 4200] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&path, damaged).unwrap();
        let found = site.verified().damage;
        assert_eq!(found.len(), 1, "{at}");
        assert_eq!(found[0].offset, Some(if at < 4096 { 0 } else { 4096 }));
        assert!(site.image(At::Latest).unwrap() == image);
    }
}

/// A storage that fails from its n-th change on, and tears the write that it fails at.
#[derive(Debug)]
struct Failing {
    below: LocalStorage,
    left: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct FailingFile {
    below: Box<dyn StorageFile>,
    left: Arc<AtomicUsize>,
}

fn change(left: &AtomicUsize) -> io::Result<()> {
    let taken = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    taken.map(|_| ()).map_err(|_| io::Error::other("power is lost"))
}

impl Storage for Failing {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        if matches!(mode, OpenMode::Create | OpenMode::CreateNew) {
            change(&self.left)?;
        }
        let below = self.below.open(path, mode)?;
        Ok(Box::new(FailingFile { below, left: Arc::clone(&self.left) }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.below.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.below.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        change(&self.left).and_then(|()| self.below.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        change(&self.left).and_then(|()| self.below.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        change(&self.left).and_then(|()| self.below.sync_dir(dir))
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let none: Box<dyn Any + Send + Sync> = Box::new(());
        self.below.lock(path).or(Ok(none))
    }

    fn locate(&self, path: &Path) -> PathBuf {
        self.below.locate(path)
    }
}

impl StorageFile for FailingFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.below.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let may = change(&self.left);
        let bytes = if may.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        self.below.write_at(offset, bytes).and(may)
    }

    fn len(&self) -> io::Result<u64> {
        self.below.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        change(&self.left).and_then(|()| self.below.set_len(len))
    }

    fn sync(&self) -> io::Result<()> {
        change(&self.left).and_then(|()| self.below.sync())
    }

    fn has_its_name(&self) -> io::Result<bool> {
        self.below.has_its_name()
    }
}

#[test]
fn a_rekey_that_is_interrupted_leaves_the_old_or_the_new_key_in_force() {
    let mut in_force = HashSet::new();
    for changes in 0.. {
        let site = Site::new(Compression::None, true);
        let image = small(&site);
        let new = KeySource::KeyFile(site.dir.path().join("new key"));
        let below = LocalStorage::new(&site.root);
        let left = Arc::new(AtomicUsize::new(usize::MAX));
        let storage = Failing { below, left: Arc::clone(&left) };
        let store = Store::new(Arc::new(storage));
        let writable = WritableRepository::open_in_with(store, &site.key).unwrap();
        left.store(changes, Ordering::SeqCst);
        let done = writable.rekey(&new).is_ok();
        let unlocks = |key: &KeySource| Repository::open(&site.root).unwrap().unlock(key).is_ok();
        let now = (unlocks(&site.key), unlocks(&new));
        assert!(now == (true, false) || now == (false, true), "after {changes} changes: {now:?}");
        assert!(!done || now.1, "a rekey that is done is in force");
        in_force.insert(now);
        let key = if now.0 { site.key.clone() } else { new.clone() };
        let site = Site { key, ..site };
        assert!(site.image(At::Latest).unwrap() == image);
        // Once more: with the key that is in force, whatever is left over.
        site.writable().rekey(&new).unwrap();
        assert!(Repository::open(&site.root).unwrap().unlock(&new).is_ok());
        if done {
            break;
        }
    }
    assert_eq!(in_force.len(), 2, "some interruptions were before the change, some after");
}
