//! A volume of Windows as a target: checked, locked and dismounted before the first write, and
//! offline until the restore is over.
//!
//! The lock keeps every other program from opening the volume, and fails while one has a file open
//! on it, paging files included (docs: `FSCTL_LOCK_VOLUME`). After `FSCTL_DISMOUNT_VOLUME` no file
//! system keeps anything of it in memory. Closing the handle unlocks the volume; the next access
//! mounts what is there then. Reads and writes go past the system's cache, from aligned memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::thread;
use std::time::Duration;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_NO_BUFFERING, FILE_FLAG_WRITE_THROUGH, FILE_SHARE_READ, FILE_SHARE_WRITE,
};
use windows_sys::Win32::System::Ioctl::{
    DISK_GEOMETRY, FSCTL_ALLOW_EXTENDED_DASD_IO, FSCTL_DISMOUNT_VOLUME, FSCTL_LOCK_VOLUME,
    GET_LENGTH_INFORMATION, IOCTL_DISK_GET_DRIVE_GEOMETRY, IOCTL_DISK_GET_LENGTH_INFO,
};
use windows_sys::Win32::System::SystemInformation::GetSystemWindowsDirectoryW;

use crate::device::{ask, control};
use crate::disk::Disk;
use crate::error::RestoreError;
use crate::place::{read_exact_at, write_all_at};

/// Alignment of memory that is read into and written from: that of the sectors of every disk.
const ALIGNMENT: usize = 4 << 10;
/// How often a lock is tried, and the pause between: a scanner may have the volume open for a
/// moment.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(250);

/// A volume that is held offline.
#[derive(Debug)]
pub struct Volume {
    file: File,
    name: String,
}

impl Volume {
    /// Opens the volume with this device name (`\Device\…`), checks that a volume of this length
    /// fits, with sectors of any size or of this one, and takes it offline. `name` is for people.
    ///
    /// # Errors
    /// [`RestoreError::TooShort`], [`RestoreError::OtherSectors`], [`RestoreError::Unfit`] if
    /// another program uses it, or the system's error. Nothing has changed then.
    pub fn open(
        device: &str,
        name: &str,
        length: u64,
        sector_size: Option<u32>,
    ) -> Result<Self, RestoreError> {
        let failed = |action| RestoreError::disk(action, name);
        let target = name.to_owned();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE)
            .custom_flags(FILE_FLAG_NO_BUFFERING | FILE_FLAG_WRITE_THROUGH)
            .open(format!(r"\\?\GLOBALROOT{device}"))
            .map_err(failed("open"))?;
        let mut info = GET_LENGTH_INFORMATION::default();
        // SAFETY: the structure takes any bytes.
        unsafe { ask(&file, IOCTL_DISK_GET_LENGTH_INFO, &mut info) }.map_err(failed("size"))?;
        let have = u64::try_from(info.Length).unwrap_or(0);
        if have < length {
            return Err(RestoreError::TooShort { target, have, need: length });
        }
        let mut geometry = DISK_GEOMETRY::default();
        // SAFETY: the structure takes any bytes.
        unsafe { ask(&file, IOCTL_DISK_GET_DRIVE_GEOMETRY, &mut geometry) }
            .map_err(failed("ask for the sectors of"))?;
        let have = geometry.BytesPerSector;
        if let Some(need) = sector_size.filter(|need| *need != have) {
            return Err(RestoreError::OtherSectors { target, have, need });
        }
        if have == 0 || !length.is_multiple_of(have.into()) {
            let why = format!("its sectors have {have} bytes, which {length} is no multiple of");
            return Err(RestoreError::Unfit { target, why });
        }
        lock(&file).map_err(|why| RestoreError::Unfit {
            target,
            why: format!(
                "another program has it open, or a file on it ({why}): close what uses it, or \
                 restore to another volume or to a file"
            ),
        })?;
        control(&file, FSCTL_DISMOUNT_VOLUME).map_err(failed("dismount"))?;
        // Without a file system there is nothing that ends before the volume does.
        drop(control(&file, FSCTL_ALLOW_EXTENDED_DASD_IO));
        Ok(Self { file, name: name.to_owned() })
    }
}

impl Disk for Volume {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_blank(&self) -> bool {
        false
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let mut room = Aligned::new(bytes.len());
        read_exact_at(&self.file, offset, room.bytes())?;
        bytes.copy_from_slice(room.bytes());
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut room = Aligned::new(bytes.len());
        room.bytes().copy_from_slice(bytes);
        write_all_at(&self.file, offset, room.bytes())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// The letter of the drive that Windows runs from, in upper case.
pub fn system_drive() -> Option<char> {
    let mut path = [0_u16; 300];
    let room = u32::try_from(path.len()).unwrap_or(0);
    // SAFETY: the buffer is writable for as many characters.
    let len = unsafe { GetSystemWindowsDirectoryW(path.as_mut_ptr(), room) };
    let is_whole = (1..room).contains(&len);
    let letter = char::from_u32(path[0].into()).map(|letter| letter.to_ascii_uppercase());
    letter.filter(|letter| is_whole && letter.is_ascii_uppercase())
}

fn lock(file: &File) -> io::Result<()> {
    let mut tried = 1;
    loop {
        match control(file, FSCTL_LOCK_VOLUME) {
            Err(_) if tried < LOCK_TRIES => {}
            locked => return locked,
        }
        tried += 1;
        thread::sleep(LOCK_PAUSE);
    }
}

/// Memory at a multiple of [`ALIGNMENT`].
struct Aligned {
    room: Vec<u8>,
    start: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Self {
        let room = vec![0; len + ALIGNMENT];
        // Below ALIGNMENT for bytes.
        let start = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { room, start, len }
    }

    fn bytes(&mut self) -> &mut [u8] {
        &mut self.room[self.start..][..self.len]
    }
}
