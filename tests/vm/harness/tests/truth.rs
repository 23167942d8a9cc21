//! The truth of a file under load, with the real writer and a real NTFS.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::thread;

use snapless_e2e::ntfs;
use snapless_vm::truth::{Truth, read_log};
use snapless_writer::device::Device;
use snapless_writer::extent::Extent;
use snapless_writer::log::WriteLog;
use snapless_writer::regions::Regions;
use snapless_writer::worker::{self, Shared};

const SEED: u64 = 7;
const FILE: u64 = 8 << 20;
const WRITES: u64 = 400;

/// Loads a file by several threads, and puts it into an NTFS image as `load.bin`.
fn loaded(dir: &Path) -> (PathBuf, PathBuf) {
    let (file, log) = (dir.join("load.bin"), dir.join("writes.log"));
    fs::write(&file, vec![0; usize::try_from(FILE).unwrap()]).unwrap();
    let regions = Regions::new(vec![Extent::new(0, FILE).unwrap()]).unwrap();
    let shared = Shared::new(regions, SEED, None, WriteLog::create(&log).unwrap());
    thread::scope(|scope| {
        for thread in 1..=4 {
            let (shared, device) = (&shared, Device::open(&file).unwrap());
            scope.spawn(move || worker::run(shared, thread, device).unwrap());
        }
        while shared.writes.load(Ordering::Relaxed) < WRITES {
            thread::yield_now();
        }
        shared.stop.store(true, Ordering::Relaxed);
    });
    shared.log.flush().unwrap();

    let image = dir.join("volume.img");
    File::create(&image).unwrap().set_len(32 << 20).unwrap();
    run(Command::new("/sbin/mkntfs").args(["--fast", "--force", "--quiet"]).arg(&image));
    run(Command::new("ntfscp").arg("--force").arg(&image).arg(&file).arg("load.bin"));
    (image, log)
}

fn run(command: &mut Command) {
    let output = command.output().expect("the set-up installs ntfs-3g");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_file_that_took_every_write_agrees_with_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (image, log) = loaded(dir.path());
    let truth = Truth::new(read_log(&log).unwrap(), SEED);
    let agreement = truth.check(&image, "load.bin").unwrap().expect("they agree");
    assert_eq!(agreement.sectors, FILE / 512);
    assert!(agreement.written > 1000, "{agreement:?}");
    let missing = truth.check(&image, "other.bin").unwrap().unwrap_err();
    assert!(missing.contains("other.bin"), "{missing}");
}

#[test]
fn a_lost_write_a_torn_sector_and_a_write_that_never_was_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let (image, log) = loaded(dir.path());
    let mut writes = read_log(&log).unwrap();
    let check = |writes, image: &Path| Truth::new(writes, SEED).check(image, "load.bin").unwrap();

    // The log's last write of all was never replaced: without it the file has what never was.
    let last = writes.iter().max_by_key(|write| (write.submitted, write.completed)).copied();
    let last = last.unwrap();
    writes.retain(|write| write.id != last.id || write.zeros);
    if !last.zeros {
        let found = check(writes.clone(), &image).expect_err("a write that never was");
        assert!(found.contains("sector"), "{found}");
    }

    let first = ntfs::data_extents(&image, "load.bin").unwrap()[0].offset();
    let at = first + last.extent.offset();
    let disk = File::options().write(true).open(&image).unwrap();
    let all = read_log(&log).unwrap();
    let whole = fs::read(&image).unwrap();
    let byte = whole[usize::try_from(at + 100).unwrap()];
    disk.write_all_at(&[byte ^ 1], at + 100).unwrap();
    check(all.clone(), &image).expect_err("a torn sector");

    // What was there before: another sector's content.
    let elsewhere = &whole[usize::try_from(first).unwrap()..][..512];
    disk.write_all_at(elsewhere, at).unwrap();
    check(all, &image).expect_err("a lost write");
}
