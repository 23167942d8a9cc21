//! The driver's verbs as user mode sees them.
//!
//! [`Driver`] finds the driver and the volumes of this machine; [`DriverPort`] is one open handle
//! to the control device. Dropping a port closes the handle: the driver then keeps what was not
//! acknowledged for the next one, as long as its queue has room (rule RESUME), so a pipeline drops
//! its port whenever it cannot vouch for what it drained.

use std::any::Any;

use snapless_types::{BlockIndex, EpochId, Extent, Geometry};
use snapless_wire::id::{SessionId, VolumeGuid};
use snapless_wire::ioctl::{
    CutTime, DeviceName, DrainFrom, KeepStateRequest, MapReply, Protection, SessionPhase,
    SessionReply, StartRequest, SweepLimits, UnusedRequest, Verify, VersionReply, VolumeEntry,
    negotiate,
};

use crate::error::{Call, DriverError};
use crate::file_system::Unanswered;
use crate::state_place::{NoPlace, StatePlace};
use crate::status::SessionStatus;
use crate::unused_blocks::UnusedBlocks;
use crate::volume::{VolumeName, device_text};

/// The driver of this machine, and the machine's names for its volumes.
pub trait Driver: Send + Sync {
    /// Opens the control device and settles on a version that both sides speak.
    fn open(&self) -> Result<Box<dyn DriverPort>, DriverError>;

    /// The device behind a name.
    fn device_of(&self, name: &VolumeName) -> Result<DeviceName, DriverError>;

    /// The GUID that Windows knows a device by, if it has one.
    fn guid_of(&self, device: &DeviceName) -> Result<Option<VolumeGuid>, DriverError>;

    /// Whether a device's volume can be protected, as far as its file system knows: the driver
    /// below it does not see that.
    fn file_system_protection(&self, device: &DeviceName) -> Result<Protection, DriverError>;

    /// The extents of the paging, swap and hibernation files of a device's volume, which has those
    /// of `special_files`: ascending, joined, and none that the file system does not tell.
    fn special_extents(
        &self,
        device: &DeviceName,
        special_files: u32,
    ) -> Result<Vec<Extent>, Unanswered>;

    /// The blocks of a device's volume that no file had at an instant of this call; what the disk
    /// has of the file system when it ends is no older. `None` if the file system does not tell, as
    /// any but NTFS.
    fn unused_blocks(
        &self,
        device: &DeviceName,
        block_size: u32,
    ) -> Result<Option<UnusedBlocks>, Unanswered>;

    /// Where on a device's volume the driver can save the state of its session. The volume gets a
    /// file for it if it has none.
    fn state_place(&self, device: &DeviceName) -> Result<KeptPlace, NoPlace>;
}

/// A place for the state, and what keeps the file system from moving it.
pub struct KeptPlace {
    /// The place.
    pub place: StatePlace,
    /// Held as long as the place is in use.
    pub held: Box<dyn Any + Send>,
}

/// One handle to the control device. All verbs may be called from several threads at once.
pub trait DriverPort: Send + Sync {
    /// The version of the interface that both sides speak. Below `ABI_VERSION` the driver is of an
    /// older release: it is replaced when the machine restarts.
    fn version(&self) -> u32;

    /// The volumes that the driver sits on.
    fn list(&self) -> Result<Vec<Volume>, DriverError>;

    /// The volume with this device name, if the driver sits on it.
    fn find(&self, device: &DeviceName) -> Result<Option<Volume>, DriverError> {
        Ok(self.list()?.into_iter().find(|volume| volume.is(device)))
    }

    /// Begins a session and claims it for this port.
    fn start(&self, request: &StartRequest) -> Result<Geometry, DriverError>;

    /// Claims a session whose claimant is gone.
    fn resume(&self, session: SessionId) -> Result<Geometry, DriverError>;

    /// Says what the server has of the resumed session's stream: the next drain begins behind it.
    /// True if no record is missing there; if one is, the stream goes on with a gap.
    fn drain_from(&self, from: DrainFrom) -> Result<bool, DriverError>;

