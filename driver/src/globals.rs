//! What belongs to the driver as a whole: the volumes, the settings, the control device.
//!
//! The control device exists while there is a volume: the framework does not unload a driver that
//! still has a device, and the control device has to be deleted last.

use core::sync::atomic::{AtomicU32, Ordering};

use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES};

use crate::boot_thread::BootThread;
use crate::claiming::Claiming;
use crate::framework::control_device::ControlDevice;
use crate::framework::queue::Queue;
use crate::kernel::global::{Global, Unloading};
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::power::PowerNotices;
use crate::settings::DriverSettings;
use crate::volume_list::VolumeList;

/// The driver's state between load and unload.
pub struct Globals {
    /// The volumes.
    pub volumes: VolumeList,
    /// The handles that are about to claim a session.
    pub claiming: Claiming,
    /// The settings at the time of load.
    pub settings: DriverSettings,
    /// The thread that reads the volumes' state areas.
    pub boot: BootThread,
    /// The system's notices of sleep.
    pub power: PassiveLock<Option<PowerNotices>>,
    shutdowns: AtomicU32,
    control: PassiveLock<ControlState>,
}

struct ControlState {
    device: Option<ControlDevice>,
    volumes: usize,
}

static GLOBALS: Global<Globals> = Global::new();

/// Creates the state, once. PASSIVE_LEVEL.
pub fn create(settings: DriverSettings) -> Result<(), NTSTATUS> {
    let control = PassiveLock::new(ControlState { device: None, volumes: 0 });
    let (Some(control), Some(volumes), Some(claiming), Some(boot), Some(power)) =
        (control, VolumeList::new(), Claiming::new(), BootThread::new(), PassiveLock::new(None))
    else {
        return Err(STATUS_INSUFFICIENT_RESOURCES);
    };
    let shutdowns = AtomicU32::new(0);
    let globals = Globals { volumes, claiming, settings, boot, power, shutdowns, control };
    GLOBALS.set(globals).map_err(|_| STATUS_INSUFFICIENT_RESOURCES)
}

/// The state; `None` before load and after unload. IRQL <= DISPATCH_LEVEL.
pub fn get() -> Option<&'static Globals> {
    GLOBALS.get()
}

/// Frees the state. PASSIVE_LEVEL.
pub fn destroy(unloading: &Unloading) {
    GLOBALS.clear(unloading);
}

impl Globals {
    /// Notes that the system shuts down; true if this may be the last chance: every notice but the
    /// first one. A control device that was made after that does not get it again. PASSIVE_LEVEL.
    pub fn note_shutdown(&self) -> bool {
        // Relaxed: the system sends the notices one after the other.
        self.shutdowns.fetch_add(1, Ordering::Relaxed) > 0
    }

    /// Notes a new volume; the first one creates the control device. PASSIVE_LEVEL.
    pub fn volume_arrived(
        &self,
        create: impl FnOnce() -> Result<ControlDevice, NTSTATUS>,
    ) -> Result<(), NTSTATUS> {
        self.control.with(|state| {
            if state.device.is_none() {
                state.device = Some(create()?);
            }
            state.volumes = state.volumes.saturating_add(1);
            Ok(())
        })
    }

    /// The queue of drain requests; `None` while there is no control device. PASSIVE_LEVEL.
    pub fn drains(&self) -> Option<Queue> {
        self.control.with(|state| state.device.as_ref().map(ControlDevice::pended))
    }

    /// Notes that a volume is gone; the last one deletes the control device. PASSIVE_LEVEL.
    pub fn volume_left(&self) {
        let last = self.control.with(|state| {
            state.volumes = state.volumes.saturating_sub(1);
            if state.volumes == 0 { state.device.take() } else { None }
        });
        if let Some(control) = last {
            control.delete();
        }
    }
}
