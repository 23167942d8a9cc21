//! Registering performance counters (docs: "Performance Counters Schema", `lodctr`, `unlodctr`).
//!
//! Wine has both programs, which do nothing.

use std::os::windows::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use snapless_driver_client::paths;
use snapless_driver_client::wine::is_wine;
use windows_registry::LOCAL_MACHINE;
use windows_sys::Win32::System::Threading::CREATE_NO_WINDOW;

use super::files;
use crate::counters::{MANIFEST, MANIFEST_FILE, PROVIDER, SETS};
use crate::error::SetupError;
use crate::names::SERVICE_PROGRAM;
use crate::system::{Deleted, Found};

/// Where Windows keeps what it has registered.
const PROVIDERS: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\Perflib\_V2Providers";
/// The program with the names of the counters.
const IDENTITY_VALUE: &str = "ApplicationIdentity";
/// How long one of the programs may take. They wait for each other on one machine.
const LIMIT: Duration = Duration::from_mins(1);
/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(50);

/// Whether what the manifest lists is registered, for the programs in `folder`.
pub(super) fn look(folder: &Path) -> Result<Found, SetupError> {
    if is_wine() {
        return Ok(Found::Unsupported);
    }
    let written = files::read(&folder.join(MANIFEST_FILE))?;
    let is_current = written.is_some_and(|written| written == MANIFEST.as_bytes());
    let program = folder.join(SERVICE_PROGRAM).display().to_string();
    let is_registered = LOCAL_MACHINE.open(provider()).is_ok_and(|key| {
        let identity = key.get_string(IDENTITY_VALUE);
        identity.is_ok_and(|identity| identity.eq_ignore_ascii_case(&program))
            && SETS.iter().all(|set| key.open(set).is_ok())
    });
    Ok(if is_current && is_registered { Found::AsWanted } else { Found::Other })
}

/// Registers what the manifest lists, in place of what was registered. Cut short, it leaves less
/// than that, which [`look`] finds.
pub(super) fn register(folder: &Path) -> Result<(), SetupError> {
    unload()?;
    let manifest = folder.join(MANIFEST_FILE);
    files::write(&manifest, MANIFEST.as_bytes())?;
    // It takes the program's name from the manifest, and its folder is the manifest's.
    run("lodctr.exe", &format!("/m:\"{}\"", manifest.display()))
}

/// Removes registration and manifest.
pub(super) fn remove(folder: &Path) -> Result<Deleted, SetupError> {
    if is_wine() {
        return Ok(Deleted::Absent);
    }
    let was_registered = unload()?;
    let deleted = files::delete(&folder.join(MANIFEST_FILE), false)?;
    Ok(if was_registered { Deleted::Now } else { deleted })
}

/// Removes what is registered; true if anything was.
fn unload() -> Result<bool, SetupError> {
    let is_there = LOCAL_MACHINE.open(provider()).is_ok();
    if is_there {
        run("unlodctr.exe", &format!("/g:{PROVIDER}"))?;
    }
    Ok(is_there)
}

fn provider() -> String {
    format!(r"{PROVIDERS}\{PROVIDER}")
}

/// Runs a program of Windows, whose one argument is written as it is.
fn run(program: &'static str, argument: &str) -> Result<(), SetupError> {
    let failed = |why: String| SetupError::Counters { program, why };
    let file = paths::windows_dir().join("System32").join(program);
    let mut command = Command::new(file);
    command.raw_arg(argument).creation_flags(CREATE_NO_WINDOW);
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(status.to_string())),
            Ok(None) if start.elapsed() < LIMIT => thread::sleep(POLL),
            Ok(None) => {
                let why = match child.kill().and_then(|()| child.wait()) {
                    Ok(_) => String::new(),
                    Err(error) => format!(": {error}"),
                };
                let limit = LIMIT.as_secs();
                return Err(failed(format!("it did not end within {limit} s{why}")));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    }
}
