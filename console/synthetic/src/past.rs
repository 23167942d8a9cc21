//! The time of a volume: what can be restored, and what changed.

use jiff::Timestamp;
use snapless_console::estate::Stretch;
use snapless_console::model::{
    Bookmark, Changes, Gap, Heat, Policy, Restorable, Start, Timeline, VolumeId,
};

use crate::numbers::{MIB, mix};
use crate::present;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// How long ago the volumes' sessions began, at most.
const MONTHS_MS: u64 = 200 * DAY_MS;
/// Every instant of so long is kept.
const WHOLE_MS: u64 = 14 * DAY_MS;
/// How far apart gaps are.
const GAP_EVERY_MS: u64 = 31 * HOUR_MS;

/// A bookmark that the API has made.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub(crate) time_ms: u64,
    pub(crate) session: String,
    pub(crate) made_ms: u64,
    pub(crate) keep: Option<String>,
}

impl Named {
    pub(crate) fn shown(&self, name: &str) -> Bookmark {
        let Self { time_ms, session, made_ms, keep } = self;
        Bookmark {
            name: name.to_owned(),
            time_ms: Some(*time_ms),
            session: Some(session.clone()),
            created_ms: Some(*made_ms),
            keep: keep.clone(),
            error: None,
        }
    }
}

pub(crate) fn session(number: u64) -> String {
    format!("3f2504e0-4f89-41d3-9a0c-{number:012x}")
}

/// The begin of a volume's session: of a first sync just now. The same all day.
pub(crate) fn t0_ms(number: u64, now_ms: u64) -> u64 {
    if present::line(number, now_ms).first_sync.is_some() {
        return now_ms - now_ms % HOUR_MS;
    }
    let today = now_ms - now_ms % DAY_MS;
    today - MONTHS_MS + mix(number, 2) % (MONTHS_MS / 2)
}

/// From here on every instant is kept.
pub(crate) fn whole_from_ms(number: u64, now_ms: u64) -> u64 {
    t0_ms(number, now_ms).max(now_ms - now_ms % DAY_MS - WHOLE_MS)
}

/// The gaps, oldest first; the last one may last.
pub(crate) fn gaps(number: u64, now_ms: u64) -> Vec<Gap> {
    let begin = t0_ms(number, now_ms);
    let reasons = [
        ("queue_full", "the capture queue stayed full for longer than hold_limit"),
        ("service_lost", "the service was away, or the link was cut"),
        ("restarted", "the machine was restarted"),
    ];
    let at = |n: u64| begin + 10 * HOUR_MS + n * GAP_EVERY_MS + mix(number, n) % (20 * HOUR_MS);
    let past = (0..).map(at).take_while(|from| from + HOUR_MS < now_ms).enumerate();
    let past = past.map(|(n, from)| {
        let (reason, text) = reasons[n % reasons.len()];
        let long = 60_000 + mix(number, from) % (40 * 60_000);
        let (reason, reason_text) = (reason.to_owned(), text.to_owned());
        Gap { from_ms: from, to_ms: Some(from + long), reason, reason_text }
    });
    past.chain(present::line(number, now_ms).gap).collect()
}

/// Single days before the whole stretch, then the stretches between gaps.
fn restorable(number: u64, now_ms: u64) -> Vec<Restorable> {
    let Some(latest) = present::latest_ms(number, now_ms) else { return Vec::new() };
    let begin = t0_ms(number, now_ms);
    let whole_from = whole_from_ms(number, now_ms);
    let session = session(number);
    let single = |day: u64| {
        let at = begin + day * DAY_MS + HOUR_MS;
        let (session, at_text) = (session.clone(), text(at));
        Restorable { from_ms: at, to_ms: at, session, single: true, at: at_text }
    };
    let days = (whole_from - begin) / DAY_MS;
    let mut found: Vec<_> = (0..days).map(single).collect();
    let mut from_ms = whole_from;
    for gap in gaps(number, now_ms) {
        let Some(to) = gap.to_ms.filter(|to| *to > from_ms) else { continue };
        if gap.from_ms > from_ms {
            let (session, to_ms) = (session.clone(), gap.from_ms - 1);
            found.push(Restorable { from_ms, to_ms, session, single: false, at: None });
        }
        from_ms = to;
    }
    if from_ms <= latest {
        found.push(Restorable { from_ms, to_ms: latest, session, single: false, at: None });
    }
    found
}

/// An instant that a text names; of a bookmark none.
pub(crate) fn instant(at: &str, now_ms: u64) -> Option<u64> {
    if let Some(span) = at.strip_suffix(" ago") {
        let unit = span.chars().next_back()?;
        let unit_ms = match unit {
            's' => 1000,
            'm' => 60_000,
            'h' => HOUR_MS,
            'd' => DAY_MS,
            _ => return None,
        };
        let count: u64 = span.strip_suffix(unit)?.parse().ok()?;
        return now_ms.checked_sub(count.checked_mul(unit_ms)?);
    }
    let time: Timestamp = at.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok()
}

