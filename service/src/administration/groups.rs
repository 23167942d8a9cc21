//! Consistency groups: one instant of all volumes of a group gets a name, and which instants they
//! have in common.
//!
//! Rule: a common bookmark shows every volume as one power cut would have left them all. Each image
//! ends with the last record up to one time of the machine's monotonic clock ([`crate::drained`]);
//! no write waits for it, and the wall clock decides nothing. Volumes of several machines have no
//! such clock: [`super::meeting`].

mod common_points;

use std::thread;
use std::time::{Duration, Instant};

use snapless_control::message::{GroupBookmarked, GroupPoints, GroupSession};
use snapless_driver_client::SessionStatus;
use snapless_link::question::{Bookmarked, CommonPoint, Met};
use snapless_types::Seq;
use snapless_wire::id::{FileTime, SessionId};

use super::instant::Source;
use super::points::Asked;
use super::{Administration, AdministrationError};
use crate::config::VolumeConfig;
use crate::drained::End;
use crate::inquiry::{self, ARRIVAL_LIMIT};

/// How far ahead the instant is, in ticks of 100 ns: the driver's clock goes on by up to 16 ms at
/// once.
const AHEAD: u64 = 1_000_000;
/// How often it is looked whether it has come, and whether all up to it was drained.
const STEP: Duration = Duration::from_millis(10);
/// How many instants are tried: one fails if a link or a session begins anew meanwhile.
const TRIES: u32 = 3;

/// Where the stream of a volume had come to.
pub(super) struct Ended {
    /// The last record up to the instant.
    pub(super) seq: Seq,
    /// What the driver said behind it.
    pub(super) status: SessionStatus,
}

/// An instant, and where the stream of each volume had come to.
struct Common {
    time: FileTime,
    ends: Vec<(SessionId, Seq)>,
}

impl Administration {
    /// What can be restored of all volumes of a group at once.
    pub(super) fn group_points(&self, group: &str) -> Result<GroupPoints, AdministrationError> {
        let mut told = Vec::new();
        for Asked { volume, connector, limits, .. } in self.members(group)? {
            let points = inquiry::points(&connector, &limits, volume.guid)?;
            told.push((volume.name.to_string(), points));
        }
        Ok(common_points::of(group, told))
    }

    /// Has the server name the present instant of all volumes of a group: of those of this machine,
    /// unless the server's administrator has a group of that name, whose volumes may be of several
    /// machines.
    pub(super) fn group_bookmark(
        &self,
        group: &str,
        name: &str,
    ) -> Result<GroupBookmarked, AdministrationError> {
        let members = self.members(group)?;
        if let Some(paused) = members.iter().find(|it| it.volume.paused) {
            return Err(AdministrationError::Paused { volume: paused.volume.name.clone() });
        }
        let first = members.first().ok_or_else(|| no_group(group))?;
        let volumes = members.iter().map(|it| it.volume.guid.to_string()).collect();
        let met = inquiry::meet(&first.connector, &first.limits, (group, volumes), name)?;
        let volumes = match met {
            Some(met) => met.into_iter().map(met_session).collect(),
            None => self.own_bookmark(&members, name)?,
        };
        let time = volumes.first().map(|it: &GroupSession| it.time.clone());
        let time = time.ok_or_else(|| no_group(group))?;
        Ok(GroupBookmarked { group: group.to_owned(), name: name.to_owned(), time, volumes })
    }

    /// The same of volumes of this machine.
    fn own_bookmark(
        &self,
        members: &[Asked],
        name: &str,
    ) -> Result<Vec<GroupSession>, AdministrationError> {
        let Common { time, ends } = self.common_instant(members)?;
        for (member, (_, seq)) in members.iter().zip(&ends) {
            inquiry::wait_for_arrival(time, ARRIVAL_LIMIT, || member.arrived(*seq))
                .map_err(|latest| AdministrationError::NotArrived { latest })?;
        }
        let points = members.iter().zip(&ends).map(|(member, (session, seq))| CommonPoint {
            volume: member.volume.guid.to_string(),
            session: session.to_string(),
            seq: seq.get(),
        });
        let points = points.collect();
        let Some(first) = members.first() else { return Ok(Vec::new()) };
        let made = inquiry::common_bookmark(&first.connector, &first.limits, points, time, name)?;
        let named = |(member, made): (&Asked, Bookmarked)| {
            let Bookmarked { volume, session, time, .. } = made;
            GroupSession {
                machine: None,
                name: member.volume.name.to_string(),
                volume,
                session,
                time,
            }
        };
        Ok(members.iter().zip(made).map(named).collect())
    }

