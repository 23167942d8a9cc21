//! Copies between repositories that are kept in different ways: plain, encrypted, compressed, in a
//! directory, in an object store.

use std::path::Path;
use std::process::Output;

use snapless_server::compression::Compression;
use snapless_server::copy::{How, Outcome, Report, copy_all};
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::seal::KeySource;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::upgrade::{Made, upgrade};
use snapless_server::verify::verify;
use snapless_wire::id::FileTime;

use super::{HOW, Machine, image_in, outcome, same_points, stream};
use crate::common::object_stream::{self, Connection, history, segments};
use crate::common::objects::FaultyStore;
use crate::common::s3::S3Server;
use crate::common::stores::StoreServer;
use crate::common::{self, BLOCK, Driver, SECTOR, VOLUME, scratch};

const ZSTD: Compression = Compression::Zstd(3);
const URL: &str = "s3://bucket/some/prefix";

fn copied(from: &Repository, to: &WritableRepository, how: &How) -> Report {
    let report = copy_all(from, to, how, &StopFlag::default()).unwrap();
    assert!(report.is_complete(), "{report:?}");
    let verified = verify(to.repository(), &StopFlag::default(), |_| {}).unwrap();
    assert_eq!((verified.damage, verified.without_key), (vec![], false));
    report
}

/// Asserts that all of them have the same images at some instants.
#[track_caller]
fn same_images(repositories: &[&Repository], machine: &mut Machine) {
    let end = machine.driver.time - common::T0;
    let instants = (0..20).map(|_| At::Time(FileTime::new(common::T0 + machine.rng.u64(0..end))));
    for at in instants.chain([At::T0, At::Latest]) {
        let want = image_in(repositories[0], at);
        for other in &repositories[1..] {
            assert!(image_in(other, at) == want, "{at:?}");
        }
    }
}

#[test]
fn a_stream_comes_through_every_kind_of_repository_as_it_was() {
    for seed in 0..6 {
        let dir = scratch();
        let [a, b, d] = ["a", "b", "d"].map(|name| dir.path().join(name));
        let [key, other] = ["key", "other"].map(|name| KeySource::KeyFile(dir.path().join(name)));
        let sealed = WritableRepository::init_with(&b, ZSTD, &key).unwrap();
        let store = FaultyStore::default();
        let objects = WritableRepository::init_in_with(store.store(), ZSTD, &other).unwrap();
        let plain_objects = FaultyStore::default().repository();
        let plain = common::repository(&d);
        let mut machine = Machine::new(a.clone(), seed);
        machine.sync();
        for epochs in [0, 3, 40, 1, 20] {
            if epochs > 0 {
                machine.connect(epochs);
            }
            let source = Repository::open(&a).unwrap();
            let chain = [&sealed, &objects, &plain_objects, &plain];
            let mut from = &source;
            for to in chain {
                let report = copied(from, to, &HOW);
                let Outcome::Copied { last_seq, .. } = *outcome(&report) else { panic!("copied") };
                assert_eq!(last_seq, machine.driver.seq, "seed {seed}");
                assert_eq!(*outcome(&copied(from, to, &HOW)), Outcome::UpToDate, "seed {seed}");
                from = to.repository();
            }
            assert_eq!(stream(&a), stream(&d), "seed {seed}");
            let [sealed, objects, plain_objects, plain] = chain.map(WritableRepository::repository);
            let all = [&source, sealed, objects, plain_objects, plain];
            same_images(&all, &mut machine);
        }
        drop(plain);
        same_points(&a, &d, &mut machine);
    }
}

#[test]
fn entries_that_became_void_and_takeovers_are_not_copied() {
    for seed in 0..4 {
        let dir = scratch();
        let key = KeySource::KeyFile(dir.path().join("key"));
        let store = FaultyStore::default();
        let key = if seed % 2 == 0 { KeySource::None } else { key };
        drop(WritableRepository::init_in_with(store.store(), ZSTD, &key).unwrap());
        let server = || WritableRepository::open_in_with(store.store(), &key).unwrap();
        let target = common::repository(&dir.path().join("target"));
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut driver = Driver::default();
        let mut frames = history(&mut driver);
        for round in 0..6 {
            let mut connection = Connection::open(&server());
            for frame in frames.drain(..) {
                connection.store(&frame).unwrap();
            }
            // A part of an epoch, which the next server makes void.
            let mut lost = driver.clone();
            let before = segments(&store).len();
            while segments(&store).len() < before + 2 {
                let mut write = vec![0; usize::try_from(BLOCK).unwrap()];
                rng.fill(&mut write);
                let record = lost.data(snapless_types::RecordKind::Write, 0, &write);
                connection.store(&record).unwrap();
            }
            if round % 2 == 0 {
                copied(server().repository(), &target, &HOW);
            }
            // Some that store nothing.
            for _ in 0..rng.u64(1..4) {
                Connection::open(&server()).close();
            }
            for byte in 0..rng.u8(1..8) {
                frames.push([driver.write(BLOCK, 5 * SECTOR, byte), driver.epoch_end()].concat());
            }
        }
        let source = server();
        copied(source.repository(), &target, &HOW);
        let end = driver.tick;
        let times = (0..20).map(|_| At::Time(FileTime::new(common::T0 + rng.u64(0..=end))));
        for at in times.chain([At::T0, At::Latest]) {
            let [want, found] = [&source, &target].map(|it| image_in(it.repository(), at));
            assert!(want == found, "seed {seed}: {at:?}");
        }
        let last = object_stream::image(source.repository(), At::Latest);
        assert!(Some(last) == image_in(target.repository(), At::Latest));
        assert_eq!(*outcome(&copied(source.repository(), &target, &HOW)), Outcome::UpToDate);
    }
}

