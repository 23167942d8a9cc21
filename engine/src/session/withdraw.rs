//! What becomes of a held write that its application takes back.
//!
//! Nothing was done for the write but to read t0's content of its blocks, which the sweep would have read anyway: so it
//! leaves without a trace. Rule LOSS is not touched, since nobody is told that it succeeded; rule ORDER neither, since it
//! is in no stream and on no disk.

use super::Core;
use crate::writes::SlotId;

impl<W> Core<'_, W> {
    pub(super) fn withdraw(&mut self, is_it: impl Fn(&W) -> bool) -> Option<W> {
        let slot = self.held_that(is_it)?;
        let (write, _) = self.state.writes.release(slot)?;
        // Its slot is free at once: nothing of it went below.
        let landed = self.state.writes.land(slot);
        rule!(landed.is_some(), "BOUND: a write that was taken back leaves no slot behind");
        // Those that it overlapped may go, and a gap that waited for it to leave may be over.
        self.wake_waiting();
        Some(write)
    }

    fn held_that(&self, is_it: impl Fn(&W) -> bool) -> Option<SlotId> {
        let writes = &self.state.writes;
        let mut held = writes.held().map(|held| held.slot);
        held.find(|&slot| writes.held_write(slot).is_some_and(&is_it))
    }
}
