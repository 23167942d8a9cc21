//! Sends and receives whole frames, within limits of size and time.

use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snapless_wire::frame::{FRAME_HEADER_LEN, FrameError, FrameHeader, FrameKind};

use crate::error::LinkError;
use crate::stream::{Stream, is_transient};

/// Bytes handed to the stream at a time. The other end must take some of them within the stream's
/// own limit.
const CHUNK_LEN: usize = 256 << 10;
/// How long the other end may be silent in the middle of a frame.
pub const STALL_LIMIT: Duration = Duration::from_secs(30);

/// The sending half of a link.
#[derive(Debug)]
pub struct FrameSender {
    stream: Arc<dyn Stream>,
    /// A frame's header and the start of its payload, so that they leave together.
    head: Vec<u8>,
}

impl FrameSender {
    /// Sends over this stream.
    pub fn new(stream: Arc<dyn Stream>) -> Self {
        Self { stream, head: Vec::new() }
    }

    /// Sends one frame; returns its length with the header.
    pub fn send(&mut self, kind: FrameKind, payload: &[u8]) -> Result<usize, LinkError> {
        let header = FrameHeader::new(kind, payload)?;
        let (start, rest) = payload.split_at(payload.len().min(CHUNK_LEN - FRAME_HEADER_LEN));
        self.head.clear();
        self.head.extend_from_slice(&header.to_bytes());
        self.head.extend_from_slice(start);
        send_all(&*self.stream, &self.head).map_err(LinkError::lost)?;
        for chunk in rest.chunks(CHUNK_LEN) {
            send_all(&*self.stream, chunk).map_err(LinkError::lost)?;
        }
        Ok(FRAME_HEADER_LEN + payload.len())
    }

    /// Tells the other end that nothing more will be sent.
    pub fn finish(&self) -> Result<(), LinkError> {
        self.stream.shutdown(Shutdown::Write).map_err(LinkError::lost)
    }
}

/// What bounds the wait for a frame.
#[derive(Clone, Copy)]
pub struct Wait<'a> {
    /// How long the first byte may take; `None`: for ever.
    pub first_byte: Option<Duration>,
    /// Asked several times a second; true ends the wait.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// The receiving half of a link.
#[derive(Debug)]
pub struct FrameReceiver {
    stream: Arc<dyn Stream>,
    payload_max: usize,
}

impl FrameReceiver {
    /// Receives frames of up to `payload_max` bytes over this stream.
    pub fn new(stream: Arc<dyn Stream>, payload_max: usize) -> Self {
        Self { stream, payload_max }
    }

    /// From now on receives frames of up to this many bytes.
    pub fn limit_payload(&mut self, payload_max: usize) {
        self.payload_max = payload_max;
    }

    /// Receives one frame; its payload, which passed the checksum, replaces what is in `payload`.
    /// `None` if the other end closed the link between two frames.
    pub fn receive(
        &mut self,
        wait: &Wait<'_>,
        payload: &mut Vec<u8>,
    ) -> Result<Option<FrameHeader>, LinkError> {
        let mut bytes = [0; FRAME_HEADER_LEN];
        let (first, rest) = bytes.split_at_mut(1);
        if self.fill(first, wait.first_byte, wait)? == 0 {
            return Ok(None);
        }
        self.fill_all(rest, wait)?;
        let header = FrameHeader::read(&bytes)?;
        if header.payload_len() > self.payload_max {
            return Err(FrameError::TooLong(header.payload_len() as u64).into());
        }
        payload.clear();
        while payload.len() < header.payload_len() {
            // In steps: a length takes no memory until its bytes come.
            let start = payload.len();
            payload.resize(header.payload_len().min(start + CHUNK_LEN), 0);
            self.fill_all(&mut payload[start..], wait)?;
        }
        header.verify(payload)?;
        Ok(Some(header))
    }

    /// Receives and drops what comes, until the other end closes, the link breaks, or time is up.
    pub(crate) fn drain(&self, limit: Duration) {
        let begun = Instant::now();
        let mut scrap = vec![0; 64 << 10];
        while begun.elapsed() < limit {
            match self.stream.receive(&mut scrap) {
                Err(error) if is_transient(&error) => {}
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }

    fn fill_all(&self, bytes: &mut [u8], wait: &Wait<'_>) -> Result<(), LinkError> {
        if self.fill(bytes, Some(STALL_LIMIT), wait)? < bytes.len() {
            return Err(LinkError::Lost(ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }

    /// Fills `bytes`; returns how many came before the stream ended. `silence` limits the wait for
    /// each piece.
    fn fill(
        &self,
        bytes: &mut [u8],
        silence: Option<Duration>,
        wait: &Wait<'_>,
    ) -> Result<usize, LinkError> {
        let mut done = 0;
        let mut silent_since = Instant::now();
        while done < bytes.len() {
            if (wait.cancelled)() {
                return Err(LinkError::Cancelled);
            }
            match self.stream.receive(&mut bytes[done..]) {
                Ok(0) => break,
                Ok(count) => {
                    done += count;
                    silent_since = Instant::now();
                }
                Err(error) if is_transient(&error) => match silence {
                    Some(limit) if silent_since.elapsed() >= limit => {
                        return Err(LinkError::Silent(limit));
                    }
                    _ => {}
                },
                Err(error) => return Err(LinkError::lost(error)),
            }
        }
        Ok(done)
    }
}

/// Sends all of it.
pub(crate) fn send_all(stream: &dyn Stream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.send(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
