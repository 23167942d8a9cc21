//! The Wine prefix of the rig: a Windows of our own under `target/wine`.
//!
//! The rule: no other prefix is touched, and no process of this one is left behind when the step
//! ends.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::build::pe;
use crate::command::Tool;
use crate::console::{Outcome, Progress};
use crate::error::{IoContext, Result};
use crate::files::remove_folder;
use crate::layout::Layout;
use crate::stamp::{Fingerprint, Stamp};

/// Debian's 64-bit loader itself: the `wine` on the path is a script that asks for the 32-bit one.
pub const WINE: &str = "/usr/lib/wine/wine64";
const WINESERVER: &str = "/usr/bin/wineserver";

/// What every Wine process of the rig gets, besides the prefix.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("WINEDEBUG", "-all"),
    // No dialogues, no downloads of components that nothing here uses.
    ("WINEDLLOVERRIDES", "mscoree,mshtml,winemenubuilder.exe="),
    ("WINEARCH", "win64"),
    ("DISPLAY", ""),
];

/// Makes the prefix.
pub fn make(layout: &Layout, progress: &Progress) -> Result<Outcome> {
    let prefix = layout.wine_prefix();
    let system32 = prefix.join("drive_c/windows/system32");
    let dll_source = layout.wdk_sources().join("bcryptprimitives");
    let mut inputs = Fingerprint::of_recipe(include_str!("wine_prefix.rs"));
    inputs.text(&wine_version()?).folder(&dll_source)?;
    let stamp = Stamp::new(layout, "wine-prefix", &inputs);
    if stamp.is_current() && system32.is_dir() {
        return Ok(Outcome::AlreadyThere);
    }
    stamp.clear()?;
    if prefix.is_dir() {
        stop_server(&prefix)?;
        remove_folder(&prefix)?;
    }
    fs::create_dir_all(&prefix).on("create", &prefix)?;

    progress.detail("wineboot");
    wine(&prefix, "making the Wine prefix", "wineboot.exe").arg("--init").run()?;
    stop_server(&prefix)?;

    if !bcryptprimitives_is_built_in() {
        progress.detail("bcryptprimitives.dll");
        let built = pe::build_bcryptprimitives(layout, progress)?;
        let installed = system32.join("bcryptprimitives.dll");
        fs::copy(&built, &installed).on("write", &installed)?;
    }
    stamp.set()?;
    Ok(Outcome::Done)
}

/// Ends every process of this prefix and waits until they are gone.
pub fn stop_server(prefix: &Path) -> Result<()> {
    // `--kill` fails where no server runs: that is what is wanted.
    if tool(prefix, "stopping the Wine server", WINESERVER).arg("--kill").run().is_ok() {
        tool(prefix, "waiting for the Wine server", WINESERVER).arg("--wait").run()?;
    }
    Ok(())
}

/// A Windows program, run in this prefix.
pub fn wine(prefix: &Path, what: &str, program: impl AsRef<OsStr>) -> Tool {
    tool(prefix, what, WINE).arg(program)
}

fn tool(prefix: &Path, what: &str, program: &str) -> Tool {
    ENVIRONMENT
        .iter()
        .fold(Tool::new(what, program), |tool, (name, value)| tool.env(name, value))
        .env("WINEPREFIX", prefix)
        .env("WINELOADER", WINE)
}

fn wine_version() -> Result<String> {
    Tool::new("asking for Wine's version", WINE).arg("--version").output()
}

/// Wine 9 and later bring the DLL that Rust's `std` takes its random numbers from; Wine 8 does not.
fn bcryptprimitives_is_built_in() -> bool {
    ["/usr/lib/x86_64-linux-gnu/wine", "/usr/lib/wine"]
        .iter()
        .any(|folder| Path::new(folder).join("x86_64-windows/bcryptprimitives.dll").exists())
}
