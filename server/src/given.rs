//! The content that a stream gives after its last acknowledged record: a point, or not.

use std::ops::Range;

use snapless_types::{Extent, Seq};
use snapless_wire::compare::{Compare, Compared, ContentHash};

use crate::error::{Error, Result};
use crate::point::{Content, PointMap, PointReader};
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::stream::StreamState;
use crate::timeline::Cut;

/// The content that a stream gives after its last acknowledged record.
#[derive(Debug)]
pub struct Given {
    seq: Seq,
    state: StreamState,
    image: PointReader,
}

impl Given {
    /// Reads the headers of the stream.
    ///
    /// # Errors
    /// Damage, or [`Error::Stopped`].
    pub fn open(reader: SessionReader, stop: &StopFlag) -> Result<Self> {
        let state = reader.survey(stop)?;
        let seq = state.last().map_or(Seq::new(0), |last| last.seq);
        // In a gap too: it is no point, but it is what the stream gives.
        let map = PointMap::build(&reader, Cut::Through(seq), Seq::new(0), stop, |_, _| ())?;
        Ok(Self { seq, state, image: PointReader::new(reader, map) })
    }

    /// The last acknowledged record.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// The answer to a request.
    ///
    /// # Errors
    /// Damage of the content, or [`Error::Stopped`].
    pub fn answer(&self, request: &Compare, stop: &StopFlag) -> Result<Compared> {
        let mut same = Vec::new();
        for (extent, hash) in request.extents() {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            same.push(self.hash(extent)?.as_ref() == Some(hash));
        }
        Ok(request.answered(self.seq, same))
    }

    /// True if the stream describes every block.
    pub(crate) fn is_whole(&self) -> bool {
        self.known() == self.state.geometry().block_count()
    }

    /// How many blocks the stream describes.
    pub(crate) fn known(&self) -> u64 {
        self.state.timeline().coverage().known
    }

    /// The hash of an extent's content; `None` if the stream does not give all of it.
    fn hash(&self, extent: &Extent) -> Result<Option<ContentHash>> {
        let geometry = self.state.geometry();
        let run = geometry.blocks_of(extent).filter(|_| geometry.is_block_aligned(extent));
        let Some(run) = run.filter(|run| self.state.gives(run)) else { return Ok(None) };
        debug_assert!(!run.is_empty());
        let content = self.content(extent)?;
        Ok(content.map(|content| *blake3::hash(&content).as_bytes()))
    }

    /// An extent's content; zeros where the stream does not describe it. `None` if some of it is
    /// past the volume's end, left out, or could not be read from the volume's disk.
    pub(crate) fn content(&self, extent: &Extent) -> Result<Option<Vec<u8>>> {
        if extent.end() > self.image.map().length() {
            return Ok(None);
        }
        let bytes: Range<u64> = extent.offset()..extent.end();
        for part in self.image.map().content(bytes) {
            match part?.1 {
                Content::Zero | Content::Stored(_) => {}
                Content::Excluded | Content::Unreadable => return Ok(None),
            }
        }
        // A request has no more than a frame.
        let mut content = vec![0; usize::try_from(extent.len()).unwrap_or(0)];
        self.image.read(extent.offset(), &mut content)?;
        Ok(Some(content))
    }
}
