//! What `snapless-setup` does, apart from its `main`.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`filter_list`] | the list of a class's or a device's upper filters |
//! | [`system`] | what the setup needs of Windows, as a trait |
//! | [`install`], [`remove`], [`status`] | the verbs, in the order that keeps the machine bootable |
//! | `windows` | the trait over the registry, `SetupAPI` and the service manager |
//!
//! Rule: at no instant does a list of filters name a driver that is not in place. A machine restarted at that
//! instant would not boot (stop code 0x7B).

pub mod arguments;
pub mod error;
pub mod filter_list;
pub mod install;
pub mod remove;
pub mod status;
pub mod system;
#[cfg(windows)]
pub mod windows;

#[cfg(test)]
mod test_system;

/// The driver's service, its name in lists of filters, and its file without `.sys`.
pub const DRIVER: &str = "snapless";
/// The service's name.
pub const SERVICE: &str = "SnaplessService";
/// The service as people see it.
pub const SERVICE_DISPLAY: &str = "Snapless service";
/// The service's program.
pub const SERVICE_PROGRAM: &str = "snapless-service.exe";
/// The command line.
pub const COMMAND_LINE: &str = "snapless.exe";
