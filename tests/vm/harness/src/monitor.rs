//! QEMU's monitor: what the host does to a machine, and what happens to it.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qapi::qmp::{self, Event};
use qapi::{Command, ExecuteError, Qmp, Stream};

use crate::error::VmError;

/// QEMU answers at once; one that does not is stuck.
const ANSWER_LIMIT: Duration = Duration::from_mins(1);

/// What happens to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// The guest has noticed its own end: a bug check, a kernel panic.
    Panicked {
        /// What it said of it.
        what: String,
    },
    /// The machine was reset.
    Reset,
    /// The machine is off.
    Off,
    /// A device is gone.
    Unplugged {
        /// Its name.
        device: String,
    },
}

/// The monitor of a machine that runs.
pub struct Monitor {
    qmp: Qmp<Stream<BufReader<Socket>, Socket>>,
}

/// A socket that the two halves of the client share.
#[derive(Clone)]
struct Socket(Arc<UnixStream>);

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(bytes)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&*self.0).flush()
    }
}

impl Monitor {
    /// Connects.
    pub fn connect(socket: &Path) -> Result<Self, VmError> {
        let stream = UnixStream::connect(socket).map_err(VmError::file("connect to", socket))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT)).map_err(VmError::file("use", socket))?;
        let mut qmp = Qmp::from_stream(Socket(Arc::new(stream)));
        qmp.handshake().map_err(|error| VmError::Monitor(error.to_string()))?;
        Ok(Self { qmp })
    }

    /// What has happened since the last question. An error means that QEMU has ended.
    pub fn happened(&mut self) -> Result<Vec<Happening>, VmError> {
        self.qmp.nop().map_err(|error| VmError::Monitor(error.to_string()))?;
        Ok(self.qmp.events().filter_map(|event| happening(&event)).collect())
    }

    /// Presses the return key, for a boot loader that asks for any key.
    pub fn press_return(&mut self) -> Result<(), VmError> {
        let key = qmp::KeyValue::qcode(qmp::QKeyCode::ret.into());
        self.execute(&qmp::send_key { keys: vec![key], hold_time: None })
    }

    /// Interrupts the guest so that it notices: Windows bug checks and writes a dump.
    pub fn inject_nmi(&mut self) -> Result<(), VmError> {
        self.execute(&qmp::inject_nmi {})
    }

    /// Pulls a device out.
    pub fn unplug(&mut self, device: &str) -> Result<(), VmError> {
        self.execute(&qmp::device_del { id: device.to_owned() })
    }

    fn execute<C: Command>(&mut self, command: &C) -> Result<(), VmError> {
        match self.qmp.execute(command) {
            Ok(_) => Ok(()),
            Err(ExecuteError::Qapi(error)) => Err(VmError::Monitor(error.to_string())),
            Err(ExecuteError::Io(error)) => Err(VmError::Monitor(error.to_string())),
        }
    }
}

fn happening(event: &Event) -> Option<Happening> {
    match event {
        Event::GUEST_PANICKED { data, .. } => {
            let what = data.info.as_ref();
            let what = what.map_or_else(|| "without details".to_owned(), |it| format!("{it:x?}"));
            Some(Happening::Panicked { what })
        }
        Event::RESET { .. } => Some(Happening::Reset),
        Event::SHUTDOWN { .. } => Some(Happening::Off),
        Event::DEVICE_DELETED { data, .. } => {
            Some(Happening::Unplugged { device: data.device.clone().unwrap_or_default() })
        }
        _ => None,
    }
}
