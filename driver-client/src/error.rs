//! Errors of a call to the driver. Each message names the next step.
//!
//! Rule: an outcome that a caller acts upon has a variant; any other keeps the system's error and
//! the name of the call.

use std::io;

use snapless_wire::id::SessionId;
use snapless_wire::ioctl::{ABI_OLDEST, ABI_VERSION, CONTROL_DEVICE_PATH};

use crate::file_system::Unanswered;

/// A call to the driver, as messages name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Call {
    /// Opening the control device.
    Open,
    /// `IOCTL_VERSION`.
    Version,
    /// `IOCTL_LIST_VOLUMES`.
    List,
    /// `IOCTL_START`.
    Start,
    /// `IOCTL_RESUME`.
    Resume,
    /// `IOCTL_DRAIN_FROM`.
    DrainFrom,
    /// `IOCTL_DRAIN`.
    Drain,
    /// `IOCTL_ACKNOWLEDGE`.
    Acknowledge,
    /// `IOCTL_REVIEW`.
    Review,
    /// `IOCTL_NOTE`.
    Note,
    /// `IOCTL_UNUSED`.
    Unused,
    /// `IOCTL_LIMIT_SWEEP`.
    LimitSweep,
    /// `IOCTL_KEEP_STATE`.
    KeepState,
    /// `IOCTL_STATUS`.
    Status,
    /// `IOCTL_MAP`.
    Map,
    /// `IOCTL_VERIFY`.
    Verify,
    /// `IOCTL_CUT`.
    Cut,
    /// `IOCTL_STOP`.
    Stop,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Version => "version",
            Self::List => "list volumes",
            Self::Start => "start",
            Self::Resume => "resume",
            Self::DrainFrom => "drain from a record",
            Self::Drain => "drain",
            Self::Acknowledge => "acknowledge",
            Self::Review => "review",
            Self::Note => "note changes",
            Self::Unused => "say which blocks are unused",
            Self::LimitSweep => "limit the sweep",
            Self::KeepState => "keep state",
            Self::Status => "status",
            Self::Map => "map",
            Self::Verify => "verify",
            Self::Cut => "cut",
            Self::Stop => "stop",
        })
    }
}

/// Why a call to the driver failed.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// There is no control device.
    #[error(
        "the Snapless driver is not running (no device {CONTROL_DEVICE_PATH}): install it with \
         snapless-setup and restart the machine, look at `sc query snapless`, or remove the kill \
         switch (PassThrough; see docs/configuration.md)"
    )]
    Absent,
    /// Only SYSTEM and Administrators may open the control device.
    #[error("the driver refused access ({0}): run this as an administrator")]
    AccessDenied(Call),
    /// Driver and program share no version.
    #[error(
        "the driver speaks versions {oldest} to {newest}, this program versions {ABI_OLDEST} to \
         {ABI_VERSION}: install driver and programs of the same release, and restart the machine"
    )]
    Version {
        /// Oldest version that the driver supports.
        oldest: u32,
        /// Newest version that the driver supports.
        newest: u32,
    },
    /// The session was stopped, or its volume was removed.
    #[error("the session has ended ({0}): it was stopped, or its volume was removed")]
    SessionEnded(Call),
    /// The machine has slept, and its disk may have been written to meanwhile: what the driver has
    /// not handed out is lost, and the session is to be claimed anew.
    #[error(
        "the machine has slept, and the volume may have been written to meanwhile ({0}): the session \
         is to be claimed again"
    )]
    VolumeChanged(Call),
    /// The call was cancelled by this program.
    #[error("the call was cancelled ({0})")]
    Cancelled(Call),
    /// Another handle has claimed the session or the volume.
    #[error("the driver is busy ({0}): another program has claimed the session")]
    Busy(Call),
    /// The machine has not enough nonpaged memory for the session.
    #[error(
        "the driver could not get the memory that it needs ({0}): choose a smaller queue_size, or \
         protect fewer volumes at a time"
    )]
    NoMemory(Call),
    /// An acknowledgement of an epoch that is not closed, or whose end was not drained.
    #[error("the driver refused the acknowledgement of an epoch that no server can have")]
    ImpossibleEpoch,
    /// A server that has records which were not drained, or lacks some that it acknowledged.
    #[error("the driver refused to go on behind a record that no server can have as its last one")]
    ImpossibleSeq,
    /// A repair before the base image is complete, or while writes go uncaptured.
    #[error(
        "the copy cannot be repaired now, as the first sync is under way or no server takes what \
         is captured: look at `snapless status`, and try again"
    )]
    NotNow,
    /// A cut whose time is wrong.
    #[error(
        "the driver takes no cut then: it has begun, is too far ahead, or another one is under way"
    )]
    NoCut,
    /// The driver has another use for what it notes of the volume's changes.
    #[error("the driver cannot note now what is changed")]
    CannotNote,
    /// A call that came with a later release than the driver's.
    #[error(
        "the loaded driver is of an older release and does not know the call ({0}): restart the \
         machine to load the new one"
    )]
    Older(Call),
    /// The volume does not have the state area where it should be.
    #[error("the driver found no state area where the volume should have it")]
    NoStateArea,
    /// The driver knows no such volume or session.
    #[error("the driver knows no such volume or session ({0})")]
    NotFound(Call),
    /// The machine has no such volume.
    #[error("there is no volume {0} on this machine: look at `snapless volumes`")]
    NoSuchVolume(String),
    /// The file system did not say whether its volume can be protected.
    #[error(
        "{why}, so volume {device} is not protected: wait until no other program has it locked, \
         and check that it is online and unlocked and that `fsutil fsinfo volumeinfo` answers for \
         it"
    )]
    FileSystem {
        /// The volume's device.
        device: String,
        /// What is not known.
        why: Unanswered,
    },
    /// No volume has the session.
    #[error("no volume has a session {0}: look at `snapless status`")]
    NoSuchSession(SessionId),
    /// The driver's answer is invalid: driver and program are of different releases, or a bug.
    #[error("the driver's answer to {call} is invalid: {why}")]
    Answer {
        /// The call.
        call: Call,
        /// What is wrong with the answer.
        why: String,
    },
    /// Any other error that the system reported.
    #[error("the driver's {call} failed: {source}")]
    Os {
        /// The call.
        call: Call,
        /// The system's error.
        source: io::Error,
    },
}

impl DriverError {
    /// An invalid answer.
    pub fn answer(call: Call, why: impl Into<String>) -> Self {
        Self::Answer { call, why: why.into() }
    }
}