    /// Waits for records of the claimed session; returns how many bytes of `buffer` they fill,
    /// never 0. `buffer` takes at least `DRAIN_BUFFER_MIN` bytes.
    fn drain(&self, buffer: &mut [u8]) -> Result<usize, DriverError>;

    /// Tells the driver that an epoch and all before it are durable.
    fn acknowledge(&self, epoch: EpochId) -> Result<(), DriverError>;

    /// Says whether the files still have all the extents that the claimed session's start excluded;
    /// after t0.
    fn review(&self, are_still: bool) -> Result<(), DriverError>;

    /// Has the driver note what is changed on a volume without a session from now on, for the
    /// session that this port starts on it next. [`Driver::unused_blocks`] is called after it.
    fn note(&self, device: &DeviceName, block_size: u32) -> Result<(), DriverError>;

    /// Says which blocks of the claimed session's volume are unused, after t0. Returns the block to
    /// go on with: the end of the request's, unless there is no room for more now.
    fn unused(&self, request: &UnusedRequest) -> Result<BlockIndex, DriverError>;

    /// Sets how hard the driver may read the disk of its own accord, for the claimed session: at
    /// once, and when the machine comes up again.
    ///
    /// # Errors
    /// [`DriverError::Older`] from a driver that takes such limits only when a session starts.
    fn limit_sweep(&self, limits: SweepLimits) -> Result<(), DriverError>;

    /// Says where the driver keeps the claimed session's state while the machine is off.
    fn keep_state(&self, request: &KeepStateRequest) -> Result<(), DriverError>;

    /// A session's state and counters. Needs no claim.
    fn status(&self, session: SessionId) -> Result<SessionStatus, DriverError>;

    /// In which state the blocks of each part of a session's volume are. Needs no claim.
    fn map(&self, session: SessionId) -> Result<MapReply, DriverError>;

    /// Begins or ends a verification of a session's copy. Needs no claim.
    fn verify(&self, session: SessionId, verify: Verify) -> Result<(), DriverError>;

    /// Lets writes that arrive in a time to come wait until its end.
    ///
    /// # Errors
    /// [`DriverError::NoCut`] if it has begun, is too far ahead, or another one has not ended;
    /// [`DriverError::Older`] from a driver that knows no cuts.
    fn cut(&self, session: SessionId, cut: CutTime) -> Result<(), DriverError>;

    /// Ends a session. Needs no claim.
    fn stop(&self, session: SessionId) -> Result<(), DriverError>;

    /// Makes the drain under way, and every later one, end with [`DriverError::Cancelled`].
    fn cancel(&self);
}

/// The volume's geometry in the driver's answer to `call`.
///
/// # Errors
/// [`DriverError::Answer`] if it describes no possible volume.
pub fn geometry(call: Call, reply: &SessionReply) -> Result<Geometry, DriverError> {
    reply.geometry().map_err(|error| DriverError::answer(call, error.to_string()))
}

/// A volume that the driver sits on.
#[derive(Clone, Debug)]
pub struct Volume {
    /// Its device name as text.
    pub device: String,
    /// Bytes; `None` if the volume does not answer.
    pub length: Option<u64>,
    /// Bytes of a sector; `None` if the volume does not answer.
    pub sector_size: Option<u32>,
    /// Where its session stands.
    pub phase: SessionPhase,
    /// The session on it.
    pub session: Option<SessionId>,
    /// Whether it can be protected; `None` for a reason of a newer driver.
    pub protection: Option<Protection>,
    /// Which special files are on it, as bits (`SPECIAL_FILE_PAGING` and others).
    pub special_files: u32,
}

impl Volume {
    /// Checks one entry of the driver's list.
    ///
    /// # Errors
    /// [`DriverError::Answer`] for a name without text, an unknown phase, or a phase without
    /// session.
    pub fn parse(entry: &VolumeEntry) -> Result<Self, DriverError> {
        let bad = |why: String| DriverError::answer(Call::List, why);
        let device = device_text(&entry.device).ok_or_else(|| bad("a nameless device".into()))?;
        let number = entry.phase.get();
        let phase = SessionPhase::from_wire(number)
            .ok_or_else(|| bad(format!("phase {number} of {device} is unknown")))?;
        let session = (!entry.session.is_nil()).then_some(entry.session);
        if session.is_some() != (phase != SessionPhase::None) {
            return Err(bad(format!("{device} is in phase {phase:?} with session {session:?}")));
        }
        Ok(Self {
            device,
            length: Some(entry.length.get()).filter(|length| *length > 0),
            sector_size: Some(entry.sector_size.get()).filter(|size| *size > 0),
            phase,
            session,
            protection: Protection::from_wire(entry.protection.get()),
            special_files: entry.special_files.get(),
        })
    }

