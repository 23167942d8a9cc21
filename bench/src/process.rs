//! A host as another program: for tests, and for the benchmark.
//!
//! The rule: it ends with the value, and with the process that has the value: its standard input is held open, and the
//! host ends when that closes.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::control::Client;
use crate::error::{Error, IoContext, Result};

/// A host that serves.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
    socket: PathBuf,
    control: PathBuf,
}

impl HostProcess {
    /// Starts `program` on volumes of the given names and files; its sockets are made in `folder`.
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

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where clients come, as an NBD URI.
    pub fn uri(&self, volume: &str) -> String {
        format!("nbd+unix:///{volume}?socket={}", self.socket.display())
    }

    /// Where clients come.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A new conversation with it.
    pub fn control(&self) -> Result<Client> {
        Client::connect(&self.control)
    }

    /// Asks it to end, and waits for it.
    ///
    /// # Errors
    /// If it did not end well.
    pub fn quit(mut self) -> Result<()> {
        self.control()?.quit()?;
        let status = self.child.wait().map_err(Error::Control)?;
        if status.success() { Ok(()) } else { Err(Error::Refused(format!("it ended: {status}"))) }
    }

    /// Waits until it says that it serves.
    fn await_line(&mut self) -> Result<()> {
        let stdout = self.child.stdout.take().map(BufReader::new);
        let mut line = String::new();
        let read = stdout.map(|mut stdout| stdout.read_line(&mut line)).transpose();
        read.map_err(Error::Control)?;
        if line.trim() == "serving" {
            return Ok(());
        }
        Err(Error::Refused("it ended before it served; its error is above".to_owned()))
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for socket in [&self.socket, &self.control] {
            let _ = std::fs::remove_file(socket);
        }
    }
}
