//! The ring: operations that the kernel carries out by itself, and what they belong to.
//!
//! The rule: an operation owns its memory and its file until it is done, so that the kernel never has memory that
//! somebody else uses. A ring that is dropped with operations under way gives up their memory rather than free it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use slab::Slab;

use crate::error::{Error, Result};
use crate::memory::Memory;

/// Operations that can be handed to the kernel at a time; more go in the next turn.
const ENTRIES: u32 = 1024;
/// `RWF_DSYNC` of `linux/fs.h`: a write that is durable when it is done.
const RWF_DSYNC: i32 = 2;
/// `MSG_NOSIGNAL` and `MSG_WAITALL` of `linux/socket.h`.
const SEND_FLAGS: i32 = 0x4000 | 0x100;

/// What an operation is done to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A file.
    File(Arc<File>),
    /// A socket or an eventfd.
    Socket(Arc<OwnedFd>),
}

impl Target {
    fn fd(&self) -> Fd {
        match self {
            Self::File(file) => Fd(file.as_raw_fd()),
            Self::Socket(socket) => Fd(socket.as_raw_fd()),
        }
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Read at an offset into the memory.
    Read(u64),
    /// Write the memory at an offset; durably, if so said.
    Write(u64, bool),
    /// Receive into the memory.
    Receive,
    /// Receive until the memory is full.
    ReceiveAll,
    /// Send the memory.
    Send,
    /// Make what was written durable.
    Sync,
    /// `fallocate` with a mode, of so many bytes at an offset.
    Allocate(i32, u64, u64),
}

/// An operation that has ended.
#[derive(Debug)]
pub struct Done<T> {
    /// What it was for.
    pub tag: T,
    /// Its memory, given back.
    pub memory: Memory,
    /// Which part of the memory it was about.
    pub range: Range<usize>,
    /// Bytes moved, or the error.
    pub result: io::Result<usize>,
}

struct Pending<T> {
    tag: T,
    memory: Memory,
    range: Range<usize>,
    /// Keeps the file open.
    _target: Target,
}

/// A ring for operations that are told apart by tags.
pub struct Ring<T> {
    uring: IoUring,
    pending: Slab<Pending<T>>,
    /// Operations that found the submission queue full.
    backlog: Vec<squeue::Entry>,
    /// Results, taken off the completion queue.
    results: Vec<(usize, i32)>,
}

impl<T> Ring<T> {
    /// A ring of the calling thread, which alone may use it.
    ///
    /// # Errors
    /// [`Error::Ring`], which says what the kernel lacks.
    pub fn new() -> Result<Self> {
        let mut builder = IoUring::builder();
        // Completions are looked at when this thread asks, not by interrupting it.
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4 * ENTRIES);
        let uring = builder.build(ENTRIES).map_err(Error::Ring)?;
        if !uring.params().is_feature_ext_arg() || !uring.params().is_feature_nodrop() {
            return Err(Error::Ring(io::Error::from(io::ErrorKind::Unsupported)));
        }
        Ok(Self { uring, pending: Slab::new(), backlog: Vec::new(), results: Vec::new() })
    }

    /// Number of operations under way.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Begins an operation on `range` of `memory`; a range outside of it ends the operation with an error.
    pub fn begin(
        &mut self,
        target: Target,
        verb: &Verb,
        mut memory: Memory,
        range: Range<usize>,
        tag: T,
    ) {
        let entry = entry(target.fd(), verb, &mut memory, &range);
        let key = self.pending.insert(Pending { tag, memory, range, _target: target });
        match entry {
            Some(entry) => self.push(entry.user_data(key as u64)),
            None => self.results.push((key, -22)),
        }
    }

