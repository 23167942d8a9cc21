//! Verifications of the copy: when one begins, at which rate, and when it ends; and the repair of
//! what one has found.

use snapless_types::Extent;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{BadRequest, SWEEP_RATE_MIN, SessionRequest};
use crate::id::SessionId;

/// Input of [`IOCTL_VERIFY`](super::IOCTL_VERIFY).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VerifyRequest {
    session: SessionRequest,
    action: U32,
    /// Must be 0.
    reserved: U32,
    /// 0, but for [`BEGIN`].
    bytes_per_second: U64,
    /// 0, but for [`REPAIR`], as the next one.
    offset: U64,
    len: U64,
}

const END: u32 = 0;
const BEGIN: u32 = 1;
const REPAIR: u32 = 2;

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
    /// What differs is read again, as after a gap: one begins, if none is open, and ends when all
    /// of it was read.
    Repair(Extent),
}

impl VerifyRequest {
    /// A request for `session`, in this version.
    pub fn new(version: u32, session: SessionId, verify: Verify) -> Self {
        let (action, rate, offset, len) = match verify {
            Verify::Begin { bytes_per_second } => (BEGIN, bytes_per_second, 0, 0),
            Verify::End => (END, 0, 0, 0),
            Verify::Repair(extent) => (REPAIR, 0, extent.offset(), extent.len()),
        };
        Self {
            session: SessionRequest::new(version, session),
            action: U32::new(action),
            reserved: U32::ZERO,
            bytes_per_second: U64::new(rate),
            offset: U64::new(offset),
            len: U64::new(len),
        }
    }

    /// The session, and what is asked for.
    ///
    /// # Errors
    /// As [`SessionRequest::parse`], [`BadRequest::Verify`], [`BadRequest::VerifyRate`],
    /// [`BadRequest::VerifyExtent`].
    pub fn parse(&self) -> Result<(SessionId, Verify), BadRequest> {
        let session = self.session.parse()?;
        let [bytes_per_second, offset, len] =
            [self.bytes_per_second, self.offset, self.len].map(U64::get);
        if self.reserved.get() != 0 {
            return Err(BadRequest::Verify);
        }
        let verify = match (self.action.get(), bytes_per_second, offset, len) {
            (BEGIN, 1..SWEEP_RATE_MIN, 0, 0) => return Err(BadRequest::VerifyRate),
            (BEGIN, _, 0, 0) => Verify::Begin { bytes_per_second },
            (END, 0, 0, 0) => Verify::End,
            (REPAIR, 0, ..) => {
                Verify::Repair(Extent::new(offset, len).ok_or(BadRequest::VerifyExtent)?)
            }
            _ => return Err(BadRequest::Verify),
        };
        Ok((session, verify))
    }
}

const _: () = assert!(size_of::<VerifyRequest>() == 56);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ioctl::ABI_VERSION;

    const BEGIN: Verify = Verify::Begin { bytes_per_second: 0 };

    fn session() -> SessionId {
        SessionId::parse("0a1b2c3d-0000-4000-8000-0123456789ab").unwrap()
    }

    #[test]
    fn a_request_begins_or_ends_a_verification_or_repairs_what_one_has_found() {
        let slow = Verify::Begin { bytes_per_second: SWEEP_RATE_MIN };
        let repair = Verify::Repair(Extent::new(4096, 512).unwrap());
        for verify in [BEGIN, slow, Verify::End, repair] {
            let request = VerifyRequest::new(ABI_VERSION, session(), verify);
            assert_eq!(request.parse(), Ok((session(), verify)));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let sound = VerifyRequest::new(ABI_VERSION, session(), BEGIN);
        let refused = |change: &dyn Fn(&mut VerifyRequest)| {
            let mut request = sound;
            change(&mut request);
            request.parse().unwrap_err()
        };
        assert_eq!(refused(&|it| it.action = U32::new(3)), BadRequest::Verify);
        assert_eq!(refused(&|it| it.offset = U64::new(1)), BadRequest::Verify);
        assert_eq!(refused(&|it| it.len = U64::new(1)), BadRequest::Verify);
        let repair = |it: &mut VerifyRequest, offset, len| {
            (it.action, it.offset, it.len) = (U32::new(REPAIR), U64::new(offset), U64::new(len));
        };
        assert_eq!(refused(&|it| repair(it, 0, 0)), BadRequest::VerifyExtent);
        assert_eq!(refused(&|it| repair(it, u64::MAX, 512)), BadRequest::VerifyExtent);
        let at_a_rate = |it: &mut VerifyRequest| {
            repair(it, 0, 512);
            it.bytes_per_second = U64::new(SWEEP_RATE_MIN);
        };
        assert_eq!(refused(&at_a_rate), BadRequest::Verify);
        assert_eq!(refused(&|it| it.reserved = U32::new(1)), BadRequest::Verify);
        let end_with_rate = |it: &mut VerifyRequest| {
            (it.action, it.bytes_per_second) = (U32::new(END), U64::new(SWEEP_RATE_MIN));
        };
        assert_eq!(refused(&end_with_rate), BadRequest::Verify);
        let too_slow = |it: &mut VerifyRequest| it.bytes_per_second = U64::new(SWEEP_RATE_MIN - 1);
        assert_eq!(refused(&too_slow), BadRequest::VerifyRate);
        assert_eq!(refused(&|it| it.session.version = U32::ZERO), BadRequest::Version);
    }
}
