//! A server that keeps records in memory, under the real server's rules.

use std::ops::Range;

use snapless_engine::{Record, Tick};
use snapless_server::stream::StreamState;
use snapless_types::{EpochId, Extent, Geometry, Made, RecordKind, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::record::{Position, RecordHeader};

use crate::failure::Rule;
use crate::rng::Rng;

/// Bytes of a sector, and of the queue's granule.
pub(super) const SECTOR: u64 = 4096;
/// Sectors of a block.
pub(super) const SECTORS_IN_BLOCK: usize = 4;
/// Sectors of the volume at most; the last block is short.
pub(super) const SECTORS: usize = 12 * SECTORS_IN_BLOCK - 1;

/// The extent of some sectors.
pub(super) fn extent(first: usize, count: usize) -> Extent {
    Extent::new(first as u64 * SECTOR, count as u64 * SECTOR).expect("it is not empty")
}

/// The sectors of an extent.
pub(super) fn sectors(extent: &Extent) -> Range<usize> {
    let at = |offset: u64| usize::try_from(offset / SECTOR).expect("a small volume");
    at(extent.offset())..at(extent.end())
}

/// A record, and the content of each of its sectors.
#[derive(Clone, Debug)]
struct Stored {
    header: RecordHeader,
    content: Vec<u32>,
}

/// What is durable, to be put back.
pub(super) struct Repository(Vec<Stored>);

/// The server, and the link to it.
pub(super) struct Server {
    /// The volume's at t0.
    geometry: Geometry,
    durable: Vec<Stored>,
    /// Received, and not durable.
    pending: Vec<Stored>,
    state: StreamState,
}

/// The content of each sector that records give.
type Image = Vec<Option<u32>>;

impl Server {
    /// A server that has nothing.
    pub(super) fn new(geometry: Geometry) -> Self {
        let mut state = StreamState::new(geometry);
        state.begin_connection();
        Self { geometry, durable: Vec::new(), pending: Vec::new(), state }
    }

    /// Takes a record, or what the service makes of it if it asks first: true if it was unchanged.
    pub(super) fn receive(
        &mut self,
        record: Record,
        payload: Option<Vec<u32>>,
        asks: bool,
    ) -> Result<bool, String> {
        let Record { seq, time, monotonic: Tick(monotonic), epoch, .. } = record;
        let position = Position { seq, time: FileTime::new(time), monotonic, epoch };
        let header = RecordHeader::new(record.kind, position, record.extent, record.gap_reason)
            .map_err(|error| format!("{record:?}: {error}"))?;
        let has_extent = record.kind.has_extent();
        let extent = record.extent.filter(|_| has_extent);
        let len = extent.map_or(0, |extent| sectors(&extent).len());
        let content = payload.unwrap_or_else(|| vec![0; len]);
        let mut stored = Stored { header, content };
        let is_unchanged = asks && self.has(&stored)?;
        if is_unchanged {
            stored.header = header.unchanged().map_err(|error| error.to_string())?;
        }
        self.state.accept(&stored.header).map_err(|error| {
            let (rule, text) = Rule::of_message(error.to_string());
            format!("{}: {text}", rule.unwrap_or(Rule::Resume))
        })?;
        self.pending.push(stored);
        Ok(is_unchanged)
    }

    /// True if what is durable gives this content, and nothing after that is about it.
    fn has(&self, stored: &Stored) -> Result<bool, String> {
        let Some(extent) = stored.extent().filter(|_| stored.header.kind() == RecordKind::Resync)
        else {
            return Ok(false);
        };
        // As the server's `Given`: some of a block that it does not know may be there.
        let state = self.survey()?;
        let run = state.geometry().blocks_of(&extent);
        let is_whole = state.geometry().is_block_aligned(&extent);
        if !is_whole || !run.is_some_and(|run| state.gives(&run)) {
            return Ok(false);
        }
        let touches = |other: &Stored| {
            other
                .extent()
                .is_some_and(|it| it.offset() < extent.end() && extent.offset() < it.end())
        };
        let image = image(self.geometry, &self.durable);
        // The volume may have been shorter.
        let Some(has) = image.get(sectors(&extent)) else { return Ok(false) };
        let mut both = has.iter().zip(&stored.content);
        let is_same = both.all(|(has, read)| *has == Some(*read));
        Ok(is_same && !self.pending.iter().any(touches))
    }

    /// Makes an epoch durable that has ended; returns which.
    pub(super) fn make_durable(&mut self, rng: &mut Rng) -> Option<EpochId> {
        let is_end = |stored: &Stored| stored.header.kind() == RecordKind::EpochEnd;
        let ends: Vec<_> =
            (0..self.pending.len()).filter(|&at| is_end(&self.pending[at])).collect();
        let end = (!ends.is_empty()).then(|| rng.pick(&ends))?;
        let epoch = self.pending[end].header.epoch();
        self.durable.extend(self.pending.drain(..=end));
        Some(epoch)
    }

    /// The last durable record, and its epoch.
    pub(super) fn end(&self) -> (Seq, EpochId) {
        let end = self.durable.last().map(|last| (last.header.seq(), last.header.epoch()));
        end.unwrap_or((Seq::new(0), EpochId::new(0)))
    }

    /// When the last durable record was made.
    pub(super) fn made(&self) -> Made {
        self.durable.last().map(|last| last.header.made()).unwrap_or_default()
    }

    /// The link is cut: what is not durable is gone.
    pub(super) fn cut(&mut self) {
        self.pending.clear();
    }

    /// Another link begins, of a driver whose volume has this geometry; returns the last durable
    /// record, and its epoch.
    pub(super) fn reconnect(&mut self, now: &Geometry) -> Result<(Seq, EpochId), String> {
        self.state = self.survey()?;
        self.state.begin_connection();
        self.state.announce(now.length());
        Ok(self.end())
    }

    /// Puts the repository back to an older state; false if there is none.
    pub(super) fn roll_back(&mut self, rng: &mut Rng) -> bool {
        let is_end = |at: &usize| self.durable[*at].header.kind() == RecordKind::EpochEnd;
        let ends: Vec<_> = (0..self.durable.len()).filter(is_end).collect();
        let Some((_, earlier)) = ends.split_last().filter(|(_, rest)| !rest.is_empty()) else {
            return false;
        };
        self.durable.truncate(rng.pick(earlier) + 1);
        true
    }

    /// A copy of what is durable.
    pub(super) fn repository(&self) -> Repository {
        Repository(self.durable.clone())
    }

    /// Exchanges what is durable for this; returns what was there.
    pub(super) fn exchange(&mut self, Repository(durable): Repository) -> Repository {
        Repository(std::mem::replace(&mut self.durable, durable))
    }

    /// The last record, if the records make up this disk.
    pub(super) fn describes(&self, disk: &[u32]) -> Result<Option<u64>, String> {
        let all: Vec<_> = self.durable.iter().chain(&self.pending).cloned().collect();
        let Some(last) = all.last() else { return Ok(None) };
        same(&image(self.geometry, &all), disk).map(|()| Some(last.header.seq().get()))
    }

    /// Each of these instants, by its last record, is a point with this disk.
    pub(super) fn check_points<'a>(
        &self,
        known: impl Iterator<Item = (u64, &'a [u32])>,
    ) -> Result<(), String> {
        let state = self.survey()?;
        let ranges = state.timeline().ranges();
        for (seq, disk) in known {
            let before = |stored: &&Stored| stored.header.seq().get() <= seq;
            let records: Vec<_> = self.durable.iter().take_while(before).cloned().collect();
            same(&image(self.geometry, &records), disk)
                .map_err(|what| format!("no point at record {seq}: {what}"))?;
            let seq = Seq::new(seq);
            if !ranges.iter().any(|range| range.from.seq <= seq && seq <= range.to.seq) {
                return Err(format!("no point at record {seq}: {ranges:?}"));
            }
        }
        Ok(())
    }

    /// The state of what is durable.
    fn survey(&self) -> Result<StreamState, String> {
        let mut state = StreamState::new(self.geometry);
        for stored in &self.durable {
            let accepted = state.accept(&stored.header);
            accepted.map_err(|error| format!("RESUME: what is stored: {error}"))?;
        }
        Ok(state)
    }
}

impl Stored {
    fn extent(&self) -> Option<Extent> {
        Extent::new(self.header.extent_offset(), self.header.extent_len())
    }
}

/// The image of a volume that had this geometry at t0.
fn image(at_t0: Geometry, records: &[Stored]) -> Image {
    let count = |length: u64| usize::try_from(length / SECTOR).expect("a small volume");
    let mut image = vec![None; count(at_t0.length())];
    for stored in records {
        if let Some(length) = stored.header.volume_length() {
            image.resize(count(length), None);
        }
        let Some(extent) = stored.extent() else { continue };
        if stored.header.kind() != RecordKind::Unchanged {
            for (sector, &content) in sectors(&extent).zip(&stored.content) {
                image[sector] = Some(content);
            }
        }
    }
    image
}

fn same(image: &[Option<u32>], disk: &[u32]) -> Result<(), String> {
    if image.len() != disk.len() {
        let (is, wanted) = (image.len(), disk.len());
        return Err(format!("LOSS: the replica has {is} sectors, the disk {wanted}"));
    }
    match image.iter().zip(disk).position(|(has, is)| *has != Some(*is)) {
        None => Ok(()),
        Some(sector) => Err(format!(
            "LOSS: sector {sector}: the replica has {:?}, the disk {}",
            image[sector], disk[sector]
        )),
    }
}
