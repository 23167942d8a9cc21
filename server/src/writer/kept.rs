//! When the state of a stream's rules is kept, so that a Hello reads only what comes after it.

use std::path::Path;

use snapless_wire::record::RECORD_HEADER_LEN;

use crate::error::Result;
use crate::format::acknowledged::Acknowledged;
use crate::format::session::SessionHeader;
use crate::format::state::{
    self, Checkpoint, Entry, STATE_FILE, STATE_LEN_MAX, STATE_SEAL_LEN_MAX,
};
use crate::seal::SessionSeal;
use crate::storage::Store;
use crate::stream::StreamState;

/// The state is kept again after so many bytes,
const KEEP_AFTER_BYTES: u64 = 64 << 20;
/// or after so many records: a Hello reads their headers in less than a second.
pub(super) const KEEP_AFTER_RECORDS: u64 = 32 << 10;
/// A state that is long is kept again after so many times its own length.
const KEEP_AFTER_LENGTHS: u64 = 16;

/// The state that was kept last, and what came after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Kept {
    /// Records of the stream up to it.
    records: u64,
    /// Bytes of its file.
    len: u64,
    /// Bytes that were appended since.
    appended: u64,
}

impl Kept {
    /// A state after so many records is kept already.
    pub(super) fn new(records: u64) -> Self {
        Self { records, ..Self::default() }
    }

    /// Notes that so many bytes were appended.
    pub(super) fn appended(&mut self, len: u64) {
        self.appended += len;
    }

    /// True if anything was appended since.
    pub(super) fn has_appended(&self) -> bool {
        self.appended > 0
    }

    /// True if so much was appended since that a Hello would take long.
    pub(super) fn is_due(&self, state: &StreamState) -> bool {
        let records = state.timeline().records() - self.records;
        self.appended >= KEEP_AFTER_BYTES.max(self.len.saturating_mul(KEEP_AFTER_LENGTHS))
            || records >= KEEP_AFTER_RECORDS.max(self.len / RECORD_HEADER_LEN as u64)
    }

    /// Keeps the state, if it is that at the acknowledged end, which is behind `last_entry`. A
    /// failure is logged and changes nothing.
    pub(super) fn keep(
        &mut self,
        (store, dir): (&Store, &Path),
        (header, seal): (&SessionHeader, &SessionSeal),
        acknowledged: &Acknowledged,
        last_entry: Option<Entry>,
        state: &StreamState,
    ) {
        let is_at_end = state.last().is_some_and(|last| last.seq == acknowledged.seq)
            && state.ended_epoch() == acknowledged.epoch;
        let Some(entry) = last_entry.filter(|_| is_at_end) else { return };
        let bytes = Checkpoint::at(acknowledged, entry).to_bytes(header, state);
        let len = bytes.len() as u64;
        let write = |bytes| -> Result<()> {
            let bytes = state::sealed(bytes, &seal.state()?)?;
            store.create_durably(&dir.join(STATE_FILE), &bytes)
        };
        if len + STATE_SEAL_LEN_MAX <= STATE_LEN_MAX
            && let Err(error) = write(bytes)
        {
            log::warn!("the next connection reads more of the stream: {error}");
        }
        // Also after a failure: the next attempt is as far away.
        *self = Self { records: state.timeline().records(), len, appended: 0 };
    }
}
