//! `snapless-setup status`: what is installed, and whether the machine would boot with it.

use std::io::Write;

use serde::Serialize;

use crate::error::SetupError;
use crate::names::{DRIVER, SERVICE};
use crate::system::{ServiceState, System};

/// Prints the status.
pub fn run(json: bool, system: &dyn System, out: &mut dyn Write) -> Result<(), SetupError> {
    let status = Status::read(system)?;
    if json {
        serde_json::to_writer_pretty(&mut *out, &status)?;
        writeln!(out)?;
        return Ok(());
    }
    status.print(out)
}

#[derive(Serialize)]
struct Status {
    /// The volume class's upper filters, the lowest first.
    class_filters: Vec<String>,
    filter_registered: bool,
    driver: ServiceState,
    driver_file: String,
    driver_file_present: bool,
    service: ServiceState,
    /// False if the filter is registered and the driver is not installed.
    boots: bool,
}

impl Status {
    fn read(system: &dyn System) -> Result<Self, SetupError> {
        let filters = system.class_filters()?;
        let driver = system.service_state(DRIVER)?;
        let file = system.driver_file();
        let in_place = driver != ServiceState::Absent && file.is_file();
        Ok(Self {
            filter_registered: filters.contains(DRIVER),
            boots: in_place || !filters.contains(DRIVER),
            class_filters: filters.names().to_vec(),
            driver,
            driver_file_present: file.is_file(),
            driver_file: file.display().to_string(),
            service: system.service_state(SERVICE)?,
        })
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), SetupError> {
        let registered = if self.filter_registered { "registered" } else { "not registered" };
        let present = if self.driver_file_present { "" } else { " (not there)" };
        writeln!(out, "filter    {registered}: {}", self.class_filters.join(", "))?;
        writeln!(out, "driver    {}: {}{present}", name(self.driver), self.driver_file)?;
        writeln!(out, "service   {}", name(self.service))?;
        if !self.boots {
            writeln!(
                out,
                "\nDANGER: the volume class names the driver, and the driver is not installed. The \
                 machine will not boot. Before a restart, run `snapless-setup remove` or \
                 `snapless-setup install`."
            )?;
        }
        Ok(())
    }
}

fn name(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Absent => "not installed",
        ServiceState::Stopped => "installed, not running",
        ServiceState::Running => "running",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::install;
    use crate::test_system::TestSystem;

    fn status(json: bool, system: &TestSystem) -> String {
        let mut out = Vec::new();
        run(json, system, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_status_before_and_after_an_installation_differs() {
        let system = TestSystem::new(&["volsnap"]);
        assert!(status(false, &system).contains("not registered: volsnap"));
        install::run(&system.package(), &system, &mut Vec::new()).unwrap();
        let text = status(false, &system);
        assert!(text.contains("registered: volsnap, snapless"), "{text}");
        assert!(!text.contains("DANGER"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&status(true, &system)).unwrap();
        assert_eq!(json["filter_registered"], true);
        assert_eq!(json["driver"], "stopped");
        assert_eq!(json["boots"], true);
    }

    #[test]
    fn a_filter_without_its_driver_is_a_danger() {
        let system = TestSystem::new(&["snapless"]);
        assert!(status(false, &system).contains("DANGER"));
    }
}
