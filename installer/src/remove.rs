//! `snapless-setup remove`: the driver's name in all lists of filters first, its file last.
//!
//! Rule: nothing of the driver is removed before every list of filters is free of its name. The
//! loaded driver stays in the device stacks until the restart, which deletes its file.

use std::io::Write;
use std::path::Path;

use crate::error::SetupError;
use crate::names::{COMMAND_LINE, DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::system::{Deleted, System};

/// Removes driver, service and command line.
pub fn run(system: &dyn System, out: &mut dyn Write) -> Result<(), SetupError> {
    unregister_filter(system, out)?;
    system.stop_service(SERVICE)?;
    say(out, "service", SERVICE, system.delete_service(SERVICE)?)?;
    for program in [SERVICE_PROGRAM, COMMAND_LINE] {
        let file = system.program_folder().join(program);
        say_file(out, "program", &file, system.delete_file(&file, false)?)?;
    }
    say(out, "driver", DRIVER, system.delete_service(DRIVER)?)?;
    let driver = system.driver_file();
    say_file(out, "driver", &driver, system.delete_file(&driver, true)?)?;
    writeln!(
        out,
        "Restart the machine to complete the removal. Until then the driver stays loaded and \
         passes all requests through."
    )?;
    Ok(())
}

fn unregister_filter(system: &dyn System, out: &mut dyn Write) -> Result<(), SetupError> {
    let mut filters = system.class_filters()?;
    if filters.remove(DRIVER) {
        system.set_class_filters(&filters)?;
        writeln!(out, "filters   {DRIVER} removed from the volume class")?;
    } else {
        writeln!(out, "filters   {DRIVER} was not on the volume class")?;
    }
    // A Windows upgrade may have moved the class's filters to its devices.
    let devices = system.remove_device_filters(DRIVER)?;
    if devices > 0 {
        writeln!(out, "filters   {DRIVER} removed from {devices} device(s)")?;
    }
    Ok(())
}

fn say_file(
    out: &mut dyn Write,
    what: &str,
    file: &Path,
    outcome: Deleted,
) -> Result<(), SetupError> {
    say(out, what, &file.display().to_string(), outcome)
}

fn say(out: &mut dyn Write, what: &str, name: &str, outcome: Deleted) -> Result<(), SetupError> {
    let outcome = match outcome {
        Deleted::Now => "removed",
        Deleted::AtRestart => "the restart removes it",
        Deleted::Absent => "was not there",
    };
    writeln!(out, "{what:<9} {name}: {outcome}")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install;
    use crate::test_system::{Step, TestSystem};

    fn remove(system: &TestSystem) -> String {
        let mut out = Vec::new();
        run(system, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_filter_is_removed_first_and_the_drivers_file_last() {
        let system = TestSystem::new(&["volsnap", "other"]);
        install::run(&system.package(), &system, &mut Vec::new()).unwrap();
        system.clear_steps();
        let text = remove(&system);
        let steps = system.steps();
        assert_eq!(steps[0], Step::SetFilters("volsnap,other".into()));
        assert_eq!(steps[1], Step::RemoveDeviceFilters);
        assert_eq!(steps.last(), Some(&Step::DeleteFile("snapless.sys".into(), true)));
        assert!(text.contains("snapless.sys: the restart removes it"), "{text}");
        assert!(text.contains("Restart the machine"), "{text}");
    }

    #[test]
    fn nothing_is_removed_if_the_filter_cannot_be() {
        let system = TestSystem::new(&["snapless"]);
        system.refuse_filters();
        assert!(run(&system, &mut Vec::new()).is_err());
        assert_eq!(system.steps(), []);
    }

    #[test]
    fn a_second_removal_is_not_an_error() {
        let system = TestSystem::new(&[]);
        let text = remove(&system);
        assert!(text.contains("was not on the volume class"), "{text}");
        assert!(text.contains("was not there"), "{text}");
        assert!(!system.steps().iter().any(|step| matches!(step, Step::SetFilters(_))));
    }
}
