//! Writes to a paging file: Wine has none, so a part of the volume stands for one.
//!
//! The rule: a write there reaches the driver as the memory manager's writes do: it is marked as
//! paging I/O, and `FsRtlIsPagingFile` is true for its file while the driver handles it.

use nt::{irp::Irp, thread::ThreadWord};
use wdk_sys::{FILE_OBJECT, IRP_MJ_WRITE, IRP_NOCACHE, IRP_PAGING_IO};

use crate::{
    irql::{APC_LEVEL, require_at_most},
    settings,
};

/// Whether the thread is handing a paging write to the driver.
static PAGING: ThreadWord = ThreadWord::new();

/// A stretch of code in which the thread hands a write of the paging file to the driver.
#[must_use = "the file is an ordinary one again when this is dropped"]
pub(crate) struct Paging;

impl Paging {
    /// Marks the packet if it is such a write.
    pub(crate) fn begin(irp: &mut Irp) -> Option<Self> {
        let begins = i64::from(settings::PAGING_FILE_FROM_MIB.get()) << 20;
        if u32::from(irp.function().0) != IRP_MJ_WRITE || irp.transfer().1 < begins {
            return None;
        }
        irp.add_flags(IRP_PAGING_IO | IRP_NOCACHE);
        PAGING.set(1);
        Some(Self)
    }
}

impl Drop for Paging {
    fn drop(&mut self) {
        PAGING.set(0);
    }
}

/// `FsRtlIsPagingFile`
pub(crate) unsafe extern "system" fn is_paging_file(_file: *mut FILE_OBJECT) -> u32 {
    require_at_most("FsRtlIsPagingFile", APC_LEVEL);
    u32::from(PAGING.get() != 0)
}
