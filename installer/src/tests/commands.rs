//! What each command does, and in which order.

use std::io::{self, Write};
use std::path::Path;

use crate::arguments::{Command, InstallArguments, PackageArguments};
use crate::error::SetupError;
use crate::names::{COMMAND_LINE, DRIVER, SERVICE, SERVICE_PROGRAM};
use crate::outcome::Outcome;
use crate::package::Package;
use crate::system::Signature;
use crate::test_system::{Mishap, TestSystem, UNLOADABLE};
use crate::{install, repair, uninstall, upgrade};

type Run = fn(&Package, &TestSystem, &mut Vec<u8>) -> Result<Outcome, SetupError>;

const INSTALL: Run = |package, system, out| install::run(package, system, out);
const UPGRADE: Run = |package, system, out| upgrade::run(package, system, out);
const REPAIR: Run = |package, system, out| repair::run(package, system, out);
const UNINSTALL: Run = |_, system, out| uninstall::run(system, out);

/// Runs a command with the package of a version; returns what it printed, too.
fn run(command: Run, version: u16, system: &TestSystem) -> Result<(Outcome, String), SetupError> {
    let mut out = Vec::new();
    let outcome = command(&TestSystem::package(version), system, &mut out)?;
    Ok((outcome, String::from_utf8(out).unwrap()))
}

/// A machine on which version 1 is installed and runs.
fn installed() -> TestSystem {
    let system = TestSystem::new(&["volsnap"]);
    run(INSTALL, 1, &system).unwrap();
    system.restart();
    assert!(system.state().is_complete(1));
    system.log();
    system
}

/// Where in the log something is.
fn at(log: &[String], what: &str) -> usize {
    log.iter().position(|line| line.starts_with(what)).unwrap_or_else(|| panic!("{what}: {log:?}"))
}

#[test]
fn the_driver_is_loaded_first_and_becomes_a_filter_last_above_the_others() {
    let system = TestSystem::new(&["volsnap", "other"]);
    let (outcome, text) = run(INSTALL, 1, &system).unwrap();
    assert_eq!(outcome, Outcome::Restart);
    assert!(text.contains("volsnap, other, snapless"), "{text}");
    assert!(text.contains("Restart the machine") && text.contains("snapless protect"), "{text}");
    let log = system.log();
    assert!(at(&log, "load snapless.sys") < at(&log, "copy snapless.sys"), "{log:?}");
    assert_eq!(log.last().unwrap(), "set filters volsnap, other, snapless");
    assert!(system.state().is_complete(1));
}

#[test]
fn a_second_time_nothing_is_changed() {
    for (command, version) in [(INSTALL, 1), (UPGRADE, 2), (REPAIR, 1), (UNINSTALL, 1)] {
        let system = installed();
        run(command, version, &system).unwrap();
        for restarted in [false, true] {
            if restarted {
                system.restart();
            }
            let before = system.state();
            system.log();
            let (outcome, text) = run(command, version, &system).unwrap();
            assert!(text.contains("Nothing to do"), "{text}");
            assert_eq!(text.contains("restart is still needed"), outcome == Outcome::Restart);
            assert_eq!(system.log(), <[String; 0]>::default());
            assert_eq!(system.state(), before);
        }
    }
}

#[test]
fn a_restart_is_asked_for_until_it_happens() {
    let system = TestSystem::new(&[]);
    for _ in 0..2 {
        assert_eq!(run(INSTALL, 1, &system).unwrap().0, Outcome::Restart);
    }
    system.restart();
    assert_eq!(run(INSTALL, 1, &system).unwrap().0, Outcome::Done);
    for _ in 0..2 {
        assert_eq!(run(UPGRADE, 2, &system).unwrap().0, Outcome::Restart);
    }
    system.restart();
    assert_eq!(run(UPGRADE, 2, &system).unwrap().0, Outcome::Done);
}

#[test]
fn an_upgrade_replaces_the_stopped_service_and_starts_it_again() {
    let system = installed();
    run(UPGRADE, 2, &system).unwrap();
    assert!(system.state().is_complete(2));
    let log = system.log();
    assert!(at(&log, "load snapless.sys 2") < at(&log, "copy snapless.sys 2"));
    assert!(at(&log, "stop SnaplessService") < at(&log, "copy snapless-service.exe 2"));
    assert_eq!(log.last().unwrap(), "start SnaplessService");
    assert!(!log.iter().any(|line| line.starts_with("set filters")), "{log:?}");
}

#[test]
fn a_service_that_did_not_run_is_not_started() {
    let system = installed();
    crate::system::System::stop_service(&system, SERVICE).unwrap();
    system.log();
    run(UPGRADE, 2, &system).unwrap();
    assert!(!system.log().iter().any(|line| line.starts_with("start")));
}

