//! The ends of epochs that a server's stream may end with.

use core::fmt;

use crate::{Made, Seq};

/// A record that ends an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct End {
    /// Its number.
    pub seq: Seq,
    /// When it was made.
    pub made: Made,
}

/// How many [`Ends`] are kept: a driver has three epochs, of which the acknowledged end, two closed
/// ones and three lost ones are known.
pub const ENDS_MAX: usize = 6;

/// The newest ends of a stream, [`ENDS_MAX`] at most, in the order of their numbers.
///
/// They tell a server whose stream ends with a record of this past from one that has a record of
/// another past under the same number (rule RESUME, rules.md#resume).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    /// Those in use come first; their count is `len`.
    list: [End; ENDS_MAX],
    len: usize,
}

impl Ends {
    /// No end.
    pub const NONE: Self = {
        let none = End { seq: Seq::new(0), made: Made { time: 0, monotonic: crate::Tick(0) } };
        Self { list: [none; ENDS_MAX], len: 0 }
    };

    /// Adds one; if there is no room the oldest is dropped.
    pub fn add(&mut self, end: End) {
        if self.contains(&end) {
            return;
        }
        if let Some(place) = self.list.get_mut(self.len) {
            (*place, self.len) = (end, self.len + 1);
        } else if let Some(oldest) = self.list.first_mut().filter(|it| it.seq < end.seq) {
            *oldest = end;
        }
        self.list.get_mut(..self.len).unwrap_or_default().sort_unstable_by_key(|it| it.seq);
    }

    /// Those from this number on.
    #[must_use]
    pub fn from(&self, seq: Seq) -> Self {
        let mut ends = Self::NONE;
        self.iter().filter(|end| end.seq >= seq).for_each(|end| ends.add(end));
        ends
    }

    /// True if it is one of them.
    pub fn contains(&self, end: &End) -> bool {
        self.iter().any(|known| known == *end)
    }

    /// The number of the newest; 0 if there is none.
    pub fn last(&self) -> Seq {
        self.iter().last().map_or(Seq::new(0), |end| end.seq)
    }

    /// Each, from the oldest on.
    pub fn iter(&self) -> impl Iterator<Item = End> {
        self.list.iter().take(self.len).copied()
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tick;

    fn end(seq: u64) -> End {
        End { seq: Seq::new(seq), made: Made { time: seq, monotonic: Tick(2 * seq) } }
    }

    fn ends(seqs: impl IntoIterator<Item = u64>) -> Ends {
        let mut ends = Ends::NONE;
        seqs.into_iter().for_each(|seq| ends.add(end(seq)));
        ends
    }

    #[test]
    fn an_end_is_known_by_its_number_and_by_when_it_was_made() {
        let known = ends([7, 3]);
        assert!(known.contains(&end(3)) && known.contains(&end(7)) && !known.contains(&end(4)));
        assert!(!known.contains(&End { made: end(3).made, ..end(7) }));
        assert_eq!((known.last(), Ends::NONE.last()), (Seq::new(7), Seq::new(0)));
        assert!(!Ends::NONE.contains(&End::default()));
    }

    #[test]
    fn the_newest_stay_when_there_is_no_room() {
        let count = ENDS_MAX as u64;
        let known = ends((1..=count + 2).rev());
        assert!(known.iter().eq((3..=count + 2).map(end)));
        let mut same = known;
        same.add(end(1));
        same.add(end(count + 2));
        assert_eq!(same, known);
        assert!(known.from(Seq::new(count + 1)).iter().eq((count + 1..=count + 2).map(end)));
    }
}
