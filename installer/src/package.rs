//! What is installed from: the driver's INF with its driver, and the programs.

use std::path::PathBuf;

use crate::error::SetupError;
use crate::names::{COMMAND_LINE, DRIVER, SERVICE_PROGRAM};
use crate::system::System;

/// Where the files to install are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Package {
    /// The driver's INF.
    pub inf: PathBuf,
    /// Folder of the programs.
    pub programs: PathBuf,
    /// Take a driver whose signature Windows does not trust.
    pub untrusted: bool,
    /// Take a package that is older than what is installed.
    pub force: bool,
}

impl Package {
    /// The driver's file, beside the INF.
    pub fn driver(&self) -> PathBuf {
        self.inf.with_file_name(format!("{DRIVER}.sys"))
    }

    /// A program's file.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Its files, and the place that each is installed at; the INF has none.
    pub fn files(&self, system: &dyn System) -> [(PathBuf, PathBuf); 3] {
        let program = |name: &str| (self.program(name), system.program_folder().join(name));
        [(self.driver(), system.driver_file()), program(SERVICE_PROGRAM), program(COMMAND_LINE)]
    }

    /// Checks that no file is missing, before anything changes.
    pub fn check(&self, system: &dyn System) -> Result<(), SetupError> {
        for file in
            [self.inf.clone()].into_iter().chain(self.files(system).map(|(packaged, _)| packaged))
        {
            if system.read_file(&file)?.is_none() {
                return Err(SetupError::Missing(file));
            }
        }
        Ok(())
    }
}
