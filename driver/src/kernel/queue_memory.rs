//! The memory of a session's capture queue.
//!
//! The engine gives each span of it to one value at a time: a capture, a read, or a drained record.
//! The methods take that value as proof, so that only the owner of a span accesses it. Only the
//! payload of a write has two owners, its record and its IRP, both of which only read it.

use snapless_engine::{Capture, Drained, MemorySpan, Read};

use super::irp::{CompletedIrp, OwnedIrp, Payload};
use super::mdl::BufferMdl;
use super::payload_mdl::{PayloadMdl, PayloadMdls};
use super::pool::PoolBuffer;
use super::reader::{IdleSlot, ReadOwner, Readers, ReadersConfig};

/// A queue's memory, and the MDL that describes it.
pub struct QueueMemory {
    /// Describes `buffer`, and so is dropped first.
    mdl: BufferMdl,
    buffer: PoolBuffer,
    payloads: PayloadMdls,
}

impl QueueMemory {
    /// Allocates `bytes`; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new(bytes: u64) -> Option<Self> {
        let buffer = PoolBuffer::new(usize::try_from(bytes).ok()?)?;
        let payloads = PayloadMdls::new(buffer.len())?;
        Some(Self { mdl: BufferMdl::new(&buffer)?, buffer, payloads })
    }

    /// Number of bytes. IRQL <= DISPATCH_LEVEL.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Copies a write's payload to the span of its capture; false if that is not inside the queue,
    /// or the payload cannot be mapped even with the reserve. IRQL <= DISPATCH_LEVEL.
    ///
    /// The application may change its buffer meanwhile: the stream then has a mix of both contents.
    /// So has the disk, as the write is issued from here ([`QueueMemory::issue_from`]).
    pub fn capture<W>(&self, capture: &Capture<W>, payload: Payload, skip: u64) -> bool {
        let MemorySpan { offset, len } = capture.memory();
        let Some(target) = self.buffer.range(offset, len) else { return false };
        let (Ok(skip), Ok(len)) = (usize::try_from(skip), usize::try_from(len)) else {
            return false;
        };
        // SAFETY: the payload has as many bytes as its write, and the capture is of the write or of
        // the part of it that begins after `skip` bytes. The span has `len` bytes and is the
        // capture's alone, as is the IRP.
        unsafe { payload.copy(skip, target, len) }
    }

    /// Gives a captured write's IRP the payload in the queue in place of its caller's buffer.
    /// `None` if it keeps that: it is buffered. IRQL <= DISPATCH_LEVEL.
    pub fn issue_from(&self, irp: &OwnedIrp, payload: MemorySpan) -> Option<PayloadMdl> {
        self.payloads.replace(irp, &self.mdl, payload)
    }

    /// The payload of a write that is about to be issued from the queue
    /// ([`QueueMemory::issue_from`]); `None` if it is not inside. IRQL <= DISPATCH_LEVEL.
    pub fn issued(&self, MemorySpan { offset, len }: MemorySpan) -> Option<&[u8]> {
        let source = self.buffer.range(offset, len)?;
        let len = usize::try_from(len).ok()?;
        // SAFETY: the span has `len` bytes, which are the record's, and the write's until it has
        // completed: nothing writes to them meanwhile.
        Some(unsafe { core::slice::from_raw_parts(source.as_ptr(), len) })
    }

    /// Gives an IRP its caller's buffer back. IRQL <= DISPATCH_LEVEL.
    pub fn put_back(&self, irp: &CompletedIrp, payload: PayloadMdl) {
        self.payloads.put_back(irp, payload);
    }

    /// A drained record's payload, empty for a marker; `None` if it is not inside the queue. IRQL
    /// <= DISPATCH_LEVEL.
    pub fn payload<'a>(&'a self, drained: &'a Drained) -> Option<&'a [u8]> {
        let Some(MemorySpan { offset, len }) = drained.memory() else { return Some(&[]) };
        let source = self.buffer.range(offset, len)?;
        let len = usize::try_from(len).ok()?;
        // SAFETY: the span has `len` bytes, which are the drained record's, and the disk's: nothing
        // writes to them meanwhile.
        Some(unsafe { core::slice::from_raw_parts(source.as_ptr(), len) })
    }

    /// Readers into the queue; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn readers<O: ReadOwner>(&self, owner: O, config: &ReadersConfig) -> Option<Readers<O>> {
        Readers::new(owner, &self.mdl, config)
    }

    /// Sends a read from the disk to its span. PASSIVE_LEVEL, as [`Readers::send`].
    pub fn send<O: ReadOwner>(&self, readers: &Readers<O>, slot: IdleSlot, read: Read) {
        readers.send(slot, &self.mdl, read);
    }

    /// Sends the reads that follow on others. PASSIVE_LEVEL, as [`Readers::send_again`].
    pub fn send_again<O: ReadOwner>(&self, readers: &Readers<O>) {
        readers.send_again(&self.mdl);
    }

    /// Fills the span of a sector that cannot be read with zeros. IRQL <= DISPATCH_LEVEL.
    pub fn clear(&self, read: &Read) {
        let MemorySpan { offset, len } = read.memory();
        let (target, len) = (self.buffer.range(offset, len), usize::try_from(len));
        debug_assert!(target.is_some(), "BOUND: a read has a place in the queue");
        if let (Some(target), Ok(len)) = (target, len) {
            // SAFETY: the span has `len` bytes and is the read's alone.
            unsafe { target.write_bytes(0, len) };
        }
    }
}
