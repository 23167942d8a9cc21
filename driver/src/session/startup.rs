//! What a session is started with.

use alloc::vec::Vec;

use snapless_types::Extent;
use snapless_wire::ioctl::{EXCLUDED_MAX, ExcludedExtents, StartSettings};

use crate::kernel::reserved;
use crate::kernel::shared::Shared;

/// What a session is started with: by the service, or by the driver when the machine comes up.
pub struct Startup {
    /// Its settings.
    pub settings: StartSettings,
    /// The extents of paging, swap and hibernation files: ascending, and apart from each other.
    pub excluded: Vec<Extent>,
}

impl Startup {
    /// These, with the extents of a request that was checked; `None` if there is no memory.
    /// IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // It is on the stack only while it is made.
    pub fn new(settings: StartSettings, excluded: &ExcludedExtents) -> Option<Shared<Self>> {
        let excluded = reserved::collect(EXCLUDED_MAX, excluded.iter())?;
        Shared::new(Self { settings, excluded })
    }

    /// The same with other settings; `None` if there is no memory. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // As above.
    pub fn with_settings(&self, settings: StartSettings) -> Option<Shared<Self>> {
        let excluded = reserved::collect(EXCLUDED_MAX, self.excluded.iter().copied())?;
        Shared::new(Self { settings, excluded })
    }
}
