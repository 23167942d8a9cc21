//! The driver's count of starts that no program reached (`snapless-driver-logic`, `starts`).

use super::Part;
use crate::error::SetupError;
use crate::machine::Machine;

/// The count, which is set back.
pub(super) struct Starts;

impl Part for Starts {
    fn name(&self) -> &'static str {
        "starts"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let failed = machine.system.starts_have_failed()?;
        let fault = "no program reached the driver after the last starts: it protects nothing";
        Ok(if failed { vec![fault.to_owned()] } else { Vec::new() })
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.note_restart()?;
        machine.system.forget_failed_starts()?;
        machine.say("starts", "the driver protects again after the restart")
    }

    /// It goes with the driver's service.
    fn take_out(&self, _machine: &Machine<'_>) -> Result<(), SetupError> {
        Ok(())
    }
}
