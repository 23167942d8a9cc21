//! What is counted of a repository, a volume or a session.

use serde::Serialize;
use snapless_types::RecordKind;

/// Where bytes went.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Usage {
    /// Sessions.
    pub sessions: u64,
    /// Files, or objects.
    pub files: u64,
    /// Segments.
    pub segments: u64,
    /// Entries of records.
    pub entries: u64,
    /// Epochs that ended.
    pub epochs: u64,
    /// Records.
    pub records: u64,
    /// The records by what they are for.
    pub causes: Causes,
    /// What is stored besides the content of records.
    pub overhead: Overhead,
    /// Bytes by which entries are shorter than their frames.
    pub compression_saved_bytes: u64,
    /// Bytes of what a fold has kept of the time before its boundary: compacted and older segments,
    /// maps. The other counts are of what came after it.
    pub retained_bytes: u64,
    /// Bytes of files that nothing refers to, which are removed when no reader needs them.
    pub garbage_bytes: u64,
    /// Bytes of all files of the sessions.
    pub stored_bytes: u64,
    /// Bytes of content that records brought, runs of zeros without a payload included.
    pub content_bytes: u64,
    /// Bytes of all files, but for retained ones and garbage, for each byte of content; `None`
    /// without content.
    pub write_amplification: Option<f64>,
    /// What changes added.
    pub growth: Growth,
}

/// Records by what they are for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Causes {
    /// Content of the base image.
    pub first_sync: Cause,
    /// Blocks of the base image that held no data.
    pub unallocated: Cause,
    /// Blocks of the base image that no file had, or a paging, swap or hibernation file.
    pub excluded: Cause,
    /// Writes of applications.
    pub writes: Cause,
    /// Trims.
    pub trims: Cause,
    /// Writes of zeros.
    pub zero_writes: Cause,
    /// Content that was read again after a gap.
    pub resync: Cause,
    /// Blocks that were read again after a gap and had the content that was here already: that was
    /// not sent.
    pub unchanged: Cause,
    /// Hashes of what was read to verify the copy.
    pub checks: Cause,
    /// What the volume's disk could not read.
    pub unreadable: Cause,
    /// Records without an extent: starts, ends, gaps.
    pub markers: Cause,
}

/// Records of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Cause {
    /// How many.
    pub records: u64,
    /// Bytes of the volume that they describe.
    pub volume_bytes: u64,
    /// Bytes of content that are stored, before compression.
    pub stored_bytes: u64,
    /// Bytes of zeros that are not stored.
    pub elided_bytes: u64,
}

/// What is stored besides the content of records, in bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Overhead {
    /// Headers of records.
    pub record_header_bytes: u64,
    /// Headers of entries.
    pub entry_header_bytes: u64,
    /// Bytes by which sealed entries are longer than their frames.
    pub seal_bytes: u64,
    /// Headers of segments.
    pub segment_header_bytes: u64,
    /// Watermarks in segments.
    pub watermark_bytes: u64,
    /// The session's header and its acknowledged end.
    pub session_file_bytes: u64,
    /// Files beside those, which are made again from the segments, and the last watermark.
    pub derived_bytes: u64,
    /// The end of the last segment, which is not acknowledged yet, and what could not be counted.
    pub other_bytes: u64,
}

/// What changes added: all records but those of the base image.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Growth {
    /// Bytes of content and headers, before compression.
    pub bytes: u64,
    /// From the first record to the last, in seconds.
    pub seconds: u64,
    /// Bytes in 24 hours on the average; `None` for less than an hour.
    pub bytes_per_day: Option<u64>,
    /// The days on which there were changes, in UTC by the machine's clock.
    pub days: Vec<Day>,
}

/// The changes of a day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Day {
    /// The date.
    pub date: String,
    /// Bytes of content and headers, before compression.
    pub bytes: u64,
}

impl Causes {
    /// Those of a kind of records.
    pub(super) fn of(&mut self, kind: RecordKind) -> &mut Cause {
        match kind {
            RecordKind::Block => &mut self.first_sync,
            RecordKind::Unallocated => &mut self.unallocated,
            RecordKind::Excluded => &mut self.excluded,
            RecordKind::Write => &mut self.writes,
            RecordKind::Trim => &mut self.trims,
            RecordKind::Zero => &mut self.zero_writes,
            RecordKind::Resync => &mut self.resync,
            RecordKind::Unchanged => &mut self.unchanged,
            RecordKind::Check => &mut self.checks,
            RecordKind::Unreadable => &mut self.unreadable,
            RecordKind::SessionStart
            | RecordKind::EpochEnd
            | RecordKind::BaseComplete
            | RecordKind::GapBegin
            | RecordKind::Consistent => &mut self.markers,
        }
    }

    /// Each with its name in words.
    pub fn each(&self) -> [(&'static str, &Cause); 11] {
        [
            ("first sync", &self.first_sync),
            ("unallocated", &self.unallocated),
            ("excluded", &self.excluded),
            ("writes", &self.writes),
            ("trims", &self.trims),
            ("zero writes", &self.zero_writes),
            ("resync", &self.resync),
            ("unchanged", &self.unchanged),
            ("checks", &self.checks),
            ("unreadable", &self.unreadable),
            ("markers", &self.markers),
        ]
    }

    pub(super) fn sum(&self, of: impl Fn(&Cause) -> u64) -> u64 {
        self.each().iter().fold(0, |sum, (_, cause)| sum.saturating_add(of(cause)))
    }

    /// Bytes of content, stored or elided.
    pub(super) fn content(&self) -> u64 {
        self.sum(|cause| cause.stored_bytes.saturating_add(cause.elided_bytes))
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (to, from) in [
            (&mut self.first_sync, &other.first_sync),
            (&mut self.unallocated, &other.unallocated),
            (&mut self.excluded, &other.excluded),
            (&mut self.writes, &other.writes),
            (&mut self.trims, &other.trims),
            (&mut self.zero_writes, &other.zero_writes),
            (&mut self.resync, &other.resync),
            (&mut self.unchanged, &other.unchanged),
            (&mut self.checks, &other.checks),
            (&mut self.unreadable, &other.unreadable),
            (&mut self.markers, &other.markers),
        ] {
            to.records += from.records;
            to.volume_bytes = to.volume_bytes.saturating_add(from.volume_bytes);
            to.stored_bytes += from.stored_bytes;
            to.elided_bytes = to.elided_bytes.saturating_add(from.elided_bytes);
        }
    }
}

impl Overhead {
    pub(super) fn add(&mut self, other: &Self) {
        self.record_header_bytes += other.record_header_bytes;
        self.entry_header_bytes += other.entry_header_bytes;
        self.seal_bytes += other.seal_bytes;
        self.segment_header_bytes += other.segment_header_bytes;
        self.watermark_bytes += other.watermark_bytes;
        self.session_file_bytes += other.session_file_bytes;
        self.derived_bytes += other.derived_bytes;
        self.other_bytes += other.other_bytes;
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.record_header_bytes
            + self.entry_header_bytes
            + self.seal_bytes
            + self.segment_header_bytes
            + self.watermark_bytes
            + self.session_file_bytes
            + self.derived_bytes
            + self.other_bytes
    }
}
