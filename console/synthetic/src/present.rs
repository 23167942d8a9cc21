//! Volumes as they are at an instant.

use std::collections::BTreeMap;

use snapless_console::model::{
    BlockMap, BlockState, Gap, Holds, Level, Live, MachineId, Progress, Queue, Rates, State,
    VolumeId, VolumeLine,
};

use crate::numbers::{MIB, TIB, mix};

/// Volumes of a machine.
pub(crate) const OF_MACHINE: u64 = 4;
/// A first sync begins anew after so long.
const SYNC_MS: u64 = 3_600_000;
/// Bytes of a block.
const BLOCK: u64 = 64 << 10;

#[expect(clippy::unwrap_used, reason = "of hexadecimal digits")]
pub(crate) fn volume_id(number: u64) -> VolumeId {
    VolumeId::parse(format!("5e1f0000-0000-4000-8000-{number:012x}")).unwrap()
}

#[expect(clippy::unwrap_used, reason = "of hexadecimal digits")]
pub(crate) fn machine_id(number: u64) -> MachineId {
    MachineId::parse(format!("{:016x}{number:016x}", mix(number, 77))).unwrap()
}

/// Bytes of a volume; the first one has 64 TiB.
pub(crate) fn length(number: u64) -> u64 {
    if number == 0 { 64 * TIB } else { (1 + mix(number, 1) % 40) * (TIB / 8) }
}

/// What a volume is in.
fn state(number: u64, now_ms: u64) -> State {
    // Some volumes have a gap now and then.
    let is_flapping = number % 50 == 17;
    if is_flapping && (now_ms / 1000 + number) % 120 < 25 {
        return State::Gap;
    }
    match number % 100 {
        0 | 85..=88 => State::FirstSync,
        89 | 90 => State::Gap,
        91 => State::Resync,
        92..=95 => State::Disconnected,
        96 => State::Paused,
        97 => State::Ended,
        98 => State::Damaged,
        99 => State::Waiting,
        _ => State::Protected,
    }
}

fn state_text(state: State) -> &'static str {
    match state {
        State::Waiting => "nothing is stored yet",
        State::FirstSync => "the first sync runs",
        State::Protected => "protected: every write is captured",
        State::Gap => "in a gap: writes are not captured",
        State::Resync => "what a gap left is read again",
        State::Disconnected => "the machine is not connected",
        State::Paused => "paused by an administrator",
        State::Ended => "no longer protected",
        State::Damaged => "what is stored is damaged",
    }
}

/// A name as it could be on a machine; some are no plain text.
fn name(number: u64) -> String {
    match number {
        7 => "<b>D:</b>".to_owned(),
        8 => "\"><script>alert(1)</script>".to_owned(),
        _ => format!("{}:", char::from(b"CDEF"[usize::try_from(number % 4).unwrap_or(0)])),
    }
}

fn share_done(number: u64, now_ms: u64) -> u64 {
    (now_ms + number * 97_000) % SYNC_MS
}

pub(crate) fn line(number: u64, now_ms: u64) -> VolumeLine {
    let state = state(number, now_ms);
    let connected = !matches!(state, State::Disconnected | State::Ended | State::Waiting);
    let length = length(number);
    let receive_rate = connected.then(|| rate(number, now_ms));
    let first_sync = (state == State::FirstSync).then(|| {
        let done = length / SYNC_MS * share_done(number, now_ms);
        let eta = (SYNC_MS - share_done(number, now_ms)) / 1000;
        let rate = Some(length / SYNC_MS * 1000);
        Progress { done, total: length, rate, eta_seconds: Some(eta) }
    });
    let latest_ms = latest_ms(number, now_ms);
    let rpo_seconds = latest_ms.map(|latest| (now_ms - latest) / 1000);
    let gap = (state == State::Gap).then(|| Gap {
        from_ms: latest_ms.unwrap_or(now_ms),
        to_ms: None,
        reason: "queue_full".to_owned(),
        reason_text: "the capture queue stayed full for longer than hold_limit".to_owned(),
    });
    let (level, attention) = match state {
        State::Damaged => (Level::Critical, Some("restore what is left, and begin anew")),
        State::Gap => (Level::Warning, Some("the disk or the link is too slow for its writes")),
        State::Disconnected => (Level::Warning, Some("look whether the machine runs")),
        State::Paused | State::Resync => (Level::Notice, None),
        _ => (Level::Ok, None),
    };
    VolumeLine {
        volume: volume_id(number),
        name: name(number),
        machine: Some(machine_id(number / OF_MACHINE)),
        group: ["Finance", "Web", "Archive"]
            .get(usize::try_from(number / 40 % 5).unwrap_or(9))
            .map(|it| (*it).to_owned()),
        state,
        state_text: state_text(state).to_owned(),
        level,
        attention: attention.map(str::to_owned),
        length: Some(length),
        rpo_seconds,
        rpo_target_seconds: Some(900),
        latest_ms,
        first_sync,
        receive_rate,
        gap,
        stored_bytes: Some(length / 3 * 2),
        connected,
    }
}

