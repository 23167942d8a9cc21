//! The driver as the service's own code calls it.

use std::sync::{Mutex, PoisonError};

use snapless_driver_client::status::SessionStatus;
use snapless_driver_client::{DriverError, DriverPort, Volume};
use snapless_types::{BlockIndex, EpochId, Geometry};
use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{
    ABI_VERSION, CutTime, DeviceName, DrainFrom, KeepStateRequest, MapReply, StartRequest,
    SweepLimits, UnusedRequest, Verify,
};

use crate::driver::{Call, Driver};
use crate::server::Acknowledgement;

/// A handle to a session, for the calls that a step makes.
pub struct Port<'a> {
    driver: Mutex<&'a mut Driver>,
    /// What the server has.
    durable: Acknowledgement,
    call: Call,
}

impl<'a> Port<'a> {
    /// A handle to this session.
    pub fn new(driver: &'a mut Driver, durable: Acknowledgement, call: Call) -> Self {
        Self { driver: Mutex::new(driver), durable, call }
    }
}

impl DriverPort for Port<'_> {
    fn version(&self) -> u32 {
        ABI_VERSION
    }

    fn drain_from(&self, from: DrainFrom) -> Result<bool, DriverError> {
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        // `driver/src/session/drains.rs`. The origin that the service has drawn is too far away for
        // the model's numbers.
        if !driver.is_placed() && !driver.continues_behind(self.durable, &self.call) {
            return Err(DriverError::ImpossibleSeq);
        }
        driver.place(self.durable, &self.call);
        assert_eq!(from.durable.get(), u64::from(self.durable.seq), "what the server has");
        let joined = driver.drain_from(self.durable, from.lose, &self.call);
        joined.map_err(|_| DriverError::ImpossibleSeq)
    }

    // The steps of the model take the place of these.
    fn list(&self) -> Result<Vec<Volume>, DriverError> {
        Err(DriverError::Absent)
    }

    fn start(&self, _: &StartRequest) -> Result<Geometry, DriverError> {
        Err(DriverError::Absent)
    }

    fn resume(&self, _: SessionId) -> Result<Geometry, DriverError> {
        Err(DriverError::Absent)
    }

    fn drain(&self, _: &mut [u8]) -> Result<usize, DriverError> {
        Err(DriverError::Absent)
    }

    fn acknowledge(&self, _: EpochId) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn review(&self, _: bool) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn note(&self, _: &DeviceName, _: u32) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn unused(&self, _: &UnusedRequest) -> Result<BlockIndex, DriverError> {
        Err(DriverError::Absent)
    }

    fn limit_sweep(&self, _: SweepLimits) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn keep_state(&self, _: &KeepStateRequest) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn status(&self, _: SessionId) -> Result<SessionStatus, DriverError> {
        Err(DriverError::Absent)
    }

    fn map(&self, _: SessionId) -> Result<MapReply, DriverError> {
        Err(DriverError::Absent)
    }

    fn verify(&self, _: SessionId, _: Verify) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn cut(&self, _: SessionId, _: CutTime) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn stop(&self, _: SessionId) -> Result<(), DriverError> {
        Err(DriverError::Absent)
    }

    fn cancel(&self) {}
}
