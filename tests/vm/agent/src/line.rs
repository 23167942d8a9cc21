//! The serial line. A port of the PC's own kind needs no driver that Windows has not, and is there
//! from the first start on.
//!
//! The rule: one message is written at a time, by whichever thread.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serialport::SerialPort;
use vm_protocol::frame::{self, Decoder};
use vm_protocol::message::{FromGuest, ToGuest};

use crate::error::AgentError;

/// The emulated port knows no speed; this is the most that every driver accepts.
const BAUD: u32 = 115_200;
/// On Windows a read that waits keeps writes from the port, for so long at most.
const READ_WAIT: Duration = Duration::from_millis(20);
/// Bytes that are written within the wait on any machine.
const WRITE_SIZE: usize = 256;

/// The end that speaks. Clones speak on the same line.
#[derive(Clone)]
pub struct Line {
    port: Arc<Mutex<Box<dyn SerialPort>>>,
}

/// The end that listens.
pub struct Orders {
    port: Box<dyn SerialPort>,
    decoder: Decoder,
    waiting: VecDeque<ToGuest>,
}

/// Opens a port.
pub fn open(name: &str) -> Result<(Line, Orders), AgentError> {
    let broken = |error: serialport::Error| AgentError::Line(format!("{name}: {error}"));
    let port = serialport::new(name, BAUD).timeout(READ_WAIT).open().map_err(broken)?;
    let hearing = port.try_clone().map_err(broken)?;
    let orders = Orders { port: hearing, decoder: Decoder::default(), waiting: VecDeque::new() };
    let line = Line { port: Arc::new(Mutex::new(port)) };
    line.write(frame::EMPTY)?;
    Ok((line, orders))
}

impl Line {
    /// Sends a message, whole.
    pub fn send(&self, message: &FromGuest) -> Result<(), AgentError> {
        let bytes = frame::encode(message).map_err(|error| AgentError::Line(error.to_string()))?;
        self.write(&bytes)
    }

    fn write(&self, bytes: &[u8]) -> Result<(), AgentError> {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        while !rest.is_empty() {
            match port.write(&rest[..rest.len().min(WRITE_SIZE)]) {
                Ok(taken) => rest = &rest[taken..],
                Err(error) if goes_on(&error) => {}
                Err(error) => return Err(AgentError::Line(error.to_string())),
            }
        }
        Ok(())
    }
}

impl Orders {
    /// Waits for the next order.
    pub fn next(&mut self) -> Result<ToGuest, AgentError> {
        let mut bytes = [0; 1024];
        loop {
            if let Some(order) = self.waiting.pop_front() {
                return Ok(order);
            }
            match self.port.read(&mut bytes) {
                Ok(count) => {
                    for order in self.decoder.push(&bytes[..count]) {
                        let order = order.map_err(|error| AgentError::Line(error.to_string()))?;
                        self.waiting.push_back(order);
                    }
                }
                Err(error) if goes_on(&error) => {}
                Err(error) => return Err(AgentError::Line(error.to_string())),
            }
        }
    }
}

fn goes_on(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::WouldBlock)
}
