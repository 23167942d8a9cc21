//! Restores that go on after a stop, a failure or a kill, and those that must begin anew.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::common::{self, BLOCK, Driver, SESSION, VOLUME, program};
use crate::devices::{self, Loop};
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::format::slots::{SLOT_STRIDE, SLOTS_FILE_LEN};
use snapless_server::format::unfinished::Unfinished;
use snapless_server::repository::Repository;
use snapless_server::restore::{Report, Request, Source, Stage, restore, unfinished_source};
use snapless_server::stop::StopFlag;
use snapless_server::target::{CHECKPOINT_BYTES, left};
use snapless_server::timeline::At;
use snapless_types::RecordKind;

/// What is read at a time.
const WINDOW: u64 = 32 << 20;
const WINDOWS: u8 = 8;
pub(crate) const LENGTH: u64 = WINDOWS as u64 * WINDOW;
/// What the latest image has in place of a block of the one at t0.
const CHANGED: u64 = 5 * WINDOW;

/// A repository of a volume that has a block of content in each window, and a place for images.
struct Case {
    dir: tempfile::TempDir,
    root: PathBuf,
    folder: PathBuf,
}

impl Case {
    fn new() -> Self {
        let dir = common::scratch();
        let [root, folder] = ["repository", "images"].map(|name| dir.path().join(name));
        fs::create_dir(&folder).unwrap();
        store(&root);
        Self { dir, root, folder }
    }

    fn to(&self) -> PathBuf {
        self.folder.join("image")
    }

    /// Restores to [`Self::to`]; stops when so much is written.
    fn restored(&self, at: At, stop_at: u64) -> Result<Report, Error> {
        self.run(Source { volume: VOLUME, session: None, at }, stop_at)
    }

    fn run(&self, source: Source, stop_at: u64) -> Result<Report, Error> {
        let stop = StopFlag::default();
        let request = Request { source, to: self.to(), force: false, other_sector_size: false };
        restore(&Repository::open(&self.root)?, &request, &stop, |progress| {
            if progress.stage == Stage::Image && progress.done >= stop_at {
                stop.set();
            }
        })
    }

    /// Stops a restore of the image at t0, and returns the file that it leaves.
    fn interrupted(&self) -> PathBuf {
        let stopped = self.restored(At::T0, 6 * WINDOW);
        assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
        self.partial()
    }

    fn partial(&self) -> PathBuf {
        let names = names(&self.folder);
        let [name] = &names[..] else { panic!("one file: {names:?}") };
        assert!(name.ends_with(".partial"), "{name}");
        self.folder.join(name)
    }

    /// Restores the image at t0 to the end; returns how much was taken over.
    fn taken_over(&self) -> u64 {
        let report = self.restored(At::T0, u64::MAX).unwrap();
        assert!(fs::read(self.to()).unwrap() == image(At::T0), "the image is exact");
        fs::remove_file(self.to()).unwrap();
        report.taken_over
    }
}

/// Stores a volume that has a block of content in each window.
pub(crate) fn store(root: &Path) {
    let mut driver = Driver::default();
    let mut frames = Vec::new();
    for index in 0..WINDOWS {
        let at = u64::from(index) * WINDOW;
        let mut records = if index == 0 { driver.start() } else { Vec::new() };
        records.extend(driver.fill(RecordKind::Block, at, BLOCK, index + 1));
        records.extend(driver.plain(RecordKind::Unallocated, at + BLOCK, WINDOW - BLOCK));
        if index + 1 == WINDOWS {
            records.extend(driver.base_complete());
        }
        records.extend(driver.epoch_end());
        frames.push(records);
    }
    frames.push([driver.write(CHANGED, BLOCK, 0xee), driver.epoch_end()].concat());
    // Each epoch has a segment, and all but the last one an index.
    common::ingest(root, LENGTH, 1 << 10, &frames);
}

/// The image of [`store`].
pub(crate) fn image(at: At) -> Vec<u8> {
    let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
    for index in 0..WINDOWS {
        common::patch(&mut image, u64::from(index) * WINDOW, BLOCK, index + 1);
    }
    if matches!(at, At::Latest) {
        common::patch(&mut image, CHANGED, BLOCK, 0xee);
    }
    image
}

fn names(dir: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let names = fs::read_dir(dir).unwrap().map(name);
    names.map(|name| name.into_string().unwrap()).collect()
}

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// The slots of an unfinished image.
fn slots(path: &Path) -> Vec<u8> {
    let mut slots = vec![0; SLOTS_FILE_LEN];
    open(path).read_exact_at(&mut slots, LENGTH).unwrap();
    slots
}

