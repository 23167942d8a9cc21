//! What belongs to the driver as a whole: the volumes, and the control device.
//!
//! The control device is there while there is a volume: the framework does not let a driver unload that still
//! has a device, and the control device has to go last.

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use alloc::boxed::Box;
use wdk_sys::{NTSTATUS, STATUS_INSUFFICIENT_RESOURCES, WDFDRIVER};

use crate::control::Control;
use crate::framework::queue::Queue;
use crate::kernel::passive_lock::PassiveLock;
use crate::kernel::reserved;
use crate::registry::Registry;
use crate::settings::DriverSettings;

/// The driver's state between load and unload.
pub struct Globals {
    /// The volumes.
    pub registry: Registry,
    /// What the registry said when the driver was loaded.
    pub settings: DriverSettings,
    control: PassiveLock<ControlState>,
}

struct ControlState {
    device: Option<Control>,
    volumes: usize,
}

static GLOBALS: AtomicPtr<Globals> = AtomicPtr::new(null_mut());

/// Makes the state. To be called once, before anything can ask for it. PASSIVE_LEVEL.
pub fn create(settings: DriverSettings) -> Result<(), NTSTATUS> {
    let make = || {
        let control = PassiveLock::new(ControlState { device: None, volumes: 0 })?;
        Some(Globals { registry: Registry::new()?, settings, control })
    };
    let globals = make().ok_or(STATUS_INSUFFICIENT_RESOURCES)?;
    // A box made fallibly: by way of a vector that has no more room than it needs, so that nothing has to shrink.
    let home = reserved::collect(1, [globals]).filter(|home| home.len() == home.capacity());
    let home: Box<[Globals]> = home.ok_or(STATUS_INSUFFICIENT_RESOURCES)?.into_boxed_slice();
    GLOBALS.store(Box::into_raw(home).cast(), Ordering::Release);
    Ok(())
}

/// The state; `None` before load and after unload. IRQL <= DISPATCH_LEVEL.
pub fn get() -> Option<&'static Globals> {
    // SAFETY: null, or what `create` stored, which stays until `destroy`.
    unsafe { GLOBALS.load(Ordering::Acquire).as_ref() }
}

/// Frees the state: the driver unloads, no device is left. PASSIVE_LEVEL.
pub fn destroy() {
    let globals = GLOBALS.swap(null_mut(), Ordering::AcqRel);
    if !globals.is_null() {
        let home = core::ptr::slice_from_raw_parts_mut(globals, 1);
        // SAFETY: `create` made it as a slice of one, and nobody can ask for it any more.
        drop(unsafe { Box::from_raw(home) });
    }
}

impl Globals {
    /// Notes a new volume; the first brings the control device. PASSIVE_LEVEL.
    pub fn volume_arrived(&self, driver: WDFDRIVER) -> Result<(), NTSTATUS> {
        self.control.with(|state| {
            if state.device.is_none() {
                state.device = Some(Control::create(driver)?);
            }
            state.volumes = state.volumes.saturating_add(1);
            Ok(())
        })
    }

    /// Where drains wait; `None` while there is no control device. PASSIVE_LEVEL.
    pub fn drains(&self) -> Option<Queue> {
        self.control.with(|state| state.device.as_ref().map(Control::drains))
    }

    /// Notes that a volume is gone; the last takes the control device along. PASSIVE_LEVEL.
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
