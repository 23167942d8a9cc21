//! A session's state as the control device tells it.

use core::sync::atomic::Ordering;

use snapless_engine::{Phase, Status};
use snapless_wire::id::{FileTime, Seq};
use snapless_wire::ioctl::{HOLD_BUCKETS, SessionPhase, StatusReply};
use zerocopy::little_endian::{U32, U64};

use super::Session;

const _: () = assert!(HOLD_BUCKETS == snapless_engine::HOLD_BUCKETS);

impl Session {
    /// Where it stands.
    pub fn phase(&self) -> SessionPhase {
        self.phase_of(&self.engine.status())
    }

    /// State and counters.
    // Out of line: the engine's answer and ours are large, and need not be on the stack with what asks for them.
    #[inline(never)]
    pub fn status(&self) -> StatusReply {
        let status = self.engine.status();
        let geometry = self.engine.geometry();
        StatusReply {
            phase: U32::new(self.phase_of(&status) as u32),
            block_size: U32::new(u32::try_from(geometry.block_size()).unwrap_or(u32::MAX)),
            length: U64::new(geometry.length()),
            t0: FileTime::new(status.t0),
            blocks_total: U64::new(status.blocks_total),
            blocks_synced: U64::new(status.blocks_synced),
            blocks_dirty: U64::new(status.blocks_dirty),
            blocks_by_sweep: U64::new(status.blocks_by_sweep),
            blocks_by_hold: U64::new(status.blocks_by_hold),
            blocks_unreadable: U64::new(status.blocks_unreadable),
            writes_passed: U64::new(status.writes_passed),
            writes_held: U64::new(status.writes_held),
            writes_holding: U64::new(status.writes_holding),
            writes_uncaptured: U64::new(status.writes_uncaptured),
            hold_longest_us: U64::new(status.holds.longest_us),
            bytes_captured: U64::new(status.bytes_captured),
            bytes_drained: U64::new(status.bytes_drained),
            queue_used: U64::new(status.queue_used),
            queue_bytes: U64::new(status.queue_bytes),
            gaps: U64::new(status.gaps),
            last_seq: Seq::new(status.last_seq),
            acknowledged_seq: Seq::new(status.acknowledged_seq),
            hold_histogram: status.holds.buckets.map(U64::new),
        }
    }

    fn phase_of(&self, status: &Status) -> SessionPhase {
        if self.failed.load(Ordering::Relaxed) {
            return SessionPhase::Failed;
        }
        match status.phase {
            Phase::Stopped => SessionPhase::None,
            Phase::Starting => SessionPhase::Starting,
            _ if !status.attached => SessionPhase::Detached,
            Phase::Passing => SessionPhase::Gap,
            Phase::Capturing if !status.consistent => SessionPhase::Resync,
            Phase::Capturing if status.blocks_synced < status.blocks_total => {
                SessionPhase::FirstSync
            }
            Phase::Capturing => SessionPhase::Live,
        }
    }
}
