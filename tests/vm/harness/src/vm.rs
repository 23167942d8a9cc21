//! A machine that runs: QEMU's process, the line to the guest and the monitor.
//!
//! The rule: the process ends when this is dropped, whatever happened.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vm_protocol::frame::{self, Decoder, FrameError};
use vm_protocol::message::{FromGuest, ToGuest};

use crate::error::VmError;
use crate::machine::{Ends, Machine};
use crate::monitor::Monitor;

/// How long QEMU may take to open its sockets.
const START_LIMIT: Duration = Duration::from_mins(1);

/// A machine that runs.
pub struct Vm {
    machine: Machine,
    ends: Ends,
    log: PathBuf,
    child: Child,
    line: UnixStream,
    heard: Receiver<Result<FromGuest, FrameError>>,
    /// The monitor.
    pub monitor: Monitor,
    /// Socket names are short: they are in a folder of their own.
    _sockets: TempDir,
}

impl Vm {
    /// Starts a machine; what it prints goes into `folder`.
    pub fn start(machine: &Machine, folder: &Path) -> Result<Self, VmError> {
        if let Some((_, variables)) = machine.firmware_files()
            && !machine.variables.exists()
        {
            let copied = fs::copy(&variables, &machine.variables);
            copied.map_err(VmError::file("copy", &variables))?;
        }
        let sockets = tempfile::tempdir().map_err(VmError::file("create", Path::new("/tmp")))?;
        let ends = Ends {
            monitor: sockets.path().join("monitor"),
            line: sockets.path().join("line"),
            console: folder.join("console.log"),
        };
        let log = folder.join("qemu.log");
        let (child, line, heard, monitor) = begin(machine, &ends, &log)?;
        let machine = machine.clone();
        Ok(Self { machine, ends, log, child, line, heard, monitor, _sockets: sockets })
    }

    /// Takes the power away, if it is on, and gives it back: nothing in the guest is told of it.
    pub fn cut_power(&mut self) -> Result<(), VmError> {
        self.end();
        for socket in [&self.ends.monitor, &self.ends.line] {
            // QEMU makes them anew.
            let _ = fs::remove_file(socket);
        }
        let (child, line, heard, monitor) = begin(&self.machine, &self.ends, &self.log)?;
        (self.child, self.line, self.heard, self.monitor) = (child, line, heard, monitor);
        Ok(())
    }

    /// Sends an order to the guest.
    pub fn send(&mut self, order: &ToGuest) -> Result<(), VmError> {
        let bytes = frame::encode(order).map_err(|error| VmError::Unusable(error.to_string()))?;
        self.line.write_all(&bytes).map_err(VmError::Line)
    }

    /// Waits for what the guest says next. None: nothing came.
    pub fn listen(&self, wait: Duration) -> Option<Result<FromGuest, FrameError>> {
        match self.heard.recv_timeout(wait) {
            Ok(heard) => Some(heard),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                // The line has ended with QEMU, which whoever asks notices by itself.
                thread::sleep(wait);
                None
            }
        }
    }

    /// True if QEMU has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    fn end(&mut self) {
        // One that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.end();
    }
}

type Begun = (Child, UnixStream, Receiver<Result<FromGuest, FrameError>>, Monitor);

fn begin(machine: &Machine, ends: &Ends, log: &Path) -> Result<Begun, VmError> {
    let output = fs::File::options().create(true).append(true).open(log);
    let output = output.map_err(VmError::file("create", log))?;
    let errors = output.try_clone().map_err(VmError::file("use", log))?;
    let mut command = Command::new(&machine.qemu.program);
    command.args(machine.arguments(ends)).stdin(Stdio::null()).stdout(output).stderr(errors);
    if let Some(libraries) = &machine.qemu.libraries {
        command.env("LD_LIBRARY_PATH", libraries);
    }
    let child = command.spawn().map_err(|source| {
        let program = machine.qemu.program.display().to_string();
        VmError::Spawn(program, source, "`apt-get install qemu-system-x86 ovmf` installs it")
    })?;
    let mut child = Killed(Some(child));
    let started = Instant::now();
    let connect = || Ok((UnixStream::connect(&ends.line)?, Monitor::connect(&ends.monitor)?));
    let (line, monitor) = loop {
        let connected: Result<_, Box<dyn Error>> = connect();
        match connected {
            Ok(connected) => break connected,
            Err(_) if started.elapsed() < START_LIMIT && child.lives() => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => {
                let said = fs::read_to_string(log).unwrap_or_default();
                return Err(VmError::NotBegun(format!("{error}; it said: {}", said.trim())));
            }
        }
    };
    let heard = listen(line.try_clone().map_err(VmError::Line)?);
    let child = child.0.take().ok_or_else(|| VmError::NotBegun("it has ended".to_owned()))?;
    Ok((child, line, heard, monitor))
}

/// A process that ends if its machine does not begin.
struct Killed(Option<Child>);

impl Killed {
    fn lives(&mut self) -> bool {
        self.0.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn listen(mut line: UnixStream) -> Receiver<Result<FromGuest, FrameError>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let (mut decoder, mut bytes) = (Decoder::default(), vec![0; 64 << 10]);
        while let Ok(count @ 1..) = line.read(&mut bytes) {
            for message in decoder.push(&bytes[..count]) {
                if sender.send(message).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}
