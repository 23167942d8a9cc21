//! The folder of configuration, state and logs.

use super::Part;
use crate::error::SetupError;
use crate::machine::Machine;
use crate::system::Found;

/// The folder, for SYSTEM and Administrators only.
pub(super) struct DataFolder;

impl Part for DataFolder {
    fn name(&self) -> &'static str {
        "data"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        if machine.system.data_folder_access()? != Found::Other {
            return Ok(Vec::new());
        }
        let folder = machine.system.data_folder();
        Ok(vec![format!("{} is not there, or open to others", folder.display())])
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.secure_data_folder()?;
        let folder = machine.system.data_folder();
        let access = match machine.system.data_folder_access()? {
            Found::Unsupported => "this system keeps no access lists",
            Found::AsWanted | Found::Other => "for SYSTEM and Administrators only",
        };
        machine.say("data", format_args!("{}: {access}", folder.display()))
    }

    /// It stays: configuration, identity and state are of use to the next installation.
    fn take_out(&self, _machine: &Machine<'_>) -> Result<(), SetupError> {
        Ok(())
    }
}
