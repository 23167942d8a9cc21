//! Stretches of instants, each with both ends, and what several lists of them have in common; and
//! which bookmarks of several volumes are of one instant.

/// What tells whether a bookmark of another volume is of the same instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark<'a> {
    /// Its name.
    pub name: &'a str,
    /// When it is, by its machine's wall clock.
    pub time: Option<&'a str>,
    /// The meeting at which it was made.
    pub meeting: Option<&'a str>,
}

impl Mark<'_> {
    /// True if both have one name, and one instant: the same time, or the same meeting, whatever
    /// the clocks of their machines showed.
    pub fn is_common_with(&self, other: &Mark<'_>) -> bool {
        let is_one = |own: Option<&str>, other| own.is_some() && own == other;
        let is_one = is_one(self.time, other.time) || is_one(self.meeting, other.meeting);
        is_one && self.name.eq_ignore_ascii_case(other.name)
    }
}

/// A stretch: its first and its last instant.
pub type Ends<T> = (T, T);

/// Stretches in order. One that ends before it begins is left out: the clock was set back over it.
pub fn in_order<T: Ord>(all: impl Iterator<Item = Ends<T>>) -> Vec<Ends<T>> {
    let mut all: Vec<_> = all.filter(|(from, to)| from <= to).collect();
    all.sort_unstable();
    all
}

/// The parts that lie in a stretch of each list, in order; the lists are ([`in_order`]).
pub fn in_common<T: Copy + Ord>(lists: impl Iterator<Item = Vec<Ends<T>>>) -> Vec<Ends<T>> {
    lists.reduce(|some, other| both(&some, &other)).unwrap_or_default()
}

fn both<T: Copy + Ord>(some: &[Ends<T>], other: &[Ends<T>]) -> Vec<Ends<T>> {
    let mut parts = Vec::new();
    let (mut one, mut two) = (some.iter().peekable(), other.iter().peekable());
    while let (Some((from, to)), Some((other_from, other_to))) = (one.peek(), two.peek()) {
        let (begin, end) = (*from.max(other_from), *to.min(other_to));
        if begin <= end {
            parts.push((begin, end));
        }
        if to <= other_to {
            one.next()
        } else {
            two.next()
        };
    }
    parts
}
