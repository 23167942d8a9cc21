//! What a trial of a driver leaves if it is cut short.

use super::Part;
use crate::error::SetupError;
use crate::machine::Machine;

/// The trial's file and service, which are removed.
pub(super) struct Trial;

impl Part for Trial {
    fn name(&self) -> &'static str {
        "trial"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let left = machine.system.has_trial()?;
        let fault = "a trial of a driver was cut short and has left files";
        Ok(if left { vec![fault.to_owned()] } else { Vec::new() })
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.clear_trial()?;
        machine.say("trial", "removed")
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        if machine.system.has_trial()? {
            machine.note_change();
            self.put(machine)?;
        }
        Ok(())
    }
}
