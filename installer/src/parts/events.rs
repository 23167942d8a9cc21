//! The source of the service's events in the event log.

use super::Part;
use crate::error::SetupError;
use crate::machine::Machine;

/// The event source.
pub(super) struct Events;

impl Part for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let found = machine.system.has_event_source()?;
        Ok(if found { Vec::new() } else { vec!["the event source is not registered".to_owned()] })
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.register_events()?;
        machine.say("events", "source registered")
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        if machine.system.has_event_source()? {
            machine.note_change();
            machine.system.remove_events()?;
            machine.say("events", "source removed")?;
        }
        Ok(())
    }
}
