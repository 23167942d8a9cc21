//! A ring (`io_uring`): operations that the kernel carries out asynchronously.
//!
//! Rule: an operation owns its memory and its file until it is complete, so that no memory is used
//! by the kernel and by the process at once. A ring that is dropped with pending operations leaks
//! their memory.

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

/// Most operations per submission; the rest waits in the backlog.
const ENTRIES: u32 = 1024;
/// `RWF_DSYNC` of `linux/fs.h`: a write that is durable when it completes.
const RWF_DSYNC: i32 = 2;
/// `MSG_NOSIGNAL` and `MSG_WAITALL` of `linux/socket.h`.
const SEND_FLAGS: i32 = 0x4000 | 0x100;

/// The file of an operation.
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

/// The kind of an operation.
#[derive(Clone, Debug)]
pub enum Verb {
    /// Read at an offset.
    Read(u64),
    /// Write at an offset; true: durably.
    Write(u64, bool),
    /// Receive some bytes.
    Receive,
    /// Receive until the range is full.
    ReceiveAll,
    /// Send the range.
    Send,
    /// Make completed writes durable.
    Sync,
    /// `fallocate`: mode, offset, length.
    Allocate(i32, u64, u64),
}

/// A completed operation.
#[derive(Debug)]
pub struct Done<T> {
    /// The tag given at its start.
    pub tag: T,
    /// Its memory.
    pub memory: Memory,
    /// The range of the memory.
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

/// A ring; tags identify its operations.
pub struct Ring<T> {
    uring: IoUring,
    pending: Slab<Pending<T>>,
    /// Operations that the submission queue had no room for.
    backlog: Vec<squeue::Entry>,
    /// Results that are not taken yet.
    results: Vec<(usize, i32)>,
}

impl<T> Ring<T> {
    /// Creates a ring for the calling thread only.
    ///
    /// # Errors
    /// [`Error::Ring`], which says what the kernel lacks.
    pub fn new() -> Result<Self> {
        let mut builder = IoUring::builder();
        // Completions are processed when this thread waits, not by interrupting it.
        builder.setup_single_issuer().setup_defer_taskrun().setup_cqsize(4 * ENTRIES);
        let uring = builder.build(ENTRIES).map_err(Error::Ring)?;
        if !uring.params().is_feature_ext_arg() || !uring.params().is_feature_nodrop() {
            return Err(Error::Ring(io::Error::from(io::ErrorKind::Unsupported)));
        }
        Ok(Self { uring, pending: Slab::new(), backlog: Vec::new(), results: Vec::new() })
    }

    /// The number of pending operations.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Begins an operation on `range` of `memory`; a range out of bounds completes with an error.
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

    /// Submits what was begun and waits for a completion, at most for `limit`.
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
            // `ETIME`: the limit has passed.
            Err(error) if error.raw_os_error() == Some(62) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            // `EBUSY`: the completion queue is full; the caller empties it next.
            Err(error) if error.raw_os_error() == Some(16) => Ok(()),
            Err(error) => Err(Error::Wait(error)),
        }
    }

    /// Moves the completed operations to `into`, in the order of their completion.
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
        // SAFETY: `pending` owns the entry's memory and file until the operation completes.
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
        // The kernel may still use their memory.
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
    fn written_bytes_are_read_back_and_a_range_out_of_bounds_is_an_error() {
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
