//! The backup server of a run, and its restores: the program that is shipped, as a user runs it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::error::E2eError;
use crate::process::{self, Program, wait_until};

const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(30);
const RESTORE_LIMIT: Duration = Duration::from_mins(10);

/// Where the program and its repository are.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// `snapless-server`.
    pub program: PathBuf,
    /// Its repository.
    pub repository: PathBuf,
    /// The run's logs.
    pub logs: PathBuf,
}

/// A server that listens.
#[derive(Debug)]
pub struct Server {
    program: Program,
    address: String,
}

impl Server {
    /// Starts a server on a free port of the loopback, or on the address of an earlier one.
    pub fn start(files: &ServerFiles, address: Option<&str>) -> Result<Self, E2eError> {
        let log = files.logs.join("server.log");
        let before = std::fs::metadata(&log).map_or(0, |data| data.len());
        let mut command = Command::new(&files.program);
        command.args(["serve", "--listen", address.unwrap_or("127.0.0.1:0"), "--repository"]);
        let mut program = Program::start("server", command.arg(&files.repository), &files.logs)?;
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

    /// An error if it has ended.
    pub fn must_run(&mut self) -> Result<(), E2eError> {
        self.program.must_run()
    }

    /// Stops it as a service manager does.
    pub fn stop(&mut self) -> Result<(), E2eError> {
        self.program.terminate(STOP_LIMIT)
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Makes it stop answering.
    pub fn freeze(&self) -> Result<(), E2eError> {
        self.program.freeze()
    }

    /// Lets it answer again.
    pub fn thaw(&self) -> Result<(), E2eError> {
        self.program.thaw()
    }
}

/// Restores `at` (`t0`, `latest` or a time) of `volume` to the new file `to`.
pub fn restore(files: &ServerFiles, volume: &str, at: &str, to: &Path) -> Result<(), E2eError> {
    let mut command = Command::new(&files.program);
    command.arg("restore").arg("--repository").arg(&files.repository);
    command.args(["--volume", volume, "--at", at, "--to"]).arg(to);
    process::run_logged(&format!("restore-{at}"), &mut command, &files.logs, RESTORE_LIMIT)
        .map(|_| ())
}

/// Checks every checksum of the repository.
pub fn verify(files: &ServerFiles) -> Result<(), E2eError> {
    let mut command = Command::new(&files.program);
    command.arg("verify").arg("--repository").arg(&files.repository);
    process::run_logged("verify", &mut command, &files.logs, RESTORE_LIMIT).map(|_| ())
}

fn listening_address(log: &str) -> Option<String> {
    let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.find_map(|line| Some(line.split_once("listening on ")?.1.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_a_whole_line() {
        assert_eq!(listening_address("starting\nlistening on 127.0.0.1:40"), None);
        let log = "starting\nlistening on 127.0.0.1:4050\nmore";
        assert_eq!(listening_address(log).as_deref(), Some("127.0.0.1:4050"));
    }
}
