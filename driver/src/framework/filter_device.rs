//! Filter devices: one on each volume, with a value of the driver's that lives as long as the
//! device.
//!
//! Raw arguments of the framework and of the I/O manager become values here: [`PnpCallbacks`] and
//! [`IoCallbacks`] get the volume and IRPs that they own. The rule: the driver has one type of
//! volume, so that each filter device keeps a `Shared` of that type, or nothing.

use core::ffi::c_void;
use core::ptr::{NonNull, null_mut};

use snapless_driver_logic::special_files::Usage;
use wdk_sys::{
    IRP_MJ_DEVICE_CONTROL, IRP_MJ_PNP, IRP_MJ_WRITE, IRP_MN_DEVICE_USAGE_NOTIFICATION, NT_SUCCESS,
    NTSTATUS, PDEVICE_OBJECT, PFN_WDFDEVICE_WDM_IRP_PREPROCESS, PIRP, PWDFDEVICE_INIT,
    STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER, STATUS_SUCCESS, ULONG,
    WDF_OBJECT_CONTEXT_TYPE_INFO, WDF_PNPPOWER_EVENT_CALLBACKS, WDFDEVICE, WDFOBJECT,
};

use super::table::{attributes, struct_size, wdf};
use crate::kernel::irp::{
    CancelRoutine, CancelledIrp, CompletedIrp, OwnedIrp, copy_location, skip_location,
};
use crate::kernel::low_byte;
use crate::kernel::lower_device::LowerDevice;
use crate::kernel::rundown::RundownProtection;
use crate::kernel::shared::Shared;

/// PnP callbacks of a filter device.
pub trait PnpCallbacks {
    /// The value that a filter device keeps.
    type Volume: Send + Sync + 'static;

    /// A special file has come to the volume or left it: the notification has succeeded. IRQL <=
    /// DISPATCH_LEVEL.
    fn usage_notified(volume: &Self::Volume, usage: Usage);

    /// `EvtDeviceSurpriseRemoval`: the volume is gone; the drivers below do not know yet.
    /// PASSIVE_LEVEL.
    fn surprise_removal(volume: &Self::Volume);

    /// `EvtDeviceSelfManagedIoCleanup`: the volume is being removed. PASSIVE_LEVEL.
    fn self_managed_io_cleanup(volume: &Self::Volume);

    /// `EvtCleanupCallback`: the device object is being deleted. Requests that are on their way
    /// through it have to be waited for: the framework counts those of its own kind only.
    /// PASSIVE_LEVEL.
    fn cleanup(volume: &Self::Volume);
}

/// Callbacks of the requests that a filter device sees as IRPs, ahead of the framework.
pub trait IoCallbacks: 'static {
    /// The value that a filter device keeps.
    type Volume: Send + Sync + 'static;

    /// Preprocess callback for `IRP_MJ_WRITE`. IRQL <= DISPATCH_LEVEL.
    fn write(volume: &Self::Volume, irp: OwnedIrp) -> Preprocessed;

    /// Preprocess callback for `IRP_MJ_DEVICE_CONTROL`. IRQL <= DISPATCH_LEVEL.
    fn device_control(volume: &Self::Volume, irp: OwnedIrp) -> Preprocessed;

    /// Completion routine of what [`send`] has sent, with its `protection` and `tag`. IRQL <=
    /// DISPATCH_LEVEL.
    fn completed(
        volume: &Self::Volume,
        protection: RundownProtection,
        tag: usize,
        irp: &CompletedIrp,
    );

    /// Cancel routine, with the cancel spin lock held: takes the request out of the session, if it
    /// is held there. DISPATCH_LEVEL.
    fn take_cancelled(
        volume: &Self::Volume,
        irp: &CancelledIrp,
    ) -> Option<(OwnedIrp, RundownProtection)>;

    /// Completes a request and releases its protection. IRQL <= DISPATCH_LEVEL.
    fn finish(irp: OwnedIrp, protection: RundownProtection, status: NTSTATUS);
}

