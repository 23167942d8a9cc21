//! The result of a run: a table for people, two lines for scripts.

use std::fmt::Write as _;
use std::time::Duration;

use crate::status::{Status, megabytes};

/// The figures of a run that passed.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// From t0 until all blocks were synced.
    pub first_sync: Duration,
    /// The session at its end.
    pub last: Status,
    /// Bytes of the volume.
    pub volume_len: u64,
    /// Writes of the whole run.
    pub writes: usize,
    /// Their bytes.
    pub bytes_written: u64,
    /// Writes that overlapped another one under way.
    pub overlaps: usize,
    /// Writes under way at t0.
    pub under_way_at_t0: usize,
    /// How many writes the t0 image holds; `None` if it could not be restored because of a gap.
    pub prefix: Option<usize>,
    /// Files of the restored NTFS whose hashes are right.
    pub files: usize,
}

impl Summary {
    /// The run in one line.
    pub fn line(&self) -> String {
        format!(
            "{} writes, {} held, {} overlapping, {} under way at t0, {} gaps; t0 image: {}, latest \
             image: identical",
            self.writes,
            self.last.writes_held,
            self.overlaps,
            self.under_way_at_t0,
            self.last.gaps,
            self.t0(),
        )
    }

    /// The table, and the lines `t0 image: …` and `latest image: …`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in rows {
            let _ = writeln!(text, "  {name:width$}  {value}");
        }
        let _ = write!(text, "t0 image: {}\nlatest image: identical", self.t0());
        text
    }

    fn t0(&self) -> &'static str {
        if self.prefix.is_some() { "identical" } else { "refused (gap)" }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        let last = &self.last;
        let micros = |time: Option<u64>| match time {
            Some(us) => format!("{}.{:03} ms", us / 1000, us % 1000),
            None => String::from("nothing was held"),
        };
        let sent = last.service.as_ref().map_or(0, |service| service.bytes_sent);
        let seconds = self.first_sync.as_secs_f64();
        let rate = megabytes(self.volume_len) / seconds.max(0.001);
        vec![
            (
                "volume",
                format!("{:.1} MB, {} blocks", megabytes(self.volume_len), last.blocks_total),
            ),
            ("blocks by the sweep", last.blocks_by_sweep.to_string()),
            ("blocks captured for held writes", last.blocks_by_hold.to_string()),
            ("writes captured inline", last.writes_captured_inline.to_string()),
            ("writes held", last.writes_held.to_string()),
            ("median hold", micros(last.hold_median_us)),
            ("longest hold", micros((last.writes_held > 0).then_some(last.hold_longest_us))),
            ("bytes captured", format!("{:.1} MB", megabytes(last.bytes_captured))),
            ("bytes sent", format!("{:.1} MB", megabytes(sent))),
            ("first sync", format!("{seconds:.1} s, {rate:.1} MB/s")),
            ("gaps, writes let through", format!("{}, {}", last.gaps, last.writes_uncaptured)),
            (
                "writes of the run",
                format!("{}, {:.1} MB", self.writes, megabytes(self.bytes_written)),
            ),
            ("overlapping while under way", self.overlaps.to_string()),
            ("under way at t0", self.under_way_at_t0.to_string()),
            ("writes in the t0 image", self.prefix.map_or("-".into(), |prefix| prefix.to_string())),
            ("files with the right hash", self.files.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::status;

    #[test]
    fn the_last_two_lines_are_for_scripts() {
        let summary = Summary {
            first_sync: Duration::from_secs(2),
            last: status(),
            volume_len: 40_000_000,
            writes: 7,
            bytes_written: 9,
            overlaps: 3,
            under_way_at_t0: 2,
            prefix: Some(4),
            files: 5,
        };
        let text = summary.text();
        assert!(text.ends_with("\nt0 image: identical\nlatest image: identical"), "{text}");
        assert!(text.contains("2.0 s, 20.0 MB/s"), "{text}");
        assert!(summary.line().contains("7 writes, 4 held"), "{}", summary.line());
        let gap = Summary { prefix: None, ..summary };
        assert!(gap.text().contains("t0 image: refused (gap)"));
    }
}
