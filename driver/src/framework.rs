//! Safe wrappers over the framework (KMDF) functions that the driver uses.
//!
//! KMDF owns driver and device objects, attachment, PnP, power, and the control device with its
//! queues. Its callbacks are here too: they turn raw arguments into values, and call the traits
//! that the driver implements ([`DriverCallbacks`](driver::DriverCallbacks),
//! [`PnpCallbacks`](filter_device::PnpCallbacks), [`IoCallbacks`](filter_device::IoCallbacks),
//! [`ControlCallbacks`](control_device::ControlCallbacks)).

pub mod control_device;
pub mod driver;
pub mod filter_device;
pub mod parameters;
pub mod queue;
pub mod request;
mod table;
