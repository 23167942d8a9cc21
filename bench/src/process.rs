//! The host as a child process, for tests and the benchmark.
//!
//! Rule: the child ends when the value is dropped, and when this process ends: the host ends at the
//! end of its standard input, which the value keeps open.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::control::Client;
use crate::error::{Error, IoContext, Result};

/// A running host.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
    socket: PathBuf,
    control: PathBuf,
}

impl HostProcess {
    /// Starts `program` with volumes of these names and files; its sockets are in `folder`.
    pub fn start(
        program: &Path,
        folder: &Path,
        volumes: &[(&str, &Path)],
        options: &[&str],
    ) -> Result<Self> {
        let (socket, control) = (folder.join("nbd.sock"), folder.join("control.sock"));
        let mut command = Command::new(program);
        command.arg("serve").arg("--socket").arg(&socket).arg("--control").arg(&control);
        for (name, path) in volumes {
            let mut volume = std::ffi::OsString::from(format!("{name}="));
            volume.push(path);
            command.arg("--volume").arg(volume);
        }
        command.args(options).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut host = Self { child: command.spawn().on("run", program)?, socket, control };
        host.await_line()?;
        Ok(host)
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The NBD URI of a volume.
    pub fn uri(&self, volume: &str) -> String {
        format!("nbd+unix:///{volume}?socket={}", self.socket.display())
    }

    /// The socket for NBD clients.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A new connection to the control channel.
    pub fn control(&self) -> Result<Client> {
        Client::connect(&self.control)
    }

    /// Ends the host and waits for it.
    ///
    /// # Errors
    /// If it exits with an error.
    pub fn quit(mut self) -> Result<()> {
        self.control()?.quit()?;
        let status = self.child.wait().map_err(Error::Control)?;
        if status.success() { Ok(()) } else { Err(Error::Refused(format!("it exited: {status}"))) }
    }

    /// Waits for the line `serving`.
    fn await_line(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().map(BufReader::new);
        let mut line = String::new();
        let read = stdout.map(|mut stdout| stdout.read_line(&mut line)).transpose();
        read.map_err(Error::Control)?;
        if line.trim() == "serving" {
            return Ok(());
        }
        Err(Error::Refused("it exited at its start; its error is above".to_owned()))
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for socket in [&self.socket, &self.control] {
            let _ = std::fs::remove_file(socket);
        }
    }
}
