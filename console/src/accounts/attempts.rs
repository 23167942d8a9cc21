//! How often a password may be tried: a few times at once, then slowly, for each name and for each
//! address.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::fault::{Fault, Result};
use crate::guard::address;

/// Attempts in a row of one name.
const BURST_OF_NAME: NonZeroU32 = NonZeroU32::new(10).unwrap();
/// Attempts in a row of one address.
const BURST_OF_ADDRESS: NonZeroU32 = NonZeroU32::new(20).unwrap();
/// Then so many a minute.
const A_MINUTE: NonZeroU32 = NonZeroU32::new(6).unwrap();
/// Keys that are remembered before those that may try again are forgotten.
const KEYS_MAX: usize = 10_000;

/// Counts attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    names: DefaultKeyedRateLimiter<String>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
}

impl Attempts {
    pub(super) fn new() -> Self {
        let quota = |burst| Quota::per_minute(A_MINUTE).allow_burst(burst);
        Self {
            names: RateLimiter::keyed(quota(BURST_OF_NAME)),
            addresses: RateLimiter::keyed(quota(BURST_OF_ADDRESS)),
        }
    }

    /// Counts one attempt.
    ///
    /// # Errors
    /// There were too many.
    pub(super) fn check(&self, name: &str, peer: IpAddr) -> Result<()> {
        if self.names.len() + self.addresses.len() > KEYS_MAX {
            self.names.retain_recent();
            self.addresses.retain_recent();
        }
        let now = DefaultClock::default().now();
        // An address that may not try uses up no attempt of a name: it would shut out its user.
        let of_address = self.addresses.check_key(&address(peer));
        of_address.and_then(|()| self.names.check_key(&name.to_lowercase())).map_err(|refused| {
            let wait = refused.wait_time_from(now).as_secs() + 1;
            Fault::too_many("attempts to sign in", wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_tried_a_few_times_from_however_many_addresses() {
        let attempts = Attempts::new();
        let peer = |last| IpAddr::from([192, 0, 2, last]);
        for last in 0..10 {
            attempts.check("root", peer(last)).unwrap();
        }
        assert!(attempts.check("ROOT", peer(99)).unwrap_err().retry_after.is_some());
        assert!(attempts.check("alice", peer(98)).is_ok());
    }

    #[test]
    fn an_address_tries_a_few_names() {
        let attempts = Attempts::new();
        let peer = IpAddr::from([192, 0, 2, 1]);
        let tried = (0..30).filter(|n| attempts.check(&format!("name{n}"), peer).is_ok()).count();
        assert_eq!(tried, 20);
        for _ in 0..30 {
            attempts.check("root", peer).unwrap_err();
        }
        attempts.check("root", IpAddr::from([192, 0, 2, 2])).unwrap();
    }
}
