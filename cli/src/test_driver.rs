//! A fake driver with one volume.

use std::sync::{Arc, Mutex};

use snapless_driver_client::error::Call;
use snapless_driver_client::file_system::Unanswered;
use snapless_driver_client::port::KeptPlace;
use snapless_driver_client::state_place::NoPlace;
use snapless_driver_client::unused_blocks::UnusedBlocks;
use snapless_driver_client::{Driver, DriverError, DriverPort, SessionStatus, Volume, VolumeName};
use snapless_types::{BlockIndex, EpochId, Extent, Geometry};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::ioctl::{
    ABI_VERSION, CutTime, DeviceName, DrainFrom, KeepStateRequest, MAP_CELLS, MapCell, MapReply,
    Protection, SPECIAL_FILE_PAGING, SessionPhase, StartRequest, StatusFlags, StatusReply,
    SweepLimits, UnusedRequest, Verify,
};
use zerocopy::FromZeros;
use zerocopy::little_endian::{U32, U64};

pub(crate) const DEVICE: &str = r"\Device\HarddiskVolume3";
pub(crate) const GUID: &str = "71a27cdd-812a-11d0-bec7-08002be2092f";
pub(crate) const SESSION: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";

#[derive(Clone)]
pub(crate) struct TestDriver {
    volumes: Vec<Volume>,
    version: u32,
    continues: bool,
    consistent: bool,
    /// How far a verification of the copy is.
    verifying: Option<u64>,
    synced: Arc<Mutex<u64>>,
    stopped: Arc<Mutex<Vec<SessionId>>>,
    verified: Arc<Mutex<Vec<(SessionId, Verify)>>>,
}

impl TestDriver {
    /// One volume with a session whose first sync is a quarter done.
    pub(crate) fn protecting() -> Self {
        Self::with(SessionPhase::FirstSync, SessionId::parse(SESSION))
    }

    /// One volume without a session.
    pub(crate) fn idle() -> Self {
        Self::with(SessionPhase::None, None)
    }

    /// No volume.
    pub(crate) fn empty() -> Self {
        Self { volumes: Vec::new(), ..Self::idle() }
    }

    /// The same, of an older release.
    pub(crate) fn older(self) -> Self {
        Self { version: ABI_VERSION - 1, ..self }
    }

    /// The same, but its session continues one of an earlier start.
    pub(crate) fn continued(self) -> Self {
        Self { continues: true, ..self }
    }

    /// The same, but its stream describes the volume.
    pub(crate) fn consistent(self) -> Self {
        Self { consistent: true, ..self }
    }

    /// The same, but its copy is being verified, and so many bytes are done.
    pub(crate) fn verifying(self, position: u64) -> Self {
        Self { verifying: Some(position), ..self }
    }

    /// The same, but its volume cannot be protected.
    pub(crate) fn with_obstacle(mut self, protection: Protection) -> Self {
        for volume in &mut self.volumes {
            volume.protection = Some(protection);
        }
        self
    }

    pub(crate) fn sync_more(&self, blocks: u64) {
        *self.synced.lock().unwrap() += blocks;
    }

    pub(crate) fn stopped(&self) -> Vec<SessionId> {
        self.stopped.lock().unwrap().clone()
    }

    pub(crate) fn verified(&self) -> Vec<(SessionId, Verify)> {
        self.verified.lock().unwrap().clone()
    }

    fn with(phase: SessionPhase, session: Option<SessionId>) -> Self {
        let device = DEVICE.to_owned();
        let volume = Volume {
            device,
            length: Some(100 << 20),
            sector_size: Some(512),
            phase,
            session,
            protection: Some(Protection::Possible),
            special_files: SPECIAL_FILE_PAGING,
        };
        Self {
            volumes: vec![volume],
            version: ABI_VERSION,
            continues: false,
            consistent: false,
            verifying: None,
            synced: Arc::new(Mutex::new(400)),
            stopped: Arc::default(),
            verified: Arc::default(),
        }
    }
}

impl Driver for TestDriver {
    fn open(&self) -> Result<Box<dyn DriverPort>, DriverError> {
        Ok(Box::new(self.clone()))
    }

    fn device_of(&self, name: &VolumeName) -> Result<DeviceName, DriverError> {
        let device = match name {
            VolumeName::Drive(_) => DEVICE.to_owned(),
            other => other.to_string(),
        };
        Ok(DeviceName::new(device.encode_utf16()).unwrap())
    }

    fn guid_of(&self, _device: &DeviceName) -> Result<Option<VolumeGuid>, DriverError> {
        Ok(VolumeGuid::parse(GUID))
    }