/// The latest point; while a volume is protected it never goes back, as none does.
pub(crate) fn latest_ms(number: u64, now_ms: u64) -> Option<u64> {
    match state(number, now_ms) {
        State::FirstSync | State::Waiting => None,
        State::Protected => Some(now_ms - now_ms % 1000 - 400 - mix(number, 0) % 900),
        State::Gap => Some(now_ms - 30_000),
        State::Resync => Some(now_ms - 200_000),
        _ => Some(now_ms - 3_000_000 - (now_ms + mix(number, 5)) % 3_000_000),
    }
}

fn rate(number: u64, now_ms: u64) -> u64 {
    (mix(number, now_ms / 2000) % 40 + mix(number, now_ms / 60_000) % 100) * MIB / 2
}

pub(crate) fn live(number: u64, now_ms: u64) -> Option<Live> {
    let line = line(number, now_ms);
    if !line.connected {
        return None;
    }
    let held = now_ms / 100 + number;
    let bucket =
        |index: u64| held.saturating_sub(now_ms / 100 - 40_000) * (20 - index.min(20)) / 40;
    let blocks = length(number) / BLOCK;
    let counters = BTreeMap::from(
        [("blocks_total", blocks), ("writes_held", held), ("gaps", 2), ("queue_used", 9 * MIB)]
            .map(|(name, value)| (name.to_owned(), value)),
    );
    let drained = rate(number, now_ms);
    let paused = line.state == State::Paused;
    Some(Live {
        time_ms: now_ms,
        activity: if paused { "paused" } else { "streaming" }.to_owned(),
        last_error: None,
        rates: Rates {
            received: Some(drained),
            drained: Some(drained),
            sent: Some(drained / 3 * 2),
        },
        queue: Some(Queue {
            used: mix(number, now_ms / 1000) % (200 * MIB),
            kept: mix(number, now_ms / 3000) % (50 * MIB),
            capacity: 256 * MIB,
        }),
        holds: Some(Holds {
            now: mix(number, now_ms / 500) % 12,
            held,
            longest_us: 9_700,
            buckets: (0..32).map(|index| if index < 14 { bucket(index) } else { 0 }).collect(),
        }),
        counters,
    })
}

/// The map of a volume; that of a first sync changes.
pub(crate) fn map(number: u64, volume: VolumeId, parts: u32, now_ms: u64) -> BlockMap {
    let mut map = BlockMap::unknown(volume);
    let state = state(number, now_ms);
    map.length = Some(length(number));
    map.block_size = Some(BLOCK);
    if matches!(state, State::Disconnected | State::Ended | State::Waiting) {
        return map;
    }
    map.time_ms = Some(now_ms);
    map.states = vec![
        BlockState::Unsynced,
        BlockState::Reading,
        BlockState::Held,
        BlockState::Synced,
        BlockState::Dirty,
        BlockState::Excluded,
    ];
    let total = u64::from(parts);
    let position = match state {
        State::FirstSync => total * share_done(number, now_ms) / SYNC_MS,
        _ => total,
    };
    map.run_length((0..total).map(|part| {
        let chance = mix(number, part);
        let of_time = mix(part, now_ms / 1000);
        let [mut unsynced, mut reading, mut held, mut dirty, mut excluded] = [0u64; 5];
        if part * 100 / total == 40 {
            excluded = 255;
        } else if part == position {
            reading = 200;
            unsynced = 55;
        } else if part > position {
            // What writes have made the driver read ahead of the sweep.
            unsynced = if chance.is_multiple_of(9) { 180 } else { 255 };
            if of_time.is_multiple_of(61) {
                (unsynced, held) = (200, 20);
            }
        } else if matches!(state, State::Gap | State::Resync) && chance.is_multiple_of(6) {
            dirty = 30 + chance % 200;
        }
        let synced = 255 - unsynced - reading - held - dirty - excluded;
        let shares = [unsynced, reading, held, synced, dirty, excluded];
        shares.map(|share| u32::try_from(share).unwrap_or_default()).to_vec()
    }));
    map
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_point_of_a_protected_volume_never_goes_back() {
        const BEGIN_MS: u64 = 1_800_000_000_000;
        for number in 1..16 {
            let latest = |step: u64| latest_ms(number, BEGIN_MS + step * 7).unwrap();
            for step in 0..2000 {
                assert!(latest(step) <= latest(step + 1), "{number}, {step}");
            }
        }
    }
}
