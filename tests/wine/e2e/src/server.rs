//! The backup server of a run, and its restores: the program that is shipped, as a user runs it.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use snapless_writer::log::Instant100;

use crate::error::E2eError;
use crate::process::{self, Program, wait_until};
use crate::run_folder::RunFolder;

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How a restore ends if the volume's disk could not read all of it.
const RESTORED_WITH_HOLES: &str = "exit status: 5";
const RESTORE_LIMIT: Duration = Duration::from_mins(10);

/// A machine in a list.
#[derive(Deserialize)]
struct Machine {
    machine: String,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    /// Its process.
    pub program: Program,
    address: String,
}

impl Server {
    /// Starts a server on a free port of the loopback, or on the address of an earlier one. Makes
    /// the run's repository if it is not there yet.
    pub fn start(exe: &Path, folder: &RunFolder, address: Option<&str>) -> Result<Self, E2eError> {
        if !folder.repository.join("repository.snapless").exists() {
            run("init", Command::new(exe).arg("init").arg(&folder.repository), folder)?;
            let mut authority = Command::new(exe);
            authority.args(["ca", "init", "--repository"]).arg(&folder.repository);
            run("ca-init", &mut authority, folder)?;
        }
        let log = folder.logs.join("server.log");
        let before = std::fs::metadata(&log).map_or(0, |data| data.len());
        let mut command = Command::new(exe);
        command.args(["serve", "--listen", address.unwrap_or("127.0.0.1:0"), "--repository"]);
        let mut program = Program::start("server", command.arg(&folder.repository), &folder.logs)?;
        let address = wait_until("snapless-server to listen", START_LIMIT, || {
            program.must_run()?;
            let text = std::fs::read(&log).map_err(E2eError::file("read", &log))?;
            let new = text.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
            Ok(listening_address(&String::from_utf8_lossy(new)))
        })?;
        Ok(Self { program, address })
    }

    /// `host:port` that it listens on.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Stops it as a service manager does.
    pub fn stop(&mut self) -> Result<(), E2eError> {
        self.program.terminate(STOP_LIMIT)
    }
}

/// A token, with which one machine enrols at the run's server.
pub fn token(exe: &Path, folder: &RunFolder) -> Result<String, E2eError> {
    let mut command = Command::new(exe);
    command.args(["token", "create", "--repository"]).arg(&folder.repository);
    let printed = process::run_logged("token", &mut command, &folder.logs, START_LIMIT)?;
    Ok(printed.trim().to_owned())
}

/// Lets the only machine restore its volumes over the network.
pub fn allow_restore(exe: &Path, folder: &RunFolder) -> Result<(), E2eError> {
    let mut command = Command::new(exe);
    command.args(["machines", "--json", "--repository"]).arg(&folder.repository);
    let printed = process::run_logged("machines", &mut command, &folder.logs, START_LIMIT)?;
    let machines: Vec<Machine> = serde_json::from_str(&printed)
        .map_err(|error| E2eError::said("machines", &printed, error.to_string()))?;
    let [machine] = &machines[..] else {
        return Err(E2eError::Rule(format!("{} machines have enrolled", machines.len())));
    };
    let mut command = Command::new(exe);
    command.args(["allow-restore", "--machine", &machine.machine, "--repository"]);
    run("allow-restore", command.arg(&folder.repository), folder)
}

/// Makes a group of one volume, by its GUID at the server.
pub fn set_group(exe: &Path, folder: &RunFolder, group: &str, guid: &str) -> Result<(), E2eError> {
    let mut command = Command::new(exe);
    command.args(["group", "set", "--repository"]).arg(&folder.repository).args([group, guid]);
    run("group-set", &mut command, folder)
}

/// Restores the volume at `at` (`t0`, `latest`, a time or a bookmark) to the run's folder.
pub fn restore(exe: &Path, folder: &RunFolder, at: &str) -> Result<(), E2eError> {
    let mut command = Command::new(exe);
    command.arg("restore").arg("--repository").arg(&folder.repository);
    command.args(["--volume", &folder.guid, "--at", at, "--to"]).arg(folder.restored(at));
    match run(&format!("restore-{at}"), &mut command, folder) {
        // The image is there. What it must have is compared, holes included.
        Err(E2eError::Exit { status, .. }) if status == RESTORED_WITH_HOLES => Ok(()),
        other => other,
    }
}

/// Mounts the volume at an instant, and copies all that a client reads to the run's folder.
pub fn copy_mounted(exe: &Path, folder: &RunFolder, at: Instant100) -> Result<(), E2eError> {
    let socket = folder.root.join("mount.socket");
    let mut command = Command::new(exe);
    command.arg("mount").arg("--repository").arg(&folder.repository);
    command.args(["--volume", &folder.guid, "--at", &rfc_3339(at), "--socket"]).arg(&socket);
    let mut mount = Program::start("mount", &mut command, &folder.logs)?;
    wait_until("the mount to listen", START_LIMIT, || {
        mount.must_run()?;
        Ok(socket.exists().then_some(()))
    })?;
    let mut copy = Command::new("qemu-img");
    copy.args(["convert", "-f", "raw", "-O", "raw"]);
    copy.arg(format!("nbd+unix:///?socket={}", socket.display())).arg(folder.restored("mounted"));
    run("copy-mounted", &mut copy, folder)?;
    mount.terminate(STOP_LIMIT)
}

fn rfc_3339(at: Instant100) -> String {
    let since = UNIX_EPOCH + Duration::from_nanos(at.unix_nanos());
    jiff::Timestamp::try_from(since).unwrap_or_default().to_string()
}

/// Checks every checksum of the repository.
pub fn verify(exe: &Path, folder: &RunFolder) -> Result<(), E2eError> {
    let mut command = Command::new(exe);
    run("verify", command.arg("verify").arg("--repository").arg(&folder.repository), folder)
}

/// Imports an image of the volume into the repository, which no server has.
pub fn seed(exe: &Path, folder: &RunFolder, image: &Path) -> Result<(), E2eError> {
    let mut command = Command::new(exe);
    command.args(["seed", "--volume", &folder.guid, "--repository"]).arg(&folder.repository);
    run("seed", command.arg("--image").arg(image), folder)
}

/// What the server's list says.
pub fn list(exe: &Path, folder: &RunFolder) -> Result<String, E2eError> {
    let mut command = Command::new(exe);
    command.arg("list").arg("--repository").arg(&folder.repository);
    process::run_logged("list", &mut command, &folder.logs, START_LIMIT)
}

fn run(name: &str, command: &mut Command, folder: &RunFolder) -> Result<(), E2eError> {
    process::run_logged(name, command, &folder.logs, RESTORE_LIMIT).map(|_| ())
}

fn listening_address(log: &str) -> Option<String> {
    let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.find_map(|line| Some(line.split_once("listening on ")?.1.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_named_to_the_microsecond_and_below() {
        assert_eq!(rfc_3339(Instant100(116_444_736_000_000_015)), "1970-01-01T00:00:00.0000015Z");
    }

    #[test]
    fn the_address_is_taken_from_a_whole_line() {
        assert_eq!(listening_address("starting\nlistening on 127.0.0.1:40"), None);
        let log = "starting\nlistening on 127.0.0.1:4050\nmore";
        assert_eq!(listening_address(log).as_deref(), Some("127.0.0.1:4050"));
    }
}
