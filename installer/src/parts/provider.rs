//! The COM class of the service's VSS provider, by which bookmarks are made while applications are
//! frozen. With VSS the service registers it itself, for as long as that takes.
//!
//! Rule: protection does without it; what fails here is a warning.

use super::{Part, say_deleted};
use crate::error::SetupError;
use crate::machine::Machine;
use crate::system::Found;

/// The provider.
pub(super) struct Provider;

impl Part for Provider {
    fn name(&self) -> &'static str {
        "provider"
    }

    fn is_needed(&self) -> bool {
        false
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let fault = "the COM class of the VSS provider is not registered";
        Ok(match machine.system.provider()? {
            Found::AsWanted | Found::Unsupported => Vec::new(),
            Found::Other => vec![fault.to_owned()],
        })
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.register_provider()?;
        machine.say("provider", "COM class registered")
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let outcome = machine.system.remove_provider()?;
        say_deleted(machine, "provider", "COM class of the VSS provider", outcome)
    }
}
