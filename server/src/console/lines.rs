//! What is stored of a volume, in the words of the API.

use std::sync::Arc;

use snapless_console::model::{
    CopyCheck, Gap, Holds, Level, Live, Policy as ShownPolicy, Progress, Queue, Rates, State,
    StoredSession, VolumeId, VolumeLine,
};
use snapless_console::settings::Settings;
use snapless_trust::identity::MachineId;
use snapless_wire::id::FileTime;

use crate::connected::{Known, Told};
use crate::list::{self, Content};
use crate::retention::policy::Policy;
use crate::time;

/// What the service of a connected machine does.
const STREAMING: &str = "streaming";

/// An instant in milliseconds, rounded down.
pub(super) fn ms_before(text: &str) -> Option<u64> {
    ms(time::from_text(text)?)
}

/// An instant in milliseconds, rounded up.
pub(super) fn ms_after(text: &str) -> Option<u64> {
    const HALF_OPEN: i128 = 999_999;
    let nanos = time::from_text(text)?.unix_nanos().saturating_add(HALF_OPEN);
    u64::try_from(nanos / 1_000_000).ok()
}

/// The same of a time, rounded down.
pub(super) fn ms(time: FileTime) -> Option<u64> {
    u64::try_from(time.unix_nanos() / 1_000_000).ok()
}

/// The time by the server's clock.
pub(super) fn now_ms() -> u64 {
    ms(time::now()).unwrap_or_default()
}

/// What is known of a volume's connection and of its machine.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) is_connected: bool,
    /// Bytes a second.
    pub(super) rate: Option<u64>,
    pub(super) machine: Option<MachineId>,
    /// What the machine has told last, if it is connected.
    pub(super) told: Option<Arc<Told>>,
    /// What it has told of the volume since the server began.
    pub(super) known: Known,
}

/// A volume in one line.
pub(super) fn line(
    id: VolumeId,
    listed: &list::Volume,
    link: &Link,
    settings: &Settings,
    now_ms: u64,
) -> VolumeLine {
    let newest = listed.sessions.last();
    let stream = newest.and_then(|session| session.content.stream());
    let latest_ms = listed.latest.as_ref().and_then(|latest| ms_before(&latest.time));
    let gap = newest.filter(|it| matches!(it.content, Content::Gap(_)));
    let gap = gap.and(stream).and_then(|stream| stream.gaps.last()).and_then(shown_gap);
    let (state, state_text) = state(listed, newest, link);
    let length = newest.and_then(|session| session.shape.as_ref()).map(|shape| shape.length);
    let first_sync = newest.filter(|it| matches!(it.content, Content::FirstSync(_)));
    let first_sync = first_sync.and(stream).map(|stream| progress(stream, length, link));
    let created = listed.sessions.iter().filter_map(|session| {
        let shape = session.shape.as_ref()?;
        ms_before(&shape.created)
    });
    // Without a point the age counts from when the volume was first to be protected.
    let rpo_seconds = latest_ms.or_else(|| created.min());
    let rpo_seconds = rpo_seconds.map(|begin| now_ms.saturating_sub(begin) / 1000);
    let target = settings.rpo_target_of(&id).as_secs();
    let is_late = rpo_seconds.is_some_and(|rpo| rpo > target);
    let (level, attention) = attention(state, is_late);
    let Known { name, group, .. } = &link.known;
    VolumeLine {
        name: if name.is_empty() { id.to_string() } else { name.clone() },
        // The server's administrator decides; else what the machine's configuration says.
        group: settings.group_of(&id).map(|it| it.name.clone()).or_else(|| group.clone()),
        volume: id,
        machine: link.machine.and_then(|machine| super::fault::machine_id(machine).ok()),
        state,
        state_text,
        level,
        attention: attention.map(str::to_owned),
        length,
        rpo_seconds,
        rpo_target_seconds: Some(target),
        latest_ms,
        first_sync,
        receive_rate: link.rate,
        gap,
        stored_bytes: Some(listed.stored_bytes()),
        connected: link.is_connected,
    }
}

