//! The driver: its file and its service.

use super::{Part, say_deleted};
use crate::error::SetupError;
use crate::machine::Machine;
use crate::names::DRIVER;
use crate::system::{ServiceState, Start};

/// The driver's file, and its service, which the boot loader starts.
pub(super) struct Driver;

impl Part for Driver {
    fn name(&self) -> &'static str {
        "driver"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let system = machine.system;
        let file = system.driver_file();
        let mut faults = Vec::new();
        match (system.read_file(&file)?, machine.package()) {
            (None, _) => faults.push(format!("{} is missing", file.display())),
            (found, Some(package)) if found != system.read_file(&package.driver())? => {
                faults.push(format!("{} is not the package's", file.display()));
            }
            _ => {}
        }
        match system.registration(DRIVER)? {
            None => faults.push(format!("the service {DRIVER} is missing")),
            Some(found) if found.start != Start::Boot => {
                faults.push(format!("the service {DRIVER} does not start with the boot loader"));
            }
            Some(found) if found.file != file => {
                let other = found.file.display();
                faults.push(format!("the service {DRIVER} has another file: {other}"));
            }
            Some(_) => {}
        }
        Ok(faults)
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let system = machine.system;
        let package = machine.needed_package()?;
        machine.prove_driver()?;
        if system.service_state(DRIVER)? == ServiceState::Running {
            system.note_restart()?;
        }
        system.install_driver(&package.inf)?;
        machine.say("driver", format_args!("{} ({DRIVER})", system.driver_file().display()))
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let system = machine.system;
        // A loaded driver stays in the device stacks until the restart.
        let is_loaded = system.service_state(DRIVER)? == ServiceState::Running;
        say_deleted(machine, "driver", DRIVER, system.delete_service(DRIVER)?)?;
        let file = system.driver_file();
        say_deleted(machine, "driver", file.display(), system.delete_file(&file, is_loaded)?)
    }
}
