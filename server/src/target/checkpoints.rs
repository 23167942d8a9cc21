//! Checkpoints of a restore: now and then the target is synced, and noted how much of the image is
//! on the disk.
//!
//! A thread does so while the restore goes on. It is asked again when it is done with the last one,
//! so that a slow disk has fewer checkpoints and no longer restore.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use super::control::Control;
use crate::error::{Error, Result};

/// Bytes of the volume between checkpoints, at least.
pub const CHECKPOINT_BYTES: u64 = 64 << 20;

/// The checkpoints of one restore.
#[derive(Debug)]
pub(super) struct Checkpoints {
    to: SyncSender<u64>,
    thread: Option<JoinHandle<Result<()>>>,
    noted: Arc<AtomicU64>,
    /// Up to where a checkpoint was asked for.
    asked: u64,
}

impl Checkpoints {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub(super) fn start(control: Control) -> Result<Self> {
        let asked = control.done();
        let (to, from) = sync_channel(1);
        let noted = Arc::new(AtomicU64::new(asked));
        let tell = Arc::clone(&noted);
        let run = move || run(control, &from, &tell);
        let thread = thread::Builder::new().spawn(run).map_err(Error::Thread)?;
        Ok(Self { to, thread: Some(thread), noted, asked })
    }

    /// All of the image before `done` was written.
    ///
    /// # Errors
    /// A sync before this has failed.
    pub(super) fn reached(&mut self, done: u64) -> Result<()> {
        if done.saturating_sub(self.asked) < CHECKPOINT_BYTES {
            return Ok(());
        }
        match self.to.try_send(done) {
            Ok(()) => self.asked = done,
            Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => self.thread.take().map_or(Ok(()), joined)?,
        }
        Ok(())
    }

    /// Waits for the last checkpoint; returns how much of the image is noted.
    ///
    /// # Errors
    /// With how much is noted, why a sync failed.
    pub(super) fn end(self) -> (u64, Result<()>) {
        let Self { to, thread, noted, .. } = self;
        drop(to);
        let ended = thread.map_or(Ok(()), joined);
        // Relaxed: the thread has ended.
        (noted.load(Ordering::Relaxed), ended)
    }
}

fn run(mut control: Control, from: &Receiver<u64>, noted: &AtomicU64) -> Result<()> {
    for done in from {
        control.check(done)?;
        // Relaxed: who reads it joins this thread first.
        noted.store(control.done(), Ordering::Relaxed);
    }
    Ok(())
}

fn joined(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread.join().unwrap_or(Ok(()))
}
