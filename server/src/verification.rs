//! Compares a copy with its volume while the session is served: checks that have become durable, a
//! stretch of the stream at a time.
//!
//! ```text
//!   connection ── Verifying::begin ──▶ indexer ── go_on ──▶ verified.snapless
//!   service ◀─ Verified ─ connection ◀── Verifying::tell ── indexer
//! ```
//!
//! The indexer's thread compares: no acknowledgement waits for it, and one stretch is compared at a
//! time, whatever the number of sessions. After each, that session rests nine times as long as it
//! took: a verification costs a tenth of the thread at most.
//!
//! Rule: the outcome covers every check up to its record, or says that damage has kept it from
//! that. So before the first check of a session is acknowledged, a file says from where on there
//! may be some; after a kill at any moment the next look goes on behind what was compared.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use log::{info, warn};
use snapless_types::{Extent, RecordKind, Seq};
use snapless_wire::record::{Record, Records};
use snapless_wire::verified::{DIFFERING_MAX, Differing, Verified};

use crate::checks::Checker;
use crate::error::{Damage, Result};
use crate::format::index::EntryIndex;
use crate::format::segment::SegmentNumber;
use crate::reader::{Indices, SegmentReader, SessionReader, Wanted, with_indices};
use crate::stop::StopFlag;

/// Bytes of the volume that are compared before other sessions get their turn.
const STRETCH_BYTES: u64 = 1 << 30;
/// So many times as long as a stretch took, nothing more of the session is compared.
const REST_FACTOR: u32 = 9;
/// Bytes that are read ahead of an entry with checks.
const BUFFER_BYTES: usize = 64 << 10;
/// The least rest.
const REST_MIN: Duration = Duration::from_secs(1);

/// What a session's connection and the thread that compares tell each other.
#[derive(Debug)]
pub struct Verifying(Mutex<Turn>);

#[derive(Debug)]
struct Turn {
    /// The session waits for the thread, or is being looked at.
    is_under_way: bool,
    /// When the next stretch may be compared.
    due: Instant,
    /// There is one, behind what was compared last.
    has_more: bool,
    /// What the service has not been told yet.
    news: Option<Verified>,
}

impl Default for Verifying {
    fn default() -> Self {
        Self(Mutex::new(Turn {
            is_under_way: false,
            due: Instant::now(),
            has_more: false,
            news: None,
        }))
    }
}

impl Verifying {
    /// True if the session is to be handed to the thread, which then must [`Self::rest`]: it has
    /// checks that are not compared, and may be looked at.
    pub(crate) fn begin(&self, has_new: bool) -> bool {
        let mut turn = self.turn();
        let is_due = !turn.is_under_way && Instant::now() >= turn.due;
        let begins = is_due && (has_new || turn.has_more);
        turn.is_under_way |= begins;
        begins
    }

    /// The thread has looked at the session for so long, and may have left some of it.
    pub(crate) fn rest(&self, took: Duration, has_more: bool) {
        let mut turn = self.turn();
        (turn.is_under_way, turn.has_more) = (false, has_more);
        turn.due = Instant::now() + took.saturating_mul(REST_FACTOR).max(REST_MIN);
    }

    /// What the service is to be told, once.
    pub(crate) fn news(&self) -> Option<Verified> {
        self.turn().news.take()
    }

