//! Instants as text: RFC 3339 in UTC, exact to a record's 100 ns.

use jiff::Timestamp;
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
}
