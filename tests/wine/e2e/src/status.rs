//! The session's status as `snapless status --json` reports it.

use protocol::names::SECOND_DEVICE;
use serde::{Deserialize, Serialize};
use snapless_types::session_counters;

use crate::error::E2eError;

/// Declares [`Status`] with a field for each counter.
macro_rules! status {
    ($($(#[$doc:meta])* $name:ident: $group:ident, $text:literal;)*) => {
        /// A session's state and its counters.
        #[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
        pub struct Status {
            /// The session's identity.
            pub session: String,
            /// The device of its volume.
            #[serde(default)]
            pub device: String,
            /// `starting`, `first_sync`, `live`, `gap`, `resync`, `detached` or `failed`.
            pub phase: String,
            /// The session's t0 in units of 100 ns since 1601; `None` while starting.
            pub t0_filetime: Option<u64>,
            /// Bytes of a block.
            pub block_size: u64,
            /// Last record of the stream.
            pub last_seq: u64,
            /// Last record of the newest acknowledged epoch.
            pub acknowledged_seq: u64,
            /// Longest hold so far, in microseconds.
            pub hold_longest_us: u64,
            /// The median hold in microseconds; `None` if no write was held.
            pub hold_median_us: Option<u64>,
            /// Bytes synced per second, while blocks are being synced.
            pub rate_bytes_per_second: Option<f64>,
            /// Seconds left at this rate.
            pub seconds_left: Option<u64>,
            /// The volume has grown past the session's table.
            pub outgrown: bool,
            /// The volume has become shorter than the session's table.
            pub shrunk: bool,
            /// Special files on the volume.
            pub special_files: Vec<String>,
            /// What the session continues with; `None` if every block was read.
            pub saved: Option<Saved>,
            /// How the volume's write-intent log stands: `off`, `void`, `live` or another.
            #[serde(default)]
            pub log: String,
            /// Slots of it that were written.
            #[serde(default)]
            pub log_slots: u64,
            /// Requests that waited for it.
            #[serde(default)]
            pub log_waits: u64,
            /// The longest time that one waited, in microseconds.
            #[serde(default)]
            pub log_longest_us: u64,
            /// The service's own counters; `None` while it does not serve the session.
            pub service: Option<Service>,
            $($(#[$doc])* pub $name: u64,)*
        }
    };
}
session_counters!(status);

/// A state that was saved when the machine went down, or that the log had.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Saved {
    /// Bytes that were read.
    pub bytes: u64,
    /// After a crash.
    #[serde(default)]
    pub after_crash: bool,
}

/// What the service has done since it started.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Service {
    /// Bytes sent to the server, with headers.
    pub bytes_sent: u64,
    /// Bytes that were not sent, as the server had them.
    #[serde(default)]
    pub bytes_unchanged: u64,
    /// Connections to the server.
    pub connections: u64,
    /// Why its last attempt to serve the session ended.
    pub last_error: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    sessions: Vec<Status>,
}

impl Status {
    /// Reads the answer of `snapless status --json`; `None` if there is no session.
    ///
    /// # Errors
    /// The answer is malformed, or has more than one session.
    pub fn parse(said: &str) -> Result<Option<Self>, E2eError> {
        let wrong = |why: String| E2eError::said("snapless status --json", said, why);
        let parsed = serde_json::from_str(said);
        let answer: Answer = parsed.map_err(|error| wrong(error.to_string()))?;
        // The agent's own session on the volume that hangs.
        let is_other = |status: &Self| status.device == SECOND_DEVICE;
        let mut sessions = answer.sessions.into_iter().filter(|status| !is_other(status));
        match (sessions.next(), sessions.next()) {
            (session, None) => Ok(session),
            (_, Some(_)) => Err(wrong(String::from("one session at most was expected"))),
        }
    }

    /// The interruption of protection, if there was one.
    pub fn interruption(&self) -> Option<String> {
        let told = self.service.as_ref().and_then(|service| service.last_error.clone());
        let smooth = matches!(self.phase.as_str(), "starting" | "first_sync" | "live");
        match told {
            Some(error) => Some(error),
            None if !smooth => Some(format!("the session is in phase {}", self.phase)),
            None if self.gaps > 0 => Some(format!("there were {} gaps", self.gaps)),
            None if self.writes_uncaptured > 0 => {
                Some(format!("{} writes went through uncaptured", self.writes_uncaptured))
            }
            None => None,
        }
    }

    /// One line of progress.
    pub fn line(&self) -> String {
        let rate = self.rate_bytes_per_second.map_or(String::new(), |rate| {
            format!(", {:.1} MB/s, {} s left", rate / 1e6, self.seconds_left.unwrap_or_default())
        });
        format!(
            "{}: {}/{} blocks synced, {} writes held ({} now){rate}",
            self.phase.replace('_', " "),
            self.blocks_synced,
            self.blocks_total,
            self.writes_held,
            self.writes_holding,
        )
    }
}

/// Millions of bytes, for people.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn status() -> Status {
        Status {
            session: "s".into(),
            phase: "first_sync".into(),
            block_size: 1_000_000,
            blocks_total: 100,
            blocks_synced: 40,
            writes_held: 4,
            writes_holding: 2,
            rate_bytes_per_second: Some(10e6),
            seconds_left: Some(6),
            ..Status::default()
        }
    }

    #[test]
    fn one_session_or_none_is_read_and_anything_else_refused() {
        assert_eq!(Status::parse(r#"{"sessions":[]}"#).unwrap(), None);
        let one = serde_json::to_string(&status()).unwrap();
        let status = Status::parse(&format!("{{\"sessions\":[{one}]}}")).unwrap().unwrap();
        assert_eq!(status, self::status());
        assert!(Status::parse(&format!("{{\"sessions\":[{one},{one}]}}")).is_err());
        assert!(Status::parse("").is_err());
    }

    #[test]
    fn a_line_has_progress_rate_and_time_left() {
        let want = "first sync: 40/100 blocks synced, 4 writes held (2 now), 10.0 MB/s, 6 s left";
        assert_eq!(status().line(), want);
    }
}
