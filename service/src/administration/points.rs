//! What administrators ask the server for by the service: what can be restored of a volume, and
//! that the present instant gets a name.
//!
//! The instant is the driver's: what an application has seen written before the command belongs to
//! it, as to the image that a power cut at that instant would leave (rule T0, rules.md#t0, has the
//! same of t0).

use std::sync::Arc;

use snapless_driver_client::{DriverError, VolumeName};
use snapless_link::client::LinkLimits;
use snapless_link::question::{Bookmarked, Points};

use super::{Administration, AdministrationError, not_configured};
use crate::config::VolumeConfig;
use crate::connector::Connector;
use crate::counters::Counters;
use crate::inquiry::{self, ARRIVAL_LIMIT};

/// A configured volume, and how its server is asked about it.
struct Asked {
    volume: VolumeConfig,
    counters: Arc<Counters>,
    connector: Connector,
    limits: LinkLimits,
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
    ) -> Result<Bookmarked, AdministrationError> {
        let volume: VolumeName = volume.parse()?;
        let asked = self.asked(&volume)?;
        if asked.volume.paused {
            return Err(AdministrationError::Paused { volume });
        }
        let device = self.driver.device_of(&asked.volume.name)?;
        let port = self.driver.open()?;
        let Some(session) = port.find(&device)?.and_then(|it| it.session) else {
            return Err(AdministrationError::NoSession { volume });
        };
        let status = match port.status(session) {
            Err(DriverError::NotFound(_)) => return Err(AdministrationError::NoSession { volume }),
            status => status?,
        };
        if !status.consistent {
            return Err(AdministrationError::Gap { volume });
        }
        if !status.base_complete {
            return Err(AdministrationError::FirstSync { volume });
        }
        inquiry::wait_for_arrival(status.time, ARRIVAL_LIMIT, || {
            asked.counters.last_acknowledged().latest()
        })
        .map_err(|latest| AdministrationError::NotArrived { latest })?;
        let Asked { volume, connector, limits, .. } = asked;
        let of = (volume.guid, session);
        Ok(inquiry::bookmark(&connector, &limits, of, status.time, name)?)
    }

    fn asked(&self, name: &VolumeName) -> Result<Asked, AdministrationError> {
        let device = self.driver.device_of(name);
        let supervisor = self.supervisor();
        let configured = self.configured(supervisor.config(), name, device.as_ref().ok());
        let Some((_, volume)) = configured else {
            return Err(not_configured(name.clone(), device));
        };
        let volume = volume.clone();
        let asked = supervisor.config().connector().zip(supervisor.counters(volume.guid));
        let (connector, counters) = asked.ok_or(AdministrationError::NoServer)?;
        Ok(Asked { volume, counters, connector, limits: supervisor.link_limits() })
    }
}
