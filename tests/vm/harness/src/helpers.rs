//! Programs that run on the host beside a machine: the backup server, and swtpm if there is one.
//!
//! The rule: a helper ends when it is dropped.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::VmError;

const LIMIT: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(50);

/// A program that runs until it is dropped.
pub struct Helper(Child);

impl Drop for Helper {
    fn drop(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A backup server with a repository of its own.
pub struct Server {
    _process: Helper,
    /// The port of the loopback that it listens on.
    pub port: u16,
    /// A token, with which the guest enrols.
    pub token: String,
}

impl Server {
    /// Makes a repository in a folder and serves it.
    pub fn start(program: &Path, folder: &Path) -> Result<Self, VmError> {
        let repository = folder.join("repository");
        run(Command::new(program).arg("init").arg(&repository))?;
        run(Command::new(program).args(["ca", "init", "--repository"]).arg(&repository))?;
        let log = folder.join("server.log");
        let output = File::create(&log).map_err(VmError::file("create", &log))?;
        let errors = output.try_clone().map_err(VmError::file("use", &log))?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--repository"]).arg(&repository);
        let process = start(command.stdout(output).stderr(errors))?;
        let started = Instant::now();
        let port = loop {
            let text = fs::read_to_string(&log).map_err(VmError::file("read", &log))?;
            if let Some(port) = listening_port(&text) {
                break port;
            }
            if started.elapsed() > LIMIT {
                return Err(VmError::Exit(program.display().to_string(), text));
            }
            thread::sleep(POLL);
        };
        let mut token = Command::new(program);
        token.args(["token", "create", "--repository"]).arg(&repository);
        let token = run(&mut token)?.trim().to_owned();
        Ok(Self { _process: process, port, token })
    }
}

/// Restores the one volume of a repository that has the point with this name.
pub fn restore(program: &Path, repository: &Path, at: &str, to: &Path) -> Result<(), VmError> {
    let volumes = repository.join("volumes");
    let names = fs::read_dir(&volumes).map_err(VmError::file("list", &volumes))?;
    let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
    let [volume] = names.as_slice() else {
        let count = names.len();
        return Err(VmError::Unusable(format!(
            "{} has {count} volumes, not one",
            volumes.display()
        )));
    };
    let mut command = Command::new(program);
    command.arg("restore").arg("--repository").arg(repository).arg("--volume").arg(volume);
    run(command.args(["--at", at, "--to"]).arg(to)).map(drop)
}

/// Starts swtpm for a machine, if the host has it; returns its socket.
pub fn tpm(folder: &Path) -> Result<Option<(Helper, PathBuf)>, VmError> {
    let state = folder.join("tpm");
    fs::create_dir_all(&state).map_err(VmError::file("create", &state))?;
    let socket = state.join("socket");
    let mut command = Command::new("swtpm");
    command.args(["socket", "--tpm2", "--tpmstate"]).arg(format!("dir={}", state.display()));
    command.arg("--ctrl").arg(format!("type=unixio,path={}", socket.display()));
    let Ok(process) = start(command.stdout(Stdio::null()).stderr(Stdio::null())) else {
        return Ok(None);
    };
    let started = Instant::now();
    while !socket.exists() && started.elapsed() < LIMIT {
        thread::sleep(POLL);
    }
    Ok(Some((process, socket)))
}

fn start(command: &mut Command) -> Result<Helper, VmError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let child = command.stdin(Stdio::null()).spawn();
    let child = child.map_err(|source| VmError::Spawn(program, source, "Is it installed?"))?;
    Ok(Helper(child))
}

fn run(command: &mut Command) -> Result<String, VmError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output =
        output.map_err(|source| VmError::Spawn(program.clone(), source, "Is it there?"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(VmError::Exit(program, String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn listening_port(log: &str) -> Option<u16> {
    let mut lines = log.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    lines.find_map(|line| {
        line.split_once("listening on ")?.1.trim().rsplit(':').next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_taken_from_a_whole_line() {
        assert_eq!(listening_port("starting\nlistening on 127.0.0.1:40"), None);
        assert_eq!(listening_port("starting\nlistening on 127.0.0.1:4050\nmore"), Some(4050));
    }
}
