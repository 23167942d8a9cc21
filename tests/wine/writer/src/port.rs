//! How requests reach the device. One port belongs to one thread; it has a fixed number of slots, each
//! with a buffer of its own, so that several requests are under way at once.
//!
//! Upholds: a slot's buffer is not touched between its submission and its completion.

use std::io;

use crate::extent::Extent;

mod file;
#[cfg(windows)]
mod windows;

pub use file::FilePort;
#[cfg(windows)]
pub use windows::DevicePort;

/// One of a port's slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Slot(pub usize);

/// The answer to one request.
#[derive(Debug)]
pub struct Completion {
    /// The request's slot, free again.
    pub slot: Slot,
    /// Bytes transferred, or why not.
    pub result: io::Result<usize>,
}

/// A handle to the device with requests under way.
pub trait Port {
    /// How many requests may be under way.
    fn slots(&self) -> usize;
    /// The buffer of a slot without a request under way.
    fn buffer(&mut self, slot: Slot) -> &mut [u8];
    /// Begins writing the slot's buffer to `extent`.
    fn write(&mut self, slot: Slot, extent: Extent) -> io::Result<()>;
    /// Begins reading `extent` into the slot's buffer.
    fn read(&mut self, slot: Slot, extent: Extent) -> io::Result<()>;
    /// Waits for the next request to finish. At least one must be under way.
    fn wait(&mut self) -> io::Result<Completion>;
    /// Flushes the volume.
    fn flush(&mut self) -> io::Result<()>;
}
