//! The server's half of the protocol without input and output: frames in, actions out.
//!
//! A connection is first [`Ingest::AwaitingHello`] and then, once the host has opened the session,
//! [`Ingest::Streaming`]. Every record is checked against the stream's rules before any of its
//! frame is stored. An `EpochEnd` ends its frame, so that a frame is stored as it came and the
//! service's checksum covers it from end to end.

use snapless_types::RecordKind;
use snapless_wire::frame::{Acknowledge, FrameHeader, FrameKind, Hello, Watermark};
use snapless_wire::record::Records;

use crate::error::{Error, Result};
use crate::stream::StreamState;

/// The state of a connection.
#[derive(Debug)]
pub enum Ingest {
    /// The next frame must be Hello.
    AwaitingHello,
    /// Every frame must hold records of one session, or a watermark.
    Streaming(Box<StreamState>),
}

/// What the host must do with a frame.
#[derive(Debug)]
pub enum Action {
    /// Open this session, then call [`Ingest::begin`] and welcome the service.
    Open(Hello),
    /// Store the frame as it came.
    Store {
        /// The epoch that ends with the frame: make everything durable, then send this.
        ends: Option<Acknowledge>,
    },
    /// Keep this watermark, then send the acknowledgement of the epoch before it again: it has a
    /// later latest point.
    Mark {
        /// What to keep.
        watermark: Watermark,
        /// What to send.
        again: Acknowledge,
    },
}

impl Ingest {
    /// Takes a frame that passed its checksum.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub fn frame(&mut self, frame: FrameHeader, payload: &[u8]) -> Result<Action> {
        match (self, frame.kind()) {
            (Self::AwaitingHello, FrameKind::Hello) => Ok(Action::Open(Hello::read(payload)?)),
            (Self::Streaming(state), FrameKind::Records) => {
                Ok(Action::Store { ends: check(state, payload)? })
            }
            (Self::Streaming(state), FrameKind::Watermark) => {
                let watermark = Watermark::read(payload)?;
                state.mark(&watermark)?;
                let again = Acknowledge::new(state.ended_epoch(), watermark.seq());
                Ok(Action::Mark { watermark, again: with_latest(again, state) })
            }
            (Self::AwaitingHello, found) => {
                Err(Error::Turn { found: found.name(), expected: "a Hello or Question frame" })
            }
            (Self::Streaming(_), found) => {
                Err(Error::Turn { found: found.name(), expected: "a Records or Watermark frame" })
            }
        }
    }

    /// The session is open; `state` is the state of its stream, ready for a connection.
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

/// Checks a frame's records; returns the epoch that ends with the frame.
fn check(state: &mut StreamState, payload: &[u8]) -> Result<Option<Acknowledge>> {
    let mut ends = None;
    for record in Records::new(payload) {
        let header = record?.header;
        if ends.is_some() {
            return Err(Error::AfterEpochEnd(header.seq()));
        }
        state.accept(&header)?;
        if header.kind() == RecordKind::EpochEnd {
            ends = Some(with_latest(Acknowledge::new(header.epoch(), header.seq()), state));
        }
    }
    Ok(ends)
}

/// The acknowledgement with the latest point of the stream so far.
fn with_latest(acknowledge: Acknowledge, state: &StreamState) -> Acknowledge {
    acknowledge.with_latest(state.timeline().latest().map(|latest| latest.time()))
}
