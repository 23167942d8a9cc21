//! The driver's entry in the upper filters of the volume class.

use super::Part;
use crate::error::SetupError;
use crate::machine::Machine;
use crate::names::DRIVER;
use crate::neighbours::{doubts, placed};

/// The entry: once in the class's list, and in no device's own list.
pub(super) struct Filter;

impl Part for Filter {
    fn name(&self) -> &'static str {
        "filters"
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        let filters = machine.system.class_filters()?;
        let mut faults = Vec::new();
        if !filters.contains(DRIVER) {
            faults.push(format!("{DRIVER} is not on the volume class"));
        } else if filters != placed(&filters) {
            let doubts = doubts(&filters);
            let twice = || vec![format!("{DRIVER} is in the list twice: {filters}")];
            faults.extend(if doubts.is_empty() { twice() } else { doubts });
        }
        // A Windows upgrade may move the class's filters to its devices. A device that has the
        // driver in both lists has it twice in its stack.
        let devices = machine.system.device_filters(DRIVER)?;
        if devices > 0 {
            faults.push(format!("{DRIVER} is in the own lists of {devices} device(s)"));
        }
        Ok(faults)
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let system = machine.system;
        machine.prove_driver()?;
        system.note_restart()?;
        // First: no device has the driver twice in its stack, wherever the power is cut.
        if system.device_filters(DRIVER)? > 0 {
            system.remove_device_filters(DRIVER)?;
        }
        let filters = system.class_filters()?;
        let wanted = placed(&filters);
        if filters != wanted {
            system.set_class_filters(&wanted)?;
        }
        machine.say("filters", wanted)
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        let system = machine.system;
        let mut filters = system.class_filters()?;
        if filters.remove(DRIVER) {
            machine.note_change();
            system.note_restart()?;
            system.set_class_filters(&filters)?;
            machine.say("filters", format_args!("{DRIVER} removed from the volume class"))?;
        }
        let devices = system.device_filters(DRIVER)?;
        if devices > 0 {
            machine.note_change();
            system.note_restart()?;
            system.remove_device_filters(DRIVER)?;
            machine.say("filters", format_args!("{DRIVER} removed from {devices} device(s)"))?;
        }
        Ok(())
    }
}
