//! A port over an ordinary file or block device: each request is done when it is submitted. It lets the
//! rest of the writer run and be tested on any system.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{Completion, Port, Slot};
use crate::extent::Extent;
use crate::plan::REQUEST_MAX;

/// A file with as many buffers as slots.
#[derive(Debug)]
pub struct FilePort {
    file: File,
    buffers: Vec<Vec<u8>>,
    done: VecDeque<Completion>,
}

impl FilePort {
    /// Takes a file that is open for reading and writing.
    pub fn new(file: File, slots: usize) -> Self {
        let len = usize::try_from(REQUEST_MAX).expect("a request fits in memory");
        Self { file, buffers: vec![vec![0; len]; slots], done: VecDeque::new() }
    }

    fn seek(&mut self, extent: Extent) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(extent.offset())).map(|_| ())
    }
}

impl Port for FilePort {
    fn slots(&self) -> usize {
        self.buffers.len()
    }

    fn buffer(&mut self, slot: Slot) -> &mut [u8] {
        &mut self.buffers[slot.0]
    }

    fn write(&mut self, slot: Slot, extent: Extent) -> io::Result<()> {
        let size = extent.size();
        let done = self.seek(extent);
        let done = done.and_then(|()| self.file.write_all(&self.buffers[slot.0][..size]));
        self.done.push_back(Completion { slot, result: done.map(|()| size) });
        Ok(())
    }

    fn read(&mut self, slot: Slot, extent: Extent) -> io::Result<()> {
        let size = extent.size();
        let done = self.seek(extent);
        let done = done.and_then(|()| self.file.read_exact(&mut self.buffers[slot.0][..size]));
        self.done.push_back(Completion { slot, result: done.map(|()| size) });
        Ok(())
    }

    fn wait(&mut self) -> io::Result<Completion> {
        self.done.pop_front().ok_or_else(|| io::Error::other("no request is under way"))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}
