//! The present instant of a volume, with or without its applications prepared for it.
//!
//! Rule: no application is frozen for an instant that cannot be restored anyhow: that is looked at
//! before, and again at the instant.

use std::sync::{Arc, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use snapless_driver_client::{Driver, DriverError, SessionStatus, VolumeName};
use snapless_link::question::Consistency;
use snapless_wire::id::{FileTime, SessionId};
use snapless_wire::ioctl::{CutTime, DeviceName};

use super::{Administration, AdministrationError, Wanted};
use crate::consistent::{self, Means, NotTaken, Taken};
use crate::event::Event;
use crate::notice;
use crate::scripts::Scripts;

/// Where instants come from.
#[derive(Clone)]
pub(super) struct Source {
    driver: Arc<dyn Driver>,
    device: DeviceName,
    /// The volume, in messages.
    volume: VolumeName,
    session: SessionId,
}

/// An instant of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) session: SessionId,
    pub(super) time: FileTime,
}

impl Source {
    /// Of the session of a volume. Looks at every volume, which may take seconds where a disk
    /// hangs.
    pub(super) fn find(
        driver: &Arc<dyn Driver>,
        device: &DeviceName,
        volume: VolumeName,
    ) -> Result<Self, AdministrationError> {
        match driver.open()?.find(device)?.and_then(|it| it.session) {
            Some(session) => {
                Ok(Self { driver: Arc::clone(driver), device: *device, volume, session })
            }
            None => Err(AdministrationError::NoSession { volume }),
        }
    }

    /// The present instant, if it can be restored. No disk is read or written, and no volume but
    /// this one asked: writes may be held.
    pub(super) fn now(&self) -> Result<At, AdministrationError> {
        let (session, status) = self.whole()?;
        Ok(At { session, time: status.time })
    }

    /// The session, in which the present instant can be restored.
    pub(super) fn whole(&self) -> Result<(SessionId, SessionStatus), AdministrationError> {
        let volume = || self.volume.clone();
        let (port, session) = (self.driver.open()?, self.session);
        let status = match port.status(session) {
            Err(DriverError::NotFound(_)) => {
                return Err(AdministrationError::NoSession { volume: volume() });
            }
            status => status?,
        };
        if !status.consistent {
            return Err(AdministrationError::Gap { volume: volume() });
        }
        if !status.base_complete {
            return Err(AdministrationError::FirstSync { volume: volume() });
        }
        Ok((session, status))
    }

    /// Lets writes that arrive in this time wait until its end.
    pub(super) fn cut(&self, cut: CutTime) -> Result<(), AdministrationError> {
        Ok(self.driver.open()?.cut(self.session, cut)?)
    }

    /// The volume's name for VSS.
    fn name_for_vss(&self) -> Result<String, AdministrationError> {
        let guid = self.driver.guid_of(&self.device)?;
        let guid = guid.ok_or_else(|| AdministrationError::NotConsistent {
            why: format!("{} has no volume GUID, and VSS knows no other name", self.volume),
        })?;
        Ok(format!(r"\\?\Volume{{{guid}}}\"))
    }
}

/// How often it is looked whether applications are still prepared.
const THAW_POLL: Duration = Duration::from_millis(50);

impl Administration {
    /// Waits until no application is prepared for an instant, but no longer than this: what is
    /// prepared stays so if the process ends before the script `after` has run.
    pub(crate) fn wait_until_thawed(&self, limit: Duration) {
        let begun = Instant::now();
        let is_prepared = || matches!(self.preparing.try_lock(), Err(TryLockError::WouldBlock));
        while is_prepared() && begun.elapsed() < limit {
            thread::sleep(THAW_POLL);
        }
    }

    /// The present instant, made as it is wanted.
    pub(super) fn take(
        &self,
        source: &Source,
        scripts: &Scripts,
        name: &str,
        Wanted { consistency, or_crash }: Wanted,
    ) -> Result<Taken<At>, AdministrationError> {
        let now = source.now()?;
        if consistency == Consistency::Crash {
            return Ok(Taken::at(now));
        }
        if consistency == Consistency::Scripts && !scripts.are_there() {
            let file = self.settings.path().to_owned();
            return Err(AdministrationError::NoScripts { file });
        }
        match self.prepared(source, scripts, name, consistency) {
            Err(AdministrationError::NotConsistent { why }) if or_crash => {
                let text =
                    format!("{}: bookmark {name} is crash-consistent only: {why}", source.volume);
                notice::report(Event::NotConsistent, &text);
                let note = format!("it is crash-consistent only: {why}");
                Ok(Taken { notes: vec![note], ..Taken::at(source.now()?) })
            }
            Err(AdministrationError::NotConsistent { why }) => {
                let text = format!("{}: bookmark {name} was not made: {why}", source.volume);
                notice::report(Event::NotConsistent, &text);
                Err(AdministrationError::NotConsistent { why })
            }
            other => other,
        }
    }

    fn prepared(
        &self,
        source: &Source,
        scripts: &Scripts,
        name: &str,
        consistency: Consistency,
    ) -> Result<Taken<At>, AdministrationError> {
        let _preparing = match self.preparing.try_lock() {
            Err(TryLockError::WouldBlock) => {
                let why = "applications are being prepared for another bookmark".to_owned();
                return Err(AdministrationError::NotConsistent { why });
            }
            // It protects nothing that a panic could have left half done.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(guard) => guard,
        };
        let for_vss = match consistency {
            Consistency::Application => source.name_for_vss()?,
            Consistency::Crash | Consistency::Scripts => String::new(),
        };
        let volume = source.volume.to_string();
        let means = Means {
            run: &|moment| scripts.run(moment, &volume, name),
            freeze: &|| {
                let source = source.clone();
                snapless_vss::with_writers_frozen(&for_vss, move || source.now())
            },
            instant: &|| source.now(),
        };
        consistent::take(consistency, &means).map_err(|failed| match failed {
            NotTaken::Instant(error) => error,
            other => AdministrationError::NotConsistent { why: other.to_string() },
        })
    }
}
