//! The driver object's dispatch routine: remove lock, the driver's preprocess callbacks, then the
//! framework's own handling by major function.
//!
//! The rules: power, PnP and WMI packets always hold the remove lock, others if the driver opted
//! in; a filter's unclaimed packets go to the device below.

use core::{
    ffi::c_void,
    sync::atomic::{AtomicU32, Ordering},
};

use nt::irp::Irp;
use wdk_sys::{
    IRP_MJ_CLEANUP, IRP_MJ_CLOSE, IRP_MJ_CREATE, IRP_MJ_DEVICE_CONTROL, IRP_MJ_PNP, IRP_MJ_POWER,
    IRP_MJ_READ, IRP_MJ_SHUTDOWN, IRP_MJ_SYSTEM_CONTROL, IRP_MJ_WRITE, IRP_MN_REMOVE_DEVICE,
    NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_DELETE_PENDING, STATUS_INVALID_DEVICE_REQUEST,
    STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
};

use crate::{
    abi::{DriverGlobals, Handle},
    checks::{Call, violation},
    device::Device,
    file,
    gaps::mdl,
    irql::{self, DISPATCH_LEVEL, Raised},
    late_cancel,
    object::Ref,
    pnp, queue,
    settings::RAISED_DISPATCH_PERCENT,
    shutdown,
    watch::{self, Arrival},
};

/// How a packet uses the remove lock.
enum LockUse {
    /// Held while the packet is handled.
    Required,
    /// Held until the packet is completed, if the driver asked for that.
    OptIn,
    /// Only tried: the handler takes it itself.
    TestValid,
}

/// Every major function of a driver under test.
pub(crate) unsafe extern "C" fn dispatch(raw_device: PDEVICE_OBJECT, raw_irp: PIRP) -> NTSTATUS {
    // SAFETY: the I/O manager hands the packet over, at this driver's stack location.
    let mut irp = unsafe { Irp::from_raw(raw_irp) };
    late_cancel::watch(&mut irp);
    // SAFETY: the I/O manager calls with a live device object.
    let Some(device) = (unsafe { Device::of_wdm(raw_device) }) else {
        return irp.complete(STATUS_NO_SUCH_DEVICE, 0);
    };
    let level = irql::current();
    let arrival = watch::arrived(&irp);
    let status = enter(&device, irp, &arrival);
    arrival.returned(status);
    if irql::current() != level {
        violation!(
            Irql,
            "a dispatch routine",
            "returned at {} but was called at {}",
            irql::name(irql::current()),
            irql::name(level)
        );
    }
    status
}

fn enter(device: &Ref<Device>, mut irp: Irp, arrival: &Arrival) -> NTSTATUS {
    let (major, minor) = irp.function();
    mdl::come_unmapped(&irp);
    match lock_use(major, minor) {
        LockUse::Required => {
            if !device.remove_lock.acquire() {
                return irp.complete(STATUS_DELETE_PENDING, 0);
            }
            let status = route(device, irp, arrival);
            device.remove_lock.release();
            status
        }
        LockUse::TestValid => {
            if !device.remove_lock.acquire() {
                return irp.complete(STATUS_DELETE_PENDING, 0);
            }
            device.remove_lock.release();
            route(device, irp, arrival)
        }
        LockUse::OptIn => {
            if device.lock_for_io {
                if !device.remove_lock.acquire() {
                    return irp.complete(STATUS_DELETE_PENDING, 0);
                }
                irp.copy_current_location_to_next();
                // SAFETY: the device's extension outlives the packet, since the packet holds the
                // remove lock.
                unsafe {
                    irp.set_completion_routine(Some(release_remove_lock), device.wdm.raw().cast());
                };
                irp.advance_location();
            }
            route(device, irp, arrival)
        }
    }
}

fn route(device: &Ref<Device>, irp: Irp, arrival: &Arrival) -> NTSTATUS {
    let (major, minor) = irp.function();
    let entry = device.preprocess.get(usize::from(major)).and_then(Option::as_ref);
    if let Some(entry) =
        entry.filter(|entry| entry.minors.is_empty() || entry.minors.contains(&minor))
    {
        watch::handed_to_driver(&irp, device.handle(), arrival);
        let raised = arrives_raised(major).then(|| Raised::to(DISPATCH_LEVEL));
        // SAFETY: the driver's own callback; the packet is handed over to it.
        let status = unsafe { (entry.callback)(device.handle(), irp.into_raw()) };
        drop(raised);
        return status;
    }
    arrival.is_frameworks();
    handle(device, irp)
}