    fn tell(&self, verified: Verified) {
        self.turn().news = Some(verified);
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        // A panic leaves no half-made change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// True if records have a check among them.
pub(crate) fn has_checks(payload: &[u8]) -> bool {
    Records::new(payload).flatten().any(|it| it.header.kind() == RecordKind::Check)
}

/// Notes that there may be checks behind the acknowledged end. Must be called before one is
/// acknowledged.
///
/// # Errors
/// A failure to write.
pub(crate) fn expect_checks(reader: &SessionReader) -> Result<()> {
    if known(reader)?.is_some() {
        return Ok(());
    }
    let through = reader.acknowledged().seq;
    reader.keep_verified(&Verified { through, ..Verified::default() })
}

/// Compares the next stretch of a session's checks, if it has any; true if there are more.
///
/// # Errors
/// [`crate::error::Error::Stopped`], or a failure other than damage.
pub(crate) fn go_on(
    reader: &SessionReader,
    verifying: &Verifying,
    stop: &StopFlag,
) -> Result<bool> {
    let Some(known) = known(reader)? else { return Ok(false) };
    let end = reader.acknowledged().seq;
    if known.through >= end {
        verifying.tell(known);
        return Ok(false);
    }
    let before = known.differing;
    let compared = with_indices(|indices| Stretch::of(reader, &known, stop).run(indices));
    let verified = compared.or_else(|error| match error {
        damage if damage.is_damage() => {
            warn!("session {}: checks cannot be compared: {damage}", reader.header().session);
            Ok(Verified { through: end, is_damaged: true, ..known })
        }
        error => Err(error),
    })?;
    reader.keep_verified(&verified)?;
    if verified.differing > before {
        let session = reader.header().session;
        warn!("session {session}: {} bytes of the copy differ from the volume", verified.differing);
    } else if verified.through >= end {
        info!("session {}: checks are compared up to record {end}", reader.header().session);
    }
    let has_more = verified.through < end;
    verifying.tell(verified);
    Ok(has_more)
}

/// What was compared before; from the begin on if the file is of no use.
fn known(reader: &SessionReader) -> Result<Option<Verified>> {
    match reader.verified() {
        // The repository was put back, and its numbers go on otherwise.
        Ok(Some(known)) if known.through > reader.acknowledged().seq => {
            Ok(Some(Verified::default()))
        }
        Err(error) if error.is_damage() => {
            warn!("all checks are compared again: {error}");
            Ok(Some(Verified::default()))
        }
        other => other,
    }
}

/// One stretch of the stream, and what comes of its checks.
struct Stretch<'a> {
    reader: &'a SessionReader,
    stop: &'a StopFlag,
    checker: Checker<'a>,
    /// What was known before.
    known: &'a Verified,
    /// The last record of the stretch so far.
    through: Seq,
    /// Bytes of the volume in this stretch.
    checked: u64,
    segment: Option<(SegmentNumber, SegmentReader)>,
    payload: Vec<u8>,
}

impl<'a> Stretch<'a> {
    fn of(reader: &'a SessionReader, known: &'a Verified, stop: &'a StopFlag) -> Self {
        let checker = Checker::going_on(reader, stop, (known.end, known.time));
        let (through, payload) = (known.through, Vec::new());
        Self { reader, stop, checker, known, through, checked: 0, segment: None, payload }
    }

    fn run(mut self, indices: Indices) -> Result<Verified> {
        let (reader, stop) = (self.reader, self.stop);
        let place = match reader.entry_end(self.through, stop)? {
            Some(end) => end.place(),
            None => reader.begin_place(),
        };
        let mut failed = None;
        reader.visit(place, indices, stop, |number, entry| {
            Ok(self.entry(number, entry).unwrap_or_else(|error| {
                failed = Some(error);
                Wanted::Enough
            }))
        })?;
        match failed {
            Some(error) => Err(error),
            None => self.finish(),
        }
    }

    fn entry(&mut self, number: SegmentNumber, entry: &EntryIndex) -> Result<Wanted> {
        let last = entry.records().last().map(|it| it.header.seq());
        let Some(last) = last.filter(|last| *last > self.through) else {
            return Ok(Wanted::More);
        };
        if entry.records().any(|it| it.header.kind() == RecordKind::Check) {
            let payload = self.load(number, entry)?;
            for record in Records::new(&payload).map_while(std::result::Result::ok) {
                if record.header.kind() == RecordKind::Check {
                    self.checked = self.checked.saturating_add(record.header.extent_len());
                }
                self.checker.take(&record)?;
            }
            self.payload = payload;
        } else {
            for record in entry.records() {
                self.checker.take(&Record { header: *record.header, payload: &[] })?;
            }
        }
        self.through = last;
        Ok(if self.checked < STRETCH_BYTES { Wanted::More } else { Wanted::Enough })
    }

    fn finish(mut self) -> Result<Verified> {
        self.checker.finish()?;
        let found = self.checker.found();
        let mut verified = match self.checker.begun() {
            Some(first) => Verified { first, ..Verified::default() },
            None => self.known.clone(),
        };
        verified.through = self.through;
        (verified.end, verified.time) = self.checker.reached();
        verified.same += found.same_bytes;
        verified.differing += found.differing_bytes;
        verified.unclear += found.unclear_bytes;
        verified.overtaken += found.overtaken_bytes;
        verified.left_out += found.left_out_bytes;
        let room = DIFFERING_MAX.saturating_sub(verified.extents.len());
        let differing = found.differing.iter().take(room).filter_map(|it| {
            Some(Differing { extent: Extent::new(it.offset, it.len)?, seq: Seq::new(it.seq) })
        });
        verified.extents.extend(differing);
        Ok(verified)
    }

    /// The payload of an entry.
    fn load(&mut self, number: SegmentNumber, entry: &EntryIndex) -> Result<Vec<u8>> {
        let mut segment = match self.segment.take() {
            Some((open, segment)) if open == number => segment,
            _ => self.reader.segment(number, BUFFER_BYTES)?,
        };
        let mut payload = std::mem::take(&mut self.payload);
        segment.go_to(entry.offset)?;
        if !segment.next_entry()? || segment.load(&mut payload)? != entry.frame {
            return Err(segment.damage(Damage::Index));
        }
        self.segment = Some((number, segment));
        Ok(payload)
    }
}
