//! The method of Snapless: copying a live volume without a snapshot, and following it from there on.
//!
//! # What happens to a write
//!
//! [`Session::submit`] decides, on the thread that the write arrives on:
//!
//! * All its blocks are `Synced` and no other write overlaps it → [`Submission::Capture`]: the host copies
//!   the payload into the capture queue, calls [`Session::captured`], issues the write, and
//!   calls [`Session::completed`] when the disk is done with it.
//! * Otherwise → [`Submission::Held`]: the engine keeps the write. The hold thread reads the old
//!   content of the blocks that nobody has read yet ([`Session::hold`], [`Session::read_done`]); then
//!   the dispatch thread gets the write back from [`Session::dispatch`], to capture and issue it.
//! * The write cannot be captured (the queue stayed full past `hold_limit`, the service is gone, the
//!   write must not wait), or need not be, since its blocks are to be read again in any case →
//!   [`Submission::Issue`]: it goes through and leaves its blocks `Dirty`, to be read later: a gap.
//!
//! A trim or a write of zeros ([`Session::submit_clearing`]) has no payload: it is held by the same rules, and
//! comes as [`Submission::Issue`], already in the stream.
//!
//! Meanwhile the sweep thread reads, in order, whatever no write has asked for ([`Session::sweep`])
//! and nobody said holds no data ([`Session::skip`]), and the drain thread carries records out of the queue ([`Session::drain`]).
//!
//! [`Rundown`] protection ties a write to its session and tells when every older write is done.
//!
//! # Rules
//!
//! T0, ORDER, LOSS, HANG, BOUND, TRUTH, CLEAR, RESUME: the code that upholds a rule names it. Assertions of
//! the rules are compiled in with `debug_assertions`.
//!
//! # Shape
//!
//! No operating system, no clock, no thread and no unsafe code in here: the [`Host`] lends a lock and
//! two clocks, and acts on what the verbs return. The engine does not touch a payload; it hands out
//! [`MemorySpan`]s of a buffer that the host owns. All memory is allocated by [`Session::new`]
//! (rule BOUND).
//!
//! # Example
//!
//! A host of one thread, whose disk is an array: a block is captured before the write to it, and both reach the
//! stream in that order.
//!
//! ```
//! use snapless_engine::{
//!     Config, Extent, Geometry, Host, Mutex, RecordKind, Session, Step, Submission, Tick, Urgency, Worker,
//! };
//! use std::cell::RefCell;
//!
//! struct OneThread;
//! struct Lock<T>(RefCell<T>);
//!
//! impl<T> Mutex<T> for Lock<T> {
//!     fn new(value: T) -> Self {
//!         Self(RefCell::new(value))
//!     }
//!     fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
//!         f(&mut self.0.borrow_mut())
//!     }
//! }
//!
//! impl Host for OneThread {
//!     /// What is written; a driver has an IRP here.
//!     type Write = [u8; 512];
//!     type Mutex<T> = Lock<T>;
//!     fn now(&self) -> Tick {
//!         Tick(0)
//!     }
//!     fn clock(&self) -> u64 {
//!         0
//!     }
//!     /// Nobody sleeps here.
//!     fn wake(&self, _: Worker) {}
//! }
//!
//! // Four blocks of 16 KiB, and a queue as long.
//! let mut disk = vec![b'o'; 64 << 10];
//! let mut queue = vec![0; 64 << 10];
//! let geometry = Geometry::new(64 << 10, 512, 16 << 10).unwrap();
//! let session = Session::new(OneThread, geometry, Config::new(64 << 10)).unwrap();
//! session.begin();
//!
//! // A write arrives. Nobody has read its block yet: it is held.
//! let extent = Extent::new(16 << 10, 512).unwrap();
//! assert!(matches!(session.submit([b'n'; 512], extent, Urgency::MayWait), Submission::Held));
//!
//! // The hold thread reads the block's old content into the queue.
//! let Step::Do(read) = session.hold() else { panic!("a block is to be read") };
//! let from = read.extent().offset() as usize..read.extent().end() as usize;
//! let to = read.memory().offset as usize;
//! queue[to..to + from.len()].copy_from_slice(&disk[from]);
//! assert!(session.read_done(read, true).is_none());
//!
//! // The dispatch thread gets the write back: its payload goes to the queue, then it goes to the disk.
//! let Step::Do(Submission::Capture(capture)) = session.dispatch() else { panic!("it may go") };
//! let to = capture.memory().offset as usize;
//! queue[to..to + 512].copy_from_slice(capture.write());
//! let issue = session.captured(capture);
//! disk[16 << 10..][..512].copy_from_slice(&issue.write);
//! session.completed(issue.ticket, true);
//!
//! // The drain thread carries the records out.
//! let mut stream = Vec::new();
//! while let Step::Do(drained) = session.drain(u64::MAX) {
//!     let first = drained.memory().map(|memory| queue[memory.offset as usize]);
//!     stream.push((drained.record().kind, first));
//!     session.drained(drained);
//! }
//! assert_eq!(
//!     stream,
//!     [
//!         (RecordKind::SessionStart, None),
//!         (RecordKind::Block, Some(b'o')),
//!         (RecordKind::Write, Some(b'n')),
//!     ]
//! );
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, sabotage))]
extern crate std;

/// Asserts a rule of the method in builds with `debug_assertions`: in tests, the simulator, debug drivers.
macro_rules! rule {
    ($holds:expr, $rule:literal) => {
        debug_assert!($holds, $rule)
    };
}

/// True if a breach of a rule is to be committed here: never, but in builds that test the tests.
#[cfg(sabotage)]
macro_rules! sabotaged {
    ($breach:ident) => {
        crate::sabotage::Sabotage::$breach.is_chosen()
    };
}
#[cfg(not(sabotage))]
macro_rules! sabotaged {
    ($breach:ident) => {
        false
    };
}

mod arena;
mod backpressure;
mod base_image;
mod bits;
mod capture_queue;
mod claims;
mod config;
mod epochs;
mod gap;
mod holes;
mod host;
mod in_flight;
mod lifecycle;
mod memory;
#[cfg(all(test, loom))]
mod models;
mod pace;
mod presence;
#[cfg(all(test, not(loom)))]
mod properties;
mod resync;
mod rundown;
#[cfg(sabotage)]
pub mod sabotage;
mod session;
mod slots;
mod status;
mod steps;
mod submission;
mod sweep;
mod sync;
mod table;

pub use arena::MemorySpan;
pub use capture_queue::{Drained, Record};
pub use config::{Config, ConfigError, StartError};
pub use host::{Host, Mutex, Step, Tick, WORKERS, Worker};
pub use lifecycle::Phase;
pub use rundown::{Event, Protection, Rundown, RundownOwner};
pub use session::Session;
pub use session::core::Read;
pub use snapless_types::{
    BlockIndex, BlockRange, Clearing, Extent, GapReason, Geometry, GeometryError, Overflow,
    RecordKind,
};
pub use status::{HOLD_BUCKETS, HoldTimes, Status};
pub use submission::{Capture, Issue, Submission, Ticket, Urgency};
pub use table::BlockState;
