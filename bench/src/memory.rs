//! Memory that the kernel accesses: aligned buffers, and the capture queue.
//!
//! Rule: every buffer has one owner. During an operation of the ring that is the ring; a range of
//! queue memory belongs to the holder of the engine's token for it ([`Capture`], [`Read`],
//! [`Drained`]). The disk transfers a captured write from its record's range, which nothing writes
//! to meanwhile.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{Advice, madvise};
use snapless_engine::{Capture, Drained, MemorySpan, Read};

use crate::error::{Error, Result};

/// Alignment of buffers: enough for `O_DIRECT` on every disk.
const ALIGN: usize = 4096;
/// Alignment of the queue: allows huge pages, which make long reads cheap.
const QUEUE_ALIGN: usize = 2 << 20;

/// Zeroed memory at a fixed address.
#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: plain memory, owned by the value.
unsafe impl Send for Block {}
// SAFETY: only `QueueMemory` accesses the memory through a shared reference, with its own
// arguments.
unsafe impl Sync for Block {}

impl Block {
    fn new(len: usize, align: usize) -> Result<Self> {
        let layout = Layout::from_size_align(len.max(1), align).map_err(|_| Error::Memory(len))?;
        // SAFETY: the layout has at least one byte.
        let start = unsafe { alloc_zeroed(layout) };
        Ok(Self { start: NonNull::new(start).ok_or(Error::Memory(len))?, layout })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout; freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// An aligned buffer.
#[derive(Debug)]
pub struct Buffer(Block);

impl Buffer {
    /// A buffer of `len` zeros.
    pub fn new(len: usize) -> Result<Self> {
        Block::new(len.next_multiple_of(ALIGN), ALIGN).map(Self)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the block has that many initialized bytes, owned by this value.
        unsafe { std::slice::from_raw_parts(self.0.start.as_ptr(), self.0.layout.size()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.0.start.as_ptr(), self.0.layout.size()) }
    }
}

/// Buffers to reuse, one list per power of two.
#[derive(Debug, Default)]
pub struct Pool {
    free: [Vec<Buffer>; Self::CLASSES],
}

impl Pool {
    const CLASSES: usize = 14;
    /// Most buffers in a list.
    const KEPT: usize = 512;

    /// A buffer of at least `len` bytes with arbitrary content.
    pub fn take(&mut self, len: usize) -> Result<Buffer> {
        let class = Self::class(len);
        let pooled = self.free.get_mut(class).and_then(Vec::pop);
        pooled.map_or_else(|| Buffer::new(ALIGN << class), Ok)
    }

    /// Returns a buffer.
    pub fn give_back(&mut self, buffer: Buffer) {
        if let Some(list) = self.free.get_mut(Self::class(buffer.len()))
            && list.len() < Self::KEPT >> Self::class(buffer.len()).min(9)
        {
            list.push(buffer);
        }
    }

    fn class(len: usize) -> usize {
        let pages = len.div_ceil(ALIGN).max(1).next_power_of_two();
        pages.trailing_zeros() as usize
    }
}

/// The capture queue's memory. The engine hands out its ranges.
#[derive(Debug)]
pub struct QueueMemory(Block);

impl QueueMemory {
    /// Allocates `len` bytes, in huge pages if available, all committed now (rule BOUND,
    /// rules.md#bound).
    pub fn new(len: usize) -> Result<Arc<Self>> {
        let block = Block::new(len.next_multiple_of(QUEUE_ALIGN), QUEUE_ALIGN)?;
        // SAFETY: the advice covers this block only and does not change its content.
        let advised = unsafe {
            madvise(block.start.as_ptr().cast(), block.layout.size(), Advice::LinuxHugepage)
        };
        // Huge pages are optional.
        let _ = advised;
        // SAFETY: the block has that many bytes and is not shared yet.
        unsafe { block.start.as_ptr().write_bytes(0, block.layout.size()) };
        Ok(Arc::new(Self(block)))
    }

    /// Copies a write's payload into the queue; false if the sizes differ.
    pub fn put<W>(&self, capture: &Capture<W>, payload: &[u8]) -> bool {
        let memory = capture.memory();
        let Some(target) = self.range(memory.offset, memory.len) else { return false };
        if memory.len != payload.len() as u64 {
            return false;
        }
        // SAFETY: the range has `payload.len()` bytes; the capture owns it until the engine takes
        // it back.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(payload).cast(), payload.len()) };
        true
    }

    /// A record's payload; empty if it has none.
    pub fn payload<'a>(&'a self, drained: &'a Drained) -> &'a [u8] {
        let found = drained.memory().and_then(|it| Some((self.range(it.offset, it.len)?, it.len)));
        let Some((start, len)) = found else { return &[] };
        // SAFETY: the range has that many bytes; a committed record's memory is not written; the
        // engine keeps it until `drained` is returned, which the borrow prevents.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), usize::try_from(len).unwrap_or(0)) }
    }

    /// Fills the memory of a failed read with zeros.
    pub fn clear(&self, read: &Read) {
        let memory = read.memory();
        let Some(start) = self.range(memory.offset, memory.len) else { return };
        // SAFETY: the range has that many bytes and the read owns it.
        unsafe { start.write_bytes(0, usize::try_from(memory.len).unwrap_or(0)) };
    }

    fn span(&self, memory: MemorySpan) -> Option<(NonNull<u8>, usize)> {
        let len = usize::try_from(memory.len).ok()?;
        Some((self.range(memory.offset, memory.len)?, len))
    }

    fn range(&self, offset: u64, len: u64) -> Option<NonNull<u8>> {
        let end = offset.checked_add(len)?;
        let offset = usize::try_from(offset).ok()?;
        if end > self.0.layout.size() as u64 {
            return None;
        }
        // SAFETY: the offset was checked to be inside the block.
        Some(unsafe { self.0.start.add(offset) })
    }
}

/// The memory of an operation of the ring.
#[derive(Debug)]
pub enum Memory {
    /// The operation moves no bytes.
    None,
    /// A buffer.
    Buffer(Buffer),
    /// Bytes to send.
    Bytes(Vec<u8>),
    /// A read's range of the queue.
    Queue(Arc<QueueMemory>, Read),
    /// The range of the queue that a write is issued from.
    Payload(Arc<QueueMemory>, MemorySpan),
}

impl Memory {
    /// The address of `range`; `None` if it is out of bounds.
    pub fn window(&mut self, range: &Range<usize>) -> Option<NonNull<u8>> {
        let (start, len) = match self {
            Self::None => return None,
            Self::Buffer(buffer) => (buffer.0.start, buffer.len()),
            Self::Bytes(bytes) => (NonNull::new(bytes.as_mut_ptr())?, bytes.len()),
            Self::Queue(queue, read) => queue.span(read.memory())?,
            Self::Payload(queue, span) => queue.span(*span)?,
        };
        if range.start > range.end || range.end > len {
            return None;
        }
        // SAFETY: the range was checked to be inside.
        Some(unsafe { start.add(range.start) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_zeroed_and_reused() {
        let mut pool = Pool::default();
        let mut buffer = pool.take(5000).unwrap();
        assert_eq!((buffer.len(), buffer.as_ptr() as usize % ALIGN), (8192, 0));
        assert!(buffer.iter().all(|&byte| byte == 0));
        buffer[0] = 7;
        let place = buffer.as_ptr();
        pool.give_back(buffer);
        assert_ne!(pool.take(4096).unwrap().as_ptr(), place);
        assert_eq!(pool.take(8000).unwrap().as_ptr(), place);
    }

    #[test]
    fn a_window_is_inside_its_memory() {
        let mut memory = Memory::Buffer(Buffer::new(4096).unwrap());
        assert!(memory.window(&(0..4096)).is_some());
        assert!(memory.window(&(4096..4096)).is_some());
        assert!(memory.window(&(1..4097)).is_none());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 2..1;
        assert!(memory.window(&reversed).is_none());
        assert!(Memory::None.window(&(0..0)).is_none());
    }

    #[test]
    fn a_range_is_inside_the_queue() {
        let queue = QueueMemory::new(3 << 20).unwrap();
        assert!(queue.range(0, 4 << 20).is_some());
        assert!(queue.range(1, 4 << 20).is_none());
        assert!(queue.range(u64::MAX, 2).is_none());
    }
}
