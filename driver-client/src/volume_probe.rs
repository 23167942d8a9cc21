//! Measuring a volume of this machine.
//!
//! The counters are those of `IOCTL_DISK_PERFORMANCE`, which the volume manager answers for volumes
//! as the partition manager does for disks (docs: ntdddisk.h, `IOCTL_DISK_PERFORMANCE`); any access
//! is enough for it. Reads go past the system's cache (docs: `NtCreateFile`,
//! `FILE_NO_INTERMEDIATE_BUFFERING`, which is `FILE_FLAG_NO_BUFFERING` of `CreateFile`).

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use snapless_wire::ioctl::DeviceName;
use windows_strings::HSTRING;
use windows_sys::Win32::Storage::FileSystem::GetDiskFreeSpaceExW;
use windows_sys::Win32::System::Ioctl::{
    DISK_PERFORMANCE, GET_LENGTH_INFORMATION, IOCTL_DISK_GET_LENGTH_INFO, IOCTL_DISK_PERFORMANCE,
};

use crate::probe::{Probe, ProbeError, READ_GRANULE, READ_MAX, Written};
use crate::sectors::ReadAt;
use crate::volume::device_text;
use crate::volume_handle::VolumeHandle;

/// Alignment of the memory that is read into: that of the sectors of every disk.
const ALIGNMENT: usize = 4 << 10;

/// An open volume.
pub struct VolumeProbe {
    volume: VolumeHandle,
    device: DeviceName,
    /// Room for the longest read, wherever its alignment begins.
    room: RefCell<Vec<u8>>,
}

impl VolumeProbe {
    /// Opens the volume with this device name.
    pub fn open(device: &DeviceName) -> Result<Self, ProbeError> {
        let volume = VolumeHandle::open_unbuffered(device).map_err(ProbeError::Open)?;
        let room = RefCell::new(vec![0; READ_MAX + ALIGNMENT]);
        Ok(Self { volume, device: *device, room })
    }

    fn timed_read(&self, offset: u64, len: usize) -> io::Result<Duration> {
        let is_whole =
            offset.is_multiple_of(READ_GRANULE) && (len as u64).is_multiple_of(READ_GRANULE);
        let mut room = self.room.borrow_mut();
        let aligned = room.as_ptr().align_offset(ALIGNMENT);
        let end = aligned.checked_add(len).filter(|_| is_whole);
        let buffer =
            end.and_then(|end| room.get_mut(aligned..end)).ok_or(ErrorKind::InvalidInput)?;
        let begun = Instant::now();
        let read = self.volume.read_at(offset, buffer)?;
        let time = begun.elapsed();
        if read == len { Ok(time) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

impl Probe for VolumeProbe {
    fn length(&self) -> Result<u64, ProbeError> {
        let mut info = GET_LENGTH_INFORMATION::default();
        // SAFETY: the structure takes any bytes.
        let answer = unsafe { self.volume.device_control(IOCTL_DISK_GET_LENGTH_INFO, &mut info) };
        answer.and_then(|()| counted(info.Length)).map_err(ProbeError::Length)
    }

    fn used(&self) -> Result<u64, ProbeError> {
        free_space(&self.device)
            .and_then(|(total, free)| {
                let used = total.checked_sub(free);
                used.ok_or_else(|| io::Error::other("more is free than there is"))
            })
            .map_err(ProbeError::Used)
    }

    fn written(&self) -> Result<Written, ProbeError> {
        let mut counters = DISK_PERFORMANCE::default();
        // SAFETY: the structure takes any bytes.
        let answer = unsafe { self.volume.device_control(IOCTL_DISK_PERFORMANCE, &mut counters) };
        answer
            .and_then(|()| counted(counters.BytesWritten))
            .map(|bytes| Written { bytes, writes: counters.WriteCount })
            .map_err(ProbeError::Written)
    }

    fn read(&self, offset: u64, len: usize) -> Result<Duration, ProbeError> {
        let failed = |source| ProbeError::Read { offset, len, source };
        self.timed_read(offset, len).map_err(failed)
    }
}

fn counted(number: i64) -> io::Result<u64> {
    u64::try_from(number).map_err(|_| io::Error::other("the answer is a negative number"))
}

/// Bytes of the file system, and how many of them are free for all.
fn free_space(device: &DeviceName) -> io::Result<(u64, u64)> {
    let device = device_text(device).ok_or(ErrorKind::InvalidInput)?;
    let root = HSTRING::from(format!(r"\\?\GLOBALROOT{device}\"));
    let (mut to_caller, mut total, mut free) = (0, 0, 0);
    // SAFETY: `root` ends with a zero; it and the three numbers live until the call ends.
    let answered = unsafe {
        GetDiskFreeSpaceExW(root.as_ptr(), &raw mut to_caller, &raw mut total, &raw mut free)
    };
    if answered == 0 { Err(io::Error::last_os_error()) } else { Ok((total, free)) }
}
