//! The filter on each volume: attachment and PnP. Requests are in [`io_path`](crate::io_path).

use snapless_driver_logic::special_files::Usage;
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, STATUS_INVALID_DEVICE_STATE};

use crate::control;
use crate::framework::driver::Driver;
use crate::framework::filter_device::{DeviceInit, FilterDevice, PnpCallbacks};
use crate::globals;
use crate::io_path::{self, IoPath};
use crate::kernel::event::Event;
use crate::kernel::lower_device::LowerDevice;
use crate::kernel::shared::Shared;
use crate::state::VolumeState;
use crate::volume::Volume;

/// The PnP callbacks of a filter device.
struct Filter;

/// Attaches a filter to a volume that has arrived, unless `PassThrough` is set: then the driver is
/// in no request's way. PASSIVE_LEVEL.
///
/// Queries nothing from the volume: a query this early has reset machines at boot.
pub fn attach(driver: Driver, init: DeviceInit) -> Result<(), NTSTATUS> {
    let globals = globals::get().ok_or(STATUS_INVALID_DEVICE_STATE)?;
    if globals.settings.limits.pass_through {
        return Ok(());
    }
    let preprocess = !globals.settings.starts_failed();
    let filter = FilterDevice::create::<Filter, IoPath>(init, preprocess)?;
    let lower = filter.lower_device().ok_or(STATUS_INVALID_DEVICE_STATE)?;
    let loader = globals.boot.loader().filter(|_| preprocess);
    let volume = new_volume(lower, loader).ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    globals.volumes.add(volume.clone())?;
    filter.set_volume(volume);
    globals.volume_arrived(|| control::create(driver))
}

#[inline(never)] // It is on the stack only while it is made.
fn new_volume(lower: LowerDevice, loader: Option<Shared<Event>>) -> Option<Shared<Volume>> {
    let state = VolumeState::new(io_path::release, loader)?;
    Volume::new(lower, state).and_then(Shared::new)
}

impl PnpCallbacks for Filter {
    type Volume = Volume;

    fn usage_notified(volume: &Volume, usage: Usage) {
        volume.special_files.note(usage);
    }

    /// A file system that has the volume open may wait for a write that we hold, and the removal
    /// waits for the file system: the session ends now. Nothing is waited for: the drivers below
    /// complete what is in flight when they learn of the removal, which is after us.
    fn surprise_removal(volume: &Volume) {
        volume.surprise_remove();
    }

    fn self_managed_io_cleanup(volume: &Volume) {
        volume.remove();
    }

    fn cleanup(volume: &Volume) {
        volume.remove();
        volume.close();
        if let Some(globals) = globals::get() {
            globals.volumes.remove(volume);
            globals.volume_left();
        }
    }
}
