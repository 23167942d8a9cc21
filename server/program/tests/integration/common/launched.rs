//! A server that others wrote, in a process of its own: it says at which port it listens, and reads
//! from a file by how much its clock is ahead of the machine's.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A running server; it ends when this is dropped.
pub struct Launched {
    pub address: SocketAddr,
    child: Child,
    /// The file of the clock is in it.
    dir: TempDir,
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Launched {
    /// Starts what `command` makes of the name of the clock's file.
    pub fn start(command: impl FnOnce(&Path) -> Command) -> Self {
        let dir = super::scratch();
        let clock = dir.path().join("clock");
        fs::write(&clock, "0").unwrap();
        let mut command = command(&clock);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect(&line);
        Self { address: ([127, 0, 0, 1], port).into(), child, dir }
    }

    /// The server's clock is ahead of the machine's by so much.
    pub fn set_ahead(&self, time: Duration) {
        // Whole at any moment: the server reads it whenever it looks at its clock.
        let new = self.dir.path().join("new");
        fs::write(&new, time.as_secs().to_string()).unwrap();
        fs::rename(new, self.dir.path().join("clock")).unwrap();
    }

    /// A file beside that of the clock is there or not.
    pub fn set_flag(&self, name: &str, is_set: bool) {
        let flag = self.dir.path().join(name);
        if is_set {
            fs::write(flag, "").unwrap();
        } else {
            fs::remove_file(flag).unwrap();
        }
    }
}

/// A file of a tool that the set-up installs, in whichever of its folders it is.
pub fn installed(file: &str) -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let tools = program.ancestors().map(|dir| dir.join("tools")).find(|dir| dir.is_dir())?;
    let tools = fs::read_dir(tools).ok()?.flatten();
    tools.map(|tool| tool.path().join(file)).find(|file| file.is_file())
}

/// Says why a test does nothing.
pub fn skipped(without: &str) {
    drop(writeln!(io::stderr(), "skipped: no {without}, see `cargo xtask setup`"));
}
