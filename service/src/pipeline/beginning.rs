//! How a claimed session begins to stream, and what the event log says of it.

use snapless_types::GapReason;

use crate::event::Event;
use crate::session::{Claim, Reason};

/// How a claimed session begins to stream.
pub(super) enum Beginning {
    /// It is new.
    New,
    /// The driver's session goes on.
    Resumed {
        /// Without a gap.
        has_all: bool,
        /// The service remembers it.
        is_known: bool,
    },
    /// It continues one whose state was saved when the machine went down, or that had a
    /// write-intent log when it crashed.
    CaughtUp {
        /// Bytes that the server may lack.
        bytes: u64,
        /// The machine has crashed.
        after_crash: bool,
    },
    /// It continues one of which the driver had nothing.
    Verified {
        /// Why, as its first record says.
        why: Option<GapReason>,
        /// What contradicted the server.
        diverged: Option<Reason>,
        /// Bytes of the volume.
        length: u64,
    },
}

impl Beginning {
    /// The event that reports it, and its text.
    pub(super) fn told(&self, claim: &Claim, server: &str) -> (Event, String) {
        let session = claim.session;
        let how = |has_all| {
            let gap = "with a gap: the driver has not kept all that the server lacks";
            if has_all { "without a gap" } else { gap }
        };
        match *self {
            Self::New => {
                (Event::SessionStarted, format!("session {session} has begun, server {server}"))
            }
            Self::Resumed { has_all, is_known: true } => {
                (Event::SessionResumed, format!("session {session} continues {}", how(has_all)))
            }
            Self::Resumed { has_all, is_known: false } => {
                let text = format!(
                    "session {session} continues {}; the driver has it, although the service did \
                     not remember it",
                    how(has_all)
                );
                (Event::SessionFound, text)
            }
            Self::CaughtUp { bytes, after_crash } => {
                let (event, how) = if after_crash {
                    (Event::SessionCaughtUpAfterCrash, "a crash")
                } else {
                    (Event::SessionCaughtUp, "an orderly restart")
                };
                let text = format!(
                    "session {session} continues after {how}: {bytes} bytes that the server may \
                     lack are read and compared, and what differs is sent"
                );
                (event, text)
            }
            Self::Verified { why, diverged, length } => {
                let why = why.map_or("of a newer driver's", GapReason::text);
                let detail = diverged.map(|reason| format!(" ({reason})")).unwrap_or_default();
                let blocks = claim.geometry.block_count();
                let text = format!(
                    "session {session} continues: {why}{detail}; all {blocks} blocks, {length} \
                     bytes, are read and compared with the server's content, and what differs is \
                     sent"
                );
                (Event::SessionVerified, text)
            }
        }
    }
}
