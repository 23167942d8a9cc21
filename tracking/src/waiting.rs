//! The host's part in held writes: the chain of those that wait for a slot, and what a write is
//! found by that is to be cancelled.
//!
//! Writes that wait for a slot have no memory of ours: there may be any number of them (rule BOUND,
//! rules.md#bound). The host chains them through what it has of each write. They wait only while no
//! slot is free, so a write that arrives later finds none either and waits behind them (rule ORDER,
//! rules.md#order).

use alloc::collections::VecDeque;

use snapless_types::{Extent, RecordKind, Tick};

/// A write that waits for a slot.
#[derive(Debug)]
pub struct Waiter<W> {
    /// The write.
    pub write: W,
    /// The record that it becomes.
    pub kind: RecordKind,
    /// Its bytes.
    pub extent: Extent,
    /// When it arrived.
    pub since: Tick,
}

/// A queue of waiting writes. Called under the session's lock: must neither block nor allocate in a
/// kernel, and takes a few steps however many writes there are.
pub trait Fifo<W>: Default {
    /// What a held write is found by.
    type Key;

    /// Makes a write cancellable that is about to be held; false if it has been cancelled before.
    fn prepare(&self, _write: &mut W, _extent: &Extent) -> bool {
        true
    }

    /// The bytes of the write with this key, which was prepared.
    fn extent(&self, key: &Self::Key) -> Extent;

    /// True if this is the write with this key.
    fn is(&self, write: &W, key: &Self::Key) -> bool;

    /// Appends a write.
    fn push(&mut self, waiter: Waiter<W>);

    /// Takes the oldest write.
    fn pop(&mut self) -> Option<Waiter<W>>;

    /// Takes the write with this key; `None` if it is not here.
    fn take(&mut self, key: &Self::Key) -> Option<W>;
}

/// For hosts whose writes have no memory to be chained through. It allocates, and searches.
impl<W: PartialEq> Fifo<W> for VecDeque<Waiter<W>> {
    type Key = (W, Extent);

    fn extent(&self, (_, extent): &Self::Key) -> Extent {
        *extent
    }

    fn is(&self, write: &W, (key, _): &Self::Key) -> bool {
        write == key
    }

    fn push(&mut self, waiter: Waiter<W>) {
        self.push_back(waiter);
    }

    fn pop(&mut self) -> Option<Waiter<W>> {
        self.pop_front()
    }

    fn take(&mut self, (key, _): &Self::Key) -> Option<W> {
        let index = self.iter().position(|waiter| waiter.write == *key)?;
        self.remove(index).map(|waiter| waiter.write)
    }
}
