//! The service's registration.

use super::{Part, say_deleted};
use crate::error::SetupError;
use crate::machine::Machine;
use crate::names::{SERVICE, SERVICE_PROGRAM};
use crate::service_settings::Setting;
use crate::system::{Found, Start};

/// The service, which starts with the machine, with its settings. They count at its next start.
pub(super) struct Service;

impl Part for Service {
    fn name(&self) -> &'static str {
        "service"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let program = machine.system.program_folder().join(SERVICE_PROGRAM);
        let mut faults = match machine.system.registration(SERVICE)? {
            None => return Ok(vec![format!("{SERVICE} is not registered")]),
            Some(found) if found.file != program => {
                vec![format!("{SERVICE} has another program: {}", found.file.display())]
            }
            Some(found) if found.start != Start::Automatic => {
                vec![format!("{SERVICE} does not start with the machine")]
            }
            Some(_) => Vec::new(),
        };
        for setting in Setting::ALL {
            if machine.system.setting(setting)? == Found::Other {
                faults.push(format!("{SERVICE} has another {}", setting.name()));
            }
        }
        Ok(faults)
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let program = machine.system.program_folder().join(SERVICE_PROGRAM);
        let system = machine.system;
        let is_registered = system
            .registration(SERVICE)?
            .is_some_and(|found| found.file == program && found.start == Start::Automatic);
        if !is_registered {
            system.register_service(&program)?;
            machine.say("service", format_args!("{SERVICE}: {}", program.display()))?;
        }
        for setting in Setting::ALL {
            match system.setting(setting)? {
                Found::AsWanted => {}
                Found::Other => system.set(setting)?,
                Found::Unsupported => {
                    let name = setting.name();
                    machine.say("service", format_args!("{name}: this system has none"))?;
                }
            }
        }
        Ok(())
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.stop_service(SERVICE)?;
        say_deleted(machine, "service", SERVICE, machine.system.delete_service(SERVICE)?)
    }
}