    fn file_system_protection(&self, _device: &DeviceName) -> Result<Protection, DriverError> {
        Ok(Protection::Possible)
    }

    fn special_extents(
        &self,
        _device: &DeviceName,
        _special_files: u32,
    ) -> Result<Vec<Extent>, Unanswered> {
        Ok(Vec::new())
    }

    fn unused_blocks(
        &self,
        _device: &DeviceName,
        _block_size: u32,
    ) -> Result<Option<UnusedBlocks>, Unanswered> {
        Ok(None)
    }

    fn state_place(&self, _device: &DeviceName) -> Result<KeptPlace, NoPlace> {
        Err(NoPlace::NotNtfs)
    }
}

impl DriverPort for TestDriver {
    fn version(&self) -> u32 {
        self.version
    }

    fn list(&self) -> Result<Vec<Volume>, DriverError> {
        Ok(self.volumes.clone())
    }

    fn start(&self, _request: &StartRequest) -> Result<Geometry, DriverError> {
        Err(DriverError::Busy(Call::Start))
    }

    fn resume(&self, _session: SessionId) -> Result<Geometry, DriverError> {
        Err(DriverError::Busy(Call::Resume))
    }

    fn drain_from(&self, _from: DrainFrom) -> Result<bool, DriverError> {
        Err(DriverError::SessionEnded(Call::DrainFrom))
    }

    fn drain(&self, _buffer: &mut [u8]) -> Result<usize, DriverError> {
        Err(DriverError::Busy(Call::Drain))
    }

    fn acknowledge(&self, _epoch: EpochId) -> Result<(), DriverError> {
        Err(DriverError::Busy(Call::Acknowledge))
    }

    fn note(&self, _device: &DeviceName, _block_size: u32) -> Result<(), DriverError> {
        Err(DriverError::CannotNote)
    }

    fn unused(&self, _request: &UnusedRequest) -> Result<BlockIndex, DriverError> {
        Err(DriverError::Busy(Call::Unused))
    }

    fn limit_sweep(&self, _limits: SweepLimits) -> Result<(), DriverError> {
        Err(DriverError::Older(Call::LimitSweep))
    }

    fn review(&self, _are_still: bool) -> Result<(), DriverError> {
        Err(DriverError::Busy(Call::Review))
    }

    fn keep_state(&self, _request: &KeepStateRequest) -> Result<(), DriverError> {
        Err(DriverError::Busy(Call::KeepState))
    }

    fn status(&self, _session: SessionId) -> Result<SessionStatus, DriverError> {
        let mut reply = StatusReply::new_zeroed();
        reply.phase = U32::new(SessionPhase::FirstSync as u32);
        reply.block_size = U32::new(65_536);
        reply.length = U64::new(100 << 20);
        reply.t0 = FileTime::UNIX_EPOCH;
        reply.blocks_total = U64::new(1600);
        reply.blocks_synced = U64::new(*self.synced.lock().unwrap());
        reply.writes_held = U64::new(3);
        reply.hold_histogram[12] = U64::new(3);
        reply.hold_longest_us = U64::new(7_000);
        let flags = StatusFlags {
            paused: true,
            outgrown: true,
            continues: self.continues,
            consistent: self.consistent,
            verifying: self.verifying.is_some(),
            ..StatusFlags::default()
        };
        reply.flags = U32::new(flags.to_wire());
        reply.verify_position = U64::new(self.verifying.unwrap_or(0));
        reply.blocks_unallocated = U64::new(77);
        reply.special_files = U32::new(SPECIAL_FILE_PAGING);
        SessionStatus::parse(&reply)
    }

    fn map(&self, _session: SessionId) -> Result<MapReply, DriverError> {
        let mut cells = [MapCell { synced: 7, ..MapCell::default() }; MAP_CELLS];
        cells[100].unsynced = 1;
        cells[200..].fill(MapCell { unsynced: 7, ..MapCell::default() });
        cells[254].dirty = 1;
        cells[255].held = 1;
        Ok(MapReply { cells })
    }

    fn verify(&self, session: SessionId, verify: Verify) -> Result<(), DriverError> {
        self.verified.lock().unwrap().push((session, verify));
        Ok(())
    }

    fn cut(&self, _: SessionId, _: CutTime) -> Result<(), DriverError> {
        Err(DriverError::Older(Call::Cut))
    }

    fn stop(&self, session: SessionId) -> Result<(), DriverError> {
        self.stopped.lock().unwrap().push(session);
        Ok(())
    }

    fn cancel(&self) {}
}
