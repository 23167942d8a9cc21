//! Safe wrappers over the framework (KMDF) functions that the driver uses.
//!
//! KMDF owns driver and device objects, attachment, PnP, power, and the control device with its queues. The
//! write path does not pass through it: see [`filter`](crate::filter).

pub mod device;
pub mod parameters;
pub mod queue;
pub mod request;

/// What a framework structure's `Size` field says.
pub(crate) const fn struct_size<T>() -> wdk_sys::ULONG {
    let [a, b, c, d, ..] = size_of::<T>().to_le_bytes();
    // No structure of the framework comes near 4 GiB.
    wdk_sys::ULONG::from_le_bytes([a, b, c, d])
}

/// Calls a framework function. The framework's table has every function that the driver uses since
/// KMDF 1.15, so each call finds its entry.
macro_rules! wdf {
    ($name:ident $(, $argument:expr)* $(,)?) => {
        wdk_sys::call_unsafe_wdf_function_binding!($name $(, $argument)*)
    };
}
pub(crate) use wdf;
