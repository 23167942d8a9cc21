//! The status of a session: its state and counters at one instant.

use snapless_types::{GapReason, HoldTimes, SessionCounters, Tick, session_counters};

use crate::lifecycle::Phase;

/// Declares [`Status`] with a field for each counter.
macro_rules! status {
    ($($(#[$doc:meta])* $name:ident: $group:ident, $text:literal;)*) => {
        /// A session's state at one instant, and its counters since it was made.
        // Each flag is independent of the others.
        #[allow(clippy::struct_excessive_bools)]
        #[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
        pub struct Status {
            /// Where it stands.
            pub phase: Phase,
            /// False while no service drains it.
            pub attached: bool,
            /// True while the sweep is paused.
            pub paused: bool,
            /// True while the copy is being verified.
            pub verifying: bool,
            /// True if the volume's length has changed: the gap does not end before the session is
            /// started again, as one that continues.
            pub resized: bool,
            /// True if the stream describes the volume: no gap is open.
            pub consistent: bool,
            /// True while blocks of a service that is lost still turn dirty: until then nothing is
            /// captured.
            pub losing: bool,
            /// True once every block has been captured as it was at t0.
            pub base_complete: bool,
            /// The session continues one of an earlier start: every block is compared.
            pub continues: bool,
            /// The numbers of its records are known: a service has said where its stream stands.
            pub placed: bool,
            /// Why the gap that is open began; if none is, why the last one did.
            pub gap_reason: Option<GapReason>,
            /// How long writes were held.
            pub holds: HoldTimes,
            /// The host's clock at t0, or when a session that continues began to; 0 before.
            pub t0: u64,
            /// Bytes of queue memory that only writes in flight use, whose records have left.
            pub queue_with_disk: u64,
            /// Number of the last record; until the session is placed, counted from its first one.
            pub last_seq: u64,
            /// The host's clock, read before the rest was looked at: what is not in the stream up
            /// to `last_seq` was not captured then.
            pub time: u64,
            /// The same in monotonic time. No later record has an earlier one.
            pub monotonic: Tick,
            /// Number of the last record of the newest acknowledged epoch.
            pub acknowledged_seq: u64,
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Status {
            /// The counters.
            pub fn counters(&self) -> SessionCounters {
                SessionCounters { $($name: self.$name,)* }
            }
        }
    };
}
session_counters!(status);
