//! The driver's trace events of a run, as the rig recorded them.

use std::collections::BTreeMap;

use protocol::traces;

use crate::error::E2eError;
use crate::run_folder::{RunFolder, read_if_there};

/// Numbers of `GapBegan` events, as `docs/protocol.md` lists them.
pub mod gap_reason {
    /// The queue stayed full past the hold limit.
    pub const QUEUE_FULL: &str = "1";
    /// No service drained the session.
    pub const SERVICE_LOST: &str = "3";
    /// The data of a write could not be mapped.
    pub const PAYLOAD_UNAVAILABLE: &str = "4";
    /// The disk failed to read a block that a held write waited for.
    pub const READ_FAILED: &str = "8";
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Its name.
    pub name: String,
    fields: BTreeMap<String, String>,
}

impl Trace {
    /// A field, or its level.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Reads all events of the run in this folder, the first one first.
    pub fn read(folder: &RunFolder) -> Result<Vec<Self>, E2eError> {
        let log = folder.prefix.join(traces::LOG_IN_PREFIX);
        Ok(read_if_there(&log)?.lines().map(Self::of).collect())
    }

    fn of(line: &str) -> Self {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let pair = |word: &str| {
            word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        };
        Self { name, fields: words.filter_map(pair).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_name_and_its_fields() {
        let trace = Trace::of("GapBegan level=3 session=0a reason=queue-full");
        assert_eq!((trace.name.as_str(), trace.field("reason")), ("GapBegan", "queue-full"));
        assert_eq!((trace.field("level"), trace.field("other")), ("3", ""));
    }
}
