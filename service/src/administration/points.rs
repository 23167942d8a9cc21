//! What administrators ask the server for by the service: what can be restored of a volume, and
//! that the present instant gets a name.
//!
//! The instant is the driver's: what an application has seen written before the command belongs to
//! it, as to the image that a power cut at that instant would leave (rule T0, rules.md#t0, has the
//! same of t0).

use std::sync::Arc;

use snapless_control::message::Made;
use snapless_driver_client::VolumeName;
use snapless_link::client::LinkLimits;
use snapless_link::question::{Consistency, Points};
use snapless_types::Seq;
use snapless_wire::id::FileTime;

use super::instant::Source;
use super::{Administration, AdministrationError, Wanted, not_configured};
use crate::config::VolumeConfig;
use crate::connector::Connector;
use crate::consistent::Taken;
use crate::counters::Counters;
use crate::inquiry::{self, ARRIVAL_LIMIT, Instance};
use crate::scripts::Scripts;
use crate::supervisor::Supervisor;

/// A configured volume, and how its server is asked about it.
pub(super) struct Asked {
    pub volume: VolumeConfig,
    pub counters: Arc<Counters>,
    pub connector: Connector,
    pub limits: LinkLimits,
    pub scripts: Scripts,
}

impl Asked {
    /// Of a volume that runs.
    pub fn of(supervisor: &Supervisor, volume: &VolumeConfig) -> Result<Self, AdministrationError> {
        let config = supervisor.config();
        let asked = config.connector_of(volume).zip(supervisor.counters(volume.guid));
        let (connector, counters) = asked.ok_or(AdministrationError::NoServer)?;
        let (limits, scripts) = (supervisor.link_limits(), config.scripts.clone());
        Ok(Self { volume: volume.clone(), counters, connector, limits, scripts })
    }

    /// The last instant that the server has, once it has this record. A session whose first sync is
    /// complete has records.
    pub fn arrived(&self, seq: Seq) -> Option<FileTime> {
        let acknowledged = self.counters.last_acknowledged();
        acknowledged.latest().filter(|_| acknowledged.seq() >= seq)
    }
}

impl Administration {
    /// What the server can restore of a volume.
    pub(super) fn points(&self, volume: &str) -> Result<Points, AdministrationError> {
        let Asked { volume, connector, limits, .. } = self.asked(&volume.parse()?)?;
        Ok(inquiry::points(&connector, &limits, volume.guid)?)
    }

    /// Has the server name the present instant of a volume.
    pub(super) fn bookmark(
        &self,
        volume: &str,
        name: &str,
        wanted: Wanted,
    ) -> Result<Made, AdministrationError> {
        let volume: VolumeName = volume.parse()?;
        let asked = self.asked(&volume)?;
        if asked.volume.paused {
            return Err(AdministrationError::Paused { volume });
        }
        let device = self.driver.device_of(&asked.volume.name)?;
        let source = Source::find(&self.driver, &device, volume)?;
        let Taken { at, consistency, writers, mut notes } =
            self.take(&source, &asked.scripts, name, wanted)?;
        let Asked { volume, counters, connector, limits, .. } = asked;
        inquiry::wait_for_arrival(at.time, ARRIVAL_LIMIT, || counters.last_acknowledged().latest())
            .map_err(|latest| AdministrationError::NotArrived { latest })?;
        let instance = Instance {
            volume: volume.guid,
            session: at.session,
            time: at.time,
            name,
            consistency,
            writers: u16::try_from(writers.len()).unwrap_or(u16::MAX),
        };
        let named = inquiry::bookmark(&connector, &limits, instance)?;
        if named.consistency != Some(consistency) && consistency != Consistency::Crash {
            notes.push(format!(
                "the server is of an older release and has not noted that the bookmark is \
                 {}-consistent",
                consistency.name()
            ));
        }
        Ok(Made { named, writers, notes })
    }

    fn asked(&self, name: &VolumeName) -> Result<Asked, AdministrationError> {
        let device = self.driver.device_of(name);
        let supervisor = self.supervisor();
        let configured = self.configured(supervisor.config(), name, device.as_ref().ok());
        let Some((_, volume)) = configured else {
            return Err(not_configured(name.clone(), device));
        };
        Asked::of(&supervisor, volume)
    }
}
