//! Copies an image along its map, in the order of the volume: one thread reads, the caller's
//! writes.
//!
//! Memory: three batches of at most [`BATCH_BYTES`] and one run, which is no longer than an entry:
//! 96 MiB at most, 60 MiB with entries of 4 MiB.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use crate::error::{Error, Result};
use crate::point::{Content, PointReader};
use crate::stop::StopFlag;
use crate::target::Target;

use super::progress::{Progress, Stage};

/// A batch has so many stored bytes, and the rest of a run: no run is cut, so that an entry whose
/// records are in the volume's order is read once.
const BATCH_BYTES: u64 = 16 << 20;
/// Parts of a batch, which may be short.
const BATCH_PARTS: usize = 16 << 10;
/// Zeros are made in steps of so many bytes, between which a stop is heard.
const ZEROS_STEP: u64 = 256 << 20;

/// Parts of the image in order, and the bytes of those that are stored.
#[derive(Default)]
struct Batch {
    parts: Vec<Part>,
    bytes: Vec<u8>,
}

struct Part {
    range: Range<u64>,
    is_stored: bool,
}

/// Copies the whole image to a target on which nothing has been written yet.
pub(super) fn copy(
    image: &PointReader,
    target: &mut impl Target,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<()> {
    let total = image.map().length();
    thread::scope(|scope| {
        // One batch is being read, one waits, one is being written.
        let (full, filled) = sync_channel(1);
        let (free, emptied) = channel();
        let reading = move || read_all(image, stop, &full, &emptied);
        thread::Builder::new().spawn_scoped(scope, reading).map_err(Error::Thread)?;
        for batch in filled {
            let batch: Batch = batch?;
            write(&batch, target, stop)?;
            if let Some(last) = batch.parts.last() {
                progress(Progress { stage: Stage::Image, done: last.range.end, total });
            }
            // The reader may have ended.
            drop(free.send(batch));
        }
        // What the target still does before it is complete may take long.
        if stop.is_set() { Err(Error::Stopped) } else { Ok(()) }
    })
}

fn write(batch: &Batch, target: &mut impl Target, stop: &StopFlag) -> Result<()> {
    let mut rest = &batch.bytes[..];
    let follows = |one: &Part, next: &Part| {
        one.is_stored && next.is_stored && one.range.end == next.range.start
    };
    for parts in batch.parts.chunk_by(follows) {
        let Some(end) = parts.last().map(|last| last.range.end) else { continue };
        let start = parts[0].range.start;
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        if parts[0].is_stored {
            let len = usize::try_from(end - start).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(len);
            rest = later;
            target.write_first(start, now)?;
        } else {
            target.zero_first(start, end - start)?;
        }
    }
    Ok(())
}

/// Reads batch after batch; ends early if they are no longer received, or after an error.
fn read_all(
    image: &PointReader,
    stop: &StopFlag,
    to: &SyncSender<Result<Batch>>,
    used: &Receiver<Batch>,
) {
    let mut parts = parts(image).peekable();
    while parts.peek().is_some() {
        let mut batch = used.try_recv().unwrap_or_default();
        let read =
            if stop.is_set() { Err(Error::Stopped) } else { fill(&mut batch, &mut parts, image) };
        let goes_on = read.is_ok();
        if to.send(read.map(|()| batch)).is_err() || !goes_on {
            return;
        }
    }
}

fn fill(
    batch: &mut Batch,
    from: &mut impl Iterator<Item = Result<Part>>,
    image: &PointReader,
) -> Result<()> {
    batch.parts.clear();
    let mut stored = Vec::new();
    let mut len = 0;
    for part in from {
        let part = part?;
        if part.is_stored {
            len += part.range.end - part.range.start;
            stored.push(part.range.clone());
        }
        batch.parts.push(part);
        if len >= BATCH_BYTES || batch.parts.len() >= BATCH_PARTS {
            break;
        }
    }
    batch.bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
    image.read_stored(&stored, &mut batch.bytes)
}

/// The parts of the image: runs, and steps of zeros.
fn parts(image: &PointReader) -> impl Iterator<Item = Result<Part>> + use<'_> {
    let all = 0..image.map().length();
    image.map().content(all).flat_map(|found| {
        let (whole, is_stored, mut failed) = match found {
            Ok((range, content)) => (range, matches!(content, Content::Stored(_)), None),
            Err(error) => (0..0, false, Some(Err(error))),
        };
        let step = if is_stored { u64::MAX } else { ZEROS_STEP };
        let mut next = whole.start;
        std::iter::from_fn(move || {
            let range = next..next.saturating_add(step).min(whole.end);
            next = range.end;
            let part = (!range.is_empty()).then_some(Ok(Part { range, is_stored }));
            failed.take().or(part)
        })
    })
}
