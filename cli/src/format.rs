//! Sizes, rates and times as text.

use std::time::Duration;

use jiff::Timestamp;
use snapless_wire::id::FileTime;

/// A number of bytes with a binary unit and about three digits.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let step = (bytes.ilog2() / 10) as usize;
    let unit = 1_u64 << (10 * step);
    let name = UNITS[step - 1];
    // Rounded down: a displayed size has been reached.
    let (whole, tenth) = (bytes / unit, (bytes % unit) * 10 / unit);
    if whole >= 100 { format!("{whole} {name}") } else { format!("{whole}.{tenth} {name}") }
}

/// A rate in MB/s (decimal, as disks and networks are rated).
pub fn rate(bytes_per_second: f64) -> String {
    format!("{:.1} MB/s", bytes_per_second / 1e6)
}

/// A duration in its two largest units.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// Microseconds in a suitable unit.
pub fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        _ => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}

/// An instant in RFC 3339, UTC, as `snapless-server restore --at` takes it; `None` out of range.
pub fn instant(time: FileTime) -> Option<String> {
    Timestamp::from_nanosecond(time.unix_nanos()).ok().map(|timestamp| timestamp.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_three_digits() {
        for (number, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (65_536, "64.0 KiB"),
            (150 << 20, "150 MiB"),
            ((1 << 30) + (1 << 29), "1.5 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn times_keep_two_units() {
        let seconds = |s| duration(Duration::from_secs(s));
        assert_eq!(seconds(59), "59 s");
        assert_eq!(seconds(61), "1 min 1 s");
        assert_eq!(seconds(3_720), "1 h 2 min");
        assert_eq!(seconds(90_000), "1 d 1 h");
        assert_eq!(micros(999), "999 µs");
        assert_eq!(micros(1_250), "1.2 ms");
        assert_eq!(micros(2_500_000), "2.5 s");
    }

    #[test]
    fn instants_are_rfc_3339() {
        assert_eq!(instant(FileTime::UNIX_EPOCH).unwrap(), "1970-01-01T00:00:00Z");
        let later = FileTime::new(FileTime::UNIX_EPOCH.get() + 15_000_001);
        assert_eq!(instant(later).unwrap(), "1970-01-01T00:00:01.5000001Z");
    }
}
