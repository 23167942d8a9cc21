//! Machines and volumes as they are now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Gap, MachineId, VolumeId};

/// The server.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its release.
    pub version: String,
    /// Its clock.
    pub now_ms: u64,
    /// Directory or URL of the repository.
    pub repository: String,
    /// Bytes stored.
    pub stored_bytes: Option<u64>,
    /// Bytes free on its disk.
    pub free_bytes: Option<u64>,
    /// Bytes of its disk.
    pub space_bytes: Option<u64>,
    /// Why nothing more is taken.
    pub shortage: Option<String>,
    /// When its certificate expires.
    pub certificate_expires_ms: Option<u64>,
    /// Where restores may go.
    pub restore_folders: Vec<String>,
    /// Into which formats.
    pub restore_formats: Vec<String>,
    /// What it can do.
    pub features: Vec<String>,
}

/// What a volume is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing is stored yet.
    Waiting,
    /// The first sync runs.
    FirstSync,
    /// Every write is captured.
    Protected,
    /// Writes are not captured.
    Gap,
    /// What a gap left is read again.
    Resync,
    /// No machine is connected.
    Disconnected,
    /// An administrator paused it.
    Paused,
    /// It is no longer protected.
    Ended,
    /// What is stored is damaged.
    Damaged,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Waiting,
        Self::FirstSync,
        Self::Protected,
        Self::Gap,
        Self::Resync,
        Self::Disconnected,
        Self::Paused,
        Self::Ended,
        Self::Damaged,
    ];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::FirstSync => "first-sync",
            Self::Protected => "protected",
            Self::Gap => "gap",
            Self::Resync => "resync",
            Self::Disconnected => "disconnected",
            Self::Paused => "paused",
            Self::Ended => "ended",
            Self::Damaged => "damaged",
        }
    }
}

/// How much something needs a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Not at all.
    Ok,
    /// To be known.
    Notice,
    /// Soon.
    Warning,
    /// Now.
    Critical,
}

/// How far something is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Of so many; 0 if that is not known.
    pub total: u64,
    /// Bytes a second.
    pub rate: Option<u64>,
    /// Seconds until it is done.
    pub eta_seconds: Option<u64>,
}

/// A volume in one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct VolumeLine {
    /// Its id.
    pub volume: VolumeId,
    /// What its machine calls it.
    pub name: String,
    /// The machine.
    pub machine: Option<MachineId>,
    /// The group.
    pub group: Option<String>,
    /// What it is in.
    pub state: State,
    /// The same in words.
    pub state_text: String,
    /// How much it needs a person.
    pub level: Level,
    /// What the person should do.
    pub attention: Option<String>,
    /// Its bytes.
    pub length: Option<u64>,
    /// Age of the latest point; without one, of the first session.
    pub rpo_seconds: Option<u64>,
    /// What that should be at most.
    pub rpo_target_seconds: Option<u64>,
    /// The latest point.
    pub latest_ms: Option<u64>,
    /// The first sync that runs.
    pub first_sync: Option<Progress>,
    /// Bytes a second that the server receives.
    pub receive_rate: Option<u64>,
    /// The gap that lasts.
    pub gap: Option<Gap>,
    /// Bytes stored.
    pub stored_bytes: Option<u64>,
    /// Its machine is connected.
    pub connected: bool,
}

/// A machine in one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct MachineLine {
    /// Its id.
    pub machine: MachineId,
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// It is connected.
    pub connected: bool,
    /// When it enrolled.
    pub enrolled_ms: Option<u64>,
    /// When its certificate expires.
    pub expires_ms: Option<u64>,
    /// It is refused.
    pub revoked: bool,
    /// How many volumes it has.
    pub volumes: u64,
}

/// Every machine and every volume.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Overview {
    /// When it was so.
    pub now_ms: u64,
    /// Machines.
    pub machines: Vec<MachineLine>,
    /// Volumes.
    pub volumes: Vec<VolumeLine>,
}

