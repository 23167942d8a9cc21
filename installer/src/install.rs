//! `snapless-setup install`: the driver's file and service first, the class filter last.
//!
//! Rule: the filter is registered only after Windows has loaded the driver on this machine: a class
//! filter that does not load leaves the system volume without its device, whatever its service says
//! of errors. Every step can be repeated: an upgrade is an installation over an older one.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::SetupError;
use crate::names::{COMMAND_LINE, DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::system::{DriverStart, ServiceState, Signature, System};

/// Where the files to install are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// The driver's INF.
    pub inf: PathBuf,
    /// Folder of the programs.
    pub programs: PathBuf,
    /// Take a driver whose signature Windows does not trust.
    pub untrusted: bool,
}

impl Package {
    fn service(&self) -> PathBuf {
        self.programs.join(SERVICE_PROGRAM)
    }

    fn command_line(&self) -> PathBuf {
        self.programs.join(COMMAND_LINE)
    }

    fn driver(&self) -> PathBuf {
        self.inf.with_file_name(format!("{DRIVER}.sys"))
    }

    /// Checks that no file is missing, before anything changes.
    fn check(&self) -> Result<(), SetupError> {
        for file in [self.inf.clone(), self.driver(), self.service(), self.command_line()] {
            if !file.is_file() {
                return Err(SetupError::Missing(file));
            }
        }
        Ok(())
    }
}

/// Installs the package.
pub fn run(package: &Package, system: &dyn System, out: &mut dyn Write) -> Result<(), SetupError> {
    package.check()?;
    let driver = system.driver_file();
    if system.is_deleted_at_restart(&driver)? {
        return Err(SetupError::RemovalPending(driver));
    }
    verify(&package.driver(), package.untrusted, system, out)?;
    install_driver(package, system, out)?;
    load_driver(system, out)?;
    install_service(package, system, out)?;
    register_filter(system, out)?;
    writeln!(
        out,
        "Done. Write {}, then restart the machine: Windows loads the driver when the \
         volumes start.",
        system.secure_data_folder()?.join("service.toml").display()
    )?;
    Ok(())
}

fn install_driver(
    package: &Package,
    system: &dyn System,
    out: &mut dyn Write,
) -> Result<(), SetupError> {
    system.run_inf(&package.inf)?;
    let registered = system.service_state(DRIVER)? != ServiceState::Absent;
    if !registered || !system.driver_file().is_file() {
        return Err(SetupError::NotInstalled(package.inf.clone()));
    }
    writeln!(out, "driver    {} ({DRIVER})", system.driver_file().display())?;
    Ok(())
}

fn verify(
    driver: &Path,
    untrusted: bool,
    system: &dyn System,
    out: &mut dyn Write,
) -> Result<(), SetupError> {
    match system.signature(driver)? {
        Signature::Trusted => writeln!(out, "signature trusted by Windows")?,
        Signature::Test(why) => {
            writeln!(out, "signature of a test machine, where test signing is on: {why}")?;
        }
        Signature::Refused(why) if untrusted => {
            writeln!(out, "signature NOT trusted by Windows: {why}")?;
        }
        Signature::Refused(why) => {
            return Err(SetupError::Signature { file: driver.to_owned(), why });
        }
    }
    Ok(())
}

/// Proves that Windows loads the driver; removes it again if not, unless it is a filter already.
fn load_driver(system: &dyn System, out: &mut dyn Write) -> Result<(), SetupError> {
    match system.start_driver(DRIVER) {
        Ok(DriverStart::Now) => {
            // It comes back with the volumes, and reads its settings then.
            system.stop_service(DRIVER)?;
            system.forget_failed_starts()?;
            writeln!(out, "driver    Windows has loaded it and unloaded it again")?;
            Ok(())
        }
        Ok(DriverStart::Before) => {
            system.forget_failed_starts()?;
            writeln!(out, "driver    one runs already; the restart replaces it")?;
            Ok(())
        }
        Err(SetupError::NotLoaded { name, why, .. }) => {
            let left = if system.class_filters()?.contains(DRIVER) {
                "It is a filter of the volume class already: run `snapless-setup remove` before \
                 you restart this machine, or it will not boot"
            } else {
                system.delete_service(DRIVER)?;
                system.delete_file(&system.driver_file(), false)?;
                "It was removed again, and no filter was registered: the machine boots as before"
            };
            Err(SetupError::NotLoaded { name, why, left })
        }
        Err(error) => Err(error),
    }
}

fn install_service(
    package: &Package,
    system: &dyn System,
    out: &mut dyn Write,
) -> Result<(), SetupError> {
    // A running program cannot be replaced.
    system.stop_service(SERVICE)?;
    let program = system.copy_program(&package.service())?;
    let command_line = system.copy_program(&package.command_line())?;
    system.secure_data_folder()?;
    system.register_service(&program)?;
    writeln!(out, "service   {} ({SERVICE})", program.display())?;
    writeln!(out, "program   {}", command_line.display())?;
    Ok(())
}

