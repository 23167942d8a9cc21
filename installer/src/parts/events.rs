//! The source of the service's events in the event log. Their messages are in the service's
//! program.

use std::path::PathBuf;

use super::Part;
use crate::error::SetupError;
use crate::machine::Machine;
use crate::names::SERVICE_PROGRAM;
use crate::system::EventSource;

/// The event source.
pub(super) struct Events;

impl Part for Events {
    fn name(&self) -> &'static str {
        "events"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let fault = match machine.system.event_source()? {
            EventSource::Messages(file) if file == messages(machine) => return Ok(Vec::new()),
            EventSource::Messages(file) => {
                format!("the event source has another message file: {}", file.display())
            }
            EventSource::Absent => "the event source is not registered".to_owned(),
            EventSource::Other => "the event source is registered in another way".to_owned(),
        };
        Ok(vec![fault])
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.register_events(&messages(machine))?;
        machine.say("events", "source registered")
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        if machine.system.event_source()? != EventSource::Absent {
            machine.note_change();
            machine.system.remove_events()?;
            machine.say("events", "source removed")?;
        }
        Ok(())
    }
}

/// The file with the messages.
fn messages(machine: &Machine<'_>) -> PathBuf {
    machine.system.program_folder().join(SERVICE_PROGRAM)
}
