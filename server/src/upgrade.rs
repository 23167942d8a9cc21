//! Brings a repository to what this release makes: the indices, states, maps and the list of
//! sessions that older releases did not make, or made in another form.
//!
//! All of it is derived from the segments, and a server makes it by itself as its sessions go on.
//! This makes it at once, also for sessions that no service sends to any more. The segments are as
//! they were. A format that an older release cannot read has a newer version, which that refuses.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::session::SessionHeader;
use crate::indexer::make_missing;
use crate::point::keep::keep_due;
use crate::reader::SessionReader;
use crate::repository::{Presence, WritableRepository};
use crate::stop::StopFlag;
use crate::writer::SessionWriter;

/// What was made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Report {
    /// Sessions that were looked at.
    pub sessions: u64,
    /// What was made for a session, of each for which anything was.
    pub made: Vec<Made>,
    /// Sessions that could not be brought up to date.
    pub failed: Vec<Failed>,
}

/// What was made for a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Made {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// Indices of segments.
    pub indices: u64,
    /// Maps.
    pub maps: u64,
    /// The state of the stream's rules.
    pub state: bool,
}

/// A session that could not be brought up to date.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failed {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// Why.
    pub error: String,
    /// It is damaged.
    pub damaged: bool,
}

/// Makes what is missing. Tells `progress` how many sessions are done, and of how many.
///
/// # Errors
/// [`Error::Stopped`], or what keeps the repository from being read. What is wrong with a session
/// is in the report.
pub fn upgrade(
    repository: &WritableRepository,
    (segment_bytes, map_bytes): (u64, u64),
    stop: &StopFlag,
    mut progress: impl FnMut(u64, u64),
) -> Result<Report> {
    let reader = repository.repository();
    let mut sessions = Vec::new();
    for volume in reader.volumes()? {
        sessions.extend(reader.session_ids(volume)?.into_iter().map(|session| (volume, session)));
    }
    let mut report = Report { sessions: sessions.len() as u64, ..Report::default() };
    for (done, (volume, session)) in (0..).zip(sessions) {
        progress(done, report.sessions);
        let upgraded = reader.session(volume, session).and_then(|found| match found {
            Presence::Header(header) => one(repository, header, (segment_bytes, map_bytes), stop),
            Presence::Nothing => Ok(None),
        });
        let (volume, session) = (volume.to_string(), session.to_string());
        match upgraded {
            Ok(made) => report.made.extend(made),
            Err(Error::Stopped) => return Err(Error::Stopped),
            Err(error) => {
                let damaged = error.is_damage();
                report.failed.push(Failed { volume, session, error: error.to_string(), damaged });
            }
        }
    }
    Ok(report)
}

/// Makes what a session lacks; `None` if it lacks nothing.
fn one(
    repository: &WritableRepository,
    header: SessionHeader,
    (segment_bytes, map_bytes): (u64, u64),
    stop: &StopFlag,
) -> Result<Option<Made>> {
    let reader = SessionReader::open(repository.repository().store(), header)?;
    let acknowledged = *reader.acknowledged();
    if acknowledged.epoch.get() == 0 {
        return Ok(None);
    }
    let mut indices = make_missing(&reader, stop)?;
    // One that is damaged is made anew like one that is missing: it is derived.
    let state = reader.read_state().ok().flatten();
    let has_state = state.is_some_and(|(at, _)| at.is_within(&acknowledged));
    // Objects have no indices.
    let is_indexed = |reader: &SessionReader| {
        reader.claims().is_some() || reader.sound_index(acknowledged.segment).is_some()
    };
    let has_last_index = is_indexed(&reader);
    if !has_state || !has_last_index {
        // It makes the index of the last segment whole.
        let (mut writer, state) = SessionWriter::open(repository, &header, segment_bytes, stop)?;
        if !has_state {
            writer.keep_state_now(&state);
        }
    }
    let reader = SessionReader::open(repository.repository().store(), header)?;
    indices += u64::from(!has_last_index && is_indexed(&reader));
    let mut maps = 0;
    while keep_due(&reader, map_bytes, stop)? {
        maps += 1;
    }
    let made = Made {
        volume: header.volume.to_string(),
        session: header.session.to_string(),
        indices,
        maps,
        state: !has_state && reader.read_state().is_ok_and(|it| it.is_some()),
    };
    let is_any = made.indices > 0 || made.maps > 0 || made.state;
    Ok(is_any.then_some(made))
}
