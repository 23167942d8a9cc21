//! Packets that the driver allocates, passes on and completes.
//!
//! The rules: a packet is freed once, and not while it is below the driver; its memory descriptor
//! lists belong to their creator, and partial ones have their frames; `watch.rs` checks calls and
//! completions. A packet of the driver's own has the thread that sends it, each time that it is
//! sent; a read has the priority hint of a background thread if one sends it, and else none of
//! those.

use nt::irp::Irp;
use wdk_sys::{
    IRP_MJ_READ, NTSTATUS, PDEVICE_OBJECT, PIRP, STATUS_INVALID_PARAMETER, STATUS_SUCCESS,
    ntddk::{IoAllocateIrp, IoFreeIrp, IofCallDriver, IofCompleteRequest},
};

use crate::{
    allocation_failure::{self, Allocation},
    checks::violation,
    gaps::{mdl, thread},
    irql::{DISPATCH_LEVEL, require_at_most},
    ledger::{self, Account},
    preempt, watch,
};

pub(crate) unsafe extern "system" fn allocate(stack_size: i8, _quota: u8) -> PIRP {
    require_at_most("IoAllocateIrp", DISPATCH_LEVEL);
    if allocation_failure::fails(Allocation::Kernel) {
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

/// Where an IRP's flags have its priority hint, one more than its number.
const PRIORITY_SHIFT: u32 = 17;
const PRIORITY_MASK: u32 = 7 << PRIORITY_SHIFT;
/// `IoPriorityVeryLow` and `IoPriorityLow`, as the flags have them.
const PRIORITIES_LOW: core::ops::RangeInclusive<u32> = 1..=2;
/// `IoPriorityHigh`; above it is for the system only.
const PRIORITY_HIGHEST: i32 = 3;

pub(crate) unsafe extern "system" fn set_priority_hint(irp: PIRP, hint: i32) -> NTSTATUS {
    require_at_most("IoSetIoPriorityHint", DISPATCH_LEVEL);
    let Some(priority) = u32::try_from(hint).ok().filter(|_| hint <= PRIORITY_HIGHEST) else {
        return STATUS_INVALID_PARAMETER;
    };
    // SAFETY: the driver's own packet.
    let flags = unsafe { &mut (*irp).Flags };
    *flags = *flags & !PRIORITY_MASK | (priority + 1) << PRIORITY_SHIFT;
    STATUS_SUCCESS
}

pub(crate) unsafe extern "system" fn call_driver(device: PDEVICE_OBJECT, raw: PIRP) -> NTSTATUS {
    let function = "IofCallDriver";
    require_at_most(function, DISPATCH_LEVEL);
    if device.is_null() {
        violation!(Parameter, function, "the device object is null");
    }
    // SAFETY: the driver's packet, on its way down.
    let mut irp = unsafe { Irp::from_raw(raw) };
    if irp.locations_left() <= 0 {
        violation!(State, function, "{raw:p} has no stack location left for the next driver");
    }
    if ledger::is_open(Account::Irp, raw as usize) {
        require_sender(&mut irp, function);
    }
    mdl::require_frames(&irp, function);
    watch::passed_down(&mut irp);
    // SAFETY: the driver's arguments, unchanged.
    let status = unsafe { IofCallDriver(device, irp.into_raw()) };
    preempt::point();
    status
}

/// Devices below take the priority of a packet from its hint, or from its thread: one of the
/// driver's own has both from the thread that sends it.
fn require_sender(irp: &mut Irp, function: &str) {
    let raw = irp.raw();
    if irp.thread() != nt::thread::current() {
        violation!(State, function, "{raw:p} is the driver's own and has not its sender's thread");
    }
    let hint = (irp.flags() & PRIORITY_MASK) >> PRIORITY_SHIFT;
    let is_low = PRIORITIES_LOW.contains(&hint);
    let is_read = u32::from(irp.next_location_mut().MajorFunction) == IRP_MJ_READ;
    match thread::is_low() {
        Some(true) if is_read && !is_low => {
            violation!(State, function, "{raw:p} is a background thread's read without a low hint");
        }
        Some(false) if is_read && is_low => {
            violation!(State, function, "{raw:p} is a read that writes wait for, with a low hint");
        }
        _ => {}
    }
}

pub(crate) unsafe extern "system" fn complete_request(raw: PIRP, boost: i8) {
    require_at_most("IofCompleteRequest", DISPATCH_LEVEL);
    // SAFETY: the driver's packet, which it gives up.
    let irp = unsafe { Irp::from_raw(raw) };
    watch::completing(&irp);
    // SAFETY: as above.
    unsafe { IofCompleteRequest(irp.into_raw(), boost) };
    preempt::point();
}
