//! The entries that were opened last, in a repository that is compressed or encrypted.
//!
//! A part of a sealed entry cannot be read: the entry is opened as a whole, and parts that are
//! asked for soon after are found here.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::runs::Entry;
use crate::error::Result;

/// The entries that are kept have at most so many bytes, or there is one.
const CACHE_BYTES: usize = 64 << 20;

/// Entries that were opened, the last one at the end.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Protects them.
    entries: Mutex<VecDeque<(Entry, Arc<Vec<u8>>)>>,
}

impl Opened {
    /// The payload of an entry; `open` opens it if it is not here.
    pub(super) fn payload(
        &self,
        entry: &Entry,
        open: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Arc<Vec<u8>>> {
        // Every change is whole after each call: a panic leaves entries and their payloads.
        let lock = || self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = lock();
        if let Some(found) = entries.iter().position(|(known, _)| known == entry)
            && let Some((known, payload)) = entries.remove(found)
        {
            entries.push_back((known, Arc::clone(&payload)));
            return Ok(payload);
        }
        drop(entries);
        // Others read on meanwhile.
        let payload = Arc::new(open()?);
        let mut entries = lock();
        entries.push_back((*entry, Arc::clone(&payload)));
        let mut bytes: usize = entries.iter().map(|(_, payload)| payload.len()).sum();
        while bytes > CACHE_BYTES
            && entries.len() > 1
            && let Some((_, oldest)) = entries.pop_front()
        {
            bytes -= oldest.len();
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::format::segment::SegmentNumber;

    fn entry(offset: u64) -> Entry {
        Entry { segment: SegmentNumber::FIRST, offset }
    }

    #[test]
    fn the_last_entries_stay_within_the_limit() {
        let opened = Opened::default();
        let third = CACHE_BYTES / 3;
        let is_kept = |offset: u64| {
            let found = opened.payload(&entry(offset), || Err(Error::Stopped));
            found.inspect(|payload| assert_eq!(payload.len(), third)).is_ok()
        };
        for offset in 0..3 {
            opened.payload(&entry(offset), || Ok(vec![0; third])).unwrap();
        }
        assert!(is_kept(1) && is_kept(2) && is_kept(0));
        opened.payload(&entry(3), || Ok(vec![0; third])).unwrap();
        // 1 was asked for longest ago.
        assert!(!is_kept(1));
        assert!(is_kept(0) && is_kept(2) && is_kept(3));
        opened.payload(&entry(4), || Ok(vec![0; 2 * CACHE_BYTES])).unwrap();
        assert!(!is_kept(3));
        assert!(opened.payload(&entry(4), || Err(Error::Stopped)).is_ok(), "one may be longer");
    }
}