fn state(listed: &list::Volume, newest: Option<&list::Session>, link: &Link) -> (State, String) {
    if let Some(error) = damage(listed) {
        return (State::Damaged, error.to_owned());
    }
    let Some(newest) = newest else {
        return (State::Waiting, "nothing is stored yet".to_owned());
    };
    let (state, text) = match &newest.content {
        Content::Damaged { error, .. } => return (State::Damaged, error.clone()),
        Content::Empty => (State::Waiting, "nothing is stored yet"),
        Content::FirstSync(_) => (State::FirstSync, "the first sync runs"),
        Content::Gap(_) => (State::Gap, "in a gap: writes are not captured, or read again"),
        Content::Complete(_) => (State::Protected, "every write is captured"),
    };
    if link.is_connected {
        let phase = link.told.as_ref().map(|told| &*told.report.phase);
        return match (state, phase) {
            // What is stored does not say which of the two it is.
            (State::Gap, Some("resync")) => {
                (State::Resync, "writes are captured; what a gap left is read again".to_owned())
            }
            (State::Gap, Some("gap")) => (state, "in a gap: writes are not captured".to_owned()),
            _ => (state, text.to_owned()),
        };
    }
    if link.known.is_paused {
        return (State::Paused, "paused by an administrator of the machine".to_owned());
    }
    match state {
        State::Waiting => (state, text.to_owned()),
        State::FirstSync => {
            (State::Disconnected, "not connected; the first sync is not complete".to_owned())
        }
        State::Gap => (State::Disconnected, "not connected, in a gap".to_owned()),
        _ => (State::Disconnected, "not connected".to_owned()),
    }
}

/// What is wrong with the volume as a whole, or with its newest session that is damaged.
fn damage(listed: &list::Volume) -> Option<&str> {
    let mut damaged = listed.sessions.iter().rev().filter_map(|session| match &session.content {
        Content::Damaged { error, .. } => Some(error.as_str()),
        _ => None,
    });
    listed.error.as_deref().or_else(|| damaged.next())
}

fn attention(state: State, is_late: bool) -> (Level, Option<&'static str>) {
    match state {
        State::Damaged => (
            Level::Critical,
            Some("verify says what is damaged; the machine's service begins a new session"),
        ),
        State::Gap => (Level::Warning, Some("see whether the disk and the link keep up")),
        State::Disconnected if is_late => {
            (Level::Warning, Some("see whether the machine and its service run"))
        }
        State::Resync => (Level::Notice, Some("a new point comes once it has been read")),
        State::Paused => (Level::Notice, Some("`snapless resume` on the machine has it go on")),
        State::Disconnected => (Level::Notice, None),
        State::FirstSync if is_late => {
            (Level::Warning, Some("there is no new point yet: see whether the first sync goes on"))
        }
        _ if is_late => {
            (Level::Warning, Some("the latest point is old: see whether the link keeps up"))
        }
        _ => (Level::Ok, None),
    }
}

fn progress(stream: &list::Stream, length: Option<u64>, link: &Link) -> Progress {
    let total = length.unwrap_or_default();
    let known = u128::from(stream.blocks_known) * u128::from(total);
    let done = u64::try_from(known / u128::from(stream.blocks.max(1))).unwrap_or(total).min(total);
    let rate = link.rate.filter(|rate| *rate > 0);
    Progress { done, total, rate, eta_seconds: rate.map(|rate| (total - done).div_ceil(rate)) }
}

/// A gap of a list.
pub(super) fn shown_gap(gap: &list::Gap) -> Option<Gap> {
    let reason = snapless_types::GapReason::from_wire(gap.reason);
    Some(Gap {
        from_ms: ms_before(&gap.from)?,
        to_ms: gap.to.as_deref().and_then(ms_after),
        reason: reason.map_or_else(|| gap.reason.to_string(), |it| it.name().to_owned()),
        reason_text: reason.map_or(gap.reason_text, |it| it.text()).to_owned(),
    })
}

/// A session of a list.
pub(super) fn session(listed: &list::Session) -> StoredSession {
    let shape = listed.shape.as_ref();
    let mut shown = StoredSession {
        session: listed.session.clone(),
        created_ms: shape.and_then(|shape| ms_before(&shape.created)),
        length: shape.map(|shape| shape.length),
        block_size: shape.map(|shape| shape.block_size.into()),
        sector_size: shape.map(|shape| shape.sector_size.into()),
        ..StoredSession::default()
    };
    if let Content::Damaged { error, .. } = &listed.content {
        shown.damage = Some(error.clone());
    }
    if let Some(stream) = listed.content.stream() {
        shown.t0_ms = stream.t0.as_deref().and_then(ms_before);
        shown.t0_restorable = stream.t0_restorable;
        shown.latest_ms = stream.latest.as_deref().and_then(ms_before);
        shown.whole_from_ms = stream.whole_from.as_deref().and_then(ms_after);
        shown.stored_bytes = Some(stream.stored_bytes);
        shown.blocks = Some(stream.blocks);
        shown.blocks_known = Some(stream.blocks_known);
        shown.blocks_with_holes = Some(stream.blocks_with_holes);
        shown.excluded_bytes = Some(stream.excluded_bytes);
        shown.epochs = Some(stream.epochs);
        shown.gaps = stream.gaps.len() as u64;
    }
    shown
}

