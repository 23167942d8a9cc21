//! How hard the driver may read the disk of its own accord: when a session starts, and as it is
//! changed while the session runs.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BadRequest, SWEEP_LATENCY_MAX_MS, SWEEP_RATE_MIN};

/// How hard the driver may read the disk of its own accord: for the first sync and after a gap,
/// never for a write that waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SweepLimits {
    /// Average read rate at most, in bytes per second: at least [`SWEEP_RATE_MIN`], or 0 for no
    /// limit.
    pub bytes_per_second: u64,
    /// Average latency of a read, in milliseconds, above which fewer reads are outstanding: at most
    /// [`SWEEP_LATENCY_MAX_MS`], or 0 to add reads as long as they raise the throughput.
    pub latency_ms: u32,
}

impl SweepLimits {
    /// The limits of a session that sets none.
    pub const DEFAULT: Self = Self { bytes_per_second: 0, latency_ms: 20 };

    /// These limits.
    ///
    /// # Errors
    /// [`BadRequest::SweepRate`], [`BadRequest::SweepLatency`] for those that no session has.
    pub fn check(self) -> Result<Self, BadRequest> {
        if (1..SWEEP_RATE_MIN).contains(&self.bytes_per_second) {
            return Err(BadRequest::SweepRate);
        }
        if self.latency_ms > SWEEP_LATENCY_MAX_MS {
            return Err(BadRequest::SweepLatency);
        }
        Ok(self)
    }
}

/// Input of [`IOCTL_LIMIT_SWEEP`](super::IOCTL_LIMIT_SWEEP).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct SweepRequest {
    /// As [`SweepLimits::bytes_per_second`].
    bytes_per_second: U64,
    /// As [`SweepLimits::latency_ms`].
    latency_ms: U32,
    /// Must be 0.
    reserved: U32,
}

impl SweepRequest {
    /// A request for these limits.
    pub fn new(limits: SweepLimits) -> Self {
        Self {
            bytes_per_second: U64::new(limits.bytes_per_second),
            latency_ms: U32::new(limits.latency_ms),
            reserved: U32::ZERO,
        }
    }

    /// The limits asked for.
    ///
    /// # Errors
    /// As [`SweepLimits::check`]; [`BadRequest::Sweep`] if the rest is not 0.
    pub fn parse(&self) -> Result<SweepLimits, BadRequest> {
        let (bytes_per_second, latency_ms) = (self.bytes_per_second.get(), self.latency_ms.get());
        if self.reserved.get() != 0 {
            return Err(BadRequest::Sweep);
        }
        SweepLimits { bytes_per_second, latency_ms }.check()
    }
}

const _: () = assert!(size_of::<SweepRequest>() == 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_limits_that_a_start_may_have() {
        let of = |bytes_per_second, latency_ms| SweepLimits { bytes_per_second, latency_ms };
        for limits in [
            SweepLimits::DEFAULT,
            of(0, 0),
            of(SWEEP_RATE_MIN, SWEEP_LATENCY_MAX_MS),
            of(u64::MAX, 1),
        ] {
            assert_eq!(SweepRequest::new(limits).parse(), Ok(limits));
        }
        for (limits, bad) in [
            (of(1, 0), BadRequest::SweepRate),
            (of(SWEEP_RATE_MIN - 1, 0), BadRequest::SweepRate),
            (of(0, SWEEP_LATENCY_MAX_MS + 1), BadRequest::SweepLatency),
        ] {
            assert_eq!(SweepRequest::new(limits).parse(), Err(bad));
        }
        let odd = SweepRequest { reserved: U32::new(1), ..SweepRequest::new(of(0, 0)) };
        assert_eq!(odd.parse(), Err(BadRequest::Sweep));
    }

    #[test]
    fn a_request_is_pinned_byte_for_byte() {
        let limits = SweepLimits { bytes_per_second: 0x0102_0304_0506_0708, latency_ms: 9 };
        let bytes = [8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(SweepRequest::new(limits).as_bytes(), bytes);
    }
}
