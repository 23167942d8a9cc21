//! A session's stream in an object store, without a network.

use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::format::segment::SegmentNumber;
use snapless_server::format::session::SessionHeader;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::storage::Storage;
use snapless_server::timeline::At;
use snapless_server::writer::SessionWriter;
use snapless_wire::frame::{FrameHeader, FrameKind};

use super::objects::FaultyStore;
use super::{BLOCK, Driver, LENGTH, SECTOR, SESSION, VOLUME, header};

/// Bytes past which a segment does not grow.
pub const LIMIT: u64 = 64 << 10;

/// A connection's half of the server without a network.
pub struct Connection {
    writer: SessionWriter,
    ingest: Ingest,
}

impl Connection {
    /// Takes the session over.
    pub fn open(repository: &WritableRepository) -> Self {
        Self::open_with(repository, LIMIT)
    }

    /// The same with segments of so many bytes at most.
    pub fn open_with(repository: &WritableRepository, limit: u64) -> Self {
        Self::open_as(repository, &header(LENGTH), limit)
    }

    /// The same of another session.
    pub fn open_as(repository: &WritableRepository, session: &SessionHeader, limit: u64) -> Self {
        let (writer, state) =
            SessionWriter::open(repository, session, limit, &StopFlag::default()).unwrap();
        let mut ingest = Ingest::AwaitingHello;
        ingest.begin(state);
        Self { writer, ingest }
    }

    /// Stores one frame; true if its epoch was acknowledged.
    pub fn store(&mut self, payload: &[u8]) -> Result<bool, Error> {
        let frame = FrameHeader::new(FrameKind::Records, payload).unwrap();
        let Action::Store { ends } = self.ingest.frame(frame, payload)? else {
            panic!("records are stored");
        };
        self.writer.append(&frame, payload)?;
        if let Some(ends) = ends {
            self.writer.commit(ends.epoch(), ends.seq())?;
            if let Some(state) = self.ingest.state() {
                self.writer.keep_state_if_due(state);
            }
        }
        Ok(ends.is_some())
    }

    pub fn close(mut self) {
        if let Some(state) = self.ingest.state() {
            self.writer.keep_state_at_end(state);
        }
    }

    pub fn durable(&self) -> (u64, u64) {
        let end = self.writer.acknowledged();
        (end.epoch.get(), end.seq.get())
    }
}

pub fn image(repository: &Repository, at: At) -> Vec<u8> {
    let source = Source { volume: VOLUME, session: Some(SESSION), at };
    let found = Found::find(repository, &source, &StopFlag::default()).unwrap();
    let mut image = vec![0; usize::try_from(LENGTH).unwrap()];
    found.write_to(&mut image, &StopFlag::default(), |_| {}).unwrap();
    image
}

pub fn segments(store: &FaultyStore) -> Vec<u64> {
    let names = store.storage().list(&session_dir(VOLUME, SESSION)).unwrap();
    let mut numbers: Vec<_> = names
        .iter()
        .filter_map(|name| SegmentNumber::from_file_name(name))
        .map(|it| it.0)
        .collect();
    numbers.sort_unstable();
    numbers
}

/// A first sync, writes in many epochs, a gap.
pub fn history(driver: &mut Driver) -> Vec<Vec<u8>> {
    let mut frames = vec![driver.first_sync()];
    for number in 0..30_u8 {
        let offset = u64::from(number % 6) * BLOCK / 2;
        frames.push(driver.write(offset, 3 * SECTOR, number));
        frames.push([driver.write(offset + BLOCK, SECTOR, number), driver.epoch_end()].concat());
    }
    frames.push(driver.bridged_gap(0xdd));
    frames
}