/// How a preprocess callback has dealt with its IRP.
#[must_use]
pub enum Preprocessed {
    /// The driver has it. The dispatch routine returns this status.
    Taken(NTSTATUS),
    /// The framework handles it, as if there were no callback.
    Framework(OwnedIrp),
}

/// The argument of `EvtDriverDeviceAdd` that a device is created from.
pub struct DeviceInit(PWDFDEVICE_INIT);

impl DeviceInit {
    /// PASSIVE_LEVEL.
    ///
    /// # Safety
    /// Called from `EvtDriverDeviceAdd`, with its argument.
    pub(super) unsafe fn new(init: PWDFDEVICE_INIT) -> Self {
        Self(init)
    }
}

/// A filter device that is attached, and gets no request before `EvtDriverDeviceAdd` returns. If
/// that fails, the framework deletes the device.
pub struct FilterDevice(WDFDEVICE);

impl FilterDevice {
    /// Creates a filter device and attaches it. Without `preprocess`, writes and device control
    /// requests pass through the framework. PASSIVE_LEVEL.
    pub fn create<P, I>(init: DeviceInit, preprocess: bool) -> Result<Self, NTSTATUS>
    where
        P: PnpCallbacks,
        I: IoCallbacks<Volume = P::Volume>,
    {
        let DeviceInit(mut init) = init;
        // SAFETY: the device is not created yet; so for the next calls.
        unsafe { wdf!(WdfFdoInitSetFilter, init) };
        let mut power = WDF_PNPPOWER_EVENT_CALLBACKS {
            Size: struct_size::<WDF_PNPPOWER_EVENT_CALLBACKS>(),
            EvtDeviceSelfManagedIoCleanup: Some(evt_self_managed_io_cleanup::<P>),
            EvtDeviceSurpriseRemoval: Some(evt_surprise_removal::<P>),
            ..WDF_PNPPOWER_EVENT_CALLBACKS::default()
        };
        // SAFETY: as above.
        unsafe { wdf!(WdfDeviceInitSetPnpPowerEventCallbacks, init, &raw mut power) };
        let control = Some(evt_device_control::<I> as _);
        let usage = &mut [low_byte(IRP_MN_DEVICE_USAGE_NOTIFICATION)];
        if preprocess {
            assign_preprocess_callback(init, IRP_MJ_WRITE, &mut [], Some(evt_write::<I>))?;
            assign_preprocess_callback(init, IRP_MJ_DEVICE_CONTROL, &mut [], control)?;
        }
        assign_preprocess_callback(init, IRP_MJ_PNP, usage, Some(evt_usage::<P>))?;
        let mut attributes = attributes();
        attributes.EvtCleanupCallback = Some(evt_cleanup::<P>);
        attributes.EvtDestroyCallback = Some(evt_destroy::<P>);
        attributes.ContextTypeInfo = &raw const FILTER_CONTEXT.0;
        let mut device: WDFDEVICE = null_mut();
        // SAFETY: as above; on success the framework takes `init`.
        let status =
            unsafe { wdf!(WdfDeviceCreate, &raw mut init, &raw mut attributes, &raw mut device) };
        if NT_SUCCESS(status) { Ok(Self(device)) } else { Err(status) }
    }

    /// The device that it is attached to. PASSIVE_LEVEL.
    pub fn lower_device(&self) -> Option<LowerDevice> {
        // SAFETY: a live filter device.
        let lower = unsafe { wdf!(WdfDeviceWdmGetAttachedDevice, self.0) };
        // SAFETY: the filter is attached to it as long as it lives.
        unsafe { LowerDevice::new(lower) }
    }

    /// Gives the device its volume, once. PASSIVE_LEVEL.
    pub fn set_volume<V: Send + Sync + 'static>(self, volume: Shared<V>) {
        // SAFETY: no request has reached the device yet.
        let before = unsafe { replace_value(self.0, volume.into_context()) };
        debug_assert!(before.is_null(), "a new device has no volume yet");
    }
}

