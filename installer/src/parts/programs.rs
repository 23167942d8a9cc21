//! The service's program and the command line.

use super::{Part, say_deleted};
use crate::error::SetupError;
use crate::machine::Machine;
use crate::names::{COMMAND_LINE, SERVICE, SERVICE_PROGRAM};

/// The programs, in the program folder.
pub(super) struct Programs;

const NAMES: [&str; 2] = [SERVICE_PROGRAM, COMMAND_LINE];

impl Part for Programs {
    fn name(&self) -> &'static str {
        "program"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let mut faults = Vec::new();
        for name in NAMES {
            let file = machine.system.program_folder().join(name);
            match (machine.system.read_file(&file)?, machine.package()) {
                (None, _) => faults.push(format!("{} is missing", file.display())),
                (found, Some(package))
                    if found != machine.system.read_file(&package.program(name))? =>
                {
                    faults.push(format!("{} is not the package's", file.display()));
                }
                _ => {}
            }
        }
        Ok(faults)
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let system = machine.system;
        let package = machine.needed_package()?;
        // A running program cannot be replaced.
        machine.pause_service()?;
        for name in NAMES {
            let (packaged, file) = (package.program(name), system.program_folder().join(name));
            if system.read_file(&file)? != system.read_file(&packaged)? {
                system.copy_program(&packaged)?;
                machine.say("program", file.display())?;
            }
        }
        Ok(())
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        // Its service may be gone, and it may run all the same.
        machine.system.stop_service(SERVICE)?;
        for name in NAMES {
            let file = machine.system.program_folder().join(name);
            say_deleted(
                machine,
                "program",
                file.display(),
                machine.system.delete_file(&file, false)?,
            )?;
        }
        Ok(())
    }
}
