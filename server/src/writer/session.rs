//! The one writer of a session's stream, wherever it is stored.

use snapless_types::{EpochId, Made, Seq};
use snapless_wire::frame::{FrameHeader, Watermark};

use super::FileWriter;
use super::objects::ObjectWriter;
use crate::error::Result;
use crate::format::acknowledged::Acknowledged;
use crate::format::session::SessionHeader;
use crate::repository::WritableRepository;
use crate::stop::StopFlag;
use crate::stream::StreamState;

/// The one writer of a session's stream.
#[derive(Debug)]
pub enum SessionWriter {
    /// In a directory.
    Files(Box<FileWriter>),
    /// To objects.
    Objects(Box<ObjectWriter>),
}

impl SessionWriter {
    /// Opens the session, or makes a new one. Its stream ends at its acknowledged end, whose state
    /// is returned too, ready for a connection. In a directory the caller ensures that a session
    /// has one writer at a time. Among objects the writer before this one can store no more.
    ///
    /// # Errors
    /// [`crate::error::Error::OtherGeometry`], or damage of the stored stream.
    pub fn open(
        writable: &WritableRepository,
        header: &SessionHeader,
        segment_limit: u64,
        stop: &StopFlag,
    ) -> Result<(Self, StreamState)> {
        if writable.repository().store().objects().is_some() {
            let (writer, state) = ObjectWriter::open(writable, header, segment_limit, stop)?;
            return Ok((Self::Objects(Box::new(writer)), state));
        }
        let (writer, state) = FileWriter::open(writable, header, segment_limit, stop)?;
        Ok((Self::Files(Box::new(writer)), state))
    }

    /// The acknowledged end.
    pub fn acknowledged(&self) -> &Acknowledged {
        match self {
            Self::Files(writer) => writer.acknowledged(),
            Self::Objects(writer) => writer.acknowledged(),
        }
    }

    /// When the last record was made that was acknowledged when the session was opened; zeros if
    /// there was none.
    pub fn began_behind(&self) -> Made {
        match self {
            Self::Files(writer) => writer.began_behind(),
            Self::Objects(writer) => writer.began_behind(),
        }
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        match self {
            Self::Files(writer) => writer.header(),
            Self::Objects(writer) => writer.header(),
        }
    }

    /// Appends one entry of records, behind the watermarks before it. It is durable after a
    /// [`Self::commit`] of an epoch that ends with it or after it.
    pub fn append(&mut self, frame: &FrameHeader, payload: &[u8]) -> Result<()> {
        match self {
            Self::Files(writer) => writer.append(frame, payload),
            Self::Objects(writer) => writer.append(frame, payload),
        }
    }

    /// Takes a watermark that another entry will follow: it goes in front of that one, and nowhere
    /// else.
    pub(crate) fn carry(&mut self, watermark: &Watermark) {
        match self {
            Self::Files(writer) => writer.carry(watermark),
            Self::Objects(writer) => writer.carry(watermark),
        }
    }

    /// Notes that the epoch ends with the last entry. Needed only if its commit is put off until
    /// more was appended.
    pub fn end_epoch(&mut self, epoch: EpochId, seq: Seq) {
        match self {
            Self::Files(_) => {}
            Self::Objects(writer) => writer.end_epoch(epoch, seq),
        }
    }

    /// True if a commit takes as long for several epochs as for one: the caller may then put off
    /// that of an epoch while more of the stream waits.
    pub fn may_put_off(&self, state: &StreamState) -> bool {
        match self {
            Self::Files(_) => false,
            Self::Objects(writer) => writer.may_put_off(state),
        }
    }

    /// Makes everything up to the end of the epoch durable, which was appended; then the epoch may
    /// be acknowledged.
    pub fn commit(&mut self, epoch: EpochId, seq: Seq) -> Result<()> {
        match self {
            Self::Files(writer) => writer.commit(epoch, seq),
            Self::Objects(writer) => writer.commit(epoch, seq),
        }
    }

    /// Keeps the watermark after the last record, which is committed. A restart of the server finds
    /// it, or an older one.
    pub fn mark(&mut self, watermark: &Watermark) -> Result<()> {
        match self {
            Self::Files(writer) => writer.mark(watermark),
            Self::Objects(writer) => writer.mark(watermark),
        }
    }

    /// Keeps the state of the stream's rules if so much was appended since the last one that a
    /// Hello would take long. Call it after an acknowledgement has left, with the state at the
    /// epoch's end; any other state is not kept.
    ///
    /// The state only saves time. A failure is logged and changes nothing.
    pub fn keep_state_if_due(&mut self, state: &StreamState) {
        match self {
            Self::Files(writer) => writer.keep_state_if_due(state),
            Self::Objects(writer) => writer.keep_state_if_due(state),
        }
    }

    /// Keeps the state at the acknowledged end, whatever was kept before; any other state is not
    /// kept.
    pub(crate) fn keep_state_now(&mut self, state: &StreamState) {
        match self {
            Self::Files(writer) => writer.keep_state_now(state),
            Self::Objects(writer) => writer.keep_state_now(state),
        }
    }

    /// [`Self::keep_state_if_due`] at the end of a connection: due if anything was appended.
    pub fn keep_state_at_end(&mut self, state: &StreamState) {
        match self {
            Self::Files(writer) => writer.keep_state_at_end(state),
            Self::Objects(writer) => writer.keep_state_at_end(state),
        }
    }
}
