//! `snapless-setup`: installs, repairs and removes the driver, the service and the command line.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`filter_list`] | the upper filters of a device class or a device |
//! | [`neighbours`] | where the driver stands among other filters |
//! | [`names`], [`package`], [`version`] | what is installed, and from where |
//! | [`system`] | what the setup asks Windows and what it changes, as a trait |
//! | [`machine`] | Windows and the package, for one run of one command |
//! | [`parts`] | what an installation consists of, in the order that keeps the machine bootable |
//! | [`install`], [`upgrade`], [`repair`], [`uninstall`], [`status`] | the commands |
//! | [`service_settings`] | recovery, privileges and the like of the service |
//! | [`counters`] | the manifest of the service's performance counters |
//! | [`rescue`] | the script for a machine that does not boot all the same |
//! | [`health`] | whether the machine boots |
//! | [`access`], [`image_path`] | what Windows says of a folder, and of a service's file |
//! | [`outcome`], [`report`] | exit codes, and what is printed |
//! | `windows` | the trait on Windows: registry, `SetupAPI`, service manager |
//!
//! Rule: a list of filters never names a driver that is not installed, or that Windows has not
//! loaded on this machine. A machine that restarts with such a list does not boot (stop code 0x7B,
//! or 0xC0000428 for a signature that is refused). It holds at every instant: the power may be cut
//! between any two changes, and the same command goes on afterwards.

pub mod access;
pub mod arguments;
pub mod counters;
pub mod error;
pub mod filter_list;
pub mod health;
pub mod image_path;
pub mod install;
pub mod machine;
pub mod names;
pub mod neighbours;
pub mod outcome;
pub mod package;
pub mod parts;
pub mod repair;
pub mod report;
pub mod rescue;
pub mod service_settings;
pub mod status;
pub mod system;
pub mod uninstall;
pub mod upgrade;
pub mod version;
#[cfg(windows)]
pub mod windows;

#[cfg(test)]
mod test_system;
#[cfg(test)]
mod tests;
