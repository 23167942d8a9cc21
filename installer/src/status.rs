//! `snapless-setup status`: what is installed, what is wrong with it, and whether the machine
//! boots.

use std::io::Write;

use serde::Serialize;

use crate::error::SetupError;
use crate::filter_list::FilterList;
use crate::health;
use crate::machine::Machine;
use crate::names::{DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::neighbours::{doubts, placed};
use crate::parts::{self, PARTS};
use crate::service_settings::Setting;
use crate::system::{Found, ServiceState, System};

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
#[allow(clippy::struct_excessive_bools, reason = "fields of the JSON")]
struct Status {
    /// False if no part of the product is there.
    installed: bool,
    /// The service's version.
    version: Option<String>,
    /// The volume class's upper filters, the lowest first.
    class_filters: Vec<String>,
    filter_registered: bool,
    driver: ServiceState,
    driver_file: String,
    driver_file_present: bool,
    service: ServiceState,
    /// What `repair` puts right.
    faults: Vec<Fault>,
    /// Settings of the service that this system does not have.
    unknown: Vec<&'static str>,
    /// What a repair does not put right, or what protection does without.
    warnings: Vec<String>,
    /// A restart completes an earlier command.
    restart_needed: bool,
    /// False if the driver is a filter and not installed.
    boots: bool,
}

#[derive(Serialize)]
struct Fault {
    part: &'static str,
    fault: String,
}

impl Status {
    fn read(system: &dyn System) -> Result<Self, SetupError> {
        let filters = system.class_filters()?;
        let file = system.driver_file();
        let installed = parts::anything_is_installed(system)?;
        let version = system.version(&system.program_folder().join(SERVICE_PROGRAM))?;
        Ok(Self {
            installed,
            version: version.map(|version| version.to_string()),
            filter_registered: filters.contains(DRIVER),
            class_filters: filters.names().to_vec(),
            driver: system.service_state(DRIVER)?,
            driver_file_present: system.read_file(&file)?.is_some(),
            driver_file: file.display().to_string(),
            service: system.service_state(SERVICE)?,
            faults: if installed { faults(system, true)? } else { Vec::new() },
            unknown: unknown(system)?,
            warnings: warnings(system, &filters, installed)?,
            restart_needed: system.needs_restart()?,
            boots: health::boots(system)?,
        })
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), SetupError> {
        let registered = if self.filter_registered { "registered" } else { "not registered" };
        let present = if self.driver_file_present { "" } else { " (not there)" };
        writeln!(out, "version   {}", self.version.as_deref().unwrap_or("unknown"))?;
        writeln!(out, "filter    {registered}: {}", self.class_filters.join(", "))?;
        writeln!(out, "driver    {}: {}{present}", name(self.driver), self.driver_file)?;
        writeln!(out, "service   {}", name(self.service))?;
        if !self.faults.is_empty() {
            writeln!(out, "\nWrong, and put right by `snapless-setup repair`:")?;
        }
        for Fault { part, fault } in &self.faults {
            writeln!(out, "  {part}: {fault}")?;
        }
        for setting in &self.unknown {
            writeln!(out, "service: {setting}: unknown to this system")?;
        }
        for warning in &self.warnings {
            writeln!(out, "\nWARNING: {warning}")?;
        }
        if self.restart_needed {
            writeln!(out, "\nA restart of the machine is needed.")?;
        }
        if !self.boots {
            writeln!(out, "\n{}", crate::error::DANGER)?;
        }
        Ok(())
    }
}

/// The faults of parts that are needed, or of the others.
fn faults(system: &dyn System, needed: bool) -> Result<Vec<Fault>, SetupError> {
    let mut nowhere = std::io::sink();
    let machine = Machine::new(system, None, &mut nowhere);
    let mut all = Vec::new();
    for part in PARTS.into_iter().filter(|part| part.is_needed() == needed) {
        let of_part = part.faults(&machine)?.into_iter();
        all.extend(of_part.map(|fault| Fault { part: part.name(), fault }));
    }
    Ok(all)
}

fn warnings(
    system: &dyn System,
    filters: &FilterList,
    installed: bool,
) -> Result<Vec<String>, SetupError> {
    let placed_as_wanted = *filters == placed(filters);
    let mut warnings = if placed_as_wanted { doubts(filters) } else { Vec::new() };
    if installed {
        let again = "`snapless-setup repair` tries again; protection does without";
        let of_parts = faults(system, false)?.into_iter();
        warnings.extend(of_parts.map(|Fault { fault, .. }| format!("{fault}: {again}")));
    }
    Ok(warnings)
}

fn unknown(system: &dyn System) -> Result<Vec<&'static str>, SetupError> {
    let mut unknown = Vec::new();
    for setting in Setting::ALL {
        if system.setting(setting)? == Found::Unsupported {
            unknown.push(setting.name());
        }
    }
    Ok(unknown)
}

fn name(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Absent => "not installed",
        ServiceState::Stopped => "installed, not running",
        ServiceState::Running => "running",
    }
}
