//! Shutdown notification of control devices.
//!
//! The rule: Wine keeps no registrations, so the rig does. When a scenario shuts the system down,
//! the registered devices get `IRP_MJ_SHUTDOWN`, then those of the last chance.

use alloc::vec::Vec;

use nt::{irp::Irp, round_trip, spinlock::SpinLock, status::is_success};
use wdk_sys::{IRP_MJ_SHUTDOWN, NTSTATUS, PDEVICE_OBJECT, STATUS_SUCCESS};

use crate::{device::Device, object::Ref};

/// `WdfDeviceShutdown`
pub(crate) const SHUTDOWN: u8 = 1;
/// `WdfDeviceLastChanceShutdown`
pub(crate) const LAST_CHANCE: u8 = 2;

struct Registration {
    device: PDEVICE_OBJECT,
    phase: u8,
}

// SAFETY: device objects are the kernel's; a registration is withdrawn before its device is
// deleted.
unsafe impl Send for Registration {}

static REGISTERED: SpinLock<Vec<Registration>> = SpinLock::new(Vec::new());

/// Puts a device on the lists that its flags name.
pub(crate) fn register(device: PDEVICE_OBJECT, flags: u8) {
    for phase in [SHUTDOWN, LAST_CHANCE] {
        if flags & phase != 0 {
            REGISTERED.lock().push(Registration { device, phase });
        }
    }
}

/// Takes a device off the lists.
pub(crate) fn unregister(device: PDEVICE_OBJECT) {
    REGISTERED.lock().retain(|registration| registration.device != device);
}

/// Handles the packet on a control device.
pub(crate) fn handle(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    if let Some(wanted) = device.shutdown {
        // SAFETY: the driver's own callback, with its live handle.
        unsafe { (wanted.callback)(device.handle()) };
    }
    irp.complete(STATUS_SUCCESS, 0)
}

/// Notifies every registered device, in order, and returns how many succeeded. The test volume
/// calls this when a scenario shuts the system down.
#[unsafe(no_mangle)]
pub(crate) extern "system" fn SnaplessRigShutdown() -> u32 {
    let mut notified = 0;
    for phase in [SHUTDOWN, LAST_CHANCE] {
        let devices: Vec<PDEVICE_OBJECT> = REGISTERED
            .lock()
            .iter()
            .filter(|registration| registration.phase == phase)
            .map(|registration| registration.device)
            .collect();
        for device in devices {
            // SAFETY: a registration is withdrawn before its device is deleted.
            let sent = unsafe {
                round_trip::send(device, 0, |irp, _| {
                    irp.next_location_mut().MajorFunction = IRP_MJ_SHUTDOWN as u8;
                    Ok(())
                })
            };
            if let Ok(irp) = sent {
                notified += u32::from(is_success(irp.status()));
                round_trip::free(irp);
            }
        }
    }
    notified
}