/// Sends a request that a filter device was sent to its lower device. [`IoCallbacks::completed`]
/// gets `protection` and `tag`, of which the highest bit is lost. IRQL <= DISPATCH_LEVEL.
pub fn send<I: IoCallbacks>(
    irp: OwnedIrp,
    lower: LowerDevice,
    protection: RundownProtection,
    tag: usize,
) -> NTSTATUS {
    let context = tag << 1 | protection.into_bit();
    irp.send(lower, request_completed::<I>, core::ptr::without_provenance_mut(context))
}

/// The cancel routine of held requests. Any IRQL.
pub fn cancel_routine<I: IoCallbacks>() -> CancelRoutine {
    evt_cancel::<I>
}

/// The volume that a request was sent to. The caller uses it until it completes the request, or
/// hands it on. IRQL <= DISPATCH_LEVEL.
pub fn volume_of<'a, I: IoCallbacks>(irp: &OwnedIrp) -> Option<&'a I::Volume> {
    // SAFETY: an `OwnedIrp` was dispatched to a filter device, which lives until the request is
    // completed.
    unsafe { volume_of_wdm(irp.device()) }
}

/// Preprocess callback for `IRP_MJ_WRITE`. IRQL <= DISPATCH_LEVEL.
extern "C" fn evt_write<I: IoCallbacks>(device: WDFDEVICE, irp: PIRP) -> NTSTATUS {
    // SAFETY: dispatched to this filter device just now.
    unsafe { preprocess::<I>(device, irp, I::write) }
}

/// Preprocess callback for `IRP_MJ_DEVICE_CONTROL`. IRQL <= DISPATCH_LEVEL.
extern "C" fn evt_device_control<I: IoCallbacks>(device: WDFDEVICE, irp: PIRP) -> NTSTATUS {
    // SAFETY: dispatched to this filter device just now.
    unsafe { preprocess::<I>(device, irp, I::device_control) }
}

/// # Safety
/// Called from a preprocess callback, with its arguments.
#[inline]
unsafe fn preprocess<I: IoCallbacks>(
    device: WDFDEVICE,
    irp: PIRP,
    callback: impl FnOnce(&I::Volume, OwnedIrp) -> Preprocessed,
) -> NTSTATUS {
    // SAFETY: the caller's IRP, which the framework has given to us.
    let Some(irp) = (unsafe { OwnedIrp::new(irp) }) else { return STATUS_INVALID_DEVICE_STATE };
    // SAFETY: the caller's filter device.
    let preprocessed = match unsafe { volume_of_device::<I::Volume>(device) } {
        Some(volume) => callback(volume, irp),
        None => Preprocessed::Framework(irp),
    };
    match preprocessed {
        Preprocessed::Taken(status) => status,
        Preprocessed::Framework(irp) => {
            let irp = irp.into_ptr();
            // The framework expects the location to be skipped (docs:
            // WdfDeviceWdmDispatchPreprocessedIrp).
            // SAFETY: the IRP is ours, and is handed back right after.
            unsafe { skip_location(irp) };
            // SAFETY: the caller's filter device and IRP.
            unsafe { wdf!(WdfDeviceWdmDispatchPreprocessedIrp, device, irp) }
        }
    }
}

/// Completion routine of what [`send`] has sent. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn request_completed<I: IoCallbacks>(
    device: PDEVICE_OBJECT,
    irp: PIRP,
    context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the I/O manager calls this with the IRP that was sent.
    let Some(completed) = (unsafe { CompletedIrp::new(irp) }) else { return STATUS_SUCCESS };
    completed.propagate_pending();
    // SAFETY: `send` packed the bit; a completion routine is called once.
    let protection = unsafe { RundownProtection::from_bit(context.addr()) };
    // SAFETY: the routine was set in a filter device's stack location.
    if let Some(volume) = unsafe { volume_of_wdm::<I::Volume>(device) } {
        I::completed(volume, protection, context.addr() >> 1, &completed);
    }
    STATUS_SUCCESS
}

