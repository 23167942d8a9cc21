//! A session's state and counters, as the control device reports them.

use core::sync::atomic::Ordering;

use snapless_engine::{Phase, Status, Tick};
use snapless_types::{GapReason, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::ioctl::{
    MAP_CELLS, MAP_SAMPLES, MapCell, SessionPhase, StatusFlags, StatusReply,
};
use zerocopy::FromZeros;
use zerocopy::little_endian::{U16, U32, U64};

use super::{Session, VolumeFacts};

impl Session {
    /// Its phase. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // As for `status`.
    pub fn phase(&self) -> SessionPhase {
        self.phase_of(&self.engine.status())
    }

    /// State and counters, with what is known of the volume. IRQL <= DISPATCH_LEVEL.
    #[inline(never)] // The engine's status does not add to the caller's stack.
    pub fn status(&self, volume: VolumeFacts) -> StatusReply {
        self.reply(&self.engine.status(), volume)
    }

    /// In which state the blocks of each part of the volume are. IRQL <= DISPATCH_LEVEL.
    pub fn map(&self) -> impl Iterator<Item = MapCell> {
        let mut held = [0; MAP_CELLS];
        self.engine.count_held(&mut held);
        let states = self.engine.map(MAP_CELLS as u64, MAP_SAMPLES);
        states.zip(held).map(|(states, held)| MapCell::new(states, held))
    }

    #[inline(never)] // Each function has one of the two on its stack.
    fn reply(&self, status: &Status, volume: VolumeFacts) -> StatusReply {
        let geometry = self.engine.geometry();
        let mut counters = status.counters();
        counters.requests_refused = self.counts.requests_refused();
        let (read_failed_offset, read_failed_status) = self.counts.last_read_failed();
        let mut reply = StatusReply::new_zeroed();
        reply.phase = U32::new(self.phase_of(status).to_wire());
        reply.block_size = U32::new(geometry.block_size());
        reply.length = U64::new(geometry.length());
        reply.t0 = FileTime::new(status.t0);
        reply.last_seq = Seq::new(status.last_seq).into();
        reply.acknowledged_seq = Seq::new(status.acknowledged_seq).into();
        reply.time = FileTime::new(status.time);
        reply.monotonic = U64::new(status.monotonic.0);
        reply.flags = U32::new(self.flags(status).to_wire());
        reply.gap_reason = U16::new(status.gap_reason.map_or(0, GapReason::to_wire));
        reply.protection = U32::new(volume.protection.to_wire());
        reply.special_files = U32::new(volume.special_files);
        reply.read_failed_offset = U64::new(read_failed_offset);
        reply.read_failed_status = U32::new(read_failed_status);
        let log = self.state.log_status();
        reply.log = U32::new(log.phase.to_wire());
        reply.log_slots = U64::new(log.slots);
        reply.log_waits = U64::new(log.waits);
        reply.log_longest_us = U64::new(log.longest / Tick::PER_US);
        if let Some(taken) = self.taken() {
            reply.saved = U32::new(if taken.is_log { 2 } else { 1 });
            reply.saved_acknowledged_seq = taken.acknowledged.into();
            reply.saved_captured_seq = taken.captured.into();
            reply.saved_bytes = U64::new(taken.bytes);
        }
        reply.set_holds(&status.holds);
        reply.set_counters(&counters);
        reply
    }

    fn flags(&self, status: &Status) -> StatusFlags {
        // Relaxed: shown in the status only.
        let shrunk = self.shrunk.load(Ordering::Relaxed);
        StatusFlags {
            paused: status.paused,
            outgrown: status.resized && !shrunk,
            shrunk,
            base_complete: status.base_complete,
            consistent: status.consistent && !self.state.is_doubtful(),
            continues: status.continues,
            placed: status.placed,
            verifying: status.verifying,
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
