//! Verifications of the copy: when one begins, at which rate, and when it ends.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BadRequest, SWEEP_RATE_MIN, SessionRequest};
use crate::id::SessionId;

/// Input of [`IOCTL_VERIFY`](super::IOCTL_VERIFY).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VerifyRequest {
    session: SessionRequest,
    /// 1 or 0.
    begins: U32,
    /// Must be 0.
    reserved: U32,
    bytes_per_second: U64,
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verify {
    /// A verification begins, at the start of the volume: anew, if one is under way.
    Begin {
        /// Average read rate at most, in bytes per second: at least [`SWEEP_RATE_MIN`], or 0 for
        /// that of the session's sweep.
        bytes_per_second: u64,
    },
    /// The verification that is under way ends.
    End,
}

impl VerifyRequest {
    /// A request for `session`, in this version.
    pub fn new(version: u32, session: SessionId, verify: Verify) -> Self {
        let (begins, rate) = match verify {
            Verify::Begin { bytes_per_second } => (1, bytes_per_second),
            Verify::End => (0, 0),
        };
        Self {
            session: SessionRequest::new(version, session),
            begins: U32::new(begins),
            reserved: U32::ZERO,
            bytes_per_second: U64::new(rate),
        }
    }

    /// The session, and what is asked for.
    ///
    /// # Errors
    /// As [`SessionRequest::parse`], [`BadRequest::Verify`], [`BadRequest::VerifyRate`].
    pub fn parse(&self) -> Result<(SessionId, Verify), BadRequest> {
        let session = self.session.parse()?;
        let bytes_per_second = self.bytes_per_second.get();
        let verify = match (self.begins.get(), self.reserved.get()) {
            (1, 0) if (1..SWEEP_RATE_MIN).contains(&bytes_per_second) => {
                return Err(BadRequest::VerifyRate);
            }
            (1, 0) => Verify::Begin { bytes_per_second },
            (0, 0) if bytes_per_second == 0 => Verify::End,
            _ => return Err(BadRequest::Verify),
        };
        Ok((session, verify))
    }
}

const _: () = assert!(size_of::<VerifyRequest>() == 40);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::ABI_VERSION;

    const BEGIN: Verify = Verify::Begin { bytes_per_second: 0 };

    fn session() -> SessionId {
        SessionId::parse("0a1b2c3d-0000-4000-8000-0123456789ab").unwrap()
    }

    #[test]
    fn a_request_begins_or_ends_a_verification() {
        let slow = Verify::Begin { bytes_per_second: SWEEP_RATE_MIN };
        for verify in [BEGIN, slow, Verify::End] {
            let request = VerifyRequest::new(ABI_VERSION, session(), verify);
            assert_eq!(request.parse(), Ok((session(), verify)));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let sound = VerifyRequest::new(ABI_VERSION, session(), BEGIN);
        let refused = |change: fn(&mut VerifyRequest)| {
            let mut request = sound;
            change(&mut request);
            request.parse().unwrap_err()
        };
        assert_eq!(refused(|it| it.begins = U32::new(2)), BadRequest::Verify);
        assert_eq!(refused(|it| it.reserved = U32::new(1)), BadRequest::Verify);
        let end_with_rate = |it: &mut VerifyRequest| {
            (it.begins, it.bytes_per_second) = (U32::ZERO, U64::new(SWEEP_RATE_MIN));
        };
        assert_eq!(refused(end_with_rate), BadRequest::Verify);
        let too_slow = |it: &mut VerifyRequest| it.bytes_per_second = U64::new(SWEEP_RATE_MIN - 1);
        assert_eq!(refused(too_slow), BadRequest::VerifyRate);
        assert_eq!(refused(|it| it.session.version = U32::ZERO), BadRequest::Version);
    }
}