#[test]
fn upgrade_and_repair_need_an_installation() {
    for command in [UPGRADE, REPAIR] {
        let system = TestSystem::new(&["volsnap"]);
        let error = run(command, 1, &system).unwrap_err();
        assert!(matches!(error, SetupError::NothingInstalled { instead: "install" }), "{error}");
        assert_eq!(system.log(), <[String; 0]>::default());
    }
}

#[test]
fn an_older_package_is_refused_unless_it_is_forced() {
    for command in [INSTALL, UPGRADE] {
        let system = TestSystem::new(&["volsnap"]);
        run(INSTALL, 2, &system).unwrap();
        system.log();
        let error = run(command, 1, &system).unwrap_err();
        assert!(error.to_string().contains("version 2.0.0, and the package has 1.0.0"), "{error}");
        assert_eq!(system.log(), <[String; 0]>::default());
        let package = Package { force: true, ..TestSystem::package(1) };
        command(&package, &system, &mut Vec::new()).unwrap();
        assert!(system.state().is_complete(1));
    }
}

#[test]
fn a_repair_takes_the_installed_version_only() {
    for version in [1, 3] {
        let system = TestSystem::new(&["volsnap"]);
        run(INSTALL, 2, &system).unwrap();
        system.log();
        let error = run(REPAIR, version, &system).unwrap_err();
        assert!(matches!(error, SetupError::OtherVersion { .. }), "{error}");
        assert_eq!(system.log(), <[String; 0]>::default());
    }
}

#[test]
fn nothing_is_changed_for_a_driver_that_windows_does_not_load() {
    let system = TestSystem::new(&["volsnap"]);
    let before = system.state();
    let error = run(INSTALL, UNLOADABLE, &system).unwrap_err().to_string();
    assert!(error.contains("import") && error.contains("no filter was registered"), "{error}");
    assert_eq!(system.state(), before);

    let system = installed();
    let before = system.state();
    run(UPGRADE, UNLOADABLE, &system).unwrap_err();
    assert_eq!(system.state(), before);
}

#[test]
fn a_signature_that_windows_refuses_changes_nothing_unless_it_is_asked_for() {
    let system = TestSystem::new(&["volsnap"]);
    system.sign(Signature::Refused("no signature".into()));
    assert!(matches!(run(INSTALL, 1, &system), Err(SetupError::Signature { .. })));
    assert_eq!(system.log(), <[String; 0]>::default());
    let package = Package { untrusted: true, ..TestSystem::package(1) };
    let mut out = Vec::new();
    install::run(&package, &system, &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("NOT trusted"));
    let system = TestSystem::new(&["volsnap"]);
    system.sign(Signature::Test("a certificate of our own".into()));
    assert!(run(INSTALL, 1, &system).unwrap().1.contains("test signing is on"));
}

#[test]
fn an_incomplete_package_changes_nothing() {
    for file in ["snapless.sys", "snapless.inf", SERVICE_PROGRAM, COMMAND_LINE] {
        let mut system = TestSystem::new(&[]);
        system.lose(&TestSystem::package(1).programs.join(file));
        let error = run(INSTALL, 1, &system).unwrap_err();
        assert!(matches!(&error, SetupError::Missing(path) if path.ends_with(file)));
        assert_eq!(system.log(), <[String; 0]>::default());
    }
}

#[test]
fn the_filter_is_removed_first_and_the_drivers_file_last() {
    let system = installed();
    // As before Windows 10 1903.
    system.change_state(|state| state.packages.clear());
    let (outcome, text) = run(UNINSTALL, 1, &system).unwrap();
    assert_eq!(outcome, Outcome::Restart);
    assert!(text.contains("snapless.sys: the restart removes it"), "{text}");
    let log = system.log();
    assert_eq!(log[..2], ["note a restart", "set filters volsnap"]);
    assert_eq!(at(&log, "delete /windows/drivers/snapless.sys") + 2, log.len(), "{log:?}");
    system.restart();
    assert!(system.state().is_clean());
    assert!(system.state().secured, "configuration, state and logs stay");
    let (outcome, text) = run(UNINSTALL, 1, &system).unwrap();
    assert_eq!(outcome, Outcome::Done);
    assert!(text.contains("nothing is installed"), "{text}");
}

#[test]
fn an_upgrade_leaves_the_older_package_in_the_driver_store_and_the_removal_takes_all() {
    let system = installed();
    run(UPGRADE, 2, &system).unwrap();
    assert_eq!(system.state().packages.len(), 2);
    let (_, text) = run(UNINSTALL, 2, &system).unwrap();
    assert!(text.contains("snapless.sys 1: removed from the driver store"), "{text}");
    assert!(system.state().packages.is_empty());
    let log = system.log();
    assert!(at(&log, "set filters volsnap") < at(&log, "remove package snapless.sys 1"), "{log:?}");
}

