//! Copies an image along its map, in the order of the volume: one thread has windows of it read,
//! the caller's writes them.
//!
//! While a window is read, the storage knows what the next one needs
//! ([`PointReader::will_read`]): a disk is given many reads at once.
//!
//! A window is read in the order of the stream ([`PointReader::read_stored`]): the longer it is,
//! the nearer to each other are the records that a volume is made of which was written at random
//! places.
//!
//! Memory: two windows of [`WINDOW_BYTES`], of a repository that is compressed or encrypted of
//! [`WINDOW_BYTES_SEALED`]; while one is read, 64 bytes for each record of it and 24 of the next,
//! and some 300 KiB a thread.

use std::ops::Range;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;

use crate::bytes::to_index;
use crate::error::{Error, Result};
use crate::point::PointReader;
use crate::stop::StopFlag;
use crate::target::Target;

use super::progress::{Progress, Stage};

/// Bytes of the volume that are read before they are written.
const WINDOW_BYTES: u64 = 32 << 20;
/// The same where an entry is opened as a whole. A volume written at random places has a piece of
/// most entries in each window, so that this many times fewer are opened.
const WINDOW_BYTES_SEALED: u64 = 128 << 20;

/// Zeros are made in steps of so many bytes, between which a stop is heard.
const ZEROS_STEP: u64 = 1 << 30;

/// A window of the image, with the zeros before it.
#[derive(Default)]
struct Window {
    range: Range<u64>,
    /// Where in the image its bytes begin.
    start: u64,
    bytes: Vec<u8>,
    /// The parts of it that are stored, in order; the rest are zeros.
    stored: Vec<Range<u64>>,
}

/// Bytes of an image that are read at once.
pub(crate) fn window_bytes(image: &PointReader) -> u64 {
    if image.reads_whole_entries() { WINDOW_BYTES_SEALED } else { WINDOW_BYTES }
}

/// Copies what a target lacks of an image. Where the target does not have the image, nothing has
/// been written yet.
pub(super) fn copy(
    image: &PointReader,
    target: &mut impl Target,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<()> {
    let len = window_bytes(image);
    let total = image.map().length();
    let there = target.there();
    let parts = [0..there.start, there.end..total];
    thread::scope(|scope| {
        // One window is being read, or waits; one is being written.
        let (full, filled) = sync_channel(0);
        let (free, emptied) = channel();
        let reading = move || read_all(len, image, parts, stop, &full, &emptied);
        thread::Builder::new().spawn_scoped(scope, reading).map_err(Error::Thread)?;
        for window in filled {
            let window: Window = window?;
            write(&window, target, stop)?;
            target.reached(window.range.end)?;
            progress(Progress { stage: Stage::Image, done: window.range.end, total });
            // The reader may have ended.
            drop(free.send(window));
        }
        // What the target still does before it is complete may take long.
        if stop.is_set() { Err(Error::Stopped) } else { Ok(()) }
    })
}

fn write(window: &Window, target: &mut impl Target, stop: &StopFlag) -> Result<()> {
    let Window { range, start, bytes, stored } = window;
    let mut at = range.start;
    for part in stored {
        if stop.is_set() {
            return Err(Error::Stopped);
        }
        if at < part.start {
            target.zero_first(at, part.start - at)?;
        }
        let [first, end] = [part.start, part.end].map(|at| to_index(at - start));
        target.write_first(part.start, &bytes[first..end])?;
        at = part.end;
    }
    if at < range.end {
        target.zero_first(at, range.end - at)?;
    }
    Ok(())
}

/// Reads window after window of some parts of the image; ends early if they are no longer received,
/// or after an error.
fn read_all(
    len: u64,
    image: &PointReader,
    parts: [Range<u64>; 2],
    stop: &StopFlag,
    to: &SyncSender<Result<Window>>,
    used: &Receiver<Window>,
) {
    let mut window = Window::default();
    for part in parts {
        let (mut from, mut start) = (part.start, part.start);
        let end_of = |start: u64| start.saturating_add(len).min(part.end);
        while start < part.end {
            let end = end_of(start);
            window.bytes.resize(to_index(end - start), 0);
            // The disk has what comes next before it while this window is read, and then written.
            let ahead = if start == part.start { start } else { end }..end_of(end);
            let read = image.will_read(ahead);
            match read.and_then(|()| image.read_stored(start, &mut window.bytes, stop)) {
                Ok(stored) => window.stored = stored,
                Err(error) => {
                    // The other end may be gone.
                    drop(to.send(Err(error)));
                    return;
                }
            }
            if !window.stored.is_empty() || end == part.end || end - from >= ZEROS_STEP {
                (window.range, window.start) = (from..end, start);
                if to.send(Ok(window)).is_err() {
                    return;
                }
                window = used.try_recv().unwrap_or_default();
                from = end;
            }
            start = end;
        }
    }
}
