//! The questions by which volumes of several machines get a common bookmark
//! ([`snapless_link::meeting`]).

use snapless_link::meeting::Invitation;
use snapless_link::question::{Bookmarked, MeetingEnd, Met, RefusedKind, Reply};
use snapless_types::Seq;
use snapless_wire::id::{FileTime, VolumeGuid};

use super::{Common, common_bookmark, given_name, kind_of, may_have};
use crate::connected::NotCalled;
use crate::error::Result;
use crate::groups::Groups;
use crate::host::Host;
use crate::repository::Repository;
use crate::stop::StopFlag;

/// Calls the volumes of a group, waits until all have ended at one instant, and names it. The
/// volumes are those of which the machine that asks knows that they are in the group.
pub(super) fn meet(
    host: &Host,
    repository: &Repository,
    (group, volumes): (&str, &[VolumeGuid]),
    name: &str,
    stop: &StopFlag,
) -> Result<Reply> {
    let groups = Groups::read(repository.store())?;
    let Some(members) = groups.find(group) else {
        let why = format!("the server has no group {group}: `snapless-server group set` makes one");
        return Ok(Reply::refused(RefusedKind::NoGroup, why));
    };
    let members = members.volumes();
    if let Some(other) = volumes.iter().find(|volume| !members.contains(volume)) {
        let why = format!(
            "volume {other} is in group {group} on this machine, but not at the server: have its \
             administrator run `snapless-server group set {group}` with all volumes of the group"
        );
        return Ok(Reply::refused(RefusedKind::NotAllowed, why));
    }
    let name = match given_name(name) {
        Ok(name) => name,
        Err(refused) => return Ok(refused),
    };
    for &volume in members {
        if let Err(refused) = may_have(repository, volume, &name)? {
            return Ok(refused);
        }
    }
    let Some(meeting) = host.meetings.open(group, members) else {
        let why = format!("group {group} gets a bookmark just now: try again when that is there");
        return Ok(Reply::refused(RefusedKind::Busy, why));
    };
    let invitation = Invitation { meeting: meeting.id, group: group.to_owned() };
    let called = members.iter().try_for_each(|volume| call(host, *volume, &invitation));
    let ends = match called.and_then(|()| meeting.ends(stop)) {
        Ok(ends) => ends,
        Err(why) => {
            meeting.close(Err(why.clone()));
            return Ok(failed(why));
        }
    };
    let common: Vec<_> = ends
        .iter()
        .map(|(volume, MeetingEnd { session, seq, time })| Common {
            volume: *volume,
            session,
            seq: Seq::new(*seq),
            time: FileTime::new(*time),
        })
        .collect();
    let made = match common_bookmark(repository, &common, (name, meeting.id), stop) {
        Ok(Ok(made)) => made,
        Ok(Err(refused)) => {
            meeting.close(Err("the server has refused the name".to_owned()));
            return Ok(refused);
        }
        Err(error) => {
            meeting.close(Err(error.to_string()));
            return Ok(Reply::refused(kind_of(&error), error));
        }
    };
    let met = common.iter().zip(&made).map(|(at, made)| met(host, at.volume, made));
    let met = met.collect();
    meeting.close(Ok(common.iter().map(|at| at.volume).zip(made).collect()));
    Ok(Reply::Met(met))
}

/// Calls a volume; otherwise says why it cannot be called.
fn call(
    host: &Host,
    volume: VolumeGuid,
    invitation: &Invitation,
) -> std::result::Result<(), String> {
    host.connected.call(volume, invitation).map_err(|why| {
        let why = match why {
            NotCalled::Away => "its machine is not connected, or has paused it",
            NotCalled::Older => {
                "its machine has not told yet that it takes part, or its Snapless is of an older \
                 release; try again in a few seconds"
            }
        };
        format!("volume {volume}: {why}")
    })
}

/// A volume takes part, and waits for the instant.
pub(super) fn join(host: &Host, meeting: u64, volume: VolumeGuid, stop: &StopFlag) -> Reply {
    host.meetings.join(meeting, volume, stop).map_or_else(failed, Reply::Cut)
}

/// A volume's stream ends there at the instant; waits until that has its name.
pub(super) fn end(
    host: &Host,
    meeting: u64,
    volume: VolumeGuid,
    end: &MeetingEnd,
    stop: &StopFlag,
) -> Reply {
    host.meetings.end(meeting, volume, end.clone(), stop).map_or_else(failed, Reply::Bookmarked)
}

/// A volume does not take part.
pub(super) fn leave(host: &Host, meeting: u64, volume: VolumeGuid, why: &str) -> Reply {
    host.meetings.leave(meeting, volume, why).map_or_else(failed, |()| Reply::Left)
}

fn met(host: &Host, volume: VolumeGuid, made: &Bookmarked) -> Met {
    let machine = host.connected.of(volume).and_then(|it| it.machine_name.clone());
    let name = host.connected.known(volume).map(|known| known.name).unwrap_or_default();
    Met { machine, name, made: made.clone() }
}

fn failed(why: String) -> Reply {
    let why = format!("the group has no bookmark: {why}");
    Reply::refused(RefusedKind::NotRestorable, why)
}
