//! Writes to a paging file: Wine has none, so a part of the volume stands for one.
//!
//! The rule: what lies there reaches the driver as the memory manager's writes do: marked as paging I/O, and
//! `FsRtlIsPagingFile` says so of its file while the driver looks at it.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nt::irp::Irp;
use nt::registry::Key;
use nt::unicode::Wide;
use nt::win32::{TLS_OUT_OF_INDEXES, TlsAlloc, TlsGetValue, TlsSetValue};
use wdk_sys::{FILE_OBJECT, IRP_MJ_WRITE, IRP_NOCACHE, IRP_PAGING_IO};

use crate::irql::{APC_LEVEL, require_at_most};

/// The value of the driver's `Parameters` key: where the paging file begins, in MiB. There is none if it is absent.
const VALUE: &str = "RigPagingFileFromMiB";
const NOWHERE: u64 = u64::MAX;

static BEGINS: AtomicU64 = AtomicU64::new(NOWHERE);
/// Where each thread keeps whether it is handing such a write to the driver.
static SLOT: AtomicU32 = AtomicU32::new(TLS_OUT_OF_INDEXES);

/// Reads the place for the driver that is being bound.
pub(crate) fn configure(registry_path: &Wide) {
    let begins = Key::open(&registry_path.with(r"\Parameters"))
        .and_then(|key| key.dword(&Wide::new(VALUE)))
        .map_or(NOWHERE, |mib| u64::from(mib) << 20);
    // Relaxed, here and below: read later, on threads that the binding started or that came after it.
    BEGINS.store(begins, Ordering::Relaxed);
    if SLOT.load(Ordering::Relaxed) == TLS_OUT_OF_INDEXES {
        // SAFETY: has no preconditions; drivers are bound one after the other.
        let slot = unsafe { TlsAlloc() };
        assert!(slot != TLS_OUT_OF_INDEXES, "the device process has no thread-local slot left");
        SLOT.store(slot, Ordering::Relaxed);
    }
}

/// A stretch of code in which the thread hands a write of the paging file to the driver.
#[must_use = "the file is an ordinary one again when this is dropped"]
pub(crate) struct Paging;

impl Paging {
    /// Marks the packet if it is such a write.
    pub(crate) fn begin(irp: &mut Irp) -> Option<Self> {
        let begins = BEGINS.load(Ordering::Relaxed);
        let write = u32::from(irp.function().0) == IRP_MJ_WRITE;
        if !write || u64::try_from(irp.transfer().1).is_ok_and(|offset| offset < begins) {
            return None;
        }
        irp.add_flags(IRP_PAGING_IO | IRP_NOCACHE);
        set(true);
        Some(Self)
    }
}

impl Drop for Paging {
    fn drop(&mut self) {
        set(false);
    }
}

fn set(paging: bool) {
    let slot = SLOT.load(Ordering::Relaxed);
    // SAFETY: allocated by `configure`.
    unsafe { TlsSetValue(slot, usize::from(paging) as *mut _) };
}

/// `FsRtlIsPagingFile`
pub(crate) unsafe extern "system" fn is_paging_file(_file: *mut FILE_OBJECT) -> u32 {
    require_at_most("FsRtlIsPagingFile", APC_LEVEL);
    let slot = SLOT.load(Ordering::Relaxed);
    // SAFETY: allocated by `configure`, before the driver could call this.
    u32::from(!unsafe { TlsGetValue(slot) }.is_null())
}
