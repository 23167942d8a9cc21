//! A power cut between any two changes leaves a machine that boots, and the command goes on
//! afterwards.
//!
//! From a few machines on, each command is run, and stopped before each of its changes: the power
//! is cut and the machine starts again, or Windows refuses that change. Each state that results is
//! a machine to begin with, too: [`DEPTH`] commands follow each other, or as many as
//! `SNAPLESS_SETUP_DEPTH` says; with 100 there are no new states long before. In each of them the
//! rule holds: a filter is installed, and Windows has loaded it on this machine; and each command
//! run to its end does what was asked.

use std::collections::BTreeSet;
use std::io;

use crate::error::SetupError;
use crate::install;
use crate::machine::Machine;
use crate::names::DRIVER;
use crate::package::Package;
use crate::parts::{self, PARTS, Part};
use crate::system::System;
use crate::test_system::{Mishap, State, TestSystem, UNLOADABLE, content};
use crate::{repair, uninstall, upgrade};

/// Commands in a row, each of them stopped anywhere.
const DEPTH: usize = 3;
/// More changes than a command makes.
const CHANGES_MAX: usize = 100;

/// A command as a user gives it, with the version of the package.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Command {
    Install(u16),
    Upgrade(u16),
    Downgrade(u16),
    Repair(u16),
    Uninstall,
}

const COMMANDS: [Command; 6] = [
    Command::Install(1),
    Command::Install(UNLOADABLE),
    Command::Upgrade(2),
    Command::Downgrade(1),
    Command::Repair(2),
    Command::Uninstall,
];

impl Command {
    fn run(self, system: &TestSystem) -> Result<(), SetupError> {
        let mut out = io::sink();
        match self {
            Self::Install(version) => install::run(&TestSystem::package(version), system, &mut out),
            Self::Upgrade(version) => upgrade::run(&TestSystem::package(version), system, &mut out),
            Self::Downgrade(version) => {
                let package = Package { force: true, ..TestSystem::package(version) };
                upgrade::run(&package, system, &mut out)
            }
            Self::Repair(version) => repair::run(&TestSystem::package(version), system, &mut out),
            Self::Uninstall => uninstall::run(system, &mut out),
        }
        .map(|_| ())
    }

    /// True if the machine is as the command says that it is, once it has succeeded.
    fn is_done(self, state: &State) -> bool {
        match self {
            Self::Install(version)
            | Self::Upgrade(version)
            | Self::Downgrade(version)
            | Self::Repair(version) => state.is_complete(version),
            Self::Uninstall => state.is_clean(),
        }
    }

    /// True for errors that the state calls for: the user is told what else to do.
    fn may_refuse(self, error: &SetupError) -> bool {
        match error {
            SetupError::RemovalPending(_)
            | SetupError::NothingInstalled { .. }
            | SetupError::Older { .. }
            | SetupError::OtherVersion { .. } => self != Self::Uninstall,
            SetupError::NotLoaded { .. } => self == Self::Install(UNLOADABLE),
            _ => false,
        }
    }
}

/// Machines to begin with: without other filters, with some, with one that goes above, without
/// packages in the driver store, and with the filter where a Windows upgrade has moved it.
fn beginnings() -> Vec<State> {
    let mut all: Vec<State> = [&[][..], &["volsnap"], &["volsnap", "bsrvflt"]]
        .iter()
        .map(|filters| TestSystem::new(filters).state())
        .collect();
    let system = TestSystem::new(&["volsnap"]);
    system.change_state(|state| state.keeps_no_packages = true);
    all.push(system.state());
    let system = TestSystem::new(&["volsnap"]);
    Command::Install(1).run(&system).unwrap();
    system.restart();
    system.change_state(|state| {
        state.filters.retain(|name| name != DRIVER);
        state.device_filters = vec![DRIVER.into(), "other".into(), DRIVER.into()];
    });
    all.push(system.state());
    all
}

/// What was found.
#[derive(Default)]
struct Explored {
    states: BTreeSet<State>,
    stops: usize,
}

/// Visits every state that `run` can leave behind, and checks the rule in each of them.
fn explore(
    commands: &[Command],
    run: impl Fn(Command, &TestSystem) -> Result<(), SetupError>,
) -> Result<Explored, String> {
    let depth = std::env::var("SNAPLESS_SETUP_DEPTH").ok().and_then(|depth| depth.parse().ok());
    let mut explored = Explored::default();
    let mut left: BTreeSet<State> = beginnings().into_iter().collect();
    for _ in 0..depth.unwrap_or(DEPTH) {
        let mut next = BTreeSet::new();
        for state in left {
            for command in commands {
                next.extend(stop_everywhere(*command, &state, &run, &mut explored.stops)?);
            }
            explored.states.insert(state);
        }
        left = next.difference(&explored.states).cloned().collect();
    }
    explored.states.extend(left);
    Ok(explored)
}

/// The states that a command leaves behind that is stopped before each of its changes, or that is
/// not stopped; with and without a restart.
fn stop_everywhere(
    command: Command,
    before: &State,
    run: impl Fn(Command, &TestSystem) -> Result<(), SetupError>,
    stops: &mut usize,
) -> Result<Vec<State>, String> {
    let mut left = Vec::new();
    for mishap in [Mishap::PowerCut, Mishap::Refusal] {
        for nth in 0.. {
            assert!(nth < CHANGES_MAX, "{command:?} does not end");
            let system = TestSystem::with(before.clone());
            system.let_happen(mishap, nth);
            let ended = run(command, &system);
            let mut after = system.state();
            let changes = system.log();
            let told = |why: String| {
                format!(
                    "{mishap:?} before change {nth} of {command:?}: {why}\n{changes:#?}\n{before:#?}"
                )
            };
            after.boots().map_err(told)?;
            if mishap == Mishap::Refusal && !system.has_happened() {
                check_end(command, &ended, &after).map_err(told)?;
            }
            if mishap == Mishap::Refusal {
                left.push(after.clone());
            }
            after.restart();
            after.boots().map_err(told)?;
            left.push(after);
            if !system.has_happened() {
                break;
            }
            *stops += 1;
        }
    }
    Ok(left)
}

