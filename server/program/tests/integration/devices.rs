//! Restores to block devices. They need loop devices, which only root makes, and not in every
//! container: a test that cannot run says so.
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{self, BLOCK, Driver, LENGTH, Process, Stored, VOLUME, base_image};
use snapless_server::against::compare;
use snapless_server::error::Error;
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Report, Request, Source, Stage, restore};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_types::RecordKind;

const MARK: &[u8] = b"SNAPLESS: HALF RESTORED\n";
/// A bound against hangs only.
const PATIENCE: Duration = Duration::from_mins(1);

/// Lets one test run at a time, of all processes, until what it returns is dropped: a process that
/// another one starts has, until it has begun, the devices open that this one closes.
pub(crate) fn alone() -> File {
    let lock = File::create(std::env::temp_dir().join("snapless-test-loop-devices.lock")).unwrap();
    lock.lock().unwrap();
    lock
}

/// A loop device; detached when dropped, unless it was before: its name may be another's by then.
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
    is_attached: bool,
    backing: tempfile::NamedTempFile,
}

impl Loop {
    /// A device of this length, full of nines as far as `full` reaches; `None`, with a word, where
    /// there are none.
    pub(crate) fn new(length: u64, full: usize, sector_size: u32) -> Option<Self> {
        let backing = tempfile::NamedTempFile::new().unwrap();
        fs::write(backing.path(), vec![9; full]).unwrap();
        backing.as_file().set_len(length).unwrap();
        let mut command = Command::new("losetup");
        command.args(["--find", "--show", "--sector-size", &sector_size.to_string()]);
        let made = command.arg(backing.path()).output();
        let Some(made) = made.ok().filter(|made| made.status.success()) else {
            // Past the harness, which shows nothing of a test that passes.
            drop(writeln!(io::stderr(), "skipped: no loop device can be made here"));
            return None;
        };
        let device = String::from_utf8(made.stdout).unwrap().trim().into();
        Some(Self { device, is_attached: true, backing })
    }

    fn detach(&mut self) -> bool {
        self.is_attached = false;
        let status = Command::new("losetup").arg("--detach").arg(&self.device).status();
        status.is_ok_and(|status| status.success())
    }

    pub(crate) fn content(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut file = File::open(&self.device).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes).unwrap();
        bytes
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        let mut file = File::options().write(true).open(&self.device).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_all().unwrap();
    }

    /// What has reached the backing file.
    pub(crate) fn is_marked(&self) -> bool {
        let mut start = vec![0; MARK.len()];
        self.backing.reopen().unwrap().read_exact(&mut start).unwrap();
        start == MARK
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if self.is_attached {
            self.detach();
        }
    }
}

fn request(to: &Path, force: bool, other_sector_size: bool) -> Request {
    let source = Source { volume: VOLUME, session: None, at: At::T0 };
    Request { source, to: to.to_owned(), force, other_sector_size }
}

fn restored(root: &Path, request: &Request) -> Result<Report, Error> {
    restore(&Repository::open(root)?, request, &StopFlag::default(), |_| {})
}

/// The program's `restore --at t0 --force`.
fn program(root: &Path, to: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_snapless-server"));
    command.args(["restore", "--force", "--at", "t0", "--volume", &VOLUME.to_string()]);
    command.arg("--repository").arg(root).arg("--to").arg(to);
    command
}

#[test]
fn a_device_is_written_in_place_and_only_with_force() {
    let _alone = alone();
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let Some(device) = Loop::new(1 << 20, 1 << 20, 512) else { return };
    let refused = restored(&stored.root, &request(&device.device, false, false));
    assert!(matches!(refused, Err(Error::TargetExists(_))));
    assert_eq!(device.content(0, 512), [9; 512]);
    // By a link, as udev makes them.
    let link = stored.dir.path().join("by-id");
    std::os::unix::fs::symlink(&device.device, &link).unwrap();
    restored(&stored.root, &request(&link, true, false)).unwrap();
    let image = base_image();
    assert!(device.content(0, image.len()) == image);
    assert_eq!(device.content(LENGTH, 512), [9; 512], "what is past the volume stays");
}

#[test]
fn a_device_takes_no_virtual_disk_and_can_be_compared_with_a_point() {
    let _alone = alone();
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let Some(device) = Loop::new(1 << 20, 1 << 20, 512) else { return };
    let disk = program(&stored.root, &device.device).args(["--format", "vhdx"]).output().unwrap();
    let said = String::from_utf8_lossy(&disk.stderr);
    assert!(disk.status.code() == Some(1) && said.contains("--format raw"), "{said}");
    assert_eq!(device.content(0, 4096), [9; 4096]);
    restored(&stored.root, &request(&device.device, true, false)).unwrap();
    let repository = Repository::open(&stored.root).unwrap();
    let (source, stop) = (request(&device.device, true, false).source, StopFlag::default());
    let found = Found::find(&repository, &source, &stop).unwrap();
    let point = found.open(&stop, |_| {}).unwrap();
    let report = compare(&found, &point, &device.device, &stop, |_| {}).unwrap();
    assert!(report.is_same(), "{report:?}");
    assert_eq!(report.file_bytes, 1 << 20);
}

