//! The server's half of the protocol without its input and output: frames in, what to do out.
//!
//! A connection is first [`Ingest::AwaitingHello`] and then, once the host has opened the session,
//! [`Ingest::Streaming`]. Every record is checked against the stream's rules before any of its frame is
//! stored, and a frame is split where an epoch ends.

use snapless_types::RecordKind;
use snapless_wire::frame::{Acknowledge, FrameHeader, FrameKind, Hello};
use snapless_wire::record::{RECORD_HEADER_LEN, Records};

use crate::error::{Error, Result};
use crate::stream::StreamState;

/// What a connection waits for.
#[derive(Debug)]
pub enum Ingest {
    /// The service has not said who it is.
    AwaitingHello,
    /// Records of one session come in.
    Streaming(Box<StreamState>),
}

/// What the host has to do.
#[derive(Debug)]
pub enum Action<'a> {
    /// Open this session, then call [`Ingest::begin`] and welcome the service.
    Open(Hello),
    /// Store these, in order.
    Store(Vec<Chunk<'a>>),
}

/// An entry to store.
#[derive(Debug)]
pub struct Chunk<'a> {
    /// The entry's frame header.
    pub frame: FrameHeader,
    /// The entry's records.
    pub payload: &'a [u8],
    /// The epoch that ends with the entry: make all durable, then send this.
    pub ends: Option<Acknowledge>,
}

impl Ingest {
    /// Takes a frame that passed its checksum.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub fn frame<'a>(&mut self, frame: FrameHeader, payload: &'a [u8]) -> Result<Action<'a>> {
        match (self, frame.kind()) {
            (Self::AwaitingHello, FrameKind::Hello) => Ok(Action::Open(Hello::read(payload)?)),
            (Self::Streaming(state), FrameKind::Records) => {
                chunks(state, frame, payload).map(Action::Store)
            }
            (Self::AwaitingHello, found) => {
                Err(Error::Turn { found: name(found), expected: "a Hello frame" })
            }
            (Self::Streaming(_), found) => {
                Err(Error::Turn { found: name(found), expected: "a Records frame" })
            }
        }
    }

    /// The session is open; `state` is its stream's, ready for a connection.
    pub fn begin(&mut self, state: StreamState) {
        *self = Self::Streaming(Box::new(state));
    }

    /// The state of the stream, once there is one.
    pub fn state(&self) -> Option<&StreamState> {
        match self {
            Self::AwaitingHello => None,
            Self::Streaming(state) => Some(state),
        }
    }
}

/// Checks a frame's records and splits it after every record that ends an epoch.
fn chunks<'a>(
    state: &mut StreamState,
    frame: FrameHeader,
    payload: &'a [u8],
) -> Result<Vec<Chunk<'a>>> {
    let mut chunks = Vec::new();
    let (mut start, mut end) = (0, 0);
    for record in Records::new(payload) {
        let header = record?.header;
        state.accept(&header)?;
        end += RECORD_HEADER_LEN + header.payload_len();
        if header.kind() == RecordKind::EpochEnd {
            let ends = Acknowledge::new(header.epoch(), header.seq());
            chunks.push(chunk(frame, payload, start..end, Some(ends))?);
            start = end;
        }
    }
    if start < end {
        chunks.push(chunk(frame, payload, start..end, None)?);
    }
    Ok(chunks)
}

fn chunk(
    frame: FrameHeader,
    payload: &[u8],
    range: std::ops::Range<usize>,
    ends: Option<Acknowledge>,
) -> Result<Chunk<'_>> {
    // The range was made of records that lie in the payload.
    let part = &payload[range];
    let whole = part.len() == payload.len();
    let frame = if whole { frame } else { FrameHeader::new(FrameKind::Records, part)? };
    Ok(Chunk { frame, payload: part, ends })
}

fn name(kind: FrameKind) -> &'static str {
    match kind {
        FrameKind::Hello => "Hello",
        FrameKind::Welcome => "Welcome",
        FrameKind::Records => "Records",
        FrameKind::Acknowledge => "Acknowledge",
        FrameKind::Error => "Error",
    }
}
