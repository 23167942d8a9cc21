//! The service's registration.

use super::{Part, say_deleted};
use crate::error::SetupError;
use crate::machine::Machine;
use crate::names::{SERVICE, SERVICE_PROGRAM};
use crate::system::Start;

/// The service, which starts with the machine.
pub(super) struct Service;

impl Part for Service {
    fn name(&self) -> &'static str {
        "service"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let program = machine.system.program_folder().join(SERVICE_PROGRAM);
        Ok(match machine.system.registration(SERVICE)? {
            None => vec![format!("{SERVICE} is not registered")],
            Some(found) if found.file != program => {
                vec![format!("{SERVICE} has another program: {}", found.file.display())]
            }
            Some(found) if found.start != Start::Automatic => {
                vec![format!("{SERVICE} does not start with the machine")]
            }
            Some(_) => Vec::new(),
        })
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let program = machine.system.program_folder().join(SERVICE_PROGRAM);
        machine.system.register_service(&program)?;
        machine.say("service", format_args!("{SERVICE}: {}", program.display()))
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.stop_service(SERVICE)?;
        say_deleted(machine, "service", SERVICE, machine.system.delete_service(SERVICE)?)
    }
}
