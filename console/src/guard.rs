//! What every request must satisfy, and the headers of every answer.
//!
//! - The host that it names is one of ours: a page of another name that resolves to this address
//!   (DNS rebinding) gets nothing.
//! - To the API, a browser's request comes from our own page ([`is_from_elsewhere`]).
//! - An address makes so many requests a second.
//!
//! Answers may run no script but ours and are shown in no frame.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::uri::Authority;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::fault::{Code, Fault, Result};
use crate::settings::Settings;

/// Requests in a row beyond those of a second.
const BURST_SECONDS: u32 = 4;
/// Addresses that are remembered before those that may go on are forgotten.
const ADDRESSES_MAX: usize = 10_000;

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Headers of every answer.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// The limits of requests, and the names of the console.
#[derive(Debug)]
pub struct Guard {
    names: Vec<String>,
    requests: DefaultKeyedRateLimiter<IpAddr>,
}

/// An address as it is counted: of IPv6 a whole /64 network, which one owner has.
pub(crate) fn address(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Guard {
    /// By the settings; `machine` is this machine's name.
    pub fn new(settings: &Settings, machine: &str) -> Self {
        let own = ["localhost", machine].map(str::to_owned);
        let names = settings.names.iter().cloned().chain(own);
        let names = names.map(|name| name.to_lowercase()).filter(|name| !name.is_empty());
        let rate = NonZeroU32::new(settings.requests_per_second).unwrap_or(NonZeroU32::MIN);
        let burst = rate.saturating_mul(NonZeroU32::MIN.saturating_add(BURST_SECONDS - 1));
        let requests = RateLimiter::keyed(Quota::per_second(rate).allow_burst(burst));
        Self { names: names.collect(), requests }
    }

    /// Refuses a request that must not pass.
    ///
    /// # Errors
    /// Why.
    pub(crate) fn check(&self, peer: Peer, request: &Request) -> Result<()> {
        self.check_rate(peer)?;
        let headers = request.headers();
        let host = text(headers, &header::HOST).unwrap_or_default();
        self.check_host(host)?;
        let path = request.uri().path();
        let is_of_api = path.starts_with("/api") || path.starts_with("/metrics");
        if is_of_api && is_from_elsewhere(headers, host) {
            let message = "the request comes from a page of another origin";
            return Err(Fault::new(Code::Origin, message));
        }
        Ok(())
    }

    fn check_rate(&self, peer: Peer) -> Result<()> {
        if self.requests.len() > ADDRESSES_MAX {
            self.requests.retain_recent();
        }
        self.requests.check_key(&address(peer.0.ip())).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            Fault::too_many("requests", wait.as_secs() + 1)
        })
    }

    /// Addresses need no name: no page of another name has them for its origin.
    fn check_host(&self, host: &str) -> Result<()> {
        let Ok(authority) = host.parse::<Authority>() else {
            return Err(Fault::bad("the request names no host"));
        };
        let name = authority.host().to_lowercase();
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        if bare.parse::<IpAddr>().is_ok() || self.names.contains(&name) {
            return Ok(());
        }
        let message = format!(
            "the console is not known by the name {name:?}: add it to `names` in the console's \
             settings, or use an address"
        );
        Err(Fault::new(Code::Host, message))
    }
}

/// True of a request that a page of another origin makes a browser send. Programs send neither
/// header.
fn is_from_elsewhere(headers: &HeaderMap, host: &str) -> bool {
    if headers.contains_key(header::ORIGIN) {
        let ours = format!("https://{host}");
        let origin = text(headers, &header::ORIGIN).unwrap_or_default();
        if !origin.eq_ignore_ascii_case(&ours) {
            return true;
        }
    }
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    site.is_some_and(|site| !matches!(site, b"same-origin" | b"none"))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Adds the headers of every answer.
pub(crate) fn complete(headers: &mut HeaderMap) {
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_another_name_is_refused() {
        let settings = Settings { names: vec!["Backup.Example.com".into()], ..Settings::default() };
        let guard = Guard::new(&settings, "mybox");
        for good in ["backup.example.com", "localhost:1", "127.0.0.1:1", "[::1]:1", "MYBOX:8443"] {
            assert!(guard.check_host(good).is_ok(), "{good}");
        }
        for bad in ["", "evil.example", "localhost.evil.example:1", "127.0.0.1.evil.example", "a b"]
        {
            assert!(guard.check_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_browser_says_that_a_page_of_another_origin_asks() {
        let asks = |origin: Option<&str>, site: Option<&str>| {
            let mut headers = HeaderMap::new();
            let pairs = [("origin", origin), ("sec-fetch-site", site)];
            for (name, value) in pairs.into_iter().filter_map(|(name, it)| Some((name, it?))) {
                headers.insert(name, HeaderValue::from_str(value).unwrap());
            }
            is_from_elsewhere(&headers, "h:1")
        };
        assert!(!asks(None, None) && !asks(Some("https://h:1"), Some("same-origin")));
        for origin in ["null", "http://h:1", "https://h:2", "https://h:1.evil.example"] {
            assert!(asks(Some(origin), None), "{origin}");
        }
        assert!(asks(None, Some("cross-site")) && asks(None, Some("same-site")));
    }
}
