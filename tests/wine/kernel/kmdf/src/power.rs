//! Power packets.
//!
//! The rule: a device that does not own its power policy (a filter, a control device) calls the driver before it lets
//! the device below power down, and after the device below has powered up.

use nt::{irp::Irp, status::is_success};
use wdk_sys::{
    _DEVICE_POWER_STATE::PowerDeviceD0, _POWER_STATE_TYPE::DevicePowerState, IRP_MN_SET_POWER,
    NTSTATUS, STATUS_INVALID_DEVICE_REQUEST,
};

use crate::{device::Device, object::Ref, pnp};

/// Handles a power packet.
pub(crate) fn handle(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    if !device.is_attached() {
        return irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    if u32::from(irp.function().1) != IRP_MN_SET_POWER {
        return device.pass_down(irp);
    }
    // SAFETY: the parameters of a set-power packet.
    let power = unsafe { irp.stack().Parameters.Power };
    if power.Type != DevicePowerState {
        return device.pass_down(irp);
    }
    // SAFETY: the type says that this is the device power state.
    let target = unsafe { power.State.DeviceState };
    if target == PowerDeviceD0 {
        let irp = device.round_trip(irp);
        let status = irp.status();
        if is_success(status) {
            pnp::power_up(device, WDF_POWER_D3);
        }
        irp.complete_as_is();
        status
    } else {
        pnp::power_down(device, target);
        device.pass_down(irp)
    }
}

/// `WdfPowerDeviceD3`
const WDF_POWER_D3: i32 = 4;