/// What became of an overview.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct OverviewChange {
    /// When it was so.
    pub now_ms: u64,
    /// Those that are new or changed.
    pub machines: Vec<MachineLine>,
    /// Those that are new or changed.
    pub volumes: Vec<VolumeLine>,
    /// The ids of those that are gone.
    pub gone: Vec<String>,
}

/// A volume in detail.
#[derive(Clone, Debug, Serialize)]
pub struct Volume {
    /// Its line of the overview.
    pub line: VolumeLine,
    /// What is stored, oldest first.
    pub sessions: Vec<StoredSession>,
    /// What its machine reported last.
    pub live: Option<Live>,
    /// The last comparison of the copy.
    pub copy_check: Option<CopyCheck>,
    /// What is wrong with its directory.
    pub error: Option<String>,
}

/// A session in the repository.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StoredSession {
    /// Its id.
    pub session: String,
    /// When the server first saw it.
    pub created_ms: Option<u64>,
    /// Bytes of the volume.
    pub length: Option<u64>,
    /// Bytes of a block.
    pub block_size: Option<u64>,
    /// Bytes of a sector.
    pub sector_size: Option<u64>,
    /// Its begin.
    pub t0_ms: Option<u64>,
    /// The image of its begin can be restored.
    pub t0_restorable: bool,
    /// Its latest point.
    pub latest_ms: Option<u64>,
    /// From here on every instant is kept.
    pub whole_from_ms: Option<u64>,
    /// Bytes stored.
    pub stored_bytes: Option<u64>,
    /// Blocks of the volume.
    pub blocks: Option<u64>,
    /// Those whose content is stored.
    pub blocks_known: Option<u64>,
    /// Those that the disk could not read.
    pub blocks_with_holes: Option<u64>,
    /// Bytes of paging and hibernation files.
    pub excluded_bytes: Option<u64>,
    /// Epochs that ended.
    pub epochs: Option<u64>,
    /// How many gaps there were.
    pub gaps: u64,
    /// What is damaged.
    pub damage: Option<String>,
}

/// The last comparison of a copy with its volume.
#[derive(Clone, Debug, Serialize)]
pub struct CopyCheck {
    /// When.
    pub time_ms: u64,
    /// Bytes that are the same.
    pub same_bytes: u64,
    /// Bytes that differ.
    pub differing_bytes: u64,
    /// Bytes that differ where the copy has free space.
    pub unclear_bytes: u64,
    /// Bytes that were not compared.
    pub left_out_bytes: u64,
    /// Damage kept something from being compared.
    pub damaged: bool,
}

/// What a machine reported last of a volume.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Live {
    /// When that came.
    pub time_ms: u64,
    /// What the service does.
    pub activity: String,
    /// Why its last attempt failed.
    pub last_error: Option<String>,
    /// Bytes a second.
    pub rates: Rates,
    /// The driver's queue.
    pub queue: Option<Queue>,
    /// Writes that waited.
    pub holds: Option<Holds>,
    /// The session's counters.
    pub counters: BTreeMap<String, u64>,
}

/// Bytes a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Rates {
    /// That the server stores.
    pub received: Option<u64>,
    /// That the driver captured.
    pub drained: Option<u64>,
    /// That went over the link.
    pub sent: Option<u64>,
}

/// The driver's queue, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Queue {
    /// Used.
    pub used: u64,
    /// Drained, and kept until acknowledged.
    pub kept: u64,
    /// What it can take.
    pub capacity: u64,
}

/// Writes that waited.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Holds {
    /// Writes that wait now.
    pub now: u64,
    /// Writes that waited since the session began.
    pub held: u64,
    /// The longest wait, in microseconds.
    pub longest_us: u64,
    /// Bucket i counts waits of 2^i to 2^(i+1) microseconds.
    pub buckets: Vec<u64>,
}

/// Rates, and the age of the latest point, of the last minutes.
#[derive(Clone, Debug, Serialize)]
pub struct History {
    /// The volume.
    pub volume: VolumeId,
    /// In order of their times.
    pub samples: Vec<Sample>,
}

