//! The origin: where in its session's stream the records of this engine begin.
//!
//! Records and epochs are numbered from 1 inside. A session that begins has its origin at 0, so
//! these are the stream's own numbers. One that continues after a restart learns from the service
//! where the stream stands, and behind which number it goes on ([`Origin::place`]); what was
//! captured before that keeps its number. The origin is added where a number leaves, and taken off
//! where one comes in.
//!
//! The origin is far behind the server's last record, so that no number names two records: a copy
//! of the repository may have others behind that one, of a past that was left (rule RESUME,
//! rules.md#resume). Inside, 0 stands for the server's last record, and for all up to the origin.

use snapless_types::{EpochId, ORIGIN_MAX, Seq};

/// Records and epochs of the stream that are from before this engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Origin {
    /// The server's last record.
    durable: u64,
    seq: u64,
    epoch: u64,
    is_placed: bool,
}

impl Origin {
    /// Of a session that begins.
    pub const BEGIN: Self = Self { durable: 0, seq: 0, epoch: 0, is_placed: true };
    /// Of a session that continues, before the server has said where its stream stands.
    pub const UNKNOWN: Self = Self { is_placed: false, ..Self::BEGIN };

    /// True once it is known.
    pub fn is_placed(&self) -> bool {
        self.is_placed
    }

    /// Learns that the stream stands at this record, and that its epochs go on behind this one, its
    /// records behind the greater number of the two. False if another origin is known, or there are
    /// too few numbers behind it.
    pub fn place(&mut self, durable: Seq, behind: EpochId) -> bool {
        let (durable, mut epoch) = (durable.get(), behind.get());
        if sabotaged!(NumbersRepeated) {
            epoch = durable;
        }
        let mut seq = durable.max(epoch);
        let may = !self.is_placed && seq <= ORIGIN_MAX;
        if may {
            if sabotaged!(NumberedTooEarly) {
                seq = durable.saturating_sub(1);
            }
            *self = Self { durable, seq, epoch, is_placed: true };
        }
        may
    }

    /// The stream's number of a record; of 0, the server's last record.
    #[inline]
    pub fn seq_outside(&self, inside: Seq) -> Seq {
        match inside.get() {
            0 => Seq::new(self.durable),
            inside => Seq::new(self.seq.saturating_add(inside)),
        }
    }

    /// The stream's number of an epoch.
    #[inline]
    pub fn epoch_outside(&self, inside: EpochId) -> EpochId {
        EpochId::new(self.epoch.saturating_add(inside.get()))
    }

    /// The number inside; `None` for a record from before the server's last one.
    #[inline]
    pub fn seq_inside(&self, outside: Seq) -> Option<Seq> {
        let is_known = outside.get() >= self.durable;
        is_known.then(|| Seq::new(outside.get().saturating_sub(self.seq)))
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
        for (durable, epoch) in [(0, 0), (40, 4), (40, 70), (ORIGIN_MAX, ORIGIN_MAX)] {
            let mut origin = Origin::UNKNOWN;
            assert!(origin.place(Seq::new(durable), EpochId::new(epoch)) && origin.is_placed());
            let (first, opened) = (Seq::new(1), EpochId::new(1));
            let outside = (origin.seq_outside(first), origin.epoch_outside(opened));
            let seq = durable.max(epoch) + 1;
            assert_eq!(outside, (Seq::new(seq), EpochId::new(epoch + 1)));
            assert_eq!(origin.seq_inside(outside.0), Some(first));
            assert_eq!(origin.epoch_inside(outside.1), Some(opened));
        }
    }

    #[test]
    fn what_is_up_to_the_origin_is_the_servers_last_record_inside() {
        let mut origin = Origin::UNKNOWN;
        assert!(origin.place(Seq::new(40), EpochId::new(1_000)));
        let none = Seq::new(0);
        assert_eq!(origin.seq_outside(none), Seq::new(40));
        for outside in [40, 41, 999, 1_000] {
            assert_eq!(origin.seq_inside(Seq::new(outside)), Some(none), "{outside}");
        }
        assert_eq!(origin.seq_inside(Seq::new(39)), None);
    }

    #[test]
    fn an_origin_is_placed_once_and_leaves_numbers_for_what_comes() {
        let place =
            |mut origin: Origin, seq, epoch| origin.place(Seq::new(seq), EpochId::new(epoch));
        assert!(!place(Origin::BEGIN, 7, 1) && !place(Origin::UNKNOWN, ORIGIN_MAX + 1, 1));
        assert!(!place(Origin::UNKNOWN, 7, ORIGIN_MAX + 1));
        let mut origin = Origin::UNKNOWN;
        assert!(origin.place(Seq::new(7), EpochId::new(1)));
        assert!(!place(origin, 8, 1));
        assert_eq!(origin.seq_inside(Seq::new(6)), None, "before it");
        assert_eq!(origin.epoch_inside(EpochId::new(0)), None);
    }
}
