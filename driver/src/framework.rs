//! Safe wrappers over the framework (KMDF) functions that the driver uses.
//!
//! KMDF owns driver and device objects, attachment, PnP, power, and the control device with its queues. Its callbacks are
//! here too: they turn raw arguments into values, and call the traits that the driver implements
//! ([`DriverCallbacks`](driver::DriverCallbacks), [`PnpCallbacks`](filter_device::PnpCallbacks),
//! [`IoCallbacks`](filter_device::IoCallbacks), [`ControlCallbacks`](control_device::ControlCallbacks)).

pub mod control_device;
pub mod driver;
pub mod filter_device;
pub mod parameters;
pub mod queue;
pub mod request;

use core::ptr::null;

use wdk_sys::{
    _WDF_EXECUTION_LEVEL, _WDF_SYNCHRONIZATION_SCOPE, _WDFFUNCENUM, ULONG, WDF_OBJECT_ATTRIBUTES,
};

/// The value of a framework structure's `Size` field. IRQL <= DISPATCH_LEVEL.
pub(crate) const fn struct_size<T>() -> ULONG {
    let [a, b, c, d, ..] = size_of::<T>().to_le_bytes();
    // No structure of the framework comes near 4 GiB.
    ULONG::from_le_bytes([a, b, c, d])
}

/// The newest framework function that the driver calls, and so the last of them in the table: it came with KMDF 1.11. The
/// driver is bound to no framework older than its manifest's `minimum-kmdf-version-minor`, 1.27.
const NEWEST_FUNCTION: ULONG =
    _WDFFUNCENUM::WdfDeviceInitSetRemoveLockOptionsTableIndex.cast_unsigned();

/// Calls a framework function through the framework's table.
macro_rules! wdf {
    ($name:ident $(, $argument:expr)* $(,)?) => {{
        $crate::framework::is_bound();
        wdk_sys::call_unsafe_wdf_function_binding!($name $(, $argument)*)
    }};
}
pub(crate) use wdf;

/// What `WDF_OBJECT_ATTRIBUTES_INIT` writes. IRQL <= DISPATCH_LEVEL.
pub(crate) fn attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: struct_size::<WDF_OBJECT_ATTRIBUTES>(),
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        ContextTypeInfo: null(),
        ..WDF_OBJECT_ATTRIBUTES::default()
    }
}

/// Tells the compiler the least length of the table: no call checks that its entry is there, and no panic is linked for a
/// failed check. IRQL <= DISPATCH_LEVEL.
#[inline]
pub(crate) fn is_bound() {
    // SAFETY: written when the framework is bound, which is before any code of the driver runs.
    let count = unsafe { wdk_sys::WdfFunctionCount };
    // SAFETY: a framework with fewer functions is older than the driver accepts, and is not bound.
    unsafe { core::hint::assert_unchecked(count > NEWEST_FUNCTION) };
}
