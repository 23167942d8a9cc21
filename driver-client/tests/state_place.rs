//! The place of a session's state on a real NTFS, made by the tools of ntfs-3g.
#![cfg(unix)]

use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::Command;

use snapless_driver_client::state_place::{NoPlace, STATE_FILE, StatePlace, blank_area};
use snapless_types::Extent;
use snapless_wire::id::AreaId;
use snapless_wire::state_area::AREA_LEN;
use tempfile::TempDir;

const ID: AreaId = AreaId([7; 16]);

struct Volume {
    folder: TempDir,
    image: PathBuf,
}

impl Volume {
    fn make(sector_size: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let image = folder.path().join("volume.img");
        File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run(Command::new("mkntfs").args(["-F", "-Q", "-q", "-s", sector_size]).arg(&image));
        Self { folder, image }
    }

    /// Puts the file into the root folder.
    fn put(&self, content: &[u8]) {
        let source = self.folder.path().join("source");
        File::create(&source).unwrap().write_all(content).unwrap();
        run(Command::new("ntfscp").args(["-f", "-q"]).args([&self.image, &source]).arg(STATE_FILE));
    }

    fn find(&self) -> Result<StatePlace, NoPlace> {
        StatePlace::find(&mut BufReader::new(File::open(&self.image).unwrap()))
    }

    fn read(&self, extent: &Extent) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(extent.len()).unwrap()];
        File::open(&self.image).unwrap().read_exact_at(&mut bytes, extent.offset()).unwrap();
        bytes
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("`cargo xtask setup` installs ntfs-3g");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn blank() -> Vec<u8> {
    blank_area(ID)
}

#[test]
fn the_area_and_what_each_writer_changes_are_found_on_the_disk() {
    for sector_size in ["512", "4096"] {
        let volume = Volume::make(sector_size);
        assert!(matches!(volume.find(), Err(NoPlace::NoFile)));
        volume.put(&blank());
        let place = volume.find().unwrap();
        let area = Extent::new(place.offset, AREA_LEN as u64).unwrap();
        assert_eq!((place.id, volume.read(&area)), (ID, blank()));
        let [boot_sector, log, records] = &place.stamp[..] else { panic!("{:?}", place.stamp) };
        assert_eq!(&volume.read(boot_sector)[3..7], b"NTFS");
        // Made by `mkntfs`, the log is empty; Windows writes its restart pages there.
        assert!(log.len() == 8192 && volume.read(log).iter().all(|byte| *byte == 0xff));
        let records = volume.read(records);
        let record = records.len() / 3;
        assert!(records.chunks_exact(record).all(|one| one.starts_with(b"FILE")));
        // `$VOLUME_INFORMATION`, with the bit that says whether the volume is dirty.
        assert!(records[..record].windows(4).any(|it| it == 0x70_u32.to_le_bytes()));
        let request = place.request().unwrap();
        assert_eq!((request.area(), request.extent()), (ID, Some(area)));
        assert_eq!(request.stamp().iter().collect::<Vec<_>>(), place.stamp);
    }
}

#[test]
fn a_file_that_is_no_area_is_no_place() {
    let volume = Volume::make("512");
    for other in [vec![0; AREA_LEN], blank()[..AREA_LEN - 1].to_vec(), b"short".to_vec()] {
        volume.put(&other);
        assert!(matches!(volume.find(), Err(NoPlace::NoFile)));
    }
}

#[test]
fn what_is_no_ntfs_or_a_damaged_one_has_no_place() {
    let volume = Volume::make("512");
    volume.put(&blank());
    let image = File::options().write(true).open(&volume.image).unwrap();
    let records = volume.find().unwrap().stamp[2];
    // The root folder's record.
    image.write_all_at(&[0; 64], records.end() - records.len() / 3).unwrap();
    assert!(matches!(volume.find(), Err(NoPlace::Unreadable(_))));
    image.write_all_at(&[0; 512], 0).unwrap();
    assert!(matches!(volume.find(), Err(NoPlace::NotNtfs)));
    image.set_len(3).unwrap();
    assert!(matches!(volume.find(), Err(NoPlace::Unreadable(_))));
}
