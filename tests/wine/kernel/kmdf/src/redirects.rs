//! The names of ntoskrnl.exe that the rig supplies to the driver under test.
//!
//! The rule: this is the only list. "lacking": Wine 8 does not export the name, or only as a stub
//! that raises an exception; "empty": Wine's routine does nothing; "checked": Wine has it, and the
//! rig checks the calls.

use core::ffi::c_void;

use crate::gaps::{etw, irp, mdl, pool, power, processor, spinlock, stack, thread, time, wait};

/// The rig's routine for a name.
pub(crate) fn find(name: &str) -> Option<*const c_void> {
    let lists = [lacking(), empty(), checked()];
    lists.into_iter().flatten().find(|(listed, _)| *listed == name).map(|(_, routine)| *routine)
}

macro_rules! list {
    ($($name:literal => $routine:expr,)*) => {{
        struct List<const N: usize>([(&'static str, *const c_void); N]);
        // SAFETY: the pointers are to code.
        unsafe impl<const N: usize> Sync for List<N> {}
        const LENGTH: usize = [$($name),*].len();
        static LIST: List<LENGTH> = List([$(($name, $routine as *const c_void)),*]);
        &LIST.0
    }};
}

fn lacking() -> &'static [(&'static str, *const c_void)] {
    list! {
        "EtwRegister" => etw::register,
        "EtwSetInformation" => etw::set_information,
        "EtwUnregister" => etw::unregister,
        "EtwWriteTransfer" => etw::write_transfer,
        "ExCreateCallback" => power::create,
        "ExRegisterCallback" => power::register,
        "ExUnregisterCallback" => power::unregister,
        "IoBuildPartialMdl" => mdl::build_partial,
        "IoGetLowerDeviceObject" => stack::lower_device_object,
        "IoSetIoPriorityHint" => irp::set_priority_hint,
        "KeGetCurrentIrql" => spinlock::current_irql,
        "KeGetCurrentProcessorNumberEx" => processor::current,
        "KeQueryActiveProcessorCountEx" => processor::count,
        "KeQuerySystemTimePrecise" => time::system_time_precise,
        "KeQueryUnbiasedInterruptTime" => time::unbiased_interrupt_time,
    }
}

fn empty() -> &'static [(&'static str, *const c_void)] {
    list! {
        "KeSetPriorityThread" => thread::set_priority,
        "MmAllocateMappingAddress" => mdl::allocate_addresses,
        "MmBuildMdlForNonPagedPool" => mdl::build_for_nonpaged_pool,
        "MmFreeMappingAddress" => mdl::free_addresses,
        "MmMapLockedPagesSpecifyCache" => mdl::map,
        "MmMapLockedPagesWithReservedMapping" => mdl::map_reserved,
        "MmUnmapLockedPages" => mdl::unmap,
        "MmUnmapReservedMapping" => mdl::unmap_reserved,
    }
}

fn checked() -> &'static [(&'static str, *const c_void)] {
    list! {
        "ExAllocatePoolWithTag" => pool::allocate_with_tag,
        "ExFreePoolWithTag" => pool::free_with_tag,
        "IoAcquireCancelSpinLock" => spinlock::acquire_cancel_lock,
        "IoAllocateIrp" => irp::allocate,
        "IoAllocateMdl" => mdl::allocate,
        "IoFreeIrp" => irp::free,
        "IoFreeMdl" => mdl::free,
        "IoReleaseCancelSpinLock" => spinlock::release_cancel_lock,
        "IofCallDriver" => irp::call_driver,
        "IofCompleteRequest" => irp::complete_request,
        "KeAcquireSpinLockRaiseToDpc" => spinlock::acquire_raise,
        "KeDelayExecutionThread" => wait::delay,
        "KeReleaseSpinLock" => spinlock::release,
        "KeSetEvent" => wait::set_event,
        "KeWaitForSingleObject" => wait::single,
        "ObfDereferenceObject" => power::dereference,
        "PsCreateSystemThread" => thread::create,
        "PsTerminateSystemThread" => thread::terminate,
    }
}
