//! A connection without a network, which also brings watermarks.

use std::path::Path;

use snapless_server::error::Error;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::repository::WritableRepository;
use snapless_server::stop::StopFlag;
use snapless_server::writer::SessionWriter;
use snapless_types::Seq;
use snapless_wire::frame::{Acknowledge, FrameHeader, FrameKind, Watermark};
use snapless_wire::id::FileTime;
use zerocopy::IntoBytes;

use super::{Driver, LENGTH};

/// Ticks in a second.
const SECOND: u64 = FileTime::TICKS_PER_SECOND;

/// One connection, without a network.
pub struct Connection {
    _repository: WritableRepository,
    pub writer: SessionWriter,
    pub ingest: Ingest,
}

impl Connection {
    pub fn open(root: &Path) -> Self {
        Self::with_segments(root, 1 << 20)
    }

    pub fn with_segments(root: &Path, limit: u64) -> Self {
        let repository = super::repository(root);
        let header = super::header(LENGTH);
        let (writer, state) =
            SessionWriter::open(&repository, &header, limit, &StopFlag::default()).unwrap();
        let mut ingest = Ingest::AwaitingHello;
        ingest.begin(state);
        Self { _repository: repository, writer, ingest }
    }

    pub fn take(&mut self, kind: FrameKind, payload: &[u8]) -> Result<Option<Acknowledge>, Error> {
        let frame = FrameHeader::new(kind, payload).unwrap();
        match self.ingest.frame(frame, payload)? {
            Action::Store { ends } => {
                self.writer.append(&frame, payload)?;
                if let Some(ends) = ends {
                    self.writer.commit(ends.epoch(), ends.seq())?;
                }
                Ok(ends)
            }
            Action::Mark { watermark, again } => {
                self.writer.mark(&watermark)?;
                Ok(Some(again))
            }
            Action::Open(_) => panic!("there was no Hello"),
        }
    }

    pub fn records(&mut self, payload: &[u8]) -> Acknowledge {
        self.take(FrameKind::Records, payload).unwrap().expect("the end of an epoch")
    }

    pub fn mark(&mut self, watermark: Watermark) -> Result<Acknowledge, Error> {
        self.take(FrameKind::Watermark, watermark.as_bytes()).map(|again| again.unwrap())
    }

    /// The connection ends as in a server that goes on: the state is kept.
    pub fn end(mut self) {
        self.writer.keep_state_at_end(self.ingest.state().unwrap());
    }
}

/// Nothing newer than the driver's last record was captured, for so many seconds.
pub fn quiet(driver: &mut Driver, seconds: u64) -> Watermark {
    driver.time += seconds * SECOND;
    driver.monotonic += seconds * SECOND;
    Watermark::new(Seq::new(driver.seq), FileTime::new(driver.time), driver.monotonic)
}
