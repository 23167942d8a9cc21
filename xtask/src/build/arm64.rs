//! What is compiled for arm64 on Linux: all but the driver's own crate, whose bindings need headers
//! of a WDK for arm64 (`driver/README.md`).
//!
//! The rule: clippy, and nothing is linked: no import library and no C runtime for arm64 is needed.

use crate::build::{pe, programs};
use crate::command::Tool;
use crate::console::Progress;
use crate::error::Result;
use crate::layout::Layout;
use crate::setup::wdk_root::MINGW_INCLUDE;

/// The target of the driver, as Windows CI builds it.
const KERNEL_TARGET: &str = "aarch64-pc-windows-msvc";
/// The target of programs: the one for which the C of crates compiles with mingw-w64's headers.
const PROGRAMS_TARGET: &str = "aarch64-pc-windows-gnullvm";
/// The crates that the driver is made of, besides its own.
const DRIVER_PARTS: [&str; 6] = [
    "snapless-driver-logic",
    "snapless-engine",
    "snapless-fixed",
    "snapless-tracking",
    "snapless-types",
    "snapless-wire",
];

/// Runs clippy over the crates that the driver is made of; a warning is an error.
pub fn lint_driver_parts(layout: &Layout, progress: &Progress) -> Result<()> {
    let packages = DRIVER_PARTS.iter().flat_map(|package| ["--package", *package]);
    clippy(layout, "the driver's crates", KERNEL_TARGET, "core,alloc,compiler_builtins")
        .args(packages)
        .args(["--", "-D", "warnings"])
        .run_with_progress(progress)
}

/// The same for the programs that run on Windows; the C of their crates is compiled as well.
pub fn lint_programs(layout: &Layout, progress: &Progress) -> Result<()> {
    let packages = programs::WINDOWS_PACKAGES.iter().flat_map(|package| ["--package", *package]);
    let variable = |name: &str| format!("{name}_{}", PROGRAMS_TARGET.replace('-', "_"));
    clippy(layout, "the programs", PROGRAMS_TARGET, "std,panic_unwind")
        .env(&variable("CC"), "clang-19")
        .env(&variable("CFLAGS"), format!("-isystem {MINGW_INCLUDE}"))
        .env(&variable("AR"), "llvm-ar-19")
        .env(&variable("RC"), "llvm-rc-19")
        .args(packages)
        .args(["--", "-D", "warnings"])
        .run_with_progress(progress)
}

/// In the profile of the programs for x64. Nothing of it runs, so nothing is optimized.
fn clippy(layout: &Layout, what: &str, target: &str, std: &str) -> Tool {
    let what = format!("{what} for arm64");
    pe::offline(programs::cargo_for(layout, "clippy", &what, target, std))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .arg("--release")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_ours_that_the_driver_links_is_compiled_for_arm64() {
        let lock = Layout::of_this_repository().driver().join("Cargo.lock");
        let lock = std::fs::read_to_string(lock).expect("it is there");
        let names =
            lock.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
        // Only the build script uses the other one.
        let ours =
            names.filter(|name| name.starts_with("snapless-") && *name != "snapless-version-info");
        assert_eq!(ours.collect::<Vec<_>>(), DRIVER_PARTS);
    }
}