#[test]
fn nothing_is_removed_if_the_filter_cannot_be() {
    let system = installed();
    system.let_happen(Mishap::Refusal, 1);
    run(UNINSTALL, 1, &system).unwrap_err();
    assert_eq!(system.log(), ["note a restart"]);
    assert!(system.state().is_complete(1));
}

#[test]
fn nothing_is_installed_while_a_removal_waits_for_the_restart() {
    let system = installed();
    run(UNINSTALL, 1, &system).unwrap();
    system.log();
    assert!(matches!(run(INSTALL, 1, &system), Err(SetupError::RemovalPending(_))));
    assert!(matches!(run(UPGRADE, 2, &system), Err(SetupError::NothingInstalled { .. })));
    assert_eq!(system.log(), <[String; 0]>::default());
    system.restart();
    run(INSTALL, 1, &system).unwrap();
    assert!(system.state().is_complete(1));
}

#[test]
fn a_filter_that_an_upgrade_of_windows_has_moved_to_devices_goes_back_to_the_class() {
    let system = installed();
    system.change_state(|state| {
        state.filters = vec!["volsnap".into()];
        state.device_filters = vec![DRIVER.into(), "other".into(), DRIVER.into()];
    });
    let (_, text) = run(REPAIR, 1, &system).unwrap();
    assert!(text.contains("in the own lists of 2 device(s)"), "{text}");
    let state = system.state();
    assert_eq!((state.filters.len(), state.device_filters), (2, vec!["other".to_owned()]));
    system.change_state(|state| {
        state.filters = vec!["volsnap".into()];
        state.device_filters = vec![DRIVER.into(), "other".into()];
    });
    run(UNINSTALL, 1, &system).unwrap();
    assert_eq!(system.state().device_filters, ["other"]);
}

#[test]
fn an_error_that_leaves_a_machine_which_does_not_boot_says_so() {
    let system = installed();
    system.change_state(|state| {
        state.files.remove(Path::new("/windows/drivers/snapless.sys"));
    });
    system.let_happen(Mishap::Refusal, 0);
    let error = run(REPAIR, 1, &system).unwrap_err().to_string();
    assert!(error.contains("DANGER") && error.contains("snapless-setup uninstall"), "{error}");
}

/// A full disk.
struct Full;

impl Write for Full {
    fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_report_that_cannot_be_printed_is_said_in_one_line_and_the_work_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("rescue.cmd");
    let package = |version| {
        let package = TestSystem::package(version);
        let (inf, programs) = (Some(package.inf), Some(package.programs));
        PackageArguments { inf, programs, untrusted: false }
    };
    let install = |version| InstallArguments { from: package(version), force: false };
    let system = TestSystem::new(&["volsnap"]);
    for (command, outcome) in [
        (Command::Install(install(1)), Outcome::Restart),
        (Command::Upgrade(install(2)), Outcome::Restart),
        (Command::Repair(package(2)), Outcome::Restart),
        (Command::Rescue { to: script.clone() }, Outcome::Done),
        (Command::Status { json: false }, Outcome::Failed),
        (Command::Status { json: true }, Outcome::Failed),
        (Command::Uninstall, Outcome::Restart),
    ] {
        let mut errors = Vec::new();
        assert_eq!(command.report(&system, Full, &mut errors), outcome, "{command:?}");
        let said = String::from_utf8(errors).unwrap();
        assert_eq!(said.lines().count(), 1, "{command:?}: {said}");
        assert!(said.contains("cannot print the report"), "{command:?}: {said}");
        assert_eq!(command.report(&system, Full, &mut Full), outcome, "{command:?}");
        let is_uninstalled = matches!(command, Command::Uninstall);
        let left = matches!(command, Command::Install(_)) || system.state().is_complete(2);
        assert_ne!(is_uninstalled, left, "{command:?}");
    }
    assert!(script.exists());
}

#[test]
fn counters_that_windows_refuses_fail_no_command() {
    let system = TestSystem::new(&["volsnap"]);
    system.change_state(|state| state.refuses_counters = true);
    let (outcome, text) = run(INSTALL, 1, &system).unwrap();
    assert_eq!(outcome, Outcome::Restart);
    assert!(text.contains("WARNING   counters: lodctr.exe"), "{text}");
    assert_eq!(system.log().last().unwrap(), "set filters volsnap, snapless", "it goes on");
    system.restart();
    assert!(system.state().is_complete(1));

    system.change_state(|state| state.counters = true);
    let (_, text) = run(UNINSTALL, 1, &system).unwrap();
    assert!(text.contains("WARNING   counters: unlodctr.exe"), "{text}");
    system.restart();
    assert!(system.state().is_clean());
}
