//! The names of ntoskrnl.exe that the driver under test gets from the rig.
//!
//! The rule: this is the one list. "lacking" is what Wine 8 does not export or only as a stub that raises; "empty" is
//! what it exports as a routine that does nothing; "checked" is what it has, and the rig watches.

use core::ffi::c_void;

use crate::gaps::{
    device_control, etw, irp, mdl, misc, pool, rundown, spinlock, thread, time, wait,
};
use crate::paging;

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
        "ExAcquireRundownProtection" => rundown::acquire,
        "ExInitializeRundownProtection" => rundown::initialize,
        "ExReInitializeRundownProtection" => rundown::reinitialize,
        "ExReleaseRundownProtection" => rundown::release,
        "ExRundownCompleted" => rundown::completed,
        "ExWaitForRundownProtectionRelease" => rundown::wait_for_release,
        "FsRtlIsPagingFile" => paging::is_paging_file,
        "IoAttachDeviceToDeviceStackSafe" => misc::attach_safe,
        "IoBuildPartialMdl" => mdl::build_partial,
        "IoRegisterLastChanceShutdownNotification" => misc::register_last_chance_shutdown,
        "IoSetCompletionRoutineEx" => irp::set_completion_routine_ex,
        "KeGetCurrentIrql" => spinlock::current_irql,
        "KeQueryInterruptTimePrecise" => time::interrupt_time_precise,
        "KeQuerySystemTimePrecise" => time::system_time_precise,
        "KeQueryUnbiasedInterruptTime" => time::unbiased_interrupt_time,
        "KeSetBasePriorityThread" => thread::set_base_priority,
        "KeTestSpinLock" => spinlock::test,
        "KeTryToAcquireSpinLockAtDpcLevel" => spinlock::try_acquire_at_dpc_level,
    }
}

fn empty() -> &'static [(&'static str, *const c_void)] {
    list! {
        // Wine copies no answer of a buffered code to its caller.
        "IoBuildDeviceIoControlRequest" => device_control::build,
        "IoRegisterShutdownNotification" => misc::register_shutdown,
        "IoUnregisterShutdownNotification" => misc::unregister_shutdown,
        "KeLowerIrql" => spinlock::lower_irql,
        // Wine counts ticks of a millisecond here.
        "KeQueryInterruptTime" => time::interrupt_time,
        "KeSetPriorityThread" => thread::set_priority,
        "KfRaiseIrql" => spinlock::raise_irql,
        "MmBuildMdlForNonPagedPool" => mdl::build_for_nonpaged_pool,
        "MmMapLockedPagesSpecifyCache" => mdl::map,
        "MmProbeAndLockPages" => mdl::probe_and_lock,
        "MmUnlockPages" => mdl::unlock,
        "MmUnmapLockedPages" => mdl::unmap,
    }
}

fn checked() -> &'static [(&'static str, *const c_void)] {
    list! {
        "ExAllocatePoolWithTag" => pool::allocate_with_tag,
        "ExFreePool" => pool::free,
        "ExFreePoolWithTag" => pool::free_with_tag,
        "IoAcquireCancelSpinLock" => spinlock::acquire_cancel_lock,
        "IoAllocateIrp" => irp::allocate,
        "IoAllocateMdl" => mdl::allocate,
        "IoFreeIrp" => irp::free,
        "IoFreeMdl" => mdl::free,
        "IoReleaseCancelSpinLock" => spinlock::release_cancel_lock,
        "IofCallDriver" => irp::call_driver,
        "IofCompleteRequest" => irp::complete_request,
        "KeAcquireInStackQueuedSpinLock" => spinlock::acquire_in_stack,
        "KeAcquireInStackQueuedSpinLockAtDpcLevel" => spinlock::acquire_in_stack_at_dpc_level,
        "KeAcquireSpinLockAtDpcLevel" => spinlock::acquire_at_dpc_level,
        "KeAcquireSpinLockRaiseToDpc" => spinlock::acquire_raise,
        "KeDelayExecutionThread" => wait::delay,
        "KeReleaseInStackQueuedSpinLock" => spinlock::release_in_stack,
        "KeReleaseInStackQueuedSpinLockFromDpcLevel" => spinlock::release_in_stack_from_dpc_level,
        "KeReleaseSpinLock" => spinlock::release,
        "KeReleaseSpinLockFromDpcLevel" => spinlock::release_from_dpc_level,
        "KeSetEvent" => wait::set_event,
        "KeWaitForMultipleObjects" => wait::multiple,
        "KeWaitForSingleObject" => wait::single,
        "PsCreateSystemThread" => thread::create,
        "PsTerminateSystemThread" => thread::terminate,
    }
}
