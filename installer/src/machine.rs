//! The machine that a command works on: Windows, the package, what is printed, and what a run has
//! found out and done.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::io::Write;

use crate::error::SetupError;
use crate::names::{DRIVER, SERVICE};
use crate::outcome::Outcome;
use crate::package::Package;
use crate::system::{ServiceState, System};

/// The width of a part's name in the output.
const LABEL: usize = 9;

/// The machine, for one run of one command.
pub struct Machine<'a> {
    /// Windows.
    pub system: &'a dyn System,
    /// What is installed from; `None` for a command that needs none.
    package: Option<&'a Package>,
    out: RefCell<&'a mut dyn Write>,
    /// Windows has loaded, in this run, the driver that is installed or about to be.
    tried: Cell<bool>,
    /// The service ran before this run stopped it.
    stopped: Cell<bool>,
    changed: Cell<bool>,
}

impl<'a> Machine<'a> {
    /// The machine, with what is installed on it.
    pub fn new(
        system: &'a dyn System,
        package: Option<&'a Package>,
        out: &'a mut dyn Write,
    ) -> Self {
        Self {
            system,
            package,
            out: RefCell::new(out),
            tried: Cell::new(false),
            stopped: Cell::new(false),
            changed: Cell::new(false),
        }
    }

    /// What is installed from.
    pub fn package(&self) -> Option<&'a Package> {
        self.package
    }

    /// The same for a change, which needs one.
    pub fn needed_package(&self) -> Result<&'a Package, SetupError> {
        self.package.ok_or(SetupError::NoPackage)
    }

    /// Prints a line about a part.
    pub fn say(&self, part: &str, text: impl Display) -> Result<(), SetupError> {
        writeln!(self.out.borrow_mut(), "{part:<LABEL$} {text}")?;
        Ok(())
    }

    /// Prints a line as it is.
    pub fn line(&self, text: impl Display) -> Result<(), SetupError> {
        writeln!(self.out.borrow_mut(), "{text}")?;
        Ok(())
    }

    /// Notes that something is about to be changed.
    pub fn note_change(&self) {
        self.changed.set(true);
    }

    /// True if something was changed.
    pub fn is_changed(&self) -> bool {
        self.changed.get()
    }

    /// Has Windows load the driver that is to be a filter, unless it has done so in this run.
    ///
    /// Rule: this comes before its file is put in place, and before it becomes a filter. A filter
    /// that does not load leaves the system volume without its device, whatever its service says of
    /// errors.
    pub fn prove_driver(&self) -> Result<(), SetupError> {
        if self.tried.get() {
            return Ok(());
        }
        let file = match self.package {
            Some(package) => package.driver(),
            None => self.system.driver_file(),
        };
        self.system.try_driver(&file)?;
        self.tried.set(true);
        self.say("driver", "Windows loads it: tried under another name")
    }

    /// Stops the service, to start it again in the end.
    pub fn pause_service(&self) -> Result<(), SetupError> {
        if self.system.service_state(SERVICE)? == ServiceState::Running {
            self.system.stop_service(SERVICE)?;
            self.stopped.set(true);
        }
        Ok(())
    }

    /// Starts the service again if this run has stopped it.
    pub fn resume_service(&self) -> Result<(), SetupError> {
        if self.stopped.replace(false) {
            self.system.start_service(SERVICE)?;
            self.say("service", format_args!("{SERVICE} runs again"))?;
        }
        Ok(())
    }

    /// How the run has ended. A driver that is a filter and does not run needs a restart, too.
    pub fn outcome(&self) -> Result<Outcome, SetupError> {
        let waits = self.system.class_filters()?.contains(DRIVER)
            && self.system.service_state(DRIVER)? == ServiceState::Stopped;
        let restart = waits || self.system.needs_restart()?;
        Ok(if restart { Outcome::Restart } else { Outcome::Done })
    }
}