#[test]
fn a_device_that_is_too_short_or_in_use_is_refused_before_it_changes() {
    let _alone = alone();
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let Some(short) = Loop::new(LENGTH - 512, 4096, 512) else { return };
    let refused = restored(&stored.root, &request(&short.device, true, false));
    assert!(matches!(refused, Err(Error::TargetTooShort { .. })), "{refused:?}");
    assert_eq!(short.content(0, 4096), [9; 4096]);

    let Some(used) = Loop::new(1 << 20, 4096, 512) else { return };
    let exclusive = i32::try_from(rustix::fs::OFlags::EXCL.bits()).unwrap();
    let other = {
        use std::os::unix::fs::OpenOptionsExt;
        fs::OpenOptions::new().write(true).custom_flags(exclusive).open(&used.device).unwrap()
    };
    let refused = restored(&stored.root, &request(&used.device, true, false)).unwrap_err();
    assert!(refused.to_string().contains("in use"), "{refused}");
    assert_eq!(used.content(0, 4096), [9; 4096]);
    drop(other);
}

#[test]
fn a_device_with_other_sectors_is_refused_without_the_flag_that_says_so() {
    let _alone = alone();
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let Some(device) = Loop::new(1 << 20, 4096, 4096) else { return };
    let refused = restored(&stored.root, &request(&device.device, true, false)).unwrap_err();
    let text = refused.to_string();
    let is_clear = ["4096", "512", "--other-sector-size"].iter().all(|part| text.contains(part));
    assert!(is_clear, "{text}");
    assert_eq!(device.content(0, 4096), [9; 4096]);
    let report = restored(&stored.root, &request(&device.device, true, true)).unwrap();
    assert_eq!(report.sector_size, 512);
    assert!(device.content(0, base_image().len()) == base_image());
}

#[test]
fn a_restore_that_fails_leaves_a_device_that_says_so_and_the_next_begins_anew() {
    let _alone = alone();
    let mut driver = Driver::default();
    let frames = [
        driver.start(),
        driver.blocks(0..4),
        // Zeros are made first of all.
        driver.zero(RecordKind::Block, 4 * BLOCK, LENGTH - 4 * BLOCK),
        [driver.base_complete(), driver.epoch_end()].concat(),
    ];
    let mut image = base_image();
    image[4 * usize::try_from(BLOCK).unwrap()..].fill(0);
    let dir = common::scratch();
    let root = dir.path().join("repository");
    common::ingest(&root, LENGTH, 1 << 20, &frames);
    let Some(device) = Loop::new(1 << 20, 1 << 20, 512) else { return };
    let stop = StopFlag::default();
    let repository = Repository::open(&root).unwrap();
    let wanted = request(&device.device, true, false);
    let stopped = restore(&repository, &wanted, &stop, |progress| {
        if progress.stage == Stage::Image && progress.done > 0 {
            stop.set();
        }
    });
    assert!(matches!(stopped, Err(Error::Stopped)), "{stopped:?}");
    assert!(device.is_marked());
    let done = program(&root, &device.device).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(done.status.success() && said.contains("begins anew"), "{said}");
    assert!(device.content(0, image.len()) == image);
    let done = program(&root, &device.device).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "it is no longer marked");
}

#[test]
fn sigterm_in_the_midst_of_a_restore_is_heard_and_the_device_is_marked() {
    /// Zeros, which take a while to write to a device.
    const LONG: u64 = 4 << 30;
    let _alone = alone();
    let mut driver = Driver::default();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let records = [
        driver.start(),
        driver.fill(RecordKind::Block, 0, BLOCK, 7),
        driver.plain(RecordKind::Unallocated, BLOCK, LONG - BLOCK),
        driver.base_complete(),
        driver.epoch_end(),
    ];
    common::ingest(&root, LONG, 1 << 20, &[records.concat()]);
    let Some(device) = Loop::new(LONG, 4096, 512) else { return };
    let mut command = program(&root, &device.device);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut running = Process(child);
    let begun = Instant::now();
    while !device.is_marked() {
        assert!(begun.elapsed() < PATIENCE, "the device is marked first of all");
        std::thread::sleep(Duration::from_millis(2));
    }
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(130), "{said}");
    assert!(said.contains("half restored"), "{said}");
    assert!(device.is_marked());
}

#[test]
fn a_file_behind_a_loop_device_is_not_replaced() {
    let _alone = alone();
    let stored = Stored::new(&[Driver::default().first_sync()]);
    let Some(mut device) = Loop::new(LENGTH, 0, 512) else { return };
    let folder = tempfile::tempdir().unwrap();
    let linked = folder.path().join("linked");
    std::os::unix::fs::symlink(device.backing.path(), &linked).unwrap();
    let repository = Repository::open(&stored.root).unwrap();
    let restore_to =
        |to: &Path| restore(&repository, &request(to, true, false), &StopFlag::default(), |_| {});
    for to in [device.backing.path(), &linked] {
        let refused = restore_to(to).unwrap_err().to_string();
        let name = device.device.to_str().unwrap();
        assert!(refused.contains(name) && refused.contains("losetup -d"), "{refused}");
    }
    let backing = device.backing.path().to_owned();
    assert!(device.detach());
    restore_to(&backing).unwrap();
    assert!(fs::read(&backing).unwrap() == base_image());
}
