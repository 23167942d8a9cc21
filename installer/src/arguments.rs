//! The verbs of `snapless-setup`, with examples.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::error::SetupError;
use crate::install::Package;

/// Installs and removes the Snapless driver and service.
#[derive(Parser, Debug)]
#[command(
    name = "snapless-setup",
    version,
    after_help = "Run it as an administrator.\n\nExit codes: 0 done, 1 failed, 2 wrong arguments"
)]
pub struct Arguments {
    /// The verb.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Installs driver, service and command line; protection is possible after a restart
    #[command(after_help = "Examples:\n  snapless-setup install --inf snapless.inf\n  \
                            snapless-setup install --inf D:\\snapless\\snapless.inf --programs D:\\snapless")]
    Install(InstallArguments),
    /// Removes what `install` installed; configuration, state and logs stay
    ///
    /// The filter is taken off the volume class first, so that the machine boots whatever happens after.
    /// A restart completes the removal.
    #[command(after_help = "Example:\n  snapless-setup remove")]
    Remove,
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
    /// The driver's INF; snapless.sys lies beside it
    #[arg(long, value_name = "FILE")]
    pub inf: PathBuf,
    /// Where snapless-service.exe and snapless.exe are [default: beside this program]
    #[arg(long, value_name = "FOLDER")]
    pub programs: Option<PathBuf>,
}

impl InstallArguments {
    /// The package that is meant, with absolute paths.
    pub fn package(&self) -> Result<Package, SetupError> {
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(SetupError::file("find", path));
        let programs = if let Some(folder) = &self.programs {
            absolute(folder)?
        } else {
            let own = std::env::current_exe().map_err(SetupError::file("find", Path::new(".")))?;
            own.parent().unwrap_or(Path::new(".")).to_owned()
        };
        Ok(Package { inf: absolute(&self.inf)?, programs })
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
    fn the_package_lies_beside_the_program_unless_said_otherwise() {
        let own = std::env::current_exe().unwrap();
        let mut arguments = InstallArguments { inf: "snapless.inf".into(), programs: None };
        let package = arguments.package().unwrap();
        assert_eq!(package.programs, own.parent().unwrap());
        assert!(package.inf.is_absolute() && package.inf.ends_with("snapless.inf"));
        arguments.programs = Some("elsewhere".into());
        assert!(arguments.package().unwrap().programs.ends_with("elsewhere"));
    }
}
