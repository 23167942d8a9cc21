//! How many sessions of a server have their content open: to be compared with what services have
//! read, and as many to be restored over the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sessions at a time whose content is open: the map of each takes up to some 100 MiB a TiB.
const OPEN_MAX: usize = 4;

/// The sessions of a server whose content is open.
#[derive(Clone, Debug, Default)]
pub struct Openings(Arc<AtomicUsize>);

/// One of those, until it is dropped.
#[derive(Debug)]
pub(crate) struct Opening(Openings);

impl Openings {
    /// One more; `None` if there are as many as may be.
    pub(crate) fn take(&self) -> Option<Opening> {
        // Relaxed: a count alone.
        let more = |open| (open < OPEN_MAX).then_some(open + 1);
        let taken = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.is_ok().then(|| Opening(self.clone()))
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_the_content_of_few_sessions_open() {
        let openings = Openings::default();
        let mut open: Vec<_> = (0..OPEN_MAX).map(|_| openings.take().unwrap()).collect();
        assert!(openings.take().is_none());
        open.pop();
        assert!(openings.take().is_some());
        drop(open);
        assert_eq!(openings.0.load(Ordering::Relaxed), 0);
    }
}
