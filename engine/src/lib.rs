//! The method of Snapless: copies a live volume without a snapshot, and then keeps the copy
//! current.
//!
//! # What happens to a write
//!
//! [`Session::submit`] decides, on the thread on which the write arrives:
//!
//! * All its blocks are `Synced` and no other write overlaps it → [`Submission::Capture`]: the host
//!   copies the payload into the capture queue, calls [`Session::captured`], issues the write, and
//!   calls [`Session::completed`] when the disk is done with it.
//! * Otherwise → [`Submission::Held`]: the engine keeps the write. The hold thread reads the old
//!   content of its unsynced blocks ([`Session::hold`], [`Session::read_done`]); then the dispatch
//!   thread gets the write back from [`Session::dispatch`], to capture and issue it. A write that
//!   has been cancelled by then comes back as [`Submission::Cancelled`] instead.
//! * The write cannot be captured (the queue stayed full past `hold_limit`, the service is lost,
//!   the write must not wait), or need not be, because its blocks are read again in any case →
//!   [`Submission::Issue`]: it is issued uncaptured and leaves its blocks `Dirty`, to be read
//!   later. That is a gap; its record has the [`GapReason`](snapless_types::GapReason).
//!
//! A trim or a write of zeros ([`Session::submit_clearing`]) has no payload: it is held by the same
//! rules, and is returned as [`Submission::Issue`], with its record in the stream already.
//!
//! Meanwhile the sweep thread reads the other blocks in order ([`Session::sweep`]), except those
//! that hold no data ([`Session::skip`]) or that no file has ([`Session::unused`]), and the drain
//! thread takes records out of the queue ([`Session::drain`]).
//!
//! [`Rundown`] protection ties a write to its session and tells when every older write is done.
//!
//! # Rules
//!
//! T0, ORDER, LOSS, HANG, BOUND, TRUTH, CLEAR, RESUME (`docs/rules.md`): the code that upholds a
//! rule names it. Assertions of the rules are compiled in with `debug_assertions`.
//!
//! # Structure
//!
//! No operating system, no clock, no thread and no unsafe code: the [`Host`] lends a lock and two
//! clocks, and acts on what the verbs return. The engine does not touch a payload; it hands out
//! [`MemorySpan`]s of a buffer that the host owns. [`Session::new`] allocates all memory (rule
//! BOUND).
//!
//! Each piece of a session's state has one owner, with private fields and verbs. The accounts of
//! writes, records, epochs and blocks are `snapless_tracking`'s, and their data structures
//! `snapless_fixed`'s. Imports go downwards in this table, never up:
//!
//! | modules | role |
//! | --- | --- |
//! | `session` | the verbs that hosts call, and the lock |
//! | `session::core` and the modules in it | decisions that need more than one owner |
//! | `resync`, `backpressure`, `cut`, `sweep`, `failing`, `lifecycle`, `gap`, `base_image` | owners that hold a policy or a state |
//! | `pace` | how many reads the sweep keeps under way |
//! | `host`, `status`, `submission` | interfaces |
//!
//! [`Rundown`] stands beside them: it guards the place where a volume keeps its session.
//!
//! # Example
//!
//! A host of one thread, whose disk is an array: a block is captured before the write to it, and
//! both reach the stream in that order.
//!
//! ```
//! use snapless_engine::{Config, Host, Mutex, ReadOutcome, Session, Step, Submission, Tick};
//! use snapless_engine::{Urgency, Waiter, Worker};
//! use snapless_types::{Extent, Geometry, RecordKind};
//! use std::cell::RefCell;
//! use std::collections::VecDeque;
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
//!     /// The payload; a driver has an IRP here.
//!     type Write = [u8; 512];
//!     type Waiting = VecDeque<Waiter<[u8; 512]>>;
//!     type Mutex<T> = Lock<T>;
//!     fn now(&self) -> Tick {
//!         Tick(0)
//!     }
//!     fn clock(&self) -> u64 {
//!         0
//!     }
//!     /// No thread sleeps here.
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
//! // A write arrives. Its block is unsynced: it is held.
//! let extent = Extent::new(16 << 10, 512).unwrap();
//! assert!(matches!(session.submit([b'n'; 512], extent, Urgency::MayWait), Submission::Held));
//!
//! // The hold thread reads the block's old content into the queue.
//! let Step::Do(read) = session.hold() else { panic!("a block is unsynced") };
//! let from = read.extent().offset() as usize..read.extent().end() as usize;
//! let to = read.memory().offset as usize;
//! queue[to..to + from.len()].copy_from_slice(&disk[from]);
//! assert!(session.read_done(read, ReadOutcome::Done).is_none());
//!
//! // The dispatch thread gets the write back: payload to the queue, then the write to the disk.
//! let Step::Do(Submission::Capture(capture)) = session.dispatch() else { panic!("it is ready") };
//! let to = capture.memory().offset as usize;
//! queue[to..to + 512].copy_from_slice(capture.write());
//! let issue = session.captured(capture);
//! disk[16 << 10..][..512].copy_from_slice(&issue.write);
//! session.completed(issue.ticket, true);
//!
//! // The drain thread takes the records out.
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
#[macro_use]
extern crate snapless_fixed;
#[cfg(test)]
extern crate std;

mod backpressure;
mod base_image;
mod cut;
mod excluded;
mod failing;
mod gap;
mod host;
mod lifecycle;
#[cfg(all(test, loom))]
mod models;
mod pace;
#[cfg(all(test, not(loom)))]
mod properties;
mod resync;
mod session;
mod status;
mod submission;
mod sweep;
mod unused;
mod verification;

pub use cut::{Cut, CutRefused};
pub use host::{Host, Mutex, Step, WORKERS, Worker};
pub use lifecycle::Phase;
pub use session::Session;
pub use session::core::{ImpossibleSeq, Read, ReadOutcome};
pub use snapless_fixed::arena::MemorySpan;
pub use snapless_fixed::rundown::{Event, Protection, Rundown, RundownOwner};
#[cfg(feature = "sabotage")]
pub use snapless_fixed::sabotage;
pub use snapless_tracking::capture_queue::{Drained, Record};
pub use snapless_tracking::config::{Config, ConfigError, StartError, SweepLimits};
pub use snapless_tracking::epochs::ImpossibleEpoch;
pub use snapless_tracking::marks::Marks;
pub use snapless_tracking::regions::RegionMap;
pub use snapless_tracking::table::BlockState;
pub use snapless_tracking::waiting::{Fifo, Waiter};
pub use snapless_types::Tick;
pub use status::Status;
pub use submission::{Capture, Issue, Part, Submission, Ticket, Urgency};