/// The last comparison of a copy.
pub(super) fn copy_check(listed: &list::Volume) -> Option<CopyCheck> {
    let verified = listed.sessions.last()?.content.stream()?.verified.as_ref()?;
    Some(CopyCheck {
        time_ms: ms_before(&verified.time)?,
        same_bytes: verified.same_bytes,
        differing_bytes: verified.differing_bytes,
        unclear_bytes: verified.unclear_bytes,
        left_out_bytes: verified.left_out_bytes.saturating_add(verified.overtaken_bytes),
        damaged: verified.damaged,
    })
}

/// What a connected machine has told last. The server knows by itself what it receives.
pub(super) fn live(link: &Link, now_ms: u64) -> Live {
    let received = link.rate;
    let Some(told) = &link.told else {
        let rates = Rates { received, ..Rates::default() };
        return Live { time_ms: now_ms, activity: STREAMING.to_owned(), rates, ..Live::default() };
    };
    let report = &told.report;
    let (queue, holds) = (&report.queue, &report.holds);
    Live {
        time_ms: ms(told.time).unwrap_or(now_ms),
        activity: if report.is_paused { "paused" } else { STREAMING }.to_owned(),
        last_error: report.last_error.clone(),
        rates: Rates { received, drained: told.drained, sent: told.sent },
        queue: Some(Queue { used: queue.used, kept: queue.kept, capacity: queue.capacity }),
        holds: Some(Holds {
            now: holds.now,
            held: holds.held,
            longest_us: holds.longest_us,
            buckets: holds.buckets.clone(),
        }),
        counters: report.counters.clone(),
    }
}

/// A policy in the words of the API.
pub(super) fn policy(policy: &Policy) -> ShownPolicy {
    let Policy { hourly, daily, weekly, monthly, yearly, .. } = *policy;
    ShownPolicy {
        keep_all: policy.keep_all.to_string(),
        hourly,
        daily,
        weekly,
        monthly,
        yearly,
        bookmarks: policy.bookmarks.to_string(),
        time_zone: policy.time_zone.to_string(),
    }
}

/// A number of a chart.
#[expect(clippy::cast_precision_loss, reason = "for a chart")]
pub(super) fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(contents: Vec<Content>) -> list::Volume {
        let shape = list::Shape {
            created: "1970-01-01T00:01:00Z".to_owned(),
            length: 1 << 20,
            sector_size: 512,
            block_size: 4096,
        };
        let session =
            |content| list::Session { session: String::new(), shape: Some(shape.clone()), content };
        list::Volume {
            volume: String::new(),
            sessions: contents.into_iter().map(session).collect(),
            latest: None,
            bookmarks: Vec::new(),
            error: None,
        }
    }

    fn shown(listed: &list::Volume, now_ms: u64) -> VolumeLine {
        let id = VolumeId::parse("71a27cdd-812a-11d0-bec7-08002be2092f").unwrap();
        line(id, listed, &Link::default(), &Settings::default(), now_ms)
    }

    #[test]
    fn damage_of_any_session_is_the_volumes() {
        let damaged = Content::Damaged { error: "a hole".to_owned(), points: Vec::new() };
        let shown = shown(&volume(vec![damaged, Content::Empty]), 0);
        assert_eq!((shown.state, &*shown.state_text), (State::Damaged, "a hole"));
        assert_eq!(shown.level, Level::Critical);
    }

    #[test]
    fn without_a_point_the_rpo_counts_from_the_first_session() {
        let shown = shown(&volume(vec![Content::Empty, Content::Empty]), 1_060_000);
        assert_eq!((shown.latest_ms, shown.rpo_seconds), (None, Some(1000)));
        assert_eq!(shown.level, Level::Warning);
    }

    #[test]
    fn what_can_be_restored_is_rounded_inwards() {
        assert_eq!(ms_after("1970-01-01T00:00:00.0010001Z"), Some(2));
        assert_eq!(ms_before("1970-01-01T00:00:00.0019999Z"), Some(1));
        for exact in [ms_after, ms_before] {
            assert_eq!(exact("1970-01-01T00:00:00.007Z"), Some(7));
        }
    }
}
