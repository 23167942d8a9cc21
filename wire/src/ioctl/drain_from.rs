//! Where a service that comes after another one goes on in the stream.

use snapless_types::{EpochId, Made, ORIGIN_MAX, Seq};
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::BadRequest;
use crate::id::{EpochIdLe, MadeLe, SeqLe};

/// Input of [`IOCTL_DRAIN_FROM`](super::IOCTL_DRAIN_FROM).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DrainFromRequest {
    durable: SeqLe,
    origin: EpochIdLe,
    /// 1 or 0.
    lose: U32,
    made: MadeLe,
}

/// Where a service goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DrainFrom {
    /// The last record that the server has; 0 for none.
    pub durable: Seq,
    /// When that was made. It tells the driver's own record from one of another past.
    pub made: Made,
    /// Of a session that continues: its epochs are numbered behind this number, its records behind
    /// this or behind `durable`, whichever is greater. Any other session has its numbers.
    pub origin: EpochId,
    /// The records after it are of no use: they are lost, and a gap begins.
    pub lose: bool,
}

/// Numbers that a session that continues skips at least: more than it makes until it continues
/// again. It skips less than twice as many.
pub const ORIGIN_SKIP: u64 = 1 << 40;

/// The origin of a session that continues behind record `durable`: so far behind it that no other
/// copy of the server's stream has a record of the same number (rule RESUME, rules.md#resume).
/// `random` tells two sessions apart that continue behind the same record. `None` if too few
/// numbers are left.
pub fn origin_behind(durable: Seq, random: u64) -> Option<EpochId> {
    let skip = ORIGIN_SKIP + random % ORIGIN_SKIP;
    let origin = durable.get().checked_add(skip).filter(|&origin| origin <= ORIGIN_MAX);
    origin.map(EpochId::new)
}

impl DrainFromRequest {
    /// Asks for what follows.
    pub fn new(from: DrainFrom) -> Self {
        let DrainFrom { durable, made, origin, lose } = from;
        let (durable, made, origin) = (durable.into(), made.into(), origin.into());
        Self { durable, origin, lose: U32::new(u32::from(lose)), made }
    }

    /// Where the service goes on.
    ///
    /// # Errors
    /// [`BadRequest::Seq`] for a record after which there is no other, and for an origin that is
    /// too far behind it; [`BadRequest::Lose`] for neither yes nor no.
    pub fn parse(&self) -> Result<DrainFrom, BadRequest> {
        let (durable, origin) = (self.durable.get(), self.origin.get());
        let lose = match self.lose.get() {
            0 => false,
            1 => true,
            _ => return Err(BadRequest::Lose),
        };
        let skip = origin.get().saturating_sub(durable.get());
        if durable.get() == u64::MAX || origin.get() == u64::MAX || skip >= 2 * ORIGIN_SKIP {
            Err(BadRequest::Seq)
        } else {
            Ok(DrainFrom { durable, made: self.made.get(), origin, lose })
        }
    }
}

/// Output of [`IOCTL_DRAIN_FROM`](super::IOCTL_DRAIN_FROM).
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct DrainFromReply {
    /// 1 or 0.
    has_all: U32,
}

impl DrainFromReply {
    /// Whether the driver has every record that the server lacks.
    pub fn new(has_all: bool) -> Self {
        Self { has_all: U32::new(u32::from(has_all)) }
    }

    /// True if the stream goes on without a gap; false if records are missing, and it goes on with
    /// the begin of a gap. `None` for an answer that is neither.
    pub fn has_all(&self) -> Option<bool> {
        match self.has_all.get() {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

const _: () = {
    assert!(size_of::<DrainFromRequest>() == 36);
    assert!(size_of::<DrainFromReply>() == 4);
};

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::Tick;

    #[test]
    fn a_request_has_a_record_that_another_one_can_follow() {
        let made = Made { time: 3, monotonic: Tick(4) };
        let from =
            |seq, lose| DrainFrom { durable: Seq::new(seq), made, origin: EpochId::new(seq), lose };
        for from in [from(0, false), from(1, true), from(u64::MAX - 1, false)] {
            assert_eq!(DrainFromRequest::new(from).parse(), Ok(from));
        }
        let last = DrainFromRequest::new(from(u64::MAX, false));
        assert_eq!(last.parse(), Err(BadRequest::Seq));
        let origin = DrainFrom { origin: EpochId::new(u64::MAX), ..from(1, false) };
        assert_eq!(DrainFromRequest::new(origin).parse(), Err(BadRequest::Seq));
        let far = |skip| DrainFrom { origin: EpochId::new(1 + skip), ..from(1, false) };
        assert!(DrainFromRequest::new(far(2 * ORIGIN_SKIP - 1)).parse().is_ok());
        let parsed = DrainFromRequest::new(far(2 * ORIGIN_SKIP)).parse();
        assert_eq!(parsed, Err(BadRequest::Seq));
        let odd = DrainFromRequest { lose: U32::new(2), ..DrainFromRequest::new(from(1, false)) };
        assert_eq!(odd.parse(), Err(BadRequest::Lose));
    }

    #[test]
    fn an_origin_is_far_behind_and_leaves_numbers() {
        for random in [0, 1, ORIGIN_SKIP - 1, ORIGIN_SKIP, u64::MAX] {
            let origin = origin_behind(Seq::new(7), random).unwrap().get();
            assert!((7 + ORIGIN_SKIP..7 + 2 * ORIGIN_SKIP).contains(&origin), "{random}");
        }
        let behind = |durable, random| origin_behind(Seq::new(durable), random);
        assert_ne!(behind(7, 1), behind(7, 2));
        assert!(behind(ORIGIN_MAX - ORIGIN_SKIP, 0).is_some());
        assert_eq!(behind(ORIGIN_MAX - ORIGIN_SKIP, 1), None);
        assert_eq!(behind(u64::MAX, u64::MAX), None);
    }

    #[test]
    fn an_answer_says_yes_or_no() {
        for has_all in [false, true] {
            assert_eq!(DrainFromReply::new(has_all).has_all(), Some(has_all));
        }
        assert_eq!(DrainFromReply { has_all: U32::new(2) }.has_all(), None);
    }
}