/// Cancel routine of a held request. DISPATCH_LEVEL, with the cancel spin lock held.
unsafe extern "C" fn evt_cancel<I: IoCallbacks>(device: PDEVICE_OBJECT, irp: PIRP) {
    // SAFETY: the I/O manager calls this with the cancelled IRP.
    let Some(cancelled) = (unsafe { CancelledIrp::new(irp) }) else { return };
    // SAFETY: the routine was set in a filter device's stack location. The IRP lives while the
    // cancel spin lock is held, and so does the device.
    let volume = unsafe { volume_of_wdm::<I::Volume>(device) };
    let taken = volume.and_then(|volume| I::take_cancelled(volume, &cancelled));
    cancelled.release_cancel_lock();
    if let Some((irp, protection)) = taken {
        I::finish(irp, protection, wdk_sys::STATUS_CANCELLED);
    }
}

/// Preprocess callback for `IRP_MN_DEVICE_USAGE_NOTIFICATION`, which the framework handles: its own
/// callback is not told which file it is. PASSIVE_LEVEL.
extern "C" fn evt_usage<P: PnpCallbacks>(device: WDFDEVICE, irp: PIRP) -> NTSTATUS {
    // SAFETY: dispatched to this filter device just now, and handed back right after.
    unsafe { copy_location(irp, usage_completed::<P>, null_mut()) };
    // SAFETY: the caller's filter device and IRP.
    unsafe { wdf!(WdfDeviceWdmDispatchPreprocessedIrp, device, irp) }
}

/// Completion routine of a usage notification. IRQL <= DISPATCH_LEVEL.
unsafe extern "C" fn usage_completed<P: PnpCallbacks>(
    device: PDEVICE_OBJECT,
    irp: PIRP,
    _context: *mut c_void,
) -> NTSTATUS {
    // SAFETY: the I/O manager calls this with the IRP that was handed back.
    let Some(completed) = (unsafe { CompletedIrp::new(irp) }) else { return STATUS_SUCCESS };
    completed.propagate_pending();
    // SAFETY: the routine was set in a filter device's stack location; the framework keeps the
    // device while it has a PnP request.
    if let Some(volume) = unsafe { volume_of_wdm(device) }
        && let Some(usage) = completed.usage()
    {
        P::usage_notified(volume, usage);
    }
    STATUS_SUCCESS
}

/// `EvtDeviceSurpriseRemoval`. PASSIVE_LEVEL.
extern "C" fn evt_surprise_removal<P: PnpCallbacks>(device: WDFDEVICE) {
    // SAFETY: the framework calls this for a live filter device.
    if let Some(volume) = unsafe { volume_of_device(device) } {
        P::surprise_removal(volume);
    }
}

/// `EvtDeviceSelfManagedIoCleanup`. PASSIVE_LEVEL.
extern "C" fn evt_self_managed_io_cleanup<P: PnpCallbacks>(device: WDFDEVICE) {
    // SAFETY: the framework calls this for a live filter device.
    if let Some(volume) = unsafe { volume_of_device(device) } {
        P::self_managed_io_cleanup(volume);
    }
}

/// `EvtCleanupCallback`. PASSIVE_LEVEL.
extern "C" fn evt_cleanup<P: PnpCallbacks>(object: WDFOBJECT) {
    // SAFETY: the framework calls this for a live filter device.
    if let Some(volume) = unsafe { volume_of_device(object.cast()) } {
        P::cleanup(volume);
    }
}

/// `EvtDestroyCallback`: nothing uses the device any more. IRQL <= DISPATCH_LEVEL.
extern "C" fn evt_destroy<P: PnpCallbacks>(object: WDFOBJECT) {
    // SAFETY: the object is a filter device, and its last request is over.
    let value = unsafe { replace_value(object.cast(), null_mut()) };
    // SAFETY: from `set_volume`, and taken out once.
    drop(unsafe { Shared::<P::Volume>::from_context(value) });
}