    /// True if this is the volume with that device name.
    pub fn is(&self, device: &DeviceName) -> bool {
        DeviceName::new(self.device.encode_utf16()).is_some_and(|own| own.matches(device))
    }
}

/// The version to speak with a driver.
///
/// # Errors
/// [`DriverError::Version`] if there is none that both sides speak.
pub fn check_version(reply: &VersionReply) -> Result<u32, DriverError> {
    let (oldest, newest) = (reply.oldest.get(), reply.newest.get());
    negotiate(reply).ok_or(DriverError::Version { oldest, newest })
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_wire::ioctl::ABI_VERSION;
    use zerocopy::FromZeros;
    use zerocopy::little_endian::{U32, U64};

    fn entry(phase: u32, session: SessionId) -> VolumeEntry {
        let mut entry = VolumeEntry::new_zeroed();
        entry.device = DeviceName::new(r"\Device\HarddiskVolume3".encode_utf16()).unwrap();
        entry.phase = U32::new(phase);
        entry.session = session;
        entry
    }

    #[test]
    fn an_entry_that_contradicts_itself_is_refused() {
        let id = SessionId([1; 16]);
        assert!(Volume::parse(&entry(0, SessionId::NIL)).is_ok());
        assert!(Volume::parse(&entry(6, id)).is_ok());
        assert!(Volume::parse(&entry(0, id)).is_err());
        assert!(Volume::parse(&entry(3, SessionId::NIL)).is_err());
        assert!(Volume::parse(&entry(99, id)).is_err());
        assert!(Volume::parse(&VolumeEntry::new_zeroed()).is_err());
    }

    #[test]
    fn a_volume_that_does_not_answer_has_no_length() {
        let mut answered = entry(0, SessionId::NIL);
        assert_eq!(Volume::parse(&answered).unwrap().length, None);
        answered.length = U64::new(1 << 20);
        assert_eq!(Volume::parse(&answered).unwrap().length, Some(1 << 20));
    }

    #[test]
    fn an_unknown_obstacle_is_one_of_a_newer_driver() {
        let mut entry = entry(0, SessionId::NIL);
        entry.protection = U32::new(Protection::Dax.to_wire());
        assert_eq!(Volume::parse(&entry).unwrap().protection, Some(Protection::Dax));
        entry.protection = U32::new(99);
        assert_eq!(Volume::parse(&entry).unwrap().protection, None);
    }

    #[test]
    fn another_release_of_the_driver_is_named() {
        let reply =
            |oldest, newest| VersionReply { oldest: U32::new(oldest), newest: U32::new(newest) };
        assert_eq!(check_version(&reply(ABI_VERSION, ABI_VERSION + 1)).unwrap(), ABI_VERSION);
        assert_eq!(check_version(&reply(1, ABI_VERSION)).unwrap(), ABI_VERSION);
        let error = check_version(&reply(ABI_VERSION + 1, ABI_VERSION + 3)).unwrap_err();
        let versions = format!("{} to {}", ABI_VERSION + 1, ABI_VERSION + 3);
        assert!(error.to_string().contains(&versions), "{error}");
    }

    #[test]
    fn an_impossible_geometry_is_refused() {
        let reply = |length, sector, block| SessionReply {
            length: U64::new(length),
            sector_size: U32::new(sector),
            block_size: U32::new(block),
        };
        assert!(geometry(Call::Start, &reply(1 << 20, 512, 65_536)).is_ok());
        for bad in [reply(0, 512, 65_536), reply(1, 0, 65_536), reply(512, 512, 65_537)] {
            assert!(geometry(Call::Start, &bad).is_err());
        }
    }
}
