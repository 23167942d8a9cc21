//! The command line of `snapless-setup`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::error::SetupError;
use crate::names::INF;
use crate::outcome::Outcome;
use crate::package::Package;
use crate::report::Report;
use crate::system::System;
use crate::{install, repair, rescue, status, uninstall, upgrade};

/// Installs, repairs and removes the Snapless driver and service
#[derive(Parser, Debug)]
#[command(
    name = "snapless-setup",
    version,
    after_help = "Run this program as an administrator. A command that was cut short is run \
                  again.\n\nExit codes:\n     0  done\n  3010  done; a restart of the machine \
                  completes it\n  1603  failed\n     2  wrong arguments"
)]
pub struct Arguments {
    /// Print nothing but errors
    #[arg(long, global = true)]
    pub quiet: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Installs driver, service and command line; a restart loads the driver
    ///
    /// What is in place already stays. Before anything changes, Windows has to load the driver
    /// under another name.
    #[command(after_help = "Examples:\n  snapless-setup install\n  snapless-setup install --inf \
                            D:\\snapless\\snapless.inf --programs D:\\snapless")]
    Install(InstallArguments),
    /// Installs over an earlier version
    ///
    /// The service is stopped, replaced and started again; a restart loads the new driver.
    #[command(after_help = "Examples:\n  snapless-setup upgrade\n  snapless-setup upgrade --force")]
    Upgrade(InstallArguments),
    /// Puts back what `status` finds to be wrong, with the package of the installed version
    #[command(after_help = "Examples:\n  snapless-setup repair\n  snapless-setup repair --quiet")]
    Repair(PackageArguments),
    /// Shows what is installed, and what is wrong with it
    #[command(after_help = "Examples:\n  snapless-setup status\n  snapless-setup status --json")]
    Status {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Removes driver, service and command line; configuration, state and logs stay
    ///
    /// Removes the driver from the filters of the volume class first, so that the machine boots
    /// even if a later step fails. A restart completes the removal.
    #[command(after_help = "Example:\n  snapless-setup uninstall")]
    Uninstall,
    /// Writes the script that makes a machine boot again
    ///
    /// The script runs in Windows' recovery environment and takes the driver out of every list of
    /// filters. Write it before you need it.
    #[command(
        after_help = "Examples:\n  snapless-setup rescue\n  snapless-setup rescue --to E:\\snapless-rescue.cmd"
    )]
    Rescue {
        /// The file
        #[arg(long, value_name = "FILE", default_value = rescue::FILE)]
        to: PathBuf,
    },
}

impl Command {
    /// Carries the command out, prints its report to `out`, and says to `errors` what failed.
    ///
    /// A report that cannot be printed is said, and changes nothing of the work or its outcome:
    /// unless the report is all that the command is for.
    pub fn report(&self, system: &dyn System, out: impl Write, errors: &mut dyn Write) -> Outcome {
        let mut report = Report::new(out);
        let outcome = self.run(system, &mut report).unwrap_or_else(|error| {
            // Where errors cannot be written, the exit code is what is left.
            _ = writeln!(errors, "snapless-setup: {error}");
            Outcome::Failed
        });
        _ = report.flush();
        let Some(failure) = report.failure() else { return outcome };
        _ = writeln!(errors, "snapless-setup: cannot print the report: {failure}");
        if matches!(self, Self::Status { .. }) { Outcome::Failed } else { outcome }
    }

    /// Carries the command out.
    pub fn run(&self, system: &dyn System, out: &mut dyn Write) -> Result<Outcome, SetupError> {
        match self {
            Self::Install(arguments) => install::run(&arguments.package()?, system, out),
            Self::Upgrade(arguments) => upgrade::run(&arguments.package()?, system, out),
            Self::Repair(arguments) => repair::run(&arguments.package()?, system, out),
            Self::Status { json } => status::run(*json, system, out).map(|()| Outcome::Done),
            Self::Uninstall => uninstall::run(system, out),
            Self::Rescue { to } => rescue::run(to, out).map(|()| Outcome::Done),
        }
    }
}

/// Where the package is.
#[derive(Args, Debug)]
pub struct PackageArguments {
    /// The driver's INF, with snapless.sys in the same folder [default: snapless.inf in the folder
    /// of the programs]
    #[arg(long, value_name = "FILE")]
    pub inf: Option<PathBuf>,
    /// The folder of snapless-service.exe and snapless.exe [default: this program's folder]
    #[arg(long, value_name = "FOLDER")]
    pub programs: Option<PathBuf>,
    /// Take a driver whose signature Windows does not trust: for test machines only
    ///
    /// Windows has to load it all the same, before it becomes a filter.
    #[arg(long)]
    pub untrusted: bool,
}

/// Options of `install` and `upgrade`.
#[derive(Args, Debug)]
pub struct InstallArguments {
    /// Where the package is.
    #[command(flatten)]
    pub from: PackageArguments,
    /// Install a package that is older than what is installed
    #[arg(long)]
    pub force: bool,
}

impl InstallArguments {
    /// The package, with absolute paths.
    pub fn package(&self) -> Result<Package, SetupError> {
        Ok(Package { force: self.force, ..self.from.package()? })
    }
}

impl PackageArguments {
    /// The package, with absolute paths.
    pub fn package(&self) -> Result<Package, SetupError> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(SetupError::file("find", path));
        let programs = if let Some(folder) = &self.programs {
            absolute(folder)?
        } else {
            let own = std::env::current_exe().map_err(SetupError::file("find", Path::new(".")))?;
            own.parent().unwrap_or(Path::new(".")).to_owned()
        };
        let inf = match &self.inf {
            Some(inf) => absolute(inf)?,
            None => programs.join(INF),
        };
        Ok(Package { inf, programs, untrusted: self.untrusted, force: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_can_be_quiet() {
        for command in ["install", "upgrade", "repair", "status", "uninstall", "rescue"] {
            let arguments = Arguments::try_parse_from(["snapless-setup", command, "--quiet"]);
            assert!(arguments.unwrap().quiet, "{command}");
        }
    }

    #[test]
    fn wrong_arguments_have_the_code_of_the_help() {
        let error = Arguments::try_parse_from(["snapless-setup", "remove"]).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn the_package_is_in_the_setups_own_folder_by_default() {
        let own = std::env::current_exe().unwrap();
        let mut arguments = PackageArguments { inf: None, programs: None, untrusted: false };
        let package = arguments.package().unwrap();
        assert_eq!(package.programs, own.parent().unwrap());
        assert_eq!(package.inf, own.parent().unwrap().join("snapless.inf"));
        arguments.programs = Some("elsewhere".into());
        let package = arguments.package().unwrap();
        assert!(package.programs.is_absolute() && package.programs.ends_with("elsewhere"));
        assert!(package.inf.ends_with("elsewhere/snapless.inf"));
        arguments.inf = Some("other.inf".into());
        let package = arguments.package().unwrap();
        assert!(package.inf.is_absolute() && package.inf.ends_with("other.inf"));
    }
}
