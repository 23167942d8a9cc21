//! The data of a read or a write: a chain of memory descriptor lists, a system buffer, or an
//! address of the sender.
//!
//! The rule: nothing is read or written past the end of the described memory.

use alloc::vec::Vec;

use nt::{irp::Irp, mdl};
use wdk_sys::{DO_BUFFERED_IO, DO_DIRECT_IO, MDL};

/// Where the data of a write is.
pub(crate) enum Source {
    /// In one piece, in the sender's memory.
    There(*const u8),
    /// Gathered from a chain.
    Gathered(Vec<u8>),
}

impl Source {
    /// The first byte.
    pub(crate) fn start(&self) -> *const u8 {
        match self {
            Self::There(start) => *start,
            Self::Gathered(data) => data.as_ptr(),
        }
    }
}

/// How many bytes the request's memory has; `None` if it has none, or not the kind that a device
/// with these `DO_…` flags takes.
pub(crate) fn room(irp: &Irp, io_model: u32) -> Option<usize> {
    let described = if io_model & DO_DIRECT_IO != 0 {
        !irp.mdl().is_null()
    } else {
        let own =
            if io_model & DO_BUFFERED_IO != 0 { irp.system_buffer() } else { irp.user_buffer() };
        irp.mdl().is_null() && !own.is_null()
    };
    if !described {
        return None;
    }
    if irp.mdl().is_null() {
        // The I/O manager's buffer is as long as the request.
        return Some(irp.transfer().0 as usize);
    }
    chain(irp).map(|buffer| Some(buffer?.length)).sum()
}

/// The target of a read, in one piece.
pub(crate) fn target(irp: &Irp) -> Option<*mut u8> {
    if irp.mdl().is_null() { single(irp) } else { chain(irp).next()?.map(|buffer| buffer.start) }
}

/// The data of a write.
pub(crate) fn source(irp: &Irp) -> Option<Source> {
    if irp.mdl().is_null() {
        return single(irp).map(|start| Source::There(start.cast_const()));
    }
    let mut buffers = chain(irp);
    let first = buffers.next()??;
    let mut rest = buffers.peekable();
    if rest.peek().is_none() {
        return Some(Source::There(first.start.cast_const()));
    }
    let mut data = Vec::new();
    for buffer in core::iter::once(Some(first)).chain(rest) {
        let buffer = buffer?;
        // SAFETY: a live packet's list describes that many bytes, which stay until the packet is
        // completed.
        data.extend_from_slice(unsafe { core::slice::from_raw_parts(buffer.start, buffer.length) });
    }
    Some(Source::Gathered(data))
}

fn single(irp: &Irp) -> Option<*mut u8> {
    let system = irp.system_buffer().cast::<u8>();
    let start = if system.is_null() { irp.user_buffer().cast::<u8>() } else { system };
    (!start.is_null()).then_some(start)
}

/// The buffers of the packet's chain; `None` for a list that describes nothing.
fn chain(irp: &Irp) -> impl Iterator<Item = Option<mdl::Buffer>> {
    let mut next: *mut MDL = irp.mdl();
    core::iter::from_fn(move || {
        // SAFETY: null, or a list of a live packet.
        let list = unsafe { next.as_ref() }?;
        // SAFETY: as above.
        let buffer = unsafe { mdl::system_buffer(next) };
        next = list.Next;
        Some(buffer)
    })
}
