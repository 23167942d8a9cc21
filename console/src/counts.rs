//! How many there are at once, in all and of one key: connections of an address, streams of a
//! session.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// In all.
    pub(crate) all: usize,
    /// Of one key.
    pub(crate) of_one: usize,
}

/// The counter.
#[derive(Clone, Debug)]
pub(crate) struct Counts<K> {
    limits: Limits,
    /// Protects the counts, none of which is 0.
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

/// One that is counted; dropping it takes it out.
#[derive(Debug)]
pub(crate) struct Counted<K: Eq + Hash> {
    counts: Counts<K>,
    of: K,
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// A counter of none.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, counts: Arc::default() }
    }

    /// Counts one more; `None` if that were too many.
    pub(crate) fn add(&self, of: K) -> Option<Counted<K>> {
        let mut counts = self.lock();
        let of_one = counts.get(&of).copied().unwrap_or_default();
        if of_one >= self.limits.of_one || counts.values().sum::<usize>() >= self.limits.all {
            return None;
        }
        counts.insert(of.clone(), of_one + 1);
        drop(counts);
        Some(Counted { counts: self.clone(), of })
    }
}

impl<K> Counts<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        // Every change is one call: a panic leaves no half-made one.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_counted_until_they_end() {
        let limits = Limits { all: 256, of_one: 8 };
        let streams = Counts::new(limits);
        let of_one = || streams.add("alice".to_owned());
        let held: Vec<_> = (0..limits.of_one).map(|_| of_one().unwrap()).collect();
        assert!(of_one().is_none());
        assert!(streams.add("bob".to_owned()).is_some());
        drop(held);
        assert!(of_one().is_some());
        assert!(streams.lock().is_empty());
    }

    #[test]
    fn there_are_so_many_in_all_whoever_has_them() {
        let counts = Counts::new(Limits { all: 3, of_one: 2 });
        let held: Vec<_> = (0..3).map(|of| counts.add(of).unwrap()).collect();
        assert!(counts.add(3).is_none() && counts.add(0).is_none());
        drop(held);
        assert!(counts.add(3).is_some());
    }
}
