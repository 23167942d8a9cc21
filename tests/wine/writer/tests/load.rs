//! The load against a file: replaying the log must give the file.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use snapless_writer::device::Device;
use snapless_writer::extent::Extent;
use snapless_writer::log::{self, WriteLog};
use snapless_writer::payload::Payload;
use snapless_writer::regions::Regions;
use snapless_writer::worker::{self, Shared};

const SEED: u64 = 11;
const VOLUME: usize = 8 << 20;

fn shared(dir: &Path, rate: Option<u64>) -> Shared {
    let regions = Regions::new(vec![Extent::new(1 << 20, 4 << 20).unwrap()]).unwrap();
    Shared::new(regions, SEED, rate, WriteLog::create(&dir.join("log")).unwrap())
}

/// The volume before any write: zeros where the load may write.
fn content() -> Vec<u8> {
    let mut content = vec![0xee; VOLUME];
    content[1 << 20..5 << 20].fill(0);
    content
}

fn volume(dir: &Path) -> Device {
    let path = dir.join("volume");
    std::fs::write(&path, content()).unwrap();
    Device::open(&path).unwrap()
}

fn run_for(shared: &Shared, device: Device, time: Duration) {
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| worker::run(shared, 1, device));
        std::thread::sleep(time);
        shared.stop.store(true, Ordering::Relaxed);
        worker.join().unwrap().unwrap();
    });
    shared.log.flush().unwrap();
}

#[test]
fn replaying_the_log_gives_the_volume() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path(), None);
    run_for(&shared, volume(dir.path()), Duration::from_millis(300));

    let writes = log::read(&dir.path().join("log")).unwrap();
    assert!(writes.len() > 20, "{} writes", writes.len());
    assert_eq!(writes.len() as u64, shared.writes.load(Ordering::Relaxed));
    let mut want = content();
    for write in writes {
        assert!(write.submitted <= write.completed);
        let at = usize::try_from(write.extent.offset()).unwrap();
        let bytes = &mut want[at..at + write.extent.size()];
        if write.zeros {
            bytes.fill(0);
        } else {
            Payload::new(SEED).fill(write.id, write.extent.offset(), bytes);
        }
    }
    assert!(want == std::fs::read(dir.path().join("volume")).unwrap());
}

#[test]
fn a_limited_load_keeps_its_pace() {
    let dir = tempfile::tempdir().unwrap();
    let shared = shared(dir.path(), Some(2 << 20));
    run_for(&shared, volume(dir.path()), Duration::from_millis(500));
    let bytes = shared.bytes.load(Ordering::Relaxed);
    assert!((1..6 << 20).contains(&bytes), "{bytes} bytes in half a second at 2 MiB/s");
}

#[test]
fn a_sector_that_was_never_written_ends_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("volume");
    std::fs::write(&path, vec![0xee; VOLUME]).unwrap();
    let shared = shared(dir.path(), None);
    let device = Device::open(&path).unwrap();
    let error = worker::run(&shared, 1, device).unwrap_err().to_string();
    assert!(error.contains("never written"), "{error}");
    assert!(shared.stop.load(Ordering::Relaxed));
}
