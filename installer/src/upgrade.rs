//! `snapless-setup upgrade`: installs over what is installed.

use std::io::Write;

use crate::error::SetupError;
use crate::install;
use crate::outcome::Outcome;
use crate::package::Package;
use crate::parts::anything_is_installed;
use crate::system::System;

/// Upgrades to the package.
pub fn run(
    package: &Package,
    system: &dyn System,
    out: &mut dyn Write,
) -> Result<Outcome, SetupError> {
    if !anything_is_installed(system)? {
        return Err(SetupError::NothingInstalled { instead: "install" });
    }
    install::run(package, system, out)
}
