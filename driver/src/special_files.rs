//! The special files on a volume: paging, hibernation and crash dump files, counted by usage
//! notifications.
//!
//! KMDF does the rest: a filter made by `WdfFdoInitSetFilter` takes every notification, sends it
//! down first, mirrors `DO_POWER_PAGABLE`, refuses the device's removal while a file is on it, and
//! undoes everything if a driver below refuses (Microsoft's KMDF, `fxpkgpnp.cpp`,
//! `PnpDeviceUsageNotification`). Its callback comes after all of that.

use core::sync::atomic::{AtomicU32, Ordering};

use snapless_wire::ioctl::{SPECIAL_FILE_DUMP, SPECIAL_FILE_HIBERNATION, SPECIAL_FILE_PAGING};
use wdk_sys::{_WDF_SPECIAL_FILE_TYPE as Kind, WDF_SPECIAL_FILE_TYPE};

/// How many files of each kind are on a volume.
#[derive(Default)]
pub struct SpecialFiles {
    paging: AtomicU32,
    hibernation: AtomicU32,
    dump: AtomicU32,
}

impl SpecialFiles {
    /// Notes that a file has come or gone. PASSIVE_LEVEL.
    pub fn note(&self, kind: WDF_SPECIAL_FILE_TYPE, in_path: bool) {
        let count = match kind {
            Kind::WdfSpecialFilePaging => &self.paging,
            Kind::WdfSpecialFileHibernation => &self.hibernation,
            Kind::WdfSpecialFileDump => &self.dump,
            // Irrelevant to a filter.
            _ => return,
        };
        // Relaxed: the count publishes no other memory. It does not fall below zero.
        let step = |count: u32| {
            Some(if in_path { count.saturating_add(1) } else { count.saturating_sub(1) })
        };
        let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// True while a paging file is there. Any IRQL.
    pub fn has_paging_file(&self) -> bool {
        // Relaxed: as above.
        self.paging.load(Ordering::Relaxed) > 0
    }

    /// Which kinds are there, as bits. Any IRQL.
    pub fn bits(&self) -> u32 {
        let kinds = [
            (&self.paging, SPECIAL_FILE_PAGING),
            (&self.hibernation, SPECIAL_FILE_HIBERNATION),
            (&self.dump, SPECIAL_FILE_DUMP),
        ];
        kinds.into_iter().fold(0, |bits, (count, bit)| {
            // Relaxed: as above.
            if count.load(Ordering::Relaxed) > 0 { bits | bit } else { bits }
        })
    }
}
