//! A volume takes part in a meeting: its image ends at an instant that volumes of several machines
//! have in common ([`crate::meeting`]).
//!
//! Rule: the machine takes part only with a volume that its own configuration has in the group.
//! Whatever fails on the way, writes wait no longer than the cut, and the group gets no bookmark.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use snapless_link::meeting::Invitation;
use snapless_link::question::MeetingEnd;
use snapless_wire::id::{FileTime, VolumeGuid};

use super::groups::Ended;
use super::instant::Source;
use super::points::Asked;
use super::{Administration, AdministrationError};
use crate::attempt::guarded;
use crate::inquiry::{self, ARRIVAL_LIMIT};
use crate::meeting::{Call, Clocks, EXCHANGES, EXCHANGES_MAX, Exchange};

/// The volumes that take part in a meeting, and to what each was called meanwhile.
type Attending = Arc<Mutex<HashMap<VolumeGuid, Option<Invitation>>>>;

/// Takes part in the meetings to which the server calls, each volume on a thread of its own. A
/// volume takes part in one at a time, and then in the last one to which it was called meanwhile.
pub(crate) fn attend_all(administration: &Arc<Administration>, calls: &Receiver<Call>) {
    let attending = Attending::default();
    for Call { volume, invitation } in calls {
        match lock(&attending).entry(volume) {
            Entry::Occupied(mut next) => {
                next.insert(Some(invitation));
                continue;
            }
            Entry::Vacant(none) => none.insert(None),
        };
        let (administration, attending) = (Arc::clone(administration), Arc::clone(&attending));
        thread::spawn(move || {
            let mut next = Some(invitation);
            while let Some(invitation) = next {
                if let Err(text) = guarded(|| administration.attend(volume, &invitation)) {
                    log::error!("volume {volume}: no bookmark of its group: {text}");
                }
                let mut attending = lock(&attending);
                next = attending.get_mut(&volume).and_then(Option::take);
                if next.is_none() {
                    attending.remove(&volume);
                }
            }
        });
    }
}

fn lock(attending: &Attending) -> MutexGuard<'_, HashMap<VolumeGuid, Option<Invitation>>> {
    // Every change is one call.
    attending.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Administration {
    /// Takes part with a volume; logs what comes of it.
    fn attend(&self, volume: VolumeGuid, invitation: &Invitation) {
        let Invitation { meeting, group } = invitation;
        let asked = {
            let supervisor = self.supervisor();
            let configured = supervisor.config().volumes.iter().find(|it| it.guid == volume);
            configured.and_then(|it| Asked::of(&supervisor, it).ok())
        };
        // One that is not configured any more goes on for a moment.
        let Some(asked) = asked else { return };
        let name = &asked.volume.name;
        match self.take_part(&asked, invitation) {
            Ok(bookmark) => log::info!("{name}: group {group} has the bookmark {bookmark}"),
            Err(error) => {
                log::warn!("{name}: no bookmark of group {group}: {error}");
                let (connector, limits) = (&asked.connector, &asked.limits);
                let why = error.to_string();
                if let Err(error) = inquiry::leave(connector, limits, *meeting, volume, &why) {
                    // The meeting is over, or waits in vain for a while.
                    log::debug!("{name}: the server was not told: {error}");
                }
            }
        }
    }

    /// The bookmark's name.
    fn take_part(
        &self,
        asked: &Asked,
        invitation: &Invitation,
    ) -> Result<String, AdministrationError> {
        let Asked { volume, counters, connector, limits, .. } = asked;
        let Invitation { meeting, group } = invitation;
        if volume.group.as_ref() != Some(group) {
            let (volume, group) = (volume.name.clone(), group.clone());
            return Err(AdministrationError::NotInGroup { volume, group });
        }
        if volume.paused {
            return Err(AdministrationError::Paused { volume: volume.name.clone() });
        }
        let _turn = counters.stream().turn();
        let (source, session, before) = self.present(volume)?;
        let clocks = clocks(asked, &source, |_| true)?;
        let instant = inquiry::join(connector, limits, *meeting, volume.guid)?;
        let cut = clocks.cut(instant).ok_or(AdministrationError::ClocksUnknown)?;
        let at = cut.until - 1;
        if !counters.stream().ask(session, at, before.last_seq) {
            return Err(AdministrationError::NoCommonInstant);
        }
        source.cut(cut)?;
        let Some(Ended { seq, status }) = self.end_at(asked, &source, at)? else {
            return Err(AdministrationError::NoCommonInstant);
        };
        if status.counters.writes_past_cut != before.counters.writes_past_cut {
            return Err(AdministrationError::PastCut);
        }
        let are_still = |now: &Clocks| clocks.are_still(now);
        if !are_still(&self::clocks(asked, &source, are_still)?) {
            return Err(AdministrationError::ClocksApart);
        }
        // By the wall clock as it was read behind it.
        let time = FileTime::new(status.time.get().saturating_sub(status.monotonic - at));
        inquiry::wait_for_arrival(time, ARRIVAL_LIMIT, || asked.arrived(seq))
            .map_err(|latest| AdministrationError::NotArrived { latest })?;
        let (session, seq, time) = (session.to_string(), seq.get(), time.get());
        let end = MeetingEnd { session, seq, time };
        Ok(inquiry::end(connector, limits, *meeting, volume.guid, end)?.name)
    }
}

/// Compares the driver's clock with the server's, until it is known well enough or as often as is
/// worth while.
fn clocks(
    asked: &Asked,
    source: &Source,
    is_enough: impl Fn(&Clocks) -> bool,
) -> Result<Clocks, AdministrationError> {
    let mut exchanges = Vec::new();
    loop {
        let mut question = inquiry::ClockQuestion::connect(&asked.connector, &asked.limits)?;
        let (_, status) = source.whole()?;
        let server = question.ask()?;
        let (before, (_, status)) = (status.monotonic, source.whole()?);
        exchanges.push(Exchange { before, server, after: status.monotonic });
        let clocks = Clocks::of(&exchanges).ok_or(AdministrationError::ClocksApart)?;
        let is_known = exchanges.len() >= EXCHANGES && is_enough(&clocks);
        if is_known || exchanges.len() >= EXCHANGES_MAX {
            return Ok(clocks);
        }
    }
}
