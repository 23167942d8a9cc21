//! The driver's packages in the driver store of Windows: the installed one, and those that upgrades
//! have left.
//!
//! Rule: none is removed before every list of filters is free of the driver's name. With a package
//! Windows undoes its installation, service and file included, whichever version is installed by
//! then. An upgrade therefore leaves the older package, and the removal takes all of them.

use super::Part;
use crate::error::SetupError;
use crate::machine::Machine;

/// The packages. `DiInstallDriver` puts one in with the driver.
pub(super) struct Store;

impl Part for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    /// A copy that is left is used by nothing.
    fn is_needed(&self) -> bool {
        false
    }

    fn faults(&self, _machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        Ok(Vec::new())
    }

    fn put(&self, _machine: &Machine<'_>) -> Result<(), SetupError> {
        Ok(())
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        for package in machine.system.driver_packages()? {
            machine.note_change();
            machine.system.remove_driver_package(&package)?;
            machine.say("store", format_args!("{package}: removed from the driver store"))?;
        }
        Ok(())
    }
}
