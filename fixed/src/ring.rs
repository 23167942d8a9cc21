//! A ring through the indexes below a fixed number: in order, each at most once.
//!
//! Every verb takes the same few steps however many there are, and allocates nothing (rule BOUND,
//! rules.md#bound).

use alloc::boxed::Box;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// An index's neighbours; its own index twice if it is not in the ring. For the head: the ring's
/// last and first index.
#[derive(Clone, Copy, Debug)]
struct Links {
    previous: u32,
    next: u32,
}

/// The ring.
#[derive(Debug)]
pub struct Ring {
    /// The links of each index, and after them those of the head.
    links: Box<[Links]>,
    head: u32,
    len: u64,
}

impl Ring {
    /// An empty ring for the indexes below `count`.
    pub fn new(count: u32) -> Result<Self, OutOfMemory> {
        let mut indexes = 0..=count;
        let links = boxed_slice(u64::from(count) + 1, || {
            let index = indexes.next().ok_or(OutOfMemory)?;
            Ok(Links { previous: index, next: index })
        })?;
        Ok(Self { links, head: count, len: 0 })
    }

    /// Bytes that a ring for the indexes below `count` allocates.
    pub fn bytes(count: u32) -> u64 {
        slice_bytes::<Links>(u64::from(count) + 1)
    }

    /// Number of indexes in the ring.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// True if no index is in the ring.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True if this index is in the ring.
    #[inline]
    pub fn contains(&self, index: u32) -> bool {
        self.next_of(index) != index
    }

    /// Appends an index that is not in the ring.
    pub fn append(&mut self, index: u32) {
        self.insert(self.previous_of(self.head), index, self.head);
    }

    /// Puts an index that is not in the ring before all others.
    pub fn prepend(&mut self, index: u32) {
        self.insert(self.head, index, self.next_of(self.head));
    }

    /// Removes an index, if it is in the ring.
    pub fn remove(&mut self, index: u32) {
        if !self.contains(index) {
            return;
        }
        self.join(self.previous_of(index), self.next_of(index));
        if let Some(links) = self.links.get_mut(index as usize) {
            *links = Links { previous: index, next: index };
        }
        self.len -= 1;
    }

    /// The first index.
    #[inline]
    pub fn first(&self) -> Option<u32> {
        self.after(self.head)
    }

    /// The indexes in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        core::iter::successors(self.first(), |&index| self.after(index))
    }

    #[inline]
    fn after(&self, index: u32) -> Option<u32> {
        let next = self.next_of(index);
        (next != self.head).then_some(next)
    }

    #[inline]
    fn next_of(&self, index: u32) -> u32 {
        self.links.get(index as usize).map_or(self.head, |links| links.next)
    }

    fn previous_of(&self, index: u32) -> u32 {
        self.links.get(index as usize).map_or(self.head, |links| links.previous)
    }

    fn insert(&mut self, previous: u32, index: u32, next: u32) {
        self.join(previous, index);
        self.join(index, next);
        self.len += 1;
    }

    fn join(&mut self, previous: u32, next: u32) {
        if let Some(links) = self.links.get_mut(previous as usize) {
            links.next = next;
        }
        if let Some(links) = self.links.get_mut(next as usize) {
            links.previous = previous;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn indexes_keep_their_order_and_leave_from_anywhere() {
        let mut ring = Ring::new(4).unwrap();
        assert_eq!((ring.first(), ring.contains(0)), (None, false));
        for index in [2, 0] {
            ring.append(index);
        }
        ring.prepend(3);
        assert_eq!(ring.iter().collect::<Vec<_>>(), [3, 2, 0]);
        ring.remove(2);
        ring.remove(2);
        assert!(!ring.contains(2) && ring.contains(0));
        ring.append(2);
        ring.remove(3);
        assert_eq!((ring.iter().collect::<Vec<_>>(), ring.len()), (Vec::from([0, 2]), 2));
    }
}
