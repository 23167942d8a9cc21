//! What an installation consists of: each part says what is wrong with it, puts itself in place and
//! takes itself out.
//!
//! Rule: [`PARTS`] is the order of every command. The filter is the last one in and the first one
//! out: a list of filters never names a driver that is not installed, or that Windows has not
//! loaded on this machine. A machine that restarts with such a list does not boot.

mod counters;
mod data_folder;
mod driver;
mod events;
mod filter;
mod programs;
mod provider;
mod service;
mod starts;
mod store;
mod trial;

use crate::error::SetupError;
use crate::machine::Machine;
use crate::names::{COMMAND_LINE, DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::system::{Deleted, ServiceState, System};

/// A part of the installation.
pub trait Part: Sync {
    /// Its name in messages.
    fn name(&self) -> &'static str;

    /// False for what protection does without: if it cannot be put in place or taken out, that is
    /// a warning.
    fn is_needed(&self) -> bool {
        true
    }

    /// What is wrong with it; nothing if it is in place. A file is compared with the package's if
    /// there is one.
    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError>;

    /// Puts it in place.
    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError>;

    /// Takes it out, if it is there.
    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError>;
}

/// All parts in the order in which they are put in place.
pub const PARTS: [&dyn Part; 11] = [
    &trial::Trial,
    &driver::Driver,
    &store::Store,
    &starts::Starts,
    &programs::Programs,
    &data_folder::DataFolder,
    &service::Service,
    &events::Events,
    &counters::Counters,
    &provider::Provider,
    &filter::Filter,
];

/// Puts each part in place that is not, in this order.
pub fn put(parts: &[&dyn Part], machine: &Machine<'_>) -> Result<(), SetupError> {
    let outcome =
        parts.iter().try_for_each(|part| tolerated(*part, put_one(*part, machine), machine));
    // Whatever has failed: the service that ran before goes on.
    let resumed = machine.resume_service();
    outcome.and(resumed)
}

fn put_one(part: &dyn Part, machine: &Machine<'_>) -> Result<(), SetupError> {
    let faults = part.faults(machine)?;
    if faults.is_empty() {
        return Ok(());
    }
    for fault in faults {
        machine.say(part.name(), fault)?;
    }
    machine.note_change();
    part.put(machine)?;
    // That a call succeeded is no proof.
    match part.faults(machine)?.into_iter().next() {
        None => Ok(()),
        Some(why) => Err(SetupError::NotInPlace { part: part.name(), why }),
    }
}

/// Takes all parts out, in the reverse order.
pub fn take_out(parts: &[&dyn Part], machine: &Machine<'_>) -> Result<(), SetupError> {
    parts.iter().rev().try_for_each(|part| tolerated(*part, part.take_out(machine), machine))
}

/// Makes a warning of the failure of a part that is not needed.
fn tolerated(
    part: &dyn Part,
    outcome: Result<(), SetupError>,
    machine: &Machine<'_>,
) -> Result<(), SetupError> {
    match outcome {
        Err(error) if !part.is_needed() => {
            machine.say("WARNING", format_args!("{}: {error}", part.name()))
        }
        outcome => outcome,
    }
}

/// True if any part of the product is installed.
pub fn anything_is_installed(system: &dyn System) -> Result<bool, SetupError> {
    if system.is_deleted_at_restart(&system.driver_file())? {
        return Ok(false);
    }
    let program = |name| system.read_file(&system.program_folder().join(name));
    Ok(system.class_filters()?.contains(DRIVER)
        || system.service_state(DRIVER)? != ServiceState::Absent
        || system.service_state(SERVICE)? != ServiceState::Absent
        || system.read_file(&system.driver_file())?.is_some()
        || program(SERVICE_PROGRAM)?.is_some()
        || program(COMMAND_LINE)?.is_some())
}

/// Says how a deletion ended.
fn say_deleted(
    machine: &Machine<'_>,
    part: &str,
    what: impl std::fmt::Display,
    outcome: Deleted,
) -> Result<(), SetupError> {
    match outcome {
        Deleted::Absent | Deleted::Pending => return Ok(()),
        Deleted::Now => machine.say(part, format_args!("{what}: removed"))?,
        Deleted::AtRestart => {
            machine.system.note_restart()?;
            machine.say(part, format_args!("{what}: the restart removes it"))?;
        }
    }
    machine.note_change();
    Ok(())
}