/// The time of a point, or why there is none.
pub(crate) fn resolve(number: u64, at: &str, now_ms: u64) -> Result<u64, String> {
    let found = restorable(number, now_ms);
    let last = found.last().ok_or("the first sync is not complete")?;
    match at {
        "latest" => return Ok(last.to_ms),
        "t0" => return Ok(t0_ms(number, now_ms)),
        _ => {}
    }
    let time = instant(at, now_ms).ok_or_else(|| format!("the volume has no bookmark {at}"))?;
    if found.iter().any(|it| (it.from_ms..=it.to_ms).contains(&time)) {
        return Ok(time);
    }
    Err("there is no point at this time: it is in a gap, or retention has dropped it".to_owned())
}

/// The nearest restorable instants before and after.
pub(crate) fn nearest(number: u64, at: u64, now_ms: u64) -> (Option<u64>, Option<u64>) {
    let found = restorable(number, now_ms);
    let before = found.iter().rev().find(|it| it.from_ms <= at).map(|it| it.to_ms.min(at));
    let after = found.iter().find(|it| it.to_ms >= at).map(|it| it.from_ms.max(at));
    (before, after)
}

pub(crate) fn text(ms: u64) -> Option<String> {
    Some(Timestamp::from_millisecond(i64::try_from(ms).ok()?).ok()?.to_string())
}

/// Bytes that change in an hour.
fn per_hour(number: u64, hour: u64) -> u64 {
    let of_day = hour % 24;
    let working = if (8..18).contains(&of_day) && hour / 24 % 7 < 5 { 12 } else { 1 };
    (mix(number, hour) % 200 + 20) * working * MIB
}

pub(crate) fn timeline(
    number: u64,
    volume: VolumeId,
    stretch: Stretch,
    buckets: u32,
    now_ms: u64,
) -> Timeline {
    let begin = t0_ms(number, now_ms);
    let (from, to) = ends(stretch, begin, now_ms);
    let changes = (buckets > 0).then(|| {
        let bucket_ms = float(to.saturating_sub(from).max(1)) / f64::from(buckets);
        let bytes = (0..buckets).map(|bucket| {
            let at = from + (to - from) * u64::from(bucket) / u64::from(buckets);
            let is_in = (begin..=now_ms).contains(&at);
            let long = (to - from) / u64::from(buckets);
            let hourly = u128::from(per_hour(number, at / HOUR_MS)) * u128::from(long);
            let bytes = u64::try_from(hourly / u128::from(HOUR_MS)).unwrap_or(u64::MAX);
            if is_in { bytes } else { 0 }
        });
        let bytes = bytes.collect();
        Changes { from_ms: from, bucket_ms, bytes, complete: true, counted: 1.0 }
    });
    let restorable = restorable(number, now_ms);
    Timeline {
        volume,
        now_ms,
        begin_ms: Some(begin),
        end_ms: restorable.last().map(|it| it.to_ms),
        bookmarks: if restorable.is_empty() { Vec::new() } else { bookmarks(number, now_ms) },
        restorable,
        gaps: gaps(number, now_ms),
        t0: vec![Start { session: session(number), time_ms: begin, restorable: true }],
        retention: Policy {
            keep_all: "14d".to_owned(),
            hourly: 0,
            daily: 30,
            weekly: 8,
            monthly: 12,
            yearly: 0,
            bookmarks: "forever".to_owned(),
            time_zone: "UTC".to_owned(),
        },
        changes,
    }
}

/// Bookmarks that are there from the begin.
fn bookmarks(number: u64, now_ms: u64) -> Vec<Bookmark> {
    let at = whole_from_ms(number, now_ms);
    let of = |name: &str, time_ms| {
        let session = session(number);
        Named { time_ms, session, made_ms: time_ms, keep: None }.shown(name)
    };
    vec![of("before-upgrade", at + DAY_MS), of("quarter-end", at + 6 * DAY_MS)]
}

pub(crate) fn heat(
    number: u64,
    volume: VolumeId,
    stretch: Stretch,
    parts: u32,
    now_ms: u64,
) -> Heat {
    let (from_ms, to_ms) = ends(stretch, t0_ms(number, now_ms), now_ms);
    let hours = (to_ms - from_ms) / HOUR_MS + 1;
    let bytes = (0..u64::from(parts)).map(|part| {
        let hot = if part * 10 / u64::from(parts) == number % 10 { 40 } else { 1 };
        let chance = mix(number + part, from_ms / HOUR_MS) % 7;
        hours * hot * chance * MIB / 8
    });
    let bytes = bytes.collect();
    let (length, complete, counted) = (Some(present::length(number)), true, 1.0);
    Heat { volume, from_ms, to_ms, length, parts, bytes, complete, counted }
}

fn ends(stretch: Stretch, begin: u64, now_ms: u64) -> (u64, u64) {
    let to = stretch.to_ms.unwrap_or(now_ms);
    let from = stretch.from_ms.unwrap_or(begin).min(to);
    (from, to)
}

#[expect(clippy::cast_precision_loss, reason = "for a chart")]
fn float(number: u64) -> f64 {
    number as f64
}
