//! Writes that wait for a slot, in order of arrival.
//!
//! They have no memory of ours: there may be any number of them (rule BOUND, rules.md#bound). The
//! host chains them through what it has of each write. They wait only while no slot is free, so a
//! write that arrives later finds none either and waits behind them (rule ORDER, rules.md#order).

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
/// kernel.
pub trait Fifo<W>: Default {
    /// Appends a write.
    fn push(&mut self, waiter: Waiter<W>);

    /// Takes the oldest write.
    fn pop(&mut self) -> Option<Waiter<W>>;

    /// Takes the oldest write that `is_it` accepts.
    fn take(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W>;
}

/// For hosts whose writes have no memory to be chained through. It allocates.
impl<W> Fifo<W> for VecDeque<Waiter<W>> {
    fn push(&mut self, waiter: Waiter<W>) {
        self.push_back(waiter);
    }

    fn pop(&mut self) -> Option<Waiter<W>> {
        self.pop_front()
    }

    fn take(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let index = self.iter().position(|waiter| is_it(&waiter.write))?;
        self.remove(index).map(|waiter| waiter.write)
    }
}