#[test]
fn a_restore_that_was_stopped_goes_on_at_its_last_checkpoint() {
    let case = Case::new();
    let partial = case.interrupted();
    let unfinished = Unfinished::read(&slots(&partial)).unwrap();
    assert!((CHECKPOINT_BYTES..=6 * WINDOW).contains(&unfinished.done), "{unfinished:?}");
    // It is stopped again, before its own first checkpoint.
    let again = case.restored(At::T0, 1);
    assert!(matches!(again, Err(Error::Stopped)), "{again:?}");
    assert_eq!(case.partial(), partial);
    // Of what is behind the checkpoint nothing is relied upon.
    open(&partial).write_all_at(&[0xff; 4096], unfinished.done + BLOCK).unwrap();
    let report = case.restored(At::T0, u64::MAX).unwrap();
    assert_eq!(report.taken_over, unfinished.done);
    let blocks = u64::from(WINDOWS) - unfinished.done / WINDOW;
    assert_eq!(report.bytes_written, blocks * BLOCK, "what is there is not written again");
    assert!(fs::read(case.to()).unwrap() == image(At::T0));
    assert_eq!(names(&case.folder), ["image"]);
}

#[test]
fn what_was_stopped_before_the_first_checkpoint_is_removed() {
    let case = Case::new();
    let stopped = case.restored(At::T0, 1);
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert_eq!(names(&case.folder).len(), 0);
}

#[test]
fn a_torn_slot_costs_one_checkpoint_and_two_begin_anew() {
    let case = Case::new();
    let partial = case.interrupted();
    let newest = Unfinished::read(&slots(&partial)).unwrap();
    // Older checkpoints, as a restore makes them one after the other.
    let older = Unfinished { done: WINDOW, generation: newest.generation - 1, ..newest.clone() };
    let place = |slot: &Unfinished| LENGTH + slot.slot_offset() as u64;
    open(&partial).write_all_at(&older.to_slot().unwrap(), place(&older)).unwrap();
    let file = fs::read(&partial).unwrap();
    let torn = |places: &[u64]| {
        let to = case.folder.join(partial.file_name().unwrap());
        fs::write(&to, &file).unwrap();
        fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
        for at in places {
            open(&to).write_all_at(&[0xff; 16], *at).unwrap();
        }
        let taken_over = case.taken_over();
        // What cannot be gone on with is removed by the program, not by the library.
        drop(fs::remove_file(&to));
        taken_over
    };
    assert_eq!(torn(&[]), newest.done);
    assert_eq!(torn(&[place(&newest) + 512]), WINDOW);
    assert_eq!(torn(&[place(&older) + 512]), newest.done);
    assert_eq!(torn(&[LENGTH, LENGTH + SLOT_STRIDE as u64]), 0);
}

#[test]
fn a_file_that_another_account_may_have_written_is_not_gone_on_with() {
    let case = Case::new();
    let partial = case.interrupted();
    let is_left = || !left::find(&case.to()).unwrap().is_empty();
    assert!(is_left());
    for mode in [0o620, 0o602] {
        fs::set_permissions(&partial, fs::Permissions::from_mode(mode)).unwrap();
        assert!(!is_left(), "{mode:o}");
    }
    fs::set_permissions(&partial, fs::Permissions::from_mode(0o600)).unwrap();
    fs::hard_link(&partial, case.dir.path().join("other")).unwrap();
    assert!(!is_left(), "it has another name");
    fs::remove_file(case.dir.path().join("other")).unwrap();
    assert!(is_left());
    // Only root gives files away.
    if std::os::unix::fs::chown(&partial, Some(1234), None).is_ok() {
        assert!(!is_left(), "it is another account's");
        assert_eq!(case.taken_over(), 0);
    }
}

#[test]
fn another_image_is_refused_until_the_left_one_is_resumed_or_discarded() {
    let case = Case::new();
    case.interrupted();
    let done = Unfinished::read(&slots(&case.partial())).unwrap().done;
    let refused = case.restored(At::Latest, u64::MAX).unwrap_err();
    let text = refused.to_string();
    for part in ["2020-01-01T00:00:00Z", "--resume", "--restart", &SESSION.to_string()] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let source = unfinished_source(&case.to(), VOLUME, None).unwrap();
    assert_eq!(case.run(source, u64::MAX).unwrap().taken_over, done);
    assert!(fs::read(case.to()).unwrap() == image(At::T0));
    fs::remove_file(case.to()).unwrap();
    let nothing = unfinished_source(&case.to(), VOLUME, None);
    assert!(matches!(nothing, Err(Error::NothingLeft { .. })), "{nothing:?}");

    case.interrupted();
    left::discard(&case.to()).unwrap();
    assert_eq!(case.restored(At::Latest, u64::MAX).unwrap().taken_over, 0);
    assert!(fs::read(case.to()).unwrap() == image(At::Latest));
}

