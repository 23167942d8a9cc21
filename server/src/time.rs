//! Instants as text: RFC 3339 in UTC, exact to a record's 100 ns.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ZonedDateTime};
use snapless_wire::id::FileTime;

/// The instant as RFC 3339 text, exact, so that what is printed can be typed back.
pub fn to_text(time: FileTime) -> String {
    match Timestamp::from_nanosecond(time.unix_nanos()) {
        Ok(timestamp) => timestamp.to_string(),
        // Past the year 9999: not the time of a real clock.
        Err(_) => format!("FILETIME {time}"),
    }
}

/// Reads RFC 3339 text with an offset or `Z`; `None` for any other text.
pub fn from_text(text: &str) -> Option<FileTime> {
    let timestamp: Timestamp = text.trim().parse().ok()?;
    FileTime::from_unix_nanos(timestamp.as_nanosecond())
}

/// Reads how long ago, such as `10 minutes ago` or `2h ago`, and counts back from `now`, days as 24
/// hours; `None` for any other text.
pub fn ago(text: &str, now: FileTime) -> Option<FileTime> {
    let text = text.trim();
    if !text.to_ascii_lowercase().ends_with("ago") {
        return None;
    }
    let span: Span = text.parse().ok()?;
    let now = Timestamp::from_nanosecond(now.unix_nanos()).ok()?;
    let then = ZonedDateTime::new(now, TimeZone::UTC).checked_add(span).ok()?;
    FileTime::from_unix_nanos(then.timestamp().as_nanosecond())
}

/// True for a text that names a span of time, such as `P1D` or `2h`.
pub fn is_span(text: &str) -> bool {
    text.trim().parse::<Span>().is_ok()
}

/// The present instant.
pub fn now() -> FileTime {
    FileTime::from_unix_nanos(Timestamp::now().as_nanosecond()).unwrap_or(FileTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_values_are_valid_input() {
        let time = FileTime::new(FileTime::UNIX_EPOCH.get() + 1);
        assert_eq!(to_text(time), "1970-01-01T00:00:00.0000001Z");
        assert_eq!(from_text(&to_text(time)), Some(time));
        assert_eq!(from_text("1970-01-01T02:00:00+02:00"), Some(FileTime::UNIX_EPOCH));
        assert_eq!(from_text("yesterday"), None);
        assert_eq!(from_text("2026-01-01T00:00:00"), None);
        assert!(to_text(FileTime::new(u64::MAX)).starts_with("FILETIME"));
        assert!(now() > FileTime::UNIX_EPOCH);
    }

    #[test]
    fn how_long_ago_is_counted_back() {
        let now = from_text("2026-03-01T12:00:00Z").unwrap();
        for (text, then) in [
            ("10 minutes ago", "2026-03-01T11:50:00Z"),
            ("2h ago", "2026-03-01T10:00:00Z"),
            ("1 day, 3 hours ago", "2026-02-28T09:00:00Z"),
            ("2 weeks ago", "2026-02-15T12:00:00Z"),
            ("1 month ago", "2026-02-01T12:00:00Z"),
            ("0s ago", "2026-03-01T12:00:00Z"),
        ] {
            assert_eq!(ago(text, now), from_text(then), "{text}");
        }
        for other in ["2h", "ago", "-2h", "in 2h", "2 ago", "999999 years ago", "9000 years ago"] {
            assert_eq!(ago(other, now), None, "{other}");
        }
        assert!(is_span("P1D") && is_span("2h") && !is_span("nightly"));
    }
}