/// Context of a filter device.
#[repr(C)]
struct FilterContext {
    /// Carries a reference to the volume; null before [`FilterDevice::set_volume`].
    value: *mut c_void,
}

struct TypeInfo(WDF_OBJECT_CONTEXT_TYPE_INFO);

// SAFETY: never written.
unsafe impl Sync for TypeInfo {}

/// What `WDF_DECLARE_CONTEXT_TYPE` makes.
static FILTER_CONTEXT: TypeInfo = TypeInfo(WDF_OBJECT_CONTEXT_TYPE_INFO {
    Size: struct_size::<WDF_OBJECT_CONTEXT_TYPE_INFO>(),
    ContextName: c"FilterContext".as_ptr(),
    ContextSize: size_of::<FilterContext>(),
    UniqueType: &raw const FILTER_CONTEXT.0,
    EvtDriverGetUniqueContextType: None,
});

/// The volume of a filter device. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `device` came from [`FilterDevice::create`] and lives as long as the result is used.
unsafe fn volume_of_device<'a, V>(device: WDFDEVICE) -> Option<&'a V> {
    // SAFETY: the caller's promise.
    let context = unsafe { filter_context(device) }?;
    // SAFETY: the context lives with its device. Written once, before requests arrive.
    let value = unsafe { context.as_ref() }.value;
    // SAFETY: null, or from `set_volume`; the driver has one type of volume.
    unsafe { Shared::<V>::value_at(value) }
}

/// The volume of a filter's device object. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// As for [`volume_of_device`].
unsafe fn volume_of_wdm<'a, V>(device: PDEVICE_OBJECT) -> Option<&'a V> {
    // SAFETY: the caller's promise.
    let device = unsafe { wdf!(WdfWdmDeviceGetWdfDeviceHandle, device) };
    // SAFETY: the caller's promise.
    unsafe { volume_of_device(device) }
}

/// Replaces the value that a filter device keeps. IRQL <= DISPATCH_LEVEL.
///
/// # Safety
/// `device` came from [`FilterDevice::create`] and is alive; no request uses the value.
unsafe fn replace_value(device: WDFDEVICE, value: *mut c_void) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { filter_context(device) }.map_or(null_mut(), |mut context| {
        // SAFETY: the context lives with its device, and nothing else uses it now.
        core::mem::replace(&mut unsafe { context.as_mut() }.value, value)
    })
}

/// # Safety
/// `device` came from [`FilterDevice::create`] and is alive.
unsafe fn filter_context(device: WDFDEVICE) -> Option<NonNull<FilterContext>> {
    // SAFETY: the caller's promise; the type is the one that the device was created with.
    let context = unsafe {
        wdf!(WdfObjectGetTypedContextWorker, device as WDFOBJECT, &raw const FILTER_CONTEXT.0)
    };
    NonNull::new(context.cast())
}

/// Assigns a callback for a major function, and for some of its minor functions or all (none
/// named).
fn assign_preprocess_callback(
    init: PWDFDEVICE_INIT,
    major: u32,
    minors: &mut [u8],
    callback: PFN_WDFDEVICE_WDM_IRP_PREPROCESS,
) -> Result<(), NTSTATUS> {
    let list = if minors.is_empty() { null_mut() } else { minors.as_mut_ptr() };
    let count = ULONG::try_from(minors.len()).map_err(|_| STATUS_INVALID_PARAMETER)?;
    // SAFETY: the caller's device is not created yet; the framework copies the list.
    let status = unsafe {
        wdf!(
            WdfDeviceInitAssignWdmIrpPreprocessCallback,
            init,
            callback,
            low_byte(major),
            list,
            count
        )
    };
    if NT_SUCCESS(status) { Ok(()) } else { Err(status) }
}