#[test]
fn a_restore_that_meets_damage_goes_on_when_it_is_put_right() {
    let case = Case::new();
    // It has the last window's block.
    let name = format!("segment-{WINDOWS:08}.slseg");
    let segment = case.root.join(session_dir(VOLUME, SESSION)).join(name);
    let sound = fs::read(&segment).unwrap();
    let mut damaged = sound.clone();
    let at = damaged.windows(64).rposition(|bytes| bytes == [WINDOWS; 64]).unwrap();
    damaged[at] ^= 1;
    fs::write(&segment, damaged).unwrap();
    let failed = case.restored(At::T0, u64::MAX);
    assert!(matches!(failed, Err(Error::Damaged { .. })), "{failed:?}");
    case.partial();
    fs::write(&segment, sound).unwrap();
    assert!(case.taken_over() >= CHECKPOINT_BYTES);
}

#[test]
fn a_device_goes_on_unless_something_else_was_written_to_its_ends() {
    let _alone = devices::alone();
    let dir = common::scratch();
    let root = dir.path().join("repository");
    store(&root);
    let Some(device) = Loop::new(LENGTH + 4096, 4096, 512) else { return };
    let restored = |at, stop_at| {
        let stop = StopFlag::default();
        let source = Source { volume: VOLUME, session: None, at };
        let to = device.device.clone();
        let request = Request { source, to, force: true, other_sector_size: false };
        restore(&Repository::open(&root)?, &request, &stop, |progress| {
            if progress.stage == Stage::Image && progress.done >= stop_at {
                stop.set();
            }
        })
    };
    let interrupt = || {
        let stopped = restored(At::T0, 6 * WINDOW);
        assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
        assert!(device.is_marked());
        let left = left::find(&device.device).unwrap();
        let [left] = &left[..] else { panic!("{left:?}") };
        assert!((CHECKPOINT_BYTES..7 * WINDOW).contains(&left.done), "{left:?}");
        left.done
    };
    let is = |at| device.content(0, usize::try_from(LENGTH).unwrap()) == image(at);

    let done = interrupt();
    let refused = restored(At::Latest, u64::MAX);
    assert!(matches!(refused, Err(Error::Unfinished { .. })), "{refused:?}");
    let report = restored(At::T0, u64::MAX).unwrap();
    // The first MiB was kept back, and is made again.
    assert_eq!(report.taken_over, done - (1 << 20));
    assert!(is(At::T0));

    // As `mkfs`, `mdadm` and `sgdisk` would.
    for at in [1024, 4096, 64 << 10, LENGTH - 512] {
        interrupt();
        device.write(at, b"another program");
        assert_eq!(left::find(&device.device).unwrap(), [], "{at}");
        assert_eq!(restored(At::T0, u64::MAX).unwrap().taken_over, 0);
        assert!(is(At::T0), "{at}");
    }

    interrupt();
    left::discard(&device.device).unwrap();
    assert_eq!(restored(At::Latest, u64::MAX).unwrap().taken_over, 0);
    assert!(is(At::Latest));
}

/// The program's `restore` of the volume to the image.
fn run(case: &Case, more: &[&str]) -> std::process::Output {
    let mut command = program();
    command.args(["restore", "--volume", &VOLUME.to_string(), "--repository"]).arg(&case.root);
    command.arg("--to").arg(case.to()).args(more).output().unwrap()
}

#[test]
fn the_program_says_what_is_left_and_goes_on_with_it() {
    let case = Case::new();
    let partial = case.interrupted();
    let said = |done: &std::process::Output| {
        String::from_utf8([&done.stdout[..], &done.stderr[..]].concat()).unwrap()
    };
    // A restore beside it names it and leaves it.
    let to = case.folder.join("other");
    let mut other = program();
    other.args(["restore", "--volume", &VOLUME.to_string(), "--at", "t0", "--repository"]);
    let done = other.arg(&case.root).arg("--to").arg(&to).output().unwrap();
    assert!(done.status.success() && said(&done).contains("is a part of image"), "{}", said(&done));
    assert!(partial.exists());
    fs::remove_file(to).unwrap();

    let refused = run(&case, &["--at", "latest"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("--resume"), "{}", said(&refused));
    let both = run(&case, &["--at", "t0", "--resume"]);
    assert_eq!(both.status.code(), Some(2), "{}", said(&both));
    let done = run(&case, &["--resume"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("were there already"), "{}", said(&done));
    assert!(fs::read(case.to()).unwrap() == image(At::T0));
    fs::remove_file(case.to()).unwrap();
    let nothing = run(&case, &["--resume"]);
    assert!(
        nothing.status.code() == Some(1) && said(&nothing).contains("--at"),
        "{}",
        said(&nothing)
    );

    case.interrupted();
    let done = run(&case, &["--at", "latest", "--restart", "--json"]);
    assert!(done.status.success(), "{}", said(&done));
    let report: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!(report["taken_over"], 0);
    assert!(fs::read(case.to()).unwrap() == image(At::Latest));
    assert_eq!(names(&case.folder), ["image"]);
}
