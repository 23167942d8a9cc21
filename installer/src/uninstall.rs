//! `snapless-setup uninstall`: takes all parts out, the filter first and the driver's file last.
//!
//! Rule: nothing of the driver is removed before every list of filters is free of its name.

use std::io::Write;

use crate::error::SetupError;
use crate::health;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::parts::{self, PARTS};
use crate::system::System;

/// Removes driver, service and programs; configuration, state and logs stay.
pub fn run(system: &dyn System, out: &mut dyn Write) -> Result<Outcome, SetupError> {
    let machine = Machine::new(system, None, out);
    health::guard(system, parts::take_out(&PARTS, &machine))?;
    let outcome = if system.needs_restart()? { Outcome::Restart } else { Outcome::Done };
    machine.line(match (machine.is_changed(), outcome) {
        (false, Outcome::Restart) => "Nothing to do. A restart is still needed.",
        (false, _) => "Nothing to do: nothing is installed.",
        (true, Outcome::Restart) => {
            "Done. Restart the machine. Until then the driver stays loaded and passes all requests \
             through."
        }
        (true, _) => "Done.",
    })?;
    Ok(outcome)
}
