//! The frames of one connection that were received and are not stored yet.
//!
//! The connection's thread puts frames in ([`Inlet`]), the storing thread takes them out
//! ([`Outlet`]). While the backlog is full, the connection receives nothing, and TCP holds the
//! service back. Storage that is slow thus costs time, and a bounded amount of memory: frames up to
//! [`BACKLOG_BYTES`], the frame that goes past that, and a spare buffer of at most as many bytes.
//!
//! Either end may go first. What waits is still stored after [`Inlet::finish`]. It is dropped with
//! the inlet otherwise, and by [`Inlet::abandon`]. A dropped outlet ends every wait of the inlet.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snapless_wire::frame::FrameHeader;

/// From so many bytes of frames on, no further one is received: with the 4 MiB that a service's
/// frame has, one is received while another is stored. A buffer that is kept is no longer either.
pub const BACKLOG_BYTES: usize = 5 << 20;
/// What a frame counts besides its payload.
const FRAME_COST: usize = 128;

/// A received frame.
#[derive(Debug)]
pub struct Received {
    /// Its header, which its payload has passed.
    pub frame: FrameHeader,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Until {
    /// The session is open.
    Opened,
    /// There is room for a frame.
    Room,
    /// The storing thread has ended.
    End,
}

/// The end of the connection's thread.
#[derive(Debug)]
pub struct Inlet(Arc<Shared>);

/// The end of the storing thread.
#[derive(Debug)]
pub struct Outlet(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent of each other")]
struct State {
    frames: VecDeque<Received>,
    /// Of these frames and of those that were taken and not given back.
    bytes: usize,
    /// An empty buffer for the next frame.
    spare: Vec<u8>,
    /// No further frame comes.
    is_finished: bool,
    /// What waits is not wanted.
    is_abandoned: bool,
    is_opened: bool,
    /// The storing thread has ended.
    is_over: bool,
}

/// An empty backlog.
pub fn backlog() -> (Inlet, Outlet) {
    let shared = Arc::<Shared>::default();
    (Inlet(Arc::clone(&shared)), Outlet(shared))
}

impl Inlet {
    /// Waits at most so long; true if it has come, or never will because the storing thread has
    /// ended.
    pub fn wait(&self, until: Until, limit: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.0.lock();
        loop {
            let has_come = match until {
                Until::Opened => state.is_opened,
                Until::Room => state.bytes < BACKLOG_BYTES,
                Until::End => false,
            };
            let left = limit.saturating_sub(begun.elapsed());
            if has_come || state.is_over || left.is_zero() {
                return has_come || state.is_over;
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A buffer for the next frame.
    pub fn buffer(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().spare)
    }

    /// Appends a frame.
    pub fn put(&self, frame: FrameHeader, payload: Vec<u8>) {
        // A short frame keeps no long buffer.
        let is_long = payload.len() >= payload.capacity() / 2;
        let (payload, spare) =
            if is_long { (payload, Vec::new()) } else { (payload.as_slice().into(), payload) };
        self.0.change(|state| {
            state.keep(spare);
            state.bytes += payload.len() + FRAME_COST;
            state.frames.push_back(Received { frame, payload });
        });
    }

    /// Keeps a buffer for the next frame.
    pub fn keep(&self, buffer: Vec<u8>) {
        self.0.change(|state| state.keep(buffer));
    }

    /// No further frame comes: the storing thread ends when it has stored what waits.
    pub fn finish(&self) {
        self.0.change(|state| state.is_finished = true);
    }

    /// No further frame comes, and what waits is dropped.
    pub fn abandon(&self) {
        self.0.change(|state| {
            state.frames.clear();
            state.is_finished = true;
            state.is_abandoned = true;
        });
    }

    /// True once the session was open.
    pub fn was_opened(&self) -> bool {
        self.0.lock().is_opened
    }

    /// True once the storing thread has ended.
    pub fn is_over(&self) -> bool {
        self.0.lock().is_over
    }
}

impl Outlet {
    /// The session is open.
    pub fn opened(&self) {
        self.0.change(|state| state.is_opened = true);
    }

    /// Waits for the next frame; `None` if there is none and none will come. Give it back with
    /// [`Self::give_back`].
    pub fn take(&self) -> Option<Received> {
        let mut state = self.0.lock();
        while state.frames.is_empty() && !state.is_finished {
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.frames.pop_front()
    }

    /// True if a frame waits.
    pub fn has_more(&self) -> bool {
        !self.0.lock().frames.is_empty()
    }

    /// Waits for so long, or until the inlet has abandoned the backlog; true if it has.
    pub fn rest(&self, limit: Duration) -> bool {
        let state = self.0.lock();
        let rests = |state: &mut State| !state.is_abandoned;
        let waited = self.0.changed.wait_timeout_while(state, limit, rests);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_abandoned
    }

    /// The frame is stored.
    pub fn give_back(&self, received: Received) {
        self.0.change(|state| {
            state.bytes -= received.payload.len() + FRAME_COST;
            state.keep(received.payload);
        });
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No change is left half made by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl State {
    fn keep(&mut self, buffer: Vec<u8>) {
        if (self.spare.capacity() + 1..=BACKLOG_BYTES).contains(&buffer.capacity()) {
            self.spare = buffer;
        }
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        let is_finished = self.0.lock().is_finished;
        if !is_finished {
            self.abandon();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        self.0.change(|state| state.is_over = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_wire::frame::FrameKind;
    use std::thread;

    const SOON: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    fn put(inlet: &Inlet, len: usize) {
        let mut payload = inlet.buffer();
        payload.clear();
        payload.resize(len, 7);
        inlet.put(FrameHeader::new(FrameKind::Records, &payload).unwrap(), payload);
    }

    #[test]
    fn a_full_backlog_has_room_again_when_a_frame_is_stored() {
        let (inlet, outlet) = backlog();
        put(&inlet, 4 << 20);
        assert!(inlet.wait(Until::Room, Duration::ZERO), "one is received while one is stored");
        put(&inlet, 4 << 20);
        let first = outlet.take().unwrap();
        assert!(!inlet.wait(Until::Room, SOON), "a frame that is being stored counts");
        thread::scope(|scope| {
            let waiter = scope.spawn(|| inlet.wait(Until::Room, LONG));
            outlet.give_back(first);
            assert!(waiter.join().unwrap());
        });
    }

    #[test]
    fn short_frames_are_many_and_keep_no_long_buffer() {
        let (inlet, outlet) = backlog();
        put(&inlet, 4 << 20);
        outlet.give_back(outlet.take().unwrap());
        let mut count = 0;
        while inlet.wait(Until::Room, Duration::ZERO) {
            put(&inlet, 0);
            count += 1;
        }
        assert!((10_000..100_000).contains(&count), "{count}");
        let state = inlet.0.lock();
        assert!(state.frames.iter().all(|it| it.payload.capacity() == 0));
        assert!(state.spare.capacity() >= 4 << 20, "the long one is used again");
    }

    #[test]
    fn a_buffer_past_the_limit_is_not_kept() {
        let (inlet, outlet) = backlog();
        put(&inlet, 16 << 20);
        outlet.give_back(outlet.take().unwrap());
        assert_eq!(inlet.buffer().capacity(), 0);
    }

    #[test]
    fn what_waits_is_taken_after_a_finish_and_dropped_without() {
        let (inlet, outlet) = backlog();
        put(&inlet, 1);
        put(&inlet, 2);
        inlet.finish();
        drop(inlet);
        assert_eq!(outlet.take().unwrap().payload.len(), 1);
        assert_eq!(outlet.take().unwrap().payload.len(), 2);
        assert!(outlet.take().is_none());

        let (inlet, outlet) = backlog();
        put(&inlet, 1);
        drop(inlet);
        assert!(outlet.take().is_none());

        let (inlet, outlet) = backlog();
        put(&inlet, 1);
        inlet.finish();
        inlet.abandon();
        assert!(outlet.take().is_none());
    }

    #[test]
    fn the_storing_threads_end_ends_every_wait() {
        for until in [Until::Opened, Until::Room, Until::End] {
            let (inlet, outlet) = backlog();
            put(&inlet, 8 << 20);
            assert!(!inlet.wait(until, Duration::ZERO) && !inlet.was_opened());
            thread::scope(|scope| {
                let waiter = scope.spawn(|| inlet.wait(until, LONG));
                drop(outlet);
                assert!(waiter.join().unwrap() && inlet.is_over());
            });
        }
    }
}
