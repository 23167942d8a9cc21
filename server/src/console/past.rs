//! A volume's timeline: what can be restored, what not, and how much changed when.

use snapless_console::estate::Stretch;
use snapless_console::fault::Result;
use snapless_console::model::{
    At, Bookmark, Changes, Gap, Heat, Point, Restorable, Start, Timeline, VolumeId,
};
use snapless_wire::id::VolumeGuid;

use super::changes::Counted;
use super::estate::Stored;
use super::fault::guid;
use super::lines::{float, ms, ms_after, ms_before, now_ms, policy, shown_gap};
use crate::bookmarks::Shown;
use crate::list::{self, Content, Points, list_volume};
use crate::point_name::PointName;
use crate::restore::Found;
use crate::retention::policy::Policies;
use crate::stop::StopFlag;
use crate::time;

/// The stretches of all sessions, in order of their begins.
fn restorable(listed: &list::Volume) -> Vec<Restorable> {
    let mut found = Vec::new();
    for session in &listed.sessions {
        let (points, whole_from) = match &session.content {
            Content::Damaged { points, .. } => (&points[..], None),
            content => content.stream().map_or((&[][..], None), |stream| {
                (&stream.points[..], stream.whole_from.as_deref())
            }),
        };
        let whole_from = whole_from.and_then(time::from_text);
        for Points { from, to } in points {
            let is_folded = whole_from.zip(time::from_text(to)).is_some_and(|(from, to)| to < from);
            let (Some(from_ms), Some(to_ms)) = (ms_after(from), ms_before(to)) else { continue };
            // A stretch within a millisecond has no whole one.
            let single = is_folded || to_ms <= from_ms;
            found.push(Restorable {
                from_ms,
                to_ms: to_ms.max(from_ms),
                session: session.session.clone(),
                single,
                at: single.then(|| to.clone()),
            });
        }
    }
    found.sort_by_key(|it| it.from_ms);
    found
}

fn gaps(listed: &list::Volume) -> Vec<Gap> {
    listed.streams().flat_map(|stream| stream.gaps.iter().filter_map(shown_gap)).collect()
}

/// A bookmark of a list.
pub(super) fn bookmark(shown: &Shown) -> Bookmark {
    Bookmark {
        name: shown.name.clone(),
        time_ms: shown.time.as_deref().and_then(ms_before),
        session: shown.session.clone(),
        created_ms: shown.created.as_deref().and_then(ms_before),
        keep: shown.keep.clone(),
        error: shown.error.clone(),
    }
}

impl Stored {
    /// What is stored of a volume, looked at now.
    pub(super) fn list(&self, volume: VolumeGuid) -> Result<list::Volume> {
        self.must_know(volume)?;
        Ok(list_volume(&self.repository, volume, &StopFlag::default())?)
    }

    pub(super) fn timeline_of(
        &self,
        id: &VolumeId,
        stretch: Stretch,
        buckets: u32,
    ) -> Result<Timeline> {
        let volume = guid(id)?;
        let listed = self.list(volume)?;
        let restorable = restorable(&listed);
        let start = |session: &list::Session| {
            let stream = session.content.stream()?;
            let time_ms = ms_before(stream.t0.as_deref()?)?;
            let session = session.session.clone();
            Some(Start { session, time_ms, restorable: stream.t0_restorable })
        };
        let t0: Vec<_> = listed.sessions.iter().filter_map(start).collect();
        let begin_ms = t0.iter().map(|start| start.time_ms).min();
        let now_ms = now_ms();
        let changes = match begin_ms {
            Some(begin_ms) if buckets > 0 => {
                let (from, to) = ends(stretch, begin_ms, now_ms);
                Some(over_time(
                    &self.changes.of((&self.repository, &self.stop), volume, &listed),
                    from,
                    to,
                    buckets,
                ))
            }
            _ => None,
        };
        let policies = Policies::read(self.repository.store())?;
        Ok(Timeline {
            volume: id.clone(),
            now_ms,
            begin_ms,
            end_ms: listed.latest.as_ref().and_then(|latest| ms_before(&latest.time)),
            gaps: gaps(&listed),
            bookmarks: listed.bookmarks.iter().map(bookmark).collect(),
            t0,
            retention: policy(&policies.of(volume)),
            restorable,
            changes,
        })
    }

    pub(super) fn heat_of(&self, id: &VolumeId, stretch: Stretch, parts: u32) -> Result<Heat> {
        let volume = guid(id)?;
        let listed = self.list(volume)?;
        let now_ms = now_ms();
        let counted = self.changes.of((&self.repository, &self.stop), volume, &listed);
        let begin_ms = counted.begin_ms().unwrap_or(now_ms);
        let (from_ms, to_ms) = ends(stretch, begin_ms, now_ms);
        let bytes = counted.over_volume(from_ms, to_ms, parts);
        Ok(Heat {
            volume: id.clone(),
            from_ms,
            to_ms,
            length: listed.sessions.last().and_then(|it| it.shape.as_ref()).map(|it| it.length),
            parts: u32::try_from(bytes.len()).unwrap_or_default(),
            bytes,
            complete: counted.is_complete(),
            counted: counted.share(),
        })
    }

    pub(super) fn point_of(&self, id: &VolumeId, at: &At) -> Result<Point> {
        let volume = guid(id)?;
        let listed = self.list(volume)?;
        let found = self.find(volume, at);
        let mut point = Point {
            at: at.to_string(),
            restorable: false,
            time_ms: None,
            time: None,
            session: None,
            why: None,
            before_ms: None,
            after_ms: None,
        };
        let asked = match found {
            Ok(found) => {
                let at = found.point().time;
                point.restorable = true;
                point.time_ms = ms(at);
                point.time = Some(time::to_text(at));
                point.session = Some(found.header().session.to_string());
                ms(at)
            }
            Err(fault) => {
                point.why = Some(fault.message);
                let now = time::now();
                let text = at.as_str();
                time::from_text(text).or_else(|| time::ago(text, now)).and_then(ms)
            }
        };
        if let Some(asked) = asked {
            let stretches = restorable(&listed);
            let before = stretches.iter().filter(|it| it.from_ms <= asked);
            point.before_ms = before.map(|it| it.to_ms.min(asked)).max();
            let after = stretches.iter().filter(|it| it.to_ms >= asked);
            point.after_ms = after.map(|it| it.from_ms.max(asked)).min();
        }
        Ok(point)
    }

    /// The point that a text names.
    fn find(&self, volume: VolumeGuid, at: &At) -> Result<Found> {
        let name: PointName = at.as_str().parse().map_err(snapless_console::fault::Fault::bad)?;
        let source = name.source(&self.repository, volume, None)?;
        Ok(Found::find(&self.repository, &source, &StopFlag::default())?)
    }
}

fn ends(stretch: Stretch, begin_ms: u64, now_ms: u64) -> (u64, u64) {
    let to = stretch.to_ms.unwrap_or(now_ms);
    (stretch.from_ms.unwrap_or(begin_ms).min(to), to)
}

fn over_time(counted: &Counted, from_ms: u64, to_ms: u64, buckets: u32) -> Changes {
    let long = to_ms.saturating_sub(from_ms).max(1);
    Changes {
        from_ms,
        bucket_ms: float(long) / f64::from(buckets),
        bytes: counted.over_time(from_ms, long, buckets),
        complete: counted.is_complete(),
        counted: counted.share(),
    }
}
