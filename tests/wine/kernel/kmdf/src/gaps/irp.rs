//! Packets of the driver's own, and the packets that it passes on and completes.
//!
//! The rules: a packet is freed once, and not while it is below the driver; the memory descriptor lists on it belong to
//! whoever made them; what is called and completed is checked by `watch.rs`.

use core::ffi::c_void;

use nt::irp::Irp;
use wdk_sys::{
    IO_COMPLETION_ROUTINE, NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_SUCCESS,
    ntddk::{IoAllocateIrp, IoFreeIrp, IofCallDriver, IofCompleteRequest},
};

use crate::{
    checks::{Rule, violation},
    irql::{DISPATCH_LEVEL, require_at_most},
    ledger::{self, Account},
    scarcity::{self, Wanted},
    watch,
};

pub(crate) unsafe extern "system" fn allocate(stack_size: i8, _quota: u8) -> PIRP {
    require_at_most("IoAllocateIrp", DISPATCH_LEVEL);
    if scarcity::refuses(Wanted::Kernel) {
        return core::ptr::null_mut();
    }
    // SAFETY: has no preconditions. Wine knows no quota.
    let irp = unsafe { IoAllocateIrp(stack_size, 0) };
    ledger::open(Account::Irp, irp as usize);
    irp
}

pub(crate) unsafe extern "system" fn free(irp: PIRP) {
    let function = "IoFreeIrp";
    require_at_most(function, DISPATCH_LEVEL);
    ledger::close(Account::Irp, irp as usize, function);
    watch::freed(irp);
    // Wine would free the list of MDLs with the packet; Windows does not.
    // SAFETY: the driver's own packet, which it gives up.
    unsafe { (*irp).MdlAddress = core::ptr::null_mut() };
    // SAFETY: as above.
    unsafe { IoFreeIrp(irp) };
}

pub(crate) unsafe extern "system" fn call_driver(device: PDEVICE_OBJECT, raw: PIRP) -> NTSTATUS {
    let function = "IofCallDriver";
    require_at_most(function, DISPATCH_LEVEL);
    if device.is_null() {
        violation(Rule::Parameter, function, format_args!("the device object is null"));
    }
    // SAFETY: the driver's packet, on its way down.
    let mut irp = unsafe { Irp::from_raw(raw) };
    if irp.locations_left() <= 0 {
        violation(
            Rule::State,
            function,
            format_args!("{raw:p} has no stack location left for the next driver"),
        );
    }
    watch::passed_down(&mut irp);
    // SAFETY: the driver's arguments, unchanged.
    unsafe { IofCallDriver(device, irp.into_raw()) }
}

pub(crate) unsafe extern "system" fn complete_request(raw: PIRP, boost: i8) {
    require_at_most("IofCompleteRequest", DISPATCH_LEVEL);
    // SAFETY: the driver's packet, which it gives up.
    let irp = unsafe { Irp::from_raw(raw) };
    watch::completing(&irp);
    // SAFETY: as above.
    unsafe { IofCompleteRequest(irp.into_raw(), boost) };
}

/// `IoSetCompletionRoutineEx`: the kernel keeps the device object until the routine ran. Wine's device objects stay as
/// long as the driver is loaded, so only the routine is set.
pub(crate) unsafe extern "system" fn set_completion_routine_ex(
    _device: PDEVICE_OBJECT,
    raw: PIRP,
    routine: IO_COMPLETION_ROUTINE,
    context: *mut c_void,
    on_success: u8,
    on_error: u8,
    on_cancel: u8,
) -> NTSTATUS {
    // SAFETY: the driver's packet.
    let mut irp = unsafe { Irp::from_raw(raw) };
    // SAFETY: the driver's own routine and context.
    unsafe { irp.set_completion_routine(routine, context) };
    let next = irp.next_location();
    let control = (u8::from(on_success != 0) * wdk_sys::SL_INVOKE_ON_SUCCESS as u8)
        | (u8::from(on_error != 0) * wdk_sys::SL_INVOKE_ON_ERROR as u8)
        | (u8::from(on_cancel != 0) * wdk_sys::SL_INVOKE_ON_CANCEL as u8);
    // SAFETY: a location of the driver's packet.
    unsafe { (*next).Control = control };
    let _ = irp.into_raw();
    STATUS_SUCCESS
}