#[test]
fn an_upgrade_among_objects_makes_the_state_once() {
    let store = FaultyStore::default();
    let mut driver = Driver::default();
    let mut connection = Connection::open(&store.repository());
    for frame in history(&mut driver) {
        connection.store(&frame).unwrap();
    }
    // It ends without a word.
    drop(connection);
    let made = || {
        let repository = store.repository();
        let report =
            upgrade(&repository, (1 << 20, 1 << 30), &StopFlag::default(), |_, _| {}).unwrap();
        assert_eq!(report.failed, []);
        report.made
    };
    assert!(matches!(made()[..], [Made { indices: 0, state: true, .. }]));
    let before = segments(&store);
    assert_eq!(made(), []);
    assert_eq!(segments(&store), before, "no session is taken over for nothing");
}

fn run(server: &S3Server, args: &[&str]) -> Output {
    server.program().args(args).output().unwrap()
}

#[track_caller]
fn says(output: &Output, code: i32, part: &str) {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    assert_eq!(output.status.code(), Some(code), "{out}{err}");
    assert!(out.contains(part) || err.contains(part), "{part}: {out}{err}");
}

#[test]
fn the_program_copies_exports_and_imports_with_urls_and_keys() {
    let (dir, server) = (scratch(), S3Server::start());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let [a, disk, b, key, shipped] = ["a", "disk", "b", "key", "shipped"].map(path);
    let mut machine = Machine::new(Path::new(&a).to_owned(), 1);
    machine.sync();
    machine.connect(10);
    let run = |args: &[&str]| run(&server, args);
    let encryption = format!("key-file={key}");
    says(&run(&["init", "--encryption", &encryption, "--compression", "zstd", URL]), 0, "made");
    let into = ["copy", "--all", "--repository", &a, "--to", URL];
    says(&run(&into), 1, "--key-file");
    let into = [&into[..], &["--to-key-file", &key]].concat();
    says(&run(&[&into[..], &["--dry-run"]].concat()), 0, "nothing was changed");
    says(&run(&into), 0, "copied");
    says(&run(&into), 0, "up to date");
    let itself = ["copy", "--all", "--repository", URL, "--key-file", &key, "--to", URL];
    says(&run(&[&itself[..], &["--to-key-file", &key]].concat()), 1, "both source and target");

    // From there to a disk, encrypted with another key.
    let encryption = format!("key-file={shipped}");
    let export = ["export", "--all", "--repository", URL, "--to", &disk];
    let export = [&export[..], &["--encryption", &encryption, "--compression", "zstd"]].concat();
    says(&run(&export), 1, "--key-file");
    let export = [&export[..], &["--key-file", &key]].concat();
    let done = run(&export);
    says(&done, 0, "--from-key-file PATH");
    says(&done, 0, "keep a copy elsewhere");
    says(&run(&export), 0, "up to date");
    let inside = format!("key-file={disk}2/key");
    let bad = ["export", &VOLUME.to_string(), "--repository", &a, "--encryption", &inside, "--to"];
    says(&run(&[&bad[..], &[&format!("{disk}2")]].concat()), 1, "is in the repository");

    says(&run(&["init", &b]), 0, "made");
    let import = ["import", "--from", &disk, "--repository", &b];
    says(&run(&import), 1, "--key-file");
    let import = [&import[..], &["--from-key-file", &shipped]].concat();
    says(&run(&import), 0, &format!("an export of {URL}"));
    assert_eq!(common::repository(Path::new(&b)).repository().volumes().unwrap(), [VOLUME]);
    same_points(Path::new(&a), Path::new(&b), &mut machine);
    let upgrade = ["upgrade", "--repository", URL, "--key-file", &key];
    says(&run(&upgrade), 0, "nothing to do");
    says(
        &run(&["export", "--all", "--repository", &b, "--to", "s3://bucket/export"]),
        0,
        "complete",
    );
    says(&run(&["import", "--from", "s3://bucket/export", "--repository", &a]), 0, "up to date");
}
