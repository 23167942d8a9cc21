//! The command line of `snapless-setup`.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::error::SetupError;
use crate::install::Package;
use crate::rescue;

/// Installs and removes the Snapless driver and service
#[derive(Parser, Debug)]
#[command(
    name = "snapless-setup",
    version,
    after_help = "Run this program as an administrator.\n\nExit codes:\n  0  done\n  1  failed\n  \
                  2  wrong arguments"
)]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Installs driver, service and command line; a restart loads the driver
    #[command(after_help = "Examples:\n  snapless-setup install --inf snapless.inf\n  \
                            snapless-setup install --inf D:\\snapless\\snapless.inf \
                            --programs D:\\snapless")]
    Install(InstallArguments),
    /// Removes driver, service and command line; configuration, state and logs stay
    ///
    /// Removes the driver from the filters of the volume class first, so that the machine boots
    /// even if a later step fails. A restart completes the removal.
    #[command(after_help = "Example:\n  snapless-setup remove")]
    Remove,
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
    /// Shows what is installed
    #[command(after_help = "Examples:\n  snapless-setup status\n  snapless-setup status --json")]
    Status {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

/// Options of `snapless-setup install`.
#[derive(Args, Debug)]
pub struct InstallArguments {
    /// The driver's INF; snapless.sys is in the same folder
    #[arg(long, value_name = "FILE")]
    pub inf: PathBuf,
    /// The folder of snapless-service.exe and snapless.exe [default: this program's folder]
    #[arg(long, value_name = "FOLDER")]
    pub programs: Option<PathBuf>,
    /// Install a driver whose signature Windows does not trust: for test machines only
    ///
    /// Windows has to load it all the same, before it becomes a filter.
    #[arg(long)]
    pub untrusted: bool,
}

impl InstallArguments {
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
        Ok(Package { inf: absolute(&self.inf)?, programs, untrusted: self.untrusted })
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
    fn the_programs_are_in_the_setups_own_folder_by_default() {
        let own = std::env::current_exe().unwrap();
        let mut arguments =
            InstallArguments { inf: "snapless.inf".into(), programs: None, untrusted: false };
        let package = arguments.package().unwrap();
        assert_eq!(package.programs, own.parent().unwrap());
        assert!(package.inf.is_absolute() && package.inf.ends_with("snapless.inf"));
        arguments.programs = Some("elsewhere".into());
        assert!(arguments.package().unwrap().programs.ends_with("elsewhere"));
    }
}