fn register_filter(system: &dyn System, out: &mut dyn Write) -> Result<(), SetupError> {
    let mut filters = system.class_filters()?;
    if filters.append(DRIVER) {
        system.set_class_filters(&filters)?;
    }
    writeln!(out, "filters   {}", filters.names().join(", "))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_system::{Step, TestSystem};

    fn install(system: &TestSystem) -> Result<String, SetupError> {
        let mut out = Vec::new();
        run(&system.package(), system, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_filter_is_registered_last_above_the_others() {
        let system = TestSystem::new(&["volsnap"]);
        let text = install(&system).unwrap();
        assert!(text.contains("volsnap, snapless"), "{text}");
        let steps = system.steps();
        assert_eq!(steps.last(), Some(&Step::SetFilters("volsnap,snapless".into())));
        assert_eq!(steps.first(), Some(&Step::RunInf));
        assert!(steps.contains(&Step::Register));
    }

    #[test]
    fn an_upgrade_stops_the_service_before_it_replaces_the_program() {
        let system = TestSystem::new(&[]);
        install(&system).unwrap();
        system.clear_steps();
        install(&system).unwrap();
        let steps = system.steps();
        let at = |wanted: Step| steps.iter().position(|step| *step == wanted).unwrap();
        assert!(at(Step::Stop(SERVICE.into())) < at(Step::Copy(SERVICE_PROGRAM.into())));
        assert!(!steps.iter().any(|step| matches!(step, Step::SetFilters(_))), "{steps:?}");
        assert_eq!(system.filters(), ["snapless"]);
    }

    #[test]
    fn no_filter_is_registered_for_a_driver_that_is_not_installed() {
        let system = TestSystem::new(&["volsnap"]);
        system.refuse_driver();
        assert!(matches!(install(&system), Err(SetupError::NotInstalled(_))));
        assert_eq!(system.filters(), ["volsnap"]);
    }

    #[test]
    fn no_filter_is_registered_for_a_driver_that_windows_does_not_load() {
        let system = TestSystem::new(&["volsnap"]);
        system.refuse_start();
        let error = install(&system).unwrap_err().to_string();
        assert!(error.contains("boots as before") && error.contains("import"), "{error}");
        assert_eq!(system.filters(), ["volsnap"]);
        assert!(!system.driver_file().is_file(), "nothing is left that starts with the machine");
        assert!(system.steps().contains(&Step::DeleteService(DRIVER.into())));
    }

    #[test]
    fn a_driver_is_loaded_before_it_becomes_a_filter() {
        let system = TestSystem::new(&["volsnap"]);
        install(&system).unwrap();
        let steps = system.steps();
        let at = |wanted: Step| steps.iter().position(|step| *step == wanted).unwrap();
        assert!(at(Step::StartDriver) < at(Step::Stop(DRIVER.into())));
        assert!(at(Step::Stop(DRIVER.into())) < at(Step::SetFilters("volsnap,snapless".into())));
        assert!(at(Step::Stop(DRIVER.into())) < at(Step::ForgetFailedStarts), "its own start");
    }

    #[test]
    fn an_upgrade_that_cannot_be_loaded_warns_before_the_restart() {
        let system = TestSystem::new(&["volsnap"]);
        install(&system).unwrap();
        system.refuse_start();
        let error = install(&system).unwrap_err().to_string();
        assert!(error.contains("snapless-setup remove"), "{error}");
        assert_eq!(system.filters(), ["volsnap", "snapless"]);
    }

    #[test]
    fn a_signature_that_windows_refuses_changes_nothing_unless_it_is_asked_for() {
        let system = TestSystem::new(&["volsnap"]);
        system.sign(Signature::Refused("no signature".into()));
        assert!(matches!(install(&system), Err(SetupError::Signature { .. })));
        assert_eq!(system.steps(), []);
        let package = Package { untrusted: true, ..system.package() };
        let mut out = Vec::new();
        run(&package, &system, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("NOT trusted"));
        let system = TestSystem::new(&["volsnap"]);
        system.sign(Signature::Test("a certificate of our own".into()));
        assert!(install(&system).unwrap().contains("test signing is on"));
    }

    #[test]
    fn nothing_is_installed_while_a_removal_waits_for_the_restart() {
        let system = TestSystem::new(&["volsnap"]);
        install(&system).unwrap();
        crate::remove::run(&system, &mut Vec::new()).unwrap();
        system.clear_steps();
        assert!(matches!(install(&system), Err(SetupError::RemovalPending(_))));
        assert_eq!(system.steps(), []);
    }

    #[test]
    fn an_incomplete_package_changes_nothing() {
        for file in ["snapless.sys", "snapless.inf", SERVICE_PROGRAM, COMMAND_LINE] {
            let system = TestSystem::new(&[]);
            std::fs::remove_file(system.package().programs.join(file)).unwrap();
            let error = install(&system).unwrap_err();
            assert!(matches!(&error, SetupError::Missing(path) if path.ends_with(file)));
            assert_eq!(system.steps(), []);
        }
    }
}
