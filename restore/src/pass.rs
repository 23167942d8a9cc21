//! One pass through an image over one link: a thread reads what the disk has and asks, the caller's
//! receives and writes.
//!
//! At most [`AHEAD`] windows are asked for ahead, which bounds the memory at both ends. Both
//! threads use the disk at the same time, and never the same window.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits, MessageReceiver};
use snapless_link::frames::FrameSender;
use snapless_wire::fetch::{FETCH_BYTES_MAX, FETCH_TILE, Fetch, Fetched, Tile, Window};
use snapless_wire::frame::{FrameError, FrameKind};

use crate::error::RestoreError;
use crate::place::to_index;

/// Windows that are asked for before the first of them has come.
const AHEAD: usize = 4;

/// Reads what a disk has.
pub(crate) type Read<'a> = &'a (dyn Fn(u64, &mut [u8]) -> io::Result<()> + Sync);

/// What a pass is about.
pub(crate) struct Pass<'a> {
    /// Bytes of the image.
    pub(crate) length: u64,
    /// Reads what the disk has; `None` if all that is not zeros shall be sent.
    pub(crate) read: Option<Read<'a>>,
    pub(crate) limits: &'a LinkLimits,
    pub(crate) cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// How far passes have come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Reached {
    /// The image before this byte is done.
    pub(crate) done: u64,
    /// Bytes that links have carried to this machine.
    pub(crate) carried: u64,
}

/// A tile of the image that has come.
pub(crate) struct Part<'a> {
    pub(crate) offset: u64,
    /// Its bytes.
    pub(crate) len: u64,
    pub(crate) tile: Tile<'a>,
    /// What was done before its window.
    pub(crate) reached: Reached,
}

/// What is done with each.
pub(crate) type Each<'a> = dyn FnMut(Part<'_>) -> Result<(), RestoreError> + 'a;

impl Pass<'_> {
    /// Goes through what is left of the image; `each` gets every tile.
    ///
    /// # Errors
    /// Why the link is of no further use, or what `each` returns. `reached` says how far it came.
    pub(crate) fn run(
        &self,
        link: Link,
        reached: &mut Reached,
        each: &mut Each<'_>,
    ) -> Result<(), RestoreError> {
        let Link { mut sender, mut receiver, closer } = link;
        let (from, sending) = (reached.done, &mut sender);
        let ended = thread::scope(|scope| {
            let (asked, waiting) = sync_channel(AHEAD);
            let asking = move || self.ask(from, sending, &asked);
            let thread = thread::Builder::new().name("ask".to_owned());
            let asking = thread.spawn_scoped(scope, asking).map_err(RestoreError::Thread)?;
            let received = self.receive(&waiting, &mut receiver, reached, each);
            if received.is_err() {
                closer.close();
            }
            drop(waiting);
            // A panic goes on in this thread.
            let asked = asking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            received.and(asked)
        });
        ended?;
        // The server need not be told.
        drop(sender.finish());
        Ok(())
    }

    /// Asks for window after window, until no more answers are wanted.
    fn ask(
        &self,
        from: u64,
        sender: &mut FrameSender,
        asked: &SyncSender<Window>,
    ) -> Result<(), RestoreError> {
        let mut bytes = Vec::new();
        let mut offset = from;
        while offset < self.length {
            let Some(window) = Window::new(offset, FETCH_BYTES_MAX.min(self.length - offset))
            else {
                return Err(RestoreError::Answer("its length is not one of whole sectors"));
            };
            if asked.send(window).is_err() {
                return Ok(());
            }
            let hashes = self.hashes(window, &mut bytes);
            let request = Fetch::new(window, hashes).map_err(LinkError::from)?;
            sender.send(FrameKind::Fetch, &request.to_bytes())?;
            offset = window.end();
        }
        Ok(())
    }

    /// The hashes of what the disk has; none if that is not known.
    fn hashes(&self, window: Window, bytes: &mut Vec<u8>) -> Vec<[u8; 32]> {
        let Some(read) = self.read else { return Vec::new() };
        bytes.resize(to_index(window.len()), 0);
        if read(window.offset(), bytes).is_err() {
            return Vec::new();
        }
        bytes.chunks(to_index(FETCH_TILE)).map(|tile| *blake3::hash(tile).as_bytes()).collect()
    }

    fn receive(
        &self,
        waiting: &Receiver<Window>,
        receiver: &mut MessageReceiver,
        reached: &mut Reached,
        each: &mut Each<'_>,
    ) -> Result<(), RestoreError> {
        let mut payload = Vec::new();
        for window in waiting {
            let carried = receiver.fetched(self.limits, &self.cancelled, &mut payload);
            reached.carried += carried.map_err(answered)? as u64;
            let fetched = Fetched::read(&payload).map_err(LinkError::from)?;
            if fetched.window() != window {
                return Err(LinkError::Frame(FrameError::Payload("Fetched")).into());
            }
            for (offset, len, tile) in fetched.tiles() {
                // What is the same as nothing: it would be left as it is.
                if self.read.is_none() && tile == Tile::Same {
                    return Err(LinkError::Frame(FrameError::Payload("Fetched")).into());
                }
                each(Part { offset, len, tile, reached: *reached })?;
            }
            reached.done = window.end();
        }
        Ok(())
    }
}

fn answered(error: LinkError) -> RestoreError {
    match error {
        LinkError::Answered(refused) => RestoreError::Refused(refused),
        error => error.into(),
    }
}
