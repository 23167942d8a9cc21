//! How long leases and garbage last among objects.

use std::time::Duration;

/// How long leases last. All who use one repository must use the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How long a lease is live that is not renewed.
    pub term: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// By how much its holder ends sooner: for a request that is under way, and for clocks that run
    /// at other speeds.
    pub margin: Duration,
    /// How long what was replaced stays, for readers that hold nothing.
    pub grace: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        let minutes = Duration::from_mins;
        Self { term: minutes(10), renew: minutes(2), margin: minutes(3), grace: minutes(2) }
    }
}