    /// An instant that all volumes have in common, outside of every gap.
    fn common_instant(&self, members: &[Asked]) -> Result<Common, AdministrationError> {
        // In the order of the configuration, as whoever else takes more than one.
        let _turns: Vec<_> = members.iter().map(|it| it.counters.stream().turn()).collect();
        for _ in 0..TRIES {
            if let Some(common) = self.try_common_instant(members)? {
                return Ok(common);
            }
        }
        Err(AdministrationError::NoCommonInstant)
    }

    /// The same; `None` if a later instant has to be tried.
    fn try_common_instant(&self, members: &[Asked]) -> Result<Option<Common>, AdministrationError> {
        let mut before = Vec::new();
        for member in members {
            before.push(self.present(&member.volume)?);
        }
        let newest = before.iter().map(|(_, _, status)| status).max_by_key(|it| it.monotonic);
        let Some(SessionStatus { time, monotonic, .. }) = newest else { return Ok(None) };
        let (time, at) = (FileTime::new(time.get() + AHEAD), monotonic + AHEAD);
        for (member, (_, session, status)) in members.iter().zip(&before) {
            if !member.counters.stream().ask(*session, at, status.last_seq) {
                // Its stream has not begun yet, perhaps.
                thread::sleep(STEP);
                return Ok(None);
            }
        }
        let mut ends = Vec::new();
        for (member, (source, session, _)) in members.iter().zip(&before) {
            let Some(Ended { seq, .. }) = self.end_at(member, source, at)? else { return Ok(None) };
            ends.push((*session, seq));
        }
        Ok(Some(Common { time, ends }))
    }

    /// Where a volume's stream ends at an instant that was asked for; waits until it is known.
    /// `None` if a later instant has to be tried.
    pub(super) fn end_at(
        &self,
        member: &Asked,
        source: &Source,
        at: u64,
    ) -> Result<Option<Ended>, AdministrationError> {
        let begun = Instant::now();
        let is_late = || begun.elapsed() >= ARRIVAL_LIMIT;
        let behind = || {
            let latest = member.counters.last_acknowledged().latest();
            AdministrationError::NotArrived { latest }
        };
        let status = loop {
            let (_, status) = match source.whole() {
                // Another session is one of a later instant; without any it is said why.
                Err(AdministrationError::NoSession { .. }) => {
                    self.present(&member.volume)?;
                    return Ok(None);
                }
                whole => whole?,
            };
            if status.monotonic > at {
                break status;
            }
            if is_late() {
                return Err(behind());
            }
            thread::sleep(STEP);
        };
        loop {
            match member.counters.stream().answer(status.last_seq) {
                End::Known(seq) => return Ok(Some(Ended { seq, status })),
                End::Unknown => return Ok(None),
                End::NotDrained if is_late() => return Err(behind()),
                End::NotDrained => thread::sleep(STEP),
            }
        }
    }

    /// A volume's session, in which the present instant can be restored.
    pub(super) fn present(
        &self,
        volume: &VolumeConfig,
    ) -> Result<(Source, SessionId, SessionStatus), AdministrationError> {
        let device = self.driver.device_of(&volume.name)?;
        let source = Source::find(&self.driver, &device, volume.name.clone())?;
        let (session, status) = source.whole()?;
        Ok((source, session, status))
    }

    /// The volumes of a group, and how their server is asked.
    fn members(&self, group: &str) -> Result<Vec<Asked>, AdministrationError> {
        let supervisor = self.supervisor();
        let config = supervisor.config();
        let members = config.group(group).map(|volume| Asked::of(&supervisor, volume));
        let members = members.collect::<Result<Vec<_>, _>>()?;
        if members.is_empty() { Err(no_group(group)) } else { Ok(members) }
    }
}

fn met_session(Met { machine, name, made }: Met) -> GroupSession {
    let Bookmarked { volume, session, time, .. } = made;
    GroupSession { machine, name, volume, session, time }
}

fn no_group(group: &str) -> AdministrationError {
    AdministrationError::NoGroup(group.to_owned())
}
