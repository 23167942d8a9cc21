//! `cargo xtask demo --stay`: the console over what the demo has stored, until Ctrl-C.
//!
//! The rule: the user is the demo's own, with a password that is new each time, and no process is
//! left behind.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use snapless_e2e::E2eError;
use snapless_e2e::process::{self, Program};
use snapless_e2e::run_folder::RunFolder;

use crate::console::say;

/// Where it listens: the port that the pages of the console name.
const ADDRESS: &str = "127.0.0.1:8443";
/// Who signs in.
const USER: &str = "demo";
/// The longest start.
const LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);

/// Serves the repository of a run with its console, and says where.
pub fn run(server: &Path, folder: &Path) -> Result<(), E2eError> {
    let folder = RunFolder::at(folder);
    let password = password()?;
    let mut user = Command::new(server);
    user.args(["console", "user", "add", USER, "--role", "administrator", "--repository"]);
    let mut user = Program::start("console-user", user.arg(&folder.repository), &folder.logs)?;
    if let Some(mut input) = user.take_stdin() {
        // If it has ended, it says why below.
        let _ = writeln!(input, "{password}");
    }
    user.finish(LIMIT)?;

    let mut serve = Command::new(server);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--console", ADDRESS, "--repository"]);
    let serve = serve.arg(&folder.repository);
    let mut serve = Program::start_talking("console", serve, &folder.logs)?;
    let address = loop {
        let line = serve.line("its address", LIMIT)?;
        if let Some(address) = line.strip_prefix("console on ") {
            break address.to_owned();
        }
    };
    say(&format!("the console is at {address}, until Ctrl-C"));
    say(&format!("sign in as {USER} with the password {password}"));
    say("its certificate is of the demo's own authority: the browser warns");
    while process::pause(PAUSE).is_ok() {
        serve.must_run()?;
    }
    // Nothing is being stored: there is nothing to wait for.
    serve.kill();
    Ok(())
}

fn password() -> Result<String, E2eError> {
    let random = Path::new("/dev/urandom");
    let mut bytes = [0; 8];
    let read = File::open(random).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(E2eError::file("read", random))?;
    Ok(format!("{:016x}", u64::from_le_bytes(bytes)))
}
