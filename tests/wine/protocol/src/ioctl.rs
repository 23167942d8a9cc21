//! The commands of the rig's control device. All are buffered; a command's number is its function code.
//!
//! The rule: a command that takes or gives data has one fixed length for it, and is refused with any other.

use crate::record::{Reader, Writer};

const fn code(function: u32) -> u32 {
    const FILE_DEVICE_UNKNOWN: u32 = 0x22;
    (FILE_DEVICE_UNKNOWN << 16) | (function << 2)
}

/// Gives the volume's [`Counters`].
pub const QUERY: u32 = code(0x900);
/// Makes the image and the journal durable, and readable by the host.
pub const FLUSH: u32 = code(0x901);
/// Takes a [`Fault`] and arms it.
pub const SET_FAULT: u32 = code(0x902);
/// Disarms all faults.
pub const CLEAR_FAULTS: u32 = code(0x903);
/// Holds requests: they are taken, but not worked on.
pub const PAUSE: u32 = code(0x904);
/// Works on requests again.
pub const RESUME: u32 = code(0x905);

/// Plug and play: adds the filters of the volume class to the volume's stack and starts it.
pub const ATTACH: u32 = code(0x910);
/// Plug and play: query-remove, then remove; after a surprise removal, remove as soon as all handles are closed. The
/// volume itself stays and can be attached again.
pub const REMOVE: u32 = code(0x911);
/// Plug and play: surprise removal. The volume completes what it has, and fails what comes, until it is attached again.
pub const SURPRISE_REMOVE: u32 = code(0x912);
/// Plug and play: takes a [`Usage`] and sends it down the stack.
pub const USAGE: u32 = code(0x913);
/// The system shuts down: devices that registered for it are told.
pub const SHUTDOWN: u32 = code(0x914);
/// Power: takes a device power state (1 is D0, 4 is D3) as 32 bits and sets the stack to it.
pub const SET_POWER: u32 = code(0x915);
/// Plug and play: takes a [`Step`] as 32 bits and sends its packet down the stack.
pub const STEP: u32 = code(0x916);

/// Takes a length in bytes as 64 bits: the volume is that long from now on. What a longer one has more is zeros.
pub const RESIZE: u32 = code(0x906);
/// Takes 32 bits: if not 0, the volume says that it is write-protected.
pub const WRITE_PROTECT: u32 = code(0x907);
/// Takes how many usage notifications are refused at the bottom of the stack, as 32 bits.
pub const REFUSE_USAGE: u32 = code(0x908);

/// Takes a [`Scarcity`](crate::memory::Scarcity): what the driver under test is refused from now on.
pub const SET_SCARCITY: u32 = code(0x909);
/// Gives the driver's [`Memory`](crate::memory::Memory).
pub const MEMORY: u32 = code(0x90A);
/// Takes a [`Disguise`](crate::disguise::Disguise).
pub const DISGUISE: u32 = code(0x90B);
/// Takes 32 bits, of the constants below: how the volume answers requests that clear.
pub const SET_CLEARING: u32 = code(0x90C);
/// Takes a [`TopWrite`](crate::disguise::TopWrite), sends it and gives what [`Arrived`](crate::disguise::Arrived).
pub const TOP_WRITE: u32 = code(0x90D);

/// For [`SET_CLEARING`]: the volume says that it does not trim.
pub const SAYS_NO_TRIM: u32 = 1;
/// For [`SET_CLEARING`]: the volume knows no request that clears.
pub const KNOWS_NO_CLEARING: u32 = 2;

/// The length of [`Counters`].
pub const COUNTERS_LENGTH: usize = 64;
/// The length of a [`Fault`].
pub const FAULT_LENGTH: usize = 32;
/// The length of a [`Usage`].
pub const USAGE_LENGTH: usize = 8;
/// The length of a power state.
pub const POWER_LENGTH: usize = 4;

/// What the volume has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes that arrived. Their submission numbers are below this.
    pub submitted: u64,
    /// Writes that the image took: the journal's number of entries.
    pub applied: u64,
    /// Every write that was completed has a journal index below this.
    pub completed_below: u64,
    /// Writes that arrived and are not completed.
    pub in_flight: u64,
    /// Reads that arrived.
    pub reads: u64,
    /// Requests that wait because the volume is paused.
    pub held: u64,
    /// Flushes that arrived.
    pub flushes: u64,
}

/// A fault to inject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which requests fail.
    pub target: FaultTarget,
    /// With which `NTSTATUS`.
    pub status: i32,
    /// How many times; 0 is without end.
    pub times: u32,
}

/// Which requests a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// The write with this submission number. A part of it may reach the image.
    Write(u64),
    /// Reads that touch this range.
    Read {
        /// Where it begins, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        length: u64,
    },
    /// Writes that touch this range. A part of them may reach the image.
    WriteRange {
        /// Where it begins, in bytes.
        offset: u64,
        /// How long it is, in bytes.
        length: u64,
    },
}

