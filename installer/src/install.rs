//! `snapless-setup install`: puts in place what is not, in the order of the parts.
//!
//! Rule: nothing is changed for a package that is not complete, that Windows does not trust, or
//! that is older than what is installed. To install over an older version is an upgrade.

use std::io::Write;

use crate::error::SetupError;
use crate::health;
use crate::machine::Machine;
use crate::names::{DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::neighbours::doubts;
use crate::outcome::Outcome;
use crate::package::Package;
use crate::parts::{self, PARTS};
use crate::system::{Signature, System};

/// Installs the package.
pub fn run(
    package: &Package,
    system: &dyn System,
    out: &mut dyn Write,
) -> Result<Outcome, SetupError> {
    let machine = Machine::new(system, Some(package), out);
    check(package, &machine)?;
    refuse_older(package, system)?;
    put(&machine)
}

/// Checks what must hold before anything of a package is put in place.
pub(crate) fn check(package: &Package, machine: &Machine<'_>) -> Result<(), SetupError> {
    package.check(machine.system)?;
    refuse_while_removed(machine.system)?;
    check_signature(package, machine)
}

/// The restart would delete what is put in place.
fn refuse_while_removed(system: &dyn System) -> Result<(), SetupError> {
    let program = system.program_folder().join(SERVICE_PROGRAM);
    for (name, file) in [(DRIVER, system.driver_file()), (SERVICE, program)] {
        if system.is_service_deleted_at_restart(name)? || system.is_deleted_at_restart(&file)? {
            return Err(SetupError::RemovalPending(name));
        }
    }
    Ok(())
}

/// Puts the parts in place, and says what is left to do.
pub(crate) fn put(machine: &Machine<'_>) -> Result<Outcome, SetupError> {
    health::guard(machine.system, parts::put(&PARTS, machine))?;
    let outcome = machine.outcome()?;
    machine.line(match (machine.is_changed(), outcome) {
        (false, Outcome::Restart) => "Nothing to do. A restart is still needed.",
        (false, _) => "Nothing to do: all is in place.",
        (true, Outcome::Restart) => {
            "Done. Restart the machine: Windows loads the driver when the volumes start."
        }
        (true, _) => "Done.",
    })?;
    for doubt in doubts(&machine.system.class_filters()?) {
        machine.say("WARNING", doubt)?;
    }
    let configuration = machine.system.data_folder().join("service.toml");
    if machine.system.read_file(&configuration)?.is_none() {
        machine.line("Then: `snapless enroll SERVER --token TOKEN`, `snapless protect D:`.")?;
    }
    Ok(outcome)
}

fn check_signature(package: &Package, machine: &Machine<'_>) -> Result<(), SetupError> {
    let driver = package.driver();
    match machine.system.signature(&driver)? {
        Signature::Trusted => machine.say("signature", "trusted by Windows"),
        Signature::Test(why) => machine
            .say("signature", format_args!("of a test machine, where test signing is on: {why}")),
        Signature::Refused(why) if package.untrusted => {
            machine.say("signature", format_args!("NOT trusted by Windows: {why}"))
        }
        Signature::Refused(why) => Err(SetupError::Signature { file: driver, why }),
    }
}

fn refuse_older(package: &Package, system: &dyn System) -> Result<(), SetupError> {
    for (packaged, file) in package.files(system) {
        if let (Some(offered), Some(installed)) =
            (system.version(&packaged)?, system.version(&file)?)
            && offered < installed
            && !package.force
        {
            return Err(SetupError::Older { file, installed, offered });
        }
    }
    Ok(())
}