/// A command that nothing has stopped does what it says, or says why not.
fn check_end(
    command: Command,
    ended: &Result<(), SetupError>,
    after: &State,
) -> Result<(), String> {
    let mut restarted = after.clone();
    restarted.restart();
    match ended {
        Ok(()) if command.is_done(&restarted) => Ok(()),
        Ok(()) => Err(format!("it says that it is done, and leaves {restarted:#?}")),
        Err(error) if command.may_refuse(error) => Ok(()),
        Err(error) => Err(format!("it fails: {error}")),
    }
}

#[test]
fn wherever_a_command_is_stopped_the_machine_boots_and_any_command_goes_on() {
    let explored = explore(&COMMANDS, Command::run).unwrap_or_else(|why| panic!("{why}"));
    let (states, stops) = (explored.states.len(), explored.stops);
    println!("{states} states, {stops} stops");
    // Else nothing was stopped.
    assert!(states > 1_000 && stops > 50_000, "{states} states, {stops} stops");
}

#[test]
fn the_same_command_completes_what_was_stopped() {
    for command in COMMANDS {
        for before in explore(&[command], Command::run).unwrap().states {
            let system = TestSystem::with(before);
            if let Err(error) = command.run(&system) {
                assert!(command.may_refuse(&error), "{error}");
            }
        }
    }
}

/// Runs commands with the parts in this order.
fn in_order(order: &[&dyn Part], command: Command, system: &TestSystem) -> Result<(), SetupError> {
    let mut out = io::sink();
    match command {
        Command::Uninstall => parts::take_out(order, &Machine::new(system, None, &mut out)),
        Command::Install(version) | Command::Upgrade(version) | Command::Repair(version) => {
            let package = TestSystem::package(version);
            parts::put(order, &Machine::new(system, Some(&package), &mut out))
        }
        Command::Downgrade(_) => Ok(()),
    }
}

#[test]
fn a_filter_that_is_put_in_place_first_is_found() {
    let mut order = PARTS;
    order.rotate_right(1);
    let why = explore(&[Command::Install(1)], |command, system| in_order(&order, command, system));
    let why = why.err().expect("a machine that does not boot");
    assert!(why.contains("its service is missing"), "{why}");
}

#[test]
fn a_driver_that_is_taken_out_before_its_filter_is_found() {
    let mut order = PARTS;
    order.rotate_right(1);
    // Installed in the right order, removed in the wrong one.
    let why =
        explore(&[Command::Install(1), Command::Uninstall], |command, system| match command {
            Command::Uninstall => in_order(&order, command, system),
            _ => command.run(system),
        });
    let why = why.err().expect("a machine that does not boot");
    assert!(why.contains("of Uninstall") && why.contains("missing"), "{why}");
}

#[test]
fn a_package_that_leaves_the_driver_store_before_the_filter_is_taken_out_is_found() {
    let mut order = PARTS;
    // In front of the filter, when parts are taken out.
    order[2..].rotate_left(1);
    let why =
        explore(&[Command::Install(1), Command::Uninstall], |command, system| match command {
            Command::Uninstall => in_order(&order, command, system),
            _ => command.run(system),
        });
    let why = why.err().expect("a machine that does not boot");
    assert!(why.contains("of Uninstall") && why.contains("missing"), "{why}");
}

/// Installs a version and removes the packages of the others, as no upgrade does.
fn tidy_upgrade(version: u16, system: &TestSystem) -> Result<(), SetupError> {
    Command::Install(version).run(system)?;
    let own = content("snapless.sys", version);
    let older = system.driver_packages()?.into_iter().filter(|package| *package != own);
    older.into_iter().try_for_each(|package| system.remove_driver_package(&package))
}

#[test]
fn an_upgrade_that_removes_the_older_package_from_the_driver_store_is_found() {
    let why =
        explore(&[Command::Install(1), Command::Upgrade(2)], |command, system| match command {
            Command::Upgrade(version) => tidy_upgrade(version, system),
            _ => command.run(system),
        });
    let why = why.err().expect("a machine that does not boot");
    assert!(why.contains("of Upgrade(2)"), "{why}");
}

/// The driver's part, without the trial that comes first.
struct Untried;

impl Part for Untried {
    fn name(&self) -> &'static str {
        PARTS[1].name()
    }

    fn faults(&self, machine: &Machine<'_>) -> Result<Vec<String>, SetupError> {
        PARTS[1].faults(machine)
    }

    fn put(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        machine.system.install_driver(&machine.needed_package()?.inf)
    }

    fn take_out(&self, machine: &Machine<'_>) -> Result<(), SetupError> {
        PARTS[1].take_out(machine)
    }
}

#[test]
fn a_driver_that_is_not_loaded_before_it_replaces_a_filters_is_found() {
    let mut order = PARTS;
    order[1] = &Untried;
    let why = explore(&[Command::Install(1), Command::Upgrade(2)], |command, system| {
        in_order(&order, command, system)
    });
    let why = why.err().expect("a machine that may not boot");
    assert!(why.contains("Windows has never loaded snapless.sys 2"), "{why}");
}