/// A packet that leaves the volume where it is, or is taken back by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// May the device be removed?
    QueryRemove = 1,
    /// It stays.
    CancelRemove,
    /// May the device be stopped?
    QueryStop,
    /// It goes on.
    CancelStop,
    /// It stops.
    Stop,
    /// It is started.
    Start,
}

impl Step {
    /// All of them, with their names in commands.
    pub const ALL: [(&'static str, Self); 6] = [
        ("query-remove", Self::QueryRemove),
        ("cancel-remove", Self::CancelRemove),
        ("query-stop", Self::QueryStop),
        ("cancel-stop", Self::CancelStop),
        ("stop", Self::Stop),
        ("start", Self::Start),
    ];

    /// As bytes.
    #[must_use]
    pub fn encode(self) -> [u8; 4] {
        (self as u32).to_le_bytes()
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().map(|(_, step)| step).find(|step| step.encode() == bytes)
    }

    /// By its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|&(own, _)| own == name).map(|(_, step)| step)
    }
}

/// A usage notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// 1 paging, 2 hibernation, 3 dump (`DEVICE_USAGE_NOTIFICATION_TYPE`).
    pub kind: u32,
    /// Whether the device comes into the file's path, or leaves it.
    pub in_path: bool,
}

impl Counters {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; COUNTERS_LENGTH] {
        Writer::new()
            .put(self.submitted.to_le_bytes())
            .put(self.applied.to_le_bytes())
            .put(self.completed_below.to_le_bytes())
            .put(self.in_flight.to_le_bytes())
            .put(self.reads.to_le_bytes())
            .put(self.held.to_le_bytes())
            .put(self.flushes.to_le_bytes())
            .finish()
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, COUNTERS_LENGTH)?;
        Some(Self {
            submitted: reader.u64(),
            applied: reader.u64(),
            completed_below: reader.u64(),
            in_flight: reader.u64(),
            reads: reader.u64(),
            held: reader.u64(),
            flushes: reader.u64(),
        })
    }
}

const TARGET_WRITE: u32 = 1;
const TARGET_READ: u32 = 2;
const TARGET_WRITE_RANGE: u32 = 3;

impl Fault {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; FAULT_LENGTH] {
        let (kind, first, second) = match self.target {
            FaultTarget::Write(submission) => (TARGET_WRITE, submission, 0),
            FaultTarget::Read { offset, length } => (TARGET_READ, offset, length),
            FaultTarget::WriteRange { offset, length } => (TARGET_WRITE_RANGE, offset, length),
        };
        Writer::new()
            .put(kind.to_le_bytes())
            .put(self.status.to_le_bytes())
            .put(first.to_le_bytes())
            .put(second.to_le_bytes())
            .put(self.times.to_le_bytes())
            .finish()
    }

    /// From bytes. The status must be a failure.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, FAULT_LENGTH)?;
        let (kind, status) = (reader.u32(), reader.u32().cast_signed());
        let (first, second, times) = (reader.u64(), reader.u64(), reader.u32());
        let target = match kind {
            TARGET_WRITE => FaultTarget::Write(first),
            TARGET_READ => FaultTarget::Read { offset: first, length: second },
            TARGET_WRITE_RANGE => FaultTarget::WriteRange { offset: first, length: second },
            _ => return None,
        };
        (status < 0).then_some(Self { target, status, times })
    }
}

impl Usage {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; USAGE_LENGTH] {
        Writer::new()
            .put(self.kind.to_le_bytes())
            .put(u32::from(self.in_path).to_le_bytes())
            .finish()
    }

    /// From bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes, USAGE_LENGTH)?;
        let (kind, in_path) = (reader.u32(), reader.u32());
        (1..=3).contains(&kind).then_some(Self { kind, in_path: in_path != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, Fault, FaultTarget, Step, Usage};

    #[test]
    fn records_come_back_as_they_went() {
        let counters = Counters {
            submitted: 1,
            applied: 2,
            completed_below: 3,
            in_flight: 4,
            reads: 5,
            held: 6,
            flushes: 7,
        };
        assert_eq!(Counters::decode(&counters.encode()), Some(counters));
        for target in [
            FaultTarget::Write(9),
            FaultTarget::Read { offset: 512, length: 1024 },
            FaultTarget::WriteRange { offset: 0, length: 1 },
        ] {
            let fault = Fault { target, status: -5, times: 2 };
            assert_eq!(Fault::decode(&fault.encode()), Some(fault));
        }
        let usage = Usage { kind: 2, in_path: true };
        assert_eq!(Usage::decode(&usage.encode()), Some(usage));
        for (name, step) in Step::ALL {
            assert_eq!(Step::decode(&step.encode()), Some(step));
            assert_eq!(Step::named(name), Some(step));
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let fault = Fault { target: FaultTarget::Write(9), status: -5, times: 2 };
        assert_eq!(Fault::decode(&fault.encode()[1..]), None);
        assert_eq!(Fault::decode(&Fault { status: 0, ..fault }.encode()), None);
        assert_eq!(Usage::decode(&Usage { kind: 4, in_path: false }.encode()), None);
        assert_eq!(Step::decode(&7_u32.to_le_bytes()), None);
    }
}
