//! Copies an image along its map, entry by entry: one thread reads, the caller's writes.
//!
//! An entry has one checksum, so that a part of it costs as much as all of it. Therefore the parts
//! are copied in the order of the stream: each entry that the image needs is read once. What the
//! first sync wrote is in the volume's order there.
//!
//! Memory: three batches of at most [`BATCH_BYTES`] and the content of an entry, and an entry: 112
//! MiB at most, 64 MiB with entries of 4 MiB; and 8 bytes a run of the map.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use crate::error::{Error, Result};
use crate::point::{Content, PointReader};
use crate::stop::StopFlag;
use crate::target::Target;

use super::progress::{Progress, Stage};

/// A batch has so many bytes, and the rest of an entry's.
const BATCH_BYTES: u64 = 16 << 20;
/// Entries of a batch, of which the image may need little.
const BATCH_ENTRIES: usize = 16;
/// Zeros are made in steps of so many bytes, between which a stop is heard.
const ZEROS_STEP: u64 = 256 << 20;

/// Parts of the image, and their bytes, one behind the other.
#[derive(Default)]
struct Batch {
    parts: Vec<Range<u64>>,
    bytes: Vec<u8>,
}

/// Copies the whole image to a target on which nothing has been written yet.
pub(super) fn copy(
    image: &PointReader,
    target: &mut impl Target,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<()> {
    let (mut done, total) = (0, image.map().length());
    let mut tell = |bytes| {
        done += bytes;
        progress(Progress { stage: Stage::Image, done, total });
    };
    make_zeros(image, target, stop, &mut tell)?;
    thread::scope(|scope| {
        // One batch is being read, one waits, one is being written.
        let (full, filled) = sync_channel(1);
        let (free, emptied) = channel();
        let reading = move || read_all(image, stop, &full, &emptied);
        thread::Builder::new().spawn_scoped(scope, reading).map_err(Error::Thread)?;
        for batch in filled {
            let batch: Batch = batch?;
            write(&batch, target, stop)?;
            tell(batch.bytes.len() as u64);
            // The reader may have ended.
            drop(free.send(batch));
        }
        Ok(())
    })
}

fn make_zeros(
    image: &PointReader,
    target: &mut impl Target,
    stop: &StopFlag,
    tell: &mut impl FnMut(u64),
) -> Result<()> {
    let map = image.map();
    let runs = map.content(0..map.length());
    for (mut run, _) in runs.filter(|(_, content)| !matches!(content, Content::Stored(_))) {
        while !run.is_empty() {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            let len = ZEROS_STEP.min(run.end - run.start);
            target.zero_first(run.start, len)?;
            tell(len);
            run.start += len;
        }
    }
    Ok(())
}

fn write(batch: &Batch, target: &mut impl Target, stop: &StopFlag) -> Result<()> {
    let mut rest = &batch.bytes[..];
    for parts in batch.parts.chunk_by(|one, next| one.end == next.start) {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        let Some((first, last)) = parts.first().zip(parts.last()) else { continue };
        let (now, later) = rest.split_at(to_len(last.end - first.start));
        rest = later;
        target.write_first(first.start, now)?;
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
    let mut entries = image.map().by_entry();
    loop {
        let mut batch = used.try_recv().unwrap_or_default();
        let read =
            if stop.is_set() { Err(Error::Stopped) } else { fill(&mut batch, &mut entries, image) };
        let is_last = read.is_err() || batch.parts.is_empty();
        if to.send(read.map(|()| batch)).is_err() || is_last {
            return;
        }
    }
}

/// Fills a batch with the next entries; there are none if it stays empty.
fn fill(
    batch: &mut Batch,
    entries: &mut impl Iterator<Item = Vec<Range<u64>>>,
    image: &PointReader,
) -> Result<()> {
    batch.parts.clear();
    let mut len = 0;
    for parts in entries.take(BATCH_ENTRIES) {
        len += parts.iter().map(|part| part.end - part.start).sum::<u64>();
        batch.parts.extend(parts);
        if len >= BATCH_BYTES {
            break;
        }
    }
    batch.bytes.resize(to_len(len), 0);
    image.read_once(&batch.parts, &mut batch.bytes)
}

/// A length of a batch, which is in memory.
fn to_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
