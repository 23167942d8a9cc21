//! The framework's function table, and what every call through it needs.

use core::ptr::null;

use wdk_sys::{
    _WDF_EXECUTION_LEVEL, _WDF_SYNCHRONIZATION_SCOPE, _WDFFUNCENUM, ULONG, WDF_OBJECT_ATTRIBUTES,
};

/// The value of a framework structure's `Size` field. IRQL <= DISPATCH_LEVEL.
pub(super) const fn struct_size<T>() -> ULONG {
    let [a, b, c, d, ..] = size_of::<T>().to_le_bytes();
    // No structure of the framework comes near 4 GiB.
    ULONG::from_le_bytes([a, b, c, d])
}

/// The newest framework function that the driver calls, and so the last of them in the table: it
/// came with KMDF 1.0. The driver is bound to no framework older than its manifest's
/// `target-kmdf-version-minor`, 1.27.
const NEWEST_FUNCTION: ULONG = _WDFFUNCENUM::WdfStringGetUnicodeStringTableIndex.cast_unsigned();

/// Calls a framework function through the framework's table.
macro_rules! wdf {
    ($name:ident $(, $argument:expr)* $(,)?) => {{
        $crate::framework::table::is_bound();
        wdk_sys::call_unsafe_wdf_function_binding!($name $(, $argument)*)
    }};
}
pub(super) use wdf;

/// What `WDF_OBJECT_ATTRIBUTES_INIT` writes. IRQL <= DISPATCH_LEVEL.
pub(super) fn attributes() -> WDF_OBJECT_ATTRIBUTES {
    WDF_OBJECT_ATTRIBUTES {
        Size: struct_size::<WDF_OBJECT_ATTRIBUTES>(),
        ExecutionLevel: _WDF_EXECUTION_LEVEL::WdfExecutionLevelInheritFromParent,
        SynchronizationScope: _WDF_SYNCHRONIZATION_SCOPE::WdfSynchronizationScopeInheritFromParent,
        ContextTypeInfo: null(),
        ..WDF_OBJECT_ATTRIBUTES::default()
    }
}

/// Tells the compiler the least length of the table: no call checks that its entry is there, and no
/// panic is linked for a failed check. IRQL <= DISPATCH_LEVEL.
#[inline]
pub(super) fn is_bound() {
    // SAFETY: written when the framework is bound, which is before any code of the driver runs.
    let count = unsafe { wdk_sys::WdfFunctionCount };
    // SAFETY: a framework with fewer functions is older than the driver accepts, and is not bound.
    unsafe { core::hint::assert_unchecked(count > NEWEST_FUNCTION) };
}
