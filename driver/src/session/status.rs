//! A session's state and counters, as the control device reports them.

use core::sync::atomic::Ordering;

use snapless_engine::{Phase, Status};
use snapless_types::Seq;
use snapless_wire::id::FileTime;
use snapless_wire::ioctl::{HOLD_BUCKETS, SessionPhase, StatusFlags, StatusReply};
use zerocopy::little_endian::{U32, U64};

use super::counts::Counts;
use super::{Session, VolumeFacts};

const _: () = assert!(HOLD_BUCKETS == snapless_engine::HOLD_BUCKETS);

impl Session {
    /// Its phase. IRQL <= DISPATCH_LEVEL.
    pub fn phase(&self) -> SessionPhase {
        self.phase_of(&self.engine.status())
    }

    /// State and counters, with what is known of the volume. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // The engine's status does not add to the caller's stack.
    pub fn status(&self, volume: VolumeFacts) -> StatusReply {
        let status = self.engine.status();
        let counts = &self.counts;
        let geometry = self.engine.geometry();
        StatusReply {
            phase: U32::new(self.phase_of(&status) as u32),
            block_size: U32::new(geometry.block_size()),
            length: U64::new(geometry.length()),
            t0: FileTime::new(status.t0),
            blocks_total: U64::new(status.blocks_total),
            blocks_synced: U64::new(status.blocks_synced),
            blocks_dirty: U64::new(status.blocks_dirty),
            blocks_by_sweep: U64::new(status.blocks_by_sweep),
            blocks_by_hold: U64::new(status.blocks_by_hold),
            blocks_unreadable: U64::new(status.blocks_unreadable),
            writes_passed: U64::new(status.writes_captured_inline),
            writes_held: U64::new(status.writes_held),
            writes_holding: U64::new(status.writes_holding),
            writes_uncaptured: U64::new(status.writes_uncaptured),
            hold_longest_us: U64::new(status.holds.longest_us),
            bytes_captured: U64::new(status.bytes_captured),
            bytes_drained: U64::new(status.bytes_drained),
            queue_used: U64::new(status.queue_used),
            queue_bytes: U64::new(status.queue_bytes),
            gaps: U64::new(status.gaps),
            last_seq: Seq::new(status.last_seq).into(),
            acknowledged_seq: Seq::new(status.acknowledged_seq).into(),
            hold_histogram: status.holds.buckets.map(U64::new),
            flags: U32::new(self.flags(&status).to_wire()),
            protection: U32::new(volume.protection as u32),
            blocks_unallocated: U64::new(status.blocks_unallocated),
            clearings: U64::new(Counts::get(&counts.clearings)),
            requests_refused: U64::new(Counts::get(&counts.requests_refused)),
            writes_cancelled: U64::new(Counts::get(&counts.writes_cancelled)),
            writes_failed: U64::new(Counts::get(&counts.writes_failed)),
            writes_urgent: U64::new(Counts::get(&counts.writes_urgent)),
            writes_unreachable: U64::new(Counts::get(&counts.writes_unreachable)),
            reads_failed: U64::new(Counts::get(&counts.reads_failed)),
            read_failed_offset: U64::new(Counts::get(&counts.read_failed_offset)),
            read_failed_status: U32::new(counts.read_failed_status.load(Ordering::Relaxed)),
            special_files: U32::new(volume.special_files),
        }
    }

    fn flags(&self, status: &Status) -> StatusFlags {
        StatusFlags {
            paused: status.paused,
            outgrown: status.outgrown,
            shrunk: self.shrunk.load(Ordering::Relaxed),
            base_complete: status.base_complete,
            consistent: status.consistent,
        }
    }

    fn phase_of(&self, status: &Status) -> SessionPhase {
        if self.has_failed() {
            return SessionPhase::Failed;
        }
        match status.phase {
            Phase::Stopped => SessionPhase::None,
            Phase::Starting => SessionPhase::Starting,
            _ if !status.attached => SessionPhase::Detached,
            Phase::Uncaptured => SessionPhase::Gap,
            Phase::Capturing if !status.consistent => SessionPhase::Resync,
            Phase::Capturing if status.blocks_synced < status.blocks_total => {
                SessionPhase::FirstSync
            }
            Phase::Capturing => SessionPhase::Live,
        }
    }
}
