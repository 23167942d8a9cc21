//! `snapless-setup repair`: puts back what `status` finds to be wrong.
//!
//! Rule: it changes no version. What is missing or damaged comes from the package of the version
//! that is installed.

use std::io::Write;

use crate::error::SetupError;
use crate::install;
use crate::machine::Machine;
use crate::outcome::Outcome;
use crate::package::Package;
use crate::parts::anything_is_installed;
use crate::system::System;

/// Repairs with the package.
pub fn run(
    package: &Package,
    system: &dyn System,
    out: &mut dyn Write,
) -> Result<Outcome, SetupError> {
    if !anything_is_installed(system)? {
        return Err(SetupError::NothingInstalled { instead: "install" });
    }
    let machine = Machine::new(system, Some(package), out);
    install::check(package, &machine)?;
    refuse_other(package, system)?;
    install::put(&machine)
}

fn refuse_other(package: &Package, system: &dyn System) -> Result<(), SetupError> {
    for (packaged, file) in package.files(system) {
        if let (Some(offered), Some(installed)) =
            (system.version(&packaged)?, system.version(&file)?)
            && offered != installed
        {
            return Err(SetupError::OtherVersion { file, installed, offered });
        }
    }
    Ok(())
}