/// One sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Sample {
    /// When.
    pub time_ms: u64,
    /// Bytes a second that the server stored.
    pub received: Option<u64>,
    /// Bytes a second that the driver captured.
    pub drained: Option<u64>,
    /// Bytes a second that went over the link.
    pub sent: Option<u64>,
    /// Bytes in the queue.
    pub queue_used: Option<u64>,
    /// Writes that waited since the sample before.
    pub holds: Option<u64>,
    /// How long 99 % of them waited at most, in microseconds.
    pub hold_p99_us: Option<u64>,
    /// Age of the latest point.
    pub latest_age_ms: Option<u64>,
}

/// What a block is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockState {
    /// Only on the disk.
    Unsynced,
    /// Being read.
    Reading,
    /// A write to it waits.
    Held,
    /// In the stream.
    Synced,
    /// To be read again.
    Dirty,
    /// Of a paging or hibernation file.
    Excluded,
}

/// The states of a volume's blocks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct BlockMap {
    /// The volume.
    pub volume: VolumeId,
    /// When it was so.
    pub time_ms: Option<u64>,
    /// Bytes of the volume.
    pub length: Option<u64>,
    /// Bytes of a block.
    pub block_size: Option<u64>,
    /// Parts that the runs divide the volume into.
    pub parts: u32,
    /// The columns of the runs.
    pub states: Vec<BlockState>,
    /// How many equal parts, then the share of each state in parts of 255.
    pub runs: Vec<Vec<u32>>,
}

impl BlockMap {
    /// A map of which nothing is known.
    pub fn unknown(volume: VolumeId) -> Self {
        let (time_ms, length, block_size) = (None, None, None);
        let (states, runs) = (Vec::new(), Vec::new());
        Self { volume, time_ms, length, block_size, parts: 0, states, runs }
    }

    /// Makes `runs` and `parts` of single parts.
    pub fn run_length(&mut self, parts: impl IntoIterator<Item = Vec<u32>>) {
        self.runs.clear();
        self.parts = 0;
        for shares in parts {
            self.parts += 1;
            match self.runs.last_mut() {
                Some(run) if run[1..] == shares => run[0] += 1,
                _ => self.runs.push([vec![1], shares].concat()),
            }
        }
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Event {
    /// When.
    pub time_ms: u64,
    /// How much it needs a person.
    pub level: Level,
    /// What.
    pub kind: String,
    /// The volume.
    pub volume: Option<VolumeId>,
    /// The machine.
    pub machine: Option<MachineId>,
    /// In words.
    pub text: String,
}

/// What an alarm is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// The latest point is older than it should be.
    RpoMissed,
    /// Writes are not captured.
    Gap,
    /// Something stored is damaged.
    Damage,
    /// The disk is filling.
    DiskFilling,
    /// A certificate is about to expire.
    CertificateExpiring,
}

impl AlarmKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::RpoMissed, Self::Gap, Self::Damage, Self::DiskFilling, Self::CertificateExpiring];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::RpoMissed => "rpo-missed",
            Self::Gap => "gap",
            Self::Damage => "damage",
            Self::DiskFilling => "disk-filling",
            Self::CertificateExpiring => "certificate-expiring",
        }
    }
}

/// An alarm.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Alarm {
    /// Its id: the same as long as it lasts.
    pub alarm: String,
    /// What it is about.
    pub kind: AlarmKind,
    /// How much it needs a person.
    pub level: Level,
    /// The volume.
    pub volume: Option<VolumeId>,
    /// The machine.
    pub machine: Option<MachineId>,
    /// In words.
    pub text: String,
    /// Its begin.
    pub since_ms: u64,
    /// Its end.
    pub ended_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_parts_are_one_run() {
        let volume = VolumeId::parse("71a27cdd-812a-11d0-bec7-08002be2092f").unwrap();
        let mut map = BlockMap::unknown(volume);
        map.run_length([vec![0, 255], vec![0, 255], vec![9, 246]]);
        assert_eq!((map.parts, map.runs), (3, vec![vec![2, 0, 255], vec![1, 9, 246]]));
    }
}