/// Handles a packet that the driver does not preprocess.
fn handle(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    match u32::from(irp.function().0) {
        IRP_MJ_PNP => pnp::handle(device, irp),
        IRP_MJ_POWER | IRP_MJ_SYSTEM_CONTROL if device.is_attached() => device.pass_down(irp),
        IRP_MJ_CREATE => file::create(device, irp),
        IRP_MJ_CLEANUP => file::cleanup(device, irp),
        IRP_MJ_CLOSE => file::close(device, irp),
        IRP_MJ_SHUTDOWN if device.is_control() => shutdown::handle(device, irp),
        IRP_MJ_DEVICE_CONTROL => queue::arrive(device, irp),
        _ => forward_or_refuse(device, irp),
    }
}

/// Handles a packet that has no handler: a filter passes it down, a control device fails it.
pub(crate) fn forward_or_refuse(device: &Ref<Device>, irp: Irp) -> NTSTATUS {
    if device.is_control() {
        irp.complete(STATUS_INVALID_DEVICE_REQUEST, 0)
    } else {
        device.pass_down(irp)
    }
}

/// Whether a packet reaches the driver at DISPATCH_LEVEL: storage drivers are entered for reads and
/// writes at up to that level, while Wine always enters at PASSIVE_LEVEL.
fn arrives_raised(major: u8) -> bool {
    static TURN: AtomicU32 = AtomicU32::new(0);
    if !matches!(u32::from(major), IRP_MJ_READ | IRP_MJ_WRITE) {
        return false;
    }
    // Relaxed: only the distribution matters. The multiplier spreads neighbours apart.
    let turn = TURN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B1) >> 16;
    turn % 100 < RAISED_DISPATCH_PERCENT.get()
}

pub(crate) unsafe extern "system" fn device_wdm_dispatch_preprocessed_irp(
    globals: *const DriverGlobals,
    device: Handle,
    raw: PIRP,
) -> NTSTATUS {
    let call = Call::enter("WdfDeviceWdmDispatchPreprocessedIrp", globals, DISPATCH_LEVEL);
    let device = call.typed::<Device>(device);
    if raw.is_null() {
        violation!(Parameter, call.function, "the IRP is null");
    }
    // SAFETY: the driver gives the packet back, as it got it in its preprocess callback.
    let mut irp = unsafe { Irp::from_raw(raw) };
    if irp.locations_left() <= 0 {
        violation!(
            State,
            call.function,
            "no stack location is left: skip the current one or copy it to the next before calling this function"
        );
    }
    irp.advance_location();
    watch::given_back(&irp);
    let (major, minor) = irp.function();
    if matches!(lock_use(major, minor), LockUse::Required) {
        if !device.remove_lock.acquire() {
            return irp.complete(STATUS_DELETE_PENDING, 0);
        }
        let status = handle(&device, irp);
        device.remove_lock.release();
        return status;
    }
    handle(&device, irp)
}

unsafe extern "C" fn release_remove_lock(
    _device: PDEVICE_OBJECT,
    raw: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the completion routine's packet, at this driver's location, for the length of the
    // call.
    let mut irp = unsafe { Irp::from_raw(raw) };
    if irp.pending_returned() {
        irp.mark_pending();
    }
    let _ = irp.into_raw();
    // SAFETY: the device object lives while a packet holds its remove lock.
    if let Some(device) = unsafe { Device::of_wdm(context.cast()) } {
        device.remove_lock.release();
    }
    // STATUS_CONTINUE_COMPLETION has the same value.
    STATUS_SUCCESS
}

fn lock_use(major: u8, minor: u8) -> LockUse {
    match u32::from(major) {
        IRP_MJ_PNP if u32::from(minor) == IRP_MN_REMOVE_DEVICE => LockUse::TestValid,
        IRP_MJ_PNP | IRP_MJ_POWER | IRP_MJ_SYSTEM_CONTROL => LockUse::Required,
        _ => LockUse::OptIn,
    }
}
