//! Reads that fail: by chance for reasons that pass, and over sectors that the medium lost.
//!
//! The rule: only reads of the driver's own fail, which have no file; applications read the image.
//! A failed read leaves rubbish in its memory. A write over a lost sector mends it, as disks take a
//! spare one then.

use alloc::collections::BTreeMap;
use core::sync::atomic::{AtomicU32, Ordering};

use nt::{irp::Irp, monitor::Monitor};
use protocol::ioctl::{FailedReads, LostSectors};
use wdk_sys::{
    NTSTATUS, STATUS_CRC_ERROR, STATUS_DEVICE_BUSY, STATUS_DEVICE_DATA_ERROR,
    STATUS_DEVICE_NOT_READY, STATUS_DEVICE_OFF_LINE, STATUS_FVE_LOCKED_VOLUME,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_IO_TIMEOUT,
};

use crate::config::SECTOR;

/// Reasons that pass.
const PASSING: [NTSTATUS; 6] = [
    STATUS_INSUFFICIENT_RESOURCES,
    STATUS_DEVICE_NOT_READY,
    STATUS_DEVICE_OFF_LINE,
    STATUS_DEVICE_BUSY,
    STATUS_IO_TIMEOUT,
    STATUS_FVE_LOCKED_VOLUME,
];
/// The medium's own.
const LOST: [NTSTATUS; 2] = [STATUS_DEVICE_DATA_ERROR, STATUS_CRC_ERROR];

/// How a read fails.
pub(crate) struct ReadFailure {
    pub(crate) status: NTSTATUS,
    /// How long the device tries before.
    pub(crate) delay_us: u32,
}

/// Which reads fail.
pub(crate) struct FailingReads {
    percent: AtomicU32,
    lost: Monitor<Lost>,
}

struct Lost {
    /// By sector, how long the device tries to read it, in milliseconds.
    sectors: BTreeMap<u64, u32>,
    failed: FailedReads,
}

impl FailingReads {
    /// None does.
    pub(crate) fn new() -> Self {
        let lost = Lost { sectors: BTreeMap::new(), failed: FailedReads::default() };
        Self { percent: AtomicU32::new(0), lost: Monitor::new(lost) }
    }

    /// Sets how many per cent of the reads fail for a reason that passes.
    pub(crate) fn set_percent(&self, percent: u32) {
        // Relaxed: independent of all else.
        self.percent.store(percent, Ordering::Relaxed);
    }

    /// The medium loses sectors.
    pub(crate) fn lose(&self, lost: LostSectors) {
        let numbers = sectors(lost.offset, lost.length);
        self.lost.lock().sectors.extend(numbers.map(|sector| (sector, lost.delay_ms)));
    }

    /// Mends sectors that are written.
    pub(crate) fn mend(&self, offset: u64, length: u64) {
        let mut lost = self.lost.lock();
        if !lost.sectors.is_empty() {
            let numbers = sectors(offset, length as u32);
            lost.sectors.retain(|sector, _| !numbers.contains(sector));
        }
    }

    /// How many reads have failed.
    pub(crate) fn failed(&self) -> FailedReads {
        self.lost.lock().failed
    }

    /// How this read fails, if it does; `roll` is a random number.
    pub(crate) fn failure(&self, irp: &Irp, roll: u32) -> Option<ReadFailure> {
        if !irp.file_object().is_null() {
            return None;
        }
        let (length, offset) = irp.transfer();
        let mut lost = self.lost.lock();
        let bad = lost.sectors.range(sectors(offset.cast_unsigned(), length)).next();
        if let Some((&sector, &delay_ms)) = bad {
            lost.failed.lost += 1;
            return Some(ReadFailure {
                status: LOST[sector as usize % LOST.len()],
                delay_us: delay_ms * 1000,
            });
        }
        // Relaxed: see `set_percent`.
        if roll % 100 >= self.percent.load(Ordering::Relaxed) {
            return None;
        }
        lost.failed.passing += 1;
        let status = PASSING[(roll / 100) as usize % PASSING.len()];
        Some(ReadFailure { status, delay_us: 0 })
    }
}

fn sectors(offset: u64, length: u32) -> core::ops::Range<u64> {
    let sector = u64::from(SECTOR);
    offset / sector..(offset + u64::from(length)).div_ceil(sector)
}
