//! Tells the driver where it can save a session's state when the machine shuts down, so that only
//! what the server may lack is read after an orderly restart.
//!
//! Beside the stream, since the volume is asked: a new state file takes some time until it is on
//! the disk. Rule: nothing here delays or ends protection. Without a place every block is read
//! after a restart.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use snapless_driver_client::port::KeptPlace;
use snapless_driver_client::state_place::NoPlace;
use snapless_driver_client::{Driver, DriverError, DriverPort};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{DeviceName, KeepStateRequest, LogPhase, SettingsLe};

use crate::attempt::guarded;
use crate::event::Event;
use crate::notice;
use crate::stop::StopSignal;

/// How often a place is looked for that may be there later.
const RETRY: Duration = Duration::from_secs(10);
/// How often it is looked whether the disk has failed the log.
const LOG_INTERVAL: Duration = Duration::from_secs(1);
/// How often at most.
const RETRIES: usize = 30;
/// How often it is looked whether it is over, while the volume is asked.
const TICK: Duration = Duration::from_millis(50);

/// The place of one claimed session's state.
pub struct StateKeeper<'a> {
    /// The volume's name in messages.
    pub name: &'a str,
    /// The volume.
    pub device: &'a DeviceName,
    /// Who knows the volume.
    pub driver: &'a Arc<dyn Driver>,
    /// The port that has claimed the session.
    pub port: &'a dyn DriverPort,
    /// The session.
    pub session: SessionId,
    /// The driver keeps a write-intent log there.
    pub has_log: bool,
    /// What the session is started with when the machine comes up.
    pub settings: &'a (dyn Fn() -> SettingsLe + Sync),
    /// Remembers whether the log on the disk is not to be trusted.
    pub distrust: &'a (dyn Fn(bool) + Sync),
}

/// Why the driver has no place.
#[derive(Debug, thiserror::Error)]
enum NotKept {
    #[error(transparent)]
    Place(#[from] NoPlace),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error("a bug: {0}; please report it")]
    Panicked(String),
}

impl NotKept {
    /// True if it may be another time.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Place(NoPlace::NoFile) | Self::Driver(DriverError::NoMemory(_)))
    }
}

impl StateKeeper<'_> {
    /// Finds a place, and holds it until `over`.
    pub fn run(&self, over: &StopSignal) {
        let name = self.name;
        for _ in 0..RETRIES {
            let Some(kept) = self.keep(over) else { return };
            match kept {
                Ok(held) => {
                    log::info!(
                        "{name}: the state of its session is saved at byte {}",
                        held.place.offset
                    );
                    // The driver has made void what the area had.
                    (self.distrust)(false);
                    self.watch_log(over);
                    return;
                }
                Err(why) if why.may_pass() => {
                    log::info!("{name}: {why}; the next look is in {} s", RETRY.as_secs());
                }
                Err(why) => {
                    log::warn!("{name}: {why}: every block is read after a restart");
                    // One from before may be another file's by now.
                    if let Err(error) = self.port.keep_state(&KeepStateRequest::FORGET) {
                        log::info!("{name}: {error}");
                    }
                    return;
                }
            }
            if over.wait_for(RETRY) {
                return;
            }
        }
        log::warn!(
            "{name}: its state file does not get to the disk: every block is read after a restart"
        );
    }

    /// Reports once if the disk fails the log.
    fn watch_log(&self, over: &StopSignal) {
        let mut is_reported = false;
        while !over.wait_for(LOG_INTERVAL) {
            // The stream fails with the same error, and says so.
            let phase = self.port.status(self.session).ok().and_then(|status| status.log);
            let text = match phase {
                Some(LogPhase::GivenUp) => "it is void on the disk",
                Some(LogPhase::Distrusted) => {
                    (self.distrust)(true);
                    "the disk failed to make it void: the service does not trust it"
                }
                _ => continue,
            };
            if !std::mem::replace(&mut is_reported, true) {
                let text = format!(
                    "{}: the disk failed the volume's write-intent log; {text}; after a crash every \
                     block is read",
                    self.name
                );
                notice::report(Event::LogFailed, &text);
            }
        }
    }

    /// Tells the driver of a place; `None` if it is `over` before one is found.
    fn keep(&self, over: &StopSignal) -> Option<Result<KeptPlace, NotKept>> {
        let tell = |kept: KeptPlace| {
            let request = kept.place.request()?.with_log(self.has_log);
            self.port.keep_state(&request.with_settings((self.settings)()))?;
            Ok(kept)
        };
        Some(self.find(over)?.and_then(tell))
    }

    /// Looks for a place in a thread that nobody waits for: a disk that hangs keeps it.
    fn find(&self, over: &StopSignal) -> Option<Result<KeptPlace, NotKept>> {
        let (driver, device) = (Arc::clone(self.driver), *self.device);
        let (sender, found) = mpsc::channel();
        thread::spawn(move || {
            let place = guarded(|| driver.state_place(&device));
            // Nobody listens any more if it is over.
            let _ = sender.send(place);
        });
        loop {
            match found.recv_timeout(TICK) {
                Ok(Ok(place)) => return Some(place.map_err(NotKept::from)),
                Ok(Err(panic)) => return Some(Err(NotKept::Panicked(panic))),
                Err(RecvTimeoutError::Disconnected) => {
                    return Some(Err(NotKept::Panicked("no answer".to_owned())));
                }
                Err(RecvTimeoutError::Timeout) if over.is_set() => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }
}
