//! The registration of the service's performance counters. The names of the counters are in the
//! service's program.
//!
//! Rule: protection does without them; what fails here is a warning.

use super::{Part, say_deleted};
use crate::error::SetupError;
use crate::machine::Machine;
use crate::system::Found;

/// The performance counters.
pub(super) struct Counters;

impl Part for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn is_needed(&self) -> bool {
        false
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let fault = "the performance counters of this version are not registered";
        Ok(match machine.system.counters()? {
            Found::AsWanted | Found::Unsupported => Vec::new(),
            Found::Other => vec![fault.to_owned()],
        })
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.register_counters()?;
        machine.say("counters", "performance counters registered")
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let outcome = machine.system.remove_counters()?;
        say_deleted(machine, "counters", "performance counters", outcome)
    }
}
