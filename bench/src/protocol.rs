//! The commands and answers of the control channel: one line of JSON each.
//!
//! ```text
//! {"command":"start","volume":"v","session":{"sink":{"null":{"digest":true}}}}
//! {"command":"status","volume":"v"}
//! {"command":"verify","volume":"v"}
//! {"command":"stop","volume":"v"}
//! {"command":"statistics"}
//! {"command":"quit"}
//! ```

use serde::{Deserialize, Serialize};
use snapless_engine::Status;
use snapless_types::session_counters;

use crate::spec::SessionSpec;

/// A command.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Start a session.
    Start {
        /// The volume.
        volume: String,
        /// Limits and sink.
        session: SessionSpec,
    },
    /// Return the state of a session.
    Status {
        /// The volume.
        volume: String,
    },
    /// Compare the stream with the file. No client may write meanwhile.
    Verify {
        /// The volume.
        volume: String,
    },
    /// Stop a session.
    Stop {
        /// The volume.
        volume: String,
    },
    /// Return the counters of all volumes.
    Statistics,
    /// End the host.
    Quit,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Done.
    Done,
    /// The session has begun.
    Started(Started),
    /// The state of the session.
    Status(Box<Report>),
    /// The result of a comparison.
    Compared(Comparison),
    /// The counters of all volumes.
    Statistics(Vec<Served>),
    /// Failed.
    Error(String),
}

/// Declares [`Report`] with a field for each counter.
macro_rules! report {
    ($($(#[$doc:meta])* $name:ident: $group:ident, $text:literal;)*) => {
        /// A session's state.
        #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
        #[allow(missing_docs, reason = "the fields are those of the engine's status")]
        pub struct Report {
            pub phase: String,
            pub consistent: bool,
            pub base_complete: bool,
            pub hold_longest_us: u64,
            pub hold_buckets: Vec<u64>,
            pub last_seq: u64,
            pub acknowledged_seq: u64,
            /// The last record that the sink has processed.
            pub sink_seq: u64,
            /// The sink has failed.
            pub sink_failed: bool,
            pub log: LogReport,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Report {
            /// The state of a session and its sink.
            pub fn new(status: &Status, sink_seq: u64, sink_failed: bool) -> Self {
                Self {
                    phase: format!("{:?}", status.phase).to_lowercase(),
                    consistent: status.consistent,
                    base_complete: status.base_complete,
                    hold_longest_us: status.holds.longest_us,
                    hold_buckets: status.holds.buckets.to_vec(),
                    last_seq: status.last_seq,
                    acknowledged_seq: status.acknowledged_seq,
                    sink_seq,
                    sink_failed,
                    log: LogReport::default(),
                    $($name: status.$name,)*
                }
            }
        }
    };
}
session_counters!(report);

impl Report {
    /// True if every block was captured once and the sink has processed all records.
    pub fn is_drained(&self) -> bool {
        self.base_complete && self.sink_seq >= self.last_seq
    }
}

/// A volume's write-intent log; zeros without one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LogReport {
    /// A slot is live.
    pub is_live: bool,
    /// Slots written.
    pub slots: u64,
    /// Writes that have waited for a slot.
    pub waits: u64,
    /// Regions that the newest slot has.
    pub marked: u64,
}

/// Counters of a volume.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the volume's statistics")]
pub struct Served {
    pub volume: String,
    pub length: u64,
    pub reads: u64,
    pub read_bytes: u64,
    pub writes: u64,
    pub write_bytes: u64,
    pub flushes: u64,
    pub errors: u64,
    pub connections: u64,
}

/// Time and memory of a session's start.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Started {
    /// Microseconds until all memory was allocated.
    pub allocate_us: u64,
    /// Microseconds until t0, allocation included.
    pub t0_us: u64,
    /// Bytes of memory of engine and queue.
    pub memory: u64,
}

/// The result of a comparison of stream and file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// Sectors compared.
    pub sectors: u64,
    /// Sectors that differ, or that no record covers.
    pub different: u64,
    /// The first of those.
    pub first_different: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SinkSpec;

    #[test]
    fn the_documented_commands_are_parsed() {
        let line =
            r#"{"command":"start","volume":"v","session":{"sink":{"null":{"digest":true}}}}"#;
        let Command::Start { volume, session } = serde_json::from_str(line).unwrap() else {
            panic!("it is a start")
        };
        assert_eq!((volume.as_str(), session.queue_mib), ("v", 64));
        assert_eq!(session.sink, SinkSpec::Null { digest: true });
        for line in [r#"{"command":"quit"}"#, r#"{"command":"statistics"}"#] {
            assert!(serde_json::from_str::<Command>(line).is_ok());
        }
        assert!(serde_json::from_str::<Command>(r#"{"command":"dance"}"#).is_err());
    }
}
