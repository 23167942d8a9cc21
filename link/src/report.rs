//! How a session stands on its machine, as its service tells it every few seconds: for people who
//! look at the server's console. Nothing that is stored depends on it.
//!
//! It is JSON. What a later release adds is left out by an earlier one, and what a report lacks is
//! not known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use snapless_types::{HoldTimes, SessionCounters};
use snapless_wire::ioctl::MapCell;

/// The longest report, in bytes.
pub const REPORT_MAX: usize = 32 << 10;
/// The longest text in one, in characters.
pub const TEXT_MAX: usize = 512;
/// Buckets of a histogram, at most.
pub const BUCKETS_MAX: usize = 64;
/// Counters, at most.
pub const COUNTERS_MAX: usize = 128;
/// Parts of a map, at most.
pub const CELLS_MAX: usize = 1024;
/// Excluded extents, at most; what is past that is not shown.
pub const EXCLUDED_MAX: usize = 256;

/// How a session stands.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionReport {
    /// What the machine calls the volume: a drive letter, if it has one.
    pub name: String,
    /// The consistency group that its configuration names.
    pub group: Option<String>,
    /// Where the driver's session stands, by the name in its status.
    pub phase: String,
    /// The service takes Meeting frames.
    pub meets: bool,
    /// An administrator has paused the volume: this is the last report.
    pub is_paused: bool,
    /// Why the service's last attempt failed, if nothing has gone well since.
    pub last_error: Option<String>,
    /// Milliseconds since the service began to count.
    pub age_ms: u64,
    /// Bytes drained from the driver since then.
    pub bytes_drained: u64,
    /// Bytes sent since then.
    pub bytes_sent: u64,
    /// The driver's queue.
    pub queue: Queue,
    /// Writes that waited.
    pub holds: Holds,
    /// The session's counters.
    pub counters: BTreeMap<String, u64>,
    /// The blocks of equal parts of the volume, in its order; of a long part a sample.
    #[serde(with = "cells")]
    pub map: Vec<MapCell>,
    /// Offset and length of paging, swap and hibernation files, in bytes.
    pub excluded: Vec<(u64, u64)>,
}

/// The driver's queue, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Queue {
    /// Used.
    pub used: u64,
    /// Drained, and kept until acknowledged.
    pub kept: u64,
    /// What it can take.
    pub capacity: u64,
}

/// Writes that waited.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Holds {
    /// Writes that wait now.
    pub now: u64,
    /// Writes that waited since the session began.
    pub held: u64,
    /// The longest wait, in microseconds.
    pub longest_us: u64,
    /// Bucket i counts waits of 2^i to 2^(i+1) microseconds.
    pub buckets: Vec<u64>,
}

/// Cells as lists of their counts.
mod cells {
    use serde::{Deserialize, Deserializer, Serializer};
    use snapless_wire::ioctl::MapCell;

    pub(super) fn serialize<S: Serializer>(cells: &[MapCell], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(cells.iter().map(|cell| cell.to_bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<MapCell>, D::Error> {
        let cells = Vec::<[u8; 5]>::deserialize(from)?;
        Ok(cells.into_iter().map(MapCell::from).collect())
    }
}

impl SessionReport {
    /// With what the driver counts of a session.
    pub fn of(counters: &SessionCounters, holds: &HoldTimes) -> Self {
        Self {
            queue: Queue {
                used: counters.queue_used,
                kept: counters.queue_kept,
                capacity: counters.queue_bytes,
            },
            holds: Holds {
                now: counters.writes_holding,
                held: counters.writes_held,
                longest_us: holds.longest_us,
                buckets: holds.buckets.to_vec(),
            },
            counters: counters.iter().map(|it| (it.name.to_owned(), it.value)).collect(),
            ..Self::default()
        }
    }

    /// Reads a frame's payload. Texts are cut to [`TEXT_MAX`], without control characters.
    ///
    /// # Errors
    /// Why it is no report.
    pub fn read(payload: &[u8]) -> Result<Self, String> {
        if payload.len() > REPORT_MAX {
            return Err(format!("a report has {REPORT_MAX} bytes at most"));
        }
        let mut report: Self =
            serde_json::from_slice(payload).map_err(|why| format!("not a report: {why}"))?;
        for (what, count, most) in [
            ("buckets", report.holds.buckets.len(), BUCKETS_MAX),
            ("counters", report.counters.len(), COUNTERS_MAX),
            ("parts of a map", report.map.len(), CELLS_MAX),
            ("excluded extents", report.excluded.len(), EXCLUDED_MAX),
        ] {
            if count > most {
                return Err(format!("a report has {most} {what} at most"));
            }
        }
        for text in [Some(&mut report.name), Some(&mut report.phase), report.group.as_mut()] {
            text.into_iter().for_each(clean);
        }
        report.last_error.iter_mut().for_each(clean);
        Ok(report)
    }

    /// A frame's payload; `None` if it would be too long.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        // There is no text and no number that JSON cannot have.
        serde_json::to_vec(self).ok().filter(|bytes| bytes.len() <= REPORT_MAX)
    }
}

fn clean(text: &mut String) {
    *text = text.chars().filter(|it| !it.is_control()).take(TEXT_MAX).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn longest() -> SessionReport {
        let text = "é".repeat(TEXT_MAX);
        let counter = |number| (format!("counter_{number:02}_with_a_long_name"), u64::MAX);
        SessionReport {
            name: text.clone(),
            group: Some(text.clone()),
            last_error: Some(text),
            holds: Holds { buckets: vec![u64::MAX; 32], ..Holds::default() },
            counters: (0..64).map(counter).collect(),
            map: vec![MapCell::from([255; 5]); 256],
            excluded: vec![(u64::MAX, u64::MAX); EXCLUDED_MAX],
            ..SessionReport::default()
        }
    }

    #[test]
    fn a_report_is_read_as_it_was_written_and_the_longest_has_room() {
        let bytes = longest().to_bytes().unwrap();
        assert_eq!(SessionReport::read(&bytes), Ok(longest()));
    }

    #[test]
    fn what_another_release_leaves_out_or_adds_is_no_error() {
        assert_eq!(SessionReport::read(b"{}"), Ok(SessionReport::default()));
        let newer = SessionReport::read(br#"{"name":"D:","mood":"good","queue":{"lent":1}}"#);
        assert_eq!(newer.unwrap().name, "D:");
    }

    #[test]
    fn what_is_none_or_too_much_is_refused_and_texts_are_cut() {
        let too_long = vec![b' '; REPORT_MAX + 1];
        let cells = format!("{{\"map\":[{}]}}", vec!["[0,0,0,0,0]"; CELLS_MAX + 1].join(","));
        let buckets = format!("{{\"holds\":{{\"buckets\":[{}]}}}}", ["0"; 65].join(","));
        for bytes in [&b""[..], b"[1]", b"{\"map\":[[1]]}", b"{\"map\":[[256,0,0,0,0]]}", &too_long]
        {
            assert!(SessionReport::read(bytes).is_err());
        }
        for text in [cells, buckets] {
            assert!(SessionReport::read(text.as_bytes()).unwrap_err().contains("at most"));
        }
        let long = format!("{{\"name\":\"D\\n:{}\"}}", "x".repeat(2 * TEXT_MAX));
        let name = SessionReport::read(long.as_bytes()).unwrap().name;
        assert!(name.starts_with("D:x") && name.len() == TEXT_MAX, "{name}");
    }
}
