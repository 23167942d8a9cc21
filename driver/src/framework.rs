//! Safe wrappers over the framework (KMDF) functions that the driver uses.
//!
//! KMDF owns driver and device objects, attachment, PnP, power, and the control device with its queues. The
//! write path does not pass through it: see [`filter`](crate::filter).

pub mod device;
pub mod parameters;
pub mod queue;
pub mod request;

use wdk_sys::{_WDFFUNCENUM, ULONG};

/// What a framework structure's `Size` field says. IRQL <= DISPATCH_LEVEL.
pub(crate) const fn struct_size<T>() -> ULONG {
    let [a, b, c, d, ..] = size_of::<T>().to_le_bytes();
    // No structure of the framework comes near 4 GiB.
    ULONG::from_le_bytes([a, b, c, d])
}

/// The newest function that the driver calls, which is the last of them in the table: it came with KMDF 1.11. The driver
/// is bound to no framework older than its manifest's `minimum-kmdf-version-minor`, 1.27.
const NEWEST_FUNCTION: ULONG =
    _WDFFUNCENUM::WdfDeviceInitSetRemoveLockOptionsTableIndex.cast_unsigned();

/// Calls a framework function. The framework's table has every function that the driver uses, so each call finds its
/// entry.
macro_rules! wdf {
    ($name:ident $(, $argument:expr)* $(,)?) => {{
        $crate::framework::is_bound();
        wdk_sys::call_unsafe_wdf_function_binding!($name $(, $argument)*)
    }};
}
pub(crate) use wdf;

/// Lets the compiler know how long the table is at least: then no call has to check that its entry is there, and no
/// panic is linked for a check that failed. IRQL <= DISPATCH_LEVEL.
#[inline]
pub(crate) fn is_bound() {
    // SAFETY: written when the framework is bound, which is before any code of the driver runs.
    let count = unsafe { wdk_sys::WdfFunctionCount };
    // SAFETY: a framework with fewer functions is older than the driver accepts, and is not bound.
    unsafe { core::hint::assert_unchecked(count > NEWEST_FUNCTION) };
}
