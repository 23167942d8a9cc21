//! The settings of a session, as a start request has them, and a saved state.

use snapless_types::{GapReason, Overflow};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BadRequest, HOLD_LIMIT_MAX_MS, QUEUE_BYTES_MAX, QUEUE_BYTES_MIN, SweepLimits};
use crate::id::SessionId;

/// Settings of a session that passed every check.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StartSettings {
    /// The session's identity.
    pub session: SessionId,
    /// Why it continues one of an earlier start; `None` for a new one.
    pub continues: Option<GapReason>,
    /// Bytes of a block.
    pub block_size: u32,
    /// Bytes of the capture queue.
    pub queue_bytes: u64,
    /// How long a write may wait for queue space, in milliseconds.
    pub hold_limit_ms: u32,
    /// What follows.
    pub overflow: Overflow,
    /// How hard the disk may be read.
    pub sweep: SweepLimits,
}

/// Settings that no session has of itself, in a structure.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SettingsLe {
    /// Bytes of nonpaged memory for the capture queue.
    pub queue_bytes: U64,
    /// How long a write may wait for queue space, in milliseconds.
    pub hold_limit_ms: U32,
    /// [`Overflow`] as a number.
    pub overflow: U32,
    /// As [`SweepLimits::bytes_per_second`].
    pub sweep_bytes_per_second: U64,
    /// As [`SweepLimits::latency_ms`].
    pub sweep_latency_ms: U32,
}

impl SettingsLe {
    /// Zeros: none that a session can have.
    pub const NONE: Self = Self {
        queue_bytes: U64::ZERO,
        hold_limit_ms: U32::ZERO,
        overflow: U32::ZERO,
        sweep_bytes_per_second: U64::ZERO,
        sweep_latency_ms: U32::ZERO,
    };

    /// Those of these settings.
    pub fn of(settings: &StartSettings) -> Self {
        let StartSettings { queue_bytes, hold_limit_ms, overflow, sweep, .. } = *settings;
        Self {
            queue_bytes: U64::new(queue_bytes),
            hold_limit_ms: U32::new(hold_limit_ms),
            overflow: U32::new(overflow as u32),
            sweep_bytes_per_second: U64::new(sweep.bytes_per_second),
            sweep_latency_ms: U32::new(sweep.latency_ms),
        }
    }

    /// The settings of a session, with its own.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn settings(
        &self,
        session: SessionId,
        continues: Option<GapReason>,
        block_size: u32,
    ) -> Result<StartSettings, BadRequest> {
        if !(QUEUE_BYTES_MIN..=QUEUE_BYTES_MAX).contains(&self.queue_bytes.get()) {
            return Err(BadRequest::QueueBytes);
        }
        if !(1..=HOLD_LIMIT_MAX_MS).contains(&self.hold_limit_ms.get()) {
            return Err(BadRequest::HoldLimit);
        }
        Ok(StartSettings {
            session,
            continues,
            block_size,
            queue_bytes: self.queue_bytes.get(),
            hold_limit_ms: self.hold_limit_ms.get(),
            overflow: Overflow::from_wire(self.overflow.get()).ok_or(BadRequest::Overflow)?,
            sweep: self.sweep()?,
        })
    }

    fn sweep(&self) -> Result<SweepLimits, BadRequest> {
        let bytes_per_second = self.sweep_bytes_per_second.get();
        SweepLimits { bytes_per_second, latency_ms: self.sweep_latency_ms.get() }.check()
    }
}

const _: () = assert!(size_of::<SettingsLe>() == 28);
