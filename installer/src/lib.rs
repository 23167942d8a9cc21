//! `snapless-setup`: installs, removes and reports on the driver, the service and the command line.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`filter_list`] | the upper filters of a device class or a device |
//! | [`names`] | the names that are installed |
//! | [`system`] | the Windows functions that the setup needs, as a trait |
//! | [`install`], [`remove`], [`status`] | the commands; their order keeps the machine bootable |
//! | [`rescue`] | the script for a machine that does not boot all the same |
//! | `windows` | the trait on Windows: registry, `SetupAPI`, service manager |
//!
//! Rule: a list of filters never names a driver that is not installed, or that Windows has not
//! loaded on this machine. A machine that restarts with such a list does not boot (stop code 0x7B,
//! or 0xC0000428 for a signature that is refused).

pub mod arguments;
pub mod error;
pub mod filter_list;
pub mod install;
pub mod names;
pub mod remove;
pub mod rescue;
pub mod status;
pub mod system;
#[cfg(windows)]
pub mod windows;

#[cfg(test)]
mod test_system;