    /// Hands what was begun to the kernel and waits until something is done, at most until the limit.
    pub fn wait(&mut self, limit: Option<Duration>) -> Result<()> {
        self.hand_over_backlog()?;
        let want = usize::from(self.results.is_empty());
        let submitter = self.uring.submitter();
        let waited = match limit {
            _ if want == 0 => submitter.submit(),
            None => submitter.submit_and_wait(want),
            Some(limit) => {
                let limit = Timespec::from(limit);
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&limit))
            }
        };
        match waited {
            Ok(_) => Ok(()),
            // `ETIME`: the limit has come.
            Err(error) if error.raw_os_error() == Some(62) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            // `EBUSY`: the completion queue is full; it is emptied next.
            Err(error) if error.raw_os_error() == Some(16) => Ok(()),
            Err(error) => Err(Error::Wait(error)),
        }
    }

    /// The operations that have ended by now, in the order in which they did.
    pub fn take_done(&mut self, into: &mut Vec<Done<T>>) {
        let mut results = std::mem::take(&mut self.results);
        let completed = self.uring.completion();
        results.extend(
            completed.map(|it| (usize::try_from(it.user_data()).unwrap_or(0), it.result())),
        );
        for (key, result) in results.drain(..) {
            let Some(Pending { tag, memory, range, .. }) = self.pending.try_remove(key) else {
                continue;
            };
            let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
            into.push(Done { tag, memory, range, result });
        }
        self.results = results;
    }

    fn push(&mut self, entry: squeue::Entry) {
        if !self.backlog.is_empty() || !self.try_push(&entry) {
            self.backlog.push(entry);
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: the entry's memory and file are in `pending` and stay where they are until it is done.
        unsafe { self.uring.submission().push(entry) }.is_ok()
    }

    fn hand_over_backlog(&mut self) -> Result<()> {
        while !self.backlog.is_empty() {
            self.uring.submit().map_err(Error::Wait)?;
            let backlog = std::mem::take(&mut self.backlog);
            let mut rest = backlog.into_iter();
            for entry in rest.by_ref() {
                if !self.try_push(&entry) {
                    self.backlog.push(entry);
                    break;
                }
            }
            self.backlog.extend(rest);
        }
        Ok(())
    }
}

impl<T> Drop for Ring<T> {
    fn drop(&mut self) {
        // The kernel may still use what they own.
        std::mem::take(&mut self.pending).into_iter().for_each(std::mem::forget);
    }
}

fn entry(fd: Fd, verb: &Verb, memory: &mut Memory, range: &Range<usize>) -> Option<squeue::Entry> {
    let entry = match *verb {
        Verb::Sync => opcode::Fsync::new(fd).flags(FsyncFlags::DATASYNC).build(),
        Verb::Allocate(mode, offset, len) => {
            opcode::Fallocate::new(fd, len).offset(offset).mode(mode).build()
        }
        Verb::Read(_) | Verb::Write(..) | Verb::Receive | Verb::ReceiveAll | Verb::Send => {
            let start = memory.window(range)?.as_ptr();
            let len = u32::try_from(range.len()).ok()?;
            match *verb {
                Verb::Read(offset) => opcode::Read::new(fd, start, len).offset(offset).build(),
                Verb::Write(offset, durable) => {
                    let flags = if durable { RWF_DSYNC } else { 0 };
                    opcode::Write::new(fd, start, len).offset(offset).rw_flags(flags).build()
                }
                Verb::ReceiveAll => opcode::Recv::new(fd, start, len).flags(0x100).build(),
                Verb::Send => opcode::Send::new(fd, start, len).flags(SEND_FLAGS).build(),
                _ => opcode::Recv::new(fd, start, len).build(),
            }
        }
    };
    Some(entry)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Buffer;

    #[test]
    fn what_is_written_is_read_back_and_a_wrong_range_is_an_error() {
        let file = Target::File(Arc::new(tempfile::tempfile().unwrap()));
        let mut ring = Ring::new().unwrap();
        let mut done = Vec::new();
        let wait = |ring: &mut Ring<u8>, done: &mut Vec<Done<u8>>| {
            while ring.pending() > 0 {
                ring.wait(None).unwrap();
                ring.take_done(done);
            }
        };
        ring.begin(file.clone(), &Verb::Write(3, true), Memory::Bytes(vec![9; 10]), 2..7, 1);
        wait(&mut ring, &mut done);
        let buffer = Memory::Buffer(Buffer::new(4096).unwrap());
        ring.begin(file.clone(), &Verb::Read(0), buffer, 0..4096, 2);
        ring.begin(file, &Verb::Write(0, false), Memory::Bytes(vec![0; 4]), 0..5, 3);
        wait(&mut ring, &mut done);
        let lens: Vec<_> = done.iter().map(|it| (it.tag, it.result.as_ref().ok())).collect();
        assert_eq!(lens[0], (1, Some(&5)));
        assert!(lens.contains(&(2, Some(&8))) && lens.contains(&(3, None)), "{lens:?}");
        let read = done.iter().find(|it| it.tag == 2).unwrap();
        let Memory::Buffer(buffer) = &read.memory else { panic!("it was given a buffer") };
        assert_eq!(buffer[..8], [0, 0, 0, 9, 9, 9, 9, 9]);
    }

    #[test]
    fn a_wait_ends_at_its_limit() {
        let mut ring: Ring<()> = Ring::new().unwrap();
        ring.wait(Some(Duration::from_millis(5))).unwrap();
        assert_eq!(ring.pending(), 0);
    }
}
