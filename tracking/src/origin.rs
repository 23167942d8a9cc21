//! The origin: where in its session's stream the records of this engine begin.
//!
//! Records and epochs are numbered from 1 inside. A session that begins has its origin at 0, so
//! these are the stream's own numbers. One that continues after a restart learns from the server
//! where the stream stands ([`Origin::place`]); what was captured before that keeps its number. The
//! origin is added where a number leaves, and taken off where one comes in.

use snapless_types::{EpochId, Seq};

/// Records and epochs of the stream that are from before this engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    seq: u64,
    epoch: u64,
    is_placed: bool,
}

impl Origin {
    /// Of a session that begins.
    pub const BEGIN: Self = Self { seq: 0, epoch: 0, is_placed: true };
    /// Of a session that continues, before the server has said where its stream stands.
    pub const UNKNOWN: Self = Self { seq: 0, epoch: 0, is_placed: false };
    /// Numbers above it leave too few for the records to come.
    const MAX: u64 = u64::MAX / 2;

    /// True once it is known.
    pub fn is_placed(&self) -> bool {
        self.is_placed
    }

    /// Learns that the stream stands at this record, the last of this epoch; false if another
    /// origin is known, or there are too few numbers behind it.
    pub fn place(&mut self, seq: Seq, epoch: EpochId) -> bool {
        let (seq, epoch) = (seq.get(), epoch.get());
        let may = !self.is_placed && seq <= Self::MAX && epoch <= Self::MAX;
        if may {
            let seq = seq - u64::from(sabotaged!(NumberedTooEarly) && seq > 0);
            *self = Self { seq, epoch, is_placed: true };
        }
        may
    }

    /// The stream's number of a record.
    #[inline]
    pub fn seq_outside(&self, inside: Seq) -> Seq {
        Seq::new(self.seq.saturating_add(inside.get()))
    }

    /// The stream's number of an epoch.
    #[inline]
    pub fn epoch_outside(&self, inside: EpochId) -> EpochId {
        EpochId::new(self.epoch.saturating_add(inside.get()))
    }

    /// The number inside; `None` for a record from before the origin.
    #[inline]
    pub fn seq_inside(&self, outside: Seq) -> Option<Seq> {
        outside.get().checked_sub(self.seq).map(Seq::new)
    }

    /// The number inside; `None` for an epoch from before the origin.
    #[inline]
    pub fn epoch_inside(&self, outside: EpochId) -> Option<EpochId> {
        outside.get().checked_sub(self.epoch).map(EpochId::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_leave_behind_the_origin_and_come_back_as_they_were() {
        for (seq, epoch) in [(0, 0), (40, 4), (Origin::MAX, Origin::MAX)] {
            let mut origin = Origin::UNKNOWN;
            assert!(origin.place(Seq::new(seq), EpochId::new(epoch)) && origin.is_placed());
            let (first, opened) = (Seq::new(1), EpochId::new(1));
            let outside = (origin.seq_outside(first), origin.epoch_outside(opened));
            assert_eq!(outside, (Seq::new(seq + 1), EpochId::new(epoch + 1)));
            assert_eq!(origin.seq_inside(outside.0), Some(first));
            assert_eq!(origin.epoch_inside(outside.1), Some(opened));
        }
    }

    #[test]
    fn an_origin_is_placed_once_and_leaves_numbers_for_what_comes() {
        let place = |mut origin: Origin, seq| origin.place(Seq::new(seq), EpochId::new(1));
        assert!(!place(Origin::BEGIN, 7) && !place(Origin::UNKNOWN, Origin::MAX + 1));
        let mut origin = Origin::UNKNOWN;
        assert!(origin.place(Seq::new(7), EpochId::new(1)));
        assert!(!place(origin, 8));
        assert_eq!(origin.seq_inside(Seq::new(6)), None, "before it");
        assert_eq!(origin.epoch_inside(EpochId::new(0)), None);
    }
}
